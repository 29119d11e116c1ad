//! The calls that make a socket and change what it is.

use super::{IPPROTO_PGM, Kind, Settings, Socket, Style, UNNAMED, slots};
use crate::addr::{self, Place};
use crate::engine;
use crate::errno::Errno;
use crate::exit;
use crate::fdtable;
use crate::interpose::call;
use crate::lock::{Control, control};
use crate::sys;
use libc::{c_int, sockaddr, socklen_t};
use pgm_engine::driver::log::Level;
use pgm_engine::driver::{self, Handle, Role};
use pgm_engine::log_line;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU16;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::sync::atomic::Ordering;

/// Whether `socket` of these arguments is ours.
pub(crate) fn is_ours(domain: c_int, kind: c_int, protocol: c_int) -> bool {
    Style::of(domain, kind, protocol).is_some()
}

/// `socket` for one of our triples.
pub(crate) fn open(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    call(|| {
        let style = Style::of(domain, kind, protocol).ok_or(Errno(libc::EPROTONOSUPPORT))?;
        let mut control = control()?;
        let runtime = engine::start(&mut control)?;
        if style.native {
            check_privilege()?;
        }
        let (app_end, engine_end) = driver::make_pair(style.mode, style.native, Role::Fresh)?;
        let fd = app_end.as_raw_fd();
        sys::set_cloexec(fd, kind & libc::SOCK_CLOEXEC != 0)?;
        sys::set_nonblocking(fd, kind & libc::SOCK_NONBLOCK != 0)?;
        let settings = Settings::new(&runtime.defaults);
        let socket = Socket::allocate(&mut control, Kind::Fresh, style, settings, Some(engine_end));
        fdtable::insert(fd, socket)?;
        Ok(app_end.into_raw_fd())
    })
}

/// Whether this process may use native PGM, which needs raw sockets.
pub(crate) fn try_native() -> Result<(), Errno> {
    sys::inet_socket(libc::SOCK_RAW, IPPROTO_PGM).map(drop)
}

/// The same for `socket`: say so now and not at `connect`.
fn check_privilege() -> Result<(), Errno> {
    try_native().inspect_err(|error| {
        if error.0 == libc::EPERM {
            log_line!(
                Level::Error,
                "native PGM (protocol 113) needs CAP_NET_RAW; socket(AF_INET, SOCK_RDM, IPPROTO_UDP) does not"
            );
        }
    })
}

/// Whether an address is one of this host's, as a source of multicast.
pub(crate) fn check_local(addr: Ipv4Addr) -> Result<(), Errno> {
    if addr.is_unspecified() || addr.is_multicast() || addr.is_broadcast() {
        return Err(Errno(libc::EADDRNOTAVAIL));
    }
    let probe = sys::inet_socket(libc::SOCK_DGRAM, 0)?;
    sys::bind(probe.as_raw_fd(), SocketAddrV4::new(addr, 0))
}

/// Whether a sender may have this port: not if another of this process has it, as on Linux, unless SO_REUSEADDR
/// asks for it. Each has a TSI of its own in any case.
fn check_port(control: &mut Control, fd: c_int, port: NonZeroU16) -> Result<(), Errno> {
    let taken = slots().any(|slot| {
        let settings = slot.settings.get(control).as_ref();
        slot.names.load(Ordering::Acquire) != 0
            && settings.is_some_and(|settings| settings.send.source_port == Some(port))
    });
    if taken && sys::option(fd, libc::SO_REUSEADDR)? == 0 {
        return Err(Errno(libc::EADDRINUSE));
    }
    Ok(())
}

/// `bind`: a group makes a receiver, anything else is where a sender will send from.
///
/// # Safety
/// `addr` is null or readable for `len` octets.
pub(crate) unsafe fn bind(
    socket: &'static Socket,
    fd: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> c_int {
    call(|| {
        // SAFETY: the caller's promise.
        let addr = unsafe { addr::read(addr, len) }?;
        let mut control = control()?;
        if socket.kind() != Kind::Fresh {
            return Err(Errno(libc::EINVAL));
        }
        socket.renew()?;
        let (runtime, style) = (engine::start(&mut control)?, socket.style());
        let port = NonZeroU16::new(addr.port()).filter(|_| !addr.ip().is_multicast());
        if let Some(port) = port {
            check_port(&mut control, fd, port)?;
        }
        let settings = socket.settings(&mut control)?;
        if addr.ip().is_multicast() {
            let carriage = style.carriage(settings);
            runtime
                .engine
                .check(carriage, *addr.ip(), &settings.listen.interfaces)?;
        } else if !addr.ip().is_unspecified() {
            check_local(*addr.ip())?;
            settings.send.interface.get_or_insert(*addr.ip());
        }
        settings.send.source_port = port;
        socket.become_kind(Kind::Bound, Handle(0), addr, UNNAMED);
        Ok(0)
    })
}

/// `connect`: begin to send to a group.
///
/// # Safety
/// `addr` is null or readable for `len` octets.
pub(crate) unsafe fn connect(
    socket: &'static Socket,
    fd: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> c_int {
    call(|| {
        // SAFETY: the caller's promise.
        if unsafe { addr::is_unspecified(addr, len) } {
            return disconnect(socket);
        }
        // SAFETY: as above.
        let group = unsafe { addr::read(addr, len) }?;
        let mut control = control()?;
        let bound = addr::unpack(socket.local.load(Ordering::Relaxed));
        match socket.kind() {
            Kind::Fresh => {}
            Kind::Bound if !bound.ip().is_multicast() => {}
            // Bound to a group: a receiver.
            Kind::Bound => return Err(Errno(libc::EINVAL)),
            Kind::Listening | Kind::Sender | Kind::Session => return Err(Errno(libc::EISCONN)),
        }
        if !group.ip().is_multicast() {
            return Err(Errno(libc::EINVAL));
        }
        let (runtime, style) = (engine::start(&mut control)?, socket.style());
        let settings = socket.settings(&mut control)?;
        let (options, carriage) = (settings.send.clone(), style.carriage(settings));
        let sender = socket.hand_over(|engine_end| {
            runtime
                .engine
                .connect(carriage, style.mode, group, options, engine_end)
        })?;
        socket.set_gsi(sender.tsi.gsi);
        let max_tpdu = sender.max_tpdu.try_into().unwrap_or(u32::MAX);
        socket.max_tpdu.store(max_tpdu, Ordering::Relaxed);
        let room = std::ptr::from_ref(sender.room).cast_mut();
        socket.room.store(room, Ordering::Release);
        socket.become_kind(Kind::Sender, sender.id, sender.local, group);
        exit::tell_linger(socket, fd);
        Ok(0)
    })
}

/// `connect` to AF_UNSPEC: what is not connected stays so, but a session that others have heard of cannot
/// be taken back.
fn disconnect(socket: &Socket) -> Result<c_int, Errno> {
    match socket.kind() {
        Kind::Fresh | Kind::Bound => Ok(0),
        Kind::Listening | Kind::Sender | Kind::Session => Err(Errno(libc::EOPNOTSUPP)),
    }
}

/// `listen`: sessions of the bound group may be accepted from now on.
pub(crate) fn listen(socket: &'static Socket, fd: c_int, backlog: c_int) -> c_int {
    call(|| {
        let mut control = control()?;
        let group = addr::unpack(socket.local.load(Ordering::Relaxed));
        match socket.kind() {
            Kind::Bound if group.ip().is_multicast() => {}
            Kind::Fresh | Kind::Bound => return Err(Errno(libc::EDESTADDRREQ)),
            Kind::Listening if !sys::has_ended(fd) => return Ok(0),
            // Another process has shut it down, or was killed which served it.
            Kind::Listening => {}
            Kind::Sender | Kind::Session => return Err(Errno(libc::EISCONN)),
        }
        let (runtime, style) = (engine::start(&mut control)?, socket.style());
        let settings = socket.settings(&mut control)?;
        let (mut options, carriage) = (settings.listen.clone(), style.carriage(settings));
        options.receiver.sources = settings.members.filter(*group.ip());
        // A negative one is very large, as on Linux.
        options.backlog = backlog.cast_unsigned() as usize;
        let handle = socket.hand_over(|engine_end| {
            runtime
                .engine
                .listen(carriage, style.mode, group, options, engine_end)
        })?;
        socket.become_kind(Kind::Listening, handle, group, UNNAMED);
        // A message was announced, but this is no sender: nothing that waits here may be skipped.
        sys::set_peek_offset(fd, -1)?;
        // Nobody writes to a listener: keep POLLOUT off.
        driver::park(fd)?;
        Ok(0)
    })
}

/// `shutdown`. A sender that shuts its writing side ends its session; the rest is the pair's business.
pub(crate) fn shutdown(socket: &'static Socket, fd: c_int, how: c_int) -> c_int {
    call(|| {
        if ![libc::SHUT_RD, libc::SHUT_WR, libc::SHUT_RDWR].contains(&how) {
            return Err(Errno(libc::EINVAL));
        }
        match socket.kind() {
            Kind::Fresh | Kind::Bound => Err(Errno(libc::ENOTCONN)),
            Kind::Sender => sys::shutdown(fd, how),
            // Their writing side is shut from the beginning; to the engine its end would mean close.
            Kind::Listening | Kind::Session if how == libc::SHUT_WR => Ok(0),
            Kind::Listening => stop_listening(socket, fd),
            Kind::Session => sys::shutdown(fd, libc::SHUT_RD),
        }
    })
}

/// Be as bound as before, and free to listen again. Who accepts meanwhile is woken by the pair's end.
fn stop_listening(socket: &'static Socket, fd: c_int) -> Result<c_int, Errno> {
    let _control = control()?;
    // Meanwhile another thread may have closed it, and its place be another socket's.
    let is_same = fdtable::get(fd).is_some_and(|now| std::ptr::eq(now, socket));
    if !is_same || socket.kind() != Kind::Listening {
        return Err(Errno(libc::EBADF));
    }
    sys::shutdown(fd, libc::SHUT_RD)?;
    socket.become_kind(Kind::Bound, Handle(0), socket.local(), UNNAMED);
    Ok(0)
}

/// `getsockname`.
pub(crate) fn getsockname(socket: &'static Socket, fd: c_int, place: Place) -> c_int {
    call(|| {
        place.probe(fd)?;
        place
            .write(addr::unpack(socket.local.load(Ordering::Relaxed)))
            .map(|()| 0)
    })
}

/// `getpeername`.
pub(crate) fn getpeername(socket: &'static Socket, fd: c_int, place: Place) -> c_int {
    call(|| match socket.kind() {
        Kind::Sender | Kind::Session => {
            place.probe(fd)?;
            place.write(socket.peer()).map(|()| 0)
        }
        Kind::Fresh | Kind::Bound | Kind::Listening => Err(Errno(libc::ENOTCONN)),
    })
}
