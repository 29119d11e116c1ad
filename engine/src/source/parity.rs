//! Parity packets: when they go, and what is in them (RFC 3208 §11).
//!
//! Nothing is computed before it is sent. A group's packets are in the transmit window as long as any
//! parity of it can be asked for: the trailing edge moves by whole groups.

use super::backoff::Backoff;
use super::config::Fec;
use super::group::{Confirm, tg_sqn};
use super::repair::{NCF_HOLD, NCF_QUEUE, SqnList, in_order};
use super::txw::{Entry, Place, TxWindow};
use super::{Emitted, Mark, Source, emit};
use crate::fec::{Code, K_MAX};
use crate::num::Sqn;
use crate::stats::SourceStats;
use crate::wire::{Body, Data, Encoded, Fragment, Options, ParityPrm, flag_octet};
use arrayvec::ArrayVec;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// RFC 3208 §11.4 (F-20): a source that has had nothing to send for this long closes the open group.
/// Until then its receivers cannot ask for parity; afterwards SQNs are left out.
const CLOSE_AFTER: Duration = Duration::from_millis(4);

/// Octets of the length that is appended in groups of unequal packets.
const LENGTH: usize = 2;

/// One value for each data packet of a group.
type PerPacket<T> = ArrayVec<T, { K_MAX as usize }>;

/// What of the groups' parity waits, and the codec.
#[derive(Debug)]
pub(super) struct Parity {
    fec: Fec,
    /// Groups whose pro-active parity waits.
    proactive: VecDeque<Sqn>,
    /// Groups whose on-demand parity may go.
    on_demand: VecDeque<Sqn>,
    ncfs: VecDeque<SqnList>,
    /// Groups with repeated NCFs, and those for which the queue had no room, by due time.
    later: VecDeque<(Instant, Sqn)>,
    /// The latest data packet.
    sent: Instant,
    /// Of full groups, and of the latest short one.
    codes: [Option<Code>; 2],
    /// TSDU of the parity packet under construction.
    tsdu: Vec<u8>,
}

impl Parity {
    pub(super) fn new(fec: Fec, now: Instant) -> Self {
        Self {
            fec,
            proactive: VecDeque::new(),
            on_demand: VecDeque::new(),
            ncfs: VecDeque::new(),
            later: VecDeque::new(),
            sent: now,
            codes: [Code::new(fec.n, fec.k), None],
            tsdu: Vec::new(),
        }
    }

    /// RFC 3208 §11.4, §11.8.1 (F-01, F-02): what every SPM says.
    pub(super) fn prm(&self) -> ParityPrm {
        ParityPrm {
            proactive: self.fec.proactive > 0,
            on_demand: self.fec.on_demand,
            tg_size: self.fec.k.into(),
        }
    }

    /// Whether parity NAKs are answered.
    pub(super) fn is_on_demand(&self) -> bool {
        self.fec.on_demand
    }

    /// Parity packets wait for the rate.
    pub(super) fn is_pending(&self) -> bool {
        !self.proactive.is_empty() || !self.on_demand.is_empty()
    }

    /// Nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_pending() && self.ncfs.is_empty() && self.later.is_empty()
    }

    /// When the next NCF may go, if NCFs may at `ready`.
    pub(super) fn ncf_at(&self, ready: Instant) -> Option<Instant> {
        if !self.ncfs.is_empty() {
            return Some(ready);
        }
        self.later.front().map(|(due, _)| ready.max(*due))
    }

    /// When the open group is closed unless there is data before.
    pub(super) fn close_at(&self) -> Instant {
        self.sent + CLOSE_AFTER
    }

    /// A data packet went. RFC 3208 §11.2: the k-th, or the `last` that there will be, ends its group.
    pub(super) fn on_data(&mut self, now: Instant, txw: &mut TxWindow, last: bool) {
        self.sent = now;
        if last || txw.next() == tg_sqn(txw.next(), self.fec.k) {
            self.close(txw);
        }
    }

    /// No more data packets for the open group, if there is one.
    pub(super) fn close(&mut self, txw: &mut TxWindow) -> bool {
        let closed = txw.close_group(self.fec.proactive);
        if let Some(tg) = closed {
            if self.fec.proactive > 0 {
                self.proactive.push_back(tg);
            } else {
                self.enqueue(tg, txw);
            }
        }
        closed.is_some()
    }

    /// On-demand parity of the group may go, if any was asked for.
    fn enqueue(&mut self, tg: Sqn, txw: &mut TxWindow) {
        if let Place::Inside(group) = txw.group(tg)
            && group.is_ready()
        {
            self.on_demand.push_back(tg);
        }
    }

    /// A parity NAK with these SQNs; whether any of the groups can be repaired. RFC 3208 §11.4 (F-08).
    pub(super) fn on_nak(
        &mut self,
        now: Instant,
        from: Ipv4Addr,
        sqns: impl Iterator<Item = Sqn>,
        backoff: &mut Backoff,
        txw: &mut TxWindow,
        stats: &mut SourceStats,
    ) -> bool {
        let k = self.fec.k;
        let mut confirm = SqnList::new();
        let (mut inside, mut opened) = (false, false);
        for sqn in last_of_each_group(in_order(sqns, txw.trail()), k) {
            let tg = tg_sqn(sqn, k);
            // RFC 3208 §11.3.1: the count is 0-based; k ≤ 128.
            let count = (sqn.since(tg) + 1) as u8;
            let Some(group) = txw.group(tg).asked_for(stats) else {
                continue;
            };
            inside = true;
            let queued = group.is_ready();
            let asked = group.on_nak(now, count, k, backoff);
            opened |= asked.opened;
            stats.naks_after_rdata += u64::from(asked.under_way);
            match group.confirm(now, count, NCF_HOLD, self.ncfs.len() < NCF_QUEUE) {
                Confirm::Now => confirm.push(sqn),
                Confirm::Later => self.later.push_back((now + NCF_HOLD, tg)),
                Confirm::Waits => {}
            }
            if !queued {
                self.enqueue(tg, txw);
            }
        }
        if !confirm.is_empty() {
            self.ncfs.push_back(confirm);
        }
        if inside {
            backoff.on_nak(now, from, opened);
        }
        inside
    }

    /// SQNs of the next parity NCF: groups and counts. `None` although one was due: its groups left the
    /// window meanwhile.
    pub(super) fn take_ncf(&mut self, now: Instant, txw: &mut TxWindow) -> Option<SqnList> {
        if let Some(sqns) = self.ncfs.pop_front() {
            return Some(sqns);
        }
        let mut sqns = SqnList::new();
        while !sqns.is_full() && self.later.front().is_some_and(|(due, _)| *due <= now) {
            let (_, tg) = self.later.pop_front()?;
            if let Place::Inside(group) = txw.group(tg)
                && let Some(count) = group.take_ncf(now)
            {
                sqns.push(tg.plus(u32::from(count) - 1));
            }
        }
        sqns.sort_unstable_by_key(|sqn| sqn.since(txw.trail()));
        (!sqns.is_empty()).then_some(sqns)
    }

    /// Group and index of the next pro-active parity packet, which goes now.
    fn take_proactive(&mut self, txw: &mut TxWindow) -> Option<(Sqn, u8)> {
        let tg = *self.proactive.front()?;
        let Place::Inside(group) = txw.group(tg) else {
            self.proactive.pop_front();
            return None;
        };
        let index = group.take_proactive();
        if !group.has_proactive() {
            self.proactive.pop_front();
            self.enqueue(tg, txw);
        }
        index.map(|index| (tg, index))
    }

    /// Group and index of the next on-demand parity packet, which goes now.
    fn take_on_demand(
        &mut self,
        now: Instant,
        backoff: &mut Backoff,
        txw: &mut TxWindow,
    ) -> Option<(Sqn, u8)> {
        let tg = *self.on_demand.front()?;
        let Place::Inside(group) = txw.group(tg) else {
            self.on_demand.pop_front();
            return None;
        };
        let h = self.fec.n - self.fec.k;
        let index = group.take_on_demand(now, h, self.fec.proactive, backoff);
        if !group.is_ready() {
            self.on_demand.pop_front();
        }
        index.map(|index| (tg, index))
    }

    /// Parity packet `index` of a closed group: its SQN, its mark and its options; the TSDU is in `tsdu`.
    fn make(&mut self, tg: Sqn, index: u8, txw: &TxWindow) -> Option<(Sqn, Mark, Options)> {
        let (k, h) = (self.fec.k, self.fec.n - self.fec.k);
        let data: PerPacket<&Entry> = txw.group_data(tg).collect();
        let size = u8::try_from(data.len()).ok()?;
        let slot = &mut self.codes[usize::from(size < k)];
        if slot.as_ref().is_none_or(|code| code.k() != size) {
            *slot = Code::new(size.checked_add(h)?, size);
        }
        let code = slot.as_ref()?;

        // RFC 3208 §11.2 (F-12, F-13, F-14): as long as the longest packet, and the encoded length behind it
        // unless all are equally long. What is shorter was sent as it is, and is padded here alone.
        let longest = data.iter().map(|entry| entry.tsdu.len()).max()?;
        let var_pktlen = data.iter().any(|entry| entry.tsdu.len() != longest);
        self.tsdu
            .resize(longest + if var_pktlen { LENGTH } else { 0 }, 0);
        let (payload, length) = self.tsdu.split_at_mut(longest);
        code.encode(index, data.iter().map(|entry| &*entry.tsdu), payload);
        if var_pktlen {
            let lengths: PerPacket<[u8; LENGTH]> =
                data.iter().map(|entry| self.fec.length(entry)).collect();
            code.encode(index, lengths.iter().map(|length| &length[..]), length);
        }

        // RFC 3208 §11.2 (F-07, F-18)
        let group = index / k;
        let options = Options {
            parity_grp: (group > 0).then(|| group.into()),
            curr_tgsize: (size < k).then(|| size.into()),
            encoded: encoded(code, index, &data),
            ..Options::default()
        };
        // RFC 3208 §11.2 (F-03)
        let mark = Mark {
            parity: true,
            var_pktlen,
        };
        Some((tg.plus((index % k).into()), mark, options))
    }
}

/// RFC 3208 §11.2 (F-15): payload options that any packet has, in every parity packet.
fn encoded(code: &Code, index: u8, data: &[&Entry]) -> Encoded {
    fn combine<const N: usize>(
        code: &Code,
        index: u8,
        data: &[&Entry],
        has: impl Fn(&Entry) -> bool,
        octets: impl Fn(&Entry) -> [u8; N],
    ) -> Option<[u8; N]> {
        if !data.iter().any(|entry| has(entry)) {
            return None;
        }
        let all: PerPacket<[u8; N]> = data.iter().map(|entry| octets(entry)).collect();
        let mut out = [0; N];
        code.encode(index, all.iter().map(|octets| &octets[..]), &mut out);
        Some(out)
    }
    let flag = |has: fn(&Entry) -> bool| {
        let [octet] = combine(code, index, data, has, |entry| [flag_octet(has(entry))])?;
        Some(octet)
    };
    Encoded {
        fragment: combine(
            code,
            index,
            data,
            |entry| entry.fragment.is_some(),
            |entry| Fragment::to_octets(entry.fragment),
        ),
        syn: flag(|entry| entry.syn),
        fin: flag(|entry| entry.fin),
    }
}

/// Of several SQNs in one group, the one with the largest count.
fn last_of_each_group(sqns: SqnList, k: u8) -> SqnList {
    let mut last = SqnList::new();
    for sqn in sqns {
        if last
            .last()
            .is_some_and(|before| tg_sqn(*before, k) == tg_sqn(sqn, k))
        {
            last.pop();
        }
        last.push(sqn);
    }
    last
}

impl Fec {
    /// The length of a packet as parity encodes it.
    fn length(self, entry: &Entry) -> [u8; LENGTH] {
        // TSDU Length is 16 bits (RFC 3208 §8).
        let len = entry.tsdu.len() as u16;
        if self.little_endian {
            len.to_le_bytes()
        } else {
            len.to_be_bytes()
        }
    }
}

impl Source {
    /// RFC 3208 §11.4 (F-04): pro-active parity is ODATA and follows its group.
    pub(super) fn emit_proactive(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Emitted> {
        let parity = self.parity.as_mut()?;
        let (tg, index) = parity.take_proactive(&mut self.txw)?;
        self.rdata_run = 0;
        let trail = self.txw.trail();
        let body = |sqn| Body::Odata(Data { sqn, trail });
        let emitted = self.emit_parity(now, tg, index, body, false, out)?;
        self.stats.odata_sent += 1;
        self.stats.parity_odata_sent += 1;
        Some(emitted)
    }

    /// RFC 3208 §11.4 (F-05): on-demand parity is RDATA.
    pub(super) fn emit_on_demand(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Emitted> {
        let (parity, backoff) = (self.parity.as_mut()?, self.repairs.backoff());
        let (tg, index) = parity.take_on_demand(now, backoff, &mut self.txw)?;
        self.rdata_run += 1;
        let trail = self.txw.trail();
        let body = |sqn| Body::Rdata(Data { sqn, trail });
        let emitted = self.emit_parity(now, tg, index, body, true, out)?;
        self.stats.rdata_sent += 1;
        self.stats.parity_rdata_sent += 1;
        Some(emitted)
    }

    fn emit_parity(
        &mut self,
        now: Instant,
        tg: Sqn,
        index: u8,
        body: impl FnOnce(Sqn) -> Body,
        router_alert: bool,
        out: &mut Vec<u8>,
    ) -> Option<Emitted> {
        let parity = self.parity.as_mut()?;
        let (sqn, mark, options) = parity.make(tg, index, &self.txw)?;
        let len = emit(&self.config, mark, body(sqn), options, &parity.tsdu, out);
        if let Some(cc) = &mut self.cc {
            cc.on_rdata_sent(now);
        }
        self.on_data_emitted(now, len);
        Some(Emitted {
            router_alert,
            ..Emitted::to_group(len)
        })
    }

    /// A parity NAK. Without on-demand parity nobody was invited to send one.
    pub(super) fn handle_parity_nak(
        &mut self,
        now: Instant,
        from: Ipv4Addr,
        sqns: impl Iterator<Item = Sqn>,
    ) {
        let Some(parity) = self.parity.as_mut().filter(|parity| parity.is_on_demand()) else {
            self.stats.naks_ignored += 1;
            return;
        };
        self.stats.parity_naks_received += 1;
        let (backoff, txw) = (self.repairs.backoff(), &mut self.txw);
        if parity.on_nak(now, from, sqns, backoff, txw, &mut self.stats) {
            self.active = now;
            self.spm.on_heard();
        }
    }

    /// When the next parity NCF may go.
    pub(super) fn parity_ncf_at(&self) -> Option<Instant> {
        self.parity.as_ref()?.ncf_at(self.repairs.ncf_ready_at())
    }

    /// Its SQNs.
    pub(super) fn take_parity_ncf(&mut self, now: Instant) -> Option<SqnList> {
        self.parity.as_mut()?.take_ncf(now, &mut self.txw)
    }

    /// When the open group is closed early: the queue is empty, or the window full.
    pub(super) fn close_group_at(&self) -> Option<Instant> {
        let parity = self.parity.as_ref()?;
        if !self.txw.has_open_group() {
            return None;
        }
        let cut = self.queue.peek(self.txw.next(), self.is_ending());
        if cut.is_some_and(|cut| self.txw.has_room(cut.size)) {
            return None;
        }
        Some(parity.close_at())
    }

    /// RFC 3208 §11.4 (F-20): the group ends here, and an SPM says so.
    pub(super) fn close_group(&mut self, now: Instant) {
        if let Some(parity) = &mut self.parity
            && parity.close(&mut self.txw)
        {
            self.spm.on_group_closed(now);
        }
    }
}
