//! The sources of an endpoint, by handle and by TSI.

use super::budget::{Account, Budget};
use super::schedule::{Key, Slot};
use super::{Context, Event, SourceId};
use crate::num::Tsi;
use crate::source::{SendError, Source, SourceConfig};
use crate::stats::SourceStats;
use crate::wire::{Body, Rst, Tpdu};
use crate::{Destination, Transmit, Via};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Instant;

/// How many finished sources keep their counters.
const FINISHED_KEPT: usize = 64;

#[derive(Debug)]
struct Entry {
    source: Source,
    slot: Slot,
    /// A `send` found no room, nobody was told yet that there is some again.
    wants_room: bool,
    /// What its owner keeps for it, octets.
    outside: usize,
    /// What of the budget it holds.
    account: Account,
}

impl Entry {
    /// Tell the source how much it may hold before it may take more.
    fn allot(&mut self) {
        let octets = self.account.allowance().octets();
        self.source.set_memory(octets.saturating_sub(self.outside));
    }

    /// Account for what it holds.
    fn count(&mut self) {
        self.account.set(self.source.octets_held() + self.outside);
    }
}

/// All sources.
#[derive(Debug)]
pub(super) struct Sources {
    budget: Budget,
    entries: BTreeMap<SourceId, Entry>,
    owned: HashMap<Tsi, SourceId>,
    finished: VecDeque<(SourceId, SourceStats)>,
    last_id: u32,
}

impl Sources {
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            budget,
            entries: BTreeMap::new(),
            owned: HashMap::new(),
            finished: VecDeque::new(),
            last_id: 0,
        }
    }

    /// Octets held by all sources of the budget.
    pub(super) fn bytes_held(&self) -> usize {
        self.budget.held()
    }

    /// From now on it shares this budget with others.
    pub(super) fn set_budget(&mut self, budget: Budget) {
        self.budget = budget;
    }

    pub(super) fn open(
        &mut self,
        now: Instant,
        config: SourceConfig,
        cx: &mut Context,
    ) -> SourceId {
        self.last_id += 1;
        let id = SourceId(self.last_id);
        self.owned.insert(config.tsi, id);
        let source = Source::new(config, now);
        self.entries.insert(
            id,
            Entry {
                source,
                slot: Slot::default(),
                wants_room: false,
                outside: 0,
                account: self.budget.open(),
            },
        );
        self.touch(now, id, cx);
        id
    }

    /// Give a source something to send.
    pub(super) fn offer(
        &mut self,
        id: SourceId,
        cx: &mut Context,
        give: impl FnOnce(&mut Source) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        let entry = self.entries.get_mut(&id).ok_or(SendError::Closed)?;
        entry.allot();
        let result = give(&mut entry.source);
        entry.count();
        entry.wants_room |= result == Err(SendError::Full);
        if result.is_ok() {
            cx.schedule.wake(Key::Source(id), &mut entry.slot);
        }
        result
    }

    pub(super) fn is_writable(&mut self, id: SourceId) -> bool {
        let entry = self.entries.get_mut(&id);
        entry.is_some_and(|entry| {
            entry.allot();
            entry.source.is_writable()
        })
    }

    pub(super) fn messages_welcome(&self, batch: usize) -> usize {
        match self.budget.held() < self.budget.octets() {
            true if self.budget.is_short() => 1,
            true => batch,
            false => 0,
        }
    }

    /// Its owner keeps so many octets that it is to send: they count as the source's.
    pub(super) fn set_outside(&mut self, id: SourceId, octets: usize) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.outside = octets;
            entry.count();
        }
    }

    pub(super) fn close(&mut self, now: Instant, id: SourceId, cx: &mut Context) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.source.close(now);
            self.touch(now, id, cx);
        }
    }

    pub(super) fn abort(
        &mut self,
        now: Instant,
        id: SourceId,
        rst: Rst,
        discard: bool,
        cx: &mut Context,
    ) {
        if let Some(entry) = self.entries.get_mut(&id) {
            if discard {
                entry.source.discard();
            }
            entry.source.abort(now, rst);
            self.touch(now, id, cx);
        }
    }

    pub(super) fn remove(&mut self, id: SourceId, cx: &mut Context) {
        if let Some(mut entry) = self.entries.remove(&id) {
            cx.schedule.disarm(Key::Source(id), &mut entry.slot);
            self.owned.remove(&entry.source.config().tsi);
        }
    }

    pub(super) fn get(&self, id: SourceId) -> Option<&Source> {
        self.entries.get(&id).map(|entry| &entry.source)
    }

    pub(super) fn owner(&self, tsi: Tsi) -> Option<SourceId> {
        self.owned.get(&tsi).copied()
    }

    /// A packet of a receiver. Whether the session's ports are right.
    pub(super) fn handle_tpdu(
        &mut self,
        now: Instant,
        id: SourceId,
        from: Ipv4Addr,
        tpdu: &Tpdu<'_>,
        cx: &mut Context,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else {
            return false;
        };
        if entry.source.config().dport != tpdu.data_port() {
            return false;
        }
        let (refused, acks) = (entry.source.naks_refused(), entry.source.acks_taken());
        entry.source.handle_tpdu(now, from, tpdu);
        cx.stats.naks_refused += entry.source.naks_refused() - refused;
        let is_plain = matches!(tpdu.body, Body::Nak(_)) || entry.source.acks_taken() > acks;
        cx.stats.other_requests += u64::from(!is_plain);
        self.touch(now, id, cx);
        true
    }

    /// The timer of `id` fired.
    pub(super) fn handle_timeout(&mut self, now: Instant, id: SourceId, cx: &mut Context) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.slot.fired();
            entry.source.handle_timeout(now);
            self.touch(now, id, cx);
        }
    }

    /// The turn of `id` to send one packet.
    pub(super) fn poll_transmit(
        &mut self,
        now: Instant,
        id: SourceId,
        out: &mut Vec<u8>,
        cx: &mut Context,
    ) -> Option<Transmit> {
        let entry = self.entries.get_mut(&id)?;
        entry.slot.rest();
        entry.allot();
        let emitted = entry.source.poll_transmit(now, out);
        match emitted {
            Some(_) => cx.schedule.wake(Key::Source(id), &mut entry.slot),
            // Its timers are looked at when it has no more to send: not once a packet.
            None => cx.schedule.arm(
                Key::Source(id),
                &mut entry.slot,
                entry.source.poll_timeout(),
            ),
        }
        let group = Destination::Group(entry.source.config().group);
        self.report(now, id, cx);
        emitted.map(|emitted| Transmit {
            to: emitted.to_host.map_or(group, Destination::Host),
            via: Via::Source(id),
            len: emitted.len,
            router_alert: emitted.router_alert,
            ttl: None,
            source: None,
        })
    }

    pub(super) fn stats(&self, now: Instant, id: SourceId) -> Option<SourceStats> {
        self.get(id).map(|source| source.stats(now)).or_else(|| {
            self.finished
                .iter()
                .find(|(finished, _)| *finished == id)
                .map(|(_, stats)| *stats)
        })
    }

    /// After a change that may leave packets to send.
    fn touch(&mut self, now: Instant, id: SourceId, cx: &mut Context) {
        if let Some(entry) = self.entries.get_mut(&id) {
            cx.schedule.wake(Key::Source(id), &mut entry.slot);
            cx.schedule.arm(
                Key::Source(id),
                &mut entry.slot,
                entry.source.poll_timeout(),
            );
        }
        self.report(now, id, cx);
    }

    /// Tell the owner what changed.
    fn report(&mut self, now: Instant, id: SourceId, cx: &mut Context) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry.count();
        if entry.wants_room && entry.source.is_writable() {
            entry.wants_room = false;
            cx.events.push_back(Event::Writable(id));
        }
        if entry.source.is_finished() {
            cx.schedule.disarm(Key::Source(id), &mut entry.slot);
            let stats = entry.source.stats(now);
            self.owned.remove(&entry.source.config().tsi);
            self.entries.remove(&id);
            self.finished.truncate(FINISHED_KEPT - 1);
            self.finished.push_front((id, stats));
            cx.events.push_back(Event::Finished(id));
        }
    }
}
