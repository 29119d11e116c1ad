//! Sockets of PGM in UDP.
//!
//! Every process of a host binds the same two ports: multicast then reaches each of them, and unicast one of them,
//! which hands it on if need be ([`super::forward`]).

use super::config::SendOptions;
use super::iface::Interface;
use super::private::EngineFd;
use super::sys;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, SockRef, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};

/// Octets of IP and UDP header.
pub(super) const OVERHEAD: usize = 20 + 8;

/// Receive buffer, octets, if the system allows; covers some 20 ms at 1 Gbit/s.
const RECEIVE_BUFFER: libc::c_int = 4 << 20;
/// Send buffer, octets, if the system allows: a few batches.
const SEND_BUFFER: usize = 1 << 20;

fn socket() -> io::Result<EngineFd> {
    open(Type::DGRAM, Protocol::UDP)
}

/// A non-blocking socket that is the engine's own.
pub(super) fn open(kind: Type, protocol: Protocol) -> io::Result<EngineFd> {
    let socket = Socket::new(Domain::IPV4, kind.nonblocking(), Some(protocol))?;
    Ok(EngineFd::from(OwnedFd::from(socket)))
}

/// What sockets that receive have in common: they share their address, and membership alone says which
/// multicast they get (without IP_MULTICAST_ALL=0 it is whatever any process of the host has joined).
pub(super) fn prepare_receive(socket: &EngineFd) -> io::Result<()> {
    SockRef::from(socket).set_reuse_address(true)?;
    SockRef::from(socket).set_multicast_all_v4(false)?;
    sys::set_receive_buffer(socket.as_raw_fd(), RECEIVE_BUFFER)
}

/// What sockets of a source have in common: interface, source address and options, connected to
/// `group`, so that the kernel looks the route up once.
pub(super) fn prepare_source(
    socket: &EngineFd,
    group: SocketAddrV4,
    iface: &Interface,
    options: &SendOptions,
) -> io::Result<()> {
    sys::set_multicast_if(socket.as_raw_fd(), iface.index, iface.addr)?;
    // Not IP_RECVERR, which tells of drops in the device's queue: whoever waits for one slow device holds up the others,
    // and forged ICMP errors would refuse packets. What is dropped there is repaired as any loss.
    if let Some(priority) = options.priority {
        sys::set_priority(socket.as_raw_fd(), priority)?;
    }
    let socket = SockRef::from(socket);
    if let Some(mark) = options.mark {
        socket.set_mark(mark)?;
    }
    socket.set_multicast_ttl_v4(options.ttl.into())?;
    socket.set_multicast_loop_v4(options.loopback)?;
    socket.set_tos_v4(options.tos_sent().into())?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.connect(&SockAddr::from(group))
}

/// Join `group` on exactly this interface.
pub(super) fn join(socket: &EngineFd, group: Ipv4Addr, index: u32) -> io::Result<()> {
    SockRef::from(socket).join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))
}

/// Undo [`join`].
pub(super) fn leave(socket: &EngineFd, group: Ipv4Addr, index: u32) -> io::Result<()> {
    SockRef::from(socket).leave_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))
}

/// Bind to an address that others may have, too.
///
/// SO_REUSEADDR does it among ourselves, whatever the user. SO_REUSEPORT is for programs that set nothing
/// else: those that come later need to find it, and those that came earlier need it now. It must not be
/// set at `bind` without need: then the kernel puts sockets with equal addresses into one group, and Linux
/// (seen with 6.18) gives multicast that exactly one of them has joined, by its interface, to any of them.
fn bind(socket: &EngineFd, addr: SocketAddrV4) -> io::Result<()> {
    let socket = SockRef::from(socket);
    let first = socket.bind(&addr.into());
    socket.set_reuse_port(true)?;
    match first {
        Err(e) if e.raw_os_error() == Some(libc::EADDRINUSE) => socket.bind(&addr.into()),
        result => result,
    }
}

/// Socket for unicast to `addr` (any address if unspecified), and to send unicast from.
pub(super) fn unicast(addr: Ipv4Addr, port: u16) -> io::Result<EngineFd> {
    let socket = socket()?;
    prepare_receive(&socket)?;
    bind(&socket, SocketAddrV4::new(addr, port))?;
    Ok(socket)
}

/// Socket that receives one group from one interface. Bound to the group, so that it gets nothing else.
pub(super) fn group(group: Ipv4Addr, port: u16, iface: &Interface) -> io::Result<EngineFd> {
    let socket = socket()?;
    prepare_receive(&socket)?;
    bind(&socket, SocketAddrV4::new(group, port))?;
    join(&socket, group, iface.index)?;
    Ok(socket)
}

/// Socket a source sends to its group from.
pub(super) fn source(
    group: SocketAddrV4,
    iface: &Interface,
    options: &SendOptions,
) -> io::Result<EngineFd> {
    let socket = socket()?;
    prepare_source(&socket, group, iface, options)?;
    Ok(socket)
}
