//! When SPMs are due (RFC 3208 §5.1.4-§5.1.6, §9.7.2, §13.4).
//!
//! Four reasons run side by side; one SPM serves all that are due when it goes.

use super::SourceConfig;
use std::time::{Duration, Instant};

/// First interval of the dense SPMs at the start.
const START_STEP: Duration = Duration::from_millis(5);
/// The session begins with this many SPMs: a receiver that knows none cannot ask for repairs, and libpgm
/// takes what it misses before its first SPM for lost at once.
const START_BURST: u32 = 3;
/// At the start and during the linger, SPMs are at least this dense per interval: at 50 % loss a
/// receiver misses them all once in 2¹⁶ sessions.
const DENSITY: u32 = 16;
/// SPMs take at most this share of the rate (one over), so that they never stop data of a slow source.
const RATE_SHARE: u64 = 4;
/// About the octets of an SPM.
const SPM_LEN: u64 = 64;

#[derive(Debug)]
pub(super) struct SpmSchedule {
    started: Instant,
    start_ivl: Duration,
    /// Next of the dense SPMs of the start.
    start_at: Option<Instant>,
    /// Of the burst, still to be sent.
    start_burst: u32,
    /// Ambient SPMs run free of data and of heartbeats (RFC 3208 §5.1.4, §5.1.6 (S-07, S-10)).
    ambient_ivl: Duration,
    ambient_at: Instant,
    ihb_min: Duration,
    ihb_max: Duration,
    /// IHB_TMR and the interval it was set to.
    ihb: Duration,
    ihb_at: Option<Instant>,
    /// An SPMR (or the FIN) waits for its SPM.
    asked_at: Option<Instant>,
    answered: Option<Instant>,
    /// Closest that two SPMs follow each other.
    spacing: Duration,
    last: Option<Instant>,
    /// SPMs sent since the FIN.
    fins: Option<u32>,
    /// Of them, those that nobody answered yet.
    unanswered: u32,
}

impl SpmSchedule {
    pub(super) fn new(config: &SourceConfig, now: Instant) -> Self {
        let spacing = config
            .rate
            .map_or(0, |rate| RATE_SHARE * SPM_LEN * 1_000_000_000 / rate);
        Self {
            started: now,
            start_ivl: config.start_ivl,
            start_at: Some(now),
            start_burst: START_BURST,
            ambient_ivl: config.ambient_spm_ivl,
            ambient_at: now + config.ambient_spm_ivl,
            ihb_min: config.ihb_min,
            ihb_max: config.ihb_max,
            ihb: config.ihb_min,
            ihb_at: None,
            asked_at: None,
            answered: None,
            spacing: Duration::from_nanos(spacing),
            last: None,
            fins: None,
            unanswered: 0,
        }
    }

    /// When the next SPM is due.
    pub(super) fn due(&self) -> Instant {
        let due = [self.start_at, self.ihb_at, self.asked_at];
        let due = due
            .into_iter()
            .flatten()
            .fold(self.ambient_at, Instant::min);
        self.last.map_or(due, |last| due.max(last + self.spacing))
    }

    /// Within the start: who hears this was there from the beginning.
    pub(super) fn is_start(&self, now: Instant) -> bool {
        now <= self.started + self.start_ivl
    }

    /// RFC 3208 §9.7.2: every SPM after the close carries OPT_FIN.
    pub(super) fn is_fin(&self) -> bool {
        self.fins.is_some()
    }

    /// SPMs with OPT_FIN so far.
    pub(super) fn fins_sent(&self) -> u32 {
        self.fins.unwrap_or(0)
    }

    /// SPMs with OPT_FIN since a receiver was heard.
    pub(super) fn fins_unanswered(&self) -> u32 {
        self.unanswered
    }

    /// A receiver needs something.
    pub(super) fn on_heard(&mut self) {
        self.unanswered = 0;
    }

    /// RFC 3208 §5.1.5 (S-09): data sets IHB_TMR to IHB_MIN.
    pub(super) fn on_data(&mut self, now: Instant) {
        self.ihb = self.ihb_min;
        self.ihb_at = Some(now + self.ihb);
    }

    /// RFC 3208 §13.4 (S-33): answered at once, at most one per IHB_MIN.
    pub(super) fn on_spmr(&mut self, now: Instant) {
        let at = self
            .answered
            .map_or(now, |answered| now.max(answered + self.ihb_min));
        self.asked_at.get_or_insert(at);
    }

    /// RFC 3208 §11.4 (F-18, F-20): an SPM tells the size of a group that ended early.
    pub(super) fn on_group_closed(&mut self, now: Instant) {
        self.asked_at = Some(self.asked_at.map_or(now, |at| at.min(now)));
    }

    /// RFC 3208 §9.7.2 (S-29): the FIN goes at once and resets the heartbeat, which then stays dense enough
    /// for `quiet` to mean that nobody misses the end.
    pub(super) fn on_fin(&mut self, now: Instant, quiet: Duration) {
        self.fins = Some(0);
        self.asked_at = Some(now);
        self.ihb = self.ihb_min;
        self.ihb_at = None;
        self.ihb_max = (quiet / DENSITY).clamp(self.ihb_min, self.ihb_max);
    }

    /// Let SPMs follow each other at once: there will be no other time for them.
    pub(super) fn rush(&mut self) {
        self.spacing = Duration::ZERO;
    }

    /// An SPM went.
    pub(super) fn on_sent(&mut self, now: Instant) {
        self.last = Some(now);
        self.fins = self.fins.map(|n| n + 1);
        self.unanswered += u32::from(self.is_fin());
        if self.asked_at.take().is_some() {
            self.answered = Some(now);
        }
        if self.start_at.is_some_and(|at| at <= now) {
            self.start_at = self.next_start(now);
        }
        if self.ambient_at <= now {
            let next = self.ambient_at + self.ambient_ivl;
            self.ambient_at = if next > now {
                next
            } else {
                now + self.ambient_ivl
            };
        }
        // RFC 3208 §5.1.5 (S-08): IHB_TMR counts from the latest packet; only its expiry doubles it.
        match self.ihb_at {
            Some(at) if at <= now => self.ihb = (self.ihb * 2).min(self.ihb_max),
            Some(_) => self.ihb = self.ihb.min(self.ihb_max),
            None if self.is_fin() => {}
            None => return,
        }
        self.ihb_at = Some(now + self.ihb);
    }

    /// A burst, then 5, 10, 20, 40 ms … after the start, no further apart than the density asks.
    fn next_start(&mut self, now: Instant) -> Option<Instant> {
        self.start_burst = self.start_burst.saturating_sub(1);
        if self.start_burst > 0 {
            return Some(now);
        }
        let elapsed = now.saturating_duration_since(self.started);
        let step = elapsed.min(self.start_ivl / DENSITY).max(START_STEP);
        let at = now + step;
        self.is_start(at).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Tsi;
    use std::net::Ipv4Addr;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn config() -> SourceConfig {
        let any = Ipv4Addr::LOCALHOST;
        SourceConfig::new(Tsi::default(), 1, any, any)
    }

    /// Send every SPM that falls due until `end`, and tell when, in ms after `t0`.
    fn run(s: &mut SpmSchedule, t0: Instant, end: Duration) -> Vec<u64> {
        let mut sent = Vec::new();
        while s.due() <= t0 + end {
            let now = s.due();
            s.on_sent(now);
            sent.push((now - t0).as_millis() as u64);
            assert!(sent.len() < 10_000);
        }
        sent
    }

    #[test]
    fn the_start_is_dense() {
        let t0 = Instant::now();
        let mut s = SpmSchedule::new(&config(), t0);
        let sent = run(&mut s, t0, ms(5_000));
        assert_eq!(sent[..8], [0, 0, 0, 5, 10, 20, 40, 80]);
        let start = sent.iter().filter(|at| **at <= 1_000).count();
        assert!((20..=26).contains(&start), "{sent:?}");
        assert_eq!(
            sent[sent.len() - 4..],
            [2_000, 3_000, 4_000, 5_000],
            "then ambient"
        );
    }

    #[test] // S-08, RFC 3208 §5.1.5: IHB_MIN, doubled up to IHB_MAX, counted from the last packet
    fn heartbeats_decay() {
        let t0 = Instant::now();
        let config = SourceConfig {
            ihb_max: ms(100),
            ambient_spm_ivl: ms(1_000_000),
            start_ivl: ms(0),
            ..config()
        };
        let mut s = SpmSchedule::new(&config, t0);
        run(&mut s, t0, ms(1));
        s.on_data(t0);
        assert_eq!(run(&mut s, t0, ms(400)), [4, 12, 28, 60, 124, 224, 324]);
        let t1 = t0 + ms(400);
        s.on_data(t1); // S-09: data begins anew
        assert_eq!(run(&mut s, t1, ms(30)), [4, 12, 28]);
    }

    #[test] // RFC 3208 §5.1.5: an SPM for another reason restarts IHB_TMR and does not double it
    fn other_spms_put_the_heartbeat_off() {
        let t0 = Instant::now();
        let config = SourceConfig {
            ihb_min: ms(100),
            ambient_spm_ivl: ms(1_000_000),
            start_ivl: ms(0),
            ..config()
        };
        let mut s = SpmSchedule::new(&config, t0);
        run(&mut s, t0, ms(1));
        s.on_data(t0);
        s.on_spmr(t0 + ms(50));
        assert_eq!(run(&mut s, t0, ms(400)), [50, 150, 350]);
    }

    #[test] // S-07, S-10: ambient SPMs run free of data, which holds heartbeats back
    fn ambient_spms_go_amid_data() {
        let t0 = Instant::now();
        let config = SourceConfig {
            ambient_spm_ivl: ms(50),
            start_ivl: ms(0),
            ..config()
        };
        let mut s = SpmSchedule::new(&config, t0);
        run(&mut s, t0, ms(1));
        let mut sent = Vec::new();
        for i in 1..=300 {
            let now = t0 + ms(i);
            s.on_data(now);
            if s.due() <= now {
                s.on_sent(now);
                sent.push(i);
            }
        }
        assert_eq!(sent, [50, 100, 150, 200, 250, 300]);
    }

    #[test] // S-33, RFC 3208 §13.4
    fn an_spmr_is_answered_at_once_and_once_per_ihb_min() {
        let t0 = Instant::now();
        let config = SourceConfig {
            start_ivl: ms(0),
            ..config()
        };
        let mut s = SpmSchedule::new(&config, t0);
        run(&mut s, t0, ms(1));
        let t1 = t0 + ms(100);
        s.on_spmr(t1);
        assert_eq!(s.due(), t1);
        s.on_sent(t1);
        for i in 0..4 {
            s.on_spmr(t1 + ms(i));
            assert_eq!(s.due(), t1 + ms(4), "SPMR {i} ms after the first");
        }
        s.on_sent(t1 + ms(4));
        assert_eq!(s.due(), t0 + ms(1_000), "all of them got their answer");
    }

    #[test] // S-29, S-30: at once, then dense until the end
    fn the_fin_is_announced_at_once_and_densely() {
        let t0 = Instant::now();
        let mut s = SpmSchedule::new(&config(), t0);
        run(&mut s, t0, ms(10_000));
        let t1 = t0 + ms(10_500);
        assert!(!s.is_fin());
        s.on_fin(t1, ms(500));
        let sent = run(&mut s, t1, ms(500));
        assert_eq!(sent[..4], [0, 4, 12, 28]);
        assert!(sent.len() >= 16, "{sent:?}");
        assert_eq!(s.fins_sent() as usize, sent.len());
    }

    #[test]
    fn spms_leave_a_slow_source_most_of_its_rate() {
        let t0 = Instant::now();
        let mut s = SpmSchedule::new(
            &SourceConfig {
                rate: Some(1_000),
                ..config()
            },
            t0,
        );
        let sent = run(&mut s, t0, ms(10_000));
        assert!(
            sent.len() <= 41,
            "64 octets take 64 ms, so one per 256 ms: {}",
            sent.len()
        );
    }
}
