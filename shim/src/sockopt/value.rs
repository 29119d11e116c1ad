//! Values as `setsockopt` gives and `getsockopt` takes them.

use crate::errno::Errno;
use crate::sys;
use libc::{c_int, c_void, socklen_t};

/// A value given to `setsockopt`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a>(pub(super) &'a [u8]);

impl<'a> Value<'a> {
    /// # Safety
    /// `pointer` is null or readable for `len` octets during 'a.
    pub(super) unsafe fn new(pointer: *const c_void, len: socklen_t) -> Result<Self, Errno> {
        let len = usize::try_from(len.cast_signed()).map_err(|_| Errno(libc::EINVAL))?;
        if len == 0 {
            return Ok(Self(&[]));
        }
        if pointer.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        sys::check_readable(pointer, len)?;
        // SAFETY: promised by the caller, not null.
        Ok(Self(unsafe {
            std::slice::from_raw_parts(pointer.cast(), len)
        }))
    }

    /// The first octets of a longer value.
    pub(super) fn head<const N: usize>(self) -> Result<[u8; N], Errno> {
        self.0.first_chunk().copied().ok_or(Errno(libc::EINVAL))
    }

    /// A value of this length and no other.
    pub(super) fn exactly<const N: usize>(self) -> Result<[u8; N], Errno> {
        self.0.try_into().map_err(|_| Errno(libc::EINVAL))
    }

    /// `N` unsigned integers of 32 bits. Programs that define ULONG as `unsigned long` hand over 64-bit
    /// ones; those that fit are taken.
    pub(super) fn words<const N: usize>(self) -> Result<[u32; N], Errno> {
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
    pub(super) fn word(self) -> Result<u32, Errno> {
        self.words().map(|[word]| word)
    }

    /// Two unsigned integers of 16 bits.
    pub(super) fn halves(self) -> Result<[u16; 2], Errno> {
        let [a, b, c, d] = self.exactly()?;
        Ok([u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])])
    }

    /// An int, as options of Linux take it: what is longer is not looked at.
    pub(super) fn int(self) -> Result<c_int, Errno> {
        self.head().map(c_int::from_ne_bytes)
    }

    /// An int or a single octet, as the IP options take it.
    pub(super) fn int_or_octet(self) -> Result<c_int, Errno> {
        self.int()
            .or_else(|error| self.0.first().map(|&octet| octet.into()).ok_or(error))
    }
}

/// Where `getsockopt` wants its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) pointer: *mut c_void,
    pub(super) len: *mut socklen_t,
}

impl Place {
    /// How much room there is.
    ///
    /// # Safety
    /// The length is null or valid as `getsockopt` demands.
    pub(super) unsafe fn room(self) -> Result<usize, Errno> {
        if self.len.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        sys::check_readable(self.len.cast(), size_of::<socklen_t>())?;
        // SAFETY: promised by the caller.
        let room = unsafe { self.len.read_unaligned() }.cast_signed();
        usize::try_from(room).map_err(|_| Errno(libc::EINVAL))
    }

    /// Linux's rule: copy what fits, say how much that was.
    ///
    /// # Safety
    /// Both pointers are null or valid as `getsockopt` demands.
    pub(super) unsafe fn put(self, answer: &[u8]) -> Result<(), Errno> {
        // SAFETY: promised by the caller.
        let room = unsafe { self.room() }?;
        let len = answer.len().min(room);
        if self.pointer.is_null() && len > 0 {
            return Err(Errno(libc::EFAULT));
        }
        sys::check_readable(self.pointer, len)?;
        // SAFETY: promised by the caller; no more than there is room for.
        unsafe {
            if len > 0 {
                std::ptr::copy_nonoverlapping(answer.as_ptr(), self.pointer.cast(), len);
            }
            self.len.write_unaligned(len as socklen_t);
        }
        Ok(())
    }
}

/// An answer: the octets `getsockopt` copies.
pub(super) type Answer = Vec<u8>;

pub(super) fn int_answer(value: c_int) -> Result<Answer, Errno> {
    Ok(value.to_ne_bytes().to_vec())
}

pub(super) fn word_answer(value: u32) -> Result<Answer, Errno> {
    Ok(value.to_ne_bytes().to_vec())
}

/// Integers one after another.
pub(super) fn words_answer(words: &[u32]) -> Result<Answer, Errno> {
    Ok(words.iter().flat_map(|word| word.to_ne_bytes()).collect())
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
}
