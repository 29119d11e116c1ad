//! NAK_BO_IVL as NAKs tune it (RFC 3208 §15.2).
//!
//! Receivers draw their waits from a truncated exponential distribution (RFC 5401 §3.2.2). With it a loss that
//! a crowd shares draws e^a NAKs on average before the first one's NCF has silenced the rest, where a is eight
//! round trips in intervals; how large the crowd is hardly matters. So an interval of some ten round trips
//! does for any crowd. And a group so small that all of it may ask needs none: there it is only delay. The source
//! knows neither the round trip nor the group. It sees
//!
//! - who asked of late. While it is a few and nobody new, the interval shrinks to its minimum, duplicates or not;
//! - how many asked for one loss before an NCF could reach them. More than a crowd's budget, and the interval
//!   grows by what brings them down to two; some losses within the budget, and it is halved. It stays above
//!   the default, so that a loss which all share does not find it short after many that each had alone;
//! - how long repairs wait for their turn. A crowd that asks sooner than that is not served sooner, and
//!   asks again meanwhile.
//!
//! Departs from RFC 3208 §15.2.1 (I-03): there the first duplicate of any repair state doubles the interval, and two
//! receivers that share their losses wait a hundred round trips so that sixteen losses spare one NAK.

use arrayvec::ArrayVec;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// An NCF silences receivers no sooner than this.
const NCF_TRIP: Duration = Duration::from_millis(1);
/// So many receivers may all ask for each loss.
const FEW: usize = 5;
/// NAKs that one loss may draw from more than those.
const CROWD_NAKS: u32 = 3;
/// Who asked within this time counts as one of the group.
const MEMORY: Duration = Duration::from_secs(300);
/// NAK_PROBE_NUM, for which the RFC has no value: so many repair states within the budget halve a crowd's
/// interval. One loss in sixteen exceeds the budget where the mean is 1.7 NAKs: that is where it settles.
pub(super) const NAK_PROBE_NUM: u32 = 16;
/// The same for a few.
const FEW_PROBE_NUM: u32 = 2;

/// The back-off interval that a source, or a network element on one interface, advertises.
#[derive(Debug)]
pub(crate) struct Backoff {
    ivl: Duration,
    /// How long the latest repair waited for its turn.
    queued: Duration,
    min: Duration,
    max: Duration,
    default: Duration,
    /// Repair states since the interval changed.
    clean: u32,
    /// Who asked last, and when.
    askers: ArrayVec<(Ipv4Addr, Instant), { FEW + 1 }>,
    /// When more than a few asked at once: several receivers may share an address.
    burst: Option<Instant>,
    /// More than a few ask.
    crowd: bool,
}

/// NAKs for one repair state.
#[derive(Debug)]
pub(crate) struct Round {
    first: Instant,
    /// The interval they were drawn from.
    ivl: Duration,
    /// Those that a longer one would have spared, and the first.
    early: u32,
}

impl Round {
    /// When the NAKs that were drawn together have come.
    pub(crate) fn all_by(&self) -> Instant {
        self.first + self.ivl
    }

    pub(crate) fn new(first: Instant, ivl: Duration) -> Self {
        Self {
            first,
            ivl,
            early: 1,
        }
    }
}

impl Backoff {
    /// One that begins with `default`.
    pub(crate) fn new(default: Duration, min: Duration, max: Duration) -> Self {
        Self {
            ivl: default,
            queued: Duration::ZERO,
            min,
            max,
            default,
            clean: 0,
            askers: ArrayVec::new(),
            burst: None,
            crowd: false,
        }
    }

    /// The interval to advertise: a crowd's is no shorter than repairs wait.
    pub(crate) fn ivl(&self) -> Duration {
        if self.crowd {
            self.ivl.max(self.queued.min(self.max))
        } else {
            self.ivl
        }
    }

    /// A repair state opens.
    pub(crate) fn open(&self, now: Instant) -> Round {
        Round::new(now, self.ivl())
    }

    /// What the round asked for is sent.
    pub(crate) fn on_repair(&mut self, now: Instant, round: &Round) {
        self.queued = now.saturating_duration_since(round.first);
    }

    /// Another NAK for an open repair state. Whether it is the first duplicate that was sent although an NCF was
    /// coming: those that come later were not sent too early, their NCF was lost or they repeat a NAK.
    /// Were they counted, loss alone would drive the interval of a large group to its maximum.
    pub(crate) fn on_repeat(&mut self, now: Instant, round: &mut Round) -> bool {
        if now >= round.first + (round.ivl / 8).max(NCF_TRIP) {
            return false;
        }
        round.early = round.early.saturating_add(1);
        if round.early as usize > FEW {
            (self.burst, self.crowd) = (Some(now), true);
        }
        if round.early > CROWD_NAKS && self.crowd {
            // e^a came: an interval log2 of that times as long would have drawn two. Repair states of one loss
            // have one interval, and all of them together say it once.
            let enough = round.ivl.mul_f64(f64::from(round.early).log2());
            if enough > self.ivl {
                self.ivl = enough.min(self.max);
                self.clean = 0;
            }
        }
        round.early == 2
    }

    /// A NAK packet came, and was or was not the first for something.
    pub(crate) fn on_nak(&mut self, now: Instant, from: Ipv4Addr, opened: bool) {
        let known = self.remember(now, from);
        self.crowd = self.is_crowd(now);
        if self.crowd && self.ivl < self.default {
            (self.ivl, self.clean) = (self.default, 0);
        }
        // While there is always somebody new, there may be any number.
        if !opened || !(known || self.crowd) {
            return;
        }
        self.clean += 1;
        let (enough, least) = if self.crowd {
            (NAK_PROBE_NUM, self.default)
        } else {
            (FEW_PROBE_NUM, self.min)
        };
        if self.clean >= enough {
            (self.ivl, self.clean) = ((self.ivl / 2).max(least), 0);
        }
    }

    /// Whether it is known already.
    fn remember(&mut self, now: Instant, from: Ipv4Addr) -> bool {
        let known = self.askers.iter().position(|(addr, _)| *addr == from);
        if known.is_some() || self.askers.is_full() {
            self.askers.remove(known.unwrap_or(0));
        }
        self.askers.push((from, now));
        known.is_some()
    }

    /// More than a few ask.
    fn is_crowd(&self, now: Instant) -> bool {
        let is_recent = |at: Instant| now < at + MEMORY;
        let many =
            self.askers.is_full() && self.askers.first().is_some_and(|(_, at)| is_recent(*at));
        many || self.burst.is_some_and(is_recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    struct Rig {
        backoff: Backoff,
        now: Instant,
    }

    impl Rig {
        fn new() -> Self {
            Self {
                backoff: Backoff::new(ms(10), ms(1), ms(200)),
                now: Instant::now(),
            }
        }

        /// A loss for which these ask within a moment; the interval after it, in microseconds.
        fn loss(&mut self, from: impl IntoIterator<Item = u8>) -> u128 {
            self.now += ms(100);
            let mut round = self.backoff.open(self.now);
            for (n, from) in from.into_iter().enumerate() {
                if n > 0 {
                    self.backoff.on_repeat(self.now, &mut round);
                }
                let from = Ipv4Addr::new(10, 0, 0, from);
                self.backoff.on_nak(self.now, from, n == 0);
            }
            self.backoff.ivl().as_micros()
        }
    }

    #[test] // I-03
    fn a_few_that_share_their_losses_soon_wait_no_longer_than_one() {
        let mut rig = Rig::new();
        let one: Vec<_> = (0..9).map(|_| rig.loss([1])).collect();
        let halves = [10_000, 10_000, 5000, 5000, 2500, 2500, 1250, 1250, 1000];
        assert_eq!(one, halves);
        let mut rig = Rig::new();
        let few: Vec<_> = (0..9).map(|_| rig.loss(1..=FEW as u8)).collect();
        assert_eq!(few, halves);
    }

    #[test] // I-03
    fn a_crowd_waits_the_default_at_least() {
        let mut rig = Rig::new();
        for n in 0..100 {
            let ivl = rig.loss([n % (FEW as u8 + 1)]);
            assert_eq!(ivl, 10_000, "loss {n}");
        }
        let mut rig = Rig::new();
        for _ in 0..20 {
            rig.loss([1, 2]);
        }
        assert_eq!(rig.backoff.ivl(), ms(1));
        rig.loss(2..FEW as u8 + 2);
        assert_eq!(rig.backoff.ivl(), ms(10), "one more than a few");
    }

    #[test] // I-03
    fn a_loss_that_draws_many_naks_lengthens_it_at_once_and_others_slowly_shorten_it() {
        let mut rig = Rig::new();
        rig.loss(0..6);
        assert_eq!(rig.loss(0..3), 25_849, "6 before: log2 of that");
        assert_eq!(rig.loss(0..4), 51_699, "4: twice");
        let calm: Vec<_> = (0..17).map(|n| rig.loss([n, n + 1, n + 2])).collect();
        assert_eq!(calm[14..], [51_699, 25_849, 25_849]);
        for _ in 0..40 {
            rig.loss([1]);
        }
        assert_eq!(rig.backoff.ivl(), ms(10), "the default");
        rig.loss(0..100);
        assert_eq!(rig.backoff.ivl().as_micros(), 66_438);
        rig.loss(0..100);
        assert_eq!(rig.backoff.ivl(), ms(200), "NAK_BO_IVL_MAX");
    }

    #[test] // I-03: packets that were lost together draw the same NAKs, which tell no more than those of one
    fn a_burst_of_losses_counts_once() {
        let mut rig = Rig::new();
        rig.loss(0..6);
        let (now, mut backoff) = (rig.now, rig.backoff);
        let from = Ipv4Addr::LOCALHOST;
        let mut rounds: Vec<_> = (0..10).map(|_| backoff.open(now)).collect();
        let before = backoff.ivl();
        for _ in 1..4 {
            for round in &mut rounds {
                backoff.on_repeat(now, round);
                backoff.on_nak(now, from, false);
            }
        }
        assert_eq!(backoff.ivl(), before * 2);
    }

    #[test] // I-03
    fn receivers_of_one_host_can_be_a_crowd() {
        let mut rig = Rig::new();
        for _ in 0..10 {
            rig.loss([1; FEW]);
        }
        assert_eq!(rig.backoff.ivl(), ms(1));
        rig.loss([1; FEW + 1]);
        assert_eq!(rig.backoff.ivl(), ms(10));
    }

    #[test] // I-03
    fn a_crowd_that_left_is_forgotten() {
        let mut rig = Rig::new();
        rig.loss(0..6);
        rig.now += MEMORY;
        for _ in 0..12 {
            rig.loss([1, 2]);
        }
        assert_eq!(rig.backoff.ivl(), ms(1));
    }

    #[test] // I-03
    fn a_crowd_waits_as_long_as_repairs_do() {
        let mut rig = Rig::new();
        rig.loss([1]);
        let round = rig.backoff.open(rig.now);
        rig.backoff.on_repair(rig.now + ms(60), &round);
        assert_eq!(rig.backoff.ivl(), ms(10), "few do not");
        rig.loss(0..6);
        assert_eq!(rig.backoff.ivl(), ms(60));
        rig.backoff.on_repair(rig.now + ms(500), &round);
        assert_eq!(rig.backoff.ivl(), ms(200), "NAK_BO_IVL_MAX");
        let round = rig.backoff.open(rig.now);
        rig.backoff.on_repair(rig.now, &round);
        assert!(rig.backoff.ivl() < ms(60));
    }

    #[test] // I-03: a NAK that comes when the NCF had time to arrive tells nothing
    fn late_duplicates_do_not_count() {
        let mut backoff = Backoff::new(ms(16), ms(1), ms(200));
        let t0 = Instant::now();
        let mut round = backoff.open(t0);
        assert!(backoff.on_repeat(t0 + Duration::from_micros(1999), &mut round));
        let mut round = backoff.open(t0);
        for _ in 0..100 {
            assert!(!backoff.on_repeat(t0 + ms(2), &mut round));
        }
        assert_eq!(backoff.ivl(), ms(16));
    }
}
