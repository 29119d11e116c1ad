//! SPMs: where upstream is, and when it cannot be reached (RFC 3208 §7.1, §15.3.2).

use super::{Arriving, Element, Forward, Upstream, order, rewrite, v4};
use crate::num::Sqn;
use crate::wire::{Body, Options, Spm, Tpdu};
use bytes::Bytes;
use std::time::Instant;

impl Element {
    pub(super) fn on_spm(
        &mut self,
        now: Instant,
        arriving: &Arriving<'_>,
        spm: &Spm,
        tpdu: &Tpdu<'_>,
    ) {
        let Some(path) = v4(spm.path) else {
            return;
        };
        let upstream = Upstream {
            iface: arriving.iface,
            addr: path,
        };
        if tpdu.options.nbr_unreach {
            // RFC 3208 §15.3.2: from the parent it goes on as any SPM, and no NAK goes up; from others
            // it means nothing.
            let key = order(tpdu.tsi());
            if let Some(session) = self.sessions.get_mut(&key)
                && session.upstream == Some(upstream)
            {
                session.unreachable = true;
                self.forward_spm(arriving, key);
            }
            return;
        }
        let Some(session) = self.session(now, tpdu, arriving.from, arriving.to) else {
            return;
        };
        // RFC 3208 §7.1 (N-01): only an SPM in sequence says where upstream is.
        if session
            .spm_sqn
            .is_some_and(|last| !spm.spm_sqn.is_newer_than(last))
        {
            return;
        }
        session.spm_sqn = Some(spm.spm_sqn);
        session.upstream = Some(upstream);
        session.unreachable = false;
        session.heard = now;
        session.source = arriving.from;
        session.group = arriving.to;
        session.curr_tg_size = tpdu.options.curr_tgsize;
        if let Some(prm) = tpdu.options.parity_prm
            && prm.tg_size.is_power_of_two()
        {
            session.tg_size = Some(prm.tg_size);
        }
        for below in &mut session.below {
            below.failed = false;
        }
        self.forward_spm(arriving, order(tpdu.tsi()));
    }

    /// An SPM on all interfaces but the one it came by, each with its own address as SPM_PATH.
    fn forward_spm(&mut self, arriving: &Arriving<'_>, key: ([u8; 6], u16)) {
        let Some(session) = self.sessions.get(&key) else {
            return;
        };
        for (iface, own) in self.ifaces.iter().enumerate() {
            if iface == arriving.iface {
                continue;
            }
            let bytes = rewrite::spm(arriving.bytes, own.addr, session.nak_bo_ivl(iface));
            self.out.push_back(Forward {
                iface,
                from: arriving.from,
                to: arriving.to,
                router_alert: true,
                ttl: None,
                bytes: Bytes::from(bytes),
            });
        }
    }

    /// An NCF said that upstream cannot be reached.
    pub(super) fn on_unreachable(&mut self, tpdu: &Tpdu<'_>) {
        let Some(session) = self.sessions.get_mut(&order(tpdu.tsi())) else {
            return;
        };
        let told = tpdu.options.path_nla.and_then(v4);
        let Some(upstream) = session.upstream.filter(|up| Some(up.addr) == told) else {
            return;
        };
        session.unreachable = true;
        // RFC 3208 §15.3.2 (N-25): a special SPM keeps those below from asking. It has the SQN of the
        // last regular one, and no window.
        let spm = |path| Spm {
            spm_sqn: session.spm_sqn.unwrap_or(Sqn(0)),
            window: None,
            path,
        };
        for (iface, own) in self.ifaces.iter().enumerate() {
            if iface == upstream.iface {
                continue;
            }
            let options = Options {
                nbr_unreach: true,
                ..Options::default()
            };
            let bytes = session.emit(Body::Spm(spm(own.addr.into())), false, options);
            self.out.push_back(Forward {
                iface,
                from: session.source,
                to: session.group,
                router_alert: true,
                ttl: None,
                bytes,
            });
        }
    }
}
