//! A source whose every packet is recorded and checked for what must always hold.

use bytes::Bytes;
use pgm_engine::num::{Gsi, Nla, Sqn, Tsi};
use pgm_engine::source::{Source, SourceConfig};
use pgm_engine::wire::{Body, Nak, Options, Tpdu, Window};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

pub(crate) const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
pub(crate) const NLA: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(crate) const TSI: Tsi = Tsi {
    gsi: Gsi([1, 2, 3, 4, 5, 6]),
    sport: 4321,
};
pub(crate) const DPORT: u16 = 7500;

pub(crate) const fn us(n: u64) -> Duration {
    Duration::from_micros(n)
}

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn config() -> SourceConfig {
    SourceConfig::new(TSI, DPORT, GROUP, NLA)
}

/// `len` octets that tell where they are.
pub(crate) fn apdu(len: usize) -> Bytes {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// One packet of the source.
pub(crate) struct Packet {
    /// Since the start.
    pub(crate) at: Duration,
    pub(crate) router_alert: bool,
    pub(crate) bytes: Vec<u8>,
}

impl Packet {
    pub(crate) fn tpdu(&self) -> Tpdu<'_> {
        Tpdu::parse(&self.bytes).expect("the source sends well-formed packets")
    }

    pub(crate) fn kind(&self) -> &'static str {
        kind(&self.tpdu().body)
    }
}

pub(crate) fn kind(body: &Body) -> &'static str {
    match body {
        Body::Spm(_) => "SPM",
        Body::Odata(_) => "ODATA",
        Body::Rdata(_) => "RDATA",
        Body::Ncf(_) => "NCF",
        _ => "a packet no source sends",
    }
}

/// A source, its clock, and the packets it sent since they were last taken.
pub(crate) struct Rig {
    pub(crate) source: Source,
    pub(crate) t0: Instant,
    pub(crate) now: Instant,
    pub(crate) sent: Vec<Packet>,
    pub(crate) finished_at: Option<Instant>,
    trail: Sqn,
    next_odata: Sqn,
    last_spm: Option<Sqn>,
}

impl Rig {
    pub(crate) fn new(config: SourceConfig) -> Self {
        let t0 = Instant::now();
        let first = config.first_sqn;
        Self {
            source: Source::new(config, t0),
            t0,
            now: t0,
            sent: Vec::new(),
            finished_at: None,
            trail: first,
            next_odata: first,
            last_spm: None,
        }
    }

    /// A source past its first second, everything it sent forgotten.
    pub(crate) fn settled(config: SourceConfig) -> Self {
        let mut rig = Self::new(config);
        rig.run_for(ms(1_500));
        rig.sent.clear();
        rig
    }

    pub(crate) fn send(&mut self, apdu: Bytes) {
        self.source.send(self.now, apdu).expect("room for an APDU");
    }

    /// Send `count` APDUs of one octet, without waiting for anything but the rate.
    pub(crate) fn send_small(&mut self, count: usize) {
        for _ in 0..count {
            while !self.source.is_writable() {
                self.step(self.now + secs(1));
            }
            self.send(apdu(1));
        }
        while self.source.unsent() > 0 {
            self.step(self.now + secs(1));
        }
    }

    /// Everything that may go now.
    pub(crate) fn drain(&mut self) {
        let mut out = Vec::new();
        for _ in 0..1_000_000 {
            out.clear();
            let Some(emitted) = self.source.poll_transmit(self.now, &mut out) else {
                return;
            };
            assert_eq!(emitted.len, out.len());
            let (at, router_alert) = (self.now - self.t0, emitted.router_alert);
            self.check(&Packet {
                at,
                router_alert,
                bytes: out.clone(),
            });
            self.sent.push(Packet {
                at,
                router_alert,
                bytes: out.clone(),
            });
        }
        panic!("the source never stops sending");
    }

    /// What a caller does when the source's time has come.
    pub(crate) fn wake(&mut self) {
        self.source.handle_timeout(self.now);
        if self.source.is_finished() {
            self.finished_at.get_or_insert(self.now);
        }
        self.drain();
    }

    /// Go to the source's next time, or to `limit` if that is earlier. False at the limit.
    pub(crate) fn step(&mut self, limit: Instant) -> bool {
        for _ in 0..3 {
            self.wake();
            match self.source.poll_timeout() {
                Some(at) if at <= self.now => {}
                Some(at) if at <= limit => {
                    self.now = at;
                    self.wake();
                    return true;
                }
                _ => {
                    self.now = limit;
                    return false;
                }
            }
        }
        panic!("busy loop at {:?}: {:?}", self.now - self.t0, self.source);
    }

    pub(crate) fn run_for(&mut self, span: Duration) {
        let limit = self.now + span;
        while self.step(limit) {}
    }

    /// The packets since the last call.
    pub(crate) fn take(&mut self) -> Vec<Packet> {
        std::mem::take(&mut self.sent)
    }

    pub(crate) fn kinds(&self) -> Vec<&'static str> {
        self.sent.iter().map(Packet::kind).collect()
    }

    pub(crate) fn nak(&mut self, sqns: &[u32]) {
        self.upstream(Body::Nak(nak(sqns)));
    }

    /// Hand in a receiver's packet.
    pub(crate) fn upstream(&mut self, body: Body) {
        self.upstream_tpdu(&Tpdu {
            sport: DPORT,
            dport: TSI.sport,
            gsi: TSI.gsi,
            parity: false,
            var_pktlen: false,
            body,
            options: Options::default(),
            payload: &[],
        });
    }

    pub(crate) fn upstream_tpdu(&mut self, tpdu: &Tpdu<'_>) {
        self.source.handle_tpdu(self.now, RECEIVER, tpdu);
    }

    /// What holds for every packet.
    fn check(&mut self, packet: &Packet) {
        let tpdu = packet.tpdu();
        // RFC 3208 §8: downstream port order.
        assert_eq!(
            (tpdu.gsi, tpdu.sport, tpdu.dport),
            (TSI.gsi, TSI.sport, DPORT)
        );
        assert!(packet.bytes.len() <= self.source.config().max_tpdu);
        // G-19: Router Alert on all but ODATA.
        assert_eq!(packet.router_alert, !matches!(tpdu.body, Body::Odata(_)));
        match tpdu.body {
            Body::Spm(spm) => {
                // S-11
                if let Some(last) = self.last_spm {
                    assert_eq!(spm.spm_sqn, last.next());
                }
                self.last_spm = Some(spm.spm_sqn);
                let Window { trail, lead } = spm.window.expect("a window");
                self.check_trail(trail);
                assert_eq!(
                    lead,
                    self.next_odata.minus(1),
                    "S-13: SPM_LEAD is the last ODATA"
                );
            }
            Body::Odata(data) => {
                // S-01
                assert_eq!(data.sqn, self.next_odata);
                self.next_odata = self.next_odata.next();
                self.check_trail(data.trail);
            }
            Body::Rdata(data) => {
                self.check_trail(data.trail);
                assert!(data.sqn.since(data.trail) >= 0 && self.next_odata.since(data.sqn) > 0);
            }
            Body::Ncf(nak) => {
                // O-12
                let sqns: Vec<Sqn> = nak.sqns().collect();
                assert!(sqns.windows(2).all(|pair| pair[1].is_newer_than(pair[0])));
            }
            other => panic!("no source sends {other:?}"),
        }
    }

    /// S-26: it never goes back, and never beyond lead + 1.
    fn check_trail(&mut self, trail: Sqn) {
        assert!(
            trail.since(self.trail) >= 0,
            "trail went back: {} to {trail}",
            self.trail
        );
        assert!(self.next_odata.since(trail) >= 0);
        self.trail = trail;
    }
}

/// A NAK for our source and group.
pub(crate) fn nak(sqns: &[u32]) -> Nak {
    Nak {
        sqn: Sqn(sqns[0]),
        list: sqns[1..].iter().map(|sqn| Sqn(*sqn)).collect(),
        source: Nla::V4(NLA),
        group: Nla::V4(GROUP),
    }
}

/// SQN of a data packet.
pub(crate) fn data_sqn(packet: &Packet) -> Option<u32> {
    match packet.tpdu().body {
        Body::Odata(data) | Body::Rdata(data) => Some(data.sqn.0),
        _ => None,
    }
}
