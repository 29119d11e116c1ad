//! A lock that knows its owner.
//!
//! A signal handler may call into the shim while its own thread is inside; waiting would then be for
//! ever, so such a call is refused instead. Nothing is held while blocking, except that the control
//! lock is held over engine requests, which are short. No allocation, no destructor, fork-aware.

use crate::errno::Errno;
use crate::fork;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

thread_local! {
    /// Its address names the thread.
    static SELF: u8 = const { 0 };
}

fn this_thread() -> usize {
    SELF.with(|own| std::ptr::from_ref(own).addr())
}

/// The lock: 0, or the owner.
#[derive(Debug)]
pub(crate) struct OwnedLock(AtomicUsize);

/// Unlocks when dropped.
#[derive(Debug)]
pub(crate) struct Held<'a>(&'a OwnedLock);

impl OwnedLock {
    pub(crate) const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Wait for the lock.
    ///
    /// # Errors
    /// EAGAIN: this thread has it already, so a signal handler interrupted its owner.
    pub(crate) fn lock(&self) -> Result<Held<'_>, Errno> {
        let me = this_thread();
        let mut tries = 0_u32;
        loop {
            match self
                .0
                .compare_exchange_weak(0, me, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return Ok(Held(self)),
                Err(owner) if owner == me => return Err(Errno(libc::EAGAIN)),
                // In the child of a bare fork the owner is not there.
                Err(_) if tries >= PATIENCE && !fork::is_own_memory() => {
                    return Err(Errno(libc::EAGAIN));
                }
                Err(_) => back_off(&mut tries),
            }
        }
    }

    /// Take the lock for good: for the thread that is about to fork. Does nothing if it has it already.
    pub(crate) fn acquire(&self) {
        if let Ok(held) = self.lock() {
            std::mem::forget(held);
        }
    }

    /// Whether this thread has it.
    pub(crate) fn is_own(&self) -> bool {
        self.0.load(Ordering::Relaxed) == this_thread()
    }

    /// Free it if this thread has it: for a signal handler that jumps out of whatever it interrupted.
    pub(crate) fn release_own(&self) {
        // Another owner, or none: nothing to do.
        let _ = self
            .0
            .compare_exchange(this_thread(), 0, Ordering::Release, Ordering::Relaxed);
    }

    /// Free it, whoever has it: for the parent after `acquire`, and for a child, where other owners are gone.
    pub(crate) fn release(&self) {
        self.0.store(0, Ordering::Release);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Not so if a handler that interrupted this thread has jumped within itself: then it is free.
        self.0.release_own();
    }
}

/// Tries after which it is asked whether the owner can be there at all.
const PATIENCE: u32 = 1000;

/// Owners are quick but may lose the processor: spin, then yield, then sleep.
fn back_off(tries: &mut u32) {
    *tries += 1;
    match *tries {
        0..64 => std::hint::spin_loop(),
        64..256 => std::thread::yield_now(),
        _ => std::thread::sleep(Duration::from_micros(50)),
    }
}

/// Serialises the slow calls: everything that changes what a socket is.
static CONTROL: OwnedLock = OwnedLock::new();

/// Proof that the control lock is held; opens every [`Guarded`].
#[derive(Debug)]
pub(crate) struct Control(#[allow(dead_code, reason = "held for its drop")] Held<'static>);

/// Take the control lock.
///
/// # Errors
/// EBUSY from a signal handler that interrupted a slow call of the same thread.
pub(crate) fn control() -> Result<Control, Errno> {
    CONTROL.lock().map(Control).map_err(|_| Errno(libc::EBUSY))
}

/// For the fork handlers.
pub(crate) fn control_lock() -> &'static OwnedLock {
    &CONTROL
}

/// A value that only the holder of the control lock sees.
#[derive(Debug)]
pub(crate) struct Guarded<T>(UnsafeCell<T>);

// SAFETY: access goes through `Control`, of which there is one at a time.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// The value, for as long as the caller's borrow of the lock.
    pub(crate) fn get<'a>(&'a self, control: &'a mut Control) -> &'a mut T {
        let _ = control;
        // SAFETY: one `Control` exists at a time and it is borrowed mutably for 'a, so no other
        // reference from any `Guarded` is alive.
        unsafe { &mut *self.0.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn the_owner_is_refused_a_second_time() {
        let lock = OwnedLock::new();
        let held = lock.lock().expect("free");
        assert_eq!(lock.lock().err(), Some(Errno(libc::EAGAIN)));
        drop(held);
        assert!(lock.lock().is_ok());
    }

    #[test]
    fn others_wait() {
        static LOCK: OwnedLock = OwnedLock::new();
        static INSIDE: AtomicU32 = AtomicU32::new(0);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    for _ in 0..1000 {
                        let _held = LOCK.lock().expect("not this thread's");
                        assert_eq!(INSIDE.fetch_add(1, Ordering::SeqCst), 0);
                        INSIDE.fetch_sub(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
    }
}
