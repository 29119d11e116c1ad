//! Repair state: who asked for what, and what follows from NAK, NCF, NNAK and RDATA (RFC 3208 §7, §11.6).
//!
//! Selective and parity repairs share one rule. A selective one is wanted once; of a transmission group each
//! interface wants a number of packets, counted from 1 here and from 0 on the wire.

use super::report::Report;
use super::request::Request;
use super::{Arriving, Element, ElementConfig, Forward, Session, order, v4};
use crate::num::Sqn;
use crate::source::{Backoff, Round};
use crate::wire::{Body, Cr, Nak, Options, Tpdu};
use std::net::Ipv4Addr;
use std::time::Instant;

/// Whether of parity, and the SQN, or the transmission group's.
pub(super) type Key = (bool, u32);

/// Repair state of one SQN or transmission group.
#[derive(Debug)]
pub(super) struct Repair {
    pub(super) listed: Vec<Listed>,
    /// Largest known packet count, those of NCFs included.
    pub(super) largest: u32,
    pub(super) phase: Phase,
    /// It is forgotten then, whatever came.
    pub(super) discard_at: Instant,
    /// Only a NULL NAK made it.
    null: bool,
    /// It was asked from an off-tree DLR, and nowhere else.
    pub(super) at_dlr: bool,
}

/// Whether a NAK is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Forwarded and not confirmed.
    Pending,
    /// Confirmed; duplicates go no further until then.
    Outstanding(Instant),
    /// Not confirmed in time.
    Lapsed,
}

/// An interface that asked.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) iface: usize,
    /// Packets it still wants.
    wanted: u32,
    round: Round,
    duplicates: u32,
}

/// What one SQN of a NAK did.
struct Heard {
    /// What the interface wants by now.
    wanted: u32,
    eliminated: bool,
    opened: bool,
    /// Of its duplicates so far.
    duplicates: u32,
}

impl Repair {
    fn new(largest: u32, phase: Phase, discard_at: Instant) -> Self {
        Self {
            listed: Vec::new(),
            largest,
            phase,
            discard_at,
            null: false,
            at_dlr: false,
        }
    }

    /// RFC 3208 §7.4 (N-09, N-10): while it is pending, and for NAK_ELIM_IVL once it is outstanding; for
    /// parity as long as nobody wants more than is known (N-20).
    fn eliminates(&self, now: Instant, count: u32) -> bool {
        let runs = match self.phase {
            Phase::Pending => true,
            Phase::Outstanding(until) => now < until,
            Phase::Lapsed => false,
        };
        runs && !self.null && count <= self.largest
    }

    /// A NAK from `iface`, or its part for this state.
    fn on_nak(&mut self, now: Instant, iface: usize, count: u32, backoff: &mut Backoff) -> Heard {
        let eliminated = self.eliminates(now, count);
        self.null = false;
        self.largest = self.largest.max(count);
        let known = self.listed.iter_mut().find(|l| l.iface == iface);
        let opened = known.is_none();
        // RFC 3208 §7.2 (N-04): an interface is listed once.
        let listed = match known {
            Some(listed) => listed,
            None => {
                self.listed.push(Listed {
                    iface,
                    wanted: 0,
                    round: backoff.open(now),
                    duplicates: 0,
                });
                self.listed.last_mut().expect("it was pushed")
            }
        };
        listed.wanted = listed.wanted.max(count);
        listed.duplicates += u32::from(!opened);
        if eliminated && !opened {
            backoff.on_repeat(now, &mut listed.round);
        } else if !opened {
            (listed.round, listed.duplicates) = (backoff.open(now), 0);
        }
        Heard {
            wanted: listed.wanted,
            eliminated,
            opened,
            duplicates: listed.duplicates,
        }
    }

    /// An NCF of upstream, or of a DLR.
    fn on_ncf(&mut self, now: Instant, count: u32, config: &ElementConfig) {
        // RFC 3208 §11.6: an NCF that promises less than was asked for ends no repetition.
        if self.phase != Phase::Pending || count >= self.largest {
            // RFC 3208 §7.3 (N-07): nothing is asked for again while NAK_RDATA_IVL runs, which begins anew
            // with NAK_ELIM_IVL (§7.4 (N-11)).
            self.phase = Phase::Outstanding(now + config.nak_elim_ivl);
            self.discard_at = now + config.nak_rdata_ivl;
        }
        self.largest = self.largest.max(count);
        self.null = false;
    }

    /// A repair goes to all who are listed. Whether nobody waits for more.
    ///
    /// RFC 3208 §11.6 (N-21): counts go down with each, to the offset of a short group.
    fn on_rdata(&mut self, offset: u32) -> bool {
        self.largest = self.largest.saturating_sub(1);
        for listed in &mut self.listed {
            listed.wanted = listed.wanted.saturating_sub(1);
        }
        self.listed.retain(|listed| listed.wanted > offset);
        self.largest <= offset || self.listed.is_empty()
    }
}

impl Session {
    /// State keys and packet counts of a NAK or NCF; `None`: a parity NAK without known groups.
    fn asked(&self, parity: bool, nak: &Nak) -> Option<Vec<(Key, u32)>> {
        if !parity {
            return Some(nak.sqns().map(|sqn| ((false, sqn.0), 1)).collect());
        }
        let low = self.tg_size?.checked_sub(1)?;
        let split = |sqn: Sqn| ((true, sqn.0 & !low), (sqn.0 & low) + 1);
        Some(nak.sqns().map(split).collect())
    }

    /// What [`Session::asked`] takes apart.
    pub(super) fn sqn(key: Key, count: u32) -> Sqn {
        let low = if key.0 { count.saturating_sub(1) } else { 0 };
        Sqn(key.1 | low)
    }
}

impl Element {
    pub(super) fn on_nak(
        &mut self,
        now: Instant,
        arriving: &Arriving<'_>,
        nak: &Nak,
        tpdu: &Tpdu<'_>,
    ) {
        self.stats.naks_received += 1;
        let (Some(source), Some(group)) = (v4(nak.source), v4(nak.group)) else {
            self.stats.dropped += 1;
            return;
        };
        let (config, iface) = (self.config.clone(), arriving.iface);
        let Some(session) = self.session(now, tpdu, source, group) else {
            self.stats.naks_stranded += 1;
            return;
        };
        let asked = session.asked(tpdu.parity, nak);
        let full = session.repairs.len() >= config.max_repairs;
        // RFC 3208 §7.7: the addresses in the transport header say whose it is.
        let ours = (session.source, session.group) == (source, group);
        let Some(asked) = asked.filter(|_| ours && !full) else {
            self.stats.naks_stranded += 1;
            return;
        };
        let from_dlr = session.is_off_tree_dlr(arriving.from);
        let (mut confirmed, mut wanted) = (Vec::new(), Vec::new());
        let (mut opened, mut failed) = (false, false);
        for (key, count) in &asked {
            let discard_at = now + config.nak_rdata_ivl;
            let repair = session
                .repairs
                .entry(*key)
                .or_insert_with(|| Repair::new(0, Phase::Lapsed, discard_at));
            let backoff = &mut session.below[iface].backoff;
            let heard = repair.on_nak(now, iface, *count, backoff);
            confirmed.push(Session::sqn(*key, heard.wanted));
            opened |= heard.opened;
            failed |= config
                .dup_nak_max
                .is_some_and(|max| heard.duplicates >= max);
            // RFC 3208 §9.5.3.2: what a DLR asks for itself it cannot give.
            let gave_up = from_dlr && std::mem::take(&mut repair.at_dlr);
            if !heard.eliminated || gave_up {
                wanted.push(*key);
            }
        }
        session.below[iface].failed |= failed;
        let backoff = &mut session.below[iface].backoff;
        backoff.on_nak(now, arriving.from, opened);
        self.confirm(arriving, nak, tpdu, &confirmed);
        let (cr, is_news) = self.report(arriving, tpdu);
        // RFC 3208 §9.3.3 (N-17): one SQN that nobody takes care of lets the whole list through.
        if wanted.is_empty() && !is_news {
            self.stats.naks_eliminated += 1;
            return;
        }
        let sent = asked.iter().map(|(key, _)| *key).collect();
        let request = Request::new(now, arriving, (sent, wanted), cr, &config);
        self.request(now, order(tpdu.tsi()), request, from_dlr);
    }

    /// RFC 3208 §7.2 (N-02): the NCF goes at once, to the group on the interface the NAK came by.
    fn confirm(&mut self, arriving: &Arriving<'_>, nak: &Nak, tpdu: &Tpdu<'_>, sqns: &[Sqn]) {
        let iface = arriving.iface;
        let Some(session) = self.sessions.get(&order(tpdu.tsi())) else {
            return;
        };
        let failed = session.below[iface].failed;
        // RFC 3208 §15.3.2 (I-08): where multicast does not get, it goes to the asker alone, and says so.
        let options = Options {
            nak_bo_ivl: Some(session.nak_bo_ivl(iface)),
            nbr_unreach: failed,
            path_nla: failed.then(|| self.ifaces[iface].addr.into()),
            ..Options::default()
        };
        let body = Body::Ncf(Nak {
            sqn: sqns[0],
            list: sqns[1..].iter().copied().collect(),
            source: nak.source,
            group: nak.group,
        });
        let bytes = session.emit(body, tpdu.parity, options);
        self.stats.ncfs_sent += 1;
        self.out.push_back(Forward {
            iface,
            // RFC 3208 §7.2 (N-03): as if the source had sent it, so that it needs no routes of its own.
            from: session.source,
            to: if failed { arriving.from } else { session.group },
            router_alert: true,
            ttl: None,
            bytes,
        });
    }

    /// The congestion report that goes upstream with this NAK, if it brings one; whether it is news.
    fn report(&self, arriving: &Arriving<'_>, tpdu: &Tpdu<'_>) -> (Option<Cr>, bool) {
        let Some(incoming) = &tpdu.options.cr else {
            return (None, false);
        };
        let Some(session) = self.sessions.get(&order(tpdu.tsi())) else {
            return (None, false);
        };
        let upstream = session.upstream.map(|up| up.iface);
        let below = self.ifaces.iter().enumerate();
        let below = below.filter(|(iface, _)| Some(*iface) != upstream);
        let from = &self.ifaces[arriving.iface];
        let last = session.report.as_ref();
        let cr = Report::next(last, incoming, from, below.map(|(_, iface)| iface));
        (Some(cr), Report::is_news(last, &cr))
    }

    pub(super) fn on_ncf(
        &mut self,
        now: Instant,
        arriving: &Arriving<'_>,
        ncf: &Nak,
        tpdu: &Tpdu<'_>,
    ) {
        self.stats.ncfs_received += 1;
        if tpdu.options.nbr_unreach {
            return self.on_unreachable(tpdu);
        }
        let config = &self.config;
        let Some(session) = self.sessions.get_mut(&order(tpdu.tsi())) else {
            return;
        };
        // RFC 3208 §7.5 (N-13): only upstream's count, and those of a DLR that was asked.
        let from_upstream = session.upstream.map(|up| up.iface) == Some(arriving.iface);
        if !from_upstream && !session.is_off_tree_dlr(arriving.from) {
            return;
        }
        let mut wake = None::<Instant>;
        // RFC 3208 §9.3.3 (N-18): every SQN of a list counts.
        for (key, count) in session.asked(tpdu.parity, ncf).into_iter().flatten() {
            let full = session.repairs.len() >= config.max_repairs;
            if full && !session.repairs.contains_key(&key) {
                continue;
            }
            // RFC 3208 §7.5 (N-12): one that nobody here asked for makes state without interfaces.
            let repair = session
                .repairs
                .entry(key)
                .or_insert_with(|| Repair::new(count, Phase::Lapsed, now));
            repair.on_ncf(now, count, config);
            wake = Some(wake.map_or(repair.discard_at, |at| at.min(repair.discard_at)));
        }
        session.forget_confirmed();
        if let Some(at) = wake {
            self.wake_at(at);
        }
    }

    pub(super) fn on_rdata(&mut self, arriving: &Arriving<'_>, sqn: Sqn, tpdu: &Tpdu<'_>) {
        let Some(session) = self.sessions.get_mut(&order(tpdu.tsi())) else {
            self.stats.rdata_dropped += 1;
            return;
        };
        let from_dlr = !arriving.to.is_multicast() && session.is_off_tree_dlr(arriving.from);
        let from_upstream = arriving.to.is_multicast()
            && session.upstream.map(|up| up.iface) == Some(arriving.iface);
        let low = session.tg_size.map_or(0, |size| size - 1);
        let key = if tpdu.parity {
            (true, sqn.0 & !low)
        } else {
            (false, sqn.0)
        };
        // RFC 3208 §7.8 (N-15): without repair state it goes nowhere.
        let state = session.repairs.get_mut(&key);
        let Some(repair) = state.filter(|_| from_dlr || from_upstream) else {
            self.stats.rdata_dropped += 1;
            return;
        };
        // RFC 3208 §7.8 (N-14): only where it was asked for. One of an off-tree DLR gets the addresses
        // that the source's would have (§9.5.3.2).
        let listed: Vec<_> = repair.listed.iter().map(|listed| listed.iface).collect();
        for iface in listed {
            if iface == arriving.iface && !from_dlr {
                continue;
            }
            self.stats.rdata_forwarded += 1;
            self.out.push_back(Forward {
                iface,
                from: session.source,
                to: session.group,
                router_alert: true,
                ttl: None,
                bytes: arriving.bytes.clone(),
            });
        }
        let short = tpdu.options.curr_tgsize.or(session.curr_tg_size);
        let offset = match (short, session.tg_size) {
            (Some(short), Some(size)) if tpdu.parity => size.saturating_sub(short),
            _ => 0,
        };
        if repair.on_rdata(offset) {
            session.repairs.remove(&key);
            session.forget_confirmed();
        }
    }

    /// RFC 3208 §9.5.3.2 (N-24): a NULL NAK is neither confirmed nor retried, and adds no interface.
    pub(super) fn on_nnak(
        &mut self,
        now: Instant,
        arriving: &Arriving<'_>,
        nak: &Nak,
        tpdu: &Tpdu<'_>,
    ) {
        let until = now + self.config.nak_elim_ivl;
        let Some(session) = self.sessions.get_mut(&order(tpdu.tsi())) else {
            return;
        };
        // That of an off-tree DLR which was asked for its repair always goes on.
        let mut passes = session.is_off_tree_dlr(arriving.from);
        for (key, count) in session.asked(tpdu.parity, nak).into_iter().flatten() {
            let known = session.repairs.get(&key);
            // RFC 3208 §11.6: of parity only a larger count eliminates it.
            passes |= known.is_none_or(|repair| tpdu.parity && repair.largest <= count);
            if known.is_none() && session.repairs.len() < self.config.max_repairs {
                let mut repair = Repair::new(count, Phase::Outstanding(until), until);
                repair.null = true;
                session.repairs.insert(key, repair);
            }
        }
        let upstream = session.upstream.filter(|_| passes && !session.unreachable);
        if let Some(upstream) = upstream {
            self.out.push_back(Forward {
                iface: upstream.iface,
                from: self.ifaces[upstream.iface].addr,
                to: upstream.addr,
                router_alert: false,
                ttl: None,
                bytes: arriving.bytes.clone(),
            });
        }
        self.wake_at(until);
    }
}

impl Session {
    pub(super) fn is_off_tree_dlr(&self, addr: Ipv4Addr) -> bool {
        let dlr = self.redirect.filter(|redirect| redirect.off_tree);
        dlr.is_some_and(|redirect| redirect.addr == addr)
    }
}
