//! Receiving: accept on a listener, messages on a session.
//!
//! Message mode (D12): a short buffer gets the first part and the rest is kept. The message stays at
//! the head of the pair's queue until its last octet is taken, so poll and epoll need no help: each
//! step peeks (the kernel remembers how far, SO_PEEK_OFF) and drops the message when nothing of it is
//! left. Peek and drop are one step to other threads by a lock that is never held while waiting, and to other
//! processes that have the socket by one of the kernel's.
//! Waiting is a native `recv` of nothing, which brings O_NONBLOCK, SO_RCVTIMEO, EINTR and SA_RESTART,
//! cancellation and the wake by `shutdown` with it.
//!
//! A message above the pair's limit is a memfd beside a token. The token stays at the head until the
//! file's position, which all readers share, has reached the end.

use crate::addr::Place;
use crate::errno::{self, Errno, Native};
use crate::fdtable;
use crate::interpose::{fail, guarded, undisturbed};
use crate::next;
use crate::socket::{IPPROTO_PGM, Kind, Socket};
use crate::sys::{self, Iov};
use libc::{c_int, c_uint, c_void, iovec, mmsghdr, msghdr, timespec};
use pgm_engine::driver::{BigMessage, Handle, LostRun, Mode, SessionHello};
use pgm_engine::num::Gsi;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Type of the control message with a `struct pgm_gap` (`linux/pgm.h`).
const PGM_GAP: c_int = 1109;

/// What one attempt came to.
enum Step<T> {
    Done(T),
    /// Nothing there: wait and try again.
    Wait,
}

/// Make an attempt until it succeeds, waiting natively in between. `wait` is false for MSG_DONTWAIT.
///
/// The wait runs in this frame, outside of `guarded` and with nothing to drop, since the thread may be
/// cancelled there.
///
/// Another thread may close `fd` meanwhile. The wait goes on, as on Linux, but what comes then may not be
/// looked for under a number that means something else now: that is EBADF.
fn wait_for<T: Copy>(
    socket: &'static Socket,
    fd: c_int,
    wait: bool,
    mut attempt: impl FnMut() -> Result<Step<T>, Errno>,
) -> Result<T, Errno> {
    loop {
        match guarded(&mut attempt) {
            Ok(Step::Done(value)) => return Ok(value),
            Ok(Step::Wait) if !wait => return Err(Errno(libc::EAGAIN)),
            Ok(Step::Wait) => {
                let saved = errno::get();
                // SAFETY: no buffer is involved.
                unsafe { next::recv(fd, std::ptr::null_mut(), 0, libc::MSG_PEEK) }.check()?;
                errno::set(saved);
                if !fdtable::get(fd).is_some_and(|now| std::ptr::eq(now, socket)) {
                    return Err(Errno(libc::EBADF));
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// EAGAIN means that there is nothing yet.
fn or_wait<T>(result: Result<T, Errno>) -> Result<Step<T>, Errno> {
    match result {
        Ok(value) => Ok(Step::Done(value)),
        Err(Errno(libc::EAGAIN)) => Ok(Step::Wait),
        Err(error) => Err(error),
    }
}

/// `accept4`; `accept` is without flags.
pub(crate) fn accept(socket: &'static Socket, fd: c_int, place: Place, flags: c_int) -> c_int {
    let checked = guarded(|| {
        if flags & !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) != 0 {
            return Err(Errno(libc::EINVAL));
        }
        if socket.kind() != Kind::Listening {
            return Err(Errno(libc::EINVAL));
        }
        if place.is_none() {
            Ok(())
        } else {
            place.probe(fd)
        }
    });
    let accepted = checked.and_then(|()| {
        wait_for(socket, fd, true, || {
            undisturbed(|| take_session(socket, fd, flags))
        })
    });
    match accepted {
        Ok((fd, peer)) => {
            if !place.is_none() {
                // Checked above.
                let _ = guarded(|| place.write(peer));
            }
            fd
        }
        // It was shut down by another process, or the one that served it was killed.
        Err(Errno(libc::ECONNRESET)) => fail(Errno(libc::EINVAL)),
        Err(error) => fail(error),
    }
}

/// Take the session at the head of a listener's queue.
fn take_session(
    socket: &'static Socket,
    fd: c_int,
    flags: c_int,
) -> Result<Step<(c_int, SocketAddrV4)>, Errno> {
    // Without room for its descriptor a session would be taken from the queue and lost.
    sys::check_room(fd)?;
    let mut bytes = [0; SessionHello::LEN];
    let buffer = iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let (len, file) = match or_wait(sys::receive_file(fd, Iov::one(&buffer), 0))? {
        Step::Done(received) => received,
        Step::Wait => return Ok(Step::Wait),
    };
    if len == 0 {
        // The listener was shut down.
        return Err(Errno(libc::EINVAL));
    }
    let hello = bytes.get(..len).and_then(SessionHello::from_bytes);
    let (Some(hello), Some(session)) = (hello, file) else {
        return Err(Errno(libc::ECONNABORTED));
    };
    sys::set_cloexec(session.as_raw_fd(), flags & libc::SOCK_CLOEXEC != 0)?;
    sys::set_nonblocking(session.as_raw_fd(), flags & libc::SOCK_NONBLOCK != 0)?;
    sys::inherit_options(fd, session.as_raw_fd())?;
    let peer = SocketAddrV4::new(Ipv4Addr::from(hello.peer_addr), hello.peer_port);
    Ok(Step::Done((
        socket.adopt(session, Handle(hello.handle), peer, Gsi(hello.gsi))?,
        peer,
    )))
}

/// A part of a message, as taken.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// What the call returns.
    len: usize,
    /// `msg_flags`: MSG_EOR with the last octet of a message, MSG_TRUNC if the rest was dropped on
    /// request.
    flags: c_int,
    /// Data that was lost for good before it.
    lost: Option<LostRun>,
}

impl Part {
    const END: Self = Self {
        len: 0,
        flags: 0,
        lost: None,
    };
}

/// Receive into the caller's buffers.
fn receive(socket: &'static Socket, fd: c_int, buffers: Iov, flags: c_int) -> Result<Part, Errno> {
    match socket.kind() {
        Kind::Session => {}
        Kind::Sender => return Err(Errno(libc::EOPNOTSUPP)),
        Kind::Fresh | Kind::Bound | Kind::Listening => return Err(Errno(libc::ENOTCONN)),
    }
    if flags & libc::MSG_OOB != 0 {
        return Err(Errno(libc::EOPNOTSUPP));
    }
    if flags & libc::MSG_ERRQUEUE != 0 {
        return Err(Errno(libc::EAGAIN));
    }
    if let Some(error) = socket.take_deferred() {
        return Err(error);
    }
    if socket.style().mode == Mode::Stream {
        if flags & libc::MSG_TRUNC != 0 {
            return discard_octets(fd, buffers.total, flags & !libc::MSG_TRUNC);
        }
        let mut header = buffers.header();
        // SAFETY: the kernel checks the caller's buffers. May block: nothing here needs dropping.
        let len = unsafe { next::recvmsg(fd, &raw mut header, flags) }
            .check()?
            .cast_unsigned();
        return Ok(Part { len, ..Part::END });
    }
    if buffers.total == 0 && flags & (libc::MSG_PEEK | libc::MSG_TRUNC) == 0 {
        // Nothing is wanted, so nothing is taken.
        return Ok(Part::END);
    }
    let wait = flags & libc::MSG_DONTWAIT == 0;
    wait_for(socket, fd, wait, || take_part(socket, fd, buffers, flags))
}

/// What MSG_TRUNC asks of a stream: octets are taken and go nowhere (tcp(7)); with MSG_PEEK they are only counted.
fn discard_octets(fd: c_int, wanted: usize, flags: c_int) -> Result<Part, Errno> {
    let mut nowhere = [0_u8; 4096];
    let mut len = 0;
    while len < wanted {
        let part = iovec {
            iov_base: nowhere.as_mut_ptr().cast(),
            iov_len: nowhere.len().min(wanted - len),
        };
        let waits = len == 0 || flags & libc::MSG_WAITALL != 0;
        let flags = if waits {
            flags
        } else {
            flags | libc::MSG_DONTWAIT
        };
        let mut header = Iov::one(&part).header();
        // SAFETY: the header and the buffer are ours. May block: nothing here needs dropping.
        match unsafe { next::recvmsg(fd, &raw mut header, flags) }.check() {
            Ok(0) => break,
            Ok(more) => len += more.cast_unsigned(),
            Err(error) if len == 0 => return Err(error),
            Err(_) => break,
        }
        if flags & libc::MSG_PEEK != 0 {
            len = len.max(waiting_octets(fd)?.min(wanted));
            break;
        }
    }
    Ok(Part { len, ..Part::END })
}

/// How many octets of a stream can be read now.
pub(crate) fn waiting_octets(fd: c_int) -> Result<usize, Errno> {
    let mut waiting: c_int = 0;
    let place = (&raw mut waiting).cast();
    // SAFETY: `waiting` is writable.
    unsafe { next::ioctl(fd, libc::FIONREAD, place) }.check()?;
    Ok(usize::try_from(waiting).unwrap_or(0))
}

/// Take what fits of the message at the head of the queue.
fn take_part(
    socket: &'static Socket,
    fd: c_int,
    buffers: Iov,
    flags: c_int,
) -> Result<Step<Part>, Errno> {
    let _turn = socket.receiving.take(fd, socket.is_shared())?;
    let peek = flags & libc::MSG_PEEK != 0;
    let start = if peek { sys::peek_offset(fd)? } else { 0 };
    let received = loop {
        let attempt = sys::receive(fd, buffers, libc::MSG_PEEK | flags & libc::MSG_TRUNC);
        let received = match or_wait(attempt)? {
            Step::Done(received) => received,
            Step::Wait => return Ok(Step::Wait),
        };
        if received.flags & libc::MSG_CTRUNC == 0 {
            break received;
        }
        // The token's octets are in the caller's buffer, and not what it will get.
        sys::set_peek_offset(fd, 0)?;
        // No handler may jump away with the file's descriptor.
        if let Some(part) = undisturbed(|| take_big_part(fd, buffers, flags))? {
            return Ok(Step::Done(part));
        }
    };
    let truncated = received.flags & libc::MSG_TRUNC != 0;
    if received.len == 0 && !truncated {
        return Ok(Step::Done(Part::END));
    }
    let part = Part {
        len: received.len,
        flags: if truncated { 0 } else { libc::MSG_EOR },
        lost: None,
    };
    if !peek {
        // Before the message goes: a jump in between may show its beginning again, but skips nothing.
        let kept = if truncated && flags & libc::MSG_TRUNC == 0 {
            socket.read_so_far.load(Ordering::Relaxed) + c_int::try_from(part.len).unwrap_or(0)
        } else {
            0
        };
        socket.read_so_far.store(kept, Ordering::Relaxed);
    }
    finish(fd, part, flags, || sys::set_peek_offset(fd, start)).map(Step::Done)
}

/// The same for a message in a file. `None`: it had been read to its end, by a process that ended before it
/// could drop it, and is dropped now.
fn take_big_part(fd: c_int, buffers: Iov, flags: c_int) -> Result<Option<Part>, Errno> {
    let file = sys::peek_file(fd)?;
    let (len, at) = sys::file_extent(&file)?;
    let lost = if at == 0 { lost_before(fd)? } else { None };
    let rest = len.saturating_sub(at);
    if rest == 0 {
        if flags & libc::MSG_PEEK == 0 {
            sys::discard(fd)?;
        }
        // Without octets it is the end of the session that follows.
        return Ok(lost.map(|run| Part {
            lost: Some(run),
            ..Part::END
        }));
    }
    let taken = if flags & libc::MSG_PEEK != 0 {
        let at = i64::try_from(at).map_err(|_| Errno(libc::EIO))?;
        buffers.read_at(&file, at)?
    } else {
        buffers.read_from(&file)?
    };
    let part = Part {
        len: if flags & libc::MSG_TRUNC != 0 {
            rest
        } else {
            taken
        },
        flags: if taken == rest { libc::MSG_EOR } else { 0 },
        lost,
    };
    finish(fd, part, flags, || Ok(())).map(Some)
}

/// What the token at the head of the queue says of data lost before its message.
fn lost_before(fd: c_int) -> Result<Option<LostRun>, Errno> {
    let mut token = [0_u8; BigMessage::LEN];
    let buffer = iovec {
        iov_base: token.as_mut_ptr().cast(),
        iov_len: token.len(),
    };
    let received = sys::receive(fd, Iov::one(&buffer), libc::MSG_PEEK)?;
    sys::set_peek_offset(fd, 0)?;
    let token = token.get(..received.len).and_then(BigMessage::from_bytes);
    Ok(token.and_then(|token| token.lost))
}

/// Drop the message if the caller had all of it; undo a peek.
fn finish(
    fd: c_int,
    mut part: Part,
    flags: c_int,
    undo: impl FnOnce() -> Result<(), Errno>,
) -> Result<Part, Errno> {
    let complete = part.flags & libc::MSG_EOR != 0;
    if flags & libc::MSG_PEEK != 0 {
        undo()?;
    } else if complete {
        sys::discard(fd)?;
    } else if flags & libc::MSG_TRUNC != 0 {
        // The caller asks for the real length as of a datagram, and knows that the rest goes.
        part.flags = libc::MSG_EOR | libc::MSG_TRUNC;
        sys::discard(fd)?;
    }
    Ok(part)
}

/// Octets of the next message that are still to be read (FIONREAD).
pub(crate) fn next_len(socket: &'static Socket, fd: c_int) -> Result<usize, Errno> {
    let _turn = socket.receiving.take(fd, socket.is_shared())?;
    let nothing = iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    };
    let attempt = sys::receive(fd, Iov::one(&nothing), libc::MSG_PEEK | libc::MSG_TRUNC);
    if let Err(error @ Errno(libc::ECONNRESET)) = attempt {
        // For the next receive: there is nothing to read, but this is not where the program looks for a loss.
        socket.defer(error);
        return Ok(0);
    }
    match or_wait(attempt)? {
        Step::Wait => Ok(0),
        Step::Done(received) if received.flags & libc::MSG_CTRUNC != 0 => {
            let extent =
                undisturbed(|| sys::peek_file(fd).and_then(|file| sys::file_extent(&file)));
            extent.map(|(len, at)| len.saturating_sub(at))
        }
        Step::Done(received) => Ok(received.len),
    }
}

/// `recv`, `read` and `recvfrom`.
///
/// # Safety
/// As the C functions.
pub(crate) unsafe fn recv(
    socket: &'static Socket,
    fd: c_int,
    buffer: *mut c_void,
    len: usize,
    flags: c_int,
    place: Place,
) -> isize {
    let buffer = iovec {
        iov_base: buffer,
        iov_len: len.min(isize::MAX.cast_unsigned()),
    };
    let checked = if place.is_none() {
        Ok(())
    } else {
        place.check()
    };
    match checked.and_then(|()| receive(socket, fd, Iov::one(&buffer), flags)) {
        Ok(part) => {
            if !place.is_none() {
                // Checked above.
                let _ = place.write(socket.peer());
            }
            part.len.cast_signed()
        }
        Err(error) => fail(error),
    }
}

/// `readv`, and `preadv2` without an offset.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn readv(
    socket: &'static Socket,
    fd: c_int,
    first: *const iovec,
    count: c_int,
    flags: c_int,
) -> isize {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    // SAFETY: the caller's promise.
    let buffers = unsafe { Iov::new(first, count, libc::EINVAL) };
    match buffers.and_then(|buffers| receive(socket, fd, buffers, flags)) {
        Ok(part) => part.len.cast_signed(),
        Err(error) => fail(error),
    }
}

/// One message with a header: `recvmsg` and each of `recvmmsg`.
///
/// # Safety
/// As the C function.
unsafe fn recv_header(
    socket: &'static Socket,
    fd: c_int,
    header: *mut msghdr,
    flags: c_int,
) -> Result<usize, Errno> {
    // SAFETY: null or valid, the caller's promise.
    let header = unsafe { header.as_mut() }.ok_or(Errno(libc::EFAULT))?;
    // SAFETY: the caller's promise.
    let buffers = unsafe { Iov::new(header.msg_iov, header.msg_iovlen, libc::EMSGSIZE) }?;
    // SAFETY: the caller's promise for name and length.
    let place = unsafe { Place::new(header.msg_name.cast(), &raw mut header.msg_namelen) };
    if !place.is_none() {
        // Before a message is taken that would be lost.
        place.check()?;
    }
    let part = receive(socket, fd, buffers, flags)?;
    if place.is_none() {
        header.msg_namelen = 0;
    } else {
        place.write(socket.peer())?;
    }
    header.msg_flags = part.flags;
    match part.lost {
        None => header.msg_controllen = 0,
        Some(LostRun { first, count }) => {
            let [a, b, c, d] = first.to_ne_bytes();
            let [e, f, g, h] = count.to_ne_bytes();
            let gap = [a, b, c, d, e, f, g, h];
            sys::put_control(header, IPPROTO_PGM, PGM_GAP, gap);
        }
    }
    Ok(part.len)
}

/// `recvmsg`.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn recvmsg(
    socket: &'static Socket,
    fd: c_int,
    header: *mut msghdr,
    flags: c_int,
) -> isize {
    // SAFETY: the caller's promise.
    match unsafe { recv_header(socket, fd, header, flags) } {
        Ok(len) => len.cast_signed(),
        Err(error) => fail(error),
    }
}

/// `recvmmsg`: the timeout is looked at between messages only, as Linux does.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn recvmmsg(
    socket: &'static Socket,
    fd: c_int,
    headers: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    // SAFETY: null or valid, the caller's promise.
    let limit = match unsafe { timeout.as_ref() } {
        None => None,
        Some(t) => match (u64::try_from(t.tv_sec), u32::try_from(t.tv_nsec)) {
            (Ok(secs), Ok(nanos)) if nanos < 1_000_000_000 => Some(Duration::new(secs, nanos)),
            _ => return fail(Errno(libc::EINVAL)),
        },
    };
    if headers.is_null() && count > 0 {
        return fail(Errno(libc::EFAULT));
    }
    let begun = Instant::now();
    let wait_for_one = flags & libc::MSG_WAITFORONE != 0;
    let mut flags = flags & !libc::MSG_WAITFORONE;
    let mut done = 0;
    while done < count.min(1024) {
        // SAFETY: `count` headers are valid, the caller's promise.
        let header = unsafe { headers.add(done as usize) };
        // SAFETY: as above.
        let result = unsafe { recv_header(socket, fd, &raw mut (*header).msg_hdr, flags) };
        match result {
            // SAFETY: as above.
            Ok(len) => unsafe { (*header).msg_len = len as c_uint },
            Err(error) if done == 0 => return fail(error),
            Err(error) => {
                // Others come again by themselves.
                if error == Errno(libc::ECONNRESET) {
                    socket.defer(error);
                }
                break;
            }
        }
        done += 1;
        // SAFETY: as above.
        if len_is_end(unsafe { (*header).msg_len }, unsafe {
            (*header).msg_hdr.msg_flags
        }) {
            break;
        }
        if wait_for_one {
            flags |= libc::MSG_DONTWAIT;
        }
        if limit.is_some_and(|limit| begun.elapsed() >= limit) {
            break;
        }
    }
    if let Some(limit) = limit {
        let rest = limit.saturating_sub(begun.elapsed());
        // SAFETY: not null, as `limit` was read from it; the caller's promise.
        unsafe {
            (*timeout).tv_sec = rest.as_secs() as libc::time_t;
            (*timeout).tv_nsec = rest.subsec_nanos().into();
        }
    }
    done as c_int
}

/// After the end of a session every further receive would be another 0.
fn len_is_end(len: c_uint, flags: c_int) -> bool {
    len == 0 && flags & libc::MSG_EOR == 0
}
