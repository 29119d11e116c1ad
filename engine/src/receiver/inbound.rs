//! What each packet of the network means to a peer (RFC 3208 §6.1 to §6.3, §9, §15).

use super::fec::form_of;
use super::join::{self, Phase, Spmr};
use super::rxw::{Offer, Packet};
use super::{DlrRole, Peer, Read, ResetReason, poll};
use crate::num::{Nla, Sqn};
use crate::wire::{self, Data, Fragment, Nak, Options, Poll, Spm, Tpdu, Window};
use bytes::Bytes;
use std::net::Ipv4Addr;
use std::time::Instant;

/// What an SPM has before its options beyond what a data packet has, octets (RFC 3208 §8.1, IPv4).
const SPM_BEYOND_DATA: usize = 12;

impl Peer {
    pub(super) fn on_data(&mut self, now: Instant, data: Data, tpdu: &Tpdu<'_>, is_repair: bool) {
        let len = tpdu.payload.len();
        self.counters
            .on_tpdu(now, wire::data_overhead(&tpdu.options) + len);
        match is_repair {
            true => self.counters.plain.rdata_received += 1,
            false => self.counters.plain.odata_received += 1,
        }
        if tpdu.parity {
            // RFC 3208 §11.2 (F-30): parity shares SQNs with data and must not be taken for it.
            self.on_parity(now, data, tpdu, is_repair);
            return;
        }
        let Some((fragment, marks)) = form_of(data.sqn, tpdu) else {
            self.counters.plain.dropped_malformed += 1;
            return;
        };
        if !self.admit(now, data, &tpdu.options, is_repair) {
            return;
        }
        // §6.1, §6.3: inside the half space ahead it is taken and moves the lead; behind the window
        // it is not.
        if self.is_past_end(data.sqn) || !self.rxw.extend_lead(data.sqn) {
            self.counters.plain.dropped_malformed += 1;
            return;
        }
        if !is_repair {
            let back_off = || self.repair.draw_back_off(now);
            self.cc.on_short_group(data.sqn, tpdu.options.curr_tgsize);
            self.cc
                .on_odata(now, data.sqn, tpdu.options.pgmcc_data, back_off);
        }
        if self.takes_placeholder(data.sqn, tpdu) {
            self.last_heard = now;
            self.settle(now);
            return;
        }
        let payload = tpdu.payload;
        let packet = || Packet::new(Bytes::copy_from_slice(payload), fragment, marks);
        let gap = self.rxw.gap(data.sqn).filter(|_| is_repair);
        let took = gap.and_then(|gap| gap.repair_took(now));
        let by_dlr = gap.is_some_and(|gap| gap.at_dlr);
        match self.offer(data.sqn, len, packet) {
            Offer::Taken => {
                if is_repair {
                    self.repair.on_repair(now, data.sqn, took);
                    if by_dlr {
                        self.redirect.on_repair();
                    }
                }
                self.on_taken(data.sqn, fragment.as_ref(), len);
                self.keep_for_repairs(data.sqn, tpdu.options.curr_tgsize);
                self.on_data_of_group(now, data.sqn);
            }
            Offer::Duplicate => self.counters.plain.duplicates += 1,
            Offer::Full => self.counters.plain.dropped_window_full += 1,
            Offer::Foreign => {
                self.counters.plain.dropped_malformed += 1;
                return;
            }
        }
        self.last_heard = now;
        self.counters.sample_window(self.rxw.span());
        if self.phase == Phase::Open {
            self.advance_trail(data.trail);
        } else if let Some(start) = join::start_from_data(
            data,
            tpdu.options.syn,
            self.usable_join(tpdu.options.join),
            self.spm_sqn.is_some(),
        ) {
            self.begin(start, Some(data.trail));
        }
        self.on_size_from_data(data.sqn, &tpdu.options);
        if self.spm_sqn.is_none() && !self.config.listen_only {
            self.spmr.want(now, &self.config, &mut self.rng);
        }
        if tpdu.options.fin && self.phase == Phase::Open {
            self.finish(self.rxw.lead().next(), Read::Fin);
        }
        self.settle(now);
    }

    /// Offer a data packet to the window. What FEC keeps beside it gives way.
    pub(super) fn offer(&mut self, sqn: Sqn, len: usize, packet: impl Fn() -> Packet) -> Offer {
        match self.rxw.offer(sqn, len, &packet) {
            Offer::Full if self.repair.groups.octets() > 0 => {
                let dropped = self.repair.groups.shed(&mut self.rxw, sqn, len);
                self.counters.plain.dropped_window_full += dropped;
                self.rxw.offer(sqn, len, packet)
            }
            offer => offer,
        }
    }

    /// A data packet entered the window.
    pub(super) fn on_taken(&mut self, sqn: Sqn, fragment: Option<&Fragment>, len: usize) {
        if self.config.unordered {
            let max = self.config.max_apdu;
            self.early.on_packet(&self.rxw, sqn, fragment, len, max);
        }
    }

    /// Whether a data packet may enter the window; the first one opens it.
    fn admit(&mut self, now: Instant, data: Data, options: &Options, is_repair: bool) -> bool {
        if self.phase == Phase::Open {
            return true;
        }
        let first = self.phase == Phase::Listening;
        let is_older = !first && data.sqn.since(self.rxw.base()) < 0;
        // §6.1: reception starts with data inside the advertised window. A repair says nothing about
        // what is new: to begin with it would mean to ask for all that came after.
        let proves_start = !is_repair || options.syn || options.join.is_some();
        if data.trail.is_newer_than(data.sqn) || ((first || is_older) && !proves_start) {
            return false;
        }
        if first {
            self.rxw.anchor(data.sqn);
            self.phase = Phase::Holding {
                until: now + self.config.first_spm_wait,
            };
        } else if is_older {
            self.rxw.restart_at(data.sqn);
        }
        true
    }

    pub(super) fn on_spm(&mut self, now: Instant, spm: &Spm, options: &Options) {
        self.counters
            .on_tpdu(now, wire::data_overhead(options) + SPM_BEYOND_DATA);
        self.counters.plain.spms_received += 1;
        if options.nbr_unreach {
            return self.on_unreach_spm(spm);
        }
        // §6.2.
        if self
            .spm_sqn
            .is_some_and(|last| !spm.spm_sqn.is_newer_than(last))
        {
            return;
        }
        if self.spm_sqn.is_none() && self.phase == Phase::Listening {
            self.was_over = options.fin || options.rst.is_some();
        }
        self.spm_sqn = Some(spm.spm_sqn);
        self.last_heard = now;
        // §6.2.
        self.path = Some(self.nak_address(spm.path));
        self.unreachable = false;
        self.warning = None;
        // §13.5.
        self.spmr = Spmr::Idle;
        self.learn_bounds(options);
        self.learn_nak_bo_ivl(options);
        self.on_parity_prm(now, options);
        self.cc.on_spm(spm.window, options);
        self.on_window(spm.window, options.join);
        self.on_size_from_spm(spm, options);
        if self.phase == Phase::Open {
            // An SPM_LEAD behind the data already here was overtaken by it.
            let end = self.rxw.lead().next();
            // §9.8.1: with N set nobody is left to ask, so what is here in order is all.
            // Beside OPT_FIN it is for those who miss something.
            let has_all = options.fin && self.rxw.edge() == end;
            if let Some(rst) = options.rst.filter(|_| !has_all) {
                let at = if rst.no_naks { self.rxw.edge() } else { end };
                self.finish(at, Read::Reset(ResetReason::Rst(rst.code)));
            } else if options.fin {
                self.finish(end, Read::Fin);
            }
        }
        self.settle(now);
    }

    fn on_window(&mut self, window: Option<Window>, join: Option<Sqn>) {
        if self.phase != Phase::Open {
            let first_data = (self.phase != Phase::Listening).then(|| self.rxw.base());
            let join = self.usable_join(join);
            if let Some(start) = join::start_from_spm(window, join, first_data) {
                if first_data.is_none() {
                    self.rxw.anchor(start);
                }
                self.begin(start, window.map(|w| w.trail));
            }
        }
        if let Some(window) = window
            && self.phase == Phase::Open
        {
            // §6.2: each edge counts only if it is newer than the one held.
            if !self.rxw.extend_lead(window.lead) {
                self.counters.plain.dropped_malformed += 1;
            }
            self.advance_trail(window.trail);
        }
    }

    pub(super) fn on_ncf(&mut self, now: Instant, ncf: &Nak, tpdu: &Tpdu<'_>) {
        self.counters.plain.ncfs_received += 1;
        self.learn_nak_bo_ivl(&tpdu.options);
        if self.phase != Phase::Open {
            return;
        }
        if tpdu.parity {
            self.on_parity_ncf(now, ncf);
            return;
        }
        self.tell_dlr_of_ncf(now, ncf);
        // §6.3: an NCF for an SQN nobody told us of proves that it exists. Inside our window only: it
        // is the one packet that could move the lead without carrying data or a window.
        for sqn in ncf.sqns() {
            if self.rxw.end().is_newer_than(sqn) {
                self.rxw.extend_lead(sqn);
            }
        }
        self.settle(now);
        for sqn in ncf.sqns() {
            let suppressed = self.repair.on_ncf(now, &mut self.rxw, sqn) | self.cc.on_asked(sqn);
            self.counters.plain.naks_suppressed += u64::from(suppressed);
        }
    }

    pub(super) fn on_nak(&mut self, now: Instant, nak: &Nak, tpdu: &Tpdu<'_>) {
        let ours = nak.source == Nla::V4(self.source) && nak.group == Nla::V4(self.group);
        if !ours {
            return;
        }
        if tpdu.parity {
            self.on_parity_nak(now, nak);
            return;
        }
        for sqn in nak.sqns() {
            let suppressed = self.repair.on_nak(now, &mut self.rxw, sqn) | self.cc.on_asked(sqn);
            self.counters.plain.naks_suppressed += u64::from(suppressed);
        }
    }

    pub(super) fn on_poll(&mut self, now: Instant, poll: &Poll) {
        self.counters.plain.polls_received += 1;
        // Who sends nothing has no reply pending, either: it would be due for ever.
        if self.config.listen_only {
            return;
        }
        let dlr = self.dlr.as_ref().map(|dlr| dlr.role());
        let is_dlr = dlr == Some(DlrRole::OffTree);
        let patience = self.config.peer_expiry;
        // Who cannot be answered has no children here: an IPv6 parent, a group, nobody.
        if let Some(to) = poll::host(poll.path, self.source) {
            self.polled
                .on_poll(now, poll, to, is_dlr, patience, &mut self.rng);
        }
    }

    /// OPT_JOIN offers repairs of what we missed; who asks for none has no use for it.
    fn usable_join(&self, join: Option<Sqn>) -> Option<Sqn> {
        join.filter(|_| !self.config.listen_only)
    }

    /// SPM_PATH, unless nobody can be asked there.
    fn nak_address(&mut self, path: Nla) -> Ipv4Addr {
        match path {
            Nla::V4(path) if is_host(path, self.source) => path,
            Nla::V4(_) => {
                // RFC 3208 §10: forged, to make receivers send where nobody should.
                self.counters.plain.dropped_malformed += 1;
                self.source
            }
            Nla::V6(_) => self.source,
        }
    }
}

/// Whether this can be the address of a host on the way from `source`.
pub(super) fn is_host(path: Ipv4Addr, source: Ipv4Addr) -> bool {
    let [first, ..] = path.octets();
    (1..224).contains(&first) && (!path.is_loopback() || source.is_loopback())
}
