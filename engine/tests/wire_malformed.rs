//! What the parser refuses, reason by reason, and what it lets pass although it is odd.

mod wire_support;

use pgm_engine::num::{Nla, Sqn};
use pgm_engine::wire::{Body, Options, Tpdu, Window, WireError};
use wire_support::*;

#[test]
fn every_type_is_accepted_as_built() {
    for kind in TYPES {
        accepted(&packet(kind, &[], b"payload"));
    }
}

#[test]
fn packets_cut_short_are_refused() {
    let fin = chain(&[&[0x8E, 4, 0, 0]]);
    for kind in TYPES {
        let whole = packet(kind, &fin, b"payload");
        for len in 0..whole.len() {
            let mut cut = whole[..len].to_vec();
            seal(&mut cut);
            let error = refusal(&cut);
            assert!(
                matches!(error, WireError::Length | WireError::Option),
                "type {kind:#x} cut to {len}: {error:?}"
            );
            if len < 16 || len >= whole.len() - 7 {
                assert_eq!(error, WireError::Length, "type {kind:#x} cut to {len}");
            }
        }
    }
}

#[test] // G-13
fn packets_longer_or_shorter_than_their_tsdu_length_are_refused() {
    for kind in TYPES {
        for tsdu_len in [0, 3, 5, 0xFFFF_u16] {
            let mut wrong = packet(kind, &[], b"four");
            wrong[14..16].copy_from_slice(&tsdu_len.to_be_bytes());
            seal(&mut wrong);
            assert_eq!(
                refusal(&wrong),
                WireError::Length,
                "type {kind:#x}, {tsdu_len}"
            );
        }
    }
}

#[test] // G-03
fn other_versions_and_reserved_type_bits_are_refused() {
    for kind in TYPES {
        for bit in [0x80, 0x40, 0x20, 0x10] {
            assert_eq!(
                refusal(&packet_of(kind | bit, &body(kind), &[], &[])),
                WireError::Version
            );
        }
    }
}

#[test] // G-03
fn unassigned_types_are_refused() {
    for kind in (0..16).filter(|kind| !TYPES.contains(kind)) {
        for len in 0..64 {
            assert_eq!(
                refusal(&packet_of(kind, &vec![0; len], &[], &[])),
                WireError::Type
            );
        }
    }
}

#[test] // G-07, G-11
fn a_flipped_bit_is_refused() {
    for kind in TYPES {
        let good = packet(kind, &chain(&[&[0x8E, 4, 0, 0]]), b"payload");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let error = refusal(&bad);
            let in_type = (32..40).contains(&bit);
            assert!(
                in_type || error == WireError::Checksum,
                "type {kind:#x}, bit {bit}: {error:?}"
            );
        }
    }
}

#[test] // G-10
fn only_data_must_have_a_checksum() {
    for kind in TYPES {
        let mut bare = packet(kind, &[], b"payload");
        bare[6..8].fill(0);
        match kind {
            ODATA | RDATA => assert_eq!(refusal(&bare), WireError::NoChecksum),
            _ => drop(accepted(&bare)),
        }
    }
}

#[test] // G-23
fn unknown_address_families_are_refused() {
    for (kind, at) in [
        (SPM, 12),
        (POLL, 8),
        (NAK, 4),
        (NAK, 12),
        (NNAK, 12),
        (NCF, 4),
    ] {
        for afi in [0, 3, 0x0100, 0xFFFF_u16] {
            let mut body = body(kind);
            body[at..at + 2].copy_from_slice(&afi.to_be_bytes());
            let error = refusal(&packet_of(kind, &body, &[], &[]));
            assert_eq!(
                error,
                WireError::AddressFamily,
                "type {kind:#x}, octet {at}, AFI {afi}"
            );
        }
    }
    let redirect = chain(&[&[0x87, 12, 0, 0, 0, 3, 0, 0, 10, 9, 9, 9]]);
    assert_eq!(
        refusal(&packet(POLR, &redirect, &[])),
        WireError::AddressFamily
    );
}

#[test] // G-23
fn an_ipv6_address_where_only_four_octets_follow_is_refused() {
    let mut body = body(SPM);
    body[13] = 2;
    assert_eq!(refusal(&packet_of(SPM, &body, &[], &[])), WireError::Length);
}

/// An SPM with these window fields.
fn spm(trail: u32, lead: u32, options: &[u8]) -> Vec<u8> {
    let mut body = body(SPM);
    body[4..8].copy_from_slice(&trail.to_be_bytes());
    body[8..12].copy_from_slice(&lead.to_be_bytes());
    packet_of(SPM, &body, options, &[])
}

/// The window of an SPM that is to be accepted.
#[track_caller]
fn window(spm: &[u8]) -> Option<Window> {
    match accepted(spm).body {
        Body::Spm(spm) => spm.window,
        body => panic!("not an SPM: {body:?}"),
    }
}

#[test] // G-20
fn windows_are_empty_or_ahead() {
    for trail in [0, 5, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF_u32] {
        let at = |ahead: u32| spm(trail, trail.wrapping_add(ahead), &[]);
        for ahead in [u32::MAX, 0, 1, 0x7FFF_FFFE, 0x7FFF_FFFF] {
            let lead = Sqn(trail).plus(ahead);
            assert_eq!(
                window(&at(ahead)),
                Some(Window {
                    trail: Sqn(trail),
                    lead
                })
            );
        }
        for ahead in [u32::MAX - 1, 0x8000_0001] {
            assert_eq!(
                refusal(&at(ahead)),
                WireError::WindowInverted,
                "{trail} + {ahead}"
            );
        }
        if trail != 0 {
            let error = refusal(&at(0x8000_0000));
            assert_eq!(error, WireError::WindowInverted, "2^31 apart is unordered");
        }
    }
    let empty = window(&spm(5, 4, &[])).expect("an empty window is one");
    assert!(empty.is_empty());
}

#[test] // G-22, RFC 3208 §8.1
fn trail_0_and_lead_2_to_the_31_mean_no_window() {
    assert_eq!(window(&spm(0, 0x8000_0000, &[])), None);
}

#[test] // RFC 3208 §15.3.2
fn nbr_unreach_voids_the_window() {
    let unreachable = chain(&[&[0x8B, 4, 0, 0]]);
    assert_eq!(window(&spm(5, 9, &unreachable)), None);
    assert_eq!(
        window(&spm(9, 5, &unreachable)),
        None,
        "not even an inverted one matters"
    );
}

/// Options that are refused on whatever packet they are.
#[track_caller]
fn refuse_options(options: &[u8]) {
    for kind in TYPES {
        let error = refusal(&packet(
            kind,
            options,
            b"a TSDU long enough to be read as options",
        ));
        assert_eq!(error, WireError::Option, "type {kind:#x}");
    }
}

#[test] // O-01, RFC 3208 §9.1
fn opt_length_comes_first_and_bounds_the_rest() {
    let fin = [0x8E, 4, 0, 0];
    refuse_options(&fin);
    refuse_options(&[&[0x80, 4, 0, 8], &fin[..]].concat()); // ends the list
    for len in [0, 3, 5, 8] {
        refuse_options(&[&[0x00, len, 0, 8], &fin[..]].concat());
    }
    for total in [0, 3, 4, 5, 7, 9, 1000, 0xFFFF_u16] {
        let [high, low] = total.to_be_bytes();
        refuse_options(&[&[0x00, 4, high, low], &fin[..]].concat());
    }
    refuse_options(&[0x80, 4, 0, 4]); // alone
    refuse_options(&chain(&[&[0x00, 4, 0, 4], &fin])); // again
    refuse_options(&chain(&[&[0x0D, 4, 0, 0], &[0x80, 4, 0, 0]]));
}

#[test] // O-08
fn option_lengths_stay_inside_the_total() {
    for len in [0, 1, 2, 3, 5, 8, 255] {
        refuse_options(&chain(&[&[0x8E, len, 0, 0]]));
        refuse_options(&chain(&[&[0xE0, len, 0, 0]])); // of unknown type
        refuse_options(&chain(&[&[0x60, len, 0, 0], &[0xFF, 3, 0, 0]]));
    }
    for stump in [&[0x8E][..], &[0x8E, 4], &[0x8E, 4, 0]] {
        refuse_options(&chain(&[stump]));
    }
}

#[test] // O-02, O-03, RFC 3208 §9
fn the_last_option_and_only_it_ends_the_list() {
    let (syn, fin) = ([0x0D, 4, 0, 0], [0x0E, 4, 0, 0]);
    refuse_options(&chain(&[&syn, &fin])); // no end
    refuse_options(&chain(&[&[0x8D, 4, 0, 0], &[0x8E, 4, 0, 0]])); // two ends
    refuse_options(&chain(&[&[0x8D, 4, 0, 0], &[0]])); // something after the end
}

#[test] // O-04, RFC 3208 §9
fn there_are_at_most_sixteen_options() {
    let chain_of = |count: usize| {
        let mut options = vec![&[0x60, 4, 0, 0][..]; count - 1];
        options.push(&[0x8E, 4, 0, 0]);
        chain(&options)
    };
    for count in 1..=16 {
        assert!(
            accepted(&packet(SPM, &chain_of(count), &[])).options.fin,
            "{count} options"
        );
    }
    for count in [17, 18, 100, 1000] {
        refuse_options(&chain_of(count));
    }
}

/// Every known option with contents of `len` octets that are all 1: flags, numbers and AFIs alike.
fn option(kind: u8, len: u8) -> Vec<u8> {
    let contents = vec![1; usize::from(len)];
    chain(&[&[kind | 0x80, len + 4, 0, 0], &contents])
}

#[test] // O-11, O-22
fn options_of_fixed_length_have_it() {
    let fixed = [
        (0x01, 12), // OPT_FRAGMENT; 8, which the RFC's text says, is refused
        (0x03, 4),
        (0x04, 8),
        (0x05, 8),
        (0x08, 4),
        (0x09, 4),
        (0x0A, 4),
        (0x0B, 0),
        (0x0D, 0),
        (0x0E, 0),
        (0x0F, 0),
        (0x11, 0),
    ];
    for (kind, right) in fixed {
        for len in (0..=64).filter(|&len| len != right) {
            refuse_options(&option(kind, len));
        }
        for packet_kind in TYPES {
            accepted(&packet(packet_kind, &option(kind, right), &[]));
        }
    }
}

#[test] // O-15
fn options_with_an_address_have_the_length_of_its_family() {
    // Type, octets before the AFI.
    for (kind, before) in [(0x07, 0), (0x10, 12), (0x12, 4), (0x13, 4)] {
        for (afi, address) in [(1, 4), (2, 16)] {
            for len in 0..=40 {
                let contents = [vec![0; before], vec![0, afi, 0, 0], vec![9; len]].concat();
                let total = u8::try_from(contents.len() + 4).expect("short");
                let options = chain(&[&[kind | 0x80, total, 0, 0], &contents]);
                if len == address {
                    accepted(&packet(NAK, &options, &[]));
                } else {
                    refuse_options(&options);
                }
            }
        }
        let family = u8::try_from(before + 1).expect("short");
        for len in 0..=family {
            refuse_options(&option(kind, len)); // ends before or inside the AFI
        }
    }
}

#[test] // O-22, RFC 3208 §15.4.4
fn path_nla_tells_its_family_by_its_length() {
    let nla = |len| {
        accepted(&packet(NCF, &option(0x0C, len), &[]))
            .options
            .path_nla
    };
    assert_eq!(nla(4), Some(Nla::from([1; 4])));
    assert_eq!(nla(16), Some(Nla::from([1; 16])));
    for len in (0..=40).filter(|len| ![4, 16].contains(len)) {
        refuse_options(&option(0x0C, len));
    }
}

#[test] // O-12, O-13, RFC 3208 §9.3
fn nak_lists_have_1_to_62_entries() {
    for len in 0..=251 {
        if len % 4 != 0 || len == 0 {
            refuse_options(&option(0x02, len));
            continue;
        }
        for kind in [NAK, NNAK, NCF] {
            let bytes = packet(kind, &option(0x02, len), &[]);
            let body = accepted(&bytes).body;
            let (Body::Nak(nak) | Body::Nnak(nak) | Body::Ncf(nak)) = body else {
                panic!("not a NAK: {body:?}");
            };
            assert_eq!(nak.list[..], vec![Sqn(0x0101_0101); usize::from(len / 4)]);
            assert_eq!(nak.sqns().next(), Some(Sqn(6)));
        }
        let elsewhere = accepted(&packet(SPM, &option(0x02, len), &[])).options;
        assert_eq!(elsewhere, Options::default(), "a list is of no use there");
    }
}

#[test] // O-19, RFC 3208 §11.8
fn groups_are_neither_empty_nor_number_zero() {
    for kind in [0x88, 0x89, 0x8A] {
        refuse_options(&chain(&[&[kind, 8, 0, 3, 0, 0, 0, 0]]));
    }
}

#[test] // RFC 3208 §9, §11.2
fn the_first_occurrence_of_an_option_counts() {
    let options = chain(&[&[0x03, 8, 0, 0, 0, 0, 0, 1], &[0x83, 8, 0, 0, 0, 0, 0, 2]]);
    assert_eq!(
        accepted(&packet(SPM, &options, &[])).options.join,
        Some(Sqn(1))
    );

    let list = chain(&[
        &[0x02, 8, 0, 0, 0, 0, 0, 7],
        &[0x82, 12, 0, 0, 0, 0, 0, 8, 0, 0, 0, 9],
    ]);
    let Body::Nak(nak) = accepted(&packet(NAK, &list, &[])).body else {
        panic!("not a NAK");
    };
    assert_eq!(nak.list[..], [Sqn(7)]);
}

#[test] // O-07, RFC 3208 §9
fn hosts_step_over_unknown_options_whatever_they_ask_for() {
    for kind in [0x06, 0x14, 0x60, 0x7E, 0x7F] {
        for opx in 0..4 {
            for len in 4..40 {
                let unknown = [
                    &[kind, len, opx, 0xFF],
                    &vec![0xAA; usize::from(len) - 4][..],
                ];
                let options = chain(&[&unknown.concat(), &[0x8E, 4, 0, 0]]);
                let bytes = packet(SPM, &options, &[]);
                assert_eq!(
                    accepted(&bytes).options,
                    Options {
                        fin: true,
                        ..Options::default()
                    }
                );
            }
        }
    }
}

#[test]
fn encoded_options_and_reserved_bits_are_tolerated() {
    // F as in RFC 3208 §9 and as OpenPGM sends it, OPX, and all of the reserved bits.
    for octet in [0x04, 0x08, 0x03, 0xFF] {
        let options = chain(&[&[0x83, 8, octet, 0x80, 0, 0, 0, 5]]);
        assert_eq!(
            accepted(&packet(RDATA, &options, &[])).options.join,
            Some(Sqn(5))
        );
    }
    let mut reserved = body(NAK);
    reserved[6..8].fill(0xFF);
    reserved[14..16].fill(0xFF);
    let plain = packet(NAK, &[], &[]);
    assert_eq!(
        accepted(&packet_of(NAK, &reserved, &[], &[])),
        accepted(&plain)
    );
    let mut bits = packet(SPM, &[], &[]);
    bits[5] = 0x3E;
    seal(&mut bits);
    assert_eq!(accepted(&bits), accepted(&packet(SPM, &[], &[])));
}

#[test] // G-14
fn var_pktlen_means_nothing_without_parity() {
    for (bits, expected) in [
        (0x40, (false, false)),
        (0x80, (true, false)),
        (0xC0, (true, true)),
    ] {
        let mut data = packet(ODATA, &[], b"payload");
        data[5] = bits;
        seal(&mut data);
        let tpdu = accepted(&data);
        assert_eq!((tpdu.parity, tpdu.var_pktlen), expected);
        let mut again = Vec::new();
        Tpdu {
            var_pktlen: true,
            ..tpdu
        }
        .emit(&mut again);
        assert_eq!(
            again[5],
            if expected.0 { 0xC0 } else { 0 },
            "nor is it sent"
        );
    }
}

#[test] // O-18
fn parity_that_is_offered_in_no_way_is_not_offered() {
    for bits in 0..=3 {
        let prm = chain(&[&[0x88, 8, 0, bits, 0, 0, 0, 16]]);
        let offered = accepted(&packet(SPM, &prm, &[])).options.parity_prm;
        let offered = offered.map(|prm| (prm.proactive, prm.on_demand));
        let expected = (bits != 0).then_some((bits & 2 != 0, bits & 1 != 0));
        assert_eq!(offered, expected);
    }
}

#[test]
fn options_are_read_only_if_announced() {
    let fin = chain(&[&[0x8E, 4, 0, 0]]);
    let mut unannounced = packet_of(ODATA, &body(ODATA), &[], &fin);
    unannounced[5] = 0x02;
    seal(&mut unannounced);
    let tpdu: Tpdu<'_> = accepted(&unannounced);
    assert_eq!((tpdu.options, tpdu.payload), (Options::default(), &fin[..]));
}
