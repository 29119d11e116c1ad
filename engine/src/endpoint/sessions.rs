//! Listeners and their peers: who is admitted, who is dropped when room is short, what the owner hears.
//!
//! A peer begins as a *candidate*. When its session is proven (`Peer::is_established`) the owner is
//! told and the peer is a *session*, which nothing but its own end removes. When it has ended, or its
//! owner closed it, its TSI rests in a *grave* for a while, so that late packets raise no new session.

mod graves;

use super::budget::{Account, Budget};
use super::schedule::{Key, Slot};
use super::{Arrival, Context, Event, ListenConfig, ListenerId, SessionId};
use crate::num::Tsi;
use crate::receiver::{Peer, Read};
use crate::stats::ReceiverStats;
use crate::wire::{Body, Tpdu};
use crate::{Transmit, Via};
use graves::Grave;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

/// A source at a listener: each TSI for itself (RFC 3208 §3.1 ). Hashed with SipHash: the network chooses TSIs.
type PeerKey = (ListenerId, Tsi);

#[derive(Debug)]
struct Listener {
    config: ListenConfig,
    /// Takes new sessions. A closed one stays while sessions of it live.
    open: bool,
    /// Candidates and sessions.
    peers: usize,
}

#[derive(Debug)]
struct Session {
    peer: Peer,
    slot: Slot,
    key: PeerKey,
    source: Ipv4Addr,
    heard: Instant,
    /// Packets of its TSI still come here.
    attached: bool,
    /// The owner was told of it.
    announced: bool,
    /// The owner has read all there was, so the next thing to read is an event.
    wants_data: bool,
    /// What its owner has read of it and still keeps, octets.
    outside: usize,
    /// What of the budget it holds.
    account: Account,
}

#[derive(Debug)]
enum Place {
    Live(SessionId),
    Grave(Grave),
}

/// What a listener made of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Taken,
    /// Known, not wanted, and counted.
    Refused,
    /// Nobody's.
    Unknown,
}

impl Session {
    /// Account for what it holds.
    fn count(&mut self) {
        let held = self.peer.bytes_held() + self.peer.slot_octets();
        self.account.set(held + self.outside);
    }
}

/// All listeners, candidates and sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    max_peers: usize,
    budget: Budget,
    rng: fastrand::Rng,
    /// RFC 3208 §14.5 (P-01): RAND_NODE_ID, chosen once.
    node_id: u32,
    listeners: BTreeMap<ListenerId, Listener>,
    /// Listeners by group and port. Shared, so that a packet can visit them while peers change.
    by_address: HashMap<(Ipv4Addr, u16), Arc<[ListenerId]>>,
    peers: HashMap<PeerKey, Place>,
    sessions: BTreeMap<SessionId, Session>,
    candidates: BTreeSet<SessionId>,
    graves: BTreeMap<(Instant, u64), PeerKey>,
    last_listener: u32,
    last_session: u32,
    last_grave: u64,
}

impl Sessions {
    pub(super) fn new(max_peers: usize, budget: Budget, seed: u64) -> Self {
        Self {
            max_peers,
            budget,
            rng: fastrand::Rng::with_seed(seed),
            node_id: fastrand::Rng::with_seed(!seed).u32(..),
            listeners: BTreeMap::new(),
            by_address: HashMap::new(),
            peers: HashMap::new(),
            sessions: BTreeMap::new(),
            candidates: BTreeSet::new(),
            graves: BTreeMap::new(),
            last_listener: 0,
            last_session: 0,
            last_grave: 0,
        }
    }

    /// From now on it shares this budget with others.
    pub(super) fn set_budget(&mut self, budget: Budget) {
        self.budget = budget;
    }

    pub(super) fn listen(&mut self, config: ListenConfig) -> ListenerId {
        self.last_listener += 1;
        let id = ListenerId(self.last_listener);
        let address = (config.group, config.dport);
        self.listeners.insert(
            id,
            Listener {
                config,
                open: true,
                peers: 0,
            },
        );
        self.index(address);
        id
    }

    pub(super) fn close_listener(&mut self, id: ListenerId, cx: &mut Context) {
        let Some(listener) = self.listeners.get_mut(&id) else {
            return;
        };
        listener.open = false;
        // Told, but not yet asked for: nobody will accept it any more.
        let mut dropped = Vec::new();
        cx.events.retain(|event| match *event {
            Event::Session {
                listener, session, ..
            } if listener == id => {
                dropped.push(session);
                false
            }
            _ => true,
        });
        cx.events
            .retain(|e| !matches!(e, Event::Readable(session) if dropped.contains(session)));
        let sessions = &self.sessions;
        dropped.extend(self.candidates.iter().filter(|c| sessions[c].key.0 == id));
        for session in dropped {
            self.remove(session, cx);
        }
        self.forget_if_unused(id);
    }

    pub(super) fn close_session(&mut self, now: Instant, id: SessionId, cx: &mut Context) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let (key, attached) = (session.key, session.attached);
        self.remove(id, cx);
        if attached {
            self.bury(now, key, true);
        }
    }

    pub(super) fn read(&mut self, now: Instant, id: SessionId, cx: &mut Context) -> Option<Read> {
        self.allot(id, cx);
        let session = self.sessions.get_mut(&id)?;
        let read = session.peer.read(now);
        if read.is_none() {
            session.wants_data = true;
        } else {
            // Room in the window may mean NAKs, and the octets read are free again.
            self.settle(now, id, cx);
        }
        read
    }

    /// A packet that came to `group`, or by unicast: for every listener whose session it may be.
    pub(super) fn handle_tpdu(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        tpdu: &Tpdu<'_>,
        cx: &mut Context,
    ) -> Outcome {
        let port = tpdu.data_port();
        let listeners = match arrival.group {
            Some(group) => self.by_address.get(&(group, port)).cloned(),
            None => {
                let same_port = self
                    .listeners
                    .iter()
                    .filter(|(_, l)| l.config.dport == port);
                Some(same_port.map(|(id, _)| *id).collect())
            }
        };
        let mut outcome = Outcome::Unknown;
        for listener in listeners.iter().flat_map(|ids| ids.iter()) {
            outcome = match (self.handle_at(now, *listener, arrival, tpdu, cx), outcome) {
                (Outcome::Taken, _) | (_, Outcome::Taken) => Outcome::Taken,
                (Outcome::Refused, _) | (_, Outcome::Refused) => Outcome::Refused,
                _ => Outcome::Unknown,
            };
        }
        outcome
    }

    /// A NAK by unicast for a source that is not ours: for the session that repairs for it (RFC 3208 §9.5.2).
    pub(super) fn handle_redirected(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        tpdu: &Tpdu<'_>,
        cx: &mut Context,
    ) -> Outcome {
        let (tsi, port) = (tpdu.tsi(), tpdu.data_port());
        let repairer = self.listeners.iter().find_map(|(id, listener)| {
            let wanted = listener.config.dport == port && listener.config.receiver.dlr.is_some();
            match self.peers.get(&(*id, tsi)) {
                Some(Place::Live(session)) if wanted => Some(*session),
                _ => None,
            }
        });
        let Some(session) = repairer.and_then(|id| self.sessions.get_mut(&id)) else {
            return Outcome::Unknown;
        };
        session.peer.handle_arrival(now, arrival, tpdu);
        if let Some(id) = repairer {
            self.settle(now, id, cx);
        }
        Outcome::Taken
    }

    fn handle_at(
        &mut self,
        now: Instant,
        listener: ListenerId,
        arrival: &Arrival,
        tpdu: &Tpdu<'_>,
        cx: &mut Context,
    ) -> Outcome {
        let key = (listener, tpdu.tsi());
        let id = match self.peers.get_mut(&key) {
            Some(Place::Live(id)) => *id,
            Some(Place::Grave(grave)) if now < grave.until => {
                let is_end = tpdu.options.fin || tpdu.options.rst.is_some();
                self.visit_grave(now, key, is_end && matches!(tpdu.body, Body::Spm(_)));
                cx.stats.late += 1;
                return Outcome::Taken;
            }
            _ if !begins_session(tpdu)
                || arrival.group.is_none()
                || !wants(&self.listeners, listener, arrival.from) =>
            {
                return Outcome::Unknown;
            }
            _ => match self.admit(now, key, arrival, tpdu, cx) {
                Some(id) => id,
                None => {
                    cx.stats.peers_refused += 1;
                    return Outcome::Refused;
                }
            },
        };
        let share = self.allot(id, cx);
        let Some(session) = self.sessions.get_mut(&id) else {
            return Outcome::Unknown;
        };
        if !tpdu.body.is_upstream() {
            // RFC 3208 §10: only the source's address is believed, but for what `believes` says.
            if !session.peer.believes(arrival, tpdu) {
                cx.stats.spoofed += 1;
                return Outcome::Refused;
            }
            if arrival.from == session.source {
                session.heard = now;
            }
        }
        // The packet its window waits for a session gets even when its share is full; only an APDU under
        // assembly may so outgrow it, and that is bounded here.
        if let Some(share) = share
            && is_data(tpdu)
            && session.peer.bytes_held() + session.outside + tpdu.payload.len() > share / 10 * 7
        {
            cx.stats.over_budget += 1;
            return Outcome::Refused;
        }
        let before = session.peer.dropped();
        session.peer.handle_arrival(now, arrival, tpdu);
        cx.stats.unusable += session.peer.dropped() - before;
        self.settle(now, id, cx);
        Outcome::Taken
    }

    /// The timer of `id` fired.
    pub(super) fn handle_timeout(&mut self, now: Instant, id: SessionId, cx: &mut Context) {
        self.allot(id, cx);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.slot.fired();
            session.peer.handle_timeout(now);
            self.settle(now, id, cx);
        }
    }

    /// Tell a session how much it may hold before it may take more: its share, which is returned, while
    /// memory is short, else what is left before it is.
    fn allot(&mut self, id: SessionId, cx: &mut Context) -> Option<usize> {
        // Established sessions never pay for what strangers fill the budget with.
        while self.budget.left() < self.budget.share()
            && !self.candidates.contains(&id)
            && let Some(oldest) = self.candidates.first().copied()
        {
            self.remove(oldest, cx);
        }
        let session = self.sessions.get_mut(&id)?;
        let allowance = session.account.allowance();
        let octets = allowance.octets().saturating_sub(session.outside);
        session.peer.set_budget(octets, allowance.share().is_some());
        allowance.share()
    }

    /// Its owner keeps so many octets of what it has read: they count as the session's.
    pub(super) fn set_outside(&mut self, id: SessionId, octets: usize) {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.outside != octets
        {
            session.outside = octets;
            session.count();
        }
    }

    /// The turn of `id` to send one packet.
    pub(super) fn poll_transmit(
        &mut self,
        now: Instant,
        id: SessionId,
        out: &mut Vec<u8>,
        cx: &mut Context,
    ) -> Option<Transmit> {
        let session = self.sessions.get_mut(&id)?;
        session.slot.rest();
        if !session.attached {
            return None;
        }
        let key = Key::Session(id);
        let emitted = session.peer.poll_transmit(now, out);
        cx.schedule
            .arm(key, &mut session.slot, session.peer.poll_timeout());
        let emitted = emitted?;
        cx.schedule.wake(key, &mut session.slot);
        Some(Transmit {
            to: emitted.to,
            via: Via::Session(id),
            len: emitted.len,
            router_alert: emitted.router_alert,
            ttl: emitted.ttl,
            source: emitted.source,
        })
    }

    pub(super) fn stats(&self, now: Instant, id: SessionId) -> Option<ReceiverStats> {
        self.sessions
            .get(&id)
            .map(|session| session.peer.stats(now))
    }

    pub(super) fn is_dlr(&self, id: SessionId) -> bool {
        let session = self.sessions.get(&id);
        session.is_some_and(|session| session.peer.is_dlr())
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn bytes_held(&self) -> usize {
        self.budget.held()
    }

    /// After a change to `id`: tell the owner, account for memory, arm the timer, give it a turn.
    fn settle(&mut self, now: Instant, id: SessionId, cx: &mut Context) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if !session.announced && session.peer.is_established() {
            session.announced = true;
            self.candidates.remove(&id);
            let ((listener, tsi), from) = (session.key, session.source);
            cx.events.push_back(Event::Session {
                listener,
                session: id,
                tsi,
                from,
            });
        }
        if session.announced && session.wants_data && session.peer.is_readable() {
            session.wants_data = false;
            cx.events.push_back(Event::Readable(id));
        }
        session.count();
        if session.attached {
            cx.schedule.wake(Key::Session(id), &mut session.slot);
            cx.schedule.arm(
                Key::Session(id),
                &mut session.slot,
                session.peer.poll_timeout(),
            );
            if session.peer.is_expired(now) {
                self.detach(now, id, cx);
            }
        }
        // Nor do strangers fill more.
        while self.budget.is_over_short() {
            let Some(oldest) = self.candidates.first().copied() else {
                break;
            };
            self.remove(oldest, cx);
        }
    }

    /// A new peer, if there is room: candidates give way, sessions do not (RFC 3208 §10 ).
    fn admit(
        &mut self,
        now: Instant,
        key: PeerKey,
        arrival: &Arrival,
        tpdu: &Tpdu<'_>,
        cx: &mut Context,
    ) -> Option<SessionId> {
        let listener = self.listeners.get(&key.0)?;
        if !listener.open || self.max_peers == 0 || self.budget.is_short() {
            return None;
        }
        let ListenConfig {
            group,
            dport,
            receiver,
        } = listener.config.clone();
        if self.budget.holders() >= self.max_peers {
            let oldest = *self.candidates.first()?;
            self.remove(oldest, cx);
        }
        let id = self.next_id();
        let (tsi, seed) = (tpdu.tsi(), self.rng.u64(..));
        let peer = Peer::new(receiver, tsi, dport, arrival.from, group, now, seed)
            .with_node_id(self.node_id);
        self.dig_up(key);
        self.peers.insert(key, Place::Live(id));
        self.candidates.insert(id);
        if let Some(listener) = self.listeners.get_mut(&key.0) {
            listener.peers += 1;
        }
        let session = Session {
            peer,
            slot: Slot::default(),
            key,
            source: arrival.from,
            heard: now,
            attached: true,
            announced: false,
            wants_data: true,
            outside: 0,
            account: self.budget.open(),
        };
        self.sessions.insert(id, session);
        Some(id)
    }

    fn next_id(&mut self) -> SessionId {
        loop {
            self.last_session = self.last_session.wrapping_add(1);
            let id = SessionId(self.last_session);
            if !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }

    /// Its network part is over. The owner of a session may go on reading; a candidate has none.
    fn detach(&mut self, now: Instant, id: SessionId, cx: &mut Context) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let key = session.key;
        let expiry = self
            .listeners
            .get(&key.0)
            .map(|l| l.config.receiver.peer_expiry);
        let silent = expiry.is_some_and(|expiry| now.duration_since(session.heard) >= expiry);
        session.attached = false;
        cx.schedule.disarm(Key::Session(id), &mut session.slot);
        self.peers.remove(&key);
        if !session.announced {
            self.remove(id, cx);
        }
        // RFC 3208 §6.2: who fell silent sends no late packets: whoever comes with the TSI now has started anew.
        if !silent {
            self.bury(now, key, false);
        }
    }

    /// Forget a peer altogether.
    fn remove(&mut self, id: SessionId, cx: &mut Context) {
        let Some(mut session) = self.sessions.remove(&id) else {
            return;
        };
        cx.schedule.disarm(Key::Session(id), &mut session.slot);
        self.candidates.remove(&id);
        if session.attached {
            self.peers.remove(&session.key);
        }
        if let Some(listener) = self.listeners.get_mut(&session.key.0) {
            listener.peers -= 1;
        }
        self.forget_if_unused(session.key.0);
    }

    fn forget_if_unused(&mut self, id: ListenerId) {
        if let Some(listener) = self.listeners.get(&id)
            && !listener.open
            && listener.peers == 0
        {
            let address = (listener.config.group, listener.config.dport);
            self.listeners.remove(&id);
            self.index(address);
        }
    }

    /// Write `by_address` anew for one address.
    fn index(&mut self, address: (Ipv4Addr, u16)) {
        let here = |l: &Listener| (l.config.group, l.config.dport) == address;
        let ids: Arc<[_]> = self
            .listeners
            .iter()
            .filter(|(_, l)| here(l))
            .map(|(id, _)| *id)
            .collect();
        if ids.is_empty() {
            self.by_address.remove(&address);
        } else {
            self.by_address.insert(address, ids);
        }
    }
}

/// Packets that can begin a session: NCF and POLL, or a stranger's NAK, cannot.
fn begins_session(tpdu: &Tpdu<'_>) -> bool {
    matches!(tpdu.body, Body::Spm(_) | Body::Odata(_) | Body::Rdata(_))
}

/// Whether the listener takes sessions of sources with this address.
fn wants(
    listeners: &BTreeMap<ListenerId, Listener>,
    listener: ListenerId,
    source: Ipv4Addr,
) -> bool {
    let listener = listeners.get(&listener);
    listener.is_some_and(|listener| listener.config.receiver.sources.admits(source))
}

fn is_data(tpdu: &Tpdu<'_>) -> bool {
    matches!(tpdu.body, Body::Odata(_) | Body::Rdata(_))
}
