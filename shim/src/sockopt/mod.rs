//! `setsockopt` and `getsockopt`: one table says which options are answered here, what they take and when
//! they may be set. Other SOL_SOCKET options are the pair's own, other IPPROTO_IP options are what
//! a UDP socket says to them; everything else is unknown.

mod ip;
mod member;
mod own;
#[cfg(test)]
mod page;
mod pgm;
mod plain;
mod shadow;
mod table;
mod value;
mod window;

use crate::errno::{Errno, Native};
use crate::exit;
use crate::interpose::call;
use crate::lock::{Control, control};
use crate::next;
use crate::socket::{IPPROTO_PGM, Settings, Socket};
use libc::{c_int, c_void, socklen_t};
pub(crate) use member::Members;
pub(crate) use shadow::Shadows;
use table::find;
use value::{Place, Value};

/// An option call: the socket, its descriptor, and the lock that opens its settings.
#[derive(Debug)]
struct Call {
    socket: &'static Socket,
    fd: c_int,
    /// Of the option.
    name: c_int,
    control: Control,
}

impl Call {
    fn settings(&mut self) -> Result<&mut Settings, Errno> {
        self.socket.settings(&mut self.control)
    }

    /// Let the pair's own socket have the value too: the kernel keeps and judges it.
    fn set_natively(&self, level: c_int, name: c_int, value: Value<'_>) -> Result<(), Errno> {
        let (pointer, len) = (value.0.as_ptr().cast(), value.0.len() as socklen_t);
        // SAFETY: the slice is readable.
        unsafe { next::setsockopt(self.fd, level, name, pointer, len) }
            .check()
            .map(drop)
    }
}

const UNKNOWN: Errno = Errno(libc::ENOPROTOOPT);

/// `setsockopt`.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn set(
    socket: &'static Socket,
    fd: c_int,
    level: c_int,
    name: c_int,
    pointer: *const c_void,
    len: socklen_t,
) -> c_int {
    call(|| {
        let set = match find(level, name) {
            Some(row) => Some((row, row.set.ok_or(UNKNOWN)?)),
            None if level == libc::SOL_SOCKET => {
                // SAFETY: the caller's promise.
                let result = unsafe { next::setsockopt(fd, level, name, pointer, len) }.check();
                if name == libc::SO_LINGER {
                    exit::tell_linger(socket, fd);
                }
                return result;
            }
            None if level == libc::IPPROTO_IP => None,
            None => return Err(UNKNOWN),
        };
        // SAFETY: the caller's promise.
        let value = unsafe { Value::new(pointer, len) }?;
        let control = control()?;
        let mut call = Call {
            socket,
            fd,
            name,
            control,
        };
        match set {
            Some((row, set)) => {
                row.value.check(value)?;
                row.phases.check(socket.kind())?;
                set(&mut call, value)?;
            }
            None => call.settings()?.shadows.set(name, value.0)?,
        }
        Ok(0)
    })
}

/// `getsockopt`.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn get(
    socket: &'static Socket,
    fd: c_int,
    level: c_int,
    name: c_int,
    pointer: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    call(|| {
        let place = Place { pointer, len };
        if (level, name) == (libc::SOL_SOCKET, libc::SO_ERROR)
            && let Some(error) = socket.take_deferred()
        {
            // SAFETY: the caller's promise.
            return unsafe { place.put(&error.0.to_ne_bytes()) }.map(|()| 0);
        }
        let row = match find(level, name) {
            Some(row) => Some((row, row.get.ok_or(UNKNOWN)?)),
            None if level == libc::SOL_SOCKET => {
                // SAFETY: the caller's promise.
                return unsafe { next::getsockopt(fd, level, name, pointer, len) }.check();
            }
            None if level == libc::IPPROTO_IP => None,
            None if level == IPPROTO_PGM => return Err(UNKNOWN),
            // What a UDP socket says of other levels.
            None => return Err(Errno(libc::EOPNOTSUPP)),
        };
        let control = control()?;
        let mut call = Call {
            socket,
            fd,
            name,
            control,
        };
        let answer = match row {
            Some((row, get)) => {
                if row.set.is_none() {
                    row.phases.check(socket.kind())?;
                }
                get(&mut call)?
            }
            None => {
                // SAFETY: the caller's promise.
                let room = unsafe { place.room() }?;
                call.settings()?.shadows.get(name, room)?
            }
        };
        // SAFETY: the caller's promise.
        unsafe { place.put(&answer) }.map(|()| 0)
    })
}
