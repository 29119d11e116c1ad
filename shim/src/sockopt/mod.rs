//! `setsockopt` and `getsockopt`: one table says which options are answered here and when they may be
//! set. Other SOL_SOCKET options are the pair's own; everything else is unknown.

mod generic;
mod own;
mod pgm;
mod window;

use crate::errno::{Errno, Native};
use crate::interpose::call;
use crate::lock::{Control, control};
use crate::next;
use crate::socket::{Kind, Settings, Socket};
use libc::{c_int, c_void, socklen_t};

/// A value given to `setsockopt`.
#[derive(Clone, Copy, Debug)]
struct Value<'a>(&'a [u8]);

impl<'a> Value<'a> {
    /// # Safety
    /// `pointer` is null or readable for `len` octets during 'a.
    unsafe fn new(pointer: *const c_void, len: socklen_t) -> Result<Self, Errno> {
        let len = usize::try_from(len.cast_signed()).map_err(|_| Errno(libc::EINVAL))?;
        if len == 0 {
            return Ok(Self(&[]));
        }
        if pointer.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        // SAFETY: promised by the caller, not null.
        Ok(Self(unsafe {
            std::slice::from_raw_parts(pointer.cast(), len)
        }))
    }

    /// The first octets of a longer value.
    fn head<const N: usize>(self) -> Result<[u8; N], Errno> {
        self.0.first_chunk().copied().ok_or(Errno(libc::EINVAL))
    }

    /// A value of this length and no other.
    fn exactly<const N: usize>(self) -> Result<[u8; N], Errno> {
        self.0.try_into().map_err(|_| Errno(libc::EINVAL))
    }

    /// `N` unsigned integers of 32 bits. Programs that define ULONG as `unsigned long` hand over 64-bit
    /// ones; those that fit are taken.
    fn words<const N: usize>(self) -> Result<[u32; N], Errno> {
        let mut words = [0; N];
        let (chunks, wide) = match self.0.len() {
            len if len == 4 * N => (self.0.chunks_exact(4), false),
            len if len == 8 * N => (self.0.chunks_exact(8), true),
            _ => return Err(Errno(libc::EINVAL)),
        };
        for (word, chunk) in words.iter_mut().zip(chunks) {
            *word = match wide {
                false => chunk.try_into().map(u32::from_ne_bytes).ok(),
                true => chunk
                    .try_into()
                    .map(u64::from_ne_bytes)
                    .ok()
                    .and_then(|n| n.try_into().ok()),
            }
            .ok_or(Errno(libc::EINVAL))?;
        }
        Ok(words)
    }

    /// One of them.
    fn word(self) -> Result<u32, Errno> {
        self.words().map(|[word]| word)
    }

    /// An int, as options of Linux take it: what is longer is not looked at.
    fn int(self) -> Result<c_int, Errno> {
        self.head().map(c_int::from_ne_bytes)
    }

    /// An int or a single octet, as the IP options take it.
    fn int_or_octet(self) -> Result<c_int, Errno> {
        self.int()
            .or_else(|error| self.0.first().map(|&octet| octet.into()).ok_or(error))
    }
}

/// Where `getsockopt` wants its answer.
#[derive(Clone, Copy, Debug)]
struct Place {
    pointer: *mut c_void,
    len: *mut socklen_t,
}

impl Place {
    /// Linux's rule: copy what fits, say how much that was.
    ///
    /// # Safety
    /// Both pointers are null or valid as `getsockopt` demands.
    unsafe fn put(self, answer: &[u8]) -> Result<(), Errno> {
        if self.len.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        // SAFETY: promised by the caller.
        let room = unsafe { self.len.read_unaligned() }.cast_signed();
        let room = usize::try_from(room).map_err(|_| Errno(libc::EINVAL))?;
        if self.pointer.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        let len = answer.len().min(room);
        // SAFETY: promised by the caller; no more than there is room for.
        unsafe {
            std::ptr::copy_nonoverlapping(answer.as_ptr(), self.pointer.cast(), len);
            self.len.write_unaligned(len as socklen_t);
        }
        Ok(())
    }
}

/// An answer: the octets `getsockopt` copies.
type Answer = Vec<u8>;

fn int_answer(value: c_int) -> Result<Answer, Errno> {
    Ok(value.to_ne_bytes().to_vec())
}

fn word_answer(value: u32) -> Result<Answer, Errno> {
    Ok(value.to_ne_bytes().to_vec())
}

/// An option call: the socket, and the lock that opens its settings.
struct Call {
    socket: &'static Socket,
    control: Control,
}

impl Call {
    fn settings(&mut self) -> Result<&mut Settings, Errno> {
        self.socket.settings(&mut self.control)
    }
}

type Setter = fn(&mut Call, Value<'_>) -> Result<(), Errno>;
type Getter = fn(&mut Call) -> Result<Answer, Errno>;

/// When an option may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phases {
    /// At any time, on any side.
    Any,
    /// On either side, before `connect` or `listen`.
    Unconnected,
    /// On a sender, at any time.
    Sending,
    /// On a sender, before `connect`.
    Sender,
    /// On a receiver, before `listen`; harmless on sessions, where programs set it too.
    Receiver,
}

impl Phases {
    fn check(self, kind: Kind) -> Result<(), Errno> {
        match (self, kind) {
            (Self::Any, _) | (_, Kind::Fresh | Kind::Bound) => Ok(()),
            (Self::Receiver, Kind::Session) | (Self::Sending, Kind::Sender) => Ok(()),
            (Self::Unconnected, _)
            | (Self::Sender, Kind::Sender)
            | (Self::Receiver, Kind::Listening) => Err(Errno(libc::EISCONN)),
            (Self::Sender | Self::Sending, Kind::Listening | Kind::Session)
            | (Self::Receiver, Kind::Sender) => Err(Errno(libc::EINVAL)),
        }
    }
}

/// An option that is answered here.
struct Row {
    level: c_int,
    name: c_int,
    set: Option<Setter>,
    get: Option<Getter>,
    phases: Phases,
}

impl Row {
    /// Known to Windows' programs, but not here: refused as unknown.
    const fn absent(level: c_int, name: c_int) -> Self {
        Self {
            level,
            name,
            set: None,
            get: None,
            phases: Phases::Any,
        }
    }
}

fn rows() -> impl Iterator<Item = &'static Row> {
    [pgm::ROWS, own::ROWS, generic::ROWS].into_iter().flatten()
}

fn find(level: c_int, name: c_int) -> Option<&'static Row> {
    let found = |row: &&Row| row.level == level && row.name == name;
    rows().find(found)
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
        let Some(row) = find(level, name) else {
            if level != libc::SOL_SOCKET {
                return Err(UNKNOWN);
            }
            // SAFETY: the caller's promise.
            return unsafe { next::setsockopt(fd, level, name, pointer, len) }.check();
        };
        let set = row.set.ok_or(UNKNOWN)?;
        // SAFETY: the caller's promise.
        let value = unsafe { Value::new(pointer, len) }?;
        let mut call = Call {
            socket,
            control: control()?,
        };
        row.phases.check(socket.kind())?;
        set(&mut call, value).map(|()| 0)
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
        if (level, name) == (libc::SOL_SOCKET, libc::SO_ERROR)
            && let Some(error) = socket.take_deferred()
        {
            // SAFETY: the caller's promise.
            return unsafe { Place { pointer, len }.put(&error.0.to_ne_bytes()) }.map(|()| 0);
        }
        let Some(row) = find(level, name) else {
            if level != libc::SOL_SOCKET {
                return Err(UNKNOWN);
            }
            // SAFETY: the caller's promise.
            return unsafe { next::getsockopt(fd, level, name, pointer, len) }.check();
        };
        let get = row.get.ok_or(UNKNOWN)?;
        let mut call = Call {
            socket,
            control: control()?,
        };
        let answer = get(&mut call)?;
        // SAFETY: the caller's promise.
        unsafe { Place { pointer, len }.put(&answer) }.map(|()| 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_integers_are_taken_if_they_fit() {
        assert_eq!(Value(&7_u32.to_ne_bytes()).word(), Ok(7));
        assert_eq!(Value(&7_u64.to_ne_bytes()).word(), Ok(7));
        assert_eq!(
            Value(&(1_u64 << 32).to_ne_bytes()).word(),
            Err(Errno(libc::EINVAL))
        );
        assert_eq!(Value(&[0; 3]).word(), Err(Errno(libc::EINVAL)));
        assert_eq!(Value(&[]).word(), Err(Errno(libc::EINVAL)));
        assert_eq!(Value(&[0; 12]).words(), Ok([0; 3]));
        assert_eq!(Value(&[0; 24]).words(), Ok([0; 3]));
    }

    #[test]
    fn options_are_refused_in_the_wrong_phase() {
        let errno = |phases: Phases, kind| phases.check(kind).err().map(|error| error.0);
        assert_eq!(errno(Phases::Sender, Kind::Bound), None);
        assert_eq!(errno(Phases::Sender, Kind::Sender), Some(libc::EISCONN));
        assert_eq!(errno(Phases::Sender, Kind::Session), Some(libc::EINVAL));
        assert_eq!(errno(Phases::Receiver, Kind::Session), None);
        assert_eq!(errno(Phases::Receiver, Kind::Sender), Some(libc::EINVAL));
        assert_eq!(errno(Phases::Any, Kind::Sender), None);
    }

    #[test]
    fn no_option_is_listed_twice() {
        let mut names: Vec<_> = rows().map(|row| (row.level, row.name)).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
