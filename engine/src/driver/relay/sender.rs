//! Sender: what the program sends becomes APDUs of a source.
//!
//! Reads no further than the source takes, so that a full source fills the pair and the pair blocks the
//! program. At end-of-file the source is closed and lingers without the program.

use super::{End, Next, is_hang_up};
use crate::driver::config::Linger;
use crate::driver::parcels::Kept;
use crate::driver::private::EngineFd;
use crate::driver::sys::Epoll;
use crate::driver::unix::{self, BATCH, Inbox, Received, SLOT};
use crate::driver::{BigMessage, Mode, PAIR_MESSAGE_MAX, ParcelKind, Room, log};
use crate::endpoint::{Endpoint, SourceId};
use crate::log_line;
use crate::source::MAX_APDU;
use crate::wire::Rst;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

const INPUT: u32 = libc::EPOLLIN.cast_unsigned();

/// Batches read in one turn.
const BATCHES: usize = 4;

/// When to look again for memory that other senders have.
const SCARCE: Duration = Duration::from_millis(10);

/// Between two readings of what fills the pair: who fills it again, since another thread of the program has the room,
/// takes its time, too.
const FILL_PAUSE: Duration = Duration::from_millis(2);

/// Error code of OPT_RST: programs have no way to give another (RFC 3208 §9.8.2: 0 for unknown).
const ABORTED: u8 = 0;

/// Longest APDU made of a stream: what one receive takes.
const STREAM_APDU: usize = 64 << 10;

/// Short messages share allocations of this size.
const CHUNK: usize = 64 << 10;

/// What the program gave, on its way to the source.
#[derive(Debug)]
enum Given {
    Apdu(Bytes),
    /// An APDU of so many octets begins: parts follow.
    Begin(usize),
    Part(Bytes),
}

/// The engine end of a sender.
#[derive(Debug)]
pub(in crate::driver) struct Sender {
    id: SourceId,
    mode: Mode,
    /// What the end of the process means.
    linger: Linger,
    /// Its end drops everything.
    abortive: bool,
    /// `None` when the application end is closed and all was read.
    end: Option<End>,
    /// Read, and not yet taken by the source.
    held: VecDeque<Given>,
    /// What the message begun still lacks, octets.
    lacking: usize,
    /// Messages that wait for more to become one (MSG_MORE), and their room.
    corked: BytesMut,
    corked_room: Option<Kept>,
    /// Room for what comes as files.
    room: &'static Room,
    /// The program fills the pair until files are out: that was read, or is next.
    filled: bool,
    /// When what fills the pair is read again.
    next_fill: Instant,
    chunk: BytesMut,
    /// The application end is closed: nothing new comes, but there may be something queued.
    hung_up: bool,
    /// What is queued is the last that counts.
    last_call: bool,
    /// Octets of it still to be read: other threads of an ending process may go on sending.
    last_octets: usize,
    /// All is read.
    eof: bool,
    /// Something of it could not be read: the end is no orderly one.
    failed: bool,
    /// The source was closed.
    closed: bool,
    /// The source is gone.
    finished: bool,
}

impl Sender {
    pub(in crate::driver) fn new(
        epoll: &Epoll,
        id: SourceId,
        mode: Mode,
        linger: Linger,
        engine_end: EngineFd,
        room: &'static Room,
        token: u64,
    ) -> io::Result<Self> {
        Ok(Self {
            id,
            mode,
            linger,
            abortive: false,
            end: Some(End::new(epoll, engine_end, token, INPUT)?),
            held: VecDeque::new(),
            lacking: 0,
            corked: BytesMut::new(),
            corked_room: None,
            room,
            filled: false,
            next_fill: Instant::now(),
            chunk: BytesMut::new(),
            hung_up: false,
            last_call: false,
            last_octets: 0,
            eof: false,
            failed: false,
            closed: false,
            finished: false,
        })
    }

    /// Abort the session: what is not out is dropped, and receivers are told. `leaves`: nobody will be here to
    /// answer them.
    pub(in crate::driver) fn abort(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint,
        epoll: &Epoll,
        leaves: bool,
    ) {
        if self.finished {
            return;
        }
        if let Some(mut end) = self.end.take() {
            end.unwatch(epoll);
        }
        self.held.clear();
        self.corked.clear();
        self.corked_room = None;
        (self.hung_up, self.eof, self.closed) = (true, true, true);
        let rst = Rst {
            no_naks: leaves,
            code: ABORTED,
        };
        endpoint.abort_source(now, self.id, rst, true);
        self.room.forget();
    }

    /// The source's linger is over.
    pub(in crate::driver) fn on_finished(&mut self) {
        self.finished = true;
    }

    /// Its room for files.
    pub(in crate::driver) fn room(&self) -> &'static Room {
        self.room
    }

    /// Whether the source is gone.
    pub(in crate::driver) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether its end drops everything.
    pub(in crate::driver) fn is_abortive(&self) -> bool {
        self.abortive
    }

    /// Set `is_abortive`.
    pub(in crate::driver) fn set_abortive(&mut self, abortive: bool) {
        self.abortive = abortive;
    }

    /// Whether the application end is closed everywhere.
    pub(in crate::driver) fn is_hung_up(&self) -> bool {
        let end = self.end.as_ref().filter(|_| !self.hung_up);
        end.is_none_or(|end| unix::is_closed(end.raw()))
    }

    /// Treat it as closed after what is queued now, if the end of the process waits for it, or for all that
    /// would be taken over. Whether it does.
    pub(in crate::driver) fn last_call(&mut self, all: bool) -> bool {
        let waited_for = self.linger == Linger::Block && !self.abortive;
        if !self.last_call && (waited_for || all && self.outlives()) {
            self.last_call = true;
            self.last_octets = self
                .end
                .as_ref()
                .map_or(0, |end| unix::queued_in(end.raw()));
        }
        self.last_call
    }

    /// Whether the end of the process has to wait for it.
    pub(in crate::driver) fn is_waited_for(&self) -> bool {
        self.last_call && !self.finished
    }

    /// Whether it is to go on when the process has ended.
    pub(in crate::driver) fn outlives(&self) -> bool {
        self.linger == Linger::Background && !self.abortive && !self.finished
    }

    /// Octets on their way to the source.
    pub(in crate::driver) fn unsent(&self) -> usize {
        let queued = self
            .end
            .as_ref()
            .map_or(0, |end| unix::queued_in(end.raw()));
        queued + self.corked.len() + self.held_octets().sum::<usize>()
    }

    /// Its descriptor has something.
    pub(in crate::driver) fn on_ready(&mut self, events: u32, epoll: &Epoll) {
        if is_hang_up(events) {
            self.hung_up = true;
            if let Some(end) = &mut self.end {
                end.unwatch(epoll);
            }
        }
    }

    pub(in crate::driver) fn turn(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint,
        inbox: &mut Inbox,
        epoll: &Epoll,
    ) -> Next {
        let next = self.work(now, endpoint, inbox, epoll);
        endpoint.keep_for_source(self.id, self.octets_kept());
        next
    }

    /// Memory it takes for what is on its way to the source. Long messages are files, which have their own room.
    fn octets_kept(&self) -> usize {
        let short = |octets: &usize| *octets <= PAIR_MESSAGE_MAX;
        let held: usize = self.held_octets().filter(short).sum();
        let chunk = if self.chunk.capacity() > 0 { CHUNK } else { 0 };
        held + self.corked.capacity() + chunk
    }

    fn held_octets(&self) -> impl Iterator<Item = usize> {
        self.held.iter().map(|given| match given {
            Given::Apdu(octets) | Given::Part(octets) => octets.len(),
            Given::Begin(_) => 0,
        })
    }

    fn work(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint,
        inbox: &mut Inbox,
        epoll: &Epoll,
    ) -> Next {
        let mut drained = false;
        for _ in 0..BATCHES {
            if !self.pass_on(now, endpoint) {
                self.watch(epoll, 0);
                return Next::Room;
            }
            if self.eof {
                return self.finish(now, endpoint, epoll);
            }
            if drained {
                self.watch(epoll, INPUT);
                return Next::Wait;
            }
            if let Some(until) = self.stays_filled(now) {
                self.watch(epoll, 0);
                return Next::At(until);
            }
            // Each message read is memory, whatever the source takes of it.
            let limit = match endpoint.messages_welcome(BATCH) {
                limit if self.room.is_tight() => limit.min(1),
                limit => limit,
            };
            if limit == 0 {
                self.watch(epoll, 0);
                return Next::At(now + SCARCE);
            }
            match self.read(inbox, limit) {
                // Nothing new can come, so what was read was all.
                Ok(0) if self.hung_up || self.last_call => self.eof = true,
                Ok(n) => drained = n < limit && !self.hung_up && !self.last_call,
                // Told once, because the program left something unread; what it sent is still there.
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {}
                Err(e) => {
                    log_line!(log::Level::Error, "source {}: cannot read: {e}", self.id.0);
                    (self.eof, self.failed) = (true, true);
                }
            }
        }
        Next::Again
    }

    /// Give what is held to the source. False: it is full.
    fn pass_on(&mut self, now: Instant, endpoint: &mut Endpoint) -> bool {
        if self.closed {
            return true;
        }
        while endpoint.is_writable(self.id) {
            let Some(given) = self.held.pop_front() else {
                return true;
            };
            let result = match given {
                Given::Apdu(apdu) => endpoint.send(now, self.id, apdu),
                Given::Begin(len) => endpoint.begin(self.id, len),
                Given::Part(octets) => endpoint.append(self.id, octets),
            };
            if let Err(e) = result {
                log_line!(
                    log::Level::Error,
                    "source {}: message dropped: {e}",
                    self.id.0
                );
            }
        }
        false
    }

    /// All is read and passed on.
    fn finish(&mut self, now: Instant, endpoint: &mut Endpoint, epoll: &Epoll) -> Next {
        if !self.closed {
            self.closed = true;
            if self.failed {
                let rst = Rst {
                    no_naks: false,
                    code: ABORTED,
                };
                endpoint.abort_source(now, self.id, rst, false);
            } else {
                endpoint.close_source(now, self.id);
            }
        }
        if self.hung_up {
            self.end = None;
        }
        self.watch(epoll, 0);
        if self.finished && self.end.is_none() {
            Next::Over
        } else {
            Next::Wait
        }
    }

    fn watch(&mut self, epoll: &Epoll, interest: u32) {
        if let Some(end) = &mut self.end {
            end.watch(epoll, interest);
        }
    }

    /// Until when what the program fills the pair with stays there; `None`: it does not.
    fn stays_filled(&mut self, now: Instant) -> Option<Instant> {
        let is_next = self.room.is_tight() && self.is_fill_next();
        // Nobody waits for room any more.
        let is_over = self.hung_up || self.last_call;
        self.filled = (self.filled || is_next) && !is_over && self.room.has_files();
        if self.filled {
            return Some(now + SCARCE);
        }
        if is_next && !is_over {
            if now < self.next_fill {
                return Some(self.next_fill);
            }
            self.next_fill = now + FILL_PAUSE;
        }
        None
    }

    /// Whether what is to be read next is there to fill the pair. Once one was read, sends would find room for one
    /// more, and wait for as long as they may once more.
    fn is_fill_next(&self) -> bool {
        let mut token = [0; BigMessage::LEN];
        let peeked = |end: &End| unix::peek(end.raw(), &mut token).is_ok();
        self.mode == Mode::Message
            && self.end.as_ref().is_some_and(peeked)
            && BigMessage::from_bytes(&token).is_some_and(|big| big.whole == BigMessage::FILL)
    }

    /// Read at most `limit` messages into `held`; how many there were. Fewer: there are no more.
    fn read(&mut self, inbox: &mut Inbox, limit: usize) -> io::Result<usize> {
        let Some(fd) = self.end.as_ref().map(End::raw) else {
            self.eof = true;
            return Ok(0);
        };
        let longest = match self.mode {
            Mode::Message => SLOT,
            Mode::Stream => STREAM_APDU,
        };
        let messages = match inbox.receive(fd, limit, longest) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            result => result?,
        };
        let count = messages.len();
        let octets = messages.iter().map(|message| message.len).sum();
        self.last_octets = self.last_octets.saturating_sub(octets);
        let mut empty = false;
        for (i, mut message) in messages.into_iter().enumerate() {
            empty = message.len == 0 && message.fd.is_none();
            if empty {
                continue;
            }
            let passed = message.fd.take();
            let octets = inbox.octets(i, message.len);
            if self.mode == Mode::Message {
                if message.truncated {
                    self.refuse(&message);
                    break;
                }
                if let (Some(file), Some(big)) = (passed, BigMessage::from_bytes(octets)) {
                    self.take_file(&file, big);
                    continue;
                }
            }
            let octets = self.copy(octets);
            self.take(octets);
        }
        self.eof |= self.last_call && self.last_octets == 0;
        // An empty message may also be a send that waited for room, with more behind it.
        self.eof |= empty && unix::is_write_closed(fd) && unix::queued_in(fd) == 0;
        Ok(count)
    }

    /// A message that came as a file.
    fn take_file(&mut self, file: &EngineFd, big: BigMessage) {
        if big.whole == BigMessage::FILL {
            self.filled = true;
            return;
        }
        let result = valid_length(big.len)
            .and_then(|len| unix::read_file(file, len))
            .and_then(|octets| self.take_with(octets, big));
        match result {
            Ok(()) => {}
            Err(e) => {
                log_line!(
                    log::Level::Error,
                    "source {}: long message refused: {e}",
                    self.id.0
                );
                (self.eof, self.failed) = (true, true);
            }
        }
    }

    /// Octets that came with word of how long the message is: see [`BigMessage::whole`].
    fn take_with(&mut self, octets: Bytes, big: BigMessage) -> io::Result<()> {
        let kind = match big.whole {
            BigMessage::MORE => ParcelKind::Joined,
            _ => ParcelKind::File,
        };
        let mut kept = self.room.keep(octets.len(), kind, big.mark);
        match big.whole {
            BigMessage::MORE if self.lacking == 0 => {
                match &mut self.corked_room {
                    Some(all) => all.absorb(kept),
                    none => *none = Some(kept),
                }
                valid_length((self.corked.len() + octets.len()) as u64)?;
                self.corked.extend_from_slice(&octets);
            }
            1..=BigMessage::FILL if self.lacking == 0 => {
                let octets = settle(kept, octets);
                // What waited for more was not to be part of this.
                if !self.corked.is_empty() {
                    let before = self.uncork();
                    self.held.push_back(Given::Apdu(before));
                }
                self.lacking = valid_length(big.whole)?;
                self.held.push_back(Given::Begin(self.lacking));
                self.take(octets);
            }
            _ => {
                match &mut self.corked_room {
                    // It becomes a part of what waited for it.
                    Some(all) => {
                        all.become_file();
                        kept.become_file();
                        all.absorb(kept);
                        self.take(octets);
                    }
                    None => self.take(settle(kept, octets)),
                }
            }
        }
        Ok(())
    }

    /// What waited for more, as a message.
    fn uncork(&mut self) -> Bytes {
        let octets = std::mem::take(&mut self.corked).freeze();
        match self.corked_room.take() {
            // A short one counts as any other.
            Some(kept) if octets.len() > PAIR_MESSAGE_MAX => kept.with(octets),
            _ => octets,
        }
    }

    /// One message of the program: an APDU, or the next octets of one that was begun. Should it run over,
    /// since some program without us writes, too, then the rest is a message of its own.
    fn take(&mut self, mut octets: Bytes) {
        if self.lacking > 0 {
            let part = octets.split_to(octets.len().min(self.lacking));
            self.lacking -= part.len();
            self.held.push_back(Given::Part(part));
        }
        if octets.is_empty() {
            return;
        }
        if !self.corked.is_empty() {
            self.corked.extend_from_slice(&octets);
            octets = self.uncork();
        }
        self.held.push_back(Given::Apdu(octets));
    }

    /// The kernel cut a message, which its limits rule out: end the source rather than send half of it.
    fn refuse(&mut self, message: &Received) {
        let (id, len) = (self.id.0, message.len);
        log_line!(
            log::Level::Error,
            "source {id}: message longer than {len} octets, sender closed"
        );
        (self.eof, self.failed) = (true, true);
    }

    fn copy(&mut self, octets: &[u8]) -> Bytes {
        if octets.len() > CHUNK / 8 {
            return Bytes::copy_from_slice(octets);
        }
        if self.chunk.capacity() < octets.len() {
            self.chunk = BytesMut::with_capacity(CHUNK);
        }
        self.chunk.extend_from_slice(octets);
        self.chunk.split().freeze()
    }
}

/// The octets of a file. A short one's are no file from here on: the window keeps what it sends of short messages.
fn settle(kept: Kept, octets: Bytes) -> Bytes {
    if octets.len() > PAIR_MESSAGE_MAX {
        return kept.with(octets);
    }
    Bytes::copy_from_slice(&octets)
}

/// The length of a message, if it can be one.
fn valid_length(len: u64) -> io::Result<usize> {
    usize::try_from(len)
        .ok()
        .filter(|len| (1..=MAX_APDU).contains(len))
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}
