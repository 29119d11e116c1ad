//! Who has something to send, and who must be woken when: both without a look at everybody.

use super::{SessionId, SourceId};
use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

/// A source or a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Source(SourceId),
    Session(SessionId),
}

/// One key's place in the schedule; lives beside the source or session it belongs to.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Its entry in `timers`. May be earlier than really needed, never later.
    armed: Option<Instant>,
    /// Whether it is in `ready`.
    queued: bool,
}

/// Ready queue and timers.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    ready: VecDeque<Key>,
    timers: BTreeSet<(Instant, Key)>,
}

impl Schedule {
    /// `key` may have packets to send: give it a turn.
    pub(super) fn wake(&mut self, key: Key, slot: &mut Slot) {
        if !slot.queued {
            slot.queued = true;
            self.ready.push_back(key);
        }
    }

    /// Take the turn of the one that waited longest. The caller answers with `wake` or `Slot::rest`.
    pub(super) fn next_ready(&mut self) -> Option<Key> {
        self.ready.pop_front()
    }

    /// See to it that `key` is woken at `at`.
    ///
    /// A later time than the armed one costs nothing now: the early wake finds nothing due and arms
    /// again. Expiry timers that move on with every packet are therefore free.
    pub(super) fn arm(&mut self, key: Key, slot: &mut Slot, at: Option<Instant>) {
        let Some(at) = at else {
            return self.disarm(key, slot);
        };
        if slot.armed.is_some_and(|armed| armed <= at) {
            return;
        }
        self.disarm(key, slot);
        self.timers.insert((at, key));
        slot.armed = Some(at);
    }

    /// Forget the timer of `key`.
    pub(super) fn disarm(&mut self, key: Key, slot: &mut Slot) {
        if let Some(armed) = slot.armed.take() {
            self.timers.remove(&(armed, key));
        }
    }

    /// Move every key whose timer is due at `now` to `into`. The caller tells their slots (`Slot::fired`).
    pub(super) fn due(&mut self, now: Instant, into: &mut Vec<Key>) {
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            into.extend(self.timers.pop_first().map(|(_, key)| key));
        }
    }

    /// The next timer.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }
}

impl Slot {
    /// Its timer was taken by `Schedule::due`.
    pub(super) fn fired(&mut self) {
        self.armed = None;
    }

    /// Its turn was taken by `Schedule::next_ready`.
    pub(super) fn rest(&mut self) {
        self.queued = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_later_deadline_keeps_the_early_timer() {
        let (mut schedule, mut slot) = (Schedule::default(), Slot::default());
        let (key, t0) = (Key::Source(SourceId(1)), Instant::now());
        let [t1, t2] = [1, 2].map(|s| t0 + Duration::from_secs(s));

        schedule.arm(key, &mut slot, Some(t1));
        schedule.arm(key, &mut slot, Some(t2));
        assert_eq!(schedule.next_timer(), Some(t1));

        let mut due = Vec::new();
        schedule.due(t1, &mut due);
        slot.fired();
        assert_eq!(due, [key]);
        schedule.arm(key, &mut slot, Some(t2));
        assert_eq!(schedule.next_timer(), Some(t2), "armed again");
        schedule.arm(key, &mut slot, Some(t1));
        assert_eq!(
            schedule.next_timer(),
            Some(t1),
            "an earlier one counts at once"
        );
        schedule.arm(key, &mut slot, None);
        assert_eq!(schedule.next_timer(), None);
    }

    #[test]
    fn each_has_one_place_in_the_queue() {
        let mut schedule = Schedule::default();
        let keys = [Key::Source(SourceId(1)), Key::Session(SessionId(1))];
        let mut slots = [Slot::default(), Slot::default()];
        for _ in 0..3 {
            schedule.wake(keys[0], &mut slots[0]);
            schedule.wake(keys[1], &mut slots[1]);
        }
        assert_eq!(schedule.next_ready(), Some(keys[0]));
        slots[0].rest();
        schedule.wake(keys[0], &mut slots[0]);
        assert_eq!(schedule.next_ready(), Some(keys[1]), "the others first");
        assert_eq!(schedule.next_ready(), Some(keys[0]));
        assert_eq!(schedule.next_ready(), None);
    }
}
