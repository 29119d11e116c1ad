//! Encoded options of parity packets (RFC 3208 §11.2).

mod wire_support;

use pgm_engine::num::Sqn;
use pgm_engine::wire::{
    Body, Data, ENCODED_NULL, Encoded, FRAGMENT_OCTETS, Fragment, Options, Tpdu, WireError,
    data_overhead,
};
use proptest::option;
use proptest::prelude::*;
use wire_support::{RDATA, accepted, chain, packet, refusal, seal};

/// A parity packet with these options.
fn parity(options: &[&[u8]]) -> Vec<u8> {
    let mut packet = packet(RDATA, &chain(options), b"parity");
    packet[5] |= 0x80;
    seal(&mut packet);
    packet
}

const FRAGMENT: [u8; 16] = [0x81, 16, 4, 0x80, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

#[test] // F-15, F-16: F is bit 0x04 of octet 2; octet 3 and the contents are what is encoded
fn encoded_options_are_kept_as_octets() {
    let options = [[0x0D, 4, 4, 0x12], [0x0E, 4, 4, 0x80]];
    let packet = parity(&[&options[0], &options[1], &FRAGMENT]);
    let tpdu = accepted(&packet);
    let encoded = Encoded {
        fragment: Some([0x80, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        syn: Some(0x12),
        fin: Some(0x80),
    };
    assert_eq!(
        tpdu.options,
        Options {
            encoded,
            ..Options::default()
        }
    );
}

#[test] // where libpgm has the bit
fn the_other_f_bit_is_accepted() {
    let mut fragment = FRAGMENT;
    fragment[2] = 8;
    let packet = parity(&[&fragment]);
    assert!(accepted(&packet).options.encoded.fragment.is_some());
    fragment[2] = 0;
    let packet = parity(&[&fragment]);
    assert!(accepted(&packet).options.fragment.is_some(), "not encoded");
}

#[test]
fn f_means_nothing_on_data() {
    let packet = packet(RDATA, &chain(&[&FRAGMENT]), b"data");
    let options = accepted(&packet).options;
    assert_eq!(options.encoded, Encoded::default());
    assert_eq!(options.fragment.map(|f| f.first), Some(Sqn(0x0102_0304)));
}

#[test] // F-16: the first occurrence counts; what nobody knows is stepped over
fn repeated_and_unknown_encoded_options() {
    let packet = parity(&[
        &[0x0D, 4, 4, 1],
        &[0x0D, 4, 4, 2],
        &[0x83, 8, 4, 0, 9, 9, 9, 9],
    ]);
    let options = accepted(&packet).options;
    assert_eq!((options.encoded.syn, options.join), (Some(1), None));
}

#[test]
fn encoded_options_of_a_wrong_length_are_refused() {
    for options in [
        &[0x8D, 5, 4, 0, 0][..],
        &[0x8E, 8, 4, 0, 1, 2, 3, 4],
        &[0x81, 12, 4, 0, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0x81, 17, 4, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
        &[0x81, 4, 4, 0],
    ] {
        assert_eq!(
            refusal(&parity(&[options])),
            WireError::Option,
            "{options:?}"
        );
    }
}

#[test] // F-16: U = 1 means that the packet had none
fn null_options_are_dropped() {
    let octets = Fragment::to_octets(None);
    assert_eq!(octets[0], ENCODED_NULL);
    assert_eq!(Fragment::from_octets(&octets), None);
    assert_eq!(Fragment::from_octets(&[0xFF; FRAGMENT_OCTETS]), None);
}

proptest! {
    #[test]
    fn fragments_survive(first: u32, offset: u32, apdu_len: u32) {
        let fragment = Fragment { first: Sqn(first), offset, apdu_len };
        let octets = Fragment::to_octets(Some(fragment));
        prop_assert_eq!(octets[0], 0);
        prop_assert_eq!(Fragment::from_octets(&octets), Some(fragment));
    }

    #[test] // F-15
    fn emitted_parity_packets_are_parsed(
        fragment in option::of(any::<[u8; FRAGMENT_OCTETS]>()),
        syn in option::of(any::<u8>()),
        fin in option::of(any::<u8>()),
        curr_tgsize in option::of(1..9_u32),
        parity_grp in option::of(1..9_u32),
        var_pktlen: bool,
    ) {
        let encoded = Encoded { fragment, syn, fin };
        let options = Options { curr_tgsize, parity_grp, encoded, ..Options::default() };
        let tpdu = Tpdu {
            sport: 1,
            dport: 2,
            gsi: Default::default(),
            parity: true,
            var_pktlen,
            body: Body::Odata(Data { sqn: Sqn(7), trail: Sqn(5) }),
            options,
            payload: b"parity",
        };
        let mut out = Vec::new();
        tpdu.emit(&mut out);
        prop_assert_eq!(out.len(), data_overhead(&tpdu.options) + 6);
        prop_assert_eq!(accepted(&out), tpdu);
    }
}
