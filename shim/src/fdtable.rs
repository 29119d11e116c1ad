//! fd → socket. Reading is one load; writing is a swap. Sockets are never freed, so that a reader in
//! another thread may hold on to one for as long as it likes.
//!
//! The table says only which numbers are ours. Whether a socket is still open anywhere is the kernel's
//! knowledge: the engine end of its pair tells.

use crate::errno::Errno;
use crate::fork;
use crate::socket::Socket;
use libc::c_int;
use pgm_engine::driver::is_engine_thread;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Descriptors from here on cannot be PGM sockets. Linux's usual hard limit; the table is in `.bss`, so
/// pages nobody touches cost nothing.
pub(crate) const SIZE: usize = 1 << 20;

static TABLE: [AtomicPtr<Socket>; SIZE] = [const { AtomicPtr::new(std::ptr::null_mut()) }; SIZE];

/// One more than the highest number ever entered.
static END: AtomicUsize = AtomicUsize::new(0);

fn index(fd: c_int) -> usize {
    // Negative numbers become too large.
    fd.cast_unsigned() as usize
}

fn deref(entry: *mut Socket) -> Option<&'static Socket> {
    // SAFETY: entries are null or point to a socket, and sockets live for ever.
    unsafe { entry.as_ref() }
}

/// Whether a descriptor is not ours: the first thing every hook asks.
#[inline]
pub(crate) fn is_foreign(fd: c_int) -> bool {
    TABLE
        .get(index(fd))
        .is_none_or(|entry| entry.load(Ordering::Relaxed).is_null())
}

/// The socket behind a descriptor, if it is ours.
#[inline]
pub(crate) fn get(fd: c_int) -> Option<&'static Socket> {
    deref(TABLE.get(index(fd))?.load(Ordering::Acquire))
}

/// The socket behind a descriptor of the calling thread's, if it is ours: for the calls that the engine thread makes,
/// too. What it has is in a table of its own, with the same numbers.
pub(crate) fn of_this_thread(fd: c_int) -> Option<&'static Socket> {
    get(fd).filter(|_| !is_engine_thread())
}

/// Enter `fd` as another name of `socket`; what was there before is gone.
///
/// # Errors
/// EMFILE beyond the table.
pub(crate) fn insert(fd: c_int, socket: &'static Socket) -> Result<(), Errno> {
    let entry = TABLE.get(index(fd)).ok_or(Errno(libc::EMFILE))?;
    END.fetch_max(index(fd) + 1, Ordering::Relaxed);
    socket.retain();
    replace(entry, std::ptr::from_ref(socket).cast_mut());
    Ok(())
}

/// `fd` is about to be closed, or names something else now.
///
/// A child of `vfork` closes descriptors too, but in the memory of its parent, and the engine thread closes those of
/// its own table: there it changes nothing.
#[inline]
pub(crate) fn remove(fd: c_int) {
    #[cold]
    #[inline(never)]
    fn remove_ours(fd: c_int) {
        if let Some(entry) = TABLE.get(index(fd))
            && fork::is_own_memory()
            && !is_engine_thread()
        {
            replace(entry, std::ptr::null_mut());
        }
    }
    if !is_foreign(fd) {
        remove_ours(fd);
    }
}

/// All of `first..=last`.
pub(crate) fn remove_range(first: usize, last: usize) {
    let end = END.load(Ordering::Relaxed).min(last.saturating_add(1));
    for fd in first..end {
        remove(fd as c_int);
    }
}

/// Every descriptor that is ours, with its socket.
pub(crate) fn entries() -> impl Iterator<Item = (c_int, &'static Socket)> {
    let end = END.load(Ordering::Relaxed) as c_int;
    (0..end).filter_map(|fd| get(fd).map(|socket| (fd, socket)))
}

fn replace(entry: &AtomicPtr<Socket>, new: *mut Socket) {
    if let Some(old) = deref(entry.swap(new, Ordering::AcqRel)) {
        old.release();
    }
}
