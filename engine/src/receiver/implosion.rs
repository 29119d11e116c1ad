//! Keeping the group from asking all at once: the advertised back-off interval, and a parent that
//! reaches nobody (RFC 3208 §15).

use super::{Emitted, Peer};
use crate::num::{Nla, Sqn};
use crate::wire::{Body, Nak, NakBoRng, Options, Spm, Tpdu};
use crate::{Arrival, Destination};
use std::net::Ipv4Addr;
use std::time::Duration;

/// Bounds of an advertised NAK_BO_IVL: what the network says is honoured within them (RFC 3208 §10).
const NAK_BO_IVL_MIN: Duration = Duration::from_micros(100);
const NAK_BO_IVL_MAX: Duration = Duration::from_secs(5);

/// NAK_BO_IVL_MIN and NAK_BO_IVL_MAX in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    min: Duration,
    max: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            min: NAK_BO_IVL_MIN,
            max: NAK_BO_IVL_MAX,
        }
    }
}

impl Bounds {
    /// RFC 3208 §15.2.2 (I-02): an SPM's OPT_NAK_BO_RNG sets them, within our own.
    fn set(&mut self, range: NakBoRng) {
        // A least above the most is no range.
        if range.min <= range.max {
            let own =
                |n: u32| Duration::from_micros(n.into()).clamp(NAK_BO_IVL_MIN, NAK_BO_IVL_MAX);
            (self.min, self.max) = (own(range.min), own(range.max));
        }
    }
}

impl Peer {
    /// OPT_NAK_BO_RNG of an SPM.
    pub(super) fn learn_bounds(&mut self, options: &Options) {
        if let Some(range) = options.nak_bo_rng {
            self.bounds.set(range);
        }
    }

    /// OPT_NAK_BO_IVL of an SPM or NCF.
    pub(super) fn learn_nak_bo_ivl(&mut self, options: &Options) {
        let Some(advertised) = options.nak_bo_ivl else {
            return;
        };
        // RFC 3208 §15.2.2 (I-01): derived from a poll, it is good only for who saw that poll or an
        // earlier one. Who did not has its own interval; not to ask at all would mean to lose data.
        let sqn = advertised.ivl_sqn;
        let ivl = if sqn == Sqn(0) || self.polled.has_seen_up_to(sqn) {
            Duration::from_micros(advertised.ivl.into())
        } else {
            self.config.nak_bo_ivl
        };
        let Bounds { min, max } = self.bounds;
        self.repair.set_nak_bo_ivl(ivl.clamp(min, max));
    }

    /// An SPM with OPT_NBR_UNREACH. It repeats the SPM_SQN of a regular one, and RFC 3208 §15.3.2 (I-06)
    /// has its window ignored; (I-05) unless it is the parent's, so is all of it.
    pub(super) fn on_unreach_spm(&mut self, spm: &Spm) {
        if self.is_parent(spm.path) {
            // RFC 3208 §15.3.2 (I-04): no NAK until a regular SPM.
            self.unreachable = true;
        }
    }

    /// An NCF with OPT_NBR_UNREACH.
    pub(super) fn on_unreach_ncf(&mut self, arrival: &Arrival, ncf: &Nak, options: &Options) {
        // RFC 3208 §15.3.2 (I-05)
        if !options.path_nla.is_some_and(|path| self.is_parent(path)) {
            return;
        }
        // RFC 3208 §15.3.2 (I-07): the neighbours are told, by a copy with TTL 1. Once, since then they
        // know; a flood must not become one of multicast.
        if arrival.group.is_none() && !self.unreachable {
            self.warning = Some(Box::new(ncf.clone()));
        }
        self.unreachable = true;
    }

    /// Whether a packet of another address than the source's is a parent's, or the copy of a neighbour,
    /// that it is unreachable: it must name the parent and something that we miss ourselves.
    pub(super) fn is_warning(&self, arrival: &Arrival, tpdu: &Tpdu<'_>) -> bool {
        let Body::Ncf(ncf) = &tpdu.body else {
            return false;
        };
        let options = &tpdu.options;
        let names_parent = options.path_nla.is_some_and(|path| self.is_parent(path));
        let from_parent = arrival.group.is_none() && self.is_parent(Nla::V4(arrival.from));
        options.nbr_unreach
            && names_parent
            && (from_parent || arrival.group.is_some())
            && ncf.sqns().any(|sqn| self.rxw.gap(sqn).is_some())
    }

    /// The copy for the neighbours.
    pub(super) fn emit_warning(&mut self, out: &mut Vec<u8>) -> Option<Emitted> {
        let ncf = self.warning.take()?;
        let options = Options {
            nbr_unreach: true,
            path_nla: self.path.map(Nla::V4),
            ..Options::default()
        };
        let len = self.emit(Body::Ncf(*ncf), options, &[], out);
        Some(Emitted {
            ttl: Some(1),
            source: self.as_source(),
            ..Emitted::plain(len, Destination::Group(self.group))
        })
    }

    /// Source address of what should look like the source's, where the network layer lets us.
    pub(super) fn as_source(&self) -> Option<Ipv4Addr> {
        self.config.as_source.then_some(self.source)
    }

    fn is_parent(&self, nla: Nla) -> bool {
        self.path.map(Nla::V4) == Some(nla)
    }
}
