//! All sources and receivers that share one carrier: demultiplexing, limits, the poll interface.
//!
//! One mutation (`handle_*`, `send`, `read`, `close_*`), then drain `poll_transmit` and `poll_event`,
//! then wait until `poll_timeout`. No callback, no I/O.

use crate::Transmit;
use crate::num::Tsi;
use crate::receiver::{Read, ReceiverConfig};
use crate::source::{SendError, SourceConfig};
use crate::stats::{EndpointStats, ReceiverStats, SourceStats};
use bytes::Bytes;
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
    /// Octets of TSDUs held by all receive windows together; beyond it new peers are refused first.
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

/// Where a TPDU came from and to, as the network layer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Source address.
    pub from: Ipv4Addr,
    /// Group it was received on; `None` when it came by unicast.
    pub group: Option<Ipv4Addr>,
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

/// All sources and receivers of one carrier.
#[derive(Debug)]
pub struct Endpoint {
    _todo: (),
}

impl Endpoint {
    /// An endpoint whose random choices come from `seed`.
    #[must_use]
    pub fn new(config: EndpointConfig, seed: u64) -> Self {
        let _ = (config, seed);
        todo!()
    }

    /// Add a source. Its TSI must be new.
    pub fn open_source(&mut self, now: Instant, config: SourceConfig) -> SourceId {
        let _ = (now, config);
        todo!()
    }

    /// Queue one APDU; see [`crate::source::Source::send`]. Unknown sources are `Closed`.
    ///
    /// # Errors
    /// As the source's.
    pub fn send(&mut self, now: Instant, id: SourceId, apdu: Bytes) -> Result<(), SendError> {
        let _ = (now, id, apdu);
        todo!()
    }

    /// Whether `send` would take an APDU.
    #[must_use]
    pub fn is_writable(&self, id: SourceId) -> bool {
        let _ = id;
        todo!()
    }

    /// Octets accepted and not yet sent.
    #[must_use]
    pub fn unsent(&self, id: SourceId) -> usize {
        let _ = id;
        todo!()
    }

    /// No more data from this source; [`Event::Finished`] follows when its linger is over.
    pub fn close_source(&mut self, now: Instant, id: SourceId) {
        let _ = (now, id);
        todo!()
    }

    /// Whether this TSI is one of ours.
    #[must_use]
    pub fn owns(&self, tsi: Tsi) -> bool {
        let _ = tsi;
        todo!()
    }

    /// Add a listener. Several may share a group and port: each gets every session.
    pub fn listen(&mut self, config: ListenConfig) -> ListenerId {
        let _ = config;
        todo!()
    }

    /// No new sessions from this listener; the ones it gave go on, the ones not yet given are dropped.
    pub fn close_listener(&mut self, id: ListenerId) {
        let _ = id;
        todo!()
    }

    /// Forget a session.
    pub fn close_session(&mut self, id: SessionId) {
        let _ = id;
        todo!()
    }

    /// Take the next APDU of a session or its end.
    pub fn read(&mut self, now: Instant, id: SessionId) -> Option<Read> {
        let _ = (now, id);
        todo!()
    }

    /// One packet from the carrier.
    pub fn handle_tpdu(&mut self, now: Instant, arrival: Arrival, bytes: &[u8]) -> Disposition {
        let _ = (now, arrival, bytes);
        todo!()
    }

    /// Let timers that are due fire.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// Append the next packet that may go now.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Transmit> {
        let _ = (now, out);
        todo!()
    }

    /// Next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }

    /// When `handle_timeout` and `poll_transmit` are due again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Counters of a source, also for a short while after it finished.
    #[must_use]
    pub fn source_stats(&self, now: Instant, id: SourceId) -> Option<SourceStats> {
        let _ = (now, id);
        todo!()
    }

    /// Counters of a session until it is closed.
    #[must_use]
    pub fn session_stats(&self, now: Instant, id: SessionId) -> Option<ReceiverStats> {
        let _ = (now, id);
        todo!()
    }

    /// Counters of the endpoint.
    #[must_use]
    pub fn stats(&self) -> &EndpointStats {
        todo!()
    }
}
