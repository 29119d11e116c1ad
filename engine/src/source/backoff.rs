//! NAK_BO_IVL as the duplicates of NAKs tune it (RFC 3208 §15.2).

use std::time::{Duration, Instant};

/// An NCF silences receivers no sooner than this.
pub(super) const NCF_TRIP: Duration = Duration::from_millis(1);
/// NAK_PROBE_NUM: so many repair states without a duplicate halve the back-off interval.
pub(super) const NAK_PROBE_NUM: u32 = 16;
/// The same as long as there never was a duplicate: few receivers need not wait for a crowd that is not
/// there.
const FIRST_PROBE_NUM: u32 = 2;

/// The back-off interval that a source, or a network element on one interface, advertises.
#[derive(Debug)]
pub(crate) struct Backoff {
    ivl: Duration,
    min: Duration,
    max: Duration,
    /// Repair states since the last duplicate or halving.
    clean: u32,
    /// There was a duplicate.
    crowded: bool,
}

impl Backoff {
    /// One that begins with `ivl`.
    pub(crate) fn new(ivl: Duration, min: Duration, max: Duration) -> Self {
        Self {
            ivl,
            min,
            max,
            clean: 0,
            crowded: false,
        }
    }

    /// The interval to advertise.
    pub(crate) fn ivl(&self) -> Duration {
        self.ivl
    }

    /// Whether a NAK that came now was sent although an NCF for the first was coming: a longer back-off
    /// would have spared it.
    ///
    /// Departs from RFC 3208 §15.2.1, which counts every duplicate: those that come later were not
    /// sent too early, their NCF was lost or they repeat a NAK. Were they counted, loss alone would
    /// drive the interval of a large group to its maximum.
    pub(crate) fn is_early(&self, first_nak: Instant, now: Instant) -> bool {
        now < first_nak + (self.ivl / 8).max(NCF_TRIP)
    }

    /// One NAK packet: whether it opened repair states, and whether it was the first duplicate of some.
    ///
    /// RFC 3208 §15.2.1 (I-03): twice the interval with the first duplicate, half of it after
    /// NAK_PROBE_NUM repair states without one, for which the RFC has no value.
    pub(crate) fn on_nak(&mut self, opened: bool, duplicate: bool) {
        if duplicate {
            self.ivl = (self.ivl * 2).min(self.max);
            self.clean = 0;
            self.crowded = true;
        } else if opened {
            self.clean += 1;
            let enough = if self.crowded {
                NAK_PROBE_NUM
            } else {
                FIRST_PROBE_NUM
            };
            if self.clean >= enough {
                self.ivl = (self.ivl / 2).max(self.min);
                self.clean = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test] // I-03
    fn few_receivers_soon_wait_little_and_a_crowd_stays_careful() {
        let mut few = Backoff::new(ms(10), ms(1), ms(200));
        let ivls: Vec<_> = (0..8)
            .map(|_| {
                few.on_nak(true, false);
                few.ivl().as_micros()
            })
            .collect();
        assert_eq!(ivls, [10_000, 5000, 5000, 2500, 2500, 1250, 1250, 1000]);

        let mut crowd = Backoff::new(ms(10), ms(1), ms(200));
        crowd.on_nak(true, false);
        crowd.on_nak(false, true);
        assert_eq!(crowd.ivl(), ms(20));
        for _ in 0..NAK_PROBE_NUM - 1 {
            crowd.on_nak(true, false);
        }
        assert_eq!(crowd.ivl(), ms(20));
        crowd.on_nak(true, false);
        assert_eq!(crowd.ivl(), ms(10));
    }

    #[test] // I-03: a NAK that comes when the NCF had time to arrive tells nothing
    fn late_duplicates_do_not_count() {
        let backoff = Backoff::new(ms(16), ms(1), ms(200));
        let t0 = Instant::now();
        assert!(backoff.is_early(t0, t0 + Duration::from_micros(1999)));
        assert!(!backoff.is_early(t0, t0 + ms(2)));
    }
}
