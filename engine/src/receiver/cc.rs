//! What a receiver tells of the network: its loss, ACKs as PGMCC's acker, reports in NAKs (RFC 3208 §12.5,
//! draft-ietf-rmt-bb-pgmcc-03).
//!
//! Loss is that of first transmissions: what comes as a repair was lost. No option of the receiver's is needed;
//! it does what the packets of the source ask for.

use super::Peer;
use crate::num::{Nla, Sqn};
use crate::wire::{Ack, Body, Cr, CrBits, Nak, Options, PgmccData, PgmccFeedback, Window};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::Instant;

/// Weight of a packet in the loss. PGMCC §2.6 prints it on the old value; only on the new one it is a filter.
const LOSS_WEIGHT: f64 = 500.0 / 65_536.0;
/// SQNs of an ACK's bitmap.
const BITMAP: u32 = 32;
/// Largest transmission group (RFC 3208 §11.2).
const TG_MAX: u32 = 128;
/// Packets that come at once share an ACK, this many of them. Each is in three ACKs more.
const PER_ACK: u32 = 8;
/// ACKs that wait at most; the oldest give way.
const ACKS_MAX: usize = 16;

/// The acker of packets that ask for one.
const NO_ACKER: Nla = Nla::V4(Ipv4Addr::UNSPECIFIED);

/// What is known of the network between a source and us.
#[derive(Debug)]
pub(super) struct Cc {
    /// Our name in reports; `None`: we have none, and give none.
    nla: Option<Nla>,
    /// Share of first transmissions lost, filtered.
    loss: f64,
    /// RX_MAX: the newest SQN received.
    rx_max: Option<Sqn>,
    /// Bit i: `rx_max - i` was received.
    bitmap: u32,
    /// Size of transmission groups, if there are any.
    tg_size: Option<u32>,
    /// From, and up to: SQNs that the last short group left out. They belong to no packet.
    unused: Option<(Sqn, Sqn)>,
    /// The newest timestamp of a source that uses PGMCC, and when it came.
    echo: Option<(u32, Instant)>,
    acks: VecDeque<Pending>,
    election: Option<Election>,
    /// What the latest SPM asks for.
    wanted: CrBits,
}

/// An ACK to send.
#[derive(Debug)]
struct Pending {
    ack: Ack,
    packets: u32,
}

/// A NAK that only says we are there.
#[derive(Debug)]
struct Election {
    /// The packet that asked for an acker.
    sqn: Sqn,
    /// When the back-off ends.
    at: Instant,
    /// It has ended.
    is_due: bool,
}

impl Cc {
    pub(super) fn new(nla: Ipv4Addr) -> Self {
        Self {
            nla: (!nla.is_unspecified()).then_some(Nla::V4(nla)),
            loss: 0.0,
            rx_max: None,
            bitmap: 0,
            tg_size: None,
            unused: None,
            echo: None,
            acks: VecDeque::new(),
            election: None,
            wanted: CrBits::default(),
        }
    }

    /// Original data of the source, whether or not there is room for it: what the network brought.
    pub(super) fn on_odata(
        &mut self,
        now: Instant,
        sqn: Sqn,
        option: Option<PgmccData>,
        back_off: impl FnOnce() -> Instant,
    ) {
        self.count(sqn);
        let (Some(nla), Some(option)) = (self.nla, option) else {
            return;
        };
        self.echo = Some((option.timestamp, now));
        if option.acker == NO_ACKER {
            // PGMCC §2.3.1 (C-12): a NAK after the usual back-off. It names the packet that asked, so that the
            // NCF, or the NAK of another receiver, silences the others, with or without network elements.
            self.election.get_or_insert_with(|| Election {
                sqn,
                at: back_off(),
                is_due: false,
            });
            return;
        }
        self.election = None;
        // PGMCC §4 (C-10): the one that is named, and nobody else.
        if option.acker == nla {
            self.acknowledge();
        }
    }

    /// Received: it, and not what it skips.
    fn count(&mut self, sqn: Sqn) {
        let Some(rx_max) = self.rx_max else {
            (self.rx_max, self.bitmap) = (Some(sqn), 1);
            return;
        };
        match sqn.since(rx_max) {
            0 | i32::MIN => {}
            ahead @ 1.. => {
                let unused = self.unused_within(rx_max, ahead);
                let lost = ahead - 1 - (unused.end - unused.start).max(0);
                let kept = 1.0 - LOSS_WEIGHT;
                self.loss = (1.0 - (1.0 - self.loss) * kept.powi(lost)) * kept;
                // PGMCC §2.1.2 (C-11)
                self.bitmap = self.bitmap.checked_shl(ahead.unsigned_abs()).unwrap_or(0) | 1;
                for at in unused {
                    let bit = 1_u32.checked_shl((ahead - at).unsigned_abs());
                    self.bitmap |= bit.unwrap_or(0);
                }
                self.rx_max = Some(sqn);
            }
            behind => {
                // Overtaken, not lost.
                let bit = 1_u32.checked_shl(behind.unsigned_abs()).unwrap_or(0);
                if self.bitmap & bit == 0 && bit != 0 {
                    self.bitmap |= bit;
                    self.loss = (self.loss - LOSS_WEIGHT).max(0.0);
                }
            }
        }
    }

    /// Distances from `rx_max`, less than `ahead`, of the SQNs a short group left out.
    fn unused_within(&self, rx_max: Sqn, ahead: i32) -> Range<i32> {
        let Some((from, to)) = self.unused else {
            return 0..0;
        };
        let [from, to] = [from, to].map(|sqn| sqn.since(rx_max).clamp(1, ahead));
        from..to
    }

    /// OPT_CURR_TGSIZE with this SQN, or as the newest one of an SPM (RFC 3208 §11.4): its group ends early.
    pub(super) fn on_short_group(&mut self, sqn: Sqn, size: Option<u32>) {
        let (Some(size), Some(k)) = (size, self.tg_size) else {
            return;
        };
        let tg = Sqn(sqn.0 & !(k - 1));
        if (1..k).contains(&size) {
            self.unused = Some((tg.plus(size), tg.plus(k)));
        }
    }

    fn acknowledge(&mut self) {
        let Some(rx_max) = self.rx_max else {
            return;
        };
        let bitmap = self.bitmap;
        let ack = Ack { rx_max, bitmap };
        match self.acks.back_mut() {
            // Nothing falls out of the bitmap.
            Some(last)
                if last.packets < PER_ACK && rx_max.since(last.ack.rx_max) < BITMAP as i32 / 2 =>
            {
                last.ack = ack;
                last.packets += 1;
            }
            _ => {
                if self.acks.len() >= ACKS_MAX {
                    self.acks.pop_front();
                }
                self.acks.push_back(Pending { ack, packets: 1 });
            }
        }
    }

    /// OPT_CRQST of a new SPM, or its absence; its transmission groups.
    pub(super) fn on_spm(&mut self, window: Option<Window>, options: &Options) {
        self.wanted = options.crqst.unwrap_or_default();
        let size = options.parity_prm.map(|prm| prm.tg_size);
        self.tg_size = size.filter(|k| k.is_power_of_two() && (2..=TG_MAX).contains(k));
        if let Some(window) = window {
            self.on_short_group(window.lead, options.curr_tgsize);
        }
    }

    /// A NAK or NCF names this SQN. Whether it silences us.
    pub(super) fn on_asked(&mut self, sqn: Sqn) -> bool {
        self.election
            .take_if(|election| election.sqn == sqn)
            .is_some()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let waiting = self.election.as_ref().filter(|election| !election.is_due);
        waiting.map(|election| election.at)
    }

    pub(super) fn on_timeout(&mut self, now: Instant) {
        if let Some(election) = &mut self.election {
            election.is_due |= election.at <= now;
        }
    }

    /// The next ACK.
    fn take_ack(&mut self) -> Option<Ack> {
        self.acks.pop_front().map(|pending| pending.ack)
    }

    /// SQN of a NAK that says we are there.
    pub(super) fn take_election(&mut self) -> Option<Sqn> {
        let election = self.election.take_if(|election| election.is_due)?;
        Some(election.sqn)
    }

    /// What a NAK of ours says beside what it asks for; `lead` is the newest SQN known.
    pub(super) fn nak_options(&mut self, now: Instant, lead: Sqn) -> Options {
        // Any NAK says that we are there.
        self.election = None;
        Options {
            cr: self.report(lead),
            pgmcc_feedback: self.feedback(now),
            ..Options::default()
        }
    }

    /// RFC 3208 §12.5 (C-01, C-02, C-03): in every NAK while requested; what is not requested is 0.
    ///
    /// OpenPGM asks for our loss by the bit of the network elements' path report. Bits are answered as they were
    /// asked, and the loss goes with either.
    fn report(&self, lead: Sqn) -> Option<Cr> {
        let bits = self.wanted;
        let receiver = self.nla.filter(|_| bits != CrBits::default())?;
        let rx_wp = if bits.receiver || bits.path {
            self.loss_rate()
        } else {
            0
        };
        Some(Cr {
            bits,
            lead,
            ne_wl: 0,
            ne_wp: 0,
            rx_wp,
            receiver,
        })
    }

    /// PGMCC §2.1.2: the timestamp goes back with the time it was held.
    fn feedback(&self, now: Instant) -> Option<PgmccFeedback> {
        let (timestamp, came) = self.echo?;
        let held = now.saturating_duration_since(came).as_millis();
        Some(PgmccFeedback {
            // Sums wrap, as timestamps do.
            timestamp: timestamp.wrapping_add(held as u32),
            loss_rate: self.loss_rate(),
            receiver: self.nla?,
        })
    }

    /// 0xFFFF is all of them.
    fn loss_rate(&self) -> u16 {
        (self.loss * f64::from(u16::MAX)).round() as u16
    }
}

impl Peer {
    /// The next ACK, with where it goes: to the source itself. Network elements know no ACKs and would not pass
    /// on what is addressed to them.
    pub(super) fn emit_ack(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<usize> {
        let ack = self.cc.take_ack()?;
        let options = Options {
            pgmcc_feedback: self.cc.feedback(now),
            ..Options::default()
        };
        self.counters.plain.acks_sent += 1;
        Some(self.emit(Body::Ack(ack), options, &[], out))
    }

    /// A NAK for the sake of what goes with it.
    pub(super) fn election_nak(&mut self) -> Option<Nak> {
        Some(Nak {
            sqn: self.cc.take_election()?,
            list: Default::default(),
            source: Nla::V4(self.source),
            group: Nla::V4(self.group),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cc() -> Cc {
        Cc::new(Ipv4Addr::new(10, 0, 0, 9))
    }

    #[test] // C-11: LSB is RX_MAX, also across the wrap
    fn the_bitmap_tells_the_latest_packets() {
        for first in [0, u32::MAX - 1, (1 << 31) - 2] {
            let (mut cc, sqn) = (cc(), |n: u32| Sqn(first.wrapping_add(n)));
            for n in [0, 1, 3, 2, 7] {
                cc.count(sqn(n));
            }
            assert_eq!((cc.rx_max, cc.bitmap), (Some(sqn(7)), 0b1111_0001));
            cc.count(sqn(7));
            cc.count(sqn(5));
            assert_eq!((cc.rx_max, cc.bitmap), (Some(sqn(7)), 0b1111_0101));
            cc.count(sqn(38));
            assert_eq!((cc.rx_max, cc.bitmap), (Some(sqn(38)), 1 << 31 | 1));
            cc.count(sqn(6));
            assert_eq!(cc.bitmap, 1 << 31 | 1, "too old to tell");
            cc.count(sqn(1_000_000));
            assert_eq!((cc.rx_max, cc.bitmap), (Some(sqn(1_000_000)), 1));
        }
    }

    #[test]
    fn what_a_short_group_leaves_out_is_not_lost() {
        for first in [Sqn(32), Sqn(u32::MAX - 7)] {
            let mut cc = cc();
            cc.tg_size = Some(8);
            for n in 0..3 {
                cc.count(first.plus(n));
            }
            cc.on_short_group(first.plus(2), Some(3));
            cc.count(first.plus(8));
            assert_eq!((cc.loss, cc.bitmap), (0.0, 0b1_1111_1111));
            // What comes after the group can be lost.
            cc.on_short_group(first.plus(8), Some(1));
            cc.count(first.plus(17));
            assert_eq!(cc.bitmap & 0b11_1111_1111, 0b11_1111_1101);
            assert!(cc.loss > 0.0);
        }
    }

    #[test] // C-03
    fn loss_is_filtered_and_what_was_overtaken_is_not_lost() {
        let mut cc = cc();
        let mut rng = fastrand::Rng::with_seed(1);
        for n in (0..20_000).filter(|n| n % 2 == 0 || rng.f64() < 0.8) {
            cc.count(Sqn(n));
        }
        assert!((0.07..0.13).contains(&cc.loss), "{}", cc.loss);
        for n in (20_000..24_000).map(|n| n ^ 1) {
            cc.count(Sqn(n));
        }
        assert!(cc.loss < 0.01, "{}", cc.loss);
        cc.count(Sqn(24_000 + (1 << 30)));
        assert!(cc.loss_rate() > 65_000, "nearly everything is lost");
    }

    #[test]
    fn acks_are_bounded_and_each_packet_is_in_one() {
        let mut cc = cc();
        for n in 0..20 {
            cc.count(Sqn(n));
            cc.acknowledge();
        }
        let acks: Vec<_> = std::iter::from_fn(|| cc.take_ack()).collect();
        let newest: Vec<_> = acks.iter().map(|ack| ack.rx_max.0).collect();
        assert_eq!(newest, [7, 15, 19]);
        for n in 0..10_000 {
            cc.count(Sqn(20 + n));
            cc.acknowledge();
        }
        assert_eq!(cc.acks.len(), ACKS_MAX);
    }
}
