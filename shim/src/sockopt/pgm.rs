//! Level 113: the RM_* options with Windows' numbers and layouts (`wsrm.h`).

use super::{Answer, Call, Phases, Row, UNKNOWN, Value, window, word_answer};
use crate::errno::Errno;
use crate::socket::{IPPROTO_PGM, Kind, check_local};
use pgm_engine::driver::Mode;
use pgm_engine::driver::config::FecInfo;
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

pub(super) static ROWS: &[Row] = &[
    Row {
        level: IPPROTO_PGM,
        name: RM_RATE_WINDOW_SIZE,
        set: Some(set_rate_window_size),
        get: Some(|call| {
            let w = call.settings()?.send.window;
            words_answer(&[w.rate_kbits, w.msecs, w.bytes])
        }),
        phases: Phases::Sender,
    },
    Row {
        level: IPPROTO_PGM,
        name: RM_SET_MESSAGE_BOUNDARY,
        set: Some(|call, value| match call.socket.style().mode {
            Mode::Message => call.socket.set_boundary(value.word()?),
            Mode::Stream => Err(Errno(libc::EINVAL)),
        }),
        get: None,
        phases: Phases::Sending,
    },
    Row::absent(IPPROTO_PGM, RM_FLUSHCACHE),
    Row {
        level: IPPROTO_PGM,
        name: RM_SENDER_WINDOW_ADVANCE_METHOD,
        set: Some(|_, value| match value.word()? {
            E_WINDOW_ADVANCE_BY_TIME => Ok(()),
            E_WINDOW_USE_AS_DATA_CACHE => Err(Errno(libc::EOPNOTSUPP)),
            _ => Err(Errno(libc::EINVAL)),
        }),
        get: Some(|_| word_answer(E_WINDOW_ADVANCE_BY_TIME)),
        phases: Phases::Sender,
    },
    Row {
        level: IPPROTO_PGM,
        name: RM_SENDER_STATISTICS,
        set: None,
        get: Some(sender_statistics),
        phases: Phases::Any,
    },
    Row {
        level: IPPROTO_PGM,
        name: RM_LATEJOIN,
        set: Some(|call, value| {
            call.settings()?.send.late_join_percent =
                percent(value, 0, SENDER_MAX_LATE_JOINER_PERCENTAGE)?;
            Ok(())
        }),
        get: Some(|call| word_answer(call.settings()?.send.late_join_percent.into())),
        phases: Phases::Sender,
    },
    Row {
        level: IPPROTO_PGM,
        name: RM_SET_SEND_IF,
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
    },
    Row {
        level: IPPROTO_PGM,
        name: RM_ADD_RECEIVE_IF,
        set: Some(add_receive_if),
        get: None,
        phases: Phases::Receiver,
    },
    Row {
        level: IPPROTO_PGM,
        name: RM_DEL_RECEIVE_IF,
        set: Some(del_receive_if),
        get: None,
        phases: Phases::Receiver,
    },
    Row {
        level: IPPROTO_PGM,
        name: RM_SEND_WINDOW_ADV_RATE,
        set: Some(|call, value| {
            call.settings()?.send.adv_percent = percent(value, 1, MAX_WINDOW_ADVANCE_PERCENTAGE)?;
            Ok(())
        }),
        get: Some(|call| word_answer(call.settings()?.send.adv_percent.into())),
        phases: Phases::Sender,
    },
    Row {
        level: IPPROTO_PGM,
        name: RM_USE_FEC,
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
    },
    Row {
        level: IPPROTO_PGM,
        name: RM_SET_MCAST_TTL,
        set: Some(|call, value| {
            call.settings()?.send.ttl = percent(value, 0, MAX_MCAST_TTL)?;
            Ok(())
        }),
        get: Some(|call| word_answer(call.settings()?.send.ttl.into())),
        phases: Phases::Sender,
    },
    Row {
        level: IPPROTO_PGM,
        name: RM_RECEIVER_STATISTICS,
        set: None,
        get: Some(receiver_statistics),
        phases: Phases::Any,
    },
    Row {
        level: IPPROTO_PGM,
        name: RM_HIGH_SPEED_INTRANET_OPT,
        set: Some(|call, value| {
            call.settings()?.high_speed = value.word()?;
            Ok(())
        }),
        get: Some(|call| word_answer(call.settings()?.high_speed)),
        phases: Phases::Any,
    },
];

/// A small number within bounds.
pub(super) fn percent(value: Value<'_>, least: u32, most: u32) -> Result<u8, Errno> {
    let number = value.word()?;
    if !(least..=most).contains(&number) {
        return Err(Errno(libc::EINVAL));
    }
    u8::try_from(number).map_err(|_| Errno(libc::EINVAL))
}

/// Integers one after another.
pub(super) fn words_answer(words: &[u32]) -> Result<Answer, Errno> {
    Ok(words.iter().flat_map(|word| word.to_ne_bytes()).collect())
}

/// An IPv4 address in network order.
fn interface(value: Value<'_>) -> Result<Ipv4Addr, Errno> {
    value.word().map(|word| Ipv4Addr::from(word.to_ne_bytes()))
}

/// The same as an answer.
pub(super) fn interface_answer(addr: Option<Ipv4Addr>) -> Result<Answer, Errno> {
    Ok(addr.unwrap_or(Ipv4Addr::UNSPECIFIED).octets().to_vec())
}

/// RM_FEC_INFO. n is at most 255 and more than k, a power of two from 2 to 128; some parity is wanted.
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
    let parity = block_size.saturating_sub(group_size.into());
    let valid = block_size <= 255
        && group_size.is_power_of_two()
        && (2..=128).contains(&group_size)
        && parity > 0
        && info.proactive <= parity
        && (info.proactive > 0 || info.on_demand);
    valid.then_some(info).ok_or(Errno(libc::EINVAL))
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

fn answer(counters: &[u64]) -> Answer {
    counters
        .iter()
        .flat_map(|counter| counter.to_ne_bytes())
        .collect()
}

/// RM_SENDER_STATS.
fn sender_statistics(call: &mut Call) -> Result<Answer, Errno> {
    match call.socket.kind() {
        Kind::Sender => {}
        Kind::Fresh | Kind::Bound => return Err(Errno(libc::ENOTCONN)),
        Kind::Listening | Kind::Session => return Err(Errno(libc::EINVAL)),
    }
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
    match call.socket.kind() {
        Kind::Session => {}
        Kind::Fresh | Kind::Bound => return Err(Errno(libc::ENOTCONN)),
        Kind::Listening | Kind::Sender => return Err(Errno(libc::EINVAL)),
    }
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
