//! `sendfile` and `splice`: inside the kernel they would pass by what makes messages of octets, wait for
//! ever on a socket that does not send, and cut what does not fit into a pipe.

use crate::addr::Place;
use crate::boundary;
use crate::errno::{self, Errno, Native};
use crate::fdtable;
use crate::interpose::{fail, guarded, is_inside};
use crate::next;
use crate::send;
use crate::session;
use crate::socket::{Kind, Socket};
use crate::sys;
use libc::{c_int, c_short, c_uint, c_void, off64_t, pollfd, size_t, ssize_t};
use std::ptr::null_mut;

/// Octets of a file in one message.
const STEP: usize = 32 << 10;

/// Octets moved into a pipe at once: what one that is ready surely takes, and no more than a small stack has
/// room for.
const PIECE: usize = libc::PIPE_BUF;

/// Most octets of one call, as Linux.
const MOST: usize = 0x7fff_f000;

/// A socket of ours, unless the call comes from ourselves.
fn ours(fd: c_int) -> Option<&'static Socket> {
    fdtable::get(fd).filter(|_| !is_inside())
}

/// What a send on it would say.
fn check_sender(socket: &Socket) -> Result<(), Errno> {
    match socket.kind() {
        Kind::Sender => Ok(()),
        Kind::Session => Err(Errno(libc::EOPNOTSUPP)),
        Kind::Fresh | Kind::Bound | Kind::Listening => Err(Errno(libc::ENOTCONN)),
    }
}

/// `sendfile` where one of the descriptors is ours. From a socket it goes into a pipe, if anywhere.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn sendfile(
    out: c_int,
    file: c_int,
    offset: *mut off64_t,
    count: size_t,
    native: impl FnOnce() -> ssize_t,
) -> ssize_t {
    match (ours(out), ours(file)) {
        (_, Some(_)) if !offset.is_null() => fail(Errno(libc::ESPIPE)),
        // SAFETY: the caller's.
        (None, Some(socket)) => unsafe { splice_from(socket, file, out, count, false) },
        // SAFETY: the caller's.
        (Some(socket), _) => unsafe { send_file(socket, out, file, offset, count) },
        (None, None) => native(),
    }
}

/// The file in messages.
///
/// # Safety
/// As `sendfile`.
unsafe fn send_file(
    socket: &'static Socket,
    fd: c_int,
    file: c_int,
    offset: *mut off64_t,
    count: size_t,
) -> ssize_t {
    // SAFETY: null or valid, the caller's promise.
    let begin = check_sender(socket).and_then(|()| match unsafe { offset.as_ref() } {
        Some(offset) => Ok(*offset),
        None => sys::seek(file, 0, libc::SEEK_CUR).map_err(|_| Errno(libc::EINVAL)),
    });
    let begin = match begin {
        Ok(begin) if begin >= 0 => begin,
        Ok(_) => return fail(Errno(libc::EINVAL)),
        Err(error) => return fail(error),
    };
    let Some(room) = sys::map_scratch(STEP) else {
        return fail(Errno(libc::ENOMEM));
    };
    let mut done = 0;
    // No cancellation point, as on Linux.
    let result = guarded(|| {
        loop {
            let wanted = (count.min(MOST) - done).min(STEP);
            let at = begin + done as off64_t;
            // SAFETY: the room is as long.
            let read = unsafe { libc::pread64(file, room, wanted, at) }.check()?;
            if read == 0 {
                return Ok(0);
            }
            // SAFETY: as much was read.
            let sent = unsafe { send::send_one(socket, fd, room, read.cast_unsigned(), 0) };
            done += sent.check()?.cast_unsigned();
        }
    });
    sys::unmap_scratch(room, STEP);
    if done == 0 {
        return result.unwrap_or_else(fail);
    }
    let end = begin + done as off64_t;
    // SAFETY: as above.
    match unsafe { offset.as_mut() } {
        Some(offset) => *offset = end,
        // It could be asked where it is, so it can be told.
        None => drop(sys::seek(file, end, libc::SEEK_SET)),
    }
    done.cast_signed()
}

/// `splice`.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn splice(
    from: c_int,
    from_offset: *mut off64_t,
    to: c_int,
    to_offset: *mut off64_t,
    len: size_t,
    flags: c_uint,
) -> ssize_t {
    let nonblocking = flags & libc::SPLICE_F_NONBLOCK != 0;
    if let Some(socket) = ours(to) {
        if let Err(error) = check_sender(socket) {
            return fail(error);
        }
        let lacking = if socket.boundary.may_be_set(socket.is_shared()) {
            boundary::lacking(to)
        } else {
            0
        };
        if lacking > 0 && from_offset.is_null() && to_offset.is_null() {
            // SAFETY: the caller's.
            return unsafe { splice_part(socket, from, to, len.min(lacking), nonblocking) };
        }
    }
    match ours(from) {
        Some(_) if !from_offset.is_null() || !to_offset.is_null() => fail(Errno(libc::ESPIPE)),
        // SAFETY: the caller's.
        Some(socket) => unsafe { splice_from(socket, from, to, len, nonblocking) },
        // SAFETY: the caller's.
        None => unsafe { next::splice(from, from_offset, to, to_offset, len, flags) },
    }
}

/// Move a part of a message into a pipe: no more of it is taken than the pipe has taken.
unsafe fn splice_from(
    socket: &'static Socket,
    fd: c_int,
    pipe: c_int,
    len: size_t,
    nonblocking: bool,
) -> ssize_t {
    by_buffer(pipe, len, |place, room| {
        // SAFETY: the buffer is long enough for all that is asked for; no address is wanted.
        unsafe {
            let nowhere = || Place::new(null_mut(), null_mut());
            let seen = session::recv(socket, fd, place, room, libc::MSG_PEEK, nowhere());
            if seen <= 0 {
                return seen;
            }
            if nonblocking && !is_ready(pipe, libc::POLLOUT) {
                return fail(Errno(libc::EAGAIN));
            }
            let written = next::write(pipe, place, seen.cast_unsigned());
            if written > 0 {
                let saved = errno::get();
                let flags = libc::MSG_DONTWAIT;
                session::recv(socket, fd, place, written.cast_unsigned(), flags, nowhere());
                errno::set(saved);
            }
            written
        }
    })
}

/// Move a part of a message (RM_SET_MESSAGE_BOUNDARY) out of a pipe.
unsafe fn splice_part(
    socket: &'static Socket,
    pipe: c_int,
    fd: c_int,
    len: size_t,
    nonblocking: bool,
) -> ssize_t {
    by_buffer(pipe, len, |place, room| {
        if nonblocking && !(is_ready(pipe, libc::POLLIN) && is_ready(fd, libc::POLLOUT)) {
            return fail(Errno(libc::EAGAIN));
        }
        // SAFETY: the buffer is long enough for all that is asked for.
        unsafe {
            let read = next::read(pipe, place, room);
            if read <= 0 {
                return read;
            }
            send::send_one(socket, fd, place, read.cast_unsigned(), 0)
        }
    })
}

/// What moves at most `len` octets to or from a pipe does it by way of a buffer, with so much room.
fn by_buffer(
    pipe: c_int,
    len: size_t,
    step: impl FnOnce(*mut c_void, size_t) -> ssize_t,
) -> ssize_t {
    if !sys::is_pipe(pipe) {
        return fail(Errno(libc::EINVAL));
    }
    let mut buffer = [0_u8; PIECE];
    step(buffer.as_mut_ptr().cast(), len.min(PIECE))
}

fn is_ready(fd: c_int, events: c_short) -> bool {
    let mut poll = pollfd {
        fd,
        events,
        revents: 0,
    };
    let ready = guarded(|| {
        // SAFETY: one pollfd; a zero timeout never blocks.
        unsafe { libc::poll(&raw mut poll, 1, 0) }.check()
    });
    ready == Ok(1)
}
