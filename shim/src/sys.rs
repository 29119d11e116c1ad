//! Native calls on descriptors, by the next definitions: none of these comes back into a hook.

mod iface;

pub(crate) use iface::{address_of_interface, index_of_interface, name_of_interface};

use crate::errno::{Errno, Native};
use crate::next;
use libc::{c_int, c_ulong, c_void, iovec, msghdr, socklen_t};
use std::mem::MaybeUninit;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// A reference to something that is never freed.
pub(crate) fn leaked<T>(pointer: *const T) -> Option<&'static T> {
    // SAFETY: callers pass null or what `Box::leak` gave.
    unsafe { pointer.as_ref() }
}

/// The caller's buffers as the C caller described them. Only the kernel looks at their contents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Iov {
    first: *const iovec,
    count: usize,
    /// Octets in all of them.
    pub(crate) total: usize,
}

impl Iov {
    /// Most buffers in one call, as Linux (UIO_MAXIOV).
    const MAX: usize = 1024;

    /// # Errors
    /// EFAULT without an array, EINVAL for a total no call can return, `too_many` beyond 1024 buffers.
    ///
    /// # Safety
    /// `first` is null or readable for `count` entries as long as the value is used.
    pub(crate) unsafe fn new(
        first: *const iovec,
        count: usize,
        too_many: c_int,
    ) -> Result<Self, Errno> {
        if count > Self::MAX {
            return Err(Errno(too_many));
        }
        if count > 0 && first.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        let mut total = 0_usize;
        for i in 0..count {
            // SAFETY: promised by the caller.
            let len = unsafe { (*first.add(i)).iov_len };
            total = total
                .checked_add(len)
                .filter(|&total| isize::try_from(total).is_ok())
                .ok_or(Errno(libc::EINVAL))?;
        }
        Ok(Self {
            first,
            count,
            total,
        })
    }

    /// One buffer.
    pub(crate) fn one(buffer: &iovec) -> Self {
        Self {
            first: buffer,
            count: 1,
            total: buffer.iov_len,
        }
    }

    /// A message header with these buffers and nothing else.
    pub(crate) fn header(self) -> msghdr {
        // SAFETY: all zero is a valid msghdr.
        let mut header: msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = self.first.cast_mut();
        header.msg_iovlen = self.count as _;
        header
    }

    /// Read from a file's position and move it.
    pub(crate) fn read_from(self, file: &OwnedFd) -> Result<usize, Errno> {
        // SAFETY: the kernel checks the caller's buffers.
        unsafe { next::readv(file.as_raw_fd(), self.first, self.count as c_int) }
            .check()
            .map(isize::cast_unsigned)
    }

    /// Read from a place in a file.
    pub(crate) fn read_at(self, file: &OwnedFd, offset: i64) -> Result<usize, Errno> {
        // SAFETY: as above.
        unsafe { libc::preadv(file.as_raw_fd(), self.first, self.count as c_int, offset) }
            .check()
            .map(isize::cast_unsigned)
    }

    /// Write all to a file, from its position.
    pub(crate) fn write_to(self, file: &OwnedFd) -> Result<usize, Errno> {
        // SAFETY: as above.
        unsafe { next::writev(file.as_raw_fd(), self.first, self.count as c_int) }
            .check()
            .map(isize::cast_unsigned)
    }
}

/// Room for one descriptor as ancillary data, aligned as a control message.
#[repr(C, align(8))]
#[derive(Debug)]
pub(crate) struct OneFd([u8; 32]);

impl OneFd {
    pub(crate) fn new() -> Self {
        Self([0; 32])
    }

    /// Let `header` receive or send ancillary data here. Lives as long as `header` is used.
    fn attach(&mut self, header: &mut msghdr) {
        header.msg_control = self.0.as_mut_ptr().cast();
        // SAFETY: pure arithmetic.
        header.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<c_int>() as u32) } as _;
    }

    /// The descriptor that came with a received message.
    fn take(header: &msghdr) -> Option<OwnedFd> {
        // SAFETY: the kernel has filled the control buffer of `header`, which is alive in the callers.
        unsafe {
            let control = libc::CMSG_FIRSTHDR(header).as_ref()?;
            if control.cmsg_level != libc::SOL_SOCKET || control.cmsg_type != libc::SCM_RIGHTS {
                return None;
            }
            let fd = libc::CMSG_DATA(control).cast::<c_int>().read_unaligned();
            (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))
        }
    }
}

/// What one `recvmsg` on a pair end brought.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) len: usize,
    /// `msg_flags`.
    pub(crate) flags: c_int,
}

/// Receive without waiting. MSG_CTRUNC in the flags: a descriptor came beside it.
pub(crate) fn receive(fd: RawFd, buffers: Iov, flags: c_int) -> Result<Received, Errno> {
    let mut header = buffers.header();
    // SAFETY: the header is ours; the kernel checks the caller's buffers.
    let len = unsafe { next::recvmsg(fd, &raw mut header, flags | libc::MSG_DONTWAIT) }
        .check()?
        .cast_unsigned();
    Ok(Received {
        len,
        flags: header.msg_flags,
    })
}

/// Receive without waiting: how many octets, and the descriptor beside them. Where no handler runs that could jump
/// away with it.
pub(crate) fn receive_file(
    fd: RawFd,
    buffers: Iov,
    flags: c_int,
) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut header = buffers.header();
    let mut room = OneFd::new();
    room.attach(&mut header);
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the header is ours; the kernel checks the caller's buffers.
    let len = unsafe { next::recvmsg(fd, &raw mut header, flags) }
        .check()?
        .cast_unsigned();
    Ok((len, OneFd::take(&header)))
}

/// The descriptor beside the message at the head of the queue, which stays there. Likewise.
///
/// # Errors
/// EMFILE: the program has too many open.
pub(crate) fn peek_file(fd: RawFd) -> Result<OwnedFd, Errno> {
    let nothing = iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    };
    let (_, file) = receive_file(fd, Iov::one(&nothing), libc::MSG_PEEK)?;
    file.ok_or(Errno(libc::EMFILE))
}

/// Drop the message at the head of the queue, read or not.
pub(crate) fn discard(fd: RawFd) -> Result<(), Errno> {
    // SAFETY: no buffer is involved.
    unsafe { next::recv(fd, std::ptr::null_mut(), 0, libc::MSG_DONTWAIT) }
        .check()
        .map(drop)
}

/// Fill `header` so that it sends `text` with `file` beside it.
pub(crate) fn attach_file(room: &mut OneFd, header: &mut msghdr, file: RawFd) {
    room.attach(header);
    // SAFETY: the control buffer has room for one descriptor, so the first header exists.
    unsafe {
        let control = libc::CMSG_FIRSTHDR(header);
        (*control).cmsg_level = libc::SOL_SOCKET;
        (*control).cmsg_type = libc::SCM_RIGHTS;
        (*control).cmsg_len = libc::CMSG_LEN(size_of::<c_int>() as u32) as _;
        libc::CMSG_DATA(control)
            .cast::<c_int>()
            .write_unaligned(file);
    }
}

/// Give the caller of `recvmsg` one control message, or say that there was no room for it.
pub(crate) fn put_control(header: &mut msghdr, level: c_int, kind: c_int, data: [u8; 8]) {
    // SAFETY: pure arithmetic.
    let (len, space) = unsafe {
        let size = size_of_val(&data) as u32;
        (libc::CMSG_LEN(size) as usize, libc::CMSG_SPACE(size))
    };
    if header.msg_control.is_null() || header.msg_controllen < len {
        header.msg_controllen = 0;
        header.msg_flags |= libc::MSG_CTRUNC;
        return;
    }
    let control = header.msg_control.cast::<libc::cmsghdr>();
    // SAFETY: the caller of `recvmsg` promised `msg_controllen` writable octets, which are enough for the
    // header and the data behind it, aligned or not.
    unsafe {
        (&raw mut (*control).cmsg_len).write_unaligned(len as _);
        (&raw mut (*control).cmsg_level).write_unaligned(level);
        (&raw mut (*control).cmsg_type).write_unaligned(kind);
        libc::CMSG_DATA(control).cast::<[u8; 8]>().write(data);
    }
    header.msg_controllen = header.msg_controllen.min(space as usize);
}

/// Length of a file and the position in it.
pub(crate) fn file_extent(file: &OwnedFd) -> Result<(usize, usize), Errno> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fstat fills the struct when it succeeds.
    let (len, at) = unsafe {
        libc::fstat(file.as_raw_fd(), stat.as_mut_ptr()).check()?;
        (
            stat.assume_init().st_size,
            libc::lseek(file.as_raw_fd(), 0, libc::SEEK_CUR),
        )
    };
    let narrow = |n: i64| usize::try_from(n).map_err(|_| Errno(libc::EIO));
    Ok((narrow(len)?, narrow(at)?))
}

/// An anonymous file for one message.
pub(crate) fn message_file() -> Result<OwnedFd, Errno> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name ends with NUL; the descriptor is new.
    unsafe {
        let fd = libc::memfd_create(c"pgm-message".as_ptr(), flags).check()?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// How long a file may become (RLIMIT_FSIZE).
pub(crate) fn file_limit() -> usize {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: getrlimit fills the struct when it succeeds.
    let most = unsafe {
        match libc::getrlimit(libc::RLIMIT_FSIZE, limit.as_mut_ptr()) {
            0 => limit.assume_init().rlim_cur,
            _ => libc::RLIM_INFINITY,
        }
    };
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// Nobody can change the file any more, so that its reader may map it.
pub(crate) fn seal(file: &OwnedFd) -> Result<(), Errno> {
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;
    fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals).map(drop)
}

/// An AF_INET socket to ask the kernel something with.
pub(crate) fn inet_socket(kind: c_int, protocol: c_int) -> Result<OwnedFd, Errno> {
    // SAFETY: the descriptor is new.
    unsafe {
        let fd = next::socket(libc::AF_INET, kind | libc::SOCK_CLOEXEC, protocol).check()?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Bind an AF_INET socket.
pub(crate) fn bind(fd: RawFd, addr: SocketAddrV4) -> Result<(), Errno> {
    let addr = crate::addr::to_c(addr);
    let len = size_of_val(&addr) as socklen_t;
    // SAFETY: the address is valid for its length.
    unsafe { next::bind(fd, (&raw const addr).cast(), len) }
        .check()
        .map(drop)
}

pub(crate) fn shutdown(fd: RawFd, how: c_int) -> Result<c_int, Errno> {
    // SAFETY: no memory is involved.
    unsafe { next::shutdown(fd, how) }.check()
}

fn fcntl(fd: RawFd, command: c_int, argument: c_int) -> Result<c_int, Errno> {
    // SAFETY: callers use commands with int arguments.
    unsafe { next::fcntl(fd, command, argument as c_ulong) }.check()
}

/// Set or clear FD_CLOEXEC.
pub(crate) fn set_cloexec(fd: RawFd, on: bool) -> Result<(), Errno> {
    fcntl(fd, libc::F_SETFD, if on { libc::FD_CLOEXEC } else { 0 }).map(drop)
}

/// Set or clear O_NONBLOCK.
pub(crate) fn set_nonblocking(fd: RawFd, on: bool) -> Result<(), Errno> {
    let old = fcntl(fd, libc::F_GETFL, 0)?;
    let new = if on {
        old | libc::O_NONBLOCK
    } else {
        old & !libc::O_NONBLOCK
    };
    if new == old {
        Ok(())
    } else {
        fcntl(fd, libc::F_SETFL, new).map(drop)
    }
}

/// Let the number `fd` name what `file` names, with the flags it has now.
pub(crate) fn replace(fd: RawFd, file: &OwnedFd) -> Result<(), Errno> {
    let cloexec = fcntl(fd, libc::F_GETFD, 0)? & libc::FD_CLOEXEC != 0;
    let nonblocking = fcntl(fd, libc::F_GETFL, 0)? & libc::O_NONBLOCK != 0;
    set_nonblocking(file.as_raw_fd(), nonblocking)?;
    let flags = if cloexec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: no memory is involved.
    unsafe { next::dup3(file.as_raw_fd(), fd, flags) }
        .check()
        .map(drop)
}

/// A copy of a descriptor, CLOEXEC, with a number that is out of the program's way if there is room.
pub(crate) fn duplicate_raw(fd: RawFd) -> Result<RawFd, Errno> {
    fcntl(fd, libc::F_DUPFD_CLOEXEC, fd).or_else(|_| fcntl(fd, libc::F_DUPFD_CLOEXEC, 0))
}

/// Whether one more descriptor could be made now.
pub(crate) fn check_room(fd: RawFd) -> Result<(), Errno> {
    let probe = fcntl(fd, libc::F_DUPFD_CLOEXEC, 0)?;
    // SAFETY: just made.
    drop(unsafe { OwnedFd::from_raw_fd(probe) });
    Ok(())
}

/// Whether memory can be read, as the kernel would find out: at its first and last octet, which is enough for
/// what is shorter than a page.
///
/// # Errors
/// EFAULT.
pub(crate) fn check_readable(place: *const c_void, len: usize) -> Result<(), Errno> {
    /// The kernel looks at the set before it refuses what to do with it.
    const NOTHING: c_int = -1;
    const WORD: usize = size_of::<u64>();
    for at in [0, len.saturating_sub(1)] {
        // Whole words: none crosses the end of a page.
        let word = place
            .wrapping_byte_add(at)
            .map_addr(|addr| addr & !(WORD - 1));
        let none: *mut c_void = std::ptr::null_mut();
        // SAFETY: the kernel reads a word if it is there, and changes nothing.
        let result = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, NOTHING, word, none, WORD) };
        if result == -1 && crate::errno::get() == libc::EFAULT {
            return Err(Errno(libc::EFAULT));
        }
    }
    Ok(())
}

/// Whether the kernel can write an answer of at most 4 octets and its length there; what it writes means
/// nothing.
///
/// # Errors
/// EFAULT; EINVAL for a negative length.
///
/// # Safety
/// The kernel checks the pointers: they may be anything, but what is there may be overwritten.
pub(crate) unsafe fn check_writable(
    fd: RawFd,
    place: *mut c_void,
    len: *mut socklen_t,
) -> Result<(), Errno> {
    // SAFETY: the caller's promise.
    unsafe { next::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, place, len) }
        .check()
        .map(drop)
}

/// SO_LINGER, if it is on.
pub(crate) fn linger(fd: RawFd) -> Option<Duration> {
    let mut value = libc::linger {
        l_onoff: 0,
        l_linger: 0,
    };
    let mut len = size_of_val(&value) as socklen_t;
    let place = (&raw mut value).cast::<c_void>();
    // SAFETY: `value` is writable for `len` octets.
    unsafe { next::getsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, place, &raw mut len) }
        .check()
        .ok()?;
    let seconds = u64::try_from(value.l_linger).unwrap_or(0);
    (value.l_onoff != 0).then(|| Duration::from_secs(seconds))
}

/// Whether nothing more can come to a pair end.
pub(crate) fn has_ended(fd: RawFd) -> bool {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLRDHUP,
        revents: 0,
    };
    // SAFETY: one pollfd; a zero timeout never blocks.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
}

/// Where the next peek on a pair end begins.
pub(crate) fn peek_offset(fd: RawFd) -> Result<c_int, Errno> {
    option(fd, libc::SO_PEEK_OFF)
}

/// What the pair end says of an int option at SOL_SOCKET.
pub(crate) fn option(fd: RawFd, name: c_int) -> Result<c_int, Errno> {
    let mut value: c_int = 0;
    let mut len = size_of_val(&value) as socklen_t;
    let place = (&raw mut value).cast::<c_void>();
    // SAFETY: `value` is writable for `len` octets.
    unsafe { next::getsockopt(fd, libc::SOL_SOCKET, name, place, &raw mut len) }.check()?;
    Ok(value)
}

/// What the kernel keeps for a listener, its sessions begin with, as on Linux (`sk_clone`) and Windows.
pub(crate) fn inherit_options(from: RawFd, to: RawFd) -> Result<(), Errno> {
    for name in [
        libc::SO_REUSEADDR,
        libc::SO_BROADCAST,
        libc::SO_KEEPALIVE,
        libc::SO_OOBINLINE,
        libc::SO_LINGER,
        libc::SO_RCVTIMEO,
        libc::SO_SNDTIMEO,
        libc::SO_RCVLOWAT,
    ] {
        // The longest is a time.
        let mut value = [0_u8; 16];
        let mut len = value.len() as socklen_t;
        let place = value.as_mut_ptr().cast();
        // SAFETY: `value` is writable for `len` octets.
        unsafe { next::getsockopt(from, libc::SOL_SOCKET, name, place, &raw mut len) }.check()?;
        if value != [0; 16] {
            let place = value.as_ptr().cast();
            // SAFETY: `value` is readable for `len` octets.
            unsafe { next::setsockopt(to, libc::SOL_SOCKET, name, place, len) }.check()?;
        }
    }
    Ok(())
}

/// Let the next peek begin there.
pub(crate) fn set_peek_offset(fd: RawFd, value: c_int) -> Result<(), Errno> {
    let len = size_of_val(&value) as socklen_t;
    let place = (&raw const value).cast::<c_void>();
    // SAFETY: `value` is readable for `len` octets.
    unsafe { next::setsockopt(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, place, len) }
        .check()
        .map(drop)
}

/// Keep the other processes that have a socket away from its pair: a record lock, which belongs to a process,
/// whereas the socket is shared. Waits until no other has it; none keeps it for longer than its copying takes.
pub(crate) fn lock_record(fd: RawFd) {
    // False deadlocks are seen where threads of two processes are at two sockets.
    while matches!(
        record_lock(fd, libc::F_WRLCK, libc::F_SETLKW),
        Err(Errno(libc::EINTR | libc::EDEADLK))
    ) {}
}

/// Let them.
pub(crate) fn unlock_record(fd: RawFd) {
    // What fails is a descriptor that was closed, and its lock with it.
    let _ = record_lock(fd, libc::F_UNLCK, libc::F_SETLK);
}

/// `fcntl` as a bare system call, since libc's is a cancellation point.
fn record_lock(fd: RawFd, kind: c_int, command: c_int) -> Result<(), Errno> {
    // SAFETY: all zero is a valid flock: all of the file.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    // SAFETY: `lock` is valid for the call.
    let result = unsafe { libc::syscall(libc::SYS_fcntl, fd, command, &raw const lock) };
    (result as c_int).check().map(drop)
}

/// Call `f` with every open descriptor of the process.
pub(crate) fn each_open(mut f: impl FnMut(RawFd)) {
    /// Without /proc no descriptor from here on is looked at.
    const MOST: RawFd = 65_536;
    // SAFETY: the stream is used by this function alone, entries only until the next is read.
    unsafe {
        let list = libc::opendir(c"/proc/self/fd".as_ptr());
        if list.is_null() {
            (0..MOST).for_each(f);
            return;
        }
        let own = libc::dirfd(list);
        while let Some(entry) = libc::readdir(list).as_ref() {
            let name = std::ffi::CStr::from_ptr(entry.d_name.as_ptr());
            if let Some(fd) = name.to_str().ok().and_then(|name| name.parse().ok())
                && fd != own
            {
                f(fd);
            }
        }
        libc::closedir(list);
    }
}

/// Call `f` with every descriptor that came beside a message.
///
/// # Safety
/// The header is as `recvmsg` has left it.
pub(crate) unsafe fn each_passed(header: &msghdr, mut f: impl FnMut(RawFd)) {
    // SAFETY: the kernel filled the control buffer, the macros stay within it.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while let Some(part) = control.as_ref() {
            if (part.cmsg_level, part.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                let octets = part.cmsg_len - libc::CMSG_LEN(0) as usize;
                let first = libc::CMSG_DATA(control).cast::<c_int>();
                for i in 0..octets / size_of::<c_int>() {
                    f(first.add(i).read_unaligned());
                }
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
}

/// Move a file's position; where it is then.
pub(crate) fn seek(fd: RawFd, offset: i64, whence: c_int) -> Result<i64, Errno> {
    // SAFETY: no memory is involved.
    let at = unsafe { libc::lseek64(fd, offset, whence) };
    isize::try_from(at).unwrap_or(-1).check()?;
    Ok(at)
}

/// Whether the descriptor is an end of a pipe.
pub(crate) fn is_pipe(fd: RawFd) -> bool {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fstat fills the struct when it succeeds.
    unsafe {
        libc::fstat(fd, stat.as_mut_ptr()) == 0
            && stat.assume_init().st_mode & libc::S_IFMT == libc::S_IFIFO
    }
}

/// Where this thread's stack has come to. (The address of a variable would do, but a function with one calls what it
/// could have jumped to.)
#[inline]
pub(crate) fn stack_pointer() -> usize {
    let pointer: usize;
    // SAFETY: reads a register.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        std::arch::asm!("mov {}, rsp", out(reg) pointer, options(pure, nomem, nostack, preserves_flags));
        #[cfg(target_arch = "aarch64")]
        std::arch::asm!("mov {}, sp", out(reg) pointer, options(pure, nomem, nostack, preserves_flags));
    }
    pointer
}

/// Memory without malloc.
pub(crate) fn map_scratch(size: usize) -> Option<*mut c_void> {
    let (access, kind) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: a new mapping touches nothing.
    let room = unsafe { libc::mmap(std::ptr::null_mut(), size, access, kind, -1, 0) };
    (room != libc::MAP_FAILED).then_some(room)
}

/// Give back what `map_scratch` gave.
pub(crate) fn unmap_scratch(room: *mut c_void, size: usize) {
    // SAFETY: callers pass what they got and use it no more.
    unsafe { libc::munmap(room, size) };
}
