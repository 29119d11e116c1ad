//! One carriage in use: its carrier, its endpoint, and the relays of the program's sockets on it.

use super::carrier::{BATCH, Carrier, Interface, PortId};
use super::config::{Defaults, ListenOptions, SendOptions};
use super::pair::{Role, make_pair, name_engine_end, park};
use super::relay::{Listener, Newborn, Next, Sender, Session};
use super::sys::Epoll;
use super::unix::Inbox;
use super::{Carriage, Handle, SenderInfo, SessionHello, Target, log};
use crate::endpoint::{
    Disposition, Endpoint, EndpointConfig, Event, ListenConfig, ListenerId, SessionId, SourceId,
};
use crate::log_line;
use crate::num::{Gsi, Sqn, Tsi};
use crate::source::SourceConfig;
use crate::stats::{ReceiverStats, SourceStats};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Limits of one carriage's endpoint (design D11).
const ENDPOINT: EndpointConfig = EndpointConfig {
    max_peers: 4096,
    max_bytes: 512 << 20,
};

/// Batches received from one descriptor before the others have their turn.
const RECEIVE_BATCHES: usize = 4;
/// TPDUs sent before anything is received again.
const TRANSMIT_MAX: usize = 256;
/// Turns of all relays that want one before anything is received again.
const ROUNDS: usize = 4;
/// How long to wait when a socket refuses packets for now.
const RETRY: Duration = Duration::from_millis(1);
/// TSIs tried when the host has one already.
const TSI_TRIES: usize = 16;
/// Counters kept of sources and sessions that are gone.
const RETIRED: usize = 64;

/// What all links of an engine share.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) epoll: Epoll,
    pub(super) defaults: Defaults,
    /// Of all sources of this engine.
    pub(super) gsi: Gsi,
    pub(super) rng: fastrand::Rng,
    /// Buffers of senders; none before the first one.
    pub(super) inbox: Option<Inbox>,
    pub(super) retired_sources: Retired<SourceStats>,
    pub(super) retired_sessions: Retired<ReceiverStats>,
}

/// The last counters of what is gone.
#[derive(Debug)]
pub(super) struct Retired<T>(VecDeque<(Handle, T)>);

impl<T: Copy> Retired<T> {
    pub(super) const fn new() -> Self {
        Self(VecDeque::new())
    }

    fn keep(&mut self, handle: Handle, stats: Option<T>) {
        if let Some(stats) = stats {
            self.0.truncate(RETIRED - 1);
            self.0.push_front((handle, stats));
        }
    }

    pub(super) fn find(&self, handle: Handle) -> Option<T> {
        self.0
            .iter()
            .find(|(kept, _)| *kept == handle)
            .map(|(_, stats)| *stats)
    }
}

/// A relay of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Sender(SourceId),
    Listener(ListenerId),
    Session(SessionId),
}

/// What an epoll event is about, as the 64 bits that epoll keeps; also the number of a [`Handle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// The eventfd.
    Wake,
    /// A descriptor of a link's carrier.
    Port(u32, PortId),
    /// A relay of a link.
    Relay(u32, Key),
}

impl Token {
    /// Two bits of kind, thirty of the link's serial number (never 0), 32 of the kind's number.
    pub(super) fn pack(self) -> u64 {
        let (kind, serial, id) = match self {
            Self::Wake => (0, 0, 0),
            Self::Port(serial, port) => (0, serial, port.0),
            Self::Relay(serial, Key::Sender(id)) => (1, serial, id.0),
            Self::Relay(serial, Key::Listener(id)) => (2, serial, id.0),
            Self::Relay(serial, Key::Session(id)) => (3, serial, id.0),
        };
        kind << 62 | u64::from(serial & Link::MAX_SERIAL) << 32 | u64::from(id)
    }

    pub(super) fn unpack(bits: u64) -> Self {
        // Both halves fit by their masks.
        let (serial, id) = ((bits >> 32) as u32 & Link::MAX_SERIAL, bits as u32);
        match bits >> 62 {
            0 if serial == 0 => Self::Wake,
            0 => Self::Port(serial, PortId(id)),
            1 => Self::Relay(serial, Key::Sender(SourceId(id))),
            2 => Self::Relay(serial, Key::Listener(ListenerId(id))),
            _ => Self::Relay(serial, Key::Session(SessionId(id))),
        }
    }
}

/// TPDUs of one batch that belong to other processes of this host.
#[derive(Debug, Default)]
struct Foreign {
    octets: Vec<u8>,
    packets: Vec<(Tsi, Ipv4Addr, usize)>,
}

/// One carriage in use.
#[derive(Debug)]
pub(super) struct Link {
    serial: u32,
    carrier: Carrier,
    endpoint: Endpoint,
    /// Of the watches that are in the epoll set.
    generation: Option<u64>,
    watched: HashMap<PortId, RawFd>,
    senders: BTreeMap<SourceId, Sender>,
    listeners: BTreeMap<ListenerId, Listener>,
    sessions: BTreeMap<SessionId, Session>,
    /// Relays that want a turn.
    run: VecDeque<Key>,
    timers: BTreeSet<(Instant, Key)>,
    /// Senders whose source is full.
    waiting_for_room: Vec<SourceId>,
    foreign: Foreign,
    /// The endpoint may have more to send than one round took.
    unsent: bool,
    /// The last flush failed; said once.
    failing: bool,
}

impl Link {
    /// Serial numbers are less than 2^30.
    pub(super) const MAX_SERIAL: u32 = (1 << 30) - 1;

    pub(super) fn open(serial: u32, carriage: Carriage, cx: &mut Context) -> io::Result<Self> {
        Ok(Self {
            serial,
            carrier: Carrier::open(carriage, &cx.defaults)?,
            endpoint: Endpoint::new(ENDPOINT, cx.rng.u64(..)),
            generation: None,
            watched: HashMap::new(),
            senders: BTreeMap::new(),
            listeners: BTreeMap::new(),
            sessions: BTreeMap::new(),
            run: VecDeque::new(),
            timers: BTreeSet::new(),
            waiting_for_room: Vec::new(),
            foreign: Foreign::default(),
            unsent: false,
            failing: false,
        })
    }

    /// Whether nobody uses it any more.
    pub(super) fn is_idle(&self) -> bool {
        self.senders.is_empty() && self.listeners.is_empty() && self.sessions.is_empty()
    }

    /// Whether a source has not finished yet.
    pub(super) fn has_sources(&self) -> bool {
        self.senders.values().any(|sender| !sender.is_finished())
    }

    fn token(&self, key: Key) -> u64 {
        Token::Relay(self.serial, key).pack()
    }

    fn handle(&self, key: Key) -> Handle {
        Handle(self.token(key))
    }

    // Requests.

    /// Interfaces for a group: the wanted ones, else the one the carrier finds.
    pub(super) fn interfaces(
        &self,
        group: Ipv4Addr,
        wanted: &[Ipv4Addr],
    ) -> io::Result<Vec<Interface>> {
        find_interfaces(&self.carrier, group, wanted)
    }

    pub(super) fn connect(
        &mut self,
        target: Target,
        options: &SendOptions,
        cx: &mut Context,
    ) -> io::Result<SenderInfo> {
        if cx.inbox.is_none() {
            cx.inbox = Some(Inbox::new()?);
        }
        let iface = self.carrier.route(*target.group.ip(), options.interface)?;
        let (id, tsi) = self.open_source(target.group, &iface, options, cx)?;
        let (key, mode, fd) = (Key::Sender(id), target.mode, target.engine_end.as_raw_fd());
        let info = SenderInfo {
            id: self.handle(key),
            local: SocketAddrV4::new(iface.addr, tsi.sport),
        };
        let sender = Sender::new(&cx.epoll, id, mode, target.engine_end, self.token(key));
        let sender = sender.inspect_err(|_| self.drop_source(id))?;
        self.senders.insert(id, sender);
        give_name(fd, Role::Sender, mode, info.local, target.group, info.id);
        log_line!(
            log::Level::Info,
            "source {tsi}: began, {} from {}, interface {}",
            target.group,
            iface.addr,
            iface.name
        );
        Ok(info)
    }

    /// A source with a TSI that nobody on this host has.
    fn open_source(
        &mut self,
        group: SocketAddrV4,
        iface: &Interface,
        options: &SendOptions,
        cx: &mut Context,
    ) -> io::Result<(SourceId, Tsi)> {
        let max_tpdu = self.carrier.max_tpdu(iface, options);
        for _ in 0..TSI_TRIES {
            let tsi = Tsi {
                gsi: cx.gsi,
                sport: cx.rng.u16(1..),
            };
            if self.endpoint.owns(tsi) {
                continue;
            }
            let config = SourceConfig {
                max_tpdu,
                first_sqn: Sqn(cx.rng.u32(..)),
                ..source_config(tsi, group, iface.addr, options)
            };
            let id = self.endpoint.open_source(Instant::now(), config);
            let (ip, port) = (*group.ip(), group.port());
            match self.carrier.open_source(id, tsi, ip, port, iface, options) {
                Ok(()) => return Ok((id, tsi)),
                Err(e) => {
                    self.endpoint.remove_source(id);
                    if e.kind() != io::ErrorKind::AddrInUse {
                        return Err(e);
                    }
                }
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    fn drop_source(&mut self, id: SourceId) {
        self.endpoint.remove_source(id);
        self.carrier.close_source(id);
    }

    pub(super) fn listen(
        &mut self,
        target: Target,
        options: ListenOptions,
        cx: &mut Context,
    ) -> io::Result<Handle> {
        let Target {
            mode,
            group,
            engine_end,
            ..
        } = target;
        let ifaces = self.interfaces(*group.ip(), &options.interfaces)?;
        self.carrier.join(*group.ip(), group.port(), &ifaces)?;
        let config = ListenConfig {
            group: *group.ip(),
            dport: group.port(),
            receiver: options.receiver,
        };
        let id = self.endpoint.listen(config);
        let (key, fd) = (Key::Listener(id), engine_end.as_raw_fd());
        let token = self.token(key);
        match Listener::new(&cx.epoll, mode, group, ifaces.clone(), engine_end, token) {
            Ok(listener) => self.listeners.insert(id, listener),
            Err(e) => {
                self.endpoint.close_listener(id);
                self.carrier.leave(*group.ip(), group.port(), &ifaces);
                return Err(e);
            }
        };
        let unspecified = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        give_name(
            fd,
            Role::Listener,
            mode,
            group,
            unspecified,
            self.handle(key),
        );
        for iface in &ifaces {
            log_line!(
                log::Level::Info,
                "listener {group}: began, interface {}",
                iface.name
            );
        }
        Ok(self.handle(key))
    }

    pub(super) fn source_stats(&self, id: SourceId) -> Option<SourceStats> {
        self.endpoint.source_stats(Instant::now(), id)
    }

    pub(super) fn session_stats(&self, id: SessionId) -> Option<ReceiverStats> {
        self.endpoint.session_stats(Instant::now(), id)
    }

    /// Octets a sender's application end has taken that were never sent.
    pub(super) fn unsent(&self, id: SourceId) -> usize {
        self.senders.get(&id).map_or(0, Sender::unsent) + self.endpoint.unsent(id)
    }

    /// All senders are closed after what they have queued now.
    pub(super) fn last_call(&mut self) {
        for (id, sender) in &mut self.senders {
            sender.last_call();
            self.run.push_back(Key::Sender(*id));
        }
    }

    // The round.

    /// Packets wait at a descriptor of the carrier.
    pub(super) fn receive(&mut self, port: PortId, cx: &Context) {
        let Self {
            carrier,
            endpoint,
            foreign,
            ..
        } = self;
        for _ in 0..RECEIVE_BATCHES {
            let now = Instant::now();
            let received = carrier.receive(port, &mut |arrival, tpdu| {
                if let Disposition::Foreign(tsi) = endpoint.handle_tpdu(now, arrival, tpdu) {
                    foreign.octets.extend_from_slice(tpdu);
                    foreign.packets.push((tsi, arrival.from, tpdu.len()));
                }
            });
            foreign.forward(carrier);
            match received {
                Ok(n) if n < BATCH => return,
                Ok(_) => {}
                Err(e) => {
                    log_line!(log::Level::Error, "cannot receive any more: {e}");
                    if let Some(fd) = self.watched.get(&port) {
                        let _ = cx.epoll.remove(*fd);
                    }
                    return;
                }
            }
        }
    }

    /// A relay's descriptor has something.
    pub(super) fn on_ready(&mut self, key: Key, events: u32, cx: &mut Context) {
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

    /// Let everything happen that may happen now, within bounds. True: there is more.
    pub(super) fn service(&mut self, cx: &mut Context) -> bool {
        let now = Instant::now();
        self.endpoint.handle_timeout(now);
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            self.run.extend(self.timers.pop_first().map(|(_, key)| key));
        }
        for _ in 0..ROUNDS {
            self.transmit();
            self.handle_events(cx);
            self.wake_those_with_room();
            if self.run.is_empty() {
                break;
            }
            for _ in 0..self.run.len() {
                let Some(key) = self.run.pop_front() else {
                    break;
                };
                self.turn(key, cx);
            }
        }
        self.watch(cx);
        !self.run.is_empty() || (self.unsent && !self.carrier.is_blocked())
    }

    /// When `service` is due although nothing is ready.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let retry = self.carrier.needs_flush().then(|| Instant::now() + RETRY);
        if self.carrier.is_blocked() {
            // Most of what is due would be packets, which cannot go.
            return retry;
        }
        let timer = self.timers.first().map(|(at, _)| *at);
        let due = [self.endpoint.poll_timeout(), timer, retry];
        due.into_iter().flatten().min()
    }

    fn transmit(&mut self) {
        if self.carrier.is_blocked() {
            self.flush();
        }
        // The time may stand still for this long: packets of one burst.
        let now = Instant::now();
        self.unsent = true;
        for _ in 0..TRANSMIT_MAX {
            if self.carrier.is_blocked() {
                break;
            }
            let Some(transmit) = self.endpoint.poll_transmit(now, self.carrier.buffer()) else {
                self.unsent = false;
                break;
            };
            self.carrier.commit(&transmit);
        }
        self.flush();
    }

    fn flush(&mut self) {
        let result = self.carrier.flush();
        if let Err(e) = &result
            && !self.failing
        {
            log_line!(log::Level::Warn, "cannot send: {e}");
        }
        self.failing = result.is_err();
    }

    fn handle_events(&mut self, cx: &mut Context) {
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
                    if let Some(entry) = self.listeners.get_mut(&listener) {
                        entry.newborns.push_back(Newborn { session, tsi, from });
                        self.run.push_back(Key::Listener(listener));
                    } else {
                        self.endpoint.close_session(session);
                    }
                }
                Event::Readable(id) => self.run.push_back(Key::Session(id)),
            }
        }
    }

    fn wake_those_with_room(&mut self) {
        let Self { endpoint, run, .. } = self;
        self.waiting_for_room.retain(|id| {
            let writable = endpoint.is_writable(*id);
            if writable {
                run.push_back(Key::Sender(*id));
            }
            !writable
        });
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
    fn turn(&mut self, key: Key, cx: &mut Context) {
        let turn = AssertUnwindSafe(|| self.try_turn(key, cx));
        let next = catch_unwind(turn).unwrap_or_else(|_| {
            log_line!(log::Level::Error, "internal error at {key:?}, closed");
            Next::Over
        });
        match next {
            Next::Wait => {}
            Next::Again => self.run.push_back(key),
            Next::At(at) => drop(self.timers.insert((at, key))),
            Next::Room => {
                if let Key::Sender(id) = key
                    && !self.waiting_for_room.contains(&id)
                {
                    self.waiting_for_room.push(id);
                }
            }
            Next::Detached => {
                if let Key::Session(id) = key {
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
            let Some(newborn) = listener.newborns.front().copied() else {
                return listener.turn(now, &cx.epoll);
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
    ) -> io::Result<(SessionHello, OwnedFd)> {
        let Newborn { session, tsi, from } = newborn;
        let key = Key::Session(session);
        let (group, mode) = match self.listeners.get(&id) {
            Some(listener) => (listener.group, listener.mode),
            None => return Err(io::ErrorKind::NotConnected.into()),
        };
        let (app_end, engine_end) = make_pair(mode, Role::Session)?;
        park(app_end.as_raw_fd())?;
        let (handle, peer) = (self.handle(key), SocketAddrV4::new(from, tsi.sport));
        give_name(
            engine_end.as_raw_fd(),
            Role::Session,
            mode,
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

    // Ends.

    fn remove(&mut self, key: Key, cx: &mut Context) {
        match key {
            Key::Sender(id) => {
                if let Some(sender) = self.senders.remove(&id)
                    && !sender.is_finished()
                {
                    cx.retired_sources
                        .keep(self.handle(key), self.source_stats(id));
                    self.drop_source(id);
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

    /// Keep the epoll set in step with the carrier's descriptors.
    fn watch(&mut self, cx: &Context) {
        let generation = self.carrier.generation();
        if self.generation == Some(generation) {
            return;
        }
        self.generation = Some(generation);
        let old = std::mem::take(&mut self.watched);
        for watch in self.carrier.watches() {
            self.watched.insert(watch.port, watch.fd);
            if old.get(&watch.port) == Some(&watch.fd) {
                continue;
            }
            let token = Token::Port(self.serial, watch.port).pack();
            if let Err(e) = cx.epoll.add(watch.fd, libc::EPOLLIN.cast_unsigned(), token) {
                log_line!(log::Level::Error, "cannot watch a socket: {e}");
            }
        }
    }
}

impl Foreign {
    /// Hand everything over; empty afterwards, with its capacity.
    fn forward(&mut self, carrier: &mut Carrier) {
        let mut rest = self.octets.as_slice();
        for (tsi, from, len) in self.packets.drain(..) {
            let (tpdu, others) = rest.split_at(len);
            carrier.forward(tsi, tpdu, from);
            rest = others;
        }
        self.octets.clear();
    }
}

/// Interfaces for a group: the wanted ones, else the one the carrier finds.
pub(super) fn find_interfaces(
    carrier: &Carrier,
    group: Ipv4Addr,
    wanted: &[Ipv4Addr],
) -> io::Result<Vec<Interface>> {
    if wanted.is_empty() {
        return Ok(vec![carrier.route(group, None)?]);
    }
    wanted
        .iter()
        .map(|addr| carrier.route(group, Some(*addr)))
        .collect()
}

fn source_config(
    tsi: Tsi,
    group: SocketAddrV4,
    nla: Ipv4Addr,
    options: &SendOptions,
) -> SourceConfig {
    let window = options.window;
    SourceConfig {
        rate: (window.rate_kbits > 0).then(|| u64::from(window.rate_kbits) * 1000 / 8),
        window_bytes: window.bytes.into(),
        window_ivl: Duration::from_millis(window.msecs.into()),
        window_adv_percent: options.adv_percent,
        late_join_percent: options.late_join_percent,
        linger_quiet: options.linger_quiet,
        linger_max: options.linger_max,
        ..SourceConfig::new(tsi, group.port(), *group.ip(), nla)
    }
}

/// Name an engine end. The name only informs: without it the socket works just as well.
fn give_name(
    fd: RawFd,
    role: Role,
    mode: super::Mode,
    local: SocketAddrV4,
    peer: SocketAddrV4,
    handle: Handle,
) {
    if let Err(e) = name_engine_end(fd, role, mode, local, peer, handle) {
        log_line!(log::Level::Debug, "cannot name a socket: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_packing() {
        let serial = Link::MAX_SERIAL;
        for token in [
            Token::Wake,
            Token::Port(1, PortId(0)),
            Token::Port(serial, PortId(u32::MAX)),
            Token::Relay(1, Key::Sender(SourceId(1))),
            Token::Relay(serial, Key::Listener(ListenerId(u32::MAX))),
            Token::Relay(7, Key::Session(SessionId(u32::MAX))),
        ] {
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }

    #[test]
    fn retired_counters_are_few_and_the_newest() {
        let mut retired = Retired::new();
        for i in 0..=RETIRED as u64 {
            retired.keep(Handle(i), Some(i));
        }
        retired.keep(Handle(1000), None);
        assert_eq!(retired.find(Handle(0)), None, "the oldest gave way");
        assert_eq!(retired.find(Handle(1)), Some(1));
        assert_eq!(retired.find(Handle(RETIRED as u64)), Some(RETIRED as u64));
        assert_eq!(retired.find(Handle(1000)), None);
    }
}
