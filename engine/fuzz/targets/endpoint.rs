//! An endpoint with a source and listeners, driven by a program of packets, time, reads and sends.
//!
//! After every step: no panic, no more memory than the budget, no more peers than the limit, an answer that
//! is in proportion to the packet, and timers that move on.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pgm_engine::endpoint::{
    Arrival, Disposition, Endpoint, EndpointConfig, Event, ListenConfig, ListenerId, SessionId,
    SourceId,
};
use pgm_engine::num::{Gsi, Sqn, Tsi};
use pgm_engine::receiver::ReceiverConfig;
use pgm_engine::source::SourceConfig;
use pgm_engine::wire::Tpdu;
use pgm_engine::{Destination, Transmit};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

#[path = "../shared/program.rs"]
mod program;
#[path = "../shared/seal.rs"]
mod seal;

use program::{HOSTS, Input};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 192, 0, 1);
const PORT: u16 = 7500;
const OURS: Ipv4Addr = HOSTS[0];

/// Room for eight sessions of one long packet each; less would make the budget a matter of rounding.
const MAX_BYTES: usize = 4 << 20;
const MAX_PEERS: usize = 8;
/// Packets that may answer one packet: a NAK list in full, with its NCF, and what was on its way anyway.
const ANSWERS_MAX: usize = 1000;
/// Wakes at one moment until there must be nothing left to do.
const WAKES_AT_ONCE: usize = 64;
/// Wakes of one input, for speed: many timers are not a mistake.
const WAKES_MAX: usize = 4000;
/// Packets of our own that wait to be delivered to ourselves.
const LOOPED_MAX: usize = 512;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut rig = Rig::new(&mut input);
    for _ in 0..400 {
        if input.0.is_empty() || rig.wakes > WAKES_MAX {
            break;
        }
        rig.step(&mut input);
        rig.check();
    }
    rig.finish();
});

struct Rig {
    endpoint: Endpoint,
    now: Instant,
    source: SourceId,
    tsi: Tsi,
    listeners: Vec<ListenerId>,
    sessions: Vec<SessionId>,
    /// What our source and sessions sent, for ourselves.
    looped: VecDeque<(bool, Vec<u8>)>,
    wakes: usize,
}

impl Rig {
    fn new(input: &mut Input<'_>) -> Self {
        let now = Instant::now();
        let limits = EndpointConfig {
            max_peers: MAX_PEERS,
            max_bytes: MAX_BYTES,
        };
        let mut endpoint = Endpoint::new(limits, u64::from(input.u8()));
        let tsi = Tsi {
            gsi: Gsi([1; 6]),
            sport: 1000,
        };
        let config = source_config(tsi, input);
        let source = endpoint.open_source(now, config);
        let listeners = (0..2)
            .map(|_| endpoint.listen(listen_config(input)))
            .collect();
        Self {
            endpoint,
            now,
            source,
            tsi,
            listeners,
            sessions: Vec::new(),
            looped: VecDeque::new(),
            wakes: 0,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() % 16 {
            0..=5 => {
                let (from, group, packet) = input.packet(self.tsi, PORT);
                self.deliver(from, group.then_some(GROUP), &packet);
            }
            6 => {
                let from = input.host();
                let group = (input.u8() & 1 == 0).then_some(GROUP);
                let mut packet = input.octets(1500);
                seal::seal(&mut packet);
                self.deliver(from, group, &packet);
            }
            7 => self.sleep(Duration::from_micros(input.u32().into()) / 16),
            8 => self.sleep(Duration::from_millis(input.u8().into())),
            9 => self.sleep(Duration::from_secs((input.u8() % 40).into())),
            10 => self.read(input.u8()),
            11 => self.send(input),
            12 | 13 => self.loop_back(input.u8()),
            14 => self.manage(input),
            _ => self.query(),
        }
    }

    fn deliver(&mut self, from: Ipv4Addr, group: Option<Ipv4Addr>, packet: &[u8]) {
        let malformed = Tpdu::parse(packet).is_err();
        let disposition = self
            .endpoint
            .handle_tpdu(self.now, Arrival { from, group }, packet);
        assert!(!malformed || disposition == Disposition::Dropped);
        let answers = self.drain();
        assert!(answers <= ANSWERS_MAX, "{answers} packets answer one");
    }

    /// Take all packets and events that there are at this moment; how many packets.
    fn drain(&mut self) -> usize {
        let mut packets = 0;
        let mut out = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit(self.now, &mut out) {
            packets += 1;
            assert!(packets <= 10 * ANSWERS_MAX, "it never stops sending");
            assert_eq!(transmit.len, out.len());
            self.keep(&transmit, &out);
            out.clear();
        }
        assert!(out.is_empty());
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Session { session, .. } => self.sessions.push(session),
                Event::Finished(id) => assert_eq!(id, self.source),
                Event::Writable(_) | Event::Readable(_) => {}
            }
        }
        packets
    }

    /// What is sent is well-formed, goes where packets may go, and can come back.
    fn keep(&mut self, transmit: &Transmit, packet: &[u8]) {
        Tpdu::parse(packet).expect("a packet of ours can be parsed");
        if let Destination::Host(host) = transmit.to {
            let usable = !host.is_multicast() && !host.is_broadcast() && !host.is_unspecified();
            assert!(usable, "a packet for {host}");
        }
        if self.looped.len() < LOOPED_MAX {
            let multicast = matches!(transmit.to, Destination::Group(_));
            self.looped.push_back((multicast, packet.to_vec()));
        }
    }

    /// Let time pass, and every timer fire when it is due.
    fn sleep(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.settle();
            match self.endpoint.poll_timeout() {
                Some(at) if at <= until && self.wakes <= WAKES_MAX => {
                    assert!(at > self.now);
                    self.now = at;
                    self.wakes += 1;
                }
                _ => break,
            }
        }
        self.now = until;
        self.settle();
    }

    /// Work at this moment ends.
    fn settle(&mut self) {
        for _ in 0..WAKES_AT_ONCE {
            self.endpoint.handle_timeout(self.now);
            self.drain();
            if self.endpoint.poll_timeout().is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("timers are due again and again at one moment");
    }

    fn read(&mut self, which: u8) {
        let Some(session) = pick(&self.sessions, which) else {
            return;
        };
        for _ in 0..which {
            if self.endpoint.read(self.now, session).is_none() {
                break;
            }
        }
        self.drain();
    }

    fn send(&mut self, input: &mut Input<'_>) {
        let len = usize::from(input.u16()) >> (input.u8() % 16);
        let octets = Bytes::from(vec![0x42; len]);
        let _ = match input.u8() % 4 {
            0 => self.endpoint.begin(self.source, len * 3),
            1 => self.endpoint.append(self.source, octets),
            _ => self.endpoint.send(self.now, self.source, octets),
        };
        self.drain();
    }

    /// Deliver one packet of ours to ourselves, or lose it, or keep it for later.
    fn loop_back(&mut self, how: u8) {
        for bit in 0..8 {
            let Some((multicast, packet)) = self.looped.pop_front() else {
                return;
            };
            if how >> bit & 1 == 0 {
                self.deliver(OURS, multicast.then_some(GROUP), &packet);
            } else if bit == 7 {
                self.looped.push_back((multicast, packet));
            }
        }
    }

    fn manage(&mut self, input: &mut Input<'_>) {
        let (what, which) = (input.u8(), input.u8());
        match what % 8 {
            0..=2 => {
                if let Some(session) = pick(&self.sessions, which) {
                    self.sessions.retain(|id| *id != session);
                    self.endpoint.close_session(session);
                }
            }
            3 => {
                if let Some(listener) = pick(&self.listeners, which) {
                    self.listeners.retain(|id| *id != listener);
                    self.endpoint.close_listener(listener);
                }
            }
            4 | 5 if self.listeners.len() < 4 => {
                self.listeners
                    .push(self.endpoint.listen(listen_config(input)));
            }
            6 => self.endpoint.close_source(self.now, self.source),
            7 => {
                self.endpoint.remove_source(self.source);
                self.tsi.sport = self.tsi.sport.wrapping_add(1);
                let config = source_config(self.tsi, input);
                self.source = self.endpoint.open_source(self.now, config);
            }
            _ => {}
        }
        self.drain();
    }

    fn query(&mut self) {
        for session in &self.sessions {
            let _ = self.endpoint.session_stats(self.now, *session);
        }
        let _ = self.endpoint.source_stats(self.now, self.source);
        let _ = (
            self.endpoint.unsent(self.source),
            self.endpoint.lacking(self.source),
        );
    }

    fn check(&self) {
        let (bytes, peers) = (self.endpoint.bytes_held(), self.endpoint.peers());
        assert!(bytes <= MAX_BYTES, "{bytes} octets held");
        assert!(peers <= MAX_PEERS, "{peers} peers");
    }

    /// When all is closed nothing is held, and the source comes to its end.
    fn finish(mut self) {
        for session in std::mem::take(&mut self.sessions) {
            self.endpoint.close_session(session);
        }
        for listener in std::mem::take(&mut self.listeners) {
            self.endpoint.close_listener(listener);
        }
        assert_eq!((self.endpoint.bytes_held(), self.endpoint.peers()), (0, 0));
        self.endpoint.remove_source(self.source);
        self.drain();
        assert_eq!(self.endpoint.poll_timeout(), None);
    }
}

fn pick<T: Copy>(from: &[T], which: u8) -> Option<T> {
    from.get(usize::from(which) % from.len().max(1)).copied()
}

fn listen_config(input: &mut Input<'_>) -> ListenConfig {
    let (bits, window) = (input.u8(), input.u8());
    ListenConfig {
        group: GROUP,
        dport: PORT,
        receiver: ReceiverConfig {
            rxw_sqns: 64 << (window % 11),
            rxw_bytes: 4096 << (window >> 4),
            max_apdu: 1 << (10 + (bits >> 4)),
            unordered: bits & 1 != 0,
            continue_on_loss: bits & 2 != 0,
            listen_only: bits & 12 == 12,
            ..ReceiverConfig::default()
        },
    }
}

fn source_config(tsi: Tsi, input: &mut Input<'_>) -> SourceConfig {
    let bits = input.u8();
    SourceConfig {
        first_sqn: Sqn(input.u32()),
        rate: Some(1_000_000 << (bits & 3)),
        window_bytes: 20_000 << (bits >> 2 & 3),
        window_ivl: Duration::from_millis(100 << (bits >> 4 & 3)),
        late_join_percent: bits >> 1,
        max_tpdu: 200 + usize::from(bits) * 5,
        ..SourceConfig::new(tsi, PORT, GROUP, OURS)
    }
}
