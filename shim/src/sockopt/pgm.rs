//! Level 113: the RM_* options with Windows' numbers and layouts (`wsrm.h`).

use super::table::{Phases, Row, Type};
use super::value::{Answer, Value, word_answer, words_answer};
use super::{Call, UNKNOWN, window};
use crate::errno::Errno;
use crate::socket::{IPPROTO_PGM, Kind, check_local};
use pgm_engine::driver::Mode;
use pgm_engine::driver::config::FecInfo;
use pgm_engine::source::MAX_APDU;
use pgm_engine::stats::{ReceiverStats, SourceStats};
use std::net::Ipv4Addr;

const RM_RATE_WINDOW_SIZE: i32 = 1001;
const RM_SET_MESSAGE_BOUNDARY: i32 = 1002;
const RM_FLUSHCACHE: i32 = 1003;
const RM_SENDER_WINDOW_ADVANCE_METHOD: i32 = 1004;
const RM_SENDER_STATISTICS: i32 = 1005;
const RM_LATEJOIN: i32 = 1006;
const RM_SET_SEND_IF: i32 = 1007;
const RM_ADD_RECEIVE_IF: i32 = 1008;
const RM_DEL_RECEIVE_IF: i32 = 1009;
const RM_SEND_WINDOW_ADV_RATE: i32 = 1010;
const RM_USE_FEC: i32 = 1011;
const RM_SET_MCAST_TTL: i32 = 1012;
const RM_RECEIVER_STATISTICS: i32 = 1013;
const RM_HIGH_SPEED_INTRANET_OPT: i32 = 1014;

/// Bounds and values of `wsrm.h` and its documentation.
const E_WINDOW_ADVANCE_BY_TIME: u32 = 1;
const E_WINDOW_USE_AS_DATA_CACHE: u32 = 2;
const SENDER_MAX_LATE_JOINER_PERCENTAGE: u32 = 75;
const MAX_WINDOW_ADVANCE_PERCENTAGE: u32 = 50;
const MAX_MCAST_TTL: u32 = 255;

pub(super) const PGM: Row = Row {
    level: IPPROTO_PGM,
    ..Row::BLANK
};

pub(super) static ROWS: &[Row] = &[
    Row {
        name: RM_RATE_WINDOW_SIZE,
        symbol: "RM_RATE_WINDOW_SIZE",
        value: Type::Structure("struct pgm_send_window", 12),
        set: Some(set_rate_window_size),
        get: Some(|call| {
            let w = call.settings()?.send.window;
            words_answer(&[w.rate_kbits, w.msecs, w.bytes])
        }),
        phases: Phases::Sender,
        default: "100000, 800, 10000000",
        variable: "PGM_RATE, PGM_WINDOW, PGM_WINDOW_MS",
        help: "Rate of everything sent (ODATA, RDATA and SPM), and the window kept for repairs. Octets \
               are kbit/s times milliseconds over 8: a member that is 0 follows from the others, three \
               that contradict each other are refused.",
        ..PGM
    },
    Row {
        name: RM_SET_MESSAGE_BOUNDARY,
        symbol: "RM_SET_MESSAGE_BOUNDARY",
        value: Type::Number {
            least: 0,
            most: MAX_APDU as u32,
        },
        set: Some(|call, value| match call.socket.style().mode {
            Mode::Message => {
                let (socket, octets) = (call.socket, value.word()?);
                socket.boundary.set(call.fd, socket.is_shared(), octets)
            }
            Mode::Stream => Err(Errno(libc::EINVAL)),
        }),
        phases: Phases::Sending,
        help: "Octets of the next message: the sends that follow make it together. For that message \
               only; 0 cancels. Not in stream mode.",
        ..PGM
    },
    Row {
        name: RM_FLUSHCACHE,
        symbol: "RM_FLUSHCACHE",
        help: "Not there, as on Windows: ENOPROTOOPT.",
        ..PGM
    },
    Row {
        name: RM_SENDER_WINDOW_ADVANCE_METHOD,
        symbol: "RM_SENDER_WINDOW_ADVANCE_METHOD",
        value: Type::Number {
            least: E_WINDOW_ADVANCE_BY_TIME,
            most: E_WINDOW_USE_AS_DATA_CACHE,
        },
        set: Some(|_, value| match value.word()? {
            E_WINDOW_ADVANCE_BY_TIME => Ok(()),
            _ => Err(Errno(libc::EOPNOTSUPP)),
        }),
        get: Some(|_| word_answer(E_WINDOW_ADVANCE_BY_TIME)),
        phases: Phases::Sender,
        default: "1",
        help: "E_WINDOW_ADVANCE_BY_TIME (1). The other, E_WINDOW_USE_AS_DATA_CACHE (2), is EOPNOTSUPP, \
               as Windows does not have it either.",
        ..PGM
    },
    Row {
        name: RM_SENDER_STATISTICS,
        symbol: "RM_SENDER_STATISTICS",
        value: Type::Structure("struct pgm_sender_stats", 104),
        get: Some(sender_statistics),
        phases: Phases::Connected,
        help: "Counters of a sender, 64 bits each.",
        ..PGM
    },
    Row {
        name: RM_LATEJOIN,
        symbol: "RM_LATEJOIN",
        value: Type::Number {
            least: 0,
            most: SENDER_MAX_LATE_JOINER_PERCENTAGE,
        },
        set: Some(|call, value| {
            call.settings()?.send.late_join_percent = octet(value)?;
            Ok(())
        }),
        get: Some(|call| word_answer(call.settings()?.send.late_join_percent.into())),
        phases: Phases::Sender,
        default: "0",
        variable: "PGM_LATEJOIN",
        help: "Percentage of the window that receivers may ask for which join late; 0: they begin with \
               the first data they see.",
        ..PGM
    },
    Row {
        name: RM_SET_SEND_IF,
        symbol: "RM_SET_SEND_IF",
        value: Type::Address,
        set: Some(|call, value| {
            let addr = interface(value)?;
            // INADDR_ANY: back to the default.
            if !addr.is_unspecified() {
                check_local(addr)?;
            }
            call.settings()?.send.interface = (!addr.is_unspecified()).then_some(addr);
            Ok(())
        }),
        get: Some(|call| interface_answer(call.settings()?.send.interface)),
        phases: Phases::Sender,
        default: "0",
        variable: "PGM_INTERFACE",
        help: "Interface to send from; INADDR_ANY: the default.",
        ..PGM
    },
    Row {
        name: RM_ADD_RECEIVE_IF,
        symbol: "RM_ADD_RECEIVE_IF",
        value: Type::Address,
        set: Some(add_receive_if),
        phases: Phases::ReceiverOrSession,
        variable: "PGM_INTERFACE",
        help: "Listen on this interface, too. The first call replaces the default.",
        ..PGM
    },
    Row {
        name: RM_DEL_RECEIVE_IF,
        symbol: "RM_DEL_RECEIVE_IF",
        value: Type::Address,
        set: Some(del_receive_if),
        phases: Phases::ReceiverOrSession,
        help: "Do not listen on an interface that was added.",
        ..PGM
    },
    Row {
        name: RM_SEND_WINDOW_ADV_RATE,
        symbol: "RM_SEND_WINDOW_ADV_RATE",
        value: Type::Number {
            least: 1,
            most: MAX_WINDOW_ADVANCE_PERCENTAGE,
        },
        set: Some(|call, value| {
            call.settings()?.send.adv_percent = octet(value)?;
            Ok(())
        }),
        get: Some(|call| word_answer(call.settings()?.send.adv_percent.into())),
        phases: Phases::Sender,
        default: "15",
        variable: "PGM_WINDOW_ADV",
        help: "Percentage of the window by which its trailing edge moves.",
        ..PGM
    },
    Row {
        name: RM_USE_FEC,
        symbol: "RM_USE_FEC",
        value: Type::Structure("struct pgm_fec_info", 6),
        set: Some(|call, value| {
            call.settings()?.send.fec = Some(fec(value)?);
            Ok(())
        }),
        get: Some(|call| {
            let fec = call.settings()?.send.fec;
            let [n, proactive] = fec.map_or([0, 0], |fec| [fec.block_size, fec.proactive]);
            let [k, on_demand] = fec.map_or([0, 0], |fec| [fec.group_size, fec.on_demand.into()]);
            let ([a, b], [c, d]) = (n.to_ne_bytes(), proactive.to_ne_bytes());
            Ok(vec![a, b, c, d, k, on_demand])
        }),
        phases: Phases::Sender,
        default: "0, 0, 0",
        variable: "PGM_FEC",
        help: "Forward error correction: groups of packets get parity that makes up for any of them, sent with \
               each group, on demand, or both; at least one is needed. The group size is a power of two, 2 to \
               128; the block size is more than that and at most 255, 0 stands for 255; proactive packets \
               fit between them.",
        ..PGM
    },
    Row {
        name: RM_SET_MCAST_TTL,
        symbol: "RM_SET_MCAST_TTL",
        value: Type::Number {
            least: 0,
            most: MAX_MCAST_TTL,
        },
        set: Some(|call, value| {
            call.settings()?.send.ttl = octet(value)?;
            Ok(())
        }),
        get: Some(|call| word_answer(call.settings()?.send.ttl.into())),
        phases: Phases::Sender,
        default: "255",
        variable: "PGM_TTL",
        help: "TTL of multicast packets. 1 stays on the link.",
        ..PGM
    },
    Row {
        name: RM_RECEIVER_STATISTICS,
        symbol: "RM_RECEIVER_STATISTICS",
        value: Type::Structure("struct pgm_receiver_stats", 144),
        get: Some(receiver_statistics),
        phases: Phases::Accepted,
        help: "Counters of a session, 64 bits each.",
        ..PGM
    },
    Row {
        name: RM_HIGH_SPEED_INTRANET_OPT,
        symbol: "RM_HIGH_SPEED_INTRANET_OPT",
        value: Type::Number {
            least: 0,
            most: u32::MAX,
        },
        set: Some(|call, value| {
            call.settings()?.high_speed = value.word()?;
            Ok(())
        }),
        get: Some(|call| word_answer(call.settings()?.high_speed)),
        phases: Phases::Any,
        default: "0",
        help: "A hint for LANs. Remembered, without effect: the timers adapt by themselves.",
        ..PGM
    },
];

/// A number whose bounds are those of the table.
fn octet(value: Value<'_>) -> Result<u8, Errno> {
    u8::try_from(value.word()?).map_err(|_| Errno(libc::EINVAL))
}

/// An IPv4 address in network order.
fn interface(value: Value<'_>) -> Result<Ipv4Addr, Errno> {
    value.word().map(|word| Ipv4Addr::from(word.to_ne_bytes()))
}

/// The same as an answer.
pub(super) fn interface_answer(addr: Option<Ipv4Addr>) -> Result<Answer, Errno> {
    Ok(addr.unwrap_or(Ipv4Addr::UNSPECIFIED).octets().to_vec())
}

/// RM_FEC_INFO.
fn fec(value: Value<'_>) -> Result<FecInfo, Errno> {
    let [a, b, c, d, group_size, on_demand] = value.exactly()?;
    let block_size = match u16::from_ne_bytes([a, b]) {
        0 => 255,
        n => n,
    };
    let info = FecInfo {
        block_size,
        proactive: u16::from_ne_bytes([c, d]),
        group_size,
        on_demand: on_demand != 0,
    };
    info.is_valid().then_some(info).ok_or(Errno(libc::EINVAL))
}

fn set_rate_window_size(call: &mut Call, value: Value<'_>) -> Result<(), Errno> {
    let members = value.words()?;
    let window = &mut call.settings()?.send.window;
    *window = window::requested(*window, members).ok_or(Errno(libc::EINVAL))?;
    Ok(())
}

/// The first call replaces the default interface, later ones add.
fn add_receive_if(call: &mut Call, value: Value<'_>) -> Result<(), Errno> {
    let addr = interface(value)?;
    check_local(addr)?;
    let interfaces = &mut call.settings()?.listen.interfaces;
    if !interfaces.contains(&addr) {
        interfaces.push(addr);
    }
    Ok(())
}

fn del_receive_if(call: &mut Call, value: Value<'_>) -> Result<(), Errno> {
    let addr = interface(value)?;
    check_local(addr)?;
    let interfaces = &mut call.settings()?.listen.interfaces;
    let before = interfaces.len();
    interfaces.retain(|known| *known != addr);
    // A session listens nowhere by itself: deleting is as harmless there as adding.
    if interfaces.len() == before && call.socket.kind() != Kind::Session {
        return Err(Errno(libc::EADDRNOTAVAIL));
    }
    Ok(())
}

pub(super) fn answer(counters: &[u64]) -> Answer {
    counters
        .iter()
        .flat_map(|counter| counter.to_ne_bytes())
        .collect()
}

/// RM_SENDER_STATS.
fn sender_statistics(call: &mut Call) -> Result<Answer, Errno> {
    // The engine of another process keeps the counters of what was inherited.
    let (runtime, handle) = call.socket.served().ok_or(UNKNOWN)?;
    let s: SourceStats = runtime.engine.sender_stats(handle).unwrap_or_default();
    Ok(answer(&[
        s.data_bytes_sent,
        s.total_bytes_sent,
        s.naks_received,
        s.naks_too_late,
        s.outstanding_naks,
        s.naks_after_rdata,
        s.rdata_sent,
        s.buffer_available,
        s.trail,
        s.lead,
        s.rate_kbits_overall,
        s.rate_kbits_last,
        s.odata_sent,
    ]))
}

/// RM_RECEIVER_STATS.
fn receiver_statistics(call: &mut Call) -> Result<Answer, Errno> {
    let (runtime, handle) = call.socket.served().ok_or(UNKNOWN)?;
    let s: ReceiverStats = runtime.engine.session_stats(handle).unwrap_or_default();
    Ok(answer(&[
        s.odata_received,
        s.rdata_received,
        s.duplicates,
        s.data_bytes_received,
        s.total_bytes_received,
        s.rate_kbits_overall,
        s.rate_kbits_last,
        s.trail,
        s.lead,
        s.average_in_window,
        s.min_in_window,
        s.max_in_window,
        s.first_nak,
        s.pending_naks,
        s.outstanding_naks,
        s.packets_buffered,
        s.selective_naks_sent,
        s.parity_naks_sent,
    ]))
}
