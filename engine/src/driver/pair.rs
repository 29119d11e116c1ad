//! The AF_UNIX pairs between the program and the engine (design D1), and the names that tell what they are.
//!
//! The *app end* is the program's descriptor, the *engine end* is ours. Both are bound to abstract names,
//! so that any process that finds itself with an app end (by inheritance, exec or SCM_RIGHTS) learns
//! what it has from `getsockname` and `getpeername`:
//!
//! ```text
//! app end     \0pgmshim/1/ROLE/PID/NONCE/MODE
//! engine end  \0pgmshim/1/ROLE/PID/NONCE/MODE/LOCAL/PEER/HANDLE
//! ```
//!
//! `ROLE` is `F` fresh, `T` sender, `L` listener or `S` session; the app end keeps the one it was made
//! with, the engine end gets its name when the socket becomes something, so it is the one to believe. `PID`
//! is the engine's process, `NONCE` 16 hexadecimal digits, `MODE` `m` or `s`, followed by `n` for native PGM,
//! `LOCAL` and `PEER` `a.b.c.d:port`, `HANDLE` hexadecimal.

use super::private::{EngineFd, PrivateFd};
use super::unix::{self, Name};
use super::{Handle, Mode};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// What a pair is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// `socket` was called, nothing else yet.
    Fresh,
    /// A connected sender.
    Sender,
    /// A listener.
    Listener,
    /// A session that `accept` returned.
    Session,
}

/// What the names of a pair say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What it is.
    pub role: Role,
    /// Process whose engine has the other end.
    pub pid: u32,
    /// Different for every pair.
    pub nonce: u64,
    /// Message boundaries.
    pub mode: Mode,
    /// Native PGM, not PGM in UDP.
    pub native: bool,
    /// What `getsockname` of the PGM socket says; unspecified for fresh ones.
    pub local: SocketAddrV4,
    /// What `getpeername` of the PGM socket says; unspecified for fresh ones and listeners.
    pub peer: SocketAddrV4,
    /// The engine's name for it; [`Handle`] 0 for fresh ones.
    pub handle: Handle,
}

/// SO_SNDBUF of both ends, octets, as far as `wmem_max` allows. The kernel counts buffer memory, about 770
/// octets for the shortest message, and doubles the value. No message is longer than the double.
const SEND_BUFFER: libc::c_int = 512 << 10;
const _: () = assert!(2 * SEND_BUFFER as usize <= unix::SLOT);

/// What is parked keeps an end from being writable; shorter messages only stop `poll`, not `send`.
const PARKED: [u8; 4096] = [0; 4096];

const UNSPECIFIED: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

impl Role {
    const fn letter(self) -> char {
        match self {
            Self::Fresh => 'F',
            Self::Sender => 'T',
            Self::Listener => 'L',
            Self::Session => 'S',
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [Self::Fresh, Self::Sender, Self::Listener, Self::Session];
        all.into_iter()
            .find(|role| text.chars().eq([role.letter()]))
    }
}

impl Mode {
    /// Socket type of the pair.
    const fn kind(self) -> libc::c_int {
        match self {
            Self::Message => libc::SOCK_SEQPACKET,
            Self::Stream => libc::SOCK_STREAM,
        }
    }

    /// The mode and whether PGM is native, as in names.
    const fn letters(self, native: bool) -> &'static str {
        match (self, native) {
            (Self::Message, false) => "m",
            (Self::Message, true) => "mn",
            (Self::Stream, false) => "s",
            (Self::Stream, true) => "sn",
        }
    }

    fn parse(text: &str) -> Option<(Self, bool)> {
        let modes = [Self::Message, Self::Stream].into_iter();
        modes
            .flat_map(|mode| [(mode, false), (mode, true)])
            .find(|(mode, native)| mode.letters(*native) == text)
    }
}

/// A new pair: app end (CLOEXEC, blocking, the lowest free number) and engine end.
///
/// # Errors
/// As `socketpair`: `EMFILE`, `ENFILE`, `ENOMEM`.
pub fn make_pair(mode: Mode, native: bool, role: Role) -> io::Result<(OwnedFd, PrivateFd)> {
    let (app, engine) = unix::socket_pair(mode.kind())?;
    let engine = PrivateFd::from(engine);
    prepare(app.as_raw_fd(), engine.as_raw_fd(), mode, native, role)?;
    Ok((app, engine))
}

/// The same in the engine's table: the app end is to be sent to the program.
pub(super) fn make_engine_pair(
    mode: Mode,
    native: bool,
    role: Role,
) -> io::Result<(EngineFd, EngineFd)> {
    let (app, engine) = unix::socket_pair(mode.kind())?;
    prepare(app.as_raw_fd(), engine.as_raw_fd(), mode, native, role)?;
    Ok((EngineFd::from(app), EngineFd::from(engine)))
}

fn prepare(app: RawFd, engine: RawFd, mode: Mode, native: bool, role: Role) -> io::Result<()> {
    for fd in [app, engine] {
        unix::set_option(fd, libc::SO_SNDBUF, SEND_BUFFER)?;
    }
    let mut name = Name::new();
    let (pid, role, mode) = (std::process::id(), role.letter(), mode.letters(native));
    write!(
        name,
        "\0pgmshim/1/{role}/{pid}/{:016x}/{mode}",
        unix::random()?
    )?;
    unix::bind(app, &name)
}

/// Make an app end one that is never writable: what `poll` says of a listener or a session.
///
/// # Errors
/// Of `setsockopt` and `send`.
pub fn park(app_end: RawFd) -> io::Result<()> {
    // The kernel raises it to its minimum, which two parked messages surely exceed.
    unix::set_option(app_end, libc::SO_SNDBUF, 0)?;
    for _ in 0..16 {
        match unix::send(app_end, &PARKED) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ENOBUFS))
}

/// Name the engine end for what the socket has become. A second name is refused by the kernel: the first stays.
pub(super) fn name_engine_end(
    engine_end: RawFd,
    role: Role,
    mode: Mode,
    native: bool,
    local: SocketAddrV4,
    peer: SocketAddrV4,
    handle: Handle,
) -> io::Result<()> {
    let mut name = Name::new();
    let (pid, role, mode) = (std::process::id(), role.letter(), mode.letters(native));
    let nonce = unix::random()?;
    write!(
        name,
        "\0pgmshim/1/{role}/{pid}/{nonce:016x}/{mode}/{local}/{peer}/{:x}",
        handle.0
    )?;
    unix::bind(engine_end, &name)
}

/// What this descriptor is, if it is the app end of a pair of any process's engine.
#[must_use]
pub fn identify(fd: RawFd) -> Option<Identity> {
    let own = unix::local_name(fd).ok()?;
    let mut identity = parse(&own)?;
    // An engine that is gone has no name any more; what the app end was made for is still known.
    if let Some(other) = unix::peer_name(fd).ok().and_then(|name| parse(&name)) {
        identity = Identity {
            nonce: identity.nonce,
            ..other
        };
    }
    Some(identity)
}

/// Whether this descriptor is the app end of a pair. Async-signal-safe.
pub(super) fn is_app_end(fd: RawFd) -> bool {
    unix::local_name(fd).is_ok_and(|name| parse(&name).is_some())
}

fn parse(name: &[u8]) -> Option<Identity> {
    let text = std::str::from_utf8(name)
        .ok()?
        .strip_prefix("\0pgmshim/1/")?;
    let mut fields = text.split('/');
    let role = Role::parse(fields.next()?)?;
    let pid = fields.next()?.parse().ok()?;
    let nonce = u64::from_str_radix(fields.next()?, 16).ok()?;
    let (mode, native) = Mode::parse(fields.next()?)?;
    let mut identity = Identity {
        role,
        pid,
        nonce,
        mode,
        native,
        local: UNSPECIFIED,
        peer: UNSPECIFIED,
        handle: Handle(0),
    };
    if let Some(local) = fields.next() {
        identity.local = local.parse().ok()?;
        identity.peer = fields.next()?.parse().ok()?;
        identity.handle = Handle(u64::from_str_radix(fields.next()?, 16).ok()?);
    }
    Some(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ready(fd: RawFd, events: libc::c_short) -> bool {
        let mut poll = libc::pollfd {
            fd,
            events,
            revents: 0,
        };
        // SAFETY: one pollfd, no wait.
        unsafe { libc::poll(&raw mut poll, 1, 0) };
        poll.revents & events != 0
    }

    #[test]
    fn a_pair_can_be_identified_before_and_after_it_becomes_something() {
        for (mode, native) in [(Mode::Message, false), (Mode::Stream, true)] {
            let (app, engine) = make_pair(mode, native, Role::Fresh).expect("pair");
            let fresh = identify(app.as_raw_fd()).expect("ours");
            assert!(is_app_end(app.as_raw_fd()) && !is_app_end(engine.as_raw_fd()));
            assert_eq!((fresh.role, fresh.pid), (Role::Fresh, std::process::id()));
            assert_eq!(
                (fresh.mode, fresh.native, fresh.local),
                (mode, native, UNSPECIFIED)
            );

            // The longest name there can be.
            let longest = SocketAddrV4::new(Ipv4Addr::BROADCAST, u16::MAX);
            let (end, handle) = (engine.as_raw_fd(), Handle(u64::MAX));
            name_engine_end(end, Role::Sender, mode, native, longest, longest, handle)
                .expect("name");
            let known = identify(app.as_raw_fd()).expect("ours");
            assert_eq!(
                (known.role, known.mode, known.native),
                (Role::Sender, mode, native)
            );
            assert_eq!((known.local, known.peer), (longest, longest));
            assert_eq!((known.handle, known.nonce), (handle, fresh.nonce));
        }
    }

    #[test]
    fn strangers_are_not_identified() {
        let (a, _b) = unix::socket_pair(libc::SOCK_SEQPACKET).expect("pair");
        assert_eq!(identify(a.as_raw_fd()), None);
        assert_eq!(identify(-1), None);
        assert!(!is_app_end(a.as_raw_fd()) && !is_app_end(-1));
        for name in [
            "",
            "\0",
            "\0pgmshim/1/",
            "\0pgmshim/1/X/1/0/m",
            "\0pgmshim/1/S/1/0/m/x/y/z",
        ] {
            assert_eq!(parse(name.as_bytes()), None, "{name:?}");
        }
    }

    #[test]
    fn a_parked_end_is_never_writable_and_can_still_receive() {
        for mode in [Mode::Message, Mode::Stream] {
            let (app, engine) = make_pair(mode, false, Role::Fresh).expect("pair");
            assert!(is_ready(app.as_raw_fd(), libc::POLLOUT));
            park(app.as_raw_fd()).expect("park");
            assert!(!is_ready(app.as_raw_fd(), libc::POLLOUT | libc::POLLIN));
            let refused = unix::send(app.as_raw_fd(), b"x").expect_err("full");
            assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
            assert_eq!(unix::send(engine.as_raw_fd(), b"x").expect("room"), 1);
            assert!(is_ready(app.as_raw_fd(), libc::POLLIN));
        }
    }

    #[test]
    fn no_message_is_longer_than_a_slot() {
        let (app, _engine) = make_pair(Mode::Message, false, Role::Fresh).expect("pair");
        let long = vec![0; unix::SLOT + 1];
        let refused = unix::send(app.as_raw_fd(), &long).expect_err("too long");
        assert_eq!(refused.raw_os_error(), Some(libc::EMSGSIZE));
    }
}
