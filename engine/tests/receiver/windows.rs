//! Receive window, SPMs and trailing edge (RFC 3208 §6.1, §6.2, §3.4), limits, the slow reader.

use crate::kit::{Rig, config, ms, payload};
use pgm_engine::num::Nla;
use pgm_engine::num::Sqn;
use pgm_engine::receiver::ReceiverConfig;
use pgm_engine::wire::{Body, Options, Spm, Window};
use std::time::{Duration, Instant};

fn small(sqns: u32, bytes: usize) -> ReceiverConfig {
    ReceiverConfig {
        rxw_sqns: sqns,
        rxw_bytes: bytes,
        ..config()
    }
}

#[test]
fn data_is_read_in_order() {
    let mut rig = Rig::begun(config());
    for sqn in 1..=3 {
        rig.odata(sqn);
        assert_eq!(rig.read_sqns(), [sqn]);
    }
    assert_eq!(rig.read(), None);
    let stats = rig.stats();
    assert_eq!(
        (stats.messages_received, stats.data_bytes_received),
        (3, 12)
    );
    assert_eq!((stats.odata_received, stats.spms_received), (3, 1));
    assert_eq!(stats.total_bytes_received, 3 * 28 + 36);
    assert_eq!((stats.trail, stats.lead), (4, 3));
}

#[test] // duplicates, also of what was read, also ODATA as RDATA
fn duplicates_are_discarded() {
    let mut rig = Rig::begun(config());
    rig.odata(1);
    rig.odata(1);
    rig.rdata(1);
    assert_eq!(rig.read_sqns(), [1]);
    rig.rdata(1);
    assert_eq!(rig.stats().duplicates, 3);
    assert_eq!(rig.read(), None);
}

#[test] // before the session's start, and beyond the half space
fn data_outside_of_the_window_is_discarded() {
    let mut rig = Rig::begun(config());
    rig.odata(1);
    for sqn in [0, u32::MAX, 2 + (1 << 31), 1 + (1 << 31)] {
        rig.odata_with(sqn, sqn, Options::default(), b"bad!");
    }
    assert_eq!(rig.stats().dropped_malformed, 4);
    assert_eq!(rig.read_sqns(), [1]);
    rig.odata(2);
    assert_eq!(rig.read_sqns(), [2]);
}

#[test] // the last packet was lost, only SPM_LEAD tells
fn spm_lead_finds_a_lost_tail() {
    let mut rig = Rig::begun(config());
    rig.odata(1);
    rig.spm(1, 3);
    rig.pass(ms(10));
    assert_eq!(rig.naks(), [[2, 3]]);
}

#[test] // SPMs are sequenced, across the wrap and half the space
fn only_newer_spms_count() {
    for first in [5u32, u32::MAX, (1 << 31) - 1] {
        let mut rig = Rig::new(config());
        let after = |n: u32| first.wrapping_add(n);
        rig.spm_numbered(first, 1, 0, Options::default());
        rig.odata(1);
        for stale in [
            after(0),
            after(0).wrapping_sub(1),
            after(1 << 31),
            after((1 << 31) + 7),
        ] {
            rig.spm_numbered(stale, 1, 3, Options::default());
            rig.pass(ms(20));
            assert_eq!(rig.naks().len(), 0, "{first} {stale}");
        }
        rig.spm_numbered(after(i32::MAX as u32), 1, 3, Options::default());
        rig.pass(ms(20));
        assert_eq!(rig.naks(), [[2, 3]]);
    }
}

#[test] // an SPM that data overtook: its window is old, its path is not
fn old_window_fields_are_ignored_one_by_one() {
    let mut rig = Rig::begun(config());
    for sqn in 1..=5 {
        rig.odata_with(sqn, sqn.min(3), Options::default(), &payload(sqn));
    }
    let window = Some(Window {
        trail: Sqn(2),
        lead: Sqn(4),
    });
    let spm = Spm {
        spm_sqn: Sqn(1000),
        window,
        path: Nla::from([10, 7, 7, 7]),
    };
    rig.feed(Body::Spm(spm), Options::default(), &[]);
    assert_eq!(rig.stats().lead, 5);
    rig.odata(7);
    rig.pass(ms(10));
    assert_eq!(
        rig.sent[0].to,
        pgm_engine::Destination::Host([10, 7, 7, 7].into())
    );
}

#[test] // the trail in any packet; the skipped SQNs are reported, after what came before
fn a_trail_beyond_a_gap_is_a_loss() {
    type Tell = fn(&mut Rig);
    let tellers: [Tell; 3] = [
        |rig| rig.spm(6, 9),
        |rig| rig.odata_with(9, 6, Options::default(), b"nine"),
        |rig| rig.rdata_with(7, 6, Options::default(), b"seven"),
    ];
    for tell in tellers {
        let mut rig = Rig::begun(config());
        for sqn in [1, 2, 5] {
            rig.odata(sqn);
        }
        tell(&mut rig);
        assert_eq!(rig.read_sqns(), [1, 2]);
        assert_eq!(rig.read_loss(), (3, 2));
        assert_eq!(rig.stats().lost_window_advanced, 2);
        assert!(rig.peer.is_expired(rig.now));
    }
}

#[test] // a trail over what is held loses nothing
fn a_trail_over_data_that_is_here_is_no_loss() {
    let mut rig = Rig::begun(config());
    for sqn in 1..=5 {
        rig.odata(sqn);
    }
    rig.spm(6, 5);
    rig.odata_with(6, 6, Options::default(), &payload(6));
    assert_eq!(rig.read_sqns(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(rig.stats().lost_window_advanced, 0);
}

#[test] // the repair that comes with the trail that passes it is still good
fn the_last_moment_is_not_too_late() {
    let mut rig = Rig::begun(config());
    rig.odata(2);
    rig.rdata_with(1, 2, Options::default(), &payload(1));
    assert_eq!(rig.read_sqns(), [1, 2]);
}

#[test] // any jump of lead or trail costs bounded time and memory
fn huge_jumps_are_cheap() {
    let far = i32::MAX as u32 - 10;
    let begun = Instant::now();
    for shift in [0, u32::MAX - 5, 1 << 31] {
        let mut rig = Rig::begun(config()).shifted(0);
        rig.odata(1);
        rig.spm(1, far);
        rig.pass(ms(10));
        assert_eq!(
            rig.naks().concat(),
            (2..2 + 4096).collect::<Vec<_>>(),
            "oldest first"
        );
        rig.spm(far - 5, far);
        assert_eq!(rig.read_sqns(), [1]);
        assert_eq!(rig.read_loss(), (2, far - 7));
        assert_eq!(rig.stats().lost_window_advanced, u64::from(far - 7));

        let mut rig = Rig::new(config()).shifted(shift);
        rig.spm(1, 0);
        rig.odata_with(far, 1, Options::default(), b"far!");
        assert_eq!(rig.stats().dropped_window_full, 1);
        rig.odata_with(far + 100, far, Options::default(), b"further");
        assert!(rig.peer.bytes_held() < 100);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[test] // a slow reader: the window fills, the rest is asked for when there is room, never before
fn a_slow_reader_holds_back_the_window() {
    for (sqns, bytes) in [(64, 1 << 20), (1 << 10, 64 * 4)] {
        let mut rig = Rig::begun(small(sqns, bytes));
        for sqn in 1..=200 {
            rig.odata(sqn);
        }
        assert_eq!(rig.stats().dropped_window_full, 136);
        assert_eq!((rig.stats().packets_buffered, rig.stats().lead), (64, 200));
        assert_eq!(rig.peer.bytes_held(), 256);
        rig.pass(ms(5000));
        assert_eq!(rig.naks().len(), 0, "what does not fit is not asked for");
        // Room for three, so three are asked for.
        for sqn in 1..=3 {
            let read = rig.read().unwrap();
            assert_eq!(
                read,
                pgm_engine::receiver::Read::Apdu(payload(sqn).to_vec().into())
            );
        }
        rig.pass(ms(30));
        assert_eq!(rig.asked(), [65, 66, 67]);
        for sqn in 65..=67 {
            rig.rdata(sqn);
        }
        // The rest as fast as it goes.
        let mut got = vec![];
        for _ in 0..1000 {
            got.extend(rig.read_sqns());
            rig.pass(ms(10));
            for sqn in rig.naks().concat() {
                rig.rdata(sqn);
            }
        }
        assert_eq!(got, (4..=200).collect::<Vec<_>>());
        assert_eq!(rig.stats().selective_naks_sent, 136, "each once");
    }
}

#[test] // a stopped reader costs nothing more, however much is sent
fn a_stopped_reader_stays_within_its_limits() {
    let mut rig = Rig::begun(small(64, 1000));
    for sqn in 1..=5000 {
        rig.odata_with(sqn, 1, Options::default(), &[0; 100]);
        rig.pass(ms(1));
    }
    assert_eq!(rig.peer.bytes_held(), 1000);
    assert_eq!(rig.naks().len(), 0);
    assert_eq!(rig.stats().dropped_window_full, 4990);
}

#[test] // octets all taken by data behind a gap: the gap still gets its repair
fn a_full_window_takes_what_the_reader_waits_for() {
    let mut rig = Rig::begun(small(1 << 10, 1000));
    for sqn in 2..=20 {
        rig.odata_with(sqn, 1, Options::default(), &[0; 100]);
    }
    rig.pass(ms(10));
    let naks = rig.naks().concat();
    assert_eq!(naks[0], 1);
    rig.rdata_with(1, 1, Options::default(), &[0; 100]);
    assert!(rig.read_apdus().len() >= 9);
}

#[test] // gaps of a long loss: all are asked for, never too many at once
fn a_long_loss_is_repaired_piece_by_piece() {
    let mut rig = Rig::begun(config());
    rig.odata(1);
    rig.odata(20_002);
    let mut got = rig.read_sqns();
    let mut asked = 0;
    for _ in 0..100 {
        rig.pass(ms(11));
        let naks = rig.naks().concat();
        assert!(naks.len() <= 4096);
        asked += naks.len();
        for sqn in naks {
            rig.rdata(sqn);
        }
        got.extend(rig.read_sqns());
    }
    assert_eq!(asked, 20_000);
    assert_eq!(got, (1..=20_002).collect::<Vec<_>>());
}

#[test] // no FEC yet: parity has SQNs of its own and is not data (F-30)
fn parity_is_not_taken_for_data() {
    use pgm_engine::wire::{Data, Tpdu};
    let mut rig = Rig::begun(config());
    let data = Data {
        sqn: Sqn(1),
        trail: Sqn(1),
    };
    let tpdu = Tpdu {
        sport: crate::kit::TSI.sport,
        dport: crate::kit::DPORT,
        gsi: crate::kit::TSI.gsi,
        parity: true,
        var_pktlen: false,
        body: Body::Rdata(data),
        options: Options::default(),
        payload: b"parity",
    };
    rig.peer.handle_tpdu(rig.now, &tpdu);
    assert_eq!(rig.read(), None);
    rig.odata(1);
    assert_eq!(rig.read_sqns(), [1]);
    assert_eq!((rig.stats().rdata_received, rig.stats().duplicates), (1, 0));
}

#[test] // the NAK machine and the window across the wraps
fn the_window_crosses_the_wraps() {
    for shift in [u32::MAX - 100, (1 << 31) - 100] {
        let mut rig = Rig::new(config()).shifted(shift);
        rig.spm(1, 0);
        let mut got = vec![];
        for sqn in 1..=200 {
            if sqn % 3 != 0 {
                rig.odata(sqn);
            }
            if sqn % 50 == 0 {
                rig.spm(1, sqn);
                rig.pass(ms(10));
                for missing in rig.naks().concat() {
                    assert_eq!(missing % 3, 0);
                    rig.rdata(missing);
                }
                got.extend(rig.read_sqns());
            }
        }
        assert_eq!(got, (1..=200).collect::<Vec<_>>());
    }
}
