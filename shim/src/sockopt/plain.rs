//! SOL_SOCKET where the pair would answer as what it is, and IPPROTO_TCP.

use super::Call;
use super::table::{Getter, Phases, Row, Setter, Type};
use super::value::{Value, int_answer};
use crate::errno::Errno;
use crate::socket::{IPPROTO_PGM, Kind};
use crate::{addr, sys};
use libc::c_int;
use pgm_engine::driver::Mode;

/// The kernel's least SO_SNDBUF and SO_RCVBUF, doubled as it shows them.
const LEAST_BUFFER: c_int = 4608;

/// `asm-generic/socket.h`, where libc has no name or another one.
const SO_TIMESTAMP_NEW: c_int = 63;
const SO_TIMESTAMPNS_NEW: c_int = 64;
const SO_TIMESTAMPING_NEW: c_int = 65;
const SO_PASSPIDFD: c_int = 76;
const SO_PEERPIDFD: c_int = 77;
const SO_PASSRIGHTS: c_int = 83;

const SOCKET: Row = Row {
    level: libc::SOL_SOCKET,
    ..Row::BLANK
};

pub(super) static ROWS: &[Row] = &[
    Row {
        help: "AF_INET.",
        ..fact(libc::SO_DOMAIN, "SO_DOMAIN", |_| int_answer(libc::AF_INET))
    },
    Row {
        help: "SOCK_RDM, or SOCK_STREAM in stream mode.",
        ..fact(libc::SO_TYPE, "SO_TYPE", |call| {
            int_answer(match call.socket.style().mode {
                Mode::Message => libc::SOCK_RDM,
                Mode::Stream => libc::SOCK_STREAM,
            })
        })
    },
    Row {
        help: "IPPROTO_PGM or IPPROTO_UDP.",
        ..fact(libc::SO_PROTOCOL, "SO_PROTOCOL", |call| {
            int_answer(if call.socket.style().native {
                IPPROTO_PGM
            } else {
                libc::IPPROTO_UDP
            })
        })
    },
    Row {
        help: "1 after listen.",
        ..fact(libc::SO_ACCEPTCONN, "SO_ACCEPTCONN", |call| {
            int_answer((call.socket.kind() == Kind::Listening).into())
        })
    },
    Row {
        value: Type::Other("struct ucred"),
        help: "Nobody, as for any socket with another host on its other end.",
        ..fact(libc::SO_PEERCRED, "SO_PEERCRED", |_| {
            Ok([0, -1, -1]
                .iter()
                .flat_map(|n: &c_int| n.to_ne_bytes())
                .collect())
        })
    },
    Row {
        value: Type::Other("struct sockaddr_in"),
        phases: Phases::Running,
        help: "As getpeername.",
        ..fact(libc::SO_PEERNAME, "SO_PEERNAME", |call| {
            Ok(addr::octets(call.socket.peer()))
        })
    },
    buffer(libc::SO_SNDBUF, "SO_SNDBUF", set_sndbuf, |call| {
        int_answer(call.settings()?.sndbuf)
    }),
    buffer(libc::SO_SNDBUFFORCE, "SO_SNDBUFFORCE", set_sndbuf, |call| {
        int_answer(call.settings()?.sndbuf)
    }),
    buffer(libc::SO_RCVBUF, "SO_RCVBUF", set_rcvbuf, |call| {
        int_answer(call.settings()?.rcvbuf)
    }),
    buffer(libc::SO_RCVBUFFORCE, "SO_RCVBUFFORCE", set_rcvbuf, |call| {
        int_answer(call.settings()?.rcvbuf)
    }),
    Row {
        name: libc::SO_REUSEPORT,
        symbol: "SO_REUSEPORT",
        value: Type::Int,
        set: Some(|call, value| {
            call.settings()?.reuse_port = value.int()? != 0;
            Ok(())
        }),
        get: Some(|call| int_answer(call.settings()?.reuse_port.into())),
        help: "Remembered. Groups and ports are always shared, as with SO_REUSEADDR.",
        ..SOCKET
    },
    Row {
        name: libc::SO_PRIORITY,
        symbol: "SO_PRIORITY",
        value: Type::Int,
        set: Some(|call, value| {
            call.set_natively(libc::SOL_SOCKET, libc::SO_PRIORITY, value)?;
            call.settings()?.send.priority = Some(value.int()?);
            Ok(())
        }),
        get: Some(|call| int_answer(call.settings()?.send.priority.unwrap_or(0))),
        phases: Phases::Any,
        help: "Queueing priority of a sender's packets, if set before connect.",
        ..SOCKET
    },
    Row {
        name: libc::SO_MARK,
        symbol: "SO_MARK",
        value: Type::Int,
        set: Some(|call, value| {
            // Needs a privilege that the kernel checks.
            call.set_natively(libc::SOL_SOCKET, libc::SO_MARK, value)?;
            call.settings()?.send.mark = Some(value.int()?.cast_unsigned());
            Ok(())
        }),
        get: Some(|call| {
            let mark = call.settings()?.send.mark.unwrap_or(0);
            int_answer(mark.cast_signed())
        }),
        help: "Mark of a sender's packets, if set before connect; needs CAP_NET_ADMIN.",
        ..SOCKET
    },
    Row {
        name: libc::SO_BINDTODEVICE,
        symbol: "SO_BINDTODEVICE",
        value: Type::Other("char []"),
        set: Some(|call, value| {
            let name = value.0.split(|octet| *octet == 0).next().unwrap_or(&[]);
            let index = match name {
                [] => 0,
                name => sys::index_of_interface(name)?,
            };
            bind_to(call, index)
        }),
        get: Some(|call| match call.settings()?.device {
            0 => Ok(Vec::new()),
            index => sys::name_of_interface(index),
        }),
        phases: Phases::Unconnected,
        help: "Interface, by name, of a sender or receiver; an empty name: any.",
        ..SOCKET
    },
    Row {
        name: libc::SO_BINDTOIFINDEX,
        symbol: "SO_BINDTOIFINDEX",
        value: Type::Int,
        set: Some(|call, value| {
            let index = u32::try_from(value.int()?).map_err(|_| Errno(libc::EINVAL))?;
            bind_to(call, index)
        }),
        get: Some(|call| int_answer(call.settings()?.device.cast_signed())),
        phases: Phases::Unconnected,
        default: "0",
        help: "The same by index; 0: any.",
        ..SOCKET
    },
    stamp(libc::SO_TIMESTAMP, "SO_TIMESTAMP"),
    stamp(libc::SO_TIMESTAMPNS, "SO_TIMESTAMPNS"),
    stamp(SO_TIMESTAMP_NEW, "SO_TIMESTAMP_NEW"),
    stamp(SO_TIMESTAMPNS_NEW, "SO_TIMESTAMPNS_NEW"),
    // These would change what travels through the pair, or tell of its other end.
    absent(libc::SO_TIMESTAMPING, "SO_TIMESTAMPING"),
    absent(SO_TIMESTAMPING_NEW, "SO_TIMESTAMPING_NEW"),
    absent(libc::SO_PEEK_OFF, "SO_PEEK_OFF"),
    absent(libc::SO_PASSCRED, "SO_PASSCRED"),
    absent(libc::SO_PASSSEC, "SO_PASSSEC"),
    absent(SO_PASSPIDFD, "SO_PASSPIDFD"),
    absent(SO_PASSRIGHTS, "SO_PASSRIGHTS"),
    absent(libc::SO_PEERSEC, "SO_PEERSEC"),
    absent(libc::SO_PEERGROUPS, "SO_PEERGROUPS"),
    absent(SO_PEERPIDFD, "SO_PEERPIDFD"),
    absent(libc::SO_ATTACH_FILTER, "SO_ATTACH_FILTER"),
    absent(libc::SO_ATTACH_BPF, "SO_ATTACH_BPF"),
    absent(libc::SO_DETACH_FILTER, "SO_DETACH_FILTER"),
    absent(libc::SO_LOCK_FILTER, "SO_LOCK_FILTER"),
    absent(libc::SO_ZEROCOPY, "SO_ZEROCOPY"),
    Row {
        level: libc::IPPROTO_TCP,
        name: libc::TCP_NODELAY,
        symbol: "TCP_NODELAY",
        value: Type::Int,
        set: Some(|_, value| value.int().map(drop)),
        get: Some(|_| int_answer(1)),
        help: "Accepted: messages are never held back. Other options of TCP are unknown.",
        ..Row::BLANK
    },
];

/// What only can be read.
const fn fact(name: c_int, symbol: &'static str, get: Getter) -> Row {
    Row {
        name,
        symbol,
        value: Type::Int,
        get: Some(get),
        ..SOCKET
    }
}

/// Refused as unknown.
const fn absent(name: c_int, symbol: &'static str) -> Row {
    Row {
        name,
        symbol,
        ..SOCKET
    }
}

/// Buffer sizes are shown as asked for; what they bound in the kernel is the engine's business here.
const fn buffer(name: c_int, symbol: &'static str, set: Setter, get: Getter) -> Row {
    Row {
        name,
        symbol,
        value: Type::Int,
        set: Some(set),
        get: Some(get),
        default: "212992",
        help: "Remembered, doubled as on any socket. RM_RATE_WINDOW_SIZE and PGM_RECEIVE_WINDOW bound memory.",
        ..SOCKET
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

/// A sender sends by this interface only, a receiver listens on it only; 0: as without.
fn bind_to(call: &mut Call, index: u32) -> Result<(), Errno> {
    let addr = match index {
        0 => None,
        index => Some(sys::address_of_interface(index)?),
    };
    let settings = call.settings()?;
    settings.device = index;
    settings.send.interface = addr;
    settings.listen.interfaces = addr.into_iter().collect();
    Ok(())
}

/// The kinds of time stamps exclude each other, as in the kernel.
const fn stamp(name: c_int, symbol: &'static str) -> Row {
    Row {
        name,
        symbol,
        value: Type::Int,
        set: Some(|call, value| {
            call.settings()?.stamp = if value.int()? == 0 { 0 } else { call.name };
            Ok(())
        }),
        get: Some(|call| int_answer((call.settings()?.stamp == call.name).into())),
        default: "0",
        help: "Remembered; no message carries a time stamp.",
        ..SOCKET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_sizes_are_doubled_within_bounds() {
        let size = |n: c_int| doubled(Value(&n.to_ne_bytes())).expect("four octets");
        assert_eq!(size(100_000), 200_000);
        assert_eq!(size(1), LEAST_BUFFER);
        assert_eq!(size(-5), LEAST_BUFFER);
        assert_eq!(size(c_int::MAX), c_int::MAX - 1);
    }
}
