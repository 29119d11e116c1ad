//! Packets of a receiver to the network: ports, bodies, where they go.

use super::Peer;
use super::poll::Reply;
use super::repair::NakList;
use crate::Destination;
use crate::num::{Nla, Sqn};
use crate::wire::{Body, Nak, Options, Tpdu};
use std::net::Ipv4Addr;
use std::time::Instant;

/// What `poll_transmit` appended and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// Octets appended.
    pub len: usize,
    /// Unicast target, or the group (SPMR copy with TTL 1).
    pub to: Destination,
    /// TTL if restricted.
    pub ttl: Option<u8>,
    /// Wants IP Router Alert: what a DLR multicasts.
    pub router_alert: bool,
    /// Source address, if not our own: the data source's.
    pub source: Option<Ipv4Addr>,
}

impl Emitted {
    /// With nothing out of the ordinary.
    pub(super) fn plain(len: usize, to: Destination) -> Self {
        Self {
            len,
            to,
            ttl: None,
            router_alert: false,
            source: None,
        }
    }
}

impl Peer {
    /// RFC 3208 §6.3, §8.3.
    /// A NAK by SQN (RFC 3208 §6.3, §8.3 ). `dlr`: where it goes instead of to the parent at `path`.
    pub(super) fn emit_nak(
        &mut self,
        now: Instant,
        list: &NakList,
        dlr: Option<Ipv4Addr>,
        path: Ipv4Addr,
        out: &mut Vec<u8>,
    ) -> Emitted {
        self.counters.plain.selective_naks_sent += list.len() as u64;
        self.counters.plain.naks_redirected += u64::from(dlr.is_some());
        let nak = self.nak_of(list);
        // RFC 3208 §6.3: only if the parent is not directly connected, so that others of our
        // link hear what they would not.
        if self.config.nak_copy && path != self.source && !self.config.is_local(path) {
            self.nak_copy = Some(Box::new(nak.clone()));
        }
        self.emit_report(now, nak, false, dlr.unwrap_or(path), out)
    }

    pub(super) fn emit_parity_nak(
        &mut self,
        now: Instant,
        list: &NakList,
        path: Ipv4Addr,
        out: &mut Vec<u8>,
    ) -> Emitted {
        self.counters.plain.parity_naks_sent += list.len() as u64;
        let nak = self.nak_of(list);
        self.emit_report(now, nak, true, path, out)
    }

    /// A NAK with what it says of the network.
    pub(super) fn emit_report(
        &mut self,
        now: Instant,
        nak: Nak,
        parity: bool,
        to: Ipv4Addr,
        out: &mut Vec<u8>,
    ) -> Emitted {
        self.counters.plain.naks_sent += 1;
        let options = self.cc.nak_options(now, self.rxw.lead());
        let len = self.emit_parity(Body::Nak(nak), options, parity, &[], out);
        Emitted::plain(len, Destination::Host(to))
    }

    pub(super) fn emit_nak_copy(&mut self, now: Instant, nak: Nak, out: &mut Vec<u8>) -> Emitted {
        let options = self.cc.nak_options(now, self.rxw.lead());
        let len = self.emit(Body::Nak(nak), options, &[], out);
        Emitted {
            ttl: Some(1),
            ..Emitted::plain(len, Destination::Group(self.group))
        }
    }

    /// RFC 3208 §14.5 (P-06): to POLL_PATH, with SQN and round of the POLL.
    pub(super) fn emit_polr(&mut self, reply: Reply, out: &mut Vec<u8>) -> Emitted {
        let options = match reply.redirect {
            true => self.redirecting(),
            false => Options::default(),
        };
        self.counters.plain.polrs_sent += 1;
        let len = self.emit(Body::Polr(reply.polr), options, &[], out);
        Emitted::plain(len, Destination::Host(reply.to))
    }

    /// Body of a NAK, NNAK or NCF. The list is not empty.
    pub(super) fn nak_of(&self, list: &[Sqn]) -> Nak {
        Nak {
            sqn: list[0],
            list: list[1..].iter().copied().collect(),
            source: Nla::V4(self.source),
            group: Nla::V4(self.group),
        }
    }

    pub(super) fn emit(
        &self,
        body: Body,
        options: Options,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> usize {
        self.emit_parity(body, options, false, payload, out)
    }

    pub(super) fn emit_parity(
        &self,
        body: Body,
        options: Options,
        parity: bool,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> usize {
        let before = out.len();
        // Upstream: ports swapped, the source's TSI (RFC 3208 §3.1, §8.3 (G-17, G-18)).
        let (sport, dport) = match body.is_upstream() {
            true => (self.dport, self.tsi.sport),
            false => (self.tsi.sport, self.dport),
        };
        let tpdu = Tpdu {
            sport,
            dport,
            gsi: self.tsi.gsi,
            parity,
            var_pktlen: false,
            body,
            options,
            payload,
        };
        tpdu.emit(out);
        out.len() - before
    }
}
