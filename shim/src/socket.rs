//! One PGM socket: what it is; the calls that change that are in `calls`.
//!
//! Fresh → Bound → Listening (then accept makes Sessions), or Fresh/Bound → Sender. Sockets live in slots
//! that are reused and never freed; everything a data call needs is atomic, everything else is behind
//! the control lock.

mod calls;

pub(crate) use calls::{
    bind, check_local, connect, getpeername, getsockname, is_ours, listen, open, shutdown,
    try_native,
};

use crate::addr;
use crate::boundary::Boundary;
use crate::engine::{self, Runtime};
use crate::errno::Errno;
use crate::fdtable;
use crate::fork;
use crate::lock::{Control, Guarded, control, control_lock};
use crate::sockopt::{Members, Shadows};
use crate::sys;
use crate::turn::Turn;
use libc::c_int;
use pgm_engine::driver::config::{Defaults, ListenOptions, SendOptions, UdpEncap};
use pgm_engine::driver::{self, Carriage, Handle, Identity, Mode, PrivateFd, Role, Room};
use pgm_engine::num::{Gsi, Tsi};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering,
};

/// IANA's PGM; `IPPROTO_RM` on Windows.
pub(crate) const IPPROTO_PGM: c_int = 113;

const UNNAMED: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);

/// What a socket is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Just made.
    Fresh,
    /// Has a local address.
    Bound,
    /// Gives out sessions.
    Listening,
    /// Connected to a group.
    Sender,
    /// Accepted: receives from one source.
    Session,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Fresh,
        Self::Bound,
        Self::Listening,
        Self::Sender,
        Self::Session,
    ];
}

/// What never changes in a socket's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    pub(crate) mode: Mode,
    pub(crate) native: bool,
}

impl Style {
    /// Which sockets are ours.
    fn of(domain: c_int, kind: c_int, protocol: c_int) -> Option<Self> {
        let kind = kind & !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
        match (domain, kind, protocol) {
            (libc::AF_INET, libc::SOCK_RDM, IPPROTO_PGM) => Some(Self {
                mode: Mode::Message,
                native: true,
            }),
            (libc::AF_INET, libc::SOCK_RDM, libc::IPPROTO_UDP) => Some(Self {
                mode: Mode::Message,
                native: false,
            }),
            (libc::AF_INET, libc::SOCK_STREAM, IPPROTO_PGM) => Some(Self {
                mode: Mode::Stream,
                native: true,
            }),
            _ => None,
        }
    }

    fn encode(self) -> u8 {
        u8::from(self.mode == Mode::Stream) | u8::from(self.native) << 1
    }

    fn decode(bits: u8) -> Self {
        let mode = if bits & 1 == 0 {
            Mode::Message
        } else {
            Mode::Stream
        };
        Self {
            mode,
            native: bits & 2 != 0,
        }
    }

    fn carriage(self, settings: &Settings) -> Carriage {
        if self.native {
            Carriage::Native
        } else {
            Carriage::Udp(settings.encap)
        }
    }
}

/// What the program asked for, until the engine is told.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) send: SendOptions,
    pub(crate) listen: ListenOptions,
    /// PGM_UDP_ENCAP.
    pub(crate) encap: UdpEncap,
    /// SO_SNDBUF and SO_RCVBUF as `getsockopt` shows them: twice what was asked for.
    pub(crate) sndbuf: c_int,
    pub(crate) rcvbuf: c_int,
    /// SO_REUSEPORT.
    pub(crate) reuse_port: bool,
    /// RM_HIGH_SPEED_INTRANET_OPT.
    pub(crate) high_speed: u32,
    /// Index of SO_BINDTODEVICE's interface; 0: any.
    pub(crate) device: u32,
    /// Which of the SO_TIMESTAMP options is on; 0: none.
    pub(crate) stamp: c_int,
    /// IP_ADD_MEMBERSHIP and its kind.
    pub(crate) members: Members,
    /// What only a kernel's socket understands.
    pub(crate) shadows: Shadows,
}

impl Settings {
    fn new(defaults: &Defaults) -> Self {
        Self {
            send: defaults.send.clone(),
            listen: defaults.listen.clone(),
            encap: defaults.encap,
            sndbuf: 212_992,
            rcvbuf: 212_992,
            reuse_port: false,
            high_speed: 0,
            device: 0,
            stamp: 0,
            members: Members::default(),
            shadows: Shadows::default(),
        }
    }
}

/// A slot.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Descriptors of this process that name it; 0: the slot is free.
    names: AtomicU32,
    kind: AtomicU8,
    style: AtomicU8,
    /// Engine end of the pair while the engine does not have it yet, else -1.
    engine_end: AtomicI32,
    /// Engine's name of the sender, listener or session.
    handle: AtomicU64,
    /// Which engine that is.
    epoch: AtomicU32,
    local: AtomicU64,
    peer: AtomicU64,
    /// An error that a call met and could not return; 0: none. The kernel says it only once.
    deferred: AtomicI32,
    /// RM_SET_MESSAGE_BOUNDARY.
    pub(crate) boundary: Boundary,
    /// GSI of the session it sends or receives, in the low 48 bits.
    gsi: AtomicU64,
    /// Largest TPDU of a sender, octets.
    max_tpdu: AtomicU32,
    /// See [`Socket::room`].
    room: AtomicPtr<Room>,
    /// Other processes may have it: there was a fork, or it came from one, or went to one.
    shared: AtomicBool,
    /// Makes reading one message one step.
    pub(crate) receiving: Turn,
    /// Octets of the message at the head of the queue that have been read.
    pub(crate) read_so_far: AtomicI32,
    settings: Guarded<Option<Settings>>,
    /// All slots ever made.
    next: AtomicPtr<Socket>,
}

/// More names than there can be: the slot is not free yet, since another thread would put its engine end there.
const ENDING: u32 = 1 << 31;

static SLOTS: AtomicPtr<Socket> = AtomicPtr::new(std::ptr::null_mut());

fn slots() -> impl Iterator<Item = &'static Socket> {
    let deref = |slot: &AtomicPtr<Socket>| sys::leaked(slot.load(Ordering::Acquire));
    std::iter::successors(deref(&SLOTS), move |slot| deref(&slot.next))
}

/// A signal handler jumps out of what this thread was doing: nothing of it may stay locked, and what it had
/// only looked at is still to be read.
pub(crate) fn release_locks_of_this_thread() {
    control_lock().release_own();
    for slot in slots() {
        slot.boundary.sending.end_own();
        if let Some(fd) = slot.receiving.own() {
            let at = slot.read_so_far.load(Ordering::Relaxed);
            // It can only fail when the descriptor is closed.
            let _ = sys::set_peek_offset(fd, at);
            slot.receiving.end_own();
        }
    }
}

/// From now on other processes may have what this one has.
pub(crate) fn share_all() {
    slots().for_each(Socket::share);
}

/// In the child of a fork: whoever was reading is not here any more, and `forget` closes everything of the
/// engine's. Engine ends that it did not have yet are kept: the child may still connect or listen.
pub(crate) fn survive_fork(forget: impl FnOnce()) {
    for slot in slots() {
        slot.receiving.survive_fork();
        slot.boundary.sending.survive_fork();
        let engine_end = slot.engine_end.load(Ordering::Relaxed);
        if engine_end >= 0 {
            let copy = sys::duplicate_raw(engine_end).unwrap_or(-1);
            slot.engine_end.store(copy, Ordering::Relaxed);
        }
    }
    forget();
    for slot in slots() {
        // Registers it as the engine's again.
        let engine_end = slot.take_engine_end();
        slot.put_engine_end(engine_end);
    }
}

/// The program wants this number for something else, and it is private: let who has it take another. It stays
/// open for the caller to let it name that.
///
/// # Errors
/// EMFILE where no other number is free; EBUSY at an unlucky time.
pub(crate) fn vacate(number: c_int) -> Result<(), Errno> {
    // Nobody opens, connects or listens meanwhile.
    let _control = control()?;
    if let Some(runtime) = engine::running() {
        runtime.engine.vacate(number)?;
    }
    for slot in slots() {
        slot.vacate(number)?;
    }
    // Somebody is about to close it.
    if driver::is_private_fd(number) {
        return Err(Errno(libc::EBUSY));
    }
    Ok(())
}

impl Socket {
    /// A socket without a descriptor yet, from a free slot or a new one.
    fn allocate(
        control: &mut Control,
        kind: Kind,
        style: Style,
        settings: Settings,
        engine_end: Option<PrivateFd>,
    ) -> &'static Self {
        let socket = slots()
            .find(|slot| slot.names.load(Ordering::Acquire) == 0)
            .unwrap_or_else(|| {
                let slot = Box::leak(Box::new(Self {
                    names: AtomicU32::new(0),
                    kind: AtomicU8::new(0),
                    style: AtomicU8::new(0),
                    engine_end: AtomicI32::new(-1),
                    handle: AtomicU64::new(0),
                    epoch: AtomicU32::new(0),
                    local: AtomicU64::new(0),
                    peer: AtomicU64::new(0),
                    deferred: AtomicI32::new(0),
                    boundary: Boundary::new(),
                    gsi: AtomicU64::new(0),
                    max_tpdu: AtomicU32::new(0),
                    room: AtomicPtr::new(std::ptr::null_mut()),
                    shared: AtomicBool::new(false),
                    receiving: Turn::new(),
                    read_so_far: AtomicI32::new(0),
                    settings: Guarded::new(None),
                    next: AtomicPtr::new(SLOTS.load(Ordering::Acquire)),
                }));
                SLOTS.store(slot, Ordering::Release);
                slot
            });
        socket.style.store(style.encode(), Ordering::Relaxed);
        socket.handle.store(0, Ordering::Relaxed);
        socket.epoch.store(engine::epoch(), Ordering::Relaxed);
        socket.local.store(0, Ordering::Relaxed);
        socket.peer.store(0, Ordering::Relaxed);
        socket.deferred.store(0, Ordering::Relaxed);
        socket.boundary.reset();
        socket.room.store(std::ptr::null_mut(), Ordering::Relaxed);
        socket.shared.store(false, Ordering::Relaxed);
        socket.gsi.store(0, Ordering::Relaxed);
        socket.read_so_far.store(0, Ordering::Relaxed);
        socket.put_engine_end(engine_end);
        *socket.settings.get(control) = Some(settings);
        socket.kind.store(kind as u8, Ordering::Release);
        socket
    }

    /// One more descriptor names it.
    pub(crate) fn retain(&self) {
        self.names.fetch_add(1, Ordering::AcqRel);
    }

    /// One descriptor less. After the last the slot is free: what it still knows is overwritten when it
    /// is used again.
    pub(crate) fn release(&self) {
        let less = |names| Some(if names == 1 { ENDING } else { names - 1 });
        let before = self
            .names
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        if before == Ok(1) {
            drop(self.take_engine_end());
            self.names.fetch_sub(ENDING, Ordering::AcqRel);
        }
    }

    /// Have the engine end under another number if it is this one.
    fn vacate(&self, number: c_int) -> Result<(), Errno> {
        let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        let taken = self
            .engine_end
            .compare_exchange(number, -1, success, failure);
        if taken.is_err() {
            return Ok(());
        }
        let moved = PrivateFd::vacate(number);
        let now = moved.as_ref().map_or(number, AsRawFd::as_raw_fd);
        self.engine_end.store(now, Ordering::SeqCst);
        let moved = moved.map(std::mem::forget);
        if [0, ENDING].contains(&self.names.load(Ordering::SeqCst)) {
            // It was released meanwhile, and nothing was found there to close.
            drop(self.take_engine_end());
        }
        Ok(moved?)
    }

    fn take_engine_end(&self) -> Option<PrivateFd> {
        let fd = self.engine_end.swap(-1, Ordering::AcqRel);
        // SAFETY: it was stored by `into_raw_fd` and the swap gives it to one caller only.
        (fd >= 0).then(|| unsafe { PrivateFd::from_raw_fd(fd) })
    }

    fn put_engine_end(&self, engine_end: Option<PrivateFd>) {
        let fd = engine_end.map_or(-1, IntoRawFd::into_raw_fd);
        self.engine_end.store(fd, Ordering::Release);
    }

    /// A socket that another process gave us, without a descriptor yet.
    pub(crate) fn inherited(
        control: &mut Control,
        identity: &Identity,
        is_foreign: bool,
        defaults: &Defaults,
    ) -> &'static Self {
        let kind = match identity.role {
            Role::Fresh => Kind::Fresh,
            Role::Sender => Kind::Sender,
            Role::Listener => Kind::Listening,
            Role::Session => Kind::Session,
        };
        let style = Style {
            mode: identity.mode,
            native: identity.native,
        };
        let socket = Self::allocate(control, kind, style, Settings::new(defaults), None);
        socket.become_kind(kind, identity.handle, identity.local, identity.peer);
        if is_foreign {
            socket.epoch.store(engine::FOREIGN, Ordering::Relaxed);
        }
        socket
    }

    /// Where the engine end is another process's (a fresh socket that came from there), or has served (a listener that
    /// was shut down): all our names of the socket get a new pair.
    fn renew(&self) -> Result<(), Errno> {
        if self.engine_end.load(Ordering::Relaxed) >= 0 {
            return Ok(());
        }
        let style = self.style();
        let (app_end, engine_end) = driver::make_pair(style.mode, style.native, Role::Fresh)?;
        for (fd, socket) in fdtable::entries() {
            if std::ptr::eq(socket, self) {
                // What is kept there: see `boundary`.
                sys::set_peek_offset(app_end.as_raw_fd(), sys::peek_offset(fd)?)?;
                sys::inherit_options(fd, app_end.as_raw_fd())?;
                sys::replace(fd, &app_end)?;
            }
        }
        self.put_engine_end(Some(engine_end));
        Ok(())
    }

    /// Give the engine the engine end; it stays here when that fails.
    fn hand_over<T>(
        &self,
        engine: impl FnOnce(&PrivateFd) -> std::io::Result<T>,
    ) -> Result<T, Errno> {
        self.renew()?;
        let engine_end = self.take_engine_end().ok_or(Errno(libc::EBADF))?;
        engine(&engine_end).map_err(|error| {
            self.put_engine_end(Some(engine_end));
            error.into()
        })
    }

    pub(crate) fn kind(&self) -> Kind {
        let kind = usize::from(self.kind.load(Ordering::Acquire));
        Kind::ALL.get(kind).copied().unwrap_or(Kind::Fresh)
    }

    pub(crate) fn style(&self) -> Style {
        Style::decode(self.style.load(Ordering::Relaxed))
    }

    /// What it is bound to; the group of a receiver.
    pub(crate) fn local(&self) -> SocketAddrV4 {
        addr::unpack(self.local.load(Ordering::Relaxed))
    }

    /// Where its messages come from or go to.
    pub(crate) fn peer(&self) -> SocketAddrV4 {
        addr::unpack(self.peer.load(Ordering::Relaxed))
    }

    /// Keep an error for the next receive or SO_ERROR, as a kernel socket does.
    pub(crate) fn defer(&self, error: Errno) {
        self.deferred.store(error.0, Ordering::Relaxed);
    }

    /// The error that was kept, once.
    pub(crate) fn take_deferred(&self) -> Option<Errno> {
        if self.deferred.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let error = self.deferred.swap(0, Ordering::Relaxed);
        (error != 0).then_some(Errno(error))
    }

    /// Another process may have it from now on.
    pub(crate) fn share(&self) {
        self.shared.store(true, Ordering::Relaxed);
    }

    /// Whether another process may have it.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    /// The session it sends or receives.
    pub(crate) fn tsi(&self) -> Option<Tsi> {
        let of = match self.kind() {
            Kind::Sender => &self.local,
            Kind::Session => &self.peer,
            Kind::Fresh | Kind::Bound | Kind::Listening => return None,
        };
        let [.., a, b, c, d, e, f] = self.gsi.load(Ordering::Relaxed).to_be_bytes();
        Some(Tsi {
            gsi: Gsi([a, b, c, d, e, f]),
            sport: addr::unpack(of.load(Ordering::Relaxed)).port(),
        })
    }

    fn set_gsi(&self, Gsi([a, b, c, d, e, f]): Gsi) {
        let gsi = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        self.gsi.store(gsi, Ordering::Relaxed);
    }

    /// Largest TPDU of a connected sender, octets.
    pub(crate) fn max_tpdu(&self) -> u32 {
        self.max_tpdu.load(Ordering::Relaxed)
    }

    /// What the program asked for. `None` only in a slot that a racing close has freed.
    pub(crate) fn settings<'a>(
        &'a self,
        control: &'a mut Control,
    ) -> Result<&'a mut Settings, Errno> {
        self.settings
            .get(control)
            .as_mut()
            .ok_or(Errno(libc::EBADF))
    }

    /// The engine and its name of this socket; nothing where the engine is another process's.
    pub(crate) fn served(&self) -> Option<(&'static Runtime, Handle)> {
        let ours = self.epoch.load(Ordering::Relaxed) == engine::epoch();
        let runtime = engine::running().filter(|_| ours)?;
        Some((runtime, Handle(self.handle.load(Ordering::Relaxed))))
    }

    /// Where a sender of this process counts the files it sends.
    pub(crate) fn room(&self) -> Option<&'static Room> {
        let room = self.room.load(Ordering::Acquire).cast_const();
        self.served().filter(|_| fork::is_own_memory())?;
        sys::leaked(room)
    }

    fn become_kind(&self, kind: Kind, handle: Handle, local: SocketAddrV4, peer: SocketAddrV4) {
        self.handle.store(handle.0, Ordering::Relaxed);
        self.epoch.store(engine::epoch(), Ordering::Relaxed);
        self.local.store(addr::pack(local), Ordering::Relaxed);
        self.peer.store(addr::pack(peer), Ordering::Relaxed);
        self.kind.store(kind as u8, Ordering::Release);
    }

    /// A session that this listener gave out, as a socket of its own behind `fd`.
    pub(crate) fn adopt(
        &self,
        fd: OwnedFd,
        handle: Handle,
        peer: SocketAddrV4,
        gsi: Gsi,
    ) -> Result<c_int, Errno> {
        let mut control = control()?;
        let settings = self.settings(&mut control)?.clone();
        let session = Self::allocate(&mut control, Kind::Session, self.style(), settings, None);
        let local = addr::unpack(self.local.load(Ordering::Relaxed));
        let epoch = self.epoch.load(Ordering::Relaxed);
        session.set_gsi(gsi);
        session.become_kind(Kind::Session, handle, local, peer);
        session.epoch.store(epoch, Ordering::Relaxed);
        if session.style().mode == Mode::Message {
            // From here on a peek begins where the last one ended: what is read in parts is remembered
            // by the kernel's socket.
            sys::set_peek_offset(fd.as_raw_fd(), 0)?;
        }
        fdtable::insert(fd.as_raw_fd(), session)?;
        Ok(fd.into_raw_fd())
    }
}
