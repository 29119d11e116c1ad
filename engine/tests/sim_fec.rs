//! Sources and receivers with forward error correction over lossy links: everything arrives, and what FEC is
//! for can be seen in the counts (RFC 3208 §11).

mod common;

use common::*;
use pgm_engine::num::Sqn;
use pgm_engine::receiver::{ParityNaks, ReceiverConfig};
use pgm_engine::source::{Fec, SourceConfig};
use pgm_engine::stats::ReceiverStats;
use pgm_engine::testnet::{Burst, Kind, Link, Pace, Rx, TestNet, lan_receiver, lan_source};

/// RS(255, k) with so many pro-active parity packets.
fn fec(k: u8, proactive: u8, on_demand: bool) -> SourceConfig {
    SourceConfig {
        fec: Some(Fec {
            n: 255,
            k,
            proactive,
            on_demand,
            little_endian: false,
        }),
        ..lan_source()
    }
}

fn losing(loss: f64) -> Link {
    Link {
        latency: us(200),
        loss,
        ..Link::default()
    }
}

/// Counters of the one session of `rx`.
fn stats(net: &mut Sim, rx: Rx) -> ReceiverStats {
    let (id, now) = (only_session(net, rx).id, net.now());
    let stats = net.endpoint(rx.node).session_stats(now, id);
    stats.expect("the session is open")
}

/// Three receivers whose links lose independently; everything must arrive, and FIN.
fn transfer(seed: u64, link: Link, config: SourceConfig, sent: &[Vec<u8>]) -> (Sim, [Rx; 3]) {
    let mut net = sim(TestNet::seeded(seed).links(link));
    let receivers = net.receivers([(); 3].map(|()| lan_receiver()));
    let tx = net.source(config);
    net.send_all(tx, sent);
    net.close(tx);
    net.run_until_idle();
    for rx in receivers {
        assert_all_and_fin(&net, rx, sent);
    }
    net.run_for(secs(15));
    assert!(net.is_finished(tx));
    (net, receivers)
}

/// The offers there are, for a group of k.
fn offers(k: u8) -> [SourceConfig; 3] {
    let h = (k / 4).max(1);
    [fec(k, 0, true), fec(k, h, false), fec(k, h, true)]
}

#[test] // F-23, F-31: every k, either kind and both, fragmented APDUs, no loss to heavy loss
fn everything_arrives_whatever_is_lost() {
    for (seed, k) in [2, 8, 32, 128].into_iter().enumerate() {
        for (n, loss) in [0.0, 0.01, 0.05, 0.2, 0.5].into_iter().enumerate() {
            let sent = mixed(seed as u64, if loss > 0.3 { 150 } else { 300 }, 5000);
            for (i, config) in offers(k).into_iter().enumerate() {
                let seed = (seed * 100 + n * 10 + i) as u64;
                let (net, _) = transfer(seed, losing(loss), config, &sent);
                if loss == 0.0 {
                    let naks = net.sent_by_all(Kind::Nak);
                    assert_eq!((naks, net.sent_by_all(Kind::Rdata)), (0, 0), "k {k}");
                }
            }
        }
    }
}

#[test] // F-24, F-06: more is lost of many groups than there is parity for, and is asked for by SQN before the source forgets it
fn little_parity_loses_nothing() {
    for (seed, (n, k, proactive)) in [(10, 8, 0), (20, 16, 0), (18, 16, 2), (72, 64, 4), (3, 2, 0)]
        .into_iter()
        .enumerate()
    {
        for loss in [0.1, 0.3] {
            let config = SourceConfig {
                fec: Some(Fec {
                    n,
                    k,
                    proactive,
                    on_demand: true,
                    little_endian: false,
                }),
                rate: Some(5_000_000),
                window_bytes: 4_000_000,
                window_ivl: ms(800),
                ..lan_source()
            };
            let sent = messages(600, 8000, 1000);
            transfer(600 + seed as u64, losing(loss), config, &sent);
        }
    }
}

#[test] // F-31: bursts that take whole groups, packets out of order and doubled
fn everything_arrives_through_bursts_and_disorder() {
    let burst = Some(Burst {
        every: ms(45),
        lasts: ms(5),
    });
    let bursty = Link {
        latency: us(200),
        burst,
        ..Link::default()
    };
    let jumbled = Link {
        latency: us(200),
        jitter: ms(2),
        loss: 0.05,
        duplicates: 0.05,
        ..Link::default()
    };
    for (seed, k) in [2, 8, 32, 128].into_iter().enumerate() {
        for (i, config) in offers(k).into_iter().enumerate() {
            let seed = 500 + 10 * seed as u64 + i as u64;
            let sent = mixed(seed, 600, 4000);
            transfer(seed, bursty, config.clone(), &sent);
            transfer(seed, jumbled, config, &sent);
        }
    }
}

#[test] // F-23: with as much pro-active parity as is lost of each group nobody asks for anything
fn enough_proactive_parity_leaves_nothing_to_ask_for() {
    for (k, h) in [(8u8, 2u64), (32, 5)] {
        let mut net = sim(TestNet::seeded(9).latency(us(200)));
        // Of every k + h packets in their order the first h are lost.
        let n = u64::from(k) + h;
        net.drop_if(move |flight, _| flight.kind == Kind::Odata && (flight.nth - 1) % n < h);
        let receivers = net.receivers([(); 3].map(|()| lan_receiver()));
        let tx = net.source(fec(k, h as u8, true));
        let sent = messages(9, 40 * u64::from(k), 1000);
        net.send_all(tx, &sent);
        net.run_until_idle();
        for rx in receivers {
            assert_all(&net, rx, &sent);
            assert_eq!(stats(&mut net, rx).recovered_by_parity, 40 * h);
        }
        let counts = [Kind::Nak, Kind::Ncf, Kind::Rdata].map(|kind| net.sent_by_all(kind));
        assert_eq!(counts, [0; 3], "k {k}");
    }
}

#[test] // F-24, F-25: on demand, one parity packet repairs what each of a hundred receivers lost
fn a_hundred_receivers_lose_different_packets() {
    let mut repairs = Vec::new();
    for config in [fec(32, 0, true), lan_source()] {
        let mut net = sim(TestNet::seeded(11).latency(us(200)));
        let receivers = net.receivers([(); 100].map(|()| lan_receiver()));
        let nodes = receivers.map(|rx| rx.node);
        net.drop_if(move |flight, to| {
            let n = nodes.iter().position(|node| *node == to);
            let row = flight.nth as usize % 32;
            flight.kind == Kind::Odata && n.is_some_and(|n| n % 32 == row)
        });
        let tx = net.source(config);
        let sent = messages(11, 32 * 20, 1000);
        net.send_all(tx, &sent);
        net.run_until_idle();
        for rx in receivers {
            assert_all(&net, rx, &sent);
        }
        repairs.push((net.sent_by_all(Kind::Nak), net.sent_by_all(Kind::Rdata)));
    }
    let [(naks, rdata), (plain_naks, plain_rdata)] = repairs[..] else {
        panic!("two runs");
    };
    // Twenty groups, one packet each, and some that were asked for twice.
    assert!(rdata <= 60 && rdata * 5 < plain_rdata, "{repairs:?}");
    assert!(naks <= 200 && naks < plain_naks, "{repairs:?}");
}

#[test] // F-17, F-18, F-20, F-33: messages now and then: every group is short, and the last is repaired soon
fn groups_that_pauses_cut_short() {
    for config in offers(8).into_iter().chain(offers(32)) {
        for seed in 0..4 {
            let mut net = sim(TestNet::seeded(20 + seed).links(losing(0.1)));
            let receivers = net.receivers([(); 3].map(|()| lan_receiver()));
            let tx = net.source(config.clone());
            net.run_for(ms(1500));
            let mut sent = Vec::new();
            for burst in 0..40 {
                for _ in 0..1 + burst % 5 {
                    sent.push(message(seed, sent.len() as u64, 700));
                    net.send_all(tx, [sent.last().expect("just pushed")]);
                }
                net.run_for(ms(60));
            }
            net.run_for(secs(1));
            for rx in receivers {
                assert_all(&net, rx, &sent);
                let stats = stats(&mut net, rx);
                assert_eq!(stats.lost_window_advanced + stats.loss_gaps, 0);
                assert_eq!((stats.pending_naks, stats.outstanding_naks), (0, 0));
            }
            net.close(tx);
            net.run_until_idle();
            for rx in receivers {
                assert_all_and_fin(&net, rx, &sent);
            }
        }
    }
}

#[test] // SQNs wrap at the beginning, in the middle and at the end of a group
fn groups_across_both_wraps() {
    for wrap in [0u32, 1 << 31] {
        for before in [1, 7, 16, 33, 100] {
            let config = SourceConfig {
                first_sqn: Sqn(wrap.wrapping_sub(before)),
                ..fec(16, 2, true)
            };
            let sent = mixed(before.into(), 150, 3000);
            transfer(before.into(), losing(0.1), config, &sent);
        }
    }
}

#[test] // who comes in the middle of a group gets everything from its first packet on
fn late_joiners_begin_in_the_middle_of_a_group() {
    for seed in 0..10 {
        for config in offers(32) {
            let mut net = sim(TestNet::seeded(300 + seed).links(losing(0.1)));
            let early = net.receiver(lan_receiver());
            let tx = net.source(config);
            let sent = messages(seed, 1200, 1400);
            net.run_for(ms(1500));
            net.send_all(tx, &sent);
            net.run_for(ms(30) + us(700 * seed));
            let late = net.receiver(lan_receiver());
            net.run_until_idle();
            net.close(tx);
            net.run_until_idle();
            assert_all_and_fin(&net, early, &sent);
            let got = net.delivered(late);
            assert!(got.len() > 300 && got.len() < sent.len(), "{}", got.len());
            assert_all_and_fin(&net, late, &sent[sent.len() - got.len()..]);
        }
    }
}

#[test] // out of order, on after loss, only listening
fn every_mode_works_with_parity() {
    let with = |change: fn(&mut ReceiverConfig)| {
        let mut config = lan_receiver();
        change(&mut config);
        config
    };
    for (seed, config) in (40..).zip(offers(8)) {
        let mut net = sim(TestNet::seeded(seed).links(losing(0.1)));
        let unordered = net.receiver(with(|c| c.unordered = true));
        let tolerant = net.receiver(with(|c| c.continue_on_loss = true));
        let selective = net.receiver(with(|c| c.parity_naks = ParityNaks::Off));
        let listener = net.receiver(with(|c| c.listen_only = true));
        let slow = net.receiver(lan_receiver());
        net.read(slow, Pace::Every(us(900)));
        let tx = net.source(config);
        let sent = mixed(seed, 600, 4000);
        net.send_all(tx, &sent);
        net.close(tx);
        net.run_until_idle();
        for rx in [tolerant, selective, slow] {
            assert_all_and_fin(&net, rx, &sent);
        }
        let mut all = sent.clone();
        let mut got = net.delivered(unordered);
        all.sort();
        got.sort();
        assert!(
            difference(&got, &all).is_none(),
            "{:?}",
            difference(&got, &all)
        );
        assert_eq!(net.naks(listener), 0);
        let heard = net.delivered(listener);
        assert!(
            heard.len() > sent.len() / 2
                && heard.iter().all(|m| sent.iter().any(|s| s[..] == m[..]))
        );
    }
}

#[test] // data that is too new for a full window does not push out the parity of what is older
fn a_stream_goes_on_behind_a_full_window() {
    for (window, loss) in [(64, 0.05), (128, 0.05), (128, 0.2), (256, 0.2)] {
        let mut net = sim(TestNet::seeded(3).links(losing(loss)));
        let rx = net.receiver(ReceiverConfig {
            rxw_bytes: window << 10,
            ..lan_receiver()
        });
        let tx = net.source(SourceConfig {
            rate: Some(12_500_000),
            window_bytes: 10_000_000,
            window_ivl: ms(800),
            ..fec(16, 0, true)
        });
        let sent = messages(70, 600, 20_000);
        for message in &sent {
            net.send_all(tx, [message]);
            net.run_for(ms(5));
        }
        net.close(tx);
        net.run_until_idle();
        assert_all_and_fin(&net, rx, &sent);
    }
}

#[test] // F-22: a receiver without room for its groups is repaired all the same
fn small_windows_work_with_parity() {
    for (seed, config) in (60..).zip(offers(32)) {
        let mut net = sim(TestNet::seeded(seed).links(losing(0.05)));
        let small = ReceiverConfig {
            rxw_bytes: 20_000,
            ..lan_receiver()
        };
        let rx = net.receiver(small);
        let tx = net.source(config);
        let sent = mixed(seed, 300, 3000);
        net.send_all(tx, &sent);
        net.close(tx);
        net.run_until_idle();
        assert_all_and_fin(&net, rx, &sent);
    }
}

#[test] // F-17, F-18, F-20, F-31: bursts that end anywhere in a group, now and then just as another begins
fn pauses_cut_groups_anywhere() {
    for (len, count) in [(1, 1500), (1444, 600), (20_000, 100)] {
        for (config, loss) in offers(8).into_iter().zip([0.05, 0.2, 0.2]) {
            for seed in 0..10 {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut net = sim(TestNet::seeded(7000 + seed).links(losing(loss)));
                let rx = net.receiver(lan_receiver());
                let tx = net.source(config.clone());
                let octets = |_| std::iter::repeat_with(|| random.u8(..)).take(len).collect();
                let sent: Vec<Vec<u8>> = (0..count).map(octets).collect();
                let mut rest = &sent[..];
                while !rest.is_empty() {
                    let most = if len > 2000 { 1 } else { random.usize(1..=8) };
                    let (burst, later) = rest.split_at(most.min(rest.len()));
                    net.send_all(tx, burst);
                    net.run_for(us(random.u64(100..6000)));
                    rest = later;
                }
                net.close(tx);
                net.run_for(secs(15));
                assert_all_and_fin(&net, rx, &sent);
            }
        }
    }
}
