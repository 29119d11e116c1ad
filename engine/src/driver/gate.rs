//! How the end of the process waits for the engine thread (design D5).
//!
//! `_exit` is called in signal handlers too, which may have interrupted malloc or another request. So
//! waiting takes no lock and no memory, which a channel would: two counters, a deadline and a futex.

use super::unix;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// `wait` gives up this much after its limit if the engine thread does not even say so.
const GRACE: Duration = Duration::from_millis(500);

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// The process ends.
    Exit,
    /// Another program takes its place, unless that fails.
    Exec,
}

/// Both sides' view. Lives for ever, like the engine.
#[derive(Debug)]
pub(super) struct Gate {
    epoch: Instant,
    /// How many have come to wait.
    asked: AtomicU32,
    /// How many of them may go on.
    answered: AtomicU32,
    /// The latest deadline of all, nanoseconds since `epoch`.
    until: AtomicU64,
    /// Somebody came because the process ends.
    is_exit: AtomicBool,
    /// How often the program went on after all.
    calls_off: AtomicU32,
}

impl Gate {
    /// A gate for the two sides.
    pub(super) fn new() -> &'static Self {
        Box::leak(Box::new(Self {
            epoch: Instant::now(),
            asked: AtomicU32::new(0),
            answered: AtomicU32::new(0),
            until: AtomicU64::new(0),
            is_exit: AtomicBool::new(false),
            calls_off: AtomicU32::new(0),
        }))
    }

    /// Ask by `wake` for the keeper's attention and wait for its answer, at most `limit` and a little more.
    /// Async-signal-safe if `wake` is.
    pub(super) fn wait(&self, occasion: Occasion, limit: Duration, wake: impl FnOnce()) {
        if occasion == Occasion::Exit {
            self.is_exit.store(true, Ordering::SeqCst);
        }
        let until = self.epoch.elapsed().saturating_add(limit);
        let nanos = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.until.fetch_max(nanos, Ordering::SeqCst);
        let ticket = self.asked.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        wake();
        loop {
            let answered = self.answered.load(Ordering::SeqCst);
            let left = until
                .saturating_add(GRACE)
                .saturating_sub(self.epoch.elapsed());
            if answered.wrapping_sub(ticket).cast_signed() >= 0 || left.is_zero() {
                return;
            }
            unix::futex_wait(&self.answered, answered, left);
        }
    }

    /// The program goes on although it waited. Async-signal-safe if `wake` is.
    pub(super) fn call_off(&self, wake: impl FnOnce()) {
        self.calls_off.fetch_add(1, Ordering::SeqCst);
        wake();
    }
}

/// The engine thread's side.
#[derive(Debug)]
pub(super) struct Keeper {
    gate: &'static Gate,
    /// Whose coming was noticed.
    seen: u32,
}

impl Keeper {
    pub(super) fn new(gate: &'static Gate) -> Self {
        Self { gate, seen: 0 }
    }

    /// Whether somebody has come since the last look.
    pub(super) fn look(&mut self) -> bool {
        let before = self.seen;
        self.seen = self.gate.asked.load(Ordering::SeqCst);
        self.seen != before
    }

    /// Until when those who were noticed want to wait, if there are any.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let answered = self.gate.answered.load(Ordering::SeqCst);
        let until = Duration::from_nanos(self.gate.until.load(Ordering::SeqCst));
        (answered != self.seen).then(|| self.gate.epoch + until)
    }

    /// Whether the process ends for certain.
    pub(super) fn is_exit(&self) -> bool {
        self.gate.is_exit.load(Ordering::SeqCst)
    }

    /// How often the program has gone on after all.
    pub(super) fn calls_off(&self) -> u32 {
        self.gate.calls_off.load(Ordering::SeqCst)
    }

    /// Let those go on who were noticed.
    pub(super) fn open(&self) {
        self.gate.answered.store(self.seen, Ordering::SeqCst);
        unix::futex_wake_all(&self.gate.answered);
    }
}

impl Drop for Keeper {
    /// Nobody will ever answer again: whoever waits or comes may go on.
    fn drop(&mut self) {
        self.seen = self.gate.asked.load(Ordering::SeqCst).wrapping_add(1 << 30);
        self.open();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn waits_until_the_keeper_opens() {
        let gate = Gate::new();
        let mut keeper = Keeper::new(gate);
        assert!(!keeper.look() && keeper.deadline().is_none());
        let begun = Instant::now();
        let waiting = thread::spawn(|| gate.wait(Occasion::Exec, LONG, || ()));
        while !keeper.look() {
            thread::yield_now();
        }
        assert!(keeper.deadline().is_some_and(|until| until >= begun + LONG));
        assert!(!keeper.is_exit());
        assert!(!waiting.is_finished());
        keeper.open();
        waiting.join().expect("no panic");
        assert!(begun.elapsed() < LONG && keeper.deadline().is_none());
    }

    #[test]
    fn gives_up_after_its_limit() {
        let gate = Gate::new();
        let begun = Instant::now();
        gate.wait(Occasion::Exit, Duration::from_millis(10), || ());
        assert!(begun.elapsed() >= GRACE && begun.elapsed() < LONG);
    }

    #[test]
    fn nobody_waits_for_a_keeper_that_is_gone() {
        let gate = Gate::new();
        let keeper = Keeper::new(gate);
        let waiting = thread::spawn(|| gate.wait(Occasion::Exec, LONG, || ()));
        while gate.asked.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        let begun = Instant::now();
        drop(keeper);
        waiting.join().expect("no panic");
        gate.wait(Occasion::Exec, LONG, || ());
        assert!(begun.elapsed() < LONG);
    }
}
