//! The core on Linux: one engine thread, epoll, real sockets, application ends (design D4).
//!
//! [`Engine`] is the handle the shim (or a tool) holds. Every call is a request to the engine thread
//! and returns when it answered; the engine never waits for the application, so calls are short.

mod batch;
mod big;
mod carrier;
pub mod config;
pub mod env;
mod fault;
mod follow;
mod forward;
mod gate;
pub mod heap;
mod iface;
mod last;
mod line;
mod link;
pub mod log;
mod native;
mod pair;
mod parcels;
mod private;
mod process;
mod relay;
mod successor;
mod sys;
mod table;
mod thread;
mod udp;
mod unix;

pub use big::{BigMessage, LostRun, PAIR_MESSAGE_MAX};
pub use gate::Occasion;
pub use pair::{Identity, Role, identify, make_pair, park};
pub use parcels::{Kind as ParcelKind, Refusal, Room};
pub use private::{
    PrivateFd, for_each_private_fd, forget_in_child, is_engine_thread, is_private_fd,
};

use crate::log_line;
use crate::num::Gsi;
use crate::num::Tsi;
use crate::stats::{EndpointStats, ReceiverStats, SourceStats};
use config::{Defaults, ListenOptions, SendOptions};
use crossbeam_channel::Sender;
use gate::{Gate, Keeper};
use line::{ProgramEnd, Ticket};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::RawFd;
use std::time::Duration;

/// How PGM travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carriage {
    /// IP protocol 113.
    Native,
    /// UDP encapsulation with these two ports.
    Udp(config::UdpEncap),
}

/// Message boundaries at the application end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// SOCK_RDM over a SEQPACKET pair.
    Message,
    /// SOCK_STREAM over a STREAM pair.
    Stream,
}

/// A connected sender.
#[derive(Clone, Copy, Debug)]
pub struct SenderInfo {
    /// For `sender_stats` and `unsent`.
    pub id: Handle,
    /// Source address and TSI port: what `getsockname` says.
    pub local: SocketAddrV4,
    /// The session.
    pub tsi: Tsi,
    /// Largest TPDU it sends, octets.
    pub max_tpdu: usize,
    /// Its room for files.
    pub room: &'static Room,
}

/// Names a sender, listener or session inside the engine; 0 is never used, none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(pub u64);

/// The engine thread's handle. Dropping it does not end the thread.
#[derive(Clone, Copy, Debug)]
pub struct Engine {
    /// Never freed: an engine lives as long as its process, and in the child of a fork nothing of it may
    /// be touched, not even to drop it.
    shared: &'static Shared,
}

#[derive(Debug)]
struct Shared {
    requests: Sender<Request>,
    /// What the engine thread waits for.
    line: ProgramEnd,
    /// Where `drain` waits.
    gate: &'static Gate,
    generation: u32,
    pid: u32,
}

/// How the engine thread answers.
type Reply<T> = Sender<io::Result<T>>;

/// What the engine thread is asked to do.
#[derive(Debug)]
enum Request {
    Connect(Target, Box<SendOptions>, Reply<SenderInfo>),
    Listen(Target, Box<ListenOptions>, Reply<Handle>),
    Check(Carriage, Ipv4Addr, Vec<Ipv4Addr>, Reply<()>),
    SenderStats(Handle, Reply<Option<SourceStats>>),
    SessionStats(Handle, Reply<Option<ReceiverStats>>),
    LinkStats(Handle, Reply<Option<EndpointStats>>),
    Unsent(Handle, Reply<usize>),
    Abortive(Handle, bool),
    Closed(Handle, Duration, Reply<()>),
}

/// What `connect` and `listen` have in common.
#[derive(Debug)]
struct Target {
    carriage: Carriage,
    mode: Mode,
    group: SocketAddrV4,
    /// Its engine end, sent before the request.
    engine_end: Ticket,
}

impl Engine {
    /// Start the engine thread: all signals blocked, named `pgmshim`, with descriptors of its own.
    /// Settings come from the environment.
    ///
    /// # Errors
    /// `EINVAL` a variable has a value nobody understands (which is logged); as `start_with`.
    pub fn start() -> io::Result<Self> {
        let defaults = Defaults::from_env().map_err(|text| {
            log_line!(log::Level::Error, "{text}");
            io::Error::from_raw_os_error(libc::EINVAL)
        })?;
        Self::start_with(defaults)
    }

    /// As `start`, with these settings.
    ///
    /// # Errors
    /// Of thread, pair or epoll creation; `EPERM` or `ENOSYS` a sandbox refuses the thread descriptors of its
    /// own (which is logged).
    pub fn start_with(defaults: Defaults) -> io::Result<Self> {
        let (requests, incoming) = crossbeam_channel::unbounded();
        let gate = Gate::new();
        let line = thread::spawn(defaults, incoming, Keeper::new(gate))?;
        let generation = private::generation();
        Ok(Self {
            shared: Box::leak(Box::new(Shared {
                requests,
                line,
                gate,
                generation,
                pid: std::process::id(),
            })),
        })
    }

    /// Whether the engine thread is one of this process: false in the child of a fork, also of one that ran
    /// no fork handlers.
    #[must_use]
    pub fn is_here(&self) -> bool {
        self.shared.generation == private::generation() && self.shared.pid == std::process::id()
    }

    /// Begin a source. Messages are read from `engine_end` until end-of-file (the application's last
    /// reference closed, or it shut its writing side down), then the source is closed and lingers.
    ///
    /// # Errors
    /// An errno: `ENODEV` no multicast-capable interface, `EADDRNOTAVAIL` interface not ours, `EPERM`
    /// native without CAP_NET_RAW, `EADDRINUSE`, `ENOBUFS` …; `EIO` the engine is gone. `engine_end` is
    /// the engine's from then on, unless it failed: close it.
    pub fn connect(
        &self,
        carriage: Carriage,
        mode: Mode,
        group: SocketAddrV4,
        options: SendOptions,
        engine_end: &PrivateFd,
    ) -> io::Result<SenderInfo> {
        let target = Target {
            carriage,
            mode,
            group,
            engine_end: self.pass(engine_end)?,
        };
        self.call(|reply| Request::Connect(target, Box::new(options), reply))
    }

    /// Begin to listen. Each session is sent on `engine_end` as one message: a [`SessionHello`] with
    /// the session's application end as SCM_RIGHTS. The listener ends when its application end closes;
    /// sessions live until theirs close.
    ///
    /// # Errors
    /// As `connect`.
    pub fn listen(
        &self,
        carriage: Carriage,
        mode: Mode,
        group: SocketAddrV4,
        options: ListenOptions,
        engine_end: &PrivateFd,
    ) -> io::Result<Handle> {
        let target = Target {
            carriage,
            mode,
            group,
            engine_end: self.pass(engine_end)?,
        };
        self.call(|reply| Request::Listen(target, Box::new(options), reply))
    }

    /// What `connect` or `listen` would find for these interfaces, without opening anything: lets
    /// `bind` fail early.
    ///
    /// # Errors
    /// `ENODEV`, `EADDRNOTAVAIL`, `EPERM`; `EIO` the engine is gone.
    pub fn check(
        &self,
        carriage: Carriage,
        group: Ipv4Addr,
        interface: &[Ipv4Addr],
    ) -> io::Result<()> {
        self.call(|reply| Request::Check(carriage, group, interface.to_vec(), reply))
    }

    /// Counters of a sender, also for a while after it finished.
    #[must_use]
    pub fn sender_stats(&self, id: Handle) -> Option<SourceStats> {
        self.call(|reply| Request::SenderStats(id, reply))
            .ok()
            .flatten()
    }

    /// Counters of a session, also for a while after it was reset.
    #[must_use]
    pub fn session_stats(&self, id: Handle) -> Option<ReceiverStats> {
        self.call(|reply| Request::SessionStats(id, reply))
            .ok()
            .flatten()
    }

    /// Counters of the carriage that a sender, listener or session uses, as long as anything uses it.
    #[must_use]
    pub fn link_stats(&self, id: Handle) -> Option<EndpointStats> {
        self.call(|reply| Request::LinkStats(id, reply))
            .ok()
            .flatten()
    }

    /// Octets a sender's application end has taken that were not yet sent for the first time (SIOCOUTQ).
    #[must_use]
    pub fn unsent(&self, id: Handle) -> usize {
        self.call(|reply| Request::Unsent(id, reply)).unwrap_or(0)
    }

    /// Whether the end of this sender, by `close` or with its process, drops everything that is not out (SO_LINGER
    /// with time 0).
    pub fn set_abortive(&self, id: Handle, abortive: bool) {
        // Without an engine everything is dropped.
        let _ = self.submit(Request::Abortive(id, abortive));
    }

    /// A descriptor of this sender was closed: if it was the last one anywhere, wait until everything is out and
    /// repaired, at most `limit` (SO_LINGER).
    pub fn closed(&self, id: Handle, limit: Duration) {
        // Without an engine there is nothing to wait for.
        let _ = self.call(|reply| Request::Closed(id, limit, reply));
    }

    /// The main thread is about to end, and the process is not. When the engine's is the last thread the
    /// process exits with status 0, as it would without it.
    pub fn main_thread_leaves(&self) {
        if self.is_here() {
            // Without another thread the process stays until it is told to end.
            let _ = last::watch();
        }
    }

    /// Called as the process ends (D5), or before it becomes another program. Senders that say so are waited for,
    /// at most for `limit`; then another process takes over what is left. Where that cannot be made all
    /// senders are waited for. A sender that is waited for counts as closed after what it has queued. A second call does
    /// not wait again for what the first gave up. Async-signal-safe, as `_exit` is.
    pub fn leave(&self, occasion: Occasion, limit: Duration) {
        if self.is_here() {
            let Shared { line, gate, .. } = self.shared;
            gate.wait(occasion, limit, || {
                line.wake();
            });
        }
    }

    /// After [`Self::leave`] for [`Occasion::Exec`]: it failed, and the engine goes on here. Async-signal-safe.
    pub fn stay(&self) {
        if self.is_here() {
            let Shared { line, gate, .. } = self.shared;
            gate.call_off(|| {
                line.wake();
            });
        }
    }

    /// Hand a request to the engine thread. False: there is none.
    fn submit(&self, request: Request) -> bool {
        // The channel of a parent's engine may be locked for ever: not even a look at it.
        if !self.is_here() || self.shared.requests.send(request).is_err() {
            return false;
        }
        self.shared.line.wake()
    }

    /// Send an engine end to the engine, for the request that follows.
    fn pass(&self, engine_end: &PrivateFd) -> io::Result<Ticket> {
        let gone = || io::Error::from_raw_os_error(libc::EIO);
        if !self.is_here() {
            return Err(gone());
        }
        let ticket = self.shared.line.pass(engine_end);
        ticket.map_err(|e| match e.raw_os_error() {
            Some(libc::EPIPE | libc::EBADF | libc::ENOTSOCK) => gone(),
            Some(libc::ETOOMANYREFS) => io::Error::from_raw_os_error(libc::ENOBUFS),
            _ => e,
        })
    }

    /// The program wants this number, which is private: use another from now on, if it is the engine's line. The
    /// old one stays open for the caller to let it name something else. One call at a time.
    ///
    /// # Errors
    /// `EMFILE` there is no other number; `EBUSY` a thread is still using this one.
    pub fn vacate(&self, number: RawFd) -> io::Result<()> {
        self.shared.line.vacate(number)
    }

    fn call<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> io::Result<T> {
        let gone = || io::Error::from_raw_os_error(libc::EIO);
        let (reply, answer) = crossbeam_channel::bounded(1);
        if !self.submit(request(reply)) {
            return Err(gone());
        }
        // A request that panicked drops its reply unanswered.
        answer.recv().unwrap_or_else(|_| Err(gone()))
    }
}

/// A GSI that nobody else has.
///
/// Departs from RFC 3208 §8 (G-16): a GSI is 48 random bits for each process, not the hash of the host's DNS name:
/// every process of a host, every container with the same name and every restart would share that one, and
/// 16 bits of port cannot keep their sessions apart.
fn random_gsi() -> io::Result<Gsi> {
    let [_, _, gsi @ ..] = unix::random()?.to_be_bytes();
    Ok(Gsi(gsi))
}

/// First octets of the message that announces a session on a listener's pair, little-endian, fixed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionHello {
    /// [`SessionHello::MAGIC`].
    pub magic: u32,
    /// Source address, network order octets.
    pub peer_addr: [u8; 4],
    /// PGM source port of the TSI, host order.
    pub peer_port: u16,
    /// GSI.
    pub gsi: [u8; 6],
    /// Engine handle for `session_stats`.
    pub handle: u64,
}

impl SessionHello {
    /// "PGMs".
    pub const MAGIC: u32 = 0x5047_4d73;
    /// Octets of the message.
    pub const LEN: usize = 24;

    /// The message.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.magic.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.peer_addr);
        bytes[8..10].copy_from_slice(&self.peer_port.to_le_bytes());
        bytes[10..16].copy_from_slice(&self.gsi);
        bytes[16..].copy_from_slice(&self.handle.to_le_bytes());
        bytes
    }

    /// What [`Self::to_bytes`] made; `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().ok()?;
        let hello = Self {
            magic: u32::from_le_bytes(bytes[..4].try_into().ok()?),
            peer_addr: bytes[4..8].try_into().ok()?,
            peer_port: u16::from_le_bytes(bytes[8..10].try_into().ok()?),
            gsi: bytes[10..16].try_into().ok()?,
            handle: u64::from_le_bytes(bytes[16..].try_into().ok()?),
        };
        (hello.magic == Self::MAGIC).then_some(hello)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // G-16: what several processes of a host would share is not in it
    fn every_gsi_is_another() {
        let drawn = [(); 100].map(|()| random_gsi().expect("random octets"));
        for (i, gsi) in drawn.iter().enumerate() {
            assert!(!drawn[..i].contains(gsi), "{gsi:?}");
        }
    }

    #[test]
    fn messages_on_pairs_have_the_layout_of_their_structs() {
        assert_eq!(size_of::<SessionHello>(), SessionHello::LEN);
        let hello = SessionHello {
            magic: SessionHello::MAGIC,
            peer_addr: [192, 0, 2, 1],
            peer_port: 0x1234,
            gsi: [1, 2, 3, 4, 5, 6],
            handle: 0x0102_0304_0506_0708,
        };
        let bytes = hello.to_bytes();
        assert_eq!(
            bytes,
            *b"sMGP\xc0\0\x02\x01\x34\x12\x01\x02\x03\x04\x05\x06\x08\x07\x06\x05\x04\x03\x02\x01"
        );
        assert_eq!(SessionHello::from_bytes(&bytes), Some(hello));
        assert_eq!(SessionHello::from_bytes(&bytes[1..]), None);
        assert_eq!(SessionHello::from_bytes(&[0; 24]), None);
    }
}
