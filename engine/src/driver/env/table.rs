//! The table of variables.

use super::{
    Variable, assign, assign_some, duration, encap, fec, interface, interval, level, octets,
    parity_naks, positive, rate, share, switch, whole_percent,
};
use crate::driver::config::{Linger, MTU_MIN, Memory, SendWindow, TPDU_MIN};
use crate::receiver::{DlrConfig, DlrRole};
use crate::source::CongestionControl;
use std::net::Ipv4Addr;
use std::time::Duration;

const DURATION: &str = "a time with us, ms or s; a plain number is milliseconds";
const INTERVAL: &str = "a time of at least 1ms with us, ms or s; a plain number is milliseconds";
const COUNT: &str = "a number";
const SWITCH: &str = "on or off";

/// Least PGM_MEMORY, octets: a hundred sessions.
const MEMORY_MIN: usize = 32_000_000;

/// All of them. A profile comes first, since the others refine it.
pub const VARIABLES: &[Variable] = &[
    Variable {
        name: "PGM_PROFILE",
        values: "lan or windows",
        help: "Rate and window of senders: 100 Mbit/s and 10 MB, or Windows' 56 kbit/s and 10 MB.",
        set: |draft, value| {
            draft.defaults.send.window = match value {
                "lan" => SendWindow::LAN,
                "windows" => SendWindow::WINDOWS,
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
            let value = value.parse().ok().filter(|n| *n >= MTU_MIN);
            assign(&mut draft.defaults.send.mtu, value)
        },
    },
    Variable {
        name: "PGM_TPDU_SIZE",
        values: "octets, 128 to 65535",
        help: "Largest PGM packet of a sender: header, options and data, without IP and UDP headers. Default: what \
               PGM_MTU leaves.",
        set: |draft, value| {
            let value = value.parse().ok().filter(|n| *n >= TPDU_MIN);
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
        set: |draft, value| assign(&mut draft.defaults.listen.receiver.rxw_bytes, octets(value)),
    },
    Variable {
        name: "PGM_MAX_APDU",
        values: "octets, with k, M or G",
        help: "Longest message a receiver takes.",
        set: |draft, value| assign(&mut draft.defaults.listen.receiver.max_apdu, octets(value)),
    },
    Variable {
        name: "PGM_MEMORY",
        values: "octets, at least 32M, with k, M or G",
        help: "Memory for the data of all PGM sockets of a process: a half at most for what is received, a quarter for \
               what senders queue and keep for repairs; from the half of each on, sessions or senders have equal shares. A \
               quarter is for messages above 128 KiB on their way to the network, and for what MSG_MORE joins; a \
               longer one is refused. Default 1G.",
        set: |draft, value| {
            let value = octets(value).filter(|n| *n >= MEMORY_MIN).map(Memory);
            assign(&mut draft.defaults.memory, value)
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
            let octets = octets(value)?;
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
