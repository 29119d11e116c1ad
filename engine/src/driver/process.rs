//! The unsafe system-call layer for processes: a bare fork, and what its child does to itself.
//!
//! The fork is the system call and not libc's function: no handler of the program's (`pthread_atfork`) runs,
//! no lock of libc's is taken that a thread interrupted by a signal may hold, and the parent's `wait` and SIGCHLD
//! handler need not hear of it.

use super::heap;
use super::private::EngineFd;
use super::sys::{check, own};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fork {
    /// The process that was there before, and the other's id.
    Parent(libc::pid_t),
    /// The new process, with the calling thread alone.
    Child,
}

/// Fork. The child ends silently: no SIGCHLD, and only [`reap`] sees it.
///
/// The child has our heap at rest ([`heap`]), and the program's perhaps in the middle of something: nothing there may
/// call libc's `malloc`. It must end by [`leave`].
pub(super) fn fork_silently() -> io::Result<Fork> {
    fork(0)
}

/// Fork. The child ends as children usually do; it must end by [`leave`].
pub(super) fn fork_plainly() -> io::Result<Fork> {
    fork(libc::SIGCHLD)
}

fn fork(signal: libc::c_int) -> io::Result<Fork> {
    heap::freeze();
    let forked = clone(signal);
    heap::thaw();
    forked
}

fn clone(signal: libc::c_int) -> io::Result<Fork> {
    let zero: libc::c_ulong = 0;
    // SAFETY: `clone` without CLONE_VM and with no stack is `fork`; all five arguments are passed by value, and
    // those that are zero have the same place on every architecture where flags come first or second.
    let result = unsafe {
        #[cfg(target_arch = "s390x")]
        let result = libc::syscall(libc::SYS_clone, zero, signal, zero, zero, zero);
        #[cfg(not(target_arch = "s390x"))]
        let result = libc::syscall(libc::SYS_clone, signal, zero, zero, zero, zero);
        result
    };
    match result {
        ..0 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid as libc::pid_t)),
    }
}

/// Wait for the end of a child of [`fork_silently`]; whether it ended with status 0.
pub(super) fn reap(pid: libc::pid_t) -> bool {
    let mut status = 0;
    loop {
        // SAFETY: `status` is writable.
        let result = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        match check(result) {
            Ok(_) => return status == 0,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

/// End this process at once: nothing of the program's runs, no buffer of its is written.
pub(super) fn leave(status: libc::c_int) -> ! {
    loop {
        // SAFETY: no memory is involved; it does not return.
        unsafe { libc::syscall(libc::SYS_exit_group, status) };
    }
}

/// Leave session, terminal and directory of the program, with a name of our own. Of signals, SIGTERM and SIGALRM
/// end this process; all that can be are ignored otherwise, because the engine's thread has them blocked.
pub(super) fn detach() {
    // SAFETY: no memory is involved but two strings and two sets, all valid for the calls; failures leave
    // things as they were.
    unsafe {
        libc::setsid();
        libc::syscall(libc::SYS_chdir, c"/".as_ptr());
        libc::prctl(libc::PR_SET_NAME, c"pgmshim-linger".as_ptr());
        let mut mortal: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut mortal);
        for signal in [libc::SIGTERM, libc::SIGALRM] {
            libc::signal(signal, libc::SIG_DFL);
            libc::sigaddset(&raw mut mortal, signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const mortal, std::ptr::null_mut());
    }
}

/// A duplicate of a process's descriptor, in the calling thread's table.
///
/// # Errors
/// `EBADF` it is not open; `ENOSYS` before Linux 5.6; `EPERM` in some sandboxes.
pub(super) fn descriptor_of(pid: u32, fd: RawFd) -> io::Result<EngineFd> {
    let call = |result: libc::c_long| own(result as libc::c_int).map(EngineFd::from);
    // SAFETY: no memory is involved in either call.
    let process = call(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: as above.
    call(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) })
}

/// Wait until `fd` can be read or its other end is closed, at most `limit`. Whether it is.
pub(super) fn is_readable_within(fd: RawFd, limit: Option<Duration>) -> bool {
    let ms = limit.map_or(-1, |limit| {
        libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX)
    });
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one pollfd. All signals are blocked in an engine's thread, but for those that end the process.
    unsafe { libc::poll(&raw mut poll, 1, ms) > 0 }
}

/// Receive one octet without waiting; `None` at the end of what comes.
pub(super) fn receive_octet(fd: RawFd) -> io::Result<Option<u8>> {
    let mut octet = 0_u8;
    // SAFETY: one octet is writable.
    let n = unsafe { libc::recv(fd, (&raw mut octet).cast(), 1, libc::MSG_DONTWAIT) };
    match n {
        ..0 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        _ => Ok(Some(octet)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_child_is_seen_by_reap_alone() {
        for status in [0, 3] {
            match fork_silently().expect("fork") {
                Fork::Child => leave(status),
                Fork::Parent(pid) => {
                    // SAFETY: no status is wanted.
                    let seen = unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
                    assert_eq!(seen, -1, "nobody's child");
                    assert_eq!(reap(pid), status == 0);
                    assert!(!reap(pid), "once");
                }
            }
        }
    }
}
