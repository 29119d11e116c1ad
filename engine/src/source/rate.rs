//! Rate regulation (RFC 3208 §5.1.2) and measurement.

use std::time::{Duration, Instant};

/// After it ran dry the bucket fills for this long before data goes on, so that packets leave in
/// batches and the caller is not woken for each.
const QUANTUM: Duration = Duration::from_micros(500);

/// Depth of the bucket in time.
const BUCKET: Duration = Duration::from_millis(2);

/// How much of what data missed because it was sent late is caught up: a thread that shares its processor
/// is now and then woken later than the bucket lasts.
const CATCH_UP: Duration = Duration::from_millis(20);

/// The rate at which it is caught up, as a multiple of the rate.
const PEAK: (u32, u32) = (3, 2);

/// Token bucket, kept as the time at which the line would be clear again.
///
/// Octets of admitted packets in any interval ≤ bucket + rate × interval (RFC 3208 §5.1.2 (S-03)). The bucket of a
/// few packets also bounds how closely packets follow each other, and so does the peak rate (S-04). Who asks for no
/// limit gets none: then the interface is the leaky bucket.
///
/// After data had to wait for a late caller it is ≤ bucket + rate × (interval + `CATCH_UP`), and never more
/// than bucket + `PEAK` × rate × interval: what leaves at once is the same bucket as ever, and a receiver's
/// buffer has to take half the rate more for 40 ms. Time without data earns nothing.
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
    /// How far `busy_until` may lie behind now.
    catch_up: Duration,
    /// As `busy_until`, at the peak rate.
    peak_until: Instant,
    /// There has been nothing to send since.
    idle_since: Option<Instant>,
}

impl Regulator {
    /// For data: a bucket of two packets or 2 ms, whichever is more.
    pub(super) fn for_data(rate: Option<u64>, max_tpdu: usize, now: Instant) -> Self {
        let worth = rate.map_or(0, |rate| octets_in(rate, BUCKET));
        Self {
            catch_up: CATCH_UP,
            ..Self::new(rate, worth.max(2 * max_tpdu as u64), max_tpdu, now)
        }
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
            catch_up: Duration::ZERO,
            peak_until: now,
            idle_since: None,
        }
    }

    /// There is nothing to send, although it might go.
    pub(super) fn on_idle(&mut self, now: Instant) {
        self.idle_since.get_or_insert(now);
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
        if let Some(since) = self.idle_since.take() {
            let idle = now.saturating_duration_since(since);
            self.busy_until = self.busy_until.max(now.min(self.busy_until + idle));
        }
        // Late: the line has been clear for a while already.
        let late = now.saturating_duration_since(self.busy_until);
        self.busy_until = self.busy_until.max(now) - late.min(self.catch_up) + cost;
        let (times, per) = PEAK;
        self.peak_until = self.peak_until.max(now) + cost * per / times;
        let backlog = self.busy_until.saturating_duration_since(now);
        let peak = self.peak_until.saturating_duration_since(now);
        let peak_slack = self.slack * per / times;
        if waits || backlog > self.slack || peak > peak_slack {
            let over = backlog
                .saturating_sub(self.slack)
                .max(peak.saturating_sub(peak_slack));
            self.ready_at = now + over + QUANTUM.min(self.slack);
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

    /// As `greedy`, called late now and then: by `late` every `every`th time.
    fn greedy_and_late(rate: u64, every: usize, late: Duration) -> Vec<(Duration, u64)> {
        let t0 = Instant::now();
        let mut r = Regulator::for_data(Some(rate), 1472, t0);
        let (mut now, mut sent) = (t0, Vec::new());
        for wake in 1.. {
            while r.ready_at() <= now {
                r.charge(now, 1472);
                sent.push((now - t0, 1472));
            }
            now = r.ready_at() + if wake % every == 0 { late } else { us(50) };
            if now > t0 + us(2_000_000) {
                break;
            }
        }
        sent
    }

    #[test] // S-04
    fn what_was_missed_is_caught_up_within_bounds() {
        let rate = 12_500_000;
        for (every, late) in [(10, us(3_000)), (40, us(8_000)), (100, us(15_000))] {
            let sent = greedy_and_late(rate, every, late);
            let total: u64 = sent.iter().map(|(_, n)| n).sum();
            let ideal = 2 * rate;
            assert!(
                total * 100 > ideal * 97,
                "{late:?} late every {every}: {total} of {ideal}"
            );
            let bucket = octets_in(rate, BUCKET);
            for i in (0..sent.len()).step_by(37) {
                let mut sum = 0;
                for (at, n) in &sent[i..] {
                    sum += n;
                    let ivl = *at - sent[i].0;
                    let peak = bucket + octets_in(rate * 3 / 2, ivl) + 1472;
                    let long = bucket + octets_in(rate, ivl + CATCH_UP) + 1472;
                    assert!(sum <= peak.min(long), "{sum} octets in {ivl:?}");
                }
            }
        }
    }

    #[test]
    fn idle_time_earns_no_more_than_the_bucket() {
        let t0 = Instant::now();
        let rate = 12_500_000;
        let mut r = Regulator::for_data(Some(rate), 1472, t0);
        let mut send_for = |from: Instant, span: Duration| {
            let (mut now, mut sum) = (from, 0);
            while now <= from + span {
                while r.ready_at() <= now {
                    r.charge(now, 1472);
                    sum += 1472;
                }
                now = r.ready_at();
            }
            r.on_idle(from + span);
            r.on_idle(from + span + us(10));
            sum
        };
        send_for(t0, us(10_000));
        let sum = send_for(t0 + us(60_000), us(10_000));
        let most = octets_in(rate, us(10_000) + BUCKET) + 2 * 1472;
        assert!(sum <= most, "{sum} > {most}");
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
