//! Rate regulation (RFC 3208 §5.1.2) and measurement.

use std::time::{Duration, Instant};

/// After it ran dry the bucket fills for this long before data goes on, so that packets leave in
/// batches and the caller is not woken for each.
const QUANTUM: Duration = Duration::from_micros(500);

/// Depth of the bucket in time.
const BUCKET: Duration = Duration::from_millis(2);

/// Token bucket, kept as the time at which the line would be clear again.
///
/// Octets of admitted packets in any interval ≤ bucket + rate × interval (RFC 3208 §5.1.2). The bucket
/// of a few packets also bounds how closely packets follow each other.
#[derive(Debug)]
pub(super) struct Regulator {
    /// Octets per second; `None`: unlimited.
    rate: Option<u64>,
    /// How far `busy_until` may lie ahead of now when a packet goes: the bucket less one packet.
    slack: Duration,
    busy_until: Instant,
    ready_at: Instant,
    /// What the division by the rate left over, in octet·ns.
    carry: u64,
}

impl Regulator {
    /// For data: a bucket of two packets or 2 ms, whichever is more.
    pub(super) fn for_data(rate: Option<u64>, max_tpdu: usize, now: Instant) -> Self {
        let worth = rate.map_or(0, |rate| octets_in(rate, BUCKET));
        Self::new(rate, worth.max(2 * max_tpdu as u64), max_tpdu, now)
    }

    /// A bucket of `bucket` octets, at least two packets of up to `largest` octets.
    pub(super) fn new(rate: Option<u64>, bucket: u64, largest: usize, now: Instant) -> Self {
        let largest = largest as u64;
        let slack = bucket.max(2 * largest) - largest;
        let slack = rate.map_or(Duration::ZERO, |rate| time_for(slack, rate).0);
        Self {
            rate,
            slack,
            busy_until: now,
            ready_at: now,
            carry: 0,
        }
    }

    /// From when on the next packet may go; may be long past.
    pub(super) fn ready_at(&self) -> Instant {
        self.ready_at
    }

    /// Count a packet that goes now, whether it waited for `ready_at` or overdraws the bucket.
    pub(super) fn charge(&mut self, now: Instant, octets: usize) {
        let Some(rate) = self.rate else { return };
        let waits = self.ready_at > now;
        let (cost, carry) = time_for_carry(octets as u64, rate, self.carry);
        self.carry = carry;
        self.busy_until = self.busy_until.max(now) + cost;
        let backlog = self.busy_until.saturating_duration_since(now);
        if waits || backlog > self.slack {
            self.ready_at = now + backlog.saturating_sub(self.slack) + QUANTUM.min(self.slack);
        }
    }
}

fn octets_in(rate: u64, ivl: Duration) -> u64 {
    u64::try_from(u128::from(rate) * ivl.as_nanos() / 1_000_000_000).unwrap_or(u64::MAX)
}

fn time_for(octets: u64, rate: u64) -> (Duration, u64) {
    time_for_carry(octets, rate, 0)
}

/// Time `octets` take at `rate`, and the remainder to carry so that nothing is lost to rounding.
fn time_for_carry(octets: u64, rate: u64, carry: u64) -> (Duration, u64) {
    let work = octets.saturating_mul(1_000_000_000).saturating_add(carry);
    (Duration::from_nanos(work / rate), work % rate)
}

/// Octets sent, overall and over the last second or so.
#[derive(Debug)]
pub(super) struct Meter {
    start: Instant,
    total: u64,
    since: Instant,
    current: u64,
    last_kbits: u64,
}

impl Meter {
    const SPAN: Duration = Duration::from_secs(1);

    pub(super) fn new(now: Instant) -> Self {
        Self {
            start: now,
            total: 0,
            since: now,
            current: 0,
            last_kbits: 0,
        }
    }

    pub(super) fn record(&mut self, now: Instant, octets: usize) {
        let span = now.saturating_duration_since(self.since);
        if span >= Self::SPAN {
            self.last_kbits = kbits(self.current, span);
            (self.since, self.current) = (now, 0);
        }
        self.current += octets as u64;
        self.total += octets as u64;
    }

    /// kbit/s since the start.
    pub(super) fn overall(&self, now: Instant) -> u64 {
        kbits(self.total, now.saturating_duration_since(self.start))
    }

    /// kbit/s over the last complete second, or over the time since when nothing ended it.
    pub(super) fn last(&self, now: Instant) -> u64 {
        let span = now.saturating_duration_since(self.since);
        if span >= Self::SPAN {
            kbits(self.current, span)
        } else {
            self.last_kbits
        }
    }
}

fn kbits(octets: u64, span: Duration) -> u64 {
    let micros = span.as_micros().max(1);
    u64::try_from(u128::from(octets) * 8 * 1000 / micros).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    /// Send packets of `octets` as soon as the regulator lets them, over `span`; returns (when, octets).
    fn greedy(rate: u64, octets: usize, span: Duration) -> Vec<(Duration, usize)> {
        let t0 = Instant::now();
        let mut r = Regulator::for_data(Some(rate), 1472, t0);
        let mut now = t0;
        let mut sent = Vec::new();
        while now < t0 + span {
            while r.ready_at() <= now {
                r.charge(now, octets);
                sent.push((now - t0, octets));
            }
            now = r.ready_at();
        }
        sent
    }

    #[test] // S-03, RFC 3208 §5.1.2: octets in any interval <= bucket + rate x interval
    fn no_interval_exceeds_bucket_plus_rate() {
        for (rate, octets) in [
            (12_500_000, 1472),
            (12_500_000, 64),
            (7_000, 1472),
            (1 << 33, 1000),
        ] {
            let span = if rate < 10_000 {
                us(60_000_000)
            } else {
                us(20_000)
            };
            let sent = greedy(rate, octets, span);
            let bucket = octets_in(rate, BUCKET).max(2 * 1472);
            let mut sums: Vec<u64> = vec![0];
            for (_, n) in &sent {
                sums.push(sums[sums.len() - 1] + *n as u64);
            }
            let stride = (sent.len() / 500).max(1);
            for i in (0..sent.len()).step_by(stride) {
                for j in (i..sent.len()).step_by(stride) {
                    let allowed = bucket + octets_in(rate, sent[j].0 - sent[i].0) + 1;
                    assert!(
                        sums[j + 1] - sums[i] <= allowed,
                        "rate {rate}, packets {i}..={j}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_rate_is_reached_and_small_costs_do_not_round_away() {
        for rate in [12_500_000_u64, 1_250_000_000, 12_500_000_000] {
            // The first 2 ms are the bucket.
            let sent: usize = greedy(rate, 88, us(8_000)).iter().map(|(_, n)| n).sum();
            let ideal = rate as f64 / 100.0;
            assert!(
                (0.94..1.01).contains(&(sent as f64 / ideal)),
                "{rate}: {sent} of {ideal}"
            );
        }
    }

    #[test]
    fn packets_leave_in_batches() {
        let sent = greedy(12_500_000, 88, us(100_000));
        let mut wakes = sent.iter().map(|(t, _)| *t).collect::<Vec<_>>();
        wakes.dedup();
        assert!(
            wakes.len() <= 210,
            "one wake per {QUANTUM:?}, not per packet: {}",
            wakes.len()
        );
    }

    #[test]
    fn an_overdraft_is_repaid_before_data_goes_on() {
        let t0 = Instant::now();
        let mut r = Regulator::new(Some(1_000_000), 2_000, 1_000, t0);
        r.charge(t0, 11_000);
        assert_eq!(r.ready_at(), t0 + us(11_000 - 1_000) + QUANTUM);
        r.charge(t0 + us(1), 1_000);
        assert_eq!(r.ready_at(), t0 + us(12_000 - 1_000) + QUANTUM);
    }

    #[test]
    fn unlimited_never_waits() {
        let t0 = Instant::now();
        let mut r = Regulator::for_data(None, 1472, t0);
        for _ in 0..1000 {
            r.charge(t0, 65_000);
        }
        assert_eq!(r.ready_at(), t0);
    }

    #[test]
    fn meter_tells_overall_and_last_second() {
        let t0 = Instant::now();
        let mut m = Meter::new(t0);
        for i in 0..2_000 {
            m.record(t0 + us(i * 1_000), 1_250);
        }
        assert_eq!(m.overall(t0 + us(2_000_000)), 10_000);
        assert!((9_900..=10_100).contains(&m.last(t0 + us(2_000_000))));
        assert!(
            m.last(t0 + us(60_000_000)) < 200,
            "a silent minute is no longer 10 Mbit/s"
        );
        assert_eq!(m.overall(t0 + us(20_000_000)), 1_000);
    }
}
