//! Session: APDUs of a peer become what the program receives.
//!
//! Reads no further from the endpoint than the pair takes, so that a slow program fills the receive
//! window, never our memory. The application end is parked: never writable.

use super::{End, Next, Pause, is_hang_up};
use crate::driver::private::EngineFd;
use crate::driver::sys::Epoll;
use crate::driver::unix::{self, BATCH};
use crate::driver::{BigMessage, LostRun, Mode, PAIR_MESSAGE_MAX, log};
use crate::endpoint::{Endpoint, ListenerId, SessionId};
use crate::log_line;
use crate::num::{Sqn, Tsi};
use crate::receiver::{Read, ResetReason};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

const OUTPUT: u32 = libc::EPOLLOUT.cast_unsigned();
/// Each time the program has received something.
const RECEIPT: u32 = OUTPUT | libc::EPOLLET.cast_unsigned();

/// Batches sent in one turn.
const BATCHES: usize = 8;

/// Octets taken from the endpoint and not yet in the pair, above which no more are taken.
const OUTBOX_OCTETS: usize = 256 << 10;

/// Octets of long messages that may wait in a pair, beyond the first. The kernel counts only their descriptors; we count
/// them as the session's memory.
const BIG_OCTETS: usize = 64 << 20;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Fin,
    Reset(ResetReason),
    /// A message cannot be handed to the program: as good as lost, and no more silent.
    Refused,
}

/// Data lost in the middle of the session. It travels with the message that follows it, or with the end.
#[derive(Clone, Copy, Debug)]
struct Gap {
    lost: LostRun,
    /// How many messages of the outbox come before it.
    after: usize,
}

/// What stopped the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The pair is full: EPOLLOUT tells.
    Full,
    /// Something nobody tells about: try again after a pause.
    Scarce,
    /// The program reads no more.
    Gone,
    /// The message at the front can never go.
    Refused,
}

/// The engine end of a session.
#[derive(Debug)]
pub(in crate::driver) struct Session {
    id: SessionId,
    /// Its listener: the group stays joined for the session's sake.
    pub(in crate::driver) listener: ListenerId,
    tsi: Tsi,
    mode: Mode,
    end: End,
    outbox: VecDeque<Bytes>,
    gap: Option<Gap>,
    ended: Option<Ended>,
    /// Nothing more is sent, whatever the descriptor says.
    silent: bool,
    /// Longest message for the pair itself.
    pair_max: usize,
    /// Octets of long messages sent since the pair was last seen empty.
    big_octets: usize,
    pause: Pause,
}

impl Session {
    pub(in crate::driver) fn new(
        epoll: &Epoll,
        id: SessionId,
        listener: ListenerId,
        tsi: Tsi,
        mode: Mode,
        engine_end: EngineFd,
        token: u64,
    ) -> io::Result<Self> {
        Ok(Self {
            id,
            listener,
            tsi,
            mode,
            end: End::new(epoll, engine_end, token, 0)?,
            outbox: VecDeque::new(),
            gap: None,
            ended: None,
            silent: false,
            pair_max: PAIR_MESSAGE_MAX,
            big_octets: 0,
            pause: Pause::new(),
        })
    }

    /// Its descriptor has something. True: the application end is closed, forget the session.
    pub(in crate::driver) fn on_ready(&mut self, events: u32) -> bool {
        if !is_hang_up(events) {
            return false;
        }
        // Both directions shut down look the same; then the program must read 0, not ECONNRESET.
        unix::discard_queued(self.end.raw());
        if self.ended.is_none() {
            log_line!(
                log::Level::Info,
                "session {}: closed by the program",
                self.tsi
            );
        }
        true
    }

    pub(in crate::driver) fn turn(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint,
        epoll: &Epoll,
    ) -> Next {
        let next = self.pass_on(now, endpoint, epoll);
        self.count_files();
        endpoint.keep_for_session(self.id, self.octets() + self.big_octets);
        next
    }

    /// Forget long messages that the program has received.
    fn count_files(&mut self) {
        if self.big_octets > 0 && unix::queued_out(self.end.raw()) == 0 {
            self.big_octets = 0;
        }
    }

    /// Octets of the outbox.
    fn octets(&self) -> usize {
        self.outbox.iter().map(Bytes::len).sum()
    }

    /// What to watch for when there is nothing to send: files that wait are memory until the program receives them.
    fn at_rest(&self) -> u32 {
        if self.big_octets > 0 { RECEIPT } else { 0 }
    }

    fn pass_on(&mut self, now: Instant, endpoint: &mut Endpoint, epoll: &Epoll) -> Next {
        self.count_files();
        if self.silent {
            return Next::Wait;
        }
        for _ in 0..BATCHES {
            self.fill(now, endpoint);
            if self.outbox.is_empty() && (self.ended.is_none() || self.gap.is_none()) {
                self.end.watch(epoll, self.at_rest());
                return self.finish(now);
            }
            match self.flush() {
                Ok(()) => self.pause.reset(),
                Err(Stop::Full) => {
                    self.end.watch(epoll, OUTPUT);
                    return Next::Wait;
                }
                Err(Stop::Scarce) => {
                    self.end.watch(epoll, 0);
                    return self.pause.take(now);
                }
                Err(Stop::Gone) => {
                    self.end.watch(epoll, 0);
                    self.silent = true;
                    self.outbox.clear();
                    return Next::Detached;
                }
                Err(Stop::Refused) => {
                    self.outbox.clear();
                    self.gap = None;
                    self.ended = Some(Ended::Refused);
                }
            }
        }
        Next::Again
    }

    /// Take APDUs from the endpoint, as many as one batch sends.
    fn fill(&mut self, now: Instant, endpoint: &mut Endpoint) {
        let mut octets = self.octets();
        while self.ended.is_none()
            && self.outbox.len() < BATCH
            && octets < OUTBOX_OCTETS
            && self.gap.is_none_or(|gap| gap.after == self.outbox.len())
        {
            match endpoint.read(now, self.id) {
                // An empty message in the pair would read as end-of-file.
                Some(Read::Apdu(apdu)) if apdu.is_empty() => {}
                Some(Read::Apdu(apdu)) => {
                    octets += apdu.len();
                    self.outbox.push_back(apdu);
                }
                Some(Read::Gap { first, count }) => self.on_gap(first, count),
                Some(Read::Fin) => self.ended = Some(Ended::Fin),
                Some(Read::Reset(reason)) => {
                    // It says more than a gap right before it.
                    self.gap.take_if(|gap| gap.after == self.outbox.len());
                    self.ended = Some(Ended::Reset(reason));
                }
                None => return,
            }
        }
    }

    /// Data was lost after what is in the outbox. A stream has no place to say so: it goes on.
    fn on_gap(&mut self, first: Sqn, count: u32) {
        let tsi = self.tsi;
        log_line!(
            log::Level::Info,
            "session {tsi}: {count} lost for good from SQN {first}, goes on"
        );
        if self.mode == Mode::Stream {
            return;
        }
        // Between two messages there may be several.
        let lost = match self.gap {
            Some(Gap { lost, .. }) => LostRun {
                count: lost.count.saturating_add(count),
                ..lost
            },
            None => LostRun {
                first: first.0,
                count,
            },
        };
        let after = self.outbox.len();
        self.gap = Some(Gap { lost, after });
    }

    /// Everything is in the pair; if that was all there will be, end the session.
    fn finish(&mut self, now: Instant) -> Next {
        match self.ended {
            None => Next::Wait,
            Some(Ended::Fin) => {
                log_line!(log::Level::Info, "session {}: ended", self.tsi);
                unix::shutdown_write(self.end.raw());
                self.silent = true;
                Next::Wait
            }
            // The kernel tells ECONNRESET before what is queued, so let the program read that first.
            Some(_) if unix::queued_out(self.end.raw()) > 0 => self.pause.take(now),
            Some(ended) => {
                if let Ended::Reset(reason) = ended {
                    self.log_reset(reason);
                }
                // Closed while something is parked in it: ECONNRESET once, then end-of-file.
                Next::Over
            }
        }
    }

    fn log_reset(&self, reason: ResetReason) {
        let (level, tsi) = (log::Level::Info, self.tsi);
        match reason {
            ResetReason::Loss { first, count } => {
                log_line!(
                    level,
                    "session {tsi}: reset, {count} lost for good from SQN {first}"
                );
            }
            ResetReason::Rst(code) => {
                log_line!(level, "session {tsi}: reset by the source, error {code}");
            }
            ResetReason::Silent => log_line!(level, "session {tsi}: reset, the source is silent"),
            ResetReason::BadApdu => log_line!(level, "session {tsi}: reset, impossible message"),
        }
    }

    /// Move the outbox into the pair.
    fn flush(&mut self) -> Result<(), Stop> {
        while !self.outbox.is_empty() || self.ended.is_some() && self.gap.is_some() {
            let front = self.outbox.front().map_or(0, Bytes::len);
            let long = self.gap.is_some_and(|gap| gap.after == 0) || front > self.pair_max;
            let sent = match self.mode {
                Mode::Stream => self.send_stream(),
                Mode::Message if long => self.send_long(),
                Mode::Message => self.send_batch(),
            };
            match sent {
                Ok(()) => {}
                // wmem_max is smaller than we hoped.
                Err(e) if e.raw_os_error() == Some(libc::EMSGSIZE) && !long => {
                    self.pair_max = self.outbox.front().map_or(0, |front| front.len() - 1);
                }
                Err(e) => return Err(Self::stop(&e, self.tsi)),
            }
        }
        Ok(())
    }

    fn stop(e: &io::Error, tsi: Tsi) -> Stop {
        match e.raw_os_error() {
            Some(libc::EAGAIN) => Stop::Full,
            Some(
                libc::ENOBUFS
                | libc::ENOMEM
                | libc::ETOOMANYREFS
                | libc::EMFILE
                | libc::ENFILE
                | libc::ENOSPC,
            ) => Stop::Scarce,
            Some(libc::EPIPE | libc::ECONNRESET | libc::ENOTCONN | libc::ECONNREFUSED) => {
                Stop::Gone
            }
            _ => {
                log_line!(
                    log::Level::Error,
                    "session {tsi}: reset, cannot pass on: {e}"
                );
                Stop::Refused
            }
        }
    }

    fn send_stream(&mut self) -> io::Result<()> {
        let mut sent = unix::send_stream(self.end.raw(), self.outbox.as_slices().0)?;
        while let Some(front) = self.outbox.front_mut() {
            if sent < front.len() {
                front.advance(sent);
                break;
            }
            sent -= front.len();
            self.outbox.pop_front();
        }
        Ok(())
    }

    fn send_batch(&mut self) -> io::Result<()> {
        let run = self.outbox.as_slices().0;
        let before_gap = self.gap.map_or(usize::MAX, |gap| gap.after);
        let short = run
            .iter()
            .take(before_gap)
            .take_while(|apdu| apdu.len() <= self.pair_max)
            .count();
        let sent = unix::send_messages(self.end.raw(), &run[..short])?;
        self.outbox.drain(..sent);
        if let Some(gap) = &mut self.gap {
            gap.after -= sent;
        }
        Ok(())
    }

    /// Send the front message as a file, with the gap before it; at the end of the session the gap alone.
    fn send_long(&mut self) -> io::Result<()> {
        self.count_files();
        let apdu = self.outbox.front().map_or(&[][..], |apdu| apdu);
        let gap = self.gap.filter(|gap| gap.after == 0);
        let fd: RawFd = self.end.raw();
        if self.big_octets > 0 && self.big_octets + apdu.len() > BIG_OCTETS {
            return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
        }
        let file = unix::sealed_memfd(apdu)?;
        let message = BigMessage {
            lost: gap.map(|gap| gap.lost),
            ..BigMessage::new(apdu.len())
        };
        unix::send_with_fd(fd, &message.to_bytes(), file.as_raw_fd())?;
        self.big_octets += apdu.len();
        self.outbox.pop_front();
        match &mut self.gap {
            Some(gap) if gap.after > 0 => gap.after -= 1,
            gap => *gap = None,
        }
        Ok(())
    }
}
