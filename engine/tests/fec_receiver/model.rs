//! Whatever is lost, against the plain model: a group that lacks no more than there is parity is rebuilt
//! without a NAK, and of any other exactly what is missing is asked for.

use crate::kit::{Rig, config, ms};
use crate::stream::{BOTH, FIRST, Offer, Packet, Stream, offering};
use pgm_engine::receiver::ReceiverConfig;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A stream of groups of k, of which some are short, of APDUs that are cut at `size` octets.
fn stream(k: u8, sizes: &[u8], apdus: &[usize], size: usize) -> Stream {
    let mut sqns = (0u32..).zip(sizes).flat_map(|(g, n)| {
        let start = FIRST + g * u32::from(k);
        start..start + u32::from(*n)
    });
    let mut packets = BTreeMap::new();
    for len in apdus.iter().cycle() {
        // A fragment's SQNs are consecutive, so an APDU stays inside its group.
        let Some(first) = sqns.next() else { break };
        let row = (first - FIRST) % u32::from(k);
        let group = sizes[((first - FIRST) / u32::from(k)) as usize];
        let left = u32::from(group) - row;
        let count = (len.div_ceil(size) as u32).clamp(1, left);
        let len = (*len).min(count as usize * size);
        for i in 0..count {
            let sqn = if i == 0 { first } else { sqns.next().unwrap() };
            let offset = i as usize * size;
            let payload = (offset..len.min(offset + size)).map(|n| (n * 7 + first as usize) as u8);
            let fragment = (count > 1).then_some((first, offset as u32, len as u32));
            let packet = Packet {
                payload: payload.collect(),
                fragment,
                ..Packet::default()
            };
            packets.insert(sqn, packet);
        }
    }
    Stream { k, packets }
}

/// k and the sizes of groups of it.
fn groups() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let size = |k: u8| prop_oneof![3 => Just(k), 1 => 1..=k];
    (1..=4u32)
        .prop_map(|s| 1u8 << s)
        .prop_flat_map(move |k| (Just(k), prop::collection::vec(size(k), 1..8)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test] // F-23, F-25, F-26, F-30, F-31, F-33, X-08
    fn what_is_missing_is_rebuilt_or_asked_for(
        (k, sizes) in groups(),
        apdus in prop::collection::vec(1..200usize, 1..10),
        h in 0..4u8,
        lost in prop::collection::vec(any::<bool>(), 16..140),
        percent in 0..60usize,
        unordered in any::<bool>(),
        wrap in 0..10u32,
        seed in any::<u64>(),
    ) {
        let stream = stream(k, &sizes, &apdus, 50);
        let shift = 0u32.wrapping_sub(FIRST + wrap * u32::from(k));
        let mut rig = Rig::seeded(ReceiverConfig { unordered, ..config() }, seed).shifted(shift);
        rig.spm_with(FIRST, FIRST - 1, offering(k, BOTH));
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut is_lost = |i: usize| lost[i % lost.len()] && rng.usize(..100) < percent;
        let mut asks = Vec::new();
        let mut got = Vec::new();
        let starts: Vec<_> = (0u32..).zip(&sizes).map(|(g, _)| FIRST + g * u32::from(k)).collect();
        for start in &starts {
            let group = stream.group(*start);
            let missing: Vec<_> = group.iter().map(|(sqn, _)| *sqn)
                .filter(|sqn| is_lost((*sqn - FIRST) as usize)).collect();
            for (sqn, _) in &group {
                let is_last = *sqn == group.last().unwrap().0;
                let size = stream.short(*start).filter(|_| is_last);
                if !missing.contains(sqn) {
                    rig.data_as(&stream, *sqn, false, size);
                    got.extend(rig.read_apdus());
                }
            }
            let parity: Vec<_> = (0..h).filter(|j| !is_lost(usize::from(*j))).collect();
            parity.iter().for_each(|j| rig.parity(&stream, *start, *j, false));
            got.extend(rig.read_apdus());
            let lacking = missing.len().saturating_sub(parity.len());
            if lacking > 0 {
                asks.push(start + u32::from(k) - group.len() as u32 + lacking as u32 - 1);
            }
        }
        // The source closes its last group, and then another packet follows.
        let next = FIRST + sizes.len() as u32 * u32::from(k);
        let last = Stream::even(k, next - FIRST + 1);
        rig.data_as(&last, next, false, None);
        rig.pass(ms(11));
        let mut asked = rig.parity_naks();
        asked.sort_unstable();
        prop_assert_eq!(&asked, &asks);
        // F-21: what is asked for, and no more, completes the stream.
        for sqn in asked {
            let start = stream.start(sqn);
            let size = stream.group(start).len() as u32;
            let count = sqn - start + 1 - (u32::from(k) - size);
            (0..count as u8).for_each(|j| rig.parity(&stream, start, h + j, true));
        }
        got.extend(rig.read_apdus());
        let mut all = stream.apdus();
        all.push(last.packets[&next].payload.clone());
        if unordered {
            all.sort();
            got.sort();
        }
        prop_assert_eq!(got, all);
        let stats = rig.stats();
        prop_assert_eq!((stats.dropped_malformed, stats.lost_window_advanced), (0, 0));
        rig.pass(ms(2000));
        prop_assert_eq!(rig.all_naks(), []);
    }

    #[test] // no parity, however strange, panics, hangs or outgrows the limits
    fn strange_parity_does_no_harm(
        packets in prop::collection::vec((0..7u8, any::<[u32; 5]>(), 0..300usize, any::<[bool; 6]>()), 1..150),
        offer in any::<[bool; 2]>(),
        log_k in 0..8u32,
        seed in any::<u64>(),
    ) {
        use pgm_engine::wire::{Body, Data, Encoded, Options, Spm, Window};
        use pgm_engine::num::Sqn;
        let config = ReceiverConfig { rxw_sqns: 256, rxw_bytes: 10_000, ..config() };
        let mut rig = Rig::seeded(config, seed).shifted(u32::MAX - 200);
        let offer = Offer { proactive: offer[0] || !offer[1], on_demand: offer[1] };
        let stream = Stream::even(8, 16);
        rig.spm_with(FIRST, FIRST - 1, offering(1 << log_k, offer));
        rig.data(&stream, FIRST);
        for (kind, numbers, len, flags) in packets {
            let number = |i: usize| match flags[i % 6] {
                true => rig.sqn(FIRST + numbers[i] % 400),
                false => Sqn(numbers[i]),
            };
            let octets = numbers[2].to_be_bytes();
            let options = Options {
                curr_tgsize: flags[0].then_some(1 + numbers[3] % 140),
                parity_grp: (kind < 4 && flags[1]).then_some(1 + numbers[4] % 300),
                encoded: Encoded {
                    fragment: (kind < 4 && flags[2]).then(|| [octets[0]; 13]),
                    syn: (kind < 4 && flags[3]).then_some(octets[1]),
                    fin: (kind < 4 && flags[4] && flags[5]).then_some(octets[2]),
                },
                ..Options::default()
            };
            let data = Data { sqn: number(0), trail: number(1) };
            let is_parity = kind < 4;
            let body = match kind {
                0..3 => Body::Odata(data),
                3 => Body::Rdata(data),
                4 => Body::Rdata(data),
                5 => Body::Spm(Spm {
                    spm_sqn: Sqn(78 + numbers[2] % 1000),
                    window: Some(Window { trail: number(0), lead: number(0).plus(numbers[1] % 500) }),
                    path: crate::kit::PATH.into(),
                }),
                _ => Body::Ncf(rig.nak_body(&[number(0).0])),
            };
            let options = match kind {
                5 if flags[3] => Options {
                    curr_tgsize: options.curr_tgsize,
                    ..offering(1 << (numbers[3] % 8), offer)
                },
                _ => options,
            };
            let payload = vec![octets[3]; len];
            let is_parity = is_parity || kind == 6;
            rig.feed_as([is_parity, is_parity && flags[5]], body, options, &payload);
            rig.pass(ms(u64::from(numbers[4] % 50)));
            prop_assert!(rig.peer.bytes_held() <= 10_000 + 160 * 600, "{}", rig.peer.bytes_held());
            prop_assert!(rig.stats().packets_buffered <= 256);
            if flags[2] {
                rig.read();
            }
        }
        rig.pass(std::time::Duration::from_secs(60));
        prop_assert!(rig.peer.is_expired(rig.now));
    }
}
