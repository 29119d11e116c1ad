//! Two copies of this library in one process, as when one wrapper's LD_PRELOAD is put before another's: one
//! serves, and the other lets everything pass. Both would take each other's descriptors for the program's.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a copy serves. All copies see that of the one that was loaded first.
#[allow(non_upper_case_globals, dead_code, reason = "looked up by its name")]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) static pgmshim_is_here: AtomicBool = AtomicBool::new(false);

/// Whether another copy serves, not this one.
static IS_SECOND: AtomicBool = AtomicBool::new(false);

/// Whether another copy serves.
pub(crate) fn is_second() -> bool {
    IS_SECOND.load(Ordering::Relaxed)
}

/// Once, before `main`: whether this copy is the one to serve.
pub(crate) fn settle() -> bool {
    // SAFETY: dlsym only reads the name. The symbol is no one's but ours, so it is what it is here.
    let shared = unsafe {
        libc::dlsym(libc::RTLD_DEFAULT, c"pgmshim_is_here".as_ptr())
            .cast::<AtomicBool>()
            .as_ref()
    };
    let taken = shared.is_some_and(|shared| shared.swap(true, Ordering::AcqRel));
    IS_SECOND.store(taken, Ordering::Relaxed);
    !taken
}
