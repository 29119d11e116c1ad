//! The acker, and who should be it: the receiver with the lowest throughput (PGMCC §2.3 to §2.5, §5).

use super::window::News;
use crate::num::Nla;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// C: another receiver becomes the acker if its throughput is below this share of the acker's.
const C: f64 = 0.75;
/// Resolution of the timestamps: a shorter round trip is taken for one of this length.
const RTT_MIN: Duration = Duration::from_millis(1);
/// Least loss in the comparison: without any loss the round trip alone decides.
const LOSS_MIN: f64 = 1.0 / 65_536.0;

/// Bounds of the timeout. There is always a measurement: the report the acker was elected by.
const TIMEOUT_MIN: Duration = Duration::from_millis(200);
const TIMEOUT_MAX: Duration = Duration::from_secs(3);

/// Weight of a packet in the loss seen in the ACKs, as receivers weigh it.
const LOSS_WEIGHT: f64 = 500.0 / 65_536.0;
/// So much more loss than its ACKs show an acker may report, in one reign and in all of a while.
const EXCESS: f64 = 0.25;
/// Less than this is no more than packets under way.
const EXCESS_MIN: f64 = 0.05;
/// How far the round trip an acker's echo makes may be from the one of its ACKs, beyond half of it.
const RTT_SLACK: Duration = Duration::from_millis(50);
/// So many ACKs more with a wrong echo than with a right one are no accident.
const STRIKES: u32 = 16;

/// Former ackers whose ACKs are remembered: how many, for how long.
const FORMER: usize = 8;
const FORMER_FOR: Duration = Duration::from_secs(1);
/// Receivers that lied: how many are remembered, for how long.
const LIARS: usize = 16;
const LIAR_FOR: Duration = Duration::from_secs(10);

/// What a receiver says of its path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    /// Who it says it is.
    pub(super) nla: Nla,
    /// Where its packets come from.
    pub(super) from: Ipv4Addr,
    /// By the timestamp it echoes.
    pub(super) rtt: Duration,
    /// Share of packets lost.
    pub(super) loss: f64,
}

/// The receiver whose ACKs drive the window.
#[derive(Debug)]
pub(super) struct Acker {
    /// What data packets call it.
    pub(super) nla: Nla,
    from: Ipv4Addr,
    rtt: Rtt,
    /// As it reports it.
    loss: f64,
    /// What it should report by now: what it did in its first ACK, and what its ACKs have shown since.
    expected: Option<f64>,
    /// What it reported beyond that when it was the acker before.
    excess: f64,
    strikes: u32,
}

impl Acker {
    /// PGMCC §2.7: the estimate of the round trip begins anew with each acker.
    fn new(report: &Report) -> Self {
        Self {
            nla: report.nla,
            from: report.from,
            rtt: Rtt::new(report.rtt),
            loss: report.loss,
            expected: None,
            excess: 0.0,
            strikes: 0,
        }
    }

    /// Elected again: what was found out counts on.
    fn again(self, report: &Report) -> Self {
        Self {
            excess: self.excess(),
            strikes: self.strikes,
            ..Self::new(report)
        }
    }

    /// Whether it is this one that speaks. An address other than it was elected with is somebody else's.
    pub(super) fn is(&self, report: &Report) -> bool {
        (self.nla, self.from) == (report.nla, report.from)
    }

    /// Its smoothed round trip.
    pub(super) fn rtt(&self) -> Duration {
        self.rtt.mean
    }

    /// How long to wait for an ACK.
    pub(super) fn timeout(&self) -> Duration {
        self.rtt.timeout()
    }

    /// It says so in a NAK.
    pub(super) fn on_nak(&mut self, report: &Report) {
        self.loss = report.loss;
    }

    /// It says so in an ACK that has this news. The round trip is that of the ACKs themselves, which nobody
    /// makes longer but by being slow.
    ///
    /// PGMCC §5: false if its echoes do not go with its ACKs.
    pub(super) fn on_ack(&mut self, report: &Report, news: &News) -> bool {
        self.loss = report.loss;
        if let Some(rtt) = news.rtt {
            self.rtt.sample(rtt);
            let is_wrong = report.rtt.abs_diff(rtt) > RTT_SLACK + rtt / 2;
            self.strikes = match is_wrong {
                true => self.strikes + 1,
                false => self.strikes.saturating_sub(1),
            };
        }
        match &mut self.expected {
            None => self.expected = Some(report.loss),
            Some(expected) => {
                for (packets, is_lost) in [(news.received, 0.0), (news.lost + news.unknown, 1.0)] {
                    for _ in 0..packets {
                        *expected += (is_lost - *expected) * LOSS_WEIGHT;
                    }
                }
            }
        }
        self.strikes < STRIKES
    }

    /// PGMCC §5: it reports far more loss than its ACKs show. A greedy receiver does, to become the acker and
    /// then acknowledge everything; so does a host of which one process loses what another one gets, since to us
    /// they have one name. So it counts only against the acker that others were too slow for.
    pub(super) fn overstates(&self) -> bool {
        self.excess() > EXCESS
    }

    fn excess(&self) -> f64 {
        let now = self.expected.map_or(0.0, |expected| self.loss - expected);
        self.excess + if now > EXCESS_MIN { now } else { 0.0 }
    }

    /// PGMCC §2.3 (C-08): whether the other one is so much slower that it should be the acker.
    pub(super) fn gives_way_to(&self, other: &Report) -> bool {
        let ours = slowness(self.rtt.mean, self.expected.unwrap_or(self.loss));
        slowness(other.rtt, other.loss) * C > ours
    }
}

/// M, the inverse of the throughput of TCP but for constant factors (PGMCC §2.4).
fn slowness(rtt: Duration, loss: f64) -> f64 {
    let p = loss.max(LOSS_MIN);
    rtt.max(RTT_MIN).as_secs_f64() * p.sqrt() * (1.0 + 9.0 * p * (1.0 + 32.0 * p * p))
}

/// Smoothed round trip and its deviation, as TCP has them (RFC 6298).
#[derive(Debug)]
struct Rtt {
    mean: Duration,
    deviation: Duration,
}

impl Rtt {
    fn new(first: Duration) -> Self {
        Self {
            mean: first,
            deviation: first / 2,
        }
    }

    fn sample(&mut self, rtt: Duration) {
        self.deviation = (self.deviation * 3 + rtt.abs_diff(self.mean)) / 4;
        self.mean = (self.mean * 7 + rtt) / 8;
    }

    fn timeout(&self) -> Duration {
        (self.mean + self.deviation * 4).clamp(TIMEOUT_MIN, TIMEOUT_MAX)
    }
}

/// Ackers of a moment ago. Else one that is elected and replaced in turn would never have been it for long enough to
/// be found out.
#[derive(Debug, Default)]
pub(super) struct Former(VecDeque<(Acker, Instant)>);

impl Former {
    pub(super) fn keep(&mut self, now: Instant, acker: Acker) {
        if self.0.len() >= FORMER {
            self.0.pop_front();
        }
        self.0.push_back((acker, now + FORMER_FOR));
    }

    /// Who reports becomes the acker.
    pub(super) fn elect(&mut self, now: Instant, report: &Report) -> Acker {
        self.0.retain(|(_, until)| now < *until);
        let known = self.0.iter().position(|(acker, _)| acker.is(report));
        match known.and_then(|at| self.0.remove(at)) {
            Some((acker, _)) => acker.again(report),
            None => Acker::new(report),
        }
    }
}

/// Receivers that are not elected for a while, because what they said was not true.
#[derive(Debug, Default)]
pub(super) struct Liars(VecDeque<(Nla, Instant)>);

impl Liars {
    pub(super) fn add(&mut self, now: Instant, nla: Nla) {
        if self.0.len() >= LIARS {
            self.0.pop_front();
        }
        self.0.push_back((nla, now + LIAR_FOR));
    }

    pub(super) fn has(&self, now: Instant, nla: Nla) -> bool {
        self.0
            .iter()
            .any(|(liar, until)| *liar == nla && now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rtt_ms: u64, loss: f64) -> Report {
        Report {
            nla: Nla::V4(Ipv4Addr::LOCALHOST),
            from: Ipv4Addr::LOCALHOST,
            rtt: Duration::from_millis(rtt_ms),
            loss,
        }
    }

    #[test] // C-08: only below C times the acker's throughput
    fn a_receiver_must_be_much_slower_to_become_the_acker() {
        let acker = Acker::new(&report(100, 0.01));
        assert!(!acker.gives_way_to(&report(100, 0.01)));
        assert!(
            !acker.gives_way_to(&report(133, 0.01)),
            "1 / 133 > 0.75 / 100"
        );
        assert!(acker.gives_way_to(&report(134, 0.01)));
        assert!(!acker.gives_way_to(&report(50, 0.02)));
        assert!(acker.gives_way_to(&report(50, 0.05)));
        assert!(acker.gives_way_to(&report(100, 1.0)));
        // Without loss the round trip decides.
        let acker = Acker::new(&report(10, 0.0));
        assert!(acker.gives_way_to(&report(20, 0.0)) && !acker.gives_way_to(&report(10, 0.0)));
    }

    #[test]
    fn the_timeout_follows_the_round_trip_within_bounds() {
        let mut rtt = Rtt::new(Duration::from_millis(400));
        assert_eq!(rtt.timeout(), Duration::from_millis(1200));
        for _ in 0..100 {
            rtt.sample(Duration::from_micros(200));
        }
        assert_eq!(rtt.timeout(), TIMEOUT_MIN);
        assert_eq!(Rtt::new(Duration::from_secs(9)).timeout(), TIMEOUT_MAX);
    }

    #[test]
    fn words_that_do_not_fit_the_acks_are_noticed() {
        let news = |rtt| News {
            received: 1,
            lost: 0,
            unknown: 0,
            rtt: Some(Duration::from_millis(rtt)),
        };
        let trusts = |report: Report, packets: u32| {
            let mut acker = Acker::new(&report);
            (0..packets).all(|_| acker.on_ack(&report, &news(10)))
        };
        assert!(trusts(report(10, 0.0), 10_000));
        assert!(trusts(report(60, 0.0), 10_000), "within what clocks do");
        assert!(!trusts(report(900, 0.0), 16), "an echo of long ago");
        let overstates = |packets: u32, reported: f64, news: News| {
            let mut acker = Acker::new(&report(10, reported));
            for _ in 0..packets {
                acker.on_ack(&report(10, reported), &news);
            }
            acker.overstates()
        };
        assert!(!overstates(50, 0.5, news(10)), "maybe just before");
        assert!(overstates(500, 0.5, news(10)), "nothing is lost");
        let lossy = News {
            received: 1,
            lost: 1,
            ..News::default()
        };
        assert!(!overstates(10_000, 0.5, lossy), "as it says");
    }

    #[test]
    fn what_its_acks_show_counts_more_than_what_it_says() {
        let mut acker = Acker::new(&report(10, 0.5));
        for _ in 0..500 {
            assert!(!acker.gives_way_to(&report(10, 0.02)) || acker.overstates());
            let received = News {
                received: 1,
                ..News::default()
            };
            acker.on_ack(&report(10, 0.5), &received);
        }
        assert!(acker.gives_way_to(&report(10, 0.1)));
    }

    #[test]
    fn who_is_elected_again_at_once_is_known() {
        let (mut former, t0) = (Former::default(), Instant::now());
        let reign = |former: &mut Former, at: Duration| {
            let mut acker = former.elect(t0 + at, &report(10, 0.9));
            for _ in 0..20 {
                let received = News {
                    received: 1,
                    ..News::default()
                };
                acker.on_ack(&report(10, 0.9), &received);
            }
            let found_out = acker.overstates();
            former.keep(t0 + at, acker);
            found_out
        };
        let step = FORMER_FOR / 2;
        let reigns: Vec<_> = (0..4).map(|n| reign(&mut former, step * n)).collect();
        assert_eq!(reigns, [false, false, true, true]);
        assert!(!reign(&mut former, step * 6), "forgotten");
        for _ in 0..100 {
            former.keep(t0, Acker::new(&report(10, 0.9)));
        }
        assert_eq!(former.0.len(), FORMER);
    }

    #[test]
    fn liars_are_remembered_for_a_while_and_not_without_bound() {
        let (mut liars, now) = (Liars::default(), Instant::now());
        let nla = |n| Nla::V4(Ipv4Addr::from_bits(n));
        for n in 0..100 {
            liars.add(now, nla(n));
        }
        assert_eq!(liars.0.len(), LIARS);
        assert!(liars.has(now, nla(99)) && !liars.has(now, nla(1)));
        assert!(!liars.has(now + LIAR_FOR, nla(99)));
    }
}
