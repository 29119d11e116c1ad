//! Implosion control (RFC 3208 §15): the advertised interval, and parents that reach nobody.

use crate::common::{self, secs};
use crate::kit::*;
use pgm_engine::Destination;
use pgm_engine::num::{Nla, Sqn};
use pgm_engine::testnet::{Cast, Kind, TestNet, lan_receiver, lan_source};
use pgm_engine::wire::{Body, NakBoIvl, NakBoRng, Options, Poll, Spm, Window};
use std::net::Ipv4Addr;
use std::time::Duration;

fn interval(micros: u32, ivl_sqn: u32) -> Options {
    Options {
        nak_bo_ivl: Some(NakBoIvl {
            ivl: micros,
            ivl_sqn: Sqn(ivl_sqn),
        }),
        ..Options::default()
    }
}

fn range(max: u32, min: u32) -> Options {
    Options {
        nak_bo_rng: Some(NakBoRng { max, min }),
        ..Options::default()
    }
}

/// The latest of many first NAKs after `prepare`: about NAK_BO_IVL.
fn latest(prepare: impl Fn(&mut Child)) -> Duration {
    let mut latest = Duration::ZERO;
    for seed in 0..60 {
        let mut child = Child::seeded(config(), seed);
        prepare(&mut child);
        let before = child.now - child.start;
        child.odata(1);
        child.odata(3);
        child.pass(secs(6));
        let sent = child.take();
        let nak = sent.iter().find(|s| matches!(s.body(), Body::Nak(_)));
        latest = latest.max(nak.expect("a NAK").at - before);
    }
    latest
}

#[track_caller]
fn assert_about(latest: Duration, expected: Duration) {
    assert!(
        latest > expected * 8 / 10 && latest <= expected,
        "{latest:?}, not about {expected:?}"
    );
}

fn poll(sqn: u32, round: u16) -> Body {
    Body::Poll(Poll {
        sqn: Sqn(sqn),
        round,
        sub_type: 0,
        path: Nla::V4(PARENT),
        bo_ivl: 0,
        rand: 0,
        mask: u32::MAX,
    })
}

#[test] // I-01: usable if its SQN is 0, or round 0 of that poll or an earlier one was seen
fn an_interval_from_a_poll_is_for_those_who_saw_it() {
    let after = |polls: &'static [(u32, u16)], ivl_sqn| {
        latest(move |child| {
            for (sqn, round) in polls {
                child.told_by_source(poll(*sqn, *round), Options::default());
            }
            child.spm(1, 0, interval(200_000, ivl_sqn));
        })
    };
    assert_about(after(&[], 0), ms(200));
    assert_about(after(&[], 5), ms(10));
    assert_about(after(&[(5, 1)], 5), ms(10));
    assert_about(after(&[(5, 0)], 5), ms(200));
    assert_about(after(&[(5, 0)], 6), ms(200));
    assert_about(after(&[(6, 0)], 5), ms(10));
    // The next poll is under way while the interval is still that of the last complete one.
    assert_about(after(&[(5, 0), (6, 0)], 5), ms(200));
    assert_about(after(&[(u32::MAX, 0)], 1), ms(200));
}

#[test] // I-02: the bounds of an SPM hold from then on, for intervals of NCFs as well
fn an_spms_bounds_hold() {
    let ncf = |options: Options| {
        move |child: &mut Child| child.told_by_source(Body::Ncf(nak(&[9])), options.clone())
    };
    let bounded = |bounds: Options, micros| {
        latest(move |child| {
            child.spm(1, 0, bounds.clone());
            ncf(interval(micros, 0))(child);
        })
    };
    assert_about(bounded(range(50_000, 40_000), 200_000), ms(50));
    assert_about(bounded(range(50_000, 40_000), 1_000), ms(40));
    assert_about(bounded(range(50_000, 40_000), 45_000), ms(45));
    // Lies: none, the least above the most, beyond all measure.
    assert_about(bounded(range(40_000, 50_000), 200_000), ms(200));
    assert_about(bounded(range(u32::MAX, 0), 200_000), ms(200));
    assert_about(bounded(range(u32::MAX, u32::MAX), 1_000), secs(5));
    // On an NCF the option means nothing.
    let stray = Options {
        nak_bo_rng: range(50_000, 40_000).nak_bo_rng,
        ..interval(200_000, 0)
    };
    assert_about(latest(move |child| ncf(stray.clone())(child)), ms(200));
}

fn unreachable(path: Option<Ipv4Addr>) -> Options {
    Options {
        nbr_unreach: true,
        path_nla: path.map(Nla::V4),
        ..Options::default()
    }
}

fn unreachable_spm(path: Nla, window: Option<Window>) -> Body {
    Body::Spm(Spm {
        spm_sqn: Sqn(78),
        window,
        path,
    })
}

/// NAKs sent since the last call.
fn naks(child: &mut Child) -> usize {
    let sent = child.take();
    sent.iter()
        .filter(|s| matches!(s.body(), Body::Nak(_)))
        .count()
}

#[test] // I-04, I-05: of the parent it stops NAKs until a regular SPM; of anybody else it is ignored
fn an_unreachable_parent_is_not_asked() {
    let mut child = Child::one_missing(config());
    child.told_by_source(unreachable_spm(Nla::V4(STRANGER), None), unreachable(None));
    child.pass(ms(10));
    assert_eq!(naks(&mut child), 1);
    let others = [Some(STRANGER), None];
    for path in others {
        child.told_by_source(Body::Ncf(nak(&[2])), unreachable(path));
    }
    child.pass(ms(120));
    assert_eq!(naks(&mut child), 1, "NAK_RPT_IVL: nothing has changed");
    child.told_by_source(Body::Ncf(nak(&[2])), unreachable(Some(PARENT)));
    child.pass(secs(2));
    assert_eq!(naks(&mut child), 0);
    child.spm(1, 3, Options::default());
    child.pass(ms(20));
    assert_eq!(naks(&mut child), 1, "a regular SPM");
    child.told_by_source(unreachable_spm(Nla::V4(PARENT), None), unreachable(None));
    child.pass(secs(2));
    assert_eq!(naks(&mut child), 0);
}

#[test] // I-05: a path that is IPv6 is nobody's here
fn an_ipv6_path_is_not_the_parent() {
    let mut child = Child::one_missing(config());
    let v6 = Nla::V6("2001:db8::1".parse().unwrap());
    child.told_by_source(unreachable_spm(v6, None), unreachable(None));
    let options = Options {
        path_nla: Some(v6),
        ..unreachable(None)
    };
    child.told_by_source(Body::Ncf(nak(&[2])), options);
    child.pass(ms(10));
    assert_eq!(naks(&mut child), 1);
}

#[test] // I-06: the window of such an SPM means nothing
fn the_window_of_an_unreachable_spm_is_ignored() {
    let mut child = Child::one_missing(config());
    let window = Some(Window {
        trail: Sqn(900),
        lead: Sqn(1000),
    });
    child.told_by_source(unreachable_spm(Nla::V4(PARENT), window), unreachable(None));
    let stats = child.peer.stats(child.now);
    assert_eq!((stats.lead, stats.lost_window_advanced), (3, 0));
}

#[test] // I-07: a unicast NCF is told to the neighbours, once, with TTL 1
fn a_unicast_ncf_is_multicast_on_the_link() {
    let mut child = Child::one_missing(config());
    let body = || Body::Ncf(nak(&[2]));
    for arrival in [by_unicast(SOURCE), by_unicast(PARENT), by_unicast(SOURCE)] {
        child.hear(arrival, body(), unreachable(Some(PARENT)));
    }
    let sent = child.take();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (sent[0].to, sent[0].ttl),
        (Destination::Group(GROUP), Some(1))
    );
    assert_eq!(sent[0].body(), body());
    assert_eq!(sent[0].options(), unreachable(Some(PARENT)));
    let tpdu = sent[0].tpdu();
    assert_eq!((tpdu.sport, tpdu.dport), (TSI.sport, DPORT));
    child.spm(1, 3, Options::default());
    child.take();
    child.hear(by_unicast(SOURCE), body(), unreachable(Some(PARENT)));
    assert_eq!(child.take().len(), 1, "again after a regular SPM");

    let mut child = Child::one_missing(config());
    child.hear(by_unicast(SOURCE), body(), unreachable(Some(STRANGER)));
    assert!(child.take().is_empty(), "I-05");
    child.hear(by_group(SOURCE), body(), unreachable(Some(PARENT)));
    assert!(child.take().is_empty(), "it came by multicast");
    child.pass(secs(1));
    assert!(child.take().is_empty(), "I-04");
}

#[test] // I-04, hostile: a neighbour's copy must name the parent and what we miss ourselves
fn a_neighbours_copy_is_heeded_where_it_can_be_true() {
    let mut child = Child::one_missing(config());
    let say = |child: &mut Child, sqn, path, arrival| {
        child.hear(arrival, Body::Ncf(nak(&[sqn])), unreachable(path))
    };
    assert!(!say(&mut child, 1, Some(PARENT), by_group(STRANGER)));
    assert!(!say(&mut child, 99, Some(PARENT), by_group(STRANGER)));
    assert!(!say(&mut child, 2, Some(STRANGER), by_group(STRANGER)));
    assert!(!say(&mut child, 2, None, by_group(STRANGER)));
    assert!(!say(&mut child, 2, Some(PARENT), by_unicast(STRANGER)));
    child.pass(ms(10));
    assert_eq!(naks(&mut child), 1);
    assert!(say(&mut child, 2, Some(PARENT), by_group(STRANGER)));
    child.pass(secs(1));
    assert!(
        child.take().is_empty(),
        "neither NAK nor a copy of the copy"
    );
}

/// A source with four packets out, and what it sends after so many NAKs for one of them.
fn after_naks(dup_nak_max: u32, count: u8) -> Vec<Sent> {
    let mut parent = Parent::new(|config| config.dup_nak_max = dup_nak_max);
    parent.send(4);
    parent.pass(secs(3));
    parent.take();
    for n in 0..count {
        parent.hear(Ipv4Addr::new(10, 5, 5, n), Body::Nak(nak(&[1])));
    }
    parent.pass(ms(1));
    parent.take()
}

#[test] // I-08: after DUP_NAK_MAX duplicates each asker is told by unicast, and an SPM goes
fn a_source_nobody_hears_says_so_to_each() {
    let sent = after_naks(3, 6);
    let told: Vec<_> = sent
        .iter()
        .filter(|s| matches!(s.to, Destination::Host(_)))
        .collect();
    assert!(!told.is_empty());
    for packet in &told {
        assert_eq!(packet.body(), Body::Ncf(nak(&[1])));
        assert_eq!(packet.options(), unreachable(Some(SOURCE)));
        assert!(!packet.router_alert);
    }
    let spms = sent.iter().filter(|s| matches!(s.body(), Body::Spm(_)));
    assert!(spms.count() >= 1, "a regular SPM");
    let multicast = |s: &&Sent| matches!((s.body(), s.to), (Body::Ncf(_), Destination::Group(_)));
    assert!(sent.iter().any(|s| multicast(&s)), "S-14: as ever");
}

#[test] // I-08: fewer duplicates than that, or no DUP_NAK_MAX, and nothing is different
fn a_source_that_is_heard_sends_no_unicast() {
    for sent in [after_naks(0, 60), after_naks(60, 30)] {
        let unicast = |s: &Sent| matches!(s.to, Destination::Host(_));
        assert!(!sent.iter().any(unicast));
        assert!(!sent.iter().any(|s| matches!(s.body(), Body::Spm(_))));
    }
}

#[test] // I-08, hostile: a storm of NAKs from forged addresses costs no more NCFs than the rate admits
fn forged_naks_cause_bounded_unicast() {
    let mut parent = Parent::new(|config| {
        config.dup_nak_max = 3;
        config.rate = Some(10_000);
    });
    parent.send(4);
    parent.pass(secs(3));
    parent.take();
    for n in 0..5_000_u32 {
        parent.hear(Ipv4Addr::from(0x0a00_0000 + n), Body::Nak(nak(&[1])));
    }
    parent.pass(secs(2));
    let octets: usize = parent
        .take()
        .iter()
        .map(|s| s.tpdu().payload.len() + 60)
        .sum();
    assert!(octets < 40_000, "{octets} in 2 s at 10 000/s");
}

/// NAKs of 30 receivers while the source's multicast reaches nobody for a second.
fn naks_in_an_outage(dup_nak_max: u32) -> u64 {
    let mut net = common::sim(TestNet::seeded(5));
    let rxs: Vec<_> = (0..30).map(|_| net.receiver(lan_receiver())).collect();
    let mut config = lan_source();
    config.dup_nak_max = dup_nak_max;
    config.window_ivl = secs(20);
    let tx = net.source(config);
    let messages = common::messages(1, 200, 200);
    net.send_all(tx, &messages[..100]);
    net.run_for(secs(3));
    let outage = net.elapsed()..net.elapsed() + secs(1);
    let lossy = outage.clone();
    // The first packet after the beginning arrives nowhere, the next one everywhere: a gap for all.
    let mut odata = 0;
    net.drop_if(move |flight, node| {
        if !lossy.contains(&flight.at) || flight.cast != Cast::Group || flight.from != tx.node {
            return false;
        }
        if flight.kind == Kind::Odata && node.0 == 0 {
            odata += 1;
        }
        flight.kind != Kind::Odata || odata == 1
    });
    net.send_all(tx, &messages[100..]);
    net.run_for(secs(1));
    let naks = net.sent_by_all(Kind::Nak);
    net.run_for(secs(5));
    for rx in rxs {
        common::assert_all(&net, rx, &messages);
    }
    naks
}

#[test] // I-04, I-07, I-08: whom multicast does not reach stops asking, and loses nothing
fn an_outage_is_contained() {
    let (without, with) = (naks_in_an_outage(0), naks_in_an_outage(8));
    assert!(with * 3 < without, "{with} NAKs, {without} without");
}
