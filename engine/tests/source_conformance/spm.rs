//! RFC 3208 §5.1.4-§5.1.6, §8.1, §9.4, §13.4.

use crate::rig::*;
use pgm_engine::num::{Nla, Sqn};
use pgm_engine::source::SourceConfig;
use pgm_engine::wire::{Body, NakBoIvl, Spm, Window};

/// The SPMs among what was sent: milliseconds since the start, body, OPT_JOIN.
fn spms(packets: &[Packet]) -> Vec<(u64, Spm, Option<Sqn>)> {
    let mut spms = Vec::new();
    for packet in packets {
        let tpdu = packet.tpdu();
        if let Body::Spm(spm) = tpdu.body {
            spms.push((packet.at.as_millis() as u64, spm, tpdu.options.join));
        }
    }
    spms
}

fn spm_times(packets: &[Packet]) -> Vec<u64> {
    spms(packets).iter().map(|(at, ..)| *at).collect()
}

#[test] // S-12, S-13, RFC 3208 §8.1; SPMs at connect, before any data
fn an_spm_goes_at_once_and_tells_an_empty_window() {
    let mut rig = Rig::new(SourceConfig {
        first_sqn: Sqn(0),
        ..config()
    });
    assert_eq!(rig.source.poll_timeout(), Some(rig.t0));
    rig.drain();
    let spms = spms(&rig.sent);
    let (at, spm, join) = spms[0];
    assert_eq!((spms.len(), at), (1, 0));
    assert_eq!(spm.path, Nla::V4(NLA));
    assert_eq!(
        spm.window,
        Some(Window {
            trail: Sqn(0),
            lead: Sqn(u32::MAX)
        })
    );
    assert_eq!(join, Some(Sqn(0)));
}

#[test]
fn the_start_is_dense_whether_or_not_data_flows() {
    for data in [false, true] {
        let mut rig = Rig::new(config());
        for _ in 0..200 {
            if data {
                rig.send(apdu(100));
            }
            rig.run_for(ms(5));
        }
        let times = spm_times(&rig.sent);
        assert!(
            [0, 5, 10, 20, 40, 80].iter().all(|at| times.contains(at)),
            "{times:?}"
        );
        assert!(
            times.windows(2).all(|pair| pair[1] - pair[0] <= 63),
            "{times:?}"
        );
        assert!(times.len() >= 18, "{times:?}");
    }
}

#[test] // RFC 3208 §9.4: who was there before the source may ask for everything, late joiners may not
fn join_names_the_first_sqn_during_the_start_only() {
    let first = Sqn(u32::MAX - 5);
    let mut rig = Rig::new(SourceConfig {
        first_sqn: first,
        ..config()
    });
    rig.send_small(100);
    rig.run_for(secs(3));
    for (at, _, join) in spms(&rig.sent) {
        assert_eq!(join, (at <= 1_000).then_some(first), "at {at} ms");
    }
}

#[test] // RFC 3208 §9.4
fn join_is_gone_once_the_first_sqn_left_the_window() {
    let config = SourceConfig {
        window_bytes: 3_000,
        window_ivl: ms(1),
        rate: None,
        ..config()
    };
    let mut rig = Rig::new(config);
    rig.run_for(ms(100));
    for _ in 0..4 {
        rig.send(apdu(1_000));
        rig.run_for(ms(5));
    }
    rig.take();
    rig.run_for(ms(100));
    let spms = spms(&rig.sent);
    assert!(!spms.is_empty() && spms.iter().all(|(_, _, join)| join.is_none()));
}

#[test] // RFC 3208 §9.4, RM_LATEJOIN
fn late_joiners_get_the_configured_share_of_the_window() {
    for (percent, expected) in [(0, None), (1, None), (30, Some(14)), (100, Some(0))] {
        let mut rig = Rig::settled(SourceConfig {
            late_join_percent: percent,
            ..config()
        });
        rig.send_small(20);
        rig.take();
        rig.run_for(secs(1));
        for (_, spm, join) in spms(&rig.sent) {
            assert_eq!(
                spm.window,
                Some(Window {
                    trail: Sqn(0),
                    lead: Sqn(19)
                })
            );
            assert_eq!(join, expected.map(Sqn), "{percent} %");
        }
    }
}

#[test] // S-07, S-10, RFC 3208 §5.1.6: ambient SPMs are interleaved with data at full rate
fn ambient_spms_go_amid_data() {
    let mut rig = Rig::settled(SourceConfig {
        ambient_spm_ivl: ms(100),
        ..config()
    });
    let from = (rig.now - rig.t0).as_millis() as u64;
    let end = rig.now + secs(1);
    while rig.now < end {
        while rig.source.is_writable() {
            rig.send(apdu(1_400));
        }
        rig.step(end);
    }
    let times: Vec<u64> = spm_times(&rig.sent).iter().map(|at| at - from).collect();
    assert_eq!(times, [100, 200, 300, 400, 500, 600, 700, 800, 900, 1_000]);
    assert!(rig.sent.len() > 7_000, "data went all the time");
}

#[test] // S-08, S-09, RFC 3208 §5.1.5
fn heartbeats_follow_the_last_data_and_decay() {
    let config = SourceConfig {
        ambient_spm_ivl: secs(60),
        ihb_max: ms(100),
        ..config()
    };
    let mut rig = Rig::settled(config);
    for _ in 0..2 {
        rig.send(apdu(1));
        rig.run_for(ms(2)); // data within IHB_MIN: no SPM between
        rig.send(apdu(1));
        rig.drain();
        let from = (rig.now - rig.t0).as_millis() as u64;
        rig.take();
        rig.run_for(ms(350));
        let times: Vec<u64> = spm_times(&rig.sent).iter().map(|at| at - from).collect();
        assert_eq!(times, [4, 12, 28, 60, 124, 224, 324]);
    }
    rig.nak(&[0]); // S-09: RDATA is data
    rig.drain();
    let from = (rig.now - rig.t0).as_millis() as u64;
    rig.take();
    rig.run_for(ms(30));
    let times: Vec<u64> = spm_times(&rig.sent).iter().map(|at| at - from).collect();
    assert_eq!(times, [4, 12, 28]);
}

#[test] // S-33, RFC 3208 §13.4
fn an_spmr_is_answered_at_once_but_not_twice_within_ihb_min() {
    let mut rig = Rig::settled(config());
    rig.run_for(ms(100));
    rig.take();
    rig.upstream(Body::Spmr);
    rig.drain();
    assert_eq!(rig.kinds(), ["SPM"]);
    for _ in 0..10 {
        rig.upstream(Body::Spmr);
        rig.drain();
    }
    assert_eq!(rig.kinds(), ["SPM"]);
    rig.run_for(ms(50));
    let times = spm_times(&rig.sent);
    assert_eq!(times.len(), 2);
    assert_eq!(times[1] - times[0], 4);
    assert_eq!(rig.source.stats(rig.now).spmrs_received, 11);
}

#[test] // RFC 3208 §15.2.1, §15.4.1: SPMs advertise the interval, derived from no poll
fn spms_advertise_the_back_off_interval() {
    let mut rig = Rig::new(config());
    rig.drain();
    let bo = rig.sent[0].tpdu().options.nak_bo_ivl;
    assert_eq!(
        bo,
        Some(NakBoIvl {
            ivl: 10_000,
            ivl_sqn: Sqn(0)
        })
    );
}
