//! Settings: option values given by the program, defaults from `PGM_*` variables (D9).

use crate::receiver::ReceiverConfig;
use std::net::Ipv4Addr;
use std::time::Duration;

/// UDP ports of the encapsulation (OpenPGM's defaults).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UdpEncap {
    /// NAK, SPMR and other unicast.
    pub unicast: u16,
    /// Everything sent to the group.
    pub multicast: u16,
}

impl Default for UdpEncap {
    fn default() -> Self {
        Self {
            unicast: 3055,
            multicast: 3056,
        }
    }
}

/// RM_SEND_WINDOW after the ratio rule: `bytes = rate_kbits * msecs / 8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendWindow {
    /// kbit/s, 0: unlimited (our extension, environment only).
    pub rate_kbits: u32,
    /// Milliseconds.
    pub msecs: u32,
    /// Octets.
    pub bytes: u32,
}

/// What a sender was told before `connect`.
#[derive(Clone, Debug)]
pub struct SendOptions {
    /// RM_SET_SEND_IF or IP_MULTICAST_IF; `None`: `PGM_INTERFACE`, route, first, loopback (D9).
    pub interface: Option<Ipv4Addr>,
    /// RM_RATE_WINDOW_SIZE.
    pub window: SendWindow,
    /// RM_SEND_WINDOW_ADV_RATE, percent.
    pub adv_percent: u8,
    /// RM_LATEJOIN, percent.
    pub late_join_percent: u8,
    /// RM_SET_MCAST_TTL.
    pub ttl: u8,
    /// IP_MULTICAST_LOOP.
    pub loopback: bool,
    /// IP_TOS.
    pub tos: u8,
    /// Largest IP packet, octets; 0: the interface's MTU.
    pub mtu: u16,
    /// Bounds on the time repairs are served after the end: quiet time and total.
    pub linger_quiet: Duration,
    /// See `linger_quiet`.
    pub linger_max: Duration,
}

/// What a receiver was told before `listen`.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// RM_ADD_RECEIVE_IF, all of them; empty: as [`SendOptions::interface`].
    pub interfaces: Vec<Ipv4Addr>,
    /// Timers and limits.
    pub receiver: ReceiverConfig,
}

/// Process-wide defaults, read once from the environment.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// For senders.
    pub send: SendOptions,
    /// For receivers.
    pub listen: ListenOptions,
    /// PGM_INTERFACE, for whoever has no interface of its own.
    pub interface: Option<WantedInterface>,
    /// PGM_UDP_ENCAP.
    pub encap: UdpEncap,
    /// PGM_LINGER=off is zero; else the most the process's own exit may be held up.
    pub exit_limit: Duration,
    /// PGM_FAULT_LOSS: share of arriving TPDUs dropped on purpose, 0..=1.
    pub fault_loss: f64,
    /// PGM_FAULT_SEED; without it different in every process.
    pub fault_seed: u64,
    /// PGM_GSO: equal-sized datagrams in a row leave as one packet for the kernel to segment.
    pub gso: bool,
}

/// PGM_INTERFACE: an interface by name or by address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedInterface {
    /// Kernel name.
    Name(String),
    /// An IPv4 address of it.
    Addr(Ipv4Addr),
}

impl Defaults {
    /// Defaults with the environment applied. `Err` is a sentence for every variable that has a value
    /// nobody understands: `name, value, what is allowed`.
    ///
    /// # Errors
    /// As said; the caller reports it and fails with EINVAL.
    pub fn from_env() -> Result<Self, String> {
        todo!()
    }
}
