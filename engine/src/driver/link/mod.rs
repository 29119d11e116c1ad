//! One carriage in use: its carrier, its endpoint, and the relays of the program's sockets on it.

mod begin;
mod drops;
mod foreign;
mod retired;
mod token;
mod turns;

pub(in crate::driver) use retired::Retired;
pub(in crate::driver) use token::{Key, MAX_SERIAL, Token};

use crate::driver::carrier::{BATCH, Carrier, Interface, PortId};
use crate::driver::config::{Defaults, Memory};
use crate::driver::pair::{Role, name_engine_end};
use crate::driver::parcels::Rooms;
use crate::driver::relay::{Listener, Sender, Session};
use crate::driver::sys::Epoll;
use crate::driver::unix::Inbox;
use crate::driver::{Carriage, Handle, log};
use crate::endpoint::{
    Budget, Disposition, Endpoint, EndpointConfig, ListenerId, SessionId, SourceId,
};
use crate::log_line;
use crate::num::Gsi;
use crate::stats::{EndpointStats, ReceiverStats, SourceStats};
use drops::Drops;
use foreign::Foreign;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

/// Most peers of a process (design D11), as long as each can have its octets.
const PEERS_MAX: usize = 4096;
const PEER_OCTETS: usize = 128 << 10;

/// Batches received from one descriptor before the others have their turn.
const RECEIVE_BATCHES: usize = 16;
/// TPDUs sent before anything is received again: less than is received at once, since on loopback every
/// TPDU comes back, and less than fills a receive buffer.
const TRANSMIT_MAX: usize = 256;
/// Turns of all relays that want one before anything is received again.
const ROUNDS: usize = 4;
/// How long to wait when a socket refuses packets for now.
const RETRY: Duration = Duration::from_millis(1);
/// SPMs that tell of an end at which the engine ends, too.
const FAREWELLS: usize = 8;

/// What all links of an engine share.
#[derive(Debug)]
pub(in crate::driver) struct Context {
    pub(in crate::driver) epoll: Epoll,
    pub(in crate::driver) defaults: Defaults,
    /// Of all sources of this engine.
    pub(in crate::driver) gsi: Gsi,
    pub(in crate::driver) rng: fastrand::Rng,
    /// What all sessions may hold, and all senders.
    pub(in crate::driver) received: Budget,
    pub(in crate::driver) sent: Budget,
    /// Files of all senders.
    pub(in crate::driver) rooms: Rooms,
    /// Buffers of senders; none before the first one.
    pub(in crate::driver) inbox: Option<Inbox>,
    pub(in crate::driver) retired_sources: Retired<SourceStats>,
    pub(in crate::driver) retired_sessions: Retired<ReceiverStats>,
}

/// One carriage in use.
#[derive(Debug)]
pub(in crate::driver) struct Link {
    serial: u32,
    carrier: Carrier,
    endpoint: Endpoint,
    /// Of the watches that are in the epoll set.
    generation: Option<u64>,
    watched: HashMap<PortId, RawFd>,
    senders: BTreeMap<SourceId, Sender>,
    listeners: BTreeMap<ListenerId, Listener>,
    sessions: BTreeMap<SessionId, Session>,
    /// Relays that want a turn.
    run: VecDeque<Key>,
    timers: BTreeSet<(Instant, Key)>,
    /// Who has one of `timers`.
    paused: BTreeSet<Key>,
    /// Senders whose source is full.
    waiting_for_room: Vec<SourceId>,
    foreign: Foreign,
    drops: Drops,
    /// The endpoint may have more to send than one round took.
    unsent: bool,
    /// The last flush failed; said once.
    failing: bool,
}

impl Link {
    pub(in crate::driver) fn open(
        serial: u32,
        carriage: Carriage,
        cx: &mut Context,
    ) -> io::Result<Self> {
        Ok(Self {
            serial,
            carrier: Carrier::open(carriage, &cx.defaults)?,
            endpoint: Endpoint::new(limits(cx.defaults.memory), cx.rng.u64(..))
                .sharing(&cx.received, &cx.sent),
            generation: None,
            watched: HashMap::new(),
            senders: BTreeMap::new(),
            listeners: BTreeMap::new(),
            sessions: BTreeMap::new(),
            run: VecDeque::new(),
            timers: BTreeSet::new(),
            paused: BTreeSet::new(),
            waiting_for_room: Vec::new(),
            foreign: Foreign::default(),
            drops: Drops::default(),
            unsent: false,
            failing: false,
        })
    }

    /// Whether nobody uses it any more.
    pub(in crate::driver) fn is_idle(&self) -> bool {
        self.senders.is_empty() && self.listeners.is_empty() && self.sessions.is_empty()
    }

    /// Whether anybody listens or receives here.
    pub(in crate::driver) fn has_receivers(&self) -> bool {
        !(self.listeners.is_empty() && self.sessions.is_empty())
    }

    /// Whether the end of the process has to wait for a sender.
    pub(in crate::driver) fn is_waited_for(&self) -> bool {
        self.senders.values().any(Sender::is_waited_for)
    }

    /// Whether a sender is to go on when the process has ended.
    pub(in crate::driver) fn outlives(&self) -> bool {
        self.senders.values().any(Sender::outlives)
    }

    /// Whether this source has not finished yet.
    pub(in crate::driver) fn has_source(&self, id: SourceId) -> bool {
        let sender = self.senders.get(&id);
        sender.is_some_and(|sender| !sender.is_finished())
    }

    /// Whether the end of this sender drops everything.
    pub(in crate::driver) fn set_abortive(&mut self, id: SourceId, abortive: bool) {
        if let Some(sender) = self.senders.get_mut(&id) {
            sender.set_abortive(abortive);
        }
    }

    /// A descriptor of this sender was closed: whether it was the last, and what was sent is on its way.
    pub(in crate::driver) fn is_closing(&mut self, id: SourceId, cx: &Context) -> bool {
        match self.senders.get_mut(&id) {
            Some(sender) if !sender.is_hung_up() => false,
            Some(sender) if sender.is_abortive() => {
                sender.abort(Instant::now(), &mut self.endpoint, &cx.epoll, false);
                false
            }
            Some(sender) => !sender.is_finished(),
            None => false,
        }
    }

    /// This is the process that takes over: senders that were to end with the program do.
    pub(in crate::driver) fn succeed(&mut self, cx: &mut Context) {
        let ended = self
            .senders
            .iter()
            .filter(|(_, sender)| !sender.outlives())
            .map(|(id, _)| *id);
        let ended: Vec<_> = ended.collect();
        self.say_farewell(&ended, cx);
        for id in ended {
            self.remove(Key::Sender(id), cx);
        }
    }

    /// The process ends, and nobody takes over: tell the receivers of all senders.
    pub(in crate::driver) fn end(&mut self, cx: &Context) {
        let all: Vec<_> = self.senders.keys().copied().collect();
        self.say_farewell(&all, cx);
    }

    /// Receivers of these senders are not to wait for repairs nor for an end that will not come.
    fn say_farewell(&mut self, ids: &[SourceId], cx: &Context) {
        for _ in 0..if ids.is_empty() { 0 } else { FAREWELLS } {
            for id in ids {
                if let Some(sender) = self.senders.get_mut(id) {
                    sender.abort(Instant::now(), &mut self.endpoint, &cx.epoll, true);
                }
            }
            self.transmit(TRANSMIT_MAX);
        }
    }

    fn token(&self, key: Key) -> u64 {
        Token::Relay(self.serial, key).pack()
    }

    fn handle(&self, key: Key) -> Handle {
        Handle(self.token(key))
    }

    /// Interfaces for a group: the wanted ones, else the one the carrier finds.
    pub(in crate::driver) fn interfaces(
        &self,
        group: Ipv4Addr,
        wanted: &[Ipv4Addr],
    ) -> io::Result<Vec<Interface>> {
        find_interfaces(&self.carrier, group, wanted)
    }

    pub(in crate::driver) fn source_stats(&self, id: SourceId) -> Option<SourceStats> {
        self.endpoint.source_stats(Instant::now(), id)
    }

    /// Counters of all its sockets together.
    pub(in crate::driver) fn stats(&self) -> EndpointStats {
        self.endpoint.stats()
    }

    pub(in crate::driver) fn session_stats(&self, id: SessionId) -> Option<ReceiverStats> {
        self.endpoint.session_stats(Instant::now(), id)
    }

    /// Octets a sender's application end has taken that were never sent.
    pub(in crate::driver) fn unsent(&self, id: SourceId) -> usize {
        self.senders.get(&id).map_or(0, Sender::unsent) + self.endpoint.unsent(id)
    }

    /// Senders that the end of the process waits for, or all that would be taken over, are closed after what
    /// they have queued now.
    pub(in crate::driver) fn last_call(&mut self, all: bool) {
        for (id, sender) in &mut self.senders {
            if sender.last_call(all) {
                self.run.push_back(Key::Sender(*id));
            }
        }
    }

    /// Packets wait at a descriptor of the carrier.
    pub(in crate::driver) fn receive(&mut self, port: PortId, cx: &Context) {
        let Self {
            carrier,
            endpoint,
            foreign,
            ..
        } = self;
        for _ in 0..RECEIVE_BATCHES {
            let now = Instant::now();
            let received = carrier.receive(now, port, &mut |arrival, tpdu| {
                if let Disposition::Foreign(tsi) = endpoint.handle_tpdu(now, arrival, tpdu) {
                    foreign.push(tsi, tpdu, arrival.from);
                }
            });
            foreign.forward(carrier);
            match received {
                Ok(n) if n < BATCH => return,
                Ok(_) => {}
                Err(e) => {
                    log_line!(log::Level::Error, "cannot receive any more: {e}");
                    if let Some(fd) = self.watched.get(&port) {
                        let _ = cx.epoll.remove(*fd);
                    }
                    return;
                }
            }
        }
    }

    /// Let everything happen that may happen now, within bounds. True: there is more.
    pub(in crate::driver) fn service(&mut self, cx: &mut Context) -> bool {
        let now = Instant::now();
        self.endpoint.handle_timeout(now);
        self.drops.look(now, &self.endpoint);
        self.carrier.handle_silence(now, self.endpoint.peers() > 0);
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = self.timers.pop_first() {
                self.paused.remove(&key);
                self.run.push_back(key);
            }
        }
        let mut budget = TRANSMIT_MAX;
        for _ in 0..ROUNDS {
            budget = self.transmit(budget);
            self.handle_events(cx);
            self.wake_those_with_room();
            if self.run.is_empty() {
                break;
            }
            for _ in 0..self.run.len() {
                let Some(key) = self.run.pop_front() else {
                    break;
                };
                self.turn(key, cx);
            }
        }
        self.watch(cx);
        !self.run.is_empty() || (self.unsent && !self.carrier.is_blocked())
    }

    /// When `service` is due although nothing is ready.
    pub(in crate::driver) fn poll_timeout(&self) -> Option<Instant> {
        let retry = self.carrier.needs_flush().then(|| Instant::now() + RETRY);
        if self.carrier.is_blocked() {
            // Most of what is due would be packets, which cannot go.
            return retry;
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        let silence = self.carrier.silence_at(self.endpoint.peers() > 0);
        let due = [self.endpoint.poll_timeout(), timer, retry, silence];
        due.into_iter().flatten().min()
    }

    /// Send at most `budget` TPDUs; what is left of it.
    fn transmit(&mut self, mut budget: usize) -> usize {
        if self.carrier.is_blocked() {
            self.flush();
        }
        // The time may stand still for this long: packets of one burst.
        let now = Instant::now();
        self.unsent = true;
        while budget > 0 && !self.carrier.is_blocked() {
            let Some(transmit) = self.endpoint.poll_transmit(now, self.carrier.buffer()) else {
                self.unsent = false;
                break;
            };
            self.carrier.commit(&transmit);
            budget -= 1;
        }
        self.flush();
        budget
    }

    /// One line tells of a failure, however long it lasts: until something leaves again.
    fn flush(&mut self) {
        let before = self.carrier.sent();
        if let Err(e) = self.carrier.flush() {
            if !self.failing {
                log_line!(log::Level::Warn, "cannot send: {e}");
            }
            self.failing = true;
        } else if self.carrier.sent() > before {
            self.failing = false;
        }
    }

    fn wake_those_with_room(&mut self) {
        let Self { endpoint, run, .. } = self;
        self.waiting_for_room.retain(|id| {
            let writable = endpoint.is_writable(*id);
            if writable {
                run.push_back(Key::Sender(*id));
            }
            !writable
        });
    }

    /// Keep the epoll set in step with the carrier's descriptors.
    fn watch(&mut self, cx: &Context) {
        let generation = self.carrier.generation();
        if self.generation == Some(generation) {
            return;
        }
        self.generation = Some(generation);
        let old = std::mem::take(&mut self.watched);
        for watch in self.carrier.watches() {
            self.watched.insert(watch.port, watch.fd);
            if old.get(&watch.port) == Some(&watch.fd) {
                continue;
            }
            let token = Token::Port(self.serial, watch.port).pack();
            if let Err(e) = cx.epoll.add(watch.fd, libc::EPOLLIN.cast_unsigned(), token) {
                log_line!(log::Level::Error, "cannot watch a socket: {e}");
            }
        }
    }
}

/// Limits of an endpoint with so much memory.
fn limits(memory: Memory) -> EndpointConfig {
    EndpointConfig {
        max_peers: PEERS_MAX.min(memory.received() / PEER_OCTETS),
        max_bytes: memory.received(),
    }
}

/// Interfaces for a group: the wanted ones, else the one the carrier finds.
pub(in crate::driver) fn find_interfaces(
    carrier: &Carrier,
    group: Ipv4Addr,
    wanted: &[Ipv4Addr],
) -> io::Result<Vec<Interface>> {
    if wanted.is_empty() {
        return Ok(vec![carrier.route(group, None)?]);
    }
    wanted
        .iter()
        .map(|addr| carrier.route(group, Some(*addr)))
        .collect()
}

/// Name an engine end. The name only informs: without it the socket works just as well.
fn give_name(
    fd: RawFd,
    role: Role,
    mode: crate::driver::Mode,
    native: bool,
    local: SocketAddrV4,
    peer: SocketAddrV4,
    handle: Handle,
) {
    if let Err(e) = name_engine_end(fd, role, mode, native, local, peer, handle) {
        log_line!(log::Level::Debug, "cannot name a socket: {e}");
    }
}
