//! Memory of the program's long messages on their way to the network. They travel as files, which are no window's and
//! no queue's: here they are counted against a part of PGM_MEMORY.
//!
//! Who sends takes room before the file is made; it is free again when the last octet is out and the file gone. So the
//! two sides count in memory that they share, without a lock, since sends happen in signal handlers. A file
//! that another process sends (its token has no mark) is in that process's memory.

use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Room for the files of all senders. Lives for ever, like the engine.
#[derive(Debug)]
pub(super) struct Whole {
    most: usize,
    taken: AtomicUsize,
    /// Somebody was refused: the engine takes one at a time.
    is_tight: AtomicBool,
    /// In the tokens of files that are counted here.
    mark: u64,
}

/// What a parcel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message, or a part of one that is sent as it fills.
    File,
    /// Octets that wait for more to become a message. They grow in memory that is up to twice as large.
    Joined,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There never is so much.
    TooLong,
    /// When the engine has read what this sender sent, and files of it are out, there may be.
    Later,
    /// Other senders have it, or messages that wait for more.
    NoRoom,
}

#[derive(Debug, Default)]
struct Count {
    taken: AtomicUsize,
    /// What of it the engine has.
    here: AtomicUsize,
}

impl Count {
    /// Take so much from it; how much it was. What is told twice counts once: a handler may have jumped away between a
    /// send and its account.
    fn release(&self, memory: usize) -> usize {
        let less = |taken: usize| Some(taken.saturating_sub(memory));
        let before = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        memory.min(before.unwrap_or_else(|taken| taken))
    }
}

/// The room of one sender; another's later.
#[derive(Debug)]
pub struct Room {
    whole: &'static Whole,
    files: Count,
    joined: Count,
}

impl Whole {
    fn new(most: usize, mark: u64) -> &'static Self {
        Box::leak(Box::new(Self {
            most,
            taken: AtomicUsize::new(0),
            is_tight: AtomicBool::new(false),
            mark,
        }))
    }

    fn take(&self, octets: usize) -> bool {
        let more = |taken: usize| taken.checked_add(octets).filter(|sum| *sum <= self.most);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    fn give_back(&self, octets: usize) {
        let before = self.taken.fetch_sub(octets, Ordering::Relaxed);
        if before - octets <= self.most / 2 {
            self.is_tight.store(false, Ordering::Relaxed);
        }
    }
}

impl Room {
    fn count(&self, kind: Kind) -> &Count {
        match kind {
            Kind::File => &self.files,
            Kind::Joined => &self.joined,
        }
    }

    /// Memory that so many octets take.
    fn memory(octets: usize, kind: Kind) -> usize {
        match kind {
            Kind::File => octets,
            Kind::Joined => octets.saturating_mul(2),
        }
    }

    /// Take room for a file of so many octets. Async-signal-safe.
    ///
    /// # Errors
    /// Why there is no room.
    pub fn take(&self, octets: usize, kind: Kind) -> Result<(), Refusal> {
        let memory = Self::memory(octets, kind);
        if memory > self.whole.most {
            return Err(Refusal::TooLong);
        }
        if self.whole.take(memory) {
            self.count(kind).taken.fetch_add(memory, Ordering::Relaxed);
            return Ok(());
        }
        self.whole.is_tight.store(true, Ordering::Relaxed);
        match self.is_on_its_way() {
            true => Err(Refusal::Later),
            false => Err(Refusal::NoRoom),
        }
    }

    /// Whether something of it will be out, or is still to be read: what was joined may have become a message then.
    fn is_on_its_way(&self) -> bool {
        let Count { taken, here } = &self.joined;
        self.files.taken.load(Ordering::Relaxed) > 0
            || taken.load(Ordering::Relaxed) > here.load(Ordering::Relaxed)
    }

    /// A file for which room was taken was not sent. Async-signal-safe.
    pub fn give_back(&self, octets: usize, kind: Kind) {
        self.release(Self::memory(octets, kind), kind);
    }

    fn release(&self, memory: usize, kind: Kind) {
        self.whole.give_back(self.count(kind).release(memory));
    }

    /// For the tokens of files that are counted here.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.whole.mark
    }

    /// Whether room was refused, and no more than one message should be taken at once.
    pub(super) fn is_tight(&self) -> bool {
        self.whole.is_tight.load(Ordering::Relaxed)
    }

    /// Whether the engine has files of it.
    #[must_use]
    pub fn has_files(&self) -> bool {
        self.files.here.load(Ordering::Relaxed) > 0
    }

    /// A file has come to the engine. `mark`: of its token.
    pub(super) fn keep(&'static self, octets: usize, kind: Kind, mark: u64) -> Kept {
        let memory = match mark == self.whole.mark {
            true => Self::memory(octets, kind),
            false => 0,
        };
        self.count(kind).here.fetch_add(memory, Ordering::Relaxed);
        Kept {
            room: self,
            memory,
            kind,
        }
    }

    /// What was on its way to the engine is gone.
    pub(super) fn forget(&self) {
        for kind in [Kind::File, Kind::Joined] {
            let Count { taken, here } = self.count(kind);
            let lost = taken
                .load(Ordering::Relaxed)
                .saturating_sub(here.load(Ordering::Relaxed));
            self.release(lost, kind);
        }
    }

    fn is_empty(&self) -> bool {
        [&self.files, &self.joined]
            .iter()
            .all(|count| count.taken.load(Ordering::Relaxed) == 0)
    }
}

/// Room of something that the engine has, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Kept {
    room: &'static Room,
    memory: usize,
    kind: Kind,
}

impl Kept {
    /// It is one with `other`, of the same kind.
    pub(super) fn absorb(&mut self, mut other: Self) {
        debug_assert_eq!(self.kind, other.kind);
        self.memory += std::mem::take(&mut other.memory);
    }

    /// What was joined is a message now.
    pub(super) fn become_file(&mut self) {
        if self.kind == Kind::Joined {
            let Room { files, joined, .. } = self.room;
            joined.here.fetch_sub(self.memory, Ordering::Relaxed);
            self.memory = joined.release(self.memory);
            files.taken.fetch_add(self.memory, Ordering::Relaxed);
            files.here.fetch_add(self.memory, Ordering::Relaxed);
            self.kind = Kind::File;
        }
    }

    /// These octets, with it as long as any of them is there.
    pub(super) fn with(mut self, octets: Bytes) -> Bytes {
        self.become_file();
        Bytes::from_owner(Octets {
            octets,
            _kept: self,
        })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let here = &self.room.count(self.kind).here;
        here.fetch_sub(self.memory, Ordering::Relaxed);
        self.room.release(self.memory, self.kind);
    }
}

struct Octets {
    octets: Bytes,
    _kept: Kept,
}

impl AsRef<[u8]> for Octets {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

/// The rooms of an engine's senders. Each lives for ever, since threads that send may still look at it: a sender
/// that is gone leaves it to another.
#[derive(Debug)]
pub(super) struct Rooms {
    whole: &'static Whole,
    free: Vec<&'static Room>,
}

impl Rooms {
    /// `mark`: different for every engine, and not 0.
    pub(super) fn new(most: usize, mark: u64) -> Self {
        Self {
            whole: Whole::new(most, mark),
            free: Vec::new(),
        }
    }

    /// A room for one more sender.
    pub(super) fn open(&mut self) -> &'static Room {
        let empty = self.free.iter().position(|room| room.is_empty());
        empty.map_or_else(
            || {
                Box::leak(Box::new(Room {
                    whole: self.whole,
                    files: Count::default(),
                    joined: Count::default(),
                })) as &'static Room
            },
            |at| self.free.swap_remove(at),
        )
    }

    /// Its sender is gone.
    pub(super) fn close(&mut self, room: &'static Room) {
        room.forget();
        self.free.push(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: u64 = 7;

    fn taken(room: &Room) -> usize {
        room.whole.taken.load(Ordering::Relaxed)
    }

    #[test]
    fn a_file_has_its_room_until_its_last_octet_is_gone() {
        let room = Rooms::new(1000, MARK).open();
        assert_eq!(room.take(600, Kind::File), Ok(()));
        let mut octets = room
            .keep(600, Kind::File, MARK)
            .with(Bytes::from_static(b"file"));
        let part = octets.split_to(1);
        drop(octets);
        assert!(room.has_files());
        assert_eq!(taken(room), 600);
        drop(part);
        assert!(!room.has_files());
        assert_eq!(taken(room), 0);
    }

    #[test]
    fn who_waits_for_others_is_told_so_and_who_waits_for_itself_too() {
        let mut rooms = Rooms::new(1000, MARK);
        let (own, other) = (rooms.open(), rooms.open());
        assert_eq!(own.take(1001, Kind::File), Err(Refusal::TooLong));
        assert_eq!(own.take(501, Kind::Joined), Err(Refusal::TooLong));
        assert_eq!(own.take(700, Kind::File), Ok(()));
        assert!(!own.is_tight());
        assert_eq!(own.take(400, Kind::File), Err(Refusal::Later));
        assert_eq!(other.take(400, Kind::File), Err(Refusal::NoRoom));
        assert!(own.is_tight());
        assert_eq!(other.take(300, Kind::File), Ok(()));
        own.give_back(700, Kind::File);
        assert!(!own.is_tight());
        // What another has joined comes to no end by itself, what it has itself neither.
        assert_eq!(other.take(350, Kind::Joined), Ok(()));
        let _joined = other.keep(350, Kind::Joined, MARK);
        assert_eq!(own.take(1, Kind::File), Err(Refusal::NoRoom));
        other.give_back(300, Kind::File);
        assert_eq!(other.take(301, Kind::File), Err(Refusal::NoRoom));
    }

    #[test]
    fn joined_octets_may_have_become_a_message_until_they_were_read() {
        let room = Rooms::new(1000, MARK).open();
        assert_eq!(room.take(400, Kind::Joined), Ok(()));
        assert_eq!(room.take(300, Kind::File), Err(Refusal::Later));
        let kept = room.keep(400, Kind::Joined, MARK);
        assert_eq!(room.take(300, Kind::File), Err(Refusal::NoRoom));
        drop(kept);
        assert_eq!(room.take(300, Kind::File), Ok(()));
    }

    #[test]
    fn joined_octets_become_a_message() {
        let room = Rooms::new(1000, MARK).open();
        assert_eq!(room.take(100, Kind::Joined), Ok(()));
        assert_eq!(room.take(50, Kind::Joined), Ok(()));
        let mut kept = room.keep(100, Kind::Joined, MARK);
        kept.absorb(room.keep(50, Kind::Joined, MARK));
        assert!(!room.has_files());
        let message = kept.with(Bytes::from_static(b"both"));
        assert!(room.has_files());
        assert_eq!(taken(room), 300);
        drop(message);
        assert_eq!(taken(room), 0);
        assert!(room.is_empty());
    }

    #[test]
    fn a_sender_that_ends_leaves_an_empty_room() {
        let mut rooms = Rooms::new(1000, MARK);
        let room = rooms.open();
        for octets in [100, 200, 300] {
            assert_eq!(room.take(octets, Kind::File), Ok(()));
        }
        let kept = room.keep(100, Kind::File, MARK);
        let of_others = room.keep(500, Kind::File, 0);
        rooms.close(room);
        assert_eq!(taken(room), 100);
        assert!(!std::ptr::eq(rooms.open(), room));
        drop((kept, of_others));
        assert_eq!(taken(room), 0);
        // A send was under way, and tells it now.
        room.give_back(300, Kind::File);
        assert_eq!(taken(room), 0);
        assert!(std::ptr::eq(rooms.open(), room));
    }
}
