//! Unrecoverable loss: the end of the session (RFC 3208 §3.4, §6.3), or a gap in it.

use super::repair::{Lost, older};
use super::{Peer, Read, ResetReason};
use crate::num::Sqn;

impl Peer {
    /// The source's trailing edge: what we miss before it is lost (RFC 3208 §3.4, §6.3 ).
    pub(super) fn advance_trail(&mut self, trail: Sqn) {
        if let Some(dlr) = &mut self.dlr {
            dlr.on_trail(trail);
        }
        let edge = self.rxw.edge();
        if !trail.is_newer_than(edge) || self.is_ended() {
            return;
        }
        if !self.rxw.extend_lead(trail.minus(1)) {
            self.counters.plain.dropped_malformed += 1;
            return;
        }
        // Nothing after the end was ever ours to lose.
        let trail = match &self.end {
            Some(end) if self.config.tolerates_loss() => older(trail, end.at),
            _ => trail,
        };
        let (all, in_row) = self.rxw.count_lost(edge, trail);
        self.counters.plain.lost_window_advanced += u64::from(all);
        if self.config.tolerates_loss() {
            self.rxw.lose_before(trail);
        } else {
            self.reset_by_loss(edge, in_row);
        }
    }

    /// Retries gave up, or nobody else's repair came (RFC 3208 §6.3 ).
    pub(super) fn on_lost(&mut self, lost: Lost) {
        self.counters.plain.lost_ncf_retries += lost.by_ncf_retries;
        self.counters.plain.lost_data_retries += lost.by_data_retries;
        self.counters.plain.lost_unasked += lost.unasked;
        let mut sqns = lost.sqns;
        if self.config.tolerates_loss() {
            for sqn in sqns {
                self.rxw.lose(sqn);
            }
            return;
        }
        let base = self.rxw.base();
        sqns.sort_unstable_by_key(|sqn| sqn.since(base));
        let in_row = sqns
            .iter()
            .zip(0..)
            .take_while(|(sqn, i)| **sqn == sqns[0].plus(*i));
        let (first, count) = (sqns[0], in_row.count() as u32);
        self.reset_by_loss(first, count);
    }

    fn reset_by_loss(&mut self, first: Sqn, count: u32) {
        let reason = ResetReason::Loss { first, count };
        self.finish(first, Read::Reset(reason));
    }
}
