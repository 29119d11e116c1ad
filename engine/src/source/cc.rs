//! PGMCC congestion control at the source (draft-ietf-rmt-bb-pgmcc-03; RFC 3208 §12.1 (S-34) wants some): how
//! much may be in flight, and whose ACKs tell.
//!
//! The fixed rate stays the ceiling. Below it a data packet needs a token, and tokens come back with the ACKs of
//! the *acker*, the receiver that would have the lowest throughput over TCP. Where no ACK comes, one data packet
//! goes each [`FLOOR_IVL`]: without any receiver that acknowledges, a source gets on at that rate.
//!
//! Repairs and parity are not acknowledged, but they take room in the network: each takes a token, and it comes back after
//! a round trip. They do not wait for tokens, only for each other: at most W of them, or [`REPAIRS_MIN`], in a
//! round trip.
//!
//! PGMCC §2.9 (C-13): ECN is not used. Packets of a source with congestion control are never marked as
//! capable of it (the driver sees to that), so that none is marked as having met congestion.

mod acker;
mod window;

use super::{Source, SourceConfig};
use crate::num::{Nla, Sqn};
use crate::stats::SourceStats;
use crate::wire::{Ack, CrBits, Nak, Options, PgmccData, PgmccFeedback};
use acker::{Acker, Former, Liars, Report};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use window::{SSTHRESH, Window};

/// The floor: a data packet goes when none went for this long, whatever the tokens. With it no receiver, real
/// or forged, stops a source.
pub(super) const FLOOR_IVL: Duration = Duration::from_millis(100);
/// Successive timeouts after which the acker is taken for gone.
const RETRIES: u32 = 2;
/// So many repairs in a round trip, however small the window: what TCP may begin with (RFC 6928). When all data
/// is sent nothing opens the window any more, and there may be much to repair.
const REPAIRS_MIN: usize = 10;
/// The longest round trip of repairs, and the one before there was an acker.
const REPAIR_TRIP: Duration = Duration::from_millis(100);
/// The longest round trip believed.
const TRIP_MAX: Duration = Duration::from_secs(60);
/// How far an echo may be ahead of us: receivers add what they held it, in whole milliseconds.
const ECHO_SLACK: i32 = -2;

/// The acker of data packets that ask for one.
const NO_ACKER: Nla = Nla::V4(Ipv4Addr::UNSPECIFIED);

/// OPT_PGMCC_DATA as it is long.
pub(super) const EMPTY_OPTION: PgmccData = PgmccData {
    timestamp: 0,
    acker: NO_ACKER,
};

/// Congestion control of one source.
#[derive(Debug)]
pub(super) struct Cc {
    window: Window,
    acker: Option<Acker>,
    former: Former,
    liars: Liars,
    /// Timeouts since the acker's last news.
    retries: u32,
    /// When the next timeout is.
    timeout: Option<Instant>,
    /// When the tokens of repairs come back, in order.
    repairs: VecDeque<Instant>,
    /// The round trip of repairs: the last acker's.
    trip: Duration,
    /// Zero of the timestamps; also a time in the past.
    start: Instant,
    /// When data, not a repair, last went.
    last_sent: Option<Instant>,
    elections: u64,
    timeouts: u64,
    acks_ignored: u64,
    /// RX_WP of the last OPT_CR.
    worst_loss: u16,
}

impl Cc {
    pub(super) fn new(config: &SourceConfig, now: Instant) -> Self {
        Self {
            window: Window::new(config.first_sqn),
            acker: None,
            former: Former::default(),
            liars: Liars::default(),
            retries: 0,
            timeout: None,
            repairs: VecDeque::new(),
            trip: REPAIR_TRIP,
            start: now,
            last_sent: None,
            elections: 0,
            timeouts: 0,
            acks_ignored: 0,
            worst_loss: 0,
        }
    }

    /// OPT_PGMCC_DATA of a data packet that goes now.
    pub(super) fn data_option(&self, now: Instant) -> PgmccData {
        PgmccData {
            timestamp: self.timestamp(now),
            acker: self.acker.as_ref().map_or(NO_ACKER, |acker| acker.nla),
        }
    }

    /// OPT_CRQST of SPMs (RFC 3208 §12.5): network elements let NAKs with a higher loss pass.
    pub(super) fn wanted_reports(&self) -> CrBits {
        CrBits {
            receiver: true,
            ..CrBits::default()
        }
    }

    /// From when on a data packet may go.
    pub(super) fn odata_at(&self) -> Instant {
        let missing = 1.0 - self.window.tokens() + self.repairs.len() as f64;
        if missing <= 0.0 {
            return self.start;
        }
        // As many repairs must have had their round trip.
        let nth = missing.ceil() as usize - 1;
        let floor = self.last_sent.map_or(self.start, |sent| sent + FLOOR_IVL);
        self.repairs.get(nth).map_or(floor, |at| floor.min(*at))
    }

    /// From when on a repair may go.
    pub(super) fn rdata_at(&self) -> Instant {
        let most = REPAIRS_MIN.max(self.window.size() as usize);
        match self.repairs.len().checked_sub(most) {
            Some(at) => self.repairs[at],
            None => self.start,
        }
    }

    /// When `on_timeout` has something to do.
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.timeout
    }

    /// A data packet went.
    pub(super) fn on_odata_sent(&mut self, now: Instant, sqn: Sqn) {
        self.expire_repairs(now);
        match &self.acker {
            // Nobody will acknowledge it.
            None => self.window.restart(),
            Some(acker) => {
                let was_idle = self
                    .last_sent
                    .is_none_or(|sent| now > sent + acker.timeout());
                if was_idle && !self.window.has_unacked() {
                    self.window.shrink(SSTHRESH);
                }
            }
        }
        self.window.on_sent(now, sqn);
        self.last_sent = Some(now);
        if self.timeout.is_none() {
            self.arm(now);
        }
    }

    /// A repair, or parity of either kind, went.
    pub(super) fn on_rdata_sent(&mut self, now: Instant) {
        self.expire_repairs(now);
        let back = now + self.trip;
        let last = self.repairs.back().copied();
        self.repairs
            .push_back(last.map_or(back, |last| last.max(back)));
    }

    /// Feedback in a NAK (PGMCC §2.3): maybe of a receiver that should be the acker.
    pub(super) fn on_nak(&mut self, now: Instant, from: Ipv4Addr, feedback: &PgmccFeedback) {
        let Some(report) = self.report(now, from, feedback) else {
            return;
        };
        match &mut self.acker {
            Some(acker) if acker.is(&report) => acker.on_nak(&report),
            _ => {
                self.consider(now, &report);
            }
        }
    }

    /// An ACK.
    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        from: Ipv4Addr,
        ack: &Ack,
        feedback: Option<&PgmccFeedback>,
    ) {
        let Some(report) = feedback.and_then(|feedback| self.report(now, from, feedback)) else {
            self.acks_ignored += 1;
            return;
        };
        let Some(acker) = self.acker.as_mut().filter(|acker| acker.is(&report)) else {
            // One that was the acker a round trip ago, or nobody's.
            self.acks_ignored += u64::from(!self.consider(now, &report));
            return;
        };
        let Some(news) = self.window.on_ack(now, ack) else {
            self.acks_ignored += 1;
            return;
        };
        let is_honest = acker.on_ack(&report, &news);
        self.trip = acker.rtt().clamp(Duration::from_millis(1), REPAIR_TRIP);
        if !is_honest {
            self.liars.add(now, report.nla);
            self.drop_acker();
        } else if news.received > 0 {
            self.retries = 0;
            self.timeout = None;
            if self.window.has_unacked() {
                self.arm(now);
            }
        }
    }

    /// OPT_CR of a NAK.
    pub(super) fn on_report(&mut self, rx_wp: u16) {
        self.worst_loss = rx_wp;
    }

    /// No ACK came in time (PGMCC §2.7).
    pub(super) fn on_timeout(&mut self, now: Instant) {
        if self.timeout.is_none_or(|at| at > now) {
            return;
        }
        self.timeouts += 1;
        self.retries += 1;
        self.timeout = None;
        self.window.restart();
        // PGMCC §2.7 (C-09): the acker may have left without a word.
        if self.retries >= RETRIES {
            self.drop_acker();
        }
    }

    /// ACKs that told nothing.
    pub(super) fn acks_ignored(&self) -> u64 {
        self.acks_ignored
    }

    /// Fill in its counters.
    pub(super) fn tell(&self, stats: &mut SourceStats) {
        stats.acks_ignored = self.acks_ignored;
        stats.ackers_elected = self.elections;
        stats.cc_timeouts = self.timeouts;
        stats.cc_window = self.window.size() as u64;
        stats.worst_loss = self.worst_loss.into();
    }

    /// What the feedback says, unless it cannot be true.
    fn report(&self, now: Instant, from: Ipv4Addr, feedback: &PgmccFeedback) -> Option<Report> {
        let elapsed = self.timestamp(now).wrapping_sub(feedback.timestamp);
        let elapsed = elapsed.cast_signed();
        if elapsed < ECHO_SLACK || feedback.receiver == NO_ACKER {
            return None;
        }
        let rtt = Duration::from_millis(elapsed.max(0).unsigned_abs().into());
        if rtt > TRIP_MAX || rtt > now.saturating_duration_since(self.start) {
            return None;
        }
        (!self.liars.has(now, feedback.receiver)).then_some(Report {
            nla: feedback.receiver,
            from,
            rtt,
            loss: f64::from(feedback.loss_rate) / f64::from(u16::MAX),
        })
    }

    /// Somebody other than the acker speaks. Whether it is the acker now.
    fn consider(&mut self, now: Instant, report: &Report) -> bool {
        match &self.acker {
            // PGMCC §2.3.1: the first one that speaks. Its token is the one of the packet that asked.
            None => self.window.restart(),
            Some(acker) if acker.nla != report.nla && acker.gives_way_to(report) => {
                if acker.overstates() {
                    self.liars.add(now, acker.nla);
                }
            }
            Some(_) => return false,
        }
        if let Some(old) = self.acker.take() {
            self.former.keep(now, old);
        }
        self.acker = Some(self.former.elect(now, report));
        self.elections += 1;
        self.retries = 0;
        self.timeout = None;
        if self.window.has_unacked() {
            self.arm(now);
        }
        true
    }

    fn drop_acker(&mut self) {
        self.acker = None;
        self.retries = 0;
        self.timeout = None;
        self.window.restart();
    }

    fn arm(&mut self, now: Instant) {
        self.timeout = self.acker.as_ref().map(|acker| now + acker.timeout());
    }

    fn expire_repairs(&mut self, now: Instant) {
        while self.repairs.front().is_some_and(|at| *at <= now) {
            self.repairs.pop_front();
        }
    }

    /// Milliseconds since the start, from 1 on.
    fn timestamp(&self, now: Instant) -> u32 {
        let millis = now.saturating_duration_since(self.start).as_millis();
        // It wraps after 49 days, and so do those who compute with it.
        (millis as u32).wrapping_add(1)
    }
}

/// What it means for the source.
impl Source {
    /// What a NAK says of the network beside what it asks for.
    pub(super) fn handle_feedback(
        &mut self,
        now: Instant,
        from: Ipv4Addr,
        nak: &Nak,
        options: &Options,
    ) {
        let Some(cc) = self.cc.as_mut().filter(|_| self.config.is_named_by(nak)) else {
            return;
        };
        if let Some(cr) = options.cr.filter(|cr| cr.bits.receiver) {
            cc.on_report(cr.rx_wp);
        }
        if let Some(feedback) = &options.pgmcc_feedback {
            cc.on_nak(now, from, feedback);
        }
    }

    /// When congestion control lets a repair go.
    pub(super) fn rdata_at(&self) -> Instant {
        self.cc
            .as_ref()
            .map_or(self.rate.ready_at(), |cc| cc.rdata_at())
    }

    /// When it lets new data go.
    pub(super) fn odata_at(&self) -> Instant {
        self.cc
            .as_ref()
            .map_or(self.rate.ready_at(), |cc| cc.odata_at())
    }
}
