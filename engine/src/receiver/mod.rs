//! One peer, that is one source as a receiver sees it: receive window, NAK machine, reassembly
//! (RFC 3208 §6, §7, §9.2).
//!
//! Pull model: packets wait in the window until [`Peer::read`] takes the APDU, so a reader that is
//! slow holds back the window, never memory beyond `rxw_bytes`.

use crate::num::{Sqn, Tsi};
use crate::stats::ReceiverStats;
use crate::wire::Tpdu;
use bytes::Bytes;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Timers and limits of a receiver. The defaults suit a LAN.
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    /// NAK_BO_IVL until the source advertises another (OPT_NAK_BO_IVL): random back-off before a NAK.
    pub nak_bo_ivl: Duration,
    /// NAK_RPT_IVL: wait for an NCF before the NAK is repeated.
    pub nak_rpt_ivl: Duration,
    /// NAK_RDATA_IVL: wait for RDATA after the NCF.
    pub nak_rdata_ivl: Duration,
    /// NAK_NCF_RETRIES.
    pub nak_ncf_retries: u32,
    /// NAK_DATA_RETRIES.
    pub nak_data_retries: u32,
    /// SPMR_BO_IVL: random wait before asking for an SPM.
    pub spmr_bo_ivl: Duration,
    /// SPMR_SPM_IVL: wait for the SPM before asking again.
    pub spmr_spm_ivl: Duration,
    /// How long the first data of a session may wait for the SPM that tells where the session starts.
    pub first_spm_wait: Duration,
    /// Receive window limit, SQNs (a power of two).
    pub rxw_sqns: u32,
    /// Receive window limit, octets of TSDUs held. An APDU longer than this is still taken, piecewise.
    pub rxw_bytes: usize,
    /// Longest APDU taken; a longer one is unrecoverable loss.
    pub max_apdu: usize,
    /// A peer that is silent for this long is forgotten.
    pub peer_expiry: Duration,
}

/// What [`Peer::read`] returns, in stream order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// One whole APDU.
    Apdu(Bytes),
    /// The session is over after all data: FIN.
    Fin,
    /// The session is over: unrecoverable loss, RST or the source fell silent. Given after all data
    /// before the gap.
    Reset(ResetReason),
}

/// Why a session was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// SQNs were lost for good.
    Loss {
        /// First lost SQN.
        first: Sqn,
        /// How many in a row, as far as known.
        count: u32,
    },
    /// OPT_RST from the source, with its error code.
    Rst(u8),
    /// Nothing heard for `peer_expiry`.
    Silent,
    /// Fragments that contradict each other, or an APDU longer than `max_apdu`.
    BadApdu,
}

/// One source as seen by a receiver.
#[derive(Debug)]
pub struct Peer {
    _todo: (),
}

impl Peer {
    /// State for a source first heard now. `seed` makes its back-off random.
    #[must_use]
    pub fn new(
        config: ReceiverConfig,
        tsi: Tsi,
        dport: u16,
        source: Ipv4Addr,
        group: Ipv4Addr,
        now: Instant,
        seed: u64,
    ) -> Self {
        let _ = (config, tsi, dport, source, group, now, seed);
        todo!()
    }

    /// A packet of this session, whichever type: SPM, ODATA, RDATA, NCF, or another receiver's NAK.
    /// The caller has checked that downstream packets come from the session's source.
    pub fn handle_tpdu(&mut self, now: Instant, tpdu: &Tpdu<'_>) {
        let _ = (now, tpdu);
        todo!()
    }

    /// Let timers that are due fire.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// When `handle_timeout` has something to do next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Append the next NAK or SPMR.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Emitted> {
        let _ = (now, out);
        todo!()
    }

    /// Whether the session has begun: data (or its start) is proven, so the listener should be told.
    #[must_use]
    pub fn is_established(&self) -> bool {
        todo!()
    }

    /// Whether `read` would return something.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        todo!()
    }

    /// Take the next APDU, or the end of the session (again and again).
    pub fn read(&mut self, now: Instant) -> Option<Read> {
        let _ = now;
        todo!()
    }

    /// Nothing more to do for the network: ended, or silent for `peer_expiry`.
    #[must_use]
    pub fn is_expired(&self, now: Instant) -> bool {
        let _ = now;
        todo!()
    }

    /// Octets of TSDUs held in the window, for the endpoint's budget.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        todo!()
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self, now: Instant) -> ReceiverStats {
        let _ = now;
        todo!()
    }
}

/// What `poll_transmit` appended and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// Octets appended.
    pub len: usize,
    /// Unicast target, or the group (SPMR copy with TTL 1).
    pub to: crate::Destination,
    /// TTL if restricted.
    pub ttl: Option<u8>,
}
