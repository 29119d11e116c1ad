//! What all sources and sessions of a process hold together stays within budgets that several endpoints share.

#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use pgm_engine::endpoint::{
    Arrival, Budget, Endpoint, EndpointConfig, Event, ListenConfig, SessionId, SourceId,
};
use pgm_engine::num::{Nla, Sqn, Tsi};
use pgm_engine::receiver::Read;
use pgm_engine::source::{Fec, SendError, SourceConfig};
use pgm_engine::testnet::{DPORT, GROUP, lan_receiver, lan_source};
use pgm_engine::wire::{Body, Data, Options, Spm, Window};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const LIMITS: EndpointConfig = EndpointConfig {
    max_peers: 100,
    max_bytes: 0,
};

/// Endpoints that share budgets of so many octets, and the budgets.
fn endpoints(octets: usize) -> ([Endpoint; 2], Budget, Budget) {
    let (received, sent) = (Budget::new(octets), Budget::new(octets));
    let endpoints = [1, 2].map(|seed| Endpoint::new(LIMITS, seed).sharing(&received, &sent));
    (endpoints, received, sent)
}

fn arrival() -> Arrival {
    Arrival {
        from: SOURCE,
        group: Some(GROUP),
    }
}

/// The program of some sources: what each wants to send next, again and again.
struct Senders {
    endpoint: Endpoint,
    ids: Vec<SourceId>,
    taken: Vec<usize>,
}

impl Senders {
    fn new(mut endpoint: Endpoint, now: Instant, configs: Vec<SourceConfig>) -> Self {
        let ids: Vec<_> = (configs.into_iter())
            .map(|config| endpoint.open_source(now, config))
            .collect();
        let taken = vec![0; ids.len()];
        Self {
            endpoint,
            ids,
            taken,
        }
    }

    /// Give each as much as it takes, and send as much as it may.
    fn work(&mut self, now: Instant, apdu: &Bytes, check: impl Fn(usize)) {
        for (id, taken) in self.ids.iter().zip(&mut self.taken) {
            loop {
                match self.endpoint.send(now, *id, apdu.clone()) {
                    Ok(()) => *taken += apdu.len(),
                    Err(SendError::Full) => break,
                    Err(e) => panic!("{e}"),
                }
                check(apdu.len());
            }
        }
        self.endpoint.handle_timeout(now);
        let mut out = Vec::new();
        while self.endpoint.poll_transmit(now, &mut out).is_some() {
            out.clear();
            check(0);
        }
        while self.endpoint.poll_event().is_some() {}
    }
}

/// What sources of these endpoints send in three seconds at a gigabit each, if they get APDUs of so many octets; the
/// least of one. What they hold stays within `octets` at any time, but for one APDU each that waits.
fn least_sent(octets: usize, each: usize, len: usize, config: &SourceConfig) -> usize {
    let t0 = Instant::now();
    let (endpoints, _, sent) = endpoints(octets);
    let mut senders: Vec<_> = (endpoints.into_iter().zip(0..))
        .map(|(endpoint, n)| {
            let config = |i| SourceConfig {
                tsi: tsi(1000 * n + i as u32),
                ..config.clone()
            };
            Senders::new(endpoint, t0, (0..each).map(config).collect())
        })
        .collect();
    let apdu = Bytes::from(vec![7; len]);
    for tick in 0..300 {
        for senders in &mut senders {
            senders.work(t0 + tick * ms(10), &apdu, |_| {
                let held = sent.held();
                let most = octets + 2 * each * len;
                assert!(held <= most, "{held} octets held of {octets}");
            });
        }
    }
    assert!(sent.held() > octets / 3, "{} octets held", sent.held());
    (senders.iter().flat_map(|s| &s.taken).copied().min()).unwrap()
}

fn fast() -> SourceConfig {
    SourceConfig {
        rate: Some(125_000_000),
        ..lan_source()
    }
}

#[test] // S-22: a window that does not fit is smaller, and every sender goes on
fn sources_share_the_memory() {
    for len in [100, 1400, 20_000, 100_000] {
        let least = least_sent(8 << 20, 20, len, &fast());
        assert!(
            least > 90 << 10,
            "one sent only {least} octets, {len} at a time"
        );
    }
}

#[test] // S-22: nor do windows that keep data for an hour hold everything up
fn sources_go_on_whatever_their_windows_promise() {
    let window_ivl = secs(3600);
    let least = least_sent(
        8 << 20,
        20,
        1400,
        &SourceConfig {
            window_ivl,
            ..fast()
        },
    );
    assert!(least > 150 << 10, "one sent only {least} octets");
}

#[test] // F-17: with parity no less than two groups, which need each other
fn sources_with_parity_share_it_too() {
    let fec = Some(Fec {
        n: 72,
        k: 64,
        proactive: 2,
        on_demand: true,
        little_endian: false,
    });
    let least = least_sent(24 << 20, 20, 1000, &SourceConfig { fec, ..fast() });
    assert!(least > 300 << 10, "one sent only {least} octets");
}

#[test]
fn one_source_has_its_window_while_memory_is_ample() {
    let (t0, [endpoint, _]) = (Instant::now(), endpoints(1 << 30).0);
    let mut senders = Senders::new(endpoint, t0, vec![fast()]);
    let apdu = Bytes::from(vec![7; 1400]);
    for tick in 0..100 {
        senders.work(t0 + tick * ms(10), &apdu, |_| {});
    }
    let stats = senders.endpoint.source_stats(t0, senders.ids[0]).unwrap();
    assert!(
        stats.buffer_available < 2000,
        "the window is full: {stats:?}"
    );
}

#[test]
fn what_a_source_held_is_free_when_it_is_gone() {
    let (t0, ([endpoint, other], _, sent)) = (Instant::now(), endpoints(8 << 20));
    let mut senders = Senders::new(endpoint, t0, vec![fast(); 1]);
    senders.work(t0, &Bytes::from(vec![7; 1400]), |_| {});
    assert!(sent.held() > 0 && sent.holders() == 1);
    senders.endpoint.remove_source(senders.ids[0]);
    assert_eq!((sent.held(), sent.holders()), (0, 0));
    let mut senders = Senders::new(other, t0, vec![fast(); 1]);
    senders.work(t0, &Bytes::from(vec![7; 1400]), |_| {});
    drop(senders);
    assert_eq!((sent.held(), sent.holders()), (0, 0));
}

#[test] // a message above 128 KiB does not stay whole because its last packet is in the window
fn packets_of_long_messages_have_octets_of_their_own() {
    let (t0, [mut endpoint, _]) = (Instant::now(), endpoints(1 << 30).0);
    let id = endpoint.open_source(
        t0,
        SourceConfig {
            rate: None,
            ..lan_source()
        },
    );
    let whole: std::sync::Arc<[u8]> = vec![3; 200 << 10].into();
    let apdu = Bytes::from_owner(whole.clone());
    endpoint.send(t0, id, apdu).unwrap();
    let mut out = Vec::new();
    while endpoint.poll_transmit(t0, &mut out).is_some() {}
    assert_eq!(endpoint.unsent(id), 0);
    assert_eq!(
        std::sync::Arc::strong_count(&whole),
        1,
        "nobody has it any more"
    );
}

fn spm(tsi: Tsi) -> Vec<u8> {
    let spm = Spm {
        spm_sqn: Sqn(1),
        window: Some(Window {
            trail: Sqn(1),
            lead: Sqn(0),
        }),
        path: Nla::V4(SOURCE),
    };
    let join = Options {
        join: Some(Sqn(1)),
        ..Options::default()
    };
    packet(tsi, DPORT, Body::Spm(spm), join, b"")
}

/// A session at `endpoint` whose first packet is there.
fn session(endpoint: &mut Endpoint, now: Instant, tsi: Tsi) -> SessionId {
    endpoint.listen(ListenConfig {
        group: GROUP,
        dport: DPORT,
        receiver: lan_receiver(),
    });
    endpoint.handle_tpdu(now, arrival(), &spm(tsi));
    arrive(endpoint, now, tsi, 1, 2);
    std::iter::from_fn(|| endpoint.poll_event())
        .find_map(|event| match event {
            Event::Session { session, .. } => Some(session),
            _ => None,
        })
        .unwrap()
}

/// Packets of a kilobyte from `first` to before `end`.
fn arrive(endpoint: &mut Endpoint, now: Instant, tsi: Tsi, first: u32, end: u32) {
    for sqn in first..end {
        let data = Data {
            sqn: Sqn(sqn),
            trail: Sqn(1),
        };
        let data = packet(
            tsi,
            DPORT,
            Body::Odata(data),
            Options::default(),
            &[5; 1000],
        );
        endpoint.handle_tpdu(now, arrival(), &data);
    }
}

fn read_all(endpoint: &mut Endpoint, now: Instant, id: SessionId) -> usize {
    std::iter::from_fn(|| endpoint.read(now, id))
        .take_while(|read| matches!(read, Read::Apdu(_)))
        .count()
}

#[test] // what waits for the program outside of the windows is memory, too
fn what_the_owner_keeps_counts_as_the_sessions() {
    let (now, ([mut endpoint, _], received, _)) = (Instant::now(), endpoints(1 << 20));
    let id = session(&mut endpoint, now, tsi(1));
    let (mut kept, mut next) = (0, 2);
    for _ in 0..50 {
        arrive(&mut endpoint, now, tsi(1), next, next + 100);
        let read = read_all(&mut endpoint, now, id);
        kept += read * 1000;
        next = 1 + (kept / 1000) as u32;
        endpoint.keep_for_session(id, kept);
        assert!(received.held() >= kept);
        assert!(
            received.held() <= 1 << 20,
            "{} octets held",
            received.held()
        );
    }
    assert!(kept < 1 << 20);
    let refused = endpoint.stats().over_budget + endpoint.stats().unusable;
    assert!(refused > 0, "the rest was refused");
    // The program has received it all.
    endpoint.keep_for_session(id, 0);
    arrive(&mut endpoint, now, tsi(1), next, next + 100);
    assert!(read_all(&mut endpoint, now, id) >= 99);
}

#[test] // one budget of the process, whatever carries its packets
fn sessions_of_all_endpoints_share_one_budget() {
    let (now, ([mut first, mut second], received, _)) = (Instant::now(), endpoints(1 << 20));
    let id = session(&mut first, now, tsi(1));
    arrive(&mut first, now, tsi(1), 2, 2000);
    let other = session(&mut second, now, tsi(2));
    arrive(&mut second, now, tsi(2), 2, 2000);
    assert!(
        received.held() <= 1 << 20,
        "{} octets held",
        received.held()
    );
    assert!(received.held() > 300 << 10);
    assert!(read_all(&mut first, now, id) > 100);
    drop(first);
    let before = read_all(&mut second, now, other) as u32;
    assert!((1..2000).contains(&before));
    arrive(&mut second, now, tsi(2), before + 1, 2000);
    assert!(read_all(&mut second, now + Duration::from_secs(1), other) > 200);
    drop(second);
    assert_eq!((received.held(), received.holders()), (0, 0));
}
