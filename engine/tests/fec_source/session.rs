//! FEC beside everything else a source does.

use crate::rig::{Packet, Rig, apdu, config, fec, ms};
use pgm_engine::num::Sqn;
use pgm_engine::source::SourceConfig;
use pgm_engine::wire::Body;

#[test] // S-30: what was promised is sent before the source finishes
fn the_linger_includes_parity() {
    let mut rig = Rig::settled(SourceConfig {
        rate: Some(20_000),
        ..config(fec(8, 8, 8, true))
    });
    for i in 0..11 {
        rig.source.send(rig.now, apdu(i, 1_000)).expect("room");
    }
    rig.source.close(rig.now);
    while !rig.source.is_finished() {
        rig.step(rig.now + ms(1_000));
    }
    let parity = rig
        .take()
        .iter()
        .filter(|packet| packet.is_parity())
        .count();
    assert_eq!(parity, 16);
}

#[test] // S-30: parity is repaired after the FIN, and keeps the source
fn parity_is_given_after_the_fin() {
    let mut rig = Rig::settled(config(fec(8, 100, 0, true)));
    rig.send(&[100; 11]);
    rig.source.close(rig.now);
    for _ in 0..10 {
        rig.run_for(ms(300));
        rig.take();
        rig.ask(8, 8);
        assert_eq!(
            rig.take()
                .iter()
                .filter(|packet| packet.is_parity())
                .count(),
            3
        );
    }
    rig.run_for(ms(20_000));
    assert!(rig.source.is_finished());
}

#[test] // S-13: SPMs tell the last packet, not the last SQN of its group
fn lead_is_the_last_packet() {
    let mut rig = Rig::new(SourceConfig {
        late_join_percent: 50,
        ..config(fec(8, 8, 1, true))
    });
    let (mut last, mut spms) = (None, 0);
    for round in 0..30 {
        rig.send(&vec![10; 1 + round % 9]);
        rig.run_for(ms(40));
        for packet in rig.take() {
            let tpdu = packet.tpdu();
            match tpdu.body {
                Body::Odata(data) if !tpdu.parity => {
                    let boundary = last.is_none_or(|last: Sqn| (last.0 + 8) & !7 == data.sqn.0);
                    assert!(
                        boundary || last.is_some_and(|last| last.next() == data.sqn),
                        "S-01"
                    );
                    last = Some(data.sqn);
                }
                Body::Spm(spm) => {
                    let window = spm.window.expect("a window");
                    assert_eq!(window.lead, last.unwrap_or(Sqn(u32::MAX)));
                    spms += 1;
                }
                _ => {}
            }
        }
    }
    assert!(spms > 30);
}

#[test] // S-27, S-28, S-01: nothing changes for sources without
fn without_fec_nothing_of_it_is_sent() {
    let mut rig = Rig::new(SourceConfig {
        fec: None,
        ..config(fec(8, 8, 1, true))
    });
    for i in 0..30 {
        rig.source.send(rig.now, apdu(i, 2_000)).expect("room");
        rig.run_for(ms(20));
    }
    rig.ask(0, 4);
    rig.source.close(rig.now);
    rig.run_for(ms(2_000));
    let packets = rig.take();
    let mut next = 0;
    for packet in &packets {
        let tpdu = packet.tpdu();
        assert!(!tpdu.parity && !tpdu.var_pktlen);
        assert!(tpdu.options.parity_prm.is_none() && tpdu.options.curr_tgsize.is_none());
        if let Body::Odata(data) = tpdu.body {
            assert_eq!(data.sqn, Sqn(next));
            next += 1;
        }
    }
    assert_eq!(next, 60);
    assert!(packets.iter().map(|packet| packet.bytes.len()).max() == Some(1_472));
    assert_eq!(
        packets
            .iter()
            .filter(|packet| Packet::is_parity(packet))
            .count(),
        0
    );
}

#[test] // S-02: a window below two groups still lets them be filled
fn a_small_window_does_not_stop_a_large_group() {
    let mut rig = Rig::settled(SourceConfig {
        window_bytes: 1,
        window_ivl: ms(1),
        ..config(fec(128, 127, 5, true))
    });
    for i in 0..1_000 {
        while !rig.source.is_writable() {
            rig.step(rig.now + ms(1_000));
        }
        rig.source.send(rig.now, apdu(i, 1_400)).expect("room");
    }
    rig.run_for(ms(2_000));
    assert_eq!(rig.source.unsent(), 0);
    let parity = rig
        .take()
        .iter()
        .filter(|packet| packet.is_parity())
        .count();
    assert!(parity >= 5 * (1_000 / 128), "{parity}");
}
