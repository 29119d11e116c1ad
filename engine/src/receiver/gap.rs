//! One missing SQN and its NAK state machine; the queue of its timers; the random back-off
//! (RFC 3208 §6.3). Reads no clock and sends nothing.

use super::waits::Waits;
use crate::num::Sqn;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Restarts of a wait, and NAKs suppressed, by what others send for one SQN over its whole recovery.
/// Beyond it their NCFs and NAKs change nothing that the table does not bound by retries, so that a
/// forged stream cannot hold a gap for ever, nor silence our own NAKs (RFC 3208 §10 ).
const RESTARTS_MAX: u8 = 20;

/// Where the recovery of an SQN stands. `BackOff` and `Due` are "pending", with `WaitNcf`, in the RFC's
/// words; `WaitNcf` and `WaitData` have a NAK outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// BACK_OFF_STATE: waiting at random for somebody else to ask.
    BackOff,
    /// The back-off is over; the NAK goes with the next packet that may be sent.
    Due,
    /// WAIT_NCF_STATE.
    WaitNcf,
    /// WAIT_DATA_STATE.
    WaitData,
    /// Its transmission group is repaired as a whole; no timer of its own.
    Group,
}

/// A missing SQN under recovery.
#[derive(Clone, Debug)]
pub(super) struct Gap {
    pub(super) state: State,
    /// When the state's timer ends; meaningless in `Due`.
    pub(super) deadline: Instant,
    /// When the timer queue will look at this SQN: never after `deadline`, often before it.
    pub(super) queued: Option<Instant>,
    ncf_tries: u32,
    data_tries: u32,
    restarts: u8,
    /// When a repair was first asked for, by us or by somebody else.
    asked: Option<Instant>,
    /// The DLR that was asked for it, once.
    pub(super) dlr: Option<Ipv4Addr>,
    /// Our outstanding NAK is there, and not at the parent.
    pub(super) at_dlr: bool,
}

/// What follows from a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Put it on the next NAK.
    Nak,
    /// Into a fresh random back-off.
    BackOff,
    /// The same, and then to the parent: the DLR did not confirm.
    DlrSilent,
    /// The same: the DLR confirmed and did not repair.
    DlrFailed,
    /// Wait until the new deadline.
    Wait,
    /// Given up.
    Lost(Cause),
}

/// Which limit gave up an SQN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    NcfRetries,
    DataRetries,
    /// Nobody else's repair came in time, and we do not ask.
    Unasked,
}

impl Gap {
    /// Just found missing.
    pub(super) fn new(back_off_until: Instant) -> Self {
        Self {
            state: State::BackOff,
            deadline: back_off_until,
            queued: None,
            ncf_tries: 0,
            data_tries: 0,
            restarts: 0,
            asked: None,
            dlr: None,
            at_dlr: false,
        }
    }

    /// Just found missing, and its transmission group takes care of it.
    pub(super) fn of_group(now: Instant) -> Self {
        Self {
            state: State::Group,
            ..Self::new(now)
        }
    }

    /// To be asked for with the next NAK.
    pub(super) fn due(now: Instant) -> Self {
        Self {
            state: State::Due,
            ..Self::new(now)
        }
    }

    /// Tries so far: without NCF, and without the data.
    pub(super) fn tries(&self) -> (u32, u32) {
        (self.ncf_tries, self.data_tries)
    }

    /// The timer ended. `source_is_busy`: it repaired something older than this SQN within the last
    /// wait, so ours may still be queued behind its rate limit.
    pub(super) fn on_timeout(
        &mut self,
        now: Instant,
        waits: &Waits,
        source_is_busy: impl FnOnce(Duration) -> bool,
    ) -> Step {
        if waits.listen_only {
            return Step::Lost(Cause::Unasked);
        }
        match self.state {
            State::BackOff => {
                self.state = State::Due;
                return Step::Nak;
            }
            State::Due | State::Group => return Step::Wait,
            // RFC 3208 §9.5.4: what the DLR does not do counts for no retry at the parent.
            State::WaitNcf | State::WaitData if self.at_dlr => {
                let silent = self.state == State::WaitNcf;
                (self.at_dlr, self.state) = (false, State::BackOff);
                return if silent {
                    Step::DlrSilent
                } else {
                    Step::DlrFailed
                };
            }
            // §6.3.
            State::WaitNcf => {
                self.ncf_tries += 1;
                if self.ncf_tries > waits.ncf_retries {
                    return Step::Lost(Cause::NcfRetries);
                }
            }
            State::WaitData => {
                // NAK_RDATA_IVL is a least wait (§6.3: "at least"). This prolongs it no more often than
                // older SQNs get repaired, so it ends.
                let ivl = waits.rdata_ivl(self.data_tries);
                if source_is_busy(ivl) {
                    self.deadline = now + ivl;
                    return Step::Wait;
                }
                self.data_tries += 1;
                if self.data_tries > waits.data_retries {
                    return Step::Lost(Cause::DataRetries);
                }
            }
        }
        // §6.3, diagram: a repeated NAK too goes through a back-off.
        self.state = State::BackOff;
        Step::BackOff
    }

    /// Our NAK goes out now, to the parent or to a DLR.
    pub(super) fn on_sent(&mut self, now: Instant, waits: &Waits, dlr: Option<Ipv4Addr>) {
        self.state = State::WaitNcf;
        let wait = match dlr {
            Some(_) => waits.dlr_rpt_ivl(),
            None => waits.rpt_ivl(self.ncf_tries),
        };
        self.deadline = now + wait;
        self.asked.get_or_insert(now);
        self.at_dlr = dlr.is_some();
        self.dlr = dlr.or(self.dlr);
    }

    /// How long the repair that came took, if it is the answer to the first request.
    pub(super) fn repair_took(&self, now: Instant) -> Option<Duration> {
        let first = self.ncf_tries + self.data_tries == 0;
        let asked = self.asked.filter(|_| first)?;
        Some(now.saturating_duration_since(asked))
    }

    /// An NCF names this SQN. Whether a NAK of ours was made needless (RFC 3208 §6.3 ).
    pub(super) fn on_ncf(&mut self, now: Instant, waits: &Waits) -> bool {
        let pending = matches!(self.state, State::BackOff | State::Due | State::Group);
        if self.state != State::WaitNcf && !self.may_restart() {
            return false;
        }
        if waits.listen_only {
            self.linger_on(now, waits);
            return false;
        }
        self.state = State::WaitData;
        self.deadline = now + waits.rdata_ivl(self.data_tries);
        self.asked.get_or_insert(now);
        pending
    }

    /// Another receiver's NAK names this SQN. Whether a NAK of ours was made needless.
    pub(super) fn on_nak(&mut self, now: Instant, waits: &Waits) -> bool {
        if !self.may_restart() {
            return false;
        }
        if waits.listen_only {
            self.linger_on(now, waits);
            return false;
        }
        match self.state {
            // §6.3: the prose wants NAK_RDATA_IVL here, the diagram WAIT_NCF with NAK_RPT_IVL.
            State::BackOff | State::Due | State::Group => {
                self.state = State::WaitNcf;
                self.deadline = now + waits.rpt_ivl(self.ncf_tries);
                return true;
            }
            State::WaitNcf => self.deadline = now + waits.rpt_ivl(self.ncf_tries),
            State::WaitData => self.deadline = now + waits.rdata_ivl(self.data_tries),
        }
        false
    }

    /// Somebody else takes care of this SQN: worth waiting for a little longer.
    fn linger_on(&mut self, now: Instant, waits: &Waits) {
        self.deadline = self.deadline.max(now + waits.rdata_ivl(0));
    }

    fn may_restart(&mut self) -> bool {
        let may = self.restarts < RESTARTS_MAX;
        self.restarts += u8::from(may);
        may
    }
}

/// Random back-off within NAK_BO_IVL.
#[derive(Debug)]
pub(super) struct BackOff {
    /// NAK_BO_IVL in force.
    pub(super) ivl: Duration,
    rng: fastrand::Rng,
    /// Where the grid of deadlines is anchored, and by which fraction of its step it is off.
    epoch: Instant,
    phase: f64,
}

impl BackOff {
    /// Receivers the distribution is made for: RFC 5401's `groupSize`. With fewer the wait is a little
    /// longer than need be, with more there are a few NAKs more; neither depends on it strongly.
    const GROUP_SIZE: f64 = 1000.0;
    /// Deadlines lie on a grid of this fraction of the interval, so that one NAK list takes the losses of
    /// a stretch of time. The grid of each receiver has its own phase, which keeps them apart.
    const GRID: u32 = 8;

    pub(super) fn new(ivl: Duration, now: Instant, mut rng: fastrand::Rng) -> Self {
        let phase = rng.f64();
        Self {
            ivl,
            rng,
            epoch: now,
            phase,
        }
    }

    /// End of a back-off that begins now: after `now`, and at most `ivl` later (RFC 3208 §6.3 ).
    ///
    /// The wait has the truncated exponential distribution of RFC 5401 §3.2.2: few receivers draw an early
    /// time, most a late one, so in a large group the first NAKs are confirmed before the crowd speaks.
    /// Uniform, 1000 receivers with a round trip of a tenth of the interval would send 100 NAKs; so 3.
    pub(super) fn draw(&mut self, now: Instant) -> Instant {
        let grid = (self.ivl / Self::GRID).max(Duration::from_nanos(1));
        let lambda = Self::GROUP_SIZE.ln() + 1.0;
        let share = (1.0 + self.rng.f64() * (lambda.exp() - 1.0)).ln() / lambda;
        let at = now + self.ivl.saturating_sub(grid).mul_f64(share.clamp(0.0, 1.0));
        let since_epoch = at.saturating_duration_since(self.epoch) + grid.mul_f64(self.phase);
        let past_grid = since_epoch.as_nanos() % grid.as_nanos();
        at + grid - Duration::from_nanos(u64::try_from(past_grid).unwrap_or(0))
    }
}

/// Timers of gaps: a heap of runs of SQNs that end together, because SQNs lost together wait together.
///
/// Entries are never removed early; a gap knows by [`Gap::queued`] which entry is its own.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<Run>>,
    /// The run armed last, still growing.
    tail: Option<Run>,
}

/// SQNs `first..first + count`, to be looked at `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) at: Instant,
    pub(super) first: Sqn,
    pub(super) count: u32,
}

impl Ord for Run {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

impl PartialOrd for Run {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Timers {
    /// Look at `sqn` no later than its deadline. An entry that comes earlier serves too: it will be moved.
    pub(super) fn arm(&mut self, sqn: Sqn, gap: &mut Gap) {
        let at = gap.deadline;
        if gap.queued.is_some_and(|queued| queued <= at) {
            return;
        }
        gap.queued = Some(at);
        match &mut self.tail {
            Some(run) if run.at == at && run.first.plus(run.count) == sqn => run.count += 1,
            tail => {
                let run = Run {
                    at,
                    first: sqn,
                    count: 1,
                };
                self.heap.extend(tail.replace(run).map(Reverse));
            }
        }
    }

    /// A run whose time has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Run> {
        self.heap
            .extend(self.tail.take_if(|run| run.at <= now).map(Reverse));
        let is_due = self.heap.peek().is_some_and(|run| run.0.at <= now);
        if is_due {
            self.heap.pop().map(|run| run.0)
        } else {
            None
        }
    }

    /// When the next run is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let tail = self.tail.map(|run| run.at);
        let heap = self.heap.peek().map(|run| run.0.at);
        tail.into_iter().chain(heap).min()
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len() + usize::from(self.tail.is_some())
    }

    /// Octets the queue takes, full or not.
    pub(super) fn octets(&self) -> usize {
        self.heap.capacity() * size_of::<Run>()
    }

    pub(super) fn clear(&mut self) {
        self.heap.clear();
        self.tail = None;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
