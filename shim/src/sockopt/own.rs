//! Level 113, from 1100: the options that Windows does not have (`linux/pgm.h`).

use super::pgm::{percent, words_answer};
use super::{Answer, Call, Phases, Row, Value, word_answer};
use crate::errno::Errno;
use crate::socket::IPPROTO_PGM;
use pgm_engine::driver::config::{Linger, ListenOptions, TPDU_MIN, UdpEncap};
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

const EINVAL: Errno = Errno(libc::EINVAL);

pub(super) static ROWS: &[Row] = &[
    Row {
        level: IPPROTO_PGM,
        name: PGM_LISTEN_ONLY,
        set: Some(|call, value| set_switch(call, value, |listen| &mut listen.receiver.listen_only)),
        get: Some(|call| switch(call, |listen| listen.receiver.listen_only)),
        phases: Phases::Receiver,
    },
    Row {
        level: IPPROTO_PGM,
        name: PGM_UNORDERED,
        set: Some(|call, value| set_switch(call, value, |listen| &mut listen.receiver.unordered)),
        get: Some(|call| switch(call, |listen| listen.receiver.unordered)),
        phases: Phases::Receiver,
    },
    Row {
        level: IPPROTO_PGM,
        name: PGM_CONTINUE_ON_LOSS,
        set: Some(|call, value| {
            set_switch(call, value, |listen| &mut listen.receiver.continue_on_loss)
        }),
        get: Some(|call| switch(call, |listen| listen.receiver.continue_on_loss)),
        phases: Phases::Receiver,
    },
    Row {
        level: IPPROTO_PGM,
        name: PGM_UDP_ENCAP,
        set: Some(|call, value| {
            let [unicast, multicast] = halves(value)?;
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
    },
    Row {
        level: IPPROTO_PGM,
        name: PGM_TPDU_SIZE,
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
    },
    Row {
        level: IPPROTO_PGM,
        name: PGM_NAK_TIMERS,
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
    },
    Row {
        level: IPPROTO_PGM,
        name: PGM_TSI,
        set: None,
        get: Some(|call| {
            let tsi = call.socket.tsi().ok_or(Errno(libc::ENOTCONN))?;
            let mut answer = tsi.gsi.0.to_vec();
            answer.extend(tsi.sport.to_ne_bytes());
            Ok(answer)
        }),
        phases: Phases::Any,
    },
    Row {
        level: IPPROTO_PGM,
        name: PGM_LINGER,
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
    },
    Row {
        level: IPPROTO_PGM,
        name: PGM_CONGESTION_CONTROL,
        set: Some(|_, value| match percent(value, 0, 1)? {
            0 => Ok(()),
            _ => Err(Errno(libc::EOPNOTSUPP)),
        }),
        get: Some(|_| word_answer(0)),
        phases: Phases::Sender,
    },
    Row {
        level: IPPROTO_PGM,
        name: PGM_SPM_TIMERS,
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
    },
    Row {
        level: IPPROTO_PGM,
        name: PGM_RECEIVE_WINDOW,
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
    },
];

/// By their numbers in the header.
const LINGERS: [Linger; 3] = [Linger::Background, Linger::Block, Linger::Off];

/// A boolean: anything but 0 is true.
fn set_switch(
    call: &mut Call,
    value: Value<'_>,
    place: fn(&mut ListenOptions) -> &mut bool,
) -> Result<(), Errno> {
    *place(&mut call.settings()?.listen) = value.word()? != 0;
    Ok(())
}

fn switch(call: &mut Call, place: fn(&ListenOptions) -> bool) -> Result<Answer, Errno> {
    word_answer(place(&call.settings()?.listen).into())
}

/// Two unsigned integers of 16 bits.
fn halves(value: Value<'_>) -> Result<[u16; 2], Errno> {
    let [a, b, c, d] = value.exactly()?;
    Ok([u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])])
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
