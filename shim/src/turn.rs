//! A turn at a socket's pair: what is done there in several system calls is one step, to threads of this
//! process by a lock, and to other processes that have the socket by a record lock of the kernel's.

use crate::errno::Errno;
use crate::lock::{Held, OwnedLock};
use crate::sys;
use libc::c_int;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// Never held while blocking.
#[derive(Debug)]
pub(crate) struct Turn {
    threads: OwnedLock,
    /// Through which descriptor its holder is at the pair.
    at: AtomicI32,
    /// Its holder has the record lock, too.
    processes: AtomicBool,
}

/// Ends the turn when dropped.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    turn: &'a Turn,
    /// Freed last.
    _held: Held<'a>,
}

impl Turn {
    pub(crate) const fn new() -> Self {
        Self {
            threads: OwnedLock::new(),
            at: AtomicI32::new(-1),
            processes: AtomicBool::new(false),
        }
    }

    /// Wait for the turn. `shared`: other processes may have the socket.
    ///
    /// # Errors
    /// EAGAIN: a signal handler interrupted this thread's own turn.
    pub(crate) fn take(&self, fd: RawFd, shared: bool) -> Result<Taken<'_>, Errno> {
        let held = self.threads.lock()?;
        self.at.store(fd, Ordering::Relaxed);
        if shared {
            // First: whoever jumps out of the wait may have it.
            self.processes.store(true, Ordering::Relaxed);
            sys::lock_record(fd);
        }
        Ok(Taken {
            turn: self,
            _held: held,
        })
    }

    /// Keep this process's threads from a turn until the value is dropped; `None` in a signal handler that interrupted
    /// this thread's own.
    pub(crate) fn pause(&self) -> Option<Held<'_>> {
        self.threads.lock().ok()
    }

    /// The descriptor, if it is this thread's turn.
    pub(crate) fn own(&self) -> Option<c_int> {
        self.threads
            .is_own()
            .then(|| self.at.load(Ordering::Relaxed))
    }

    /// End it if it is this thread's: for a signal handler that jumps out of whatever it interrupted.
    pub(crate) fn end_own(&self) {
        self.give_back();
        self.threads.release_own();
    }

    /// In the child of a fork, where whoever had the turn is not; record locks are not inherited.
    pub(crate) fn survive_fork(&self) {
        self.processes.store(false, Ordering::Relaxed);
        self.threads.release();
    }

    fn give_back(&self) {
        // Not so if a handler that interrupted this thread has jumped within itself: then others have it.
        if let Some(fd) = self.own()
            && self.processes.swap(false, Ordering::Relaxed)
        {
            sys::unlock_record(fd);
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.turn.give_back();
    }
}
