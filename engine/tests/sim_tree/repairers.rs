//! Local repairers in a tree: found by elements and used by them, on the tree and off it (RFC 3208 §9.5).

use super::*;
use pgm_engine::receiver::{DlrConfig, DlrRole, ReceiverConfig};
use pgm_engine::source::Fec;
use pgm_engine::testnet::node_addr;
use std::cell::Cell;
use std::net::Ipv4Addr;
use std::rc::Rc;

fn repairer(role: DlrRole) -> ReceiverConfig {
    ReceiverConfig {
        // Its own address: what it tells elements.
        dlr: Some(DlrConfig::new(role, Ipv4Addr::UNSPECIFIED)),
        as_source: true,
        ..lan_receiver()
    }
}

/// A far source, an element that joins three segments, a repairer on the second, receivers on the third.
struct Branches {
    tx: Tx,
    element: NodeId,
    dlr: Rx,
    receivers: Vec<Rx>,
}

fn branches(net: &mut TestNet, source: SourceConfig) -> Branches {
    let [near, wet] = [net.segment(), net.segment()];
    let config = ElementConfig {
        nak_rpt_ivl: ms(50),
        nak_rpt_every: ms(20),
        nak_elim_ivl: ms(20),
        nak_rdata_ivl: ms(200),
        ..ElementConfig::default()
    };
    let element = net.element(config, &[Segment::FIRST, near, wet]);
    net.into_mut(element, 0).latency = ms(20);
    let tx = net.source(source);
    net.at(near);
    let dlr = net.receiver(repairer(DlrRole::OffTree));
    net.at(wet);
    let receivers = (0..5).map(|_| net.receiver(lan_receiver())).collect();
    Branches {
        tx,
        element,
        dlr,
        receivers,
    }
}

/// The element looks for repairers.
fn discover(net: &mut TestNet, b: &Branches) {
    let mut rng = fastrand::Rng::with_seed(31);
    let element = net.element_mut(b.element);
    element.poll(b.tx.tsi, 1, ms(20), || rng.u32(..));
    net.touch(b.element);
    net.run_for(ms(100));
}

/// Sessions begin, the element looks around, and the messages follow, the wet segment losing a tenth of all data.
fn send_past(net: &mut TestNet, b: &Branches, count: u64) -> Vec<Vec<u8>> {
    let sent = messages(31, count, 600);
    net.send_all(b.tx, &sent[..1]);
    net.run_for(ms(200));
    discover(net, b);
    net.out_mut(b.element, 2).loss = 0.1;
    for part in sent[1..].chunks(5) {
        net.send_all(b.tx, part);
        net.run_for(ms(10));
    }
    net.close(b.tx);
    net.run_until_idle();
    sent
}

#[test] // D-05, D-06, N-22: found by a poll, asked in the source's place
fn an_off_tree_repairer_spares_the_source() {
    let mut net = sim(TestNet::seeded(31));
    let b = branches(&mut net, lan_source());
    let sent = send_past(&mut net, &b, 400);
    for rx in b.receivers.iter().chain([&b.dlr]) {
        assert_all_and_fin(&net, *rx, &sent);
    }
    let found = net.element_mut(b.element).redirected_to(b.tx.tsi);
    assert_eq!(found, Some(node_addr(b.dlr.node)));
    let (near, far) = (
        net.sent(b.dlr.node, Kind::Rdata),
        net.sent(b.tx.node, Kind::Rdata),
    );
    assert!(near > 30, "{near} repairs near by");
    assert_eq!(far, 0, "and none from afar");
    assert!(net.sent(b.element, Kind::Rdata) >= near - 5, "they go on");
}

#[test] // N-22, R-45: what it lacks, or once it is gone, the source repairs
fn an_off_tree_repairer_that_is_gone_costs_time_and_nothing_else() {
    let mut net = sim(TestNet::seeded(32));
    let b = branches(&mut net, lan_source());
    let dlr = b.dlr.node;
    // It answers the poll and nothing after that.
    net.drop_if(move |flight, _| flight.from == dlr && flight.kind != Kind::Polr);
    let sent = send_past(&mut net, &b, 100);
    assert!(net.element_mut(b.element).stats().polrs_received > 0);
    for rx in &b.receivers {
        assert_all_and_fin(&net, *rx, &sent);
    }
    assert!(net.sent(b.tx.node, Kind::Rdata) > 5);
}

#[test] // N-22, F-08: a repairer makes no parity, and is not asked for any
fn parity_passes_an_off_tree_repairer_by() {
    let mut net = sim(TestNet::seeded(33));
    let b = branches(
        &mut net,
        SourceConfig {
            fec: Some(Fec {
                n: 255,
                k: 8,
                proactive: 0,
                on_demand: true,
                little_endian: false,
            }),
            ..lan_source()
        },
    );
    let (asked, dlr) = (Rc::new(Cell::new(0)), b.dlr.node);
    let counter = asked.clone();
    net.drop_if(move |flight, to| {
        counter.set(counter.get() + u32::from(flight.kind == Kind::Nak && to == dlr));
        false
    });
    let sent = send_past(&mut net, &b, 400);
    for rx in b.receivers.iter().chain([&b.dlr]) {
        assert_all_and_fin(&net, *rx, &sent);
    }
    let found = net.element_mut(b.element).redirected_to(b.tx.tsi);
    assert_eq!((found, asked.get()), (Some(node_addr(dlr)), 0));
    let now = net.now();
    let stats = net.endpoint(b.tx.node).source_stats(now, b.tx.id).unwrap();
    assert!(stats.parity_rdata_sent > 20, "{stats:?}");
    assert_eq!(net.sent(dlr, Kind::Rdata), 0);
}

#[test] // D-01, D-02, N-23: a repairer on the tree answers the NCFs of its parent, and is asked from then on
fn an_element_asks_the_repairer_above_it() {
    let mut net = sim(TestNet::seeded(34));
    let t = tree(&mut net, &ElementConfig::default(), 3, 4);
    net.into_mut(t.trunk, 0).latency = ms(20);
    net.at(t.middle);
    let dlr = net.receiver(repairer(DlrRole::Upstream));
    net.run_for(ms(100));
    for leaf in &t.leaves[1..] {
        net.out_mut(*leaf, 1).loss = 0.1;
    }
    let sent = messages(34, 400, 600);
    for part in sent.chunks(5) {
        net.send_all(t.tx, part);
        net.run_for(ms(10));
    }
    net.close(t.tx);
    net.run_until_idle();
    for rx in t.receivers.iter().flatten().chain([&dlr]) {
        assert_all_and_fin(&net, *rx, &sent);
    }
    for leaf in &t.leaves[1..] {
        let found = net.element_mut(*leaf).redirected_to(t.tx.tsi);
        assert_eq!(found, Some(node_addr(dlr.node)));
    }
    let (near, far) = (
        net.sent(dlr.node, Kind::Rdata),
        net.sent(t.tx.node, Kind::Rdata),
    );
    assert!(
        near > 30 && far * 5 < near,
        "{near} near by, {far} from afar"
    );
    assert_eq!(net.sent(t.leaves[0], Kind::Rdata), 0, "it lost nothing");
}
