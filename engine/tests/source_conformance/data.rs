//! RFC 3208 §3.2, §5.1.1, §8.2, §9.2, §9.6.

use crate::rig::*;
use bytes::Bytes;
use pgm_engine::num::Sqn;
use pgm_engine::source::{MAX_APDU, SendError, SourceConfig};
use pgm_engine::wire::Body;

#[test] // S-01, G-20, X-08: numbered in order, across the wrap
fn odata_is_numbered_in_order() {
    for first in [0, u32::MAX - 2, i32::MAX as u32 - 2] {
        let mut rig = Rig::new(SourceConfig {
            first_sqn: Sqn(first),
            ..config()
        });
        rig.drain();
        rig.take();
        for i in 0..6 {
            rig.send(Bytes::copy_from_slice(&[i]));
        }
        rig.drain();
        assert_eq!(rig.sent.len(), 6);
        for (i, packet) in rig.take().iter().enumerate() {
            assert_eq!(data_sqn(packet), Some(first.wrapping_add(i as u32)));
            assert_eq!(packet.tpdu().payload, [i as u8]);
        }
        rig.nak(&[u32::MAX.wrapping_add(first), first, first.wrapping_add(5)]);
        rig.drain();
        let repaired: Vec<_> = rig.sent.iter().filter_map(data_sqn).collect();
        assert_eq!(repaired, [first, first.wrapping_add(5)]);
        let stats = rig.source.stats(rig.now);
        assert_eq!(stats.naks_too_late, 1, "one before the first");
        assert_eq!(
            (stats.trail, stats.lead),
            (first.into(), first.wrapping_add(5).into())
        );
    }
}

#[test] // S-27, O-16, RFC 3208 §9.6.2: OPT_SYN on the first ODATA and its RDATA, nowhere else
fn syn_marks_the_first_packet_and_its_repair() {
    let mut rig = Rig::new(config());
    rig.send_small(3);
    rig.nak(&[0, 1]);
    rig.run_for(secs(2));
    for packet in &rig.sent {
        assert_eq!(packet.tpdu().options.syn, data_sqn(packet) == Some(0));
    }
    assert_eq!(rig.source.stats(rig.now).rdata_sent, 2);
}

#[test] // O-09, O-10, RFC 3208 §9.2: 16 MiB and one octet, through a window smaller than that
fn a_huge_apdu_is_fragmented_and_comes_whole() {
    let first = Sqn(u32::MAX - 1_000);
    let len = (16 << 20) + 1;
    let whole = apdu(len);
    let mut rig = Rig::new(SourceConfig {
        first_sqn: first,
        ..config()
    });
    rig.send(whole.clone());
    assert_eq!(rig.source.unsent(), len);
    assert!(!rig.source.is_writable());
    let mut got = Vec::with_capacity(len);
    let mut piece = 0;
    while rig.source.unsent() > 0 {
        rig.step(rig.now + secs(1));
        for packet in rig.take() {
            let tpdu = packet.tpdu();
            let Body::Odata(data) = tpdu.body else {
                continue;
            };
            let fragment = tpdu.options.fragment.expect("OPT_FRAGMENT");
            assert_eq!(data.sqn, first.plus((got.len() / piece.max(1)) as u32));
            assert_eq!((fragment.first, fragment.apdu_len as usize), (first, len));
            assert_eq!(fragment.offset as usize, got.len());
            if got.is_empty() {
                piece = tpdu.payload.len();
            }
            let last = got.len() + tpdu.payload.len() == len;
            assert!(
                tpdu.payload.len() == piece || last,
                "all but the last are equal"
            );
            got.extend_from_slice(tpdu.payload);
        }
    }
    assert!(got == whole, "every octet");
    assert_eq!(rig.source.stats(rig.now).data_bytes_sent, len as u64);
    assert!(rig.source.is_writable());
}

#[test] // S-19: RDATA repeats OPT_FRAGMENT unchanged
fn the_repair_of_a_fragment_is_the_fragment() {
    let mut rig = Rig::settled(config());
    rig.send(apdu(5_000));
    rig.drain();
    rig.nak(&[1, 3]);
    rig.drain();
    let packets = rig.take();
    for sqn in [1, 3] {
        let [odata, rdata] = ["ODATA", "RDATA"].map(|kind| {
            let mut found = packets
                .iter()
                .filter(|p| p.kind() == kind && data_sqn(p) == Some(sqn));
            found.next().expect("both were sent")
        });
        let (odata, rdata) = (odata.tpdu(), rdata.tpdu());
        assert_eq!(
            (odata.options, odata.payload),
            (rdata.options, rdata.payload)
        );
    }
}

#[test]
fn no_packet_exceeds_max_tpdu_whatever_the_apdu() {
    for max_tpdu in [200, 576, 1_472, 8_972] {
        let mut rig = Rig::new(SourceConfig {
            max_tpdu,
            rate: None,
            window_ivl: ms(0),
            ..config()
        });
        for len in (1..max_tpdu * 2)
            .step_by(7)
            .chain(max_tpdu - 60..max_tpdu + 10)
        {
            rig.send(apdu(len));
            rig.drain(); // the rig checks every packet
        }
        rig.source.close(rig.now);
        rig.drain();
        let longest = rig.sent.iter().map(|packet| packet.bytes.len()).max();
        assert_eq!(longest, Some(max_tpdu), "and it is used");
    }
}

#[test]
fn lengths_out_of_range_are_refused() {
    let mut rig = Rig::new(config());
    assert_eq!(
        rig.source.send(rig.now, Bytes::new()),
        Err(SendError::Length)
    );
    let long = Bytes::from(vec![0; MAX_APDU + 1]);
    assert_eq!(rig.source.send(rig.now, long), Err(SendError::Length));
    assert_eq!(rig.source.stats(rig.now).messages_sent, 0);
}

#[test]
fn a_full_queue_refuses_until_packets_went() {
    let mut rig = Rig::settled(config());
    let mut taken = 0;
    while rig.source.is_writable() {
        rig.send(apdu(1_000));
        taken += 1;
    }
    assert!((200..=300).contains(&taken), "about 256 KiB: {taken}");
    assert_eq!(rig.source.send(rig.now, apdu(1)), Err(SendError::Full));
    assert_eq!(rig.source.unsent(), taken * 1_000);
    rig.drain();
    assert!(rig.source.is_writable());
    assert_eq!(rig.source.send(rig.now, apdu(1)), Ok(()));
}
