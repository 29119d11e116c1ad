//! NAKs confirmed, eliminated, forwarded; repairs let through where they were asked for.

use super::*;

#[test] // N-02, N-03, N-05
fn a_nak_is_confirmed_where_it_came_from_and_goes_up_at_once() {
    let mut rig = Rig::new(ElementConfig::default());
    let out = rig.nak(1, [5]);
    assert_eq!(ncfs(&out), [(1, GROUP, vec![5])]);
    assert_eq!(naks(&out), up([5]));
    assert_eq!(out.len(), 2);
    let ncf = &out[0];
    assert_eq!(
        (ncf.from, ncf.alert),
        (SOURCE, true),
        "the source's address"
    );
    let Body::Ncf(body) = &ncf.body else {
        panic!("{ncf:?}")
    };
    assert_eq!((body.source, body.group), (SOURCE.into(), GROUP.into()));
}

#[test] // N-02
fn a_nak_is_confirmed_before_the_first_spm_and_goes_up_after_it() {
    let mut rig = Rig::deaf(ElementConfig {
        nak_rpt_ivl: ms(1000),
        ..ElementConfig::default()
    });
    let out = rig.nak(1, [5]);
    assert_eq!((ncfs(&out).len(), naks(&out).len()), (1, 0));
    rig.spm(1, PARENT, Options::default());
    assert_eq!(naks(&rig.wait(ms(500))), up([5]));
    rig.ncf([5]);
    assert_eq!(rig.rdata(5), [1]);
}

#[test]
fn a_multicast_copy_of_a_nak_is_for_others() {
    let mut rig = Rig::new(ElementConfig::default());
    let bytes = packet(Body::Nak(nak([5])), false, Options::default());
    assert_eq!(rig.give(1, NEAR[1], GROUP, bytes), []);
}

#[test]
fn a_nak_for_another_source_or_group_finds_no_state() {
    let mut rig = Rig::new(ElementConfig::default());
    let wrong = Nak {
        group: Ipv4Addr::new(239, 1, 1, 1).into(),
        ..nak([5])
    };
    let bytes = packet(Body::Nak(wrong), false, Options::default());
    assert_eq!(rig.give(1, NEAR[1], OWN[1], bytes), []);
    assert_eq!(rig.element.stats().naks_stranded, 1);
}

#[test] // N-04, N-14: an interface is listed once, however often it asks
fn a_repair_goes_to_the_interfaces_that_asked_and_ends_the_state() {
    let mut rig = Rig::new(ElementConfig::default());
    for iface in [1, 1, 1] {
        rig.nak(iface, [5]);
    }
    rig.ncf([5]);
    assert_eq!(rig.element.repairs(), 1);
    assert_eq!(rig.rdata(5), [1]);
    assert_eq!(rig.element.repairs(), 0);

    for iface in [2, 1, 2] {
        rig.nak(iface, [6]);
    }
    assert_eq!(rig.rdata(6), [2, 1], "also before any NCF");
    assert_eq!(naks(&rig.wait(ms(2000))), [], "which ends the forwarding");
}

#[test] // N-15
fn a_repair_nobody_asked_for_is_dropped() {
    let mut rig = Rig::new(ElementConfig::default());
    assert_eq!(rig.rdata(5), []);
    rig.nak(1, [6]);
    rig.rdata(6);
    assert_eq!(rig.rdata(6), [], "only once");
    assert_eq!(rig.element.stats().rdata_dropped, 2);
    let bytes = packet(Body::Rdata(data(7)), false, Options::default());
    rig.nak(1, [7]);
    assert_eq!(rig.give(2, SOURCE, GROUP, bytes), [], "from downstream");
}

#[test] // N-06
fn a_nak_is_repeated_at_its_rate_until_its_interval_ends() {
    let config = ElementConfig {
        nak_rpt_ivl: ms(1000),
        nak_rpt_every: ms(300),
        ..ElementConfig::default()
    };
    let mut rig = Rig::new(config.clone());
    rig.nak(1, [5]);
    assert_eq!(naks(&rig.wait(ms(299))), []);
    assert_eq!(naks(&rig.wait(ms(1))), up([5]));
    assert_eq!(naks(&rig.wait(ms(10_000))).len(), 2, "at 600 and 900 ms");
    assert_eq!(naks(&rig.nak(1, [5])), up([5]), "the next one begins anew");

    let mut rig = Rig::new(config);
    rig.nak(1, [5]);
    rig.wait(ms(100));
    rig.ncf([5]);
    assert_eq!(
        naks(&rig.wait(ms(10_000))),
        [],
        "a confirmed one is not repeated"
    );
}

#[test] // N-09, N-10
fn duplicates_go_up_once_in_each_elimination_interval() {
    let mut rig = Rig::new(ElementConfig::default());
    rig.nak(1, [5]);
    let out = rig.nak(2, [5]);
    assert_eq!(ncfs(&out), [(2, GROUP, vec![5])], "confirmed all the same");
    assert_eq!(naks(&out), [], "pending");
    rig.ncf([5]);
    for round in 0..3 {
        assert_eq!(naks(&rig.nak(1, [5])), [], "outstanding, round {round}");
        rig.wait(ms(4999));
        assert_eq!(naks(&rig.nak(2, [5])), [], "outstanding, round {round}");
        rig.wait(ms(1));
        assert_eq!(naks(&rig.nak(2, [5])), up([5]), "the first one after it");
        assert_eq!(naks(&rig.nak(1, [5])), [], "and no other");
        rig.ncf([5]);
    }
    assert_eq!(rig.rdata(5), [1, 2]);
    assert_eq!(rig.element.stats().naks_eliminated, 10);
}

#[test] // N-07, N-11, N-16
fn state_lasts_for_the_rdata_interval_after_the_last_confirmation() {
    let mut rig = Rig::new(ElementConfig::default());
    rig.nak(1, [5]);
    rig.ncf([5]);
    assert_eq!(naks(&rig.wait(ms(9_999))), [], "no retry for missing RDATA");
    assert_eq!(rig.element.repairs(), 1);
    rig.wait(ms(1));
    assert_eq!(rig.element.repairs(), 0);
    assert_eq!(rig.rdata(5), []);

    rig.nak(1, [6]);
    rig.ncf([6]);
    rig.wait(ms(6000));
    rig.ncf([6]);
    rig.wait(ms(9_999));
    assert_eq!(rig.rdata(6), [1], "begun anew by the second confirmation");
}

#[test] // N-08
fn original_data_does_not_cancel_a_nak() {
    let mut rig = Rig::new(ElementConfig {
        nak_rpt_ivl: ms(1000),
        ..ElementConfig::default()
    });
    rig.nak(1, [5]);
    let bytes = packet(Body::Odata(data(5)), false, Options::default());
    assert_eq!(rig.give(0, SOURCE, GROUP, bytes).len(), 2);
    assert_eq!(naks(&rig.wait(ms(500))), up([5]));
    assert_eq!(rig.rdata(5), [1]);
}

#[test] // N-12
fn an_ncf_from_upstream_makes_naks_needless_before_they_come() {
    let mut rig = Rig::new(ElementConfig::default());
    rig.ncf([5]);
    assert_eq!(rig.element.repairs(), 1);
    assert_eq!(naks(&rig.nak(2, [5])), []);
    assert_eq!(rig.rdata(5), [2], "it is listed all the same");

    rig.ncf([6]);
    assert_eq!(rig.rdata(6), [], "nobody was");
    rig.ncf([7]);
    rig.wait(ms(5000));
    assert_eq!(naks(&rig.nak(1, [7])), up([7]), "for NAK_ELIM_IVL only");
}

#[test] // N-13
fn an_ncf_from_elsewhere_makes_no_state_and_confirms_nothing() {
    let mut rig = Rig::new(ElementConfig::default());
    let bytes = packet(Body::Ncf(nak([5])), false, Options::default());
    assert_eq!(rig.give(1, SOURCE, GROUP, bytes.clone()), []);
    assert_eq!(rig.element.repairs(), 0);
    rig.nak(1, [5]);
    rig.give(2, SOURCE, GROUP, bytes);
    rig.wait(ms(200));
    assert_eq!(naks(&rig.nak(1, [5])), up([5]), "it was never confirmed");
}

#[test] // N-17
fn a_list_is_confirmed_whole_and_goes_up_intact_or_not_at_all() {
    let mut rig = Rig::new(ElementConfig::default());
    let out = rig.nak(1, [5, 6, 9]);
    assert_eq!(ncfs(&out), [(1, GROUP, vec![5, 6, 9])]);
    assert_eq!(naks(&out), up([5, 6, 9]));
    rig.ncf([5, 6, 9]);
    let out = rig.nak(2, [5, 9]);
    assert_eq!(ncfs(&out), [(2, GROUP, vec![5, 9])]);
    assert_eq!(naks(&out), [], "all outstanding");
    assert_eq!(naks(&rig.nak(2, [5, 7, 9])), up([5, 7, 9]), "7 is new");
    assert_eq!(
        [5, 6, 7, 9].map(|sqn| rig.rdata(sqn)),
        [vec![1, 2], vec![1], vec![2], vec![1, 2]]
    );
}

#[test] // N-17, N-06: the rest of a list is repeated until all of it is confirmed
fn a_list_is_repeated_until_its_last_sqn_is_confirmed() {
    let mut rig = Rig::new(ElementConfig {
        nak_rpt_ivl: ms(10_000),
        ..ElementConfig::default()
    });
    rig.nak(1, [5, 6]);
    rig.ncf([5]);
    assert_eq!(naks(&rig.wait(ms(500))), up([5, 6]), "intact");
    rig.ncf([6]);
    assert_eq!(naks(&rig.wait(ms(5000))), []);
}

#[test] // N-18
fn every_sqn_of_an_unsolicited_list_is_anticipated() {
    let mut rig = Rig::new(ElementConfig::default());
    rig.ncf([5, 6, 9]);
    assert_eq!(naks(&rig.nak(1, [5])), []);
    assert_eq!(naks(&rig.nak(1, [6, 9])), []);
    assert_eq!(naks(&rig.nak(1, [9, 10])), up([9, 10]));
}

#[test] // N-24
fn a_null_nak_is_neither_confirmed_nor_retried_and_silences_nobody() {
    let mut rig = Rig::new(ElementConfig {
        nak_rpt_ivl: ms(1000),
        ..ElementConfig::default()
    });
    let null = |sqn| packet(Body::Nnak(nak([sqn])), false, Options::default());
    let out = rig.give(1, NEAR[1], OWN[1], null(5));
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].iface, out[0].from, out[0].to), (0, OWN[0], PARENT));
    assert_eq!(out[0].body, Body::Nnak(nak([5])));
    assert_eq!(rig.wait(ms(900)), [], "once");
    assert_eq!(rig.give(1, NEAR[1], OWN[1], null(5)), [], "there is state");
    assert_eq!(rig.rdata(5), [], "but no interface");

    rig.give(1, NEAR[1], OWN[1], null(6));
    assert_eq!(naks(&rig.nak(2, [6])), up([6]), "a real one goes up");
    assert_eq!(rig.rdata(6), [2]);
    rig.give(1, NEAR[1], OWN[1], null(7));
    assert_eq!(rig.element.repairs(), 1);
    rig.wait(ms(5000));
    assert_eq!(rig.element.repairs(), 0, "its state lasts NAK_ELIM_IVL");
}

#[test] // X-08, N-14, N-17
fn repair_state_knows_no_wrap() {
    for start in [u32::MAX - 1, 0x7FFF_FFFE] {
        let mut rig = Rig::new(ElementConfig::default());
        let list: Vec<_> = (0..4).map(|n| start.wrapping_add(n)).collect();
        assert_eq!(naks(&rig.nak(1, list.clone())), up(list.clone()));
        rig.ncf(list.clone());
        assert_eq!(naks(&rig.nak(2, [list[3]])), []);
        for sqn in &list[..3] {
            assert_eq!(rig.rdata(*sqn), [1]);
        }
        assert_eq!(rig.rdata(list[3]), [1, 2]);
    }
}

#[test]
fn state_is_bounded() {
    let mut rig = Rig::new(ElementConfig {
        max_repairs: 100,
        ..ElementConfig::default()
    });
    for sqn in 0..10_000 {
        rig.nak(1, [sqn]);
        rig.ncf([20_000 + sqn]);
    }
    assert_eq!(rig.element.repairs(), 100);
    assert!(rig.element.stats().naks_stranded >= 9_900);
}
