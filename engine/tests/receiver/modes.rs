//! Sessions that go on after loss, that only listen, or that give APDUs before their turn.

use crate::kit::{Rig, What, config, ms, payload};
use pgm_engine::num::Sqn;
use pgm_engine::receiver::{Read, ReceiverConfig, ResetReason};
use pgm_engine::wire::Options;

fn going_on() -> ReceiverConfig {
    ReceiverConfig {
        continue_on_loss: true,
        ..config()
    }
}

fn listening() -> ReceiverConfig {
    ReceiverConfig {
        listen_only: true,
        ..config()
    }
}

fn unordered() -> ReceiverConfig {
    ReceiverConfig {
        unordered: true,
        ..config()
    }
}

/// What `listening` waits for others' repairs: twice the back-off, and one round of NAK and RDATA.
const LISTEN_WAIT: u64 = 2 * 10 + 100 + 300;

#[track_caller]
fn assert_gap(rig: &mut Rig, first: u32, count: u32) {
    let first = rig.sqn(first);
    assert_eq!(rig.read(), Some(Read::Gap { first, count }));
}

/// Reads just these: the one after them stays.
#[track_caller]
fn assert_apdus(rig: &mut Rig, sqns: &[u32]) {
    for sqn in sqns {
        let apdu = Read::Apdu(payload(*sqn).to_vec().into());
        assert_eq!(rig.read(), Some(apdu), "{sqn}");
    }
}

#[test]
fn a_session_goes_on_after_the_window_moved_past_a_loss() {
    for shift in [0, u32::MAX - 3, 1 << 31] {
        let mut rig = Rig::new(going_on()).shifted(shift);
        rig.spm(1, 0);
        for sqn in [1, 4, 5, 7] {
            rig.odata(sqn);
        }
        assert_apdus(&mut rig, &[1]);
        rig.spm(7, 8);
        assert_gap(&mut rig, 2, 2);
        assert_apdus(&mut rig, &[4, 5]);
        assert_gap(&mut rig, 6, 1);
        assert_apdus(&mut rig, &[7]);
        assert_eq!(rig.read(), None);
        let stats = rig.stats();
        assert_eq!((stats.lost_window_advanced, stats.loss_gaps), (3, 2));
        rig.pass(ms(50));
        assert_eq!(rig.asked(), [8], "what is lost is not asked for");
        rig.rdata(8);
        assert_apdus(&mut rig, &[8]);
    }
}

#[test]
fn a_session_goes_on_after_retries_gave_up() {
    let mut rig = Rig::begun(going_on());
    rig.odata(1);
    rig.odata(3);
    rig.odata(5);
    rig.rdata(2);
    rig.pass(ms(10_000));
    assert_apdus(&mut rig, &[1, 2, 3]);
    assert_gap(&mut rig, 4, 1);
    assert_apdus(&mut rig, &[5]);
    assert_eq!(rig.stats().lost_ncf_retries, 1);
    rig.odata(6);
    assert_apdus(&mut rig, &[6]);
}

#[test]
fn what_comes_after_all_is_taken_unless_the_gap_was_told() {
    let mut rig = Rig::begun(going_on());
    for sqn in [1, 4, 6] {
        rig.odata(sqn);
    }
    rig.spm(6, 6);
    rig.rdata(3);
    assert_apdus(&mut rig, &[1]);
    assert_gap(&mut rig, 2, 1);
    rig.rdata(2);
    rig.rdata(5);
    assert_apdus(&mut rig, &[3, 4, 5, 6]);
    assert_eq!(rig.stats().duplicates, 1, "2");
}

#[test] // RFC 3208 §9.2: an APDU with a hole is not given, the next one is
fn a_gap_ends_the_apdu_it_is_in() {
    let mut rig = Rig::begun(going_on());
    rig.fragment(1, 1, 0, 12, b"aaaa");
    rig.fragment(3, 1, 8, 12, b"cccc");
    rig.odata(4);
    rig.spm(4, 5);
    assert_gap(&mut rig, 2, 1);
    assert_apdus(&mut rig, &[4]);
    // The beginning of one is lost, and then the end of another.
    rig.fragment(6, 5, 4, 8, b"bbbb");
    rig.fragment(7, 7, 0, 8, b"aaaa");
    rig.odata(9);
    rig.spm(9, 9);
    assert_gap(&mut rig, 5, 1);
    assert_gap(&mut rig, 8, 1);
    assert_apdus(&mut rig, &[9]);
    assert_eq!(rig.peer.bytes_held(), 0);
}

#[test]
fn a_gap_is_told_before_the_end() {
    let mut rig = Rig::begun(going_on());
    rig.odata(1);
    let fin = Options {
        fin: true,
        ..Options::default()
    };
    rig.spm_with(1, 3, fin);
    rig.pass(ms(10_000));
    assert_apdus(&mut rig, &[1]);
    assert_gap(&mut rig, 2, 2);
    assert_eq!(rig.read_end(), Read::Fin);
}

#[test] // a trail far away costs neither time nor memory
fn a_gap_may_be_longer_than_any_window() {
    let mut rig = Rig::begun(going_on());
    rig.odata(1);
    rig.odata(40);
    let far = 1_900_000_000;
    rig.spm(far, far);
    assert_apdus(&mut rig, &[1]);
    assert_gap(&mut rig, 2, 38);
    assert_apdus(&mut rig, &[40]);
    assert_gap(&mut rig, 41, far - 41);
    rig.odata(far);
    assert_apdus(&mut rig, &[far]);
    assert!(rig.peer.slot_octets() < 1 << 20);
}

#[test]
fn contradictions_and_silence_are_still_the_end() {
    let mut rig = Rig::begun(going_on());
    rig.fragment(1, 1, 0, 12, b"aaaa");
    rig.odata(2);
    assert_eq!(rig.read_end(), Read::Reset(ResetReason::BadApdu));
    let mut rig = Rig::begun(going_on());
    rig.odata(1);
    rig.pass(ms(60_000));
    assert_apdus(&mut rig, &[1]);
    assert_eq!(rig.read_end(), Read::Reset(ResetReason::Silent));
}

#[test]
fn who_only_listens_sends_nothing_and_waits_a_while_for_others_repairs() {
    let mut rig = Rig::begun(listening());
    for sqn in [1, 3, 5] {
        rig.odata(sqn);
    }
    rig.pass(ms(LISTEN_WAIT - 1));
    rig.rdata(2);
    assert_apdus(&mut rig, &[1, 2, 3]);
    rig.pass(ms(2));
    assert_gap(&mut rig, 4, 1);
    assert_apdus(&mut rig, &[5]);
    rig.pass(ms(20_000));
    assert_eq!(rig.sent, []);
    assert_eq!(rig.stats().lost_unasked, 1);
}

#[test]
fn others_naks_and_ncfs_prolong_the_wait_but_not_for_ever() {
    let mut rig = Rig::begun(listening());
    rig.odata(1);
    rig.odata(3);
    rig.pass(ms(LISTEN_WAIT - 10));
    rig.ncf(&[2]);
    rig.pass(ms(290));
    assert_apdus(&mut rig, &[1]);
    assert_eq!(rig.read(), None, "not given up yet");
    rig.rdata(2);
    assert_apdus(&mut rig, &[2, 3]);
    rig.odata(5);
    for _ in 0..100 {
        rig.nak(&[4]);
        rig.pass(ms(250));
        rig.odata(3);
    }
    assert_gap(&mut rig, 4, 1);
    assert_apdus(&mut rig, &[5]);
}

#[test] // No SPM is asked for, and none is needed
fn who_only_listens_begins_with_what_it_hears() {
    let join = |sqn| Options {
        join: Some(Sqn(sqn)),
        ..Options::default()
    };
    let mut rig = Rig::new(listening());
    rig.spm_with(1, 100, join(1));
    rig.odata_with(101, 1, join(1), &payload(101));
    rig.odata(103);
    rig.pass(ms(1_000));
    assert_apdus(&mut rig, &[101]);
    assert_gap(&mut rig, 102, 1);
    assert_apdus(&mut rig, &[103]);

    let mut rig = Rig::new(listening());
    rig.odata(50);
    rig.odata(52);
    rig.pass(ms(2_000));
    assert_apdus(&mut rig, &[50]);
    assert_gap(&mut rig, 51, 1);
    assert_apdus(&mut rig, &[52]);
    assert_eq!(rig.sent, [], "no SPMR");
    // Who was there before the source misses its first packet.
    let mut rig = Rig::begun(listening());
    rig.odata(2);
    rig.pass(ms(1_000));
    assert_gap(&mut rig, 1, 1);
    assert_apdus(&mut rig, &[2]);
}

#[test]
fn unordered_data_is_read_as_it_comes_and_once() {
    let mut rig = Rig::begun(unordered());
    for sqn in [1, 3, 6, 5, 3, 2, 7, 4, 2, 5] {
        rig.odata(sqn);
    }
    assert_eq!(
        rig.read_sqns(),
        [1, 2, 3, 4, 5, 6, 7],
        "nothing is missing any more"
    );
    let mut rig = Rig::begun(unordered());
    for (sqn, readable) in [
        (3, &[3][..]),
        (6, &[6]),
        (3, &[]),
        (1, &[1]),
        (5, &[5]),
        (2, &[2]),
        (6, &[]),
        (4, &[4]),
        (7, &[7]),
        (1, &[]),
    ] {
        rig.odata(sqn);
        assert_eq!(rig.read_sqns(), readable, "after {sqn}");
        assert_eq!(rig.read(), None);
    }
    let stats = rig.stats();
    assert_eq!((stats.duplicates, stats.messages_received), (3, 7));
    assert_eq!((stats.packets_buffered, rig.peer.bytes_held()), (0, 0));
    assert_eq!((stats.trail, stats.lead), (8, 7));
}

#[test]
fn unordered_apdus_are_read_when_they_are_whole() {
    let mut rig = Rig::begun(unordered());
    // APDUs of SQN 1 to 3, 4 to 5, and 6; the first packet comes last.
    rig.fragment(5, 4, 4, 8, b"dddd");
    rig.fragment(2, 1, 4, 12, b"BBBB");
    assert_eq!(rig.read_apdus(), [] as [Vec<u8>; 0]);
    rig.fragment(4, 4, 0, 8, b"cccc");
    assert_eq!(rig.read_apdus(), [b"ccccdddd"]);
    rig.odata(6);
    assert_apdus(&mut rig, &[6]);
    rig.fragment(3, 1, 8, 12, b"CCCC");
    rig.fragment(4, 4, 0, 8, b"cccc");
    assert_eq!(rig.read_apdus(), [] as [Vec<u8>; 0]);
    rig.fragment(1, 1, 0, 12, b"AAAA");
    assert_eq!(rig.read_apdus(), [b"AAAABBBBCCCC"]);
    assert_eq!(rig.stats().trail, 7);
    assert_eq!(rig.asked(), [] as [u32; 0]);
}

#[test]
fn an_unordered_apdu_may_be_longer_than_the_window() {
    let mut rig = Rig::begun(ReceiverConfig {
        rxw_sqns: 64,
        rxw_bytes: 1000,
        ..unordered()
    });
    let apdu: Vec<u8> = (0..4000_u32).map(|i| i as u8).collect();
    // Two by two in the wrong order.
    for pair in 0..20 {
        for n in [2 * pair + 1, 2 * pair] {
            let part = &apdu[n as usize * 100..][..100];
            rig.fragment(1 + n, 1, n * 100, 4000, part);
        }
    }
    assert_eq!(rig.read_apdus(), [apdu]);
    assert_eq!(rig.stats().dropped_window_full, 0);
}

#[test] // Forged or broken fragments: what does not fit together is not read early, and ends the session in its turn
fn unordered_fragments_that_contradict_each_other() {
    let mut rig = Rig::begun(unordered());
    rig.fragment(3, 3, 0, 8, b"aaaa");
    rig.fragment(4, 3, 2, 8, b"bbbb");
    assert_eq!(rig.read(), None);
    rig.odata(1);
    rig.odata(2);
    assert_apdus(&mut rig, &[1, 2]);
    assert_eq!(rig.read_end(), Read::Reset(ResetReason::BadApdu));
}

#[test]
fn an_unordered_session_ends_at_its_first_loss() {
    let mut rig = Rig::begun(unordered());
    for sqn in [1, 3, 5] {
        rig.odata(sqn);
    }
    assert_apdus(&mut rig, &[1]);
    assert_apdus(&mut rig, &[3]);
    rig.spm(4, 5);
    assert_eq!(rig.read_loss(), (2, 1), "5 is after it and was not read");
}

#[test]
fn unordered_and_going_on() {
    let mut rig = Rig::begun(ReceiverConfig {
        unordered: true,
        ..going_on()
    });
    for sqn in [1, 4, 5, 8] {
        rig.odata(sqn);
        assert_apdus(&mut rig, &[sqn]);
    }
    rig.spm(8, 9);
    assert_gap(&mut rig, 2, 2);
    assert_gap(&mut rig, 6, 2);
    assert_eq!(rig.read(), None);
    rig.odata(9);
    assert_apdus(&mut rig, &[9]);
    assert!(!rig.sent.iter().any(|sent| sent.what == What::Spmr));
}
