//! What a fork does to us: the engine thread stays with the parent; sockets become foreign, their pair
//! ends go on working natively, and the child may open sockets of its own with an engine of its own.

use crate::engine;
use crate::exit;
use crate::lock::control_lock;
use crate::socket;
use pgm_engine::driver::heap;
use std::sync::atomic::{AtomicI32, Ordering};

/// The process our memory belongs to; 0 before the first PGM socket.
static PID: AtomicI32 = AtomicI32::new(0);

fn getpid() -> i32 {
    // SAFETY: cannot fail and touches no memory.
    unsafe { libc::getpid() }
}

/// Whether this process owns the memory it runs in: not so in a child of `vfork`.
///
/// Costs a system call, so it is asked only before shared state changes.
pub(crate) fn is_own_memory() -> bool {
    let pid = PID.load(Ordering::Relaxed);
    pid == 0 || pid == getpid()
}

/// Before `main`, and so before the program's own handlers are registered: theirs run while nothing of ours is held.
pub(crate) fn watch() {
    // SAFETY: the handlers are functions of this library, which is never unloaded.
    unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
}

/// Before the first PGM socket of the program.
pub(crate) fn prepare_process() {
    PID.store(getpid(), Ordering::Relaxed);
    heap::belongs_here();
}

unsafe extern "C" fn before() {
    control_lock().acquire();
    socket::share_all();
    heap::freeze();
}

unsafe extern "C" fn in_parent() {
    heap::thaw();
    control_lock().release();
}

unsafe extern "C" fn in_child() {
    heap::thaw();
    if engine::is_used() {
        heap::belongs_here();
        PID.store(getpid(), Ordering::Relaxed);
    }
    exit::this_is_the_main_thread();
    socket::survive_fork(engine::forget);
    control_lock().release();
}
