//! The `PGM_*` variables: one table with name, syntax, help text and parser (design D9).
//!
//! The table also feeds the manual page, so `values` and `help` are sentences for users.

use super::config::{Defaults, FecInfo, Linger, UdpEncap, WantedInterface};
use super::log::Level;
use crate::receiver::{DlrConfig, DlrRole, ParityNaks};
use crate::source::CongestionControl;
use std::net::Ipv4Addr;
use std::time::Duration;

/// One variable.
#[derive(Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it may be set to.
    pub values: &'static str,
    /// What it does.
    pub help: &'static str,
    /// Apply a value; `None` if it is not among `values`.
    set: fn(&mut Draft, &str) -> Option<()>,
}

/// Defaults while variables are applied.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// What it will be.
    pub defaults: Defaults,
    /// PGM_LOG, if set.
    pub log: Option<Level>,
    /// PGM_RATE, kbit/s; the three of the window are combined at the end.
    rate_kbits: Option<u32>,
    /// PGM_WINDOW, octets.
    bytes: Option<u32>,
    /// PGM_WINDOW_MS.
    msecs: Option<u32>,
}

const DURATION: &str = "a time with us, ms or s; a plain number is milliseconds";
const INTERVAL: &str = "a time of at least 1ms with us, ms or s; a plain number is milliseconds";
const COUNT: &str = "a number";
const SWITCH: &str = "on or off";

/// Least PGM_MEMORY, octets: a hundred sessions.
const MEMORY_MIN: usize = 16_000_000;

/// All of them. A profile comes first, since the others refine it.
pub const VARIABLES: &[Variable] = &[
    Variable {
        name: "PGM_PROFILE",
        values: "lan or windows",
        help: "Rate and window of senders: 100 Mbit/s and 10 MB, or Windows' 56 kbit/s and 10 MB.",
        set: |draft, value| {
            draft.defaults.send.window = match value {
                "lan" => super::config::SendWindow::LAN,
                "windows" => super::config::SendWindow::WINDOWS,
                _ => return None,
            };
            Some(())
        },
    },
    Variable {
        name: "PGM_LOG",
        values: "off, error, warn, info or debug",
        help: "What is written to standard error. Default warn if any setting is made, else off.",
        set: |draft, value| assign_some(&mut draft.log, level(value)),
    },
    Variable {
        name: "PGM_INTERFACE",
        values: "the name or an IPv4 address of an interface",
        help: "Interface for senders and receivers that set none. Default: the route to the group, \
               else the first that can multicast, else loopback.",
        set: |draft, value| assign(&mut draft.defaults.interface, Some(Some(interface(value)))),
    },
    Variable {
        name: "PGM_UDP_ENCAP",
        values: "UNICAST:MULTICAST, two UDP ports, or one port for both",
        help: "UDP ports of the encapsulation. Default 3055:3056; ZeroMQ's epgm uses one for both.",
        set: |draft, value| assign(&mut draft.defaults.encap, encap(value)),
    },
    Variable {
        name: "PGM_RATE",
        values: "bits per second, at least 1k, with k, M or G; or unlimited",
        help: "Rate limit of senders, repairs included. Default 100M. Without PGM_WINDOW_MS the window keeps \
               its octets and the time follows.",
        set: |draft, value| assign_some(&mut draft.rate_kbits, rate(value)),
    },
    Variable {
        name: "PGM_WINDOW",
        values: "octets, with k, M or G",
        help: "Data a sender keeps for repairs. Default 10M.",
        set: |draft, value| assign_some(&mut draft.bytes, octets(value)),
    },
    Variable {
        name: "PGM_WINDOW_MS",
        values: "milliseconds",
        help: "How long a sender keeps data for repairs: window = rate × time. Default 800.",
        set: |draft, value| assign_some(&mut draft.msecs, positive(value)),
    },
    Variable {
        name: "PGM_WINDOW_ADV",
        values: "a percentage, 1 to 50",
        help: "Step by which the trailing edge of a sender's window moves. Default 15.",
        set: |draft, value| {
            let value = whole_percent(value).filter(|n| (1..=50).contains(n));
            assign(&mut draft.defaults.send.adv_percent, value)
        },
    },
    Variable {
        name: "PGM_LATEJOIN",
        values: "a percentage, 0 to 75",
        help: "Part of a sender's window that receivers may ask for which join late. Default 0.",
        set: |draft, value| {
            let value = whole_percent(value).filter(|n| *n <= 75);
            assign(&mut draft.defaults.send.late_join_percent, value)
        },
    },
    Variable {
        name: "PGM_FEC",
        values: "off, or N:K:PROACTIVE:ON-DEMAND like 255:8:2:on",
        help: "Forward error correction of senders, as RM_USE_FEC: groups of K packets, at most N with their parity; \
               so many parity packets sent with each; whether receivers may ask for parity. Default off.",
        set: |draft, value| assign(&mut draft.defaults.send.fec, fec(value)),
    },
    Variable {
        name: "PGM_FEC_LENGTHS",
        values: "network or little",
        help: "Octet order of the lengths in parity of packets of unequal length. Default network; little is what \
               OpenPGM has on x86.",
        set: |draft, value| {
            let little_endian = match value {
                "network" => false,
                "little" => true,
                _ => return None,
            };
            assign(
                &mut draft.defaults.send.fec_little_endian,
                Some(little_endian),
            )
        },
    },
    Variable {
        name: "PGM_TTL",
        values: "0 to 255",
        help: "TTL of multicast packets. Default 255; 1 stays on the link.",
        set: |draft, value| assign(&mut draft.defaults.send.ttl, value.parse().ok()),
    },
    Variable {
        name: "PGM_LOOPBACK",
        values: SWITCH,
        help: "Whether receivers on the sender's own host get its packets. Default on.",
        set: |draft, value| assign(&mut draft.defaults.send.loopback, switch(value)),
    },
    Variable {
        name: "PGM_TOS",
        values: "0 to 255",
        help: "Type of service octet (DSCP and ECN) of what a sender sends. Default 0.",
        set: |draft, value| assign(&mut draft.defaults.send.tos, value.parse().ok()),
    },
    Variable {
        name: "PGM_MTU",
        values: "octets, 128 to 65535",
        help: "Largest IP packet of a sender. Default: what the interface takes, on loopback 1500.",
        set: |draft, value| {
            let value = value.parse().ok().filter(|n| *n >= super::config::MTU_MIN);
            assign(&mut draft.defaults.send.mtu, value)
        },
    },
    Variable {
        name: "PGM_TPDU_SIZE",
        values: "octets, 128 to 65535",
        help: "Largest PGM packet of a sender: header, options and data, without IP and UDP headers. Default: what \
               PGM_MTU leaves.",
        set: |draft, value| {
            let value = value.parse().ok().filter(|n| *n >= super::config::TPDU_MIN);
            assign(&mut draft.defaults.send.tpdu_size, value)
        },
    },
    Variable {
        name: "PGM_CONGESTION_CONTROL",
        values: "off or pgmcc",
        help: "What keeps senders from sending more than the network takes, below PGM_RATE. Default off.",
        set: |draft, value| {
            draft.defaults.send.congestion_control = match value {
                "off" => CongestionControl::Off,
                "pgmcc" => CongestionControl::Pgmcc,
                _ => return None,
            };
            Some(())
        },
    },
    Variable {
        name: "PGM_SPM_AMBIENT",
        values: INTERVAL,
        help: "Interval of a sender's SPMs while it has nothing else to say. Default 1s.",
        set: |draft, value| assign(&mut draft.defaults.send.spm.ambient, interval(value)),
    },
    Variable {
        name: "PGM_SPM_HEARTBEAT_MIN",
        values: INTERVAL,
        help: "Interval of the first SPMs after data, doubled with each. Default 4ms.",
        set: |draft, value| assign(&mut draft.defaults.send.spm.heartbeat_min, interval(value)),
    },
    Variable {
        name: "PGM_SPM_HEARTBEAT_MAX",
        values: INTERVAL,
        help: "Longest interval of SPMs after data. Default 1s.",
        set: |draft, value| assign(&mut draft.defaults.send.spm.heartbeat_max, interval(value)),
    },
    Variable {
        name: "PGM_LISTEN_ONLY",
        values: SWITCH,
        help: "Receivers never ask for repairs: what does not come is missing. Default off.",
        set: |draft, value| {
            assign(
                &mut draft.defaults.listen.receiver.listen_only,
                switch(value),
            )
        },
    },
    Variable {
        name: "PGM_UNORDERED",
        values: SWITCH,
        help: "Receivers get each message as soon as it is complete, in any order. Default off.",
        set: |draft, value| assign(&mut draft.defaults.listen.receiver.unordered, switch(value)),
    },
    Variable {
        name: "PGM_CONTINUE_ON_LOSS",
        values: SWITCH,
        help: "Sessions go on after unrecoverable loss; recvmsg tells the gap. Default off: they end with ECONNRESET.",
        set: |draft, value| {
            assign(
                &mut draft.defaults.listen.receiver.continue_on_loss,
                switch(value),
            )
        },
    },
    Variable {
        name: "PGM_FEC_PARITY_NAKS",
        values: "auto, on or off",
        help: "Whether receivers ask for parity where a sender offers it. Default auto: unless the sender may be \
               OpenPGM, which aborts when it is asked (it has the bits of the offer the other way round, and \
               advertises no back-off interval). on: wherever RFC 3208's bit is set. off: each lost packet is asked \
               for by itself. Parity that comes is used in any case.",
        set: |draft, value| {
            assign(
                &mut draft.defaults.listen.receiver.parity_naks,
                parity_naks(value),
            )
        },
    },
    Variable {
        name: "PGM_LINGER",
        values: "background, block, off or a number of milliseconds",
        help: "What the end of a process means for its senders. Default background: another process sends what \
               is queued and serves repairs. block: the end waits for that, at most a minute. off: what is not out is \
               lost. A number: background, with repairs served for so long at most.",
        set: |draft, value| {
            let send = &mut draft.defaults.send;
            send.linger = match value {
                "background" => Linger::Background,
                "block" => Linger::Block,
                "off" => Linger::Off,
                _ => {
                    let limit = Duration::from_millis(value.parse().ok()?);
                    draft.defaults.exit_limit = limit;
                    send.linger_max = limit;
                    send.linger_quiet = send.linger_quiet.min(limit);
                    Linger::Background
                }
            };
            Some(())
        },
    },
    Variable {
        name: "PGM_NAK_BO_IVL",
        values: DURATION,
        help: "Longest random wait of a receiver before it asks for a repair, until the sender says otherwise. \
               Long waits keep large groups quiet.",
        set: |draft, value| {
            assign(
                &mut draft.defaults.listen.receiver.nak_bo_ivl,
                duration(value),
            )
        },
    },
    Variable {
        name: "PGM_NAK_RPT_IVL",
        values: DURATION,
        help: "Wait for the confirmation of a repair request before it is repeated.",
        set: |draft, value| {
            assign(
                &mut draft.defaults.listen.receiver.nak_rpt_ivl,
                duration(value),
            )
        },
    },
    Variable {
        name: "PGM_NAK_RDATA_IVL",
        values: DURATION,
        help: "Wait for a confirmed repair before it is asked for again.",
        set: |draft, value| {
            assign(
                &mut draft.defaults.listen.receiver.nak_rdata_ivl,
                duration(value),
            )
        },
    },
    Variable {
        name: "PGM_NAK_NCF_RETRIES",
        values: COUNT,
        help: "Unconfirmed requests for one packet before it counts as lost.",
        set: |draft, value| {
            assign(
                &mut draft.defaults.listen.receiver.nak_ncf_retries,
                positive(value),
            )
        },
    },
    Variable {
        name: "PGM_NAK_DATA_RETRIES",
        values: COUNT,
        help: "Confirmed requests for one packet before it counts as lost.",
        set: |draft, value| {
            assign(
                &mut draft.defaults.listen.receiver.nak_data_retries,
                positive(value),
            )
        },
    },
    Variable {
        name: "PGM_SPMR_BO_IVL",
        values: DURATION,
        help: "Longest random wait of a receiver before it asks a new sender for its state.",
        set: |draft, value| {
            assign(
                &mut draft.defaults.listen.receiver.spmr_bo_ivl,
                duration(value),
            )
        },
    },
    Variable {
        name: "PGM_SPMR_SPM_IVL",
        values: DURATION,
        help: "Wait for a sender's state before it is asked for again.",
        set: |draft, value| {
            assign(
                &mut draft.defaults.listen.receiver.spmr_spm_ivl,
                duration(value),
            )
        },
    },
    Variable {
        name: "PGM_FIRST_SPM_WAIT",
        values: DURATION,
        help: "How long the first data of a session may wait for the word where the session begins.",
        set: |draft, value| {
            assign(
                &mut draft.defaults.listen.receiver.first_spm_wait,
                duration(value),
            )
        },
    },
    Variable {
        name: "PGM_RXW_SQNS",
        values: "a power of two, 64 to 16777216",
        help: "Packets a receiver's window holds.",
        set: |draft, value| {
            let value = positive(value).filter(|n: &u32| n.is_power_of_two());
            let value = value.filter(|n| (64..=1 << 24).contains(n));
            assign(&mut draft.defaults.listen.receiver.rxw_sqns, value)
        },
    },
    Variable {
        name: "PGM_RXW_BYTES",
        values: "octets, with k, M or G",
        help: "Octets a receiver's window holds.",
        set: |draft, value| {
            let value = octets(value).and_then(|n| usize::try_from(n).ok());
            assign(&mut draft.defaults.listen.receiver.rxw_bytes, value)
        },
    },
    Variable {
        name: "PGM_MAX_APDU",
        values: "octets, with k, M or G",
        help: "Longest message a receiver takes.",
        set: |draft, value| {
            let value = octets(value).and_then(|n| usize::try_from(n).ok());
            assign(&mut draft.defaults.listen.receiver.max_apdu, value)
        },
    },
    Variable {
        name: "PGM_MEMORY",
        values: "octets, at least 16M, with k, M or G",
        help: "What all sessions of a process that use the same UDP ports, or native PGM, may hold together. From the \
               half of it on, they have equal shares and no new ones begin. Default 512M.",
        set: |draft, value| {
            let value = octets(value).and_then(|n| usize::try_from(n).ok());
            assign(
                &mut draft.defaults.memory,
                value.filter(|n| *n >= MEMORY_MIN),
            )
        },
    },
    Variable {
        name: "PGM_PEER_EXPIRY",
        values: DURATION,
        help: "A sender that is silent for this long is forgotten.",
        set: |draft, value| {
            assign(
                &mut draft.defaults.listen.receiver.peer_expiry,
                duration(value),
            )
        },
    },
    Variable {
        name: "PGM_POLL",
        values: "off or auto",
        help: "Senders count the receivers by polls, and have many of them wait longer before they ask. Default off: \
               receivers wait at random in a way that suits any number, and what they send tells a sender enough.",
        set: |draft, value| {
            let polling = match value {
                "auto" => Some(true),
                "off" => Some(false),
                _ => None,
            };
            assign(&mut draft.defaults.send.polling, polling)
        },
    },
    Variable {
        name: "PGM_DUP_NAK_MAX",
        values: "a number, 0 for never",
        help: "After so many repeated requests for one packet a sender takes it that its multicast does not arrive, \
               and tells who asks, by unicast, to wait for its next SPM. Default 0.",
        set: |draft, value| assign(&mut draft.defaults.send.dup_nak_max, value.parse().ok()),
    },
    Variable {
        name: "PGM_NAK_COPY",
        values: SWITCH,
        help: "Receivers multicast a copy of each repair request on their link if it goes to a router of another \
               subnet, so that their neighbours need not ask as well. Default off.",
        set: |draft, value| assign(&mut draft.defaults.listen.receiver.nak_copy, switch(value)),
    },
    Variable {
        name: "PGM_USE_DLR",
        values: SWITCH,
        help: "Receivers ask local repairers of other subnets that advertise themselves before they ask the sender. \
               Default off, since anyone could advertise.",
        set: |draft, value| assign(&mut draft.defaults.listen.receiver.use_dlr, switch(value)),
    },
    Variable {
        name: "PGM_DLR",
        values: "off, upstream or off-tree",
        help: "Receivers repair for others (designated local repairer) as long as they have their socket open: \
               upstream for those behind them, which only native PGM does in the sender's name; off-tree for the router \
               that polls for repairers. Default off.",
        set: |draft, value| {
            let role = match value {
                "off" => None,
                "upstream" => Some(DlrRole::Upstream),
                "off-tree" => Some(DlrRole::OffTree),
                _ => return None,
            };
            // The address follows with the interface.
            let dlr = role.map(|role| DlrConfig::new(role, Ipv4Addr::UNSPECIFIED));
            assign(&mut draft.defaults.listen.receiver.dlr, Some(dlr))
        },
    },
    Variable {
        name: "PGM_DLR_STORE",
        values: "octets, with k, M or G",
        help: "What a receiver keeps of each session to repair for others, after PGM_DLR. Default 10M.",
        set: |draft, value| {
            let octets = octets(value).and_then(|n| usize::try_from(n).ok())?;
            if let Some(dlr) = &mut draft.defaults.listen.receiver.dlr {
                dlr.store_bytes = octets;
            }
            Some(())
        },
    },
    Variable {
        name: "PGM_GSO",
        values: SWITCH,
        help: "Let the kernel cut runs of equal UDP datagrams (UDP_SEGMENT). Default on.",
        set: |draft, value| assign(&mut draft.defaults.gso, switch(value)),
    },
    Variable {
        name: "PGM_FAULT_LOSS",
        values: "a share like 5% or 0.05",
        help: "For tests: drop this share of arriving packets at random, before the protocol sees them.",
        set: |draft, value| assign(&mut draft.defaults.fault_loss, share(value)),
    },
    Variable {
        name: "PGM_FAULT_SEED",
        values: COUNT,
        help: "For tests: makes PGM_FAULT_LOSS drop the same packets each time.",
        set: |draft, value| assign(&mut draft.defaults.fault_seed, value.parse().ok()),
    },
    Variable {
        name: "PGM_FAULT_FIRST_SQN",
        values: "a number, 0 to 4294967295",
        help: "For tests: sequence number of a sender's first packet. Default random.",
        set: |draft, value| {
            assign(
                &mut draft.defaults.send.first_sqn,
                value.parse().ok().map(Some),
            )
        },
    },
];

/// Variables of OpenPGM, which a program under the shim may use as well: none of ours, no mistake either.
const OPENPGM: &[&str] = &[
    "PGM_TIMER",
    "PGM_SLEEP",
    "PGM_LOG_MASK",
    "PGM_MIN_LOG_LEVEL",
];

/// Apply all variables that are set to something, in the table's order. The second part is a sentence
/// for each that was not understood.
pub(super) fn apply(mut draft: Draft, variables: &[(String, String)]) -> (Draft, Vec<String>) {
    let mut errors = Vec::new();
    for Variable {
        name, values, set, ..
    } in VARIABLES
    {
        let given = variables
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.trim());
        if let Some(value) = given.filter(|value| !value.is_empty())
            && set(&mut draft, value).is_none()
        {
            errors.push(format!("{name}={value}: must be {values}"));
        }
    }
    if (draft.rate_kbits, draft.bytes, draft.msecs) != (None, None, None) {
        let window = &mut draft.defaults.send.window;
        match window.with(draft.rate_kbits, draft.bytes, draft.msecs) {
            Some(combined) => *window = combined,
            None => errors.push(
                "PGM_RATE, PGM_WINDOW and PGM_WINDOW_MS contradict each other: window = rate × time"
                    .to_owned(),
            ),
        }
    }
    (draft, errors)
}

/// Names of test programs' own settings begin so.
const TESTS: &str = "PGM_TEST_";

/// Names that begin as ours and are in no table.
pub(super) fn unknown(variables: &[(String, String)]) -> impl Iterator<Item = &str> {
    variables
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| !is_foreign(name) && VARIABLES.iter().all(|v| v.name != *name))
}

/// Whether the name, though it begins as ours, is somebody else's.
pub(super) fn is_foreign(name: &str) -> bool {
    name.starts_with(TESTS) || OPENPGM.contains(&name)
}

fn assign<T>(place: &mut T, value: Option<T>) -> Option<()> {
    *place = value?;
    Some(())
}

fn assign_some<T>(place: &mut Option<T>, value: Option<T>) -> Option<()> {
    assign(place, value.map(Some))
}

fn positive<T: std::str::FromStr + Default + PartialOrd>(value: &str) -> Option<T> {
    value.parse().ok().filter(|n| *n > T::default())
}

fn switch(value: &str) -> Option<bool> {
    match value {
        "on" | "1" | "yes" => Some(true),
        "off" | "0" | "no" => Some(false),
        _ => None,
    }
}

fn parity_naks(value: &str) -> Option<ParityNaks> {
    match value {
        "auto" => Some(ParityNaks::Auto),
        _ => switch(value).map(|on| match on {
            true => ParityNaks::On,
            false => ParityNaks::Off,
        }),
    }
}

fn level(value: &str) -> Option<Level> {
    [
        Level::Off,
        Level::Error,
        Level::Warn,
        Level::Info,
        Level::Debug,
    ]
    .into_iter()
    .find(|level| level.name() == value)
}

fn interface(value: &str) -> WantedInterface {
    match value.parse() {
        Ok(addr) => WantedInterface::Addr(addr),
        Err(_) => WantedInterface::Name(value.to_owned()),
    }
}

fn encap(value: &str) -> Option<UdpEncap> {
    let (unicast, multicast) = value.split_once(':').unwrap_or((value, value));
    Some(UdpEncap {
        unicast: positive(unicast)?,
        multicast: positive(multicast)?,
    })
}

/// PGM_FEC. Block size 0 stands for 255, as in RM_USE_FEC.
fn fec(value: &str) -> Option<Option<FecInfo>> {
    if value == "off" {
        return Some(None);
    }
    let mut parts = value.split(':');
    let info = FecInfo {
        block_size: match parts.next()?.parse().ok()? {
            0 => 255,
            n => n,
        },
        group_size: parts.next()?.parse().ok()?,
        proactive: parts.next()?.parse().ok()?,
        on_demand: switch(parts.next()?)?,
    };
    let valid = parts.next().is_none() && info.is_valid();
    valid.then_some(Some(info))
}

/// A non-negative decimal number and what follows it.
fn quantity(value: &str) -> Option<(f64, &str)> {
    let end = value
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(value.len());
    let (number, unit) = value.split_at(end);
    Some((number.parse().ok()?, unit))
}

/// A number with k, M or G (powers of ten).
fn scaled(value: &str) -> Option<f64> {
    let (number, unit) = quantity(value)?;
    Some(match unit {
        "" => number,
        "k" | "K" => number * 1e3,
        "m" | "M" => number * 1e6,
        "g" | "G" => number * 1e9,
        _ => return None,
    })
}

/// The whole number a parsed quantity stands for, if it is at least 1 and fits.
fn whole(number: f64) -> Option<u32> {
    let number = number.round();
    // The range check makes the conversion exact.
    (1.0..=f64::from(u32::MAX))
        .contains(&number)
        .then_some(number as u32)
}

fn octets(value: &str) -> Option<u32> {
    whole(scaled(value)?)
}

/// kbit/s; 0 is unlimited.
fn rate(value: &str) -> Option<u32> {
    if value == "unlimited" {
        Some(0)
    } else {
        whole(scaled(value)? / 1e3)
    }
}

fn whole_percent(value: &str) -> Option<u8> {
    value
        .strip_suffix('%')
        .unwrap_or(value)
        .trim_end()
        .parse()
        .ok()
}

fn share(value: &str) -> Option<f64> {
    let (number, unit) = quantity(value)?;
    let share = match unit.trim_start() {
        "%" => number / 100.0,
        "" => number,
        _ => return None,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

fn duration(value: &str) -> Option<Duration> {
    let (number, unit) = quantity(value)?;
    let seconds = match unit.trim_start() {
        "us" => number / 1e6,
        "" | "ms" => number / 1e3,
        "s" => number,
        _ => return None,
    };
    // A day is more than any timer of the protocol needs.
    (seconds <= 86_400.0).then(|| Duration::from_secs_f64(seconds))
}

/// A duration that makes no busy loop.
fn interval(value: &str) -> Option<Duration> {
    duration(value).filter(|time| *time >= Duration::from_millis(1))
}

#[cfg(test)]
mod tests;
