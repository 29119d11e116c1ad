//! One peer in virtual time: feed packets, let time pass, look at what it sent and read.

use pgm_engine::Destination;
use pgm_engine::num::{Gsi, Nla, Sqn, Tsi};
use pgm_engine::receiver::{Peer, Read, ReceiverConfig, ResetReason};
use pgm_engine::stats::ReceiverStats;
use pgm_engine::wire::{Body, Data, Fragment, Nak, Options, Spm, Tpdu, Window};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

pub(crate) const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 1);
pub(crate) const GROUP: Ipv4Addr = Ipv4Addr::new(239, 192, 0, 1);
/// SPM_PATH: not the source itself, as behind a network element.
pub(crate) const PATH: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 254);
pub(crate) const DPORT: u16 = 7500;
pub(crate) const TSI: Tsi = Tsi {
    gsi: Gsi([1, 2, 3, 4, 5, 6]),
    sport: 1000,
};

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Few retries, and intervals that tell the timers apart.
pub(crate) fn config() -> ReceiverConfig {
    ReceiverConfig {
        nak_bo_ivl: ms(10),
        nak_rpt_ivl: ms(100),
        nak_rdata_ivl: ms(300),
        nak_ncf_retries: 3,
        nak_data_retries: 3,
        ..ReceiverConfig::default()
    }
}

/// A packet the peer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Since the rig was made.
    pub(crate) at: Duration,
    pub(crate) to: Destination,
    pub(crate) ttl: Option<u8>,
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Nak(Vec<u32>),
    ParityNak(Vec<u32>),
    Spmr,
}

pub(crate) struct Rig {
    pub(crate) peer: Peer,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) sent: Vec<Sent>,
    /// Added to every SQN given and taken from every SQN shown, so that a test can run near a wrap.
    pub(crate) shift: u32,
    spm_sqn: u32,
}

impl Rig {
    pub(crate) fn new(config: ReceiverConfig) -> Self {
        Self::seeded(config, 1)
    }

    pub(crate) fn seeded(config: ReceiverConfig, seed: u64) -> Self {
        let start = Instant::now();
        Self {
            peer: Peer::new(config, TSI, DPORT, SOURCE, GROUP, start, seed),
            start,
            now: start,
            sent: Vec::new(),
            shift: 0,
            spm_sqn: 77,
        }
    }

    /// A session known from its beginning at SQN 1, with nothing sent so far.
    pub(crate) fn begun(config: ReceiverConfig) -> Self {
        let mut rig = Self::new(config);
        rig.spm(1, 0);
        rig
    }

    pub(crate) fn shifted(mut self, shift: u32) -> Self {
        self.shift = shift;
        self
    }

    pub(crate) fn sqn(&self, n: u32) -> Sqn {
        Sqn(n.wrapping_add(self.shift))
    }

    pub(crate) fn feed(&mut self, body: Body, options: Options, payload: &[u8]) {
        self.feed_as([false; 2], body, options, payload);
    }

    /// With OPT_PARITY and OPT_VAR_PKTLEN as given.
    pub(crate) fn feed_as(
        &mut self,
        [parity, var_pktlen]: [bool; 2],
        body: Body,
        options: Options,
        payload: &[u8],
    ) {
        let upstream = body.is_upstream();
        let (sport, dport) = if upstream {
            (DPORT, TSI.sport)
        } else {
            (TSI.sport, DPORT)
        };
        let tpdu = Tpdu {
            sport,
            dport,
            gsi: TSI.gsi,
            parity,
            var_pktlen,
            body,
            options,
            payload,
        };
        let mut wire = Vec::new();
        tpdu.emit(&mut wire);
        let parsed = Tpdu::parse(&wire).unwrap();
        self.peer.handle_tpdu(self.now, &parsed);
        self.drain();
    }

    /// A fresh SPM.
    pub(crate) fn spm(&mut self, trail: u32, lead: u32) {
        self.spm_with(trail, lead, Options::default());
    }

    pub(crate) fn spm_with(&mut self, trail: u32, lead: u32, options: Options) {
        self.spm_sqn += 1;
        self.spm_numbered(self.spm_sqn, trail, lead, options);
    }

    pub(crate) fn spm_numbered(&mut self, spm_sqn: u32, trail: u32, lead: u32, options: Options) {
        let window = Some(Window {
            trail: self.sqn(trail),
            lead: self.sqn(lead),
        });
        let path = Nla::V4(PATH);
        self.feed(
            Body::Spm(Spm {
                spm_sqn: Sqn(spm_sqn),
                window,
                path,
            }),
            options,
            &[],
        );
    }

    /// ODATA with the SQN as its payload, and a trail that does not matter.
    pub(crate) fn odata(&mut self, sqn: u32) {
        self.odata_with(sqn, 1, Options::default(), &payload(sqn));
    }

    pub(crate) fn odata_with(&mut self, sqn: u32, trail: u32, options: Options, payload: &[u8]) {
        let data = Data {
            sqn: self.sqn(sqn),
            trail: self.sqn(trail),
        };
        self.feed(Body::Odata(data), options, payload);
    }

    pub(crate) fn rdata(&mut self, sqn: u32) {
        self.rdata_with(sqn, 1, Options::default(), &payload(sqn));
    }

    pub(crate) fn rdata_with(&mut self, sqn: u32, trail: u32, options: Options, payload: &[u8]) {
        let data = Data {
            sqn: self.sqn(sqn),
            trail: self.sqn(trail),
        };
        self.feed(Body::Rdata(data), options, payload);
    }

    /// ODATA that is one fragment.
    pub(crate) fn fragment(&mut self, sqn: u32, first: u32, offset: u32, len: u32, data: &[u8]) {
        let fragment = Some(Fragment {
            first: self.sqn(first),
            offset,
            apdu_len: len,
        });
        self.odata_with(
            sqn,
            1,
            Options {
                fragment,
                ..Options::default()
            },
            data,
        );
    }

    pub(crate) fn ncf(&mut self, sqns: &[u32]) {
        self.feed(Body::Ncf(self.nak_body(sqns)), Options::default(), &[]);
    }

    /// Another receiver's multicast NAK.
    pub(crate) fn nak(&mut self, sqns: &[u32]) {
        self.feed(Body::Nak(self.nak_body(sqns)), Options::default(), &[]);
    }

    pub(crate) fn nak_body(&self, sqns: &[u32]) -> Nak {
        Nak {
            sqn: self.sqn(sqns[0]),
            list: sqns[1..].iter().map(|sqn| self.sqn(*sqn)).collect(),
            source: Nla::V4(SOURCE),
            group: Nla::V4(GROUP),
        }
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
            let tpdu = Tpdu::parse(&out).unwrap();
            // G-17, G-18, R-24: swapped ports, the source's TSI, source and group.
            assert_eq!(
                (tpdu.tsi(), tpdu.sport, tpdu.dport),
                (TSI, DPORT, TSI.sport)
            );
            let what = match &tpdu.body {
                Body::Nak(nak) => {
                    assert_eq!((nak.source, nak.group), (Nla::V4(SOURCE), Nla::V4(GROUP)));
                    let sqns = nak.sqns().map(|sqn| sqn.0.wrapping_sub(self.shift));
                    match tpdu.parity {
                        true => What::ParityNak(sqns.collect()),
                        false => What::Nak(sqns.collect()),
                    }
                }
                Body::Spmr => What::Spmr,
                other => panic!("a receiver sent {other:?}"),
            };
            let (to, ttl) = (emitted.to, emitted.ttl);
            self.sent.push(Sent {
                at: self.now - self.start,
                to,
                ttl,
                what,
            });
            out.clear();
        }
    }

    /// Lists of the NAKs sent since the last call.
    pub(crate) fn naks(&mut self) -> Vec<Vec<u32>> {
        let naks = self.timed_naks();
        naks.into_iter().map(|(_, list)| list).collect()
    }

    /// SQNs of them all, sorted: gaps found at different times have back-offs of their own.
    pub(crate) fn asked(&mut self) -> Vec<u32> {
        let mut sqns = self.naks().concat();
        sqns.sort_unstable();
        sqns
    }

    /// Like `naks`, with the time since the rig was made.
    pub(crate) fn timed_naks(&mut self) -> Vec<(Duration, Vec<u32>)> {
        let sent = std::mem::take(&mut self.sent);
        let naks = sent.into_iter().filter_map(|sent| match sent.what {
            What::Nak(list) => {
                assert_eq!(
                    (sent.to, sent.ttl),
                    (Destination::Host(PATH), None),
                    "R-22, R-23"
                );
                Some((sent.at, list))
            }
            What::ParityNak(list) => panic!("asked for parity: {list:?}"),
            What::Spmr => None,
        });
        naks.collect()
    }

    pub(crate) fn read(&mut self) -> Option<Read> {
        let readable = self.peer.is_readable();
        let read = self.peer.read(self.now);
        assert_eq!(readable, read.is_some(), "is_readable");
        self.drain();
        read
    }

    /// All APDUs that can be read.
    pub(crate) fn read_apdus(&mut self) -> Vec<Vec<u8>> {
        let mut apdus = Vec::new();
        while self.peer.is_readable() {
            match self.peer.read(self.now) {
                Some(Read::Apdu(apdu)) => apdus.push(apdu.to_vec()),
                Some(_) => break,
                None => panic!("readable, but nothing to read"),
            }
        }
        self.drain();
        apdus
    }

    /// SQNs of the single-TPDU APDUs that can be read.
    pub(crate) fn read_sqns(&mut self) -> Vec<u32> {
        let apdus = self.read_apdus();
        apdus
            .iter()
            .map(|apdu| u32::from_be_bytes(apdu[..4].try_into().unwrap()))
            .collect()
    }

    /// The end of the stream; it must come again and again, and there must be one.
    pub(crate) fn read_end(&mut self) -> Read {
        let end = self.peer.read(self.now);
        assert_eq!(end, self.peer.read(self.now), "the end is final");
        let end = end.expect("an end");
        assert!(!matches!(end, Read::Apdu(_)), "data before the end");
        end
    }

    /// The stream must end by a loss.
    pub(crate) fn read_loss(&mut self) -> (u32, u32) {
        match self.read_end() {
            Read::Reset(ResetReason::Loss { first, count }) => {
                (first.0.wrapping_sub(self.shift), count)
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn stats(&self) -> ReceiverStats {
        self.peer.stats(self.now)
    }
}

/// What `Rig::odata` sends under an SQN.
pub(crate) fn payload(sqn: u32) -> [u8; 4] {
    sqn.to_be_bytes()
}
