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
use crate::socket::{self, Socket};
use crate::stdio;
use crate::sys;
use crate::twin;
use libc::{c_char, c_int, c_uint, mmsghdr, msghdr, ssize_t};
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

/// How far above the present frame a header is surely on the stack.
const NEAR: usize = 16 << 10;

/// Whether a message may have something beside it, as far as can be told before the call: only the kernel may look
/// at a header that may be no memory. On the stack, where nearly all are, it is.
#[inline]
pub(crate) fn may_carry(header: *const msghdr) -> bool {
    let is_near = header.addr().wrapping_sub(sys::stack_pointer()) < NEAR;
    // SAFETY: on the stack, as `sendmsg` and `recvmsg` take it.
    !is_near || unsafe { (*header).msg_controllen != 0 }
}

/// Likewise for several messages; many of them are not looked at twice.
#[inline]
pub(crate) fn may_one_carry(headers: *const mmsghdr, count: c_uint) -> bool {
    count > 4 || (0..count).any(|i| may_carry(headers.wrapping_add(i as usize).cast()))
}

/// After `sendmsg` or `recvmsg` on a descriptor that is not ours: `look` at what went or came beside the message.
///
/// # Safety
/// `len` is what the call has returned for this header; `look` is for that call.
#[inline]
pub(crate) unsafe fn after_one(len: ssize_t, header: *const msghdr, look: unsafe fn(&msghdr)) {
    // SAFETY: the kernel has taken or filled the header.
    unsafe {
        if len >= 0 && (*header).msg_controllen != 0 {
            look(&*header);
        }
    }
}

/// After `sendmmsg` or `recvmmsg`, likewise.
///
/// # Safety
/// `count` is what the call has returned for these headers; `look` is for that call.
pub(crate) unsafe fn after_many(count: c_int, headers: *const mmsghdr, look: unsafe fn(&msghdr)) {
    for i in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: the kernel has taken or filled as many headers as it says.
        unsafe { after_one(0, headers.add(i).cast(), look) };
    }
}

/// What was sent may have given one of ours to another process.
///
/// # Safety
/// The header is as `sendmsg` has taken it.
#[cold]
#[inline(never)]
pub(crate) unsafe fn given(header: &msghdr) {
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

/// What was received may have brought one of ours.
///
/// # Safety
/// The header is as `recvmsg` has left it.
#[cold]
#[inline(never)]
pub(crate) unsafe fn received(header: &msghdr) {
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
