//! The unsafe system-call layer for AF_UNIX pairs, memfds and the engine thread itself.
//!
//! Counterpart of [`super::sys`], which serves the network. No policy here.

use super::private::EngineFd;
use super::sys::{check, own};
use arrayvec::ArrayVec;
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Most messages of one `recvmmsg` or `sendmmsg`.
pub(super) const BATCH: usize = 32;

/// Room for one message: longer than any SO_SNDBUF that [`super::pair`] gives lets one be, so that none is cut.
pub(super) const SLOT: usize = 1 << 20;

/// Longest name of an AF_UNIX socket, octets.
const NAME_MAX: usize = 108;

/// Name of an AF_UNIX socket.
pub(super) type Name = ArrayVec<u8, NAME_MAX>;

fn count(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// A connected pair of AF_UNIX sockets, CLOEXEC; the first has the lowest free number.
pub(super) fn socket_pair(kind: libc::c_int) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    let kind = kind | libc::SOCK_CLOEXEC;
    // SAFETY: `fds` has room for the two descriptors.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    Ok((own(fds[0])?, own(fds[1])?))
}

fn empty_address() -> libc::sockaddr_un {
    libc::sockaddr_un {
        sun_family: libc::AF_UNIX as libc::sa_family_t,
        sun_path: [0; NAME_MAX],
    }
}

/// Bind to an abstract name, given with its leading NUL.
pub(super) fn bind(fd: RawFd, name: &Name) -> io::Result<()> {
    let mut address = empty_address();
    for (to, from) in address.sun_path.iter_mut().zip(name) {
        *to = from.cast_signed() as libc::c_char;
    }
    let len = std::mem::offset_of!(libc::sockaddr_un, sun_path) + name.len();
    // SAFETY: `address` is initialised and at least `len` octets long.
    check(unsafe { libc::bind(fd, (&raw const address).cast(), len as libc::socklen_t) })?;
    Ok(())
}

type NameCall =
    unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn name_by(call: NameCall, fd: RawFd) -> io::Result<Name> {
    let mut address = empty_address();
    let mut len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: `address` is writable for `len` octets, `len` says so.
    check(unsafe { call(fd, (&raw mut address).cast(), &raw mut len) })?;
    let path = (len as usize).saturating_sub(std::mem::offset_of!(libc::sockaddr_un, sun_path));
    if address.sun_family != libc::AF_UNIX as libc::sa_family_t {
        return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
    }
    Ok(address
        .sun_path
        .iter()
        .take(path)
        .map(|c| *c as u8)
        .collect())
}

/// The socket's own name.
pub(super) fn local_name(fd: RawFd) -> io::Result<Name> {
    name_by(libc::getsockname, fd)
}

/// The name of the pair's other end.
pub(super) fn peer_name(fd: RawFd) -> io::Result<Name> {
    name_by(libc::getpeername, fd)
}

/// Set an int option at SOL_SOCKET.
pub(super) fn set_option(fd: RawFd, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` is readable for `len` octets.
    check(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, name, (&raw const value).cast(), len) })?;
    Ok(())
}

/// Octets waiting by an ioctl that returns an int; 0 if it fails.
fn waiting(fd: RawFd, request: libc::c_ulong) -> usize {
    let mut octets: libc::c_int = 0;
    // SAFETY: both requests write one int to `octets`.
    let result = unsafe { libc::ioctl(fd, request as _, &raw mut octets) };
    if result < 0 {
        0
    } else {
        usize::try_from(octets).unwrap_or(0)
    }
}

/// What the other end has not received yet; kernel memory rather than octets, exact about 0. Of a buffer just freed the
/// kernel counts one octet until it has told.
pub(super) fn queued_out(fd: RawFd) -> usize {
    waiting(fd, libc::TIOCOUTQ).saturating_sub(1)
}

/// Octets of all messages waiting to be received.
pub(super) fn queued_in(fd: RawFd) -> usize {
    waiting(fd, libc::FIONREAD)
}

/// End-of-file for the other end, after what is queued.
pub(super) fn shutdown_write(fd: RawFd) {
    // SAFETY: no memory is involved. It can only fail when the other end is gone, which is the same.
    unsafe { libc::shutdown(fd, libc::SHUT_WR) };
}

/// Whether the other end is closed or has shut its writing side down.
pub(super) fn is_write_closed(fd: RawFd) -> bool {
    has_happened(fd, libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR)
}

/// Whether the other end is closed.
pub(super) fn is_closed(fd: RawFd) -> bool {
    has_happened(fd, libc::POLLHUP | libc::POLLERR)
}

fn has_happened(fd: RawFd, events: libc::c_short) -> bool {
    let mut poll = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one pollfd; a zero timeout never blocks.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready > 0 && poll.revents & events != 0
}

/// Receive and forget everything that is queued, so that closing raises no ECONNRESET.
pub(super) fn discard_queued(fd: RawFd) {
    let mut octets = [0_u8; 4096];
    // More than a parked message and a few strays are never there.
    for _ in 0..64 {
        let room = octets.as_mut_ptr().cast();
        // SAFETY: `octets` is writable for its length; the kernel drops the rest of a longer message.
        let n = unsafe { libc::recv(fd, room, octets.len(), libc::MSG_DONTWAIT) };
        if n <= 0 {
            return;
        }
    }
}

/// Send without blocking or SIGPIPE; how many octets were taken.
pub(super) fn send(fd: RawFd, octets: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `octets` is readable for its length.
    count(unsafe { libc::send(fd, octets.as_ptr().cast(), octets.len(), flags) })
}

fn io_vector(octets: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: octets.as_ptr().cast_mut().cast(),
        iov_len: octets.len(),
    }
}

fn empty_header() -> libc::msghdr {
    // SAFETY: all fields are integers and pointers, for which zero is valid and means absent.
    unsafe { std::mem::zeroed() }
}

/// Send each of the first messages as one, without blocking; how many were taken.
pub(super) fn send_messages(fd: RawFd, messages: &[Bytes]) -> io::Result<usize> {
    let mut vectors: ArrayVec<libc::iovec, BATCH> =
        messages.iter().take(BATCH).map(|m| io_vector(m)).collect();
    let mut headers: ArrayVec<libc::mmsghdr, BATCH> = ArrayVec::new();
    for vector in &mut vectors {
        let mut header = libc::mmsghdr {
            msg_hdr: empty_header(),
            msg_len: 0,
        };
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        headers.push(header);
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: every header points to one of `vectors`, every vector to octets of `messages`; both outlive the call.
    let sent = unsafe {
        libc::sendmmsg(
            fd,
            headers.as_mut_ptr(),
            headers.len() as libc::c_uint,
            flags as _,
        )
    };
    check(sent).map(|n| n as usize)
}

/// Send the octets of the first messages in a row on a stream, without blocking; how many octets were taken.
pub(super) fn send_stream(fd: RawFd, messages: &[Bytes]) -> io::Result<usize> {
    let mut vectors: ArrayVec<libc::iovec, BATCH> =
        messages.iter().take(BATCH).map(|m| io_vector(m)).collect();
    let mut header = empty_header();
    header.msg_iov = vectors.as_mut_ptr();
    header.msg_iovlen = vectors.len() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the header points to `vectors`, every vector to octets of `messages`; both outlive the call.
    count(unsafe { libc::sendmsg(fd, &raw const header, flags) })
}

/// Room for the control message of one or two descriptors, aligned as the kernel wants it.
type Control = [u64; 3];

/// Send one message with a descriptor, without blocking.
pub(super) fn send_with_fd(fd: RawFd, octets: &[u8], passed: RawFd) -> io::Result<usize> {
    let mut control: Control = [0; 3];
    let mut vector = io_vector(octets);
    let mut header = empty_header();
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of::<Control>() as _;
    // SAFETY: `control` has room for a control header and one int (CMSG_SPACE(4) is 24), so the first
    // header is not null and its data are inside.
    unsafe {
        let cmsg = libc::CMSG_FIRSTHDR(&raw const header);
        (*cmsg).cmsg_level = libc::SOL_SOCKET;
        (*cmsg).cmsg_type = libc::SCM_RIGHTS;
        (*cmsg).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as libc::c_uint) as _;
        libc::CMSG_DATA(cmsg)
            .cast::<RawFd>()
            .write_unaligned(passed);
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: everything the header points to outlives the call.
    count(unsafe { libc::sendmsg(fd, &raw const header, flags) })
}

/// Wait until something can be sent, or nothing ever again.
pub(super) fn wait_writable(fd: RawFd) {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: one pollfd. Interrupted it is as good as done.
    unsafe { libc::poll(&raw mut poll, 1, -1) };
}

/// Another descriptor of the same file: CLOEXEC, the lowest free number.
pub(super) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes an int and touches no memory of ours.
    own(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) })
}

/// Receive one message, and a descriptor that came with it, without blocking.
pub(super) fn receive_with_fd(
    fd: RawFd,
    octets: &mut [u8],
) -> io::Result<(usize, Option<EngineFd>)> {
    let mut control: Control = [0; 3];
    let mut vector = libc::iovec {
        iov_base: octets.as_mut_ptr().cast(),
        iov_len: octets.len(),
    };
    let mut header = empty_header();
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of::<Control>() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the header points to `octets` and `control`, which are writable and outlive the call.
    let len = count(unsafe { libc::recvmsg(fd, &raw mut header, flags) })?;
    Ok((len, received_fds(&header).pop_at(0)))
}

/// The first octets of what is queued, which stays so; how many.
pub(super) fn peek(fd: RawFd, octets: &mut [u8]) -> io::Result<usize> {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: `octets` is writable for its length.
    count(unsafe { libc::recv(fd, octets.as_mut_ptr().cast(), octets.len(), flags) })
}

/// Take the descriptors out of a received header.
fn received_fds(header: &libc::msghdr) -> ArrayVec<EngineFd, 4> {
    let mut fds = ArrayVec::new();
    // SAFETY: the kernel has filled the control buffer the header points to; the macros stay inside it.
    // Each descriptor in it is new and ours.
    unsafe {
        let mut cmsg = libc::CMSG_FIRSTHDR(header);
        while let Some(head) = cmsg.as_ref() {
            if head.cmsg_level == libc::SOL_SOCKET && head.cmsg_type == libc::SCM_RIGHTS {
                let len = head.cmsg_len - libc::CMSG_LEN(0) as usize;
                for i in 0..len / size_of::<RawFd>() {
                    let fd = libc::CMSG_DATA(cmsg)
                        .cast::<RawFd>()
                        .add(i)
                        .read_unaligned();
                    // What does not fit is closed here.
                    let _ = fds.try_push(EngineFd::from(OwnedFd::from_raw_fd(fd)));
                }
            }
            cmsg = libc::CMSG_NXTHDR(header, cmsg);
        }
    }
    fds
}

/// One received message; its octets are in the [`Inbox`].
#[derive(Debug)]
pub(super) struct Received {
    /// Its octets.
    pub(super) len: usize,
    /// It was longer and is cut.
    pub(super) truncated: bool,
    /// A descriptor that came with it; further ones are closed.
    pub(super) fd: Option<EngineFd>,
}

/// Buffers to receive a batch of messages of any length. Only what messages really fill costs memory.
#[derive(Debug)]
pub(super) struct Inbox {
    slots: Mapping,
}

impl Inbox {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            slots: Mapping::anonymous(BATCH * SLOT)?,
        })
    }

    /// Receive at most `limit` messages, of at most `len` octets each if it is a stream, without blocking.
    pub(super) fn receive(
        &mut self,
        fd: RawFd,
        limit: usize,
        len: usize,
    ) -> io::Result<ArrayVec<Received, BATCH>> {
        let mut controls: [Control; BATCH] = [[0; 3]; BATCH];
        let mut vectors: ArrayVec<libc::iovec, BATCH> = ArrayVec::new();
        let mut headers: ArrayVec<libc::mmsghdr, BATCH> = ArrayVec::new();
        for slot in self.slots.as_mut().chunks_exact_mut(SLOT).take(limit) {
            let iov_base = slot.as_mut_ptr().cast();
            vectors.push(libc::iovec {
                iov_base,
                iov_len: slot.len().min(len),
            });
        }
        for (vector, control) in vectors.iter_mut().zip(&mut controls) {
            let mut header = libc::mmsghdr {
                msg_hdr: empty_header(),
                msg_len: 0,
            };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = size_of::<Control>() as _;
            headers.push(header);
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: every header points to one vector and one control buffer, every vector to one slot;
        // all of them outlive the call and are used by nobody else.
        let received = check(unsafe {
            libc::recvmmsg(
                fd,
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                flags as _,
                std::ptr::null_mut(),
            )
        })?;
        let messages = headers
            .iter()
            .take(received as usize)
            .map(|header| Received {
                len: header.msg_len as usize,
                truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
                fd: received_fds(&header.msg_hdr).pop_at(0),
            });
        Ok(messages.collect())
    }

    /// The first `len` octets of message `index` of the latest batch.
    pub(super) fn octets(&self, index: usize, len: usize) -> &[u8] {
        &self.slots.as_ref()[index * SLOT..][..len]
    }
}

/// A private memory mapping.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: plain memory, reachable only through the owner.
unsafe impl Send for Mapping {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn map(len: usize, protection: libc::c_int, flags: libc::c_int, fd: RawFd) -> io::Result<Self> {
        // SAFETY: a fresh private mapping at a place the kernel chooses touches nothing of ours.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, len })
    }

    /// Zeroed memory that costs nothing before it is written to.
    fn anonymous(len: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        Self::map(len, libc::PROT_READ | libc::PROT_WRITE, flags, -1)
    }

    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: only for anonymous mappings (its callers): writable, `len` octets, borrowed from self.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: readable, `len` octets; for a file it is sealed, so that it neither shrinks nor changes.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping, no reference to it is left.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// An anonymous file with these octets, offset 0, that nobody can change any more.
pub(super) fn sealed_memfd(octets: &[u8]) -> io::Result<EngineFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is NUL-terminated.
    let file = own(unsafe { libc::memfd_create(c"pgm-message".as_ptr(), flags) })?;
    let file = EngineFd::from(file);
    as_file(&file).write_all_at(octets, 0)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;
    // SAFETY: F_ADD_SEALS takes an int and touches no memory of ours.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
    Ok(file)
}

/// The standard library's calls on a descriptor that stays its owner's.
fn as_file(fd: &EngineFd) -> ManuallyDrop<File> {
    // SAFETY: open as long as `fd`, which the caller holds; the file is never dropped, so never closes it.
    ManuallyDrop::new(unsafe { File::from_raw_fd(fd.as_raw_fd()) })
}

/// The first `len` octets of somebody else's file: mapped if it is sealed, else copied, because a file
/// that shrinks under a mapping is a SIGBUS.
pub(super) fn read_file(fd: &EngineFd, len: usize) -> io::Result<Bytes> {
    let file = as_file(fd);
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() < len as u64 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // SAFETY: F_GET_SEALS takes no argument.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    let fixed = libc::F_SEAL_SHRINK | libc::F_SEAL_WRITE;
    if seals >= 0 && seals & fixed == fixed {
        let mapping = Mapping::map(len, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd())?;
        return Ok(Bytes::from_owner(mapping));
    }
    let mut octets = Vec::new();
    octets
        .try_reserve_exact(len)
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    octets.resize(len, 0);
    file.read_exact_at(&mut octets, 0)?;
    Ok(octets.into())
}

/// Eight octets nobody can guess.
pub(super) fn random() -> io::Result<u64> {
    let mut value = 0_u64;
    // SAFETY: eight octets are writable at `value`.
    let n = unsafe { libc::getrandom((&raw mut value).cast(), size_of::<u64>(), 0) };
    // Requests of up to 256 octets are never cut short.
    count(n).map(|_| value)
}

/// Run `f` with all signals blocked: a thread born in it inherits that.
pub(super) fn with_signals_blocked<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: plain data that the kernel fills.
    let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = unsafe { std::mem::zeroed() };
    // SAFETY: both sets are valid for the calls.
    unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
    }
    let result = f();
    // SAFETY: `before` was filled above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
    result
}

/// Wait until the word is woken, unless it is not `expected` any more; at most `timeout`. May return early.
/// Async-signal-safe.
pub(super) fn futex_wait(word: &AtomicU32, expected: u32, timeout: Duration) {
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    let (word, timeout) = (word.as_ptr(), &raw const timeout);
    // SAFETY: word and timeout are valid for the call; the kernel only reads them.
    unsafe { libc::syscall(libc::SYS_futex, word, operation, expected, timeout) };
}

/// Wake everyone who waits for the word.
pub(super) fn futex_wake_all(word: &AtomicU32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word is valid for the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, libc::c_int::MAX) };
}

/// End the process as libc does after its last thread.
pub(super) fn exit() {
    // SAFETY: called by a thread of its own, with nothing of it to drop.
    unsafe { libc::exit(0) };
}

/// Let timers of the calling thread fire when they are due, not up to 50 µs later: pacing needs it.
pub(super) fn sharpen_timers() {
    // SAFETY: an integer argument, no memory. Failure leaves the default.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000 as libc::c_ulong, 0, 0, 0) };
}
