//! The NAK state machine of RFC 3208 §6.3, its lists (§9.3) and the back-off interval (§15).

use crate::kit::{GROUP, PATH, Rig, SOURCE, config, ms};
use pgm_engine::num::{Nla, Sqn};
use pgm_engine::receiver::{Read, ReceiverConfig, ResetReason};
use pgm_engine::wire::{Body, NakBoIvl, NakBoRng, Options, Poll, Spm};
use std::time::Duration;

/// SQNs 1 and 3 are here, 2 is missing.
fn one_missing(config: ReceiverConfig) -> Rig {
    let mut rig = Rig::begun(config);
    rig.odata(1);
    rig.odata(3);
    rig
}

#[test] // BACK_OFF → WAIT_NCF on the timer, NAK to SPM_PATH
fn a_gap_is_asked_for_after_the_back_off() {
    let mut rig = one_missing(config());
    assert_eq!(rig.sent, [], "never at once");
    rig.pass(ms(10));
    let naks = rig.timed_naks();
    assert_eq!(naks.len(), 1);
    assert_eq!(naks[0].1, [2]);
    assert!(
        naks[0].0 > Duration::ZERO && naks[0].0 <= ms(10),
        "{:?}",
        naks[0].0
    );
    assert_eq!(
        (rig.stats().naks_sent, rig.stats().selective_naks_sent),
        (1, 1)
    );
    assert_eq!((rig.stats().pending_naks, rig.stats().first_nak), (1, 2));
}

#[test] // NCF in BACK_OFF → WAIT_DATA, the NAK is suppressed
fn an_ncf_in_back_off_suppresses() {
    let mut rig = one_missing(config());
    rig.ncf(&[2]);
    assert_eq!(
        (rig.stats().naks_suppressed, rig.stats().outstanding_naks),
        (1, 1)
    );
    rig.pass(ms(299));
    assert_eq!(rig.naks(), [[0u32; 0]; 0]);
    rig.pass(ms(11));
    assert_eq!(
        rig.naks(),
        [[2]],
        "R-26, R-28: after NAK_RDATA_IVL and a back-off"
    );
}

#[test] // another receiver's NAK in BACK_OFF → WAIT_NCF, the NAK is suppressed
fn a_nak_in_back_off_suppresses() {
    let mut rig = one_missing(config());
    rig.nak(&[2]);
    assert_eq!(
        (rig.stats().naks_suppressed, rig.stats().pending_naks),
        (1, 1)
    );
    rig.pass(ms(99));
    assert_eq!(rig.naks().len(), 0);
    rig.pass(ms(11));
    assert_eq!(rig.naks(), [[2]], "after NAK_RPT_IVL and a back-off");
}

#[test] // NAKs of other sessions are not ours
fn a_nak_for_another_source_or_group_changes_nothing() {
    let mut rig = one_missing(config());
    for (source, group) in [(PATH, GROUP), (SOURCE, PATH)] {
        let mut nak = rig.nak_body(&[2]);
        (nak.source, nak.group) = (Nla::V4(source), Nla::V4(group));
        rig.feed(Body::Nak(nak), Options::default(), &[]);
    }
    rig.pass(ms(10));
    assert_eq!(rig.naks(), [[2]]);
}

#[test] // WAIT_NCF → WAIT_DATA
fn an_ncf_starts_the_wait_for_data() {
    let mut rig = one_missing(config());
    rig.pass(ms(10));
    rig.naks();
    rig.ncf(&[2]);
    assert_eq!(
        (rig.stats().outstanding_naks, rig.stats().naks_suppressed),
        (1, 0)
    );
    rig.pass(ms(299));
    assert_eq!(rig.naks().len(), 0);
    rig.pass(ms(12));
    assert_eq!(rig.naks(), [[2]]);
}

#[test] // §6.3: a NAK in WAIT_NCF restarts NAK_RPT_IVL
fn a_nak_in_wait_ncf_restarts_the_wait() {
    let mut rig = one_missing(config());
    rig.pass(ms(10));
    rig.naks();
    rig.pass(ms(80));
    rig.nak(&[2]);
    rig.pass(ms(99));
    assert_eq!(rig.naks().len(), 0);
    rig.pass(ms(12));
    assert_eq!(rig.naks(), [[2]]);
}

#[test] // NCF or NAK in WAIT_DATA restarts NAK_RDATA_IVL
fn confirmations_in_wait_data_restart_the_wait() {
    for by_ncf in [true, false] {
        let mut rig = one_missing(config());
        rig.ncf(&[2]);
        for _ in 0..3 {
            rig.pass(ms(250));
            if by_ncf { rig.ncf(&[2]) } else { rig.nak(&[2]) }
        }
        assert_eq!(rig.naks().len(), 0);
        rig.pass(ms(299));
        assert_eq!(rig.naks().len(), 0);
        rig.pass(ms(12));
        assert_eq!(rig.naks(), [[2]]);
    }
}

#[test] // repeated per NAK_RPT_IVL, NAK_NCF_RETRIES times, then loss; earlier data first
fn without_ncf_the_gap_is_given_up() {
    let mut rig = one_missing(config());
    rig.pass(ms(1000));
    let naks = rig.timed_naks();
    assert_eq!(naks.len(), 4, "one and three retries");
    for pair in naks.windows(2) {
        let wait = pair[1].0 - pair[0].0;
        assert!(wait > ms(100) && wait <= ms(110), "{wait:?}");
    }
    assert_eq!(rig.read_sqns(), [1]);
    assert_eq!(rig.read_loss(), (2, 1));
    assert_eq!(
        (rig.stats().lost_ncf_retries, rig.stats().lost_data_retries),
        (1, 0)
    );
    assert!(rig.peer.is_expired(rig.now));
    assert_eq!(rig.peer.poll_timeout(), None);
}

#[test] // NAK_DATA_RETRIES
fn without_data_the_gap_is_given_up() {
    let mut rig = one_missing(config());
    let mut naks = 0;
    for _ in 0..400 {
        rig.pass(ms(5));
        if !rig.naks().is_empty() {
            naks += 1;
            rig.ncf(&[2]);
        }
    }
    assert_eq!(naks, 4, "one and three retries");
    assert_eq!(rig.read_sqns(), [1]);
    assert_eq!(rig.read_loss(), (2, 1));
    assert_eq!(
        (rig.stats().lost_ncf_retries, rig.stats().lost_data_retries),
        (0, 1)
    );
}

#[test] // ODATA or RDATA ends the recovery in every state
fn data_ends_the_recovery_in_any_state() {
    type Prepare = fn(&mut Rig);
    let states: [Prepare; 3] = [
        |_| {},
        |rig| rig.pass(ms(10)),
        |rig| {
            rig.pass(ms(10));
            rig.ncf(&[2]);
        },
    ];
    for prepare in states {
        for original in [true, false] {
            let mut rig = one_missing(config());
            prepare(&mut rig);
            rig.naks();
            if original {
                rig.odata(2)
            } else {
                rig.rdata(2)
            }
            let idle = rig.start + ReceiverConfig::default().peer_expiry;
            assert!(rig.peer.poll_timeout() >= Some(idle), "no timer is left");
            rig.pass(ms(5000));
            assert_eq!(rig.naks().len(), 0);
            assert_eq!(rig.read_sqns(), [1, 2, 3]);
        }
    }
}

#[test] // the trailing edge passes the SQN, in every state
fn the_trail_ends_the_recovery_in_any_state() {
    let mut rig = one_missing(config());
    rig.pass(ms(10));
    rig.ncf(&[2]);
    rig.naks();
    rig.spm(3, 3);
    rig.pass(ms(5000));
    assert_eq!(rig.naks().len(), 0);
    assert_eq!(rig.read_sqns(), [1]);
    assert_eq!(rig.read_loss(), (2, 1));
    assert_eq!(rig.stats().lost_window_advanced, 1);
}

#[test] // R-32, O-12, §9.3: at most 63 in a NAK, oldest first, ordered, without repeats
fn lost_together_means_asked_for_together() {
    let mut rig = Rig::begun(config());
    rig.odata(1);
    rig.odata(152);
    rig.pass(ms(10));
    let naks = rig.naks();
    assert_eq!(naks.iter().map(Vec::len).collect::<Vec<_>>(), [63, 63, 24]);
    assert_eq!(naks.concat(), (2..=151).collect::<Vec<_>>());
    assert_eq!(
        (rig.stats().naks_sent, rig.stats().selective_naks_sent),
        (3, 150)
    );
}

#[test] // an NCF with a list suspends every SQN of it
fn an_ncf_list_confirms_each_of_its_sqns() {
    let mut rig = Rig::begun(config());
    rig.odata(1);
    rig.odata(6);
    rig.ncf(&[2, 4, 5]);
    assert_eq!(rig.stats().naks_suppressed, 3);
    rig.pass(ms(10));
    assert_eq!(rig.naks(), [[3]]);
}

#[test] // an NCF may be the first to tell of an SQN, which need not be asked for then
fn an_ncf_for_an_unknown_sqn_starts_its_recovery() {
    let mut rig = Rig::begun(config());
    rig.odata(1);
    rig.ncf(&[3]);
    rig.pass(ms(11));
    assert_eq!(rig.naks(), [[2]], "3 is confirmed, 2 follows from it");
    rig.odata(2);
    rig.pass(ms(300));
    assert_eq!(rig.naks(), [[3]]);
}

#[test] // NCFs and NAKs outside of the window or for received data are discarded
fn confirmations_outside_of_the_window_change_nothing() {
    let mut rig = Rig::begun(config());
    rig.odata(1);
    rig.odata(2);
    for sqn in [0, 1, 2, 70_000, 1 << 31, u32::MAX - 5] {
        rig.ncf(&[sqn]);
        rig.nak(&[sqn]);
    }
    rig.nak(&[3]);
    assert_eq!(rig.stats().lead, 2);
    rig.pass(ms(5000));
    assert_eq!(rig.naks().len(), 0);
}

#[test] // one NAK at a time per SQN
fn what_is_asked_for_is_not_asked_for_again_by_more_evidence() {
    let mut rig = one_missing(config());
    rig.pass(ms(10));
    assert_eq!(rig.naks(), [[2]]);
    rig.odata(4);
    rig.odata(4);
    rig.spm(1, 4);
    rig.pass(ms(90));
    assert_eq!(rig.naks().len(), 0);
}

#[test] // reordering within the back-off causes no NAK
fn reordering_is_not_loss() {
    let mut rig = Rig::begun(config());
    for sqn in [2, 1, 4, 3, 7, 6, 5] {
        rig.odata(sqn);
    }
    rig.pass(ms(5000));
    assert_eq!(rig.naks().len(), 0);
    assert_eq!(rig.read_sqns(), [1, 2, 3, 4, 5, 6, 7]);
}

#[test] // no NAK before the first SPM; the gap is asked for once it is there
fn no_nak_before_the_first_spm() {
    let mut rig = Rig::new(config());
    rig.odata_with(5, 5, Options::default(), b"five");
    rig.odata(7);
    rig.pass(ms(2000));
    assert_eq!(rig.naks().len(), 0);
    rig.spm(5, 7);
    rig.pass(ms(10));
    assert_eq!(rig.naks(), [[6]]);
}

#[test] // the last SPM accepted gives the NAK address; nonsense in it means the source
fn naks_follow_the_path() {
    let mut rig = one_missing(ReceiverConfig {
        nak_data_retries: 9,
        ..config()
    });
    for (path, to, spm_sqn) in [
        (Nla::from([10, 9, 9, 9]), [10, 9, 9, 9], 1000),
        (Nla::from(GROUP), SOURCE.octets(), 1001),
        (Nla::from([0, 0, 0, 0]), SOURCE.octets(), 1002),
        (Nla::from([255, 255, 255, 255]), SOURCE.octets(), 1003),
        (Nla::from([0u16; 8]), SOURCE.octets(), 1004),
        (Nla::from([127, 0, 0, 1]), SOURCE.octets(), 1005),
        (Nla::from([0, 1, 2, 3]), SOURCE.octets(), 1006),
        (Nla::from([240, 1, 1, 1]), SOURCE.octets(), 1007),
    ] {
        let spm = Spm {
            spm_sqn: Sqn(spm_sqn),
            window: None,
            path,
        };
        rig.feed(Body::Spm(spm), Options::default(), &[]);
        rig.sent.clear();
        rig.pass(ms(100));
        assert_eq!(rig.sent.len(), 1, "{path}");
        assert_eq!(rig.sent[0].to, pgm_engine::Destination::Host(to.into()));
        rig.ncf(&[2]);
        rig.pass(ms(250));
    }
    assert_eq!(rig.stats().dropped_malformed, 6, "each is counted");
}

#[test] // forged NCFs and NAKs hold a gap only for a while, and cannot silence our own NAKs
fn a_stream_of_ncfs_and_naks_cannot_hold_a_gap() {
    for by_ncf in [true, false] {
        let mut rig = one_missing(ReceiverConfig {
            nak_ncf_retries: 50,
            nak_data_retries: 50,
            ..config()
        });
        let mut naks = 0;
        let mut held = Duration::ZERO;
        while rig.read_sqns() != [0u32; 0] || rig.peer.read(rig.now).is_none() {
            if by_ncf {
                rig.ncf(&[2])
            } else {
                rig.nak(&[2])
            }
            rig.pass(ms(1));
            naks += rig.naks().len();
            held += ms(1);
            assert!(held < Duration::from_secs(600), "held for ever");
        }
        assert!(naks >= 25, "{naks}");
    }
}

#[test] // §15.1: OPT_NAK_BO_IVL replaces the own interval, within bounds
fn the_source_sets_the_back_off() {
    let latest = |options: &Options| {
        let draws = (0..40).map(|seed| {
            let mut rig = Rig::seeded(config(), seed);
            rig.spm_with(1, 0, options.clone());
            rig.odata(1);
            rig.odata(3);
            rig.pass(Duration::from_secs(20));
            rig.timed_naks()[0].0
        });
        draws.max().unwrap()
    };
    let advertise = |ivl, sqn| Options {
        nak_bo_ivl: Some(NakBoIvl {
            ivl,
            ivl_sqn: Sqn(sqn),
        }),
        ..Options::default()
    };
    let within = |latest: Duration, ivl: Duration| {
        assert!(
            latest <= ivl && latest > ivl * 9 / 10,
            "{latest:?} of {ivl:?}"
        );
        true
    };
    assert!(within(latest(&Options::default()), ms(10)));
    assert!(within(latest(&advertise(200_000, 0)), ms(200)));
    assert!(
        within(latest(&advertise(0, 0)), Duration::from_micros(100)),
        "least"
    );
    assert!(
        within(latest(&advertise(u32::MAX, 0)), Duration::from_secs(5)),
        "most"
    );
    assert!(
        within(latest(&advertise(200_000, 9)), ms(10)),
        "I-01: from a poll we did not see"
    );
    // I-02: OPT_NAK_BO_RNG bounds it too.
    let ranged = Options {
        nak_bo_rng: Some(NakBoRng {
            max: 50_000,
            min: 40_000,
        }),
        ..advertise(200_000, 0)
    };
    assert!(within(latest(&ranged), ms(50)));
}

#[test] // I-01: a round-0 POLL up to the interval's SQN makes it usable
fn a_poll_makes_the_interval_usable() {
    let mut latest = Duration::ZERO;
    for seed in 0..40 {
        let mut rig = Rig::seeded(config(), seed);
        let poll = |round| Poll {
            sqn: Sqn(8),
            round,
            sub_type: 0,
            path: Nla::V4(PATH),
            bo_ivl: 1000,
            rand: 0,
            // Whose node id is 0: nobody's.
            mask: u32::MAX,
        };
        rig.feed(Body::Poll(poll(0)), Options::default(), &[]);
        let nak_bo_ivl = Some(NakBoIvl {
            ivl: 200_000,
            ivl_sqn: Sqn(9),
        });
        rig.spm_with(
            1,
            0,
            Options {
                nak_bo_ivl,
                ..Options::default()
            },
        );
        rig.odata(1);
        rig.odata(3);
        rig.pass(ms(200));
        latest = latest.max(rig.timed_naks()[0].0);
    }
    assert!(latest > ms(180), "{latest:?}");
}

#[test] // I-04, I-05, I-06: OPT_NBR_UNREACH of the parent stops NAKs until a regular SPM
fn an_unreachable_parent_is_not_asked() {
    let mut rig = one_missing(config());
    let unreachable = Options {
        nbr_unreach: true,
        ..Options::default()
    };
    let spm = |path| {
        Body::Spm(Spm {
            spm_sqn: Sqn(78),
            window: None,
            path: Nla::V4(path),
        })
    };
    rig.feed(spm(SOURCE), unreachable.clone(), &[]);
    rig.pass(ms(10));
    assert_eq!(rig.naks(), [[2]], "not our parent");
    rig.feed(spm(PATH), unreachable.clone(), &[]);
    rig.pass(ms(150));
    assert_eq!(rig.naks().len(), 0);
    rig.spm(1, 3);
    assert_eq!(rig.naks(), [[2]], "regular again");
    let options = Options {
        path_nla: Some(Nla::V4(PATH)),
        ..unreachable
    };
    rig.feed(Body::Ncf(rig.nak_body(&[2])), options, &[]);
    rig.pass(ms(150));
    assert_eq!(rig.naks().len(), 0);
}

#[test] // a long loss at a slow source: repairs on their way count as an answer
fn a_busy_source_is_given_time() {
    let mut rig = Rig::begun(config());
    rig.odata(1);
    rig.odata(52);
    rig.pass(ms(10));
    assert_eq!(rig.naks().concat(), (2..52).collect::<Vec<_>>());
    rig.ncf(&(2..52).collect::<Vec<_>>());
    // 50 repairs at 100 ms each take longer than all retries for one SQN.
    for sqn in 2..52 {
        rig.pass(ms(100));
        rig.rdata(sqn);
    }
    assert_eq!(rig.naks().len(), 0, "all confirmed, all under way");
    assert_eq!(rig.read_sqns(), (1..=52).collect::<Vec<_>>());
}

#[test] // a repair lost among others is asked for again
fn a_lost_repair_is_asked_for_again() {
    let mut rig = Rig::begun(config());
    rig.odata(1);
    rig.odata(5);
    rig.pass(ms(10));
    assert_eq!(rig.naks(), [[2, 3, 4]]);
    rig.ncf(&[2, 3, 4]);
    rig.rdata(2);
    rig.rdata(4);
    rig.pass(ms(311));
    assert_eq!(rig.naks(), [[3]]);
}

#[test] // the oldest loss counts, and nothing after it is asked for any more
fn after_a_loss_only_what_is_before_it_matters() {
    let mut rig = Rig::begun(config());
    rig.odata(1);
    rig.odata(3);
    rig.pass(ms(50));
    rig.odata(5);
    rig.pass(ms(2000));
    assert_eq!(rig.read_sqns(), [1]);
    assert_eq!(
        rig.read_end(),
        Read::Reset(ResetReason::Loss {
            first: Sqn(2),
            count: 1
        })
    );
    rig.naks();
    rig.odata(9);
    rig.pass(ms(1000));
    assert_eq!(rig.naks().len(), 0);
    assert_eq!(rig.peer.bytes_held(), 0);
}
