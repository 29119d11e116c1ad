//! Transmission groups that are not whole (RFC 3208 §11): their parity, the data of theirs that was read
//! already, and where their recovery stands. Knows neither time nor the network.
//!
//! There is something here only for groups that lack packets, and for the one the reader stands in. All of
//! it counts against the budget of the window.

use super::gap::Gap;
use super::parity::{Form, Grouping, Implausible, Parity, rebuild};
use super::rxw::{Packet, Rxw};
use crate::num::Sqn;
use std::collections::VecDeque;

/// So many groups are remembered whatever the budget.
const GROUPS_FREE: usize = 64;

/// Why a group waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For parity that comes unasked, or for the rest of an unfinished group. Then each packet that is
    /// missing is asked for by itself.
    Patience,
    /// For parity that is asked for.
    Parity,
}

/// A group that is not whole.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Data packets it has, once that is known.
    pub(super) size: Option<u8>,
    /// Its parity contradicts its data: no more of it.
    pub(super) is_rejected: bool,
    /// Each packet of it is asked for by itself.
    pub(super) is_selective: bool,
    /// NAK machine of the group as a whole.
    pub(super) wait: Option<(Purpose, Gap)>,
    /// What came of it since parity was last asked for.
    answer: Answer,
    form: Option<Form>,
    parity: Vec<Parity>,
    /// Data that was read, by row.
    kept: Vec<(u8, Packet)>,
}

/// Which parity came in answer to a request.
#[derive(Clone, Copy, Debug, Default)]
struct Answer {
    is_new: bool,
    is_known: bool,
}

/// What became of a parity packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Taken,
    /// Here already, or of a group that needs none.
    Unneeded,
    /// No room.
    Full,
    Implausible,
}

/// Groups from the one of the window's base on.
#[derive(Debug, Default)]
pub(super) struct Groups {
    grouping: Option<Grouping>,
    /// First SQN of the group at the front of `ring`.
    first: Sqn,
    /// As far as there are groups. `None`: nothing is known of the group.
    ring: VecDeque<Option<Box<Group>>>,
    /// Groups in it.
    count: usize,
    octets: usize,
}

impl Groups {
    pub(super) fn grouping(&self) -> Option<Grouping> {
        self.grouping
    }

    /// What SPMs say from now on. Whether it is another grouping than before: what was held is no use.
    pub(super) fn set_grouping(&mut self, grouping: Grouping, rxw: &mut Rxw) -> bool {
        let before = self.grouping.replace(grouping);
        if before == Some(grouping) {
            return false;
        }
        rxw.keep_groups(Some(grouping.sqns()));
        rxw.drain_left().for_each(drop);
        self.start_at(rxw.base());
        before.is_some()
    }

    /// The window begins here.
    pub(super) fn start_at(&mut self, base: Sqn) {
        self.ring.clear();
        (self.count, self.octets) = (0, 0);
        self.first = self.grouping.map_or(base, |grouping| grouping.start(base));
    }

    /// Octets held.
    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    /// Octets of the ring itself.
    pub(super) fn ring_octets(&self) -> usize {
        self.ring.capacity() * size_of::<Option<Box<Group>>>()
    }

    pub(super) fn get(&self, sqn: Sqn) -> Option<&Group> {
        self.ring.get(self.index(sqn)?)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, sqn: Sqn) -> Option<&mut Group> {
        let index = self.index(sqn)?;
        self.ring.get_mut(index)?.as_deref_mut()
    }

    /// The group of `sqn`, new if need be. `None` behind the window and beyond it.
    pub(super) fn entry(&mut self, sqn: Sqn, rxw: &Rxw) -> Option<&mut Group> {
        if !rxw.end().is_newer_than(self.grouping?.start(sqn)) {
            return None;
        }
        let index = self.index(sqn)?;
        if index >= self.ring.len() {
            self.ring.resize_with(index + 1, Default::default);
        }
        let slot = &mut self.ring[index];
        if slot.is_none() {
            self.octets += size_of::<Group>();
            self.count += 1;
        }
        Some(slot.get_or_insert_default())
    }

    /// Whether there is no packet with `sqn`, because its group is short.
    pub(super) fn is_unused(&self, sqn: Sqn) -> bool {
        let row = self.grouping.map(|grouping| grouping.row(sqn));
        let size = self.get(sqn).and_then(|group| group.size);
        row.zip(size).is_some_and(|(row, size)| row >= size)
    }

    /// Keep what was read of groups that may yet need it, and nothing behind the window.
    pub(super) fn settle(&mut self, rxw: &mut Rxw) {
        let Some(grouping) = self.grouping else {
            return;
        };
        let base = grouping.start(rxw.base());
        while base.is_newer_than(self.first) {
            let Some(group) = self.ring.pop_front() else {
                self.first = base;
                break;
            };
            self.on_removed(group);
            self.first = self.first.plus(grouping.sqns());
        }
        let left: Vec<_> = rxw.drain_left().collect();
        for (sqn, packet) in left {
            let end = grouping.start(sqn).plus(grouping.sqns());
            // A group larger than the window is not rebuilt.
            if end.is_newer_than(rxw.edge()) && rxw.fits(grouping.sqns()) {
                self.keep(grouping.row(sqn), sqn, packet, rxw);
            }
        }
        let is_front_whole = rxw.edge().since(self.first.plus(grouping.sqns())) >= 0;
        if is_front_whole && !self.ring.is_empty() {
            self.forget(self.first);
        }
        rxw.set_beside(self.octets);
    }

    fn keep(&mut self, row: u8, sqn: Sqn, packet: Packet, rxw: &Rxw) {
        let octets = packet_octets(&packet);
        if let Some(group) = self.entry(sqn, rxw)
            && !group.is_rejected
        {
            group.kept.push((row, packet));
            self.octets += octets;
        }
    }

    /// Store one parity packet of the group of `sqn`.
    pub(super) fn store(&mut self, sqn: Sqn, form: Form, parity: Parity, rxw: &mut Rxw) -> Stored {
        let Some(grouping) = self.grouping else {
            return Stored::Unneeded;
        };
        let start = grouping.start(sqn);
        let asked = (0..form.size)
            .filter(|row| rxw.gap(start.plus((*row).into())).is_some())
            .count();
        let is_first = self.first == start;
        let octets = parity.octets();
        let Some(group) = self.entry(sqn, rxw) else {
            return Stored::Unneeded;
        };
        let is_known = group.parity.iter().any(|known| known.index == parity.index);
        if group.is_rejected || is_known {
            group.answer.is_known = true;
            return Stored::Unneeded;
        }
        // RFC 3208 §11.2: what the group has in common; of parity that contradicts it the first is kept.
        if group.form.is_some_and(|known| known != form) {
            return Stored::Implausible;
        }
        // What replaces a packet asked for has its room, and the group the reader waits for always goes on.
        let replaces = group.parity.len() < asked;
        if !(replaces && is_first || rxw.has_room_beside(octets, replaces)) {
            return Stored::Full;
        }
        group.form = Some(form);
        group.parity.push(parity);
        group.answer.is_new = true;
        self.octets += octets;
        rxw.set_beside(self.octets);
        Stored::Taken
    }

    /// Whether the group lacks no packet any more, and its SQNs without packets are known as such.
    pub(super) fn is_whole(&self, start: Sqn, rxw: &Rxw, frontier: Sqn) -> bool {
        let Some(grouping) = self.grouping else {
            return true;
        };
        let end = start.plus(grouping.sqns());
        let size = self.get(start).and_then(|group| group.size);
        let size = size.unwrap_or(grouping.k());
        let is_told = size == grouping.k() || frontier.since(end) >= 0;
        is_told && (0..size).all(|row| !rxw.is_awaited(start.plus(row.into())))
    }

    /// How many packets of the group there are, data and parity, of how many; and whether any is awaited
    /// that is repaired by the group.
    pub(super) fn tally(&self, start: Sqn, rxw: &Rxw) -> Tally {
        let Some((grouping, group)) = self.grouping.zip(self.get(start)) else {
            return Tally::default();
        };
        let size = group.size.unwrap_or(grouping.k());
        let sqns = (0..size).map(|row| start.plus(row.into()));
        let held = sqns.clone().filter(|sqn| rxw.packet(*sqn).is_some());
        let here = held.count() + group.kept.len() + group.parity.len();
        let here = u8::try_from(here).unwrap_or(u8::MAX);
        Tally {
            // RFC 3208 §11.5 (F-26): relative to k, even if the group is known to be shorter.
            wanted: grouping.k().saturating_sub(here),
            is_enough: !group.parity.is_empty() && here >= size,
            is_missing: sqns.clone().any(|sqn| rxw.is_awaited(sqn)),
        }
    }

    /// What its data and parity say is in the group beside the data that is here. The parity is gone then.
    pub(super) fn rebuild(
        &mut self,
        start: Sqn,
        rxw: &Rxw,
    ) -> Result<Vec<(Sqn, Packet)>, Implausible> {
        let group = self.get(start).ok_or(Implausible)?;
        let form = group.form.ok_or(Implausible)?;
        let data: Vec<_> = (0..form.size)
            .filter_map(|row| {
                let held = rxw.packet(start.plus(row.into()));
                let kept = || group.kept.iter().find(|(kept, _)| *kept == row);
                Some((row, held.or_else(|| kept().map(|(_, packet)| packet))?))
            })
            .collect();
        let rebuilt = rebuild(start, &form, &data, &group.parity);
        self.drop_parity(start);
        rebuilt
    }

    /// Let go the parity of a group.
    pub(super) fn drop_parity(&mut self, start: Sqn) {
        let Some(group) = self.get_mut(start) else {
            return;
        };
        let octets: usize = group.parity.drain(..).map(|p| p.octets()).sum();
        group.form = None;
        self.octets -= octets;
    }

    /// Nothing more is needed for the group.
    pub(super) fn forget(&mut self, start: Sqn) {
        let slot = self.index(start).and_then(|index| self.ring.get_mut(index));
        let group = slot.and_then(Option::take);
        self.on_removed(group);
    }

    /// As `forget`, if nothing is held for the group and nothing is under way.
    pub(super) fn forget_if_idle(&mut self, start: Sqn) {
        if self
            .get(start)
            .is_some_and(|g| !g.is_troubled() && g.kept.is_empty())
        {
            self.forget(start);
        }
    }

    /// Whether another group may be remembered for no more than what a packet says of it.
    pub(super) fn has_room(&self, rxw: &Rxw) -> bool {
        self.count < GROUPS_FREE || rxw.has_room_beside(size_of::<Group>(), false)
    }

    fn on_removed(&mut self, group: Option<Box<Group>>) {
        if let Some(group) = group {
            self.octets -= group.octets();
            self.count -= 1;
        }
    }

    /// The data packet `sqn` of `len` octets needs room: let go what is held of later groups, of the last one first, or,
    /// if that is nothing, of its own if the reader waits for it. What is older is worth more than what is new: else a
    /// stream that goes on behind a full window would undo each repair. How many parity packets that were.
    pub(super) fn shed(&mut self, rxw: &mut Rxw, sqn: Sqn, len: usize) -> u64 {
        let Some(own) = self.index(sqn) else {
            return 0;
        };
        let is_asked = rxw.gap(sqn).is_some();
        let before = self.octets;
        let mut dropped = 0;
        let later = (own + 1..self.ring.len()).rev();
        for index in later.chain((own == 0).then_some(0)) {
            let is_enough = self.octets < before && rxw.has_room_beside(len, is_asked);
            if is_enough || index == own && self.octets < before {
                break;
            }
            let Some(group) = self.ring.get_mut(index).and_then(Option::as_deref_mut) else {
                continue;
            };
            self.octets -= group.octets();
            dropped += group.parity.len() as u64;
            (group.form, group.parity, group.kept) = Default::default();
            self.octets += group.octets();
            rxw.set_beside(self.octets);
        }
        dropped
    }

    fn index(&self, sqn: Sqn) -> Option<usize> {
        let grouping = self.grouping?;
        let offset = u32::try_from(sqn.since(self.first)).ok()?;
        Some((offset / grouping.sqns()) as usize)
    }
}

/// See [`Groups::tally`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Packets to ask for.
    pub(super) wanted: u8,
    /// There is parity, and with it enough to rebuild the group.
    pub(super) is_enough: bool,
    /// Packets are awaited.
    pub(super) is_missing: bool,
}

impl Group {
    /// Whether it asks for parity.
    pub(super) fn is_asking(&self) -> bool {
        matches!(self.wait, Some((Purpose::Parity, _)))
    }

    /// Parity is asked for now.
    pub(super) fn on_asked(&mut self) {
        self.answer = Answer::default();
    }

    /// Whether the source gave nothing but what is here already (F-06): it has no more.
    pub(super) fn is_exhausted(&self) -> bool {
        self.answer.is_known && !self.answer.is_new
    }

    /// Whether data was read that a group of `size` does not have.
    pub(super) fn has_kept_beyond(&self, size: u8) -> bool {
        self.kept.iter().any(|(row, _)| *row >= size)
    }

    /// Whether anything is under way for it.
    pub(super) fn is_troubled(&self) -> bool {
        self.wait.is_some() || self.is_selective || !self.parity.is_empty()
    }

    /// Octets held for it.
    fn octets(&self) -> usize {
        let kept: usize = self.kept.iter().map(|(_, p)| packet_octets(p)).sum();
        let parity: usize = self.parity.iter().map(Parity::octets).sum();
        size_of::<Self>() + kept + parity
    }
}

fn packet_octets(packet: &Packet) -> usize {
    packet.payload.len() + size_of::<Packet>()
}
