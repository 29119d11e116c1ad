//! `libpgmshim.so`: PGM sockets for unmodified programs.
//!
//! Every function here stands before the one of libc (LD_PRELOAD). For a descriptor that is not a PGM
//! socket it goes on to libc after one load from a table; a process without PGM sockets notices nothing.
mod addr;
mod boundary;
mod descriptor;
mod engine;
mod errno;
mod exec;
mod exit;
mod fdtable;
mod fork;
mod inherit;
mod interpose;
mod left;
mod loader;
mod lock;
mod names;
mod print;
mod send;
mod session;
mod socket;
mod sockopt;
mod stdio;
mod sys;
mod transfer;
mod turn;
mod twin;

pub use crate::exec::{execl, execle, execlp};
pub use crate::loader::{dlmopen, dlopen};
pub use crate::print::{__dprintf_chk, dprintf};

use crate::addr::Place;
use crate::interpose::{hooks, late, raw};
use crate::print::List;
use libc::{
    FILE, addrinfo, c_char, c_int, c_uint, c_ulong, c_void, iovec, mmsghdr, msghdr, off64_t, pid_t,
    protoent, size_t, sockaddr, socklen_t, ssize_t, timespec,
};
use pgm_engine::driver::heap::Heap;
use std::ptr::null_mut;

#[global_allocator]
static HEAP: Heap = Heap;

unsafe extern "C" {
    fn __chk_fail() -> !;
    fn vasprintf(text: *mut *mut c_char, format: *const c_char, list: List) -> c_int;
    fn __vasprintf_chk(
        text: *mut *mut c_char,
        flag: c_int,
        format: *const c_char,
        list: List,
    ) -> c_int;
}

/// What a fortified call checks.
fn check_size(wanted: size_t, room: size_t) {
    if wanted > room {
        // SAFETY: reports and aborts.
        unsafe { __chk_fail() }
    }
}

/// No address is wanted.
fn nowhere() -> Place {
    // SAFETY: null pointers are allowed.
    unsafe { Place::new(null_mut(), null_mut()) }
}

/// `socket` of a kind that is ours.
fn opened(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    if !interpose::is_inside() && !twin::is_second() {
        return socket::open(domain, kind, protocol);
    }
    // SAFETY: no memory is involved.
    let fd = unsafe { next::socket(domain, kind, protocol) };
    fdtable::remove(fd);
    fd
}

/// What a socket makes of the flags of `preadv2` and `pwritev2`.
///
/// # Errors
/// EOPNOTSUPP for one that is none, as Linux.
fn message_flags(flags: c_int) -> Result<c_int, errno::Errno> {
    let known = libc::RWF_HIPRI | libc::RWF_DSYNC | libc::RWF_SYNC | libc::RWF_NOWAIT;
    if flags & !(known | libc::RWF_APPEND) != 0 {
        return Err(errno::Errno(libc::EOPNOTSUPP));
    }
    Ok(if flags & libc::RWF_NOWAIT != 0 {
        libc::MSG_DONTWAIT
    } else {
        0
    })
}

/// `preadv2`: without an offset (-1) it is `readv`; a socket has no other.
///
/// # Safety
/// As the C function.
unsafe fn read_at(
    socket: &'static socket::Socket,
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    offset: i64,
    flags: c_int,
) -> ssize_t {
    match message_flags(flags) {
        // SAFETY: the caller's promise.
        Ok(flags) if offset == -1 => unsafe { session::readv(socket, fd, parts, count, flags) },
        // SAFETY: as above.
        Ok(_) => unsafe { next::preadv2(fd, parts, count, offset, flags) },
        Err(error) => interpose::fail(error),
    }
}

/// `pwritev2`, likewise.
///
/// # Safety
/// As the C function.
unsafe fn write_at(
    socket: &'static socket::Socket,
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    offset: i64,
    flags: c_int,
) -> ssize_t {
    match message_flags(flags) {
        // SAFETY: the caller's promise.
        Ok(flags) if offset == -1 => unsafe { send::writev(socket, fd, parts, count, flags) },
        // SAFETY: as above.
        Ok(_) => unsafe { next::pwritev2(fd, parts, count, offset, flags) },
        Err(error) => interpose::fail(error),
    }
}

type Args = *const *const c_char;

hooks! {
    fn accept(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int,
        or raw!(SYS_accept, fd, addr, len),
        pgm(fd) |s| => session::accept(s, fd, Place::new(addr, len), 0),
        then if (engine::is_used()) |new| fdtable::remove(new);
    fn accept4(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t, flags: c_int) -> c_int,
        or raw!(SYS_accept4, fd, addr, len, flags),
        pgm(fd) |s| => session::accept(s, fd, Place::new(addr, len), flags),
        then if (engine::is_used()) |new| fdtable::remove(new);
    fn bind(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int,
        or raw!(SYS_bind, fd, addr, len),
        pgm(fd) |s| => socket::bind(s, fd, addr, len);
    fn close(fd: c_int) -> c_int,
        or raw!(SYS_close, fd),
        when(descriptor::is_ours(fd)) => descriptor::close(fd);
    fn __close(fd: c_int) -> c_int,
        or raw!(SYS_close, fd),
        when(descriptor::is_ours(fd)) => descriptor::close(fd);
    fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int,
        or raw!(SYS_close_range, first, last, flags),
        used => descriptor::close_range(first, last, flags);
    fn closefrom(first: c_int) -> (),
        or { let _: c_int = raw!(SYS_close_range, first, c_uint::MAX, 0); },
        used => descriptor::closefrom(first);
    fn connect(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int,
        or raw!(SYS_connect, fd, addr, len),
        pgm(fd) |s| => socket::connect(s, fd, addr, len);
    fn __connect(fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int,
        or raw!(SYS_connect, fd, addr, len),
        pgm(fd) |s| => socket::connect(s, fd, addr, len);
    fn daemon(keep_directory: c_int, keep_streams: c_int) -> c_int,
        or late!(daemon(keep_directory: c_int, keep_streams: c_int) -> c_int, -1),
        used => exit::daemon(keep_directory != 0, keep_streams != 0);
    fn dup(old: c_int) -> c_int,
        or raw!(SYS_dup, old),
        when(descriptor::is_ours(old)) => descriptor::dup(old),
        then if (engine::is_used()) |new| fdtable::remove(new);
    fn dup2(old: c_int, new: c_int) -> c_int,
        or raw!(SYS_dup2, old, new),
        when(descriptor::is_ours(old) || descriptor::is_ours(new)) =>
            descriptor::dup_to(old, new, || next::dup2(old, new));
    fn __dup2(old: c_int, new: c_int) -> c_int,
        or raw!(SYS_dup2, old, new),
        when(descriptor::is_ours(old) || descriptor::is_ours(new)) =>
            descriptor::dup_to(old, new, || next::dup2(old, new));
    fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int,
        or raw!(SYS_dup3, old, new, flags),
        when(descriptor::is_ours(old) || descriptor::is_ours(new)) =>
            descriptor::dup_to(old, new, || next::dup3(old, new, flags));
    fn execv(path: *const c_char, argv: Args) -> c_int,
        or raw!(SYS_execve, path, argv, environ),
        used => exit::around_exec_of(path, || {
            inherit::with_mark(environ, |env| next::execve(path, argv, env))
        });
    fn execve(path: *const c_char, argv: Args, envp: Args) -> c_int,
        or raw!(SYS_execve, path, argv, envp),
        used => exit::around_exec_of(path, || {
            inherit::with_mark(envp, |env| next::execve(path, argv, env))
        });
    fn execvp(file: *const c_char, argv: Args) -> c_int,
        or late!(execvp(file: *const c_char, argv: Args) -> c_int, -1),
        used => exit::around_exec(|| {
            inherit::with_mark(environ, |env| next::execvpe(file, argv, env))
        });
    fn execvpe(file: *const c_char, argv: Args, envp: Args) -> c_int,
        or late!(execvpe(file: *const c_char, argv: Args, envp: Args) -> c_int, -1),
        used => exit::around_exec(|| {
            inherit::with_mark(envp, |env| next::execvpe(file, argv, env))
        });
    fn execveat(dir: c_int, path: *const c_char, argv: Args, envp: Args, flags: c_int) -> c_int,
        or raw!(SYS_execveat, dir, path, argv, envp, flags),
        used => exit::around_exec(|| {
            inherit::with_mark(envp, |env| next::execveat(dir, path, argv, env, flags))
        });
    fn fexecve(fd: c_int, argv: Args, envp: Args) -> c_int,
        or raw!(SYS_execveat, fd, c"".as_ptr(), argv, envp, libc::AT_EMPTY_PATH),
        used => exit::around_exec(|| {
            inherit::with_mark(envp, |env| next::fexecve(fd, argv, env))
        });
    fn fclose(file: *mut FILE) -> c_int,
        or late!(fclose(file: *mut FILE) -> c_int, libc::EOF),
        used => { stdio::before_close(file); next::fclose(file) };
    fn fcntl(fd: c_int, command: c_int, argument: c_ulong) -> c_int,
        or raw!(SYS_fcntl, fd, command, argument),
        when(descriptor::is_ours(fd) || descriptor::duplicates(command)) =>
            descriptor::fcntl(fd, command, argument);
    fn fdopen(fd: c_int, mode: *const c_char) -> *mut FILE,
        or late!(fdopen(fd: c_int, mode: *const c_char) -> *mut FILE, null_mut()),
        pgm(fd) |s| => { let _ = s; stdio::fdopen(fd, mode) };
    fn freopen(path: *const c_char, mode: *const c_char, file: *mut FILE) -> *mut FILE,
        or late!(freopen(path: *const c_char, mode: *const c_char, file: *mut FILE) -> *mut FILE,
            null_mut()),
        used => stdio::reopened(file, || next::freopen(path, mode, file));
    fn freopen64(path: *const c_char, mode: *const c_char, file: *mut FILE) -> *mut FILE,
        or late!(freopen64(path: *const c_char, mode: *const c_char, file: *mut FILE) -> *mut FILE,
            null_mut()),
        used => stdio::reopened(file, || next::freopen64(path, mode, file));
    fn fcntl64(fd: c_int, command: c_int, argument: c_ulong) -> c_int,
        or raw!(SYS_fcntl, fd, command, argument),
        when(descriptor::is_ours(fd) || descriptor::duplicates(command)) =>
            descriptor::fcntl(fd, command, argument);
    fn __fcntl(fd: c_int, command: c_int, argument: c_ulong) -> c_int,
        or raw!(SYS_fcntl, fd, command, argument),
        when(descriptor::is_ours(fd) || descriptor::duplicates(command)) =>
            descriptor::fcntl(fd, command, argument);
    fn getaddrinfo(
        node: *const c_char, service: *const c_char, hints: *const addrinfo, list: *mut *mut addrinfo,
    ) -> c_int,
        or late!(getaddrinfo(
            node: *const c_char, service: *const c_char,
            hints: *const addrinfo, list: *mut *mut addrinfo
        ) -> c_int, libc::EAI_FAIL),
        any => names::getaddrinfo(node, service, hints, list);
    fn getpeername(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int,
        or raw!(SYS_getpeername, fd, addr, len),
        pgm(fd) |s| => socket::getpeername(s, fd, Place::new(addr, len));
    fn getprotobyname(name: *const c_char) -> *mut protoent,
        or late!(getprotobyname(name: *const c_char) -> *mut protoent, null_mut()),
        any => names::protocol(|| next::getprotobyname(name), || names::is_pgm(name));
    fn getprotobyname_r(
        name: *const c_char, room: *mut protoent, buffer: *mut c_char, len: size_t,
        result: *mut *mut protoent,
    ) -> c_int,
        or late!(getprotobyname_r(
            name: *const c_char, room: *mut protoent, buffer: *mut c_char, len: size_t,
            result: *mut *mut protoent
        ) -> c_int, libc::ENOSYS),
        any => names::protocol_r(
            room, result,
            || next::getprotobyname_r(name, room, buffer, len, result), || names::is_pgm(name),
        );
    fn getprotobynumber(number: c_int) -> *mut protoent,
        or late!(getprotobynumber(number: c_int) -> *mut protoent, null_mut()),
        any => names::protocol(
            || next::getprotobynumber(number), || number == socket::IPPROTO_PGM,
        );
    fn getprotobynumber_r(
        number: c_int, room: *mut protoent, buffer: *mut c_char, len: size_t,
        result: *mut *mut protoent,
    ) -> c_int,
        or late!(getprotobynumber_r(
            number: c_int, room: *mut protoent, buffer: *mut c_char, len: size_t,
            result: *mut *mut protoent
        ) -> c_int, libc::ENOSYS),
        any => names::protocol_r(
            room, result,
            || next::getprotobynumber_r(number, room, buffer, len, result),
            || number == socket::IPPROTO_PGM,
        );
    fn getsockname(fd: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int,
        or raw!(SYS_getsockname, fd, addr, len),
        pgm(fd) |s| => socket::getsockname(s, fd, Place::new(addr, len));
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t)
        -> c_int,
        or raw!(SYS_getsockopt, fd, level, name, value, len),
        pgm(fd) |s| => sockopt::get(s, fd, level, name, value, len);
    fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int,
        or raw!(SYS_ioctl, fd, request, argument),
        pgm(fd) |s| => descriptor::ioctl(s, fd, request, argument);
    fn listen(fd: c_int, backlog: c_int) -> c_int,
        or raw!(SYS_listen, fd, backlog),
        pgm(fd) |s| => socket::listen(s, fd, backlog);
    fn posix_spawn(
        pid: *mut pid_t, path: *const c_char, actions: *const c_void, attributes: *const c_void,
        argv: Args, envp: Args,
    ) -> c_int,
        or late!(posix_spawn(pid: *mut pid_t, path: *const c_char, actions: *const c_void,
            attributes: *const c_void, argv: Args, envp: Args) -> c_int, libc::ENOSYS),
        used => inherit::with_mark(envp, |env| {
            next::posix_spawn(pid, path, actions, attributes, argv, env)
        });
    fn posix_spawnp(
        pid: *mut pid_t, file: *const c_char, actions: *const c_void, attributes: *const c_void,
        argv: Args, envp: Args,
    ) -> c_int,
        or late!(posix_spawnp(pid: *mut pid_t, file: *const c_char, actions: *const c_void,
            attributes: *const c_void, argv: Args, envp: Args) -> c_int, libc::ENOSYS),
        used => inherit::with_mark(envp, |env| {
            next::posix_spawnp(pid, file, actions, attributes, argv, env)
        });
    fn longjmp(env: *mut c_void, value: c_int) -> (),
        or late!(longjmp(env: *mut c_void, value: c_int) -> (), ()),
        used => { interpose::before_jump(); next::longjmp(env, value) };
    fn _longjmp(env: *mut c_void, value: c_int) -> (),
        or late!(_longjmp(env: *mut c_void, value: c_int) -> (), ()),
        used => { interpose::before_jump(); next::_longjmp(env, value) };
    fn __longjmp_chk(env: *mut c_void, value: c_int) -> (),
        or late!(__longjmp_chk(env: *mut c_void, value: c_int) -> (), ()),
        used => { interpose::before_jump(); next::__longjmp_chk(env, value) };
    fn preadv2(fd: c_int, parts: *const iovec, count: c_int, offset: i64, flags: c_int) -> ssize_t,
        or late!(
            preadv2(fd: c_int, parts: *const iovec, count: c_int, offset: i64, flags: c_int)
                -> ssize_t, -1
        ),
        pgm(fd) |s| => read_at(s, fd, parts, count, offset, flags);
    fn preadv64v2(fd: c_int, parts: *const iovec, count: c_int, offset: i64, flags: c_int)
        -> ssize_t,
        or late!(
            preadv2(fd: c_int, parts: *const iovec, count: c_int, offset: i64, flags: c_int)
                -> ssize_t, -1
        ),
        pgm(fd) |s| => read_at(s, fd, parts, count, offset, flags);
    fn pwritev2(fd: c_int, parts: *const iovec, count: c_int, offset: i64, flags: c_int) -> ssize_t,
        or late!(
            pwritev2(fd: c_int, parts: *const iovec, count: c_int, offset: i64, flags: c_int)
                -> ssize_t, -1
        ),
        pgm(fd) |s| => write_at(s, fd, parts, count, offset, flags);
    fn pwritev64v2(fd: c_int, parts: *const iovec, count: c_int, offset: i64, flags: c_int)
        -> ssize_t,
        or late!(
            pwritev2(fd: c_int, parts: *const iovec, count: c_int, offset: i64, flags: c_int)
                -> ssize_t, -1
        ),
        pgm(fd) |s| => write_at(s, fd, parts, count, offset, flags);
    fn read(fd: c_int, buffer: *mut c_void, len: size_t) -> ssize_t,
        or raw!(SYS_read, fd, buffer, len),
        pgm(fd) |s| => session::recv(s, fd, buffer, len, 0, nowhere());
    fn __read(fd: c_int, buffer: *mut c_void, len: size_t) -> ssize_t,
        or raw!(SYS_read, fd, buffer, len),
        pgm(fd) |s| => session::recv(s, fd, buffer, len, 0, nowhere());
    fn __read_chk(fd: c_int, buffer: *mut c_void, len: size_t, room: size_t) -> ssize_t,
        or { check_size(len, room); raw!(SYS_read, fd, buffer, len) },
        pgm(fd) |s| => {
            check_size(len, room);
            session::recv(s, fd, buffer, len, 0, nowhere())
        };
    fn readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t,
        or raw!(SYS_readv, fd, parts, count),
        pgm(fd) |s| => session::readv(s, fd, parts, count, 0);
    fn recv(fd: c_int, buffer: *mut c_void, len: size_t, flags: c_int) -> ssize_t,
        or raw!(SYS_recvfrom, fd, buffer, len, flags, 0_usize, 0_usize),
        pgm(fd) |s| => session::recv(s, fd, buffer, len, flags, nowhere());
    fn __recv_chk(fd: c_int, buffer: *mut c_void, len: size_t, room: size_t, flags: c_int)
        -> ssize_t,
        or { check_size(len, room); raw!(SYS_recvfrom, fd, buffer, len, flags, 0_usize, 0_usize) },
        pgm(fd) |s| => {
            check_size(len, room);
            session::recv(s, fd, buffer, len, flags, nowhere())
        };
    fn recvfrom(
        fd: c_int, buffer: *mut c_void, len: size_t, flags: c_int,
        addr: *mut sockaddr, addr_len: *mut socklen_t,
    ) -> ssize_t,
        or raw!(SYS_recvfrom, fd, buffer, len, flags, addr, addr_len),
        pgm(fd) |s| => session::recv(s, fd, buffer, len, flags, Place::new(addr, addr_len));
    fn __recvfrom_chk(
        fd: c_int, buffer: *mut c_void, len: size_t, room: size_t, flags: c_int,
        addr: *mut sockaddr, addr_len: *mut socklen_t,
    ) -> ssize_t,
        or { check_size(len, room); raw!(SYS_recvfrom, fd, buffer, len, flags, addr, addr_len) },
        pgm(fd) |s| => {
            check_size(len, room);
            session::recv(s, fd, buffer, len, flags, Place::new(addr, addr_len))
        };
    fn recvmmsg(
        fd: c_int, headers: *mut mmsghdr, count: c_uint, flags: c_int, timeout: *mut timespec,
    ) -> c_int,
        or raw!(SYS_recvmmsg, fd, headers, count, flags, timeout),
        pgm(fd) |s| => session::recvmmsg(s, fd, headers, count, flags, timeout),
        then if (inherit::may_one_carry(headers, count)) |taken| inherit::after_many(taken, headers, inherit::received);
    fn recvmsg(fd: c_int, header: *mut msghdr, flags: c_int) -> ssize_t,
        or raw!(SYS_recvmsg, fd, header, flags),
        pgm(fd) |s| => session::recvmsg(s, fd, header, flags),
        then if (inherit::may_carry(header)) |len| inherit::after_one(len, header, inherit::received);
    fn send(fd: c_int, buffer: *const c_void, len: size_t, flags: c_int) -> ssize_t,
        or raw!(SYS_sendto, fd, buffer, len, flags, 0_usize, 0_usize),
        pgm(fd) |s| => send::send_one(s, fd, buffer, len, flags);
    fn __send(fd: c_int, buffer: *const c_void, len: size_t, flags: c_int) -> ssize_t,
        or raw!(SYS_sendto, fd, buffer, len, flags, 0_usize, 0_usize),
        pgm(fd) |s| => send::send_one(s, fd, buffer, len, flags);
    fn sendfile(out: c_int, file: c_int, offset: *mut off64_t, count: size_t) -> ssize_t,
        or raw!(SYS_sendfile, out, file, offset, count),
        when(!fdtable::is_foreign(out) || !fdtable::is_foreign(file)) =>
            transfer::sendfile(out, file, offset, count, || next::sendfile(out, file, offset, count));
    fn sendfile64(out: c_int, file: c_int, offset: *mut off64_t, count: size_t) -> ssize_t,
        or raw!(SYS_sendfile, out, file, offset, count),
        when(!fdtable::is_foreign(out) || !fdtable::is_foreign(file)) =>
            transfer::sendfile(out, file, offset, count, || next::sendfile64(out, file, offset, count));
    fn sendmmsg(fd: c_int, headers: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int,
        or raw!(SYS_sendmmsg, fd, headers, count, flags),
        pgm(fd) |s| => send::sendmmsg(s, fd, headers, count, flags),
        then if (engine::is_used() && inherit::may_one_carry(headers, count))
            |taken| inherit::after_many(taken, headers, inherit::given);
    fn sendmsg(fd: c_int, header: *const msghdr, flags: c_int) -> ssize_t,
        or raw!(SYS_sendmsg, fd, header, flags),
        pgm(fd) |s| => send::sendmsg(s, fd, header, flags),
        then if (engine::is_used() && inherit::may_carry(header))
            |len| inherit::after_one(len, header, inherit::given);
    fn sendto(
        fd: c_int, buffer: *const c_void, len: size_t, flags: c_int,
        addr: *const sockaddr, addr_len: socklen_t,
    ) -> ssize_t,
        or raw!(SYS_sendto, fd, buffer, len, flags, addr, addr_len),
        pgm(fd) |s| => send::send_one(s, fd, buffer, len, flags);
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t)
        -> c_int,
        or raw!(SYS_setsockopt, fd, level, name, value, len),
        pgm(fd) |s| => sockopt::set(s, fd, level, name, value, len);
    fn shutdown(fd: c_int, how: c_int) -> c_int,
        or raw!(SYS_shutdown, fd, how),
        pgm(fd) |s| => socket::shutdown(s, fd, how);
    fn siglongjmp(env: *mut c_void, value: c_int) -> (),
        or late!(siglongjmp(env: *mut c_void, value: c_int) -> (), ()),
        used => { interpose::before_jump(); next::siglongjmp(env, value) };
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int,
        or raw!(SYS_socket, domain, kind, protocol),
        when(socket::is_ours(domain, kind, protocol)) => opened(domain, kind, protocol),
        then if (engine::is_used()) |new| fdtable::remove(new);
    fn sockatmark(fd: c_int) -> c_int,
        or late!(sockatmark(fd: c_int) -> c_int, -1),
        pgm(fd) |s| => { let _ = s; 0 };
    fn splice(
        from: c_int, from_offset: *mut off64_t, to: c_int, to_offset: *mut off64_t,
        len: size_t, flags: c_uint,
    ) -> ssize_t,
        or raw!(SYS_splice, from, from_offset, to, to_offset, len, flags),
        when(!fdtable::is_foreign(from) || !fdtable::is_foreign(to)) =>
            transfer::splice(from, from_offset, to, to_offset, len, flags);
    fn vdprintf(fd: c_int, format: *const c_char, list: List) -> c_int,
        or late!(vdprintf(fd: c_int, format: *const c_char, list: List) -> c_int, -1),
        pgm(fd) |s| => print::print(s, fd, |text| vasprintf(text, format, list));
    fn __vdprintf_chk(fd: c_int, flag: c_int, format: *const c_char, list: List) -> c_int,
        or late!(
            __vdprintf_chk(fd: c_int, flag: c_int, format: *const c_char, list: List) -> c_int, -1
        ),
        pgm(fd) |s| => print::print(s, fd, |text| __vasprintf_chk(text, flag, format, list));
    fn write(fd: c_int, buffer: *const c_void, len: size_t) -> ssize_t,
        or raw!(SYS_write, fd, buffer, len),
        pgm(fd) |s| => send::send_one(s, fd, buffer, len, 0);
    fn __write(fd: c_int, buffer: *const c_void, len: size_t) -> ssize_t,
        or raw!(SYS_write, fd, buffer, len),
        pgm(fd) |s| => send::send_one(s, fd, buffer, len, 0);
    fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t,
        or raw!(SYS_writev, fd, parts, count),
        pgm(fd) |s| => send::writev(s, fd, parts, count, 0);
    fn _exit(status: c_int) -> (),
        or { let _: c_int = raw!(SYS_exit_group, status); },
        used => { exit::drain(); next::_exit(status) };
    fn _Exit(status: c_int) -> (),
        or { let _: c_int = raw!(SYS_exit_group, status); },
        used => { exit::drain(); next::_Exit(status) };
    fn quick_exit(status: c_int) -> (),
        or late!(quick_exit(status: c_int) -> (), ()),
        used => { exit::drain(); next::quick_exit(status) };
}

unsafe extern "C" {
    static environ: Args;
}

/// Runs before `main`, after the constructors of what this library needs itself.
#[used]
#[cfg_attr(not(test), unsafe(link_section = ".init_array"))]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn before_main() {
        resolve_all();
        loader::resolve_all();
        if twin::settle() {
            exit::watch_main_thread();
            fork::watch();
            inherit::at_start();
        }
    }
    before_main
};

/// Runs when `main` has returned or `exit` was called, after the program's own handlers.
#[used]
#[cfg_attr(not(test), unsafe(link_section = ".fini_array"))]
static AFTER_MAIN: extern "C" fn() = {
    extern "C" fn after_main() {
        stdio::flush();
        exit::drain();
    }
    after_main
};
