//! How many children there are: polls in rounds, and the back-off interval that follows (RFC 3208 §14.4,
//! §15.2.3).
//!
//! The first round asks very few; each further one opens the door wider, until enough have answered to
//! tell how many there are. Too many answers end the poll at once.

use super::{Emitted, Mark, Source, SourceConfig, emit};
use crate::num::Sqn;
use crate::wire::{Body, NakBoIvl, NakBoRng, Options, Poll, Polr};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// PGM_POLL_GENERAL (RFC 3208 §14.6).
const GENERAL: u16 = 0;
/// POLL_BO_IVL: large, since the number of replies is unknown.
const POLL_BO_IVL: Duration = Duration::from_millis(200);
/// After the last reply was sent it has so long to arrive.
const GRACE: Duration = Duration::from_millis(100);
/// Time between polls when nothing suggests one.
const PERIOD: Duration = Duration::from_secs(30);
/// Time between polls when duplicates of NAKs suggest one.
const PERIOD_MIN: Duration = Duration::from_secs(2);
/// Round 0 of the first poll asks one of 2¹² (or fewer, if more are known to be there).
const FIRST_BITS: u32 = 12;
/// Each round asks eight times as many.
const STEP_BITS: u32 = 3;
/// Bits of the mask that asks nobody, or as good as.
const ABORT_BITS: u32 = 32;
/// Replies that are enough for an estimate: it is off by a quarter, then.
const ENOUGH: usize = 16;
/// Replies that are a flood: more than eight times what a round without enough leads to.
const FLOOD: usize = 16 * ENOUGH;
/// Receivers that the interval's default is made for: the receivers' back-off is distributed for as many.
const GROUP_SIZE: u64 = 1000;

/// The polls of a source.
#[derive(Debug)]
pub(super) struct Poller {
    /// Off, or closed.
    is_off: bool,
    rng: fastrand::Rng,
    /// POLL_SQN of the latest poll; 0 is none, and never used.
    sqn: Sqn,
    phase: Phase,
    /// When the latest poll began.
    begun: Option<Instant>,
    /// Bits of the next round 0.
    first_bits: u32,
    /// Children, and POLL_SQN of the latest complete poll.
    estimate: Option<(u64, Sqn)>,
    bounds: (Duration, Duration),
    default: Duration,
}

#[derive(Debug)]
enum Phase {
    /// Until then.
    Idle(Instant),
    /// A POLL of this round is due.
    Due { round: u16, bits: u32 },
    /// Replies come in until then.
    Collecting {
        round: u16,
        bits: u32,
        until: Instant,
        /// Who replied: each counts once, so one host alone cannot be a crowd.
        from: BTreeSet<Ipv4Addr>,
    },
}

impl Poller {
    pub(super) fn new(config: &SourceConfig, now: Instant) -> Self {
        let [a, b, c, d, e, f] = config.tsi.gsi.0.map(u64::from);
        let gsi = a << 40 | b << 32 | c << 24 | d << 16 | e << 8 | f;
        let port = u64::from(config.tsi.sport) << 48;
        Self {
            is_off: !config.polling,
            // Different for each source, and for each session by its first SQN.
            rng: fastrand::Rng::with_seed(
                (gsi ^ port).rotate_left(13) ^ u64::from(config.first_sqn.0),
            ),
            sqn: Sqn(0),
            phase: Phase::Idle(now + config.start_ivl),
            begun: None,
            first_bits: FIRST_BITS,
            estimate: None,
            bounds: (config.nak_bo_min, config.nak_bo_max),
            default: config.nak_bo_default,
        }
    }

    /// No more polls.
    pub(super) fn close(&mut self) {
        self.is_off = true;
    }

    /// A duplicate NAK: there may be many. Polls keep their distance all the same.
    pub(super) fn on_duplicate(&mut self, now: Instant) {
        if let Phase::Idle(at) = &mut self.phase {
            let earliest = self.begun.map_or(now, |begun| begun + PERIOD_MIN);
            *at = (*at).min(earliest.max(now));
        }
    }

    /// A POLR. Whether it counts.
    pub(super) fn on_polr(&mut self, from: Ipv4Addr, polr: &Polr) -> bool {
        let (sqn, first) = (self.sqn, self.phase.bits());
        let Phase::Collecting {
            round, from: all, ..
        } = &mut self.phase
        else {
            return false;
        };
        // RFC 3208 §14.4: valid if SQN and round are those of the outstanding poll.
        if polr.sqn != sqn || polr.round != *round || !all.insert(from) {
            return false;
        }
        // RFC 3208 §14.4 (P-09): too many are ended by a poll with another SQN that asks hardly anyone.
        if all.len() > FLOOD {
            self.first_bits = (first + 2 * STEP_BITS).min(ABORT_BITS - 1);
            self.phase = Phase::Due {
                round: 0,
                bits: ABORT_BITS,
            };
        }
        true
    }

    /// When `next_poll` has something to do, given when the rate admits a packet.
    pub(super) fn due(&self, ready: Instant) -> Option<Instant> {
        match &self.phase {
            _ if self.is_off => None,
            Phase::Due { .. } => Some(ready),
            Phase::Idle(at) | Phase::Collecting { until: at, .. } => Some(ready.max(*at)),
        }
    }

    /// The POLL to send now, if any; its path is the source.
    pub(super) fn next_poll(&mut self, now: Instant, nla: Ipv4Addr) -> Option<Poll> {
        if self.is_off {
            return None;
        }
        self.advance(now);
        let Phase::Due { round, bits } = self.phase else {
            return None;
        };
        // RFC 3208 §14.4 (P-08): SQN + 1 for each group of rounds, the rounds from 0 on.
        if round == 0 {
            self.sqn = self.sqn.next();
            if self.sqn == Sqn(0) {
                self.sqn = Sqn(1);
            }
            self.begun = Some(now);
        }
        // RFC 3208 §14.4 (P-09): no other poll before POLL_BO_IVL is over.
        self.phase = Phase::Collecting {
            round,
            bits,
            until: now + POLL_BO_IVL + GRACE,
            from: BTreeSet::new(),
        };
        Some(Poll {
            sqn: self.sqn,
            round,
            sub_type: GENERAL,
            path: nla.into(),
            bo_ivl: micros(POLL_BO_IVL),
            // RFC 3208 §14.4 (P-08): another one for each POLL.
            rand: self.rng.u32(..),
            mask: u32::MAX.checked_shr(32 - bits).unwrap_or(0),
        })
    }

    /// Children counted by the latest complete poll, on average.
    pub(super) fn population(&self) -> Option<u64> {
        self.estimate.map(|(count, _)| count)
    }

    /// OPT_NAK_BO_IVL: `tuned` by duplicates of NAKs, or longer if so many need it.
    ///
    /// RFC 3208 §15.2.3 (P-10): an interval that comes from a poll names it, for those who saw the poll;
    /// any other is for everyone.
    pub(super) fn interval(&self, tuned: Duration) -> NakBoIvl {
        let (ivl, ivl_sqn) = match self.estimate {
            Some((count, sqn)) => {
                let (min, max) = self.bounds;
                let nanos = self.default.as_nanos() * u128::from(count) / u128::from(GROUP_SIZE);
                let derived = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
                let derived = derived.clamp(min, max);
                if derived > tuned {
                    (derived, sqn)
                } else {
                    (tuned, Sqn(0))
                }
            }
            None => (tuned, Sqn(0)),
        };
        NakBoIvl {
            ivl: micros(ivl),
            ivl_sqn,
        }
    }

    fn advance(&mut self, now: Instant) {
        match &self.phase {
            Phase::Idle(at) if *at <= now => {
                let (round, bits) = (0, self.first_bits);
                self.phase = Phase::Due { round, bits };
            }
            Phase::Collecting {
                round,
                bits,
                until,
                from,
            } if *until <= now => {
                let (round, bits, count) = (*round, *bits, from.len());
                self.phase = if bits == ABORT_BITS {
                    Phase::Idle(now + PERIOD_MIN)
                } else if count < ENOUGH && bits > 0 {
                    let (round, bits) = (round.saturating_add(1), bits.saturating_sub(STEP_BITS));
                    Phase::Due { round, bits }
                } else {
                    self.conclude((count as u64) << bits);
                    Phase::Idle(now + PERIOD)
                };
            }
            _ => {}
        }
    }

    /// RFC 3208 §14.3.1: the estimate is M / P, averaged over recent polls.
    fn conclude(&mut self, count: u64) {
        let count = self
            .estimate
            .map_or(count, |(before, _)| (before + count).div_ceil(2));
        self.estimate = Some((count, self.sqn));
        // Of those known, the next round 0 asks too few rather than too many.
        let bits = (count / ENOUGH as u64).max(1).ilog2() + STEP_BITS;
        self.first_bits = bits.min(ABORT_BITS - 1);
    }
}

impl Source {
    pub(super) fn emit_poll(&mut self, now: Instant, poll: Poll, out: &mut Vec<u8>) -> Emitted {
        let len = emit(
            &self.config,
            Mark::default(),
            Body::Poll(poll),
            Options::default(),
            &[],
            out,
        );
        self.stats.polls_sent += 1;
        self.on_emitted(now, len);
        Emitted::to_group(len)
    }

    pub(super) fn nak_bo_ivl(&self) -> NakBoIvl {
        self.poller.interval(self.repairs.nak_bo_ivl())
    }

    /// RFC 3208 §15.2.1: the bounds of what the duplicates and the polls may make of it. Optional, so it is
    /// left out where nothing is unusual.
    pub(super) fn nak_bo_rng(&self) -> Option<NakBoRng> {
        self.config.polling.then(|| NakBoRng {
            max: micros(self.config.nak_bo_max),
            min: micros(self.config.nak_bo_min),
        })
    }
}

impl Phase {
    fn bits(&self) -> u32 {
        match self {
            Self::Idle(_) => 0,
            Self::Due { bits, .. } | Self::Collecting { bits, .. } => *bits,
        }
    }
}

fn micros(ivl: Duration) -> u32 {
    u32::try_from(ivl.as_micros()).unwrap_or(u32::MAX)
}
