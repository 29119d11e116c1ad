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
}

/// Gilbert model: in the bad state everything is lost.
#[derive(Clone, Copy, Debug)]
pub struct Burst {
    /// Chance to fall into the bad state, per packet.
    pub enter: f64,
    /// Chance to leave it, per packet: its inverse is the mean length of a burst.
    pub leave: f64,
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
    /// How it travels.
    pub cast: Cast,
    /// Its type.
    pub kind: Kind,
    /// It is the `nth` of its type in its session, counted from 1 at the sender.
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
}

impl Way {
    pub(super) fn new(link: Link) -> Self {
        Self { link, bad: false }
    }

    /// When copies of one packet arrive: none, one or two delays.
    pub(super) fn arrivals(&mut self, rng: &mut fastrand::Rng) -> impl Iterator<Item = Duration> {
        let Link {
            latency,
            jitter,
            loss,
            burst,
            duplicates,
        } = self.link;
        if let Some(Burst { enter, leave }) = burst {
            let flip = if self.bad { leave } else { enter };
            self.bad ^= rng.f64() < flip;
        }
        let lost = self.bad || rng.f64() < loss;
        let copies = if lost {
            0
        } else {
            1 + usize::from(rng.f64() < duplicates)
        };
        let jitter = u64::try_from(jitter.as_nanos()).unwrap_or(u64::MAX);
        let mut delay = || latency + Duration::from_nanos(rng.u64(0..=jitter));
        let delays = [delay(), delay()];
        delays.into_iter().take(copies)
    }
}
