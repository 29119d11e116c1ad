//! What a packet may suffer on its way: delay, loss, reordering, duplication, or a rule of the test.

use super::NodeId;
use crate::num::Tsi;
use crate::wire::{Body, Tpdu};
use std::time::Duration;

/// The way into one node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// Delay of every packet.
    pub latency: Duration,
    /// Up to this much more, random for each packet: packets overtake each other.
    pub jitter: Duration,
    /// Share of packets lost, each independently, 0..=1.
    pub loss: f64,
    /// Losses that come in a row.
    pub burst: Option<Burst>,
    /// Share of packets that arrive twice, 0..=1.
    pub duplicates: f64,
    /// What passes in a second, and how much waits for it. It is shared by all that comes this way.
    pub bottleneck: Option<Bottleneck>,
}

/// A line slower than what may be sent into it, with a queue that drops what finds it full.
#[derive(Clone, Copy, Debug)]
pub struct Bottleneck {
    /// Octets of TPDUs a second.
    pub rate: u64,
    /// Octets that wait at most.
    pub queue: u64,
}

/// Gilbert model in time: good and bad states follow each other, in the bad one everything is lost.
#[derive(Clone, Copy, Debug)]
pub struct Burst {
    /// Mean time between two bad states.
    pub every: Duration,
    /// Mean length of a bad state.
    pub lasts: Duration,
}

/// How a packet travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cast {
    /// To a group.
    Group,
    /// To one host.
    Host,
}

/// Packet types, as in [`Body`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // The names of RFC 3208.
pub enum Kind {
    Spm,
    Poll,
    Polr,
    Odata,
    Rdata,
    Nak,
    Nnak,
    Ncf,
    Spmr,
    Ack,
}

impl Kind {
    /// How many there are.
    pub(super) const COUNT: usize = 10;
}

impl From<&Body> for Kind {
    fn from(body: &Body) -> Self {
        match body {
            Body::Spm(_) => Self::Spm,
            Body::Poll(_) => Self::Poll,
            Body::Polr(_) => Self::Polr,
            Body::Odata(_) => Self::Odata,
            Body::Rdata(_) => Self::Rdata,
            Body::Nak(_) => Self::Nak,
            Body::Nnak(_) => Self::Nnak,
            Body::Ncf(_) => Self::Ncf,
            Body::Spmr => Self::Spmr,
            Body::Ack(_) => Self::Ack,
        }
    }
}

/// A packet on its way, for the rules of a test.
#[derive(Debug)]
pub struct Flight<'a> {
    /// Virtual time since the start of the net.
    pub at: Duration,
    /// Who sent it.
    pub from: NodeId,
    /// By which interface, if that is a network element.
    pub iface: Option<usize>,
    /// How it travels.
    pub cast: Cast,
    /// Its type.
    pub kind: Kind,
    /// It is the `nth` of its type in its session, counted from 1 at the sender, and its interface.
    pub nth: u64,
    /// Its session.
    pub tsi: Tsi,
    /// The packet.
    pub tpdu: &'a Tpdu<'a>,
}

/// Decides whether a packet is lost on its way to a node.
pub(super) type Rule = Box<dyn FnMut(&Flight<'_>, NodeId) -> bool>;

/// A link in use.
#[derive(Debug, Default)]
pub(super) struct Way {
    pub(super) link: Link,
    bad: bool,
    /// When the burst state changes next.
    flip: Duration,
    /// When the bottleneck has sent what waits.
    clear: Duration,
}

impl Way {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            ..Self::default()
        }
    }

    /// When copies of one packet sent `at` arrive: none, one or two delays.
    pub(super) fn arrivals(
        &mut self,
        at: Duration,
        octets: usize,
        rng: &mut fastrand::Rng,
    ) -> impl Iterator<Item = Duration> {
        let Link {
            latency,
            jitter,
            loss,
            burst,
            duplicates,
            bottleneck,
        } = self.link;
        let waits = match bottleneck {
            Some(bottleneck) => self.queue(at, octets, bottleneck),
            None => Some(Duration::ZERO),
        };
        if let Some(burst) = burst {
            while self.flip <= at {
                // The very first state is a good one.
                self.bad = !self.bad && self.flip > Duration::ZERO;
                let mean = if self.bad { burst.lasts } else { burst.every };
                self.flip += mean.mul_f64(-(1.0 - rng.f64()).ln()) + Duration::from_nanos(1);
            }
        }
        let lost = (self.bad && burst.is_some()) || rng.f64() < loss;
        let copies = if lost || waits.is_none() {
            0
        } else {
            1 + usize::from(rng.f64() < duplicates)
        };
        let jitter = u64::try_from(jitter.as_nanos()).unwrap_or(u64::MAX);
        let latency = latency + waits.unwrap_or_default();
        let mut delay = || latency + Duration::from_nanos(rng.u64(0..=jitter));
        let delays = [delay(), delay()];
        delays.into_iter().take(copies)
    }

    /// Until when a packet takes to get through the bottleneck; `None`: the queue is full.
    fn queue(&mut self, at: Duration, octets: usize, to: Bottleneck) -> Option<Duration> {
        let time = |octets: u64| Duration::from_nanos(octets * 1_000_000_000 / to.rate);
        let backlog = self.clear.saturating_sub(at);
        if backlog > time(to.queue) {
            return None;
        }
        self.clear = at + backlog + time(octets as u64);
        Some(self.clear - at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Copies of each of 20 000 packets, one a millisecond.
    fn copies(link: Link) -> Vec<usize> {
        let (mut way, mut rng) = (Way::new(link), fastrand::Rng::with_seed(1));
        let at = (0..20_000).map(Duration::from_millis);
        at.map(|at| way.arrivals(at, 1000, &mut rng).count())
            .collect()
    }

    #[test]
    fn links_lose_and_double_as_they_are_told() {
        assert!(copies(Link::default()).iter().all(|n| *n == 1));
        let link = Link {
            loss: 0.2,
            duplicates: 0.1,
            ..Link::default()
        };
        let copies = copies(link);
        let share = |n| copies.iter().filter(|c| **c == n).count() as f64 / 20_000.0;
        assert!((0.19..0.21).contains(&share(0)), "{}", share(0));
        assert!((0.07..0.09).contains(&share(2)), "{}", share(2));
    }

    #[test]
    fn a_bottleneck_passes_its_rate_and_delays_by_its_queue() {
        let bottleneck = Some(Bottleneck {
            rate: 100_000,
            queue: 5_000,
        });
        let link = Link {
            bottleneck,
            ..Link::default()
        };
        // A thousand octets each 2 ms are five times the rate.
        let (mut way, mut rng) = (Way::new(link), fastrand::Rng::with_seed(1));
        let mut delays = Vec::new();
        for at in (0..1_000).map(|n| Duration::from_millis(2 * n)) {
            delays.extend(way.arrivals(at, 1_000, &mut rng));
        }
        assert!((200..=206).contains(&delays.len()), "{}", delays.len());
        assert!(delays[0] == Duration::from_millis(10));
        assert!(delays.iter().max() <= Some(&Duration::from_millis(60)));
    }

    #[test]
    fn bursts_have_their_length() {
        let [every, lasts] = [100, 10].map(Duration::from_millis);
        let copies = copies(Link {
            burst: Some(Burst { every, lasts }),
            ..Link::default()
        });
        let lost = copies.iter().filter(|c| **c == 0).count();
        let bursts = copies.windows(2).filter(|w| w[0] > 0 && w[1] == 0).count();
        let mean = lost as f64 / bursts as f64;
        assert!((8.0..13.0).contains(&mean), "{mean} ms");
        assert!((140..220).contains(&bursts), "{bursts} in 20 s");
    }
}
