//! Parity NAKs, and selective ones.

use crate::rig::{Packet, Rig, config, fec, ms};
use pgm_engine::source::SourceConfig;
use pgm_engine::wire::Body;

/// A source with groups of 8, on-demand parity alone, and two full groups behind it.
fn rig(h: u8, proactive: u8) -> Rig {
    let mut rig = Rig::settled(config(fec(8, h, proactive, true)));
    rig.send(&[100; 16]);
    rig.take();
    rig
}

/// Indices of the parity packets sent since the last call.
fn indices(rig: &mut Rig) -> Vec<u8> {
    let k = rig.k();
    let packets = rig.take();
    packets
        .iter()
        .filter(|packet| packet.is_parity())
        .map(|packet| packet.index(k))
        .collect()
}

#[test] // F-05, F-08, S-14, S-15
fn a_parity_nak_is_confirmed_and_answered() {
    let mut rig = rig(8, 0);
    rig.ask(8, 3);
    let packets = rig.take();
    let names: Vec<String> = packets.iter().map(Packet::name).collect();
    assert_eq!(
        names,
        [
            "parity NCF 10",
            "parity RDATA 8",
            "parity RDATA 9",
            "parity RDATA 10"
        ]
    );
    assert!(packets.iter().all(|packet| packet.router_alert));
    let stats = rig.source.stats(rig.now);
    assert_eq!((stats.naks_received, stats.parity_naks_received), (1, 1));
    assert_eq!(
        (
            stats.rdata_sent,
            stats.parity_rdata_sent,
            stats.naks_ignored
        ),
        (3, 3, 0)
    );
}

#[test] // F-08, S-20: several groups in one NAK
fn a_list_of_groups_is_answered_as_one() {
    let mut rig = rig(8, 0);
    rig.nak(true, &[0, 9]);
    let names = rig.names();
    assert_eq!(names[0], "parity NCF 0 9");
    assert_eq!(
        names[1..],
        ["parity RDATA 0", "parity RDATA 8", "parity RDATA 9"]
    );
    // Of one group the larger count.
    rig.run_for(ms(100));
    rig.take();
    rig.nak(true, &[0, 2, 1]);
    let names = rig.names();
    assert_eq!(
        names,
        [
            "parity NCF 2",
            "parity RDATA 1",
            "parity RDATA 2",
            "parity RDATA 3"
        ]
    );
}

#[test] // F-06: never one that was sent, pro-actively or before
fn indices_are_new() {
    let mut rig = rig(8, 2);
    rig.ask(0, 2);
    assert_eq!(indices(&mut rig), [2, 3]);
    rig.run_for(ms(50));
    rig.ask(0, 3);
    assert_eq!(indices(&mut rig), [4, 5, 6]);
    rig.run_for(ms(50));
    rig.ask(0, 3);
    assert_eq!(
        indices(&mut rig),
        [7, 2, 3],
        "all used: again, but not pro-active ones"
    );
    let mut rig = self::rig(2, 2);
    rig.ask(0, 3);
    assert_eq!(indices(&mut rig), [0, 1, 0], "there are no others");
}

#[test] // F-07
fn indices_from_k_on_have_a_group_number() {
    let mut rig = Rig::settled(config(fec(4, 20, 0, true)));
    rig.send(&[1; 8]);
    rig.take();
    let mut seen = Vec::new();
    for _ in 0..5 {
        rig.ask(4, 4);
        seen.extend(rig.take().into_iter().filter(Packet::is_parity));
        rig.run_for(ms(50));
    }
    assert_eq!(seen.len(), 20);
    for (j, packet) in (0..).zip(&seen) {
        let group = packet.tpdu().options.parity_grp;
        assert_eq!(packet.data().sqn.0, 4 + j % 4);
        assert_eq!(group, (j >= 4).then_some(j / 4));
    }
}

/// A source so slow that parity waits.
fn slow() -> Rig {
    let mut rig = Rig::settled(SourceConfig {
        rate: Some(20_000),
        ..config(fec(8, 100, 0, true))
    });
    rig.send(&[1_000; 16]);
    rig.run_for(ms(3_000));
    // Now the bucket is empty.
    rig.send(&[1_000; 8]);
    while rig.source.unsent() > 0 {
        rig.step(rig.now + ms(1_000));
    }
    rig.take();
    rig
}

#[test] // F-09
fn smaller_requests_are_confirmed_only_and_larger_ones_raise() {
    let mut rig = slow();
    for (count, confirmed) in [(3, true), (2, false), (3, false), (5, true), (1, false)] {
        rig.ask(0, count);
        let names = rig.names();
        let expected = confirmed.then(|| format!("parity NCF {}", count - 1));
        assert_eq!(names, expected.into_iter().collect::<Vec<_>>(), "{count}");
    }
    rig.run_for(ms(2));
    assert_eq!(
        rig.names(),
        ["parity NCF 4"],
        "identical ones become one, a little later (S-16)"
    );
    rig.run_for(ms(3_000));
    assert_eq!(indices(&mut rig), [0, 1, 2, 3, 4], "as many as the largest");
}

#[test] // F-09: a NAK that crossed the parity asks for what is on the way
fn what_is_on_the_way_counts() {
    let mut rig = rig(100, 0);
    rig.ask(0, 3);
    assert_eq!(indices(&mut rig).len(), 3);
    rig.now += ms(1);
    rig.ask(0, 2);
    assert_eq!(indices(&mut rig).len(), 0);
    assert_eq!(rig.source.stats(rig.now).naks_after_rdata, 1);
    rig.ask(0, 5);
    assert_eq!(indices(&mut rig).len(), 2);
    rig.run_for(ms(10));
    rig.take();
    rig.ask(0, 2);
    assert_eq!(indices(&mut rig).len(), 2, "it was lost");
}

#[test] // F-05
fn on_demand_parity_waits_for_data_and_proactive_parity() {
    let mut rig = Rig::settled(config(fec(4, 8, 2, true)));
    rig.send(&[1; 3]);
    rig.take();
    rig.ask(0, 2);
    assert_eq!(rig.names(), ["parity NCF 1"]);
    rig.send(&[1; 1]);
    let names = rig.names();
    let expected = [
        "ODATA 3",
        "parity ODATA 0",
        "parity ODATA 1",
        "parity RDATA 2",
        "parity RDATA 3",
    ];
    assert_eq!(names, expected);
}

#[test] // F-21
fn what_a_short_group_lacks_is_subtracted() {
    for (count, sent) in [(8, 3), (7, 2), (6, 1), (5, 1), (1, 1)] {
        let mut rig = Rig::settled(config(fec(8, 100, 0, true)));
        rig.send(&[1; 3]);
        rig.run_for(ms(20));
        rig.take();
        rig.ask(0, count);
        let packets = rig.take();
        assert_eq!(packets[0].name(), format!("parity NCF {}", count - 1));
        let parity: Vec<&Packet> = packets.iter().filter(|packet| packet.is_parity()).collect();
        assert_eq!(parity.len(), sent, "{count} asked");
        // F-18
        assert!(
            parity
                .iter()
                .all(|packet| packet.tpdu().options.curr_tgsize == Some(3))
        );
    }
    // The same for a request that came before the group was closed.
    let mut rig = Rig::settled(config(fec(8, 100, 0, true)));
    rig.send(&[1; 3]);
    rig.ask(0, 7);
    rig.take();
    rig.run_for(ms(20));
    assert_eq!(indices(&mut rig).len(), 2);
}

#[test] // F-10
fn a_selective_nak_in_the_open_group_gets_selective_repair() {
    let mut rig = Rig::settled(config(fec(8, 8, 0, true)));
    rig.send(&[1; 11]);
    rig.take();
    rig.nak(false, &[8, 10]);
    assert_eq!(rig.names(), ["NCF 8 10", "RDATA 8", "RDATA 10"]);
}

#[test] // F-11: departed from: who asks selectively cannot use parity
fn a_selective_nak_in_a_full_group_gets_selective_repair() {
    let mut rig = rig(8, 0);
    rig.nak(false, &[3, 5]);
    assert_eq!(rig.names(), ["NCF 3 5", "RDATA 3", "RDATA 5"]);
    // Both ways side by side.
    rig.ask(0, 2);
    rig.nak(false, &[6]);
    let names = rig.names();
    assert_eq!(
        names,
        [
            "parity NCF 1",
            "parity RDATA 0",
            "parity RDATA 1",
            "NCF 6",
            "RDATA 6"
        ]
    );
}

#[test] // S-06: neither kind of repair starves the other, nor data
fn repairs_take_turns() {
    let mut rig = slow();
    rig.ask(0, 6);
    rig.nak(false, &[8, 9, 10, 11, 12, 13]);
    rig.source
        .send(rig.now, crate::rig::apdu(0, 1_000))
        .expect("room");
    rig.run_for(ms(2_000));
    let names = rig.names();
    let data = names
        .iter()
        .position(|name| name == "ODATA 24")
        .expect("data goes on");
    let first = &names[..data];
    assert!(
        first.iter().any(|name| name.starts_with("RDATA")),
        "{names:?}"
    );
    assert!(
        first.iter().any(|name| name.starts_with("parity RDATA")),
        "{names:?}"
    );
    assert_eq!(
        names.iter().filter(|name| name.contains("RDATA")).count(),
        12
    );
}

#[test] // F-01: without on-demand parity nobody was invited to ask for it
fn parity_that_is_not_offered_is_not_given() {
    let mut rig = Rig::settled(config(fec(8, 8, 2, false)));
    rig.send(&[1; 8]);
    rig.take();
    rig.ask(0, 2);
    assert_eq!(rig.names(), Vec::<String>::new());
    let stats = rig.source.stats(rig.now);
    assert_eq!((stats.naks_ignored, stats.parity_naks_received), (1, 0));
}

#[test] // S-14: an NCF promises parity, so there is none for what is not in the window
fn groups_outside_the_window_are_not_confirmed() {
    let mut rig = rig(8, 0);
    for tg in [16, 1 << 31, u32::MAX - 7] {
        rig.ask(tg, 1);
        assert_eq!(rig.names(), Vec::<String>::new(), "{tg}");
    }
    let stats = rig.source.stats(rig.now);
    assert_eq!((stats.naks_ignored, stats.naks_too_late), (2, 1));
}

#[test] // S-23: parity that is to be sent keeps its data
fn a_group_under_repair_stays() {
    let mut rig = Rig::settled(SourceConfig {
        rate: Some(400_000),
        window_bytes: 1_000,
        window_ivl: ms(5),
        ..config(fec(4, 100, 0, true))
    });
    rig.send(&[1_000; 8]);
    rig.run_for(ms(40));
    rig.take();
    for round in 0..20 {
        rig.ask(0, 4);
        rig.send(&[1_000; 4]);
        rig.run_for(ms(40));
        let parity = indices(&mut rig).len();
        assert!(parity == 4 || round >= 10, "round {round}: {parity}");
    }
    let lead = rig.source.stats(rig.now).lead;
    assert!(
        lead > 20,
        "for a bounded time, so that data goes on: {lead}"
    );
}

#[test] // S-26: RDATA carries the trailing edge of today
fn parity_carries_the_current_edge() {
    let mut rig = Rig::settled(SourceConfig {
        window_bytes: 1_000,
        window_ivl: ms(5),
        max_tpdu: 200,
        ..config(fec(4, 100, 1, true))
    });
    for _ in 0..20 {
        rig.send(&[100; 4]);
        rig.run_for(ms(10));
    }
    rig.take();
    let stats = rig.source.stats(rig.now);
    let (trail, tg) = (stats.trail as u32, (stats.lead & !3) as u32);
    assert!(trail > 0);
    rig.ask(tg, 2);
    for packet in rig.take() {
        if let Body::Rdata(data) = packet.tpdu().body {
            assert_eq!(data.trail.0, trail);
        }
    }
}
