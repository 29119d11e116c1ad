//! NAK_BO_IVL as the duplicates of NAKs tune it (RFC 3208 §15.2).

use std::time::{Duration, Instant};

/// An NCF silences receivers no sooner than this.
pub(super) const NCF_TRIP: Duration = Duration::from_millis(1);
/// NAK_PROBE_NUM: so many repair states without a duplicate halve the back-off interval.
pub(super) const NAK_PROBE_NUM: u32 = 16;

/// The back-off interval that a source, or a network element on one interface, advertises.
#[derive(Debug)]
pub(crate) struct Backoff {
    ivl: Duration,
    min: Duration,
    max: Duration,
    /// Repair states since the last duplicate or halving.
    clean: u32,
}

impl Backoff {
    /// One that begins with `ivl`.
    pub(crate) fn new(ivl: Duration, min: Duration, max: Duration) -> Self {
        Self {
            ivl,
            min,
            max,
            clean: 0,
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
    /// NAK_PROBE_NUM repair states without one.
    pub(crate) fn on_nak(&mut self, opened: bool, duplicate: bool) {
        if duplicate {
            self.ivl = (self.ivl * 2).min(self.max);
            self.clean = 0;
        } else if opened {
            self.clean += 1;
            if self.clean >= NAK_PROBE_NUM {
                self.ivl = (self.ivl / 2).max(self.min);
                self.clean = 0;
            }
        }
    }
}
