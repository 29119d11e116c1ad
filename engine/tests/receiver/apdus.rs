//! Messages of several TPDUs (RFC 3208 §9.2).

use crate::kit::{Rig, config, ms};
use pgm_engine::receiver::{Read, ReceiverConfig, ResetReason};
use pgm_engine::wire::{Fragment, Options};

/// Octets that tell their place.
fn apdu(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// (SQN, offset, octets) of the fragments of an APDU that begins at `first`.
fn fragments(first: u32, apdu: &[u8], size: usize) -> Vec<(u32, u32, &[u8])> {
    let parts = apdu.chunks(size).enumerate();
    parts
        .map(|(i, part)| (first + i as u32, (i * size) as u32, part))
        .collect()
}

fn assert_bad(mut rig: Rig) {
    assert_eq!(rig.read_end(), Read::Reset(ResetReason::BadApdu));
    assert_eq!(rig.peer.bytes_held(), 0);
}

#[test] // R-35, O-10
fn an_apdu_is_delivered_only_when_whole() {
    let data = apdu(10);
    for missing in 1..=4 {
        let mut rig = Rig::begun(config());
        for (sqn, offset, part) in fragments(1, &data, 3) {
            if sqn != missing {
                rig.fragment(sqn, 1, offset, 10, part);
            }
        }
        assert!(!rig.peer.is_readable());
        let offset = (missing - 1) * 3;
        let end = (offset as usize + 3).min(10);
        rig.fragment(missing, 1, offset, 10, &data[offset as usize..end]);
        assert_eq!(rig.read_apdus(), [&data[..]]);
    }
}

#[test] // messages around it stay in order
fn whole_and_split_apdus_follow_each_other() {
    let mut rig = Rig::begun(config());
    rig.odata_with(1, 1, Options::default(), b"before");
    rig.fragment(2, 2, 0, 4, b"sp");
    rig.fragment(3, 2, 2, 4, b"it");
    rig.fragment(4, 4, 0, 3, b"one");
    rig.odata_with(5, 1, Options::default(), b"after");
    rig.fragment(6, 6, 0, 2, b"e");
    rig.fragment(7, 6, 1, 2, b"f");
    let apdus: [&[u8]; 5] = [b"before", b"spit", b"one", b"after", b"ef"];
    assert_eq!(rig.read_apdus(), apdus);
    assert_eq!(rig.peer.bytes_held(), 0);
}

#[test] // the trail may pass the first fragments before the last one comes
fn reassembly_outlives_the_window() {
    let mut rig = Rig::begun(config());
    rig.fragment(1, 1, 0, 4, b"ab");
    rig.spm(2, 1);
    let fragment = Some(Fragment {
        first: rig.sqn(1),
        offset: 2,
        apdu_len: 4,
    });
    rig.odata_with(
        2,
        2,
        Options {
            fragment,
            ..Options::default()
        },
        b"cd",
    );
    assert_eq!(rig.read_apdus(), [b"abcd"]);
}

#[test] // an APDU larger than every limit of the window passes, in any order within the window
fn a_long_apdu_passes_a_small_window() {
    let limits = ReceiverConfig {
        rxw_sqns: 256,
        rxw_bytes: 256 << 10,
        ..config()
    };
    let data = apdu(16 << 20);
    let mut rig = Rig::begun(limits);
    let mut parts = fragments(1, &data, 1400);
    for chunk in parts.chunks_mut(100) {
        chunk.reverse();
    }
    for (sqn, offset, part) in parts {
        rig.fragment(sqn, 1, offset, data.len() as u32, part);
        assert!(rig.peer.bytes_held() <= 3 * (16 << 20));
    }
    assert_eq!(rig.stats().dropped_window_full, 0);
    assert_eq!(rig.naks().len(), 0);
    let apdus = rig.read_apdus();
    assert!(apdus == [data], "16 MiB differ");
}

#[test] // two long APDUs: the second one waits in the window, and what does not fit is asked for again
fn a_long_apdu_behind_an_unread_one_waits() {
    let limits = ReceiverConfig {
        rxw_sqns: 64,
        ..config()
    };
    let data = apdu(200_000);
    let mut rig = Rig::begun(limits);
    let parts = fragments(1, &data, 1000);
    for (sqn, offset, part) in &parts {
        rig.fragment(*sqn, 1, *offset, 200_000, part);
        rig.fragment(sqn + 200, 201, *offset, 200_000, part);
    }
    assert!(rig.peer.is_readable());
    assert!(rig.read_apdus() == [data.clone()]);
    for _ in 0..100 {
        rig.pass(ms(10));
        for sqn in rig.naks().concat() {
            let (_, offset, part) = parts[(sqn - 201) as usize];
            rig.fragment(sqn, 201, offset, 200_000, part);
        }
    }
    assert!(rig.read_apdus() == [data]);
}

#[test] // longer than the limit; the announced length allocates nothing
fn too_long_an_apdu_ends_the_session() {
    let mut rig = Rig::begun(ReceiverConfig {
        max_apdu: 1000,
        ..config()
    });
    rig.odata_with(1, 1, Options::default(), b"fine");
    rig.fragment(2, 2, 0, 1001, &[0; 500]);
    assert_eq!(rig.read_apdus(), [b"fine"]);
    assert_bad(rig);

    let mut rig = Rig::begun(ReceiverConfig {
        max_apdu: 1000,
        ..config()
    });
    rig.odata_with(1, 1, Options::default(), &[0; 1001]);
    assert_bad(rig);

    let mut rig = Rig::begun(config());
    rig.fragment(1, 1, 0, 256 << 20, b"lots");
    assert!(rig.peer.bytes_held() < 100_000);
}

#[test] // §9.2: contradictions between fragments
fn contradictory_fragments_end_the_session() {
    type Contradict = fn(&mut Rig);
    let contradictions: [Contradict; 6] = [
        |rig| rig.fragment(3, 2, 3, 10, b"gap"),
        |rig| rig.fragment(3, 2, 1, 10, b"overlap"),
        |rig| rig.fragment(3, 2, 2, 11, b"length"),
        |rig| rig.fragment(3, 1, 2, 10, b"first"),
        |rig| rig.fragment(3, 3, 0, 10, b"anew"),
        |rig| rig.odata_with(3, 1, Options::default(), b"whole"),
    ];
    for contradict in contradictions {
        let mut rig = Rig::begun(config());
        rig.odata_with(1, 1, Options::default(), b"fine");
        assert_eq!(rig.read_apdus(), [b"fine"]);
        rig.fragment(2, 2, 0, 10, b"ab");
        contradict(&mut rig);
        assert_bad(rig);
    }
    let mut rig = Rig::begun(config());
    rig.odata_with(1, 1, Options::default(), b"fine");
    rig.fragment(3, 2, 2, 4, b"cd");
    rig.odata_with(2, 1, Options::default(), b"no beginning");
    assert_eq!(rig.read_apdus().len(), 2);
    assert_bad(rig);
}

#[test] // §9.2: what cannot be true is dropped, and the real packet still taken
fn impossible_fragments_are_dropped() {
    let mut rig = Rig::begun(config());
    rig.odata(1);
    rig.fragment(2, 2, 5, 10, b"offset without fragments");
    rig.fragment(2, 1, 0, 10, b"offset 0 twice");
    rig.fragment(2, 1, 8, 10, b"beyond");
    rig.fragment(2, 3, 1, 10, b"first after");
    rig.fragment(2, 1, u32::MAX, u32::MAX, b"wraps");
    rig.fragment(2, 1, 1, 10, b"");
    assert_eq!(rig.stats().dropped_malformed, 6);
    rig.odata(2);
    assert_eq!(rig.read_sqns(), [1, 2]);
}

#[test] // an empty APDU takes an SQN and is no message
fn empty_apdus_are_skipped() {
    let mut rig = Rig::begun(config());
    rig.odata_with(1, 1, Options::default(), b"");
    assert!(!rig.peer.is_readable());
    rig.odata_with(2, 1, Options::default(), b"two");
    rig.odata_with(3, 1, Options::default(), b"");
    rig.fragment(4, 4, 0, 0, b"");
    rig.odata_with(5, 1, Options::default(), b"five");
    let apdus: [&[u8]; 2] = [b"two", b"five"];
    assert_eq!(rig.read_apdus(), apdus);
    assert_eq!(rig.stats().messages_received, 2);
    rig.pass(ms(1000));
    assert_eq!(rig.naks().len(), 0);
}
