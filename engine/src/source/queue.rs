//! APDUs accepted and not yet sent, cut into TSDUs one packet at a time (RFC 3208 §9.2).
//!
//! The last one may still be growing: its length is known, not all of its octets are here. It is sent as
//! it fills.

use super::{CongestionControl, Fec, SourceConfig, cc};
use crate::num::Sqn;
use crate::wire::{Encoded, Fragment, Options, data_overhead};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// The queue takes APDUs while it holds less than this many octets …
const MAX_OCTETS: usize = 256 << 10;
/// … in less than this many APDUs: what the rate's bucket can swallow at once.
const MAX_APDUS: usize = 1024;

/// Of a longer APDU packets get octets of their own: else the whole of it would stay as long as the last of them is in the
/// window. What is queued of it counts only so far, since it is in memory anyway.
const LONG: usize = 128 << 10;

/// Bits that index [`SendQueue::overhead`].
const FRAGMENT: usize = 1;
const SYN: usize = 2;
const FIN: usize = 4;

/// Octets of OPT_CURR_TGSIZE, and of OPT_LENGTH before it if there is no other option.
const CURR_TGSIZE: usize = 12;

/// What the next packet will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) tsdu_len: usize,
    pub(super) fragment: Option<Fragment>,
    pub(super) syn: bool,
    pub(super) fin: bool,
    /// It is the last there will be, whether OPT_FIN fits or not.
    pub(super) last: bool,
    /// Octets of the TPDU.
    pub(super) size: usize,
}

/// Queue of unsent APDUs. The front one may be sent in part.
#[derive(Debug)]
pub(super) struct SendQueue {
    /// Their lengths.
    apdus: VecDeque<usize>,
    /// Their octets not yet sent, one APDU after the other.
    parts: VecDeque<Bytes>,
    octets: usize,
    /// What the last APDU still lacks.
    lacking: usize,
    /// The last APDU stays short of its length: no more of it will come.
    broken_off: bool,
    /// How much of the front APDU is sent, and as which SQNs.
    offset: usize,
    first: Sqn,
    /// TSDU length of all fragments of the front APDU but the last.
    piece: usize,
    /// Nothing was sent yet: the next packet is the session's first.
    fresh: bool,
    max_tpdu: usize,
    /// Header and options by kind of packet.
    overhead: [usize; 8],
    /// With FEC: what a packet that ends a short group has more, and what parity is longer than the longest
    /// TSDU of its group.
    tgsize_overhead: usize,
    parity_overhead: usize,
}

impl SendQueue {
    /// Memory it takes at most, octets.
    pub(super) const MEMORY_MAX: usize = MAX_OCTETS + LONG;

    pub(super) fn new(config: &SourceConfig) -> Self {
        let is_controlled = config.congestion_control == CongestionControl::Pgmcc;
        let overhead = std::array::from_fn(|kind| {
            let fragment = Fragment {
                first: Sqn(0),
                offset: 0,
                apdu_len: 0,
            };
            data_overhead(&Options {
                fragment: (kind & FRAGMENT != 0).then_some(fragment),
                syn: kind & SYN != 0,
                fin: kind & FIN != 0,
                pgmcc_data: is_controlled.then_some(cc::EMPTY_OPTION),
                ..Options::default()
            })
        });
        Self {
            apdus: VecDeque::new(),
            parts: VecDeque::new(),
            octets: 0,
            lacking: 0,
            broken_off: false,
            offset: 0,
            first: config.first_sqn,
            piece: 0,
            fresh: true,
            max_tpdu: config.max_tpdu,
            overhead,
            tgsize_overhead: config.fec.map_or(0, |_| CURR_TGSIZE),
            parity_overhead: config.fec.map_or(0, parity_overhead),
        }
    }

    /// Whether another APDU, however long, is taken.
    pub(super) fn is_open(&self) -> bool {
        self.octets < MAX_OCTETS && self.apdus.len() < MAX_APDUS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.apdus.is_empty()
    }

    /// Octets not yet sent.
    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    /// Octets not yet sent that count as the source's memory.
    pub(super) fn octets_held(&self) -> usize {
        self.octets.min(Self::MEMORY_MAX)
    }

    /// What `append` has to bring before another APDU can begin.
    pub(super) fn lacking(&self) -> usize {
        self.lacking
    }

    pub(super) fn push(&mut self, apdu: Bytes) {
        self.begin(apdu.len());
        self.append(apdu);
    }

    /// An APDU of so many octets, which follow by `append`.
    pub(super) fn begin(&mut self, len: usize) {
        self.apdus.push_back(len);
        self.lacking = len;
    }

    /// The next octets of the APDU begun, no more than it lacks.
    pub(super) fn append(&mut self, octets: Bytes) {
        self.lacking -= octets.len();
        self.octets += octets.len();
        self.parts.push_back(octets);
        if self.is_rest()
            && let Some(part) = self.parts.back_mut()
        {
            *part = Bytes::copy_from_slice(part);
        }
    }

    /// Whether what is here of a long APDU may be less than a packet, and waits for more: it must not keep the whole of
    /// the part that it is the end of.
    fn is_rest(&self) -> bool {
        let is_long = self.apdus.front().is_some_and(|len| *len > LONG);
        is_long && self.apdus.len() == 1 && self.lacking > 0 && self.octets < self.max_tpdu
    }

    /// What the last APDU lacks will not come. What of it is here will be sent, so that receivers know of
    /// it whatever the rate was; without an octet it never was.
    pub(super) fn break_off(&mut self) {
        let Some(len) = self.apdus.back().filter(|_| self.lacking > 0) else {
            return;
        };
        if self.lacking == *len {
            self.apdus.pop_back();
        } else {
            self.broken_off = true;
            self.drop_front_if_done();
        }
        self.lacking = 0;
    }

    /// Forget everything that was not sent.
    pub(super) fn clear(&mut self) {
        self.apdus.clear();
        self.parts.clear();
        (self.octets, self.lacking, self.offset) = (0, 0, 0);
    }

    /// The next packet, should it get `sqn` (RFC 3208 §9.2.2 (O-10)). `closing`: no APDU follows the last one.
    pub(super) fn peek(&self, sqn: Sqn, closing: bool) -> Option<Cut> {
        let len = *self.apdus.front()?;
        let is_short = self.broken_off && self.apdus.len() == 1;
        let syn = self.fresh;
        let mut kind = if syn { SYN } else { 0 };
        let mut tsdu_len = len;
        let mut fragment = None;
        if self.offset > 0 || is_short || len > self.max_tsdu(kind) {
            kind |= FRAGMENT;
            let (first, piece) = match self.offset {
                0 => (sqn, self.max_tsdu(kind)),
                _ => (self.first, self.piece),
            };
            tsdu_len = piece.min(len - self.offset);
            if is_short {
                tsdu_len = tsdu_len.min(self.octets);
            }
            // MAX_APDU is far below 2³².
            let (offset, apdu_len) = (self.offset as u32, len as u32);
            fragment = Some(Fragment {
                first,
                offset,
                apdu_len,
            });
        }
        // RFC 3208 §9.7.2: OPT_FIN may be on the last ODATA; it is where it fits.
        if tsdu_len > self.octets {
            // Wait until it has grown by a whole packet.
            return None;
        }
        let last = closing && self.octets == tsdu_len;
        let fin = last && tsdu_len <= self.max_tsdu(kind | FIN);
        kind |= if fin { FIN } else { 0 };
        Some(Cut {
            tsdu_len,
            fragment,
            syn,
            fin,
            last,
            size: self.overhead[kind] + tsdu_len,
        })
    }

    /// Longest TSDU of a packet of this kind.
    fn max_tsdu(&self, kind: usize) -> usize {
        let overhead = self.overhead[kind] + self.tgsize_overhead;
        self.max_tpdu - overhead.max(self.parity_overhead)
    }

    /// Take the TSDU `peek` described.
    pub(super) fn take(&mut self, cut: &Cut) -> Option<Bytes> {
        let tsdu = self.take_octets(cut.tsdu_len)?;
        self.fresh = false;
        if let Some(fragment) = cut.fragment
            && self.offset == 0
        {
            (self.first, self.piece) = (fragment.first, cut.tsdu_len);
        }
        self.offset += cut.tsdu_len;
        self.drop_front_if_done();
        if self.octets > 0 && self.is_rest() {
            let rest = self.parts.drain(..).flatten().collect();
            self.parts.push_back(rest);
        }
        Some(tsdu)
    }

    /// The next `len` octets, which are there.
    fn take_octets(&mut self, len: usize) -> Option<Bytes> {
        self.octets -= len;
        let is_long = self.apdus.front().is_some_and(|len| *len > LONG);
        let part = self.parts.front_mut()?;
        if !is_long && part.len() > len {
            return Some(part.split_to(len));
        }
        if !is_long && part.len() == len {
            return self.parts.pop_front();
        }
        let mut octets = BytesMut::with_capacity(len);
        while octets.len() < len {
            let part = self.parts.front_mut()?;
            octets.extend_from_slice(&part.split_to(part.len().min(len - octets.len())));
            if part.is_empty() {
                self.parts.pop_front();
            }
        }
        Some(octets.freeze())
    }

    /// After octets of the front APDU were sent.
    fn drop_front_if_done(&mut self) {
        let is_short = self.broken_off && self.octets == 0;
        if self.apdus.front() == Some(&self.offset) || is_short {
            self.apdus.pop_front();
            self.offset = 0;
        }
    }
}

/// RFC 3208 §11.2: parity has its own options, one of every encoded kind, and two octets of length.
fn parity_overhead(fec: Fec) -> usize {
    let options = Options {
        parity_grp: (fec.n - fec.k > fec.k).then_some(1),
        curr_tgsize: Some(1),
        encoded: Encoded {
            fragment: Some(Fragment::to_octets(None)),
            syn: Some(0),
            fin: Some(0),
        },
        ..Options::default()
    };
    data_overhead(&options) + 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Tsi;
    use std::net::Ipv4Addr;

    fn queue() -> SendQueue {
        let any = Ipv4Addr::LOCALHOST;
        SendQueue::new(&SourceConfig::new(Tsi::default(), 1, any, any))
    }

    fn apdu(len: usize) -> Bytes {
        (0..len).map(|i| (i % 251) as u8).collect()
    }

    /// Cut everything; every cut's size must be what the wire makes of it.
    fn drain(queue: &mut SendQueue, mut sqn: Sqn, closing: bool) -> Vec<(Cut, Bytes)> {
        let mut cuts = Vec::new();
        while let Some(cut) = queue.peek(sqn, closing) {
            let tsdu = queue.take(&cut).expect("peek found a packet");
            assert_eq!(tsdu.len(), cut.tsdu_len);
            let options = Options {
                fragment: cut.fragment,
                syn: cut.syn,
                fin: cut.fin,
                ..Options::default()
            };
            assert_eq!(data_overhead(&options) + cut.tsdu_len, cut.size);
            assert!(cut.size <= 1472);
            cuts.push((cut, tsdu));
            sqn = sqn.next();
        }
        assert_eq!(queue.octets(), 0);
        cuts
    }

    #[test]
    fn less_than_a_packet_does_not_keep_the_part_that_it_is_the_end_of() {
        let is_free = |part: Bytes| part.is_unique();
        let mut queue = queue();
        queue.begin(LONG * 3);
        let parts = [apdu(100), apdu(LONG), apdu(10), apdu(LONG)];
        let mut octets = Vec::new();
        for part in &parts {
            octets.extend_from_slice(part);
            queue.append(part.clone());
            while let Some(cut) = queue.peek(Sqn(0), false) {
                let tsdu = queue.take(&cut).expect("peek found a packet");
                assert_eq!(tsdu, octets.drain(..tsdu.len()).as_slice());
            }
            assert_eq!(queue.octets(), octets.len());
        }
        assert!(parts.into_iter().all(is_free));
    }

    #[test] // RFC 3208 §9.2, O-10: equal fragments on consecutive SQNs, whole across the wrap
    fn an_apdu_is_cut_into_equal_fragments() {
        let (mut queue, first) = (queue(), Sqn(u32::MAX - 1));
        queue.push(apdu(1));
        queue.push(apdu(10_000));
        let cuts = drain(&mut queue, first, false);
        assert_eq!(cuts[0].0.fragment, None);
        let piece = cuts[1].0.tsdu_len;
        assert_eq!(cuts[1].0.size, 1472, "fragments fill the TPDU");
        for (i, (cut, _)) in cuts[1..].iter().enumerate() {
            let fragment = cut.fragment.expect("a fragment");
            assert_eq!(fragment.first, first.next());
            assert_eq!(
                (fragment.offset as usize, fragment.apdu_len),
                (i * piece, 10_000)
            );
        }
        let whole: Vec<u8> = cuts[1..]
            .iter()
            .flat_map(|(_, tsdu)| tsdu.to_vec())
            .collect();
        assert_eq!(whole, apdu(10_000));
    }

    #[test] // S-27: OPT_SYN on the session's first ODATA only
    fn the_first_packet_carries_syn() {
        for len in [1, 5_000] {
            let mut queue = queue();
            queue.push(apdu(len));
            queue.push(apdu(1));
            let cuts = drain(&mut queue, Sqn(7), false);
            let syns: Vec<bool> = cuts.iter().map(|(cut, _)| cut.syn).collect();
            assert!(syns[0] && !syns[1..].contains(&true));
        }
    }

    #[test] // S-28: OPT_FIN on the last ODATA, unless it does not fit
    fn the_last_packet_carries_fin_when_closing() {
        let mut queue = queue();
        queue.push(apdu(10));
        queue.push(apdu(5_000));
        let cuts = drain(&mut queue, Sqn(7), true);
        let fins: Vec<bool> = cuts.iter().map(|(cut, _)| cut.fin).collect();
        assert_eq!(fins, [false, false, false, false, true]);
        queue.push(apdu(1448));
        let cuts = drain(&mut queue, Sqn(20), true);
        assert_eq!(
            cuts.len(),
            1,
            "a TSDU that just fits is not split for the sake of OPT_FIN"
        );
        assert!(!cuts[0].0.fin);
    }

    #[test]
    fn the_longest_unfragmented_apdu_fills_the_tpdu() {
        let mut queue = queue();
        queue.push(apdu(1));
        queue.push(apdu(1448));
        queue.push(apdu(1449));
        let cuts = drain(&mut queue, Sqn(0), false);
        assert_eq!((cuts[1].0.size, cuts[1].0.fragment), (1472, None));
        assert!(cuts[2].0.fragment.is_some());
        assert_eq!(cuts.len(), 4);
    }

    #[test] // RM_SET_MESSAGE_BOUNDARY: sent as it fills, cut as if it had been there at once
    fn an_apdu_that_grows_is_sent_as_it_fills() {
        let whole = apdu(10_000);
        let mut queue = queue();
        queue.push(apdu(1));
        queue.begin(whole.len());
        let (mut got, mut given) = (Vec::new(), 0);
        for len in [1, 0, 3000, 1427, 1, 5571, 0] {
            let part = whole.slice(given..given + len);
            given += len;
            if len > 0 {
                queue.append(part);
            }
            while let Some(cut) = queue.peek(Sqn(got.len() as u32), true) {
                got.push((cut, queue.take(&cut).expect("peek found a packet")));
            }
            let pieces = if given == whole.len() {
                8
            } else {
                given / 1428
            };
            assert_eq!(got.len(), 1 + pieces, "{given} given");
            assert_eq!(
                queue.octets(),
                if pieces == 8 {
                    0
                } else {
                    given - pieces * 1428
                }
            );
        }
        assert_eq!((queue.lacking(), queue.is_empty()), (0, true));
        let octets: Vec<u8> = got[1..]
            .iter()
            .flat_map(|(_, tsdu)| tsdu.to_vec())
            .collect();
        assert_eq!(octets, whole);
        for (n, (cut, _)) in got[1..].iter().enumerate() {
            let expected = Fragment {
                first: Sqn(1),
                offset: 1428 * n as u32,
                apdu_len: 10_000,
            };
            assert_eq!((cut.fragment, cut.fin), (Some(expected), n == 7));
        }
    }

    #[test]
    fn an_apdu_broken_off_ends_with_what_was_given() {
        for (given, packets) in [(0, 0), (1, 1), (1428, 1), (2000, 2), (2856, 2)] {
            for sent_before in [false, true] {
                let mut queue = queue();
                queue.push(apdu(1));
                drain(&mut queue, Sqn(9), false);
                queue.begin(100_000);
                if given > 0 {
                    queue.append(apdu(given));
                }
                let mut got = Vec::new();
                if sent_before {
                    while let Some(cut) = queue.peek(Sqn(got.len() as u32), false) {
                        got.push((cut, queue.take(&cut).expect("a packet")));
                    }
                }
                queue.break_off();
                got.extend(drain(&mut queue, Sqn(got.len() as u32), true));
                assert!(queue.is_empty() && queue.lacking() == 0);
                assert_eq!(got.len(), packets, "{given}");
                assert!(
                    got.iter()
                        .all(|(cut, _)| cut.fragment.is_some_and(|f| f.apdu_len == 100_000))
                );
                assert_eq!(got.iter().map(|(_, tsdu)| tsdu.len()).sum::<usize>(), given);
            }
        }
        // One that would have fitted one packet is a fragment, too.
        let mut queue = queue();
        queue.begin(100);
        queue.append(apdu(60));
        queue.break_off();
        let cuts = drain(&mut queue, Sqn(0), true);
        assert_eq!((cuts.len(), cuts[0].1.len()), (1, 60));
        assert!(cuts[0].0.fragment.is_some());
    }

    #[test]
    fn the_queue_is_bounded_and_takes_one_apdu_of_any_length() {
        let mut queue = queue();
        queue.push(apdu(MAX_OCTETS - 1));
        assert!(queue.is_open());
        queue.push(apdu(1));
        assert!(!queue.is_open());
        let mut queue = super::tests::queue();
        for _ in 0..MAX_APDUS {
            assert!(queue.is_open());
            queue.push(apdu(1));
        }
        assert!(!queue.is_open());
    }
}
