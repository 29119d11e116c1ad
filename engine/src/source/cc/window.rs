//! PGMCC's window W and tokens T, and the packets in flight they stand for (PGMCC §2.2).

use crate::num::Sqn;
use crate::wire::Ack;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Below this W grows by one for each packet acknowledged, beyond it by one in a round trip.
pub(super) const SSTHRESH: f64 = 4.0;
/// A packet is lost when it is not acknowledged and so many after it are.
const DUPACKS: u32 = 3;
/// Largest W, packets: bounds what is remembered of those in flight.
const W_MAX: f64 = 65_536.0;
/// Most packets of a transmission group.
const GROUP_MAX: i32 = 128;
/// SQNs an ACK tells of.
const BITMAP: i32 = 32;

/// W, and what is in flight. T is the one less the other: so the draft's sums for T come out.
#[derive(Debug)]
pub(super) struct Window {
    /// W, packets.
    size: f64,
    /// SQN of the front one of `flight`.
    base: Sqn,
    /// Packets whose fate is not settled, and acknowledged ones after them.
    flight: VecDeque<Packet>,
    /// Those of them not acknowledged.
    unacked: usize,
    /// Most of them at once, in this round trip and in the one before it.
    peaks: [usize; 2],
    /// The round trip ends with an ACK for this SQN.
    round: Sqn,
    /// After a loss: W stays as it is until an ACK tells of this SQN.
    frozen: Option<Sqn>,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    sent: Instant,
    acked: bool,
}

/// What an ACK told that was not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct News {
    /// Packets received.
    pub(super) received: u32,
    /// Packets lost.
    pub(super) lost: u32,
    /// Packets no ACK will tell of any more.
    pub(super) unknown: u32,
    /// Time since the newest one was sent, if this ACK is the first that tells of it.
    pub(super) rtt: Option<Duration>,
}

impl Window {
    /// PGMCC §2.2 (C-06): W and T start at 1.
    pub(super) fn new(next: Sqn) -> Self {
        Self {
            size: 1.0,
            base: next,
            flight: VecDeque::new(),
            unacked: 0,
            peaks: [0; 2],
            round: next,
            frozen: None,
        }
    }

    /// W, packets.
    pub(super) fn size(&self) -> f64 {
        self.size
    }

    /// T, packets. Below 1 no packet may go, but for the floor on the rate: then it may be negative.
    pub(super) fn tokens(&self) -> f64 {
        // At most W_MAX packets are in flight.
        self.size - f64::from(self.unacked as u32)
    }

    /// Whether anything is in flight of which nobody has told yet.
    pub(super) fn has_unacked(&self) -> bool {
        self.unacked > 0
    }

    /// After a timeout, or with a new acker at the start: everything anew, what is in flight is forgotten.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.next());
    }

    /// W was not in use for a while: no more than `most`.
    pub(super) fn shrink(&mut self, most: f64) {
        self.size = self.size.min(most);
    }

    /// A packet goes.
    pub(super) fn on_sent(&mut self, now: Instant, sqn: Sqn) {
        if self.flight.is_empty() {
            self.base = sqn;
        }
        // SQNs left out of a short transmission group (RFC 3208 §11.4) belong to no packet.
        for _ in 0..sqn.since(self.next()).clamp(0, GROUP_MAX) {
            self.flight.push_back(Packet {
                sent: now,
                acked: true,
            });
        }
        // A floor on the rate must not fill the memory where nobody answers.
        if self.flight.len() >= W_MAX as usize {
            self.settle_front();
        }
        self.unacked += 1;
        self.peaks[0] = self.peaks[0].max(self.unacked);
        self.flight.push_back(Packet {
            sent: now,
            acked: false,
        });
    }

    /// An ACK of the acker. `None`: it tells of a packet that was never sent.
    pub(super) fn on_ack(&mut self, now: Instant, ack: &Ack) -> Option<News> {
        let newest = ack.rx_max.since(self.base);
        let sent = i32::try_from(self.flight.len()).unwrap_or(i32::MAX);
        if newest >= sent || newest == i32::MIN {
            return None;
        }
        let was_used = self
            .peaks
            .iter()
            .any(|peak| *peak as f64 >= self.size / 2.0);
        let mut news = self.mark(now, ack, newest);
        let halve = self.settle(newest, &mut news);
        if ack.rx_max.since(self.round) >= 0 {
            self.peaks = [self.unacked, self.peaks[0]];
            self.round = self.next();
        }
        if self
            .frozen
            .is_some_and(|sqn| sqn.since(self.base) < 0 || ack.rx_max.since(sqn) >= 0)
        {
            self.frozen = None;
        }
        if halve {
            // PGMCC §2.2 (C-06): T = T - W/2, W = W/2. Below one packet W would be a standstill.
            self.shrink((self.size / 2.0).max(1.0));
            // PGMCC §2.2 (C-07): no change until there is feedback on the packet sent next.
            self.frozen = Some(self.next());
        } else if news.lost == 0 && self.frozen.is_none() && was_used {
            self.grow(news.received);
        }
        Some(news)
    }

    /// PGMCC §2.2 (C-06): slow start up to SSTHRESH, then 1/W for each packet. Unlike the
    /// draft's, a window of which not even half was used does not grow: nothing proves that there is room for it.
    fn grow(&mut self, packets: u32) {
        let mut packets = f64::from(packets);
        if self.size < SSTHRESH {
            let fast = packets.min(SSTHRESH - self.size);
            packets -= fast;
            self.size += fast;
        }
        self.size = (self.size + packets / self.size).min(W_MAX);
    }

    /// Note what the bitmap tells.
    fn mark(&mut self, now: Instant, ack: &Ack, newest: i32) -> News {
        let mut news = News::default();
        for back in (0..BITMAP).filter(|back| ack.bitmap >> back & 1 != 0) {
            let Ok(at) = usize::try_from(newest.saturating_sub(back)) else {
                break;
            };
            if let Some(packet) = self.flight.get_mut(at)
                && !packet.acked
            {
                packet.acked = true;
                self.unacked -= 1;
                news.received += 1;
                if back == 0 {
                    news.rtt = Some(now.saturating_duration_since(packet.sent));
                }
            }
        }
        news
    }

    /// Drop from the front what is settled. Whether a loss among it halves the window.
    fn settle(&mut self, newest: i32, news: &mut News) -> bool {
        // Before the third of the latest packets received whatever is missing is lost; what the bitmap does
        // not reach any more is neither.
        let (mut lost_before, mut received) = (0, 0);
        for at in (0..=newest).rev() {
            let acked = usize::try_from(at).is_ok_and(|at| self.flight[at].acked);
            received += u32::from(acked);
            if received == DUPACKS {
                lost_before = at;
                break;
            }
            if newest - at >= BITMAP {
                break;
            }
        }
        let unknown_before = newest - BITMAP + 1;
        let mut halve = false;
        for at in 0..lost_before.max(unknown_before).max(0) {
            let sqn = self.base;
            if !self.settle_front() {
                continue;
            }
            if at >= unknown_before {
                news.lost += 1;
                halve |= self.frozen.is_none_or(|frozen| sqn.since(frozen) >= 0);
            } else {
                news.unknown += 1;
            }
        }
        while self.flight.front().is_some_and(|packet| packet.acked) {
            self.settle_front();
        }
        halve
    }

    /// The front packet is no longer in flight. Whether that is news, because it was not acknowledged.
    ///
    /// Its token comes back whatever became of it. The draft gives back those of acknowledged packets only;
    /// then each loss would cost a token for good, and the window close until a timeout.
    fn settle_front(&mut self) -> bool {
        let Some(packet) = self.flight.pop_front() else {
            return false;
        };
        self.base = self.base.next();
        self.unacked -= usize::from(!packet.acked);
        !packet.acked
    }

    /// The SQN after the last one in flight.
    fn next(&self) -> Sqn {
        // At most W_MAX.
        self.base.plus(self.flight.len() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rig {
        window: Window,
        now: Instant,
        next: Sqn,
    }

    impl Rig {
        fn new(first: u32) -> Self {
            Self {
                window: Window::new(Sqn(first)),
                now: Instant::now(),
                next: Sqn(first),
            }
        }

        /// As many as there are tokens; how many.
        fn send(&mut self) -> u32 {
            let mut sent = 0;
            while self.window.tokens() >= 1.0 {
                self.window.on_sent(self.now, self.next);
                self.next = self.next.next();
                sent += 1;
            }
            sent
        }

        fn ack(&mut self, back: u32, bitmap: u32) -> News {
            let rx_max = self.next.minus(back);
            let news = self.window.on_ack(self.now, &Ack { rx_max, bitmap });
            let unacked = self.window.flight.iter().filter(|packet| !packet.acked);
            assert_eq!(self.window.unacked, unacked.count());
            news.expect("a possible ACK")
        }

        fn grown(first: u32, rounds: u32) -> Self {
            let mut rig = Self::new(first);
            for _ in 0..rounds {
                for back in (1..=rig.send()).rev() {
                    rig.ack(back, 1);
                }
            }
            rig
        }
    }

    #[test] // C-06: W = T = 1, doubled up to SSTHRESH, then one packet a round trip
    fn the_window_opens_exponentially_and_then_linearly() {
        for first in [0, u32::MAX - 5, (1 << 31) - 3] {
            let mut rig = Rig::new(first);
            assert_eq!((rig.window.size(), rig.window.tokens()), (1.0, 1.0));
            let mut sent = Vec::new();
            for _ in 0..7 {
                let burst = rig.send();
                sent.push(burst);
                for back in (1..=burst).rev() {
                    assert_eq!(rig.ack(back, 1).received, 1);
                }
            }
            assert_eq!(sent, [1, 2, 4, 4, 5, 6, 7]);
        }
    }

    #[test] // C-06: T and W as the draft adds them up
    fn tokens_are_those_of_the_draft() {
        let mut rig = Rig::new(u32::MAX - 7);
        let (mut t, mut w) = (1.0, 1.0);
        for round in 0..20 {
            let sent = rig.send();
            t -= f64::from(sent);
            let mut back = sent;
            while back > 0 {
                // One ACK for one packet, for two …
                let n = (round % 3 + 1).min(back);
                back -= n;
                rig.ack(back + 1, (1 << n) - 1);
                let mut n = f64::from(n);
                if w < SSTHRESH {
                    let d = n.min(SSTHRESH - w);
                    n -= d;
                    t += 2.0 * d;
                    w += d;
                }
                t += n * (1.0 + 1.0 / w);
                w += n / w;
                let (size, tokens) = (rig.window.size(), rig.window.tokens());
                assert!((size - w).abs() < 1e-6 && (tokens - t).abs() < 1e-6);
            }
        }
        let sent = rig.send();
        t -= f64::from(sent);
        // The first one is lost, the others come.
        rig.ack(sent - 3, 0b111);
        t += 3.0 - w / 2.0;
        w /= 2.0;
        assert!((rig.window.size() - w).abs() < 1e-6);
        // But for the token of the lost one, which the draft forgets.
        assert!((rig.window.tokens() - t - 1.0).abs() < 1e-6);
    }

    #[test] // C-06: one ACK for N packets does what N ACKs do
    fn an_ack_for_several_packets_counts_as_many() {
        let (mut one, mut many) = (Rig::grown(9, 3), Rig::grown(9, 3));
        assert_eq!((one.send(), many.send()), (4, 4));
        for back in (1..=4).rev() {
            many.ack(back, 1);
        }
        assert_eq!(one.ack(1, 0b1111).received, 4);
        assert!((one.window.size() - many.window.size()).abs() < 0.2);
    }

    #[test] // C-06, C-07: halved by the third packet after the loss, and once in a round trip
    fn the_window_is_halved_once_in_a_round_trip() {
        for first in [7, u32::MAX - 60] {
            let mut rig = Rig::grown(first, 12);
            let before = rig.window.size();
            let sent = rig.send();
            assert!(sent >= 10);
            // The first one and the fourth are lost.
            assert_eq!(rig.ack(sent - 1, 0b1).lost, 0);
            assert_eq!(rig.ack(sent - 2, 0b11).lost, 0);
            assert_eq!(rig.ack(sent - 4, 0b1101).lost, 1);
            let half = rig.window.size();
            assert!(half > before / 2.0 - 0.1 && half < before / 2.0 + 0.2);
            assert!(rig.window.tokens() < 1.0);
            assert_eq!(rig.ack(sent - 6, 0b11_0111).lost, 1, "the fourth");
            assert_eq!(rig.window.size(), half, "and W as it was");
            rig.ack(1, u32::MAX);
            assert_eq!(rig.window.size(), half, "no growth either");
            // The packet sent next ends that.
            assert!(rig.send() > 0);
            rig.ack(1, u32::MAX);
            assert!(rig.window.size() > half);
        }
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let mut rig = Rig::grown(1, 12);
        let mut sizes = Vec::new();
        for _ in 0..100 {
            rig.window.on_sent(rig.now, rig.next);
            rig.next = rig.next.next();
            assert_eq!(rig.ack(1, 1).received, 1);
            sizes.push(rig.window.size());
        }
        // The round trip in which it was used may still count.
        assert_eq!(sizes[3], sizes[99]);
    }

    #[test] // C-11: an ACK of what was never sent is refused, an old one tells nothing
    fn impossible_acks_change_nothing() {
        let mut rig = Rig::grown(u32::MAX - 3, 4);
        rig.send();
        let (size, tokens) = (rig.window.size(), rig.window.tokens());
        for ahead in [0, 1, 100, 1 << 30] {
            let rx_max = rig.next.plus(ahead);
            let ack = Ack {
                rx_max,
                bitmap: u32::MAX,
            };
            assert_eq!(rig.window.on_ack(rig.now, &ack), None, "{ahead}");
        }
        assert_eq!(rig.ack(1_000, u32::MAX), News::default());
        assert_eq!(rig.ack(1, 0), News::default());
        assert_eq!((rig.window.size(), rig.window.tokens()), (size, tokens));
    }

    #[test]
    fn sqns_that_belong_to_no_packet_are_not_waited_for() {
        let mut rig = Rig::grown(u32::MAX - 70, 12);
        rig.window.on_sent(rig.now, rig.next);
        rig.next = rig.next.plus(60);
        let sent = rig.send();
        let news = rig.ack(1, u32::MAX);
        assert_eq!((news.received, news.lost), (sent, 0), "one is out of reach");
        assert!(!rig.window.has_unacked());
    }

    #[test]
    fn what_the_bitmap_does_not_reach_is_neither_received_nor_lost() {
        let mut rig = Rig::grown(1, 60);
        let sent = rig.send();
        assert!(sent > 40);
        let news = rig.ack(1, u32::MAX);
        assert_eq!((news.received, news.lost), (32, 0));
        assert!(!rig.window.has_unacked());
        assert_eq!(rig.window.tokens(), rig.window.size(), "no token is lost");
    }
}
