//! Parity that lies, and too much of it (RFC 3208 §10): dropped and counted, and the rest goes on.

use crate::kit::{Rig, config, ms};
use crate::stream::{BO_IVL, FIRST, ON_DEMAND, PROACTIVE, Stream, offering};
use pgm_engine::receiver::ReceiverConfig;
use pgm_engine::wire::{Encoded, Fragment, Options};

/// The packet that was lost comes after all, and everything is read.
fn selective_repair_works(rig: &mut Rig, stream: &Stream, lost: &[u32]) {
    let mut asked = Vec::new();
    for _ in 0..500 {
        rig.pass(ms(20));
        for (parity, sqns) in rig.all_naks() {
            if !parity {
                asked.extend(sqns);
            }
        }
        if lost.iter().all(|sqn| asked.contains(sqn)) {
            break;
        }
    }
    lost.iter().for_each(|sqn| {
        assert!(asked.contains(sqn), "{sqn} in {asked:?}");
        rig.data_as(stream, *sqn, true, None);
    });
    rig.reads_all(stream);
}

#[test] // F-02, F-22: k is a power of two and at most 128; offers of others are ignored
fn impossible_group_sizes_are_ignored() {
    for k in [3, 12, 100, 129, 255, 256, 65_536, u32::MAX] {
        let stream = Stream::even(8, 16);
        let mut rig = Rig::new(config());
        let mut options = offering(8, ON_DEMAND);
        options.parity_prm.as_mut().unwrap().tg_size = k;
        rig.spm_with(FIRST, FIRST - 1, options);
        assert_eq!(rig.stats().dropped_malformed, 1);
        rig.data_but(&stream, FIRST..FIRST + 16, &[FIRST + 1]);
        rig.pass(BO_IVL);
        assert_eq!(rig.all_naks(), [(false, vec![FIRST + 1])]);
        rig.data_as(&stream, FIRST + 1, true, None);
        rig.reads_all(&stream);
    }
}

#[test] // F-12, X-01: a rebuilt length beyond the longest TSDU, or padding that is none
fn lying_lengths_are_found() {
    for (at, flip) in [(0, 0x80), (1, 0x01), (2, 0x55)] {
        let stream = Stream::of(8, 16, |sqn| 20 + sqn as usize % 2);
        let mut rig = Rig::of_groups(8, ON_DEMAND);
        rig.data_but(&stream, FIRST..FIRST + 16, &[FIRST + 1, FIRST + 2]);
        for j in 0..2 {
            let (is_var, options, mut tsdu) = stream.parity(&rig, FIRST, j);
            // Octets of the length, or the last one of the TSDU where some packets have padding.
            let place = tsdu.len() - 1 - at;
            tsdu[place] ^= flip;
            rig.parity_with(&stream, FIRST, j, true, is_var, options, &tsdu);
        }
        assert_eq!(
            (
                rig.stats().recovered_by_parity,
                rig.stats().dropped_malformed
            ),
            (0, 1)
        );
        rig.parity(&stream, FIRST, 3, true);
        assert_eq!(rig.stats().parity_unneeded, 1, "no more of this group's");
        selective_repair_works(&mut rig, &stream, &[FIRST + 1, FIRST + 2]);
    }
}

#[test] // F-13: parity shorter than data of its group, or as long as it without OPT_VAR_PKTLEN
fn lengths_that_contradict_the_data_are_found() {
    for len in [10, 39, 41] {
        let stream = Stream::even(8, 16);
        let mut rig = Rig::of_groups(8, ON_DEMAND);
        rig.data_but(&stream, FIRST..FIRST + 16, &[FIRST + 1]);
        rig.parity_with(
            &stream,
            FIRST,
            0,
            true,
            false,
            Options::default(),
            &vec![7; len],
        );
        assert_eq!(
            (
                rig.stats().recovered_by_parity,
                rig.stats().dropped_malformed
            ),
            (0, 1)
        );
        selective_repair_works(&mut rig, &stream, &[FIRST + 1]);
    }
}

#[test] // TSDU without room for its length; indices beyond the block; options that are none of parity's
fn impossible_parity_is_dropped_at_once() {
    let stream = Stream::even(8, 16);
    let mut rig = Rig::of_groups(8, ON_DEMAND);
    rig.data_but(&stream, FIRST..FIRST + 16, &[FIRST + 1]);
    let plain = Options::default;
    let fragment = Fragment {
        first: rig.sqn(FIRST),
        offset: 0,
        apdu_len: 40,
    };
    let cases = [
        (0, true, plain(), 1),
        (
            0,
            false,
            Options {
                parity_grp: Some(31),
                ..plain()
            },
            40,
        ),
        (
            0,
            false,
            Options {
                parity_grp: Some(u32::MAX),
                ..plain()
            },
            40,
        ),
        (
            0,
            false,
            Options {
                curr_tgsize: Some(9),
                ..plain()
            },
            40,
        ),
        (
            0,
            false,
            Options {
                curr_tgsize: Some(u32::MAX),
                ..plain()
            },
            40,
        ),
        (
            0,
            false,
            Options {
                fragment: Some(fragment),
                ..plain()
            },
            40,
        ),
    ];
    for (n, (j, is_var, options, len)) in (1..).zip(cases) {
        rig.parity_with(&stream, FIRST, j, true, is_var, options, &vec![7; len]);
        assert_eq!(rig.stats().dropped_malformed, n);
    }
    rig.parity(&stream, FIRST, 0, true);
    rig.reads_all(&stream);
}

#[test] // F-15: parity that has not what its group's data has gives no packets
fn parity_without_the_options_of_the_data_is_no_use() {
    let mut stream = Stream::even(8, 8);
    for (i, packet) in (0..).zip(stream.packets.values_mut()) {
        packet.fragment = Some((FIRST, i * 40, 320));
    }
    let mut rig = Rig::of_groups(8, ON_DEMAND);
    rig.data_but(&stream, FIRST..FIRST + 8, &[FIRST + 1]);
    let (_, mut options, tsdu) = stream.parity(&rig, FIRST, 0);
    options.encoded = Encoded::default();
    rig.parity_with(&stream, FIRST, 0, true, false, options, &tsdu);
    assert_eq!(rig.stats().dropped_malformed, 1);
    selective_repair_works(&mut rig, &stream, &[FIRST + 1]);
}

#[test] // F-16: a rebuilt OPT_FRAGMENT that cannot be true
fn impossible_fragments_are_found() {
    let mut stream = Stream::even(8, 8);
    for (i, packet) in (0..).zip(stream.packets.values_mut()) {
        packet.fragment = Some((FIRST, i * 40, 320));
    }
    let mut rig = Rig::of_groups(8, ON_DEMAND);
    rig.data_but(&stream, FIRST..FIRST + 8, &[FIRST + 1]);
    let (_, mut options, tsdu) = stream.parity(&rig, FIRST, 0);
    options.encoded.fragment.as_mut().unwrap()[3] ^= 1;
    rig.parity_with(&stream, FIRST, 0, true, false, options, &tsdu);
    assert_eq!(
        (
            rig.stats().recovered_by_parity,
            rig.stats().dropped_malformed
        ),
        (0, 1)
    );
    selective_repair_works(&mut rig, &stream, &[FIRST + 1]);
}

#[test] // F-33: a size that data refutes, or another packet contradicts
fn contradictory_group_sizes_are_dropped() {
    let stream = Stream::even(8, 16);
    let mut rig = Rig::of_groups(8, ON_DEMAND);
    rig.data_but(&stream, FIRST..FIRST + 7, &[FIRST + 1]);
    // Six packets are here, the last of them the seventh.
    let shorter = |size| Options {
        curr_tgsize: Some(size),
        ..Options::default()
    };
    let (is_var, _, tsdu) = stream.parity(&rig, FIRST, 0);
    rig.parity_with(&stream, FIRST, 0, true, is_var, shorter(5), &tsdu);
    rig.data_as(&stream, FIRST + 2, true, Some(2));
    rig.spm_with(
        FIRST,
        FIRST + 3,
        Options {
            curr_tgsize: Some(4),
            ..offering(8, ON_DEMAND)
        },
    );
    rig.spm_with(
        FIRST,
        FIRST + 6,
        Options {
            curr_tgsize: Some(5),
            ..offering(8, ON_DEMAND)
        },
    );
    assert_eq!(rig.stats().dropped_malformed, 4);
    // Parity without the option says that the group is full, and nothing else is believed from then on.
    rig.parity(&stream, FIRST, 0, true);
    rig.parity_with(&stream, FIRST, 1, true, is_var, shorter(7), &tsdu);
    assert_eq!(rig.stats().dropped_malformed, 5);
    rig.parity(&stream, FIRST, 2, true);
    rig.data_but(&stream, FIRST + 8..FIRST + 16, &[]);
    rig.reads_all(&stream);
}

#[test] // F-33, R-14: data where there should be none is delivered all the same
fn data_beyond_a_claimed_end_is_taken() {
    let stream = Stream::even(8, 8);
    let mut rig = Rig::of_groups(8, ON_DEMAND);
    rig.data_but(&stream, FIRST + 1..FIRST + 3, &[]);
    rig.spm_with(
        FIRST,
        FIRST + 2,
        Options {
            curr_tgsize: Some(3),
            ..offering(8, ON_DEMAND)
        },
    );
    rig.data_but(&stream, FIRST + 3..FIRST + 8, &[]);
    rig.data(&stream, FIRST);
    rig.reads_all(&stream);
}

#[test] // parity for groups everywhere stays inside the budget, and data goes before it
fn a_flood_of_parity_stays_inside_the_budget() {
    let stream = Stream::of(8, 4096, |_| 1000);
    let config = ReceiverConfig {
        rxw_bytes: 50_000,
        ..config()
    };
    let mut rig = Rig::of_groups_with(config, 8, PROACTIVE, 0);
    for start in (FIRST..FIRST + 4096).step_by(8) {
        for j in 0..7 {
            rig.parity(&stream, start, j, false);
        }
        assert!(rig.peer.bytes_held() <= 60_000, "{}", rig.peer.bytes_held());
    }
    assert!(rig.stats().dropped_window_full > 3000);
    let mut got = Vec::new();
    for sqn in FIRST..FIRST + 4096 {
        rig.data(&stream, sqn);
        got.extend(rig.read_apdus());
        assert!(rig.peer.bytes_held() <= 60_000);
    }
    assert!(got == stream.apdus(), "{} of 4096", got.len());
}

#[test] // groups larger than the window are repaired packet by packet
fn a_group_larger_than_the_budget_is_repaired() {
    let stream = Stream::of(32, 64, |_| 1000);
    let config = ReceiverConfig {
        rxw_bytes: 9_000,
        ..config()
    };
    let mut rig = Rig::of_groups_with(config, 32, ON_DEMAND, 0);
    let mut got = Vec::new();
    rig.data_but(&stream, FIRST..FIRST + 64, &[FIRST + 5, FIRST + 40]);
    for _ in 0..300 {
        got.extend(rig.read_apdus());
        rig.pass(ms(20));
        for (parity, sqns) in rig.all_naks() {
            assert!(!parity);
            for sqn in sqns {
                rig.data_as(&stream, sqn, true, None);
                assert!(rig.peer.bytes_held() <= 11_000);
            }
        }
    }
    assert_eq!(got, stream.apdus());
}

#[test] // a forged stream of parity NCFs does not hold a group for ever
fn forged_ncfs_do_not_hold_a_group() {
    let stream = Stream::even(8, 16);
    let mut rig = Rig::of_groups(8, ON_DEMAND);
    rig.data_but(&stream, FIRST..FIRST + 16, &[FIRST + 1]);
    let mut waited = 0;
    while rig.all_naks().is_empty() {
        rig.parity_ncf(FIRST, 8);
        rig.pass(ms(100));
        waited += 1;
        assert!(waited < 100, "held for ten seconds");
    }
}
