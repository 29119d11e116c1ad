//! Calls on the descriptor itself: close and dup in all their forms, fcntl, ioctl.
//!
//! The few descriptors that the library has in the program's table do not exist for the program: closing one is
//! EBADF, ranges skip them, and they give way to what the program wants to have under their numbers.

use crate::engine;
use crate::errno::{self, Errno, Native};
use crate::exit;
use crate::fdtable;
use crate::fork;
use crate::interpose::{call, fail, guarded, inside};
use crate::next;
use crate::session;
use crate::socket::{self, Kind, Socket};
use crate::stdio;
use crate::sys;
use libc::{c_int, c_uint, c_ulong, c_void};
use pgm_engine::driver::{self, Mode};
use std::os::fd::AsRawFd;

/// Whether a descriptor is a PGM socket's or the library's own: the others need no second look.
#[inline]
pub(crate) fn is_ours(fd: c_int) -> bool {
    !fdtable::is_foreign(fd) || driver::is_private_fd(fd)
}

/// Whether this command of `fcntl` makes a descriptor.
#[inline]
pub(crate) fn duplicates(command: c_int) -> bool {
    command == libc::F_DUPFD || command == libc::F_DUPFD_CLOEXEC
}

/// `close` of a descriptor that is ours.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn close(fd: c_int) -> c_int {
    if engine::is_private(fd) {
        return fail(Errno(libc::EBADF));
    }
    let lingering = exit::lingering_sender(fd);
    let socket = fdtable::of_this_thread(fd);
    // Before the number is free: another thread may be given it at once.
    fdtable::remove(fd);
    // SAFETY: the caller's.
    let result = between_turns(socket, || unsafe { next::close(fd) });
    if let Some(sender) = lingering {
        sender.wait();
    }
    result
}

/// Close a descriptor of `socket` by `native`, in nobody's turn: with any descriptor of a file that a process closes
/// go all record locks that the process has on it.
fn between_turns(socket: Option<&'static Socket>, native: impl FnOnce() -> c_int) -> c_int {
    let Some(socket) = socket.filter(|socket| socket.is_shared() && fork::is_own_memory()) else {
        return native();
    };
    let closed = guarded(|| {
        let _paused = (socket.receiving.pause(), socket.boundary.sending.pause());
        native().check()
    });
    closed.unwrap_or_else(fail)
}

/// A duplicate `new` of `old` was made natively: enter it. `None` for an error.
fn entered(old: Option<&'static Socket>, new: c_int) -> c_int {
    if new < 0 {
        return new;
    }
    match old {
        None => fdtable::remove(new),
        Some(socket) if fork::is_own_memory() => {
            if let Err(error) = fdtable::insert(new, socket) {
                // SAFETY: made just now for the caller, who will not learn its number.
                unsafe { next::close(new) };
                return fail(error);
            }
            stdio::follow(new);
        }
        Some(_) => {}
    }
    new
}

/// `dup`.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn dup(old: c_int) -> c_int {
    if engine::is_private(old) {
        return fail(Errno(libc::EBADF));
    }
    // SAFETY: no memory is involved.
    entered(fdtable::of_this_thread(old), unsafe { next::dup(old) })
}

/// Let what the library has under a number take another, if it has anything there. It stays open for the caller
/// to replace.
fn make_way(number: c_int) -> Result<bool, Errno> {
    // A child of vfork has a table of its own, for a short time.
    let in_the_way = engine::is_private(number) && fork::is_own_memory();
    if in_the_way {
        inside(|| socket::vacate(number))?;
    }
    Ok(in_the_way)
}

/// Close what [`make_way`] left open.
fn close_silently(fd: c_int) {
    let saved = errno::get();
    // SAFETY: the library has left this number.
    unsafe { next::close(fd) };
    errno::set(saved);
}

/// `dup2` and `dup3` by the native call `duplicate`.
pub(crate) fn dup_to(old: c_int, new: c_int, duplicate: impl FnOnce() -> c_int) -> c_int {
    if engine::is_private(old) {
        return fail(Errno(libc::EBADF));
    }
    let socket = fdtable::of_this_thread(old);
    if socket.is_some() && usize::try_from(new).is_ok_and(|new| new >= fdtable::SIZE) {
        return fail(Errno(libc::EBADF));
    }
    let vacated = match make_way(new) {
        Ok(vacated) => vacated,
        Err(error) => return fail(error),
    };
    let result = between_turns(fdtable::of_this_thread(new), duplicate);
    if vacated && result < 0 {
        close_silently(new);
    }
    if old == new {
        result
    } else {
        entered(socket, result)
    }
}

/// `fcntl` with whatever third argument the caller gave.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn fcntl(fd: c_int, command: c_int, argument: c_ulong) -> c_int {
    if engine::is_private(fd) {
        return fail(Errno(libc::EBADF));
    }
    let duplicates = duplicates(command);
    if duplicates && make_way(argument as c_int) == Ok(true) {
        close_silently(argument as c_int);
    }
    // SAFETY: the caller's.
    let result = unsafe { next::fcntl(fd, command, argument) };
    if duplicates {
        entered(fdtable::of_this_thread(fd), result)
    } else {
        result
    }
}

/// Close or mark `first..=last` natively, but nothing of the library's.
fn each_range(
    first: c_uint,
    last: c_uint,
    native: &mut dyn FnMut(c_uint, c_uint) -> c_int,
) -> c_int {
    const MOST: c_uint = c_int::MAX.cast_unsigned();
    let mut first = first;
    while first <= last.min(MOST) {
        let limit = last.min(MOST).cast_signed();
        let Some(private) = engine::first_private(first.cast_signed(), limit) else {
            break;
        };
        let private = private.cast_unsigned();
        if private > first && native(first, private - 1) < 0 {
            return -1;
        }
        first = private + 1;
    }
    if first <= last {
        native(first, last)
    } else {
        0
    }
}

/// `close_range`.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    /// CLOSE_RANGE_UNSHARE: other threads, and their locks, have another table. With any other flag nothing is closed.
    const UNSHARE: c_int = 2;
    // SAFETY: the caller's.
    let mut native = |first, last| unsafe { next::close_range(first, last, flags) };
    if flags & !UNSHARE != 0 || first > last {
        return native(first, last);
    }
    let mut first = first;
    for (fd, socket) in fdtable::entries().filter(|_| flags & UNSHARE == 0) {
        let number = fd.cast_unsigned();
        if !socket.is_shared() || !(first..=last).contains(&number) {
            continue;
        }
        // In nobody's turn, and each number once: another thread may be given it at once.
        if number > first && close_between(first, number - 1, &mut native) < 0 {
            return -1;
        }
        // SAFETY: the caller's.
        unsafe { close(fd) };
        first = number + 1;
    }
    if first > last {
        return 0;
    }
    close_between(first, last, &mut native)
}

/// Close what is in the range but for what the library has there.
fn close_between(
    first: c_uint,
    last: c_uint,
    native: &mut dyn FnMut(c_uint, c_uint) -> c_int,
) -> c_int {
    fdtable::remove_range(first as usize, last as usize);
    each_range(first, last, native)
}

/// `closefrom`.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn closefrom(first: c_int) {
    let saved = errno::get();
    let first = first.max(0).cast_unsigned();
    // SAFETY: the caller's.
    if unsafe { close_range(first, c_uint::MAX, 0) } < 0 {
        // Before Linux 5.9.
        for fd in first.cast_signed()..c_int::try_from(fdtable::SIZE).unwrap_or(c_int::MAX) {
            // SAFETY: as above.
            unsafe { close(fd) };
        }
    }
    errno::set(saved);
}

/// `ioctl` on one of our sockets.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn ioctl(
    socket: &'static Socket,
    fd: c_int,
    request: c_ulong,
    argument: *mut c_void,
) -> c_int {
    /// First and last of the requests about interfaces, routes and ARP (`linux/sockios.h`).
    const INTERFACES: std::ops::RangeInclusive<c_ulong> = 0x890b..=0x89ff;
    const SIOCATMARK: c_ulong = 0x8905;
    /// SIOCGSTAMP and SIOCGSTAMPNS, with times of 32 and of 64 bits.
    const STAMPS: [c_ulong; 4] = [0x8906, 0x8907, 0x8010_8906, 0x8010_8907];
    // The kernel looks at 32 bits.
    let request = request & 0xffff_ffff;
    let answer = |value: Result<usize, Errno>| {
        if argument.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        let value = c_int::try_from(value?).unwrap_or(c_int::MAX);
        // SAFETY: these requests take a pointer to int, the caller's promise.
        unsafe { argument.cast::<c_int>().write_unaligned(value) };
        Ok(0)
    };
    match request {
        libc::FIONREAD => call(|| answer(readable(socket, fd))),
        libc::TIOCOUTQ => call(|| answer(Ok(unsent(socket)))),
        SIOCATMARK => call(|| answer(Ok(0))),
        // As of a socket that no packet with a time stamp came to.
        _ if STAMPS.contains(&request) => call(|| Err(Errno(libc::ENOENT))),
        _ if INTERFACES.contains(&request) => call(|| {
            let probe = sys::inet_socket(libc::SOCK_DGRAM, 0)?;
            // SAFETY: the caller's.
            unsafe { next::ioctl(probe.as_raw_fd(), request, argument) }.check()
        }),
        // SAFETY: the caller's.
        _ => unsafe { next::ioctl(fd, request, argument) },
    }
}

fn readable(socket: &'static Socket, fd: c_int) -> Result<usize, Errno> {
    match socket.kind() {
        Kind::Session if socket.style().mode == Mode::Stream => session::waiting_octets(fd),
        Kind::Session => session::next_len(socket, fd),
        // As a kernel socket that listens.
        Kind::Listening => Err(Errno(libc::EINVAL)),
        Kind::Fresh | Kind::Bound | Kind::Sender => Ok(0),
    }
}

/// What the pair holds is counted by the engine too.
fn unsent(socket: &'static Socket) -> usize {
    let served = socket.served().filter(|_| socket.kind() == Kind::Sender);
    served.map_or(0, |(runtime, handle)| runtime.engine.unsent(handle))
}
