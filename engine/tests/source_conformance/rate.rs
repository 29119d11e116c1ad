//! RFC 3208 §5.1.1, §5.1.2.

use crate::rig::*;
use pgm_engine::source::SourceConfig;
use std::time::Duration;

/// Keep the queue full of `len` octets for `span`; returns the packets.
fn saturate(rig: &mut Rig, len: usize, span: Duration) -> Vec<Packet> {
    let end = rig.now + span;
    while rig.now < end {
        while rig.source.is_writable() {
            rig.send(apdu(len));
        }
        rig.step(end);
    }
    rig.take()
}

fn octets(packets: &[Packet]) -> usize {
    packets.iter().map(|packet| packet.bytes.len()).sum()
}

#[test] // S-02, S-03, S-34: a second at full speed is a second's worth, for every packet size and rate
fn the_rate_is_kept_and_used() {
    for rate in [100_000, 1_250_000, 12_500_000] {
        for len in [64, 1_400, 5_000] {
            let config = SourceConfig {
                rate: Some(rate),
                ..config()
            };
            let mut rig = Rig::settled(config);
            let sent = octets(&saturate(&mut rig, len, secs(1))) as f64;
            let share = sent / rate as f64;
            assert!(
                (0.98..1.04).contains(&share),
                "{rate} octets/s, {len}: {share}"
            );
        }
    }
}

#[test] // S-03, S-04: octets in any interval <= bucket + rate x interval, so bursts are short
fn no_interval_exceeds_the_bucket() {
    let rate = 12_500_000_u64;
    let mut rig = Rig::settled(SourceConfig {
        rate: Some(rate),
        ..config()
    });
    let sent = saturate(&mut rig, 1_400, ms(200));
    let bucket = 25_000 + 100; // SPMs overdraw
    let mut sums = vec![0];
    sums.extend(sent.iter().scan(0, |sum, packet| {
        *sum += packet.bytes.len() as u64;
        Some(*sum)
    }));
    for i in 0..sent.len() {
        for j in i..(i + 200).min(sent.len()) {
            let ivl = (sent[j].at - sent[i].at).as_micros() as u64;
            assert!(sums[j + 1] - sums[i] <= bucket + rate * ivl / 1_000_000 + 1_472);
        }
    }
}

#[test] // S-24: repairs count: data and repairs together stay below the rate
fn repairs_count_towards_the_rate() {
    let rate = 1_250_000;
    let mut rig = Rig::settled(SourceConfig {
        rate: Some(rate),
        ..config()
    });
    saturate(&mut rig, 1_400, ms(500));
    let (from, mut sqn) = (rig.now, 0);
    let mut sent = 0;
    while rig.now < from + secs(1) {
        rig.nak(&[sqn]);
        sqn = (sqn + 1) % 300;
        sent += octets(&saturate(&mut rig, 1_400, ms(5)));
    }
    let share = sent as f64 / rate as f64;
    assert!((0.97..1.04).contains(&share), "{share}");
    assert!(rig.source.stats(rig.now).rdata_sent > 150);
}

#[test] // NCF and SPM do not wait for the bucket; data pays the debt
fn control_overdraws_and_data_repays() {
    let rate = 100_000;
    let mut rig = Rig::settled(SourceConfig {
        rate: Some(rate),
        ..config()
    });
    while rig.source.is_writable() {
        rig.send(apdu(1_400));
    }
    rig.drain();
    let from = rig.now;
    rig.take();
    for sqn in 0..2 {
        rig.nak(&[sqn]);
        rig.drain();
    }
    assert_eq!(
        rig.kinds(),
        ["NCF", "NCF"],
        "at once, though the bucket is empty"
    );
    rig.run_for(ms(1_000));
    let sent = rig.take();
    assert!(sent.iter().any(|packet| packet.kind() == "SPM"));
    let share = octets(&sent) as f64 / rate as f64;
    assert!(
        (0.96..1.04).contains(&share),
        "NCFs and SPMs are part of the rate: {share}"
    );
    assert_eq!(rig.now - from, secs(1));
}

#[test] // S-04
fn unlimited_sends_all_it_has() {
    let mut rig = Rig::settled(SourceConfig {
        rate: None,
        window_bytes: 1 << 30,
        ..config()
    });
    for _ in 0..100 {
        while rig.source.is_writable() {
            rig.send(apdu(1_400));
        }
        rig.drain();
        assert_eq!(rig.source.unsent(), 0);
    }
}

#[test] // a slow source is not silenced by its own SPMs
fn data_goes_on_at_a_very_low_rate() {
    let mut rig = Rig::new(SourceConfig {
        rate: Some(500),
        ..config()
    });
    let sent = saturate(&mut rig, 100, secs(60));
    let data: usize = sent
        .iter()
        .filter(|p| p.kind() == "ODATA")
        .map(|packet| packet.bytes.len())
        .sum();
    assert!(data > 500 * 60 / 2, "{data}");
    assert!(octets(&sent) < 500 * 60 + 3_500);
}

#[test] // RM_SENDER_STATS: RateKBitsPerSecOverall, RateKBitsPerSecLast
fn stats_tell_the_rate() {
    let mut rig = Rig::new(SourceConfig {
        rate: Some(1_250_000),
        ..config()
    });
    let sent = saturate(&mut rig, 1_400, secs(4));
    let stats = rig.source.stats(rig.now);
    assert!(
        (9_800..=10_200).contains(&stats.rate_kbits_last),
        "{}",
        stats.rate_kbits_last
    );
    assert!(
        (9_800..=10_200).contains(&stats.rate_kbits_overall),
        "{}",
        stats.rate_kbits_overall
    );
    assert_eq!(stats.total_bytes_sent, octets(&sent) as u64);
    let odata = sent
        .iter()
        .filter(|packet| packet.kind() == "ODATA")
        .count() as u64;
    assert_eq!(
        (stats.odata_sent, stats.data_bytes_sent),
        (odata, odata * 1_400)
    );
}
