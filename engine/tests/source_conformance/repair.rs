//! RFC 3208 §5.1.3, §5.2, §5.3, §8.3, §9.3, §15.2.

use crate::rig::*;
use pgm_engine::num::{Nla, Sqn};
use pgm_engine::source::SourceConfig;
use pgm_engine::wire::{Body, Nak, Options, Tpdu};
use std::net::Ipv4Addr;

/// A settled source with `count` packets in its window and nothing recorded.
fn rig_with(count: usize, config: SourceConfig) -> Rig {
    let mut rig = Rig::settled(config);
    rig.send_small(count);
    rig.take();
    rig
}

/// SQNs of every NCF, one list per packet.
fn ncfs(packets: &[Packet]) -> Vec<Vec<u32>> {
    let mut lists = Vec::new();
    for packet in packets {
        if let Body::Ncf(ncf) = packet.tpdu().body {
            lists.push(ncf.sqns().map(|sqn| sqn.0).collect());
        }
    }
    lists
}

fn rdata(packets: &[Packet]) -> Vec<u32> {
    packets
        .iter()
        .filter(|p| p.kind() == "RDATA")
        .filter_map(data_sqn)
        .collect()
}

#[test] // S-14, S-15, S-17, S-18, RFC 3208 §5.2: the NCF at once and first, then the RDATA
fn a_nak_is_confirmed_and_then_repaired() {
    let mut rig = rig_with(10, config());
    rig.nak(&[4]);
    assert!(rig.source.poll_timeout().is_some_and(|at| at <= rig.now));
    rig.drain();
    assert_eq!(rig.kinds(), ["NCF", "RDATA"]);
    let ncf = rig.sent[0].tpdu();
    assert_eq!(ncf.body, Body::Ncf(nak(&[4])), "same SQN and NLAs");
    assert_eq!(
        ncf.options.nak_bo_ivl.map(|bo| bo.ivl),
        Some(10_000),
        "§15.2.1"
    );
    assert_eq!(rdata(&rig.sent), [4]);
    let stats = rig.source.stats(rig.now);
    assert_eq!(
        (stats.naks_received, stats.ncfs_sent, stats.rdata_sent),
        (1, 1, 1)
    );
}

#[test] // S-19, RFC 3208 §8.2: same TSDU, today's trail
fn rdata_repeats_the_tsdu_with_a_fresh_trail() {
    let config = SourceConfig {
        max_tpdu: 200,
        window_bytes: 1_000,
        window_ivl: ms(1),
        window_adv_percent: 0,
        ..config()
    };
    let mut rig = Rig::settled(config);
    for i in 0..20 {
        rig.send(vec![i; 100].into());
        rig.run_for(ms(5));
    }
    rig.take();
    let trail = rig.source.stats(rig.now).trail as u32;
    assert!(trail > 5);
    rig.nak(&[trail + 2]);
    rig.drain();
    let tpdu = rig.sent[1].tpdu();
    let Body::Rdata(data) = tpdu.body else {
        panic!("{tpdu:?}")
    };
    assert_eq!((data.sqn, data.trail), (Sqn(trail + 2), Sqn(trail)));
    assert_eq!(tpdu.payload, [trail as u8 + 2; 100]);
}

#[test] // S-20, O-13, RFC 3208 §9.3.4: one NCF with the same list, RDATA for all of it
fn a_nak_list_gets_one_ncf_and_all_repairs() {
    let mut rig = rig_with(100, config());
    let asked: Vec<u32> = (0..63).map(|i| i + i / 2).collect();
    rig.nak(&asked);
    rig.drain();
    assert_eq!(ncfs(&rig.sent).concat(), asked);
    assert_eq!(rig.source.stats(rig.now).ncfs_sent, 1);
    assert_eq!(rig.sent[0].kind(), "NCF");
    assert_eq!(rdata(&rig.sent), asked);
}

#[test] // S-16, S-17: a hundred receivers ask, one NCF and one RDATA answer, a second NCF a bit later
fn a_nak_storm_is_answered_once() {
    let mut rig = rig_with(10, config());
    for _ in 0..100 {
        rig.nak(&[7]);
        rig.drain();
    }
    assert_eq!(rig.kinds(), ["NCF", "RDATA"]);
    rig.run_for(ms(3));
    assert_eq!(ncfs(&rig.sent), [[7], [7]]);
    assert_eq!(rdata(&rig.sent), [7]);
    assert_eq!(rig.source.stats(rig.now).naks_after_rdata, 99);
}

#[test] // S-17: the RDATA was lost: the next NAK, a receiver's NAK_RDATA_IVL later, is served again
fn a_repair_can_be_asked_for_again() {
    let mut rig = rig_with(10, config());
    for round in 1..=5 {
        rig.nak(&[7]);
        rig.drain();
        assert_eq!(rdata(&rig.sent).len(), round);
        assert_eq!(ncfs(&rig.sent).len(), round);
        rig.run_for(ms(20));
    }
}

#[test] // S-21, RFC 3208 §9.5
fn a_null_nak_causes_nothing() {
    let mut rig = rig_with(10, config());
    rig.upstream(Body::Nnak(nak(&[3])));
    rig.drain();
    assert!(rig.sent.is_empty());
    assert_eq!(rig.source.stats(rig.now).nnaks_received, 1);
}

#[test] // S-14, S-17, RFC 3208 §5.3: only SQNs of the window; the rest is counted and not promised
fn naks_beyond_the_window_are_counted_not_confirmed() {
    let mut rig = rig_with(
        10,
        SourceConfig {
            first_sqn: Sqn(100),
            ..config()
        },
    );
    rig.nak(&[99]);
    rig.nak(&[110]);
    rig.nak(&[100u32.wrapping_add(1 << 31)]);
    rig.drain();
    assert!(rig.sent.is_empty());
    rig.nak(&[98, 99, 100, 109, 110]);
    rig.drain();
    assert_eq!(ncfs(&rig.sent), [[100, 109]]);
    assert_eq!(rdata(&rig.sent), [100, 109]);
    let stats = rig.source.stats(rig.now);
    assert_eq!(
        (stats.naks_received, stats.naks_too_late, stats.naks_ignored),
        (4, 3, 3)
    );
}

#[test] // RFC 3208 §8.3, §10: a NAK names our source and our group, or it is not for us
fn naks_for_others_are_ignored() {
    let mut rig = rig_with(10, config());
    let other = Nla::V4(Ipv4Addr::new(10, 9, 9, 9));
    rig.upstream(Body::Nak(Nak {
        source: other,
        ..nak(&[3])
    }));
    rig.upstream(Body::Nak(Nak {
        group: other,
        ..nak(&[3])
    }));
    let (sport, dport, gsi) = (DPORT, TSI.sport, TSI.gsi);
    let (body, options) = (Body::Nak(nak(&[3])), Options::default());
    let parity = Tpdu {
        sport,
        dport,
        gsi,
        parity: true,
        var_pktlen: false,
        body,
        options,
        payload: &[],
    };
    rig.upstream_tpdu(&parity);
    rig.drain();
    assert!(rig.sent.is_empty());
    assert_eq!(rig.source.stats(rig.now).naks_ignored, 3);
}

#[test] // S-05, RFC 3208 §5.1.3: NCF, then SPM, then data; repairs before new data
fn packets_leave_by_priority() {
    let mut rig = rig_with(10, config());
    rig.run_for(ms(100));
    rig.take();
    rig.send(apdu(1));
    rig.upstream(Body::Spmr);
    rig.nak(&[5]);
    rig.nak(&[6]);
    rig.drain();
    assert_eq!(
        rig.kinds(),
        ["NCF", "NCF", "SPM", "RDATA", "RDATA", "ODATA"]
    );
}

#[test] // S-06, RFC 3208 §5.1.3: a steady stream of NAKs and a full queue share the rate
fn neither_repairs_nor_data_starve() {
    let mut rig = rig_with(
        1_000,
        SourceConfig {
            rate: Some(1_000_000),
            ..config()
        },
    );
    let end = rig.now + secs(1);
    let mut sqn = 0;
    while rig.now < end {
        for _ in 0..20 {
            rig.nak(&[sqn % 1_000]);
            sqn += 1;
        }
        while rig.source.is_writable() {
            rig.send(apdu(1));
        }
        rig.step((rig.now + ms(1)).min(end));
    }
    let count = |kind| {
        rig.sent
            .iter()
            .filter(|packet| packet.kind() == kind)
            .count()
    };
    let (odata, rdata) = (count("ODATA"), count("RDATA"));
    assert!(odata * 5 >= rdata, "{odata} ODATA, {rdata} RDATA");
    assert!(rdata * 2 >= odata, "{odata} ODATA, {rdata} RDATA");
    assert!(odata > 500, "NCFs leave half of the rate: {odata}");
}

#[test] // repairs do not wait behind the queue of new data
fn a_repair_overtakes_queued_data() {
    let mut rig = rig_with(
        10,
        SourceConfig {
            rate: Some(1_000_000),
            ..config()
        },
    );
    while rig.source.is_writable() {
        rig.send(apdu(1_400));
    }
    rig.drain();
    rig.take();
    rig.nak(&[5]);
    let asked = rig.now;
    while !rig.kinds().contains(&"RDATA") {
        assert!(rig.step(asked + ms(20)));
    }
    let first = rig.kinds().into_iter().find(|kind| kind.ends_with("DATA"));
    assert_eq!(first, Some("RDATA"));
    assert!(rig.now - asked < ms(3), "{:?}", rig.now - asked);
}

#[test] // I-03, RFC 3208 §15.2.1: many NAKs for one loss lengthen the advertised back-off, calm shortens it
fn the_advertised_back_off_follows_the_naks() {
    let mut rig = rig_with(1_000, config());
    let advertised = |rig: &mut Rig| {
        rig.upstream(Body::Spmr);
        rig.run_for(ms(10));
        let spms = rig.take();
        let spm = spms
            .iter()
            .rfind(|packet| packet.kind() == "SPM")
            .expect("an SPM");
        spm.tpdu().options.nak_bo_ivl.expect("OPT_NAK_BO_IVL").ivl
    };
    assert_eq!(advertised(&mut rig), 10_000);
    for sqn in 0..300 {
        rig.nak(&[sqn]);
        rig.nak(&[sqn]);
        rig.run_for(ms(1));
    }
    assert_eq!(advertised(&mut rig), 500, "few ask");
    for (sqn, ivl) in [(300, 10_000), (301, 30_000), (302, 90_000)] {
        for _ in 0..8 {
            rig.nak(&[sqn]);
        }
        rig.run_for(ms(10));
        assert_eq!(advertised(&mut rig), ivl, "many ask at once");
    }
    for sqn in 400..700 {
        rig.nak(&[sqn]);
        rig.run_for(ms(1));
    }
    assert_eq!(advertised(&mut rig), 10_000, "they may still be there");
}

#[test] // whatever receivers send, nothing but the answers above comes of it
fn packets_no_source_expects_are_ignored() {
    use pgm_engine::wire::{Ack, Polr};
    let mut rig = rig_with(10, config());
    rig.upstream(Body::Polr(Polr {
        sqn: Sqn(1),
        round: 0,
    }));
    rig.upstream(Body::Ack(Ack {
        rx_max: Sqn(1),
        bitmap: 1,
    }));
    rig.upstream(Body::Ncf(nak(&[1])));
    rig.drain();
    assert!(rig.sent.is_empty());
}
