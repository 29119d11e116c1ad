//! One peer, that is one source as a receiver sees it: receive window, NAK machine, reassembly
//! (RFC 3208 §6, §7, §9.2).
//!
//! Pull model: packets wait in the window until [`Peer::read`] takes the APDU, so a reader that is
//! slow holds back the window, never memory beyond `rxw_bytes`.
//!
//! | file | owns |
//! |---|---|
//! | `inbound` | what each packet of the network means |
//! | `progress` | where the session begins, what comes to the head of the window, how it ends |
//! | `rxw` | the window: what is held, what is missing |
//! | `gap` | the NAK state machine of one SQN, its timers, the back-off |
//! | `repair` | which gaps are opened when, NAK lists |
//! | `parity` | transmission groups, parity packets, and the arithmetic that gives data back |
//! | `groups` | what is held of groups that are not whole |
//! | `group_naks` | when a group waits for parity, asks for it, or for its packets one by one |
//! | `fec` | what parity and news of groups mean |
//! | `waits` | how long a try may take |
//! | `reassembly` | the APDU of several TPDUs at the head of the window |
//! | `join` | where the session begins; SPM requests |
//! | `cc` | loss, ACKs, reports on the network in NAKs |
//! | `loss` | what unrecoverable loss means: the end, or a gap |
//! | `unordered` | APDUs given before their turn |
//! | `poll` | answers to POLLs |
//! | `implosion` | the advertised back-off interval; parents that reach nobody |
//! | `redirect` | a local repairer (DLR) in the parent's place |
//! | `dlr` | being one |
//! | `emit` | packets to the network |

mod cc;
mod config;
mod counters;
mod dlr;
mod emit;
mod fec;
mod gap;
mod group_naks;
mod groups;
mod implosion;
mod inbound;
mod join;
mod loss;
mod parity;
mod poll;
mod progress;
mod reassembly;
mod redirect;
mod repair;
mod rxw;
mod unordered;
mod waits;

pub use config::{ParityNaks, ReceiverConfig, SourceFilter, Subnet};
pub use dlr::{DlrConfig, DlrRole};
pub use emit::Emitted;

use crate::num::{Sqn, Tsi};
use crate::stats::ReceiverStats;
use crate::wire::{Body, Nak, Options, Tpdu};
use crate::{Arrival, Destination};
use bytes::Bytes;
use cc::Cc;
use counters::Counters;
use dlr::Dlr;
use gap::State;
use implosion::Bounds;
use join::{Copy, Phase, Spmr};
use poll::Polled;
use reassembly::Assembly;
use redirect::Redirect;
use repair::Repair;
use rxw::Rxw;
use std::net::Ipv4Addr;
use std::time::Instant;
use unordered::Early;

/// Share of a small budget that the window's slots may take, and while memory is short, when the timers of
/// their gaps must fit beside them: enough unless TSDUs are tiny.
const SLOT_SHARE: usize = 4;
const SLOT_SHARE_SHORT: usize = 8;

/// Share of a session's budget that a DLR's store may take while memory is short.
const STORE_SHARE_SHORT: usize = 16;

/// What [`Peer::read`] returns, in stream order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// One whole APDU.
    Apdu(Bytes),
    /// Data was lost for good here, and the session goes on: only where the receiver was told to
    /// ([`ReceiverConfig::tolerates_loss`]). An APDU that lost a part is not given.
    Gap {
        /// First lost SQN.
        first: Sqn,
        /// How many in a row.
        count: u32,
    },
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
    config: ReceiverConfig,
    tsi: Tsi,
    dport: u16,
    source: Ipv4Addr,
    group: Ipv4Addr,
    phase: Phase,
    rxw: Rxw,
    repair: Repair,
    assembly: Assembly,
    early: Early,
    end: Option<End>,
    established: bool,
    /// The first thing heard of it was its end: who comes then has lost nothing.
    was_over: bool,
    /// SQN of the last SPM accepted.
    spm_sqn: Option<Sqn>,
    /// Where NAKs go: SPM_PATH of that SPM. `None`: no NAK yet (RFC 3208 §6.2 ).
    path: Option<Ipv4Addr>,
    /// The path said OPT_NBR_UNREACH: no NAK until a regular SPM.
    unreachable: bool,
    /// The NCF that said so, for the neighbours.
    warning: Option<Box<Nak>>,
    /// Of the advertised NAK_BO_IVL.
    bounds: Bounds,
    polled: Polled,
    redirect: Redirect,
    /// The NAK just sent, for a copy with TTL 1 to the group.
    nak_copy: Option<Box<Nak>>,
    dlr: Option<Box<Dlr>>,
    spmr: Spmr,
    cc: Cc,
    rng: fastrand::Rng,
    /// When its last plausible packet came.
    last_heard: Instant,
    silent: bool,
    counters: Counters,
}

/// How the stream ends.
#[derive(Debug)]
struct End {
    /// First SQN that is not delivered any more.
    at: Sqn,
    read: Read,
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
        let mut rng = fastrand::Rng::with_seed(seed);
        // Who sends nothing has no name, and repairs for nobody.
        let (nla, dlr) = match config.listen_only {
            true => (Ipv4Addr::UNSPECIFIED, None),
            false => (config.nla, config.dlr.clone()),
        };
        Self {
            rxw: Rxw::new(config.rxw_sqns, config.rxw_bytes),
            polled: Polled::new(fastrand::Rng::with_seed(!seed).u32(..)),
            dlr: dlr.map(|dlr| Box::new(Dlr::new(dlr, now))),
            repair: Repair::new(&config, now, rng.fork()),
            config,
            tsi,
            dport,
            source,
            group,
            phase: Phase::Listening,
            assembly: Assembly::default(),
            early: Early::default(),
            end: None,
            established: false,
            was_over: false,
            spm_sqn: None,
            path: None,
            unreachable: false,
            warning: None,
            bounds: Bounds::default(),
            redirect: Redirect::default(),
            nak_copy: None,
            spmr: Spmr::Idle,
            cc: Cc::new(nla),
            rng,
            last_heard: now,
            silent: false,
            counters: Counters::new(now),
        }
    }

    /// RAND_NODE_ID of the host: the same for all its sessions (RFC 3208 §14.5, P-01).
    #[must_use]
    pub fn with_node_id(mut self, node_id: u32) -> Self {
        self.polled = Polled::new(node_id);
        self
    }

    /// [`Self::handle_arrival`] of what the source sent to the group.
    pub fn handle_tpdu(&mut self, now: Instant, tpdu: &Tpdu<'_>) {
        let arrival = Arrival {
            from: self.source,
            group: Some(self.group),
        };
        self.handle_arrival(now, &arrival, tpdu);
    }

    /// Whether a downstream packet that came from there is to be handled: the source's, and the few that
    /// have reason to come from elsewhere.
    #[must_use]
    pub fn believes(&self, arrival: &Arrival, tpdu: &Tpdu<'_>) -> bool {
        arrival.from == self.source
            || self.is_warning(arrival, tpdu)
            || self.is_dlrs_answer(arrival, tpdu)
    }

    /// A packet of this session, whichever type: SPM, ODATA, RDATA, NCF, POLL, or another receiver's NAK,
    /// POLR or SPMR. The caller has asked [`Self::believes`] about downstream packets.
    pub fn handle_arrival(&mut self, now: Instant, arrival: &Arrival, tpdu: &Tpdu<'_>) {
        let is_stranger = arrival.from != self.source;
        match &tpdu.body {
            Body::Ncf(ncf) if tpdu.options.nbr_unreach => {
                self.counters.plain.ncfs_received += 1;
                self.on_unreach_ncf(arrival, ncf, &tpdu.options);
            }
            Body::Ncf(ncf) if is_stranger => self.on_dlrs_ncf(now, arrival, ncf),
            Body::Rdata(data) if is_stranger => self.on_dlrs_rdata(now, *data, tpdu),
            Body::Nak(_) if arrival.group.is_none() => self.on_redirected_nak(now, arrival, tpdu),
            Body::Odata(data) => self.on_data(now, *data, tpdu, false),
            Body::Rdata(data) => self.on_data(now, *data, tpdu, true),
            Body::Spm(spm) => self.on_spm(now, spm, &tpdu.options),
            Body::Ncf(ncf) => self.on_ncf(now, ncf, tpdu),
            Body::Nak(nak) => self.on_nak(now, nak, tpdu),
            Body::Spmr => self.spmr.on_heard(now, &self.config),
            // To the group, or it is no poll.
            Body::Poll(poll) if arrival.group.is_some() => self.on_poll(now, poll),
            Body::Polr(_) => self.on_polr(now, arrival, &tpdu.options),
            Body::Poll(_) | Body::Nnak(_) | Body::Ack(_) => {}
        }
    }

    /// Let timers that are due fire.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.is_silent(now) && !self.silent {
            self.silent = true;
            if self.phase == Phase::Open {
                self.finish(self.rxw.edge(), Read::Reset(ResetReason::Silent));
            }
        }
        if let Phase::Holding { until } = self.phase
            && until <= now
        {
            self.begin(self.rxw.base(), None);
        }
        self.dlr.take_if(|dlr| dlr.is_done(now));
        self.spmr.on_timeout(now, &self.config, &mut self.rng);
        self.cc.on_timeout(now);
        let lost = self.repair.on_timeout(now, &mut self.rxw);
        self.on_dlr_failures(now, &lost);
        if !lost.sqns.is_empty() {
            self.on_lost(lost);
        }
        self.settle(now);
    }

    /// When `handle_timeout` has something to do next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let dlr = self.dlr.as_ref().and_then(|dlr| dlr.next_timeout());
        if self.silent {
            return None;
        }
        if self.is_ended() {
            return dlr;
        }
        let hold = match self.phase {
            Phase::Holding { until } => Some(until),
            _ => None,
        };
        let expiry = self.last_heard.checked_add(self.config.peer_expiry);
        let timers = [
            self.repair.next_timeout(),
            self.spmr.next_timeout(),
            self.cc.next_timeout(),
            hold,
            expiry,
            self.polled.next_timeout(),
            dlr,
        ];
        timers.into_iter().flatten().min()
    }

    /// Append the next packet: ACK, NAK, SPMR, POLR, and what a DLR sends.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Emitted> {
        if self.silent || self.config.listen_only {
            return None;
        }
        if let Some(emitted) = self.emit_dlr(now, out) {
            return Some(emitted);
        }
        if self.is_ended() {
            return None;
        }
        if let Some(len) = self.emit_ack(now, out) {
            return Some(Emitted::plain(len, Destination::Host(self.source)));
        }
        if let Some(emitted) = self.emit_warning(out) {
            return Some(emitted);
        }
        if let Some(nak) = self.nak_copy.take() {
            return Some(self.emit_nak_copy(now, *nak, out));
        }
        if let Some(path) = self.path.filter(|_| !self.unreachable) {
            let dlr = self.redirect.dlr();
            if let Some((list, to)) = self.repair.next_nak(now, &mut self.rxw, dlr) {
                return Some(self.emit_nak(now, &list, to, path, out));
            }
            // RFC 3208 §9.5.3.1: not to a DLR, which does not make any (D-06).
            if let Some(list) = self.repair.next_parity_nak(now, &self.rxw) {
                return Some(self.emit_parity_nak(now, &list, path, out));
            }
            if let Some(nak) = self.election_nak() {
                return Some(self.emit_report(now, nak, false, path, out));
            }
        }
        if let Some(reply) = self.polled.take_due(now) {
            return Some(self.emit_polr(reply, out));
        }
        let (to, ttl) = match self.spmr.next_copy(now, &self.config)? {
            Copy::Group => (Destination::Group(self.group), Some(1)),
            Copy::Source => (Destination::Host(self.source), None),
        };
        let len = self.emit(Body::Spmr, Options::default(), &[], out);
        Some(Emitted {
            ttl,
            ..Emitted::plain(len, to)
        })
    }

    /// Whether the session has begun: data (or its start) is proven, so the listener should be told.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.established
    }

    /// Whether `read` would return something.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        // Whatever cannot be read at the head has been taken out by `fill_head`.
        self.phase == Phase::Open
            && (self.assembly.is_complete()
                || self.rxw.head().is_some()
                || self.rxw.is_head_lost()
                || self.early.is_readable()
                || self.is_at_end())
    }

    /// Take the next APDU, the gap before it, or the end of the session (again and again).
    pub fn read(&mut self, now: Instant) -> Option<Read> {
        if self.phase != Phase::Open {
            return None;
        }
        let apdu = match self.assembly.take() {
            Some(apdu) => apdu,
            None if self.is_at_end() => return self.end.as_ref().map(|end| end.read.clone()),
            None => match self.rxw.pop_lost() {
                Some((first, count)) => {
                    self.counters.plain.loss_gaps += 1;
                    self.settle(now);
                    return Some(Read::Gap { first, count });
                }
                None => self.take_apdu()?,
            },
        };
        self.counters.plain.messages_received += 1;
        self.counters.plain.data_bytes_received += apdu.len() as u64;
        self.settle(now);
        Some(Read::Apdu(apdu))
    }

    /// The APDU at the head of the window, else one beyond it.
    fn take_apdu(&mut self) -> Option<Bytes> {
        match self.rxw.pop_head() {
            Some(packet) => Some(packet.payload),
            None => self.early.read(&mut self.rxw),
        }
    }

    /// Nothing more to do for the network: ended, or silent for `peer_expiry` (RFC 3208 §9.7.1: after FIN, when
    /// all is here or given up). What was received may still be read.
    #[must_use]
    pub fn is_expired(&self, now: Instant) -> bool {
        let repairs = self.dlr.as_ref().is_some_and(|dlr| !dlr.is_done(now));
        (self.is_ended() && !repairs) || self.is_silent(now)
    }

    /// No more than this may be held from now on, of TSDUs and of slots. `is_short`: the endpoint's memory is
    /// short, so that half of it is for the window, and an APDU under assembly grows in small steps.
    pub fn set_budget(&mut self, bytes: usize, is_short: bool) {
        let (slots, window) = match is_short {
            true => (bytes / SLOT_SHARE_SHORT, bytes / 2),
            false => (bytes / SLOT_SHARE, bytes - bytes / SLOT_SHARE),
        };
        self.rxw.set_limit_slots(slots);
        self.rxw.set_limit_bytes(window.min(self.config.rxw_bytes));
        self.assembly.set_lean(is_short);
        if let Some(dlr) = &mut self.dlr {
            dlr.set_limit(match is_short {
                true => bytes / STORE_SHARE_SHORT,
                false => usize::MAX,
            });
        }
    }

    /// Octets of TSDUs held in the window, of what FEC needs beside it, of the APDU under assembly and of a
    /// DLR's store, for the endpoint's budget.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        let store = self.dlr.as_ref().map_or(0, |dlr| dlr.octets());
        self.rxw.bytes() + self.repair.groups.octets() + self.assembly.bytes() + store
    }

    /// Octets the window's slots and their timers take, for the endpoint's budget: one packet far ahead makes
    /// slots for all that are before it.
    #[must_use]
    pub fn slot_octets(&self) -> usize {
        self.rxw.slot_octets() + self.repair.octets() + self.repair.groups.ring_octets()
    }

    /// Packets that were for this session and of no use: impossible fields, or no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.counters.plain.dropped_malformed + self.counters.plain.dropped_window_full
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self, now: Instant) -> ReceiverStats {
        let mut stats = self.counters.stats(now);
        if self.phase == Phase::Open {
            stats.trail = u64::from(self.rxw.base().0);
            stats.lead = u64::from(self.rxw.lead().0);
        }
        stats.packets_buffered = u64::from(self.rxw.held());
        for sqn in self.rxw.stored_from(self.rxw.edge(), self.rxw.end()) {
            let state = match self.rxw.gap(sqn).map(|gap| gap.state) {
                Some(State::Group) => self.repair.group_state(sqn).or(Some(State::BackOff)),
                state => state,
            };
            match state {
                Some(State::BackOff | State::Due | State::Group) => stats.pending_naks += 1,
                Some(state) => {
                    if stats.first_nak == 0 {
                        stats.first_nak = u64::from(sqn.0);
                    }
                    stats.pending_naks += u64::from(state == State::WaitNcf);
                    stats.outstanding_naks += u64::from(state == State::WaitData);
                }
                None => {}
            }
        }
        stats
    }
}
