//! The sockets of one carriage, UDP or native: joins groups, receives and sends batches of TPDUs.
//!
//! Owned by the engine thread. Knows addresses, ports and TSIs, not the protocol. Typical round:
//! `receive` what is readable, hand it to the endpoint, `forward` what was somebody else's, `push` all
//! the endpoint wants to send, `flush`; while `is_blocked`, push nothing more and `flush` again after a millisecond.

use super::Carriage;
use super::config::{Defaults, SendOptions};
pub(super) use super::iface::Interface;
use crate::Transmit;
use crate::endpoint::{Arrival, SourceId};
use crate::num::Tsi;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::RawFd;

/// Names a descriptor of a carrier; not reused within a carrier's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PortId(pub u32);

/// A descriptor of a carrier to be watched for input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watch {
    /// To add to the epoll set (level-triggered `EPOLLIN`).
    pub fd: RawFd,
    /// For [`Carrier::receive`].
    pub port: PortId,
}

/// Counters of a carrier; 64-bit, monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CarrierStats {
    /// TPDUs handed to `each`.
    pub received: u64,
    /// Octets of them.
    pub received_bytes: u64,
    /// Dropped because they are no whole packet: truncated, or a bad IP header.
    pub bad_packets: u64,
    /// Dropped on purpose (`PGM_FAULT_LOSS`).
    pub fault_dropped: u64,
    /// Dropped by the kernel because a receive buffer was full; of the sockets open now.
    pub kernel_dropped: u64,
    /// TPDUs the kernel took.
    pub sent: u64,
    /// Octets of them.
    pub sent_bytes: u64,
    /// TPDUs the kernel refused for good, or with no socket to go by.
    pub send_errors: u64,
    /// Times a socket refused for now (EAGAIN, ENOBUFS).
    pub blocked: u64,
    /// TPDUs handed to another process of this host (design D6).
    pub forwarded: u64,
    /// TPDUs for a TSI that no process of this host has, or whose process does not keep up.
    pub forward_dropped: u64,
    /// TPDUs handed to us by another process; they count as received, too.
    pub forwarded_in: u64,
}

/// Sockets of one carriage.
#[derive(Debug)]
pub(super) struct Carrier {
    _todo: (),
}

impl Carrier {
    /// Open the carriage's unicast socket.
    ///
    /// # Errors
    /// `EPERM` native without CAP_NET_RAW, `EADDRINUSE` the port is taken by a program that does not share.
    pub(super) fn open(carriage: Carriage, defaults: &Defaults) -> io::Result<Self> {
        let _ = (carriage, defaults);
        todo!()
    }

    /// All descriptors to watch. Read it again when [`Self::generation`] has changed; descriptors that
    /// are gone are closed, so they have left the epoll set by themselves.
    pub(super) fn watches(&self) -> Vec<Watch> {
        todo!()
    }

    /// Changes whenever `watches` does.
    pub(super) fn generation(&self) -> u64 {
        todo!()
    }

    /// The interface for this group (design D9): `wanted`, else `PGM_INTERFACE`, else the route, else the first
    /// that can multicast, else loopback.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` no interface has the address, `ENODEV` no interface at all.
    pub(super) fn route(&self, group: Ipv4Addr, wanted: Option<Ipv4Addr>) -> io::Result<Interface> {
        let _ = (group, wanted);
        todo!()
    }

    /// Largest TPDU of a source with these options: the IP packet less IP and UDP headers.
    pub(super) fn max_tpdu(&self, iface: &Interface, options: &SendOptions) -> usize {
        let _ = (iface, options);
        todo!()
    }

    /// Open the sockets of a source. Open it before the endpoint emits anything for it.
    ///
    /// # Errors
    /// `EADDRINUSE` another process of this host has this TSI: choose another; or as socket calls say.
    pub(super) fn open_source(
        &mut self,
        id: SourceId,
        tsi: Tsi,
        group: Ipv4Addr,
        dport: u16,
        iface: &Interface,
        options: &SendOptions,
    ) -> io::Result<()> {
        let _ = (id, tsi, group, dport, iface, options);
        todo!()
    }

    /// Close the sockets of a source; what it still has queued is sent or dropped first.
    pub(super) fn close_source(&mut self, id: SourceId) {
        let _ = id;
        todo!()
    }

    /// Join the group on these interfaces. Joins are counted: several listeners share a socket.
    ///
    /// # Errors
    /// As socket calls say; then nothing was joined.
    pub(super) fn join(
        &mut self,
        group: Ipv4Addr,
        dport: u16,
        ifaces: &[Interface],
    ) -> io::Result<()> {
        let _ = (group, dport, ifaces);
        todo!()
    }

    /// Undo one `join` with the same arguments.
    pub(super) fn leave(&mut self, group: Ipv4Addr, dport: u16, ifaces: &[Interface]) {
        let _ = (group, dport, ifaces);
        todo!()
    }

    /// Receive one batch from a watched descriptor; `each` gets every TPDU. Returns how many packets the
    /// kernel had; 0: it would block, or the port is gone. Fewer than [`BATCH`]: nothing is left.
    ///
    /// # Errors
    /// Only what a socket will say again and again.
    pub(super) fn receive(
        &mut self,
        port: PortId,
        each: &mut dyn FnMut(Arrival, &[u8]),
    ) -> io::Result<usize> {
        let _ = (port, each);
        todo!()
    }

    /// Queue one TPDU; sends when the batch is full.
    pub(super) fn push(&mut self, transmit: &Transmit, tpdu: &[u8]) {
        let _ = (transmit, tpdu);
        todo!()
    }

    /// The batch's buffer, to let `poll_transmit` append to it directly. Every TPDU appended must be
    /// announced with [`Self::commit`] before the next. `push` does both with a copy.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        todo!()
    }

    /// Queue the `transmit.len` octets just appended to [`Self::buffer`]; sends when the batch is full.
    pub(super) fn commit(&mut self, transmit: &Transmit) {
        let _ = transmit;
        todo!()
    }

    /// Send all that is queued. What a socket refuses for now stays queued, see [`Self::is_blocked`].
    ///
    /// # Errors
    /// The first packet refused for good, after everything was tried; already counted.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        todo!()
    }

    /// Something is still queued because a socket refused it: push nothing more, `flush` again after
    /// about a millisecond.
    pub(super) fn is_blocked(&self) -> bool {
        todo!()
    }

    /// Hand an upstream TPDU for a TSI of another process of this host to that process (design D6).
    pub(super) fn forward(&mut self, tsi: Tsi, tpdu: &[u8], from: Ipv4Addr) {
        let _ = (tsi, tpdu, from);
        todo!()
    }

    /// Counters.
    pub(super) fn stats(&self) -> CarrierStats {
        todo!()
    }
}

/// Most packets of one batch.
pub(super) const BATCH: usize = 64;
