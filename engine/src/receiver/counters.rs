//! Counters of one peer, and what they need beyond adding one: rates and averages.

use crate::stats::ReceiverStats;
use std::time::{Duration, Instant};

/// How long the stretch is that `rate_kbits_last` looks at.
const STRETCH: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Counters {
    /// The plain counters; the rest of its fields is filled in by [`Counters::stats`].
    pub(super) plain: ReceiverStats,
    start: Instant,
    /// The stretch that runs, and the octets when it began.
    stretch: (Instant, u64),
    /// Rate of the stretch before it, kbit/s.
    last_rate: u64,
    window_samples: u64,
    window_sum: u64,
    window_min: u64,
    window_max: u64,
}

impl Counters {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            plain: ReceiverStats::default(),
            start: now,
            stretch: (now, 0),
            last_rate: 0,
            window_samples: 0,
            window_sum: 0,
            window_min: u64::MAX,
            window_max: 0,
        }
    }

    /// A packet of so many octets came.
    pub(super) fn on_tpdu(&mut self, now: Instant, len: usize) {
        let (begun, octets) = self.stretch;
        let elapsed = now.saturating_duration_since(begun);
        if elapsed >= STRETCH {
            self.last_rate = kbits(self.plain.total_bytes_received - octets, elapsed);
            self.stretch = (now, self.plain.total_bytes_received);
        }
        self.plain.total_bytes_received += len as u64;
    }

    /// A data packet found or left so many SQNs in the window.
    pub(super) fn sample_window(&mut self, sqns: u32) {
        let sqns = u64::from(sqns);
        self.window_samples += 1;
        self.window_sum = self.window_sum.saturating_add(sqns);
        self.window_min = self.window_min.min(sqns);
        self.window_max = self.window_max.max(sqns);
    }

    pub(super) fn stats(&self, now: Instant) -> ReceiverStats {
        let total = self.plain.total_bytes_received;
        let (begun, octets) = self.stretch;
        let elapsed = now.saturating_duration_since(begun);
        let current = kbits(total - octets, elapsed);
        ReceiverStats {
            rate_kbits_overall: kbits(total, now.saturating_duration_since(self.start)),
            rate_kbits_last: if elapsed >= STRETCH {
                current
            } else {
                self.last_rate
            },
            average_in_window: self
                .window_sum
                .checked_div(self.window_samples)
                .unwrap_or(0),
            min_in_window: if self.window_samples == 0 {
                0
            } else {
                self.window_min
            },
            max_in_window: self.window_max,
            ..self.plain
        }
    }
}

fn kbits(octets: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    octets.saturating_mul(8).checked_div(millis).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_kilobits_per_second() {
        let start = Instant::now();
        let mut counters = Counters::new(start);
        for ms in 0..2000 {
            counters.on_tpdu(start + Duration::from_millis(ms), 1000);
        }
        let stats = counters.stats(start + Duration::from_secs(2));
        assert_eq!(stats.rate_kbits_overall, 8000);
        assert!(
            (7990..=8010).contains(&stats.rate_kbits_last),
            "{}",
            stats.rate_kbits_last
        );
        let later = counters.stats(start + Duration::from_secs(9));
        assert!(later.rate_kbits_last < 1010, "{}", later.rate_kbits_last);
    }

    #[test]
    fn the_window_is_averaged() {
        let mut counters = Counters::new(Instant::now());
        for sqns in [2, 4, 9] {
            counters.sample_window(sqns);
        }
        let stats = counters.stats(Instant::now());
        let got = (
            stats.min_in_window,
            stats.average_in_window,
            stats.max_in_window,
        );
        assert_eq!(got, (2, 5, 9));
    }
}
