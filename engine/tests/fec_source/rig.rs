//! A source with FEC whose every packet is recorded, and a decoder.

use bytes::Bytes;
use pgm_engine::fec::Code;
use pgm_engine::num::{Gsi, Nla, Sqn, Tsi};
use pgm_engine::source::{Fec, Source, SourceConfig};
use pgm_engine::wire::{Body, Data, Fragment, Nak, Options, Tpdu};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

pub(crate) const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
pub(crate) const NLA: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const DPORT: u16 = 7500;
const TSI: Tsi = Tsi {
    gsi: Gsi([1, 2, 3, 4, 5, 6]),
    sport: 4321,
};

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Groups of `k`, `proactive` parity packets with each, at most `h`.
pub(crate) fn fec(k: u8, h: u8, proactive: u8, on_demand: bool) -> Fec {
    Fec {
        n: k + h,
        k,
        proactive,
        on_demand,
        little_endian: false,
    }
}

pub(crate) fn config(fec: Fec) -> SourceConfig {
    SourceConfig {
        fec: Some(fec),
        rate: None,
        ..SourceConfig::new(TSI, DPORT, GROUP, NLA)
    }
}

/// `len` octets that differ from those of another `seed`.
pub(crate) fn apdu(seed: usize, len: usize) -> Bytes {
    (0..len).map(|i| ((i + 7 * seed) % 251) as u8).collect()
}

/// One packet of the source.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) at: Duration,
    pub(crate) router_alert: bool,
    pub(crate) bytes: Vec<u8>,
}

impl Packet {
    pub(crate) fn tpdu(&self) -> Tpdu<'_> {
        Tpdu::parse(&self.bytes).expect("the source sends well-formed packets")
    }

    /// Type, OPT_PARITY and SQN: `ODATA 5`, `parity RDATA 64`, `SPM`, `parity NCF 66`.
    pub(crate) fn name(&self) -> String {
        let tpdu = self.tpdu();
        let parity = if tpdu.parity { "parity " } else { "" };
        match &tpdu.body {
            Body::Spm(_) => "SPM".into(),
            Body::Odata(data) => format!("{parity}ODATA {}", data.sqn),
            Body::Rdata(data) => format!("{parity}RDATA {}", data.sqn),
            Body::Ncf(nak) => {
                let sqns: Vec<String> = nak.sqns().map(|sqn| sqn.to_string()).collect();
                format!("{parity}NCF {}", sqns.join(" "))
            }
            other => panic!("no source sends {other:?}"),
        }
    }

    pub(crate) fn is_parity(&self) -> bool {
        self.tpdu().parity && !matches!(self.tpdu().body, Body::Ncf(_))
    }

    pub(crate) fn data(&self) -> Data {
        match self.tpdu().body {
            Body::Odata(data) | Body::Rdata(data) => data,
            other => panic!("{other:?} is not data"),
        }
    }

    /// Index of a parity packet in groups of up to `k` (RFC 3208 §11.2).
    pub(crate) fn index(&self, k: u8) -> u8 {
        let group = self.tpdu().options.parity_grp.unwrap_or(0);
        (group * u32::from(k) + self.data().sqn.0 % u32::from(k)) as u8
    }
}

pub(crate) struct Rig {
    pub(crate) source: Source,
    pub(crate) now: Instant,
    t0: Instant,
    pub(crate) sent: Vec<Packet>,
}

impl Rig {
    pub(crate) fn new(config: SourceConfig) -> Self {
        let t0 = Instant::now();
        Self {
            source: Source::new(config, t0),
            now: t0,
            t0,
            sent: Vec::new(),
        }
    }

    /// A source past its first second, everything it sent forgotten.
    pub(crate) fn settled(config: SourceConfig) -> Self {
        let mut rig = Self::new(config);
        rig.run_for(ms(1_500));
        rig.sent.clear();
        rig
    }

    pub(crate) fn k(&self) -> u8 {
        self.source.config().fec.expect("FEC").k
    }

    /// Queue APDUs of these lengths, and send what may go at once.
    pub(crate) fn send(&mut self, lens: &[usize]) {
        for (i, len) in lens.iter().enumerate() {
            self.source.send(self.now, apdu(i, *len)).expect("room");
        }
        self.drain();
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
            assert!(
                out.len() <= self.source.config().max_tpdu,
                "{} octets",
                out.len()
            );
            let packet = Packet {
                at: self.now - self.t0,
                router_alert: emitted.router_alert,
                bytes: out.clone(),
            };
            let odata = matches!(packet.tpdu().body, Body::Odata(_));
            assert_eq!(packet.router_alert, !odata, "G-19");
            self.sent.push(packet);
        }
        panic!("the source never stops sending");
    }

    /// Go to the source's next time, or to `limit` if that is earlier. False at the limit.
    pub(crate) fn step(&mut self, limit: Instant) -> bool {
        for _ in 0..4 {
            self.source.handle_timeout(self.now);
            self.drain();
            match self.source.poll_timeout() {
                Some(at) if at <= self.now => {}
                Some(at) if at <= limit => {
                    self.now = at;
                    self.source.handle_timeout(self.now);
                    self.drain();
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

    pub(crate) fn take(&mut self) -> Vec<Packet> {
        std::mem::take(&mut self.sent)
    }

    /// Names of the packets since the last call, SPMs aside.
    pub(crate) fn names(&mut self) -> Vec<String> {
        let names = self.take().iter().map(Packet::name).collect::<Vec<_>>();
        names.into_iter().filter(|name| name != "SPM").collect()
    }

    /// A NAK for these SQNs, and what it causes at once.
    pub(crate) fn nak(&mut self, parity: bool, sqns: &[u32]) {
        let nak = Nak {
            sqn: Sqn(sqns[0]),
            list: sqns[1..].iter().map(|sqn| Sqn(*sqn)).collect(),
            source: Nla::V4(NLA),
            group: Nla::V4(GROUP),
        };
        self.hand_in(parity, Body::Nak(nak));
        self.drain();
    }

    /// A parity NAK: `count` packets of the group that begins with `tg` are missing.
    pub(crate) fn ask(&mut self, tg: u32, count: u32) {
        self.nak(true, &[tg + count - 1]);
    }

    pub(crate) fn hand_in(&mut self, parity: bool, body: Body) {
        let tpdu = Tpdu {
            sport: DPORT,
            dport: TSI.sport,
            gsi: TSI.gsi,
            parity,
            var_pktlen: false,
            body,
            options: Options::default(),
            payload: &[],
        };
        self.source.handle_tpdu(self.now, RECEIVER, &tpdu);
    }
}

/// What a data packet brings: TSDU, OPT_FRAGMENT, OPT_SYN, OPT_FIN.
pub(crate) type Content = (Vec<u8>, Option<Fragment>, bool, bool);

pub(crate) fn content(packet: &Packet) -> Content {
    let tpdu = packet.tpdu();
    let options = &tpdu.options;
    (
        tpdu.payload.to_vec(),
        options.fragment,
        options.syn,
        options.fin,
    )
}

/// The data packets of the group at `tg`, by number in it, from those that arrived and parity.
///
/// Written after RFC 3208 §11.2 with nothing of the source's but the code.
pub(crate) fn decode(
    k: u8,
    tg: u32,
    data: &[&Packet],
    parity: &[&Packet],
    little_endian: bool,
) -> Option<Vec<(u8, Content)>> {
    let first = parity.first()?.tpdu();
    let size = first.options.curr_tgsize.map_or(k, |size| size as u8);
    let code = Code::new(255, size)?;
    let rows = |parts: &dyn Fn(&Packet) -> Vec<u8>, encoded: &dyn Fn(&Packet) -> Vec<u8>| {
        let shares = data
            .iter()
            .map(|packet| ((packet.data().sqn.0 - tg) as u8, parts(packet)))
            .chain(
                parity
                    .iter()
                    .map(|packet| (size + packet.index(k), encoded(packet))),
            );
        let shares: Vec<(u8, Vec<u8>)> = shares.take(size.into()).collect();
        // No such option.
        let len = shares
            .iter()
            .map(|(_, octets)| octets.len())
            .max()
            .filter(|len| *len > 0)?;
        let shares: Vec<(u8, &[u8])> = shares
            .iter()
            .map(|(row, octets)| (*row, &octets[..]))
            .collect();
        code.rebuild(&shares, len)
    };
    let var = first.var_pktlen;
    let longest = first.payload.len() - if var { 2 } else { 0 };
    let padded = |packet: &Packet| {
        let mut octets = packet.tpdu().payload.to_vec();
        let len = octets.len() as u16;
        octets.resize(longest, 0);
        if var {
            octets.extend(if little_endian {
                len.to_le_bytes()
            } else {
                len.to_be_bytes()
            });
        }
        octets
    };
    let payloads = rows(&padded, &|packet| packet.tpdu().payload.to_vec())?;
    let fragments = rows(
        &|packet| Fragment::to_octets(packet.tpdu().options.fragment).to_vec(),
        &|packet| {
            packet
                .tpdu()
                .options
                .encoded
                .fragment
                .map_or(vec![], |octets| octets.to_vec())
        },
    );
    let flag = |has: fn(&Options) -> bool, encoded: fn(&Options) -> Option<u8>| {
        rows(
            &|packet| vec![if has(&packet.tpdu().options) { 0 } else { 0x80 }],
            &|packet| encoded(&packet.tpdu().options).into_iter().collect(),
        )
    };
    let syns = flag(|o| o.syn, |o| o.encoded.syn);
    let fins = flag(|o| o.fin, |o| o.encoded.fin);
    let is_set = |flags: &Option<Vec<(u8, Vec<u8>)>>, i: usize| {
        flags.as_ref().is_some_and(|flags| flags[i].1 == [0])
    };
    let contents = payloads
        .into_iter()
        .enumerate()
        .map(|(i, (row, mut octets))| {
            if var {
                let suffix = octets.split_off(longest);
                let suffix = [suffix[0], suffix[1]];
                let len = if little_endian {
                    u16::from_le_bytes(suffix)
                } else {
                    u16::from_be_bytes(suffix)
                };
                assert!(
                    octets[len.into()..].iter().all(|octet| *octet == 0),
                    "padding"
                );
                octets.truncate(len.into());
            }
            let fragment = fragments.as_ref().and_then(|fragments| {
                let octets = fragments[i].1.as_slice().try_into().expect("13 octets");
                Fragment::from_octets(octets)
            });
            (row, (octets, fragment, is_set(&syns, i), is_set(&fins, i)))
        });
    Some(contents.collect())
}
