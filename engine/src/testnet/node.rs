//! A host of the simulated network and the application on it.

use super::NodeId;
use super::link::{Kind, Link, Way};
use super::tree::{Port, Segment};
use crate::endpoint::{Endpoint, Event, ListenerId, SessionId, SourceId};
use crate::num::{Sqn, Tsi};
use crate::receiver::Read;
use crate::source::SendError;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// A source of the net.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tx {
    /// Its host.
    pub node: NodeId,
    /// Its handle there.
    pub id: SourceId,
    /// Its session.
    pub tsi: Tsi,
}

/// A listener of the net.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rx {
    /// Its host.
    pub node: NodeId,
    /// Its handle there.
    pub listener: ListenerId,
}

/// How an application reads its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Everything at once.
    Eager,
    /// One APDU, then a pause of this length.
    Every(Duration),
    /// Not at all.
    Never,
}

/// What the application got from one session.
#[derive(Debug)]
pub struct SessionLog {
    /// Its listener.
    pub listener: ListenerId,
    /// Its handle.
    pub id: SessionId,
    /// Its source.
    pub tsi: Tsi,
    /// Its source's address.
    pub from: Ipv4Addr,
    /// APDUs in the order they came, unless they are only counted ([`super::TestNet::counting`]).
    pub apdus: Vec<Bytes>,
    /// How many came.
    pub count: usize,
    /// When the last one came.
    pub last: Option<Instant>,
    /// What they were and in which order, if they are only counted: as [`digest`] says.
    pub digest: u64,
    /// Gaps: how many APDUs came before, the first lost SQN, and how many were lost.
    pub gaps: Vec<(usize, Sqn, u32)>,
    /// How it ended.
    pub end: Option<Read>,
    /// Events `Readable`.
    pub readable_events: u64,
    /// The endpoint said there is something to read, and it was not all read yet.
    readable: bool,
    /// A turn to read is planned.
    planned: bool,
}

/// The digest of APDUs when `apdu` follows those that `before` stands for; 0: none.
#[must_use]
pub fn digest(before: u64, apdu: &[u8]) -> u64 {
    let mix = |sum: u64, word: u64| (sum.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    let (words, rest) = apdu.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let sum = words
        .iter()
        .map(|word| u64::from_le_bytes(*word))
        .fold(before, mix);
    mix(mix(sum, u64::from_le_bytes(last)), apdu.len() as u64)
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) endpoint: Endpoint,
    pub(super) joined: Vec<Ipv4Addr>,
    /// APDUs the sources have not taken yet.
    pub(super) outbox: BTreeMap<SourceId, VecDeque<Bytes>>,
    /// Sources to be closed when their outbox is empty.
    pub(super) closing: BTreeSet<SourceId>,
    pub(super) finished: BTreeSet<SourceId>,
    pub(super) pace: BTreeMap<ListenerId, Pace>,
    pub(super) sessions: Vec<SessionLog>,
    pub(super) sent: [u64; Kind::COUNT],
    pub(super) deadline: Option<Instant>,
    /// The ways into it, by `Cast`.
    pub(super) ways: [Way; 2],
    pub(super) segment: Segment,
    /// It is no host but a network element.
    pub(super) port: Option<Box<Port>>,
    ports: u16,
}

impl Node {
    pub(super) fn new(endpoint: Endpoint, link: Link, segment: Segment) -> Self {
        Self {
            endpoint,
            joined: Vec::new(),
            outbox: BTreeMap::new(),
            closing: BTreeSet::new(),
            finished: BTreeSet::new(),
            pace: BTreeMap::new(),
            sessions: Vec::new(),
            sent: [0; Kind::COUNT],
            deadline: None,
            ways: [Way::new(link), Way::new(link)],
            segment,
            port: None,
            ports: 1000,
        }
    }

    /// A source port not used on this node before.
    pub(super) fn next_port(&mut self) -> u16 {
        self.ports += 1;
        self.ports
    }

    /// Hand a source as much of its outbox as it takes.
    pub(super) fn feed(&mut self, now: Instant, id: SourceId) {
        let Some(outbox) = self.outbox.get_mut(&id) else {
            return;
        };
        while let Some(apdu) = outbox.front() {
            match self.endpoint.send(now, id, apdu.clone()) {
                Ok(()) => outbox.pop_front(),
                Err(SendError::Full) => return,
                Err(e) => panic!("send: {e}"),
            };
        }
        if self.closing.remove(&id) {
            self.endpoint.close_source(now, id);
        }
    }

    /// The application hears of an event. If that makes it want to read: the session's index.
    pub(super) fn on_event(&mut self, now: Instant, event: Event) -> Option<usize> {
        match event {
            Event::Writable(id) => self.feed(now, id),
            Event::Finished(id) => {
                self.finished.insert(id);
            }
            Event::Session {
                listener,
                session: id,
                tsi,
                from,
            } => self.sessions.push(SessionLog {
                listener,
                id,
                tsi,
                from,
                apdus: Vec::new(),
                count: 0,
                last: None,
                digest: 0,
                gaps: Vec::new(),
                end: None,
                readable_events: 0,
                readable: false,
                planned: false,
            }),
            Event::Readable(id) => {
                let index = self.sessions.iter().position(|log| log.id == id)?;
                let log = &mut self.sessions[index];
                assert!(!log.readable, "Readable given again before read gave None");
                log.readable = true;
                log.readable_events += 1;
                return self.turn(index);
            }
        }
        None
    }

    fn pace_of(&self, listener: ListenerId) -> Pace {
        self.pace.get(&listener).copied().unwrap_or(Pace::Eager)
    }

    /// Ask for a turn to read, if the session wants one and has none.
    fn turn(&mut self, index: usize) -> Option<usize> {
        let pace = self.pace_of(self.sessions[index].listener);
        let log = &mut self.sessions[index];
        if !log.readable || log.planned || pace == Pace::Never {
            return None;
        }
        log.planned = true;
        Some(index)
    }

    /// Sessions that get a turn because the pace changed.
    pub(super) fn turns_after_change(&mut self, listener: ListenerId) -> Vec<usize> {
        let indices: Vec<_> = (0..self.sessions.len())
            .filter(|i| self.sessions[*i].listener == listener)
            .collect();
        indices
            .into_iter()
            .filter_map(|index| self.turn(index))
            .collect()
    }

    /// A turn to read. When the next one is due, if at all.
    pub(super) fn read_turn(
        &mut self,
        now: Instant,
        index: usize,
        busy: &mut Instant,
        counting: bool,
    ) -> Option<Instant> {
        let pace = self.pace_of(self.sessions[index].listener);
        let log = &mut self.sessions[index];
        log.planned = false;
        if pace == Pace::Never {
            return None;
        }
        loop {
            match self.endpoint.read(now, log.id) {
                Some(Read::Apdu(apdu)) => {
                    assert!(log.end.is_none(), "an APDU after the end");
                    *busy = now;
                    log.count += 1;
                    log.last = Some(now);
                    if counting {
                        log.digest = digest(log.digest, &apdu);
                    } else {
                        log.apdus.push(apdu);
                    }
                }
                Some(Read::Gap { first, count }) => {
                    assert!(log.end.is_none(), "a gap after the end");
                    *busy = now;
                    log.gaps.push((log.count, first, count));
                }
                Some(end) => {
                    log.end = Some(end);
                    log.readable = false;
                    return None;
                }
                None => {
                    log.readable = false;
                    return None;
                }
            }
            if let Pace::Every(pause) = pace {
                log.planned = true;
                return Some(now + pause);
            }
        }
    }
}
