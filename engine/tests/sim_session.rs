//! How sessions begin and end: the first message, late receivers, restarts, silence.

mod common;

use common::*;
use pgm_engine::endpoint::ListenConfig;
use pgm_engine::receiver::{Read, ReceiverConfig, ResetReason};
use pgm_engine::source::{MAX_APDU, SendError, SourceConfig};
use pgm_engine::testnet::{Cast, DPORT, GROUP, Kind, TestNet, Tx, lan_receiver, lan_source};
use pgm_engine::wire::Rst;

/// A receiver that was there first misses nothing, whatever of the beginning is lost.
fn beginning(seed: u64, late_join_percent: u8, lost: impl Fn(Kind, u64) -> bool + 'static) {
    let mut net = sim(TestNet::seeded(seed));
    net.drop_if(move |flight, _| lost(flight.kind, flight.nth));
    let rx = net.receiver(lan_receiver());
    let tx = net.source(SourceConfig {
        late_join_percent,
        ..lan_source()
    });
    let sent = messages(seed, 20, 1000);
    net.send_all(tx, &sent);
    net.close(tx);
    net.run_until_idle();
    assert_all_and_fin(&net, rx, &sent);
}

#[test]
fn the_beginning_is_lost() {
    for late_join in [0, 50] {
        beginning(1, late_join, |kind, nth| kind == Kind::Spm && nth == 1);
        beginning(2, late_join, |kind, nth| kind == Kind::Odata && nth == 1);
        beginning(3, late_join, |kind, nth| {
            matches!(kind, Kind::Spm | Kind::Odata) && nth == 1
        });
        beginning(4, late_join, |kind, nth| {
            matches!(kind, Kind::Spm | Kind::Odata) && nth <= 7
        });
        beginning(5, late_join, |kind, nth| kind == Kind::Odata && nth <= 19);
        beginning(6, late_join, |kind, _| kind == Kind::Odata);
        beginning(7, late_join, |kind, nth| kind == Kind::Spm && nth <= 6);
    }
}

#[test]
fn a_single_message_survives_30_percent_loss() {
    for seed in 0..100 {
        let mut net = sim(TestNet::seeded(seed).loss(0.3));
        let rx = net.receiver(lan_receiver());
        let tx = net.source(lan_source());
        net.send_all(tx, [b"one"]);
        net.close(tx);
        net.run_until_idle();
        assert_all_and_fin(&net, rx, &[b"one".to_vec()]);
    }
}

#[test]
fn the_first_message_comes_much_later_than_the_session() {
    let mut net = sim(TestNet::seeded(8).drop_nth(Kind::Odata, 1));
    let rx = net.receiver(lan_receiver());
    let tx = net.source(lan_source());
    net.run_for(secs(20));
    net.send_all(tx, [b"finally"]);
    net.run_until_idle();
    assert_all(&net, rx, &[b"finally".to_vec()]);
}

/// Messages that a receiver gets that comes when half of them were sent; the rest is sent later.
fn late_join(late_join_percent: u8) -> (usize, Vec<usize>) {
    let mut net = sim(TestNet::seeded(9));
    let early = net.receiver(lan_receiver());
    let tx = net.source(SourceConfig {
        late_join_percent,
        ..lan_source()
    });
    let sent = messages(9, 400, 1000);
    net.send_all(tx, &sent[..200]);
    net.run_for(secs(2)); // past start_ivl: who comes now is late
    let late = net.receiver(lan_receiver());
    net.run_for(ms(1500));
    net.send_all(tx, &sent[200..]);
    net.run_until_idle();
    assert_all(&net, early, &sent);
    let got = &only_session(&net, late).apdus;
    let first = sent.len() - got.len();
    assert_eq!(
        difference(got, &sent[first..]),
        None,
        "an unbroken run up to the end"
    );
    (
        first,
        only_session(&net, late)
            .apdus
            .iter()
            .map(|m| m.len())
            .collect(),
    )
}

#[test]
fn late_join_of_0_starts_with_what_is_sent_next() {
    assert_eq!(late_join(0).0, 200);
}

#[test]
fn late_join_of_50_percent_starts_within_the_window() {
    let (first, _) = late_join(50);
    assert!((50..=150).contains(&first), "from message {first}");
}

#[test]
fn late_join_of_100_percent_gets_the_whole_window() {
    let (first, _) = late_join(100);
    assert!(first <= 10, "from message {first}");
}

#[test]
fn late_join_amid_data_and_loss() {
    for seed in 0..20 {
        let mut net = sim(TestNet::seeded(seed).loss(0.1));
        let tx = net.source(SourceConfig {
            rate: Some(1_000_000),
            ..lan_source()
        });
        let sent = messages(seed, 4000, 1000);
        net.send_all(tx, &sent);
        net.run_for(ms(1700));
        let rx = net.receiver(lan_receiver());
        net.close(tx);
        net.run_until_idle();
        let session = only_session(&net, rx);
        let first = sent.len() - session.apdus.len();
        assert_eq!(
            difference(&session.apdus, &sent[first..]),
            None,
            "seed {seed}"
        );
        assert!((1000..2500).contains(&first), "seed {seed}: from {first}");
        assert_eq!(session.end, Some(Read::Fin), "seed {seed}");
    }
}

#[test]
fn a_restart_with_a_new_tsi_is_a_new_session_at_once() {
    let mut net = sim(TestNet::seeded(10).loss(0.05));
    let rx = net.receiver(ReceiverConfig {
        peer_expiry: secs(5),
        ..lan_receiver()
    });
    let before = net.source(lan_source());
    net.send_all(before, messages(1, 100, 1000));
    net.run_for(ms(500));
    net.kill(before.node);
    let after = net.source_on(before.node, lan_source());
    net.send_all(after, messages(2, 100, 1000));
    net.close(after);
    net.run_for(secs(10));
    let sessions: Vec<_> = net.sessions(rx).collect();
    assert_eq!(sessions.len(), 2);
    assert_eq!(
        difference(&sessions[0].apdus, &messages(1, 100, 1000)),
        None
    );
    assert_eq!(
        sessions[0].end,
        Some(Read::Reset(ResetReason::Silent)),
        "killed without a word"
    );
    assert_eq!(
        difference(&sessions[1].apdus, &messages(2, 100, 1000)),
        None
    );
    assert_eq!(sessions[1].end, Some(Read::Fin));
}

#[test]
fn a_restart_with_the_same_tsi_works_after_expiry() {
    let mut net = sim(TestNet::seeded(11).loss(0.05));
    let rx = net.receiver(ReceiverConfig {
        peer_expiry: secs(5),
        ..lan_receiver()
    });
    let config = SourceConfig {
        tsi: tsi(7),
        ..lan_source()
    };
    let before = net.source(config.clone());
    net.send_all(before, messages(1, 100, 1000));
    net.run_for(secs(3));
    net.kill(before.node);
    net.run_for(secs(10));
    let after = net.source_on(before.node, config);
    net.send_all(after, messages(2, 100, 1000));
    net.close(after);
    net.run_until_idle();
    let sessions: Vec<_> = net.sessions(rx).collect();
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions[0].end, Some(Read::Reset(ResetReason::Silent)));
    assert_eq!(
        difference(&sessions[1].apdus, &messages(2, 100, 1000)),
        None
    );
    assert_eq!(sessions[1].end, Some(Read::Fin));
}

#[test]
fn a_finished_tsi_gives_no_second_session_and_may_return_later() {
    let mut net = sim(TestNet::seeded(12));
    let rx = net.receiver(ReceiverConfig {
        peer_expiry: secs(5),
        ..lan_receiver()
    });
    let config = SourceConfig {
        tsi: tsi(8),
        ..lan_source()
    };
    let first = net.source(config.clone());
    net.send_all(first, [b"one"]);
    net.close(first);
    net.run_for(secs(30)); // FIN is repeated for a while after it was delivered
    assert!(net.is_finished(first));
    assert_all_and_fin(&net, rx, &[b"one".to_vec()]);

    net.run_for(secs(60));
    let second = net.source_on(first.node, config);
    net.send_all(second, [b"two"]);
    net.run_until_idle();
    assert_eq!(net.delivered(rx), ["one", "two"]);
    assert_eq!(net.sessions(rx).count(), 2);
}

#[test] // who is done is not taken for one that joins late while others are still repaired
fn a_source_that_lingers_for_minutes_gives_no_second_session() {
    let mut net = sim(TestNet::seeded(15));
    let rx = net.receiver(lan_receiver());
    let tx = net.source(SourceConfig {
        late_join_percent: 75,
        linger_quiet: secs(300),
        linger_max: secs(300),
        ..lan_source()
    });
    let sent = messages(1, 20, 1000);
    net.send_all(tx, &sent);
    net.close(tx);
    net.run_for(secs(400));
    assert!(net.is_finished(tx));
    assert_all_and_fin(&net, rx, &sent);
}

#[test]
fn a_silent_source_resets_its_sessions_after_the_data() {
    let mut net = sim(TestNet::seeded(13));
    let rx = net.receiver(ReceiverConfig {
        peer_expiry: secs(5),
        ..lan_receiver()
    });
    let tx = net.source(lan_source());
    net.send_all(tx, messages(1, 10, 1000));
    net.run_for(secs(60));
    assert_all(&net, rx, &messages(1, 10, 1000)); // idle is not silent: SPMs go on
    net.link_mut(rx.node, Cast::Group).loss = 1.0;
    net.run_for(ms(4500));
    assert_eq!(only_session(&net, rx).end, None, "not yet");
    net.run_for(secs(2));
    assert_eq!(
        only_session(&net, rx).end,
        Some(Read::Reset(ResetReason::Silent))
    );
}

#[test]
fn a_session_closed_by_its_owner_stays_closed_while_the_source_goes_on() {
    let mut net = sim(TestNet::seeded(14));
    let rx = net.receiver(lan_receiver());
    let tx = net.source(lan_source());
    net.send_all(tx, messages(1, 10, 1000));
    net.run_for(secs(1));
    let id = only_session(&net, rx).id;
    let now = net.now();
    net.endpoint(rx.node).close_session(id);
    assert_eq!(net.endpoint(rx.node).read(now, id), None);
    for _ in 0..20 {
        net.run_for(secs(10));
        net.send_all(tx, messages(2, 10, 1000));
    }
    assert_eq!(net.sessions(rx).count(), 1);
    assert_eq!(net.count(rx), 10);
}

#[test]
fn a_closed_listener_gives_no_session_and_its_sessions_go_on() {
    let mut net = sim(TestNet::seeded(15).loss(0.1));
    let rx = net.receiver(lan_receiver());
    let first = net.source(lan_source());
    net.send_all(first, messages(1, 50, 1000));
    net.run_for(secs(1));
    net.endpoint(rx.node).close_listener(rx.listener);
    let second = net.source(lan_source());
    net.send_all(second, messages(2, 50, 1000));
    net.send_all(first, messages(3, 50, 1000));
    net.close(first);
    net.run_until_idle();
    let expected = [messages(1, 50, 1000), messages(3, 50, 1000)].concat();
    assert_all_and_fin(&net, rx, &expected);
}

#[test]
fn a_listener_that_comes_back_hears_of_running_sessions() {
    let mut net = sim(TestNet::seeded(16));
    let rx = net.receiver(lan_receiver());
    let tx = net.source(lan_source());
    net.send_all(tx, messages(1, 10, 1000));
    net.run_for(secs(2));
    net.endpoint(rx.node).close_listener(rx.listener);
    let config = ListenConfig {
        group: GROUP,
        dport: DPORT,
        receiver: lan_receiver(),
    };
    let again = net.listen_on(rx.node, config);
    net.run_for(secs(2));
    net.send_all(tx, messages(2, 10, 1000));
    net.run_until_idle();
    assert_all(&net, again, &messages(2, 10, 1000));
    assert_eq!(
        only_session(&net, rx).apdus.len(),
        20,
        "the old session goes on beside it"
    );
}

#[test]
fn a_source_without_data_is_no_session() {
    let mut net = sim(TestNet::seeded(17));
    let rx = net.receiver(lan_receiver());
    let tx = net.source(lan_source());
    net.run_for(secs(3));
    net.close(tx);
    net.run_for(secs(30));
    assert!(net.is_finished(tx));
    let with_data = net.sessions(rx).filter(|log| !log.apdus.is_empty()).count();
    assert_eq!(with_data, 0);
}

/// Give a source more of an APDU as the network runs.
fn give(net: &mut Sim, tx: Tx, part: &[u8]) {
    let mut rest = part;
    for _ in 0..100_000 {
        if rest.is_empty() {
            return;
        }
        let endpoint = net.endpoint(tx.node);
        if endpoint.is_writable(tx.id) {
            let (now, later) = rest.split_at(rest.len().min(10_000));
            endpoint.append(tx.id, now.to_vec().into()).expect("taken");
            rest = later;
        }
        net.touch(tx.node);
        net.run_for(ms(1));
    }
    panic!("the source takes nothing any more");
}

#[test] // RM_SET_MESSAGE_BOUNDARY
fn an_apdu_given_in_parts_is_sent_as_it_fills() {
    let mut net = sim(TestNet::seeded(21).loss(0.05));
    let rx = net.receiver(lan_receiver());
    let tx = net.source(lan_source());
    let long = message(21, 0, 3_000_000);
    net.run_for(ms(50));
    let endpoint = net.endpoint(tx.node);
    assert_eq!(endpoint.begin(tx.id, 0), Err(SendError::Length));
    assert_eq!(endpoint.begin(tx.id, MAX_APDU + 1), Err(SendError::Length));
    endpoint.begin(tx.id, long.len()).expect("taken");
    assert_eq!(endpoint.begin(tx.id, 1), Err(SendError::Unfinished));
    give(&mut net, tx, &long[..2_000_000]);
    net.run_for(secs(1));
    let sent = net.sent(tx.node, Kind::Odata);
    assert!(
        sent > 1_900_000 / 1472,
        "{sent} packets before the last octet"
    );
    assert_eq!(net.count(rx), 0);
    let now = net.now();
    let endpoint = net.endpoint(tx.node);
    assert_eq!(endpoint.lacking(tx.id), 1_000_000);
    assert_eq!(
        endpoint.send(now, tx.id, "between".into()),
        Err(SendError::Unfinished)
    );
    let too_long = vec![0; 1_000_001];
    assert_eq!(
        endpoint.append(tx.id, too_long.into()),
        Err(SendError::Length)
    );
    give(&mut net, tx, &long[2_000_000..]);
    net.send_all(tx, [b"after"]);
    net.close(tx);
    net.run_until_idle();
    assert_all_and_fin(&net, rx, &[long, b"after".to_vec()]);
}

#[test] // S-31, R-37: receivers are told, not left to find out
fn an_aborted_source_resets_its_sessions() {
    let mut net = sim(TestNet::seeded(18).loss(0.2));
    let rx = net.receiver(lan_receiver());
    let tx = net.source(lan_source());
    let sent = messages(18, 50, 1000);
    net.send_all(tx, &sent);
    net.run_for(ms(500));
    let now = net.now();
    let rst = Rst {
        no_naks: false,
        code: 9,
    };
    net.endpoint(tx.node).abort_source(now, tx.id, rst, true);
    net.touch(tx.node);
    net.run_for(secs(10)); // a third of what silence takes
    let session = only_session(&net, rx);
    assert_eq!(difference(&session.apdus, &sent), None);
    let reset = Read::Reset(ResetReason::Rst(9));
    assert_eq!(session.end, Some(reset));
    assert!(net.is_finished(tx));
}

#[test] // Loss is never silent: part of a message was there, so the end is not a clean one
fn an_apdu_not_finished_resets_the_sessions() {
    for given in [0, 1, 1000, 100_000] {
        let mut net = sim(TestNet::seeded(given).loss(0.05));
        let rx = net.receiver(lan_receiver());
        let tx = net.source(lan_source());
        net.send_all(tx, [b"before"]);
        net.run_for(ms(50));
        net.endpoint(tx.node).begin(tx.id, 200_000).expect("taken");
        give(&mut net, tx, &message(0, 0, 200_000)[..given as usize]);
        net.close(tx);
        net.run_until_idle();
        let session = only_session(&net, rx);
        assert_eq!(session.apdus, [&b"before"[..]]);
        let expected = match given {
            0 => Read::Fin,
            _ => Read::Reset(ResetReason::BadApdu),
        };
        assert_eq!(session.end, Some(expected), "{given}");
        net.run_for(secs(15));
        assert!(net.is_finished(tx));
    }
}
