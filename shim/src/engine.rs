//! The engine of this process: started by the first PGM socket, gone in a child of fork.

use crate::errno::Errno;
use crate::exit;
use crate::fork;
use crate::interpose;
use crate::left;
use crate::lock::Control;
use libc::c_int;
use pgm_engine::driver::config::Defaults;
use pgm_engine::driver::{self, Engine, log::Level};
use pgm_engine::log_line;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

/// The engine and the settings it started with.
#[derive(Debug)]
pub(crate) struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) defaults: Defaults,
}

/// Leaked: other threads may be using it whatever happens.
static RUNTIME: AtomicPtr<Runtime> = AtomicPtr::new(std::ptr::null_mut());

/// Whether this process, or the one it was forked from, ever had a PGM socket.
static USED: AtomicBool = AtomicBool::new(false);

/// Counts forks: sockets of an earlier epoch belong to an engine of another process.
static EPOCH: AtomicU32 = AtomicU32::new(0);

/// The engine, if it runs.
pub(crate) fn running() -> Option<&'static Runtime> {
    // SAFETY: null or leaked.
    unsafe { RUNTIME.load(Ordering::Acquire).as_ref() }
}

/// The engine, started now if need be.
///
/// # Errors
/// EINVAL for a setting nobody understands, said on stderr; else why the thread could not start.
pub(crate) fn start(_: &mut Control) -> Result<&'static Runtime, Errno> {
    if let Some(runtime) = running() {
        return Ok(runtime);
    }
    let defaults = Defaults::from_env().map_err(|sentence| {
        log_line!(Level::Error, "{sentence}");
        Errno(libc::EINVAL)
    })?;
    begin_use();
    let engine = Engine::start_with(defaults.clone())?;
    let runtime = Box::leak(Box::new(Runtime { engine, defaults }));
    RUNTIME.store(runtime, Ordering::SeqCst);
    exit::tell_main_left(runtime);
    Ok(runtime)
}

/// There is a PGM socket in this process now, with or without an engine.
pub(crate) fn begin_use() {
    fork::prepare_process();
    left::prepare();
    USED.store(true, Ordering::Relaxed);
}

/// Whether a PGM socket was ever asked for: before, nothing here needs a second look.
pub(crate) fn is_used() -> bool {
    USED.load(Ordering::Relaxed)
}

/// Whether the program names a descriptor that is the library's.
#[inline]
pub(crate) fn is_private(fd: c_int) -> bool {
    // One load says no for nearly every call; the rest need not be near.
    #[cold]
    #[inline(never)]
    fn is_the_programs_call() -> bool {
        is_used() && !interpose::is_inside()
    }
    driver::is_private_fd(fd) && is_the_programs_call()
}

/// The lowest descriptor of the library's in `first..=last`.
pub(crate) fn first_private(first: c_int, last: c_int) -> Option<c_int> {
    let mut lowest = None;
    if is_used() {
        driver::for_each_private_fd(|fd| {
            if lowest.is_none() && (first..=last).contains(&fd) {
                lowest = Some(fd);
            }
        });
    }
    lowest
}

/// Names the engine a socket belongs to.
pub(crate) fn epoch() -> u32 {
    EPOCH.load(Ordering::Relaxed)
}

/// The epoch of sockets that another process gave us: never the present one.
pub(crate) const FOREIGN: u32 = u32::MAX;

/// In the child of a fork: the thread is the parent's, and what is open for it is closed.
pub(crate) fn forget() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
    RUNTIME.store(std::ptr::null_mut(), Ordering::Release);
    driver::forget_in_child();
}
