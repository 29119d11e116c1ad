//! One PGM source: transmit window, SPM schedule, repairs, rate (RFC 3208 §5, §16).
//!
//! Owns the TSI's sequence space. Knows no socket and no clock: the caller passes `now`, drains
//! [`Source::poll_transmit`] and comes back at [`Source::poll_timeout`].

use crate::num::{Sqn, Tsi};
use crate::stats::SourceStats;
use crate::wire::Tpdu;
use bytes::Bytes;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Everything a source is told once.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Session identifier.
    pub tsi: Tsi,
    /// Data-destination port: the session port receivers bind.
    pub dport: u16,
    /// Multicast group.
    pub group: Ipv4Addr,
    /// Unicast address receivers send NAKs to (SPM_PATH).
    pub nla: Ipv4Addr,
    /// Largest PGM packet (header, options, TSDU), octets; IP and UDP headers are not in it.
    pub max_tpdu: usize,
    /// First data SQN.
    pub first_sqn: Sqn,
    /// Octets of TPDUs on the wire per second, ODATA + RDATA + SPM; `None`: unlimited.
    pub rate: Option<u64>,
    /// Window limit, octets of TPDUs.
    pub window_bytes: u64,
    /// Data stays repairable at least this long, and longer while the window has room.
    pub window_ivl: Duration,
    /// Step of the trailing edge, percent of the window (RM_SEND_WINDOW_ADV_RATE).
    pub window_adv_percent: u8,
    /// Percentage of the window late joiners may ask for (RM_LATEJOIN).
    pub late_join_percent: u8,
    /// Ambient SPM interval.
    pub ambient_spm_ivl: Duration,
    /// First and last heartbeat SPM interval after data (IHB_MIN, IHB_MAX).
    pub ihb_min: Duration,
    /// See `ihb_min`.
    pub ihb_max: Duration,
    /// For this long after the start SPMs are dense and carry OPT_JOIN with the first SQN, so that a
    /// receiver that was there before the source misses nothing whatever was lost.
    pub start_ivl: Duration,
    /// Bounds and start of the back-off interval advertised in OPT_NAK_BO_IVL (RFC 3208 §15.1).
    pub nak_bo_min: Duration,
    /// See `nak_bo_min`.
    pub nak_bo_max: Duration,
    /// See `nak_bo_min`.
    pub nak_bo_default: Duration,
    /// After FIN: the session ends when no NAK came for this long …
    pub linger_quiet: Duration,
    /// … and at the latest after this long.
    pub linger_max: Duration,
}

/// Why [`Source::send`] refused an APDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The queue of unsent APDUs is full: wait for [`Source::is_writable`].
    #[error("send queue full")]
    Full,
    /// `close` was called.
    #[error("source closed")]
    Closed,
    /// Empty, or longer than [`MAX_APDU`].
    #[error("APDU length out of range")]
    Length,
}

/// Longest APDU, octets.
pub const MAX_APDU: usize = 256 << 20;

/// One PGM source.
#[derive(Debug)]
pub struct Source {
    _todo: (),
}

impl Source {
    /// A source that starts at `now`: its first SPM is due at once.
    #[must_use]
    pub fn new(config: SourceConfig, now: Instant) -> Self {
        let _ = (config, now);
        todo!()
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &SourceConfig {
        todo!()
    }

    /// Queue one APDU. It is cut into TSDUs as the rate admits them.
    ///
    /// # Errors
    /// [`SendError`]; the APDU was not taken.
    pub fn send(&mut self, now: Instant, apdu: Bytes) -> Result<(), SendError> {
        let _ = (now, apdu);
        todo!()
    }

    /// Whether `send` would take another APDU.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        todo!()
    }

    /// Octets of APDUs accepted and not yet sent for the first time (SIOCOUTQ).
    #[must_use]
    pub fn unsent(&self) -> usize {
        todo!()
    }

    /// No more data: FIN is announced when the queue is empty, repairs go on (RFC 3208 §9.7).
    pub fn close(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// Closed, everything sent, and the linger over.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        todo!()
    }

    /// A packet addressed to this TSI from a receiver: NAK, NNAK, SPMR, POLR, ACK.
    pub fn handle_tpdu(&mut self, now: Instant, from: Ipv4Addr, tpdu: &Tpdu<'_>) {
        let _ = (now, from, tpdu);
        todo!()
    }

    /// Let timers that are due fire.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// When `handle_timeout` or `poll_transmit` has something to do next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Append the next packet that may go now, by priority NCF, SPM, repairs and data (RFC 3208 §5.1.3).
    /// All go to the group.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Emitted> {
        let _ = (now, out);
        todo!()
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self, now: Instant) -> SourceStats {
        let _ = now;
        todo!()
    }
}

/// What `poll_transmit` appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// Octets appended.
    pub len: usize,
    /// SPM, NCF, RDATA: wants IP Router Alert.
    pub router_alert: bool,
}
