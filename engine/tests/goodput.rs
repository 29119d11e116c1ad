//! Goodput under loss, with and without parity, in virtual time. The figures are tests/snapshots/goodput.txt; a
//! change that moves one fails the test until the table is written anew:
//! `UPDATE=1 cargo nextest run -p pgm-engine --test goodput`.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use pgm_engine::source::{self, SourceConfig};
use pgm_engine::testnet::{Burst, Cast, Kind, Link, TestNet, digest, lan_receiver, lan_source};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Messages of one TPDU each.
const MESSAGES: u64 = 600;
const LEN: usize = 1400;
/// Octets per second.
const RATE: u64 = 2_000_000;
/// Mean length of a burst of losses.
const BURST: Duration = ms(5);

/// What the source offers beside selective repairs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fec {
    Off,
    /// Parity where it is asked for: RS(255, 16).
    OnDemand,
    /// Four parity packets with each group of sixteen, and more where they are asked for.
    Proactive,
}

const FECS: [Fec; 3] = [Fec::Off, Fec::OnDemand, Fec::Proactive];

impl Fec {
    fn source(self) -> SourceConfig {
        let config = SourceConfig {
            rate: Some(RATE),
            ..lan_source()
        };
        let parity = |proactive| source::Fec {
            n: 255,
            k: 16,
            proactive,
            on_demand: true,
            little_endian: false,
        };
        let fec = match self {
            Self::Off => None,
            Self::OnDemand => Some(parity(0)),
            Self::Proactive => Some(parity(4)),
        };
        SourceConfig {
            fec,
            // The end of a session is not what is measured here.
            linger_quiet: secs(5),
            linger_max: secs(120),
            ..config
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::OnDemand => "on-demand",
            Self::Proactive => "pro-active",
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Case {
    /// Percent of packets lost, data and NAKs alike.
    loss: u32,
    burst: bool,
    receivers: usize,
    fec: Fec,
}

#[derive(Debug)]
struct Row {
    case: Case,
    /// From the first message handed over to the last one given, at the slowest receiver.
    took: Duration,
    naks: u64,
    rdata: u64,
    /// Parity sent before anybody asked.
    extra: u64,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for receivers in [100, 10, 1] {
        for fec in FECS {
            for loss in [50, 30, 20, 10, 5, 1, 0] {
                for burst in [true, false] {
                    if loss > 0 || !burst {
                        cases.push(Case {
                            loss,
                            burst,
                            receivers,
                            fec,
                        });
                    }
                }
            }
        }
    }
    cases
}

impl Case {
    fn link(self) -> Link {
        let share = f64::from(self.loss) / 100.0;
        let mut link = Link {
            latency: us(500),
            ..Link::default()
        };
        if self.burst {
            let every = BURST.mul_f64((1.0 - share) / share);
            link.burst = Some(Burst {
                every,
                lasts: BURST,
            });
        } else {
            link.loss = share;
        }
        link
    }
}

fn run(case: &Case) -> Row {
    let mut net = TestNet::seeded(5).latency(us(500)).counting();
    let tx = net.source(case.fec.source());
    let receivers: Vec<_> = (0..case.receivers)
        .map(|_| net.receiver(lan_receiver()))
        .collect();
    net.run_for(ms(100));
    for node in receivers.iter().map(|rx| rx.node).chain([tx.node]) {
        for cast in [Cast::Group, Cast::Host] {
            *net.link_mut(node, cast) = case.link();
        }
    }
    let sent = messages(5, MESSAGES, LEN);
    let begun: Instant = net.now();
    net.send_all(tx, &sent);
    net.close(tx);
    net.run_until_idle();
    let expected = sent.iter().fold(0, |sum, message| digest(sum, message));
    let mut took = Duration::ZERO;
    for rx in &receivers {
        let session = only_session(&net, *rx);
        assert_eq!(
            (session.count, session.digest),
            (sent.len(), expected),
            "{case:?} {rx:?}"
        );
        took = took.max(session.last.unwrap() - begun);
    }
    Row {
        case: *case,
        took,
        naks: net.sent_by_all(Kind::Nak),
        rdata: net.sent(tx.node, Kind::Rdata),
        extra: net.sent(tx.node, Kind::Odata) - MESSAGES,
    }
}

const HEAD: &str = "\
# 600 messages of 1400 octets at 2 MB/s, round trip 1 ms; loss of all packets at each receiver, and of NAKs at the
# source, at random or in bursts of 5 ms on average. goodput: of the loss-free run without parity, at the slowest
# receiver. naks: of all receivers. rdata: repairs the source sent, parity that was asked for among them; extra: parity
# that was not. Groups are of 16, with 4 parity packets where it is pro-active. Written by engine/tests/goodput.rs with UPDATE=1.
receivers  parity      loss %  kind    goodput %     naks    rdata    extra
";

#[test]
fn goodput_under_loss() {
    let mut rows = in_parallel(&cases(), run);
    rows.reverse();
    let mut table = HEAD.to_owned();
    let clean = |receivers| {
        let row = rows.iter().find(|row| {
            row.case.receivers == receivers && row.case.loss == 0 && row.case.fec == Fec::Off
        });
        row.unwrap().took
    };
    for row in &rows {
        let Case {
            loss,
            burst,
            receivers,
            fec,
        } = row.case;
        let goodput = 100.0 * clean(receivers).as_secs_f64() / row.took.as_secs_f64();
        let (kind, fec) = (if burst { "burst" } else { "random" }, fec.name());
        let (naks, rdata, extra) = (row.naks, row.rdata, row.extra);
        let _ = writeln!(
            table,
            "{receivers:>9}  {fec:<10} {loss:>7}  {kind:<6} {goodput:>10.1} {naks:>8} {rdata:>8} {extra:>8}"
        );
        if loss == 0 {
            assert_eq!((row.naks, row.rdata), (0, 0), "{row:?}");
        }
    }
    assert_snapshot("goodput.txt", &table);
}
