//! PGM's names: `getaddrinfo` for our kinds of socket, and the protocol's entry in the protocol database.
//!
//! libc is asked first and its errors are kept, so that hosts and services come from wherever this system
//! has them. What else a program looks up is not touched. `getnameinfo` and `getservbyname` need nothing:
//! they know addresses, ports and the services of UDP, and no kind of socket.

use crate::errno;
use crate::interpose::inside;
use crate::next;
use crate::socket::{self, IPPROTO_PGM};
use libc::{addrinfo, c_char, c_int, protoent};
use std::cell::UnsafeCell;
use std::ffi::CStr;

/// The protocols that hints for one of our sockets leave open; `None` if they are for another socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// This one.
    Protocol(c_int),
    /// The best that this process may use.
    Any,
}

fn asked(hints: &addrinfo) -> Option<Asked> {
    if ![libc::AF_UNSPEC, libc::AF_INET].contains(&hints.ai_family) {
        return None;
    }
    match (hints.ai_socktype, hints.ai_protocol) {
        (libc::SOCK_RDM, 0) => Some(Asked::Any),
        (libc::SOCK_RDM, protocol @ (IPPROTO_PGM | libc::IPPROTO_UDP))
        | (libc::SOCK_STREAM, protocol @ IPPROTO_PGM) => Some(Asked::Protocol(protocol)),
        _ => None,
    }
}

impl Asked {
    /// As a socket's protocol: native PGM where that needs no more privilege than there is.
    fn protocol(self) -> c_int {
        match self {
            Self::Protocol(protocol) => protocol,
            Self::Any => {
                inside(|| socket::try_native().map(|()| IPPROTO_PGM)).unwrap_or(libc::IPPROTO_UDP)
            }
        }
    }
}

/// `getaddrinfo`. libc knows no SOCK_RDM: it is asked for datagrams, and its list, which it will also free, then
/// says what was wanted.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    list: *mut *mut addrinfo,
) -> c_int {
    // SAFETY: null or a struct of the caller's.
    let Some((wanted, asked)) = unsafe { hints.as_ref() }.and_then(|h| Some((h, asked(h)?))) else {
        // SAFETY: the caller's.
        return unsafe { next::getaddrinfo(node, service, hints, list) };
    };
    let datagrams = addrinfo {
        ai_family: libc::AF_INET,
        ai_socktype: libc::SOCK_DGRAM,
        ai_protocol: libc::IPPROTO_UDP,
        ..*wanted
    };
    // SAFETY: the caller's; the hints are only read.
    let status = unsafe { next::getaddrinfo(node, service, &raw const datagrams, list) };
    if status == 0 {
        let protocol = asked.protocol();
        // SAFETY: libc has set it to a list that is the caller's alone.
        let mut entry = unsafe { list.read() };
        // SAFETY: null at the end of the list.
        while let Some(info) = unsafe { entry.as_mut() } {
            info.ai_socktype = wanted.ai_socktype;
            info.ai_protocol = protocol;
            entry = info.ai_next;
        }
    }
    status
}

/// What a C program gets a plain pointer to, as from libc.
struct Shared<T>(UnsafeCell<T>);

// SAFETY: this library never reads or writes it after the beginning; what the program does with entries of the
// protocol database is its own affair, as with libc's.
unsafe impl<T> Sync for Shared<T> {}

/// The names beside `pgm`: `/etc/protocols` writes the first, Windows' IPPROTO_RM is the second.
static ALIASES: Shared<[*mut c_char; 3]> = Shared(UnsafeCell::new([
    c"PGM".as_ptr().cast_mut(),
    c"rm".as_ptr().cast_mut(),
    std::ptr::null_mut(),
]));

/// What `getprotobyname` and `getprotobynumber` give out.
static ENTRY: Shared<protoent> = Shared(UnsafeCell::new(entry()));

/// IANA's entry of protocol 113.
const fn entry() -> protoent {
    protoent {
        p_name: c"pgm".as_ptr().cast_mut(),
        p_aliases: ALIASES.0.get().cast(),
        p_proto: IPPROTO_PGM,
    }
}

/// Whether a name is one of the entry's.
///
/// # Safety
/// `name` is null or a C string.
pub(crate) unsafe fn is_pgm(name: *const c_char) -> bool {
    // SAFETY: the caller's promise.
    !name.is_null() && [c"pgm", c"PGM", c"rm"].contains(&unsafe { CStr::from_ptr(name) })
}

/// `getprotobyname` and `getprotobynumber`: our entry where libc has none and `is_ours`.
pub(crate) fn protocol(
    lookup: impl FnOnce() -> *mut protoent,
    is_ours: impl FnOnce() -> bool,
) -> *mut protoent {
    let saved = errno::get();
    let found = lookup();
    if !found.is_null() || !is_ours() {
        return found;
    }
    errno::set(saved);
    ENTRY.0.get()
}

/// Their `_r` kind, with the caller's memory.
///
/// # Safety
/// As the C functions: `room` and `result` are writable.
pub(crate) unsafe fn protocol_r(
    room: *mut protoent,
    result: *mut *mut protoent,
    lookup: impl FnOnce() -> c_int,
    is_ours: impl FnOnce() -> bool,
) -> c_int {
    let saved = errno::get();
    let status = lookup();
    // ENOENT: there is no /etc/protocols.
    // SAFETY: the caller's promise.
    let missing = [0, libc::ENOENT].contains(&status) && unsafe { result.read() }.is_null();
    if !missing || !is_ours() {
        return status;
    }
    // SAFETY: the caller's promise.
    unsafe {
        room.write(entry());
        result.write(room);
    }
    errno::set(saved);
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(ai_family: c_int, ai_socktype: c_int, ai_protocol: c_int) -> Option<Asked> {
        // SAFETY: all zero is valid.
        let zero: addrinfo = unsafe { std::mem::zeroed() };
        asked(&addrinfo {
            ai_family,
            ai_socktype,
            ai_protocol,
            ..zero
        })
    }

    #[test]
    fn only_our_sockets_are_ours() {
        for family in [libc::AF_UNSPEC, libc::AF_INET] {
            assert_eq!(hints(family, libc::SOCK_RDM, 0), Some(Asked::Any));
            for (kind, protocol) in [
                (libc::SOCK_RDM, 113),
                (libc::SOCK_RDM, 17),
                (libc::SOCK_STREAM, 113),
            ] {
                let expected = Some(Asked::Protocol(protocol));
                assert_eq!(hints(family, kind, protocol), expected);
                assert_eq!(hints(libc::AF_INET6, kind, protocol), None);
            }
            for (kind, protocol) in [
                (libc::SOCK_RDM, libc::IPPROTO_TCP),
                (libc::SOCK_STREAM, 0),
                (libc::SOCK_STREAM, libc::IPPROTO_TCP),
                (libc::SOCK_DGRAM, 0),
                (libc::SOCK_DGRAM, 113),
                (libc::SOCK_RAW, 113),
                (0, 113),
                (0, 0),
            ] {
                assert_eq!(hints(family, kind, protocol), None);
            }
        }
    }
}
