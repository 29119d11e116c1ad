//! What losses cost: who lost which data packet, and how long it took until it came after all.

use super::NodeId;
use super::link::{Cast, Flight, Kind};
use crate::num::{Sqn, Tsi};
use crate::wire::Body;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Losses and repairs of data packets on their way into hosts.
#[derive(Debug, Default)]
pub struct Probe {
    /// Lost and not repaired yet: when it would have arrived.
    missing: HashMap<(NodeId, Tsi, u32), Instant>,
    /// Lost on the way to an element, with all hosts below: when hosts would have had it.
    cut: HashMap<(Tsi, u32), Instant>,
    /// Hosts that got one of these all the same.
    got: HashSet<(NodeId, Tsi, u32)>,
    /// From then until the repair arrived.
    latencies: Vec<Duration>,
    /// NAKs the source got for each SQN that some host lost.
    losses: HashMap<(Tsi, u32), u32>,
    duplicates: u64,
    needed: u64,
}

impl Probe {
    /// A packet on its way to a host: the copies that will arrive, and when it would have.
    pub(super) fn on_flight(
        &mut self,
        flight: &Flight<'_>,
        node: NodeId,
        delays: &[Duration],
        due: Instant,
    ) {
        let data = match &flight.tpdu.body {
            Body::Odata(data) | Body::Rdata(data) => data,
            Body::Nak(nak) if flight.cast == Cast::Host && !delays.is_empty() => {
                return self.on_nak(flight.tsi, nak.sqns());
            }
            _ => return,
        };
        if flight.cast != Cast::Group || flight.tpdu.parity {
            return;
        }
        let key = (node, flight.tsi, data.sqn.0);
        if let Some(lost) = self
            .cut
            .get(&(flight.tsi, data.sqn.0))
            .filter(|_| !delays.is_empty())
            && self.got.insert(key)
            && flight.kind == Kind::Rdata
        {
            self.missing.entry(key).or_insert(*lost);
        }
        match (flight.kind, delays.is_empty()) {
            (Kind::Odata, true) => {
                self.missing.insert(key, due);
                self.losses.entry((flight.tsi, data.sqn.0)).or_default();
            }
            (Kind::Rdata, false) => match self.missing.remove(&key) {
                Some(lost) => {
                    self.needed += 1;
                    self.latencies.push(due.saturating_duration_since(lost));
                }
                None => self.duplicates += 1,
            },
            _ => {}
        }
    }

    /// A packet is lost on its way to an element; hosts would have had it at `due`.
    pub(super) fn on_cut(&mut self, flight: &Flight<'_>, due: Instant) {
        if let Body::Odata(data) = &flight.tpdu.body
            && !flight.tpdu.parity
        {
            let key = (flight.tsi, data.sqn.0);
            self.cut.entry(key).or_insert(due);
            self.losses.entry(key).or_default();
        }
    }

    /// A NAK arrives at its source.
    fn on_nak(&mut self, tsi: Tsi, sqns: impl Iterator<Item = Sqn>) {
        for sqn in sqns {
            if let Some(naks) = self.losses.get_mut(&(tsi, sqn.0)) {
                *naks += 1;
            }
        }
    }

    /// Data packets that at least one host lost.
    #[must_use]
    pub fn lost_packets(&self) -> usize {
        self.losses.len()
    }

    /// NAKs the source got for each lost packet of a session, in the order of their SQNs after `first`.
    #[must_use]
    pub fn naks_of(&self, tsi: Tsi, first: Sqn) -> Vec<u32> {
        let losses = self.losses.iter().filter(|((of, _), _)| *of == tsi);
        let mut losses: Vec<_> = losses.map(|((_, sqn), naks)| (*sqn, *naks)).collect();
        losses.sort_unstable_by_key(|(sqn, _)| Sqn(*sqn).since(first));
        losses.into_iter().map(|(_, naks)| naks).collect()
    }

    /// Repairs that arrived where they were needed, and where they were not.
    #[must_use]
    pub fn repairs(&self) -> (u64, u64) {
        (self.needed, self.duplicates)
    }

    /// Losses still open.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.missing.len()
    }

    /// The share `p`, 0..=1, of repairs took no longer than this, counted from when the lost packet would
    /// have arrived.
    #[must_use]
    pub fn latency(&self, p: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = (sorted.len() as f64 * p).ceil() as usize;
        let last = sorted.len().saturating_sub(1);
        sorted
            .get(at.saturating_sub(1).min(last))
            .copied()
            .unwrap_or_default()
    }
}
