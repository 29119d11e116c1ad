//! Where a session begins (RFC 3208 §6.1, §9.4, §9.6) and how the first SPM is asked for (§13).

use crate::kit::{GROUP, Rig, SOURCE, Sent, What, config, ms};
use pgm_engine::Destination;
use pgm_engine::num::{Nla, Sqn};
use pgm_engine::wire::{Body, Options, Spm};

fn join(min: u32) -> Options {
    Options {
        join: Some(Sqn(min)),
        ..Options::default()
    }
}

fn syn() -> Options {
    Options {
        syn: true,
        ..Options::default()
    }
}

#[test] // first heard by the SPM of an empty window: the first data may be lost
fn an_empty_window_begins_the_session_at_its_trail() {
    let mut rig = Rig::new(config());
    rig.spm(1, 0);
    assert!(!rig.peer.is_established(), "nothing to accept for yet");
    rig.odata(2);
    assert!(rig.peer.is_established());
    rig.pass(ms(10));
    assert_eq!(rig.naks(), [[1]]);
    rig.rdata(1);
    assert_eq!(rig.read_sqns(), [1, 2]);
}

#[test] // O-14: SPM with OPT_JOIN; all data before it was lost
fn a_join_spm_begins_the_session_and_is_enough_for_it() {
    let mut rig = Rig::new(config());
    rig.spm_with(1, 3, join(1));
    assert!(rig.peer.is_established(), "data is being repaired");
    assert!(!rig.peer.is_readable());
    rig.pass(ms(10));
    assert_eq!(rig.naks(), [[1, 2, 3]]);
}

#[test] // first ODATA and first SPM lost: what came is held until OPT_JOIN proves what came before
fn data_waits_for_the_spm_that_proves_older_data() {
    let mut rig = Rig::new(config());
    rig.odata(3);
    rig.odata(2);
    assert!(!rig.peer.is_established() && !rig.peer.is_readable());
    assert_eq!(rig.read(), None);
    rig.pass(ms(100));
    rig.naks();
    rig.spm_with(1, 4, join(1));
    assert!(rig.peer.is_established());
    rig.pass(ms(10));
    assert_eq!(rig.naks(), [[1, 4]]);
    rig.rdata(1);
    rig.rdata(4);
    assert_eq!(rig.read_sqns(), [1, 2, 3, 4]);
}

#[test] // a late joiner begins with its first ODATA and asks for nothing older
fn a_late_joiner_begins_with_its_first_data() {
    for spm_first in [true, false] {
        let mut rig = Rig::new(config());
        if spm_first {
            rig.spm(1, 4);
            assert!(!rig.peer.is_established(), "an SPM alone begins nothing");
        }
        rig.odata(5);
        if !spm_first {
            assert!(!rig.peer.is_readable());
            rig.spm(1, 5);
        }
        rig.odata(7);
        rig.rdata(3);
        rig.ncf(&[4]);
        rig.pass(ms(10));
        assert_eq!(rig.naks(), [[6]], "spm first: {spm_first}");
        rig.rdata(6);
        assert_eq!(rig.read_sqns(), [5, 6, 7]);
    }
}

#[test] // nor does it when the trail has passed its first data
fn a_late_joiner_whose_trail_moves_on_goes_on() {
    let mut rig = Rig::new(config());
    rig.spm(1, 4);
    rig.odata(5);
    rig.odata(7);
    rig.spm(6, 7);
    rig.pass(ms(10));
    assert_eq!(rig.naks(), [[6]]);
}

#[test] // data outside of its own advertised window does not begin a session
fn data_behind_its_own_trail_begins_nothing() {
    let mut rig = Rig::new(config());
    rig.odata_with(5, 6, Options::default(), b"five");
    rig.pass(ms(600));
    assert!(!rig.peer.is_established());
}

#[test] // a repair for others is no reason to begin
fn a_repair_begins_nothing_without_proof() {
    let mut rig = Rig::new(config());
    rig.spm(1, 9);
    rig.rdata(3);
    assert!(!rig.peer.is_established());
    rig.odata(10);
    assert_eq!(rig.read_sqns(), [10]);
    assert_eq!(rig.stats().dropped_malformed, 0);
}

#[test] // no SPM at all: the hold ends
fn without_any_spm_the_session_begins_after_a_while() {
    let mut rig = Rig::new(config());
    rig.odata(3);
    rig.odata(4);
    rig.pass(ms(499));
    assert!(!rig.peer.is_established());
    rig.pass(ms(1));
    assert!(rig.peer.is_established());
    assert_eq!(rig.read_sqns(), [3, 4]);
}

#[test] // the data that is its window's trail: nothing older can be had, so there is nothing to wait for
fn the_only_data_of_its_window_needs_no_spm() {
    let mut rig = Rig::new(config());
    rig.odata_with(9, 9, Options::default(), b"nine");
    assert!(rig.peer.is_established());
    assert_eq!(rig.read_apdus(), [b"nine"]);
}

#[test] // O-16: §9.6: OPT_SYN tells the start, on ODATA and on its repair, before or after other data
fn syn_begins_the_session() {
    for deliver in [Rig::odata_with, Rig::rdata_with] {
        let mut rig = Rig::new(config());
        rig.odata(6);
        assert!(!rig.peer.is_established());
        deliver(&mut rig, 5, 1, syn(), &[0, 0, 0, 5]);
        assert_eq!(rig.read_sqns(), [5, 6]);

        let mut rig = Rig::new(config());
        deliver(&mut rig, 5, 1, syn(), &[0, 0, 0, 5]);
        assert_eq!(rig.read_sqns(), [5]);
    }
}

#[test] // O-14: OPT_JOIN on data
fn join_on_data_begins_the_session() {
    let mut rig = Rig::new(config());
    rig.odata_with(7, 1, join(5), &[0, 0, 0, 7]);
    assert!(rig.peer.is_established());
    rig.spm(1, 7);
    rig.pass(ms(10));
    assert_eq!(rig.naks(), [[5, 6]]);
}

#[test] // §9.4.2: what is out of the window cannot be had, whatever OPT_JOIN says
fn join_behind_the_trail_means_the_trail() {
    let mut rig = Rig::new(config());
    rig.spm_with(4, 6, join(1));
    rig.pass(ms(10));
    assert_eq!(rig.naks(), [[4, 5, 6]]);
    assert_eq!(rig.stats().lost_window_advanced, 0);
}

#[test] // what was gone before we came is no loss
fn holes_behind_the_trail_at_the_start_are_skipped() {
    let mut rig = Rig::new(config());
    rig.odata(3);
    rig.odata(6);
    rig.spm(5, 7);
    rig.pass(ms(10));
    assert_eq!(rig.naks(), [[5, 7]]);
    rig.rdata(5);
    rig.rdata(7);
    assert_eq!(rig.read_sqns(), [5, 6, 7]);
}

#[test] // an OPT_JOIN that reaches back further than the window: the newest data gives way
fn join_may_reach_back_further_than_the_window() {
    let small = pgm_engine::receiver::ReceiverConfig {
        rxw_sqns: 64,
        ..config()
    };
    let mut rig = Rig::new(small);
    rig.odata(1000);
    rig.spm_with(1, 1000, join(1));
    rig.pass(ms(10));
    assert_eq!(rig.naks().concat(), (1..=64).collect::<Vec<_>>());
    assert!(rig.stats().packets_buffered == 0);
}

#[test] // §9.2: a late joiner in the middle of an APDU resumes at the next one, without a loss
fn a_late_joiner_skips_to_the_next_apdu() {
    let mut rig = Rig::new(config());
    rig.spm(1, 2);
    rig.fragment(3, 1, 8, 14, b"ght");
    rig.fragment(4, 1, 11, 14, b"now");
    assert!(rig.peer.is_established());
    assert!(!rig.peer.is_readable());
    rig.fragment(5, 5, 0, 5, b"who");
    rig.fragment(6, 5, 3, 5, b"le");
    assert_eq!(rig.read_apdus(), [b"whole"]);
}

#[test] // random delay, TTL 1 to the group, then the source; then patience
fn data_without_spm_asks_for_one() {
    let mut rig = Rig::new(config());
    rig.odata(3);
    assert_eq!(rig.sent, []);
    rig.pass(ms(450));
    let sent = std::mem::take(&mut rig.sent);
    assert!(sent.len() >= 6 && sent.len().is_multiple_of(2), "{sent:?}");
    for pair in sent.chunks(2) {
        let spmr = |to, ttl| Sent {
            at: pair[0].at,
            to,
            ttl,
            what: What::Spmr,
        };
        let group = spmr(Destination::Group(GROUP), Some(1));
        assert_eq!(pair, [group, spmr(Destination::Host(SOURCE), None)]);
    }
    assert!(sent[0].at < ms(20), "SPMR_BO_IVL");
    for (i, pair) in sent.chunks(2).collect::<Vec<_>>().windows(2).enumerate() {
        let wait = pair[1][0].at - pair[0][0].at;
        let patience = ms(50 << i);
        assert!(
            wait >= patience && wait <= patience + ms(20),
            "SPMR_SPM_IVL: {wait:?}"
        );
    }
}

#[test] // the delay is random, so that one of many asks first
fn requests_come_at_random_within_their_interval() {
    let delays = (0..40).map(|seed| {
        let mut rig = Rig::seeded(config(), seed);
        rig.odata(3);
        rig.pass(ms(20));
        rig.sent[0].at
    });
    let (early, late): (Vec<_>, Vec<_>) = delays.partition(|delay| *delay < ms(10));
    assert!(early.len() > 10 && late.len() > 10, "{early:?} {late:?}");
}

#[test] // the SPM cancels the request
fn the_spm_cancels_the_request() {
    let mut rig = Rig::new(config());
    rig.odata(3);
    rig.spm(1, 3);
    rig.pass(ms(5000));
    rig.odata(4);
    rig.pass(ms(5000));
    assert_eq!(rig.sent, []);
}

#[test] // a neighbour's request makes ours needless
fn a_heard_request_suppresses_ours() {
    let mut rig = Rig::new(config());
    rig.odata(3);
    rig.feed(Body::Spmr, Options::default(), &[]);
    rig.pass(ms(49));
    assert_eq!(rig.sent, [], "waits for the SPM");
    rig.pass(ms(22));
    assert_eq!(rig.sent.len(), 2, "which did not come");
}

#[test] // G-22: an SPM without window gives the address, not the start
fn an_spm_without_window_lets_held_data_begin() {
    let mut rig = Rig::new(config());
    let spm = |n| Spm {
        spm_sqn: Sqn(n),
        window: None,
        path: Nla::V4(crate::kit::PATH),
    };
    rig.feed(Body::Spm(spm(1)), Options::default(), &[]);
    assert!(!rig.peer.is_established());
    rig.odata(3);
    rig.odata(5);
    rig.feed(Body::Spm(spm(2)), Options::default(), &[]);
    rig.pass(ms(10));
    assert_eq!(rig.naks(), [[4]]);
    assert_eq!(rig.read_sqns(), [3]);
}

#[test] // every start across the wraps
fn starts_work_across_the_wraps() {
    for shift in [u32::MAX - 2, u32::MAX - 1, (1 << 31) - 3, 1 << 31] {
        let mut rig = Rig::new(config()).shifted(shift);
        rig.odata(3);
        rig.spm_with(
            1,
            4,
            Options {
                join: Some(rig.sqn(1)),
                ..Options::default()
            },
        );
        rig.pass(ms(10));
        assert_eq!(rig.naks(), [[1, 2, 4]]);
        for sqn in [4, 2, 1] {
            rig.rdata(sqn);
        }
        assert_eq!(rig.read_sqns(), [1, 2, 3, 4]);
    }
}
