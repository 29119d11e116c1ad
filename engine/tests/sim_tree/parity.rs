//! Parity NAKs gathered by network elements, parity repairs let through by count (RFC 3208 §11.6).

use super::*;
use pgm_engine::source::Fec;
use pgm_engine::stats::SourceStats;

const K: u8 = 8;

/// RS(255, 8) with so many pro-active parity packets.
fn fec(proactive: u8, on_demand: bool) -> SourceConfig {
    SourceConfig {
        fec: Some(Fec {
            n: 255,
            k: K,
            proactive,
            on_demand,
            little_endian: false,
        }),
        ..lan_source()
    }
}

/// Elements that soon ask again: what is lost of repairs costs little time.
fn eager() -> ElementConfig {
    ElementConfig {
        nak_rpt_ivl: ms(50),
        nak_rpt_every: ms(20),
        nak_elim_ivl: ms(20),
        nak_rdata_ivl: ms(200),
        ..ElementConfig::default()
    }
}

fn source_stats(net: &mut TestNet, tx: Tx) -> SourceStats {
    let now = net.now();
    let stats = net.endpoint(tx.node).source_stats(now, tx.id);
    stats.expect("the source is there, or was a moment ago")
}

/// Send groups of original data; the n-th receiver of a leaf loses the n-th packet, and so on around, of each
/// group, as many of them as `lost` says for its leaf.
fn send_groups(net: &mut TestNet, t: &Tree, groups: u64, lost: &[u32]) -> Vec<Vec<u8>> {
    let losers: Vec<_> = t
        .receivers
        .iter()
        .zip(lost)
        .flat_map(|(leaf, lost)| leaf.iter().zip(0..).map(|(rx, n)| (rx.node, n, *lost)))
        .collect();
    net.drop_if(move |flight, to| match &flight.tpdu.body {
        Body::Odata(data) if !flight.tpdu.parity => {
            let place = data.sqn.0 % u32::from(K);
            losers.iter().any(|(node, n, lost)| {
                *node == to && (place + u32::from(K) - n % u32::from(K)) % u32::from(K) < *lost
            })
        }
        _ => false,
    });
    net.run_for(ms(100));
    let sent = messages(21, groups * u64::from(K), 500);
    for group in sent.chunks(K.into()) {
        net.send_all(t.tx, group);
        net.run_for(ms(60));
    }
    net.close(t.tx);
    net.run_until_idle();
    sent
}

#[test] // N-19, N-20, N-21, F-09: the largest request goes up, and each leaf gets what it asked for
fn requests_are_gathered_and_parity_goes_where_it_was_asked_for() {
    const GROUPS: u64 = 20;
    let mut net = sim(TestNet::seeded(21));
    let t = tree_of(&mut net, fec(0, true), &ElementConfig::default(), 4, 8);
    // All have asked before any parity comes.
    net.into_mut(t.trunk, 0).latency = ms(15);
    let lost = [0, 1, 3, 1];
    let sent = send_groups(&mut net, &t, GROUPS, &lost);
    for rx in t.receivers.iter().flatten() {
        assert_all_and_fin(&net, *rx, &sent);
    }
    // The receivers of three leaves lose all eight packets of each group between them, and at most three each. A
    // request for one that came well before one for three is answered, too.
    let stats = source_stats(&mut net, t.tx);
    assert_eq!(
        stats.rdata_sent, stats.parity_rdata_sent,
        "no single packet"
    );
    let made = stats.parity_rdata_sent;
    assert!((3 * GROUPS..=4 * GROUPS).contains(&made), "{stats:?}");
    // What came after the last that was asked for is for nobody.
    let made = net.sent(t.trunk, Kind::Rdata);
    assert!(made >= 3 * GROUPS, "{made}");
    for (leaf, lost) in t.leaves.iter().zip(lost) {
        let (passed, asked) = (net.sent(*leaf, Kind::Rdata), u64::from(lost) * GROUPS);
        let most = if lost > 0 { made } else { 0 };
        assert!((asked..=most).contains(&passed), "{passed} for {asked}");
    }
    let passed = |n: usize| net.sent(t.leaves[n], Kind::Rdata);
    assert!(
        passed(1) + passed(3) < passed(2),
        "one goes where one lacks"
    );
    // A larger count goes up although a smaller one is under way; no more than one for each count.
    let asked = net.sent(t.trunk, Kind::Nak);
    assert!(asked <= 2 * GROUPS, "{asked} NAKs for {GROUPS} groups");
    for element in [t.trunk].into_iter().chain(t.leaves) {
        assert_eq!(net.element_mut(element).repairs(), 0, "all forgotten");
    }
}

#[test] // N-21, F-18, F-20: short groups: counts go down to what the group lacks
fn short_groups_are_repaired_through_a_tree() {
    let mut net = sim(TestNet::seeded(22));
    let t = tree_of(&mut net, fec(0, true), &eager(), 3, 4);
    let wet = t.leaves[1];
    // One of each group of three, wherever the first of them begins.
    net.drop_if(move |flight, _| match &flight.tpdu.body {
        Body::Odata(data) => flight.from == wet && data.sqn.0 % 4 == 1,
        _ => false,
    });
    net.run_for(ms(100));
    let sent = messages(22, 12, 400);
    for group in sent.chunks(3) {
        net.send_all(t.tx, group);
        net.run_for(ms(100));
    }
    net.close(t.tx);
    net.run_until_idle();
    for rx in t.receivers.iter().flatten() {
        assert_all_and_fin(&net, *rx, &sent);
    }
    let repairs = t.leaves.iter().map(|leaf| net.sent(*leaf, Kind::Rdata));
    let repairs: Vec<_> = repairs.collect();
    assert_eq!((repairs[0], repairs[2]), (0, 0), "{repairs:?}");
    let stats = source_stats(&mut net, t.tx);
    assert!(stats.parity_rdata_sent >= 4, "{stats:?}");
    assert!(stats.rdata_sent <= 6, "one for each loss: {stats:?}");
}

#[test] // N-06, N-16, X-08, F-31
fn parity_passes_a_chain_of_elements_with_loss_on_every_link() {
    for (first_sqn, proactive, on_demand) in [
        (0, 0, true),
        (0, 1, true),
        (0, 2, false),
        (u32::MAX - 99, 1, true),
        (0x7FFF_FFFF - 99, 0, true),
    ] {
        let mut net = sim(TestNet::seeded(23).loss(0.02));
        let tx = net.source(SourceConfig {
            // A group begins where its number is a multiple of k.
            first_sqn: Sqn(first_sqn & !(u32::from(K) - 1)),
            rate: Some(1_000_000),
            ..fec(proactive, on_demand)
        });
        let mut segment = Segment::FIRST;
        let mut chain = Vec::new();
        for _ in 0..5 {
            let next = net.segment();
            let element = net.element(eager(), &[segment, next]);
            for iface in [0, 1] {
                net.into_mut(element, iface).loss = 0.02;
            }
            chain.push(element);
            segment = next;
        }
        net.at(segment);
        let receivers = net.receivers([(); 3].map(|()| lan_receiver()));
        net.run_for(ms(500));
        let sent = mixed(23, 400, 3000);
        net.send_all(tx, &sent);
        net.close(tx);
        net.run_until_idle();
        for rx in receivers {
            assert_all_and_fin(&net, rx, &sent);
        }
        let stats = source_stats(&mut net, tx);
        let repaired = stats.parity_rdata_sent > 20;
        assert_eq!(repaired, on_demand, "{proactive} pro-active: {stats:?}");
        for element in chain {
            assert_eq!(net.element_mut(element).repairs(), 0, "all forgotten");
        }
    }
}

#[test] // N-16
fn elements_that_restart_lose_no_group() {
    for (proactive, on_demand) in [(0, true), (2, true)] {
        let mut net = sim(TestNet::seeded(24).loss(0.03));
        let t = tree_of(&mut net, fec(proactive, on_demand), &eager(), 3, 4);
        net.run_for(ms(200));
        let sent = messages(24, 1000, 800);
        for (n, part) in sent.chunks(100).enumerate() {
            net.send_all(t.tx, part);
            net.run_for(ms(20));
            net.restart(if n % 2 == 0 { t.trunk } else { t.leaves[n % 3] });
        }
        net.close(t.tx);
        net.run_until_idle();
        for rx in t.receivers.iter().flatten() {
            assert_all_and_fin(&net, *rx, &sent);
        }
    }
}
