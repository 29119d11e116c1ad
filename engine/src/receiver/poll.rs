//! A receiver as polled child: which POLLs are answered, when and where to (RFC 3208 §14.5).
//!
//! Whatever comes, at most one reply is pending, so a flood of POLLs holds no memory, and its answers
//! are [`POLR_SPACING`] apart.

use super::inbound::is_host;
use crate::num::{Nla, Sqn};
use crate::wire::{Poll, Polr};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// PGM_POLL_GENERAL (RFC 3208 §14.6).
const GENERAL: u16 = 0;
/// PGM_POLL_DLR.
const DLR: u16 = 1;

/// Two POLRs are at least this far apart: polls wait their back-off interval for each other, so this
/// delays only what answers a flood.
const POLR_SPACING: Duration = Duration::from_millis(10);

/// What is known of the parent's polls.
#[derive(Debug)]
pub(super) struct Polled {
    /// RAND_NODE_ID.
    node_id: u32,
    /// Whose polls these are: POLL_SQN is scoped by POLL_PATH.
    path: Option<Ipv4Addr>,
    /// POLL_SQNs of which round 0 was seen: the first and the latest.
    first_and_last: Option<(Sqn, Sqn)>,
    pending: Option<Reply>,
    /// POLL_SQN and POLL_ROUND that have their reply, sent or pending.
    answered: Option<(Sqn, u16)>,
    /// The latest POLR went.
    sent: Option<Instant>,
}

/// A POLR to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    at: Instant,
    pub(super) to: Ipv4Addr,
    pub(super) polr: Polr,
    /// The POLL asked for DLRs: the reply names us in OPT_REDIRECT.
    pub(super) redirect: bool,
}

impl Polled {
    pub(super) fn new(node_id: u32) -> Self {
        Self {
            node_id,
            path: None,
            first_and_last: None,
            pending: None,
            answered: None,
            sent: None,
        }
    }

    /// A POLL of the source's address; `to`: its path. `patience`: a reply later than this would be nobody's
    /// any more.
    pub(super) fn on_poll(
        &mut self,
        now: Instant,
        poll: &Poll,
        to: Ipv4Addr,
        is_dlr: bool,
        patience: Duration,
        rng: &mut fastrand::Rng,
    ) {
        if self.path != Some(to) {
            (self.path, self.first_and_last, self.answered) = (Some(to), None, None);
            self.pending = None;
        }
        // RFC 3208 §14.5 (P-07): whether it asks us or not. That is how a parent ends a poll.
        self.pending.take_if(|reply| reply.polr.sqn != poll.sqn);
        // RFC 3208 §14.3.1: rounds freeze the population, so round 0 counts for those, too, whom its
        // mask passes over; else opening the door wider from round to round would find nobody.
        if poll.round == 0 {
            self.note_round0(poll.sqn);
        }
        // RFC 3208 §14.5 (P-02): a zero mask always matches.
        if (self.node_id ^ poll.rand) & poll.mask != 0 {
            return;
        }
        // RFC 3208 §14.5 (P-03)
        if poll.round != 0 && self.first_and_last.is_none_or(|(_, last)| last != poll.sqn) {
            return;
        }
        let redirect = match poll.sub_type {
            // RFC 3208 §14.5 (P-05): despite whatever options.
            GENERAL => false,
            DLR if is_dlr => true,
            // RFC 3208 §14.5 (P-04)
            _ => return,
        };
        // RFC 3208 §14.5 (P-06): a single POLR, also for a POLL that comes twice.
        if self.answered.replace((poll.sqn, poll.round)) == Some((poll.sqn, poll.round)) {
            return;
        }
        // Drawn from all of the interval, however long, so that we take no more than our part of it.
        let delay = Duration::from_micros(poll.bo_ivl.into()).mul_f64(rng.f64());
        if delay > patience {
            return;
        }
        let spaced = self.sent.map_or(now, |sent| sent + POLR_SPACING);
        self.pending = Some(Reply {
            at: (now + delay).max(spaced),
            to,
            polr: Polr {
                sqn: poll.sqn,
                round: poll.round,
            },
            redirect,
        });
    }

    /// RFC 3208 §15.2.2 (I-01): whether an interval derived from POLL `sqn` may be used, that is whether
    /// round 0 of that POLL or an earlier one was seen.
    pub(super) fn has_seen_up_to(&self, sqn: Sqn) -> bool {
        self.first_and_last
            .is_some_and(|(first, last)| sqn.since(first) >= 0 || sqn.since(last) >= 0)
    }

    /// The reply that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Reply> {
        let reply = self.pending.take_if(|reply| reply.at <= now)?;
        self.sent = Some(now);
        Some(reply)
    }

    /// When the reply is due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.pending.map(|reply| reply.at)
    }

    fn note_round0(&mut self, sqn: Sqn) {
        let first = match self.first_and_last {
            // Within half the space of the latest: else it could not be told from a newer one.
            Some((first, _)) if (0..1 << 30).contains(&sqn.since(first)) => first,
            _ => sqn,
        };
        self.first_and_last = Some((first, sqn));
    }
}

/// The host an NLA names, if one on the way from `source` can have it: no group, and no IPv6.
pub(super) fn host(nla: Nla, source: Ipv4Addr) -> Option<Ipv4Addr> {
    match nla {
        Nla::V4(addr) if is_host(addr, source) => Some(addr),
        _ => None,
    }
}
