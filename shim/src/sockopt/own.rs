//! Level 113, from 1100: the options that Windows does not have (`linux/pgm.h`).

use super::pgm::{PGM, answer};
use super::table::{Phases, Row, Type};
use super::value::{Answer, Value, word_answer, words_answer};
use super::{Call, UNKNOWN};
use crate::errno::Errno;
use pgm_engine::driver::config::{Linger, TPDU_MIN, UdpEncap};
use pgm_engine::receiver::ReceiverConfig;
use pgm_engine::source::CongestionControl;
use pgm_engine::stats::EndpointStats;
use std::time::Duration;

const PGM_LISTEN_ONLY: i32 = 1100;
const PGM_UNORDERED: i32 = 1101;
const PGM_CONTINUE_ON_LOSS: i32 = 1102;
const PGM_UDP_ENCAP: i32 = 1103;
const PGM_TPDU_SIZE: i32 = 1104;
const PGM_NAK_TIMERS: i32 = 1105;
const PGM_TSI: i32 = 1106;
const PGM_LINGER: i32 = 1107;
const PGM_CONGESTION_CONTROL: i32 = 1108;
const PGM_SPM_TIMERS: i32 = 1110;
const PGM_RECEIVE_WINDOW: i32 = 1111;
const PGM_COUNTERS: i32 = 1112;

const EINVAL: Errno = Errno(libc::EINVAL);

pub(super) static ROWS: &[Row] = &[
    Row {
        name: PGM_LISTEN_ONLY,
        symbol: "PGM_LISTEN_ONLY",
        value: Type::Boolean,
        set: Some(|call, value| set_switch(call, value, |receiver| &mut receiver.listen_only)),
        get: Some(|call| switch(call, |receiver| receiver.listen_only)),
        phases: Phases::Receiver,
        default: "0",
        variable: "PGM_LISTEN_ONLY",
        help: "Never ask for repairs: what does not come is missing.",
        ..PGM
    },
    Row {
        name: PGM_UNORDERED,
        symbol: "PGM_UNORDERED",
        value: Type::Boolean,
        set: Some(|call, value| set_switch(call, value, |receiver| &mut receiver.unordered)),
        get: Some(|call| switch(call, |receiver| receiver.unordered)),
        phases: Phases::Receiver,
        default: "0",
        variable: "PGM_UNORDERED",
        help: "Each message as soon as it is complete, in any order.",
        ..PGM
    },
    Row {
        name: PGM_CONTINUE_ON_LOSS,
        symbol: "PGM_CONTINUE_ON_LOSS",
        value: Type::Boolean,
        set: Some(|call, value| set_switch(call, value, |receiver| &mut receiver.continue_on_loss)),
        get: Some(|call| switch(call, |receiver| receiver.continue_on_loss)),
        phases: Phases::Receiver,
        default: "0",
        variable: "PGM_CONTINUE_ON_LOSS",
        help: "Sessions go on after unrecoverable loss. The gap comes with the first message after it, \
               as a control message of recvmsg: level IPPROTO_PGM, type PGM_GAP, struct pgm_gap. Else \
               the session ends with ECONNRESET.",
        ..PGM
    },
    Row {
        name: PGM_UDP_ENCAP,
        symbol: "PGM_UDP_ENCAP",
        value: Type::Structure("struct pgm_udp_encap", 4),
        set: Some(|call, value| {
            let [unicast, multicast] = value.halves()?;
            if unicast == 0 || multicast == 0 {
                return Err(EINVAL);
            }
            call.settings()?.encap = UdpEncap { unicast, multicast };
            Ok(())
        }),
        get: Some(|call| {
            let UdpEncap { unicast, multicast } = call.settings()?.encap;
            Ok([unicast, multicast]
                .iter()
                .flat_map(|n| n.to_ne_bytes())
                .collect())
        }),
        phases: Phases::Unconnected,
        default: "3055, 3056",
        variable: "PGM_UDP_ENCAP",
        help: "UDP ports of PGM in UDP: for unicast and for multicast, neither 0. Sender and receivers \
               need the same. No effect on native PGM.",
        ..PGM
    },
    Row {
        name: PGM_TPDU_SIZE,
        symbol: "PGM_TPDU_SIZE",
        value: Type::Number {
            least: 0,
            most: 65535,
        },
        set: Some(|call, value| {
            let size = value.word()?;
            let size = u16::try_from(size).map_err(|_| EINVAL)?;
            if size != 0 && size < TPDU_MIN {
                return Err(EINVAL);
            }
            call.settings()?.send.tpdu_size = size;
            Ok(())
        }),
        get: Some(|call| match call.socket.max_tpdu() {
            0 => word_answer(call.settings()?.send.tpdu_size.into()),
            actual => word_answer(actual),
        }),
        phases: Phases::Sender,
        default: "0",
        variable: "PGM_TPDU_SIZE, PGM_MTU",
        help: "Largest PGM packet, header, options and data, without IP and UDP headers: at least 128, \
               and no more than the interface takes; 0: as much as that. After connect it is what is in \
               use.",
        ..PGM
    },
    Row {
        name: PGM_NAK_TIMERS,
        symbol: "PGM_NAK_TIMERS",
        value: Type::Structure("struct pgm_nak_timers", 20),
        set: Some(|call, value| {
            let [bo, rpt, rdata, ncf_retries, data_retries] = value.words()?;
            let [bo, rpt, rdata] = [millis(bo, 0)?, millis(rpt, 1)?, millis(rdata, 1)?];
            if ncf_retries == 0 || data_retries == 0 {
                return Err(EINVAL);
            }
            let receiver = &mut call.settings()?.listen.receiver;
            receiver.nak_bo_ivl = bo;
            receiver.nak_rpt_ivl = rpt;
            receiver.nak_rdata_ivl = rdata;
            receiver.nak_ncf_retries = ncf_retries;
            receiver.nak_data_retries = data_retries;
            Ok(())
        }),
        get: Some(|call| {
            let receiver = &call.settings()?.listen.receiver;
            words_answer(&[
                whole_millis(receiver.nak_bo_ivl),
                whole_millis(receiver.nak_rpt_ivl),
                whole_millis(receiver.nak_rdata_ivl),
                receiver.nak_ncf_retries,
                receiver.nak_data_retries,
            ])
        }),
        phases: Phases::Receiver,
        default: "10, 20, 30, 50, 50",
        variable: "PGM_NAK_BO_IVL, PGM_NAK_RPT_IVL, PGM_NAK_RDATA_IVL, PGM_NAK_NCF_RETRIES, PGM_NAK_DATA_RETRIES",
        help: "How a receiver asks for repairs: longest random wait before a NAK, waits for its \
               confirmation and for the repair, in milliseconds up to a day, and how often either is \
               asked for, at least once. The waits for confirmation and repair are at least 1.",
        ..PGM
    },
    Row {
        name: PGM_TSI,
        symbol: "PGM_TSI",
        value: Type::Structure("struct pgm_tsi", 8),
        get: Some(|call| {
            let tsi = call.socket.tsi().ok_or(Errno(libc::ENOTCONN))?;
            let mut answer = tsi.gsi.0.to_vec();
            answer.extend(tsi.sport.to_ne_bytes());
            Ok(answer)
        }),
        phases: Phases::Running,
        help: "Name of the session: the same at the sender and at all receivers.",
        ..PGM
    },
    Row {
        name: PGM_LINGER,
        symbol: "PGM_LINGER",
        value: Type::Structure("struct pgm_linger", 12),
        set: Some(|call, value| {
            let [mode, quiet, max] = value.words()?;
            let mode = *LINGERS.get(mode as usize).ok_or(EINVAL)?;
            let [quiet, max] = [millis(quiet, 0)?, millis(max, 0)?];
            if quiet > max {
                return Err(EINVAL);
            }
            let send = &mut call.settings()?.send;
            (send.linger, send.linger_quiet, send.linger_max) = (mode, quiet, max);
            Ok(())
        }),
        get: Some(|call| {
            let send = &call.settings()?.send;
            let mode = LINGERS.iter().position(|mode| *mode == send.linger);
            words_answer(&[
                mode.and_then(|n| n.try_into().ok()).unwrap_or_default(),
                whole_millis(send.linger_quiet),
                whole_millis(send.linger_max),
            ])
        }),
        phases: Phases::Sender,
        default: "0, 500, 10000",
        variable: "PGM_LINGER",
        help: "What the end of the process means for a sender with data or repairs to send: \
               PGM_LINGER_BACKGROUND, PGM_LINGER_BLOCK or PGM_LINGER_OFF; and how many milliseconds \
               without a request make the end of a session, and how many are the most.",
        ..PGM
    },
    Row {
        name: PGM_CONGESTION_CONTROL,
        symbol: "PGM_CONGESTION_CONTROL",
        value: Type::Number { least: 0, most: 1 },
        set: Some(|call, value| {
            let control = match value.word()? {
                0 => CongestionControl::Off,
                1 => CongestionControl::Pgmcc,
                _ => return Err(EINVAL),
            };
            call.settings()?.send.congestion_control = control;
            Ok(())
        }),
        get: Some(|call| {
            let control = call.settings()?.send.congestion_control;
            word_answer((control == CongestionControl::Pgmcc).into())
        }),
        phases: Phases::Sender,
        default: "0",
        variable: "PGM_CONGESTION_CONTROL",
        help: "PGM_CC_OFF: the fixed rate is the rate. PGM_CC_PGMCC: it is the most, and below it the rate is \
               about what TCP would have to the slowest receiver. Only receivers of this library, and of others \
               that know PGMCC, take part; without any, ten packets go in a second.",
        ..PGM
    },
    Row {
        name: PGM_SPM_TIMERS,
        symbol: "PGM_SPM_TIMERS",
        value: Type::Structure("struct pgm_spm_timers", 12),
        set: Some(|call, value| {
            let [ambient, first, last] = value.words()?;
            let [ambient, first, last] = [millis(ambient, 1)?, millis(first, 1)?, millis(last, 1)?];
            if first > last {
                return Err(EINVAL);
            }
            let spm = &mut call.settings()?.send.spm;
            (spm.ambient, spm.heartbeat_min, spm.heartbeat_max) = (ambient, first, last);
            Ok(())
        }),
        get: Some(|call| {
            let spm = call.settings()?.send.spm;
            words_answer(&[spm.ambient, spm.heartbeat_min, spm.heartbeat_max].map(whole_millis))
        }),
        phases: Phases::Sender,
        default: "1000, 4, 1000",
        variable: "PGM_SPM_AMBIENT, PGM_SPM_HEARTBEAT_MIN, PGM_SPM_HEARTBEAT_MAX",
        help: "Intervals of a sender's SPMs in milliseconds, 1 to a day: while it has nothing to say, \
               the first after data, and the longest after data.",
        ..PGM
    },
    Row {
        name: PGM_RECEIVE_WINDOW,
        symbol: "PGM_RECEIVE_WINDOW",
        value: Type::Structure("struct pgm_receive_window", 12),
        set: Some(|call, value| {
            let [sqns, bytes, max_apdu] = value.words()?;
            if !sqns.is_power_of_two() || !(64..=1 << 24).contains(&sqns) {
                return Err(EINVAL);
            }
            if bytes == 0 || max_apdu == 0 {
                return Err(EINVAL);
            }
            let receiver = &mut call.settings()?.listen.receiver;
            receiver.rxw_sqns = sqns;
            receiver.rxw_bytes = bytes as usize;
            receiver.max_apdu = max_apdu as usize;
            Ok(())
        }),
        get: Some(|call| {
            let receiver = &call.settings()?.listen.receiver;
            let octets = |n: usize| n.try_into().unwrap_or(u32::MAX);
            words_answer(&[
                receiver.rxw_sqns,
                octets(receiver.rxw_bytes),
                octets(receiver.max_apdu),
            ])
        }),
        phases: Phases::Receiver,
        default: "65536, 33554432, 268435456",
        variable: "PGM_RXW_SQNS, PGM_RXW_BYTES, PGM_MAX_APDU",
        help: "What a receiver may hold for one sender: packets, a power of two from 64 to 16777216; \
               octets; and octets of the longest message it takes.",
        ..PGM
    },
    Row {
        name: PGM_COUNTERS,
        symbol: "PGM_COUNTERS",
        value: Type::Structure("struct pgm_counters", 160),
        get: Some(counters),
        phases: Phases::Served,
        help: "Counters of what the process received and did not take, 64 bits each: one set for its native \
               sockets, one for each pair of UDP ports that others use.",
        ..PGM
    },
];

/// By their numbers in the header.
const LINGERS: [Linger; 3] = [Linger::Background, Linger::Block, Linger::Off];

/// What reached the socket's carriage and no further.
fn counters(call: &mut Call) -> Result<Answer, Errno> {
    let (runtime, handle) = call.socket.served().ok_or(UNKNOWN)?;
    // None: the session is over, and nothing else is in use there.
    let link = runtime.engine.link_stats(handle);
    let s: EndpointStats = link.ok_or(Errno(libc::ENOTCONN))?;
    let mut counters = vec![s.tpdus_received];
    counters.extend(s.malformed);
    counters.extend([
        s.foreign,
        s.spoofed,
        s.peers_refused,
        s.over_budget,
        s.unusable,
        s.late,
        s.naks_refused,
        s.other_requests,
        s.peers,
        s.received_held,
        s.sent_held,
    ]);
    Ok(answer(&counters))
}

/// A boolean: anything but 0 is true.
fn set_switch(
    call: &mut Call,
    value: Value<'_>,
    place: fn(&mut ReceiverConfig) -> &mut bool,
) -> Result<(), Errno> {
    *place(&mut call.settings()?.listen.receiver) = value.word()? != 0;
    Ok(())
}

fn switch(call: &mut Call, place: fn(&ReceiverConfig) -> bool) -> Result<Answer, Errno> {
    word_answer(place(&call.settings()?.listen.receiver).into())
}

/// Milliseconds from `least` to a day, which is more than any timer of the protocol needs.
fn millis(n: u32, least: u32) -> Result<Duration, Errno> {
    if !(least..=86_400_000).contains(&n) {
        return Err(EINVAL);
    }
    Ok(Duration::from_millis(n.into()))
}

/// Rounded up: what is not 0 is not shown as 0.
fn whole_millis(time: Duration) -> u32 {
    time.as_micros()
        .div_ceil(1000)
        .try_into()
        .unwrap_or(u32::MAX)
}
