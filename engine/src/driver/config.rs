//! Settings: option values given by the program, defaults from `PGM_*` variables (design D9).
//!
//! The variables themselves, their syntax and their help text are the table in [`super::env`].

use super::env::{self, Draft};
use super::log;
use crate::log_line;
use crate::receiver::ReceiverConfig;
use crate::source::CongestionControl;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
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

/// Smallest IP packet size that leaves room for data beside all headers and options.
pub const MTU_MIN: u16 = 128;
/// Smallest TPDU that does.
pub const TPDU_MIN: u16 = 128;

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

/// What the end of a process does with a sender that still has data or repairs to send (design D5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Linger {
    /// A process of its own takes the sender over.
    #[default]
    Background,
    /// The end waits, within the bounds.
    Block,
    /// What is not out is lost.
    Off,
}

/// RM_FEC_INFO, with the block size never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FecInfo {
    /// n: packets of a group, data and parity.
    pub block_size: u16,
    /// Parity packets sent with every group.
    pub proactive: u16,
    /// k: data packets of a group.
    pub group_size: u8,
    /// Receivers may ask for parity.
    pub on_demand: bool,
}

impl FecInfo {
    /// Whether there is such a code and some parity is wanted: n is at most 255 and more than k, a power of two
    /// from 2 to 128.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let parity = self.block_size.saturating_sub(self.group_size.into());
        self.block_size <= 255
            && self.group_size.is_power_of_two()
            && (2..=128).contains(&self.group_size)
            && parity > 0
            && self.proactive <= parity
            && (self.proactive > 0 || self.on_demand)
    }
}

/// Intervals between SPMs (RFC 3208 §5.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpmTimers {
    /// Ambient SPM interval.
    pub ambient: Duration,
    /// First heartbeat SPM interval after data (IHB_MIN).
    pub heartbeat_min: Duration,
    /// Last one (IHB_MAX).
    pub heartbeat_max: Duration,
}

impl Default for SpmTimers {
    fn default() -> Self {
        Self {
            ambient: Duration::from_secs(1),
            heartbeat_min: Duration::from_millis(4),
            heartbeat_max: Duration::from_secs(1),
        }
    }
}

/// What a sender was told before `connect`.
#[derive(Clone, Debug)]
pub struct SendOptions {
    /// RM_SET_SEND_IF or IP_MULTICAST_IF; `None`: `PGM_INTERFACE`, route, first, loopback (D9).
    pub interface: Option<Ipv4Addr>,
    /// The TSI's port, if the program has bound one; else one that is free. The caller sees to it that no two
    /// open senders have the same.
    pub source_port: Option<NonZeroU16>,
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
    /// SO_PRIORITY of what it sends to the group.
    pub priority: Option<i32>,
    /// SO_MARK of it.
    pub mark: Option<u32>,
    /// Largest IP packet, octets, [`MTU_MIN`] at least; 0: the interface's MTU, on loopback 1500.
    pub mtu: u16,
    /// PGM_TPDU_SIZE: largest TPDU (PGM header, options and data), octets; 0: as `mtu` says.
    pub tpdu_size: u16,
    /// PGM_SPM_TIMERS.
    pub spm: SpmTimers,
    /// PGM_FAULT_FIRST_SQN: SQN of the first packet; `None`: random.
    pub first_sqn: Option<u32>,
    /// RM_USE_FEC; `None`: off.
    pub fec: Option<FecInfo>,
    /// PGM_FEC_LENGTHS: lengths in parity are little-endian.
    pub fec_little_endian: bool,
    /// PGM_CONGESTION_CONTROL.
    pub congestion_control: CongestionControl,
    /// PGM_POLL: count the receivers by polls.
    pub polling: bool,
    /// PGM_DUP_NAK_MAX: duplicates of one NAK that mean that multicast does not get through; 0: never.
    pub dup_nak_max: u32,
    /// PGM_LINGER: what the end of the process means for this sender.
    pub linger: Linger,
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
    /// Backlog of `listen`: as many sessions wait at least, and some more anyway.
    pub backlog: usize,
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
    /// The most the process's own exit may be held up where it is.
    pub exit_limit: Duration,
    /// PGM_FAULT_LOSS: share of arriving TPDUs dropped on purpose, 0..=1.
    pub fault_loss: f64,
    /// PGM_FAULT_SEED; without it different in every process.
    pub fault_seed: u64,
    /// PGM_GSO: equal-sized datagrams in a row leave as one packet for the kernel to segment.
    pub gso: bool,
    /// PGM_MEMORY.
    pub memory: Memory,
}

/// How far the rate that window and time imply may be from the one given, kbit/s.
const RATE_TOLERANCE: u64 = 8;

/// PGM_INTERFACE: an interface by name or by address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedInterface {
    /// Kernel name.
    Name(String),
    /// An IPv4 address of it.
    Addr(Ipv4Addr),
}

impl SendOptions {
    /// The type of service octet of what goes out.
    ///
    /// PGMCC §2.9 (C-13): receivers do not report packets marked by ECN, so with congestion control the network
    /// is not told that it may mark instead of drop.
    #[must_use]
    pub fn tos_sent(&self) -> u8 {
        const ECN: u8 = 0b11;
        match self.congestion_control {
            CongestionControl::Off => self.tos,
            CongestionControl::Pgmcc => self.tos & !ECN,
        }
    }
}

impl SendWindow {
    /// 100 Mbit/s, 10 000 000 octets, hence 800 ms.
    pub const LAN: Self = Self {
        rate_kbits: 100_000,
        msecs: 800,
        bytes: 10_000_000,
    };
    /// What Windows does: 56 kbit/s and the same window.
    pub const WINDOWS: Self = Self {
        rate_kbits: 56,
        msecs: 1_428_571,
        bytes: 10_000_000,
    };

    /// A window from the members that are given; the others follow by the ratio rule, from `self` as far
    /// as needed. A given rate of 0 is unlimited: then `msecs` is 0 unless given, since data can be
    /// kept for a time or sent without limit, not both.
    ///
    /// `None`: all three are given and contradict each other, or a result is out of range.
    #[must_use]
    pub fn with(
        self,
        rate_kbits: Option<u32>,
        bytes: Option<u32>,
        msecs: Option<u32>,
    ) -> Option<Self> {
        let rate = rate_kbits.unwrap_or(self.rate_kbits);
        let (wide_rate, wide_bytes) = (u64::from(rate), u64::from(bytes.unwrap_or(self.bytes)));
        let narrow = |n: u64| u32::try_from(n).ok().filter(|&n| n > 0);
        if rate == 0 {
            return Some(Self {
                rate_kbits: 0,
                msecs: msecs.unwrap_or(0),
                bytes: narrow(wide_bytes)?,
            });
        }
        let (rate_kbits, bytes, msecs) = match (rate_kbits, bytes, msecs) {
            (_, _, None) => (
                rate,
                narrow(wide_bytes)?,
                narrow((wide_bytes * 8 / wide_rate).max(1))?,
            ),
            (_, None, Some(ms)) => (rate, narrow(wide_rate * u64::from(ms) / 8)?, ms),
            (None, Some(bytes), Some(ms)) => (
                narrow((wide_bytes * 8).checked_div(u64::from(ms))?)?,
                bytes,
                ms,
            ),
            (Some(_), Some(bytes), Some(ms)) => {
                let exact = wide_rate * u64::from(ms) / 8;
                let implied = (wide_bytes * 8).checked_div(u64::from(ms))?;
                // Whoever computed the third member with integers lost a millisecond's worth, or the low
                // bits of the rate. That is no contradiction.
                let close = exact.abs_diff(wide_bytes) <= wide_rate / 8 + 1
                    || implied.abs_diff(wide_rate) <= RATE_TOLERANCE;
                close.then_some((rate, bytes, ms))?
            }
        };
        Some(Self {
            rate_kbits,
            msecs,
            bytes,
        })
    }
}

impl Default for Defaults {
    /// Without any variable set.
    fn default() -> Self {
        Self {
            send: SendOptions {
                interface: None,
                source_port: None,
                window: SendWindow::LAN,
                adv_percent: 15,
                late_join_percent: 0,
                ttl: 255,
                loopback: true,
                tos: 0,
                priority: None,
                mark: None,
                mtu: 0,
                tpdu_size: 0,
                spm: SpmTimers::default(),
                first_sqn: None,
                fec: None,
                fec_little_endian: false,
                congestion_control: CongestionControl::Off,
                polling: false,
                dup_nak_max: 0,
                linger: Linger::default(),
                linger_quiet: Duration::from_millis(500),
                linger_max: Duration::from_secs(10),
            },
            listen: ListenOptions {
                interfaces: Vec::new(),
                receiver: ReceiverConfig::default(),
                backlog: 0,
            },
            interface: None,
            encap: UdpEncap::default(),
            exit_limit: Duration::from_secs(60),
            fault_loss: 0.0,
            fault_seed: random_seed(),
            gso: true,
            memory: Memory(1_000_000_000),
        }
    }
}

/// PGM_MEMORY: octets for the data of a process, and what of them is for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory(pub usize);

impl Memory {
    /// What sessions hold: windows, messages under assembly, and what waits for the program in files.
    #[must_use]
    pub fn received(self) -> usize {
        self.0 / 2
    }

    /// What senders hold: windows, and messages that wait to be sent.
    #[must_use]
    pub fn sent(self) -> usize {
        self.0 / 4
    }

    /// Longest message a program may send at once: it travels as a file.
    #[must_use]
    pub fn longest(self) -> usize {
        self.0 / 4
    }
}

/// Different in every process and every call.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

impl Defaults {
    /// Defaults with the environment applied; `PGM_LOG` takes effect at once. Variables that begin with
    /// `PGM_` and that nobody knows are warned about. `Err` is a sentence for every variable that has a
    /// value nobody understands: name, value, what is allowed.
    ///
    /// # Errors
    /// As said; the caller reports it and fails with EINVAL.
    pub fn from_env() -> Result<Self, String> {
        let variables: Vec<_> = std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name
                    .into_string()
                    .ok()
                    .filter(|name| name.starts_with("PGM_"))?;
                Some((name, value.to_string_lossy().into_owned()))
            })
            .collect();
        let (draft, errors) = env::apply(Draft::default(), &variables);
        // Nobody who asked for nothing is written to; a setting made is asking.
        let asked = variables.iter().any(|(name, _)| !env::is_foreign(name));
        let level = if asked {
            log::Level::Warn
        } else {
            log::Level::Off
        };
        log::set_level(draft.log.unwrap_or(level));
        for name in env::unknown(&variables) {
            log_line!(log::Level::Warn, "{name}: no such setting, ignored");
        }
        if errors.is_empty() {
            Ok(draft.defaults)
        } else {
            Err(errors.join("; "))
        }
    }
}
