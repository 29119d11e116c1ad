//! PGM (RFC 3208) as a sans-I/O core, and a driver that connects it to Linux.
//!
//! Dependencies point one way: `num ← {wire, fec} ← {source, receiver} ← endpoint ← driver`.
//! Nothing left of `driver` names a socket, a clock, a thread or the environment: time arrives as
//! `now: Instant`, randomness as a seed, packets as bytes.
#![deny(unsafe_code)]

#[cfg(feature = "net")]
#[allow(unsafe_code)]
pub mod driver;
pub mod endpoint;
pub mod fec;
pub mod num;
pub mod receiver;
pub mod source;
pub mod stats;
#[cfg(feature = "testnet")]
pub mod testnet;
pub mod wire;

use std::net::Ipv4Addr;

/// Where a TPDU goes. The core names only addresses; ports of an encapsulation are the driver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To the session's multicast group.
    Group(Ipv4Addr),
    /// To one host: NAK, NNAK, SPMR, POLR, ACK.
    Host(Ipv4Addr),
}

/// Who emits a TPDU, so that the driver picks the socket (interface, TTL) that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A source of this endpoint.
    Source(endpoint::SourceId),
    /// A receiver session of this endpoint.
    Session(endpoint::SessionId),
}

/// Where a TPDU came from and to, as the network layer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Source address.
    pub from: Ipv4Addr,
    /// Group it was received on; `None` when it came by unicast.
    pub group: Option<Ipv4Addr>,
}

/// One TPDU that `poll_transmit` appended to the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Destination address.
    pub to: Destination,
    /// Emitting source or session.
    pub via: Via,
    /// Octets appended to the buffer.
    pub len: usize,
    /// IP Router Alert wanted in native mode: SPM, NCF, RDATA, POLL (RFC 3208 §4, §14.4).
    pub router_alert: bool,
    /// Restrict to this TTL instead of the socket's (multicast copies of SPMR: 1).
    pub ttl: Option<u8>,
    /// Source address of the network header if it is to be the data source's and not our own: what
    /// an upstream DLR multicasts (RFC 3208 §9.5.2.1).
    pub source: Option<Ipv4Addr>,
}
