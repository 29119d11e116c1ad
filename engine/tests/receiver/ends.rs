//! How sessions end: OPT_FIN, OPT_RST (RFC 3208 §9.7, §9.8), silence.

use crate::kit::{Rig, config, ms, payload};
use pgm_engine::receiver::{Read, ReceiverConfig, ResetReason};
use pgm_engine::wire::{Options, Rst};
use std::time::Duration;

fn fin() -> Options {
    Options {
        fin: true,
        ..Options::default()
    }
}

fn rst(no_naks: bool, code: u8) -> Options {
    Options {
        rst: Some(Rst { no_naks, code }),
        ..Options::default()
    }
}

#[test] // §9.7: all data, then the end
fn fin_comes_after_all_data() {
    for by_spm in [true, false] {
        let mut rig = Rig::begun(config());
        rig.odata(1);
        if by_spm {
            rig.odata(2);
            rig.spm_with(1, 2, fin());
        } else {
            rig.odata_with(2, 1, fin(), &payload(2));
        }
        assert!(
            rig.peer.is_expired(rig.now),
            "nothing more to do for the network"
        );
        assert_eq!(rig.peer.poll_timeout(), None);
        assert_eq!(rig.read_sqns(), [1, 2]);
        assert!(rig.peer.is_readable());
        assert_eq!(rig.read_end(), Read::Fin);
        rig.spm_with(1, 2, fin());
        assert_eq!(rig.read_end(), Read::Fin);
    }
}

#[test] // repairs go on after FIN, its SPM_LEAD finds the lost tail
fn fin_waits_for_repairs() {
    let mut rig = Rig::begun(config());
    rig.odata(1);
    rig.odata(3);
    rig.spm_with(1, 5, fin());
    assert_eq!(rig.read_sqns(), [1]);
    assert!(!rig.peer.is_expired(rig.now));
    rig.pass(ms(10));
    assert_eq!(rig.asked(), [2, 4, 5]);
    for sqn in [5, 2, 4] {
        rig.rdata(sqn);
    }
    assert_eq!(rig.read_sqns(), [2, 3, 4, 5]);
    assert_eq!(rig.read_end(), Read::Fin);
}

#[test] // a loss before FIN is a loss
fn fin_does_not_hide_a_loss() {
    let mut rig = Rig::begun(config());
    rig.odata(1);
    rig.spm_with(1, 2, fin());
    rig.pass(ms(2000));
    assert_eq!(rig.read_sqns(), [1]);
    assert_eq!(rig.read_loss(), (2, 1));
}

#[test] // who hears nothing but the end of a session is told of it once some data is there
fn a_session_that_is_over_is_none_without_data() {
    let late = || {
        let mut rig = Rig::new(config());
        let join = Some(rig.sqn(1));
        rig.spm_with(1, 2, Options { join, ..fin() });
        assert!(!rig.peer.is_established());
        rig
    };
    let mut rig = late();
    rig.pass(ms(2000));
    assert!(!rig.peer.is_established() && rig.peer.is_expired(rig.now));

    let mut rig = late();
    rig.rdata(2);
    assert!(rig.peer.is_established());
    rig.rdata(1);
    assert_eq!(rig.read_sqns(), [1, 2]);
    assert_eq!(rig.read_end(), Read::Fin);
}

#[test] // so is the end in the middle of an APDU
fn fin_does_not_hide_half_an_apdu() {
    let mut rig = Rig::begun(config());
    rig.fragment(1, 1, 0, 4, b"ab");
    rig.spm_with(1, 1, fin());
    assert_eq!(rig.read_end(), Read::Reset(ResetReason::BadApdu));
}

#[test] // everything lost but the FIN: the session still is a session
fn fin_with_join_begins_and_ends_a_session() {
    let mut rig = Rig::new(config());
    let join = Options {
        join: Some(rig.sqn(1)),
        ..fin()
    };
    rig.spm_with(1, 2, join);
    rig.pass(ms(10));
    assert_eq!(rig.naks(), [[1, 2]]);
    rig.rdata(1);
    assert!(rig.peer.is_established());
    rig.rdata(2);
    assert_eq!(rig.read_sqns(), [1, 2]);
    assert_eq!(rig.read_end(), Read::Fin);
}

#[test] // a session that ended before we came is none of ours
fn fin_of_a_session_we_missed_begins_nothing() {
    let mut rig = Rig::new(config());
    rig.spm_with(1, 9, fin());
    assert!(!rig.peer.is_established() && !rig.peer.is_readable());
    let mut rig = Rig::new(config());
    rig.spm_with(10, 9, fin());
    assert!(
        !rig.peer.is_established(),
        "without any data there is nothing to accept for"
    );
}

#[test] // data after the last data cannot be
fn data_after_fin_is_dropped() {
    let mut rig = Rig::begun(config());
    rig.odata_with(1, 1, fin(), &payload(1));
    rig.odata(2);
    assert_eq!(rig.stats().dropped_malformed, 1);
    assert_eq!(rig.read_sqns(), [1]);
    assert_eq!(rig.read_end(), Read::Fin);
}

#[test] // RST ends the session; with N clear repairs may still come
fn rst_comes_after_all_data() {
    let mut rig = Rig::begun(config());
    rig.odata(1);
    rig.odata(3);
    rig.spm_with(1, 3, rst(false, 5));
    rig.pass(ms(10));
    assert_eq!(rig.naks(), [[2]]);
    rig.rdata(2);
    assert_eq!(rig.read_sqns(), [1, 2, 3]);
    assert_eq!(rig.read_end(), Read::Reset(ResetReason::Rst(5)));
}

#[test] // O-17: on SPMs only
fn rst_on_data_means_nothing() {
    let mut rig = Rig::begun(config());
    rig.odata_with(1, 1, rst(true, 5), &payload(1));
    rig.odata(2);
    assert_eq!(rig.read_sqns(), [1, 2]);
    assert_eq!(rig.read(), None, "goes on");
}

#[test] // with N set there is nobody left to ask
fn rst_with_n_stops_all_naks() {
    let mut rig = Rig::begun(config());
    rig.odata(1);
    rig.odata(3);
    rig.spm_with(1, 4, rst(true, 63));
    assert!(rig.peer.is_expired(rig.now));
    rig.pass(ms(5000));
    assert_eq!(rig.naks().len(), 0);
    assert_eq!(rig.read_sqns(), [1]);
    assert_eq!(rig.read_end(), Read::Reset(ResetReason::Rst(63)));
}

#[test] // also when FIN or an RST without it came before
fn n_may_be_set_later() {
    for before in [fin(), rst(false, 1)] {
        let mut rig = Rig::begun(config());
        rig.odata(1);
        rig.spm_with(1, 3, before);
        rig.spm_with(1, 3, rst(true, 2));
        rig.pass(ms(5000));
        assert_eq!(rig.naks().len(), 0);
        assert_eq!(rig.read_sqns(), [1]);
        assert_eq!(rig.read_end(), Read::Reset(ResetReason::Rst(2)));
    }
}

#[test] // beside FIN it is for those who miss something
fn rst_after_fin_spares_who_has_everything() {
    let both = Options {
        fin: true,
        ..rst(true, 0)
    };
    for (has_all, end) in [(true, Read::Fin), (false, Read::Reset(ResetReason::Rst(0)))] {
        let mut rig = Rig::begun(config());
        rig.odata(1);
        if has_all {
            rig.odata(2);
        }
        rig.spm_with(1, 2, both.clone());
        assert_eq!(rig.read_sqns().len(), 1 + usize::from(has_all));
        assert_eq!(rig.read_end(), end);
    }
}

#[test] // silence ends the session, after what was received in order
fn silence_ends_the_session() {
    let mut rig = Rig::begun(ReceiverConfig {
        nak_ncf_retries: 1_000_000,
        ..config()
    });
    rig.odata(1);
    rig.pass(Duration::from_secs(20));
    rig.odata(3);
    rig.pass(Duration::from_secs(30) - ms(1));
    assert!(!rig.peer.is_expired(rig.now));
    rig.pass(ms(1));
    assert!(rig.peer.is_expired(rig.now));
    assert_eq!(rig.peer.poll_timeout(), None);
    assert_eq!(rig.read_sqns(), [1]);
    assert_eq!(rig.read_end(), Read::Reset(ResetReason::Silent));
}

#[test] // packets of a source that started anew do not keep its old session alive
fn a_restarted_source_lets_the_old_session_expire() {
    let mut rig = Rig::begun(config());
    rig.odata(1);
    for _ in 0..31 {
        rig.pass(Duration::from_secs(1));
        rig.spm_numbered(1, 1, 0, Options::default());
        let sqn = u32::MAX / 2 + 1000;
        rig.odata_with(sqn, sqn, Options::default(), b"anew");
    }
    assert!(rig.peer.is_expired(rig.now));
    assert_eq!(rig.read_sqns(), [1]);
    assert_eq!(rig.read_end(), Read::Reset(ResetReason::Silent));
}

#[test] // a source that only ever sent an SPM is forgotten too
fn a_source_without_data_expires() {
    let mut rig = Rig::begun(config());
    rig.pass(Duration::from_secs(30));
    assert!(rig.peer.is_expired(rig.now));
    assert_eq!(rig.peer.poll_timeout(), None);
}

#[test] // an idle source that goes on with its SPMs is alive
fn spms_keep_a_session_alive() {
    let mut rig = Rig::begun(config());
    rig.odata(1);
    for _ in 0..100 {
        rig.pass(Duration::from_secs(1));
        rig.spm(2, 1);
    }
    assert!(!rig.peer.is_expired(rig.now));
    rig.odata_with(2, 2, Options::default(), &payload(2));
    assert_eq!(rig.read_sqns(), [1, 2]);
}

#[test] // an end further on does not replace the loss before it
fn the_earliest_end_stays() {
    let mut rig = Rig::begun(config());
    rig.odata(1);
    rig.odata(3);
    rig.spm(3, 3);
    for options in [fin(), rst(false, 1), rst(true, 2)] {
        rig.spm_with(3, 3, options);
    }
    rig.pass(Duration::from_secs(60));
    assert_eq!(rig.read_sqns(), [1]);
    assert_eq!(rig.read_loss(), (2, 1));
}
