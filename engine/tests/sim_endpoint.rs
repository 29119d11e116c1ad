//! What an endpoint makes of packets: whose they are, what is counted, what the owner hears.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use pgm_engine::endpoint::{
    Arrival, Disposition, Endpoint, EndpointConfig, Event, ListenConfig, SessionId, SourceId,
};
use pgm_engine::num::{Nla, Sqn, Tsi};
use pgm_engine::receiver::Read;
use pgm_engine::source::{SendError, SourceConfig};
use pgm_engine::testnet::{DPORT, GROUP, lan_receiver, lan_source};
use pgm_engine::wire::{Body, Data, Nak, Options, Spm, Tpdu, Window, WireError};
use pgm_engine::{Destination, Via};
use std::net::Ipv4Addr;
use std::time::Instant;

const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(239, 192, 0, 2);

fn endpoint() -> Endpoint {
    Endpoint::new(
        EndpointConfig {
            max_peers: 10,
            max_bytes: 1 << 20,
        },
        1,
    )
}

fn by_group(from: Ipv4Addr) -> Arrival {
    Arrival {
        from,
        group: Some(GROUP),
    }
}

fn by_unicast(from: Ipv4Addr) -> Arrival {
    Arrival { from, group: None }
}

fn source_config(tsi: Tsi) -> SourceConfig {
    SourceConfig {
        tsi,
        nla: SOURCE,
        ..lan_source()
    }
}

fn listen_config() -> ListenConfig {
    ListenConfig {
        group: GROUP,
        dport: DPORT,
        receiver: lan_receiver(),
    }
}

fn nak_of(tsi: Tsi, sqn: u32) -> Vec<u8> {
    let (source, group) = (Nla::V4(SOURCE), Nla::V4(GROUP));
    let nak = Nak {
        sqn: Sqn(sqn),
        list: Default::default(),
        source,
        group,
    };
    packet(tsi, DPORT, Body::Nak(nak), Options::default(), b"")
}

fn spm_of(tsi: Tsi, spm_sqn: u32, trail: u32, lead: u32, options: Options) -> Vec<u8> {
    let window = Some(Window {
        trail: Sqn(trail),
        lead: Sqn(lead),
    });
    let spm = Spm {
        spm_sqn: Sqn(spm_sqn),
        window,
        path: Nla::V4(SOURCE),
    };
    packet(tsi, DPORT, Body::Spm(spm), options, b"")
}

fn data_of(tsi: Tsi, sqn: u32, payload: &[u8]) -> Vec<u8> {
    let data = Data {
        sqn: Sqn(sqn),
        trail: Sqn(1),
    };
    packet(tsi, DPORT, Body::Odata(data), Options::default(), payload)
}

/// The beginning of a session as its source sends it.
fn begin(endpoint: &mut Endpoint, now: Instant, tsi: Tsi) {
    let join = Options {
        join: Some(Sqn(1)),
        ..Options::default()
    };
    endpoint.handle_tpdu(now, by_group(SOURCE), &spm_of(tsi, 1, 1, 0, join));
    endpoint.handle_tpdu(now, by_group(SOURCE), &data_of(tsi, 1, b"first"));
}

fn events(endpoint: &mut Endpoint) -> Vec<Event> {
    std::iter::from_fn(|| endpoint.poll_event()).collect()
}

fn session_of(events: &[Event]) -> SessionId {
    events
        .iter()
        .find_map(|event| match event {
            Event::Session { session, .. } => Some(*session),
            _ => None,
        })
        .expect("a session")
}

#[test] // G-17
fn upstream_packets_go_to_the_source_or_are_foreign() {
    let (mut endpoint, now) = (endpoint(), Instant::now());
    let ours = tsi(1);
    let id = endpoint.open_source(now, source_config(ours));
    assert!(endpoint.owns(ours) && !endpoint.owns(tsi(2)));

    let disposition = endpoint.handle_tpdu(now, by_unicast(OTHER), &nak_of(ours, 0));
    assert_eq!(disposition, Disposition::Consumed);
    assert_eq!(endpoint.source_stats(now, id).unwrap().naks_received, 1);

    let disposition = endpoint.handle_tpdu(now, by_unicast(OTHER), &nak_of(tsi(2), 0));
    assert_eq!(
        disposition,
        Disposition::Foreign(tsi(2)),
        "perhaps another process has it"
    );
    let disposition = endpoint.handle_tpdu(now, by_group(OTHER), &nak_of(tsi(2), 0));
    assert_eq!(
        disposition,
        Disposition::Dropped,
        "every process of the host has its own copy"
    );

    let spmr = packet(ours, DPORT + 1, Body::Spmr, Options::default(), b"");
    let disposition = endpoint.handle_tpdu(now, by_unicast(OTHER), &spmr);
    assert_eq!(
        disposition,
        Disposition::Dropped,
        "our TSI, but not our session port"
    );
    assert_eq!(endpoint.source_stats(now, id).unwrap().spmrs_received, 0);
    assert_eq!(endpoint.stats().foreign, 3);
}

#[test]
fn downstream_packets_need_group_and_port() {
    let (mut endpoint, now) = (endpoint(), Instant::now());
    let listener = endpoint.listen(listen_config());
    let data = data_of(tsi(1), 1, b"x");
    let elsewhere = Arrival {
        from: SOURCE,
        group: Some(ELSEWHERE),
    };
    assert_eq!(
        endpoint.handle_tpdu(now, elsewhere, &data),
        Disposition::Dropped
    );
    let spm = Spm {
        spm_sqn: Sqn(1),
        window: None,
        path: Nla::V4(SOURCE),
    };
    let other_port = packet(tsi(1), DPORT + 1, Body::Spm(spm), Options::default(), b"");
    assert_eq!(
        endpoint.handle_tpdu(now, by_group(SOURCE), &other_port),
        Disposition::Dropped
    );
    assert_eq!(
        endpoint.handle_tpdu(now, by_unicast(SOURCE), &data),
        Disposition::Dropped,
        "unicast begins no session"
    );
    assert_eq!((endpoint.peers(), endpoint.stats().foreign), (0, 3));

    begin(&mut endpoint, now, tsi(1));
    let events = events(&mut endpoint);
    let session = session_of(&events);
    let told = Event::Session {
        listener,
        session,
        tsi: tsi(1),
        from: SOURCE,
    };
    assert_eq!(events, [told, Event::Readable(session)]);
    assert_eq!(
        endpoint.handle_tpdu(now, by_unicast(SOURCE), &data_of(tsi(1), 2, b"second")),
        Disposition::Consumed,
        "unicast of a known session"
    );
    assert_eq!(
        endpoint.session_stats(now, session).unwrap().odata_received,
        2
    );
}

#[test] // G-03, G-11
fn malformed_packets_are_counted_by_reason() {
    let (mut endpoint, now) = (endpoint(), Instant::now());
    let good = data_of(tsi(1), 1, b"x");
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let cases = [
        (good[..10].to_vec(), WireError::Length),
        (with(4, 0xC4), WireError::Version),
        (with(4, 0x07), WireError::Type),
        (with(20, 0x77), WireError::Checksum),
    ];
    for (n, (bytes, reason)) in cases.iter().enumerate() {
        let disposition = endpoint.handle_tpdu(now, by_group(SOURCE), bytes);
        assert_eq!(disposition, Disposition::Dropped);
        assert_eq!(endpoint.stats().malformed[*reason as usize], 1, "{reason}");
        assert_eq!(endpoint.stats().tpdus_received, n as u64 + 1);
    }
    assert_eq!(endpoint.stats().malformed.iter().sum::<u64>(), 4);
}

#[test]
fn readable_comes_once_until_everything_is_read() {
    let (mut endpoint, now) = (endpoint(), Instant::now());
    endpoint.listen(listen_config());
    begin(&mut endpoint, now, tsi(1));
    let session = session_of(&events(&mut endpoint));

    endpoint.handle_tpdu(now, by_group(SOURCE), &data_of(tsi(1), 2, b"second"));
    assert_eq!(events(&mut endpoint), [], "not read yet");
    assert_eq!(
        endpoint.read(now, session),
        Some(Read::Apdu("first".into()))
    );
    endpoint.handle_tpdu(now, by_group(SOURCE), &data_of(tsi(1), 3, b"third"));
    assert_eq!(events(&mut endpoint), [], "the reader is not through");
    assert_eq!(
        endpoint.read(now, session),
        Some(Read::Apdu("second".into()))
    );
    assert_eq!(
        endpoint.read(now, session),
        Some(Read::Apdu("third".into()))
    );
    assert_eq!(endpoint.read(now, session), None);
    assert_eq!(events(&mut endpoint), []);
    endpoint.handle_tpdu(now, by_group(SOURCE), &data_of(tsi(1), 4, b"fourth"));
    assert_eq!(events(&mut endpoint), [Event::Readable(session)]);
}

#[test]
fn writable_comes_once_after_a_refused_send() {
    let (mut endpoint, t0) = (endpoint(), Instant::now());
    let id = endpoint.open_source(t0, source_config(tsi(1)));
    assert!(endpoint.is_writable(id));
    let apdu = bytes::Bytes::from(vec![1; 100_000]);
    let refused = (0..10_000).find_map(|_| endpoint.send(t0, id, apdu.clone()).err());
    assert_eq!(refused, Some(SendError::Full));
    assert!(!endpoint.is_writable(id));
    let queued = endpoint.unsent(id);
    assert!(queued >= 100_000);
    assert_eq!(
        endpoint.send(t0, SourceId(99), apdu.clone()),
        Err(SendError::Closed)
    );

    let mut seen = Vec::new();
    let (mut now, mut out) = (t0, Vec::new());
    while seen.is_empty() && now < t0 + secs(60) {
        endpoint.handle_timeout(now);
        while endpoint.poll_transmit(now, &mut out).is_some() {
            out.clear();
        }
        seen = events(&mut endpoint);
        now = endpoint.poll_timeout().expect("more to send").max(now);
    }
    assert_eq!(seen, [Event::Writable(id)]);
    assert!(endpoint.unsent(id) < queued && endpoint.is_writable(id));
    assert_eq!(endpoint.send(now, id, apdu), Ok(()));
}

#[test]
fn sources_take_turns() {
    let (mut endpoint, now) = (endpoint(), Instant::now());
    let ids = [1, 2, 3].map(|n| {
        let config = SourceConfig {
            rate: None,
            ..source_config(tsi(n))
        };
        endpoint.open_source(now, config)
    });
    for id in ids {
        endpoint.send(now, id, vec![7; 50_000].into()).unwrap();
    }
    let mut turns = Vec::new();
    let mut out = Vec::new();
    while let Some(transmit) = endpoint.poll_transmit(now, &mut out) {
        assert_eq!(
            (transmit.to, transmit.len),
            (Destination::Group(GROUP), out.len())
        );
        assert!(Tpdu::parse(&out).is_ok());
        turns.push(transmit.via);
        out.clear();
    }
    assert!(turns.len() > 100);
    for three in turns[..90].chunks(3) {
        for id in ids {
            assert!(three.contains(&Via::Source(id)), "{three:?}");
        }
    }
}

#[test]
fn a_finished_source_is_told_and_its_counters_stay_for_a_while() {
    let (mut endpoint, t0) = (endpoint(), Instant::now());
    let id = endpoint.open_source(t0, source_config(tsi(1)));
    endpoint.send(t0, id, "bye".into()).unwrap();
    endpoint.close_source(t0, id);
    assert_eq!(endpoint.send(t0, id, "more".into()), Err(SendError::Closed));
    let (mut now, mut out) = (t0, Vec::new());
    while endpoint.owns(tsi(1)) && now < t0 + secs(60) {
        endpoint.handle_timeout(now);
        while endpoint.poll_transmit(now, &mut out).is_some() {}
        now = endpoint.poll_timeout().unwrap_or(now + secs(1)).max(now);
    }
    assert_eq!(events(&mut endpoint), [Event::Finished(id)]);
    assert_eq!(endpoint.poll_timeout(), None, "nothing left to wait for");
    assert_eq!(endpoint.source_stats(now, id).unwrap().messages_sent, 1);
    let disposition = endpoint.handle_tpdu(now, by_unicast(OTHER), &nak_of(tsi(1), 0));
    assert_eq!(disposition, Disposition::Foreign(tsi(1)));
}

#[test]
fn sessions_not_yet_asked_for_go_with_their_listener() {
    let (mut endpoint, now) = (endpoint(), Instant::now());
    let listener = endpoint.listen(listen_config());
    begin(&mut endpoint, now, tsi(1));
    endpoint.close_listener(listener);
    assert_eq!((events(&mut endpoint), endpoint.peers()), (vec![], 0));
    begin(&mut endpoint, now, tsi(2));
    assert_eq!((events(&mut endpoint), endpoint.peers()), (vec![], 0));
}

#[test]
fn peers_not_yet_proven_make_room() {
    let (mut endpoint, now) = (endpoint(), Instant::now());
    endpoint.listen(listen_config());
    begin(&mut endpoint, now, tsi(0));
    let session = session_of(&events(&mut endpoint));
    for n in 1..100 {
        let spm = spm_of(tsi(n), 1, 1, 0, Options::default());
        endpoint.handle_tpdu(now, by_group(SOURCE), &spm);
        assert!(endpoint.peers() <= 10);
    }
    assert_eq!(endpoint.stats().peers_refused, 0, "the oldest gave way");
    assert!(endpoint.session_stats(now, session).is_some());
    begin(&mut endpoint, now, tsi(200));
    session_of(&events(&mut endpoint));
}

#[test]
fn strangers_do_not_fill_the_budget() {
    let (mut endpoint, now) = (endpoint(), Instant::now());
    endpoint.listen(listen_config());
    begin(&mut endpoint, now, tsi(0));
    let session = session_of(&events(&mut endpoint));
    // Data amid a window and no SPM: each stranger waits to be proven.
    for n in 1..10 {
        for sqn in 2..1000 {
            let data = data_of(tsi(n), sqn, &[1; 1000]);
            endpoint.handle_tpdu(now, by_group(SOURCE), &data);
            assert!(endpoint.bytes_held() <= 1 << 20);
        }
    }
    for sqn in 2..100 {
        endpoint.handle_tpdu(now, by_group(SOURCE), &data_of(tsi(0), sqn, b"more"));
    }
    let read = std::iter::from_fn(|| endpoint.read(now, session)).count();
    assert_eq!(read, 99);
}

#[test] // two packets of a forged source, the second far ahead, are not paid with a window each
fn packets_far_ahead_do_not_outgrow_the_budget() {
    let now = Instant::now();
    let budget = 16 << 20;
    let limits = EndpointConfig {
        max_peers: 1000,
        max_bytes: budget,
    };
    let mut endpoint = Endpoint::new(limits, 1);
    endpoint.listen(listen_config());
    for n in 0..1000 {
        begin(&mut endpoint, now, tsi(n));
    }
    for ahead in [50_000, 500, 60_000] {
        for n in 0..1000 {
            let data = data_of(tsi(n), ahead, b"far");
            endpoint.handle_tpdu(now, by_group(SOURCE), &data);
        }
    }
    let held = endpoint.bytes_held();
    assert!(held <= budget, "{held} octets held, slots included");
    let packet = data_of(tsi(999), 2, b"next");
    let taken = endpoint.handle_tpdu(now, by_group(SOURCE), &packet);
    assert_eq!(taken, Disposition::Consumed, "sessions go on");
}

#[test] // X-01, G-03
fn arbitrary_bytes_are_only_counted() {
    let (mut endpoint, t0) = (endpoint(), Instant::now());
    endpoint.listen(listen_config());
    endpoint.open_source(t0, source_config(tsi(1)));
    begin(&mut endpoint, t0, tsi(2));
    let mut rng = fastrand::Rng::with_seed(5);
    let samples = [
        nak_of(tsi(1), 3),
        spm_of(
            tsi(2),
            9,
            1,
            5,
            Options {
                fin: true,
                ..Options::default()
            },
        ),
        data_of(tsi(2), 3, b"data"),
        data_of(tsi(3), 3, b"data"),
    ];
    let mut out = Vec::new();
    let mut now = t0;
    for _ in 0..200_000 {
        let mut bytes = samples[rng.usize(..samples.len())].clone();
        for _ in 0..rng.usize(0..4) {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
        }
        bytes.truncate(rng.usize(bytes.len() / 2..=bytes.len() * 2));
        if rng.bool() && bytes.len() > 8 {
            fix_checksum(&mut bytes);
        }
        let group = rng.bool().then_some(GROUP);
        endpoint.handle_tpdu(
            now,
            Arrival {
                from: SOURCE,
                group,
            },
            &bytes,
        );
        now += us(rng.u64(..200));
        endpoint.handle_timeout(now);
        for _ in 0..100 {
            out.clear();
            if endpoint.poll_transmit(now, &mut out).is_none() {
                break;
            }
        }
        for event in events(&mut endpoint) {
            if let Event::Readable(id) = event {
                while let Some(Read::Apdu(_)) = endpoint.read(now, id) {}
            }
        }
        assert!(endpoint.peers() <= 10 && endpoint.bytes_held() <= 1 << 20);
    }
}

/// RFC 3208 §8: the Internet checksum over the whole packet.
fn fix_checksum(bytes: &mut [u8]) {
    bytes[6..8].fill(0);
    let sum: u32 = bytes
        .chunks(2)
        .map(|c| u32::from(c[0]) << 8 | u32::from(c.get(1).copied().unwrap_or(0)))
        .sum();
    let folded = (sum & 0xFFFF) + (sum >> 16);
    let folded = (folded & 0xFFFF) + (folded >> 16);
    let sum = !(folded as u16);
    bytes[6..8].copy_from_slice(&if sum == 0 { 0xFFFF } else { sum }.to_be_bytes());
}
