//! Data that parity gives back (RFC 3208 §11.1, §11.2).

use crate::kit::{Rig, config, ms};
use crate::stream::{FIRST, ON_DEMAND, PROACTIVE, Packet, Stream};
use pgm_engine::receiver::{Read, ReceiverConfig};

#[test] // F-23, F-30, F-31: any k of the n packets, in any order; parity has the SQNs of data
fn any_k_of_n_packets_rebuild_the_group() {
    for (k, h) in [(1u8, 2u8), (2, 2), (2, 5), (4, 3), (4, 4)] {
        let stream = Stream::even(k, k.into());
        let n = k + h;
        for here in 0u32..1 << n {
            let is_here = |row: u8| here >> row & 1 == 1;
            let mut rig = Rig::of_groups(k, PROACTIVE);
            // Parity first, too: order does not matter.
            for row in (0..n).rev().filter(|row| is_here(*row)) {
                match row.checked_sub(k) {
                    Some(j) => rig.parity(&stream, FIRST, j, false),
                    None => rig.data(&stream, FIRST + u32::from(row)),
                }
            }
            let parity = (k..n).filter(|row| is_here(*row)).count() as u64;
            if here.count_ones() >= k.into() {
                rig.reads_all(&stream);
                assert_eq!(rig.stats().recovered_by_parity, parity.min(k.into()));
                rig.pass(ms(1000));
                assert_eq!(rig.all_naks(), [], "k {k} here {here:b}");
            } else {
                let most = (0..k).take_while(|row| is_here(*row)).count();
                assert_eq!(rig.read_apdus().len(), most, "k {k} here {here:b}");
            }
            assert_eq!(rig.stats().dropped_malformed, 0);
        }
    }
}

#[test] // F-07, F-30: parity beyond the k-th has OPT_PARITY_GRP and repeats PKT_SQNs
fn parity_beyond_the_kth_is_another_packet() {
    let stream = Stream::even(2, 2);
    let mut rig = Rig::of_groups(2, PROACTIVE);
    rig.parity(&stream, FIRST, 1, false);
    rig.parity(&stream, FIRST, 1, false);
    assert_eq!(rig.stats().parity_unneeded, 1, "the same");
    assert_eq!(rig.read_apdus().len(), 0);
    rig.parity(&stream, FIRST, 3, false);
    rig.reads_all(&stream);
    rig.parity(&stream, FIRST, 0, false);
    assert_eq!(rig.stats().parity_unneeded, 2, "nothing is missing");
    assert_eq!(
        (rig.stats().parity_received, rig.stats().duplicates),
        (4, 0)
    );
}

#[test] // F-31: what was read already takes part
fn data_that_was_read_helps_to_rebuild() {
    let stream = Stream::even(8, 16);
    for unordered in [false, true] {
        let config = ReceiverConfig {
            unordered,
            ..config()
        };
        let mut rig = Rig::of_groups_with(config, 8, ON_DEMAND, 0);
        let mut got = Vec::new();
        for sqn in FIRST..FIRST + 16 {
            if ![FIRST + 3, FIRST + 6, FIRST + 9].contains(&sqn) {
                rig.data(&stream, sqn);
                got.extend(rig.read_apdus());
            }
        }
        for (start, j) in [(FIRST, 4), (FIRST, 9), (FIRST + 8, 0)] {
            rig.parity(&stream, start, j, true);
        }
        got.extend(rig.read_apdus());
        let mut all = stream.apdus();
        if unordered {
            all.sort();
            got.sort();
        }
        assert_eq!(got, all);
        assert_eq!(
            rig.peer.bytes_held(),
            0,
            "groups that are whole hold nothing"
        );
    }
}

#[test] // F-12, F-13: unequal lengths, an empty TSDU's among them
fn lengths_are_restored() {
    let stream = Stream::of(4, 8, |sqn| {
        [17, 1400, 1, 300, 20, 20, 20, 19][sqn as usize % 8]
    });
    for lost in FIRST..FIRST + 4 {
        let mut rig = Rig::of_groups(4, PROACTIVE);
        rig.data_but(&stream, FIRST..FIRST + 8, &[lost, FIRST + 5, FIRST + 7]);
        rig.parity(&stream, FIRST, 2, false);
        rig.parity(&stream, FIRST + 4, 0, false);
        rig.parity(&stream, FIRST + 4, 1, false);
        rig.reads_all(&stream);
    }
}

/// Three APDUs: of one TPDU with OPT_FRAGMENT, of five, and plain ones with SYN and FIN.
fn with_options() -> Stream {
    let mut stream = Stream::of(8, 8, |sqn| 30 + sqn as usize % 3);
    let total: usize = (1..6).map(|i| 30 + (FIRST as usize + i) % 3).sum();
    let mut offset = 0;
    for (i, packet) in (0..).zip(stream.packets.values_mut()) {
        if let 1..=5 = i {
            packet.fragment = Some((FIRST + 1, offset, total as u32));
            offset += packet.payload.len() as u32;
        }
        packet.syn = i == 0;
        packet.fin = i == 7;
        if i == 6 {
            packet.fragment = Some((FIRST + 6, 0, packet.payload.len() as u32));
        }
    }
    stream
}

#[test] // F-15, F-16: OPT_FRAGMENT, OPT_SYN, OPT_FIN come back with the packets that had them
fn options_are_restored() {
    let stream = with_options();
    for shift in [0, 0u32.wrapping_sub(FIRST + 8), 0u32.wrapping_sub(FIRST)] {
        for first in 0..8 {
            let mut rig = Rig::of_groups_with(config(), 8, ON_DEMAND, shift);
            let lost = [0, 1, 3].map(|n| FIRST + (first + n) % 8);
            rig.data_but(&stream, FIRST..FIRST + 8, &lost);
            for j in 0..3 {
                rig.parity(&stream, FIRST, j, true);
            }
            rig.reads_all(&stream);
            assert_eq!(rig.read(), Some(Read::Fin));
            assert_eq!(rig.stats().recovered_by_parity, 3);
        }
    }
}

#[test] // F-31: the largest group; SQNs wrap between and inside of groups
fn large_groups_across_the_wrap() {
    for k in [32u8, 128] {
        let stream = Stream::of(k, 3 * u32::from(k), |sqn| 1 + (sqn as usize * 13) % 500);
        let shift = 0u32.wrapping_sub(FIRST + 2 * u32::from(k));
        let mut rig = Rig::of_groups_with(config(), k, PROACTIVE, shift);
        let h = 255 - k;
        for start in (0..3).map(|n| FIRST + n * u32::from(k)) {
            let lost: Vec<_> = (start..start + u32::from(k.min(h))).collect();
            rig.data_but(&stream, start..start + u32::from(k), &lost);
            (0..lost.len()).for_each(|j| rig.parity(&stream, start, j as u8, false));
        }
        rig.reads_all(&stream);
        assert_eq!(
            rig.stats().lead,
            u64::from(rig.sqn(FIRST + 3 * u32::from(k) - 1).0)
        );
    }
}

#[test] // Departs from §11.2: libpgm's lengths have the order of its host
fn lengths_in_little_endian_are_read_where_only_they_can_be_true() {
    let stream = Stream::of(4, 4, |sqn| 100 + sqn as usize % 4);
    let mut rig = Rig::of_groups(4, ON_DEMAND);
    rig.data_but(&stream, FIRST..FIRST + 4, &[FIRST + 1, FIRST + 2]);
    for j in 0..2 {
        // Octet by octet the code is the same, so swapped lengths give swapped parity.
        let (is_var, options, mut tsdu) = stream.parity(&rig, FIRST, j);
        let at = tsdu.len() - 2;
        tsdu.swap(at, at + 1);
        rig.parity_with(&stream, FIRST, j, true, is_var, options, &tsdu);
    }
    rig.reads_all(&stream);
}

#[test] // a late joiner in the middle of a group gets what came after its first packet
fn a_late_joiner_is_repaired_from_its_first_packet_on() {
    let stream = Stream::even(8, 16);
    let mut rig = Rig::new(config());
    rig.spm_with(FIRST, FIRST + 3, crate::stream::offering(8, ON_DEMAND));
    rig.data_but(&stream, FIRST + 5..FIRST + 16, &[FIRST + 7]);
    rig.pass(ms(20));
    // Two of eight are here: the rest of the group is needed to get one of it.
    assert_eq!(rig.parity_naks(), [FIRST + 5], "F-25: six, zero-based");
    (0..6).for_each(|j| rig.parity(&stream, FIRST, j, true));
    assert_eq!(rig.read_apdus(), stream.apdus()[5..]);
    assert_eq!(
        rig.stats().recovered_by_parity,
        1,
        "not what came before us"
    );
    assert_eq!(rig.stats().dropped_malformed, 0);
}

#[test] // R-08, F-16: an APDU that is rebuilt before its turn is given then
fn unordered_apdus_of_rebuilt_fragments_are_whole() {
    let mut stream = Stream::even(4, 12);
    for (i, sqn) in (0..).zip(FIRST + 4..FIRST + 8) {
        let packet: &mut Packet = stream.packets.get_mut(&sqn).unwrap();
        packet.fragment = Some((FIRST + 4, i * 40, 160));
    }
    let config = ReceiverConfig {
        unordered: true,
        ..config()
    };
    let mut rig = Rig::of_groups_with(config, 4, ON_DEMAND, 0);
    rig.data_but(&stream, FIRST..FIRST + 12, &[FIRST, FIRST + 5, FIRST + 6]);
    rig.parity(&stream, FIRST + 4, 0, true);
    rig.parity(&stream, FIRST + 4, 1, true);
    let got = rig.read_apdus();
    assert_eq!(got.len(), 8, "all but the first");
    assert!(got.contains(&stream.apdus()[4]));
    rig.parity(&stream, FIRST, 0, true);
    assert_eq!(rig.read_apdus(), [stream.apdus()[0].clone()]);
}
