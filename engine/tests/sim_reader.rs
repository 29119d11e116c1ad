//! Applications that read slowly: flow control by the window, and what happens when it is not enough.

mod common;

use common::*;
use pgm_engine::receiver::{Read, ReceiverConfig, ResetReason};
use pgm_engine::source::SourceConfig;
use pgm_engine::testnet::{Pace, Rx, TestNet, lan_receiver, lan_source};

fn small_window() -> ReceiverConfig {
    ReceiverConfig {
        rxw_bytes: 256 << 10,
        ..lan_receiver()
    }
}

#[test]
fn a_slow_reader_loses_nothing_within_the_sources_window() {
    for (seed, loss) in [(1, 0.0), (2, 0.05)] {
        let mut net = sim(TestNet::seeded(seed).loss(loss));
        let slow = net.receiver(small_window());
        let fast = net.receiver(small_window());
        net.read(slow, Pace::Every(us(500)));
        // 5 MB in 0.4 s; the reader takes 2.5 s, the source keeps it all.
        let tx = net.source(SourceConfig {
            window_bytes: 20_000_000,
            ..lan_source()
        });
        let sent = messages(seed, 5000, 1000);
        net.send_all(tx, &sent);
        assert!(net.run_until(ms(1500), |net| net.count(fast) == 5000));
        assert!(net.count(slow) < 3100);
        net.run_until_idle();
        assert_all(&net, slow, &sent);
        assert_all(&net, fast, &sent);
    }
}

#[test]
fn a_reader_that_sleeps_finds_everything_the_window_holds() {
    let mut net = sim(TestNet::seeded(3).loss(0.05));
    let rx = net.receiver(lan_receiver());
    net.read(rx, Pace::Never);
    let tx = net.source(lan_source());
    let sent = mixed(3, 2000, 3000);
    net.send_all(tx, &sent);
    net.close(tx);
    net.run_for(secs(20));
    assert_eq!(net.count(rx), 0);
    assert!(net.is_finished(tx));
    net.read(rx, Pace::Eager);
    net.run_until_idle();
    assert_all_and_fin(&net, rx, &sent);
}

/// A prefix of `sent`, then a reset for loss.
fn assert_reset_after_prefix(net: &TestNet, rx: Rx, sent: &[Vec<u8>]) {
    let session = only_session(net, rx);
    let got = session.apdus.len();
    assert!(got < sent.len());
    assert_eq!(difference(&session.apdus, &sent[..got]), None);
    let loss = matches!(session.end, Some(Read::Reset(ResetReason::Loss { .. })));
    assert!(loss, "{:?}", session.end);
}

#[test]
fn a_reader_too_slow_is_reset_and_others_are_not_disturbed() {
    let mut net = sim(TestNet::seeded(4).loss(0.02));
    let slow = net.receiver(small_window());
    let others = net.receivers([(); 3].map(|()| lan_receiver()));
    net.read(slow, Pace::Never);
    let tx = net.source(lan_source());
    let sent = messages(4, 30_000, 1000); // 30 MB: three windows
    net.send_all(tx, &sent);
    net.close(tx);
    assert!(net.run_until(secs(4), |net| {
        others.iter().all(|rx| net.count(*rx) == 30_000)
    }));
    net.run_for(secs(5));
    net.read(slow, Pace::Eager);
    net.run_until_idle();
    assert_reset_after_prefix(&net, slow, &sent);
    assert!(
        only_session(&net, slow).apdus.len() >= 200,
        "what its window held came first"
    );
    for rx in others {
        assert_all_and_fin(&net, rx, &sent);
    }
}

#[test]
fn a_message_longer_than_the_receive_window_is_taken_piecewise() {
    for (seed, loss) in [(5, 0.0), (6, 0.05)] {
        let mut net = sim(TestNet::seeded(seed).loss(loss));
        let rx = net.receiver(small_window());
        let tx = net.source(lan_source());
        let sent = [message(5, 0, 10), message(5, 1, 4 << 20), message(5, 2, 10)];
        net.send_all(tx, &sent);
        net.close(tx);
        net.run_until_idle();
        assert_all_and_fin(&net, rx, &sent);
    }
}

#[test]
fn a_message_too_long_for_the_receiver_resets_the_session() {
    let mut net = sim(TestNet::seeded(7));
    let rx = net.receiver(ReceiverConfig {
        max_apdu: 100_000,
        ..lan_receiver()
    });
    let tx = net.source(lan_source());
    let sent = [
        message(7, 0, 1000),
        message(7, 1, 100_001),
        message(7, 2, 1000),
    ];
    net.send_all(tx, &sent);
    net.run_until_idle();
    let session = only_session(&net, rx);
    assert_eq!(difference(&session.apdus, &sent[..1]), None);
    assert_eq!(session.end, Some(Read::Reset(ResetReason::BadApdu)));
}
