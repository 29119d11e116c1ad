//! Transmission groups: which packets parity is computed over, and which of it is still to be sent
//! (RFC 3208 §11.2, §11.4).

use super::backoff::{Backoff, Round};
use super::repair::TRAIL_HOLD;
use crate::num::Sqn;
use std::time::{Duration, Instant};

/// A parity NAK this soon after parity went was under way when it went.
const PARITY_HOLD: Duration = Duration::from_millis(3);

/// SQN of the first packet of the group that `sqn` is in (RFC 3208 §11.2: TG_SQN).
pub(super) fn tg_sqn(sqn: Sqn, k: u8) -> Sqn {
    // k is a power of two, so groups are aligned across the wrap, too.
    Sqn(sqn.0 & !(u32::from(k) - 1))
}

/// One group of up to k data packets.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Data packets, once it is known that there will be no more.
    size: Option<u8>,
    /// Pro-active parity not sent yet.
    proactive: u8,
    /// The next parity index.
    next: u8,
    /// Parity asked for before the group was closed, as if it had k packets.
    deferred: u8,
    /// On-demand parity not sent yet.
    pending: u8,
    /// Present once a NAK asked for parity.
    demand: Option<Box<Demand>>,
}

/// Repair state of a group (RFC 3208 §15.2), from the first parity NAK on.
#[derive(Debug)]
struct Demand {
    round: Round,
    /// On-demand parity sent since, and the last of it.
    sent: u8,
    last: Option<Instant>,
    /// Until when the trailing edge should not pass the group.
    hold: Instant,
    ncf: Option<(Instant, u8)>,
    /// Count of an NCF that waits.
    ncf_waits: Option<u8>,
}

/// What a parity NAK means for a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// It opened a repair state.
    pub(super) opened: bool,
    /// What it asks for is on the way.
    pub(super) under_way: bool,
}

impl Group {
    /// Data packets, if there will be no more.
    pub(super) fn size(&self) -> Option<u8> {
        self.size
    }

    /// There will be no more data packets; `proactive` parity packets follow.
    pub(super) fn close(&mut self, size: u8, proactive: u8, k: u8) {
        self.size = Some(size);
        self.proactive = proactive;
        if self.deferred > 0 {
            self.pending = wanted(self.deferred, k, size);
        }
    }

    /// Parity waits, of either kind: the data must stay.
    pub(super) fn is_waiting(&self) -> bool {
        self.proactive > 0 || self.pending > 0
    }

    /// Pro-active parity waits.
    pub(super) fn has_proactive(&self) -> bool {
        self.proactive > 0
    }

    /// On-demand parity may go (RFC 3208 §11.4 (F-05): after all data and pro-active parity).
    pub(super) fn is_ready(&self) -> bool {
        self.size.is_some() && self.proactive == 0 && self.pending > 0
    }

    /// Until when the trailing edge should not pass it.
    pub(super) fn hold(&self) -> Option<Instant> {
        self.demand.as_ref().map(|demand| demand.hold)
    }

    /// A receiver lacks `count` packets of `k`.
    ///
    /// RFC 3208 §11.4 (F-09): no more is sent than the largest request asks for. What went a moment ago
    /// counts: the NAK crossed it.
    pub(super) fn on_nak(
        &mut self,
        now: Instant,
        count: u8,
        k: u8,
        backoff: &mut Backoff,
    ) -> Asked {
        let mut asked = Asked::default();
        let demand = match &mut self.demand {
            Some(demand) => demand,
            None => {
                asked.opened = true;
                self.demand
                    .insert(Box::new(Demand::new(now, backoff.open(now))))
            }
        };
        let crossed = demand.last.is_some_and(|last| now < last + PARITY_HOLD);
        if !asked.opened && self.pending == 0 && self.deferred == 0 && !crossed {
            demand.restart(now, backoff.open(now));
            asked.opened = true;
        }
        let Some(size) = self.size else {
            if !asked.opened && count <= self.deferred {
                backoff.on_repeat(now, &mut demand.round);
            }
            self.deferred = self.deferred.max(count);
            return asked;
        };
        let under_way = if crossed { demand.sent } else { 0 };
        let lacking = wanted(count, k, size).saturating_sub(under_way);
        asked.under_way = lacking == 0;
        if !asked.opened && lacking <= self.pending {
            backoff.on_repeat(now, &mut demand.round);
        }
        self.pending = self.pending.max(lacking);
        asked
    }

    /// When the NCF for a NAK with this count goes: identical ones within `hold` become one, and none goes
    /// where there is no `room`.
    pub(super) fn confirm(
        &mut self,
        now: Instant,
        count: u8,
        hold: Duration,
        room: bool,
    ) -> Confirm {
        let Some(demand) = &mut self.demand else {
            return Confirm::Waits;
        };
        let waits = demand.ncf_waits.is_some();
        if let Some(waiting) = &mut demand.ncf_waits {
            *waiting = count.max(*waiting);
        }
        let repeated = demand
            .ncf
            .is_some_and(|(at, said)| now < at + hold && count <= said);
        if !repeated && room {
            demand.ncf = Some((now, count));
            return Confirm::Now;
        }
        if waits {
            return Confirm::Waits;
        }
        demand.ncf_waits = Some(count);
        Confirm::Later
    }

    /// The count of an NCF that waited and goes now.
    pub(super) fn take_ncf(&mut self, now: Instant) -> Option<u8> {
        let demand = self.demand.as_mut()?;
        let count = demand.ncf_waits.take()?;
        demand.ncf = Some((now, count));
        Some(count)
    }

    /// Index of a pro-active parity packet, which goes now.
    pub(super) fn take_proactive(&mut self) -> Option<u8> {
        self.proactive = self.proactive.checked_sub(1)?;
        self.next += 1;
        Some(self.next - 1)
    }

    /// Index of an on-demand parity packet, which goes now. There are `h`, of which `proactive` belong to
    /// pro-active parity.
    ///
    /// Departs from RFC 3208 §11.4 (F-06): a new one as long as there are any; once all are used they come again, those
    /// of pro-active parity only where there are no others. A receiver that still lacks something then has lost many.
    pub(super) fn take_on_demand(
        &mut self,
        now: Instant,
        h: u8,
        proactive: u8,
        backoff: &mut Backoff,
    ) -> Option<u8> {
        self.pending = self.pending.checked_sub(1)?;
        if self.next >= h {
            self.next = if proactive < h { proactive } else { 0 };
        }
        self.next += 1;
        if let Some(demand) = &mut self.demand {
            demand.sent = demand.sent.saturating_add(1);
            backoff.on_repair(now, &demand.round);
            (demand.last, demand.hold) = (Some(now), now + TRAIL_HOLD + backoff.ivl());
        }
        if self.pending == 0 {
            self.deferred = 0;
        }
        Some(self.next - 1)
    }
}

/// When an NCF goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirm {
    Now,
    /// It is to be put among those that wait.
    Later,
    /// One that waits already tells it.
    Waits,
}

impl Demand {
    fn new(now: Instant, round: Round) -> Self {
        Self {
            round,
            sent: 0,
            last: None,
            hold: now,
            ncf: None,
            ncf_waits: None,
        }
    }

    /// Begin anew; the NCF hold goes on.
    fn restart(&mut self, now: Instant, round: Round) {
        *self = Self {
            hold: self.hold,
            ncf: self.ncf,
            ncf_waits: self.ncf_waits,
            ..Self::new(now, round)
        };
    }
}

/// Parity packets to send to a receiver that lacks `count` packets, those that a short group does not have
/// included (RFC 3208 §11.4 (F-21)). At least one: it tells the size to a receiver that lacks nothing else.
fn wanted(count: u8, k: u8, size: u8) -> u8 {
    count.saturating_sub(k - size).max(1)
}
