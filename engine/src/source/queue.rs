//! APDUs accepted and not yet sent, cut into TSDUs one packet at a time (RFC 3208 §9.2).

use super::SourceConfig;
use crate::num::Sqn;
use crate::wire::{Fragment, Options, data_overhead};
use bytes::Bytes;
use std::collections::VecDeque;

/// The queue takes APDUs while it holds less than this many octets …
const MAX_OCTETS: usize = 256 << 10;
/// … in less than this many APDUs: what the rate's bucket can swallow at once.
const MAX_APDUS: usize = 1024;

/// Bits that index [`SendQueue::overhead`].
const FRAGMENT: usize = 1;
const SYN: usize = 2;
const FIN: usize = 4;

/// What the next packet will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) tsdu_len: usize,
    pub(super) fragment: Option<Fragment>,
    pub(super) syn: bool,
    pub(super) fin: bool,
    /// Octets of the TPDU.
    pub(super) size: usize,
}

/// Queue of unsent APDUs. The front one may be sent in part.
#[derive(Debug)]
pub(super) struct SendQueue {
    apdus: VecDeque<Bytes>,
    octets: usize,
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
}

impl SendQueue {
    pub(super) fn new(config: &SourceConfig) -> Self {
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
                ..Options::default()
            })
        });
        Self {
            apdus: VecDeque::new(),
            octets: 0,
            offset: 0,
            first: config.first_sqn,
            piece: 0,
            fresh: true,
            max_tpdu: config.max_tpdu,
            overhead,
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

    pub(super) fn push(&mut self, apdu: Bytes) {
        self.octets += apdu.len();
        self.apdus.push_back(apdu);
    }

    /// The next packet, should it get `sqn`. `closing`: no APDU follows the last one.
    pub(super) fn peek(&self, sqn: Sqn, closing: bool) -> Option<Cut> {
        let apdu = self.apdus.front()?;
        let syn = self.fresh;
        let mut kind = if syn { SYN } else { 0 };
        let mut tsdu_len = apdu.len();
        let mut fragment = None;
        if self.offset > 0 || apdu.len() > self.max_tpdu - self.overhead[kind] {
            kind |= FRAGMENT;
            let (first, piece) = match self.offset {
                0 => (sqn, self.max_tpdu - self.overhead[kind]),
                _ => (self.first, self.piece),
            };
            tsdu_len = piece.min(apdu.len() - self.offset);
            // MAX_APDU is far below 2³².
            let (offset, apdu_len) = (self.offset as u32, apdu.len() as u32);
            fragment = Some(Fragment {
                first,
                offset,
                apdu_len,
            });
        }
        // RFC 3208 §9.7.2: OPT_FIN may be on the last ODATA; it is where it fits.
        let last = closing && self.apdus.len() == 1 && self.offset + tsdu_len == apdu.len();
        let fin = last && self.overhead[kind | FIN] + tsdu_len <= self.max_tpdu;
        kind |= if fin { FIN } else { 0 };
        Some(Cut {
            tsdu_len,
            fragment,
            syn,
            fin,
            size: self.overhead[kind] + tsdu_len,
        })
    }

    /// Take the TSDU `peek` described.
    pub(super) fn take(&mut self, cut: &Cut) -> Option<Bytes> {
        let apdu = self.apdus.front()?;
        self.fresh = false;
        self.octets -= cut.tsdu_len;
        let end = self.offset + cut.tsdu_len;
        let Some(fragment) = cut.fragment else {
            return self.apdus.pop_front();
        };
        let tsdu = apdu.slice(self.offset..end);
        if end == apdu.len() {
            self.apdus.pop_front();
            self.offset = 0;
        } else {
            if self.offset == 0 {
                (self.first, self.piece) = (fragment.first, cut.tsdu_len);
            }
            self.offset = end;
        }
        Some(tsdu)
    }
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
