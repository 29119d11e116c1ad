//! Sockets of PGM in UDP.
//!
//! Every process of a host binds the same two ports: multicast then reaches each of them, and unicast one of them,
//! which hands it on if need be ([`super::forward`]). SO_REUSEADDR lets different users share a port,
//! SO_REUSEPORT programs that set only that.

use super::config::SendOptions;
use super::iface::Interface;
use super::sys;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};

/// Octets of IP and UDP header.
pub(super) const OVERHEAD: usize = 20 + 8;

/// Receive buffer, octets, if the system allows; covers some 20 ms at 1 Gbit/s.
const RECEIVE_BUFFER: libc::c_int = 4 << 20;
/// Send buffer, octets, if the system allows: a few batches.
const SEND_BUFFER: usize = 1 << 20;

fn socket() -> io::Result<Socket> {
    open(Type::DGRAM, Protocol::UDP)
}

/// A non-blocking socket with a high number.
pub(super) fn open(kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let fd: OwnedFd = Socket::new(Domain::IPV4, kind.nonblocking(), Some(protocol))?.into();
    Ok(Socket::from(sys::high(fd)))
}

/// What sockets that receive have in common: they share their address, and membership alone says which
/// multicast they get (without IP_MULTICAST_ALL=0 it is whatever any process of the host has joined).
pub(super) fn prepare_receive(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    socket.set_multicast_all_v4(false)?;
    sys::set_receive_buffer(socket.as_raw_fd(), RECEIVE_BUFFER)
}

/// What sockets of a source have in common: interface, source address and options, connected to
/// `group`, so that the kernel looks the route up once.
pub(super) fn prepare_source(
    socket: &Socket,
    group: SocketAddrV4,
    iface: &Interface,
    options: &SendOptions,
) -> io::Result<()> {
    sys::set_multicast_if(socket.as_raw_fd(), iface.index, iface.addr)?;
    socket.set_multicast_ttl_v4(options.ttl.into())?;
    socket.set_multicast_loop_v4(options.loopback)?;
    socket.set_tos_v4(options.tos.into())?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.connect(&SockAddr::from(group))
}

/// Join `group` on exactly this interface.
pub(super) fn join(socket: &Socket, group: Ipv4Addr, iface: &Interface) -> io::Result<()> {
    socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(iface.index))
}

/// Socket for unicast to `addr` (any address if unspecified), and to send unicast from.
pub(super) fn unicast(addr: Ipv4Addr, port: u16) -> io::Result<Socket> {
    let socket = socket()?;
    prepare_receive(&socket)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddrV4::new(addr, port).into())?;
    Ok(socket)
}

/// Socket that receives one group from one interface. Bound to the group, so that it gets nothing else.
pub(super) fn group(group: Ipv4Addr, port: u16, iface: &Interface) -> io::Result<Socket> {
    let socket = socket()?;
    prepare_receive(&socket)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddrV4::new(group, port).into())?;
    join(&socket, group, iface)?;
    Ok(socket)
}

/// Socket a source sends to its group from.
pub(super) fn source(
    group: SocketAddrV4,
    iface: &Interface,
    options: &SendOptions,
) -> io::Result<Socket> {
    let socket = socket()?;
    prepare_source(&socket, group, iface, options)?;
    Ok(socket)
}
