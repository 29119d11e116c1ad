//! A receiver as designated local repairer (RFC 3208 §9.5.2).

use crate::common::{self, secs};
use crate::kit::*;
use pgm_engine::Destination;
use pgm_engine::endpoint::{Arrival, Disposition};
use pgm_engine::num::{Nla, Sqn};
use pgm_engine::receiver::{DlrConfig, DlrRole, ReceiverConfig};
use pgm_engine::testnet::{Kind, Rx, TestNet, Tx, lan_receiver, lan_source, node_addr};
use pgm_engine::wire::{Body, Fragment, Options, Poll};
use std::net::Ipv4Addr;

const GROUPWISE: Destination = Destination::Group(GROUP);

fn being(role: DlrRole) -> ReceiverConfig {
    ReceiverConfig {
        dlr: Some(DlrConfig::new(role, DLR)),
        as_source: true,
        ..config()
    }
}

/// A DLR that has SQNs 1 to 9.
fn holding(role: DlrRole) -> Child {
    let mut child = Child::begun(being(role));
    (1..=9).for_each(|sqn| child.odata(sqn));
    child
}

fn ask(child: &mut Child, from: Ipv4Addr, sqns: &[u32]) {
    child.hear(by_unicast(from), Body::Nak(nak(sqns)), Options::default());
    child.pass(ms(1));
}

fn dlr_poll(sub_type: u16) -> Body {
    Body::Poll(Poll {
        sqn: Sqn(4),
        round: 0,
        sub_type,
        path: Nla::V4(PARENT),
        bo_ivl: 0,
        rand: 0,
        mask: 0,
    })
}

#[test] // D-03, D-04: NCF and RDATA to the group as the source would, an NNAK to the source
fn an_upstream_dlr_answers_as_the_source() {
    let mut child = holding(DlrRole::Upstream);
    child.spm(2, 9, Options::default());
    ask(&mut child, STRANGER, &[3, 5]);
    let sent = child.take();
    let lines: Vec<_> = sent.iter().map(|s| (s.summary(), s.to)).collect();
    let expected = [
        line("NCF 3 5", GROUPWISE),
        line("NNAK 3 5", to(PARENT)),
        line("RDATA 3", GROUPWISE),
        line("RDATA 5", GROUPWISE),
    ];
    assert_eq!(lines, expected);
    for packet in &sent {
        let grouped = packet.to == GROUPWISE;
        assert_eq!(packet.router_alert, grouped, "G-19");
        assert_eq!(packet.source, grouped.then_some(SOURCE));
        assert_eq!(packet.ttl, None);
        let tpdu = packet.tpdu();
        assert_eq!(tpdu.tsi(), TSI);
        if let Body::Rdata(data) = tpdu.body {
            assert_eq!(data.trail, Sqn(2), "today's");
            assert_eq!(tpdu.payload, payload(data.sqn.0));
        }
    }
}

#[test] // D-03, D-04: a NAK that a network element sent after it had let the repair of others pass is answered, too
fn who_asks_just_after_a_repair_gets_one_in_a_moment() {
    let mut child = holding(DlrRole::Upstream);
    let kinds = |child: &mut Child| {
        let sent = child.summaries().into_iter().map(|(what, _)| what);
        sent.collect::<Vec<_>>()
    };
    let whole = ["NCF 3", "NNAK 3", "RDATA 3"];
    ask(&mut child, STRANGER, &[3]);
    assert_eq!(kinds(&mut child), whole);
    for _ in 0..2 {
        ask(&mut child, STRANGER, &[3]);
    }
    assert_eq!(kinds(&mut child), [""; 0], "it may have crossed the repair");
    child.pass(ms(3));
    assert_eq!(kinds(&mut child), whole, "once for both");
    child.pass(secs(1));
    assert_eq!(kinds(&mut child), [""; 0]);
}

#[test] // D-03: where the network layer does not let it, with its own address
fn an_upstream_dlr_that_cannot_be_the_source_is_itself() {
    let mut config = being(DlrRole::Upstream);
    config.as_source = false;
    let mut child = Child::begun(config);
    child.odata(1);
    ask(&mut child, STRANGER, &[1]);
    let sent = child.take();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|packet| packet.source.is_none()));
}

#[test] // D-05: unicast NCF, NNAK, RDATA, in this order, to the parent, without Router Alert
fn an_off_tree_dlr_answers_its_parent() {
    let mut child = holding(DlrRole::OffTree);
    ask(&mut child, PARENT, &[3, 5]);
    let sent = child.take();
    let lines: Vec<_> = sent.iter().map(|s| (s.summary(), s.to)).collect();
    let expected = ["NCF 3 5", "NNAK 3 5", "RDATA 3", "RDATA 5"];
    assert_eq!(lines, expected.map(|what| line(what, to(PARENT))));
    assert!(sent.iter().all(|s| !s.router_alert && s.source.is_none()));
    // D-05: only its parent's NAKs; a stranger would have it send to the parent for nothing.
    ask(&mut child, STRANGER, &[4]);
    assert_eq!(child.summaries(), []);
}

#[test] // D-08: what it lacks it confirms, too, and then asks its parent
fn an_off_tree_dlr_asks_for_what_it_lacks() {
    let mut child = holding(DlrRole::OffTree);
    child.spm(1, 30, Options::default());
    child.take();
    ask(&mut child, PARENT, &[9, 25]);
    let lines = child.summaries();
    let expected = ["NCF 9 25", "NNAK 9", "NAK 25", "RDATA 9"];
    assert_eq!(lines, expected.map(|what| line(what, to(PARENT))));
    // Beyond the window there is nothing to ask for.
    ask(&mut child, PARENT, &[31, 4_000_000_000]);
    let sent = child.summaries();
    assert!(
        sent.iter()
            .all(|(what, _)| !what.contains("31") && !what.contains("4000000000"))
    );
}

#[test] // D-03: an upstream DLR passes on what it lacks; the parent's NCF is the confirmation
fn an_upstream_dlr_passes_on_what_it_lacks() {
    let mut child = holding(DlrRole::Upstream);
    child.data(30, 1, Options::default());
    child.take();
    ask(&mut child, STRANGER, &[9, 25]);
    let lines = child.summaries();
    let expected = [
        line("NCF 9", GROUPWISE),
        line("NNAK 9", to(PARENT)),
        line("NAK 25", to(PARENT)),
        line("RDATA 9", GROUPWISE),
    ];
    assert_eq!(lines[..4], expected);
}

#[test] // D-02: a redirecting POLR for the parent's NCF, unless the DLR itself had asked
fn an_upstream_dlr_answers_ncfs_of_others() {
    let mut child = holding(DlrRole::Upstream);
    child.ncf(&[3]);
    let sent = child.take();
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].to, sent[0].source), (GROUPWISE, Some(SOURCE)));
    assert!(sent[0].router_alert && sent[0].ttl.is_none());
    assert!(matches!(sent[0].body(), Body::Polr(_)));
    assert_eq!(sent[0].options().redirect, Some(Nla::V4(DLR)));
    assert!(!sent[0].tpdu().parity, "D-06: no parity from here");
    for _ in 0..100 {
        child.ncf(&[3]);
    }
    assert!(child.take().is_empty(), "told already");
    child.pass(ms(300));
    child.odata(11);
    child.pass(ms(10));
    assert_eq!(child.summaries(), [line("NAK 10", to(PARENT))]);
    child.ncf(&[10]);
    assert!(child.take().is_empty(), "its own NAK");
    child.ncf(&[3]);
    assert_eq!(child.take().len(), 1);
    // An off-tree DLR is found by polls alone.
    let mut child = holding(DlrRole::OffTree);
    child.ncf(&[3]);
    assert!(child.take().is_empty());
}

#[test] // D-06, P-04: an off-tree DLR answers a DLR poll with its address and without OPT_PARITY
fn an_off_tree_dlr_answers_dlr_polls() {
    let mut child = holding(DlrRole::OffTree);
    child.told_by_source(dlr_poll(1), Options::default());
    child.pass(ms(20));
    let sent = child.take();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (sent[0].summary().as_str(), sent[0].to),
        ("POLR 4 0", to(PARENT))
    );
    assert_eq!(sent[0].options().redirect, Some(Nla::V4(DLR)));
    assert!(!sent[0].tpdu().parity && !sent[0].router_alert);
    let mut child = holding(DlrRole::OffTree);
    child.told_by_source(dlr_poll(0), Options::default());
    child.pass(ms(20));
    assert_eq!(
        child.take()[0].options(),
        Options::default(),
        "a general one"
    );
    let mut child = holding(DlrRole::Upstream);
    child.told_by_source(dlr_poll(1), Options::default());
    child.pass(ms(20));
    assert!(child.take().is_empty());
}

#[test] // D-06: parity it does not make; a NAK for it goes on to the parent
fn parity_is_left_to_the_source() {
    let mut child = holding(DlrRole::Upstream);
    let body = Body::Nak(nak(&[3]));
    let bytes = wire(body, Options::default(), &[], |tpdu| tpdu.parity = true);
    child.feed(by_unicast(STRANGER), &bytes);
    let sent = child.take();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (sent[0].summary().as_str(), sent[0].to),
        ("NAK 3", to(PARENT))
    );
    assert!(sent[0].tpdu().parity);
}

#[test] // D-07: repairs have the content options of the original
fn syn_fin_and_fragments_are_reproduced() {
    let mut child = Child::begun(being(DlrRole::Upstream));
    let fragment = |offset| Fragment {
        first: Sqn(2),
        offset,
        apdu_len: 8,
    };
    let options = [
        Options {
            syn: true,
            ..Options::default()
        },
        Options {
            fragment: Some(fragment(0)),
            ..Options::default()
        },
        Options {
            fragment: Some(fragment(4)),
            fin: true,
            ..Options::default()
        },
    ];
    for (sqn, options) in (1..).zip(&options) {
        child.data(sqn, 1, options.clone());
    }
    ask(&mut child, STRANGER, &[1, 2, 3]);
    let sent = child.take();
    let repairs = sent.iter().filter(|s| matches!(s.body(), Body::Rdata(_)));
    let repaired: Vec<_> = repairs.map(Sent::options).collect();
    assert_eq!(repaired, options, "also after all of the session is here");
}

#[test] // D-01: it is a receiver as any, and its store follows the source's window and its own limit
fn the_store_is_bounded() {
    let mut config = being(DlrRole::Upstream);
    config.dlr.as_mut().unwrap().store_bytes = 10_000;
    let mut child = Child::begun(config);
    for sqn in 1..=5_000 {
        child.odata(sqn);
        assert!(matches!(
            child.peer.read(child.now),
            Some(pgm_engine::receiver::Read::Apdu(_))
        ));
        assert!(child.peer.bytes_held() <= 10_000);
    }
    ask(&mut child, STRANGER, &[5_000, 1]);
    let lines = child.summaries();
    assert!(lines.contains(&line("RDATA 5000", GROUPWISE)), "{lines:?}");
    assert!(
        lines.contains(&line("NAK 1", to(PARENT))),
        "not kept: asked for"
    );
    let held = child.peer.bytes_held();
    child.spm(5_000, 5_000, Options::default());
    assert!(
        child.peer.bytes_held() < held / 10,
        "behind the trailing edge"
    );
    child.peer.set_budget(0, true);
    assert_eq!(child.peer.bytes_held(), 0);
}

#[test] // hostile: NAKs in floods, for other sources, by multicast, with IPv6 addresses
fn a_flood_of_naks_is_served_once_and_at_the_rate() {
    let mut config = being(DlrRole::Upstream);
    config.dlr.as_mut().unwrap().rate = 10_000;
    let mut child = Child::begun(config);
    (1..=500).for_each(|sqn| child.odata(sqn));
    child.take();
    let all: Vec<u32> = (1..=500).collect();
    for _ in 0..50 {
        for list in all.chunks(63) {
            child.hear(
                by_unicast(STRANGER),
                Body::Nak(nak(list)),
                Options::default(),
            );
        }
    }
    child.pass(secs(1));
    let sent = child.take();
    let count = |kind: &str| {
        sent.iter()
            .filter(|s| s.summary().starts_with(kind))
            .count()
    };
    // 28 octets each.
    assert!((300..=400).contains(&count("RDATA")), "{}", count("RDATA"));
    let (ncfs, nnaks) = (count("NCF"), count("NNAK"));
    assert!(ncfs <= 9 && nnaks <= 9, "{ncfs} NCFs, {nnaks} NNAKs");
    child.pass(secs(5));
    child.take();

    let mut other = nak(&[3]);
    other.source = Nla::V4(STRANGER);
    child.hear(by_unicast(STRANGER), Body::Nak(other), Options::default());
    let mut six = nak(&[3]);
    six.group = Nla::V6("ff15::1".parse().unwrap());
    child.hear(by_unicast(STRANGER), Body::Nak(six), Options::default());
    child.hear(by_group(STRANGER), Body::Nak(nak(&[3])), Options::default());
    child.pass(ms(1));
    assert_eq!(child.summaries(), []);
}

#[test] // a receiver that is no DLR, or whose process has the source itself, repairs nothing
fn naks_are_for_those_who_serve() {
    let mut child = Child::begun(config());
    child.odata(1);
    ask(&mut child, STRANGER, &[1]);
    assert_eq!(child.summaries(), []);
    // At the endpoint it is somebody else's.
    let mut net = TestNet::seeded(1);
    let tx = net.source(lan_source());
    let [plain] = net.receivers([lan_receiver()]);
    let role = DlrRole::Upstream;
    let dlr = net.receiver(ReceiverConfig {
        dlr: Some(DlrConfig::new(role, DLR)),
        ..lan_receiver()
    });
    net.send_all(tx, ["one"]);
    net.run_for(secs(1));
    let sqn = pgm_engine::wire::Nak {
        sqn: Sqn(0),
        list: Default::default(),
        source: Nla::V4(node_addr(tx.node)),
        group: Nla::V4(pgm_engine::testnet::GROUP),
    };
    let port = pgm_engine::testnet::DPORT;
    let nak = common::packet(tx.tsi, port, Body::Nak(sqn), Options::default(), &[]);
    let arrival = Arrival {
        from: STRANGER,
        group: None,
    };
    let now = net.now();
    let mut at = |node| net.endpoint(node).handle_tpdu(now, arrival, &nak);
    assert_eq!(at(plain.node), Disposition::Foreign(tx.tsi));
    assert_eq!(at(dlr.node), Disposition::Consumed);
    assert_eq!(at(tx.node), Disposition::Consumed);
}

/// A source, a DLR that gets everything, and two receivers that lose a fifth of the data, or of all.
struct Branch {
    net: common::Sim,
    tx: Tx,
    dlr: Rx,
    messages: Vec<Vec<u8>>,
}

fn repaired_locally(as_source: bool, everything: bool) -> Branch {
    let mut net = common::sim(TestNet::seeded(3));
    let mut config = lan_source();
    config.window_ivl = secs(5);
    config.rate = Some(500_000);
    let tx = net.source(config);
    let dlr = net.receiver(ReceiverConfig {
        dlr: Some(DlrConfig::new(DlrRole::Upstream, Ipv4Addr::UNSPECIFIED)),
        as_source,
        ..lan_receiver()
    });
    let leaf = ReceiverConfig {
        use_dlr: true,
        ..lan_receiver()
    };
    let leaves = net.receivers([leaf.clone(), leaf]);
    let mut rng = fastrand::Rng::with_seed(9);
    net.drop_if(move |flight, node| {
        let lossy = leaves.iter().any(|leaf| leaf.node == node);
        lossy && (everything || flight.kind == Kind::Odata) && rng.f64() < 0.2
    });
    let messages = common::messages(7, 2_000, 600);
    net.send_all(tx, &messages);
    net.close(tx);
    net.run_for(secs(8));
    for rx in leaves {
        common::assert_all_and_fin(&net, rx, &messages);
    }
    Branch {
        net,
        tx,
        dlr,
        messages,
    }
}

#[test] // D-01, D-03, D-04: a lossy subtree is repaired by its DLR; the source hears NNAKs
fn a_lossy_subtree_is_repaired_by_its_dlr() {
    for as_source in [true, false] {
        let Branch {
            mut net,
            tx,
            dlr,
            messages,
        } = repaired_locally(as_source, false);
        common::assert_all_and_fin(&net, dlr, &messages);
        let (now, by_dlr) = (net.now(), net.sent(dlr.node, Kind::Rdata));
        let stats = net.endpoint(tx.node).source_stats(now, tx.id).unwrap();
        assert!(by_dlr > 400, "{by_dlr} RDATA, {stats:?}");
        assert_eq!(stats.nnaks_received, net.sent(dlr.node, Kind::Nnak));
        assert!(stats.nnaks_received > 50, "{}", stats.nnaks_received);
        assert!(
            stats.naks_received <= 6 && stats.rdata_sent * 10 < by_dlr,
            "as source {as_source}: {} NAKs and {} RDATA at the source",
            stats.naks_received,
            stats.rdata_sent
        );
    }
}

#[test] // where confirmations and repairs are lost as well, the parent helps out
fn what_the_dlr_cannot_bring_the_source_does() {
    for as_source in [true, false] {
        let branch = repaired_locally(as_source, true);
        assert!(branch.net.sent(branch.dlr.node, Kind::Rdata) > 100);
        assert!(branch.net.sent(branch.tx.node, Kind::Rdata) > 0);
    }
}
