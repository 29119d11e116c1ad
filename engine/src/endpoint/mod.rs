//! All sources and receivers that share one carrier: demultiplexing, limits, the poll interface.
//!
//! One mutation (`handle_*`, `send`, `read`, `close_*`), then drain `poll_transmit` and `poll_event`,
//! then wait until `poll_timeout`. No callback, no I/O.

mod budget;
mod schedule;
mod sessions;
mod sources;

pub use crate::Arrival;
use crate::Transmit;
use crate::num::Tsi;
use crate::receiver::{Read, ReceiverConfig};
use crate::source::{SendError, Source, SourceConfig};
use crate::stats::{EndpointStats, ReceiverStats, SourceStats};
use crate::wire::{Body, Rst, Tpdu};
pub use budget::Budget;
use bytes::Bytes;
use schedule::{Key, Schedule};
use sessions::{Outcome, Sessions};
use sources::Sources;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Instant;

/// Handle of a source; not reused within an endpoint's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u32);

/// Handle of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u32);

/// Handle of a receiver session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u32);

/// Limits of one endpoint.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Most peers tracked at once, over all listeners.
    pub max_peers: usize,
    /// Octets that all sessions may hold: windows, slots and timers, APDUs under assembly, and what their owner keeps of
    /// them. From the half of it on new peers are refused, and each session has an equal share.
    pub max_bytes: usize,
}

/// What a listener wants.
#[derive(Clone, Debug)]
pub struct ListenConfig {
    /// Multicast group.
    pub group: Ipv4Addr,
    /// Session port.
    pub dport: u16,
    /// Timers and limits of its sessions.
    pub receiver: ReceiverConfig,
}

/// What became of a TPDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Taken by a source or session.
    Consumed,
    /// Well-formed unicast for a TSI that is not ours: another process of this host may own it (D6).
    Foreign(Tsi),
    /// Malformed, spoofed, or nobody's; counted.
    Dropped,
}

/// Something the owner should act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The source takes APDUs again after `SendError::Full`.
    Writable(SourceId),
    /// The closed source's linger is over; it is gone.
    Finished(SourceId),
    /// A session began at this listener.
    Session {
        /// Its listener.
        listener: ListenerId,
        /// The new session.
        session: SessionId,
        /// The source's identity.
        tsi: Tsi,
        /// The source's address.
        from: Ipv4Addr,
    },
    /// `read` has something: given once per change from empty.
    Readable(SessionId),
}

/// What sources and sessions share.
#[derive(Debug, Default)]
struct Context {
    schedule: Schedule,
    events: VecDeque<Event>,
    stats: EndpointStats,
}

/// All sources and receivers of one carrier.
#[derive(Debug)]
pub struct Endpoint {
    sources: Sources,
    sessions: Sessions,
    cx: Context,
    /// Newest time anybody told.
    clock: Option<Instant>,
    /// Keys of fired timers, kept for its capacity.
    due: Vec<Key>,
}

impl Endpoint {
    /// An endpoint whose random choices come from `seed`.
    #[must_use]
    pub fn new(config: EndpointConfig, seed: u64) -> Self {
        Self {
            sources: Sources::new(Budget::new(usize::MAX)),
            sessions: Sessions::new(config.max_peers, Budget::new(config.max_bytes), seed),
            cx: Context::default(),
            clock: None,
            due: Vec::new(),
        }
    }

    /// The same, but what sessions and what sources hold counts towards these budgets, which other endpoints may share.
    #[must_use]
    pub fn sharing(mut self, received: &Budget, sent: &Budget) -> Self {
        self.sessions.set_budget(received.clone());
        self.sources.set_budget(sent.clone());
        self
    }

    /// Add a source. Its TSI must be new.
    pub fn open_source(&mut self, now: Instant, config: SourceConfig) -> SourceId {
        self.sources.open(now, config, &mut self.cx)
    }

    /// Queue one APDU; see [`crate::source::Source::send`]. Unknown sources are `Closed`.
    ///
    /// # Errors
    /// As the source's.
    pub fn send(&mut self, now: Instant, id: SourceId, apdu: Bytes) -> Result<(), SendError> {
        self.sources
            .offer(id, &mut self.cx, |source| source.send(now, apdu))
    }

    /// Begin an APDU of `len` octets; see [`crate::source::Source::begin`].
    ///
    /// # Errors
    /// As the source's.
    pub fn begin(&mut self, id: SourceId, len: usize) -> Result<(), SendError> {
        self.sources
            .offer(id, &mut self.cx, |source| source.begin(len))
    }

    /// More of the APDU begun; see [`crate::source::Source::append`].
    ///
    /// # Errors
    /// As the source's.
    pub fn append(&mut self, id: SourceId, octets: Bytes) -> Result<(), SendError> {
        self.sources
            .offer(id, &mut self.cx, |source| source.append(octets))
    }

    /// Octets that the APDU begun still lacks; 0 when there is none.
    #[must_use]
    pub fn lacking(&self, id: SourceId) -> usize {
        self.sources.get(id).map_or(0, Source::lacking)
    }

    /// Whether `send` would take an APDU, with the memory that there is now.
    #[must_use]
    pub fn is_writable(&mut self, id: SourceId) -> bool {
        self.sources.is_writable(id)
    }

    /// Octets accepted and not yet sent.
    #[must_use]
    pub fn unsent(&self, id: SourceId) -> usize {
        self.sources.get(id).map_or(0, Source::unsent)
    }

    /// How many messages for sources the owner may take in before it gives them away: `batch` while memory is not short,
    /// else one, and none when all that there is for sources is held.
    #[must_use]
    pub fn messages_welcome(&self, batch: usize) -> usize {
        self.sources.messages_welcome(batch)
    }

    /// What the owner keeps for this source before it sends it, octets: it counts as the source's memory.
    pub fn keep_for_source(&mut self, id: SourceId, octets: usize) {
        self.sources.set_outside(id, octets);
    }

    /// What the owner keeps of all it has read of this session, octets: it counts as the session's memory.
    pub fn keep_for_session(&mut self, id: SessionId, octets: usize) {
        self.sessions.set_outside(id, octets);
    }

    /// No more data from this source; [`Event::Finished`] follows when its linger is over.
    pub fn close_source(&mut self, now: Instant, id: SourceId) {
        self.sources.close(now, id, &mut self.cx);
    }

    /// Abort a source, with or without what is unsent; see [`Source::abort`]. [`Event::Finished`] follows as after
    /// `close_source`.
    pub fn abort_source(&mut self, now: Instant, id: SourceId, rst: Rst, discard: bool) {
        self.sources.abort(now, id, rst, discard, &mut self.cx);
    }

    /// Forget a source at once: no FIN, no linger, no event.
    pub fn remove_source(&mut self, id: SourceId) {
        self.sources.remove(id, &mut self.cx);
    }

    /// Whether this TSI is one of ours.
    #[must_use]
    pub fn owns(&self, tsi: Tsi) -> bool {
        self.sources.owner(tsi).is_some()
    }

    /// Add a listener. Several may share a group and port: each gets every session.
    pub fn listen(&mut self, config: ListenConfig) -> ListenerId {
        self.sessions.listen(config)
    }

    /// No new sessions from this listener; the ones it gave go on, the ones not yet given are dropped.
    pub fn close_listener(&mut self, id: ListenerId) {
        self.sessions.close_listener(id, &mut self.cx);
    }

    /// Forget a session. While its source is still heard, its listener gives no other for it.
    pub fn close_session(&mut self, id: SessionId) {
        // Without a clock no packet came yet, so there is no session either.
        if let Some(now) = self.clock {
            self.sessions.close_session(now, id, &mut self.cx);
        }
    }

    /// Take the next APDU of a session or its end.
    pub fn read(&mut self, now: Instant, id: SessionId) -> Option<Read> {
        self.sessions.read(now, id, &mut self.cx)
    }

    /// One packet from the carrier.
    pub fn handle_tpdu(&mut self, now: Instant, arrival: Arrival, bytes: &[u8]) -> Disposition {
        self.clock = Some(now);
        self.cx.stats.tpdus_received += 1;
        let tpdu = match Tpdu::parse(bytes) {
            Ok(tpdu) => tpdu,
            Err(reason) => {
                self.cx.stats.malformed[reason as usize] += 1;
                return Disposition::Dropped;
            }
        };
        let tsi = tpdu.tsi();
        let upstream = tpdu.body.is_upstream();
        let owner = self.sources.owner(tsi).filter(|_| upstream);
        let to_source = owner.is_some_and(|id| {
            self.sources
                .handle_tpdu(now, id, arrival.from, &tpdu, &mut self.cx)
        });
        // What other receivers multicast (NAK, SPMR) silences ours. By unicast it was meant for a
        // source alone, or for who repairs in its place.
        let to_sessions = if upstream && arrival.group.is_none() {
            match tpdu.body {
                Body::Nak(_) if owner.is_none() => {
                    self.sessions
                        .handle_redirected(now, &arrival, &tpdu, &mut self.cx)
                }
                _ => Outcome::Unknown,
            }
        } else {
            self.sessions
                .handle_tpdu(now, &arrival, &tpdu, &mut self.cx)
        };
        match to_sessions {
            Outcome::Taken => return Disposition::Consumed,
            _ if to_source => return Disposition::Consumed,
            Outcome::Refused => return Disposition::Dropped,
            Outcome::Unknown => self.cx.stats.foreign += 1,
        }
        if upstream && arrival.group.is_none() && owner.is_none() {
            Disposition::Foreign(tsi)
        } else {
            Disposition::Dropped
        }
    }

    /// Let timers that are due fire.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.clock = Some(now);
        // Taken all at once: who arms a timer for `now` again waits for the next call.
        let mut due = std::mem::take(&mut self.due);
        self.cx.schedule.due(now, &mut due);
        for key in due.drain(..) {
            match key {
                Key::Source(id) => self.sources.handle_timeout(now, id, &mut self.cx),
                Key::Session(id) => self.sessions.handle_timeout(now, id, &mut self.cx),
            }
        }
        self.due = due;
    }

    /// Append the next packet that may go now: one of each source and session in turn.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Transmit> {
        self.clock = Some(now);
        while let Some(key) = self.cx.schedule.next_ready() {
            let transmit = match key {
                Key::Source(id) => self.sources.poll_transmit(now, id, out, &mut self.cx),
                Key::Session(id) => self.sessions.poll_transmit(now, id, out, &mut self.cx),
            };
            if transmit.is_some() {
                return transmit;
            }
        }
        None
    }

    /// Next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.cx.events.pop_front()
    }

    /// When `handle_timeout` and `poll_transmit` are due again, once `poll_transmit` gave `None`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.cx.schedule.next_timer()
    }

    /// Counters of a source, also for a short while after it finished.
    #[must_use]
    pub fn source_stats(&self, now: Instant, id: SourceId) -> Option<SourceStats> {
        self.sources.stats(now, id)
    }

    /// Counters of a session until it is closed.
    #[must_use]
    pub fn session_stats(&self, now: Instant, id: SessionId) -> Option<ReceiverStats> {
        self.sessions.stats(now, id)
    }

    /// Whether the session answers NAKs in its source's place.
    #[must_use]
    pub fn is_dlr(&self, id: SessionId) -> bool {
        self.sessions.is_dlr(id)
    }

    /// Peers tracked now, sessions that ended and are not closed included.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.sessions.len()
    }

    /// Octets held by all sessions now.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.sessions.bytes_held()
    }

    /// Counters of the endpoint.
    #[must_use]
    pub fn stats(&self) -> EndpointStats {
        EndpointStats {
            peers: self.peers() as u64,
            received_held: self.bytes_held() as u64,
            sent_held: self.sources.bytes_held() as u64,
            ..self.cx.stats
        }
    }
}
