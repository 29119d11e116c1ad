//! When parity is asked for, how much, and what answers it (RFC 3208 §11.5, §6.3).

use crate::kit::{Rig, config, ms};
use crate::stream::{BO_IVL, BOTH, FIRST, ON_DEMAND, PROACTIVE, Stream, offering};
use pgm_engine::receiver::ReceiverConfig;

/// Group of eight, of which `lost` were lost, is over.
fn group_with(lost: &[u32]) -> (Rig, Stream) {
    let stream = Stream::even(8, 32);
    let mut rig = Rig::of_groups(8, ON_DEMAND);
    rig.data_but(&stream, FIRST..FIRST + 8, lost);
    (rig, stream)
}

#[test] // F-24, F-25: at the end of the group, for the count of the missing minus one
fn parity_is_asked_for_at_the_end_of_the_group() {
    let (mut rig, stream) = group_with(&[FIRST + 1, FIRST + 2, FIRST + 5, FIRST + 6, FIRST + 7]);
    rig.pass(ms(200));
    assert_eq!(rig.all_naks(), [], "the group may go on");
    rig.data(&stream, FIRST + 8);
    rig.pass(BO_IVL);
    assert_eq!(rig.parity_naks(), [FIRST + 4], "five");
    let stats = rig.stats();
    assert_eq!(
        (
            stats.parity_naks_sent,
            stats.selective_naks_sent,
            stats.naks_sent
        ),
        (1, 0, 1)
    );
    assert_eq!(
        (stats.pending_naks, stats.first_nak),
        (5, u64::from(FIRST + 1))
    );
}

#[test] // F-24: the last data packet, data of a later group, parity of this group and of a later one
fn each_sign_of_the_end_counts() {
    let signs: [fn(&mut Rig, &Stream); 4] = [
        |rig, stream| rig.data(stream, FIRST + 7),
        |rig, stream| rig.data(stream, FIRST + 17),
        |rig, stream| rig.parity(stream, FIRST, 3, true),
        |rig, stream| rig.parity(stream, FIRST + 8, 0, true),
    ];
    for (i, sign) in signs.into_iter().enumerate() {
        let (mut rig, stream) = group_with(&[FIRST + 1, FIRST + 2, FIRST + 7]);
        sign(&mut rig, &stream);
        rig.pass(BO_IVL);
        let count = [2, 3, 2, 3][i];
        assert!(rig.parity_naks().contains(&(FIRST + count - 1)), "sign {i}");
    }
}

#[test] // F-25, R-32: several groups in one NAK, oldest first, no more than k for any
fn groups_share_a_nak() {
    let (mut rig, stream) = group_with(&[FIRST + 1]);
    rig.data(&stream, FIRST + 24);
    rig.pass(BO_IVL);
    let naks = rig.parity_naks();
    let mut sorted = naks.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [FIRST, FIRST + 15, FIRST + 23], "one, eight, eight");
}

#[test] // F-27: the more is missing, the sooner it is asked for
fn larger_losses_are_asked_for_sooner() {
    let wait = |lost: u32, seed: u64| {
        let stream = Stream::even(8, 32);
        let mut rig = Rig::seeded(config(), seed);
        rig.spm_with(FIRST, FIRST - 1, offering(8, ON_DEMAND));
        rig.data_but(&stream, FIRST + lost..FIRST + 9, &[]);
        let begun = rig.now;
        while rig.parity_naks().is_empty() {
            rig.pass(ms(1) / 10);
        }
        rig.now - begun
    };
    let mean = |lost| {
        (0..40)
            .map(|seed| wait(lost, seed))
            .sum::<std::time::Duration>()
            / 40
    };
    let (one, two, eight) = (mean(1), mean(2), mean(8));
    assert!(
        two < one * 2 / 3 && eight < two * 2 / 3,
        "{one:?} {two:?} {eight:?}"
    );
    assert!(one <= BO_IVL);
}

#[test] // F-28: an NCF confirms only if it announces as much as we lack
fn an_ncf_confirms_if_its_count_is_enough() {
    for (count, confirms) in [(1, false), (2, false), (3, true), (8, true)] {
        let (mut rig, _) = group_with(&[FIRST, FIRST + 1, FIRST + 2]);
        rig.parity_ncf(FIRST, count);
        assert_eq!(rig.stats().naks_suppressed, u64::from(confirms));
        rig.pass(ms(299));
        let asked = rig.parity_naks();
        assert_eq!(asked.is_empty(), confirms, "NCF for {count}: {asked:?}");
        rig.pass(ms(20));
        assert!(
            rig.stats().parity_naks_sent > 0,
            "R-26: after NAK_RDATA_IVL"
        );
    }
}

#[test] // F-28: another receiver's NAK suppresses ours only if it asks for as much
fn a_nak_suppresses_if_its_count_is_enough() {
    for (count, suppresses) in [(2, false), (3, true), (4, true)] {
        let (mut rig, _) = group_with(&[FIRST, FIRST + 1, FIRST + 2]);
        rig.parity_nak(FIRST, count);
        assert_eq!(rig.stats().naks_suppressed, u64::from(suppresses));
        rig.pass(ms(99));
        assert_eq!(rig.parity_naks().is_empty(), suppresses);
    }
}

#[test] // F-28: selective NCFs and NAKs say nothing of a group that asks for parity
fn others_selective_naks_change_nothing() {
    let (mut rig, _) = group_with(&[FIRST + 1]);
    rig.ncf(&[FIRST + 1]);
    rig.nak(&[FIRST + 1]);
    assert_eq!(rig.stats().naks_suppressed, 0);
    rig.pass(BO_IVL);
    assert_eq!(rig.parity_naks(), [FIRST]);
}

#[test] // F-29: the wait ends with the last packet asked for, and then only the rest is asked for
fn the_wait_for_parity_goes_on_until_all_has_come() {
    let (mut rig, stream) = group_with(&[FIRST, FIRST + 1, FIRST + 2]);
    rig.pass(BO_IVL);
    assert_eq!(rig.parity_naks(), [FIRST + 2]);
    rig.parity_ncf(FIRST, 3);
    rig.pass(ms(50));
    rig.parity(&stream, FIRST, 0, true);
    assert_eq!(rig.stats().outstanding_naks, 3, "not cancelled");
    // NAK_RDATA_IVL after the NCF, and a back-off.
    rig.pass(ms(235));
    assert_eq!(rig.parity_naks(), [0u32; 0]);
    rig.pass(ms(65));
    assert_eq!(rig.parity_naks(), [FIRST + 1], "R-28: two, as one is here");
    rig.parity(&stream, FIRST, 9, true);
    rig.parity(&stream, FIRST, 4, true);
    rig.data_but(&stream, FIRST + 8..FIRST + 32, &[]);
    rig.reads_all(&stream);
}

#[test] // F-22: there is no asking before the SPM that tells of groups
fn parity_before_its_spm_is_of_no_use() {
    let stream = Stream::even(4, 8);
    let mut rig = Rig::new(config());
    rig.spm(FIRST, FIRST - 1);
    rig.data_but(&stream, FIRST..FIRST + 8, &[FIRST + 1]);
    rig.parity(&stream, FIRST, 0, false);
    assert_eq!(
        (rig.stats().parity_received, rig.stats().parity_unneeded),
        (1, 1)
    );
    rig.pass(BO_IVL);
    assert_eq!(rig.all_naks(), [(false, vec![FIRST + 1])]);
    rig.spm_with(FIRST, FIRST + 7, offering(4, PROACTIVE));
    rig.parity(&stream, FIRST, 0, false);
    rig.reads_all(&stream);
}

#[test] // F-24, R-19: data that pauses inside a group is repaired selectively, and soon
fn a_pause_inside_a_group_means_selective_naks() {
    let (mut rig, stream) = group_with(&[FIRST + 1, FIRST + 4, FIRST + 5, FIRST + 6, FIRST + 7]);
    rig.spm_with(FIRST, FIRST + 4, offering(8, ON_DEMAND));
    rig.pass(BO_IVL);
    assert_eq!(rig.all_naks(), [(false, vec![FIRST + 1, FIRST + 4])]);
    rig.data_as(&stream, FIRST + 1, true, None);
    rig.data_as(&stream, FIRST + 4, true, None);
    assert_eq!(rig.read_apdus().len(), 5);
}

#[test] // F-24: the SPMs of a steady stream do not look like a pause for long
fn data_after_an_spm_belies_the_pause() {
    let (mut rig, stream) = group_with(&[FIRST + 1, FIRST + 4, FIRST + 5, FIRST + 6, FIRST + 7]);
    rig.spm_with(FIRST, FIRST + 3, offering(8, ON_DEMAND));
    rig.data(&stream, FIRST + 4);
    rig.pass(ms(100));
    assert_eq!(rig.all_naks(), []);
    rig.data_but(&stream, FIRST + 5..FIRST + 8, &[]);
    rig.pass(BO_IVL);
    assert_eq!(rig.parity_naks(), [FIRST]);
}

#[test] // F-24: pro-active parity alone: after a brief wait for it, the packets are asked for
fn without_parity_on_demand_packets_are_asked_for() {
    let stream = Stream::even(8, 32);
    let mut rig = Rig::of_groups(8, PROACTIVE);
    rig.data_but(&stream, FIRST..FIRST + 8, &[FIRST + 1, FIRST + 2]);
    rig.pass(BO_IVL);
    assert_eq!(rig.all_naks(), [], "parity may be on its way");
    rig.pass(BO_IVL);
    assert_eq!(rig.all_naks(), [(false, vec![FIRST + 1, FIRST + 2])]);
    // One came after all; one repair does the rest.
    rig.parity(&stream, FIRST, 0, false);
    rig.data_as(&stream, FIRST + 2, true, None);
    rig.data_but(&stream, FIRST + 8..FIRST + 32, &[]);
    rig.reads_all(&stream);
}

#[test] // F-24: data of the next group says that no parity is to come
fn the_next_group_ends_the_wait_for_parity() {
    let stream = Stream::even(8, 32);
    let mut rig = Rig::of_groups(8, PROACTIVE);
    rig.data_but(&stream, FIRST..FIRST + 9, &[FIRST + 1]);
    rig.pass(BO_IVL);
    assert_eq!(rig.all_naks(), [(false, vec![FIRST + 1])]);
}

#[test] // F-23, F-25: both kinds: only what pro-active parity does not give is asked for
fn both_kinds_ask_for_the_rest() {
    let stream = Stream::even(8, 32);
    let mut rig = Rig::of_groups(8, BOTH);
    rig.data_but(
        &stream,
        FIRST..FIRST + 8,
        &[FIRST, FIRST + 3, FIRST + 5, FIRST + 7],
    );
    rig.parity(&stream, FIRST, 0, false);
    rig.parity(&stream, FIRST, 1, false);
    rig.data(&stream, FIRST + 8);
    rig.pass(BO_IVL);
    assert_eq!(rig.parity_naks(), [FIRST + 1], "two");
    rig.parity(&stream, FIRST, 2, true);
    rig.parity(&stream, FIRST, 3, true);
    rig.data_but(&stream, FIRST + 9..FIRST + 32, &[]);
    rig.reads_all(&stream);
}

#[test] // F-24, R-14: parity that nobody gives is no reason to lose what a selective NAK repairs
fn unanswered_groups_are_asked_for_packet_by_packet() {
    let (mut rig, stream) = group_with(&[FIRST + 2, FIRST + 3]);
    rig.data_but(&stream, FIRST + 8..FIRST + 32, &[FIRST + 17]);
    let mut naks = Vec::new();
    for _ in 0..400 {
        rig.pass(ms(10));
        naks.extend(rig.all_naks());
        if naks.iter().any(|(parity, _)| !parity) {
            break;
        }
    }
    let asked: Vec<_> = naks.iter().filter(|(parity, _)| !parity).collect();
    assert!(!asked.is_empty(), "{} parity NAKs, then none", naks.len());
    for sqn in [FIRST + 2, FIRST + 3, FIRST + 17] {
        rig.pass(BO_IVL);
        rig.data_as(&stream, sqn, true, None);
    }
    rig.reads_all(&stream);
    // Two groups in vain: the next is not asked for by parity at all.
    let more = Stream::even(8, 64);
    rig.all_naks();
    rig.data_but(&more, FIRST + 32..FIRST + 48, &[FIRST + 33]);
    rig.pass(BO_IVL);
    assert_eq!(rig.all_naks(), [(false, vec![FIRST + 33])]);
    // Until it answers again.
    rig.parity_ncf(FIRST + 32, 1);
    rig.data_but(&more, FIRST + 48..FIRST + 64, &[FIRST + 49]);
    rig.pass(BO_IVL);
    assert_eq!(rig.parity_naks(), [FIRST + 48]);
}

#[test] // F-24, R-14: a source that gives what it gave before has no more parity, and will have none
fn parity_that_comes_again_is_all_there_is() {
    let (mut rig, stream) = group_with(&[FIRST + 1, FIRST + 2, FIRST + 5]);
    rig.data_but(&stream, FIRST + 8..FIRST + 32, &[]);
    let naks = |rig: &mut Rig| {
        let asks = (0..400).find_map(|_| {
            rig.pass(ms(1));
            Some(rig.all_naks()).filter(|naks| !naks.is_empty())
        });
        asks.unwrap_or_default()
    };
    assert_eq!(naks(&mut rig), [(true, vec![FIRST + 2])]);
    let answer = |rig: &mut Rig, indices: &[u8]| {
        rig.parity_ncf(FIRST, 3);
        for j in indices {
            rig.parity(&stream, FIRST, *j, true);
        }
    };
    answer(&mut rig, &[0, 1, 0]);
    assert_eq!(naks(&mut rig), [(true, vec![FIRST])], "two of it are new");
    answer(&mut rig, &[]);
    assert_eq!(naks(&mut rig), [(true, vec![FIRST])], "what came was lost");
    answer(&mut rig, &[1]);
    assert_eq!(
        naks(&mut rig),
        [(false, vec![FIRST + 1, FIRST + 2, FIRST + 5])]
    );
    rig.data_as(&stream, FIRST + 2, true, None);
    rig.reads_all(&stream);
}

#[test] // when nothing at all answers, the loss is told in the end
fn what_nothing_repairs_is_lost() {
    let (mut rig, _) = group_with(&[FIRST + 2]);
    rig.pass(ms(20_000));
    assert_eq!(rig.read_apdus().len(), 2);
    assert_eq!(rig.read_loss(), (FIRST + 2, 1));
}

#[test] // with the session going on, the gap is told
fn a_lost_packet_of_a_group_is_a_gap() {
    let stream = Stream::even(8, 16);
    let config = ReceiverConfig {
        continue_on_loss: true,
        ..config()
    };
    let mut rig = Rig::of_groups_with(config, 8, ON_DEMAND, 0);
    rig.data_but(&stream, FIRST..FIRST + 16, &[FIRST + 2]);
    rig.pass(ms(20_000));
    let mut all = Vec::new();
    while let Some(read) = rig.read() {
        all.push(crate::stream::is_apdu(&read));
    }
    assert_eq!(all.iter().filter(|apdu| **apdu).count(), 15);
    assert!(!all[2]);
}

#[test] // PGM_LISTEN_ONLY: nothing is sent, and parity of others' asking is used
fn a_listener_asks_for_no_parity() {
    let stream = Stream::even(8, 16);
    let config = ReceiverConfig {
        listen_only: true,
        ..config()
    };
    let mut rig = Rig::of_groups_with(config, 8, BOTH, 0);
    rig.data_but(&stream, FIRST..FIRST + 16, &[FIRST + 2, FIRST + 4]);
    rig.pass(ms(50));
    rig.parity(&stream, FIRST, 0, true);
    rig.parity(&stream, FIRST, 1, true);
    rig.reads_all(&stream);
    assert_eq!(rig.all_naks(), []);
}
