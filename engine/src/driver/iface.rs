//! Which network interface a source or listener uses (design D9).

use std::net::Ipv4Addr;

/// A network interface as a source or listener uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    /// Its address: source address of what is sent, SPM_PATH, target of NAKs.
    pub addr: Ipv4Addr,
    /// Kernel index.
    pub index: u32,
    /// Kernel name.
    pub name: String,
    /// Largest IP packet unless an option asks for another, octets.
    pub mtu: u32,
    /// The loopback interface.
    pub loopback: bool,
}
