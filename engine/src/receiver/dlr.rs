//! A receiver as designated local repairer (RFC 3208 §9.5): it keeps what it received and answers NAKs
//! with it, as a source would (upstream DLR) or by unicast to its parent (off-tree DLR).
//!
//! It repairs from what its receive window took, so it needs no more than to receive the session
//! (D-01). It makes no parity: its POLRs never carry OPT_PARITY (D-06), and NAKs for parity go on to
//! the parent.
//!
//! Everything here is bounded: the store by octets, the queues by number, RDATA by rate.

use super::poll::host;
use super::repair::NakList as SqnList;
use super::rxw::Packet;
use super::{Emitted, Peer};
use crate::num::{Nla, Sqn};
use crate::wire::{Body, Data, Fragment, NAK_LIST_MAX, Nak, Options, Polr, Tpdu};
use crate::{Arrival, Destination};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// How a DLR is found and what it repairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DlrRole {
    /// Between the source and those it repairs: it answers NCFs of the parent with redirecting POLRs,
    /// and NAKs by multicast.
    Upstream,
    /// On another branch: it answers its parent's DLR polls, and the parent's NAKs by unicast.
    OffTree,
}

/// What a DLR is told once.
#[derive(Clone, Debug)]
pub struct DlrConfig {
    /// How it is found.
    pub role: DlrRole,
    /// Its own address, where NAKs are redirected to.
    pub nla: Ipv4Addr,
    /// Most that is kept for repairs, octets of TSDUs and of what tells them apart.
    pub store_bytes: usize,
    /// Octets of RDATA per second.
    pub rate: u64,
}

impl DlrConfig {
    /// Defaults: a store and a rate as a source has them.
    #[must_use]
    pub fn new(role: DlrRole, nla: Ipv4Addr) -> Self {
        Self {
            role,
            nla,
            store_bytes: 10_000_000,
            rate: 12_500_000,
        }
    }
}

/// A NAK this soon after the RDATA was under way when the RDATA went.
const RDATA_HOLD: Duration = Duration::from_millis(3);
/// Identical NCFs within this time are one.
const NCF_HOLD: Duration = Duration::from_millis(2);
/// A redirecting POLR tells all children at once.
const POLR_IVL: Duration = Duration::from_millis(250);
/// NAKs that are only passed on are at least this far apart.
const FORWARD_IVL: Duration = Duration::from_millis(2);
/// RDATA and control packets that wait at most; what is beyond will be asked for again.
const RDATA_MAX: usize = 4096;
const CONTROL_MAX: usize = 64;
/// Octets a packet takes in the store beside its TSDU, about.
const ENTRY: usize = size_of::<(Sqn, Kept)>() * 2;
/// Repairs go on for so long after all of the session is here, as a source's do.
const LINGER: Duration = Duration::from_secs(10);

/// A TPDU that can be sent again.
#[derive(Debug)]
struct Kept {
    tsdu: Bytes,
    content: Content,
    queued: bool,
    confirmed: Option<Instant>,
    sent: Option<Instant>,
    /// It is among those that are asked for once more a little later.
    waits: bool,
}

/// OPT_CURR_TGSIZE and the content options of a data packet, which a repair repeats (RFC 3208 §3.6.2).
#[derive(Clone, Copy, Debug, Default)]
struct Content {
    fragment: Option<Fragment>,
    curr_tgsize: Option<u32>,
    syn: bool,
    fin: bool,
}

/// A packet that is small and goes before RDATA.
#[derive(Debug)]
enum Control {
    /// `to`: the parent, or nobody for the group.
    Ncf(SqnList, Option<Ipv4Addr>),
    Nnak(SqnList),
    Nak(SqnList, bool),
    /// Redirecting, to the group.
    Polr,
}

#[derive(Debug)]
pub(super) struct Dlr {
    config: DlrConfig,
    store: BTreeMap<u32, Kept>,
    /// SQNs of the store, in the order they came.
    order: VecDeque<Sqn>,
    octets: usize,
    limit: usize,
    /// The source's trailing edge, as last heard.
    trail: Option<Sqn>,
    control: VecDeque<Control>,
    rdata: VecDeque<(Sqn, Option<Ipv4Addr>)>,
    /// What was asked for just after it went, by the time at which it goes once more: the NAK may have crossed it, but
    /// whom a network element let it not pass to gets nothing else.
    later: VecDeque<(Instant, Sqn, Option<Ipv4Addr>)>,
    /// When the rate admits the next RDATA.
    ready: Instant,
    polr_sent: Option<Instant>,
    forwarded: Option<Instant>,
    /// All of the session was here.
    ended: Option<Instant>,
}

impl Dlr {
    pub(super) fn new(config: DlrConfig, now: Instant) -> Self {
        Self {
            limit: config.store_bytes,
            config,
            store: BTreeMap::new(),
            order: VecDeque::new(),
            octets: 0,
            trail: None,
            control: VecDeque::new(),
            rdata: VecDeque::new(),
            later: VecDeque::new(),
            ready: now,
            polr_sent: None,
            forwarded: None,
            ended: None,
        }
    }

    pub(super) fn role(&self) -> DlrRole {
        self.config.role
    }

    pub(super) fn nla(&self) -> Ipv4Addr {
        self.config.nla
    }

    /// Octets of the store.
    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    /// No more than this may be kept from now on; the oldest give way.
    pub(super) fn set_limit(&mut self, octets: usize) {
        self.limit = self.config.store_bytes.min(octets);
        self.shrink();
    }

    /// A data packet was taken into the window.
    fn keep(&mut self, sqn: Sqn, packet: &Packet, curr_tgsize: Option<u32>) {
        let tsdu = packet.payload.clone();
        // OPT_FRAGMENT of an APDU of one TPDU says what is known anyway, but takes part in FEC.
        let lone = packet.marks.lone_fragment.then_some(Fragment {
            first: sqn,
            offset: 0,
            apdu_len: tsdu.len() as u32,
        });
        let content = Content {
            fragment: packet.fragment().or(lone),
            curr_tgsize,
            syn: packet.marks.syn,
            fin: packet.marks.fin,
        };
        self.octets += tsdu.len() + ENTRY;
        let kept = Kept {
            tsdu,
            content,
            queued: false,
            confirmed: None,
            sent: None,
            waits: false,
        };
        match self.store.insert(sqn.0, kept) {
            // The SQN is used again, half the space later: its place in the order is the old one.
            Some(old) => self.octets -= old.tsdu.len() + ENTRY,
            None => self.order.push_back(sqn),
        }
        self.shrink();
    }

    /// The source's trailing edge: nobody can use what is before it.
    pub(super) fn on_trail(&mut self, trail: Sqn) {
        if self.trail.is_none_or(|old| trail.is_newer_than(old)) {
            self.trail = Some(trail);
        }
        while let Some(sqn) = self.order.front()
            && self.trail.is_some_and(|trail| trail.is_newer_than(*sqn))
        {
            self.drop_oldest();
        }
    }

    fn shrink(&mut self) {
        while self.octets > self.limit && !self.order.is_empty() {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.order.pop_front();
        if let Some(old) = oldest.and_then(|sqn| self.store.remove(&sqn.0)) {
            self.octets -= old.tsdu.len() + ENTRY;
        }
    }

    /// A NAK of our session was directed to us. `known`: the SQN is in the source's window.
    fn on_nak(
        &mut self,
        now: Instant,
        sqns: impl Iterator<Item = Sqn>,
        parent: Option<Ipv4Addr>,
        known: impl Fn(Sqn) -> bool,
    ) {
        let (mut confirm, mut serve, mut lacking) =
            (SqnList::new(), SqnList::new(), SqnList::new());
        for sqn in sqns.take(NAK_LIST_MAX + 1) {
            let Some(kept) = self.store.get_mut(&sqn.0) else {
                if known(sqn) && !lacking.contains(&sqn) {
                    lacking.push(sqn);
                }
                continue;
            };
            let under_way = kept.sent.is_some_and(|at| now < at + RDATA_HOLD);
            if under_way && !kept.queued {
                if !kept.waits && self.later.len() < RDATA_MAX {
                    kept.waits = true;
                    self.later.push_back((now + RDATA_HOLD, sqn, parent));
                }
                continue;
            }
            if kept.confirmed.is_none_or(|at| at + NCF_HOLD <= now) {
                kept.confirmed = Some(now);
                confirm.push(sqn);
            }
            if !kept.queued && self.rdata.len() < RDATA_MAX {
                kept.queued = true;
                self.rdata.push_back((sqn, parent));
                serve.push(sqn);
            }
        }
        let pass_on = self.may_forward(now, &lacking);
        // RFC 3208 §9.5.2.2 (D-08): an off-tree DLR confirms what it lacks, too. Upstream of those who
        // ask, the parent's own NCF does that.
        if pass_on && parent.is_some() {
            confirm.extend(lacking.iter().copied().take(confirm.remaining_capacity()));
        }
        self.push(confirm, |list| Control::Ncf(list, parent));
        // RFC 3208 §9.5.2 (D-04, D-05): before the RDATA.
        self.push(serve, Control::Nnak);
        if pass_on {
            self.push(lacking, |list| Control::Nak(list, false));
        }
    }

    /// What was asked for just after it went is asked for now.
    fn ask_again(&mut self, now: Instant) {
        while let Some((at, _, parent)) = self.later.front().copied()
            && at <= now
        {
            let mut sqns = SqnList::new();
            while let Some((at, sqn, to)) = self.later.front().copied()
                && at <= now
                && to == parent
                && !sqns.is_full()
            {
                self.later.pop_front();
                if let Some(kept) = self.store.get_mut(&sqn.0) {
                    kept.waits = false;
                    sqns.push(sqn);
                }
            }
            self.on_nak(now, sqns.into_iter(), parent, |_| false);
        }
    }

    fn may_forward(&mut self, now: Instant, list: &SqnList) -> bool {
        let may = !list.is_empty() && self.forwarded.is_none_or(|at| at + FORWARD_IVL <= now);
        if may {
            self.forwarded = Some(now);
        }
        may
    }

    fn push(&mut self, mut list: SqnList, control: impl FnOnce(SqnList) -> Control) {
        if list.is_empty() || self.control.len() >= CONTROL_MAX {
            return;
        }
        // RFC 3208 §9.3: ordered.
        let first = list[0];
        list.sort_unstable_by_key(|sqn| sqn.since(first));
        self.control.push_back(control(list));
    }

    /// An NCF of the parent for the group.
    fn on_ncf(&mut self, now: Instant, ncf: &Nak) {
        // RFC 3208 §9.5.2.1 (D-02): not if it answers a NAK of ours. More than that: only who has all
        // that is asked for is of use to those who lost it.
        let has_all = ncf.sqns().all(|sqn| self.store.contains_key(&sqn.0));
        let rested = self.polr_sent.is_none_or(|at| at + POLR_IVL <= now);
        if self.config.role == DlrRole::Upstream && has_all && rested {
            self.polr_sent = Some(now);
            self.control.push_back(Control::Polr);
        }
    }

    /// When there is something to send.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let ready = Some(self.ready).filter(|_| !self.rdata.is_empty());
        let later = self.later.front().map(|(at, ..)| *at);
        let end = self.ended.map(|at| at + LINGER);
        [ready.or(end), later].into_iter().flatten().min()
    }

    /// Whether it may stop, now that all of the session is here.
    pub(super) fn is_done(&self, now: Instant) -> bool {
        self.ended.is_some_and(|at| at + LINGER <= now)
    }

    /// All of the session is here.
    pub(super) fn on_ended(&mut self, now: Instant) {
        self.ended.get_or_insert(now);
    }
}

impl Peer {
    /// Whether NAKs may be directed to us.
    #[must_use]
    pub fn is_dlr(&self) -> bool {
        self.dlr.is_some()
    }

    /// A NAK that came by unicast.
    pub(super) fn on_redirected_nak(&mut self, now: Instant, arrival: &Arrival, tpdu: &Tpdu<'_>) {
        let Body::Nak(nak) = &tpdu.body else {
            return;
        };
        let ours = nak.source == Nla::V4(self.source) && nak.group == Nla::V4(self.group);
        let (Some(dlr), Some(path), true) = (&mut self.dlr, self.path, ours) else {
            return;
        };
        // RFC 3208 §9.5.2.3: who asks is told from the parent by its address.
        let is_parent = arrival.from == path;
        if is_parent != (dlr.role() == DlrRole::OffTree) {
            return;
        }
        self.counters.plain.dlr_naks_received += 1;
        if tpdu.parity {
            let list: SqnList = nak.sqns().collect();
            if !is_parent && dlr.may_forward(now, &list) {
                dlr.push(list, |list| Control::Nak(list, true));
            }
            return;
        }
        let (trail, lead) = (dlr.trail.unwrap_or(self.rxw.base()), self.rxw.lead());
        let known = |sqn: Sqn| sqn.since(trail) >= 0 && lead.since(sqn) >= 0;
        dlr.on_nak(now, nak.sqns(), is_parent.then_some(path), known);
    }

    /// An NCF of the parent was heard.
    pub(super) fn tell_dlr_of_ncf(&mut self, now: Instant, ncf: &Nak) {
        if let Some(dlr) = &mut self.dlr {
            dlr.on_ncf(now, ncf);
        }
    }

    /// The window took a data packet.
    pub(super) fn keep_for_repairs(&mut self, sqn: Sqn, curr_tgsize: Option<u32>) {
        if let Some(dlr) = &mut self.dlr
            && let Some(packet) = self.rxw.packet(sqn)
        {
            dlr.keep(sqn, packet, curr_tgsize);
        }
    }

    /// The next packet of the DLR.
    pub(super) fn emit_dlr(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Emitted> {
        let dlr = self.dlr.as_mut()?;
        dlr.ask_again(now);
        if let Some(control) = dlr.control.pop_front() {
            return Some(self.emit_control(control, out));
        }
        if dlr.ready > now {
            return None;
        }
        loop {
            let (sqn, to) = dlr.rdata.pop_front()?;
            // Gone meanwhile: it left the source's window, or the store.
            let Some(kept) = dlr.store.get_mut(&sqn.0) else {
                continue;
            };
            (kept.queued, kept.sent) = (false, Some(now));
            // RFC 3208 §9.6.3, §9.7.3 (D-07): SYN and FIN as in the original.
            let Content {
                fragment,
                curr_tgsize,
                syn,
                fin,
            } = kept.content;
            let options = Options {
                fragment,
                curr_tgsize,
                syn,
                fin,
                ..Options::default()
            };
            // RFC 3208 §8.2: the trail is today's, as far as we know.
            let trail = dlr.trail.unwrap_or(sqn);
            let tsdu = kept.tsdu.clone();
            let rate = dlr.config.rate.max(1);
            let len = self.emit(Body::Rdata(Data { sqn, trail }), options, &tsdu, out);
            if let Some(dlr) = &mut self.dlr {
                let nanos = len as u64 * 1_000_000_000 / rate;
                dlr.ready = dlr.ready.max(now) + Duration::from_nanos(nanos);
            }
            self.counters.plain.dlr_rdata_sent += 1;
            return Some(self.dlr_emitted(len, to));
        }
    }

    fn emit_control(&mut self, control: Control, out: &mut Vec<u8>) -> Emitted {
        let parent = self.path.unwrap_or(self.source);
        match control {
            Control::Ncf(list, to) => {
                let len = self.emit(Body::Ncf(self.nak_of(&list)), Options::default(), &[], out);
                self.dlr_emitted(len, to)
            }
            Control::Nnak(list) => {
                self.counters.plain.dlr_nnaks_sent += 1;
                let len = self.emit(Body::Nnak(self.nak_of(&list)), Options::default(), &[], out);
                Emitted::plain(len, Destination::Host(parent))
            }
            Control::Nak(list, parity) => {
                self.counters.plain.dlr_naks_forwarded += 1;
                let nak = Body::Nak(self.nak_of(&list));
                let len = self.emit_parity(nak, Options::default(), parity, &[], out);
                Emitted::plain(len, Destination::Host(parent))
            }
            Control::Polr => {
                // No POLL asked for it.
                let (sqn, round) = (Sqn(0), 0);
                let options = self.redirecting();
                let len = self.emit(Body::Polr(Polr { sqn, round }), options, &[], out);
                self.counters.plain.polrs_sent += 1;
                self.dlr_emitted(len, None)
            }
        }
    }

    /// OPT_REDIRECT with our address, if we are a DLR.
    pub(super) fn redirecting(&self) -> Options {
        Options {
            redirect: self.dlr.as_ref().map(|dlr| Nla::V4(dlr.nla())),
            ..Options::default()
        }
    }

    /// RFC 3208 §9.5.2.1 (D-03): to the group with the source's address and Router Alert.
    /// RFC 3208 §9.5.2.2 (D-05): to the parent with our own and without.
    fn dlr_emitted(&self, len: usize, to: Option<Ipv4Addr>) -> Emitted {
        match to {
            Some(parent) => Emitted::plain(len, Destination::Host(parent)),
            None => Emitted {
                router_alert: true,
                source: self.as_source(),
                ..Emitted::plain(len, Destination::Group(self.group))
            },
        }
    }
}

/// The address a redirecting POLR names, if NAKs can go there.
pub(super) fn redirected_to(options: &Options, source: Ipv4Addr) -> Option<Ipv4Addr> {
    host(options.redirect?, source)
}
