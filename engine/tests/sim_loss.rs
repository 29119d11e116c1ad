//! Whatever is lost, late, doubled or out of order: every receiver has every message, in order.

mod common;

use common::*;
use pgm_engine::num::Sqn;
use pgm_engine::source::SourceConfig;
use pgm_engine::testnet::{Burst, Kind, Link, TestNet, lan_receiver, lan_source};

/// One source, three receivers whose links lose independently; everything must arrive, and FIN.
fn transfer(seed: u64, link: Link, config: SourceConfig, sent: &[Vec<u8>]) -> Sim {
    let mut net = sim(TestNet::seeded(seed).links(link));
    let receivers = net.receivers([(); 3].map(|()| lan_receiver()));
    let tx = net.source(config);
    net.send_all(tx, sent);
    net.close(tx);
    net.run_until_idle();
    for rx in receivers {
        assert_all_and_fin(&net, rx, sent);
    }
    net.run_for(secs(15));
    assert!(net.is_finished(tx));
    net
}

fn losing(loss: f64) -> Link {
    Link {
        latency: us(200),
        loss,
        ..Link::default()
    }
}

#[test]
fn lossless() {
    let sent = mixed(1, 2000, 3000);
    let net = transfer(1, losing(0.0), lan_source(), &sent);
    assert_eq!(net.sent_by_all(Kind::Nak), 0);
    assert_eq!(net.sent_by_all(Kind::Rdata), 0);
    assert_eq!(net.sent_by_all(Kind::Ncf), 0);
}

#[test]
fn loss_of_1_percent() {
    let sent = mixed(2, 4000, 3000);
    let net = transfer(2, losing(0.01), lan_source(), &sent);
    let (odata, rdata) = (net.sent_by_all(Kind::Odata), net.sent_by_all(Kind::Rdata));
    // Three receivers lose 3 % between them; a repair serves all and is itself rarely lost.
    assert!(
        rdata > 0 && rdata < odata / 20,
        "{rdata} repairs for {odata}"
    );
}

#[test]
fn loss_of_5_percent_over_several_windows() {
    let sent = mixed(3, 16_000, 3000); // 24 MB, more than two windows
    let net = transfer(3, losing(0.05), lan_source(), &sent);
    let (odata, rdata) = (net.sent_by_all(Kind::Odata), net.sent_by_all(Kind::Rdata));
    assert!(rdata < odata / 4, "{rdata} repairs for {odata}");
}

#[test]
fn loss_of_20_percent() {
    transfer(4, losing(0.2), lan_source(), &mixed(4, 4000, 3000));
}

#[test]
fn loss_of_50_percent() {
    transfer(5, losing(0.5), lan_source(), &mixed(5, 1000, 3000));
    // The end is the hard part: who asks for the last packets must be heard before the source goes.
    for seed in 100..200 {
        transfer(seed, losing(0.5), lan_source(), &mixed(seed, 50, 3000));
    }
}

#[test]
fn bursts_of_loss() {
    // About 50 packets at once, 10 % of the time.
    let burst = Some(Burst {
        every: ms(45),
        lasts: ms(5),
    });
    transfer(
        6,
        Link {
            latency: us(200),
            burst,
            ..Link::default()
        },
        lan_source(),
        &mixed(6, 4000, 3000),
    );
}

#[test]
fn reorder_and_duplication() {
    // At 100 Mbit/s a packet leaves every 0.12 ms: 2 ms of jitter mixes about 16 of them.
    let link = Link {
        latency: us(200),
        jitter: ms(2),
        duplicates: 0.1,
        ..Link::default()
    };
    let sent = mixed(7, 3000, 3000);
    transfer(7, link, lan_source(), &sent);
    transfer(8, Link { loss: 0.05, ..link }, lan_source(), &sent);
}

#[test]
fn the_last_packet_is_lost() {
    let mut net = sim(TestNet::seeded(9).drop_nth(Kind::Odata, 100));
    let rx = net.receiver(lan_receiver());
    let tx = net.source(lan_source());
    let sent = messages(9, 100, 1000);
    net.send_all(tx, &sent);
    // 100 packets leave within 10 ms; only the heartbeat can tell of the last one.
    let done = net.run_until(ms(100), |net| net.count(rx) == 100);
    assert!(done, "the heartbeat tells of a lost tail");
    assert_all(&net, rx, &sent);
    assert_eq!(net.sent_by_all(Kind::Rdata), 1);
}

#[test]
fn all_naks_are_lost_for_a_while() {
    let mut net = sim(TestNet::seeded(10).drop_nth(Kind::Odata, 5));
    net.drop_if(|flight, _| flight.kind == Kind::Nak && flight.at < ms(300));
    let rx = net.receiver(lan_receiver());
    let tx = net.source(lan_source());
    let sent = messages(10, 50, 1000);
    net.send_all(tx, &sent);
    net.run_until_idle();
    assert_all(&net, rx, &sent);
    assert!(
        net.elapsed() > ms(300) && net.naks(rx) > 2,
        "it went on asking"
    );
    assert_eq!(net.sent(tx.node, Kind::Rdata), 1);
}

#[test]
fn all_ncfs_are_lost() {
    let mut net = sim(TestNet::seeded(11).loss(0.02));
    net.drop_if(|flight, _| flight.kind == Kind::Ncf);
    let rx = net.receiver(lan_receiver());
    let tx = net.source(lan_source());
    let sent = messages(11, 2000, 1000);
    net.send_all(tx, &sent);
    net.run_until_idle();
    assert_all(&net, rx, &sent);
}

#[test]
fn the_first_repairs_of_a_packet_are_lost() {
    let mut net = sim(TestNet::seeded(12).drop_nth(Kind::Odata, 5));
    net.drop_if(|flight, _| flight.kind == Kind::Rdata && flight.nth <= 3);
    let rx = net.receiver(lan_receiver());
    let tx = net.source(lan_source());
    let sent = messages(12, 50, 1000);
    net.send_all(tx, &sent);
    net.run_until_idle();
    assert_all(&net, rx, &sent);
    assert_eq!(net.sent(tx.node, Kind::Rdata), 4);
}

#[test]
fn sequence_numbers_wrap() {
    for (seed, first) in [(13, u32::MAX - 700), (14, (1 << 31) - 700), (15, u32::MAX)] {
        let config = SourceConfig {
            first_sqn: Sqn(first),
            ..lan_source()
        };
        transfer(seed, losing(0.1), config, &mixed(seed, 1500, 3000));
    }
}

#[test]
fn a_message_of_16_mib_at_5_percent_loss() {
    let sent = [
        message(16, 0, 100),
        message(16, 1, 16 << 20),
        message(16, 2, 100),
    ];
    let mut net = sim(TestNet::seeded(16).loss(0.05));
    let rx = net.receiver(lan_receiver());
    let tx = net.source(lan_source());
    net.send_all(tx, &sent);
    net.close(tx);
    net.run_until_idle();
    assert_all_and_fin(&net, rx, &sent);
    assert!(net.elapsed() < secs(10), "{:?}", net.elapsed());
}

#[test]
fn fin_arrives_at_20_percent_loss() {
    for seed in 100..130 {
        let mut net = sim(TestNet::seeded(seed).loss(0.2));
        let receivers = net.receivers([(); 4].map(|()| lan_receiver()));
        let tx = net.source(lan_source());
        net.send_all(tx, [b"last words"]);
        net.close(tx);
        net.run_until_idle();
        for rx in receivers {
            assert_all_and_fin(&net, rx, &[b"last words".to_vec()]);
        }
    }
}

#[test]
fn repair_takes_milliseconds() {
    let mut net = sim(TestNet::seeded(17)
        .latency(us(100))
        .drop_nth(Kind::Odata, 2));
    let rx = net.receiver(lan_receiver());
    let tx = net.source(lan_source());
    net.run_for(ms(2000));
    net.send_all(tx, messages(17, 3, 1000));
    assert!(
        net.run_until(ms(30), |net| net.count(rx) == 3),
        "within 30 ms"
    );
    assert_eq!(
        (
            net.naks(rx),
            net.sent(tx.node, Kind::Ncf),
            net.sent(tx.node, Kind::Rdata)
        ),
        (1, 1, 1)
    );
}

#[test] // R-21, RFC 3208 §6.3: an NCF for someone else's NAK silences ours
fn ncf_suppresses_own_nak() {
    let sent = messages(18, 4, 1000);
    let mut naks = 0;
    for seed in 0..20 {
        let mut net = sim(TestNet::seeded(seed)
            .latency(us(50))
            .drop_nth(Kind::Odata, 3));
        let [near, far] = net.receivers([(); 2].map(|()| lan_receiver()));
        let tx = net.source(lan_source());
        net.send_all(tx, &sent);
        net.run_until_idle();
        assert_all(&net, near, &sent);
        assert_all(&net, far, &sent);
        assert_eq!(net.sent(tx.node, Kind::Rdata), 1);
        naks += net.naks(near) + net.naks(far);
    }
    // Both ask only when they draw the same 0.1 ms of 10.
    assert!((20..=23).contains(&naks), "{naks} NAKs in 20 runs");
}

#[test]
fn a_slow_rate_is_kept() {
    let rate = 100_000; // octets/s
    let mut net = sim(TestNet::seeded(19).loss(0.05));
    let rx = net.receiver(lan_receiver());
    let tx = net.source(SourceConfig {
        rate: Some(rate),
        window_bytes: 1_000_000,
        ..lan_source()
    });
    let sent = messages(19, 500, 1000);
    net.send_all(tx, &sent);
    let start = net.elapsed();
    assert!(net.run_until(secs(60), |net| net.count(rx) == 500));
    let took = net.elapsed() - start;
    assert!(
        took > secs(5) && took < secs(8),
        "500 kB and repairs at 100 kB/s took {took:?}"
    );
    assert_all(&net, rx, &sent);
}
