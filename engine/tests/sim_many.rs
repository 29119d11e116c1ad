//! Crowds: many receivers, several sources, groups side by side, strangers who flood.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use pgm_engine::endpoint::{EndpointConfig, ListenConfig};
use pgm_engine::num::{Nla, Sqn};
use pgm_engine::source::SourceConfig;
use pgm_engine::testnet::{DPORT, GROUP, Kind, Pace, TestNet, lan_receiver, lan_source};
use pgm_engine::wire::{Body, Data, Options, Spm, Window};
use std::net::Ipv4Addr;
use std::time::Duration;

const OTHER_GROUP: Ipv4Addr = Ipv4Addr::new(239, 192, 0, 2);

/// NAKs that 100 receivers send when all lose the same packets, one after the other.
fn common_loss(seed: u64, latency: Duration, lost: &'static [u64]) -> Vec<u64> {
    let mut net = sim(TestNet::seeded(seed).latency(latency));
    net.drop_if(move |flight, _| flight.kind == Kind::Odata && lost.contains(&flight.nth));
    let receivers = net.receivers([(); 100].map(|()| lan_receiver()));
    let tx = net.source(lan_source());
    net.run_for(ms(1500));
    let mut naks = Vec::new();
    let total = lost.last().unwrap() + 1;
    for index in 0..total {
        let before = net.sent_by_all(Kind::Nak);
        net.send_all(tx, [message(seed, index, 1000)]);
        net.run_for(ms(400));
        if lost.contains(&(index + 1)) {
            naks.push(net.sent_by_all(Kind::Nak) - before);
        }
    }
    for rx in receivers {
        assert_all(&net, rx, &messages(seed, total, 1000));
    }
    naks
}

#[test]
fn a_hundred_receivers_lose_the_same_packet() {
    let lost: &[u64] = &[3, 5, 7, 9, 11, 13, 15, 17];
    for seed in 0..5 {
        let near = common_loss(seed, us(100), lost);
        assert!(near[0] <= 6, "0.1 ms away, the first loss: {near:?}");
        assert!(
            near[4..].iter().sum::<u64>() <= 16,
            "0.1 ms away, later: {near:?}"
        );
        let far = common_loss(seed, ms(1), lost);

        assert!(far[0] <= 20, "1 ms away, the first loss: {far:?}");
        assert!(
            far[4..].iter().sum::<u64>() <= 24,
            "1 ms away, the source has adapted: {far:?}"
        );
    }
}

#[test]
fn a_hundred_receivers_lose_the_very_first_packet() {
    for seed in 10..15 {
        assert!(common_loss(seed, us(100), &[1])[0] <= 6);
        assert!(common_loss(seed, ms(1), &[1])[0] <= 20);
    }
}

#[test]
fn a_hundred_receivers_with_losses_of_their_own() {
    let mut net = sim(TestNet::seeded(20).loss(0.01));
    let receivers = net.receivers([(); 100].map(|()| lan_receiver()));
    let tx = net.source(lan_source());
    let sent = messages(20, 500, 1000);
    net.send_all(tx, &sent);
    net.close(tx);
    net.run_until_idle();
    for rx in receivers {
        assert_all_and_fin(&net, rx, &sent);
    }
    // 100 x 500 x 1 % = 500 losses; 63 % of the packets are lost by somebody.
    let (naks, rdata) = (net.sent_by_all(Kind::Nak), net.sent_by_all(Kind::Rdata));
    assert!(naks < 1000 && rdata < 500, "{naks} NAKs, {rdata} RDATA");
}

#[test] // I-03: losses that each has alone let nobody forget that there are a hundred
fn a_hundred_receivers_with_losses_of_their_own_then_lose_the_same_packet() {
    let mut net = sim(TestNet::seeded(30).latency(us(500)));
    let receivers = net.receivers([(); 100].map(|()| lan_receiver()));
    let tx = net.source(lan_source());
    net.run_for(ms(1500));
    let sent = messages(30, 301, 1000);
    let share = |nth: u64, to: u64| fastrand::Rng::with_seed(nth << 32 | to).f64() < 0.003;
    net.drop_if(move |flight, to| {
        flight.kind == Kind::Odata && (flight.nth == 301 || share(flight.nth, to.0 as u64))
    });
    for message in &sent[..300] {
        net.send_all(tx, [message]);
        net.run_for(ms(5));
    }
    net.run_for(ms(400));
    let before = net.sent_by_all(Kind::Nak);
    assert!(before > 50, "{before}");
    net.send_all(tx, [&sent[300]]);
    net.run_for(ms(400));
    let naks = net.sent_by_all(Kind::Nak) - before;
    assert!(naks <= 8, "{naks} of 100");
    for rx in receivers {
        assert_all(&net, rx, &sent);
    }
}

#[test]
fn sources_on_one_group_stay_apart() {
    let mut net = sim(TestNet::seeded(21).loss(0.05));
    let receivers = net.receivers([(); 2].map(|()| lan_receiver()));
    let series: Vec<_> = (0..5).map(|n| mixed(n, 400, 3000)).collect();
    // Two on one host, so that only the port tells them apart.
    let first = net.source(lan_source());
    let mut sources = vec![first, net.source_on(first.node, lan_source())];
    sources.extend((2..5).map(|_| net.source(lan_source())));
    for (tx, sent) in sources.iter().zip(&series) {
        net.send_all(*tx, sent);
        net.close(*tx);
    }
    net.run_until_idle();
    for rx in receivers {
        assert_eq!(net.sessions(rx).count(), 5);
        for (tx, sent) in sources.iter().zip(&series) {
            let log = net
                .sessions(rx)
                .find(|log| log.tsi == tx.tsi)
                .expect("its session");
            assert_eq!(difference(&log.apdus, sent), None, "{}", tx.tsi);
        }
    }
}

#[test]
fn groups_and_ports_never_mix() {
    let mut net = sim(TestNet::seeded(22).loss(0.05));
    let node = net.node();
    let listeners =
        [(GROUP, 1), (GROUP, 2), (OTHER_GROUP, 1), (OTHER_GROUP, 2)].map(|(group, dport)| {
            ListenConfig {
                group,
                dport,
                receiver: lan_receiver(),
            }
        });
    let all = listeners.clone().map(|config| net.listen_on(node, config));
    for (n, config) in listeners.iter().enumerate() {
        let source = SourceConfig {
            group: config.group,
            dport: config.dport,
            ..lan_source()
        };
        let tx = net.source(source);
        net.send_all(tx, messages(n as u64, 200, 1000));
    }
    net.run_until_idle();
    for (n, rx) in all.into_iter().enumerate() {
        assert_all(&net, rx, &messages(n as u64, 200, 1000));
    }
}

#[test]
fn one_endpoint_hears_itself() {
    let mut net = sim(TestNet::seeded(23).loss(0.1));
    let node = net.node();
    let config = ListenConfig {
        group: GROUP,
        dport: DPORT,
        receiver: lan_receiver(),
    };
    let here = [
        net.listen_on(node, config.clone()),
        net.listen_on(node, config),
    ];
    let elsewhere = net.receiver(lan_receiver());
    let (a, b) = (
        net.source_on(node, lan_source()),
        net.source_on(node, lan_source()),
    );
    net.send_all(a, messages(1, 300, 1000));
    net.send_all(b, messages(2, 300, 1000));
    net.run_until_idle();
    for rx in [here[0], here[1], elsewhere] {
        let logs: Vec<_> = net.sessions(rx).collect();
        assert_eq!(logs.len(), 2, "{rx:?}");
        for (tx, series) in [(a, 1), (b, 2)] {
            let log = logs
                .iter()
                .find(|log| log.tsi == tx.tsi)
                .expect("its session");
            assert_eq!(difference(&log.apdus, &messages(series, 300, 1000)), None);
        }
    }
}

#[test]
fn two_endpoints_send_to_each_other() {
    let mut net = sim(TestNet::seeded(24).loss(0.1));
    let nodes = [net.node(), net.node()];
    let config = ListenConfig {
        group: GROUP,
        dport: DPORT,
        receiver: lan_receiver(),
    };
    let listeners = nodes.map(|node| net.listen_on(node, config.clone()));
    let sources = nodes.map(|node| net.source_on(node, lan_source()));
    for (n, tx) in sources.into_iter().enumerate() {
        net.send_all(tx, messages(n as u64, 300, 1000));
    }
    net.run_until_idle();
    for rx in listeners {
        for (n, tx) in sources.iter().enumerate() {
            let log = net
                .sessions(rx)
                .find(|log| log.tsi == tx.tsi)
                .expect("its session");
            assert_eq!(difference(&log.apdus, &messages(n as u64, 300, 1000)), None);
        }
    }
}

#[test]
fn a_flood_of_tsis_leaves_established_sessions_alone() {
    let limits = EndpointConfig {
        max_peers: 200,
        max_bytes: 16 << 20,
    };
    let mut net = sim(TestNet::seeded(25).loss(0.02).limits(limits));
    let rx = net.receiver(lan_receiver());
    let tx = net.source(SourceConfig {
        rate: Some(1_000_000),
        ..lan_source()
    });
    let sent = messages(25, 3000, 1000);
    net.send_all(tx, &sent);
    net.run_for(ms(500));
    assert_eq!(net.sessions(rx).count(), 1);

    let payload = [0x55; 1200];
    for n in 0..10_000_u32 {
        let (from, path) = nla((n >> 8) as u8, n as u8);
        let (sqn, trail) = (Sqn(n), Sqn(n));
        let window = Some(Window {
            trail,
            lead: Sqn(n),
        });
        let body = match n % 3 {
            0 => Body::Spm(Spm {
                spm_sqn: Sqn(1),
                window,
                path,
            }),
            1 => Body::Odata(Data { sqn, trail }),
            _ => Body::Rdata(Data { sqn, trail }),
        };
        let payload = if n % 3 == 0 { &[][..] } else { &payload[..] };
        let bytes = packet(tsi(n), DPORT, body, Options::default(), payload);
        net.inject(rx.node, from, Some(GROUP), &bytes);
        if n % 10 == 0 {
            net.run_for(us(100));
            assert!(net.endpoint(rx.node).peers() <= 200);
        }
    }
    net.close(tx);
    net.run_until_idle();
    let log = net
        .sessions(rx)
        .find(|log| log.tsi == tx.tsi)
        .expect("its session");
    assert_eq!(difference(&log.apdus, &sent), None);
    // A source that comes now is heard: strangers without a proven session gave way, and the others
    // fell silent, which their owner was told.
    net.run_for(secs(90));
    let ended: Vec<_> = net
        .sessions(rx)
        .filter(|log| log.end.is_some())
        .map(|log| log.id)
        .collect();
    for id in ended {
        net.endpoint(rx.node).close_session(id);
    }
    let later = net.source(lan_source());
    net.send_all(later, messages(26, 100, 1000));
    net.run_until_idle();
    let log = net
        .sessions(rx)
        .find(|log| log.tsi == later.tsi)
        .expect("a session after the flood");
    assert_eq!(difference(&log.apdus, &messages(26, 100, 1000)), None);
}

#[test]
fn a_flood_of_sessions_is_refused_not_established_ones() {
    let limits = EndpointConfig {
        max_peers: 20,
        max_bytes: 16 << 20,
    };
    let mut net = sim(TestNet::seeded(26).limits(limits));
    let rx = net.receiver(lan_receiver());
    let tx = net.source(SourceConfig {
        rate: Some(1_000_000),
        ..lan_source()
    });
    let sent = messages(26, 2000, 1000);
    net.send_all(tx, &sent);
    net.run_for(ms(500));
    for n in 0..1000_u32 {
        let (from, path) = nla((n >> 8) as u8, n as u8);
        let window = Some(Window {
            trail: Sqn(1),
            lead: Sqn(0),
        });
        let spm = Body::Spm(Spm {
            spm_sqn: Sqn(1),
            window,
            path,
        });
        let data = Body::Odata(Data {
            sqn: Sqn(1),
            trail: Sqn(1),
        });
        let join = Options {
            join: Some(Sqn(1)),
            ..Options::default()
        };
        for (body, payload) in [(spm, &b""[..]), (data, &b"hello"[..])] {
            let bytes = packet(tsi(n), DPORT, body, join.clone(), payload);
            net.inject(rx.node, from, Some(GROUP), &bytes);
        }
        net.run_for(us(500));
    }
    net.run_until_idle();
    assert_eq!(net.sessions(rx).count(), 20);
    assert!(net.endpoint(rx.node).stats().peers_refused >= 900);
    let log = net
        .sessions(rx)
        .find(|log| log.tsi == tx.tsi)
        .expect("its session");
    assert_eq!(difference(&log.apdus, &sent), None);
}

#[test]
fn sessions_nobody_reads_share_the_memory() {
    let budget = 8 << 20;
    let limits = EndpointConfig {
        max_peers: 100,
        max_bytes: budget,
    };
    let mut net = sim(TestNet::seeded(29).loss(0.02).limits(limits));
    let node = net.node();
    let listener = |dport| ListenConfig {
        group: GROUP,
        dport,
        receiver: lan_receiver(),
    };
    let rx = net.listen_on(node, listener(DPORT));
    let unread = net.listen_on(node, listener(DPORT + 1));
    net.read(unread, Pace::Never);
    // 64 of them bring 2 MB each, half of that in one message of which a share is 126 KiB.
    let many = SourceConfig {
        dport: DPORT + 1,
        ..lan_source()
    };
    let crowd: Vec<_> = (0..64).map(|_| net.source(many.clone())).collect();
    let tx = net.source(SourceConfig {
        rate: Some(2_000_000),
        ..lan_source()
    });
    for tx in &crowd {
        net.send_all(*tx, messages(1, 1000, 1000));
        net.send_all(*tx, [message(1, 1001, 1 << 20)]);
    }
    let sent = messages(29, 6000, 1000);
    net.send_all(tx, &sent);
    net.close(tx);
    for _ in 0..1000 {
        net.run_for(ms(10));
        let held = net.endpoint(node).bytes_held();
        assert!(held <= budget, "{held} octets held");
    }
    assert_eq!(net.sessions(unread).count(), 64);
    assert_all_and_fin(&net, rx, &sent);
}

#[test]
fn thousands_of_sources_at_one_endpoint() {
    let limits = EndpointConfig {
        max_peers: 4000,
        max_bytes: 64 << 20,
    };
    let mut net = sim(TestNet::seeded(27).limits(limits));
    let rx = net.receiver(lan_receiver());
    let slow = SourceConfig {
        start_ivl: ms(50),
        ambient_spm_ivl: secs(5),
        ..lan_source()
    };
    let node = net.node();
    let sources: Vec<_> = (0..2000)
        .map(|_| net.source_on(node, slow.clone()))
        .collect();
    for (n, tx) in sources.iter().enumerate() {
        net.send_all(*tx, [n.to_string()]);
    }
    net.run_for(secs(1));
    assert_eq!(net.sessions(rx).count(), 2000);
    let mut got: Vec<usize> = net
        .delivered(rx)
        .iter()
        .map(|m| String::from_utf8_lossy(m).parse().expect("a number"))
        .collect();
    got.sort_unstable();
    assert!(got.into_iter().eq(0..2000));
}

#[test]
fn packets_of_a_session_from_elsewhere_are_ignored() {
    let mut net = sim(TestNet::seeded(28));
    let rx = net.receiver(lan_receiver());
    let tx = net.source(lan_source());
    let sent = messages(28, 20, 1000);
    net.send_all(tx, &sent[..10]);
    net.run_for(ms(100));
    let stranger = Ipv4Addr::new(10, 66, 6, 6);
    let path = Nla::V4(stranger);
    let fin = Options {
        fin: true,
        ..Options::default()
    };
    let window = Some(Window {
        trail: Sqn(500),
        lead: Sqn(600),
    });
    let spm = Body::Spm(Spm {
        spm_sqn: Sqn(1 << 20),
        window,
        path,
    });
    let forged = [
        packet(tx.tsi, DPORT, spm, fin, b""),
        packet(
            tx.tsi,
            DPORT,
            Body::Odata(Data {
                sqn: Sqn(10),
                trail: Sqn(0),
            }),
            Options::default(),
            b"forged",
        ),
    ];
    for bytes in &forged {
        net.inject(rx.node, stranger, Some(GROUP), bytes);
    }
    net.run_for(ms(100));
    net.send_all(tx, &sent[10..]);
    net.run_until_idle();
    assert_all(&net, rx, &sent);
    assert_eq!(net.endpoint(rx.node).stats().spoofed, 2);
}
