//! Groups with fewer packets than k (RFC 3208 §11.2, §11.4, §11.5).

use crate::kit::{Rig, config, ms};
use crate::stream::{BO_IVL, FIRST, ON_DEMAND, PROACTIVE, Stream, offering};
use pgm_engine::receiver::{Read, ReceiverConfig};
use pgm_engine::wire::Options;

/// Groups of five, of eight, of one and of three packets where k is eight.
fn short_groups() -> Stream {
    let mut stream = Stream::of(8, 32, |sqn| 20 + sqn as usize % 7);
    stream.packets.retain(|sqn, _| match sqn - FIRST {
        n @ 0..8 => n < 5,
        n @ 16..24 => n < 17,
        n @ 24..32 => n < 27,
        _ => true,
    });
    stream
}

/// OPT_PARITY_PRM and OPT_CURR_TGSIZE.
fn closing(size: u32) -> Options {
    Options {
        curr_tgsize: Some(size),
        ..offering(8, ON_DEMAND)
    }
}

/// All data but `lost`; the last packet of a short group tells its size.
fn feed(rig: &mut Rig, stream: &Stream, lost: &[u32]) {
    for sqn in stream.packets.keys().filter(|sqn| !lost.contains(sqn)) {
        let start = stream.start(*sqn);
        let (last, _) = *stream.group(start).last().unwrap();
        let size = stream.short(start).filter(|_| last == *sqn);
        rig.data_as(stream, *sqn, false, size);
    }
}

fn modes() -> [ReceiverConfig; 3] {
    let [mut unordered, mut tolerant] = [config(), config()];
    unordered.unordered = true;
    tolerant.continue_on_loss = true;
    [config(), unordered, tolerant]
}

#[test] // F-33, F-17: unused SQNs are not asked for, not lost, not delivered, in any mode
fn unused_sqns_are_nobodys() {
    let stream = short_groups();
    for config in modes() {
        for shift in [0, 0u32.wrapping_sub(FIRST + 6)] {
            if shift % 8 != 0 {
                continue;
            }
            let mut rig = Rig::of_groups_with(config.clone(), 8, ON_DEMAND, shift);
            feed(&mut rig, &stream, &[]);
            let stats = rig.stats();
            assert_eq!((stats.pending_naks, stats.outstanding_naks), (0, 0));
            rig.reads_all(&stream);
            rig.pass(ms(5000));
            assert_eq!(rig.all_naks(), []);
            // The next group begins at the next multiple of k; its trail leaves nothing behind.
            rig.spm_with(FIRST + 32, FIRST + 31, offering(8, ON_DEMAND));
            let stats = rig.stats();
            assert_eq!((stats.lost_window_advanced, stats.loss_gaps), (0, 0));
            assert_eq!(stats.dropped_malformed, 0);
            let fin = Options {
                fin: true,
                ..offering(8, ON_DEMAND)
            };
            rig.spm_with(FIRST + 32, FIRST + 31, fin);
            assert_eq!(rig.read(), Some(Read::Fin));
        }
    }
}

#[test] // F-26: the count is relative to k, though the real size is known
fn the_count_is_relative_to_k() {
    let stream = short_groups();
    let mut rig = Rig::of_groups(8, ON_DEMAND);
    let lost = [FIRST + 1, FIRST + 3, FIRST + 16, FIRST + 25];
    feed(&mut rig, &stream, &lost);
    rig.pass(BO_IVL);
    let mut asked = rig.parity_naks();
    asked.sort_unstable();
    // Two of five, and one of three; nothing at all is known of the group of one.
    assert_eq!(asked, [FIRST + 4, FIRST + 23, FIRST + 29]);
    // F-21: the source sends what is really missing.
    for (start, j) in [(FIRST, 0), (FIRST, 1), (FIRST + 16, 0), (FIRST + 24, 0)] {
        rig.parity(&stream, start, j, true);
    }
    rig.reads_all(&stream);
    assert_eq!(rig.stats().recovered_by_parity, 4);
}

#[test] // F-33: the size may come by an SPM, by parity, by the next group's data and parity, or by data
fn whoever_tells_the_size_is_believed() {
    let stream = short_groups();
    let tellers: [fn(&mut Rig, &Stream); 3] = [
        |rig, stream| rig.data_as(stream, FIRST + 4, true, Some(5)),
        |rig, _| rig.spm_with(FIRST, FIRST + 4, closing(5)),
        |rig, stream| rig.parity(stream, FIRST, 0, false),
    ];
    for (i, tell) in tellers.into_iter().enumerate() {
        let mut rig = Rig::of_groups(8, ON_DEMAND);
        rig.data_but(&stream, FIRST..FIRST + 4, &[]);
        assert_eq!(rig.read_apdus().len(), 4);
        tell(&mut rig, &stream);
        assert_eq!(rig.read_apdus().len(), usize::from(i != 1), "teller {i}");
        if i == 1 {
            // Early: the group is over, and its last packet is missing.
            rig.pass(BO_IVL);
            assert_eq!(rig.parity_naks(), [FIRST + 3]);
            rig.parity(&stream, FIRST, 0, true);
            assert_eq!(rig.read_apdus().len(), 1);
        }
        rig.data_but(&stream, FIRST + 8..FIRST + 16, &[]);
        assert_eq!(rig.read_apdus().len(), 8);
        rig.pass(ms(1000));
        assert_eq!(rig.all_naks(), []);
    }
}

#[test] // F-18, F-33: SPMs repeat it while the source is idle, and behind the window it is old news
fn repeated_sizes_do_no_harm() {
    let stream = short_groups();
    let mut rig = Rig::of_groups(8, ON_DEMAND);
    rig.data_but(&stream, FIRST..FIRST + 5, &[]);
    for _ in 0..5 {
        rig.spm_with(FIRST, FIRST + 4, closing(5));
        rig.pass(ms(100));
    }
    assert_eq!(rig.read_apdus().len(), 5);
    rig.spm_with(FIRST, FIRST + 4, closing(5));
    rig.data_but(&stream, FIRST + 8..FIRST + 16, &[]);
    rig.spm_with(FIRST, FIRST + 4, closing(5));
    assert_eq!(rig.read_apdus().len(), 8);
    assert_eq!(
        (rig.stats().dropped_malformed, rig.peer.bytes_held()),
        (0, 0)
    );
}

#[test] // F-24, F-20: a source that closes its groups is given the time to do so
fn a_pause_of_a_source_with_short_groups_waits_for_the_size() {
    let stream = short_groups();
    let mut rig = Rig::of_groups(8, ON_DEMAND);
    feed(&mut rig, &stream, &[FIRST + 25, FIRST + 26]);
    rig.spm_with(FIRST, FIRST + 26, offering(8, ON_DEMAND));
    rig.pass(ms(50));
    assert_eq!(rig.all_naks(), []);
    let mut told = rig;
    told.spm_with(FIRST, FIRST + 26, closing(3));
    told.pass(BO_IVL);
    assert_eq!(
        told.parity_naks(),
        [FIRST + 30],
        "two and five that do not exist"
    );

    let mut rig = Rig::of_groups(8, ON_DEMAND);
    feed(&mut rig, &stream, &[FIRST + 25, FIRST + 26]);
    for _ in 0..2 {
        rig.spm_with(FIRST, FIRST + 26, offering(8, ON_DEMAND));
        rig.pass(BO_IVL);
    }
    assert_eq!(
        rig.all_naks(),
        [(false, vec![FIRST + 25, FIRST + 26])],
        "it does not"
    );
}

#[test] // F-33: the end of the stream in the middle of a group
fn fin_in_a_short_group_ends_the_stream() {
    let stream = short_groups();
    for lost in [&[][..], &[FIRST + 2, FIRST + 4][..]] {
        let mut rig = Rig::of_groups(8, PROACTIVE);
        rig.data_but(&stream, FIRST..FIRST + 5, lost);
        let fin = Options {
            fin: true,
            ..closing(5)
        };
        rig.spm_with(FIRST, FIRST + 4, fin);
        for j in 0..lost.len() {
            rig.parity(&stream, FIRST, j as u8, false);
        }
        assert_eq!(rig.read_apdus(), stream.apdus()[..5]);
        assert_eq!(rig.read(), Some(Read::Fin));
    }
}

#[test] // F-33: an empty packet in place of one that does not exist is no packet
fn a_placeholder_tells_the_size() {
    let stream = short_groups();
    for unordered in [false, true] {
        let config = ReceiverConfig {
            unordered,
            ..config()
        };
        let mut rig = Rig::of_groups_with(config, 8, ON_DEMAND, 0);
        rig.data_but(&stream, FIRST..FIRST + 16, &[]);
        rig.pass(BO_IVL);
        assert_eq!(rig.parity_naks(), [FIRST + 2], "three that do not exist");
        let none = Options {
            curr_tgsize: Some(5),
            ..Options::default()
        };
        rig.rdata_with(FIRST + 6, FIRST, none, &[]);
        assert_eq!(rig.read_apdus().len(), 13);
        let stats = rig.stats();
        assert_eq!(
            (
                stats.pending_naks,
                stats.outstanding_naks,
                stats.dropped_malformed
            ),
            (0, 0, 0)
        );
    }
}
