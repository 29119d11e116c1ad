//! How a session proceeds: where it begins, what comes to the head of the window, how it ends.

use super::join::Phase;
use super::repair::newer;
use super::{End, Peer, Read, ResetReason, reassembly};
use crate::num::Sqn;
use std::time::Instant;

impl Peer {
    /// It is settled where the session begins.
    pub(super) fn begin(&mut self, start: Sqn, trail: Option<Sqn>) {
        self.rxw.restart_at(start);
        // What was gone before we came is not our loss.
        if let Some(trail) = trail
            && trail.is_newer_than(self.rxw.edge())
        {
            self.rxw.restart_at(trail);
        }
        self.repair.start_at(self.rxw.base());
        self.assembly.resync();
        self.phase = Phase::Open;
    }

    /// Nothing from `at` on will be delivered. Of several ends the earliest counts.
    pub(super) fn finish(&mut self, at: Sqn, read: Read) {
        let at = newer(at, self.rxw.base());
        if self.end.as_ref().is_none_or(|end| end.at.is_newer_than(at)) {
            self.rxw.truncate(at);
            self.early.on_truncated(&self.rxw);
            self.end = Some(End { at, read });
        }
    }

    /// After any change: make the head readable, then ask for what is missing and fits.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.phase != Phase::Open {
            return;
        }
        let proven = match self.was_over {
            true => self.rxw.held() > 0,
            false => self.rxw.span() > 0,
        };
        self.established |= proven;
        self.fill_head();
        self.repair.groups.settle(&mut self.rxw);
        if self.path.is_some() || self.config.listen_only {
            let end = self
                .end
                .as_ref()
                .map_or(self.rxw.lead().next(), |end| end.at);
            let edge = self.rxw.edge();
            self.repair.open(now, &mut self.rxw, end);
            if self.rxw.edge() != edge {
                // The reader stood before SQNs that a short group leaves out.
                self.fill_head();
            }
        }
        self.repair.on_gaps_closed(&mut self.rxw);
        self.early.settle(&self.rxw);
        if self.is_ended()
            && let Some(dlr) = &mut self.dlr
        {
            dlr.on_ended(now);
        }
    }

    /// Take out of the window what is not an APDU by itself, until something can be read.
    pub(super) fn fill_head(&mut self) {
        while !self.assembly.is_complete() {
            self.rxw.skip_done();
            if self.rxw.is_head_lost() {
                // RFC 3208 §9.2: resume at the next APDU boundary.
                self.assembly.abandon();
                self.assembly.resync();
                return;
            }
            let Some(head) = self.rxw.head() else {
                break;
            };
            let is_whole = head.fragment().is_none() && !head.payload.is_empty();
            let fits = head.payload.len() <= self.config.max_apdu;
            if is_whole && fits && self.assembly.on_boundary().is_ok() {
                return;
            }
            let Some(packet) = self.rxw.pop_head() else {
                return;
            };
            let result = match packet.fragment() {
                Some(f) => self
                    .assembly
                    .push(&f, &packet.payload, self.config.max_apdu),
                // An empty APDU is no message.
                None if packet.payload.is_empty() => self.assembly.on_boundary(),
                None => Err(reassembly::BadApdu),
            };
            if result.is_err() {
                self.finish_bad();
            }
        }
        if self.is_at_end() && self.assembly.is_partial() {
            // A stream that ends in the middle of an APDU did not deliver everything.
            match self.end {
                Some(End {
                    read: Read::Fin, ..
                }) => self.finish_bad(),
                _ => self.assembly.abandon(),
            }
        }
    }

    /// What was just taken out of the window cannot be delivered: no other end is earlier.
    pub(super) fn finish_bad(&mut self) {
        let at = self.rxw.base();
        self.assembly.abandon();
        self.rxw.truncate(at);
        self.early.on_truncated(&self.rxw);
        self.end = Some(End {
            at,
            read: Read::Reset(ResetReason::BadApdu),
        });
    }

    /// All that will be delivered is here.
    pub(super) fn is_ended(&self) -> bool {
        self.end
            .as_ref()
            .is_some_and(|end| end.at == self.rxw.edge())
    }

    /// All that will be delivered has been taken out of the window.
    pub(super) fn is_at_end(&self) -> bool {
        self.end
            .as_ref()
            .is_some_and(|end| end.at == self.rxw.base())
    }

    /// Nothing with this SQN is delivered any more.
    pub(super) fn is_past_end(&self, sqn: Sqn) -> bool {
        let end = self.end.as_ref();
        end.is_some_and(|end| sqn.since(end.at) >= 0)
    }

    pub(super) fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last_heard) >= self.config.peer_expiry
    }
}
