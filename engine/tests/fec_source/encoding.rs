//! What is in parity packets: every one is decoded.

use crate::rig::{Content, Packet, Rig, config, content, decode, fec, ms};
use pgm_engine::source::{Fec, SourceConfig};
use pgm_engine::wire::{ENCODED_NULL, Fragment};

/// ODATA and all parity that can be had of the source's groups.
fn data_and_parity(rig: &mut Rig) -> (Vec<Packet>, Vec<Packet>) {
    let k = rig.k();
    let mut packets = rig.take();
    let lead = rig.source.stats(rig.now).lead as u32;
    for tg in (0..=lead).step_by(k.into()) {
        if rig.source.config().fec.is_some_and(|fec| fec.on_demand) {
            rig.ask(tg, k.into());
            rig.run_for(ms(50));
            packets.extend(rig.take());
        }
    }
    packets.retain(|packet| packet.name().contains("DATA"));
    packets.into_iter().partition(|packet| !packet.is_parity())
}

/// Lose packets of every group at random and rebuild them from parity.
fn rebuild_everything(rig: &mut Rig, seed: u64) {
    let (data, parity) = data_and_parity(rig);
    rebuild(rig, &data, &parity, seed);
}

fn rebuild(rig: &Rig, data: &[Packet], parity: &[Packet], seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (k, little_endian) = (rig.k(), rig.source.config().fec.expect("FEC").little_endian);
    let of = |packets: &[Packet], tg: u32| {
        let in_group = |packet: &&Packet| packet.data().sqn.0 / u32::from(k) == tg / u32::from(k);
        packets
            .iter()
            .filter(in_group)
            .cloned()
            .collect::<Vec<Packet>>()
    };
    let lead = data.last().expect("data").data().sqn.0;
    for tg in (0..=lead).step_by(k.into()) {
        let (group, mut spare) = (of(data, tg), of(parity, tg));
        // Indices come again when all are used.
        spare.sort_by_key(|packet| packet.index(k));
        spare.dedup_by_key(|packet| packet.index(k));
        rng.shuffle(&mut spare);
        for lost in 1..=spare.len().min(group.len()) {
            let mut rows: Vec<usize> = (0..group.len()).collect();
            rng.shuffle(&mut rows);
            let (gone, kept) = rows.split_at(lost);
            let kept: Vec<&Packet> = kept.iter().map(|i| &group[*i]).collect();
            let used: Vec<&Packet> = spare[..lost].iter().collect();
            let mut expected: Vec<(u8, Content)> = gone
                .iter()
                .map(|i| (*i as u8, content(&group[*i])))
                .collect();
            expected.sort_unstable_by_key(|(row, _)| *row);
            let rebuilt = decode(k, tg, &kept, &used, little_endian);
            assert_eq!(rebuilt, Some(expected), "group {tg}, {gone:?} lost");
        }
    }
}

#[test] // F-13: equal packets, no length
fn parity_of_equal_packets_is_as_long_as_they_are() {
    let mut rig = Rig::settled(config(fec(4, 8, 2, true)));
    rig.send(&[1, 1, 1, 1, 700, 700, 700, 700]);
    let (_, parity) = data_and_parity(&mut rig);
    assert!(parity.len() > 8);
    for packet in &parity {
        let len = if packet.data().sqn.0 < 4 { 1 } else { 700 };
        let tpdu = packet.tpdu();
        assert_eq!((tpdu.payload.len(), tpdu.var_pktlen), (len, false));
    }
}

#[test] // F-12, F-13, F-14, F-16, F-31
fn parity_of_unequal_packets_has_their_lengths() {
    for little_endian in [false, true] {
        let mut rig = Rig::settled(config(Fec {
            little_endian,
            ..fec(8, 12, 2, true)
        }));
        let lens: Vec<usize> = (0..40).map(|i| 1 + i * 37 % 1_200).collect();
        rig.send(&lens);
        let (data, parity) = data_and_parity(&mut rig);
        let tsdus: Vec<usize> = data.iter().map(|p| p.tpdu().payload.len()).collect();
        assert_eq!(tsdus, lens, "data is not padded");
        for packet in &parity {
            let tg = packet.data().sqn.0 as usize / 8 * 8;
            let longest = lens[tg..tg + 8].iter().max().expect("a group");
            let tpdu = packet.tpdu();
            assert_eq!((tpdu.payload.len(), tpdu.var_pktlen), (longest + 2, true));
        }
        rebuild(&rig, &data, &parity, 1);
    }
}

#[test] // F-15, F-16
fn payload_options_are_encoded() {
    let mut rig = Rig::new(config(fec(4, 8, 1, true)));
    // SYN, then fragments and whole APDUs in one group, then none at all, then FIN.
    for (i, len) in [10, 5_000, 10, 10, 10, 10, 10, 10].into_iter().enumerate() {
        rig.source
            .send(rig.now, crate::rig::apdu(i, len))
            .expect("room");
    }
    rig.source.close(rig.now);
    rig.run_for(ms(50));
    let sent = rig.take();
    let parity: Vec<&Packet> = sent.iter().filter(|packet| packet.is_parity()).collect();
    let kinds = |packet: &Packet| {
        let encoded = packet.tpdu().options.encoded;
        (
            encoded.syn.is_some(),
            encoded.fragment.is_some(),
            encoded.fin.is_some(),
        )
    };
    let kinds: Vec<_> = parity.iter().map(|packet| kinds(packet)).collect();
    assert_eq!(
        kinds,
        [
            (true, true, false),
            (false, true, false),
            (false, false, true)
        ]
    );
    // F is set, type and length are the original's.
    let chain = &parity[0].bytes[24..];
    assert_eq!(chain[4..7], [0x01, 16, 0x04]);
    assert_eq!(chain[20..23], [0x8D, 4, 0x04]);
    assert_eq!(Fragment::to_octets(None)[0], ENCODED_NULL);
    rig.sent = sent;
    rebuild_everything(&mut rig, 2);
}

#[test] // F-13: with everything that can be on it
fn parity_fits_the_tpdu() {
    for (k, h) in [(2, 2), (2, 9), (16, 100)] {
        for max_tpdu in [128, 500, 1_472] {
            let mut rig = Rig::new(SourceConfig {
                max_tpdu,
                ..config(fec(k, h, 1, true))
            });
            for (i, len) in [3 * max_tpdu, max_tpdu - 40, max_tpdu, 1]
                .into_iter()
                .enumerate()
            {
                rig.source
                    .send(rig.now, crate::rig::apdu(i, len))
                    .expect("room");
            }
            rig.source.close(rig.now);
            rig.run_for(ms(50));
            let (data, parity) = data_and_parity(&mut rig);
            let all = data.iter().chain(&parity);
            let longest = all.map(|packet| packet.bytes.len()).max();
            assert!(
                longest > Some(max_tpdu - 20),
                "and wastes little: {longest:?}"
            );
            rebuild(&rig, &data, &parity, 3);
        }
    }
}

#[test] // F-12, F-15, F-18, F-31: anything, in full and short groups
fn any_mixture_is_rebuilt() {
    for seed in 0..30 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let k = 1 << rng.u32(0..6);
        let mut rig = Rig::new(SourceConfig {
            max_tpdu: rng.usize(200..1_500),
            ..config(fec(k, rng.u8(k..100), rng.u8(0..3), true))
        });
        for i in 0..rng.usize(1..60) {
            let len = if rng.u8(..4) == 0 {
                rng.usize(1..8_000)
            } else {
                rng.usize(1..150)
            };
            rig.source
                .send(rig.now, crate::rig::apdu(i, len))
                .expect("room");
            if rng.u8(..8) == 0 {
                rig.run_for(ms(20));
            }
        }
        rig.source.close(rig.now);
        rig.run_for(ms(20));
        rebuild_everything(&mut rig, seed);
    }
}
