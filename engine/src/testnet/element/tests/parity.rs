//! NAKs and repairs of transmission groups of 8. Counts here are of packets; on the wire they are one less.

use super::*;

const K: u32 = 8;

fn rig() -> Rig {
    let mut rig = Rig::new(ElementConfig::default());
    let prm = ParityPrm {
        proactive: false,
        on_demand: true,
        tg_size: K,
    };
    let options = Options {
        parity_prm: Some(prm),
        ..Options::default()
    };
    rig.spm(2, PARENT, options);
    rig
}

/// A parity NAK for so many packets of a group.
fn ask(rig: &mut Rig, iface: usize, group: u32, count: u32) -> Vec<Out> {
    let body = Body::Nak(nak([group | (count - 1)]));
    let bytes = packet(body, true, Options::default());
    let out = rig.give(iface, NEAR[iface], OWN[iface], bytes);
    assert!(out.iter().all(|o| o.parity));
    out
}

fn confirm(rig: &mut Rig, group: u32, count: u32) {
    let body = Body::Ncf(nak([group | (count - 1)]));
    let bytes = packet(body, true, Options::default());
    assert_eq!(rig.give(0, SOURCE, GROUP, bytes), []);
}

/// A parity packet of a group; the interfaces it goes out by.
fn parity(rig: &mut Rig, group: u32, index: u32, curr_tgsize: Option<u32>) -> Vec<usize> {
    let options = Options {
        curr_tgsize,
        ..Options::default()
    };
    let bytes = packet(Body::Rdata(data(group | index)), true, options);
    let out = rig.give(0, SOURCE, GROUP, bytes);
    out.iter().map(|o| o.iface).collect()
}

#[test] // N-20
fn ncfs_tell_the_larger_count_of_the_interface() {
    let mut rig = rig();
    assert_eq!(ncfs(&ask(&mut rig, 1, 16, 3)), [(1, GROUP, vec![16 | 2])]);
    assert_eq!(ncfs(&ask(&mut rig, 1, 16, 1)), [(1, GROUP, vec![16 | 2])]);
    assert_eq!(ncfs(&ask(&mut rig, 2, 16, 1)), [(2, GROUP, vec![16])]);
}

#[test] // N-20
fn only_a_larger_count_goes_up_before_the_elimination_interval_ends() {
    let mut rig = rig();
    assert_eq!(naks(&ask(&mut rig, 1, 16, 2)), up([16 | 1]));
    assert_eq!(naks(&ask(&mut rig, 2, 16, 2)), []);
    assert_eq!(naks(&ask(&mut rig, 2, 16, 4)), up([16 | 3]));
    assert_eq!(naks(&ask(&mut rig, 1, 16, 3)), [], "less than is known");
    confirm(&mut rig, 16, 4);
    rig.wait(ms(5000));
    assert_eq!(
        naks(&ask(&mut rig, 1, 16, 1)),
        up([16 | 3]),
        "with the largest"
    );
    assert_eq!(naks(&ask(&mut rig, 1, 24, 1)), up([24]), "another group");
}

#[test] // N-20
fn an_ncf_that_promises_less_ends_no_repetition() {
    let mut rig = rig();
    rig.element.config.nak_rpt_ivl = ms(10_000);
    ask(&mut rig, 1, 16, 3);
    confirm(&mut rig, 16, 2);
    assert_eq!(naks(&rig.wait(ms(500))), up([16 | 2]));
    confirm(&mut rig, 16, 3);
    assert_eq!(naks(&rig.wait(ms(5000))), []);
}

#[test] // N-20
fn an_unsolicited_ncf_anticipates_its_count_and_no_more() {
    let mut rig = rig();
    confirm(&mut rig, 16, 2);
    assert_eq!(naks(&ask(&mut rig, 1, 16, 2)), []);
    assert_eq!(naks(&ask(&mut rig, 1, 16, 3)), up([16 | 2]));
    confirm(&mut rig, 16, 6);
    assert_eq!(naks(&ask(&mut rig, 2, 16, 5)), [], "partly anticipated");
}

#[test] // N-21
fn each_repair_counts_down_and_interfaces_leave_at_zero() {
    let mut rig = rig();
    ask(&mut rig, 1, 16, 1);
    ask(&mut rig, 2, 16, 3);
    confirm(&mut rig, 16, 3);
    let sent: Vec<_> = (0..4).map(|i| parity(&mut rig, 16, i, None)).collect();
    assert_eq!(sent, [vec![1, 2], vec![2], vec![2], vec![]]);
    assert_eq!(rig.element.repairs(), 0);
    assert_eq!(
        parity(&mut rig, 24, 0, None),
        Vec::<usize>::new(),
        "no state"
    );
}

#[test] // N-21
fn a_short_group_is_satisfied_at_its_offset() {
    let mut rig = rig();
    // A group of 5: receivers count as if it had 8, and the source sends 3 fewer.
    ask(&mut rig, 1, 16, 4);
    ask(&mut rig, 2, 16, 5);
    let sent: Vec<_> = (0..3).map(|i| parity(&mut rig, 16, i, Some(5))).collect();
    assert_eq!(sent, [vec![1, 2], vec![2], vec![]]);
    assert_eq!(rig.element.repairs(), 0);
}

#[test] // N-20
fn parity_and_selective_state_of_one_number_are_two() {
    let mut rig = rig();
    ask(&mut rig, 1, 16, 1);
    rig.nak(2, [16]);
    assert_eq!(rig.rdata(16), [2]);
    assert_eq!(parity(&mut rig, 16, 0, None), [1]);
}

#[test]
fn a_parity_nak_before_the_group_size_is_known_strands() {
    let mut rig = Rig::new(ElementConfig::default());
    assert_eq!(ask(&mut rig, 1, 16, 2), []);
    assert_eq!(rig.element.stats().naks_stranded, 1);
}

#[test] // N-20, X-08
fn groups_at_the_end_of_the_numbers() {
    let mut rig = rig();
    let last = u32::MAX - K + 1;
    assert_eq!(naks(&ask(&mut rig, 1, last, K)), up([u32::MAX]));
    assert_eq!(naks(&ask(&mut rig, 1, 0, 1)), up([0]));
    confirm(&mut rig, last, K);
    let sent: Vec<_> = (0..K)
        .map(|i| parity(&mut rig, last, i, None).len())
        .collect();
    assert_eq!(sent, [1; 8]);
    assert_eq!(parity(&mut rig, 0, 1, None), [1]);
}
