//! The core on Linux: one engine thread, epoll, real sockets, application ends (design D4).
//!
//! [`Engine`] is the handle the shim (or a tool) holds. Every call is a request to the engine thread
//! and returns when it answered; the engine never waits for the application, so calls are short.

mod carrier;
pub mod config;
pub mod env;
mod iface;
pub mod log;
mod sys;

use crate::stats::{ReceiverStats, SourceStats};
use config::{ListenOptions, SendOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How PGM travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carriage {
    /// IP protocol 113.
    Native,
    /// UDP encapsulation with these two ports.
    Udp(config::UdpEncap),
}

/// Message boundaries at the application end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// SOCK_RDM over a SEQPACKET pair.
    Message,
    /// SOCK_STREAM over a STREAM pair.
    Stream,
}

/// A connected sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// For `stats`.
    pub id: Handle,
    /// Source address and TSI port: what `getsockname` says.
    pub local: SocketAddrV4,
}

/// Names a sender, listener or session inside the engine; 0 is never used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(pub u64);

/// The engine thread's handle. Dropping it does not end the thread.
#[derive(Debug)]
pub struct Engine {
    _todo: (),
}

impl Engine {
    /// Start the engine thread: all signals blocked, named `pgmshim`, its descriptors CLOEXEC and high.
    ///
    /// # Errors
    /// Of thread, epoll or eventfd creation.
    pub fn start() -> io::Result<Self> {
        todo!()
    }

    /// Begin a source. Messages are read from `engine_end` until end-of-file (the application's last
    /// reference closed, or it shut its writing side down), then the source is closed and lingers.
    ///
    /// # Errors
    /// An errno: `ENODEV` no multicast-capable interface, `EADDRNOTAVAIL` interface not ours, `EPERM`
    /// native without CAP_NET_RAW, `EADDRINUSE`, `ENOBUFS` …
    pub fn connect(
        &self,
        carriage: Carriage,
        mode: Mode,
        group: SocketAddrV4,
        options: SendOptions,
        engine_end: OwnedFd,
    ) -> io::Result<SenderInfo> {
        let _ = (carriage, mode, group, options, engine_end);
        todo!()
    }

    /// Begin to listen. Each session is sent on `engine_end` as one message: a [`SessionHello`] with
    /// the session's application end as SCM_RIGHTS. The listener ends when its application end closes;
    /// sessions live until theirs close.
    ///
    /// # Errors
    /// As `connect`.
    pub fn listen(
        &self,
        carriage: Carriage,
        mode: Mode,
        group: SocketAddrV4,
        options: ListenOptions,
        engine_end: OwnedFd,
    ) -> io::Result<Handle> {
        let _ = (carriage, mode, group, options, engine_end);
        todo!()
    }

    /// What `connect` or `listen` would find for these interfaces, without opening anything: lets
    /// `bind` fail early.
    ///
    /// # Errors
    /// `ENODEV`, `EADDRNOTAVAIL`, `EPERM`.
    pub fn check(
        &self,
        carriage: Carriage,
        group: Ipv4Addr,
        interface: &[Ipv4Addr],
    ) -> io::Result<()> {
        let _ = (carriage, group, interface);
        todo!()
    }

    /// Counters of a sender.
    #[must_use]
    pub fn sender_stats(&self, id: Handle) -> Option<SourceStats> {
        let _ = id;
        todo!()
    }

    /// Counters of a session.
    #[must_use]
    pub fn session_stats(&self, id: Handle) -> Option<ReceiverStats> {
        let _ = id;
        todo!()
    }

    /// Wait until every sender whose application end is closed has finished its linger, or `limit`
    /// passed; senders still open are treated as closed. Called as the process ends (D5).
    pub fn drain(&self, limit: Duration) {
        let _ = limit;
        todo!()
    }
}

/// First octets of the message that announces a session on a listener's pair, little-endian, fixed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionHello {
    /// [`SessionHello::MAGIC`].
    pub magic: u32,
    /// Source address, network order octets.
    pub peer_addr: [u8; 4],
    /// PGM source port of the TSI, host order.
    pub peer_port: u16,
    /// GSI.
    pub gsi: [u8; 6],
    /// Engine handle for `session_stats`.
    pub handle: u64,
}

impl SessionHello {
    /// "PGMs".
    pub const MAGIC: u32 = 0x5047_4d73;
}

/// A message longer than this does not travel through the pair itself (kernel limits): a memfd with its
/// octets travels as SCM_RIGHTS beside a [`BigMessage`]. Shorter messages are never accompanied by a
/// descriptor, so a descriptor is what tells the two apart.
pub const PAIR_MESSAGE_MAX: usize = 128 << 10;

/// Accompanies a memfd on a pair.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BigMessage {
    /// [`BigMessage::MAGIC`].
    pub magic: u64,
    /// Length of the message, octets.
    pub len: u64,
}

impl BigMessage {
    /// "PGMbig\0\0".
    pub const MAGIC: u64 = 0x5047_4d62_6967_0000;
}
