//! The course of virtual time: what is due next, where packets go.

use super::link::{Cast, Flight, Kind};
use super::trace::Record;
use super::tree::Leaving;
use super::{NodeId, TestNet, node_addr};
use crate::endpoint::Arrival;
use crate::wire::Tpdu;
use crate::{Destination, Transmit};
use arrayvec::ArrayVec;
use bytes::Bytes;
use std::cmp::{Ordering, Reverse};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Steps without progress of the clock after which a loop without end is assumed.
const STUCK: u32 = 2_000_000;

/// Something that will happen.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) at: Instant,
    /// Ties are broken by age.
    pub(super) serial: u64,
    pub(super) node: NodeId,
    pub(super) what: What,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

#[derive(Debug)]
pub(super) enum What {
    /// A packet arrives: from, to which group, its octets.
    Packet(Ipv4Addr, Option<Ipv4Addr>, Bytes),
    /// A packet arrives at an interface of a network element: which one, from, to, its octets.
    Hop(usize, Ipv4Addr, Ipv4Addr, Bytes),
    /// A reader's turn: index of the session at its node.
    Read(usize),
}

impl TestNet {
    /// The next thing, if it is due by `end`. Whether there was one.
    pub(super) fn step(&mut self, end: Instant) -> bool {
        let packet = self.queue.peek().map(|Reverse(due)| due.at);
        let timer = self.timers.first().map(|(at, _)| *at);
        let Some(at) = packet
            .into_iter()
            .chain(timer)
            .min()
            .filter(|at| *at <= end)
        else {
            return false;
        };
        self.advance(at);
        // Timers first: a driver looks at its clock before it reads its sockets.
        if timer.is_some_and(|timer| timer <= self.now) {
            if let Some((_, node)) = self.timers.pop_first() {
                self.nodes[node.0].deadline = None;
                self.events += 1;
                match &mut self.nodes[node.0].port {
                    Some(port) => port.element.handle_timeout(self.now),
                    None => self.nodes[node.0].endpoint.handle_timeout(self.now),
                }
                self.service(node);
            }
        } else if let Some(Reverse(Due { node, what, .. })) = self.queue.pop() {
            self.events += 1;
            match what {
                What::Packet(from, group, bytes) => {
                    let arrival = Arrival { from, group };
                    self.nodes[node.0]
                        .endpoint
                        .handle_tpdu(self.now, arrival, &bytes);
                }
                What::Hop(iface, from, to, bytes) => self.arrive(node, iface, (from, to), &bytes),
                What::Read(index) => {
                    let next = self.nodes[node.0].read_turn(
                        self.now,
                        index,
                        &mut self.busy,
                        self.counting,
                    );
                    if let Some(at) = next {
                        self.plan(at, node, What::Read(index));
                    }
                }
            }
            self.service(node);
        }
        true
    }

    fn advance(&mut self, to: Instant) {
        if to > self.now {
            self.now = to;
            self.steps = 0;
        }
    }

    pub(super) fn plan(&mut self, at: Instant, node: NodeId, what: What) {
        self.serial += 1;
        self.queue.push(Reverse(Due {
            at,
            serial: self.serial,
            node,
            what,
        }));
    }

    /// After every change of a node: its packets out, its events to its application, its timer set.
    pub(super) fn service(&mut self, id: NodeId) {
        if self.nodes[id.0].port.is_some() {
            return self.service_element(id);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            self.count_step(id);
            buffer.clear();
            if let Some(transmit) = self.nodes[id.0]
                .endpoint
                .poll_transmit(self.now, &mut buffer)
            {
                assert_eq!(transmit.len, buffer.len(), "length of a transmit");
                self.transmit(id, &transmit, &buffer);
            } else if let Some(event) = self.nodes[id.0].endpoint.poll_event() {
                self.busy = self.now;
                let turn = self.nodes[id.0].on_event(self.now, event);
                if let Some(index) = turn {
                    self.plan(self.now, id, What::Read(index));
                }
            } else {
                break;
            }
        }
        self.buffer = buffer;
        self.arm(id, self.nodes[id.0].endpoint.poll_timeout());
    }

    pub(super) fn count_step(&mut self, id: NodeId) {
        self.steps += 1;
        assert!(
            self.steps < STUCK,
            "node {} does not come to rest{}",
            id.0,
            self.diagram()
        );
    }

    /// The timer of a node.
    pub(super) fn arm(&mut self, id: NodeId, deadline: Option<Instant>) {
        let node = &mut self.nodes[id.0];
        if deadline != node.deadline {
            if let Some(old) = node.deadline {
                self.timers.remove(&(old, id));
            }
            self.timers.extend(deadline.map(|at| (at, id)));
            node.deadline = deadline;
        }
    }

    /// A packet leaves the host `from`.
    fn transmit(&mut self, from: NodeId, transmit: &Transmit, packet: &[u8]) {
        let to = match transmit.to {
            Destination::Group(to) | Destination::Host(to) => to,
        };
        let leaving = Leaving {
            from,
            iface: None,
            segment: self.nodes[from.0].segment,
            addr: transmit.source.unwrap_or(node_addr(from)),
            to,
            ttl: transmit.ttl.unwrap_or(16),
        };
        self.put(&leaving, Bytes::copy_from_slice(packet));
    }

    /// A packet goes onto a segment.
    pub(super) fn put(&mut self, leaving: &Leaving, bytes: Bytes) {
        let Leaving { from, to, .. } = *leaving;
        let tpdu = Tpdu::parse(&bytes)
            .unwrap_or_else(|e| panic!("node {} sent a bad packet: {e}: {bytes:02x?}", from.0));
        let (kind, tsi) = (Kind::from(&tpdu.body), tpdu.tsi());
        self.nodes[from.0].sent[kind as usize] += 1;
        let sender = leaving.iface.map(|iface| (from, iface));
        let nth = self.counts.entry((sender, tsi, kind)).or_default();
        *nth += 1;
        let at = self.now - self.start;
        let flight = Flight {
            at,
            from,
            iface: leaving.iface,
            cast: if to.is_multicast() {
                Cast::Group
            } else {
                Cast::Host
            },
            kind,
            nth: *nth,
            tsi,
            tpdu: &tpdu,
        };
        if kind != Kind::Spm {
            self.busy = self.now;
        }
        let fates = self.spread(&flight, leaving, &bytes);
        if self.records.len() >= self.records_kept {
            self.records.pop_front();
        }
        self.records.push_back(Record {
            at,
            from,
            addr: leaving.addr,
            to,
            ttl: leaving.ttl,
            bytes,
            fates,
        });
    }

    /// A packet to everybody it reaches on its segment, hosts first, and whether it gets there.
    fn spread(
        &mut self,
        flight: &Flight<'_>,
        leaving: &Leaving,
        bytes: &Bytes,
    ) -> Vec<(NodeId, bool)> {
        let mut fates = Vec::new();
        let Some(queued) = self.leave(flight, leaving, bytes.len()) else {
            return fates;
        };
        let to = leaving.to;
        if flight.cast == Cast::Group {
            let hosts = std::mem::take(&mut self.segments[leaving.segment.0].hosts);
            for node in &hosts {
                if self.nodes[node.0].joined.contains(&to) {
                    let arrives = self.carry(flight, *node, queued, leaving, bytes);
                    fates.push((*node, arrives));
                }
            }
            self.segments[leaving.segment.0].hosts = hosts;
            for (node, iface) in self.segments[leaving.segment.0].ports.clone() {
                if node != leaving.from {
                    let arrives = self.hop(flight, (node, iface), queued, leaving, bytes);
                    fates.push((node, arrives));
                }
            }
            return fates;
        }
        match self.next_hop(leaving.segment, to) {
            Some((node, None)) => {
                let arrives = self.carry(flight, node, queued, leaving, bytes);
                fates.push((node, arrives));
            }
            Some((node, Some(iface))) => {
                let arrives = self.hop(flight, (node, iface), queued, leaving, bytes);
                fates.push((node, arrives));
            }
            None => {}
        }
        fates
    }

    /// One packet on its way to one host. Whether it will arrive.
    fn carry(
        &mut self,
        flight: &Flight<'_>,
        node: NodeId,
        queued: Duration,
        leaving: &Leaving,
        bytes: &Bytes,
    ) -> bool {
        let group = (flight.cast == Cast::Group).then_some(leaving.to);
        // Looped back inside the host: nothing happens to it.
        let delays: ArrayVec<_, 2> = if node == flight.from {
            [Duration::from_micros(10)].into_iter().collect()
        } else if self.rules.iter_mut().any(|rule| rule(flight, node)) {
            ArrayVec::new()
        } else {
            let way = &mut self.nodes[node.0].ways[flight.cast as usize];
            way.arrivals(flight.at, bytes.len(), &mut self.rng)
                .collect()
        };
        if let Some(probe) = &mut self.probe {
            let latency = self.nodes[node.0].ways[flight.cast as usize].link.latency;
            probe.on_flight(flight, node, &delays, self.now + queued + latency);
        }
        for delay in &delays {
            self.plan(
                self.now + queued + *delay,
                node,
                What::Packet(leaving.addr, group, bytes.clone()),
            );
        }
        !delays.is_empty()
    }
}
