//! SPMs, original data, options nobody knows, failures upstream.

use super::*;

#[test] // N-01
fn an_spm_in_sequence_says_where_upstream_is_and_goes_on_with_our_addresses() {
    let mut rig = Rig::deaf(ElementConfig::default());
    let out = rig.spm(5, PARENT, Options::default());
    assert_eq!(rig.element.upstream(TSI), Some(PARENT));
    let paths: Vec<_> = out.iter().map(|o| (o.iface, o.body.clone())).collect();
    assert_eq!(paths, [1, 2].map(|iface| (iface, spm(5, OWN[iface]))));
    for o in &out {
        assert_eq!((o.from, o.to, o.alert), (SOURCE, GROUP, true));
    }
    let elsewhere = Ipv4Addr::new(10, 66, 6, 6);
    for old in [5, 4, 5_u32.wrapping_sub(1 << 30)] {
        assert_eq!(rig.spm(old, elsewhere, Options::default()), []);
        assert_eq!(rig.element.upstream(TSI), Some(PARENT));
    }
    rig.spm(6, elsewhere, Options::default());
    assert_eq!(rig.element.upstream(TSI), Some(elsewhere));
}

#[test] // N-01, X-08: SPM_SQN is circular
fn spms_stay_in_sequence_across_the_wrap() {
    let mut rig = Rig::deaf(ElementConfig::default());
    for sqn in [u32::MAX - 1, u32::MAX, 0, 1] {
        assert_eq!(rig.spm(sqn, PARENT, Options::default()).len(), 2, "{sqn}");
        assert_eq!(rig.spm(sqn, PARENT, Options::default()), []);
    }
}

#[test] // N-22
fn the_parents_back_off_is_overwritten_with_our_own() {
    let bo = |ivl, ivl_sqn| {
        Some(NakBoIvl {
            ivl,
            ivl_sqn: Sqn(ivl_sqn),
        })
    };
    let mut rig = Rig::deaf(ElementConfig {
        nak_bo_default: ms(7),
        ..ElementConfig::default()
    });
    let options = Options {
        nak_bo_ivl: bo(123_456, 9),
        join: Some(Sqn(3)),
        ..Options::default()
    };
    for o in rig.spm(1, PARENT, options) {
        assert_eq!(o.options.nak_bo_ivl, bo(7000, 0));
        assert_eq!(o.options.join, Some(Sqn(3)), "the rest is left alone");
    }
}

#[test]
fn original_data_goes_on_untouched_and_only_the_way_its_source_is() {
    let mut rig = Rig::new(ElementConfig::default());
    let mut bytes = packet(Body::Odata(data(7)), false, Options::default());
    bytes.extend_from_slice(b"");
    let body = Body::Odata(data(7));
    let out = rig.give(0, SOURCE, GROUP, bytes.clone());
    let seen: Vec<_> = out.iter().map(|o| (o.iface, o.from, &o.body)).collect();
    assert_eq!(seen, [(1, SOURCE, &body), (2, SOURCE, &body)]);
    assert_eq!(
        rig.give(1, SOURCE, GROUP, bytes),
        [],
        "not where it came from"
    );
}

/// An SPM whose only option nobody knows, of type 0x40, with these OPX bits.
fn unknown(opx: u8, network: u8) -> Vec<u8> {
    let mut bytes = packet(
        spm(9, PARENT),
        false,
        Options {
            join: Some(Sqn(3)),
            ..Options::default()
        },
    );
    bytes[5] |= network;
    let option = 16 + 20 + 4;
    bytes[option] = 0x80 | 0x40;
    bytes[option + 2] = opx;
    wire_seal(&mut bytes);
    bytes
}

fn wire_seal(bytes: &mut [u8]) {
    crate::wire::reseal(bytes);
}

/// Octets of the first packet out.
fn first_out(rig: &mut Rig, bytes: Vec<u8>) -> Option<Bytes> {
    let bytes = Bytes::from(bytes);
    let arriving = Arriving {
        iface: 0,
        from: SOURCE,
        to: GROUP,
        bytes: &bytes,
    };
    rig.element.handle_tpdu(rig.now, &arriving);
    let first = rig.element.poll_transmit().map(|out| out.bytes);
    rig.sent();
    first
}

#[test] // N-19
fn options_nobody_knows_are_kept_voided_or_the_end_of_the_packet() {
    let option = 16 + 20 + 4;
    for (opx, kind) in [(0, Some(0xC0)), (1, Some(0xFF)), (2, None), (3, Some(0xC0))] {
        let mut rig = Rig::new(ElementConfig::default());
        let out = first_out(&mut rig, unknown(opx, 0x02));
        assert_eq!(out.as_ref().map(|out| out[option]), kind, "OPX {opx}");
        if let Some(out) = out {
            Tpdu::parse(&out).expect("its checksum is right");
            assert_eq!(out[option + 4..], [0, 0, 0, 3], "its contents are there");
        }
        assert_eq!(rig.element.stats().dropped, u64::from(opx == 2));
    }
    // Where no option concerns the network, none is looked at.
    let mut rig = Rig::new(ElementConfig::default());
    let out = first_out(&mut rig, unknown(2, 0)).unwrap();
    assert_eq!(out[option], 0xC0);
}

#[test] // N-23
fn polls_are_not_forwarded() {
    let mut rig = Rig::new(ElementConfig::default());
    let poll = Body::Poll(crate::wire::Poll {
        sqn: Sqn(1),
        round: 0,
        sub_type: 0,
        path: PARENT.into(),
        bo_ivl: 1000,
        rand: 7,
        mask: 0,
    });
    let bytes = packet(poll, false, Options::default());
    assert_eq!(rig.give(0, SOURCE, GROUP, bytes), []);
}

fn unreachable(path: Ipv4Addr) -> Options {
    Options {
        nbr_unreach: true,
        path_nla: Some(path.into()),
        ..Options::default()
    }
}

#[test] // N-25, I-04, I-05
fn an_unreachable_parent_is_asked_no_more_and_those_below_are_told() {
    let mut rig = Rig::new(ElementConfig::default());
    let ncf = |path| packet(Body::Ncf(nak([5])), false, unreachable(path));
    let stranger = Ipv4Addr::new(10, 66, 6, 6);
    assert_eq!(rig.give(0, SOURCE, OWN[0], ncf(stranger)), []);
    assert_eq!(
        naks(&rig.nak(1, [4])),
        up([4]),
        "a stranger's word is nothing"
    );

    let out = rig.give(0, SOURCE, OWN[0], ncf(PARENT));
    assert_eq!(out.len(), 2);
    for (o, iface) in out.iter().zip(1..) {
        let special = Body::Spm(Spm {
            spm_sqn: Sqn(1),
            window: None,
            path: OWN[iface].into(),
        });
        assert_eq!((o.iface, o.to, &o.body), (iface, GROUP, &special));
        assert!(o.options.nbr_unreach);
    }
    assert_eq!(naks(&rig.nak(1, [5])), []);
    rig.spm(2, PARENT, Options::default());
    assert_eq!(naks(&rig.nak(1, [6])), up([6]), "a regular SPM ends it");
}

#[test] // I-04, I-05
fn an_spm_that_says_so_goes_on_and_stops_naks_too() {
    let mut rig = Rig::new(ElementConfig::default());
    let says = |path| {
        let options = Options {
            nbr_unreach: true,
            ..Options::default()
        };
        packet(spm(1, path), false, options)
    };
    let stranger = Ipv4Addr::new(10, 66, 6, 6);
    assert_eq!(rig.give(0, SOURCE, GROUP, says(stranger)), []);
    let out = rig.give(0, SOURCE, GROUP, says(PARENT));
    assert_eq!(out.len(), 2);
    assert!(out.iter().all(|o| o.options.nbr_unreach));
    assert_eq!(naks(&rig.nak(1, [5])), []);
}

#[test] // I-08
fn too_many_duplicates_make_ncfs_unicast_until_a_regular_spm() {
    let mut rig = Rig::new(ElementConfig {
        dup_nak_max: Some(3),
        ..ElementConfig::default()
    });
    for _ in 0..3 {
        assert_eq!(ncfs(&rig.nak(1, [5])), [(1, GROUP, vec![5])]);
    }
    let out = rig.nak(1, [5]);
    assert_eq!(ncfs(&out), [(1, NEAR[1], vec![5])]);
    assert!(out[0].options.nbr_unreach);
    assert_eq!(out[0].options.path_nla, Some(OWN[1].into()));
    assert_eq!(
        ncfs(&rig.nak(2, [5])),
        [(2, GROUP, vec![5])],
        "elsewhere not"
    );
    rig.spm(2, PARENT, Options::default());
    assert_eq!(ncfs(&rig.nak(1, [9])), [(1, GROUP, vec![9])]);
}

#[test] // I-03
fn the_back_off_of_each_interface_follows_its_naks() {
    let mut rig = Rig::new(ElementConfig::default());
    let advertised = |out: &[Out]| out[0].options.nak_bo_ivl.unwrap().ivl;
    assert_eq!(advertised(&rig.nak(1, [5])), 10_000);
    let last = (1..8).map(|_| advertised(&rig.nak(1, [5]))).last();
    assert_eq!(last, Some(30_000), "many for one loss");
    assert_eq!(advertised(&rig.nak(2, [5])), 10_000, "another interface");
    let last = (100..200).map(|sqn| advertised(&rig.nak(2, [sqn]))).last();
    assert_eq!(last, Some(500), "few ask there");
    for sqn in [200, 201] {
        for _ in 0..8 {
            rig.nak(1, [sqn]);
        }
    }
    let most = advertised(&rig.nak(1, [300]));
    assert_eq!(most, 100_000, "never above the maximum");
}

#[test]
fn a_session_without_spms_is_forgotten_and_strangers_take_no_room() {
    let mut rig = Rig::new(ElementConfig {
        max_sessions: 1,
        ..ElementConfig::default()
    });
    let mut other = packet(spm(1, PARENT), false, Options::default());
    other[0] ^= 1;
    crate::wire::reseal(&mut other);
    let arriving_bytes = Bytes::from(other);
    let arriving = Arriving {
        iface: 0,
        from: SOURCE,
        to: GROUP,
        bytes: &arriving_bytes,
    };
    rig.element.handle_tpdu(rig.now, &arriving);
    assert_eq!(rig.element.sessions(), 1);
    rig.wait(Duration::from_secs(299));
    assert_eq!(rig.element.upstream(TSI), Some(PARENT));
    rig.wait(Duration::from_secs(2));
    assert_eq!(rig.element.sessions(), 0);
    assert_eq!(rig.element.poll_timeout(), None);
}
