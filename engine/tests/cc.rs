//! PGMCC over the simulated network: shares of a bottleneck, ackers that come and go, and nobody at all.

mod common;

use common::*;
use pgm_engine::endpoint::Arrival;
use pgm_engine::num::{Nla, Sqn};
use pgm_engine::source::{CongestionControl, Fec, SourceConfig};
use pgm_engine::stats::SourceStats;
use pgm_engine::testnet::{
    Bottleneck, Cast, Kind, Link, NodeId, Rx, TestNet, Tx, lan_receiver, lan_source,
};
use pgm_engine::wire::{Ack, Body, Options, PgmccFeedback, Tpdu};
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

/// A source with congestion control below 100 Mbit/s, as it is.
fn pgmcc() -> SourceConfig {
    SourceConfig {
        congestion_control: CongestionControl::Pgmcc,
        ..lan_source()
    }
}

/// The same with parity in groups of 8.
fn with_parity(proactive: u8, on_demand: bool) -> SourceConfig {
    SourceConfig {
        fec: Some(Fec {
            n: 255,
            k: 8,
            proactive,
            on_demand,
            little_endian: false,
        }),
        ..pgmcc()
    }
}

/// Ways of 5 ms each.
fn far() -> Link {
    Link {
        latency: ms(5),
        ..Link::default()
    }
}

/// The way into a node becomes a line of `rate` octets a second with 20 kB of queue.
fn narrow(net: &mut TestNet, rx: Rx, rate: u64) {
    net.link_mut(rx.node, Cast::Group).bottleneck = Some(Bottleneck {
        rate,
        queue: 20_000,
    });
}

/// Ever more messages of 1000 octets.
fn feed(net: &mut TestNet, tx: Tx, count: u64) {
    net.send_all(tx, messages(0, count, 1000));
}

fn stats(net: &mut TestNet, tx: Tx) -> SourceStats {
    let now = net.now();
    let stats = net.endpoint(tx.node).source_stats(now, tx.id);
    stats.expect("the source")
}

/// Octets of data a second that `tx` sends during `time`.
fn rate(net: &mut TestNet, tx: Tx, time: Duration) -> f64 {
    let before = stats(net, tx).data_bytes_sent;
    net.run_for(time);
    (stats(net, tx).data_bytes_sent - before) as f64 / time.as_secs_f64()
}

/// What data packets called their acker last.
fn watch_acker(net: &mut TestNet) -> Rc<RefCell<Option<Nla>>> {
    let acker = Rc::new(RefCell::new(None));
    let seen = acker.clone();
    net.drop_if(move |flight, _| {
        if let Some(data) = &flight.tpdu.options.pgmcc_data {
            *seen.borrow_mut() = Some(data.acker);
        }
        false
    });
    acker
}

fn address(node: NodeId) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, node.0 as u8 + 1)
}

#[test]
fn acks_that_are_of_use_are_no_news() {
    let mut net = sim(TestNet::seeded(20).links(far()));
    let rx = net.receiver(lan_receiver());
    let tx = net.source(pgmcc());
    narrow(&mut net, rx, 500_000);
    feed(&mut net, tx, 2_000);
    net.run_for(secs(5));
    let stats = stats(&mut net, tx);
    assert!(stats.acks_received > 1_000, "{stats:?}");
    let other = net.endpoint(tx.node).stats().other_requests;
    assert!(other * 20 < stats.acks_received, "{other} dropped");
}

#[test] // S-34, C-06
fn the_rate_becomes_that_of_the_bottleneck() {
    for (seed, line) in [(1, 125_000), (2, 500_000), (3, 2_000_000)] {
        let mut net = sim(TestNet::seeded(seed).links(far()));
        let rx = net.receiver(lan_receiver());
        narrow(&mut net, rx, line);
        let tx = net.source(pgmcc());
        feed(&mut net, tx, 60_000);
        net.run_for(secs(10));
        let share = rate(&mut net, tx, secs(10)) / line as f64;
        assert!((0.6..1.0).contains(&share), "{share} of {line}");
        let stats = stats(&mut net, tx);
        // Not by losing much: the window finds its size.
        assert!(stats.rdata_sent * 10 < stats.odata_sent, "{stats:?}");
    }
}

#[test]
fn everything_arrives_whatever_the_line() {
    for seed in 1..6 {
        let mut net = sim(TestNet::seeded(seed).links(Link {
            loss: 0.02,
            ..far()
        }));
        let rxs = net.receivers([(); 3].map(|()| lan_receiver()));
        narrow(&mut net, rxs[1], 300_000);
        let tx = net.source(SourceConfig {
            first_sqn: Sqn(u32::MAX - 300),
            ..pgmcc()
        });
        let sent = mixed(seed, 1_500, 3_000);
        net.send_all(tx, &sent);
        net.close(tx);
        net.run_until_idle();
        for rx in rxs {
            assert_all_and_fin(&net, rx, &sent);
        }
        net.run_for(secs(15));
        assert!(net.is_finished(tx));
    }
}

#[test]
fn parity_and_congestion_control_go_together() {
    for (seed, proactive, on_demand) in [(1, 1, false), (2, 0, true), (3, 2, true)] {
        let mut net = sim(TestNet::seeded(seed).links(Link {
            loss: 0.03,
            ..far()
        }));
        let rxs = net.receivers([(); 3].map(|()| lan_receiver()));
        narrow(&mut net, rxs[1], 300_000);
        let tx = net.source(SourceConfig {
            first_sqn: Sqn(u32::MAX - 300),
            ..with_parity(proactive, on_demand)
        });
        let sent = mixed(seed, 1_000, 3_000);
        net.send_all(tx, &sent);
        net.close(tx);
        net.run_until_idle();
        for rx in rxs {
            assert_all_and_fin(&net, rx, &sent);
        }
        assert!(stats(&mut net, tx).acks_received > 100);
    }
}

#[test]
fn sqns_that_short_groups_leave_out_are_not_lost() {
    let mut net = sim(TestNet::seeded(5).links(far()));
    let rx = net.receiver(lan_receiver());
    let acks = Rc::new(RefCell::new(0));
    let count = acks.clone();
    net.drop_if(move |flight, _| {
        if let Some(feedback) = &flight.tpdu.options.pgmcc_feedback {
            *count.borrow_mut() += 1;
            assert_eq!(feedback.loss_rate, 0, "at {:?}", flight.at);
        }
        false
    });
    let tx = net.source(with_parity(1, true));
    // Three packets of each eight SQNs are used.
    for lump in 0..200 {
        net.send_all(tx, messages(lump, 3, 1000));
        net.run_for(ms(50));
    }
    assert_eq!(net.count(rx), 600);
    assert!(*acks.borrow() > 500);
    let stats = stats(&mut net, tx);
    assert!(stats.lead - stats.trail > 1_000, "{stats:?}");
    assert_eq!((stats.cc_timeouts, stats.ackers_elected), (0, 1));
    // Nothing halved the window; three packets in flight let it grow no further than to six.
    assert!((4..=7).contains(&stats.cc_window), "{stats:?}");
}

#[test]
fn the_fixed_rate_stays_the_ceiling() {
    let mut net = sim(TestNet::seeded(4).latency(us(100)));
    let rx = net.receiver(lan_receiver());
    let tx = net.source(SourceConfig {
        rate: Some(400_000),
        ..pgmcc()
    });
    feed(&mut net, tx, 5_000);
    net.run_for(secs(2));
    let rate = rate(&mut net, tx, secs(5));
    assert!((350_000.0..400_000.0).contains(&rate), "{rate}");
    assert_eq!(net.naks(rx), 1, "the one that elected");
}

#[test]
fn two_sources_share_a_bottleneck() {
    for seed in 1..4 {
        let mut net = sim(TestNet::seeded(seed).links(far()));
        let rx = net.receiver(lan_receiver());
        narrow(&mut net, rx, 1_000_000);
        let first = net.source(pgmcc());
        feed(&mut net, first, 60_000);
        net.run_for(secs(5));
        let second = net.source(pgmcc());
        feed(&mut net, second, 60_000);
        net.run_for(secs(15));
        let before = [first, second].map(|tx| stats(&mut net, tx).data_bytes_sent);
        net.run_for(secs(20));
        let after = [first, second].map(|tx| stats(&mut net, tx).data_bytes_sent);
        let [a, b] = [0, 1].map(|i| (after[i] - before[i]) as f64 / 20e6);
        assert!((0.5..2.0).contains(&(a / b)), "{a} and {b} of the line");
        assert!((0.6..1.0).contains(&(a + b)), "{a} and {b} of the line");
    }
}

#[test] // C-08, C-09
fn the_slowest_receiver_is_the_acker_while_it_is_there() {
    let mut net = sim(TestNet::seeded(7).links(far()));
    let fast = net.receiver(lan_receiver());
    narrow(&mut net, fast, 2_000_000);
    let acker = watch_acker(&mut net);
    let tx = net.source(pgmcc());
    feed(&mut net, tx, 200_000);
    net.run_for(secs(10));
    assert_eq!(*acker.borrow(), Some(address(fast.node).into()));
    let alone = rate(&mut net, tx, secs(10));
    assert!(alone > 1_200_000.0, "{alone}");

    let slow = net.receiver(lan_receiver());
    narrow(&mut net, slow, 200_000);
    net.run_for(secs(15));
    let with_slow = rate(&mut net, tx, secs(10));
    assert_eq!(*acker.borrow(), Some(address(slow.node).into()));
    assert!((100_000.0..220_000.0).contains(&with_slow), "{with_slow}");

    net.kill(slow.node);
    net.run_for(secs(20));
    let again = rate(&mut net, tx, secs(10));
    assert_eq!(*acker.borrow(), Some(address(fast.node).into()));
    assert!(again > 1_200_000.0, "{again}");
}

#[test] // C-09: with nobody who acknowledges, ten packets a second, and an end
fn without_receivers_the_source_gets_on_slowly_and_ends() {
    let mut net = sim(TestNet::seeded(8));
    let acker = watch_acker(&mut net);
    let tx = net.source(pgmcc());
    feed(&mut net, tx, 100);
    net.close(tx);
    net.run_for(ms(5_050));
    assert_eq!(net.sent(tx.node, Kind::Odata), 51);
    net.run_for(secs(5));
    assert_eq!(net.sent(tx.node, Kind::Odata), 100);
    net.run_for(secs(15));
    assert!(net.is_finished(tx));
    assert_eq!(*acker.borrow(), None, "nobody to see it");
}

#[test]
fn a_receiver_that_comes_later_is_found() {
    let mut net = sim(TestNet::seeded(9).links(far()));
    let tx = net.source(pgmcc());
    feed(&mut net, tx, 1_000);
    net.run_for(secs(3));
    assert_eq!(net.sent(tx.node, Kind::Odata), 31);
    let rx = net.receiver(lan_receiver());
    net.run_for(secs(5));
    assert_eq!(net.sent(tx.node, Kind::Odata), 1_000);
    assert!(net.count(rx) > 900);
}

#[test]
fn repairs_go_on_when_nothing_is_acknowledged_any_more() {
    let mut net = sim(TestNet::seeded(17).links(Link { loss: 0.1, ..far() }));
    let first = net.receiver(lan_receiver());
    let tx = net.source(SourceConfig {
        late_join_percent: 75,
        ..pgmcc()
    });
    let sent = messages(3, 2_000, 1000);
    net.send_all(tx, &sent);
    assert!(net.run_until(secs(60), |net| net.count(first) == sent.len()));
    net.run_for(secs(2));
    net.kill(first.node);
    let late = net.receiver(lan_receiver());
    net.close(tx);
    net.run_until_idle();
    assert_all_and_fin(&net, late, &sent[500..]);
}

#[test] // C-10: all in the group, one acknowledges
fn only_the_acker_acknowledges() {
    let mut net = sim(TestNet::seeded(10).links(far()));
    let rxs = net.receivers([(); 5].map(|()| lan_receiver()));
    let tx = net.source(pgmcc());
    let sent = messages(1, 2_000, 1000);
    net.send_all(tx, &sent);
    net.close(tx);
    net.run_until_idle();
    let acks: Vec<u64> = rxs.iter().map(|rx| net.sent(rx.node, Kind::Ack)).collect();
    assert_eq!(acks.iter().filter(|n| **n > 0).count(), 1, "{acks:?}");
    assert!(acks.iter().sum::<u64>() > 1_900, "{acks:?}");
    for rx in rxs {
        assert_all_and_fin(&net, rx, &sent);
    }
}

#[test] // C-12: of a hundred receivers few speak
fn the_election_is_quiet() {
    let mut net = sim(TestNet::seeded(11).latency(us(300)));
    for _ in 0..100 {
        net.receiver(lan_receiver());
    }
    let tx = net.source(pgmcc());
    feed(&mut net, tx, 1_000);
    net.run_for(secs(3));
    let naks = net.sent_by_all(Kind::Nak);
    assert!((1..=10).contains(&naks), "{naks}");
    assert_eq!(stats(&mut net, tx).ackers_elected, 1);
    assert_eq!(net.sent(tx.node, Kind::Odata), 1_000);
}

#[test]
fn lost_acks_cost_little() {
    let run = |loss: f64| {
        let mut net = sim(TestNet::seeded(12).links(far()));
        let rx = net.receiver(lan_receiver());
        narrow(&mut net, rx, 500_000);
        let tx = net.source(pgmcc());
        let mut rng = fastrand::Rng::with_seed(3);
        net.drop_if(move |flight, _| flight.kind == Kind::Ack && rng.f64() < loss);
        feed(&mut net, tx, 60_000);
        net.run_for(secs(10));
        rate(&mut net, tx, secs(20))
    };
    let (all, half) = (run(0.0), run(0.5));
    assert!(half > all * 0.6, "{half} instead of {all}");
}

#[test]
fn without_congestion_control_nothing_is_different() {
    let mut net = sim(TestNet::seeded(13).loss(0.05));
    let rx = net.receiver(lan_receiver());
    net.drop_if(|flight, _| {
        let options = &flight.tpdu.options;
        assert!(options.pgmcc_data.is_none() && options.pgmcc_feedback.is_none());
        assert!(options.cr.is_none() && options.crqst.is_none());
        assert!(flight.kind != Kind::Ack);
        false
    });
    let tx = net.source(lan_source());
    let sent = messages(2, 2_000, 1000);
    net.send_all(tx, &sent);
    net.close(tx);
    net.run_until_idle();
    assert_all_and_fin(&net, rx, &sent);
}

/// Feedback that somebody at `from` makes up for `tx`, with an echo of 40 ms before.
fn forge(net: &mut TestNet, tx: Tx, from: Ipv4Addr, name: Ipv4Addr, body: Body, loss_rate: u16) {
    let timestamp = net.elapsed().as_millis() as u32 - 40;
    let options = Options {
        pgmcc_feedback: Some(PgmccFeedback {
            timestamp,
            loss_rate,
            receiver: name.into(),
        }),
        ..Options::default()
    };
    let port = pgm_engine::testnet::DPORT;
    let bytes = packet(tx.tsi, port, body, options, &[]);
    let tpdu = Tpdu::parse(&bytes).expect("a packet");
    assert!(tpdu.body.is_upstream());
    let now = net.now();
    let arrival = Arrival { from, group: None };
    net.endpoint(tx.node).handle_tpdu(now, arrival, &bytes);
    net.touch(tx.node);
}

#[test]
fn acks_in_the_name_of_the_acker_do_not_count() {
    let mut net = sim(TestNet::seeded(14).links(far()));
    let rx = net.receiver(lan_receiver());
    narrow(&mut net, rx, 300_000);
    let tx = net.source(pgmcc());
    feed(&mut net, tx, 60_000);
    net.run_for(secs(5));
    let honest = rate(&mut net, tx, secs(10));
    let before = stats(&mut net, tx);
    for _ in 0..5_000 {
        net.run_for(ms(2));
        let lead = Sqn(stats(&mut net, tx).lead as u32);
        let ack = Ack {
            rx_max: lead,
            bitmap: u32::MAX,
        };
        let stranger = Ipv4Addr::new(10, 6, 6, 6);
        forge(&mut net, tx, stranger, address(rx.node), Body::Ack(ack), 0);
    }
    let after = stats(&mut net, tx);
    let forged = (after.data_bytes_sent - before.data_bytes_sent) as f64 / 10.0;
    assert!(forged < honest * 1.3, "{forged} instead of {honest}");
    assert!(after.acks_ignored - before.acks_ignored >= 5_000);
}

#[test]
fn a_greedy_receiver_is_found_out() {
    // It claims to lose much until it is the acker, and then acknowledges whatever is sent.
    let mut net = sim(TestNet::seeded(15).links(far()));
    let rx = net.receiver(lan_receiver());
    narrow(&mut net, rx, 300_000);
    let acker = watch_acker(&mut net);
    let tx = net.source(SourceConfig {
        rate: Some(3_000_000),
        ..pgmcc()
    });
    feed(&mut net, tx, 100_000);
    net.run_for(secs(5));
    let greedy = Ipv4Addr::new(10, 6, 6, 6);
    let (mut reigned, mut sent) = (0, 0);
    for _ in 0..15_000 {
        net.run_for(ms(1));
        let now = stats(&mut net, tx);
        let ack = Ack {
            rx_max: Sqn(now.lead as u32),
            bitmap: u32::MAX,
        };
        forge(&mut net, tx, greedy, greedy, Body::Ack(ack), u16::MAX);
        reigned += u32::from(*acker.borrow() == Some(greedy.into()));
        sent = now.data_bytes_sent;
    }
    assert!(reigned > 0, "it was the acker");
    assert!(reigned < 1_500, "but not for long: {reigned} ms");
    assert_eq!(only_session(&net, rx).end, None, "the other one goes on");
    // And never beyond the ceiling.
    assert!(sent < 20 * 3_000_000);
}

#[test]
fn feedback_that_cannot_be_true_elects_nobody() {
    let mut net = sim(TestNet::seeded(16));
    let tx = net.source(pgmcc());
    feed(&mut net, tx, 100);
    net.run_for(secs(1));
    let who = Ipv4Addr::new(10, 6, 6, 6);
    let nak = |timestamp, name: Ipv4Addr| {
        let (source, group) = (address(tx.node).into(), pgm_engine::testnet::GROUP.into());
        let nak = pgm_engine::wire::Nak {
            sqn: Sqn(0),
            list: Default::default(),
            source,
            group,
        };
        let feedback = PgmccFeedback {
            timestamp,
            loss_rate: 9,
            receiver: name.into(),
        };
        let options = Options {
            pgmcc_feedback: Some(feedback),
            ..Options::default()
        };
        packet(
            tx.tsi,
            pgm_engine::testnet::DPORT,
            Body::Nak(nak),
            options,
            &[],
        )
    };
    let mut elected = |bytes: &[u8]| {
        let (now, arrival) = (
            net.now(),
            Arrival {
                from: who,
                group: None,
            },
        );
        net.endpoint(tx.node).handle_tpdu(now, arrival, bytes);
        stats(&mut net, tx).ackers_elected
    };
    // Echoes of the future and of long before the start, and nobody's.
    for timestamp in [1_500, u32::MAX - 1_000, 1 << 31] {
        assert_eq!(elected(&nak(timestamp, who)), 0, "{timestamp}");
    }
    assert_eq!(elected(&nak(990, Ipv4Addr::UNSPECIFIED)), 0);
    assert_eq!(elected(&nak(990, who)), 1);
}
