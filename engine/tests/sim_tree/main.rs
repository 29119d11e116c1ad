//! Receivers behind network elements: who is asked, where repairs go, what a restart costs. With parity, and with
//! local repairers, too.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod parity;
mod repairers;

use common::*;
use pgm_engine::num::Sqn;
use pgm_engine::receiver::Read;
use pgm_engine::source::SourceConfig;
use pgm_engine::testnet::element::ElementConfig;
use pgm_engine::testnet::{Cast, Kind, NodeId, Rx, Segment, TestNet, Tx, lan_receiver, lan_source};
use pgm_engine::wire::Body;

/// A source, an element beside it, and elements below that one, each with a segment of receivers.
struct Tree {
    tx: Tx,
    trunk: NodeId,
    /// Between the trunk and the leaves.
    middle: Segment,
    leaves: Vec<NodeId>,
    receivers: Vec<Vec<Rx>>,
}

fn tree(net: &mut TestNet, config: &ElementConfig, leaves: usize, receivers: usize) -> Tree {
    tree_of(net, lan_source(), config, leaves, receivers)
}

fn tree_of(
    net: &mut TestNet,
    source: SourceConfig,
    config: &ElementConfig,
    leaves: usize,
    receivers: usize,
) -> Tree {
    let middle = net.segment();
    let trunk = net.element(config.clone(), &[Segment::FIRST, middle]);
    let mut tree = Tree {
        tx: net.source(source),
        trunk,
        middle,
        leaves: Vec::new(),
        receivers: Vec::new(),
    };
    for _ in 0..leaves {
        let segment = net.segment();
        tree.leaves
            .push(net.element(config.clone(), &[middle, segment]));
        net.at(segment);
        let group = (0..receivers).map(|_| net.receiver(lan_receiver()));
        tree.receivers.push(group.collect());
    }
    tree
}

/// Lose the original data with these SQNs, counted from the first, wherever `lost` says: sent by, on its way to.
fn lose(net: &mut TestNet, sqns: &'static [u32], lost: impl Fn(NodeId, NodeId) -> bool + 'static) {
    net.drop_if(move |flight, to| match &flight.tpdu.body {
        Body::Odata(data) => {
            let at = data.sqn.since(first_sqn());
            sqns.iter().any(|sqn| *sqn as i32 == at) && lost(flight.from, to)
        }
        _ => false,
    });
}

/// Ten messages, one every 5 ms, after everybody has heard an SPM.
fn send_slowly(net: &mut TestNet, tx: Tx) -> Vec<Vec<u8>> {
    let sent = messages(1, 10, 500);
    net.run_for(ms(100));
    for message in &sent {
        net.send_all(tx, [message]);
        net.run_for(ms(5));
    }
    net.close(tx);
    net.run_until_idle();
    sent
}

#[test] // N-05, N-09, N-10, N-14
fn a_loss_on_the_trunk_brings_one_nak_to_the_source_however_many_receivers() {
    for (leaves, receivers) in [(1, 1), (3, 10), (10, 40)] {
        let mut net = sim(TestNet::seeded(1));
        let t = tree(&mut net, &ElementConfig::default(), leaves, receivers);
        // A far source: everybody has asked before the repair comes. (A repair that passes a segment
        // before anybody there asked is not for it, and is asked for once more.)
        net.into_mut(t.trunk, 0).latency = ms(15);
        lose(&mut net, &[3, 7], move |from, to| {
            from == t.tx.node && to == t.trunk
        });
        let sent = send_slowly(&mut net, t.tx);
        for rx in t.receivers.iter().flatten() {
            assert_all_and_fin(&net, *rx, &sent);
        }
        // Of two losses, two NAKs and two repairs, on each link.
        assert_eq!(net.sent(t.trunk, Kind::Nak), 2, "{leaves} x {receivers}");
        assert_eq!(net.sent(t.tx.node, Kind::Rdata), 2);
        assert_eq!(net.sent(t.trunk, Kind::Rdata), 2);
        for leaf in &t.leaves {
            assert_eq!(net.sent(*leaf, Kind::Rdata), 2, "all of them asked");
        }
    }
}

#[test] // N-02, N-14, N-15
fn a_loss_on_a_leaf_is_repaired_there_alone() {
    let mut net = sim(TestNet::seeded(2));
    let t = tree(&mut net, &ElementConfig::default(), 4, 5);
    let wet = t.leaves[2];
    lose(&mut net, &[4], move |from, _| from == wet);
    let sent = send_slowly(&mut net, t.tx);
    for rx in t.receivers.iter().flatten() {
        assert_all_and_fin(&net, *rx, &sent);
    }
    let repairs: Vec<_> = t
        .leaves
        .iter()
        .map(|leaf| net.sent(*leaf, Kind::Rdata))
        .collect();
    assert_eq!(repairs, [0, 0, 1, 0]);
    assert_eq!(net.sent(t.trunk, Kind::Nak), 1);
    let asked: Vec<_> = t
        .leaves
        .iter()
        .map(|leaf| net.sent(*leaf, Kind::Nak))
        .collect();
    assert_eq!(asked, [0, 0, 1, 0]);
}

#[test] // N-10, N-14, N-15, S-17: else the late branch waits for NAK_ELIM_IVL
fn a_branch_that_asks_when_the_repair_has_passed_is_repaired_soon() {
    let mut net = sim(TestNet::seeded(9));
    let config = ElementConfig {
        nak_bo_default: us(500),
        ..ElementConfig::default()
    };
    assert!(config.nak_elim_ivl >= secs(1));
    let (near, far) = (net.segment(), net.segment());
    let element = net.element(config, &[Segment::FIRST, near, far]);
    let tx = net.source(SourceConfig {
        nak_bo_default: us(500),
        ..lan_source()
    });
    net.at(near);
    let first = net.receiver(lan_receiver());
    net.at(far);
    let late = net.receiver(lan_receiver());
    for cast in [Cast::Group, Cast::Host] {
        net.link_mut(late.node, cast).latency = us(900);
    }
    net.into_mut(element, 2).latency = us(900);
    lose(&mut net, &[3], move |from, _| from == tx.node);
    net.run_for(ms(100));
    let sent = messages(9, 5, 500);
    for message in &sent {
        net.send_all(tx, [message]);
        net.run_for(ms(5));
    }
    net.run_for(ms(20));
    for rx in [first, late] {
        assert_all(&net, rx, &sent);
    }
    assert_eq!(net.sent(tx.node, Kind::Rdata), 2);
    assert_eq!(net.sent(element, Kind::Rdata), 2, "one to each branch");
}

#[test] // N-01: receivers ask the element beside them, which the SPMs name
fn naks_go_to_the_nearest_element() {
    let mut net = sim(TestNet::seeded(3));
    let t = tree(&mut net, &ElementConfig::default(), 2, 2);
    let receiver = t.receivers[0][0];
    lose(&mut net, &[2], move |_, to| to == receiver.node);
    let sent = send_slowly(&mut net, t.tx);
    assert_all_and_fin(&net, receiver, &sent);
    let heard = net.element_mut(t.leaves[0]).stats().naks_received;
    assert_eq!((net.naks(receiver), heard), (1, 1));
    assert_eq!(net.element_mut(t.leaves[1]).stats().naks_received, 0);
}

#[test] // N-06, N-10, N-16, X-08
fn a_chain_of_elements_with_loss_on_every_link() {
    for first_sqn in [0, u32::MAX - 100, 0x7FFF_FFFF - 100] {
        let config = ElementConfig {
            nak_rpt_ivl: ms(50),
            nak_rpt_every: ms(20),
            nak_elim_ivl: ms(20),
            nak_rdata_ivl: ms(200),
            ..ElementConfig::default()
        };
        let mut net = sim(TestNet::seeded(4).loss(0.02));
        let tx = net.source(SourceConfig {
            first_sqn: Sqn(first_sqn),
            rate: Some(1_000_000),
            ..lan_source()
        });
        let mut segment = Segment::FIRST;
        let mut chain = Vec::new();
        for _ in 0..5 {
            let next = net.segment();
            let element = net.element(config.clone(), &[segment, next]);
            for iface in [0, 1] {
                net.into_mut(element, iface).loss = 0.02;
            }
            chain.push(element);
            segment = next;
        }
        net.at(segment);
        let receivers = net.receivers([(); 3].map(|()| lan_receiver()));
        net.run_for(ms(500));
        let sent = messages(4, 600, 700);
        net.send_all(tx, &sent);
        net.close(tx);
        net.run_until_idle();
        for rx in receivers {
            assert_all_and_fin(&net, rx, &sent);
        }
        for element in chain {
            let stats = net.element_mut(element).stats();
            assert!(
                stats.naks_forwarded > 0 && stats.rdata_forwarded > 0,
                "{stats:?}"
            );
            assert_eq!(net.element_mut(element).repairs(), 0, "all forgotten");
        }
    }
}

#[test] // N-16
fn elements_that_restart_lose_no_message() {
    let config = ElementConfig {
        nak_elim_ivl: ms(50),
        ..ElementConfig::default()
    };
    let mut net = sim(TestNet::seeded(5).loss(0.03));
    let t = tree(&mut net, &config, 3, 4);
    net.run_for(ms(200));
    let sent = messages(5, 1000, 800);
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

#[test] // N-01, X-09: each session has an upstream of its own
fn two_sources_at_opposite_ends() {
    let mut net = sim(TestNet::seeded(6).loss(0.02));
    let config = ElementConfig {
        nak_elim_ivl: ms(50),
        ..ElementConfig::default()
    };
    let t = tree(&mut net, &config, 3, 3);
    // The nets of the last leaf have the second source.
    let other = net.source(lan_source());
    net.run_for(ms(200));
    let (a, b) = (messages(6, 500, 600), messages(7, 500, 600));
    net.send_all(t.tx, &a);
    net.send_all(other, &b);
    net.close(t.tx);
    net.close(other);
    net.run_until_idle();
    for rx in t.receivers.iter().flatten() {
        assert_eq!(net.sessions(*rx).count(), 2);
        for (tx, sent) in [(t.tx, &a), (other, &b)] {
            let log = net.sessions(*rx).find(|log| log.tsi == tx.tsi).unwrap();
            assert_eq!(difference(&log.apdus, sent), None);
            assert_eq!(log.end, Some(Read::Fin));
        }
    }
    let path = |net: &mut TestNet, tx: Tx| net.element_mut(t.leaves[2]).upstream(tx.tsi);
    let own = net
        .sessions(t.receivers[2][0])
        .find(|log| log.tsi == other.tsi);
    let addr = own.unwrap().from;
    assert_eq!(path(&mut net, other), Some(addr), "the source itself");
    assert_ne!(path(&mut net, t.tx), Some(addr));
}

#[test] // SPM requests are routed past the elements
fn a_late_receiver_asks_for_an_spm_through_the_tree() {
    let mut net = sim(TestNet::seeded(7));
    let tx = net.source(SourceConfig {
        late_join_percent: 100,
        ambient_spm_ivl: secs(30),
        ihb_min: secs(5),
        ihb_max: secs(30),
        ..lan_source()
    });
    let below = net.segment();
    net.element(ElementConfig::default(), &[Segment::FIRST, below]);
    let sent = messages(7, 20, 500);
    net.send_all(tx, &sent);
    net.run_for(secs(10));
    net.at(below);
    let rx = net.receiver(lan_receiver());
    let more = messages(8, 1, 500);
    net.send_all(tx, &more);
    net.run_for(secs(2));
    assert!(net.sent(rx.node, Kind::Spmr) > 0);
    assert_all(&net, rx, &[sent, more].concat());
}

#[test] // N-14: what one segment lost does not touch those who lost nothing
fn losses_of_their_own_behind_a_tree() {
    let mut net = sim(TestNet::seeded(8));
    let config = ElementConfig {
        nak_elim_ivl: ms(20),
        ..ElementConfig::default()
    };
    let t = tree(&mut net, &config, 4, 10);
    for rx in t.receivers[1..].iter().flatten() {
        for cast in [Cast::Group, Cast::Host] {
            net.link_mut(rx.node, cast).loss = 0.05;
        }
    }
    net.run_for(ms(100));
    let sent = messages(9, 300, 400);
    net.send_all(t.tx, &sent);
    net.close(t.tx);
    net.run_until_idle();
    for rx in t.receivers.iter().flatten() {
        assert_all_and_fin(&net, *rx, &sent);
    }
    assert_eq!(net.sent(t.leaves[0], Kind::Rdata), 0);
    assert!(net.sent(t.leaves[1], Kind::Rdata) > 50);
}
