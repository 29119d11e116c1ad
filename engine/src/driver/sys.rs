//! The unsafe system-call layer of the driver: what neither std nor socket2 offers.
//!
//! Everything here works on borrowed descriptors and plain memory; policy lives in the callers. The
//! libc functions called may be this library's own hooks, which pass the engine thread through.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Turn a libc result into an `io::Result`.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Take ownership of a descriptor the kernel has just returned.
fn own(result: libc::c_int) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the kernel returned this descriptor to us just now, nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Move a descriptor to a high number, CLOEXEC, so that the program never sees its own numbering
/// change. Stays where it is when the limit on descriptors leaves no room.
pub(super) fn high(fd: OwnedFd) -> OwnedFd {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid rlimit for the kernel to fill.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return fd;
    }
    // High, but not so high that the kernel's descriptor table grows beyond a few pages.
    let base = limit.rlim_cur.min(4096) / 4 * 3;
    let Ok(base) = libc::c_int::try_from(base) else {
        return fd;
    };
    // SAFETY: F_DUPFD_CLOEXEC takes an int and touches no memory of ours.
    own(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, base) }).unwrap_or(fd)
}

/// An event counter to wake the engine thread with: CLOEXEC, non-blocking, numbered high.
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    own(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }).map(high)
}

/// Add one to an eventfd. It can only fail when the counter is full, and then it is readable anyway.
pub(super) fn eventfd_signal(fd: RawFd) {
    let one = 1_u64;
    // SAFETY: eight octets are readable at `one`.
    unsafe { libc::write(fd, (&raw const one).cast(), size_of::<u64>()) };
}

/// Reset an eventfd to zero.
pub(super) fn eventfd_clear(fd: RawFd) {
    let mut count = 0_u64;
    // SAFETY: eight octets are writable at `count`.
    unsafe { libc::read(fd, (&raw mut count).cast(), size_of::<u64>()) };
}

/// An anonymous file: CLOEXEC, numbered high.
pub(super) fn memfd(name: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: `name` is a NUL-terminated string.
    own(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) }).map(high)
}

/// An epoll set.
#[derive(Debug)]
pub(super) struct Epoll(OwnedFd);

impl Epoll {
    /// An empty set.
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no memory is involved.
        own(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).map(|fd| Self(high(fd)))
    }

    fn control(
        &self,
        operation: libc::c_int,
        fd: RawFd,
        events: u32,
        token: u64,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: `event` is valid for the call; the kernel copies it.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd, &raw mut event) })?;
        Ok(())
    }

    /// Watch `fd` for `events` (`EPOLLIN` …); `token` comes back from `wait`.
    pub(super) fn add(&self, fd: RawFd, events: u32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, events, token)
    }

    /// Change what `fd` is watched for.
    pub(super) fn modify(&self, fd: RawFd, events: u32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, events, token)
    }

    /// Stop watching `fd`.
    pub(super) fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    /// Wait for events, at most `timeout` (for ever when `None`). Interruption counts as no event.
    ///
    /// Nanosecond timeouts need Linux 5.11; older kernels get whole milliseconds, rounded up.
    pub(super) fn wait(
        &self,
        events: &mut [libc::epoll_event],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        let room = libc::c_int::try_from(events.len()).unwrap_or(libc::c_int::MAX);
        let timespec = timeout.map(|t| libc::timespec {
            tv_sec: libc::time_t::try_from(t.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: t.subsec_nanos().into(),
        });
        let timespec = timespec
            .as_ref()
            .map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `events` is writable for `room` entries, `timespec` is null or valid, the signal mask is null.
        let n = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.0.as_raw_fd(),
                events.as_mut_ptr(),
                room,
                timespec,
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        let mut result = libc::c_int::try_from(n)
            .map_err(io::Error::other)
            .and_then(check);
        if matches!(&result, Err(e) if e.raw_os_error() == Some(libc::ENOSYS)) {
            let ms = timeout.map_or(-1, |t| {
                libc::c_int::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
            });
            // SAFETY: `events` is writable for `room` entries.
            result = check(unsafe {
                libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), room, ms)
            });
        }
        match result {
            Ok(n) => Ok(usize::try_from(n).unwrap_or(0)),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(e) => Err(e),
        }
    }
}
