//! Error numbers: the only error type of the shim, and the one place where engine errors become errno.

use libc::c_int;
use std::io;

/// An errno value, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) c_int);

impl From<io::Error> for Errno {
    /// The engine answers with OS errors; anything else is a fault of ours.
    fn from(error: io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// This thread's errno.
pub(crate) fn get() -> c_int {
    // SAFETY: the location is valid for the calling thread as long as it lives.
    unsafe { *libc::__errno_location() }
}

/// Set this thread's errno.
pub(crate) fn set(value: c_int) {
    // SAFETY: as in `get`.
    unsafe { *libc::__errno_location() = value };
}

/// Results of native calls that say -1 for an error.
pub(crate) trait Native: Sized {
    /// The value, or errno as the call has left it.
    fn check(self) -> Result<Self, Errno>;
}

impl Native for c_int {
    fn check(self) -> Result<Self, Errno> {
        if self < 0 {
            Err(Errno(get()))
        } else {
            Ok(self)
        }
    }
}

impl Native for isize {
    fn check(self) -> Result<Self, Errno> {
        if self < 0 {
            Err(Errno(get()))
        } else {
            Ok(self)
        }
    }
}
