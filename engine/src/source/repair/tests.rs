use super::*;
use crate::num::Tsi;
use crate::source::txw::Entry;
use bytes::Bytes;
use std::net::Ipv4Addr;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn us(n: u64) -> Duration {
    Duration::from_micros(n)
}

const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const NONE: [u32; 0] = [];

struct Rig {
    repairs: Repairs,
    txw: TxWindow,
    stats: SourceStats,
    t0: Instant,
}

impl Rig {
    /// A window of `packets` SQNs from 0 on.
    fn new(packets: u32) -> Self {
        let (any, t0) = (Ipv4Addr::LOCALHOST, Instant::now());
        let config = SourceConfig::new(Tsi::default(), 1, any, any);
        let mut txw = TxWindow::new(&config);
        for _ in 0..packets {
            let tsdu = Bytes::from_static(b"x");
            let (fragment, syn, fin, repair) = (None, false, false, None);
            txw.push(Entry {
                tsdu,
                fragment,
                syn,
                fin,
                size: 25,
                sent: t0,
                repair,
            });
        }
        Self {
            repairs: Repairs::new(&config, t0),
            txw,
            stats: SourceStats::default(),
            t0,
        }
    }

    fn nak(&mut self, at: Duration, sqns: impl IntoIterator<Item = u32>) -> bool {
        self.nak_from(RECEIVER, at, sqns)
    }

    fn nak_from(
        &mut self,
        from: Ipv4Addr,
        at: Duration,
        sqns: impl IntoIterator<Item = u32>,
    ) -> bool {
        let (now, sqns) = (self.t0 + at, sqns.into_iter().map(Sqn));
        let (txw, stats) = (&mut self.txw, &mut self.stats);
        self.repairs.on_nak(now, from, sqns, txw, stats)
    }

    /// SQNs of the NCFs that are due at `at`, one list per packet.
    fn ncfs(&mut self, at: Duration) -> Vec<Vec<u32>> {
        let now = self.t0 + at;
        let mut ncfs = Vec::new();
        while self.repairs.ncf_at().is_some_and(|due| due <= now) {
            if let Some(sqns) = self.repairs.take_ncf(now, &mut self.txw) {
                ncfs.push(sqns.iter().map(|sqn| sqn.0).collect());
            }
        }
        ncfs
    }

    fn rdata(&mut self, at: Duration) -> Vec<u32> {
        let now = self.t0 + at;
        std::iter::from_fn(|| self.repairs.take_rdata(now, &mut self.txw))
            .map(|sqn| sqn.0)
            .collect()
    }

    fn nak_bo(&self) -> Duration {
        self.repairs.nak_bo_ivl()
    }
}

#[test] // S-14, S-20, O-12
fn a_nak_list_is_confirmed_as_one_and_repaired_whole() {
    let mut rig = Rig::new(100);
    assert!(rig.nak(ms(0), 10..73));
    assert_eq!(rig.ncfs(ms(0)), [(10..73).collect::<Vec<_>>()]);
    assert_eq!(rig.rdata(ms(0)), (10..73).collect::<Vec<_>>());
    assert!(rig.repairs.is_idle());
}

#[test] // O-12
fn a_disordered_list_with_repetitions_is_put_right() {
    let mut rig = Rig::new(100);
    rig.nak(ms(0), [9, 3, 9, 3, 5]);
    assert_eq!(rig.ncfs(ms(0)), [[3, 5, 9]]);
    assert_eq!(rig.rdata(ms(0)), [3, 5, 9]);
}

#[test] // S-16, RFC 3208 §5.2: the first NCF is immediate, identical ones become one a little later
fn identical_ncfs_are_merged() {
    let mut rig = Rig::new(10);
    rig.nak(ms(0), [1]);
    assert_eq!(rig.ncfs(ms(0)), [[1]]);
    for i in 0..100 {
        rig.nak(Duration::from_micros(10 * i), [1]);
    }
    rig.nak(ms(1), [2]);
    assert_eq!(rig.ncfs(ms(1)), [[2]], "another SQN does not wait");
    assert_eq!(rig.ncfs(ms(2)), [[1]]);
    assert_eq!(rig.ncfs(ms(100)), Vec::<Vec<u32>>::new());
    rig.nak(ms(100), [1]);
    assert_eq!(rig.ncfs(ms(100)), [[1]]);
}

#[test]
fn a_full_ncf_queue_shares_packets_and_forgets_nothing() {
    let mut rig = Rig::new(1_000);
    for sqn in 0..1_000 {
        rig.nak(ms(0), [sqn]);
    }
    let ncfs = rig.ncfs(ms(2));
    assert_eq!(
        ncfs.len(),
        NCF_QUEUE + (1_000 - NCF_QUEUE).div_ceil(NAK_LIST_MAX + 1)
    );
    assert_eq!(ncfs.concat(), (0..1_000).collect::<Vec<_>>());
}

#[test] // S-17: one RDATA however often it is asked for
fn repeated_naks_cause_one_rdata() {
    let mut rig = Rig::new(10);
    for _ in 0..10 {
        rig.nak(ms(0), [4]);
    }
    assert_eq!(rig.repairs.outstanding(), 1);
    assert_eq!(rig.rdata(ms(0)), [4]);
    rig.nak(ms(1), [4]);
    assert_eq!(rig.rdata(ms(10)), NONE, "the RDATA is under way");
    assert_eq!(rig.stats.naks_after_rdata, 1);
    rig.nak(ms(10), [4]);
    assert_eq!(rig.rdata(ms(10)), [4], "it was lost");
}

/// A rig whose receivers wait no longer than half a millisecond, and SQN 4 was asked for and repaired at 0.
fn repaired() -> Rig {
    let mut rig = Rig::new(100);
    for sqn in 10..30 {
        rig.nak(ms(0), [sqn]);
    }
    rig.rdata(ms(0));
    assert_eq!(rig.nak_bo(), us(500));
    rig.nak(ms(0), [4]);
    assert_eq!(rig.rdata(ms(0)), [4]);
    rig
}

#[test] // S-17: who asks again for what just went got nothing; once for all who do
fn who_asks_again_gets_the_rdata_when_the_first_had_time_to_arrive() {
    let mut rig = repaired();
    for at in [1000, 1200, 2900] {
        rig.nak(us(at), [4]);
    }
    assert_eq!(rig.repairs.rdata_at(rig.t0), Some(rig.t0 + ms(3)));
    assert!(!rig.repairs.is_idle());
    assert_eq!(rig.rdata(us(2999)), NONE);
    assert_eq!(rig.rdata(ms(3)), [4]);
    assert_eq!(rig.rdata(ms(50)), NONE);
    rig.nak(us(5500), [4]);
    assert_eq!(rig.rdata(us(5999)), NONE);
    assert_eq!(rig.rdata(ms(6)), [4], "and again");
}

#[test] // S-17
fn naks_that_crossed_the_rdata_cause_no_other() {
    let mut rig = repaired();
    rig.nak(us(499), [4]);
    assert_eq!(rig.rdata(ms(10)), NONE, "another receiver of that host");
    let mut rig = repaired();
    rig.nak_from(NEIGHBOUR, ms(1), [4]);
    assert_eq!(rig.rdata(ms(10)), NONE, "another host");
    let mut rig = repaired();
    rig.nak(ms(1), [4]);
    rig.nak(ms(3), [4]);
    assert_eq!(rig.rdata(ms(3)), [4], "asked for anew when it was due");
    assert_eq!(rig.rdata(ms(10)), NONE);
}

#[test] // S-18: what goes again goes by due time
fn rdata_that_goes_again_is_in_order() {
    let mut rig = repaired();
    rig.nak(ms(1), [5]);
    rig.rdata(ms(1));
    rig.nak(us(2500), [5]);
    rig.nak(us(2600), [4]);
    assert_eq!(rig.rdata(ms(3)), [4]);
    assert_eq!(rig.rdata(ms(4)), [5]);
}

#[test] // S-14
fn only_sqns_of_the_window_are_confirmed() {
    let mut rig = Rig::new(10);
    assert!(!rig.nak(ms(0), [10, u32::MAX, 1 << 31]));
    assert_eq!((rig.stats.naks_ignored, rig.stats.naks_too_late), (2, 1));
    assert!(rig.repairs.is_idle());
    assert!(rig.nak(ms(0), [u32::MAX, 9, 10]));
    assert_eq!(rig.ncfs(ms(0)), [[9]]);
}

#[test] // I-03
fn a_loss_that_many_ask_for_lengthens_the_back_off() {
    let mut rig = Rig::new(100);
    for _ in 0..8 {
        rig.nak(ms(0), [1, 2, 3]);
    }
    assert_eq!(rig.nak_bo(), ms(30), "log2 of 8");
    for _ in 0..8 {
        rig.nak(ms(2), [4]);
    }
    assert_eq!(rig.nak_bo(), ms(90));
    for _ in 0..100 {
        rig.nak(ms(20), [4]);
    }
    assert_eq!(rig.nak_bo(), ms(90), "later ones tell nothing");
    for _ in 0..8 {
        rig.nak(ms(20), [5]);
    }
    assert_eq!(rig.nak_bo(), ms(200), "NAK_BO_IVL_MAX");
}

#[test] // I-03
fn a_lone_receiver_soon_waits_no_longer() {
    let mut rig = Rig::new(100);
    for sqn in 0..20 {
        rig.nak(ms(0), [sqn]);
        rig.nak(ms(0), [sqn]);
    }
    assert_eq!(rig.nak_bo(), Duration::from_micros(500), "NAK_BO_IVL_MIN");
}
