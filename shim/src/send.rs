//! Sending: one call, one message, one native send on the pair. Exceptions are RM_SET_MESSAGE_BOUNDARY and
//! MSG_MORE, which joins what is sent to what is sent next, as it does for UDP (its UDP_CORK).
//!
//! Blocking, EAGAIN, SO_SNDTIMEO and EINTR are the pair's own. The kernel says EPIPE on a SEQPACKET
//! socket without a signal; a connected sender that was shut down behaves as a stream socket does, so
//! SIGPIPE is raised unless MSG_NOSIGNAL asks otherwise.

use crate::boundary;
use crate::engine;
use crate::errno::{self, Errno, Native};
use crate::interpose::{fail, guarded, undisturbed};
use crate::left::{self, Hold};
use crate::next;
use crate::socket::{Kind, Socket};
use crate::sys::{self, Iov, OneFd};
use libc::{c_int, c_uint, c_void, iovec, mmsghdr, msghdr};
use pgm_engine::driver::{BigMessage, Mode, PAIR_MESSAGE_MAX, ParcelKind, Refusal, Room};
use pgm_engine::source::MAX_APDU;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

/// The flags that mean something to the pair; hints are not passed on.
const PASSED: c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// Octets that follow the token of a long message come from here.
static PADDING: [u8; 4096] = [0; 4096];

/// Most pieces of padding, and how many octets of a message each stands for. Without it the kernel would
/// let a thousand messages of any size wait in a pair.
const MOST_PADDING: usize = PAIR_MESSAGE_MAX / PADDING.len();
const PADDED: usize = 16 * PADDING.len();

/// Send the caller's buffers as one message.
fn send(socket: &Socket, fd: c_int, buffers: Iov, flags: c_int) -> Result<usize, Errno> {
    match socket.kind() {
        Kind::Sender => {}
        Kind::Session => return Err(Errno(libc::EOPNOTSUPP)),
        Kind::Fresh | Kind::Bound | Kind::Listening => return Err(Errno(libc::ENOTCONN)),
    }
    if flags & libc::MSG_OOB != 0 {
        return Err(Errno(libc::EOPNOTSUPP));
    }
    let message = socket.style().mode == Mode::Message;
    let passed = flags & PASSED;
    let shared = socket.is_shared();
    let sent = if buffers.total == 0 {
        // A message of no octets would read as the end of the session. After that of the sender it is an error.
        match wait_for_room(fd, passed | libc::MSG_DONTWAIT) {
            Err(Errno(libc::EPIPE)) => Err(Errno(libc::EPIPE)),
            _ => Ok(0),
        }
    } else if !message {
        send_plain(fd, buffers, passed)
    } else if socket.boundary.may_be_set(shared) && boundary::lacking(fd) > 0 {
        boundary::send(socket, fd, buffers, passed)
    } else if flags & libc::MSG_MORE != 0 {
        send_parcel(socket, fd, buffers, BigMessage::MORE, passed)
    } else if buffers.total > PAIR_MESSAGE_MAX {
        send_parcel(socket, fd, buffers, 0, passed)
    } else {
        send_plain(fd, buffers, passed)
    };
    if message && sent == Err(Errno(libc::EPIPE)) && flags & libc::MSG_NOSIGNAL == 0 {
        // SAFETY: raises a signal in this thread, as a stream socket would have.
        unsafe { libc::raise(libc::SIGPIPE) };
    }
    sent
}

/// Send the caller's buffers through the pair as they are. May block.
pub(crate) fn send_plain(fd: c_int, buffers: Iov, flags: c_int) -> Result<usize, Errno> {
    let header = buffers.header();
    // SAFETY: the header is ours; the kernel checks the caller's buffers. May block.
    unsafe { next::sendmsg(fd, &raw const header, flags) }
        .check()
        .map(isize::cast_unsigned)
}

/// Wait until the pair has room by sending natively a message of no octets, which the engine skips: that brings
/// O_NONBLOCK, SO_SNDTIMEO, EINTR and SA_RESTART, cancellation and the end of the engine with it.
pub(crate) fn wait_for_room(fd: c_int, flags: c_int) -> Result<(), Errno> {
    // SAFETY: all zero is a valid msghdr: no buffers, no name.
    let nothing: msghdr = unsafe { std::mem::zeroed() };
    // SAFETY: the header is ours. May block: nothing here needs dropping.
    unsafe { next::sendmsg(fd, &raw const nothing, flags) }
        .check()
        .map(drop)
}

/// Send the caller's buffers as a file with a token.
fn send_parcel(
    socket: &Socket,
    fd: c_int,
    buffers: Iov,
    whole: u64,
    flags: c_int,
) -> Result<usize, Errno> {
    let mut parcel = Parcel::NONE;
    let sent = loop {
        match undisturbed(|| guarded(|| parcel.pack(socket, fd, buffers, whole))) {
            Ok(()) => break parcel.send(fd, buffers.total, whole, flags),
            // The pair is full until there may be room.
            Err(Errno(libc::EAGAIN)) => {}
            Err(error) => break Err(error),
        }
        if let Err(error) = wait_for_room(fd, flags) {
            break Err(error);
        }
    };
    parcel.close();
    sent
}

/// Room that a file has in the memory for long messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    room: &'static Room,
    octets: usize,
    kind: ParcelKind,
}

impl Counted {
    /// Take room for a file of a sender that this process's engine has. Files of other senders are in nobody's
    /// memory here.
    ///
    /// # Errors
    /// EMSGSIZE never; EAGAIN not yet; ENOBUFS others have it.
    fn take(socket: &Socket, octets: usize, whole: u64) -> Result<Option<Self>, Errno> {
        let Some(room) = socket.room() else {
            return Ok(None);
        };
        let kind = match whole {
            BigMessage::MORE => ParcelKind::Joined,
            _ => ParcelKind::File,
        };
        match room.take(octets, kind) {
            Ok(()) => Ok(Some(Self { room, octets, kind })),
            Err(Refusal::TooLong) => Err(Errno(libc::EMSGSIZE)),
            Err(Refusal::Later) => Err(Errno(libc::EAGAIN)),
            Err(Refusal::NoRoom) => Err(Errno(libc::ENOBUFS)),
        }
    }

    pub(crate) fn give_back(self) {
        self.room.give_back(self.octets, self.kind);
    }
}

/// Fill the pair: what the program sends waits, and what it polls says so, until the engine has read that. It does
/// when the sender's files are out.
fn fill(fd: c_int) -> Result<(), Errno> {
    /// More than a pair holds.
    const MOST: usize = 64;
    let file = sys::message_file()?;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    for _ in 0..MOST {
        match send_token(
            fd,
            file.as_raw_fd(),
            BigMessage::fill(),
            MOST_PADDING,
            flags,
        ) {
            Ok(()) => {}
            Err(Errno(libc::EAGAIN)) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How often a send waits in vain for files of its sender that are not with the engine. They may be in the pair, or soon: a
/// thread that a signal handler took out of its send for good has room for one that never will.
const PATIENCE: u32 = 50;

/// Send a token with so many pieces of padding, and a file beside it. May block.
fn send_token(
    fd: c_int,
    file: c_int,
    token: BigMessage,
    padding: usize,
    flags: c_int,
) -> Result<(), Errno> {
    let token = token.to_bytes();
    let mut parts = [iovec {
        iov_base: PADDING.as_ptr().cast_mut().cast(),
        iov_len: PADDING.len(),
    }; 1 + MOST_PADDING];
    parts[0] = iovec {
        iov_base: token.as_ptr().cast_mut().cast(),
        iov_len: token.len(),
    };
    // SAFETY: all zero is a valid msghdr.
    let mut header: msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = 1 + padding.min(MOST_PADDING);
    let mut room = OneFd::new();
    sys::attach_file(&mut room, &mut header, file);
    // SAFETY: header, token and control buffer are alive. May block.
    unsafe { next::sendmsg(fd, &raw const header, flags) }
        .check()
        .map(drop)
}

/// Octets in a file, which travels through the pair beside a token: a message above the pair's limit, or
/// one there is something to say about. Nothing of it needs dropping, since its thread may be cancelled.
#[derive(Debug)]
pub(crate) struct Parcel {
    hold: Option<Hold>,
    /// See [`BigMessage::mark`].
    mark: u64,
    /// How often in a row there was no room though the engine had no file of the sender.
    in_vain: u32,
}

impl Parcel {
    /// Nothing packed yet.
    pub(crate) const NONE: Self = Self {
        hold: None,
        mark: 0,
        in_vain: 0,
    };

    /// Put the octets into a file, once; `whole` as in [`BigMessage`]. Where no handler runs that could jump.
    ///
    /// # Errors
    /// EMSGSIZE: longer than messages may be; ENOBUFS: the memory for long messages is others'; EAGAIN: it may be
    /// there after [`wait_for_room`].
    pub(crate) fn pack(
        &mut self,
        socket: &Socket,
        fd: c_int,
        buffers: Iov,
        whole: u64,
    ) -> Result<(), Errno> {
        if self.hold.is_some() {
            return Ok(());
        }
        let memory =
            engine::running().map_or(usize::MAX, |runtime| runtime.defaults.memory.longest());
        // The file is one to RLIMIT_FSIZE, too: the program must not get SIGXFSZ for a socket.
        if buffers.total > MAX_APDU.min(memory).min(sys::file_limit()) {
            return Err(Errno(libc::EMSGSIZE));
        }
        let frame = std::ptr::from_ref(self).addr();
        left::free_file(frame);
        let counted = match Counted::take(socket, buffers.total, whole) {
            // It would wait for the send that a handler interrupted, which goes on when this is over.
            Err(Errno(libc::EAGAIN)) if left::has_room() => return Err(Errno(libc::ENOBUFS)),
            Err(Errno(libc::EAGAIN)) => {
                let is_served = socket.room().is_some_and(Room::has_files);
                self.in_vain = if is_served { 0 } else { self.in_vain + 1 };
                if self.in_vain > PATIENCE {
                    return Err(Errno(libc::ENOBUFS));
                }
                fill(fd)?;
                return Err(Errno(libc::EAGAIN));
            }
            result => result?,
        };
        let file = file_of(buffers).inspect_err(|_| {
            if let Some(counted) = counted {
                counted.give_back();
            }
        })?;
        self.mark = counted.map_or(0, |counted| counted.room.mark());
        self.hold = Some(left::hold_file(file.into_raw_fd(), counted, frame));
        Ok(())
    }

    /// Send it; `whole` as in [`BigMessage`]. May block.
    pub(crate) fn send(
        &mut self,
        fd: c_int,
        len: usize,
        whole: u64,
        flags: c_int,
    ) -> Result<usize, Errno> {
        let token = BigMessage {
            whole,
            mark: self.mark,
            ..BigMessage::new(len)
        };
        let file = self.hold.as_ref().map_or(-1, Hold::fd);
        send_token(fd, file, token, len / PADDED, flags)?;
        if let Some(hold) = &mut self.hold {
            hold.leave_room();
        }
        Ok(len)
    }

    /// It is not needed any more.
    pub(crate) fn close(self) {
        if let Some(hold) = self.hold {
            hold.let_go();
        }
    }
}

/// A file with the octets, that nobody can change.
fn file_of(buffers: Iov) -> Result<OwnedFd, Errno> {
    let file = sys::message_file()?;
    // The kernel stops early only at a buffer that is not there.
    if buffers.write_to(&file)? != buffers.total {
        return Err(Errno(libc::EFAULT));
    }
    sys::seal(&file)?;
    Ok(file)
}

fn returned(result: Result<usize, Errno>) -> isize {
    result.map_or_else(fail, usize::cast_signed)
}

/// `send`, `write` and `sendto`, whose address a connected sender ignores.
///
/// # Safety
/// As the C functions.
pub(crate) unsafe fn send_one(
    socket: &'static Socket,
    fd: c_int,
    buffer: *const c_void,
    len: usize,
    flags: c_int,
) -> isize {
    if isize::try_from(len).is_err() {
        return fail(Errno(libc::EINVAL));
    }
    let buffer = iovec {
        iov_base: buffer.cast_mut(),
        iov_len: len,
    };
    returned(send(socket, fd, Iov::one(&buffer), flags))
}

/// `writev`, and `pwritev2` without an offset.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn writev(
    socket: &'static Socket,
    fd: c_int,
    first: *const iovec,
    count: c_int,
    flags: c_int,
) -> isize {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    // SAFETY: the caller's promise.
    let buffers = unsafe { Iov::new(first, count, libc::EINVAL) };
    returned(buffers.and_then(|buffers| send(socket, fd, buffers, flags)))
}

/// One message with a header. Its address is ignored; ancillary data means nothing to PGM, and a
/// descriptor in it must not reach the engine.
///
/// # Safety
/// As the C function.
unsafe fn send_header(
    socket: &'static Socket,
    fd: c_int,
    header: *const msghdr,
    flags: c_int,
) -> Result<usize, Errno> {
    // SAFETY: null or valid, the caller's promise.
    let header = unsafe { header.as_ref() }.ok_or(Errno(libc::EFAULT))?;
    // SAFETY: the caller's promise.
    let buffers = unsafe { Iov::new(header.msg_iov, header.msg_iovlen, libc::EMSGSIZE) }?;
    send(socket, fd, buffers, flags)
}

/// `sendmsg`.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn sendmsg(
    socket: &'static Socket,
    fd: c_int,
    header: *const msghdr,
    flags: c_int,
) -> isize {
    // SAFETY: the caller's promise.
    returned(unsafe { send_header(socket, fd, header, flags) })
}

/// `sendmmsg`: how many messages were sent; an error only if the first was not.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn sendmmsg(
    socket: &'static Socket,
    fd: c_int,
    headers: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
) -> c_int {
    if headers.is_null() && count > 0 {
        return fail(Errno(libc::EFAULT));
    }
    let saved = errno::get();
    let mut sent = 0;
    while sent < count.min(1024) {
        // SAFETY: `count` headers are valid, the caller's promise.
        let header = unsafe { &mut *headers.add(sent as usize) };
        // SAFETY: as above.
        match unsafe { send_header(socket, fd, &raw const header.msg_hdr, flags) } {
            Ok(len) => header.msg_len = len as c_uint,
            Err(error) if sent == 0 => return fail(error),
            Err(_) => break,
        }
        sent += 1;
    }
    errno::set(saved);
    sent as c_int
}
