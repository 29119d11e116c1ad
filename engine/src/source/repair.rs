//! What NAKs cause: confirmation at once, one repair each, a back-off interval that fits the group
//! (RFC 3208 §5.2, §5.3, §15.2).

use super::SourceConfig;
use super::backoff::{Backoff, Round};
use super::rate::Regulator;
use super::txw::{Place, TxWindow};
use crate::num::Sqn;
use crate::stats::SourceStats;
use crate::wire::NAK_LIST_MAX;
use arrayvec::ArrayVec;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// SQNs of one NAK or NCF: the header's and the list's, ordered, no duplicates.
pub(super) type SqnList = ArrayVec<Sqn, { NAK_LIST_MAX + 1 }>;

/// Identical NCFs within this time become one (RFC 3208 §5.2 (S-16): the first is immediate, further ones are
/// delayed by a small interval).
pub(super) const NCF_HOLD: Duration = Duration::from_millis(2);
/// A NAK this soon after the RDATA was under way when the RDATA went.
const RDATA_HOLD: Duration = Duration::from_millis(3);
/// Receivers and network elements remembered for each repair.
const ASKERS: usize = 4;
/// After its RDATA (and one back-off interval) an SQN stays in the window this long: the NAK of a
/// receiver that lost the RDATA comes its NAK_RDATA_IVL later.
pub(super) const TRAIL_HOLD: Duration = Duration::from_millis(50);
/// NCFs waiting at most; further ones share a packet [`NCF_HOLD`] later.
pub(super) const NCF_QUEUE: usize = 64;
/// Largest NCF, octets, with room to spare.
const NCF_LEN: usize = 320;

/// Repair state of one SQN (RFC 3208 §15.2): from its first NAK until the RDATA had time to arrive.
#[derive(Debug)]
pub(super) struct Repair {
    round: Round,
    /// Who asked, of the first few.
    askers: ArrayVec<Ipv4Addr, ASKERS>,
    /// NAKs after the first.
    duplicates: u32,
    /// Its RDATA waits.
    queued: bool,
    rdata: Option<Instant>,
    /// It goes once more, in a moment.
    again: bool,
    /// Until when the trailing edge should not pass it.
    hold: Instant,
    ncf: Option<Instant>,
    /// A repeated NCF waits.
    ncf_waits: bool,
}

impl Repair {
    fn new(now: Instant, round: Round) -> Self {
        Self {
            round,
            askers: ArrayVec::new(),
            duplicates: 0,
            queued: false,
            rdata: None,
            again: false,
            hold: now,
            ncf: None,
            ncf_waits: false,
        }
    }

    /// As it is while RDATA waits, and after that until `hold`.
    #[cfg(test)]
    pub(super) fn example(queued: bool, hold: Instant) -> Self {
        Self {
            queued,
            ..Self::new(hold, Round::new(hold, Duration::ZERO))
        }
    }

    /// NAKs after the first one that opened this state.
    pub(super) fn duplicates(&self) -> u32 {
        self.duplicates
    }

    /// Whether its RDATA waits to be sent.
    pub(super) fn is_queued(&self) -> bool {
        self.queued
    }

    /// Until when the trailing edge should not pass it, once its RDATA went.
    pub(super) fn hold(&self) -> Instant {
        self.hold
    }

    /// When the RDATA goes once more, if a NAK from `from` that comes now tells that it was in vain.
    ///
    /// Who asked for it, and asks again when all have asked who lost the original data together, has seen it: a
    /// network element that found nobody waiting on some branch, and cannot ask again for NAK_ELIM_IVL if
    /// we only confirm. Sooner it may be two receivers of one host, whose NAKs crossed the RDATA; so are those
    /// of whoever had not asked yet.
    fn in_vain(&self, now: Instant, from: Ipv4Addr) -> Option<Instant> {
        let sent = self.rdata.filter(|_| !self.queued && !self.again)?;
        let again = self.askers.contains(&from) && now >= self.round.all_by();
        again.then_some(sent + RDATA_HOLD)
    }

    /// Remember who asks.
    fn asked_by(&mut self, from: Ipv4Addr) {
        if !self.askers.is_full() && !self.askers.contains(&from) {
            self.askers.push(from);
        }
    }

    /// The RDATA went so recently that receivers may not have it yet.
    fn is_under_way(&self, now: Instant) -> bool {
        self.rdata.is_some_and(|sent| now < sent + RDATA_HOLD)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.rdata.is_some() && !self.queued && !self.is_under_way(now)
    }

    /// Begin anew; the NCF hold goes on.
    fn restart(&mut self, now: Instant, round: Round) {
        *self = Self {
            ncf: self.ncf,
            ncf_waits: self.ncf_waits,
            ..Self::new(now, round)
        };
    }
}

/// NCFs and RDATA that wait to be sent.
#[derive(Debug)]
pub(super) struct Repairs {
    rdata: VecDeque<Sqn>,
    /// RDATA that goes once more, by due time.
    again: VecDeque<(Instant, Sqn)>,
    ncfs: VecDeque<SqnList>,
    /// Repeated NCFs, and those for which the queue had no room, by due time.
    later: VecDeque<(Instant, Sqn)>,
    /// NCFs go before everything else; half the rate is what they may take.
    ncf_rate: Regulator,
    backoff: Backoff,
    /// A first duplicate since `take_duplicate`.
    duplicate: bool,
}

impl Repairs {
    pub(super) fn new(config: &SourceConfig, now: Instant) -> Self {
        let rate = config.rate.map(|rate| (rate / 2).max(1));
        Self {
            rdata: VecDeque::new(),
            again: VecDeque::new(),
            ncfs: VecDeque::new(),
            later: VecDeque::new(),
            ncf_rate: Regulator::new(rate, rate.map_or(0, |rate| rate / 10), 4 * NCF_LEN, now),
            backoff: Backoff::new(config.nak_bo_default, config.nak_bo_min, config.nak_bo_max),
            duplicate: false,
        }
    }

    /// Whether there was a first duplicate of a repair state since the last call.
    pub(super) fn take_duplicate(&mut self) -> bool {
        std::mem::take(&mut self.duplicate)
    }

    /// The back-off interval to advertise.
    pub(super) fn nak_bo_ivl(&self) -> Duration {
        self.backoff.ivl()
    }

    /// What parity NAKs tune, too.
    pub(super) fn backoff(&mut self) -> &mut Backoff {
        &mut self.backoff
    }

    /// SQNs whose RDATA waits.
    pub(super) fn outstanding(&self) -> usize {
        self.rdata.len() + self.again.len()
    }

    /// When RDATA may go, given when the rate admits it; `None`: none waits.
    pub(super) fn rdata_at(&self, ready: Instant) -> Option<Instant> {
        if !self.rdata.is_empty() {
            return Some(ready);
        }
        self.again.front().map(|(due, _)| ready.max(*due))
    }

    /// Nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.outstanding() == 0 && self.ncfs.is_empty() && self.later.is_empty()
    }

    /// A NAK with these SQNs; whether any of them can be repaired.
    ///
    /// A list gets one NCF with the same list (RFC 3208 §5.2, §9.3.4 (S-14, S-20)), and RDATA waits for nothing but
    /// the rate (§5.3 (S-18)).
    ///
    /// Departs from RFC 3208 §5.2 (S-14): a NAK gets its NCF at once, but SQNs that are not in the window are counted
    /// and not confirmed: an NCF promises RDATA, which §5.3 limits to the window, and would keep receivers waiting
    /// for what never comes.
    pub(super) fn on_nak(
        &mut self,
        now: Instant,
        from: Ipv4Addr,
        sqns: impl Iterator<Item = Sqn>,
        txw: &mut TxWindow,
        stats: &mut SourceStats,
    ) -> bool {
        let sqns = in_order(sqns, txw.trail());
        let mut confirm = SqnList::new();
        let (mut inside, mut opened) = (false, false);
        for sqn in sqns {
            let Some(entry) = txw.place(sqn).asked_for(stats) else {
                continue;
            };
            inside = true;
            let known = entry.repair.is_some();
            let repair = entry
                .repair
                .get_or_insert_with(|| Box::new(Repair::new(now, self.backoff.open(now))));
            if !known {
                opened = true;
            } else if repair.is_over(now) {
                repair.restart(now, self.backoff.open(now));
                opened = true;
            } else {
                repair.duplicates = repair.duplicates.saturating_add(1);
                self.duplicate |= self.backoff.on_repeat(now, &mut repair.round);
            }
            if repair.is_under_way(now) {
                stats.naks_after_rdata += 1;
                if let Some(due) = repair.in_vain(now, from) {
                    repair.again = true;
                    let at = self.again.partition_point(|(at, _)| *at <= due);
                    self.again.insert(at, (due, sqn));
                }
            } else if !repair.queued {
                repair.queued = true;
                self.rdata.push_back(sqn);
            }
            repair.asked_by(from);
            if repair.ncf_waits {
                continue;
            }
            let repeated = repair.ncf.is_some_and(|sent| now < sent + NCF_HOLD);
            if repeated || self.ncfs.len() >= NCF_QUEUE {
                repair.ncf_waits = true;
                self.later.push_back((now + NCF_HOLD, sqn));
            } else {
                repair.ncf = Some(now);
                confirm.push(sqn);
            }
        }
        if !confirm.is_empty() {
            self.ncfs.push_back(confirm);
        }
        if inside {
            self.backoff.on_nak(now, from, opened);
        }
        inside
    }

    /// From when on NCFs may go.
    pub(super) fn ncf_ready_at(&self) -> Instant {
        self.ncf_rate.ready_at()
    }

    /// When the next NCF may go.
    pub(super) fn ncf_at(&self) -> Option<Instant> {
        let ready = self.ncf_ready_at();
        if !self.ncfs.is_empty() {
            return Some(ready);
        }
        self.later.front().map(|(due, _)| ready.max(*due))
    }

    /// SQNs of the next NCF. `None` although one was due: its SQNs left the window meanwhile.
    pub(super) fn take_ncf(&mut self, now: Instant, txw: &mut TxWindow) -> Option<SqnList> {
        if let Some(sqns) = self.ncfs.pop_front() {
            return Some(sqns);
        }
        let mut sqns = SqnList::new();
        while !sqns.is_full() && self.later.front().is_some_and(|(due, _)| *due <= now) {
            let (_, sqn) = self.later.pop_front()?;
            if let Place::Inside(entry) = txw.place(sqn)
                && let Some(repair) = &mut entry.repair
            {
                (repair.ncf, repair.ncf_waits) = (Some(now), false);
                sqns.push(sqn);
            }
        }
        sqns.sort_unstable_by_key(|sqn| sqn.since(txw.trail()));
        (!sqns.is_empty()).then_some(sqns)
    }

    /// An NCF of so many octets went.
    pub(super) fn on_ncf_sent(&mut self, now: Instant, octets: usize) {
        self.ncf_rate.charge(now, octets);
    }

    /// SQN of the next RDATA, which goes now.
    pub(super) fn take_rdata(&mut self, now: Instant, txw: &mut TxWindow) -> Option<Sqn> {
        while self.again.front().is_some_and(|(due, _)| *due <= now) {
            let (_, sqn) = self.again.pop_front()?;
            if let Place::Inside(entry) = txw.place(sqn)
                && let Some(repair) = &mut entry.repair
                && std::mem::take(&mut repair.again)
            {
                repair.queued = true;
                self.rdata.push_back(sqn);
            }
        }
        let sqn = self.rdata.pop_front()?;
        if let Place::Inside(entry) = txw.place(sqn)
            && let Some(repair) = &mut entry.repair
        {
            if repair.rdata.replace(now).is_none() {
                self.backoff.on_repair(now, &repair.round);
            }
            repair.queued = false;
            repair.hold = now + TRAIL_HOLD + self.backoff.ivl();
        }
        Some(sqn)
    }
}

/// Ordered and without duplicates (RFC 3208 §9.3 (O-12)), whoever sent them.
pub(super) fn in_order(sqns: impl Iterator<Item = Sqn>, trail: Sqn) -> SqnList {
    let mut list: SqnList = sqns.take(NAK_LIST_MAX + 1).collect();
    list.sort_unstable_by_key(|sqn| sqn.since(trail));
    let mut last = None;
    list.retain(|sqn| last.replace(*sqn) != Some(*sqn));
    list
}

#[cfg(test)]
mod tests;
