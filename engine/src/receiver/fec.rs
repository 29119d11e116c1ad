//! What parity, and news of transmission groups, mean to a peer (RFC 3208 §11.5).

use super::groups::Stored;
use super::join::Phase;
use super::parity::{Parity, checked_fragment};
use super::repair::older;
use super::rxw::{Marks, Offer, Packet};
use super::{Peer, Read};
use crate::num::Sqn;
use crate::wire::{Data, Fragment, Nak, Options, Spm, Tpdu};
use std::time::Instant;

impl Peer {
    /// A parity packet, which may have the SQN of a data packet.
    pub(super) fn on_parity(&mut self, now: Instant, data: Data, tpdu: &Tpdu<'_>, is_repair: bool) {
        self.last_heard = now;
        self.counters.plain.parity_received += 1;
        let Some(grouping) = self.repair.groups.grouping() else {
            // RFC 3208 §11.5 (F-22): the SPM that tells what groups are comes first.
            self.counters.plain.parity_unneeded += 1;
            return;
        };
        if is_repair {
            self.repair.group_naks.on_answer();
        }
        let Ok((form, parity)) = Parity::parse(grouping, data, tpdu) else {
            self.counters.plain.dropped_malformed += 1;
            return;
        };
        let start = grouping.start(data.sqn);
        let end = start.plus(grouping.sqns());
        if self.phase != Phase::Open || end.since(self.rxw.base()) <= 0 || self.is_past_end(start) {
            self.counters.plain.parity_unneeded += 1;
            return;
        }
        if !self.learn_group_size(start, form.size.into()) {
            return;
        }
        if self.repair.is_group_whole(start, &self.rxw) {
            self.counters.plain.parity_unneeded += 1;
        } else {
            match self.repair.groups.store(start, form, parity, &mut self.rxw) {
                // RFC 3208 §11.5 (F-23): used whether it was asked for or not.
                Stored::Taken => {
                    self.repair.on_parity(now, start, is_repair);
                    self.rebuild(now, start);
                }
                Stored::Unneeded => self.counters.plain.parity_unneeded += 1,
                Stored::Full => {
                    self.counters.plain.dropped_window_full += 1;
                    self.repair.groups.forget_if_idle(start);
                }
                Stored::Implausible => self.counters.plain.dropped_malformed += 1,
            }
        }
        self.advance_trail(data.trail);
        self.settle(now);
    }

    /// The data packet `sqn` came: its group may be whole now, or can be made so.
    pub(super) fn on_data_of_group(&mut self, now: Instant, sqn: Sqn) {
        let groups = &mut self.repair.groups;
        let Some(start) = groups.grouping().map(|grouping| grouping.start(sqn)) else {
            return;
        };
        if groups.get(start).is_some_and(|group| group.is_troubled()) {
            self.rebuild(now, start);
        }
    }

    /// RFC 3208 §11.1 (F-31): as soon as there are as many packets as the group has.
    fn rebuild(&mut self, now: Instant, start: Sqn) {
        let tally = self.repair.groups.tally(start, &self.rxw);
        if tally.is_enough && tally.is_missing {
            match self.repair.groups.rebuild(start, &self.rxw) {
                Ok(packets) => {
                    self.rxw.set_beside(self.repair.groups.octets());
                    for (sqn, packet) in packets {
                        self.on_recovered(now, sqn, packet);
                    }
                }
                Err(_) => {
                    self.counters.plain.dropped_malformed += 1;
                    self.repair.reject_group(now, &mut self.rxw, start);
                }
            }
        }
        if self.repair.is_group_whole(start, &self.rxw) {
            self.repair.groups.forget(start);
        }
        self.rxw.set_beside(self.repair.groups.octets());
    }

    /// What parity gave back enters the window like data of the network.
    fn on_recovered(&mut self, now: Instant, sqn: Sqn, packet: Packet) {
        if self.is_past_end(sqn) || !self.rxw.is_wanted(sqn) {
            return;
        }
        let is_fin = packet.marks.fin;
        let (len, fragment) = (packet.payload.len(), packet.fragment());
        if self.offer(sqn, len, || packet.clone()) != Offer::Taken {
            self.counters.plain.dropped_window_full += 1;
            return;
        }
        self.counters.plain.recovered_by_parity += 1;
        self.on_taken(sqn, fragment.as_ref(), len);
        self.keep_for_repairs(sqn, None);
        if is_fin {
            self.finish(self.rxw.lead().next(), Read::Fin);
        }
        self.last_heard = now;
    }

    /// Whether `tpdu` stands for a packet `sqn` that there never was, because its group is short: some sources
    /// answer so to who asks for it. Then the size of the group is known.
    pub(super) fn takes_placeholder(&mut self, sqn: Sqn, tpdu: &Tpdu<'_>) -> bool {
        let known = tpdu.options.curr_tgsize.zip(self.repair.groups.grouping());
        let Some((size, grouping)) = known.filter(|_| tpdu.payload.is_empty()) else {
            return false;
        };
        let stands_for_none = self.phase == Phase::Open
            && u32::from(grouping.row(sqn)) >= size
            && sqn.since(self.rxw.base()) >= 0;
        stands_for_none && self.learn_group_size(grouping.start(sqn), size)
    }

    /// OPT_CURR_TGSIZE of a data packet: it is one of the first so many of its group (RFC 3208 §11.2).
    pub(super) fn on_size_from_data(&mut self, sqn: Sqn, options: &Options) {
        let grouping = self.repair.groups.grouping();
        let Some((size, grouping)) = options.curr_tgsize.zip(grouping) else {
            return;
        };
        if self.phase != Phase::Open {
            return;
        }
        if u32::from(grouping.row(sqn)) < size {
            self.learn_group_size(grouping.start(sqn), size);
        } else {
            self.counters.plain.dropped_malformed += 1;
        }
    }

    /// What an accepted SPM says of groups: OPT_PARITY_PRM.
    pub(super) fn on_parity_prm(&mut self, now: Instant, options: &Options) {
        let (prm, is_trusted) = (options.parity_prm.as_ref(), options.nak_bo_ivl.is_some());
        let learnt = self
            .repair
            .learn_parity(now, &mut self.rxw, prm, is_trusted);
        self.counters.plain.dropped_malformed += u64::from(learnt.is_err());
    }

    /// And after its window: OPT_CURR_TGSIZE, or that data has paused.
    pub(super) fn on_size_from_spm(&mut self, spm: &Spm, options: &Options) {
        let Some((window, grouping)) = spm.window.zip(self.repair.groups.grouping()) else {
            return;
        };
        if self.phase != Phase::Open {
            return;
        }
        match options.curr_tgsize {
            // RFC 3208 §11.4 (F-18): SPM_LEAD is then the last packet of the group.
            Some(size) if u32::from(grouping.count(window.lead)) == size => {
                self.learn_group_size(grouping.start(window.lead), size);
            }
            Some(_) => self.counters.plain.dropped_malformed += 1,
            None if window.lead == self.rxw.lead() => self.repair.on_pause(&self.rxw),
            None => {}
        }
    }

    /// The group at `start` has `size` packets, all of which are sent. Whether that can be.
    fn learn_group_size(&mut self, start: Sqn, size: u32) -> bool {
        let known = self.repair.on_group_size(start, size, &mut self.rxw);
        let sqns = self.repair.groups.grouping().map_or(1, |g| g.sqns());
        let mut end = start.plus(sqns);
        if let Some(past) = &self.end {
            end = older(end, past.at);
        }
        if known.is_err() || !self.rxw.extend_lead(end.minus(1)) {
            self.counters.plain.dropped_malformed += 1;
            return false;
        }
        true
    }

    /// Parity NCFs, header and list.
    pub(super) fn on_parity_ncf(&mut self, now: Instant, ncf: &Nak) {
        let Some(grouping) = self.repair.groups.grouping() else {
            return;
        };
        // §6.3: it proves that the group exists, at least its first packet.
        for start in ncf.sqns().map(|sqn| grouping.start(sqn)) {
            if self.rxw.end().is_newer_than(start) && !self.is_past_end(start) {
                self.rxw.extend_lead(start);
            }
        }
        self.settle(now);
        for sqn in ncf.sqns() {
            let suppressed = self.repair.on_parity_ncf(now, &self.rxw, sqn);
            self.counters.plain.naks_suppressed += u64::from(suppressed);
        }
    }

    /// Parity NAKs of another receiver.
    pub(super) fn on_parity_nak(&mut self, now: Instant, nak: &Nak) {
        for sqn in nak.sqns() {
            let suppressed = self.repair.on_parity_nak(now, &self.rxw, sqn);
            self.counters.plain.naks_suppressed += u64::from(suppressed);
        }
    }
}

/// The OPT_FRAGMENT and the other options that the window keeps, if the former can be true.
pub(super) fn form_of(sqn: Sqn, tpdu: &Tpdu<'_>) -> Option<(Option<Fragment>, Marks)> {
    let fragment = checked_fragment(sqn, tpdu.payload.len(), tpdu.options.fragment).ok()?;
    let marks = Marks {
        syn: tpdu.options.syn,
        fin: tpdu.options.fin,
        lone_fragment: fragment.is_lone,
    };
    Some((fragment.kept, marks))
}
