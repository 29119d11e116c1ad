//! A simulated network that drives endpoints in virtual time, with seeded loss.
//!
//! Nodes are hosts with one [`Endpoint`] each; every packet they send travels over the [`Link`] into each
//! node it reaches. All are on one segment, unless network elements ([`element`]) join several. Nothing sleeps, and nothing is random but by the seed: a failure is replayed by
//! running it again, and [`TestNet::diagram`] shows it.

pub mod element;
mod link;
mod node;
mod probe;
mod run;
mod trace;
mod tree;

pub use link::{Bottleneck, Burst, Cast, Flight, Kind, Link};
pub use node::{Pace, Rx, SessionLog, Tx, digest};
pub use probe::Probe;
pub use tree::Segment;

use crate::endpoint::{Endpoint, EndpointConfig, ListenConfig};
use crate::num::{Gsi, Sqn, Tsi};
use crate::receiver::ReceiverConfig;
use crate::source::SourceConfig;
use bytes::Bytes;
use link::Rule;
use node::Node;
use run::{Due, What};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use trace::Record;
use tree::Lan;

/// Group of [`lan_source`] and [`TestNet::receiver`].
pub const GROUP: Ipv4Addr = Ipv4Addr::new(239, 192, 0, 1);
/// Session port of [`lan_source`] and [`TestNet::receiver`].
pub const DPORT: u16 = 7500;

/// A host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// The network.
pub struct TestNet {
    start: Instant,
    now: Instant,
    rng: fastrand::Rng,
    nodes: Vec<Node>,
    /// Configuration of nodes made from now on.
    config: EndpointConfig,
    /// See [`TestNet::first_sqn`].
    first_sqn: Sqn,
    link: Link,
    segments: Vec<Lan>,
    /// Where nodes made from now on are.
    place: Segment,
    rules: Vec<Rule>,
    queue: BinaryHeap<Reverse<Due>>,
    timers: BTreeSet<(Instant, NodeId)>,
    serial: u64,
    /// Packets of each session by type, to number them.
    counts: HashMap<Series, u64>,
    /// Packets and events since the clock moved.
    steps: u32,
    /// Last time anything but an SPM was sent, or an application got or gave something.
    busy: Instant,
    records: VecDeque<Record>,
    records_kept: usize,
    /// Packets that arrived, timers that fired and turns to read.
    events: u64,
    probe: Option<Box<Probe>>,
    path: Duration,
    /// APDUs are counted and not kept.
    counting: bool,
    /// Kept for its capacity.
    buffer: Vec<u8>,
}

/// Packets of one type in one session, by the interface of a network element or by their source.
type Series = (Option<(NodeId, usize)>, Tsi, Kind);

/// Packets `diagram` shows when no capture is wanted.
const RECORDS: usize = 80;
/// Quiet time after which `run_until_idle` is content.
const QUIET: Duration = Duration::from_secs(4);
/// Virtual time after which `run_until_idle` gives up.
const GIVE_UP: Duration = Duration::from_secs(3600);

/// Address of a node.
pub fn node_addr(node: NodeId) -> Ipv4Addr {
    let [.., a, b] = (node.0 + 1).to_be_bytes();
    Ipv4Addr::new(10, 0, a, b)
}

/// A source with the defaults; [`TestNet::source`] fills in TSI and address.
#[must_use]
pub fn lan_source() -> SourceConfig {
    SourceConfig::new(Tsi::default(), DPORT, GROUP, Ipv4Addr::UNSPECIFIED)
}

/// A receiver with the defaults.
#[must_use]
pub fn lan_receiver() -> ReceiverConfig {
    ReceiverConfig::default()
}

impl TestNet {
    /// A net without nodes. Everything random in it comes from `seed`.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        // `Instant` cannot be made from nothing. Only differences to this one are ever looked at.
        let start = Instant::now();
        Self {
            start,
            now: start,
            rng: fastrand::Rng::with_seed(seed),
            nodes: Vec::new(),
            config: EndpointConfig {
                max_peers: 1024,
                max_bytes: 256 << 20,
            },
            first_sqn: Sqn(0),
            link: Link {
                latency: Duration::from_micros(100),
                ..Link::default()
            },
            segments: vec![Lan::default()],
            place: Segment(0),
            rules: Vec::new(),
            queue: BinaryHeap::new(),
            timers: BTreeSet::new(),
            serial: 0,
            counts: HashMap::new(),
            steps: 0,
            busy: start,
            records: VecDeque::new(),
            records_kept: RECORDS,
            events: 0,
            probe: None,
            path: Duration::ZERO,
            counting: false,
            buffer: Vec::new(),
        }
    }

    /// Links into nodes made from now on.
    #[must_use]
    pub fn links(mut self, link: Link) -> Self {
        self.link = link;
        self
    }

    /// As [`TestNet::links`], the latency alone.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        self.link.latency = latency;
        self
    }

    /// As [`TestNet::links`], the loss alone, 0..=1.
    #[must_use]
    pub fn loss(mut self, loss: f64) -> Self {
        self.link.loss = loss;
        self
    }

    /// Limits of nodes made from now on.
    #[must_use]
    pub fn limits(mut self, config: EndpointConfig) -> Self {
        self.config = config;
        self
    }

    /// Where sources made from now on begin, if their configuration says 0: any simulation can be run across the
    /// wraps (RFC 3208 §3.2 ).
    #[must_use]
    pub fn first_sqn(mut self, first: Sqn) -> Self {
        self.first_sqn = first;
        self
    }

    /// Keep every packet for [`TestNet::pcapng`], not only the last few.
    #[must_use]
    pub fn capturing(mut self) -> Self {
        self.records_kept = usize::MAX;
        self
    }

    /// Count and digest APDUs instead of keeping them: thousands of receivers get the same ones.
    #[must_use]
    pub fn counting(mut self) -> Self {
        self.counting = true;
        self
    }

    /// Lose the `nth` packet of a type that a host sent in each session, counted from 1, for everybody.
    #[must_use]
    pub fn drop_nth(mut self, kind: Kind, nth: u64) -> Self {
        self.drop_if(move |flight, _| {
            flight.iface.is_none() && flight.kind == kind && flight.nth == nth
        });
        self
    }

    /// Lose packets on their way to a node when `rule` says so.
    pub fn drop_if(&mut self, rule: impl FnMut(&Flight<'_>, NodeId) -> bool + 'static) {
        self.rules.push(Box::new(rule));
    }

    /// The link into a node.
    pub fn link_mut(&mut self, node: NodeId, cast: Cast) -> &mut Link {
        &mut self.nodes[node.0].ways[cast as usize].link
    }

    /// A new host.
    pub fn node(&mut self) -> NodeId {
        let id = NodeId(self.nodes.len());
        let endpoint = Endpoint::new(self.config.clone(), self.rng.u64(..));
        self.nodes.push(Node::new(endpoint, self.link, self.place));
        self.segments[self.place.0].hosts.push(id);
        id
    }

    /// A source on a host of its own.
    pub fn source(&mut self, config: SourceConfig) -> Tx {
        let node = self.node();
        self.source_on(node, config)
    }

    /// A source on `node`. A TSI of zero is replaced by one that is new, the address by the node's.
    pub fn source_on(&mut self, node: NodeId, mut config: SourceConfig) -> Tx {
        config.nla = node_addr(node);
        if config.first_sqn == Sqn(0) {
            config.first_sqn = self.first_sqn;
        }
        if config.tsi == Tsi::default() {
            let serial = self.nodes[node.0].next_port();
            let [.., a, b] = node.0.to_be_bytes();
            config.tsi = Tsi {
                gsi: Gsi([0x0a, 0, 0, 0, a, b]),
                sport: serial,
            };
        }
        let tsi = config.tsi;
        let id = self.nodes[node.0].endpoint.open_source(self.now, config);
        self.nodes[node.0].outbox.insert(id, VecDeque::new());
        self.busy = self.now;
        self.service(node);
        Tx { node, id, tsi }
    }

    /// A listener on a host of its own.
    pub fn receiver(&mut self, receiver: ReceiverConfig) -> Rx {
        let node = self.node();
        self.listen_on(
            node,
            ListenConfig {
                group: GROUP,
                dport: DPORT,
                receiver,
            },
        )
    }

    /// One listener for each configuration, each on a host of its own.
    pub fn receivers<const N: usize>(&mut self, receivers: [ReceiverConfig; N]) -> [Rx; N] {
        receivers.map(|receiver| self.receiver(receiver))
    }

    /// A listener on `node`, whose address a DLR gets.
    pub fn listen_on(&mut self, node: NodeId, mut config: ListenConfig) -> Rx {
        if let Some(dlr) = &mut config.receiver.dlr {
            dlr.nla = node_addr(node);
        }
        let group = config.group;
        config.receiver.nla = node_addr(node);
        let listener = self.nodes[node.0].endpoint.listen(config);
        self.nodes[node.0].joined.push(group);
        Rx { node, listener }
    }

    /// The endpoint of a node, for what the net offers no word for. Follow changes with `touch`.
    pub fn endpoint(&mut self, node: NodeId) -> &mut Endpoint {
        &mut self.nodes[node.0].endpoint
    }

    /// Let packets and events of a node out that a direct call caused.
    pub fn touch(&mut self, node: NodeId) {
        self.service(node);
    }

    /// A packet from nowhere: to the group of `rx`, as if sent by `from`.
    pub fn inject(&mut self, node: NodeId, from: Ipv4Addr, group: Option<Ipv4Addr>, tpdu: &[u8]) {
        let packet = What::Packet(from, group, Bytes::copy_from_slice(tpdu));
        self.plan(self.now, node, packet);
    }

    /// Hand APDUs to a source, in time as it takes them.
    pub fn send_all<M: AsRef<[u8]>>(&mut self, tx: Tx, apdus: impl IntoIterator<Item = M>) {
        let apdus = apdus
            .into_iter()
            .map(|apdu| Bytes::copy_from_slice(apdu.as_ref()));
        self.nodes[tx.node.0]
            .outbox
            .entry(tx.id)
            .or_default()
            .extend(apdus);
        self.nodes[tx.node.0].feed(self.now, tx.id);
        self.busy = self.now;
        self.service(tx.node);
    }

    /// Close a source when it has taken all that was handed to it.
    pub fn close(&mut self, tx: Tx) {
        self.busy = self.now;
        self.nodes[tx.node.0].closing.insert(tx.id);
        self.nodes[tx.node.0].feed(self.now, tx.id);
        self.service(tx.node);
    }

    /// A node vanishes with all it had: nothing is sent, nothing arrives.
    pub fn kill(&mut self, node: NodeId) {
        self.nodes[node.0].endpoint = Endpoint::new(self.config.clone(), 0);
        self.nodes[node.0].joined.clear();
        self.nodes[node.0].outbox.clear();
        self.service(node);
    }

    /// How the application of `rx` reads, also its sessions that are there already.
    pub fn read(&mut self, rx: Rx, pace: Pace) {
        let node = &mut self.nodes[rx.node.0];
        node.pace.insert(rx.listener, pace);
        self.busy = self.now;
        let turns: Vec<_> = node.turns_after_change(rx.listener);
        for index in turns {
            self.plan(self.now, rx.node, What::Read(index));
        }
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Let `time` pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Run until nothing but SPMs has moved for some seconds.
    ///
    /// # Panics
    /// If that never happens.
    pub fn run_until_idle(&mut self) {
        let give_up = self.now + GIVE_UP;
        loop {
            let quiet = self.busy + QUIET;
            if !self.step(quiet) {
                self.now = self.now.max(quiet);
                return;
            }
            assert!(
                self.now < give_up,
                "no rest after {GIVE_UP:?}{}",
                self.diagram()
            );
        }
    }

    /// Run until `done`, or for `limit`. Whether it was done.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while !done(self) {
            if !self.step(end) {
                self.now = end;
                return done(self);
            }
        }
        true
    }

    /// What became of the sessions of `rx`, in the order they came.
    pub fn sessions(&self, rx: Rx) -> impl Iterator<Item = &SessionLog> {
        self.nodes[rx.node.0]
            .sessions
            .iter()
            .filter(move |log| log.listener == rx.listener)
    }

    /// The APDUs all sessions of `rx` gave, session after session.
    #[must_use]
    pub fn delivered(&self, rx: Rx) -> Vec<Bytes> {
        self.sessions(rx)
            .flat_map(|log| log.apdus.iter().cloned())
            .collect()
    }

    /// How many APDUs all sessions of `rx` gave.
    #[must_use]
    pub fn count(&self, rx: Rx) -> usize {
        self.sessions(rx).map(|log| log.count).sum()
    }

    /// Whether the source was closed and its linger is over.
    #[must_use]
    pub fn is_finished(&self, tx: Tx) -> bool {
        self.nodes[tx.node.0].finished.contains(&tx.id)
    }

    /// Packets that arrived, timers that fired and turns to read: what the simulation cost.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Octets that the windows of all hosts hold now.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.nodes
            .iter()
            .map(|node| node.endpoint.bytes_held())
            .sum()
    }

    /// Watch losses and repairs from now on. What a rule loses on its way to an element would have
    /// been at the hosts after `path`.
    pub fn probe(&mut self, path: Duration) {
        self.path = path;
        self.probe = Some(Box::default());
    }

    /// What was watched since [`TestNet::probe`].
    #[must_use]
    pub fn probed(&self) -> &Probe {
        self.probe.as_ref().expect("probe() was called")
    }

    /// Packets of a type that a node sent.
    #[must_use]
    pub fn sent(&self, node: NodeId, kind: Kind) -> u64 {
        self.nodes[node.0].sent[kind as usize]
    }

    /// Packets of a type that all nodes sent.
    #[must_use]
    pub fn sent_by_all(&self, kind: Kind) -> u64 {
        self.nodes.iter().map(|node| node.sent[kind as usize]).sum()
    }

    /// NAKs sent by the host of `rx`.
    #[must_use]
    pub fn naks(&self, rx: Rx) -> u64 {
        self.sent(rx.node, Kind::Nak)
    }

    /// Sequence chart of the last packets.
    #[must_use]
    pub fn diagram(&self) -> String {
        let skipped = self.records.len().saturating_sub(RECORDS);
        trace::diagram(self.records.iter().skip(skipped), self.nodes.len())
    }

    /// The packets since [`TestNet::capturing`] as a pcapng file.
    #[must_use]
    pub fn pcapng(&self) -> Vec<u8> {
        trace::pcapng(self.records.iter())
    }
}
