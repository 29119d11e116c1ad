//! A local repairer (DLR) in the parent's place (RFC 3208 §9.5.4).
//!
//! A redirecting POLR can come from anyone, and who believes it sends its NAKs there. So it is heeded
//! only where the receiver was told to ([`ReceiverConfig::use_dlr`]), and no SQN is asked for there
//! twice: what the DLR does not repair goes to the parent next.

use super::dlr::redirected_to;
use super::repair::Lost;
use super::{Peer, ReceiverConfig};
use crate::Arrival;
use crate::num::Sqn;
use crate::wire::{Body, Data, Nak, Options, Tpdu};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// After a DLR did not answer, none is turned to for so long, whoever advertises it, and each time without
/// a repair in between for twice as long: else forged POLRs could delay every repair.
const SHUN_MIN: Duration = Duration::from_millis(250);
const SHUN_DOUBLINGS: u32 = 6;
/// Confirmed NAKs that the DLR did not repair, in a row, after which it is dropped.
const FAILURES_MAX: u32 = 3;

/// The DLR in use.
#[derive(Debug, Default)]
pub(super) struct Redirect {
    dlr: Option<Ipv4Addr>,
    shunned_until: Option<Instant>,
    /// DLRs dropped since the last repair of one.
    dropped: u32,
    failures: u32,
}

impl Redirect {
    /// A redirecting POLR came. Whether NAKs go to `dlr` from now on.
    pub(super) fn on_polr(&mut self, now: Instant, dlr: Ipv4Addr, config: &ReceiverConfig) -> bool {
        // RFC 3208 §9.5.4: a DLR of our own subnet has lost what we have lost.
        if !config.use_dlr
            || config.is_local(dlr)
            || self.shunned_until.is_some_and(|until| now < until)
        {
            return false;
        }
        if self.dlr != Some(dlr) {
            (self.dlr, self.failures) = (Some(dlr), 0);
        }
        true
    }

    /// Where NAKs go instead of the parent.
    pub(super) fn dlr(&self) -> Option<Ipv4Addr> {
        self.dlr
    }

    /// RFC 3208 §9.5.4: no NCF within NAK_RPT_IVL.
    pub(super) fn on_silence(&mut self, now: Instant) {
        // Of what went there before it was dropped, more comes to light later.
        if self.dlr.is_none() {
            return;
        }
        let shun = SHUN_MIN * (1 << self.dropped.min(SHUN_DOUBLINGS));
        self.dropped = self.dropped.saturating_add(1);
        (self.dlr, self.shunned_until) = (None, Some(now + shun));
    }

    /// So many SQNs were confirmed and not repaired.
    pub(super) fn on_failures(&mut self, now: Instant, count: u32) {
        self.failures += count;
        if count > 0 && self.failures >= FAILURES_MAX {
            self.on_silence(now);
        }
    }

    /// A repair came that was asked for at the DLR.
    pub(super) fn on_repair(&mut self) {
        (self.failures, self.dropped) = (0, 0);
    }
}

impl Peer {
    /// A POLR, heard as the others of the group hear it.
    pub(super) fn on_polr(&mut self, now: Instant, arrival: &Arrival, options: &Options) {
        if options.redirect.is_none() {
            return;
        }
        // RFC 3208 §9.5.4: it confirms no NAK, so nothing else changes. From its own address
        // where it cannot have the source's; never from a third one's.
        let taken = redirected_to(options, self.source).is_some_and(|dlr| {
            (arrival.from == self.source || arrival.from == dlr)
                && self.dlr.is_none()
                && self.path != Some(dlr)
                && self.redirect.on_polr(now, dlr, &self.config)
        });
        match taken {
            true => self.counters.plain.redirects_taken += 1,
            false => self.counters.plain.redirects_ignored += 1,
        }
    }

    /// Whether it is an NCF or RDATA of the DLR, with its own address, for something that we miss: asked for
    /// by us, or by another child of the DLR in use.
    pub(super) fn is_dlrs_answer(&self, arrival: &Arrival, tpdu: &Tpdu<'_>) -> bool {
        let wanted = |sqn| self.is_wanted_of(arrival.from, sqn);
        match &tpdu.body {
            Body::Ncf(ncf) => !tpdu.parity && !tpdu.options.nbr_unreach && ncf.sqns().any(wanted),
            Body::Rdata(data) => !tpdu.parity && wanted(data.sqn),
            _ => false,
        }
    }

    fn is_wanted_of(&self, from: Ipv4Addr, sqn: Sqn) -> bool {
        let in_use = self.redirect.dlr() == Some(from);
        let gap = self.rxw.gap(sqn);
        gap.is_some_and(|gap| in_use || gap.dlr == Some(from))
    }

    /// The DLR's own NCF is good for what is missing and for nothing else.
    pub(super) fn on_dlrs_ncf(&mut self, now: Instant, arrival: &Arrival, ncf: &Nak) {
        self.counters.plain.ncfs_received += 1;
        for sqn in ncf.sqns() {
            if self.is_wanted_of(arrival.from, sqn) {
                self.repair.on_ncf(now, &mut self.rxw, sqn);
            }
        }
    }

    /// From the DLR's own address: its data are taken, its word about window and end is not.
    pub(super) fn on_dlrs_rdata(&mut self, now: Instant, data: Data, tpdu: &Tpdu<'_>) {
        let (sqn, trail) = (data.sqn, self.rxw.edge());
        let mut tpdu = tpdu.clone();
        tpdu.options.fin = false;
        self.on_data(now, Data { sqn, trail }, &tpdu, true);
    }

    /// What timers tell about the DLR.
    pub(super) fn on_dlr_failures(&mut self, now: Instant, lost: &Lost) {
        if lost.dlr_silent {
            self.redirect.on_silence(now);
        }
        self.redirect.on_failures(now, lost.dlr_failures);
    }
}
