//! What happens to the relays of a link: events, turns, ends.

use super::{Context, Key, Link};
use crate::driver::pair::{Role, make_engine_pair, park};
use crate::driver::private::EngineFd;
use crate::driver::relay::{Newborn, Next, Session};
use crate::driver::{SessionHello, log};
use crate::endpoint::{Event, ListenerId, SessionId, SourceId};
use crate::log_line;
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

impl Link {
    /// A relay's descriptor has something.
    pub(in crate::driver) fn on_ready(&mut self, key: Key, events: u32, cx: &mut Context) {
        match key {
            Key::Sender(id) => {
                let Some(sender) = self.senders.get_mut(&id) else {
                    return;
                };
                sender.on_ready(events, &cx.epoll);
            }
            Key::Listener(id) => {
                let Some(listener) = self.listeners.get_mut(&id) else {
                    return;
                };
                if listener.on_ready(events) {
                    return self.close_listener(id);
                }
            }
            Key::Session(id) => {
                let Some(session) = self.sessions.get_mut(&id) else {
                    return;
                };
                if session.on_ready(events) {
                    return self.remove_session(id, cx);
                }
            }
        }
        self.run.push_back(key);
    }

    pub(super) fn handle_events(&mut self, cx: &mut Context) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                // Looked at after every transmission.
                Event::Writable(_) => {}
                Event::Finished(id) => self.on_finished(id, cx),
                Event::Session {
                    listener,
                    session,
                    tsi,
                    from,
                } => {
                    if self.endpoint.is_dlr(session)
                        && let Err(e) = self.carrier.open_repairer(session, tsi)
                    {
                        log_line!(log::Level::Warn, "session {tsi}: no local repairs: {e}");
                    }
                    if let Some(entry) = self.listeners.get_mut(&listener) {
                        if let Some(old) = entry.add_newborn(Newborn { session, tsi, from }) {
                            self.forget_session(old.session);
                        }
                        self.run.push_back(Key::Listener(listener));
                    } else {
                        self.forget_session(session);
                    }
                }
                Event::Readable(id) => self.run.push_back(Key::Session(id)),
            }
        }
    }

    /// The source's linger is over.
    fn on_finished(&mut self, id: SourceId, cx: &mut Context) {
        let key = Key::Sender(id);
        cx.retired_sources
            .keep(self.handle(key), self.source_stats(id));
        self.carrier.close_source(id);
        if let Some(sender) = self.senders.get_mut(&id) {
            sender.on_finished();
            self.run.push_back(key);
        }
    }

    /// One turn of one relay. A relay that panics is closed, and what it was for.
    pub(super) fn turn(&mut self, key: Key, cx: &mut Context) {
        let turn = AssertUnwindSafe(|| self.try_turn(key, cx));
        let next = catch_unwind(turn).unwrap_or_else(|_| {
            log_line!(log::Level::Error, "internal error at {key:?}, closed");
            Next::Over
        });
        match next {
            Next::Wait => {}
            Next::Again => self.run.push_back(key),
            // Who has a timer keeps it: every turn before it would leave one more otherwise.
            Next::At(at) => {
                if self.paused.insert(key) {
                    self.timers.insert((at, key));
                }
            }
            Next::Room => {
                if let Key::Sender(id) = key
                    && !self.waiting_for_room.contains(&id)
                {
                    self.waiting_for_room.push(id);
                }
            }
            Next::Detached => {
                // Who repairs for others goes on while the program has the socket.
                if let Key::Session(id) = key
                    && !self.endpoint.is_dlr(id)
                {
                    self.close_session(id, cx);
                }
            }
            Next::Over => self.remove(key, cx),
        }
    }

    fn try_turn(&mut self, key: Key, cx: &mut Context) -> Next {
        let now = Instant::now();
        match key {
            Key::Sender(id) => match (self.senders.get_mut(&id), &mut cx.inbox) {
                (Some(sender), Some(inbox)) => {
                    sender.turn(now, &mut self.endpoint, inbox, &cx.epoll)
                }
                _ => Next::Wait,
            },
            Key::Session(id) => match self.sessions.get_mut(&id) {
                Some(session) => session.turn(now, &mut self.endpoint, &cx.epoll),
                None => Next::Wait,
            },
            Key::Listener(id) => self.listener_turn(now, id, cx),
        }
    }

    fn listener_turn(&mut self, now: Instant, id: ListenerId, cx: &mut Context) -> Next {
        while let Some(listener) = self.listeners.get_mut(&id) {
            let next = listener.turn(now, &cx.epoll);
            // A session takes a descriptor: none for more than the program may accept next.
            if listener.is_full() {
                return next;
            }
            let Some(newborn) = listener.newborns.front().copied() else {
                return next;
            };
            match self.open_session(id, newborn, cx) {
                Ok((hello, app_end)) => {
                    if let Some(listener) = self.listeners.get_mut(&id) {
                        listener.newborns.pop_front();
                        listener.sessions += 1;
                        listener.announce(hello, app_end);
                    }
                    self.run.push_back(Key::Session(newborn.session));
                }
                Err(e) => {
                    log_line!(log::Level::Warn, "session {} has to wait: {e}", newborn.tsi);
                    return self
                        .listeners
                        .get_mut(&id)
                        .map_or(Next::Wait, |l| l.rest(now));
                }
            }
        }
        Next::Wait
    }

    /// Make the pair of a session; the application end is for its listener.
    fn open_session(
        &mut self,
        id: ListenerId,
        newborn: Newborn,
        cx: &mut Context,
    ) -> io::Result<(SessionHello, EngineFd)> {
        let Newborn { session, tsi, from } = newborn;
        let key = Key::Session(session);
        let (group, mode) = match self.listeners.get(&id) {
            Some(listener) => (listener.group, listener.mode),
            None => return Err(io::ErrorKind::NotConnected.into()),
        };
        let native = self.carrier.is_native();
        let (app_end, engine_end) = make_engine_pair(mode, native, Role::Session)?;
        park(app_end.as_raw_fd())?;
        let (handle, peer) = (self.handle(key), SocketAddrV4::new(from, tsi.sport));
        super::give_name(
            engine_end.as_raw_fd(),
            Role::Session,
            mode,
            native,
            group,
            peer,
            handle,
        );
        let relay = Session::new(&cx.epoll, session, id, tsi, mode, engine_end, handle.0)?;
        self.sessions.insert(session, relay);
        log_line!(
            log::Level::Info,
            "session {tsi}: began, {group} from {from}"
        );
        let hello = SessionHello {
            magic: SessionHello::MAGIC,
            peer_addr: from.octets(),
            peer_port: tsi.sport,
            gsi: tsi.gsi.0,
            handle: handle.0,
        };
        Ok((hello, app_end))
    }

    pub(super) fn remove(&mut self, key: Key, cx: &mut Context) {
        match key {
            Key::Sender(id) => {
                if let Some(sender) = self.senders.remove(&id) {
                    if !sender.is_finished() {
                        cx.retired_sources
                            .keep(self.handle(key), self.source_stats(id));
                        self.drop_source(id);
                    }
                    let room = sender.room();
                    drop(sender);
                    cx.rooms.close(room);
                }
            }
            Key::Listener(id) => self.close_listener(id),
            Key::Session(id) => self.remove_session(id, cx),
        }
    }

    fn close_listener(&mut self, id: ListenerId) {
        self.endpoint.close_listener(id);
        if let Some(listener) = self.listeners.get_mut(&id) {
            listener.close();
            for newborn in listener.newborns.drain(..) {
                self.carrier.close_repairer(newborn.session);
                self.endpoint.close_session(newborn.session);
            }
            log_line!(log::Level::Info, "listener {}: closed", listener.group);
        }
        self.leave_if_unused(id);
    }

    /// The endpoint forgets the session; its descriptor may stay open.
    fn close_session(&mut self, id: SessionId, cx: &mut Context) {
        let handle = self.handle(Key::Session(id));
        cx.retired_sessions.keep(handle, self.session_stats(id));
        self.forget_session(id);
    }

    fn forget_session(&mut self, id: SessionId) {
        self.carrier.close_repairer(id);
        self.endpoint.close_session(id);
    }

    fn remove_session(&mut self, id: SessionId, cx: &mut Context) {
        self.close_session(id, cx);
        if let Some(session) = self.sessions.remove(&id) {
            if let Some(listener) = self.listeners.get_mut(&session.listener) {
                listener.sessions -= 1;
            }
            self.leave_if_unused(session.listener);
        }
    }

    fn leave_if_unused(&mut self, id: ListenerId) {
        if let Some(listener) = self.listeners.get(&id)
            && !listener.is_open()
            && listener.sessions == 0
        {
            let (group, port) = (*listener.group.ip(), listener.group.port());
            self.carrier.leave(group, port, &listener.ifaces);
            self.listeners.remove(&id);
        }
    }
}
