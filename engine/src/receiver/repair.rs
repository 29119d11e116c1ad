//! Recovery of missing SQNs: which are asked for, when, and in which NAK (RFC 3208 §6.3).
//!
//! The window holds one [`Gap`] per SQN under recovery. This part opens them, drives their timers and
//! gathers what is due into NAK lists.

use super::gap::{BackOff, Cause, Gap, State, Step, Timers};
use super::group_naks::GroupNaks;
use super::groups::Groups;
use super::rxw::Rxw;
use super::waits::Waits;
use crate::num::Sqn;
use crate::receiver::ReceiverConfig;
use crate::wire::NAK_LIST_MAX;
use arrayvec::ArrayVec;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Most SQNs under recovery at once, the oldest first. The rest of a long loss waits its turn: the
/// source's rate limits what can be repaired anyway, and asking sooner only makes it answer twice.
const GAPS_MAX: u32 = 4096;

/// SQNs of one NAK packet, oldest first.
pub(super) type NakList = ArrayVec<Sqn, { NAK_LIST_MAX + 1 }>;

/// SQNs that retries gave up at one time.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// In no order.
    pub(super) sqns: Vec<Sqn>,
    pub(super) by_ncf_retries: u64,
    pub(super) by_data_retries: u64,
    pub(super) unasked: u64,
    /// A DLR did not confirm; these it confirmed and did not repair. None of them is lost.
    pub(super) dlr_silent: bool,
    pub(super) dlr_failures: u32,
}

#[derive(Debug)]
pub(super) struct Repair {
    /// Every SQN before this one is held or under recovery; behind `edge` it means nothing.
    pub(super) frontier: Sqn,
    pub(super) back_off: BackOff,
    pub(super) waits: Waits,
    pub(super) timers: Timers,
    /// SQNs that entered [`State::Due`], oldest last; some have left it again.
    pub(super) due: Vec<Sqn>,
    /// The repair that came last: when, and which.
    pub(super) repaired: Option<(Instant, Sqn)>,
    /// Transmission groups that lack packets.
    pub(super) groups: Groups,
    pub(super) group_naks: GroupNaks,
}

impl Repair {
    pub(super) fn new(config: &ReceiverConfig, now: Instant, rng: fastrand::Rng) -> Self {
        Self {
            frontier: Sqn(0),
            back_off: BackOff::new(config.nak_bo_ivl, now, rng),
            waits: Waits::new(config),
            timers: Timers::default(),
            due: Vec::new(),
            repaired: None,
            groups: Groups::default(),
            group_naks: GroupNaks::new(config.parity_naks),
        }
    }

    /// The window begins here.
    pub(super) fn start_at(&mut self, start: Sqn) {
        self.frontier = start;
        self.groups.start_at(start);
    }

    /// NAK_BO_IVL from now on.
    pub(super) fn set_nak_bo_ivl(&mut self, ivl: Duration) {
        self.back_off.ivl = ivl;
    }

    /// When `on_timeout` has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let timers = [self.timers.next(), self.group_naks.next_timeout()];
        timers.into_iter().flatten().min()
    }

    /// Octets that timers and what is due take.
    pub(super) fn octets(&self) -> usize {
        self.timers.octets() + self.due.capacity() * size_of::<Sqn>()
    }

    /// Begin the recovery of what is missing before `end`, as far as it fits the window: once for each SQN, whatever
    /// tells of it (RFC 3208 §6.3 ).
    ///
    /// What is found missing together shares one back-off, so that it goes out in one NAK. Every SQN is
    /// looked at once, so the work is paid for by its packet or its gap. A packet that is merely late is
    /// not asked for: it comes before the back-off ends.
    pub(super) fn open(&mut self, now: Instant, rxw: &mut Rxw, end: Sqn) {
        if rxw.edge().is_newer_than(self.frontier) {
            self.frontier = rxw.edge();
        }
        let end = older(older(end, rxw.end()), rxw.lead().next());
        let mut back_off = None;
        while end.is_newer_than(self.frontier) {
            let sqn = self.frontier;
            if self.groups.is_unused(sqn) {
                rxw.skip(sqn);
            } else if rxw.is_empty_at(sqn) {
                if rxw.missing() >= GAPS_MAX || !rxw.has_room_to_ask(sqn) {
                    break;
                }
                let gap = if self.takes_group_of(sqn, rxw) {
                    Gap::of_group(now)
                } else {
                    let until = *back_off.get_or_insert_with(|| self.first_wait(now));
                    let mut gap = Gap::new(until);
                    self.timers.arm(sqn, &mut gap);
                    gap
                };
                rxw.open_gap(sqn, gap);
            }
            self.frontier = sqn.next();
        }
        self.plan_groups(now, rxw);
    }

    /// RDATA filled `sqn`; `took` as [`Gap::repair_took`] says.
    pub(super) fn on_repair(&mut self, now: Instant, sqn: Sqn, took: Option<Duration>) {
        self.repaired = Some((now, sqn));
        if let Some(took) = took {
            self.waits.on_repair(took);
        }
    }

    /// After gaps were filled or dropped: old timers need not wake anybody.
    pub(super) fn on_gaps_closed(&mut self, rxw: &mut Rxw) {
        if rxw.missing() == 0 {
            self.timers.clear();
            self.due.clear();
        } else if self.timers.len()
            > (2 * GAPS_MAX as usize).min(rxw.slots() + rxw.missing() as usize)
        {
            self.rebuild_timers(rxw);
        }
    }

    /// NCF for `sqn`, one of its list (RFC 3208 §9.3.2 ). Whether it saved us a NAK.
    pub(super) fn on_ncf(&mut self, now: Instant, rxw: &mut Rxw, sqn: Sqn) -> bool {
        let Some(gap) = rxw.gap_mut(sqn).filter(|gap| self.minds(sqn, gap)) else {
            return false;
        };
        let suppressed = gap.on_ncf(now, &self.waits);
        self.arm_if_waiting(sqn, gap);
        suppressed
    }

    /// Another receiver's NAK for `sqn`. Whether it saved us a NAK.
    pub(super) fn on_nak(&mut self, now: Instant, rxw: &mut Rxw, sqn: Sqn) -> bool {
        let Some(gap) = rxw.gap_mut(sqn).filter(|gap| self.minds(sqn, gap)) else {
            return false;
        };
        let suppressed = gap.on_nak(now, &self.waits);
        self.arm_if_waiting(sqn, gap);
        suppressed
    }

    /// Let timers that are due fire; what retries give up is returned, its gaps still open.
    pub(super) fn on_timeout(&mut self, now: Instant, rxw: &mut Rxw) -> Lost {
        let mut lost = Lost::default();
        let mut back_off = None;
        let due_before = self.due.len();
        while let Some(run) = self.timers.pop_due(now) {
            for sqn in (0..run.count).map(|i| run.first.plus(i)) {
                let Some(gap) = rxw.gap_mut(sqn).filter(|gap| gap.queued == Some(run.at)) else {
                    continue;
                };
                gap.queued = None;
                if gap.deadline > now {
                    self.arm_if_waiting(sqn, gap);
                    continue;
                }
                let repaired = self.repaired;
                let is_busy =
                    |ivl| repaired.is_some_and(|(at, r)| at + ivl > now && sqn.is_newer_than(r));
                let step = gap.on_timeout(now, &self.waits, is_busy);
                lost.dlr_silent |= step == Step::DlrSilent;
                lost.dlr_failures += u32::from(step == Step::DlrFailed);
                match step {
                    Step::Nak => self.due.push(sqn),
                    Step::BackOff | Step::DlrSilent | Step::DlrFailed => {
                        gap.deadline = *back_off.get_or_insert_with(|| self.back_off.draw(now));
                        self.timers.arm(sqn, gap);
                    }
                    Step::Wait => self.arm_if_waiting(sqn, gap),
                    Step::Lost(cause) => {
                        lost.sqns.push(sqn);
                        match cause {
                            Cause::NcfRetries => lost.by_ncf_retries += 1,
                            Cause::DataRetries => lost.by_data_retries += 1,
                            Cause::Unasked => lost.unasked += 1,
                        }
                    }
                }
            }
        }
        self.on_group_timeout(now, rxw);
        if self.due.len() != due_before {
            let base = rxw.base();
            self.due
                .sort_unstable_by_key(|sqn| std::cmp::Reverse(sqn.since(base)));
            self.due.dedup();
        }
        lost
    }

    /// The SQNs of the next NAK, now on their way, ordered (RFC 3208 §9.3 (O-12)), and
    /// where it goes if not to the parent. Several packets go oldest first. What was asked for at a DLR already goes to the parent.
    pub(super) fn next_nak(
        &mut self,
        now: Instant,
        rxw: &mut Rxw,
        dlr: Option<Ipv4Addr>,
    ) -> Option<(NakList, Option<Ipv4Addr>)> {
        let mut list = NakList::new();
        let mut to = None;
        while !list.is_full()
            && let Some(sqn) = self.due.pop()
        {
            if let Some(gap) = rxw.gap_mut(sqn)
                && gap.state == State::Due
            {
                let target = dlr.filter(|_| gap.dlr.is_none());
                if *to.get_or_insert(target) != target {
                    self.due.push(sqn);
                    break;
                }
                gap.on_sent(now, &self.waits, target);
                self.timers.arm(sqn, gap);
                list.push(sqn);
            }
        }
        (!list.is_empty()).then_some((list, to.flatten()))
    }

    /// When something is to be done about a gap found now.
    fn first_wait(&mut self, now: Instant) -> Instant {
        if self.waits.listen_only {
            now + self.waits.listen_ivl(self.back_off.ivl)
        } else {
            self.back_off.draw(now)
        }
    }

    /// End of a back-off that begins now.
    pub(super) fn draw_back_off(&mut self, now: Instant) -> Instant {
        self.back_off.draw(now)
    }

    pub(super) fn arm_if_waiting(&mut self, sqn: Sqn, gap: &mut Gap) {
        if !matches!(gap.state, State::Due | State::Group) {
            self.timers.arm(sqn, gap);
        }
    }

    /// Drop the entries of gaps that are gone: a flood of short gaps must not pile them up.
    fn rebuild_timers(&mut self, rxw: &mut Rxw) {
        self.timers.clear();
        for sqn in rxw.stored_from(rxw.edge(), self.frontier) {
            if let Some(gap) = rxw.gap_mut(sqn) {
                gap.queued = None;
                self.arm_if_waiting(sqn, gap);
            }
        }
    }
}

/// The older of two SQNs.
pub(super) fn older(a: Sqn, b: Sqn) -> Sqn {
    if a.is_newer_than(b) { b } else { a }
}

/// The newer of two SQNs.
pub(super) fn newer(a: Sqn, b: Sqn) -> Sqn {
    if a.is_newer_than(b) { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::rxw::Packet;

    #[test] // gaps that open and close faster than their timers end do not pile timers up
    fn short_gaps_leave_few_timers() {
        let now = Instant::now();
        let config = ReceiverConfig {
            nak_bo_ivl: Duration::from_secs(5),
            ..ReceiverConfig::default()
        };
        let mut rxw = Rxw::new(1 << 16, 1 << 30);
        let mut repair = Repair::new(&config, now, fastrand::Rng::with_seed(1));
        let packet = Packet::default;
        rxw.anchor(Sqn(0));
        // SQN 0 stays missing; of the others each odd one overtakes the even one before it.
        for (n, even) in (2..50_000).step_by(2).enumerate() {
            let now = now + Duration::from_micros(n as u64);
            for sqn in [even + 1, even] {
                rxw.extend_lead(Sqn(sqn));
                rxw.offer(Sqn(sqn), 0, packet);
                repair.open(now, &mut rxw, Sqn(1 << 20));
                repair.on_gaps_closed(&mut rxw);
            }
            assert!(repair.timers.len() <= 2 * GAPS_MAX as usize);
        }
        assert_eq!(rxw.missing(), 2, "0 and 1");
        repair.on_timeout(now + 2 * config.nak_bo_ivl, &mut rxw);
        let nak = repair.next_nak(now, &mut rxw, None);
        let list = nak.as_ref().map(|(list, _)| &list[..]);
        assert_eq!(list, Some(&[Sqn(0), Sqn(1)][..]));
    }
}
