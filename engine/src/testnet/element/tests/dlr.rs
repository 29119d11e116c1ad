//! Designated local repairers.

use super::*;

/// One on the segment above, one behind interface 2.
const ABOVE: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 77);
const ASIDE: Ipv4Addr = Ipv4Addr::new(10, 4, 0, 77);

fn polr(dlr: Ipv4Addr, parity: bool) -> Vec<u8> {
    let body = Body::Polr(Polr {
        sqn: Sqn(1),
        round: 0,
    });
    let options = Options {
        redirect: Some(dlr.into()),
        ..Options::default()
    };
    packet(body, parity, options)
}

fn with_aside() -> Rig {
    let mut rig = Rig::new(ElementConfig::default());
    assert_eq!(rig.give(2, ASIDE, OWN[2], polr(ASIDE, false)), []);
    rig
}

/// A packet of the off-tree DLR to its parent.
fn aside(rig: &mut Rig, body: Body) -> Vec<Out> {
    let bytes = packet(body, false, Options::default());
    rig.give(2, ASIDE, OWN[2], bytes)
}

#[test] // RFC 3208 §9.5.3.1, P-08: each interface below is polled, with the source's address
fn dlrs_are_found_by_a_poll() {
    let mut rig = Rig::new(ElementConfig::default());
    let mut rand = 40;
    for sqn in [1, 2] {
        rig.element.poll(TSI, 1, ms(100), || {
            rand += 1;
            rand
        });
        let out = rig.sent();
        assert_eq!(out.len(), 2);
        for (o, iface) in out.iter().zip(1..) {
            let Body::Poll(poll) = o.body else {
                panic!("{o:?}")
            };
            assert_eq!((poll.sqn, poll.round, poll.sub_type), (Sqn(sqn), 0, 1));
            assert_eq!((poll.path, poll.bo_ivl), (OWN[iface].into(), 100_000));
            assert_eq!(
                (o.iface, o.from, o.to, o.alert),
                (iface, SOURCE, GROUP, true)
            );
        }
    }
    assert_eq!(rand, 44, "a random string for each poll and interface");
}

#[test] // RFC 3208 §9.5.3.2: later NAKs go to the DLR; its POLR completes none
fn naks_are_redirected() {
    let mut rig = Rig::new(ElementConfig {
        nak_rpt_ivl: ms(600),
        ..ElementConfig::default()
    });
    rig.nak(1, [4]);
    rig.give(2, ASIDE, OWN[2], polr(ASIDE, false));
    assert_eq!(rig.element.redirected_to(TSI), Some(ASIDE));
    assert_eq!(naks(&rig.wait(ms(500))), up([4]), "begun before the POLR");
    rig.ncf([4]);
    assert_eq!(naks(&rig.nak(1, [5])), [(2, ASIDE, vec![5])]);
}

#[test] // D-05: NCF and RDATA come by unicast, and leave with the source's addresses
fn an_off_tree_dlr_repairs() {
    let mut rig = with_aside();
    rig.nak(1, [5]);
    aside(&mut rig, Body::Ncf(nak([5])));
    assert_eq!(naks(&rig.nak(1, [5])), [], "confirmed");
    let null = aside(&mut rig, Body::Nnak(nak([5])));
    assert_eq!((null[0].iface, null[0].to), (0, PARENT), "always forwarded");
    let out = aside(&mut rig, Body::Rdata(data(5)));
    let seen: Vec<_> = out
        .iter()
        .map(|o| (o.iface, o.from, o.to, o.alert))
        .collect();
    assert_eq!(seen, [(1, SOURCE, GROUP, true)]);
    assert_eq!(rig.element.repairs(), 0);
}

#[test]
fn a_stranger_is_no_dlr() {
    let mut rig = with_aside();
    rig.nak(1, [5]);
    let stranger = Ipv4Addr::new(10, 4, 0, 66);
    let bytes = packet(Body::Rdata(data(5)), false, Options::default());
    assert_eq!(rig.give(2, stranger, OWN[2], bytes), []);
    let bytes = packet(Body::Ncf(nak([6])), false, Options::default());
    rig.give(2, stranger, OWN[2], bytes);
    assert_eq!(rig.element.repairs(), 1);
}

#[test] // RFC 3208 §9.5.3.2: no NCF within NAK_RPT_IVL
fn a_dlr_that_does_not_confirm_is_dropped() {
    let mut rig = with_aside();
    rig.nak(1, [5]);
    assert_eq!(naks(&rig.wait(ms(99))), []);
    assert_eq!(naks(&rig.wait(ms(1))), up([5]), "upstream instead");
    assert_eq!(rig.element.redirected_to(TSI), None);
    rig.ncf([5]);
    assert_eq!(rig.rdata(5), [1]);
    assert_eq!(naks(&rig.nak(1, [6])), up([6]));
}

#[test] // D-08: what the DLR lacks it asks its parent for
fn a_nak_of_the_dlr_goes_upstream() {
    let mut rig = with_aside();
    rig.nak(1, [5]);
    aside(&mut rig, Body::Ncf(nak([5])));
    let out = aside(&mut rig, Body::Nak(nak([5])));
    assert_eq!(ncfs(&out), [(2, GROUP, vec![5])]);
    assert_eq!(naks(&out), up([5]));
    rig.ncf([5]);
    assert_eq!(rig.rdata(5), [1, 2], "the DLR gets it, too");
    assert_eq!(
        naks(&rig.nak(1, [6])),
        [(2, ASIDE, vec![6])],
        "others go there"
    );
}

#[test] // RFC 3208 §9.5.3.2: what was lost on the DLR's own segment
fn what_the_dlrs_segment_lacks_is_asked_upstream() {
    let mut rig = with_aside();
    assert_eq!(naks(&rig.nak(2, [5])), up([5]));
    assert_eq!(naks(&rig.nak(1, [6])), [(2, ASIDE, vec![6])]);
}

#[test] // RFC 3208 §9.5.3.2: upstream DLRs are used where there are any
fn an_upstream_dlr_is_preferred() {
    let mut rig = with_aside();
    rig.give(0, SOURCE, GROUP, polr(ABOVE, false));
    assert_eq!(rig.element.redirected_to(TSI), Some(ABOVE));
    rig.give(2, ASIDE, OWN[2], polr(ASIDE, false));
    assert_eq!(rig.element.redirected_to(TSI), Some(ABOVE));
    assert_eq!(naks(&rig.nak(1, [5])), [(0, ABOVE, vec![5])]);
    rig.ncf([5]);
    assert_eq!(rig.rdata(5), [1], "as from the source");
    rig.give(1, SOURCE, GROUP, polr(NEAR[1], false));
    assert_eq!(
        rig.element.redirected_to(TSI),
        Some(ABOVE),
        "not from below"
    );
}

#[test] // D-06: parity is asked only of who makes it
fn parity_naks_go_to_dlrs_with_parity() {
    for fec in [false, true] {
        let mut rig = Rig::new(ElementConfig::default());
        let prm = ParityPrm {
            proactive: false,
            on_demand: true,
            tg_size: 8,
        };
        let options = Options {
            parity_prm: Some(prm),
            ..Options::default()
        };
        rig.spm(2, PARENT, options);
        rig.give(2, ASIDE, OWN[2], polr(ASIDE, fec));
        let bytes = packet(Body::Nak(nak([16])), true, Options::default());
        let out = rig.give(1, NEAR[1], OWN[1], bytes);
        let to = if fec { ASIDE } else { PARENT };
        assert_eq!(naks(&out)[0].1, to);
    }
}
