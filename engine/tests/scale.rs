//! Up to 10 000 receivers of one source, all in virtual time: NAKs at the source, how fast repairs are, what
//! they cost. The figures are tests/snapshots/scale.txt; a change that moves one fails the test until the
//! table is written anew: `UPDATE=1 cargo nextest run -p pgm-engine --test scale`.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use pgm_engine::endpoint::{EndpointConfig, ListenConfig};
use pgm_engine::num::Sqn;
use pgm_engine::source::SourceConfig;
use pgm_engine::testnet::element::ElementConfig;
use pgm_engine::testnet::{
    DPORT, GROUP, Kind, Link, NodeId, Rx, Segment, TestNet, digest, lan_receiver, lan_source,
};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

/// Round trip between source and receivers, with or without elements between them.
const RTT: Duration = ms(1);
/// One message every so often.
const PACE: Duration = ms(1);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// One segment.
    Flat,
    /// The same, and all receivers at one address.
    Host,
    /// Three levels of elements: 1, 10, and 100 segments of receivers.
    Tree,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    shape: Shape,
    receivers: usize,
    /// Share of the source's packets, of all types, that nobody gets.
    shared: f64,
    /// Share of packets that each receiver loses on its own, and the source of NAKs.
    own: f64,
    packets: u64,
}

const fn case(shape: Shape, receivers: usize, shared: f64, own: f64, packets: u64) -> Case {
    Case {
        shape,
        receivers,
        shared,
        own,
        packets,
    }
}

/// The largest first: two threads share them.
const CASES: [Case; 21] = [
    case(Shape::Flat, 10_000, 0.0, 0.001, 30),
    case(Shape::Flat, 10_000, 0.1, 0.0, 80),
    case(Shape::Tree, 10_000, 0.1, 0.0, 80),
    case(Shape::Flat, 10_000, 0.1, 0.001, 30),
    case(Shape::Tree, 10_000, 0.0, 0.001, 30),
    case(Shape::Flat, 1000, 0.1, 0.0, 200),
    case(Shape::Tree, 1000, 0.1, 0.0, 1000),
    case(Shape::Flat, 1000, 0.0, 0.001, 200),
    case(Shape::Flat, 100, 0.1, 0.0, 500),
    case(Shape::Flat, 100, 0.0, 0.01, 500),
    case(Shape::Flat, 10, 0.05, 0.0, 1000),
    case(Shape::Flat, 10, 0.0, 0.05, 1000),
    case(Shape::Flat, 5, 0.05, 0.0, 1000),
    case(Shape::Flat, 5, 0.0, 0.05, 1000),
    case(Shape::Flat, 3, 0.05, 0.0, 1000),
    case(Shape::Flat, 3, 0.0, 0.05, 1000),
    case(Shape::Host, 3, 0.05, 0.0, 1000),
    case(Shape::Flat, 2, 0.05, 0.0, 1000),
    case(Shape::Flat, 2, 0.0, 0.05, 1000),
    case(Shape::Flat, 1, 0.05, 0.0, 1000),
    case(Shape::Flat, 1, 0.0, 0.05, 1000),
];

/// What a run shows.
#[derive(Debug)]
struct Row {
    case: Case,
    /// Packets that some receiver lost.
    lost: usize,
    /// NAKs the source got for each of them, in their order.
    naks: Vec<u32>,
    /// Latency of repairs: half of them, 99 % and all are no slower, from when the lost packet was due.
    latency: [Duration; 3],
    /// NAK packets that receivers sent.
    sent_naks: u64,
    /// RDATA the source sent.
    rdata: u64,
    /// RDATA that arrived at receivers who lacked it, and who did not.
    useful: u64,
    duplicate: u64,
    /// Packets delivered and timers fired.
    events: u64,
    /// Most octets that the windows of all receivers held at once.
    octets: usize,
}

impl Row {
    fn mean(&self) -> f64 {
        let all: u32 = self.naks.iter().sum();
        f64::from(all) / self.lost.max(1) as f64
    }

    fn max(&self) -> u32 {
        self.naks.iter().copied().max().unwrap_or(0)
    }

    /// The most NAKs for a packet of the second half.
    fn later_max(&self) -> u32 {
        let second = self.naks.iter().skip(self.naks.len() / 2);
        second.copied().max().unwrap_or(0)
    }

    fn write(&self, out: &mut String) {
        let Case {
            shape,
            receivers,
            shared,
            own,
            packets,
        } = self.case;
        let loss = if own == 0.0 {
            format!("{:.1} % shared", shared * 100.0)
        } else if shared == 0.0 {
            format!("{:.1} % own", own * 100.0)
        } else {
            format!("{:.1} %, {:.1} % own", shared * 100.0, own * 100.0)
        };
        let shape = format!("{shape:?}").to_lowercase();
        let [p50, p99, max] = self.latency.map(|latency| latency.as_micros());
        let first = self.naks.first().copied().unwrap_or(0);
        let (mean, naks_max, later) = (self.mean(), self.max(), self.later_max());
        let Self {
            lost,
            sent_naks,
            rdata,
            useful,
            duplicate,
            events,
            octets,
            ..
        } = self;
        let _ = writeln!(
            out,
            "{shape:<5} {receivers:>9}  {loss:<18} {packets:>7} {lost:>5} {mean:>6.2} {first:>5} {naks_max:>5} {later:>5} \
             {p50:>7} {p99:>7} {max:>7} {sent_naks:>9} {rdata:>6} {useful:>8} {duplicate:>9} {events:>9} {octets:>9}",
        );
    }
}

fn source_config() -> SourceConfig {
    SourceConfig {
        start_ivl: ms(200),
        ..lan_source()
    }
}

/// The receivers of a tree, with `RTT` from source to receiver and back.
fn plant(net: &mut TestNet, receivers: usize) -> Vec<Rx> {
    // The default of 5 s is for networks whose sources repair over seconds.
    let config = ElementConfig {
        nak_elim_ivl: ms(50),
        nak_rdata_ivl: ms(500),
        ..ElementConfig::default()
    };
    let top = net.segment();
    net.element(config.clone(), &[Segment::FIRST, top]);
    let mut all = Vec::new();
    for _ in 0..10 {
        let mut segments = vec![top];
        segments.extend((0..10).map(|_| net.segment()));
        net.element(config.clone(), &segments);
        for segment in &segments[1..] {
            net.at(*segment);
            all.extend((0..receivers / 100).map(|_| net.receiver(lan_receiver())));
        }
    }
    all
}

/// Whether the `nth` packet of a type is lost for everybody.
fn is_lost(kind: Kind, nth: u64, share: f64) -> bool {
    fastrand::Rng::with_seed((kind as u64) << 32 | nth).f64() < share
}

fn run(case: &Case) -> Row {
    let hops = match case.shape {
        Shape::Flat | Shape::Host => 1,
        Shape::Tree => 3,
    };
    let link = Link {
        latency: RTT / 2 / hops,
        loss: case.own,
        ..Link::default()
    };
    let limits = EndpointConfig {
        max_peers: 4,
        max_bytes: 64 << 20,
    };
    let mut net = TestNet::seeded(4).links(link).limits(limits).counting();
    let tx = net.source(source_config());
    let receivers = match case.shape {
        Shape::Flat => (0..case.receivers)
            .map(|_| net.receiver(lan_receiver()))
            .collect(),
        Shape::Host => {
            let node = net.node();
            let listener = ListenConfig {
                group: GROUP,
                dport: DPORT,
                receiver: lan_receiver(),
            };
            (0..case.receivers)
                .map(|_| net.listen_on(node, listener.clone()))
                .collect()
        }
        Shape::Tree => plant(&mut net, case.receivers),
    };
    net.run_for(ms(400));
    let (from, share): (NodeId, f64) = (tx.node, case.shared);
    net.drop_if(move |flight, _| flight.from == from && is_lost(flight.kind, flight.nth, share));
    net.probe(RTT / 2);
    let before = net.events();
    let sent = messages(4, case.packets, 64);
    let mut octets = 0;
    for message in &sent {
        net.send_all(tx, [message]);
        net.run_for(PACE);
        octets = octets.max(net.bytes_held());
    }
    let is_complete = |net: &TestNet, rx: &Rx| net.count(*rx) == sent.len();
    for _ in 0..300 {
        if receivers.iter().all(|rx| is_complete(&net, rx)) {
            break;
        }
        net.run_for(ms(50));
        octets = octets.max(net.bytes_held());
    }
    let expected = sent.iter().fold(0, |sum, message| digest(sum, message));
    for rx in &receivers {
        let session = only_session(&net, *rx);
        assert_eq!(
            (session.count, session.digest),
            (sent.len(), expected),
            "{case:?} {rx:?}"
        );
        assert_eq!(session.end, None);
    }
    let probe = net.probed();
    assert_eq!(probe.missing(), 0);
    let (useful, duplicate) = probe.repairs();
    Row {
        case: *case,
        lost: probe.lost_packets(),
        naks: probe.naks_of(tx.tsi, Sqn(0)),
        latency: [0.5, 0.99, 1.0].map(|p| probe.latency(p)),
        sent_naks: {
            let all: BTreeSet<_> = receivers.iter().map(|rx| rx.node).collect();
            all.iter().map(|node| net.sent(*node, Kind::Nak)).sum()
        },
        rdata: net.sent(tx.node, Kind::Rdata),
        useful,
        duplicate,
        events: net.events() - before,
        octets,
    }
}

const HEAD: &str = "\
# One source, messages of 64 octets 1 ms apart, round trip 1 ms. lost: packets that some receiver lost. NAKs that the
# source got for each of them: mean, for the first, the most, the most in the second half. p50, p99, max: microseconds
# from when a lost packet was due until its repair came. sent: NAKs of all receivers. useful, dup: repairs that
# arrived where they were lacking, and where not. events: packets delivered and timers fired. octets: most that all
# windows held at once. Written by engine/tests/scale.rs with UPDATE=1.
shape receivers  loss               packets  lost   mean first   max later     p50     p99     max      sent  rdata   useful       dup    events    octets
";

#[test] // I-03, X-06
fn ten_thousand_receivers_do_not_implode_and_few_do_not_wait() {
    let rows = in_parallel(&CASES, run);
    let mut table = HEAD.to_owned();
    for row in &rows {
        row.write(&mut table);
    }
    assert_snapshot("scale.txt", &table);
    // What holds whatever the table says.
    for row in &rows {
        let Case {
            shape,
            receivers,
            shared,
            ..
        } = row.case;
        let [p50, p99, _] = row.latency;
        if receivers <= 5 {
            // Up to 1 ms of it until the next packet tells of the loss.
            assert!(p50 <= RTT + ms(3), "{row:?}");
            assert!(p99 <= RTT + ms(100), "{row:?}");
            // One repair, unless it was lost: NAKs that crossed it cause no other.
            assert!(row.rdata <= row.lost as u64 * 5 / 4, "{row:?}");
            // Each asks, and again where the repair was lost.
            assert!(row.mean() <= 1.1 * receivers as f64, "{row:?}");
        }
        if shape == Shape::Flat && shared > 0.0 && receivers >= 1000 {
            assert!(row.naks[0] <= 50, "the very first loss: {row:?}");
            assert!(row.later_max() <= 20, "after adaptation: {row:?}");
            assert!(row.mean() <= 10.0, "{row:?}");
        }
        assert!(p99 <= secs(1), "{row:?}");
    }
}
