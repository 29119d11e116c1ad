//! The end of the process (D5): what was sent must still be delivered and repaired, and the engine is a
//! thread of this process. So the end waits, no longer than `PGM_LINGER` allows.

use crate::engine;
use crate::fork;
use crate::interpose::inside;
use libc::c_char;

/// Let every sender finish. Nothing where no engine runs, as in a child of fork, or where it is not ours,
/// as in a child of vfork.
pub(crate) fn drain() {
    if let Some(runtime) = engine::running()
        && fork::is_own_memory()
    {
        // Infallible but for a panic, and then there is nothing more to wait for.
        let _ = inside(|| {
            runtime.engine.drain(runtime.defaults.exit_limit);
            Ok(())
        });
    }
}

/// Before `pthread_exit`. Without its main thread the process ends with the last of the others, but for the
/// engine's.
pub(crate) fn thread_leaves() {
    // SAFETY: no memory is involved.
    let is_main = unsafe { libc::gettid() == libc::getpid() };
    if let Some(runtime) = engine::running()
        && is_main
    {
        // As in `drain`.
        let _ = inside(|| {
            runtime.engine.main_thread_leaves();
            Ok(())
        });
    }
}

/// Before `execve` and `execv`, but not if the call will fail and the program go on.
///
/// # Safety
/// `path` is null or a C string.
pub(crate) unsafe fn before_exec(path: *const c_char) {
    // SAFETY: the kernel checks the pointer.
    if engine::running().is_some() && unsafe { libc::access(path, libc::X_OK) } == 0 {
        drain();
    }
}
