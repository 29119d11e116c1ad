//! What a receiver says of the network: ACKs when it is the acker, feedback and reports in its NAKs.
#![allow(clippy::unwrap_used)]

mod common;

use common::{ms, packet, tsi};
use pgm_engine::Destination;
use pgm_engine::num::{Nla, Sqn};
use pgm_engine::receiver::{Peer, ReceiverConfig};
use pgm_engine::wire::{Body, CrBits, Data, Nak, Options, PgmccData, Spm, Tpdu, Window};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 1);
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 192, 0, 1);
/// SPM_PATH: a network element.
const PATH: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 254);
const US: Ipv4Addr = Ipv4Addr::new(10, 2, 2, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 2, 2, 3);
const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const DPORT: u16 = 7500;

struct Rig {
    peer: Peer,
    now: Instant,
    trail: Sqn,
    spm_sqn: u32,
    sent: Vec<(Destination, Vec<u8>)>,
}

impl Rig {
    /// A session that began with SQN `first`.
    fn new(first: Sqn) -> Self {
        Self::with(first, ReceiverConfig::default())
    }

    fn with(first: Sqn, config: ReceiverConfig) -> Self {
        let now = Instant::now();
        let config = ReceiverConfig { nla: US, ..config };
        let mut rig = Self {
            peer: Peer::new(config, tsi(1), DPORT, SOURCE, GROUP, now, 1),
            now,
            trail: first,
            spm_sqn: 1,
            sent: Vec::new(),
        };
        rig.spm(first, first.minus(1), None);
        rig
    }

    fn feed(&mut self, body: Body, options: Options, payload: &[u8]) {
        let bytes = packet(tsi(1), DPORT, body, options, payload);
        let tpdu = Tpdu::parse(&bytes).unwrap();
        self.peer.handle_tpdu(self.now, &tpdu);
        self.drain();
    }

    fn spm(&mut self, trail: Sqn, lead: Sqn, crqst: Option<CrBits>) {
        self.spm_sqn += 1;
        let spm = Spm {
            spm_sqn: Sqn(self.spm_sqn),
            window: Some(Window { trail, lead }),
            path: PATH.into(),
        };
        let options = Options {
            crqst,
            ..Options::default()
        };
        self.feed(Body::Spm(spm), options, &[]);
    }

    fn odata(&mut self, sqn: Sqn, pgmcc: Option<(u32, Ipv4Addr)>) {
        let pgmcc_data = pgmcc.map(|(timestamp, acker)| PgmccData {
            timestamp,
            acker: acker.into(),
        });
        let options = Options {
            pgmcc_data,
            ..Options::default()
        };
        let trail = self.trail;
        self.feed(Body::Odata(Data { sqn, trail }), options, b"x");
    }

    fn rdata(&mut self, sqn: Sqn) {
        let trail = self.trail;
        self.feed(Body::Rdata(Data { sqn, trail }), Options::default(), b"x");
    }

    fn ncf(&mut self, sqn: Sqn) {
        let (source, group) = (SOURCE.into(), GROUP.into());
        let list = Default::default();
        let ncf = Nak {
            sqn,
            list,
            source,
            group,
        };
        self.feed(Body::Ncf(ncf), Options::default(), &[]);
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.peer.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.peer.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    fn drain(&mut self) {
        let mut out = Vec::new();
        while let Some(emitted) = self.peer.poll_transmit(self.now, &mut out) {
            self.sent.push((emitted.to, std::mem::take(&mut out)));
        }
    }

    /// What was sent since, and where to; SPMRs aside.
    fn take(&mut self) -> Vec<(Destination, Body, Options)> {
        let sent = std::mem::take(&mut self.sent).into_iter();
        sent.filter_map(|(to, bytes)| {
            let tpdu = Tpdu::parse(&bytes).unwrap();
            (tpdu.body != Body::Spmr).then_some((to, tpdu.body, tpdu.options))
        })
        .collect()
    }

    /// The only packet sent since, which is a NAK.
    fn take_nak(&mut self) -> (Nak, Options) {
        let mut sent = self.take();
        match (sent.pop(), sent.len()) {
            (Some((Destination::Host(PATH), Body::Nak(nak), options)), 0) => (nak, options),
            other => panic!("{other:?}"),
        }
    }
}

#[test] // C-10, C-11
fn who_is_named_acknowledges_at_once_and_nobody_else() {
    for first in [Sqn(5), Sqn(u32::MAX - 1), Sqn((1 << 31) - 2)] {
        let mut rig = Rig::new(first);
        rig.odata(first, Some((1_000, OTHER)));
        rig.odata(first.plus(1), None);
        assert_eq!(rig.take(), []);
        rig.odata(first.plus(2), Some((1_040, US)));
        rig.odata(first.plus(4), Some((1_041, US)));
        let sent = rig.take();
        for ((to, body, options), (newest, bitmap, timestamp)) in
            sent.iter().zip([(2, 0b111, 1_040), (4, 0b1_1101, 1_041)])
        {
            let Body::Ack(ack) = body else {
                panic!("{body:?}");
            };
            assert_eq!((ack.rx_max, ack.bitmap), (first.plus(newest), bitmap));
            // To the source, not to the network element.
            assert_eq!(*to, Destination::Host(SOURCE));
            let feedback = options.pgmcc_feedback.unwrap();
            assert_eq!(
                (feedback.timestamp, feedback.receiver),
                (timestamp, Nla::V4(US))
            );
        }
        assert_eq!(sent.len(), 2);
        assert_eq!(rig.peer.stats(rig.now).acks_sent, 2);
        rig.odata(first.plus(5), Some((1_050, OTHER)));
        assert_eq!(rig.take(), []);
    }
}

#[test] // C-12: a NAK for the packet that asked, after a back-off, with the time it was held
fn a_packet_without_acker_causes_a_nak() {
    let mut rig = Rig::new(Sqn(7));
    rig.odata(Sqn(7), Some((500, NOBODY)));
    assert_eq!(rig.take(), [], "not at once");
    let began = rig.now;
    let due = rig.peer.poll_timeout().unwrap() - began;
    assert!(due <= ms(10), "{due:?}");
    rig.pass(ms(50));
    let (nak, options) = rig.take_nak();
    assert_eq!((nak.sqn, nak.list.len()), (Sqn(7), 0));
    let feedback = options.pgmcc_feedback.unwrap();
    assert_eq!(feedback.timestamp, 500 + due.as_millis() as u32);
    // Each packet that asks is answered.
    rig.odata(Sqn(8), Some((600, NOBODY)));
    rig.pass(ms(50));
    assert_eq!(rig.take_nak().0.sqn, Sqn(8));
}

#[test] // C-12: suppressed by the NCF, by another receiver's NAK, by an election
fn an_election_needs_one_nak() {
    let asked = || {
        let mut rig = Rig::new(Sqn(7));
        rig.odata(Sqn(7), Some((500, NOBODY)));
        rig
    };
    let mut rig = asked();
    rig.ncf(Sqn(7));
    rig.pass(ms(200));
    assert_eq!(rig.take(), []);
    assert_eq!(rig.peer.stats(rig.now).naks_suppressed, 1);

    let mut rig = asked();
    let (source, group) = (SOURCE.into(), GROUP.into());
    let nak = Nak {
        sqn: Sqn(7),
        list: Default::default(),
        source,
        group,
    };
    rig.feed(Body::Nak(nak), Options::default(), &[]);
    rig.pass(ms(200));
    assert_eq!(rig.take(), []);

    let mut rig = asked();
    rig.odata(Sqn(8), Some((501, OTHER)));
    rig.pass(ms(200));
    assert_eq!(rig.take(), []);

    let mut rig = asked();
    rig.ncf(Sqn(6));
    rig.pass(ms(200));
    assert_eq!(rig.take().len(), 1, "another NCF");
}

#[test] // C-01, C-02, C-03
fn naks_report_what_is_asked_for_while_it_is() {
    let bits = |n: u8| CrBits {
        link: n & 4 != 0,
        path: n & 2 != 0,
        receiver: n & 1 != 0,
    };
    let mut rig = Rig::new(Sqn(u32::MAX));
    rig.odata(Sqn(u32::MAX), None);
    let mut lead = Sqn(u32::MAX);
    for wanted in 0..8 {
        lead = lead.plus(2);
        rig.spm(Sqn(u32::MAX), lead.minus(2), Some(bits(wanted)));
        rig.odata(lead, None);
        rig.pass(ms(15));
        let (nak, options) = rig.take_nak();
        assert_eq!(nak.sqn, lead.minus(1));
        rig.rdata(nak.sqn);
        assert_eq!(options.pgmcc_feedback, None, "the source uses none");
        let Some(cr) = options.cr else {
            assert_eq!(wanted, 0);
            continue;
        };
        assert_eq!(cr.bits, bits(wanted));
        assert_eq!((cr.ne_wl, cr.ne_wp), (0, 0));
        assert_eq!((cr.lead, cr.receiver), (lead, Nla::V4(US)));
        // OpenPGM means the receiver's by the bit of the path.
        assert_eq!(cr.rx_wp > 0, wanted & 0b11 != 0, "{wanted}");
    }
    rig.spm(Sqn(u32::MAX), lead, None);
    rig.odata(lead.plus(2), None);
    rig.pass(ms(15));
    assert_eq!(rig.take_nak().1.cr, None, "not any more");
}

#[test] // C-03: 0xFFFF is all
fn the_loss_reported_is_the_share_of_first_transmissions_lost() {
    let mut rig = Rig::new(Sqn(0));
    let wanted = CrBits {
        receiver: true,
        ..CrBits::default()
    };
    rig.spm(Sqn(0), Sqn(0), Some(wanted));
    let mut reported = 0;
    for sqn in (0..4_000).filter(|sqn| sqn % 4 != 3) {
        rig.odata(Sqn(sqn), None);
        let _ = rig.peer.read(rig.now);
        if sqn % 40 == 0 {
            rig.pass(ms(20));
        }
        for (_, _, options) in rig.take() {
            reported = options.cr.unwrap().rx_wp;
        }
    }
    let share = f64::from(reported) / 65_535.0;
    assert!((0.2..0.3).contains(&share), "{share}");
}

#[test]
fn who_only_listens_says_nothing() {
    let config = ReceiverConfig {
        listen_only: true,
        ..ReceiverConfig::default()
    };
    let mut rig = Rig::with(Sqn(7), config);
    for (n, acker) in [US, NOBODY, US, NOBODY].into_iter().enumerate() {
        rig.odata(Sqn(7 + n as u32), Some((n as u32, acker)));
        rig.pass(ms(200));
    }
    assert_eq!(rig.take(), []);
}
