//! Listener: sessions become application ends that `accept` receives (design D3).

use super::{End, Next, Pause, is_hang_up};
use crate::driver::carrier::Interface;
use crate::driver::private::EngineFd;
use crate::driver::sys::Epoll;
use crate::driver::unix;
use crate::driver::{Mode, SessionHello, log};
use crate::endpoint::SessionId;
use crate::log_line;
use crate::num::Tsi;
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::time::Instant;

const OUTPUT: u32 = libc::EPOLLOUT.cast_unsigned();

/// Send buffer of a listener: room for about a hundred sessions that the program has not accepted. Each
/// takes a descriptor of the engine, and of those there are as many as the program may have.
const BACKLOG_OCTETS: libc::c_int = 48 << 10;

/// Sessions that wait beyond those, whatever the backlog says: a sender would not repeat what it sent to a
/// session that was refused. Of more the oldest give way: they may have ended long ago.
const NEWBORNS_MIN: usize = 1024;

/// The same for the largest backlog: Linux's usual `somaxconn`.
const NEWBORNS_MAX: usize = 4096;

/// A session the endpoint told of that has no pair yet.
#[derive(Clone, Copy, Debug)]
pub(in crate::driver) struct Newborn {
    pub(in crate::driver) session: SessionId,
    pub(in crate::driver) tsi: Tsi,
    pub(in crate::driver) from: Ipv4Addr,
}

/// The engine end of a listener.
#[derive(Debug)]
pub(in crate::driver) struct Listener {
    pub(in crate::driver) mode: Mode,
    /// Group and session port.
    pub(in crate::driver) group: SocketAddrV4,
    /// Where the group is joined.
    pub(in crate::driver) ifaces: Vec<Interface>,
    /// Sessions with a pair. The group stays joined until they are gone, too.
    pub(in crate::driver) sessions: usize,
    /// Sessions that have no pair yet: see `is_full`.
    pub(in crate::driver) newborns: VecDeque<Newborn>,
    newborns_max: usize,
    /// `None` when the application end is closed.
    end: Option<End>,
    /// Application ends that did not fit into the pair, with their announcements.
    hellos: VecDeque<(SessionHello, EngineFd)>,
    pause: Pause,
}

impl Listener {
    pub(in crate::driver) fn new(
        epoll: &Epoll,
        mode: Mode,
        group: SocketAddrV4,
        ifaces: Vec<Interface>,
        engine_end: EngineFd,
        token: u64,
    ) -> io::Result<Self> {
        unix::set_option(engine_end.as_raw_fd(), libc::SO_SNDBUF, BACKLOG_OCTETS)?;
        Ok(Self {
            mode,
            group,
            ifaces,
            sessions: 0,
            newborns: VecDeque::new(),
            newborns_max: NEWBORNS_MIN,
            end: Some(End::new(epoll, engine_end, token, 0)?),
            hellos: VecDeque::new(),
            pause: Pause::new(),
        })
    }

    /// Let this many sessions wait at least.
    pub(in crate::driver) fn with_backlog(mut self, backlog: usize) -> Self {
        self.newborns_max = backlog.clamp(NEWBORNS_MIN, NEWBORNS_MAX);
        self
    }

    /// Whether the program still listens.
    pub(in crate::driver) fn is_open(&self) -> bool {
        self.end.is_some()
    }

    /// Its descriptor has something. True: the application end is closed now.
    pub(in crate::driver) fn on_ready(&mut self, events: u32) -> bool {
        if !is_hang_up(events) {
            return false;
        }
        if let Some(end) = self.end.take() {
            // Both directions shut down look the same; then the program must see EOF, not ECONNRESET.
            unix::discard_queued(end.raw());
        }
        true
    }

    /// A session began. Gives back one that has waited too long.
    pub(in crate::driver) fn add_newborn(&mut self, newborn: Newborn) -> Option<Newborn> {
        self.newborns.push_back(newborn);
        if self.newborns.len() <= self.newborns_max {
            return None;
        }
        let oldest = self.newborns.pop_front()?;
        log_line!(
            log::Level::Info,
            "session {}: dropped, nobody accepts",
            oldest.tsi
        );
        Some(oldest)
    }

    /// Whether the program has to accept before more sessions can be announced.
    pub(in crate::driver) fn is_full(&self) -> bool {
        !self.hellos.is_empty()
    }

    /// No session is announced any more.
    pub(in crate::driver) fn close(&mut self) {
        self.end = None;
        self.hellos.clear();
    }

    /// Queue the application end of a session for `accept`.
    pub(in crate::driver) fn announce(&mut self, hello: SessionHello, app_end: EngineFd) {
        self.hellos.push_back((hello, app_end));
    }

    /// A pair could not be had: when to try again.
    pub(in crate::driver) fn rest(&mut self, now: Instant) -> Next {
        self.pause.take(now)
    }

    pub(in crate::driver) fn turn(&mut self, now: Instant, epoll: &Epoll) -> Next {
        let Some(end) = &mut self.end else {
            return Next::Wait;
        };
        while let Some((hello, app_end)) = self.hellos.front() {
            match unix::send_with_fd(end.raw(), &hello.to_bytes(), app_end.as_raw_fd()) {
                // Our copy is closed here: the session ends when the program's last one is.
                Ok(_) => drop(self.hellos.pop_front()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    end.watch(epoll, OUTPUT);
                    return Next::Wait;
                }
                // Too many descriptors in flight, or memory is short.
                Err(e) if is_scarce(&e) => return self.pause.take(now),
                Err(e) => {
                    // EPIPE: the program has shut its reading side down.
                    let group = self.group;
                    log_line!(log::Level::Info, "listener {group}: no more sessions: {e}");
                    return Next::Over;
                }
            }
        }
        end.watch(epoll, 0);
        self.pause.reset();
        Next::Wait
    }
}

fn is_scarce(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::ENOBUFS | libc::ENOMEM | libc::ETOOMANYREFS)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::pair::{Role, make_engine_pair};
    use crate::driver::unix::Inbox;

    #[test]
    fn announcements_that_do_not_fit_wait_for_an_accept() {
        let epoll = Epoll::new().expect("epoll");
        let group = SocketAddrV4::new(Ipv4Addr::new(239, 1, 2, 3), 7500);
        let (app, engine) = make_engine_pair(Mode::Message, false, Role::Fresh).expect("pair");
        let mut listener =
            Listener::new(&epoll, Mode::Message, group, Vec::new(), engine, 1).expect("listener");
        let announced = 300;
        for handle in 0..announced {
            let hello = SessionHello {
                magic: SessionHello::MAGIC,
                peer_addr: [127, 0, 0, 1],
                peer_port: 1,
                gsi: [0; 6],
                handle,
            };
            let (app_end, _engine_end) =
                make_engine_pair(Mode::Message, false, Role::Session).expect("pair");
            listener.announce(hello, app_end);
        }
        assert_eq!(listener.turn(Instant::now(), &epoll), Next::Wait);
        assert!(listener.is_full());
        let mut inbox = Inbox::new().expect("inbox");
        let (mut accepted, mut turns) = (0, 0);
        while accepted < announced {
            assert_eq!(listener.turn(Instant::now(), &epoll), Next::Wait);
            let messages = inbox
                .receive(app.as_raw_fd(), 32, 64)
                .expect("an announcement");
            for (i, message) in messages.iter().enumerate() {
                assert!(message.fd.is_some(), "an application end");
                let hello = SessionHello::from_bytes(inbox.octets(i, message.len));
                assert_eq!(hello.expect("a hello").handle, accepted, "in order");
                accepted += 1;
            }
            turns += 1;
            assert!(accepted < announced || !listener.is_full());
        }
        assert!(turns > 1, "the pair was never full");
        assert!(listener.is_open());
        drop(app);
        assert!(listener.on_ready(libc::EPOLLHUP.cast_unsigned()));
    }

    #[test]
    fn of_too_many_sessions_the_oldest_give_way() {
        let epoll = Epoll::new().expect("epoll");
        let group = SocketAddrV4::new(Ipv4Addr::new(239, 1, 2, 3), 7500);
        let (_app, engine) = make_engine_pair(Mode::Message, false, Role::Fresh).expect("pair");
        let listener =
            Listener::new(&epoll, Mode::Message, group, Vec::new(), engine, 1).expect("listener");
        let mut listener = listener.with_backlog(2000);
        let newborn = |n| Newborn {
            session: SessionId(n),
            tsi: Tsi::default(),
            from: Ipv4Addr::LOCALHOST,
        };
        let max = 2000;
        for n in 0..max {
            assert!(listener.add_newborn(newborn(n)).is_none());
        }
        let dropped = listener.add_newborn(newborn(max)).map(|old| old.session);
        assert_eq!(dropped, Some(SessionId(0)));
        assert_eq!(listener.newborns.len(), 2000);
    }
}
