//! Recovery of whole transmission groups: when to wait for parity, when to ask for it, and when to ask for
//! each packet instead (RFC 3208 §11.5). The other half of [`Repair`].
//!
//! A missing packet whose group takes care of it has a gap in [`State::Group`], without a timer. The group
//! has the NAK machine of a gap, for all of them. Whatever comes of it, no packet is lost here: a group
//! that nobody repairs is released, and each packet of it begins the selective recovery anew.

use super::config::ParityNaks;
use super::gap::{Gap, State, Step, Timers};
use super::groups::{Groups, Purpose};
use super::parity::{Grouping, Implausible};
use super::repair::{NakList, Repair};
use super::rxw::Rxw;
use crate::num::Sqn;
use crate::wire::ParityPrm;
use std::time::Instant;

/// Tries without NCF, and without all the parity, after which a group is released.
const NCF_TRIES: u32 = 12;
const DATA_TRIES: u32 = 24;
/// Groups in a row that were released because nothing answered: so many, and no group asks any more.
const UNANSWERED_MAX: u8 = 2;
/// RFC 3208 §11.5 (F-27) wants the back-off inversely proportional to the count. It is, down to this
/// fraction: shorter than a round trip it would not keep receivers with many losses from asking all at once.
const LARGEST_BIAS: u32 = 4;

/// What the source offers, and what is under way.
#[derive(Debug)]
pub(super) struct GroupNaks {
    policy: ParityNaks,
    /// As its last SPM with OPT_PARITY_PRM says.
    proactive: bool,
    on_demand: bool,
    /// It is no libpgm, so that those two mean what they say.
    is_trusted: bool,
    /// It sends short groups, and tells so.
    is_variable: bool,
    unanswered: u8,
    /// RXW_LEAD that an SPM confirmed, and whether one did before.
    pause: Option<(Sqn, bool)>,
    /// Groups with gaps, by their first SQN, whose recovery is yet to begin or to be hurried.
    unplanned: Vec<Sqn>,
    timers: Timers,
    /// Groups that entered [`State::Due`], oldest last.
    due: Vec<Sqn>,
}

impl GroupNaks {
    pub(super) fn new(policy: ParityNaks) -> Self {
        Self {
            policy,
            proactive: false,
            on_demand: false,
            is_trusted: false,
            is_variable: false,
            unanswered: 0,
            pause: None,
            unplanned: Vec::new(),
            timers: Timers::default(),
            due: Vec::new(),
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Whether parity is asked for. RFC 3208 §11.5 (F-24): then nothing else is, of full groups.
    fn asks(&self) -> bool {
        let is_allowed = match self.policy {
            ParityNaks::Auto => self.is_trusted,
            ParityNaks::On => true,
            ParityNaks::Off => false,
        };
        self.on_demand && is_allowed && self.unanswered < UNANSWERED_MAX
    }

    /// Whether parity is worth waiting for before anything is asked for.
    fn awaits(&self) -> bool {
        self.proactive && (self.is_trusted || self.policy == ParityNaks::On)
    }

    /// The source answers requests for parity.
    pub(super) fn on_answer(&mut self) {
        self.unanswered = 0;
    }
}

/// What packets say of groups.
impl Repair {
    /// An SPM was accepted. `Err`: it offers groups that there cannot be, and is ignored as to them.
    ///
    /// RFC 3208 §11.5 (F-22): before it there is no use in parity. It may change its mind in a later one.
    pub(super) fn learn_parity(
        &mut self,
        now: Instant,
        rxw: &mut Rxw,
        prm: Option<&ParityPrm>,
        is_trusted: bool,
    ) -> Result<(), Implausible> {
        self.group_naks.is_trusted |= is_trusted;
        let Some(prm) = prm else {
            return Ok(());
        };
        let grouping = Grouping::new(prm).ok_or(Implausible)?;
        self.group_naks.proactive = prm.proactive;
        self.group_naks.on_demand = prm.on_demand;
        if self.groups.set_grouping(grouping, rxw) {
            self.group_naks.unplanned.clear();
            self.group_naks.due.clear();
            self.group_naks.timers.clear();
            let until = self.back_off.draw(now);
            for sqn in rxw.stored_from(rxw.edge(), self.frontier) {
                self.release_gap(sqn, rxw, Gap::new(until));
            }
        }
        Ok(())
    }

    /// RFC 3208 §11.2: the group at `start` has only `size` packets. `Err` if that cannot be.
    pub(super) fn on_group_size(
        &mut self,
        start: Sqn,
        size: u32,
        rxw: &mut Rxw,
    ) -> Result<(), Implausible> {
        let Some(grouping) = self.groups.grouping() else {
            return Ok(());
        };
        let size = u8::try_from(size).map_err(|_| Implausible)?;
        if !(1..=grouping.k()).contains(&size) {
            return Err(Implausible);
        }
        let end = start.plus(grouping.sqns());
        if end.since(rxw.base()) <= 0 {
            return Ok(());
        }
        let frontier = self.frontier;
        if self.groups.get(start).is_none() && !self.groups.has_room(rxw) {
            return Ok(());
        }
        let Some(group) = self.groups.entry(start, rxw) else {
            return Ok(());
        };
        if let Some(known) = group.size {
            return if known == size {
                Ok(())
            } else {
                Err(Implausible)
            };
        }
        let unused = (size..grouping.k()).map(|row| start.plus(row.into()));
        let is_refuted = |sqn: Sqn| rxw.has_been(sqn) || rxw.base().is_newer_than(sqn);
        if group.has_kept_beyond(size) || unused.clone().any(is_refuted) {
            return Err(Implausible);
        }
        group.size = Some(size);
        self.group_naks.is_variable |= size < grouping.k();
        // RFC 3208 §11.3 (F-33): nobody lacks these. The ones beyond are met by `open`.
        for sqn in unused.filter(|sqn| frontier.is_newer_than(*sqn)) {
            rxw.skip(sqn);
        }
        Ok(())
    }

    /// An SPM says that nothing is newer than what is known here.
    pub(super) fn on_pause(&mut self, rxw: &Rxw) {
        let lead = rxw.lead();
        let again = self.group_naks.pause.is_some_and(|(at, _)| at == lead);
        self.group_naks.pause = Some((lead, again));
    }

    /// Parity of the group at `start` was taken.
    pub(super) fn on_parity(&mut self, now: Instant, start: Sqn, is_repair: bool) {
        let Some(group) = self.groups.get(start).filter(|_| is_repair) else {
            return;
        };
        let took = group
            .wait
            .as_ref()
            .and_then(|(_, gap)| gap.repair_took(now));
        self.on_repair(now, start, took);
    }

    /// A parity NCF with this SQN. Whether it saved us a NAK.
    pub(super) fn on_parity_ncf(&mut self, now: Instant, rxw: &Rxw, sqn: Sqn) -> bool {
        self.group_naks.on_answer();
        self.on_count(rxw, sqn, |gap, waits| gap.on_ncf(now, waits))
    }

    /// Another receiver's parity NAK with this SQN. Whether it saved us a NAK.
    pub(super) fn on_parity_nak(&mut self, now: Instant, rxw: &Rxw, sqn: Sqn) -> bool {
        self.on_count(rxw, sqn, |gap, waits| gap.on_nak(now, waits))
    }

    /// RFC 3208 §6.3, §11.5 (F-28): an NCF or NAK means us only if its count is as large as ours.
    fn on_count(
        &mut self,
        rxw: &Rxw,
        sqn: Sqn,
        apply: impl FnOnce(&mut Gap, &super::waits::Waits) -> bool,
    ) -> bool {
        let Some(grouping) = self.groups.grouping() else {
            return false;
        };
        let start = grouping.start(sqn);
        let is_asking = |groups: &Groups| groups.get(start).is_some_and(|group| group.is_asking());
        if !is_asking(&self.groups) || grouping.count(sqn) < self.groups.tally(start, rxw).wanted {
            return false;
        }
        let Some((_, gap)) = self.groups.get_mut(start).and_then(|g| g.wait.as_mut()) else {
            return false;
        };
        let suppressed = apply(gap, &self.waits);
        arm_group(&mut self.group_naks.timers, start, gap);
        suppressed
    }

    /// Whether what others send for the single `sqn` matters: not while its group asks for parity.
    pub(super) fn minds(&self, sqn: Sqn, gap: &Gap) -> bool {
        gap.state != State::Group || !self.groups.get(sqn).is_some_and(|group| group.is_asking())
    }
}

/// What is done about groups.
impl Repair {
    /// Whether the group of `sqn`, just found missing, takes care of it.
    pub(super) fn takes_group_of(&mut self, sqn: Sqn, rxw: &Rxw) -> bool {
        let naks = &mut self.group_naks;
        let Some(grouping) = self.groups.grouping() else {
            return false;
        };
        if self.waits.listen_only || !(naks.asks() || naks.awaits()) {
            return false;
        }
        // Departs from RFC 3208 §11.5 (F-24): a group larger than the window can only be repaired piecewise, and so can
        // one of which more was lost than the source has parity for, or whose parity nobody sends.
        if !rxw.fits(grouping.sqns()) {
            return false;
        }
        let start = grouping.start(sqn);
        let Some(group) = self
            .groups
            .entry(sqn, rxw)
            .filter(|group| !group.is_selective)
        else {
            return false;
        };
        if group.wait.is_none() && naks.unplanned.last() != Some(&start) {
            naks.unplanned.push(start);
        }
        true
    }

    /// Begin or hurry the recovery of groups as far as their time has come.
    pub(super) fn plan_groups(&mut self, now: Instant, rxw: &mut Rxw) {
        if self.group_naks.unplanned.is_empty() {
            return;
        }
        let mut unplanned = std::mem::take(&mut self.group_naks.unplanned);
        unplanned.retain(|start| !self.plan_group(now, rxw, *start));
        self.group_naks.unplanned = unplanned;
    }

    /// Whether no more is to be planned for the group.
    fn plan_group(&mut self, now: Instant, rxw: &mut Rxw, start: Sqn) -> bool {
        let asks = self.group_naks.asks();
        let is_over = self.is_over(start, rxw);
        let is_past = self.is_past(start, rxw);
        let Some(group) = self.groups.get(start).filter(|group| !group.is_selective) else {
            return true;
        };
        let awaits = self.group_naks.awaits();
        match group.wait.as_ref().map(|(purpose, _)| *purpose) {
            Some(Purpose::Parity) => {
                if is_past {
                    self.hurry(now, rxw, start);
                }
                is_past
            }
            _ if asks && is_over => {
                self.ask(now, rxw, start);
                is_past || !awaits
            }
            Some(Purpose::Patience) if asks => {
                if !self.is_paused(rxw) {
                    self.set_wait(start, None);
                }
                false
            }
            None if asks => {
                // RFC 3208 §11.5 (F-24): data has paused inside the group, so selective NAKs will do.
                // Every SPM of a steady stream looks like that; data that comes before the back-off
                // ends proves it wrong.
                if self.is_paused(rxw) {
                    let until = self.back_off.draw(now);
                    self.set_wait(start, Some((Purpose::Patience, Gap::new(until))));
                }
                false
            }
            Some(Purpose::Patience) => {
                if is_past {
                    self.hurry(now, rxw, start);
                }
                is_past
            }
            None => {
                let until = self.back_off.draw(now);
                let extra = if is_past {
                    Default::default()
                } else {
                    self.back_off.ivl
                };
                self.set_wait(start, Some((Purpose::Patience, Gap::new(until + extra))));
                is_past
            }
        }
    }

    /// RFC 3208 §11.5: loss is detected at the end of the group, and all of it is under recovery, or else
    /// the window waits for it.
    fn is_over(&self, start: Sqn, rxw: &Rxw) -> bool {
        let Some(grouping) = self.groups.grouping() else {
            return false;
        };
        let size = self.groups.get(start).and_then(|group| group.size);
        let end = start.plus(size.unwrap_or(grouping.k()).into());
        let is_open = self.frontier.since(end) >= 0 || grouping.start(rxw.edge()) == start;
        rxw.lead().next().since(end) >= 0 && is_open
    }

    /// Whether a packet of a later group is known, so that parity sent with this one should be here.
    fn is_past(&self, start: Sqn, rxw: &Rxw) -> bool {
        let grouping = self.groups.grouping();
        grouping.is_none_or(|grouping| rxw.lead().since(start.plus(grouping.sqns())) >= 0)
    }

    /// Whether data seems to have paused at the lead. A source that says how long its groups are will do
    /// so soon; it gets until its next SPM.
    fn is_paused(&self, rxw: &Rxw) -> bool {
        let pause = self.group_naks.pause.filter(|(at, _)| *at == rxw.lead());
        pause.is_some_and(|(_, again)| again || !self.group_naks.is_variable)
    }

    /// Ask for parity, for all that the group lacks.
    fn ask(&mut self, now: Instant, rxw: &mut Rxw, start: Sqn) {
        let Some(grouping) = self.groups.grouping() else {
            return;
        };
        for sqn in rxw.stored_from(start, start.plus(grouping.sqns())) {
            if let Some(gap) = rxw.gap_mut(sqn) {
                gap.state = State::Group;
            }
        }
        let mut until = self.group_back_off(now, rxw, start);
        if self.group_naks.awaits() && !self.is_past(start, rxw) {
            until += self.back_off.ivl;
        }
        self.set_wait(start, Some((Purpose::Parity, Gap::new(until))));
    }

    /// What was to come unasked should be here: wait no longer than for others to ask.
    fn hurry(&mut self, now: Instant, rxw: &Rxw, start: Sqn) {
        let until = self.group_back_off(now, rxw, start);
        if let Some((_, gap)) = self.groups.get_mut(start).and_then(|g| g.wait.as_mut())
            && gap.state == State::BackOff
            && gap.tries() == (0, 0)
        {
            gap.deadline = gap.deadline.min(until);
            arm_group(&mut self.group_naks.timers, start, gap);
        }
    }

    /// RFC 3208 §11.5 (F-27): the more is missing, the sooner.
    fn group_back_off(&mut self, now: Instant, rxw: &Rxw, start: Sqn) -> Instant {
        let wanted = u32::from(self.groups.tally(start, rxw).wanted);
        let full = self.back_off.draw(now).saturating_duration_since(now);
        now + full / wanted.clamp(1, LARGEST_BIAS)
    }

    fn set_wait(&mut self, start: Sqn, wait: Option<(Purpose, Gap)>) {
        if let Some(group) = self.groups.get_mut(start) {
            group.wait = wait;
            if let Some((_, gap)) = &mut group.wait {
                arm_group(&mut self.group_naks.timers, start, gap);
            }
        }
    }

    /// Let timers of groups fire.
    pub(super) fn on_group_timeout(&mut self, now: Instant, rxw: &mut Rxw) {
        let due_before = self.group_naks.due.len();
        while let Some(run) = self.group_naks.timers.pop_due(now) {
            for start in (0..run.count).map(|i| run.first.plus(i)) {
                self.on_group_timer(now, rxw, start, run.at);
            }
        }
        if self.group_naks.due.len() != due_before {
            let base = rxw.base();
            let due = &mut self.group_naks.due;
            due.sort_unstable_by_key(|start| std::cmp::Reverse(start.since(base)));
            due.dedup();
        }
    }

    fn on_group_timer(&mut self, now: Instant, rxw: &mut Rxw, start: Sqn, at: Instant) {
        let is_missing = self.groups.tally(start, rxw).is_missing;
        let Some(group) = self.groups.get_mut(start) else {
            return;
        };
        let Some((purpose, gap)) = group.wait.as_mut().filter(|(_, g)| g.queued == Some(at)) else {
            return;
        };
        gap.queued = None;
        if !is_missing {
            group.wait = None;
            return;
        }
        if gap.deadline > now {
            arm_group(&mut self.group_naks.timers, start, gap);
            return;
        }
        if *purpose == Purpose::Patience {
            self.release(now, rxw, start, None);
            return;
        }
        let k = self.groups.grouping().map_or(1, Grouping::sqns);
        let Some(group) = self.groups.get_mut(start) else {
            return;
        };
        let is_exhausted = group.is_exhausted();
        let Some((_, gap)) = &mut group.wait else {
            return;
        };
        let repaired = self.repaired;
        // RFC 3208 §11.5 (F-29): the wait goes on until all that was asked for has come.
        let is_busy = |ivl| {
            let upto = start.plus(k);
            repaired.is_some_and(|(at, r)| at + ivl > now && upto.is_newer_than(r))
        };
        let step = gap.on_timeout(now, &self.waits, is_busy);
        let (ncf_tries, data_tries) = gap.tries();
        match step {
            Step::Nak => self.group_naks.due.push(start),
            Step::Wait => arm_group(&mut self.group_naks.timers, start, gap),
            // More packets were lost than the source has parity for, and it does not tell how much that is.
            Step::BackOff if is_exhausted => {
                let until = self.back_off.draw(now);
                self.release(now, rxw, start, Some(until));
            }
            Step::BackOff if ncf_tries < NCF_TRIES && data_tries < DATA_TRIES => {
                let until = self.group_back_off(now, rxw, start);
                if let Some((_, gap)) = self.groups.get_mut(start).and_then(|g| g.wait.as_mut()) {
                    gap.deadline = until;
                    arm_group(&mut self.group_naks.timers, start, gap);
                }
            }
            // Parity alone has failed: that is no reason to lose anything. No DLR is asked for any.
            Step::BackOff | Step::DlrSilent | Step::DlrFailed | Step::Lost(_) => {
                if data_tries == 0 {
                    let unanswered = &mut self.group_naks.unanswered;
                    *unanswered = unanswered.saturating_add(1);
                }
                let until = self.back_off.draw(now);
                self.release(now, rxw, start, Some(until));
            }
        }
    }

    /// From now on each packet of the group is asked for by itself: after a back-off, or at once.
    fn release(
        &mut self,
        now: Instant,
        rxw: &mut Rxw,
        start: Sqn,
        back_off_until: Option<Instant>,
    ) {
        let Some((grouping, group)) = self.groups.grouping().zip(self.groups.get_mut(start)) else {
            return;
        };
        group.is_selective = true;
        group.wait = None;
        for sqn in rxw.stored_from(start, start.plus(grouping.sqns())) {
            let fresh = match back_off_until {
                Some(until) => Gap::new(until),
                None => Gap::due(now),
            };
            self.release_gap(sqn, rxw, fresh);
        }
    }

    fn release_gap(&mut self, sqn: Sqn, rxw: &mut Rxw, mut fresh: Gap) {
        let Some(gap) = rxw.gap_mut(sqn).filter(|gap| gap.state == State::Group) else {
            return;
        };
        if fresh.state == State::Due {
            self.due.push(sqn);
        }
        self.arm_if_waiting(sqn, &mut fresh);
        *gap = fresh;
    }

    /// The SQNs of the next parity NAK, now on their way: one for each group, oldest first.
    pub(super) fn next_parity_nak(&mut self, now: Instant, rxw: &Rxw) -> Option<NakList> {
        let grouping = self.groups.grouping()?;
        let mut list = NakList::new();
        while !list.is_full()
            && let Some(start) = self.group_naks.due.pop()
        {
            let tally = self.groups.tally(start, rxw);
            let Some(group) = self.groups.get_mut(start) else {
                continue;
            };
            if !tally.is_missing {
                group.wait = None;
            }
            if matches!(&group.wait, Some((Purpose::Parity, gap)) if gap.state == State::Due) {
                group.on_asked();
            }
            if let Some((Purpose::Parity, gap)) = &mut group.wait
                && gap.state == State::Due
            {
                gap.on_sent(now, &self.waits, None);
                arm_group(&mut self.group_naks.timers, start, gap);
                list.push(grouping.nak_sqn(start, tally.wanted));
            }
        }
        (!list.is_empty()).then_some(list)
    }

    /// Whether the group at `start` lacks nothing any more.
    pub(super) fn is_group_whole(&self, start: Sqn, rxw: &Rxw) -> bool {
        self.groups.is_whole(start, rxw, self.frontier)
    }

    /// The parity of the group at `start` contradicts its data.
    pub(super) fn reject_group(&mut self, now: Instant, rxw: &mut Rxw, start: Sqn) {
        self.groups.drop_parity(start);
        if let Some(group) = self.groups.get_mut(start) {
            group.is_rejected = true;
        }
        let until = self.back_off.draw(now);
        self.release(now, rxw, start, Some(until));
    }

    /// Where the recovery of the group of `sqn` stands.
    pub(super) fn group_state(&self, sqn: Sqn) -> Option<State> {
        let (_, gap) = self.groups.get(sqn)?.wait.as_ref()?;
        Some(gap.state)
    }
}

fn arm_group(timers: &mut Timers, start: Sqn, gap: &mut Gap) {
    if gap.state != State::Due {
        timers.arm(start, gap);
    }
}
