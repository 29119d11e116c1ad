//! The IPPROTO_IP options of multicast programs that mean something to PGM.

use super::member::{Act, Request, act};
use super::pgm::interface_answer;
use super::table::{Phases, Row, Setter, Type};
use super::value::{Value, int_answer};
use crate::errno::Errno;
use crate::socket::check_local;
use libc::c_int;
use std::net::Ipv4Addr;

/// `linux/in.h`.
const IP_MSFILTER: c_int = 41;
const MCAST_JOIN_GROUP: c_int = 42;
const MCAST_BLOCK_SOURCE: c_int = 43;
const MCAST_UNBLOCK_SOURCE: c_int = 44;
const MCAST_LEAVE_GROUP: c_int = 45;
const MCAST_JOIN_SOURCE_GROUP: c_int = 46;
const MCAST_LEAVE_SOURCE_GROUP: c_int = 47;
const MCAST_MSFILTER: c_int = 48;

const IP: Row = Row {
    level: libc::IPPROTO_IP,
    ..Row::BLANK
};

pub(super) static ROWS: &[Row] = &[
    Row {
        name: libc::IP_MULTICAST_TTL,
        symbol: "IP_MULTICAST_TTL",
        value: Type::Octet,
        set: Some(|call, value| {
            let ttl = match value.int_or_octet()? {
                // As the kernel: the default of multicast in UDP.
                -1 => 1,
                ttl => u8::try_from(ttl).map_err(|_| Errno(libc::EINVAL))?,
            };
            call.settings()?.send.ttl = ttl;
            Ok(())
        }),
        get: Some(|call| int_answer(call.settings()?.send.ttl.into())),
        phases: Phases::Sender,
        default: "255",
        variable: "PGM_TTL",
        help: "As RM_SET_MCAST_TTL.",
        ..IP
    },
    Row {
        name: libc::IP_MULTICAST_LOOP,
        symbol: "IP_MULTICAST_LOOP",
        value: Type::Octet,
        set: Some(|call, value| {
            call.settings()?.send.loopback = value.int_or_octet()? != 0;
            Ok(())
        }),
        get: Some(|call| int_answer(call.settings()?.send.loopback.into())),
        phases: Phases::Sender,
        default: "1",
        variable: "PGM_LOOPBACK",
        help: "Whether receivers on the sender's host get its packets.",
        ..IP
    },
    Row {
        name: libc::IP_MULTICAST_IF,
        symbol: "IP_MULTICAST_IF",
        value: Type::Other("struct in_addr, ip_mreq or ip_mreqn"),
        set: Some(|call, value| {
            call.settings()?.send.interface = multicast_interface(value)?;
            Ok(())
        }),
        get: Some(|call| interface_answer(call.settings()?.send.interface)),
        phases: Phases::Sender,
        variable: "PGM_INTERFACE",
        help: "As RM_SET_SEND_IF.",
        ..IP
    },
    Row {
        name: libc::IP_TOS,
        symbol: "IP_TOS",
        value: Type::Octet,
        set: Some(|call, value| {
            call.settings()?.send.tos = value.int_or_octet()? as u8;
            Ok(())
        }),
        get: Some(|call| int_answer(call.settings()?.send.tos.into())),
        phases: Phases::Sender,
        default: "0",
        variable: "PGM_TOS",
        help: "Type of service octet of a sender's packets.",
        ..IP
    },
    Row {
        name: libc::IP_MTU,
        symbol: "IP_MTU",
        value: Type::Int,
        get: Some(|call| {
            let headers = if call.socket.style().native {
                20
            } else {
                20 + 8
            };
            int_answer(call.socket.max_tpdu().saturating_add(headers).cast_signed())
        }),
        phases: Phases::Connected,
        help: "Largest IP packet of a connected sender.",
        ..IP
    },
    member(
        libc::IP_ADD_MEMBERSHIP,
        "IP_ADD_MEMBERSHIP",
        MREQ,
        |call, value| act(call, Request::of_mreq(value)?, Act::Join),
    ),
    member(
        libc::IP_DROP_MEMBERSHIP,
        "IP_DROP_MEMBERSHIP",
        MREQ,
        |call, value| act(call, Request::of_mreq(value)?, Act::Leave),
    ),
    member(
        libc::IP_ADD_SOURCE_MEMBERSHIP,
        "IP_ADD_SOURCE_MEMBERSHIP",
        MREQ_SOURCE,
        |call, value| act(call, Request::of_mreq_source(value)?, Act::JoinSource),
    ),
    member(
        libc::IP_DROP_SOURCE_MEMBERSHIP,
        "IP_DROP_SOURCE_MEMBERSHIP",
        MREQ_SOURCE,
        |call, value| act(call, Request::of_mreq_source(value)?, Act::LeaveSource),
    ),
    member(
        libc::IP_BLOCK_SOURCE,
        "IP_BLOCK_SOURCE",
        MREQ_SOURCE,
        |call, value| act(call, Request::of_mreq_source(value)?, Act::Block),
    ),
    member(
        libc::IP_UNBLOCK_SOURCE,
        "IP_UNBLOCK_SOURCE",
        MREQ_SOURCE,
        |call, value| act(call, Request::of_mreq_source(value)?, Act::Unblock),
    ),
    member(
        MCAST_JOIN_GROUP,
        "MCAST_JOIN_GROUP",
        GROUP,
        |call, value| act(call, Request::of_group(value, false)?, Act::Join),
    ),
    member(
        MCAST_LEAVE_GROUP,
        "MCAST_LEAVE_GROUP",
        GROUP,
        |call, value| act(call, Request::of_group(value, false)?, Act::Leave),
    ),
    member(
        MCAST_JOIN_SOURCE_GROUP,
        "MCAST_JOIN_SOURCE_GROUP",
        GROUP_SOURCE,
        |call, value| act(call, Request::of_group(value, true)?, Act::JoinSource),
    ),
    member(
        MCAST_LEAVE_SOURCE_GROUP,
        "MCAST_LEAVE_SOURCE_GROUP",
        GROUP_SOURCE,
        |call, value| act(call, Request::of_group(value, true)?, Act::LeaveSource),
    ),
    member(
        MCAST_BLOCK_SOURCE,
        "MCAST_BLOCK_SOURCE",
        GROUP_SOURCE,
        |call, value| act(call, Request::of_group(value, true)?, Act::Block),
    ),
    member(
        MCAST_UNBLOCK_SOURCE,
        "MCAST_UNBLOCK_SOURCE",
        GROUP_SOURCE,
        |call, value| act(call, Request::of_group(value, true)?, Act::Unblock),
    ),
    Row {
        name: IP_MSFILTER,
        symbol: "IP_MSFILTER",
        help: "Not there: ENOPROTOOPT. The options above do one source at a time.",
        ..IP
    },
    Row {
        name: MCAST_MSFILTER,
        symbol: "MCAST_MSFILTER",
        help: "The same.",
        ..IP
    },
];

const MREQ: &str = "struct ip_mreq or ip_mreqn";
const MREQ_SOURCE: &str = "struct ip_mreq_source";
const GROUP: &str = "struct group_req";
const GROUP_SOURCE: &str = "struct group_source_req";

/// Programs written for UDP join the group that `bind` and `listen` join here.
const fn member(name: c_int, symbol: &'static str, value: &'static str, set: Setter) -> Row {
    Row {
        name,
        symbol,
        value: Type::Other(value),
        set: Some(set),
        help: "Before listen it names the receiver's interface, and its sources where it names some.",
        ..IP
    }
}

/// `struct in_addr`, `ip_mreq` or `ip_mreqn`; `None` for the default.
fn multicast_interface(value: Value<'_>) -> Result<Option<Ipv4Addr>, Errno> {
    let addr = if value.0.len() >= 8 {
        Request::of_mreq(value)?.interface
    } else {
        Some(Ipv4Addr::from(value.head::<4>()?)).filter(|addr| !addr.is_unspecified())
    };
    addr.map_or(Ok(()), check_local)?;
    Ok(addr)
}
