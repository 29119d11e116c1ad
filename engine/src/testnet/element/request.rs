//! NAKs on their way up: forwarded at once and repeated until they are confirmed (RFC 3208 §7.3).

use super::redirect::Redirect;
use super::repair::{Key, Phase};
use super::report::Report;
use super::{Arriving, Element, ElementConfig, Forward, Session, rewrite};
use crate::wire::Cr;
use bytes::Bytes;
use std::net::Ipv4Addr;
use std::time::Instant;

/// A NAK forwarded and not confirmed.
#[derive(Debug)]
pub(super) struct Request {
    /// As it came.
    packet: Bytes,
    /// All that it names, in its order.
    named: Vec<Key>,
    /// Those of them that wait for an NCF.
    wanted: Vec<Key>,
    cr: Option<Cr>,
    until: Instant,
    repeat_at: Instant,
    /// The DLR it was redirected to.
    dlr: Option<Redirect>,
}

impl Request {
    pub(super) fn new(
        now: Instant,
        arriving: &Arriving<'_>,
        (named, wanted): (Vec<Key>, Vec<Key>),
        cr: Option<Cr>,
        config: &ElementConfig,
    ) -> Self {
        Self {
            packet: arriving.bytes.clone(),
            named,
            wanted,
            cr,
            until: now + config.nak_rpt_ivl,
            repeat_at: now + config.nak_rpt_every,
            dlr: None,
        }
    }
}

impl Session {
    /// Requests all of which was confirmed, repaired or forgotten.
    pub(super) fn forget_confirmed(&mut self) {
        let repairs = &self.repairs;
        let is_pending = |key: &Key| {
            let repair = repairs.get(key);
            repair.is_some_and(|repair| repair.phase == Phase::Pending)
        };
        self.requests.retain_mut(|request| {
            request.wanted.retain(is_pending);
            !request.wanted.is_empty()
        });
    }
}

impl Element {
    /// A NAK goes up, without back-off (N-05). `here_only`: not to a DLR.
    pub(super) fn request(
        &mut self,
        now: Instant,
        key: ([u8; 6], u16),
        mut request: Request,
        here_only: bool,
    ) {
        let rdata_ivl = self.config.nak_rdata_ivl;
        let Some(session) = self.sessions.get_mut(&key) else {
            return;
        };
        request.dlr = session.redirect_for(&request.wanted).filter(|_| !here_only);
        for key in &request.wanted {
            if let Some(repair) = session.repairs.get_mut(key) {
                repair.phase = Phase::Pending;
                repair.discard_at = now + rdata_ivl;
                repair.at_dlr = request.dlr.is_some_and(|dlr| dlr.off_tree);
            }
        }
        // One request at a time takes care of an SQN.
        for older in &mut session.requests {
            older.wanted.retain(|key| !request.wanted.contains(key));
        }
        session.forget_confirmed();
        self.send(key, &request);
        if !request.wanted.is_empty() {
            self.wake_at(request.until.min(request.repeat_at));
            if let Some(session) = self.sessions.get_mut(&key) {
                session.requests.push(request);
            }
        }
    }

    /// RFC 3208 §7.3 (N-06): repeated at NAK_RPT_RTE, for NAK_RPT_IVL.
    pub(super) fn repeat_requests(&mut self, now: Instant, key: ([u8; 6], u16)) {
        let Some(session) = self.sessions.get_mut(&key) else {
            return;
        };
        let mut requests = std::mem::take(&mut session.requests);
        requests.retain_mut(|request| self.repeat(now, key, request));
        for request in &requests {
            self.wake_at(request.until.min(request.repeat_at));
        }
        if let Some(session) = self.sessions.get_mut(&key) {
            session.requests = requests;
        }
    }

    /// Whether the request lives on.
    fn repeat(&mut self, now: Instant, key: ([u8; 6], u16), request: &mut Request) -> bool {
        let (rpt_ivl, every) = (self.config.nak_rpt_ivl, self.config.nak_rpt_every);
        if request.until > now {
            if request.repeat_at <= now {
                request.repeat_at += every;
                self.send(key, request);
            }
            return true;
        }
        let Some(session) = self.sessions.get_mut(&key) else {
            return false;
        };
        if let Some(dlr) = request.dlr.take() {
            // RFC 3208 §9.5.3.2: a DLR that does not confirm is none; the NAK goes the usual way.
            session.redirect = session.redirect.filter(|known| *known != dlr);
            for key in &request.wanted {
                if let Some(repair) = session.repairs.get_mut(key) {
                    repair.at_dlr = false;
                }
            }
            (request.until, request.repeat_at) = (now + rpt_ivl, now + every);
            self.send(key, request);
            return true;
        }
        for key in &request.wanted {
            if let Some(repair) = session.repairs.get_mut(key) {
                repair.phase = Phase::Lapsed;
            }
        }
        false
    }

    fn send(&mut self, key: ([u8; 6], u16), request: &Request) {
        let Some(session) = self.sessions.get_mut(&key) else {
            return;
        };
        let upstream = session.upstream.filter(|_| !session.unreachable);
        let to: Option<(usize, Ipv4Addr)> = match request.dlr {
            Some(dlr) => Some((dlr.iface, dlr.addr)),
            None => upstream.map(|upstream| (upstream.iface, upstream.addr)),
        };
        let Some((iface, to)) = to else {
            self.stats.naks_stranded += 1;
            return;
        };
        // RFC 3208 §11.6: a parity NAK goes up with the largest known packet count.
        let sqns: Vec<_> = request
            .named
            .iter()
            .map(|key| Session::sqn(*key, session.repairs.get(key).map_or(1, |r| r.largest)))
            .collect();
        if let Some(cr) = &request.cr {
            session.report = Some(Report::sent(cr));
        }
        self.stats.naks_forwarded += 1;
        self.out.push_back(Forward {
            iface,
            from: self.ifaces[iface].addr,
            to,
            router_alert: false,
            ttl: None,
            bytes: Bytes::from(rewrite::nak(&request.packet, &sqns, request.cr.as_ref())),
        });
    }
}
