//! The end of the process (D5): what was sent must still be delivered and repaired, and the engine is a
//! thread of this process. So before the end another process takes the engine over, or the end waits,
//! no longer than `PGM_LINGER` allows.

use crate::descriptor;
use crate::engine::{self, Runtime};
use crate::errno;
use crate::fdtable;
use crate::fork;
use crate::interpose::{inside, is_inside};
use crate::next;
use crate::socket::{Kind, Socket};
use crate::sys;
use libc::{c_char, c_int, c_void};
use pgm_engine::driver::{Handle, Occasion};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

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

/// Of which the main thread alone has a value.
static MAIN_KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();

/// Whether the main thread has left and no engine knows.
static MAIN_LEFT: AtomicBool = AtomicBool::new(false);

/// Before `main`: learn of the main thread's end, be it by `pthread_exit`, `thrd_exit` or cancellation, and
/// before or after the first PGM socket.
pub(crate) fn watch_main_thread() {
    let mut key = 0;
    // SAFETY: the destructor is a function of this library, which is never unloaded.
    if unsafe { libc::pthread_key_create(&raw mut key, Some(main_thread_leaves)) } == 0 {
        let _ = MAIN_KEY.set(key);
        this_is_the_main_thread();
    }
}

/// Also in the child of a fork, where it is the one that forked.
pub(crate) fn this_is_the_main_thread() {
    MAIN_LEFT.store(false, Ordering::Relaxed);
    if let Some(key) = MAIN_KEY.get() {
        // SAFETY: nobody follows the pointer; it only must not be null.
        unsafe { libc::pthread_setspecific(*key, (&raw const MAIN_LEFT).cast()) };
    }
}

unsafe extern "C" fn main_thread_leaves(_: *mut c_void) {
    MAIN_LEFT.store(true, Ordering::SeqCst);
    // Who starts the engine meanwhile stores these two the other way round.
    fence(Ordering::SeqCst);
    if let Some(runtime) = engine::running() {
        tell_main_left(runtime);
    }
}

/// Without its main thread the process ends with the last of the others, but for the engine's.
pub(crate) fn tell_main_left(runtime: &Runtime) {
    // Told once, by the thread that leaves or by the one that starts the engine.
    if MAIN_LEFT.swap(false, Ordering::SeqCst) {
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

/// A sender whose `close` waits (SO_LINGER).
#[derive(Clone, Copy, Debug)]
pub(crate) struct LingeringSender {
    runtime: &'static Runtime,
    handle: Handle,
    limit: Duration,
}

/// The sender behind a descriptor that is about to be closed, if SO_LINGER is on.
pub(crate) fn lingering_sender(fd: c_int) -> Option<LingeringSender> {
    let socket = fdtable::of_this_thread(fd).filter(|socket| socket.kind() == Kind::Sender)?;
    let (runtime, handle) = socket.served()?;
    let saved = errno::get();
    let linger = sys::linger(fd);
    errno::set(saved);
    linger
        .filter(|_| fork::is_own_memory() && !is_inside())
        .map(|limit| LingeringSender {
            runtime,
            handle,
            limit,
        })
}

impl LingeringSender {
    /// The descriptor is closed. Returns at once if others have the socket still.
    pub(crate) fn wait(self) {
        // As in `leave`.
        let _ = inside(|| {
            self.runtime.engine.closed(self.handle, self.limit);
            Ok(())
        });
    }
}

/// The engine has to know whether a sender's end drops everything: SO_LINGER with time 0.
pub(crate) fn tell_linger(socket: &'static Socket, fd: c_int) {
    if socket.kind() == Kind::Sender
        && let Some((runtime, handle)) = socket.served()
    {
        let abortive = sys::linger(fd) == Some(Duration::ZERO);
        runtime.engine.set_abortive(handle, abortive);
    }
}

/// `daemon`: libc's own ends the parent without passing through a hook, and with it the engine.
pub(crate) fn daemon(keep_directory: bool, keep_streams: bool) -> c_int {
    // SAFETY: the fork that the program asks for; no memory is involved in the others.
    unsafe {
        match libc::fork() {
            -1 => return -1,
            0 => {}
            _ => {
                drain();
                next::_exit(0);
            }
        }
        if libc::setsid() == -1 {
            return -1;
        }
        if !keep_directory {
            libc::chdir(c"/".as_ptr());
        }
        if keep_streams {
            0
        } else {
            streams_to_nowhere()
        }
    }
}

/// Make standard input, output and error the null device.
fn streams_to_nowhere() -> c_int {
    // SAFETY: the path is a C string; nothing else involves memory.
    let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
    if null == -1 {
        return -1;
    }
    for stream in 0..=2 {
        descriptor::dup_to(null, stream, || {
            // SAFETY: as above.
            unsafe { next::dup2(null, stream) }
        });
    }
    if null > 2 {
        // SAFETY: opened above.
        unsafe { next::close(null) };
    }
    0
}
