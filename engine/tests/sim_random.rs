//! Many small worlds made from seeds. In each: every message once and in order, or a reset after a
//! correct prefix. And the same seed gives the same world.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use pgm_engine::endpoint::ListenConfig;
use pgm_engine::num::Sqn;
use pgm_engine::receiver::{Read, ReceiverConfig};
use pgm_engine::source::{Fec, SourceConfig};
use pgm_engine::testnet::{
    Burst, Cast, DPORT, GROUP, Link, Pace, Rx, TestNet, Tx, lan_receiver, lan_source,
};

/// What a receiver may expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hope {
    /// Was there first and reads at once: everything.
    All,
    /// Was there first, reads slowly: everything or a reset after a prefix.
    Prefix,
    /// Came late: an unbroken run, to the end or to a reset.
    Run,
}

struct World {
    net: Sim,
    sources: Vec<(Tx, Vec<Vec<u8>>)>,
    receivers: Vec<(Rx, Hope)>,
}

/// Nothing gets through for up to a fifth of the time.
fn burst(rng: &mut fastrand::Rng) -> Burst {
    let every = rng.u64(10..300);
    Burst {
        every: ms(every),
        lasts: ms(rng.u64(1..=every / 4)),
    }
}

/// Any code there is: also one with less parity than groups lose packets.
fn fec(rng: &mut fastrand::Rng) -> Fec {
    let k = 1 << rng.u32(1..=7);
    let n = match rng.bool() {
        true => k + rng.u8(1..=3),
        false => rng.u8(k + 1..=255),
    };
    let proactive = match rng.bool() {
        true => rng.u8(0..=(n - k).min(k)),
        false => 0,
    };
    Fec {
        n,
        k,
        proactive,
        on_demand: rng.bool(),
        little_endian: false,
    }
}

fn world(seed: u64) -> World {
    let mut rng = fastrand::Rng::with_seed(seed);
    let link = Link {
        latency: us(rng.u64(20..2000)),
        jitter: us(if rng.bool() { rng.u64(0..3000) } else { 0 }),
        loss: if rng.bool() { rng.f64() * 0.25 } else { 0.0 },
        burst: (rng.u8(..4) == 0).then(|| burst(&mut rng)),
        duplicates: if rng.bool() { rng.f64() * 0.2 } else { 0.0 },
        bottleneck: None,
    };
    let mut net = sim(TestNet::seeded(rng.u64(..)).links(link));
    let mut receivers = Vec::new();
    let receiver = |rng: &mut fastrand::Rng| ReceiverConfig {
        rxw_bytes: 1 << rng.u32(17..25),
        ..lan_receiver()
    };
    for _ in 0..rng.usize(1..=4) {
        let config = receiver(&mut rng);
        let rx = net.receiver(config);
        let slow = rng.u8(..4) == 0;
        if slow {
            net.read(rx, Pace::Every(us(rng.u64(100..20_000))));
        }
        if rng.u8(..4) == 0 {
            net.link_mut(rx.node, Cast::Group).loss = rng.f64() * 0.4;
        }
        receivers.push((rx, if slow { Hope::Prefix } else { Hope::All }));
    }
    let mut sources = Vec::new();
    let node = net.node();
    for series in 0..rng.u64(1..=3) {
        let config = SourceConfig {
            first_sqn: Sqn(if rng.bool() {
                0_u32.wrapping_sub(rng.u32(..300))
            } else {
                rng.u32(..)
            }),
            max_tpdu: rng.usize(200..1500),
            rate: Some(1 << rng.u32(18..25)),
            late_join_percent: rng.u8(0..=75),
            // Small windows behind fast sources get most of it by repair: that takes its time.
            linger_max: secs(600),
            fec: (rng.u8(..4) != 0).then(|| fec(&mut rng)),
            polling: rng.u8(..4) == 0,
            ..lan_source()
        };
        let on = if rng.bool() { node } else { net.node() };
        let tx = net.source_on(on, config);
        let max = if rng.u8(..6) == 0 { 100_000 } else { 4000 };
        sources.push((tx, mixed(seed << 8 | series, rng.u64(20..150), max)));
    }
    if rng.bool() {
        // The sources' host listens, too.
        let config = ListenConfig {
            group: GROUP,
            dport: DPORT,
            receiver: receiver(&mut rng),
        };
        let rx = net.listen_on(node, config);
        receivers.push((rx, Hope::All));
    }
    for (tx, sent) in &sources {
        let half = rng.usize(..sent.len());
        net.send_all(*tx, &sent[..half]);
        net.run_for(ms(rng.u64(0..300)));
        net.send_all(*tx, &sent[half..]);
    }
    net.run_for(ms(rng.u64(0..3000)));
    if rng.bool() {
        let config = receiver(&mut rng);
        receivers.push((net.receiver(config), Hope::Run));
    }
    for (tx, _) in &sources {
        net.close(*tx);
    }
    World {
        net,
        sources,
        receivers,
    }
}

fn check(world: &World, seed: u64) {
    for (rx, hope) in &world.receivers {
        for log in world.net.sessions(*rx) {
            let (_, sent) = world
                .sources
                .iter()
                .find(|(tx, _)| tx.tsi == log.tsi)
                .expect("TSI");
            let at = |got: &[u8]| sent.iter().position(|m| m == got).expect("a message sent");
            // Who came too late for the first octet of the last message has a session without any.
            let none = if *hope == Hope::Run { sent.len() } else { 0 };
            let first = log.apdus.first().map_or(none, |m| at(m));
            let whole = &sent[first..];
            let got = log.apdus.len().min(whole.len());
            let what = format!(
                "seed {seed}, {rx:?} {hope:?}, {} from {first}: {:?}",
                log.tsi, log.end
            );
            assert_eq!(difference(&log.apdus, &whole[..got]), None, "{what}");
            assert!(
                *hope == Hope::Run || first == 0,
                "{what}: the beginning is missing"
            );
            match log.end {
                Some(Read::Fin) => assert_eq!(got, whole.len(), "{what}: FIN too early"),
                Some(Read::Reset(_)) => assert_ne!(*hope, Hope::All, "{what}"),
                _ => panic!("{what}: no end after {got} of {}", whole.len()),
            }
        }
        let sessions = world.net.sessions(*rx).count();
        let missing = world.sources.len() - sessions;
        assert!(
            missing == 0 || *hope == Hope::Run,
            "seed {seed}: {missing} sessions missing"
        );
    }
}

#[test]
fn many_worlds() {
    let seeds = std::env::var("SIM_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(60);
    let first = std::env::var("SIM_FIRST")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    for seed in first..first + seeds {
        eprintln!("seed {seed}: SIM_FIRST={seed} SIM_SEEDS=1 repeats it");
        let mut world = world(seed);
        world.net.run_until_idle();
        world.net.run_for(secs(40)); // silent or slow ones come to their end, too
        check(&world, seed);
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    let run = |seed| {
        let mut net = TestNet::seeded(seed).capturing().loss(0.1);
        let receivers = net.receivers([(); 3].map(|()| lan_receiver()));
        let tx = net.source(lan_source());
        net.send_all(tx, mixed(1, 300, 3000));
        net.close(tx);
        net.run_until_idle();
        let delivered: Vec<_> = receivers.iter().map(|rx| net.delivered(*rx)).collect();
        (net.pcapng(), delivered)
    };
    assert!(run(1) == run(1), "same seed");
    assert!(run(1).0 != run(2).0, "another seed");
}

#[test]
fn a_capture_is_a_pcapng_file() {
    let mut net = TestNet::seeded(1)
        .capturing()
        .drop_nth(pgm_engine::testnet::Kind::Odata, 2);
    let _rx = net.receiver(lan_receiver());
    let tx = net.source(lan_source());
    net.send_all(tx, messages(1, 3, 100));
    net.run_until_idle();
    let file = net.pcapng();
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let (mut at, mut kinds) = (0, Vec::new());
    while at < file.len() {
        let len = word(at + 4) as usize;
        assert_eq!(word(at + len - 4) as usize, len, "length at both ends");
        kinds.push(word(at));
        at += len;
    }
    assert_eq!(kinds[..2], [0x0A0D_0D0A, 1], "section, interface");
    assert!(
        kinds.len() > 8 && kinds[2..].iter().all(|kind| *kind == 6),
        "then packets"
    );
    let comment = b"lost at 10.0.0.1";
    assert!(file.windows(comment.len()).any(|w| w == comment));
    assert!(net.diagram().contains("ODATA"), "{}", net.diagram());
}
