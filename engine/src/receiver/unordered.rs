//! Delivery out of order (PGM_UNORDERED): which APDUs beyond the head of the window are whole (RFC 3208 §6.1
//!
//!
//! The head of the window goes its usual way, piecewise, so that an APDU longer than the window passes.
//! What is complete beyond it is found here, read out of its slots, and skipped when its turn comes.

use super::rxw::Rxw;
use crate::num::Sqn;
use crate::wire::Fragment;
use bytes::{Bytes, BytesMut};
use std::collections::{HashMap, VecDeque};

/// APDUs that can be read before their turn.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// First SQNs of APDUs that came whole, in that order. Some may have been read since, in their turn.
    whole: VecDeque<Sqn>,
    /// Octets here of each fragmented APDU, by its first SQN.
    parts: HashMap<Sqn, u64>,
}

impl Early {
    /// A packet was taken into the window.
    pub(super) fn on_packet(
        &mut self,
        rxw: &Rxw,
        sqn: Sqn,
        fragment: Option<&Fragment>,
        len: usize,
        max_apdu: usize,
    ) {
        let Some(fragment) = fragment else {
            if (1..=max_apdu).contains(&len) {
                self.whole.push_back(sqn);
            }
            return;
        };
        if fragment.first.since(rxw.base()) < 0 {
            // Its beginning is under assembly at the head already.
            return;
        }
        let octets = self.parts.entry(fragment.first).or_default();
        *octets += len as u64;
        if *octets >= u64::from(fragment.apdu_len) {
            self.parts.remove(&fragment.first);
            if fragment.apdu_len as usize <= max_apdu && extent(rxw, fragment.first).is_some() {
                self.whole.push_back(fragment.first);
            }
        }
        // Each entry has a packet in the window, or is history.
        if self.parts.len() > rxw.held() as usize {
            self.parts.retain(|first, _| first.since(rxw.base()) >= 0);
        }
    }

    /// The window moved on: forget what was read in its turn.
    pub(super) fn settle(&mut self, rxw: &Rxw) {
        while let Some(first) = self.whole.front()
            && rxw.packet(*first).is_none()
        {
            self.whole.pop_front();
        }
    }

    /// The window was cut: forget what is not whole any more.
    pub(super) fn on_truncated(&mut self, rxw: &Rxw) {
        self.whole.retain(|first| extent(rxw, *first).is_some());
        self.parts.clear();
    }

    /// Whether there is something, after `settle`.
    pub(super) fn is_readable(&self) -> bool {
        !self.whole.is_empty()
    }

    /// Take the next one out of the window.
    pub(super) fn read(&mut self, rxw: &mut Rxw) -> Option<Bytes> {
        let first = self.whole.pop_front()?;
        let packets = extent(rxw, first)?;
        if packets == 1 {
            return rxw.take(first).map(|packet| packet.payload);
        }
        let mut octets = BytesMut::new();
        for n in 0..packets {
            octets.extend_from_slice(&rxw.take(first.plus(n))?.payload);
        }
        Some(octets.freeze())
    }
}

/// How many packets the APDU has that begins at `first`, if all of them are here and fit together.
fn extent(rxw: &Rxw, first: Sqn) -> Option<u32> {
    let Some(Fragment { apdu_len, .. }) = rxw.packet(first)?.fragment() else {
        return Some(1);
    };
    let (mut octets, mut packets) = (0, 0);
    while octets < apdu_len {
        let packet = rxw.packet(first.plus(packets))?;
        let expected = Fragment {
            first,
            offset: octets,
            apdu_len,
        };
        if packet.fragment() != Some(expected) {
            return None;
        }
        octets += packet.payload.len() as u32;
        packets += 1;
    }
    (octets == apdu_len).then_some(packets)
}
