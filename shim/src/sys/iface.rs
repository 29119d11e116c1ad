//! Interfaces by name, index and address.

use super::inet_socket;
use crate::errno::{Errno, Native};
use crate::next;
use libc::c_void;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

/// The IPv4 address of the interface with this index.
pub(crate) fn address_of_interface(index: u32) -> Result<Ipv4Addr, Errno> {
    let none = Errno(libc::ENODEV);
    let probe = inet_socket(libc::SOCK_DGRAM, 0)?;
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let place = (&raw mut request).cast::<c_void>();
    // SAFETY: the name has room for IF_NAMESIZE octets; the request is valid; after SIOCGIFADDR the
    // union holds an address.
    unsafe {
        if libc::if_indextoname(index, request.ifr_name.as_mut_ptr()).is_null() {
            return Err(none);
        }
        next::ioctl(probe.as_raw_fd(), libc::SIOCGIFADDR, place)
            .check()
            .map_err(|_| none)?;
        let addr = (&raw const request.ifr_ifru.ifru_addr).cast::<libc::sockaddr_in>();
        Ok(Ipv4Addr::from(u32::from_be(
            addr.read_unaligned().sin_addr.s_addr,
        )))
    }
}

/// The index of the interface with this name.
pub(crate) fn index_of_interface(name: &[u8]) -> Result<u32, Errno> {
    let name = std::ffi::CString::new(name).map_err(|_| Errno(libc::EINVAL))?;
    // SAFETY: a string.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(Errno(libc::ENODEV)),
        index => Ok(index),
    }
}

/// The name of the interface with this index, with its NUL.
pub(crate) fn name_of_interface(index: u32) -> Result<Vec<u8>, Errno> {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: there is room for IF_NAMESIZE octets.
    if unsafe { libc::if_indextoname(index, name.as_mut_ptr()) }.is_null() {
        return Err(Errno(libc::ENODEV));
    }
    let len = name.iter().position(|c| *c == 0).unwrap_or(name.len() - 1);
    Ok(name[..=len].iter().map(|c| c.cast_unsigned()).collect())
}
