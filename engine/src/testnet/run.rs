//! The course of virtual time: what is due next, where packets go.

use super::link::{Cast, Flight, Kind};
use super::trace::Record;
use super::{NodeId, TestNet, node_addr};
use crate::endpoint::Arrival;
use crate::wire::Tpdu;
use crate::{Destination, Transmit};
use bytes::Bytes;
use std::cmp::Reverse;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Steps without progress of the clock after which a loop without end is assumed.
const STUCK: u32 = 2_000_000;

/// Something that will happen.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    pub(super) at: Instant,
    /// Ties are broken by age.
    pub(super) serial: u64,
    pub(super) node: NodeId,
    pub(super) what: What,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// A packet arrives: from, to which group, its octets.
    Packet(Ipv4Addr, Option<Ipv4Addr>, Bytes),
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
                self.nodes[node.0].endpoint.handle_timeout(self.now);
                self.service(node);
            }
        } else if let Some(Reverse(Due { node, what, .. })) = self.queue.pop() {
            match what {
                What::Packet(from, group, bytes) => {
                    let arrival = Arrival { from, group };
                    self.nodes[node.0]
                        .endpoint
                        .handle_tpdu(self.now, arrival, &bytes);
                }
                What::Read(index) => {
                    let next = self.nodes[node.0].read_turn(self.now, index, &mut self.busy);
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
        let mut buffer = Vec::new();
        loop {
            self.steps += 1;
            assert!(
                self.steps < STUCK,
                "node {} does not come to rest{}",
                id.0,
                self.diagram()
            );
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
        let node = &mut self.nodes[id.0];
        let deadline = node.endpoint.poll_timeout();
        if deadline != node.deadline {
            if let Some(old) = node.deadline {
                self.timers.remove(&(old, id));
            }
            self.timers.extend(deadline.map(|at| (at, id)));
            node.deadline = deadline;
        }
    }

    /// A packet leaves `from`.
    fn transmit(&mut self, from: NodeId, transmit: &Transmit, packet: &[u8]) {
        let bytes = Bytes::copy_from_slice(packet);
        let tpdu = Tpdu::parse(packet)
            .unwrap_or_else(|e| panic!("node {} sent a bad packet: {e}: {packet:02x?}", from.0));
        let (kind, tsi) = (Kind::from(&tpdu.body), tpdu.tsi());
        let (cast, to) = match transmit.to {
            Destination::Group(group) => (Cast::Group, group),
            Destination::Host(host) => (Cast::Host, host),
        };
        self.nodes[from.0].sent[kind as usize] += 1;
        let nth = self.counts.entry((tsi, kind)).or_default();
        *nth += 1;
        let at = self.now - self.start;
        let flight = Flight {
            at,
            from,
            cast,
            kind,
            nth: *nth,
            tsi,
            tpdu: &tpdu,
        };
        if kind != Kind::Spm {
            self.busy = self.now;
        }
        let mut fates = Vec::new();
        for node in (0..self.nodes.len()).map(NodeId) {
            let reached = match cast {
                Cast::Group => self.nodes[node.0].joined.contains(&to),
                Cast::Host => node_addr(node) == to,
            };
            if reached {
                let arrives = self.carry(&flight, node, to, &bytes);
                fates.push((node, arrives));
            }
        }
        if self.records.len() >= self.records_kept {
            self.records.pop_front();
        }
        let ttl = transmit.ttl.unwrap_or(16);
        self.records.push_back(Record {
            at,
            from,
            to,
            ttl,
            bytes,
            fates,
        });
    }

    /// One packet on its way to one node. Whether it will arrive.
    fn carry(&mut self, flight: &Flight<'_>, node: NodeId, to: Ipv4Addr, bytes: &Bytes) -> bool {
        let from = node_addr(flight.from);
        let group = (flight.cast == Cast::Group).then_some(to);
        // Looped back inside the host: nothing happens to it.
        let delays: Vec<_> = if node == flight.from {
            vec![Duration::from_micros(10)]
        } else if self.rules.iter_mut().any(|rule| rule(flight, node)) {
            vec![]
        } else {
            let way = self.ways.entry((node, flight.cast)).or_default();
            way.arrivals(flight.at, bytes.len(), &mut self.rng)
                .collect()
        };
        for delay in &delays {
            self.plan(
                self.now + *delay,
                node,
                What::Packet(from, group, bytes.clone()),
            );
        }
        !delays.is_empty()
    }
}
