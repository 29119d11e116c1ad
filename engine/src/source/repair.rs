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
    /// NAKs after the first.
    duplicates: u32,
    /// Its RDATA waits.
    queued: bool,
    rdata: Option<Instant>,
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
            duplicates: 0,
            queued: false,
            rdata: None,
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
        self.rdata.len()
    }

    /// Nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.rdata.is_empty() && self.ncfs.is_empty() && self.later.is_empty()
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
            let entry = match txw.place(sqn) {
                Place::Inside(entry) => entry,
                Place::Behind => {
                    stats.naks_too_late += 1;
                    continue;
                }
                Place::Ahead => {
                    stats.naks_ignored += 1;
                    continue;
                }
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
            } else if !repair.queued {
                repair.queued = true;
                self.rdata.push_back(sqn);
            }
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
        let sqn = self.rdata.pop_front()?;
        if let Place::Inside(entry) = txw.place(sqn)
            && let Some(repair) = &mut entry.repair
        {
            (repair.queued, repair.rdata) = (false, Some(now));
            self.backoff.on_repair(now, &repair.round);
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
mod tests {
    use super::*;
    use crate::num::Tsi;
    use crate::source::txw::Entry;
    use bytes::Bytes;
    use std::net::Ipv4Addr;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    struct Rig {
        repairs: Repairs,
        txw: TxWindow,
        stats: SourceStats,
        t0: Instant,
    }

    impl Rig {
        /// A window of `packets` SQNs from 0 on.
        fn new(packets: u32) -> Self {
            let (any, t0) = (Ipv4Addr::LOCALHOST, Instant::now());
            let config = SourceConfig::new(Tsi::default(), 1, any, any);
            let mut txw = TxWindow::new(&config);
            for _ in 0..packets {
                let tsdu = Bytes::from_static(b"x");
                let (fragment, syn, fin, repair) = (None, false, false, None);
                txw.push(Entry {
                    tsdu,
                    fragment,
                    syn,
                    fin,
                    size: 25,
                    sent: t0,
                    repair,
                });
            }
            Self {
                repairs: Repairs::new(&config, t0),
                txw,
                stats: SourceStats::default(),
                t0,
            }
        }

        fn nak(&mut self, at: Duration, sqns: impl IntoIterator<Item = u32>) -> bool {
            let (now, sqns) = (self.t0 + at, sqns.into_iter().map(Sqn));
            self.repairs
                .on_nak(now, RECEIVER, sqns, &mut self.txw, &mut self.stats)
        }

        /// SQNs of the NCFs that are due at `at`, one list per packet.
        fn ncfs(&mut self, at: Duration) -> Vec<Vec<u32>> {
            let now = self.t0 + at;
            let mut ncfs = Vec::new();
            while self.repairs.ncf_at().is_some_and(|due| due <= now) {
                if let Some(sqns) = self.repairs.take_ncf(now, &mut self.txw) {
                    ncfs.push(sqns.iter().map(|sqn| sqn.0).collect());
                }
            }
            ncfs
        }

        fn rdata(&mut self, at: Duration) -> Vec<u32> {
            let now = self.t0 + at;
            std::iter::from_fn(|| self.repairs.take_rdata(now, &mut self.txw))
                .map(|sqn| sqn.0)
                .collect()
        }

        fn nak_bo(&self) -> Duration {
            self.repairs.nak_bo_ivl()
        }
    }

    #[test] // S-14, S-20, O-12
    fn a_nak_list_is_confirmed_as_one_and_repaired_whole() {
        let mut rig = Rig::new(100);
        assert!(rig.nak(ms(0), 10..73));
        assert_eq!(rig.ncfs(ms(0)), [(10..73).collect::<Vec<_>>()]);
        assert_eq!(rig.rdata(ms(0)), (10..73).collect::<Vec<_>>());
        assert!(rig.repairs.is_idle());
    }

    #[test] // O-12
    fn a_disordered_list_with_repetitions_is_put_right() {
        let mut rig = Rig::new(100);
        rig.nak(ms(0), [9, 3, 9, 3, 5]);
        assert_eq!(rig.ncfs(ms(0)), [[3, 5, 9]]);
        assert_eq!(rig.rdata(ms(0)), [3, 5, 9]);
    }

    #[test] // S-16, RFC 3208 §5.2: the first NCF is immediate, identical ones become one a little later
    fn identical_ncfs_are_merged() {
        let mut rig = Rig::new(10);
        rig.nak(ms(0), [1]);
        assert_eq!(rig.ncfs(ms(0)), [[1]]);
        for i in 0..100 {
            rig.nak(Duration::from_micros(10 * i), [1]);
        }
        rig.nak(ms(1), [2]);
        assert_eq!(rig.ncfs(ms(1)), [[2]], "another SQN does not wait");
        assert_eq!(rig.ncfs(ms(2)), [[1]]);
        assert_eq!(rig.ncfs(ms(100)), Vec::<Vec<u32>>::new());
        rig.nak(ms(100), [1]);
        assert_eq!(rig.ncfs(ms(100)), [[1]]);
    }

    #[test]
    fn a_full_ncf_queue_shares_packets_and_forgets_nothing() {
        let mut rig = Rig::new(1_000);
        for sqn in 0..1_000 {
            rig.nak(ms(0), [sqn]);
        }
        let ncfs = rig.ncfs(ms(2));
        assert_eq!(
            ncfs.len(),
            NCF_QUEUE + (1_000 - NCF_QUEUE).div_ceil(NAK_LIST_MAX + 1)
        );
        assert_eq!(ncfs.concat(), (0..1_000).collect::<Vec<_>>());
    }

    #[test] // S-17: one RDATA however often it is asked for
    fn repeated_naks_cause_one_rdata() {
        let mut rig = Rig::new(10);
        for _ in 0..10 {
            rig.nak(ms(0), [4]);
        }
        assert_eq!(rig.repairs.outstanding(), 1);
        assert_eq!(rig.rdata(ms(0)), [4]);
        rig.nak(ms(1), [4]);
        assert_eq!(
            rig.rdata(ms(1)),
            Vec::<u32>::new(),
            "the RDATA is under way"
        );
        assert_eq!(rig.stats.naks_after_rdata, 1);
        rig.nak(ms(3), [4]);
        assert_eq!(rig.rdata(ms(3)), [4], "it was lost");
    }

    #[test] // S-14
    fn only_sqns_of_the_window_are_confirmed() {
        let mut rig = Rig::new(10);
        assert!(!rig.nak(ms(0), [10, u32::MAX, 1 << 31]));
        assert_eq!((rig.stats.naks_ignored, rig.stats.naks_too_late), (2, 1));
        assert!(rig.repairs.is_idle());
        assert!(rig.nak(ms(0), [u32::MAX, 9, 10]));
        assert_eq!(rig.ncfs(ms(0)), [[9]]);
    }

    #[test] // I-03
    fn a_loss_that_many_ask_for_lengthens_the_back_off() {
        let mut rig = Rig::new(100);
        for _ in 0..8 {
            rig.nak(ms(0), [1, 2, 3]);
        }
        assert_eq!(rig.nak_bo(), ms(30), "log2 of 8");
        for _ in 0..8 {
            rig.nak(ms(2), [4]);
        }
        assert_eq!(rig.nak_bo(), ms(90));
        for _ in 0..100 {
            rig.nak(ms(20), [4]);
        }
        assert_eq!(rig.nak_bo(), ms(90), "later ones tell nothing");
        for _ in 0..8 {
            rig.nak(ms(20), [5]);
        }
        assert_eq!(rig.nak_bo(), ms(200), "NAK_BO_IVL_MAX");
    }

    #[test] // I-03
    fn a_lone_receiver_soon_waits_no_longer() {
        let mut rig = Rig::new(100);
        for sqn in 0..20 {
            rig.nak(ms(0), [sqn]);
            rig.nak(ms(0), [sqn]);
        }
        assert_eq!(rig.nak_bo(), Duration::from_micros(500), "NAK_BO_IVL_MIN");
    }
}
