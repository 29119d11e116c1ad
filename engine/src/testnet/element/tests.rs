//! Packets in, packets out, of one element with its source behind interface 0.
#![allow(clippy::unwrap_used)]

mod dlr;
mod parity;
mod path;
mod repair;
mod report;

use super::*;
use crate::num::Gsi;
use crate::wire::{CrBits, Data, Nak, ParityPrm, Polr, Spm, Window};

const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 1);
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 192, 0, 1);
/// The element above, and its interface towards us.
const PARENT: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
const OWN: [Ipv4Addr; 3] = [
    Ipv4Addr::new(10, 2, 0, 2),
    Ipv4Addr::new(10, 3, 0, 1),
    Ipv4Addr::new(10, 4, 0, 1),
];
/// Receivers behind the interfaces 1 and 2.
const NEAR: [Ipv4Addr; 3] = [
    PARENT,
    Ipv4Addr::new(10, 3, 0, 9),
    Ipv4Addr::new(10, 4, 0, 9),
];
const TSI: Tsi = Tsi {
    gsi: Gsi([1, 2, 3, 4, 5, 6]),
    sport: 1000,
};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

struct Rig {
    element: Element,
    now: Instant,
}

/// A packet that went out, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Out {
    iface: usize,
    from: Ipv4Addr,
    to: Ipv4Addr,
    alert: bool,
    body: Body,
    parity: bool,
    options: Options,
}

impl Rig {
    /// An element that has heard the first SPM.
    fn new(config: ElementConfig) -> Self {
        let mut rig = Self::deaf(config);
        rig.spm(1, PARENT, Options::default());
        rig
    }

    /// An element that knows nothing.
    fn deaf(config: ElementConfig) -> Self {
        Self {
            element: Element::new(config, OWN.to_vec()),
            now: Instant::now(),
        }
    }

    fn wait(&mut self, time: Duration) -> Vec<Out> {
        let end = self.now + time;
        let mut out = Vec::new();
        while let Some(at) = self.element.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.element.handle_timeout(self.now);
            out.extend(self.sent());
        }
        self.now = end;
        out
    }

    fn sent(&mut self) -> Vec<Out> {
        let mut all = Vec::new();
        while let Some(forward) = self.element.poll_transmit() {
            let tpdu = Tpdu::parse(&forward.bytes).unwrap();
            assert_eq!(tpdu.tsi(), TSI);
            all.push(Out {
                iface: forward.iface,
                from: forward.from,
                to: forward.to,
                alert: forward.router_alert,
                body: tpdu.body.clone(),
                parity: tpdu.parity,
                options: tpdu.options.clone(),
            });
        }
        all
    }

    fn give(&mut self, iface: usize, from: Ipv4Addr, to: Ipv4Addr, bytes: Vec<u8>) -> Vec<Out> {
        let bytes = Bytes::from(bytes);
        let arriving = Arriving {
            iface,
            from,
            to,
            bytes: &bytes,
        };
        self.element.handle_tpdu(self.now, &arriving);
        self.sent()
    }

    fn spm(&mut self, sqn: u32, path: Ipv4Addr, options: Options) -> Vec<Out> {
        self.give(0, SOURCE, GROUP, packet(spm(sqn, path), false, options))
    }

    /// A NAK of a receiver behind an interface.
    fn nak(&mut self, iface: usize, sqns: impl IntoIterator<Item = u32>) -> Vec<Out> {
        let bytes = packet(Body::Nak(nak(sqns)), false, Options::default());
        self.give(iface, NEAR[iface], OWN[iface], bytes)
    }

    /// An NCF of upstream.
    fn ncf(&mut self, sqns: impl IntoIterator<Item = u32>) {
        let bytes = packet(Body::Ncf(nak(sqns)), false, Options::default());
        assert_eq!(
            self.give(0, SOURCE, GROUP, bytes),
            [],
            "an NCF goes nowhere"
        );
    }

    /// RDATA from upstream; the interfaces it goes out by.
    fn rdata(&mut self, sqn: u32) -> Vec<usize> {
        let bytes = packet(Body::Rdata(data(sqn)), false, Options::default());
        let out = self.give(0, SOURCE, GROUP, bytes);
        for o in &out {
            assert_eq!((o.from, o.to, o.alert), (SOURCE, GROUP, true));
        }
        out.iter().map(|o| o.iface).collect()
    }
}

fn packet(body: Body, parity: bool, options: Options) -> Vec<u8> {
    let (sport, dport) = if body.is_upstream() {
        (7500, TSI.sport)
    } else {
        (TSI.sport, 7500)
    };
    let mut bytes = Vec::new();
    Tpdu {
        sport,
        dport,
        gsi: TSI.gsi,
        parity,
        var_pktlen: false,
        body,
        options,
        payload: b"",
    }
    .emit(&mut bytes);
    bytes
}

fn spm(sqn: u32, path: Ipv4Addr) -> Body {
    Body::Spm(Spm {
        spm_sqn: Sqn(sqn),
        window: Some(Window {
            trail: Sqn(1),
            lead: Sqn(100),
        }),
        path: path.into(),
    })
}

fn nak(sqns: impl IntoIterator<Item = u32>) -> Nak {
    let mut sqns = sqns.into_iter().map(Sqn);
    Nak {
        sqn: sqns.next().unwrap(),
        list: sqns.collect(),
        source: SOURCE.into(),
        group: GROUP.into(),
    }
}

fn data(sqn: u32) -> Data {
    Data {
        sqn: Sqn(sqn),
        trail: Sqn(1),
    }
}

fn sqns(nak: &Nak) -> Vec<u32> {
    nak.sqns().map(|sqn| sqn.0).collect()
}

/// SQNs of the NAKs among `out`, and where they go.
fn naks(out: &[Out]) -> Vec<(usize, Ipv4Addr, Vec<u32>)> {
    let mut found = Vec::new();
    for o in out {
        if let Body::Nak(nak) = &o.body {
            assert_eq!(o.from, OWN[o.iface], "the element's own address");
            found.push((o.iface, o.to, sqns(nak)));
        }
    }
    found
}

/// SQNs of the NCFs among `out`, and where they go.
fn ncfs(out: &[Out]) -> Vec<(usize, Ipv4Addr, Vec<u32>)> {
    let mut found = Vec::new();
    for o in out {
        if let Body::Ncf(nak) = &o.body {
            found.push((o.iface, o.to, sqns(nak)));
        }
    }
    found
}

/// A NAK upstream.
fn up(sqns: impl IntoIterator<Item = u32>) -> Vec<(usize, Ipv4Addr, Vec<u32>)> {
    vec![(0, PARENT, sqns.into_iter().collect())]
}
