//! The end of the process (D5): what was sent must still be delivered and repaired, and the engine is a
//! thread of this process. So before the end another process takes the engine over, or the end waits,
//! no longer than `PGM_LINGER` allows.

use crate::engine;
use crate::errno;
use crate::fork;
use crate::interpose::inside;
use libc::{c_char, c_int};
use pgm_engine::driver::Occasion;

/// The process ends. Nothing where no engine runs, as in a child of fork, or where it is not ours, as in
/// a child of vfork.
pub(crate) fn drain() {
    leave(Occasion::Exit);
}

fn leave(occasion: Occasion) {
    if let Some(runtime) = engine::running()
        && fork::is_own_memory()
    {
        // Infallible but for a panic, and then there is nothing more to wait for.
        let _ = inside(|| {
            runtime.engine.leave(occasion, runtime.defaults.exit_limit);
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

/// Around a call that replaces the program unless it fails.
pub(crate) fn around_exec(exec: impl FnOnce() -> c_int) -> c_int {
    leave(Occasion::Exec);
    let result = exec();
    if let Some(runtime) = engine::running()
        && fork::is_own_memory()
    {
        let saved = errno::get();
        runtime.engine.stay();
        errno::set(saved);
    }
    result
}

/// [`around_exec`] for `execve` and `execv`, but not if the call is going to fail.
///
/// # Safety
/// `path` is null or a C string.
pub(crate) unsafe fn around_exec_of(path: *const c_char, exec: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the kernel checks the pointer.
    if engine::running().is_some() && unsafe { libc::access(path, libc::X_OK) } == 0 {
        around_exec(exec)
    } else {
        exec()
    }
}
