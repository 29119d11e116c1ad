//! NAKs that go on although they were confirmed: nobody hears our NCFs, so each asker is told alone
//! (RFC 3208 §15.3).

use super::repair::SqnList;
use super::txw::{Place, TxWindow};
use super::{Emitted, Mark, Source, emit};
use crate::wire::{Nak, Options};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// A failure is assumed to last for so long after the latest sign of it.
const FAILURE_IVL: Duration = Duration::from_secs(1);
/// Unicast NCFs that wait at most; who gets none asks again.
const WAITING_MAX: usize = 64;

/// Who is to be told that multicast does not reach it.
#[derive(Debug)]
pub(super) struct Containment {
    /// DUP_NAK_MAX; 0: never.
    dup_nak_max: u32,
    until: Option<Instant>,
    waiting: VecDeque<(Ipv4Addr, SqnList)>,
}

impl Containment {
    pub(super) fn new(dup_nak_max: u32) -> Self {
        Self {
            dup_nak_max,
            until: None,
            waiting: VecDeque::new(),
        }
    }

    /// A NAK that can be repaired came from `from`. Whether an SPM is to follow.
    pub(super) fn on_nak(
        &mut self,
        now: Instant,
        from: Ipv4Addr,
        nak: &Nak,
        txw: &mut TxWindow,
    ) -> bool {
        if self.dup_nak_max == 0 {
            return false;
        }
        let mut sqns = SqnList::new();
        for sqn in nak.sqns() {
            if let Place::Inside(entry) = txw.place(sqn)
                && let Some(repair) = &entry.repair
            {
                // RFC 3208 §15.3.1: DUP_NAK_MAX duplicates for one repair state.
                if repair.duplicates() >= self.dup_nak_max {
                    self.until = Some(now + FAILURE_IVL);
                }
                if !sqns.contains(&sqn) {
                    sqns.push(sqn);
                }
            }
        }
        let is_failing = self.until.is_some_and(|until| now < until) && !sqns.is_empty();
        if is_failing && self.waiting.len() < WAITING_MAX {
            sqns.sort_unstable_by_key(|sqn| sqn.since(txw.trail()));
            self.waiting.push_back((from, sqns));
        }
        is_failing
    }

    /// Whether a unicast NCF waits.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next unicast NCF.
    pub(super) fn take(&mut self) -> Option<(Ipv4Addr, SqnList)> {
        self.waiting.pop_front()
    }
}

impl Source {
    /// When an NCF by unicast may go.
    pub(super) fn told_at(&self) -> Option<Instant> {
        self.containment
            .is_waiting()
            .then(|| self.repairs.ncf_ready_at())
    }

    /// RFC 3208 §15.3.2 (I-08): it says that multicast does not reach its receiver, and whose word that is.
    pub(super) fn emit_unicast_ncf(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Emitted> {
        let (to, sqns) = self.containment.take()?;
        let body = self.ncf(&sqns)?;
        let options = Options {
            nbr_unreach: true,
            path_nla: Some(self.config.nla.into()),
            ..Options::default()
        };
        let len = emit(&self.config, Mark::default(), body, options, &[], out);
        self.repairs.on_ncf_sent(now, len);
        self.stats.unicast_ncfs_sent += 1;
        self.on_emitted(now, len);
        Some(Emitted {
            len,
            router_alert: false,
            to_host: Some(to),
        })
    }
}
