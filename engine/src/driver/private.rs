//! Whose a descriptor is. The engine thread has a descriptor table of its own (see [`super::table`]): what is
//! in it is an [`EngineFd`]. What the library must have in the program's table is a [`PrivateFd`]: known to the whole
//! process, so that the shim can refuse the program's calls on it, and closed in the child of a fork, where no
//! engine thread exists.
//!
//! A number means another file in the other table, so neither type can be sent to another thread. The way from
//! one table to the other is [`super::line`].
//!
//! Everything here but [`PrivateFd::from`] is async-signal-safe.

use super::sys;
use std::cell::Cell;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Descriptors with higher numbers are not protected; `nr_open` of a stock kernel is this.
const MAX: usize = 1 << 20;
const WORDS: usize = MAX / 64;

/// One bit per descriptor. Zero pages that are never written to cost nothing.
static BITS: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];
/// All set bits are in words of `FIRST..END`.
static FIRST: AtomicUsize = AtomicUsize::new(WORDS);
static END: AtomicUsize = AtomicUsize::new(0);

/// Grows by one in every child of a fork that forgot its engine.
static GENERATION: AtomicU32 = AtomicU32::new(0);

#[inline]
fn place(fd: RawFd) -> Option<(usize, u64)> {
    let fd = usize::try_from(fd).ok().filter(|fd| *fd < MAX)?;
    Some((fd / 64, 1 << (fd % 64)))
}

/// The descriptor is the library's from now on.
pub(super) fn register(fd: RawFd) {
    if let Some((word, bit)) = place(fd) {
        FIRST.fetch_min(word, Ordering::SeqCst);
        END.fetch_max(word + 1, Ordering::SeqCst);
        BITS[word].fetch_or(bit, Ordering::SeqCst);
    }
}

/// The number is the program's again.
pub(super) fn unregister(fd: RawFd) {
    if let Some((word, bit)) = place(fd) {
        BITS[word].fetch_and(!bit, Ordering::SeqCst);
    }
}

/// Whether the descriptor is the library's own, so that the program must not touch it.
#[must_use]
#[inline]
pub fn is_private_fd(fd: RawFd) -> bool {
    place(fd).is_some_and(|(word, bit)| BITS[word].load(Ordering::Relaxed) & bit != 0)
}

/// Call `f` with each of the library's own descriptors in the program's table, in ascending order.
pub fn for_each_private_fd(mut f: impl FnMut(RawFd)) {
    let first = FIRST.load(Ordering::SeqCst);
    for (word, bits) in BITS
        .iter()
        .enumerate()
        .take(END.load(Ordering::SeqCst))
        .skip(first)
    {
        let mut bits = bits.load(Ordering::SeqCst);
        while bits != 0 {
            // Below MAX, so it fits.
            f((word * 64 + bits.trailing_zeros() as usize) as RawFd);
            bits &= bits - 1;
        }
    }
}

/// In the child of a fork: close the library's descriptors (they lead to the parent's engine) and make every
/// call of an [`super::Engine`] started before answer EIO. The child may start an engine of its own.
///
/// Async-signal-safe. `close` is the bare system call, since the hooks guard these descriptors.
pub fn forget_in_child() {
    GENERATION.fetch_add(1, Ordering::SeqCst);
    for_each_private_fd(|fd| {
        unregister(fd);
        // SAFETY: the descriptor is this library's, and nothing in this process uses it any more.
        unsafe { libc::syscall(libc::SYS_close, fd) };
    });
}

/// Tells engines of this process from those of its ancestors.
pub(super) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

thread_local! {
    static IS_ENGINE: Cell<bool> = const { Cell::new(false) };
}

/// The calling thread is an engine thread from now on.
pub(super) fn this_is_the_engine() {
    IS_ENGINE.set(true);
}

/// Whether the calling thread is an engine thread: what it calls is never the program's doing.
#[must_use]
pub fn is_engine_thread() -> bool {
    IS_ENGINE.get()
}

/// A descriptor in the engine thread's table.
#[derive(Debug)]
pub(super) struct EngineFd(OwnedFd, PhantomData<*const ()>);

impl From<OwnedFd> for EngineFd {
    fn from(fd: OwnedFd) -> Self {
        Self(fd, PhantomData)
    }
}

impl AsRawFd for EngineFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for EngineFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor of the library's in the program's table: CLOEXEC, numbered high, registered until it is closed.
///
/// Any thread may use it, but it stays with the one that has it: it cannot be sent.
#[derive(Debug)]
pub struct PrivateFd(OwnedFd, PhantomData<MutexGuard<'static, ()>>);

impl From<OwnedFd> for PrivateFd {
    fn from(fd: OwnedFd) -> Self {
        // One that was private before (see `into_raw_fd`) has its place.
        let fd = if is_private_fd(fd.as_raw_fd()) {
            fd
        } else {
            sys::high(fd)
        };
        register(fd.as_raw_fd());
        Self(fd, PhantomData)
    }
}

impl PrivateFd {
    /// The program wants this number, which is private: another descriptor for the same file. The old one stays
    /// open for the caller to let it name something else.
    ///
    /// # Errors
    /// `EMFILE`: nothing has changed.
    pub fn vacate(number: RawFd) -> std::io::Result<Self> {
        let new = Self::elsewhere(number)?;
        unregister(number);
        Ok(new)
    }

    /// A duplicate of `fd` under another number, a high one if there is any.
    pub(super) fn elsewhere(fd: RawFd) -> std::io::Result<Self> {
        let fd = sys::duplicate_high(fd).or_else(|_| super::unix::duplicate(fd))?;
        register(fd.as_raw_fd());
        Ok(Self(fd, PhantomData))
    }
}

impl Drop for PrivateFd {
    fn drop(&mut self) {
        // Before the number is free for others.
        unregister(self.0.as_raw_fd());
    }
}

impl AsRawFd for PrivateFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for PrivateFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl IntoRawFd for PrivateFd {
    /// The bare number, still registered: give it back with [`FromRawFd`].
    fn into_raw_fd(self) -> RawFd {
        let fd = self.0.as_raw_fd();
        std::mem::forget(self);
        fd
    }
}

impl FromRawFd for PrivateFd {
    unsafe fn from_raw_fd(fd: RawFd) -> Self {
        register(fd);
        // SAFETY: the caller owns `fd`.
        Self(unsafe { OwnedFd::from_raw_fd(fd) }, PhantomData)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn listed(fd: RawFd) -> bool {
        let mut found = false;
        for_each_private_fd(|private| found |= private == fd);
        found
    }

    #[test]
    fn a_private_descriptor_is_high_cloexec_and_known_until_closed() {
        let file = File::open("/dev/null").expect("/dev/null");
        let low = file.as_raw_fd();
        let private = PrivateFd::from(OwnedFd::from(file));
        let fd = private.as_raw_fd();
        assert!(fd > low);
        assert!(is_private_fd(fd) && listed(fd));
        assert!(!is_private_fd(low), "the low number is the program's");
        // SAFETY: no memory is involved.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        drop(private);
        assert!(!is_private_fd(fd) && !listed(fd));
    }

    #[test]
    fn a_bare_number_keeps_its_place_and_registration() {
        let private = PrivateFd::from(OwnedFd::from(File::open("/dev/null").expect("/dev/null")));
        let fd = private.into_raw_fd();
        assert!(is_private_fd(fd));
        // SAFETY: it came from `into_raw_fd` just now.
        let again = PrivateFd::from(unsafe { OwnedFd::from_raw_fd(fd) });
        assert_eq!(again.as_raw_fd(), fd);
        drop(again);
        assert!(!is_private_fd(fd));
    }

    #[test]
    fn impossible_numbers_are_nobodys() {
        for fd in [-1, RawFd::MAX, RawFd::MIN, MAX as RawFd] {
            assert!(!is_private_fd(fd));
            unregister(fd);
        }
    }
}
