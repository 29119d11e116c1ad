//! SOL_SOCKET where the pair would answer as what it is, and the IPPROTO_IP options of multicast programs.

use super::pgm::interface_answer;
use super::{Call, Phases, Row, Value, int_answer};
use crate::errno::Errno;
use crate::socket::{IPPROTO_PGM, Kind, check_local};
use crate::sys;
use libc::c_int;
use pgm_engine::driver::Mode;
use std::net::Ipv4Addr;

/// The kernel's least SO_SNDBUF and SO_RCVBUF, doubled as it shows them.
const LEAST_BUFFER: c_int = 4608;

pub(super) static ROWS: &[Row] = &[
    fact(libc::SO_DOMAIN, |_| int_answer(libc::AF_INET)),
    fact(libc::SO_TYPE, |call| {
        int_answer(match call.socket.style().mode {
            Mode::Message => libc::SOCK_RDM,
            Mode::Stream => libc::SOCK_STREAM,
        })
    }),
    fact(libc::SO_PROTOCOL, |call| {
        int_answer(if call.socket.style().native {
            IPPROTO_PGM
        } else {
            libc::IPPROTO_UDP
        })
    }),
    fact(libc::SO_ACCEPTCONN, |call| {
        int_answer((call.socket.kind() == Kind::Listening).into())
    }),
    // As a socket that has no other process on its other end.
    fact(libc::SO_PEERCRED, |_| {
        Ok([0, -1, -1]
            .iter()
            .flat_map(|n: &c_int| n.to_ne_bytes())
            .collect())
    }),
    buffer(libc::SO_SNDBUF, set_sndbuf, |call| {
        int_answer(call.settings()?.sndbuf)
    }),
    buffer(libc::SO_SNDBUFFORCE, set_sndbuf, |call| {
        int_answer(call.settings()?.sndbuf)
    }),
    buffer(libc::SO_RCVBUF, set_rcvbuf, |call| {
        int_answer(call.settings()?.rcvbuf)
    }),
    buffer(libc::SO_RCVBUFFORCE, set_rcvbuf, |call| {
        int_answer(call.settings()?.rcvbuf)
    }),
    Row {
        level: libc::SOL_SOCKET,
        name: libc::SO_REUSEPORT,
        set: Some(|call, value| {
            // Ports are always shared.
            call.settings()?.reuse_port = value.int()? != 0;
            Ok(())
        }),
        get: Some(|call| int_answer(call.settings()?.reuse_port.into())),
        phases: Phases::Any,
    },
    // The pair would take it and nothing would come of it: RM_SET_SEND_IF and RM_ADD_RECEIVE_IF do it.
    Row::absent(libc::SOL_SOCKET, libc::SO_BINDTODEVICE),
    // These would change what travels through the pair.
    Row::absent(libc::SOL_SOCKET, libc::SO_PEEK_OFF),
    Row::absent(libc::SOL_SOCKET, libc::SO_PASSCRED),
    Row::absent(libc::SOL_SOCKET, libc::SO_PASSSEC),
    Row::absent(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER),
    Row::absent(libc::SOL_SOCKET, libc::SO_ATTACH_BPF),
    Row {
        level: libc::IPPROTO_IP,
        name: libc::IP_MULTICAST_TTL,
        set: Some(|call, value| {
            let ttl = match value.int_or_octet()? {
                -1 => 1,
                ttl => u8::try_from(ttl).map_err(|_| Errno(libc::EINVAL))?,
            };
            call.settings()?.send.ttl = ttl;
            Ok(())
        }),
        get: Some(|call| int_answer(call.settings()?.send.ttl.into())),
        phases: Phases::Sender,
    },
    Row {
        level: libc::IPPROTO_IP,
        name: libc::IP_MULTICAST_LOOP,
        set: Some(|call, value| {
            call.settings()?.send.loopback = value.int_or_octet()? != 0;
            Ok(())
        }),
        get: Some(|call| int_answer(call.settings()?.send.loopback.into())),
        phases: Phases::Sender,
    },
    Row {
        level: libc::IPPROTO_IP,
        name: libc::IP_MULTICAST_IF,
        set: Some(|call, value| {
            call.settings()?.send.interface = multicast_interface(value)?;
            Ok(())
        }),
        get: Some(|call| interface_answer(call.settings()?.send.interface)),
        phases: Phases::Sender,
    },
    Row {
        level: libc::IPPROTO_IP,
        name: libc::IP_TOS,
        set: Some(|call, value| {
            call.settings()?.send.tos = value.int_or_octet()? as u8;
            Ok(())
        }),
        get: Some(|call| int_answer(call.settings()?.send.tos.into())),
        phases: Phases::Sender,
    },
    membership(libc::IP_ADD_MEMBERSHIP, true),
    membership(libc::IP_DROP_MEMBERSHIP, false),
];

/// What only can be read.
const fn fact(name: c_int, get: super::Getter) -> Row {
    Row {
        level: libc::SOL_SOCKET,
        name,
        set: None,
        get: Some(get),
        phases: Phases::Any,
    }
}

/// Buffer sizes are shown as asked for; what they bound in the kernel is the engine's business here.
const fn buffer(name: c_int, set: super::Setter, get: super::Getter) -> Row {
    Row {
        level: libc::SOL_SOCKET,
        name,
        set: Some(set),
        get: Some(get),
        phases: Phases::Any,
    }
}

fn doubled(value: Value<'_>) -> Result<c_int, Errno> {
    Ok(value
        .int()?
        .clamp(0, c_int::MAX / 2)
        .saturating_mul(2)
        .max(LEAST_BUFFER))
}

fn set_sndbuf(call: &mut Call, value: Value<'_>) -> Result<(), Errno> {
    call.settings()?.sndbuf = doubled(value)?;
    Ok(())
}

fn set_rcvbuf(call: &mut Call, value: Value<'_>) -> Result<(), Errno> {
    call.settings()?.rcvbuf = doubled(value)?;
    Ok(())
}

/// `struct in_addr`, `ip_mreq` or `ip_mreqn`; `None` for the default.
fn multicast_interface(value: Value<'_>) -> Result<Option<Ipv4Addr>, Errno> {
    let addr = if value.0.len() >= 8 {
        request(value)?.1
    } else {
        Some(Ipv4Addr::from(value.head::<4>()?)).filter(|addr| !addr.is_unspecified())
    };
    addr.map_or(Ok(()), check_local)?;
    Ok(addr)
}

/// Group and interface of an `ip_mreq` (8 octets) or `ip_mreqn` (12, with an interface index).
fn request(value: Value<'_>) -> Result<(Ipv4Addr, Option<Ipv4Addr>), Errno> {
    let [a, b, c, d, e, f, g, h] = value.head::<8>()?;
    let index = value
        .head::<12>()
        .map_or(0, |[.., a, b, c, d]| i32::from_ne_bytes([a, b, c, d]));
    let addr = match u32::try_from(index) {
        Ok(index) if index > 0 => Some(sys::address_of_interface(index)?),
        _ => Some(Ipv4Addr::new(e, f, g, h)).filter(|addr| !addr.is_unspecified()),
    };
    Ok((Ipv4Addr::new(a, b, c, d), addr))
}

/// A PGM receiver is a member by `bind` and `listen`. Programs written for UDP say so again, and may name
/// the interface by it.
const fn membership(name: c_int, add: bool) -> Row {
    let set: super::Setter = if add {
        |call, value| member(call, value, true)
    } else {
        |call, value| member(call, value, false)
    };
    Row {
        level: libc::IPPROTO_IP,
        name,
        set: Some(set),
        get: None,
        phases: Phases::Any,
    }
}

fn member(call: &mut Call, value: Value<'_>, add: bool) -> Result<(), Errno> {
    let (group, interface) = request(value)?;
    if !group.is_multicast() {
        return Err(Errno(libc::EINVAL));
    }
    let Some(interface) = interface else {
        return Ok(());
    };
    check_local(interface)?;
    if matches!(call.socket.kind(), Kind::Fresh | Kind::Bound) {
        let interfaces = &mut call.settings()?.listen.interfaces;
        interfaces.retain(|known| *known != interface);
        if add {
            interfaces.push(interface);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership_requests_come_in_two_sizes() {
        let octets = [239, 192, 0, 1, 127, 0, 0, 1, 0, 0, 0, 0];
        let loopback = Some(Ipv4Addr::LOCALHOST);
        let group = Ipv4Addr::new(239, 192, 0, 1);
        assert_eq!(request(Value(&octets[..8])), Ok((group, loopback)));
        assert_eq!(request(Value(&octets)), Ok((group, loopback)));
        assert_eq!(request(Value(&octets[..7])), Err(Errno(libc::EINVAL)));
    }

    #[test]
    fn buffer_sizes_are_doubled_within_bounds() {
        let size = |n: c_int| doubled(Value(&n.to_ne_bytes())).expect("four octets");
        assert_eq!(size(100_000), 200_000);
        assert_eq!(size(1), LEAST_BUFFER);
        assert_eq!(size(-5), LEAST_BUFFER);
        assert_eq!(size(c_int::MAX), c_int::MAX - 1);
    }
}
