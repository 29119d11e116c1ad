//! PGM sockets that another process gave us: kept open across exec, or received as SCM_RIGHTS.
//!
//! A descriptor tells by the names of its pair what it is (`driver::identify`). Nobody is asked without
//! need: before exec a process with PGM sockets puts a mark into the new program's environment, and the
//! library there, if there is one, takes it out and looks through its descriptors before `main`; and
//! what arrives beside a message is looked at as it arrives. Their engine is another process's: data,
//! accept and names work, what only that engine knows (statistics) is ENOPROTOOPT.

use crate::Args;
use crate::engine;
use crate::errno::{self, Errno};
use crate::fdtable;
use crate::fork;
use crate::interpose::{inside, is_inside, undisturbed};
use crate::lock::control;
use crate::next;
use crate::send;
use crate::session;
use crate::socket::{self, Socket};
use crate::stdio;
use crate::sys;
use crate::twin;
use libc::{c_char, c_int, c_uint, mmsghdr, msghdr, ssize_t, timespec};
use pgm_engine::driver::config::Defaults;
use pgm_engine::driver::{self, Mode, Role};
use std::ffi::CStr;

/// In the environment of a program that may have inherited PGM sockets.
const MARK: &CStr = c"PGMSHIM_INHERITED=1";
const MARK_NAME: &CStr = c"PGMSHIM_INHERITED";

/// Environments up to this many entries are copied on the stack, if at all.
const ON_STACK: usize = 1024;

/// How it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Open across exec. Its engine is not ours, even if it was that of a process with our number.
    Exec,
    /// Beside a message, perhaps from ourselves.
    Message,
}

/// Enter the descriptor if it is a PGM socket; whatever it was before, it is not any more.
fn recognise(fd: c_int, way: Way) -> Result<(), Errno> {
    fdtable::remove(fd);
    let Some(identity) = driver::identify(fd) else {
        return Ok(());
    };
    let is_foreign = way == Way::Exec || identity.pid != std::process::id();
    let mut control = control()?;
    engine::begin_use();
    let same = |other: c_int| driver::identify(other).is_some_and(|i| i.nonce == identity.nonce);
    let known = fdtable::entries().find(|(other, _)| same(*other));
    let socket = match known {
        Some((_, socket)) => socket,
        None => {
            // A setting nobody understands is told when an engine starts.
            let defaults = Defaults::from_env().unwrap_or_default();
            Socket::inherited(&mut control, &identity, is_foreign, &defaults)
        }
    };
    if identity.role == Role::Session && identity.mode == Mode::Message && sys::peek_offset(fd)? < 0
    {
        // Nobody has accepted it yet.
        sys::set_peek_offset(fd, 0)?;
    }
    socket.share();
    fdtable::insert(fd, socket)?;
    stdio::follow(fd);
    Ok(())
}

/// Before `main`: PGM sockets that were open across exec.
pub(crate) fn at_start() {
    // SAFETY: the name is a C string; before `main` nobody else uses the environment.
    unsafe {
        if libc::getenv(MARK_NAME.as_ptr()).is_null() {
            return;
        }
        libc::unsetenv(MARK_NAME.as_ptr());
    }
    // A descriptor that cannot be recognised is the plain socket it is to the kernel.
    let _ = inside(|| {
        sys::each_open(|fd| {
            let _ = recognise(fd, Way::Exec);
        });
        Ok(())
    });
}

/// `recvmsg`: on a descriptor that is not ours it may bring one that is.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn recvmsg(fd: c_int, header: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(socket) = fdtable::get(fd)
            && !is_inside()
        {
            return session::recvmsg(socket, fd, header, flags);
        }
        let result = next::recvmsg(fd, header, flags);
        if result >= 0 && (*header).msg_controllen != 0 {
            received(&*header);
        }
        result
    }
}

/// `recvmmsg`, likewise.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn recvmmsg(
    fd: c_int,
    headers: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    // SAFETY: the caller's promise; the kernel has filled as many headers as it says.
    unsafe {
        if let Some(socket) = fdtable::get(fd)
            && !is_inside()
        {
            return session::recvmmsg(socket, fd, headers, count, flags, timeout);
        }
        let result = next::recvmmsg(fd, headers, count, flags, timeout);
        for i in 0..usize::try_from(result).unwrap_or(0) {
            let header = &(*headers.add(i)).msg_hdr;
            if header.msg_controllen != 0 {
                received(header);
            }
        }
        result
    }
}

/// `sendmsg`: on a descriptor that is not ours it may give one that is to another process.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn sendmsg(fd: c_int, header: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller's promise; the header is looked at only after the kernel has taken it.
    unsafe {
        if let Some(socket) = fdtable::get(fd)
            && !is_inside()
        {
            return send::sendmsg(socket, fd, header, flags);
        }
        let result = next::sendmsg(fd, header, flags);
        if result >= 0 && (*header).msg_controllen != 0 {
            given(&*header);
        }
        result
    }
}

/// `sendmmsg`, likewise.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn sendmmsg(
    fd: c_int,
    headers: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
) -> c_int {
    // SAFETY: as for `sendmsg`; the kernel has taken as many headers as it says.
    unsafe {
        if let Some(socket) = fdtable::get(fd)
            && !is_inside()
        {
            return send::sendmmsg(socket, fd, headers, count, flags);
        }
        let result = next::sendmmsg(fd, headers, count, flags);
        let mut header = headers;
        for _ in 0..result {
            if (*header).msg_hdr.msg_controllen != 0 {
                given(&(*header).msg_hdr);
            }
            header = header.add(1);
        }
        result
    }
}

/// After a message with something beside it was sent natively.
///
/// # Safety
/// The header is as `sendmsg` has taken it.
#[cold]
#[inline(never)]
unsafe fn given(header: &msghdr) {
    if is_inside() {
        return;
    }
    // SAFETY: the caller's.
    unsafe {
        sys::each_passed(header, |fd| {
            if let Some(socket) = fdtable::get(fd) {
                socket.share();
            }
        });
    }
}

/// After a message with something beside it was received natively: look at the descriptors that came.
///
/// # Safety
/// The header is as `recvmsg` has left it.
#[cold]
#[inline(never)]
unsafe fn received(header: &msghdr) {
    if is_inside() || twin::is_second() {
        return;
    }
    // SAFETY: the caller's.
    unsafe {
        sys::each_passed(header, |fd| {
            let _ = undisturbed(|| inside(|| recognise(fd, Way::Message)));
        });
    }
}

/// Call `exec` with `environment`, marked if the new program may inherit a PGM socket.
///
/// Async-signal-safe, and fit for a child of vfork.
///
/// # Safety
/// `environment` is null or ends with a null pointer.
pub(crate) unsafe fn with_mark<T>(environment: Args, exec: impl FnOnce(Args) -> T) -> T {
    if fdtable::entries().next().is_none() {
        return exec(environment);
    }
    // A child of posix_spawn never calls the fork handlers.
    socket::share_all();
    let mut count = 0;
    // SAFETY: all entries up to the first null are there.
    while !environment.is_null() && unsafe { !(*environment.add(count)).is_null() } {
        count += 1;
    }
    let fill = |room: *mut *const c_char| {
        // SAFETY: the room is for two entries more than there are.
        unsafe {
            if count > 0 {
                room.copy_from_nonoverlapping(environment, count);
            }
            room.add(count).write(MARK.as_ptr());
            room.add(count + 1).write(std::ptr::null());
        }
    };
    // A signal handler's stack may be smaller than the room. What a child of vfork maps, however, stays with
    // its parent.
    if count + 2 <= ON_STACK && !fork::is_own_memory() {
        return on_stack(fill, exec);
    }
    let size = (count + 2) * size_of::<*const c_char>();
    match sys::map_scratch(size) {
        None => exec(environment),
        Some(room) => {
            fill(room.cast());
            let result = exec(room.cast_const().cast());
            let saved = errno::get();
            sys::unmap_scratch(room, size);
            errno::set(saved);
            result
        }
    }
}

/// Not inlined: the room is to be in no other frame.
#[inline(never)]
fn on_stack<T>(fill: impl FnOnce(*mut *const c_char), exec: impl FnOnce(Args) -> T) -> T {
    let mut room = [std::ptr::null(); ON_STACK];
    fill(room.as_mut_ptr());
    exec(room.as_ptr())
}
