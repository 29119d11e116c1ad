//! C socket addresses: the only place that reads or writes a `sockaddr`.

use crate::errno::Errno;
use crate::sys;
use libc::{c_int, sockaddr, sockaddr_in, socklen_t};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Octets of a `sockaddr_in`.
const LEN: usize = size_of::<sockaddr_in>();

/// Read the address of `bind` or `connect`.
///
/// # Errors
/// As Linux: EINVAL for a length that is impossible, EFAULT for no pointer, EAFNOSUPPORT for another
/// family.
///
/// # Safety
/// `addr` is null or readable for `len` octets.
pub(crate) unsafe fn read(addr: *const sockaddr, len: socklen_t) -> Result<SocketAddrV4, Errno> {
    let len = usize::try_from(len).map_err(|_| Errno(libc::EINVAL))?;
    if len > size_of::<libc::sockaddr_storage>() {
        return Err(Errno(libc::EINVAL));
    }
    if len > 0 && addr.is_null() {
        return Err(Errno(libc::EFAULT));
    }
    sys::check_readable(addr.cast(), len)?;
    if len < LEN {
        return Err(Errno(libc::EINVAL));
    }
    // SAFETY: not null and long enough.
    let addr = unsafe { addr.cast::<sockaddr_in>().read_unaligned() };
    match i32::from(addr.sin_family) {
        libc::AF_INET => {}
        // `bind` has always taken a zeroed address for INADDR_ANY.
        libc::AF_UNSPEC if addr.sin_addr.s_addr == libc::INADDR_ANY => {}
        _ => return Err(Errno(libc::EAFNOSUPPORT)),
    }
    Ok(SocketAddrV4::new(
        Ipv4Addr::from(u32::from_be(addr.sin_addr.s_addr)),
        u16::from_be(addr.sin_port),
    ))
}

/// Whether the address of a `connect` is none, which asks to undo an earlier one (AF_UNSPEC).
///
/// # Safety
/// As [`read`].
pub(crate) unsafe fn is_unspecified(addr: *const sockaddr, len: socklen_t) -> bool {
    let family = size_of::<libc::sa_family_t>();
    // SAFETY: there and long enough.
    !addr.is_null()
        && len as usize >= family
        && sys::check_readable(addr.cast(), family).is_ok()
        && i32::from(unsafe { (*addr).sa_family }) == libc::AF_UNSPEC
}

/// Where a caller wants an address: pointer and length as in `getpeername`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    addr: *mut sockaddr,
    len: *mut socklen_t,
}

impl Place {
    /// What a caller of `getsockname` or `accept` gave.
    ///
    /// # Safety
    /// Each pointer is null or stays valid until the last `write`: `len` readable and writable, `addr`
    /// writable for `*len` octets.
    pub(crate) unsafe fn new(addr: *mut sockaddr, len: *mut socklen_t) -> Self {
        Self { addr, len }
    }

    /// Whether the caller wants no address.
    pub(crate) fn is_none(self) -> bool {
        self.addr.is_null()
    }

    /// Whether `write` would succeed.
    ///
    /// # Errors
    /// EFAULT without pointers, EINVAL for a negative length.
    pub(crate) fn check(self) -> Result<(), Errno> {
        if self.addr.is_null() || self.len.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        // SAFETY: promised at `new`.
        let room = unsafe { self.len.read_unaligned() };
        if i32::try_from(room).is_err() {
            Err(Errno(libc::EINVAL))
        } else {
            Ok(())
        }
    }

    /// As `check`, for pointers of which nothing is known: costs system calls on `fd`, a socket.
    ///
    /// # Errors
    /// As `check`; EFAULT also for what cannot be read or written.
    pub(crate) fn probe(self, fd: c_int) -> Result<(), Errno> {
        if self.addr.is_null() || self.len.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        sys::check_readable(self.len.cast(), size_of::<socklen_t>())?;
        self.check()?;
        let mut answer = [0_u8; size_of::<c_int>()];
        // SAFETY: what may be overwritten was read just before, and is restored.
        unsafe {
            let room = self.len.read_unaligned();
            sys::check_writable(fd, answer.as_mut_ptr().cast(), self.len)?;
            self.len.write_unaligned(room);
            let mut some = room.min(answer.len() as socklen_t);
            let (place, count) = (self.addr.cast::<u8>(), some as usize);
            sys::check_readable(place.cast(), count)?;
            std::ptr::copy_nonoverlapping(place, answer.as_mut_ptr(), count);
            sys::check_writable(fd, place.cast(), &raw mut some)?;
            std::ptr::copy_nonoverlapping(answer.as_ptr(), place, count);
        }
        Ok(())
    }

    /// The kernel's rule: copy what fits, say how long the address is.
    ///
    /// # Errors
    /// As `check`.
    pub(crate) fn write(self, value: SocketAddrV4) -> Result<(), Errno> {
        self.check()?;
        let full = to_c(value);
        // SAFETY: promised at `new`; the source is `LEN` octets.
        unsafe {
            let room = usize::try_from(self.len.read_unaligned()).unwrap_or(0);
            let source = (&raw const full).cast::<u8>();
            std::ptr::copy_nonoverlapping(source, self.addr.cast::<u8>(), room.min(LEN));
            self.len.write_unaligned(LEN as socklen_t);
        }
        Ok(())
    }
}

/// As a `sockaddr_in`.
pub(crate) fn to_c(addr: SocketAddrV4) -> sockaddr_in {
    sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: addr.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*addr.ip()).to_be(),
        },
        sin_zero: [0; 8],
    }
}

/// The same as octets in memory.
pub(crate) fn octets(addr: SocketAddrV4) -> Vec<u8> {
    let mut octets = (libc::AF_INET as u16).to_ne_bytes().to_vec();
    octets.extend(addr.port().to_be_bytes());
    octets.extend(addr.ip().octets());
    octets.extend([0; 8]);
    octets
}

/// An address as one word, for atomics.
pub(crate) fn pack(addr: SocketAddrV4) -> u64 {
    u64::from(u32::from(*addr.ip())) << 16 | u64::from(addr.port())
}

/// Back from [`pack`].
pub(crate) fn unpack(word: u64) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from((word >> 16) as u32), word as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 192, 0, 1), 7500);

    fn read_from(bytes: &[u8]) -> Result<SocketAddrV4, Errno> {
        // SAFETY: the slice is readable for its length.
        unsafe { read(bytes.as_ptr().cast(), bytes.len() as socklen_t) }
    }

    fn octets(addr: &sockaddr_in) -> &[u8] {
        // SAFETY: plain old data.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(addr).cast(), LEN) }
    }

    #[test]
    fn reads_what_it_writes() {
        assert_eq!(read_from(octets(&to_c(ADDR))), Ok(ADDR));
        assert_eq!(unpack(pack(ADDR)), ADDR);
    }

    #[test]
    fn refuses_what_linux_refuses() {
        let full = to_c(ADDR);
        assert_eq!(
            read_from(&octets(&full)[..LEN - 1]),
            Err(Errno(libc::EINVAL))
        );
        assert_eq!(read_from(&[]), Err(Errno(libc::EINVAL)));
        assert_eq!(read_from(&[0; 129]), Err(Errno(libc::EINVAL)));
        let six = sockaddr_in {
            sin_family: libc::AF_INET6 as u16,
            ..full
        };
        assert_eq!(read_from(octets(&six)), Err(Errno(libc::EAFNOSUPPORT)));
        // SAFETY: null is allowed.
        let nothing = unsafe { read(std::ptr::null(), 16) };
        assert_eq!(nothing, Err(Errno(libc::EFAULT)));
    }

    #[test]
    fn truncates_as_linux_does() {
        let mut room = [0xee_u8; LEN];
        let mut len: socklen_t = 4;
        let len: *mut socklen_t = &raw mut len;
        // SAFETY: both are valid.
        let place = unsafe { Place::new(room.as_mut_ptr().cast(), len) };
        assert_eq!(place.write(ADDR), Ok(()));
        // SAFETY: as above.
        assert_eq!(unsafe { len.read() }, LEN as socklen_t);
        assert_eq!(&room[..5], &[2, 0, 0x1d, 0x4c, 0xee]);
        // SAFETY: as above.
        unsafe { len.write(u32::MAX) };
        assert_eq!(place.write(ADDR), Err(Errno(libc::EINVAL)));
    }
}
