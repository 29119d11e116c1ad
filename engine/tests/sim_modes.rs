//! Receivers that only listen, go on after loss, or take APDUs out of order, in company.

mod common;

use common::*;
use pgm_engine::receiver::{Read, ReceiverConfig, ResetReason};
use pgm_engine::source::SourceConfig;
use pgm_engine::testnet::{Kind, Link, Rx, SessionLog, TestNet, lan_receiver, lan_source};
use std::collections::HashSet;

fn with(change: impl FnOnce(&mut ReceiverConfig)) -> ReceiverConfig {
    let mut config = lan_receiver();
    change(&mut config);
    config
}

/// What came is part of what was sent, in order; it misses something only where a gap was told.
#[track_caller]
fn assert_part(log: &SessionLog, sent: &[Vec<u8>]) {
    let mut rest = sent.iter();
    let mut before = 0;
    for (n, apdu) in log.apdus.iter().enumerate() {
        let skipped = rest.by_ref().take_while(|s| s[..] != apdu[..]).count();
        let told = log.gaps.iter().any(|(at, _, _)| *at == n);
        assert!(skipped == 0 || told, "{skipped} missing before message {n}");
        before += skipped + 1;
    }
    let last_gap = log.gaps.iter().any(|(at, _, _)| *at == log.apdus.len());
    assert!(before == sent.len() || last_gap, "the tail is missing");
    assert_eq!(log.end, Some(Read::Fin));
}

fn lossy(seed: u64, loss: f64) -> Sim {
    sim(TestNet::seeded(seed).links(Link {
        latency: us(200),
        jitter: us(300),
        loss,
        duplicates: 0.02,
        ..Link::default()
    }))
}

#[test]
fn an_unordered_receiver_gets_every_message_once() {
    for seed in 1..=20 {
        let mut net = lossy(seed, 0.05);
        let rx = net.receiver(with(|c| c.unordered = true));
        let ordered = net.receiver(lan_receiver());
        let tx = net.source(lan_source());
        let sent = mixed(seed, 600, 20_000);
        net.send_all(tx, &sent);
        net.close(tx);
        net.run_until_idle();
        assert_all_and_fin(&net, ordered, &sent);
        let log = only_session(&net, rx);
        assert_eq!(log.end, Some(Read::Fin));
        assert_eq!(log.apdus.len(), sent.len(), "seed {seed}");
        let got: HashSet<&[u8]> = log.apdus.iter().map(|a| &a[..]).collect();
        assert!(sent.iter().all(|s| got.contains(&s[..])));
        let overtaken = log.apdus.iter().zip(&sent).any(|(a, s)| a[..] != s[..]);
        assert!(overtaken, "nothing came out of order");
    }
}

#[test]
fn who_only_listens_profits_from_others_repairs_and_sends_nothing() {
    let mut net = lossy(3, 0.02);
    let listener = net.receiver(with(|c| c.listen_only = true));
    let asking = net.receiver(lan_receiver());
    let tx = net.source(lan_source());
    let sent = mixed(3, 4000, 3000);
    net.send_all(tx, &sent);
    net.close(tx);
    net.run_until_idle();
    assert_all_and_fin(&net, asking, &sent);
    let log = only_session(&net, listener);
    assert_part(log, &sent);
    assert!(!log.gaps.is_empty() && log.apdus.len() > sent.len() * 9 / 10);
    for kind in [Kind::Nak, Kind::Spmr] {
        assert_eq!(net.sent(listener.node, kind), 0);
    }
}

#[test]
fn who_only_listens_alone_gets_what_is_not_lost() {
    let mut net = lossy(4, 0.05);
    let rx = net.receiver(with(|c| c.listen_only = true));
    let tx = net.source(lan_source());
    let sent = messages(4, 3000, 1000);
    net.send_all(tx, &sent);
    net.close(tx);
    net.run_until_idle();
    let log = only_session(&net, rx);
    assert_part(log, &sent);
    let lost: u32 = log.gaps.iter().map(|(_, _, count)| count).sum();
    assert_eq!(lost as usize, sent.len() - log.apdus.len());
    assert_eq!(net.sent_by_all(Kind::Rdata), 0);
}

/// A source whose window is too short for a receiver that hears nothing for a while.
fn outage(receiver: ReceiverConfig) -> (Sim, Rx, Vec<Vec<u8>>) {
    let mut net = sim(TestNet::seeded(5).loss(0.01));
    let rx = net.receiver(receiver);
    let tx = net.source(SourceConfig {
        window_bytes: 200_000,
        window_ivl: ms(16),
        ..lan_source()
    });
    let (from, until) = (ms(100), ms(400));
    net.drop_if(move |flight, node| node == rx.node && (from..until).contains(&flight.at));
    let sent = mixed(5, 6000, 3000);
    net.send_all(tx, &sent);
    net.close(tx);
    net.run_until_idle();
    (net, rx, sent)
}

#[test]
fn a_session_survives_an_outage_longer_than_the_window_if_told_to() {
    let (net, rx, _) = outage(lan_receiver());
    let end = &only_session(&net, rx).end;
    assert!(matches!(end, Some(Read::Reset(ResetReason::Loss { .. }))));
    let (net, rx, sent) = outage(with(|c| c.continue_on_loss = true));
    let log = only_session(&net, rx);
    assert_part(log, &sent);
    assert!(!log.gaps.is_empty());
    let (net, rx, sent) = outage(with(|c| {
        c.continue_on_loss = true;
        c.unordered = true;
    }));
    let log = only_session(&net, rx);
    assert_eq!(log.end, Some(Read::Fin));
    let got: HashSet<&[u8]> = log.apdus.iter().map(|a| &a[..]).collect();
    assert_eq!(got.len(), log.apdus.len(), "each once");
    let missing = sent.iter().filter(|s| !got.contains(&s[..])).count();
    assert!(missing > 0 && !log.gaps.is_empty());
}

#[test]
fn late_joiners_of_every_mode() {
    let mut net = lossy(6, 0.03);
    let early = net.receiver(lan_receiver());
    let tx = net.source(SourceConfig {
        late_join_percent: 50,
        ..lan_source()
    });
    let sent = mixed(6, 20_000, 3000);
    net.send_all(tx, &sent);
    net.close(tx);
    net.run_for(ms(1500));
    let listener = net.receiver(with(|c| c.listen_only = true));
    let both = net.receiver(with(|c| {
        c.continue_on_loss = true;
        c.unordered = true;
    }));
    net.run_until_idle();
    assert_all_and_fin(&net, early, &sent);
    let log = only_session(&net, listener);
    let first = sent.iter().position(|s| s[..] == log.apdus[0][..]);
    assert_part(log, &sent[first.expect("a message of the source")..]);
    let log = only_session(&net, both);
    assert!(log.gaps.is_empty() && log.end == Some(Read::Fin));
    let got: HashSet<&[u8]> = log.apdus.iter().map(|a| &a[..]).collect();
    assert_eq!(got.len(), log.apdus.len(), "each once");
    let first = sent.len() - got.len();
    assert!(sent[first..].iter().all(|s| got.contains(&s[..])));
}
