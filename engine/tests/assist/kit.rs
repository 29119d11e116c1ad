//! A peer and a source in virtual time: every packet in with its network header, every packet out kept.

use pgm_engine::num::{Gsi, Nla, Sqn, Tsi};
use pgm_engine::receiver::{Peer, ReceiverConfig};
use pgm_engine::source::{Source, SourceConfig};
use pgm_engine::wire::{Body, Data, Nak, Options, Polr, Spm, Tpdu, Window};
use pgm_engine::{Arrival, Destination};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

pub(crate) const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 1);
pub(crate) const GROUP: Ipv4Addr = Ipv4Addr::new(239, 192, 0, 1);
/// SPM_PATH: a network element's.
pub(crate) const PARENT: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 254);
/// A DLR's.
pub(crate) const DLR: Ipv4Addr = Ipv4Addr::new(10, 2, 2, 2);
/// Nobody in particular.
pub(crate) const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 3, 3, 3);
pub(crate) const DPORT: u16 = 7500;
pub(crate) const TSI: Tsi = Tsi {
    gsi: Gsi([1, 2, 3, 4, 5, 6]),
    sport: 1000,
};

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Intervals that tell the timers apart.
pub(crate) fn config() -> ReceiverConfig {
    ReceiverConfig {
        nak_bo_ivl: ms(10),
        nak_rpt_ivl: ms(100),
        nak_rdata_ivl: ms(300),
        ..ReceiverConfig::default()
    }
}

/// A packet as it left.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Duration,
    pub(crate) to: Destination,
    pub(crate) ttl: Option<u8>,
    pub(crate) router_alert: bool,
    pub(crate) source: Option<Ipv4Addr>,
    bytes: Vec<u8>,
}

impl Sent {
    pub(crate) fn tpdu(&self) -> Tpdu<'_> {
        Tpdu::parse(&self.bytes).unwrap()
    }

    pub(crate) fn body(&self) -> Body {
        self.tpdu().body
    }

    pub(crate) fn options(&self) -> Options {
        self.tpdu().options
    }

    /// Type and SQNs, for people and comparisons.
    pub(crate) fn summary(&self) -> String {
        let list = |nak: &Nak| {
            let sqns: Vec<_> = nak.sqns().map(|sqn| sqn.0.to_string()).collect();
            sqns.join(" ")
        };
        match self.body() {
            Body::Nak(nak) => format!("NAK {}", list(&nak)),
            Body::Nnak(nak) => format!("NNAK {}", list(&nak)),
            Body::Ncf(nak) => format!("NCF {}", list(&nak)),
            Body::Rdata(data) => format!("RDATA {}", data.sqn),
            Body::Polr(polr) => format!("POLR {} {}", polr.sqn, polr.round),
            other => format!("{other:?}"),
        }
    }
}

pub(crate) fn by_unicast(from: Ipv4Addr) -> Arrival {
    Arrival { from, group: None }
}

pub(crate) fn by_group(from: Ipv4Addr) -> Arrival {
    Arrival {
        from,
        group: Some(GROUP),
    }
}

/// A packet of our session; `edit` sees it before it is written.
pub(crate) fn wire(
    body: Body,
    options: Options,
    payload: &[u8],
    edit: impl FnOnce(&mut Tpdu<'_>),
) -> Vec<u8> {
    let (sport, dport) = match body.is_upstream() {
        true => (DPORT, TSI.sport),
        false => (TSI.sport, DPORT),
    };
    let mut tpdu = Tpdu {
        sport,
        dport,
        gsi: TSI.gsi,
        parity: false,
        var_pktlen: false,
        body,
        options,
        payload,
    };
    edit(&mut tpdu);
    let mut out = Vec::new();
    tpdu.emit(&mut out);
    out
}

pub(crate) fn nak(sqns: &[u32]) -> Nak {
    Nak {
        sqn: Sqn(sqns[0]),
        list: sqns[1..].iter().map(|sqn| Sqn(*sqn)).collect(),
        source: Nla::V4(SOURCE),
        group: Nla::V4(GROUP),
    }
}

/// A POLR that advertises a DLR.
pub(crate) fn redirecting(nla: Nla) -> (Body, Options) {
    let polr = Polr {
        sqn: Sqn(0),
        round: 0,
    };
    let options = Options {
        redirect: Some(nla),
        ..Options::default()
    };
    (Body::Polr(polr), options)
}

/// A receiver.
pub(crate) struct Child {
    pub(crate) peer: Peer,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) sent: Vec<Sent>,
    spm_sqn: u32,
}

impl Child {
    /// Of a session known from its beginning at SQN 1, with nothing sent so far.
    pub(crate) fn begun(config: ReceiverConfig) -> Self {
        Self::seeded(config, 1)
    }

    pub(crate) fn seeded(config: ReceiverConfig, seed: u64) -> Self {
        let start = Instant::now();
        let mut child = Self {
            peer: Peer::new(config, TSI, DPORT, SOURCE, GROUP, start, seed),
            start,
            now: start,
            sent: Vec::new(),
            spm_sqn: 77,
        };
        child.spm(1, 0, Options::default());
        child
    }

    /// SQNs 1 and 3 are here, 2 is missing.
    pub(crate) fn one_missing(config: ReceiverConfig) -> Self {
        let mut child = Self::begun(config);
        child.odata(1);
        child.odata(3);
        child
    }

    /// A packet from somewhere. Whether it was believed.
    pub(crate) fn feed(&mut self, arrival: Arrival, bytes: &[u8]) -> bool {
        let tpdu = Tpdu::parse(bytes).unwrap();
        let believed = tpdu.body.is_upstream() || self.peer.believes(&arrival, &tpdu);
        if believed {
            self.peer.handle_arrival(self.now, &arrival, &tpdu);
            self.drain();
        }
        believed
    }

    pub(crate) fn hear(&mut self, arrival: Arrival, body: Body, options: Options) -> bool {
        self.feed(arrival, &wire(body, options, &[], |_| ()))
    }

    /// From the source to the group.
    pub(crate) fn told_by_source(&mut self, body: Body, options: Options) {
        assert!(self.hear(by_group(SOURCE), body, options));
    }

    /// A regular SPM.
    pub(crate) fn spm(&mut self, trail: u32, lead: u32, options: Options) {
        self.spm_sqn += 1;
        let body = Body::Spm(Spm {
            spm_sqn: Sqn(self.spm_sqn),
            window: Some(Window {
                trail: Sqn(trail),
                lead: Sqn(lead),
            }),
            path: Nla::V4(PARENT),
        });
        self.told_by_source(body, options);
    }

    pub(crate) fn odata(&mut self, sqn: u32) {
        self.data(sqn, 1, Options::default());
    }

    pub(crate) fn data(&mut self, sqn: u32, trail: u32, options: Options) {
        let data = Data {
            sqn: Sqn(sqn),
            trail: Sqn(trail),
        };
        let bytes = wire(Body::Odata(data), options, &payload(sqn), |_| ());
        assert!(self.feed(by_group(SOURCE), &bytes));
    }

    pub(crate) fn ncf(&mut self, sqns: &[u32]) {
        self.told_by_source(Body::Ncf(nak(sqns)), Options::default());
    }

    /// Let time pass, timer by timer.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..100_000 {
            let Some(at) = self.peer.poll_timeout().filter(|at| *at <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(at);
            self.peer.handle_timeout(self.now);
            self.drain();
        }
        panic!("timers never rest");
    }

    fn drain(&mut self) {
        let mut out = Vec::new();
        while let Some(emitted) = self.peer.poll_transmit(self.now, &mut out) {
            assert_eq!(emitted.len, out.len());
            self.sent.push(Sent {
                at: self.now - self.start,
                to: emitted.to,
                ttl: emitted.ttl,
                router_alert: emitted.router_alert,
                source: emitted.source,
                bytes: std::mem::take(&mut out),
            });
        }
    }

    pub(crate) fn take(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    /// What was sent since the last call, and to whom.
    pub(crate) fn summaries(&mut self) -> Vec<(String, Destination)> {
        let sent = self.take();
        sent.iter().map(|sent| (sent.summary(), sent.to)).collect()
    }
}

pub(crate) fn payload(sqn: u32) -> [u8; 4] {
    sqn.to_be_bytes()
}

pub(crate) fn to(host: Ipv4Addr) -> Destination {
    Destination::Host(host)
}

pub(crate) fn line(what: &str, to: Destination) -> (String, Destination) {
    (what.to_owned(), to)
}

/// A source.
pub(crate) struct Parent {
    pub(crate) source: Source,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) sent: Vec<Sent>,
}

impl Parent {
    pub(crate) fn new(edit: impl FnOnce(&mut SourceConfig)) -> Self {
        let start = Instant::now();
        let mut config = SourceConfig::new(TSI, DPORT, GROUP, SOURCE);
        edit(&mut config);
        Self {
            source: Source::new(config, start),
            start,
            now: start,
            sent: Vec::new(),
        }
    }

    /// Send so many packets.
    pub(crate) fn send(&mut self, count: usize) {
        for _ in 0..count {
            let apdu = bytes::Bytes::from_static(b"data");
            self.source.send(self.now, apdu).unwrap();
        }
        self.pass(ms(1));
    }

    pub(crate) fn hear(&mut self, from: Ipv4Addr, body: Body) {
        let bytes = wire(body, Options::default(), &[], |_| ());
        let tpdu = Tpdu::parse(&bytes).unwrap();
        self.source.handle_tpdu(self.now, from, &tpdu);
        self.drain();
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        self.drain();
        for _ in 0..1_000_000 {
            let Some(at) = self.source.poll_timeout().filter(|at| *at <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(at);
            self.source.handle_timeout(self.now);
            self.drain();
        }
        panic!("timers never rest");
    }

    fn drain(&mut self) {
        let mut out = Vec::new();
        while let Some(emitted) = self.source.poll_transmit(self.now, &mut out) {
            let group = Destination::Group(GROUP);
            self.sent.push(Sent {
                at: self.now - self.start,
                to: emitted.to_host.map_or(group, Destination::Host),
                ttl: None,
                router_alert: emitted.router_alert,
                source: None,
                bytes: std::mem::take(&mut out),
            });
        }
    }

    pub(crate) fn take(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }
}
