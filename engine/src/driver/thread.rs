//! The engine thread: waits for descriptors, timers and requests, and lets the links work (design D4).

use super::carrier::Carrier;
use super::config::{Defaults, Linger};
use super::gate::Keeper;
use super::line::{self, EngineEnd, ProgramEnd};
use super::link::{Context, Key, Link, MAX_SERIAL, Retired, Token, find_interfaces};
use super::parcels::Rooms;
use super::private::{self, EngineFd};
use super::successor::{self, Place, Successor};
use super::sys::Epoll;
use super::{Carriage, Handle, Reply, Request, Target, log, process, table, unix};
use crate::endpoint::Budget;
use crate::log_line;
use crossbeam_channel::Receiver;
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

/// Events taken from epoll at once.
const EVENTS: usize = 64;

/// No recursion and no big arrays but those of a batch.
const STACK: usize = 512 << 10;

/// How often to look what the program wants when it cannot say so.
const CUT_PERIOD: Duration = Duration::from_millis(50);

/// Start the engine thread, and wait until it has its own descriptors.
pub(super) fn spawn(
    defaults: Defaults,
    requests: Receiver<Request>,
    gate: Keeper,
) -> io::Result<ProgramEnd> {
    let (ours, theirs) = line::pair()?;
    let number = theirs.as_raw_fd();
    let (report, started) = crossbeam_channel::bounded(1);
    let run = move || {
        private::this_is_the_engine();
        let reactor = table::leave_the_programs(number)
            .and_then(|(line, epoll)| Reactor::new(defaults, epoll, line, requests, gate));
        let (result, reactor) = match reactor {
            Ok(reactor) => (Ok(()), Some(reactor)),
            Err(e) => (Err(e), None),
        };
        // Who waits for it does so until it comes.
        let _ = report.send(result);
        if let Some(reactor) = reactor {
            live(reactor);
        }
    };
    let builder = thread::Builder::new()
        .name("pgmshim".into())
        .stack_size(STACK);
    unix::with_signals_blocked(|| builder.spawn(run))?;
    let gone = |_| Err(io::Error::from_raw_os_error(libc::EIO));
    started.recv().unwrap_or_else(gone)?;
    Ok(ours)
}

fn live(reactor: Reactor) {
    let result = catch_unwind(AssertUnwindSafe(|| reactor.run()));
    if successor::is_here() {
        process::leave(result.is_err().into());
    }
}

#[derive(Debug)]
struct Reactor {
    cx: Context,
    links: BTreeMap<u32, (Carriage, Link)>,
    last_serial: u32,
    line: EngineEnd,
    /// The program has closed its end of the line, behind our back: there is nothing to wait for but time.
    is_cut: bool,
    requests: Receiver<Request>,
    /// Where the end of the process waits for the sources to finish.
    gate: Keeper,
    /// Who waits in `close` for which sender, and until when.
    closing: Vec<(Handle, Instant, Reply<()>)>,
    /// Waiting ended by its limit: another time it would be for the same.
    gave_up: bool,
    /// Nobody can take over.
    is_alone: bool,
    /// There is more to do than the last round did.
    busy: bool,
}

impl Reactor {
    fn new(
        defaults: Defaults,
        epoll: Epoll,
        line: EngineFd,
        requests: Receiver<Request>,
        gate: Keeper,
    ) -> io::Result<Self> {
        let line = EngineEnd::new(line);
        epoll.add(
            line.as_raw_fd(),
            libc::EPOLLIN.cast_unsigned(),
            Token::Wake.pack(),
        )?;
        Ok(Self {
            cx: Context {
                epoll,
                received: Budget::new(defaults.memory.received()),
                sent: Budget::new(defaults.memory.sent()),
                rooms: Rooms::new(defaults.memory.longest(), unix::random()?.max(1)),
                defaults,
                gsi: super::random_gsi()?,
                rng: fastrand::Rng::with_seed(unix::random()?),
                inbox: None,
                retired_sources: Retired::new(),
                retired_sessions: Retired::new(),
            },
            links: BTreeMap::new(),
            last_serial: 0,
            line,
            is_cut: false,
            requests,
            gate,
            closing: Vec::new(),
            gave_up: false,
            is_alone: false,
            busy: false,
        })
    }

    fn run(mut self) {
        unix::sharpen_timers();
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        loop {
            match self.cx.epoll.wait(&mut events, self.timeout()) {
                Ok(n) => {
                    for event in &events[..n] {
                        self.dispatch(Token::unpack(event.u64), event.events);
                    }
                }
                Err(e) => {
                    // Somebody closed our descriptors behind our back.
                    log_line!(log::Level::Error, "engine cannot go on: {e}");
                    return;
                }
            }
            self.service();
            self.answer_close();
            self.answer_gate();
            if successor::is_here() && self.links.is_empty() {
                return;
            }
            if self.is_cut {
                self.look();
            }
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if self.busy {
            return Some(Duration::ZERO);
        }
        let links = self
            .links
            .values()
            .filter_map(|(_, link)| link.poll_timeout());
        let look = self.is_cut.then(|| Instant::now() + CUT_PERIOD);
        let own = self.gate.deadline().into_iter().chain(look);
        let closing = self.closing.iter().map(|(_, until, _)| *until);
        let due = links.chain(own).chain(closing).min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    fn dispatch(&mut self, token: Token, events: u32) {
        match token {
            Token::Wake => {
                if !self.line.receive() {
                    // Its end would be told again and again.
                    let _ = self.cx.epoll.remove(self.line.as_raw_fd());
                    self.is_cut = true;
                    log_line!(log::Level::Warn, "somebody closed the library's descriptor");
                }
                self.look();
            }
            Token::Port(serial, port) => {
                self.with_link(serial, |link, cx| link.receive(port, cx));
            }
            Token::Relay(serial, key) => {
                self.with_link(serial, |link, cx| link.on_ready(key, events, cx));
            }
        }
    }

    /// See what the program's threads want.
    fn look(&mut self) {
        self.handle_requests();
        if self.gate.look() {
            self.last_call();
        }
    }

    fn service(&mut self) {
        self.busy = false;
        let mut next = 0;
        while let Some((&serial, _)) = self.links.range(next..).next() {
            next = serial + 1;
            let busy = self.with_link(serial, |link, cx| link.service(cx));
            self.busy |= busy == Some(true);
            if self
                .links
                .get(&serial)
                .is_some_and(|(_, link)| link.is_idle())
            {
                self.links.remove(&serial);
            }
        }
    }

    /// Let a link do something. If it panics it is closed: its senders see EPIPE, its sessions ECONNRESET.
    fn with_link<T>(
        &mut self,
        serial: u32,
        f: impl FnOnce(&mut Link, &mut Context) -> T,
    ) -> Option<T> {
        let Self { links, cx, .. } = self;
        let (carriage, link) = links.get_mut(&serial)?;
        let result = catch_unwind(AssertUnwindSafe(|| f(link, cx)));
        if result.is_err() {
            log_line!(
                log::Level::Error,
                "internal error, all sockets of {carriage:?} closed"
            );
            links.remove(&serial);
        }
        result.ok()
    }

    fn handle_requests(&mut self) {
        while let Ok(request) = self.requests.try_recv() {
            // Dropped unanswered it is EIO for who asked.
            if catch_unwind(AssertUnwindSafe(|| self.handle_request(request))).is_err() {
                log_line!(log::Level::Error, "internal error in a request");
            }
        }
    }

    /// Who asked may have stopped waiting: then the answer is for nobody.
    fn handle_request(&mut self, request: Request) {
        match request {
            Request::Connect(target, options, reply) => {
                let result = self.begin(&target, |link, end, cx| {
                    link.connect(&target, end, &options, cx)
                });
                let _ = reply.send(result);
            }
            Request::Listen(target, options, reply) => {
                let result = self.begin(&target, |link, end, cx| {
                    link.listen(&target, end, *options, cx)
                });
                let _ = reply.send(result);
            }
            Request::Check(carriage, group, wanted, reply) => {
                let _ = reply.send(self.check(carriage, group, &wanted));
            }
            Request::SenderStats(handle, reply) => {
                let _ = reply.send(Ok(self
                    .stats_of(handle, |link, key| match key {
                        Key::Sender(id) => link.source_stats(id),
                        _ => None,
                    })
                    .or_else(|| self.cx.retired_sources.find(handle))));
            }
            Request::SessionStats(handle, reply) => {
                let _ = reply.send(Ok(self
                    .stats_of(handle, |link, key| match key {
                        Key::Session(id) => link.session_stats(id),
                        _ => None,
                    })
                    .or_else(|| self.cx.retired_sessions.find(handle))));
            }
            Request::LinkStats(handle, reply) => {
                let _ = reply.send(Ok(self.stats_of(handle, |link, _| Some(link.stats()))));
            }
            Request::Unsent(handle, reply) => {
                let unsent = self.stats_of(handle, |link, key| match key {
                    Key::Sender(id) => Some(link.unsent(id)),
                    _ => None,
                });
                let _ = reply.send(Ok(unsent.unwrap_or(0)));
            }
            Request::Abortive(handle, abortive) => {
                if let Token::Relay(serial, Key::Sender(id)) = Token::unpack(handle.0) {
                    self.with_link(serial, |link, _| link.set_abortive(id, abortive));
                }
            }
            Request::Closed(handle, limit, reply) => {
                if let Token::Relay(serial, Key::Sender(id)) = Token::unpack(handle.0)
                    && self.with_link(serial, |link, cx| link.is_closing(id, cx)) == Some(true)
                {
                    self.closing.push((handle, Instant::now() + limit, reply));
                } else {
                    let _ = reply.send(Ok(()));
                }
            }
        }
    }

    /// The link of a carriage, opened if need be.
    fn link(&mut self, carriage: Carriage) -> io::Result<u32> {
        if let Some((serial, _)) = self.links.iter().find(|(_, (c, _))| *c == carriage) {
            return Ok(*serial);
        }
        let serial = self.last_serial + 1;
        if serial > MAX_SERIAL {
            return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
        }
        self.last_serial = serial;
        let link = Link::open(serial, carriage, &mut self.cx)?;
        self.links.insert(serial, (carriage, link));
        Ok(serial)
    }

    /// Begin something on a link with the engine end that came for it.
    fn begin<T>(
        &mut self,
        target: &Target,
        f: impl FnOnce(&mut Link, EngineFd, &mut Context) -> io::Result<T>,
    ) -> io::Result<T> {
        let end = self.line.take(target.engine_end)?;
        let serial = self.link(target.carriage)?;
        let gone = || Err(io::Error::from_raw_os_error(libc::EIO));
        self.with_link(serial, |link, cx| f(link, end, cx))
            .unwrap_or_else(gone)
    }

    fn check(&self, carriage: Carriage, group: Ipv4Addr, wanted: &[Ipv4Addr]) -> io::Result<()> {
        let found = match self.links.values().find(|(c, _)| *c == carriage) {
            Some((_, link)) => link.interfaces(group, wanted),
            None => {
                let carrier = Carrier::open(carriage, &self.cx.defaults)?;
                find_interfaces(&carrier, group, wanted)
            }
        };
        found.map(drop)
    }

    fn stats_of<T>(&self, handle: Handle, f: impl FnOnce(&Link, Key) -> Option<T>) -> Option<T> {
        let Token::Relay(serial, key) = Token::unpack(handle.0) else {
            return None;
        };
        let (_, link) = self.links.get(&serial)?;
        f(link, key)
    }

    /// Let those return from `close` whose sender is done, or who have waited long enough.
    fn answer_close(&mut self) {
        if self.closing.is_empty() {
            return;
        }
        let (now, links) = (Instant::now(), &self.links);
        self.closing.retain(|(handle, until, reply)| {
            let going_on = match Token::unpack(handle.0) {
                Token::Relay(serial, Key::Sender(id)) => {
                    links.get(&serial).is_some_and(|(_, l)| l.has_source(id))
                }
                _ => false,
            };
            let waits = going_on && now < *until;
            if !waits {
                let _ = reply.send(Ok(()));
            }
            waits
        });
    }

    /// Senders that the end waits for are closed after what they have queued now.
    fn last_call(&mut self) {
        for (_, link) in self.links.values_mut() {
            link.last_call(self.is_alone);
        }
    }

    /// Let those go on who wait because the process ends, if there is no more to wait for.
    fn answer_gate(&mut self) {
        let Some(until) = self.gate.deadline() else {
            return;
        };
        let is_late = |now| self.gave_up || until <= now;
        let done = !self.links.values().any(|(_, link)| link.is_waited_for());
        if !done && !is_late(Instant::now()) {
            return;
        }
        self.gave_up |= !done;
        if self.wants_successor() {
            match successor::beget() {
                Ok(Place::Program(successor)) => self.stand_aside(successor),
                Ok(Place::Successor) => return self.succeed(),
                Err(e) => {
                    successor::complain(&e);
                    self.is_alone = true;
                    // Not answered yet: look again after the last turns of those senders.
                    self.busy = true;
                    return self.last_call();
                }
            }
        }
        if self.gate.is_exit() {
            for (_, link) in self.links.values_mut() {
                link.end(&self.cx);
            }
        }
        self.gate.open();
    }

    /// Whether there is something that another process should go on with. Receivers' sockets may live on in others;
    /// a sender that does not outlive its process ends with it all the same.
    fn wants_successor(&self) -> bool {
        let links = || self.links.values();
        let in_background = self.cx.defaults.send.linger == Linger::Background;
        !self.is_alone
            && (links().any(|(_, link)| link.outlives())
                || in_background && links().any(|(_, link)| link.has_receivers()))
    }

    /// The successor has taken over. Returns if the program goes on after all.
    fn stand_aside(&mut self, successor: Successor) {
        let calls_off = self.gate.calls_off();
        loop {
            if self.gate.is_exit() {
                successor.go();
                // Who asks for anything from now on is told that the engine is gone.
                self.requests.try_iter().for_each(drop);
            } else if self.gate.calls_off() != calls_off {
                return successor.stay();
            }
            self.gate.open();
            if self.is_cut {
                thread::sleep(CUT_PERIOD);
            } else {
                process::is_readable_within(self.line.as_raw_fd(), None);
                self.is_cut = !self.line.receive();
            }
            self.gate.look();
        }
    }

    /// This is the successor. What belongs to the program's end only is over.
    fn succeed(&mut self) {
        // The program's process goes on using it.
        let _ = self.cx.epoll.remove(self.line.as_raw_fd());
        self.is_cut = false;
        self.gate.open();
        // Their threads are not here, and what they locked stays locked.
        std::mem::forget(std::mem::take(&mut self.closing));
        for (_, link) in self.links.values_mut() {
            link.succeed(&mut self.cx);
        }
        self.busy = true;
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::UdpEncap;
    use super::super::gate::Gate;
    use super::super::pair::{Role, make_pair};
    use super::super::{Mode, SenderInfo};
    use super::*;
    use crossbeam_channel::Sender;
    use std::net::{SocketAddrV4, UdpSocket};
    use std::os::fd::{AsFd, AsRawFd, OwnedFd};

    /// Ports nobody uses.
    fn carriage() -> Carriage {
        let free = [0, 0].map(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("bind"));
        let [unicast, multicast] = free.map(|s| s.local_addr().expect("address").port());
        Carriage::Udp(UdpEncap { unicast, multicast })
    }

    /// A reactor in this thread, with the program's end of its line.
    fn reactor() -> (Reactor, Sender<Request>, ProgramEnd) {
        let (program, engine) = line::pair().expect("a line");
        let engine = engine.as_fd().try_clone_to_owned().expect("a descriptor");
        let (requests, incoming) = crossbeam_channel::unbounded();
        let epoll = Epoll::new().expect("epoll");
        let reactor = Reactor::new(
            Defaults::default(),
            epoll,
            engine.into(),
            incoming,
            Keeper::new(Gate::new()),
        );
        (reactor.expect("reactor"), requests, program)
    }

    fn connect(
        reactor: &mut Reactor,
        program: &ProgramEnd,
        carriage: Carriage,
    ) -> (OwnedFd, SenderInfo) {
        let (app, engine_end) = make_pair(Mode::Message, false, Role::Fresh).expect("pair");
        let group = SocketAddrV4::new(Ipv4Addr::new(239, 255, 3, 7), 7500);
        let mut options = Box::new(reactor.cx.defaults.send.clone());
        options.interface = Some(Ipv4Addr::LOCALHOST);
        let target = Target {
            carriage,
            mode: Mode::Message,
            group,
            engine_end: program.pass(&engine_end).expect("passed"),
        };
        let (reply, answer) = crossbeam_channel::bounded(1);
        reactor.handle_request(Request::Connect(target, options, reply));
        (app, answer.recv().expect("an answer").expect("connected"))
    }

    #[test]
    fn a_panic_closes_one_carriage_and_nothing_else() {
        let (mut reactor, _requests, program) = reactor();
        let [poisoned, sound] = [0, 0].map(|_| carriage());
        let (closed, info) = connect(&mut reactor, &program, poisoned);
        let (open, _) = connect(&mut reactor, &program, sound);
        let Token::Relay(serial, _) = Token::unpack(info.id.0) else {
            panic!("a sender's handle names a relay")
        };
        assert!(
            reactor
                .with_link::<()>(serial, |_, _| panic!("on purpose"))
                .is_none()
        );
        assert_eq!(reactor.links.len(), 1);
        assert!(
            unix::is_write_closed(closed.as_raw_fd()),
            "the program is told"
        );
        assert!(!unix::is_write_closed(open.as_raw_fd()));
        connect(&mut reactor, &program, poisoned);
    }

    #[test]
    fn who_asks_is_never_left_waiting() {
        let (mut reactor, requests, _program) = reactor();
        let (reply, answer) = crossbeam_channel::bounded(1);
        requests
            .send(Request::Unsent(Handle(u64::MAX), reply))
            .expect("a reactor");
        reactor.handle_requests();
        assert_eq!(answer.recv().expect("an answer").expect("no error"), 0);
        drop(reactor);
        let (reply, answer) = crossbeam_channel::bounded(1);
        assert!(requests.send(Request::Unsent(Handle(1), reply)).is_err());
        assert!(answer.recv().is_err(), "who asks is not left waiting");
    }
}
