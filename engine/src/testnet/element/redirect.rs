//! Designated local repairers, and how they are found (RFC 3208 §9.5.3, §14.4).

use super::repair::Key;
use super::{Arriving, Element, Forward, Session, order, v4};
use crate::num::Tsi;
use crate::wire::{Body, Options, Poll, Tpdu};
use std::net::Ipv4Addr;
use std::time::Duration;

/// Where NAKs of a session go instead of upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    pub(super) addr: Ipv4Addr,
    /// Interface it answered by.
    pub(super) iface: usize,
    /// It makes parity, too.
    pub(super) parity: bool,
    /// It is not between here and the source.
    pub(super) off_tree: bool,
}

impl Session {
    /// The DLR to ask for all of `keys`, if there is one.
    pub(super) fn redirect_for(&self, keys: &[Key]) -> Option<Redirect> {
        let redirect = self.redirect?;
        let parity = keys.iter().any(|key| key.0);
        // RFC 3208 §9.5.3.2: what the DLR's own subnet lacks, it lacks itself.
        let lacks = |key: &Key| {
            let repair = self.repairs.get(key);
            repair.is_some_and(|repair| repair.listed.iter().any(|l| l.iface == redirect.iface))
        };
        let useless = redirect.off_tree && keys.iter().any(lacks);
        (!useless && !keys.is_empty() && (redirect.parity || !parity)).then_some(redirect)
    }
}

impl Element {
    /// Where NAKs of a session go instead of upstream, if it is so.
    #[must_use]
    pub fn redirected_to(&self, tsi: Tsi) -> Option<Ipv4Addr> {
        let session = self.sessions.get(&order(tsi))?;
        session.redirect.map(|redirect| redirect.addr)
    }

    /// A poll of those on the interfaces away from the source (RFC 3208 §14.4): sub-type 0 asks everybody, 1
    /// asks DLRs. `rand` is asked once for each interface.
    pub fn poll(
        &mut self,
        tsi: Tsi,
        sub_type: u16,
        bo_ivl: Duration,
        mut rand: impl FnMut() -> u32,
    ) {
        let Some(session) = self.sessions.get_mut(&order(tsi)) else {
            return;
        };
        let Some(upstream) = session.upstream else {
            return;
        };
        session.poll_sqn = session.poll_sqn.next();
        for (iface, own) in self.ifaces.iter().enumerate() {
            if iface == upstream.iface {
                continue;
            }
            let body = Body::Poll(Poll {
                sqn: session.poll_sqn,
                round: 0,
                sub_type,
                path: own.addr.into(),
                bo_ivl: u32::try_from(bo_ivl.as_micros()).unwrap_or(u32::MAX),
                rand: rand(),
                mask: 0,
            });
            self.out.push_back(Forward {
                iface,
                from: session.source,
                to: session.group,
                router_alert: true,
                ttl: None,
                bytes: session.emit(body, false, Options::default()),
            });
        }
    }

    /// RFC 3208 §9.5.3.2: a redirecting POLR is remembered for the NAKs that come. It completes none.
    pub(super) fn on_polr(&mut self, arriving: &Arriving<'_>, tpdu: &Tpdu<'_>) {
        self.stats.polrs_received += 1;
        let Some(session) = self.sessions.get_mut(&order(tpdu.tsi())) else {
            return;
        };
        let Some(addr) = tpdu.options.redirect.and_then(v4) else {
            return;
        };
        let off_tree = !arriving.to.is_multicast();
        let from_upstream = session.upstream.map(|up| up.iface) == Some(arriving.iface);
        let own = self.ifaces.iter().any(|iface| iface.addr == addr);
        // An upstream DLR is preferred to one off the tree.
        let has_better = off_tree && session.redirect.is_some_and(|known| !known.off_tree);
        if own || has_better || (!off_tree && !from_upstream) {
            return;
        }
        session.redirect = Some(Redirect {
            addr,
            iface: arriving.iface,
            parity: tpdu.parity,
            off_tree,
        });
    }
}
