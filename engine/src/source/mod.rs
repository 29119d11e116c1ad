//! One PGM source: transmit window, SPM schedule, repairs, rate (RFC 3208 §5, §16).
//!
//! Owns the TSI's sequence space. Knows no socket and no clock: the caller passes `now`, drains
//! [`Source::poll_transmit`] and comes back at [`Source::poll_timeout`].

mod abort;
mod backoff;
mod cc;
mod config;
mod containment;
mod emit;
mod group;
mod parity;
mod poll;
mod queue;
mod rate;
mod repair;
mod spm;
mod txw;

#[cfg(feature = "testnet")]
pub(crate) use backoff::{Backoff, Round};
pub use config::{CongestionControl, Fec, SourceConfig};
pub use emit::Emitted;

use crate::num::Sqn;
use crate::stats::SourceStats;
use crate::wire::{Body, Nak, Rst, Tpdu};
use bytes::Bytes;
use cc::Cc;
use containment::Containment;
use emit::{Mark, emit};
use parity::Parity;
use poll::Poller;
use queue::SendQueue;
use rate::{Meter, Regulator};
use repair::Repairs;
use spm::SpmSchedule;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use txw::TxWindow;

/// Why [`Source::send`] refused an APDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The queue of unsent APDUs is full: wait for [`Source::is_writable`].
    #[error("send queue full")]
    Full,
    /// `close` was called.
    #[error("source closed")]
    Closed,
    /// Empty, or longer than [`MAX_APDU`], or than what the APDU begun lacks.
    #[error("APDU length out of range")]
    Length,
    /// An APDU was begun and is not whole yet.
    #[error("APDU before it is not whole")]
    Unfinished,
}

/// Longest APDU, octets.
pub const MAX_APDU: usize = 256 << 20;

/// Weight of repairs against new data when both wait: so many RDATA, then one ODATA (RFC 3208 §5.1.3 (S-06)).
const RDATA_RUN: u32 = 4;

/// SPMs are numbered on their own, from anywhere (RFC 3208 §3.6.1 (S-11)): libpgm takes an SPM_SQN for old that is
/// not newer than 0 when it knows none yet.
const FIRST_SPM_SQN: Sqn = Sqn(1);

/// A session does not end before this many SPMs told its FIN and nobody answered them: time in which the
/// process did not run is no quiet.
const FINS: u32 = 12;

/// Quiet time after FIN at least, in back-off intervals: a receiver must be able to ask, and ask again.
const QUIET_BACKOFFS: u32 = 4;

/// One PGM source.
#[derive(Debug)]
pub struct Source {
    config: SourceConfig,
    queue: SendQueue,
    txw: TxWindow,
    repairs: Repairs,
    parity: Option<Parity>,
    containment: Containment,
    poller: Poller,
    spm: SpmSchedule,
    spm_sqn: Sqn,
    rate: Regulator,
    /// Memory that the queue may take, octets.
    queue_memory: usize,
    /// Congestion control, if any.
    cc: Option<Cc>,
    /// RDATA sent since the last ODATA.
    rdata_run: u32,
    closed: bool,
    /// Closed and everything sent: every SPM tells the end.
    fin_since: Option<Instant>,
    /// It is an orderly one.
    fin: bool,
    /// It is not, or not any more: OPT_RST.
    rst: Option<Rst>,
    /// The latest ODATA, RDATA or valid NAK.
    active: Instant,
    finished: bool,
    stats: SourceStats,
    meter: Meter,
}

impl Source {
    /// A source that starts at `now`: its first SPM is due at once. Values no source can work with (a
    /// zero interval, a window below one TPDU) become the nearest workable ones.
    #[must_use]
    pub fn new(config: SourceConfig, now: Instant) -> Self {
        let config = config.clamped();
        Self {
            queue: SendQueue::new(&config),
            txw: TxWindow::new(&config),
            repairs: Repairs::new(&config, now),
            parity: config.fec.map(|fec| Parity::new(fec, now)),
            containment: Containment::new(config.dup_nak_max),
            poller: Poller::new(&config, now),
            spm: SpmSchedule::new(&config, now),
            spm_sqn: FIRST_SPM_SQN,
            rate: Regulator::for_data(config.rate, config.max_tpdu, now),
            queue_memory: usize::MAX,
            cc: match config.congestion_control {
                CongestionControl::Off => None,
                CongestionControl::Pgmcc => Some(Cc::new(&config, now)),
            },
            rdata_run: 0,
            closed: false,
            fin_since: None,
            fin: false,
            rst: None,
            active: now,
            finished: false,
            stats: SourceStats::default(),
            meter: Meter::new(now),
            config,
        }
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &SourceConfig {
        &self.config
    }

    /// Queue one APDU. It is cut into TSDUs as the rate admits them.
    ///
    /// # Errors
    /// [`SendError`]; the APDU was not taken.
    pub fn send(&mut self, _now: Instant, apdu: Bytes) -> Result<(), SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        if apdu.is_empty() || apdu.len() > MAX_APDU {
            return Err(SendError::Length);
        }
        if self.queue.lacking() > 0 {
            return Err(SendError::Unfinished);
        }
        if !self.has_room() {
            return Err(SendError::Full);
        }
        self.queue.push(apdu);
        self.stats.messages_sent += 1;
        Ok(())
    }

    /// Begin an APDU of `len` octets that come by `append`, and is sent as it fills. Closed before it is
    /// whole, the source sends what it has of it: then receivers know that they miss something.
    ///
    /// # Errors
    /// [`SendError`]; nothing was begun.
    pub fn begin(&mut self, len: usize) -> Result<(), SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        if !(1..=MAX_APDU).contains(&len) {
            return Err(SendError::Length);
        }
        if self.queue.lacking() > 0 {
            return Err(SendError::Unfinished);
        }
        if !self.has_room() {
            return Err(SendError::Full);
        }
        self.queue.begin(len);
        self.stats.messages_sent += 1;
        Ok(())
    }

    /// The next octets of the APDU begun.
    ///
    /// # Errors
    /// [`SendError`]; nothing was taken. `Length`: none, or more than [`Self::lacking`].
    pub fn append(&mut self, octets: Bytes) -> Result<(), SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        if octets.is_empty() || octets.len() > self.queue.lacking() {
            return Err(SendError::Length);
        }
        if !self.has_room() {
            return Err(SendError::Full);
        }
        self.queue.append(octets);
        Ok(())
    }

    /// Octets that the APDU begun still lacks; 0 when there is none.
    #[must_use]
    pub fn lacking(&self) -> usize {
        self.queue.lacking()
    }

    /// Whether there is room for another APDU, or for more of the one begun.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        !self.closed && self.has_room()
    }

    /// Memory it may take from now on, octets: the queue a half at most, which takes nothing beyond the next packet while it
    /// has that; the window the rest. Data that is needed for room leaves it after a second then, whatever `window_ivl` says.
    pub fn set_memory(&mut self, octets: usize) {
        self.queue_memory = SendQueue::MEMORY_MAX.min(octets / 2);
        self.txw.set_memory(octets - self.queue_memory);
    }

    /// Memory that queue and window take, octets; of an APDU above 128 KiB that waits, no more than a part.
    #[must_use]
    pub fn octets_held(&self) -> usize {
        self.queue.octets_held() + self.txw.octets()
    }

    /// Whether the queue takes more. What may be less than the next packet cannot be all.
    fn has_room(&self) -> bool {
        let is_needed = self.queue.octets() < self.config.max_tpdu;
        self.queue.is_open() && (is_needed || self.queue.octets_held() < self.queue_memory)
    }

    /// Octets of APDUs accepted and not yet sent for the first time (SIOCOUTQ).
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.queue.octets()
    }

    /// No more data: FIN is announced when the queue is empty, repairs go on (RFC 3208 §9.7).
    pub fn close(&mut self, now: Instant) {
        self.closed = true;
        self.poller.close();
        self.queue.break_off();
        self.begin_fin(now);
    }

    /// Closed, everything sent, and the linger over.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// A packet addressed to this TSI from a receiver: NAK, NNAK, SPMR, POLR, ACK.
    pub fn handle_tpdu(&mut self, now: Instant, from: Ipv4Addr, tpdu: &Tpdu<'_>) {
        match &tpdu.body {
            Body::Nak(nak) => {
                self.handle_feedback(now, from, nak, &tpdu.options);
                self.handle_nak(now, from, nak, tpdu.parity);
            }
            Body::Ack(ack) => {
                self.stats.acks_received += 1;
                if let Some(cc) = &mut self.cc {
                    cc.on_ack(now, from, ack, tpdu.options.pgmcc_feedback.as_ref());
                }
            }
            // RFC 3208 §9.5 (S-21): a DLR repairs it; for us it is accounting.
            Body::Nnak(_) => self.stats.nnaks_received += 1,
            Body::Polr(polr) => {
                let counts = self.poller.on_polr(from, polr);
                self.stats.polrs_received += u64::from(counts);
                self.stats.polrs_ignored += u64::from(!counts);
            }
            Body::Spmr => {
                self.stats.spmrs_received += 1;
                self.spm.on_spmr(now);
            }
            _ => {}
        }
    }

    /// Let timers that are due fire.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.finish_at().is_some_and(|at| at <= now) {
            self.finished = true;
        }
        if self.close_group_at().is_some_and(|at| at <= now) {
            self.close_group(now);
        }
        if let Some(cc) = &mut self.cc {
            cc.on_timeout(now);
        }
    }

    /// When `handle_timeout` or `poll_transmit` has something to do next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.finished {
            return None;
        }
        let acks = self.cc.as_ref().and_then(Cc::timeout);
        let parity_ncf_at = self.parity_ncf_at();
        let due = [
            self.repairs.ncf_at(),
            parity_ncf_at,
            self.told_at(),
            self.poller.due(self.rate.ready_at()),
            self.data_at(),
            self.close_group_at(),
            self.finish_at(),
            acks,
        ];
        Some(due.into_iter().flatten().fold(self.spm.due(), Instant::min))
    }

    /// Append the next packet that may go now, by priority NCF, SPM, POLL, repairs and data (RFC 3208
    /// §5.1.3 (S-05)). All but an NCF that tells of unreachability go to the group.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Emitted> {
        if self.finished {
            return None;
        }
        while self.repairs.ncf_at().is_some_and(|at| at <= now) {
            if let Some(sqns) = self.repairs.take_ncf(now, &mut self.txw) {
                return self.emit_ncf(now, Mark::default(), &sqns, out);
            }
        }
        while self.parity_ncf_at().is_some_and(|at| at <= now) {
            if let Some(sqns) = self.take_parity_ncf(now) {
                return self.emit_ncf(now, Mark::PARITY, &sqns, out);
            }
        }
        if self.told_at().is_some_and(|at| at <= now)
            && let Some(emitted) = self.emit_unicast_ncf(now, out)
        {
            return Some(emitted);
        }
        if self.spm.due() <= now {
            return Some(self.emit_spm(now, out));
        }
        if self.rate.ready_at() > now {
            return None;
        }
        if let Some(poll) = self.poller.next_poll(now, self.config.nla) {
            return Some(self.emit_poll(now, poll, out));
        }
        let [may_repair, may_send] = [self.rdata_at(), self.odata_at()].map(|at| at <= now);
        if may_repair
            && self.rdata_run < RDATA_RUN
            && let Some(emitted) = self.emit_repair(now, out)
        {
            return Some(emitted);
        }
        let emitted = (may_repair.then(|| self.emit_proactive(now, out)).flatten())
            .or_else(|| may_send.then(|| self.emit_odata(now, out)).flatten())
            .or_else(|| may_repair.then(|| self.emit_repair(now, out)).flatten());
        if emitted.is_none() {
            self.rate.on_idle(now);
        }
        emitted
    }

    /// SQNs and NAKs asked of it that it did not answer.
    #[must_use]
    pub fn naks_refused(&self) -> u64 {
        self.stats.naks_ignored + self.stats.naks_too_late
    }

    /// ACKs it made something of so far: only with congestion control.
    #[must_use]
    pub fn acks_taken(&self) -> u64 {
        let cc = self.cc.as_ref();
        cc.map_or(0, |cc| self.stats.acks_received - cc.acks_ignored())
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self, now: Instant) -> SourceStats {
        let mut stats = SourceStats {
            outstanding_naks: self.repairs.outstanding() as u64,
            buffer_available: self.txw.free(),
            trail: u64::from(self.txw.trail().0),
            lead: u64::from(self.txw.lead().0),
            population: self.poller.population().unwrap_or(0),
            rate_kbits_overall: self.meter.overall(now),
            rate_kbits_last: self.meter.last(now),
            ..self.stats
        };
        if let Some(cc) = &self.cc {
            cc.tell(&mut stats);
        }
        stats
    }

    fn handle_nak(&mut self, now: Instant, from: Ipv4Addr, nak: &Nak, parity: bool) {
        self.stats.naks_received += 1;
        // RFC 3208 §5.2, §8.3: for our source and group.
        let ours = self.config.is_named_by(nak);
        // RFC 3208 §9.8.2 (S-32): we said that they go unanswered.
        let is_deaf = self.rst.is_some_and(|rst| rst.no_naks);
        if !ours || is_deaf {
            self.stats.naks_ignored += 1;
            return;
        }
        if parity {
            return self.handle_parity_nak(now, from, nak.sqns());
        }
        // RFC 3208 §11.1 (F-10). Departs from RFC 3208 §11.4 (F-11): also in a full group. Who asks by SQN does not
        // use parity (libpgm never asks for it), and network elements do not let parity pass to it.
        if self
            .repairs
            .on_nak(now, from, nak.sqns(), &mut self.txw, &mut self.stats)
        {
            self.active = now;
            self.spm.on_heard();
        }
        if self.repairs.take_duplicate() {
            self.poller.on_duplicate(now);
        }
        // RFC 3208 §15.3.2 (I-08): with the unicast NCF goes an SPM, for all whom it still reaches.
        if self.containment.on_nak(now, from, nak, &mut self.txw) {
            self.spm.on_spmr(now);
        }
    }

    /// When RDATA or ODATA may go; `None` when there is none or only a repair can make room for it.
    fn data_at(&self) -> Option<Instant> {
        let ready = self.rdata_at();
        let parity = self.parity.as_ref().filter(|parity| parity.is_pending());
        let repair = self
            .repairs
            .rdata_at(ready)
            .into_iter()
            .chain(parity.map(|_| ready))
            .min();
        let new = self.new_data_at().map(|at| at.max(self.odata_at()));
        let at = repair.into_iter().chain(new).min()?;
        Some(at.max(self.rate.ready_at()))
    }

    /// When there is new data and room for it.
    fn new_data_at(&self) -> Option<Instant> {
        let cut = self.queue.peek(self.txw.next(), self.is_ending())?;
        if self.txw.has_room(cut.size) {
            return Some(self.rate.ready_at());
        }
        self.txw.release_at()
    }

    /// When the linger is over.
    ///
    /// Departs from RFC 3208 §9.7.2 (S-30): SPMs and repairs go on after FIN until nobody has asked for a while, with
    /// a bound, not for TXW_SECS: idle data stays in our window for ever, and most groups are done much sooner.
    fn finish_at(&self) -> Option<Instant> {
        let since = self.fin_since?;
        let latest = since + self.config.linger_max;
        if self.spm.fins_sent() == 0 {
            return None;
        }
        let repairing =
            !self.repairs.is_idle() || !self.parity.as_ref().is_none_or(Parity::is_idle);
        if self.spm.fins_unanswered() < FINS || repairing {
            return Some(latest);
        }
        let active = self.active.max(since);
        Some(latest.min(active + self.quiet(active - since)))
    }

    /// Quiet time that ends the session when receivers needed repairs for `repairing` after the FIN.
    /// Where much is lost, they ask at ever longer intervals, and not every NAK arrives.
    fn quiet(&self, repairing: Duration) -> Duration {
        let backoffs = self.repairs.nak_bo_ivl() * QUIET_BACKOFFS;
        self.config.linger_quiet.max(backoffs).max(2 * repairing)
    }

    /// Whether FIN may go with the last ODATA.
    fn is_ending(&self) -> bool {
        self.closed && self.rst.is_none()
    }

    /// RFC 3208 §9.7.2 (S-28): the FIN is announced once SPM_LEAD is the last data there will be.
    fn begin_fin(&mut self, now: Instant) {
        if self.closed && self.queue.is_empty() && self.fin_since.is_none() {
            self.close_group(now);
            self.fin_since = Some(now);
            self.fin = self.rst.is_none();
            self.announce_end(now);
        }
    }
}
