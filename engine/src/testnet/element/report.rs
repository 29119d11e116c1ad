//! Congestion reports that NAKs carry upstream (RFC 3208 §12.6).

use super::Iface;
use crate::num::{Nla, Sqn};
use crate::wire::Cr;

/// Everything is lost.
const FULL: f64 = 65535.0;
/// A change of more than this share of what was sent before is worth a NAK of its own.
const WORTH_TELLING: f64 = 0.05;

/// What was last sent upstream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    lead: Sqn,
    ne_wl: u16,
    ne_wp: u16,
    rx_wp: u16,
    receiver: Nla,
}

impl Report {
    /// The report that goes upstream when `incoming` came by the interface `from` and `last` was sent
    /// before; the loads of all interfaces towards receivers are in `below`.
    pub(super) fn next<'a>(
        last: Option<&Self>,
        incoming: &Cr,
        from: &Iface,
        below: impl Iterator<Item = &'a Iface>,
    ) -> Cr {
        // RFC 3208 §12.6 (C-04): the reference is the highest SQN known; recorded values age with the
        // distance from it, and each report is the maximum of its candidates.
        let lead = match last {
            Some(last) if last.lead.is_newer_than(incoming.lead) => last.lead,
            _ => incoming.lead,
        };
        let old = |value: fn(&Self) -> u16| {
            last.map_or(0, |last| aged(value(last), lead.since(last.lead)))
        };
        let worst_link = below.map(|iface| iface.load).max().unwrap_or(0);
        let old_rx_wp = old(|last| last.rx_wp);
        let receiver = match last {
            Some(last) if old_rx_wp > incoming.rx_wp => last.receiver,
            _ => incoming.receiver,
        };
        Cr {
            bits: incoming.bits,
            lead,
            ne_wl: worst_link.max(incoming.ne_wl).max(old(|last| last.ne_wl)),
            ne_wp: through(incoming.ne_wp, from.load).max(old(|last| last.ne_wp)),
            rx_wp: incoming.rx_wp.max(old_rx_wp),
            receiver,
        }
    }

    /// Whether `cr` says something that was not said before.
    ///
    /// RFC 3208 §12.6.1 (C-05): a change of more than 5 % is not suppressed.
    pub(super) fn is_news(last: Option<&Self>, cr: &Cr) -> bool {
        let before = last.map_or([0; 3], |last| [last.ne_wl, last.ne_wp, last.rx_wp]);
        let asked = [cr.bits.link, cr.bits.path, cr.bits.receiver];
        let after = [cr.ne_wl, cr.ne_wp, cr.rx_wp];
        let changed =
            |(old, new): (u16, u16)| f64::from(old.abs_diff(new)) > WORTH_TELLING * f64::from(old);
        let mut pairs = before.into_iter().zip(after).zip(asked);
        pairs.any(|(pair, asked)| asked && changed(pair))
    }

    /// What was sent now.
    pub(super) fn sent(cr: &Cr) -> Self {
        Self {
            lead: cr.lead,
            ne_wl: cr.ne_wl,
            ne_wp: cr.ne_wp,
            rx_wp: cr.rx_wp,
            receiver: cr.receiver,
        }
    }
}

/// `loss × exp(-ΔSQN × loss / 2)`: by exp(-1/2) in the time between two NAKs.
fn aged(load: u16, sqns: i32) -> u16 {
    let loss = f64::from(load) / FULL;
    let aged = loss * (-f64::from(sqns.max(0)) * loss / 2.0).exp();
    (aged * FULL).round() as u16
}

/// RFC 3208 §12.3: a path's load after a link with `load` before it.
fn through(path: u16, load: u16) -> u16 {
    let (path, load) = (f64::from(path) / FULL, f64::from(load) / FULL);
    ((load + path * (1.0 - load)) * FULL).round() as u16
}
