use super::*;

fn draws(ivl: Duration, receivers: u64) -> Vec<Duration> {
    let now = Instant::now();
    let seeds = 0..receivers;
    let draw = |seed| BackOff::new(ivl, now, fastrand::Rng::with_seed(seed)).draw(now) - now;
    let mut draws: Vec<_> = seeds.map(draw).collect();
    draws.sort_unstable();
    draws
}

#[test] // within NAK_BO_IVL, never at once
fn back_off_stays_in_its_interval() {
    for ivl in [
        Duration::from_micros(100),
        Duration::from_millis(10),
        Duration::from_secs(5),
    ] {
        let draws = draws(ivl, 10_000);
        assert!(draws[0] > Duration::ZERO);
        assert!(draws[draws.len() - 1] <= ivl);
    }
}

#[test] // RFC 5401 §3.2.2: few receivers answer within the round trip of the first answer
fn few_draw_early() {
    let ivl = Duration::from_millis(100);
    let round_trip = ivl / 10;
    for (receivers, most) in [(10, 5), (100, 5), (1000, 10), (10_000, 60)] {
        let draws = draws(ivl, receivers);
        let early = draws.iter().filter(|t| **t < draws[0] + round_trip).count();
        assert!(early <= most, "{early} of {receivers}");
    }
}

#[test]
fn runs_of_sqns_take_one_entry() {
    let now = Instant::now();
    let mut timers = Timers::default();
    let mut gaps: Vec<_> = (0..1000).map(|_| Gap::new(now)).collect();
    for (i, gap) in (0..).zip(&mut gaps) {
        timers.arm(Sqn(u32::MAX - 500).plus(i), gap);
    }
    assert_eq!(timers.len(), 1);
    let run = timers.pop_due(now).unwrap();
    assert_eq!((run.first, run.count), (Sqn(u32::MAX - 500), 1000));
    assert_eq!(timers.next(), None);
}

#[test]
fn the_earliest_timer_is_next() {
    let now = Instant::now();
    let at = |n| now + Duration::from_millis(n);
    let mut timers = Timers::default();
    for (sqn, ms) in [(1, 30), (2, 10), (3, 20)] {
        timers.arm(Sqn(sqn), &mut Gap::new(at(ms)));
    }
    assert_eq!(timers.next(), Some(at(10)));
    assert_eq!(timers.pop_due(at(9)), None);
    let popped = std::iter::from_fn(|| timers.pop_due(at(30))).map(|run| run.first.0);
    assert_eq!(popped.collect::<Vec<_>>(), [2, 3, 1]);
}

#[test]
fn a_gap_queued_earlier_needs_no_second_entry() {
    let now = Instant::now();
    let mut timers = Timers::default();
    let mut gap = Gap::new(now + Duration::from_millis(10));
    timers.arm(Sqn(1), &mut gap);
    gap.deadline += Duration::from_millis(10);
    timers.arm(Sqn(1), &mut gap);
    assert_eq!(
        (timers.len(), gap.queued),
        (1, Some(now + Duration::from_millis(10)))
    );
    gap.deadline = now;
    timers.arm(Sqn(1), &mut gap);
    assert_eq!((timers.len(), gap.queued), (2, Some(now)));
}
