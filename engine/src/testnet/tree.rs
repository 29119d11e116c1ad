//! Segments and the network elements that join them: where a packet goes beyond its own segment.
//!
//! A segment is a LAN: what is multicast on it reaches every host and element there. Segments must form
//! a tree. Elements see the packets that PGM has them see, and route the rest.

use super::element::{Arriving, Element, ElementConfig};
use super::link::{Flight, Link, Way};
use super::run::What;
use super::{NodeId, TestNet, node_addr};
use bytes::Bytes;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// A LAN of the net. Nodes are on the first one unless [`TestNet::at`] says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment(pub(super) usize);

impl Segment {
    /// The one that every net has.
    pub const FIRST: Self = Self(0);
}

/// Who is on a segment, in the order they came.
#[derive(Debug, Default)]
pub(super) struct Lan {
    pub(super) hosts: Vec<NodeId>,
    /// Elements and their interfaces.
    pub(super) ports: Vec<(NodeId, usize)>,
}

/// A network element and the segments of its interfaces.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) element: Element,
    config: ElementConfig,
    ifaces: Vec<Iface>,
}

#[derive(Debug)]
struct Iface {
    segment: Segment,
    into: Way,
    out: Way,
}

/// A packet that goes onto a segment.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) from: NodeId,
    /// The sender's interface, if it is an element.
    pub(super) iface: Option<usize>,
    pub(super) segment: Segment,
    /// Source address.
    pub(super) addr: Ipv4Addr,
    pub(super) to: Ipv4Addr,
    pub(super) ttl: u8,
}

/// Second octet of the addresses of elements: 10.128.a.b is interface 0 of node a.b.
const ELEMENTS: u8 = 128;

/// Address of an interface of a network element.
fn iface_addr(node: NodeId, iface: usize) -> Ipv4Addr {
    let [_, _, a, b] = node_addr(node).octets();
    Ipv4Addr::new(10, ELEMENTS + iface as u8, a, b)
}

/// Node and interface with this address.
fn owner(addr: Ipv4Addr) -> (NodeId, Option<usize>) {
    let [_, kind, a, b] = addr.octets();
    let node = NodeId(usize::from(u16::from_be_bytes([a, b])).wrapping_sub(1));
    (node, kind.checked_sub(ELEMENTS).map(usize::from))
}

impl TestNet {
    /// A new segment.
    pub fn segment(&mut self) -> Segment {
        self.segments.push(super::Lan::default());
        Segment(self.segments.len() - 1)
    }

    /// Hosts made from now on are on this segment.
    pub fn at(&mut self, segment: Segment) {
        self.place = segment;
    }

    /// A network element with an interface on each of `segments`, in this order. The ways in and out have
    /// the net's latency and lose nothing.
    ///
    /// # Panics
    /// With more than 100 interfaces: their addresses would run out.
    pub fn element(&mut self, config: ElementConfig, segments: &[Segment]) -> NodeId {
        assert!(segments.len() <= 100, "{} interfaces", segments.len());
        let node = self.node();
        self.segments[self.place.0].hosts.pop();
        let link = Link {
            latency: self.link.latency,
            ..Link::default()
        };
        let ifaces = segments.iter().zip(0..).map(|(segment, iface)| {
            self.segments[segment.0].ports.push((node, iface));
            Iface {
                segment: *segment,
                into: Way::new(link),
                out: Way::new(Link::default()),
            }
        });
        let port = Port {
            ifaces: ifaces.collect(),
            element: Element::new(config.clone(), addresses(node, segments.len())),
            config,
        };
        self.nodes[node.0].port = Some(Box::new(port));
        node
    }

    /// A network element loses all it knows.
    pub fn restart(&mut self, node: NodeId) {
        if let Some(port) = &mut self.nodes[node.0].port {
            let addresses = addresses(node, port.ifaces.len());
            port.element = Element::new(port.config.clone(), addresses);
        }
        self.service(node);
    }

    /// The network element at `node`. Follow changes with `touch`.
    ///
    /// # Panics
    /// If it is a host.
    pub fn element_mut(&mut self, node: NodeId) -> &mut Element {
        let port = self.nodes[node.0].port.as_mut();
        &mut port.expect("the node is an element").element
    }

    /// The way from a segment into an element's interface.
    ///
    /// # Panics
    /// If it is a host.
    pub fn into_mut(&mut self, node: NodeId, iface: usize) -> &mut Link {
        &mut self.iface(node, iface).into.link
    }

    /// The way out of an element's interface: what is lost here is lost for the whole segment.
    ///
    /// # Panics
    /// If it is a host.
    pub fn out_mut(&mut self, node: NodeId, iface: usize) -> &mut Link {
        &mut self.iface(node, iface).out.link
    }

    fn iface(&mut self, node: NodeId, iface: usize) -> &mut Iface {
        let port = self.nodes[node.0].port.as_mut();
        &mut port.expect("the node is an element").ifaces[iface]
    }

    /// How long a packet takes to get onto its segment; `None`: it is lost there.
    pub(super) fn leave(
        &mut self,
        flight: &Flight<'_>,
        leaving: &Leaving,
        octets: usize,
    ) -> Option<Duration> {
        let Some(iface) = leaving.iface else {
            return Some(Duration::ZERO);
        };
        let port = self.nodes[leaving.from.0].port.as_mut()?;
        let way = &mut port.ifaces[iface].out;
        way.arrivals(flight.at, octets, &mut self.rng).next()
    }

    /// A packet on its way into an element's interface. Whether it will arrive.
    pub(super) fn hop(
        &mut self,
        flight: &Flight<'_>,
        (node, iface): (NodeId, usize),
        queued: Duration,
        leaving: &Leaving,
        bytes: &Bytes,
    ) -> bool {
        if self.rules.iter_mut().any(|rule| rule(flight, node)) {
            let due = self.now + self.path;
            if let Some(probe) = &mut self.probe {
                probe.on_cut(flight, due);
            }
            return false;
        }
        let Some(port) = &mut self.nodes[node.0].port else {
            return false;
        };
        let way = &mut port.ifaces[iface].into;
        let delays: Vec<_> = way
            .arrivals(flight.at, bytes.len(), &mut self.rng)
            .collect();
        for delay in &delays {
            let what = What::Hop(iface, leaving.addr, leaving.to, bytes.clone());
            self.plan(self.now + queued + *delay, node, what);
        }
        !delays.is_empty()
    }

    /// A packet arrives at an element's interface: it is the element's to handle, or passes by.
    pub(super) fn arrive(
        &mut self,
        node: NodeId,
        iface: usize,
        (from, to): (Ipv4Addr, Ipv4Addr),
        bytes: &Bytes,
    ) {
        let now = self.now;
        let Some(port) = &mut self.nodes[node.0].port else {
            return;
        };
        if to.is_multicast() || owner(to) == (node, owner(to).1) {
            port.element.handle_tpdu(
                now,
                &Arriving {
                    iface,
                    from,
                    to,
                    bytes,
                },
            );
            return;
        }
        // Unicast for somebody else is routed as any router does.
        let (host, at) = owner(to);
        let distance = self.distances(self.segment_of(host, at));
        let ways = port_segments(&self.nodes[node.0]);
        let Some((iface, segment)) = ways
            .enumerate()
            .min_by_key(|(_, segment)| distance[segment.0])
        else {
            return;
        };
        let leaving = Leaving {
            from: node,
            iface: Some(iface),
            segment,
            addr: from,
            to,
            ttl: 16,
        };
        self.put(&leaving, bytes.clone());
    }

    /// Packets of an element out, its timer set.
    pub(super) fn service_element(&mut self, id: NodeId) {
        loop {
            self.count_step(id);
            let Some(port) = &mut self.nodes[id.0].port else {
                return;
            };
            let Some(out) = port.element.poll_transmit() else {
                break;
            };
            let leaving = Leaving {
                from: id,
                iface: Some(out.iface),
                segment: port.ifaces[out.iface].segment,
                addr: out.from,
                to: out.to,
                ttl: out.ttl.unwrap_or(16),
            };
            self.put(&leaving, out.bytes);
        }
        let deadline = self.deadline_of_element(id);
        self.arm(id, deadline);
    }

    fn deadline_of_element(&self, id: NodeId) -> Option<Instant> {
        self.nodes[id.0].port.as_ref()?.element.poll_timeout()
    }

    /// Who on `segment` takes a unicast packet for `to`: the host or element itself, or the next element.
    pub(super) fn next_hop(
        &self,
        segment: Segment,
        to: Ipv4Addr,
    ) -> Option<(NodeId, Option<usize>)> {
        let (node, iface) = owner(to);
        if node.0 >= self.nodes.len() {
            return None;
        }
        let target = self.segment_of(node, iface)?;
        if target == segment {
            return Some((node, iface));
        }
        let distance = self.distances(Some(target));
        let nearest = |node: NodeId| {
            port_segments(&self.nodes[node.0])
                .map(|segment| distance[segment.0])
                .min()
        };
        let ports = self.segments[segment.0].ports.iter();
        ports
            .filter(|(node, _)| nearest(*node) < Some(distance[segment.0]))
            .map(|(node, iface)| (*node, Some(*iface)))
            .next()
    }

    fn segment_of(&self, node: NodeId, iface: Option<usize>) -> Option<Segment> {
        let node = self.nodes.get(node.0)?;
        match (&node.port, iface) {
            (None, None) => Some(node.segment),
            (Some(port), Some(iface)) => Some(port.ifaces.get(iface)?.segment),
            _ => None,
        }
    }

    /// How many elements lie between each segment and `target`.
    fn distances(&self, target: Option<Segment>) -> Vec<usize> {
        let mut distance = vec![usize::MAX; self.segments.len()];
        let mut frontier: Vec<_> = target.into_iter().collect();
        for steps in 0.. {
            frontier.retain(|segment| distance[segment.0] == usize::MAX);
            if frontier.is_empty() {
                break;
            }
            let here = std::mem::take(&mut frontier);
            for segment in here {
                distance[segment.0] = steps;
                for (node, _) in &self.segments[segment.0].ports {
                    frontier.extend(port_segments(&self.nodes[node.0]));
                }
            }
        }
        distance
    }
}

/// Segments of an element's interfaces, in order.
fn port_segments(node: &super::node::Node) -> impl Iterator<Item = Segment> {
    let ifaces = node.port.iter().flat_map(|port| &port.ifaces);
    ifaces.map(|iface| iface.segment)
}

fn addresses(node: NodeId, count: usize) -> Vec<Ipv4Addr> {
    (0..count).map(|iface| iface_addr(node, iface)).collect()
}
