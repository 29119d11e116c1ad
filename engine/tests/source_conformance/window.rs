//! RFC 3208 §3.3, §16.

use crate::rig::*;
use pgm_engine::num::Sqn;
use pgm_engine::source::SourceConfig;
use pgm_engine::wire::Body;

/// A window of 1000 octets and 50 ms, small packets, no rate limit, no steps.
fn small() -> SourceConfig {
    SourceConfig {
        max_tpdu: 200,
        window_bytes: 1_000,
        window_ivl: ms(50),
        window_adv_percent: 0,
        rate: None,
        first_sqn: Sqn(u32::MAX - 3),
        ..config()
    }
}

/// An APDU whose TPDU has 150 octets (but the first, which has OPT_SYN).
fn send_150(rig: &mut Rig) {
    rig.send(apdu(150 - 24));
}

#[test] // S-02, S-24: a window full of young data holds new data back, until it is old enough
fn young_data_is_never_dropped() {
    let mut rig = Rig::settled(small());
    for _ in 0..12 {
        send_150(&mut rig);
    }
    let from = rig.now;
    rig.drain();
    assert_eq!(rig.take().len(), 6, "six fit");
    assert!(rig.source.stats(rig.now).buffer_available < 150);
    while rig.source.unsent() > 0 {
        assert!(rig.step(from + secs(1)));
        let odata: Vec<_> = rig
            .take()
            .into_iter()
            .filter(|p| p.kind() == "ODATA")
            .collect();
        assert!(
            odata.iter().all(|p| rig.t0 + p.at == from + ms(50)),
            "when the oldest is 50 ms old"
        );
    }
    assert_eq!(
        rig.source.stats(rig.now).trail,
        u64::from((u32::MAX - 3).wrapping_add(6))
    );
}

#[test] // S-25: the documented departure from §16: age alone does not evict
fn old_data_stays_repairable_while_there_is_room() {
    let mut rig = Rig::settled(small());
    for _ in 0..6 {
        send_150(&mut rig);
    }
    rig.run_for(secs(60));
    rig.take();
    rig.nak(&[u32::MAX - 3]);
    rig.drain();
    assert_eq!(rig.kinds(), ["NCF", "RDATA"]);
}

#[test] // S-22, S-26: the trail moves with time and octets, and every packet tells it
fn the_trail_is_current_in_every_packet() {
    let mut rig = Rig::settled(SourceConfig {
        window_adv_percent: 30,
        ..small()
    });
    for i in 0..200 {
        send_150(&mut rig);
        rig.run_for(ms(20));
        let lead = rig.source.stats(rig.now).lead as u32;
        if i % 3 == 0 {
            rig.nak(&[lead.wrapping_sub(1)]);
            rig.drain();
        }
        let trail = rig.source.stats(rig.now).trail;
        if let Some(packet) = rig.sent.last() {
            let told = match packet.tpdu().body {
                Body::Spm(spm) => spm.window.expect("a window").trail,
                Body::Odata(data) | Body::Rdata(data) => data.trail,
                other => panic!("{other:?}"),
            };
            assert_eq!(u64::from(told.0), trail);
        }
        let held = (lead.wrapping_sub(trail as u32) as u64 + 1) * 150;
        assert!(held <= 1_000, "S-02: {held} octets");
    }
    let stats = rig.source.stats(rig.now);
    assert!(
        stats.trail > 150 && stats.trail < 1_000,
        "crossed the wrap: {}",
        stats.trail
    );
}

#[test]
fn without_a_window_time_octets_alone_decide() {
    let config = SourceConfig {
        window_ivl: ms(0),
        window_bytes: 100_000,
        rate: None,
        ..config()
    };
    let mut rig = Rig::new(config);
    for _ in 0..1_000 {
        rig.send(apdu(1_000));
        rig.drain();
        assert_eq!(rig.source.unsent(), 0, "never waits");
    }
    let stats = rig.source.stats(rig.now);
    let held = stats.lead - stats.trail + 1;
    assert!((80..=97).contains(&held), "{held}");
}

#[test] // S-23, RFC 3208 §16.2: a repair that waits holds the trailing edge
fn a_waiting_repair_is_served_before_its_data_leaves() {
    let config = SourceConfig {
        rate: Some(30_000),
        window_bytes: 1_500,
        ..small()
    };
    let mut rig = Rig::settled(config);
    for _ in 0..30 {
        send_150(&mut rig);
    }
    let mut asked = 0;
    let end = rig.now + secs(2);
    while rig.now < end {
        let trail = rig.source.stats(rig.now).trail as u32;
        rig.nak(&[trail]);
        asked += 1;
        rig.run_for(ms(10));
    }
    let stats = rig.source.stats(rig.now);
    assert!(asked > 100 && stats.naks_too_late == 0, "{stats:?}");
    assert_eq!(stats.outstanding_naks, 0);
    assert_eq!(rig.source.unsent(), 0);
}

#[test] // the smallest window is one TPDU, so nothing can stand still
fn a_window_below_one_tpdu_still_sends() {
    let config = SourceConfig {
        window_bytes: 0,
        window_ivl: ms(1),
        ..config()
    };
    let mut rig = Rig::new(config);
    rig.send(apdu(10_000));
    rig.run_for(ms(100));
    assert_eq!(rig.source.unsent(), 0);
}

#[test]
fn the_gauge_tells_free_octets() {
    let mut rig = Rig::settled(small());
    assert_eq!(rig.source.stats(rig.now).buffer_available, 1_000);
    rig.send(apdu(100));
    rig.drain();
    let used = rig.sent[0].bytes.len() as u64;
    assert_eq!(rig.source.stats(rig.now).buffer_available, 1_000 - used);
}

/// Unlimited rate, a window of 100 kB and no time.
fn fast() -> SourceConfig {
    SourceConfig {
        rate: None,
        window_bytes: 100_000,
        window_ivl: ms(0),
        ..config()
    }
}

/// Send as much as the source takes.
fn flood(rig: &mut Rig) {
    for _ in 0..200 {
        if rig.source.is_writable() {
            rig.send(apdu(1_400));
        }
        rig.drain();
    }
}

#[test] // S-23, RFC 3208 §16.2: who lost the repair as well can ask again, however fast the source is
fn a_recent_repair_holds_the_window() {
    let mut rig = Rig::settled(fast());
    flood(&mut rig);
    let asked = rig.source.stats(rig.now).trail as u32 + 3;
    rig.nak(&[asked]);
    flood(&mut rig);
    assert_eq!(
        rig.source.stats(rig.now).trail as u32,
        asked,
        "the window is full and waits"
    );
    rig.run_for(ms(40));
    rig.take();
    rig.nak(&[asked]);
    rig.drain();
    assert_eq!(rig.kinds()[..2], ["NCF", "RDATA"]);
    rig.run_for(ms(70));
    flood(&mut rig);
    assert!(
        rig.source.stats(rig.now).trail as u32 > asked + 100,
        "and goes on when nobody asks"
    );
}

#[test] // a receiver that never stops asking cannot stop the source
fn naks_hold_the_window_for_a_bounded_time() {
    let mut rig = Rig::settled(fast());
    flood(&mut rig);
    let asked = rig.source.stats(rig.now).trail as u32;
    for _ in 0..60 {
        rig.nak(&[asked]);
        rig.run_for(ms(10));
        flood(&mut rig);
    }
    assert!(rig.source.stats(rig.now).trail as u32 > asked + 100);
}
