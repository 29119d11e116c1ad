//! Transmission groups: where they begin and end, and their pro-active parity.

use crate::rig::{Packet, Rig, config, fec, ms};
use pgm_engine::num::Sqn;
use pgm_engine::source::{Fec, SourceConfig};
use pgm_engine::wire::{Body, ParityPrm};

#[test] // F-01, F-02
fn every_spm_advertises_what_is_offered_before_any_data() {
    for (proactive, on_demand) in [(0, true), (2, false), (1, true)] {
        let mut rig = Rig::new(config(fec(8, 4, proactive, on_demand)));
        rig.send(&[1; 20]);
        rig.run_for(ms(3_000));
        assert_eq!(rig.sent[0].name(), "SPM");
        let mut spms = 0;
        for packet in rig.take() {
            let tpdu = packet.tpdu();
            let expected = ParityPrm {
                proactive: proactive > 0,
                on_demand,
                tg_size: 8,
            };
            let is_spm = matches!(tpdu.body, Body::Spm(_));
            assert_eq!(tpdu.options.parity_prm, is_spm.then_some(expected));
            spms += u32::from(is_spm);
        }
        assert!(spms > 10);
    }
}

#[test] // F-02: what no source can work with becomes the nearest that it can
fn parameters_are_put_right() {
    let put_right = |fec: Fec| Rig::new(config(fec)).source.config().fec;
    let some = |n, k, proactive, on_demand| {
        Some(Fec {
            n,
            k,
            proactive,
            on_demand,
            little_endian: false,
        })
    };
    let given =
        |n, k, proactive, on_demand| put_right(some(n, k, proactive, on_demand).expect("some"));
    assert_eq!(given(255, 8, 2, true), some(255, 8, 2, true));
    assert_eq!(given(255, 100, 2, true), some(255, 64, 2, true));
    assert_eq!(given(4, 200, 2, true), some(129, 128, 1, true));
    assert_eq!(given(10, 8, 9, true), some(10, 8, 2, true));
    assert_eq!(given(10, 8, 0, false), None, "no parity at all");
    assert_eq!(given(0, 0, 0, true), some(2, 1, 0, true));
}

#[test] // F-03, F-04
fn proactive_parity_follows_the_k_th_packet() {
    let mut rig = Rig::settled(config(fec(4, 4, 2, false)));
    rig.send(&[10; 9]);
    let names = rig.names();
    let expected = [
        "ODATA 0",
        "ODATA 1",
        "ODATA 2",
        "ODATA 3",
        "parity ODATA 0",
        "parity ODATA 1",
        "ODATA 4",
        "ODATA 5",
        "ODATA 6",
        "ODATA 7",
        "parity ODATA 4",
        "parity ODATA 5",
        "ODATA 8",
    ];
    assert_eq!(names, expected);
    let stats = rig.source.stats(rig.now);
    assert_eq!((stats.odata_sent, stats.parity_odata_sent), (13, 4));
    assert_eq!(stats.data_bytes_sent, 90);
}

#[test] // F-04, S-03: parity takes its part of the rate
fn parity_is_paced() {
    let rate = 1_000_000;
    let mut rig = Rig::settled(SourceConfig {
        rate: Some(rate),
        ..config(fec(4, 4, 4, false))
    });
    rig.send(&[1_000; 200]);
    rig.run_for(ms(2_000));
    let data: Vec<Packet> = rig
        .take()
        .into_iter()
        .filter(|packet| packet.name() != "SPM")
        .collect();
    assert_eq!(data.len(), 400);
    let octets: usize = data[..399].iter().map(|packet| packet.bytes.len()).sum();
    let micros = (data[399].at - data[0].at).as_micros() as usize;
    assert!(octets <= micros + 10_000, "{octets} octets in {micros} µs");
    assert!(micros < 450_000, "{micros} µs");
}

#[test] // F-17: across the wrap, too
fn groups_begin_at_multiples_of_k() {
    let mut rig = Rig::settled(SourceConfig {
        first_sqn: Sqn(u32::MAX - 2),
        ..config(fec(8, 8, 0, true))
    });
    let mut names = Vec::new();
    for count in [3, 8, 9, 1] {
        rig.send(&vec![1; count]);
        rig.run_for(ms(20));
        names.extend(rig.names());
    }
    let first = u32::MAX - 7;
    let sqns = [first, first + 1, first + 2]
        .into_iter()
        .chain(0..17)
        .chain([24]);
    assert_eq!(
        names,
        sqns.map(|sqn| format!("ODATA {sqn}")).collect::<Vec<_>>()
    );
}

#[test] // F-18, F-20, O-20
fn an_idle_source_closes_the_open_group() {
    let mut rig = Rig::settled(config(fec(8, 8, 1, true)));
    rig.send(&[1; 3]);
    assert_eq!(rig.names(), ["ODATA 0", "ODATA 1", "ODATA 2"]);
    rig.run_for(ms(3));
    assert_eq!(rig.take().len(), 0);
    rig.run_for(ms(2_000));
    let packets = rig.take();
    assert_eq!(packets[0].name(), "SPM", "at once");
    assert_eq!(packets[1].name(), "parity ODATA 0");
    for packet in &packets {
        let tpdu = packet.tpdu();
        assert_eq!(tpdu.options.curr_tgsize, Some(3), "{}", packet.name());
        if let Body::Spm(spm) = tpdu.body {
            assert_eq!(spm.window.map(|window| window.lead), Some(Sqn(2)));
        }
    }
    // The next group is another.
    rig.send(&[1; 8]);
    rig.run_for(ms(2_000));
    let packets = rig.take();
    assert_eq!(packets[0].name(), "ODATA 8");
    assert!(
        packets
            .iter()
            .all(|packet| packet.tpdu().options.curr_tgsize.is_none())
    );
}

#[test] // F-20: data that waits for the rate is no idleness
fn a_slow_source_fills_its_groups() {
    let mut rig = Rig::settled(SourceConfig {
        rate: Some(10_000),
        ..config(fec(4, 4, 1, true))
    });
    rig.send(&[1_000; 8]);
    rig.run_for(ms(3_000));
    let parity = rig
        .take()
        .into_iter()
        .filter(Packet::is_parity)
        .collect::<Vec<_>>();
    assert_eq!(parity.len(), 2);
    assert!(
        parity
            .iter()
            .all(|packet| packet.tpdu().options.curr_tgsize.is_none())
    );
}

#[test] // F-20: nor does an APDU that is still growing hold the group open
fn data_that_does_not_come_is_idleness() {
    let mut rig = Rig::settled(config(fec(4, 4, 1, true)));
    rig.source.begin(100_000).expect("room");
    rig.source.append(crate::rig::apdu(0, 2_000)).expect("room");
    rig.run_for(ms(50));
    assert_eq!(rig.names(), ["ODATA 0", "parity ODATA 0"]);
}

#[test] // F-19: where it is known, on the last packet
fn the_last_packet_of_a_closed_source_tells_the_size() {
    let mut rig = Rig::settled(config(fec(8, 8, 0, true)));
    for i in 0..11 {
        rig.source
            .send(rig.now, crate::rig::apdu(i, 100))
            .expect("room");
    }
    rig.source.close(rig.now);
    rig.drain();
    let packets = rig.take();
    for packet in &packets {
        let size = packet.tpdu().options.curr_tgsize;
        let last = ["ODATA 10", "SPM"].contains(&packet.name().as_str());
        assert_eq!(size, last.then_some(3), "{}", packet.name());
    }
    assert!(packets.iter().any(|packet| packet.name() == "ODATA 10"));
    // So does its repair.
    rig.nak(false, &[9, 10]);
    let packets = rig.take();
    let rdata = packets
        .iter()
        .filter(|packet| packet.name().starts_with("RDATA"));
    let sizes: Vec<_> = rdata
        .map(|packet| packet.tpdu().options.curr_tgsize)
        .collect();
    assert_eq!(sizes, [None, Some(3)]);
}

#[test] // F-20: one that was sent before
fn closing_the_source_closes_the_group() {
    let mut rig = Rig::settled(config(fec(8, 8, 1, true)));
    rig.send(&[1; 3]);
    rig.take();
    rig.source.close(rig.now);
    rig.drain();
    let packets = rig.take();
    assert_eq!(
        (packets[0].name().as_str(), packets[1].name().as_str()),
        ("SPM", "parity ODATA 0")
    );
    assert!(packets[0].tpdu().options.fin);
    assert!(
        packets
            .iter()
            .all(|packet| packet.tpdu().options.curr_tgsize == Some(3))
    );
}

#[test] // F-18: a receiver that does not know the size asks for SQNs that were left out
fn sqns_left_out_are_answered_with_the_size() {
    let mut rig = Rig::settled(config(fec(4, 4, 1, false)));
    rig.send(&[1; 2]);
    rig.run_for(ms(20));
    rig.send(&[1; 1]);
    rig.take();
    rig.nak(false, &[1, 2, 3]);
    let packets = rig.take();
    assert_eq!(packets[0].name(), "NCF 1 2 3");
    for (packet, (sqn, len)) in packets[1..].iter().zip([(1, 1), (2, 0), (3, 0)]) {
        let tpdu = packet.tpdu();
        assert_eq!(packet.name(), format!("RDATA {sqn}"));
        assert_eq!(
            (tpdu.payload.len(), tpdu.options.curr_tgsize),
            (len, Some(2))
        );
    }
    assert_eq!(packets.len(), 4);
}

#[test] // S-13, S-26: the trailing edge passes groups as a whole
fn groups_leave_the_window_whole() {
    let mut rig = Rig::settled(SourceConfig {
        window_bytes: 2_000,
        window_ivl: ms(10),
        max_tpdu: 200,
        ..config(fec(4, 4, 1, true))
    });
    for round in 0..200 {
        rig.send(&vec![50; 1 + round % 6]);
        rig.run_for(ms(7));
        let stats = rig.source.stats(rig.now);
        assert_eq!(stats.trail % 4, 0);
        assert!(
            stats.lead + 1 >= stats.trail && stats.lead - stats.trail < 80,
            "{stats:?}"
        );
    }
    let lead = rig.source.stats(rig.now).lead as u32;
    rig.take();
    rig.ask(lead & !3, 4);
    assert!(rig.take().iter().any(Packet::is_parity));
    rig.ask(0, 4);
    assert_eq!(rig.names(), Vec::<String>::new());
    assert_eq!(rig.source.stats(rig.now).naks_too_late, 1);
}

#[test] // F-20: a full window does not keep a group open for long
fn a_group_that_waits_for_room_is_closed() {
    let mut rig = Rig::settled(SourceConfig {
        window_bytes: 200,
        window_ivl: ms(500),
        max_tpdu: 200,
        ..config(fec(4, 4, 1, true))
    });
    rig.send(&[100; 100]);
    rig.run_for(ms(20));
    let packets = rig.take();
    let sizes: Vec<_> = packets
        .iter()
        .filter(|p| p.is_parity())
        .map(|p| p.tpdu().options.curr_tgsize)
        .collect();
    assert!(
        sizes.len() > 1 && sizes.last().is_some_and(Option::is_some),
        "{sizes:?}"
    );
    rig.run_for(ms(20_000));
    assert_eq!(rig.source.unsent(), 0, "and goes on");
}
