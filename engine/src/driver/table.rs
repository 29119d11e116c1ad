//! The engine thread's own descriptor table: nothing the engine opens takes a number of the program's, counts
//! against its limit, or is inherited by its children.

use super::private::EngineFd;
use super::sys::{Epoll, check};
use super::{log, unix};
use crate::log_line;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Standard input, output and error: what a panic or libc itself says must not become a message.
const STREAMS: RawFd = 3;

/// Leave the program's descriptor table for one that has nothing but the calling thread's `line`.
///
/// # Errors
/// `EPERM` or `ENOSYS` where a sandbox allows neither `close_range` nor `unshare`; `ENOMEM`.
pub(super) fn leave_the_programs(line: RawFd) -> io::Result<(EngineFd, Epoll)> {
    let keeps_stderr = log::needs_its_own_stderr();
    if close_range(line + 1, RawFd::MAX, libc::CLOSE_RANGE_UNSHARE).is_err() {
        // Before Linux 5.9. SAFETY: no memory is involved.
        check(unsafe { libc::unshare(libc::CLONE_FILES) }).inspect_err(|e| {
            log_line!(
                log::Level::Error,
                "the engine cannot have a descriptor table of its own (close_range, unshare): {e}"
            );
        })?;
        close(line + 1, RawFd::MAX);
    }
    if keeps_stderr {
        close(0, libc::STDERR_FILENO - 1);
        close(libc::STDERR_FILENO + 1, line - 1);
    } else {
        close(0, line - 1);
    }
    // SAFETY: the number is this thread's alone now; in the program's table its owner closes it.
    let line = EngineFd::from(unsafe { OwnedFd::from_raw_fd(line) });
    let epoll = Epoll::new()?;
    occupy_streams(&epoll)?;
    Ok((line, epoll))
}

/// Let the numbers of the standard streams that are free name something that nothing can be written to.
fn occupy_streams(epoll: &Epoll) -> io::Result<()> {
    loop {
        let fd = unix::duplicate(epoll.as_raw_fd())?;
        if fd.as_raw_fd() >= STREAMS {
            return Ok(());
        }
        // For the life of the table.
        std::mem::forget(fd);
    }
}

/// Close all of `first..=last`.
fn close(first: RawFd, last: RawFd) {
    if first > last || close_range(first, last, 0).is_ok() {
        return;
    }
    // Before Linux 5.9. No process has more descriptors than this unless it was made to.
    let mut limit = libc::rlimit {
        rlim_cur: 1 << 20,
        rlim_max: 0,
    };
    // SAFETY: `limit` is writable.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    let end = limit.rlim_cur.min(1 << 20) as RawFd;
    for fd in first..=last.min(end) {
        // SAFETY: copies in this thread's table, which nobody here knows. The bare system call, since this
        // library's hook would take the number for the program's.
        unsafe { libc::syscall(libc::SYS_close, fd) };
    }
}

fn close_range(first: RawFd, last: RawFd, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: as in `close`.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::thread;

    fn is_open(fd: RawFd) -> bool {
        // SAFETY: no memory is involved.
        unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
    }

    #[test]
    fn a_table_of_its_own_has_the_line_alone_and_no_low_number_free() {
        let (file, line) = [0, 0]
            .map(|_| File::open("/dev/null").expect("/dev/null"))
            .into();
        let (fd, number) = (file.as_raw_fd(), line.as_raw_fd());
        let apart = thread::spawn(move || {
            let (line, epoll) = leave_the_programs(number).expect("a table");
            assert_eq!(line.as_raw_fd(), number);
            assert!(is_open(number) && !is_open(fd));
            let next = File::open("/dev/null").expect("/dev/null").as_raw_fd();
            assert!(next >= STREAMS);
            // SAFETY: one octet is readable.
            let n = unsafe { libc::write(libc::STDERR_FILENO, b"x".as_ptr().cast(), 1) };
            assert_eq!(n, -1, "it names nothing that takes octets");
            drop(epoll);
        });
        apart.join().expect("no panic");
        assert!(is_open(fd) && is_open(number) && is_open(libc::STDERR_FILENO));
        drop((file, line));
    }
}
