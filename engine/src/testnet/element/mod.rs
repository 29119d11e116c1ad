//! A network element: a PGM router, modelled after RFC 3208 §7, §9, §11.6, §12.6, §14 and §15.
//!
//! Like the endpoint it is sans-I/O: packets and time in, packets out. It forwards original data untouched,
//! learns from SPMs where the source is, confirms and gathers NAKs, and lets repairs through only to where
//! they were asked for.
//!
//! | file | owns |
//! |---|---|
//! | `path` | SPMs: where upstream is; failures upstream |
//! | `repair` | repair state of an SQN or transmission group; NAK, NCF, NNAK, RDATA |
//! | `request` | NAKs forwarded and repeated until they are confirmed |
//! | `redirect` | designated local repairers: POLL, POLR |
//! | `report` | congestion reports in NAKs |
//! | `rewrite` | changes of a packet in place; options nobody knows |

mod path;
mod redirect;
mod repair;
mod report;
mod request;
mod rewrite;
#[cfg(test)]
mod tests;

use crate::num::{Nla, Sqn, Tsi};
use crate::source::Backoff;
use crate::wire::{Body, NakBoIvl, Options, Tpdu};
use bytes::Bytes;
use redirect::Redirect;
use repair::{Key, Repair};
use report::Report;
use request::Request;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Timers and limits of a network element. The defaults are those of the PGM MIB, where it has any.
#[derive(Clone, Debug)]
pub struct ElementConfig {
    /// NAK_RPT_IVL: how long a NAK is repeated until it is confirmed.
    pub nak_rpt_ivl: Duration,
    /// NAK_RPT_RTE, as the time between two of them.
    pub nak_rpt_every: Duration,
    /// NAK_RDATA_IVL: how long a confirmed NAK waits for its RDATA.
    pub nak_rdata_ivl: Duration,
    /// NAK_ELIM_IVL: how long duplicates of a confirmed NAK are not forwarded.
    pub nak_elim_ivl: Duration,
    /// A TSI without SPM for so long is forgotten.
    pub tsi_expiry: Duration,
    /// Bounds and start of the back-off interval advertised on each interface (RFC 3208 §15.2).
    pub nak_bo_min: Duration,
    /// See `nak_bo_min`.
    pub nak_bo_max: Duration,
    /// See `nak_bo_min`.
    pub nak_bo_default: Duration,
    /// DUP_NAK_MAX: so many duplicates of a NAK from one interface tell that multicast does not get there.
    pub dup_nak_max: Option<u32>,
    /// Sessions at most.
    pub max_sessions: usize,
    /// Repair states of a session at most.
    pub max_repairs: usize,
}

impl Default for ElementConfig {
    fn default() -> Self {
        Self {
            nak_rpt_ivl: Duration::from_millis(100),
            nak_rpt_every: Duration::from_millis(500),
            nak_rdata_ivl: Duration::from_secs(10),
            nak_elim_ivl: Duration::from_secs(5),
            tsi_expiry: Duration::from_secs(300),
            nak_bo_min: Duration::from_micros(500),
            nak_bo_max: Duration::from_millis(100),
            nak_bo_default: Duration::from_millis(10),
            dup_nak_max: None,
            max_sessions: 1024,
            max_repairs: 1 << 16,
        }
    }
}

/// A packet that comes in.
#[derive(Clone, Copy, Debug)]
pub struct Arriving<'a> {
    /// Interface it comes by.
    pub iface: usize,
    /// Network-header source address.
    pub from: Ipv4Addr,
    /// Network-header destination address: a group, or one of the element's own.
    pub to: Ipv4Addr,
    /// The TPDU.
    pub bytes: &'a Bytes,
}

/// A packet that goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Interface it goes by.
    pub iface: usize,
    /// Network-header source address.
    pub from: Ipv4Addr,
    /// Network-header destination address.
    pub to: Ipv4Addr,
    /// IP Router Alert (RFC 3208 §4).
    pub router_alert: bool,
    /// TTL, where it is not that of the packet that came.
    pub ttl: Option<u8>,
    /// The TPDU.
    pub bytes: Bytes,
}

/// What an element counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ElementStats {
    /// NAKs that came.
    pub naks_received: u64,
    /// NAKs forwarded, repetitions included.
    pub naks_forwarded: u64,
    /// NAKs that somebody else's made needless.
    pub naks_eliminated: u64,
    /// NAKs for which there was no state to forward them, or no room for any.
    pub naks_stranded: u64,
    /// NCFs sent.
    pub ncfs_sent: u64,
    /// NCFs taken off the wire.
    pub ncfs_received: u64,
    /// RDATA forwarded, once per interface.
    pub rdata_forwarded: u64,
    /// RDATA that nobody below asked for.
    pub rdata_dropped: u64,
    /// Packets nobody can read, or told to be discarded by an option nobody knows.
    pub dropped: u64,
    /// Replies to polls.
    pub polrs_received: u64,
}

/// One interface.
#[derive(Debug)]
struct Iface {
    addr: Ipv4Addr,
    /// Share of packets dropped on the way out, 0xFFFF: all of them (RFC 3208 §12.6.2).
    load: u16,
}

/// A session as the element knows it.
#[derive(Debug)]
struct Session {
    tsi: Tsi,
    /// Data-destination port.
    dport: u16,
    source: Ipv4Addr,
    group: Ipv4Addr,
    upstream: Option<Upstream>,
    spm_sqn: Option<Sqn>,
    /// Upstream said OPT_NBR_UNREACH: no NAK goes there until a regular SPM (I-04).
    unreachable: bool,
    /// Last regular SPM, or first NAK.
    heard: Instant,
    /// Transmission group size that the source announced.
    tg_size: Option<u32>,
    /// Its actual size where the source told of a short one.
    curr_tg_size: Option<u32>,
    redirect: Option<Redirect>,
    repairs: HashMap<Key, Repair>,
    requests: Vec<Request>,
    /// What receivers behind each interface are told.
    below: Vec<Below>,
    report: Option<Report>,
    poll_sqn: Sqn,
}

/// The PGM neighbour towards the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Upstream {
    iface: usize,
    addr: Ipv4Addr,
}

/// One interface in one session.
#[derive(Debug)]
struct Below {
    backoff: Backoff,
    /// Multicast does not reach who is there: NCFs go by unicast until a regular SPM (I-08).
    failed: bool,
}

/// A network element.
#[derive(Debug)]
pub struct Element {
    config: ElementConfig,
    ifaces: Vec<Iface>,
    /// In an order that does not change from run to run.
    sessions: BTreeMap<([u8; 6], u16), Session>,
    out: VecDeque<Forward>,
    /// When there may be something to do; never too late.
    wake: Option<Instant>,
    stats: ElementStats,
}

impl Element {
    /// An element that knows nothing, with an interface for each address.
    #[must_use]
    pub fn new(config: ElementConfig, addresses: Vec<Ipv4Addr>) -> Self {
        let iface = |addr| Iface { addr, load: 0 };
        Self {
            config,
            ifaces: addresses.into_iter().map(iface).collect(),
            sessions: BTreeMap::new(),
            out: VecDeque::new(),
            wake: None,
            stats: ElementStats::default(),
        }
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> ElementStats {
        self.stats
    }

    /// SQNs and transmission groups that have repair state.
    #[must_use]
    pub fn repairs(&self) -> usize {
        self.sessions.values().map(|s| s.repairs.len()).sum()
    }

    /// Sessions known.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Where NAKs of a session go.
    #[must_use]
    pub fn upstream(&self, tsi: Tsi) -> Option<Ipv4Addr> {
        let session = self.sessions.get(&order(tsi))?;
        session.upstream.map(|upstream| upstream.addr)
    }

    /// The share of packets that an interface drops on the way out, 0xFFFF: all of them.
    pub fn set_load(&mut self, iface: usize, load: u16) {
        self.ifaces[iface].load = load;
    }

    /// A packet that PGM has an element look at, or multicast.
    pub fn handle_tpdu(&mut self, now: Instant, arriving: &Arriving<'_>) {
        let Ok(tpdu) = Tpdu::parse(arriving.bytes) else {
            self.stats.dropped += 1;
            return;
        };
        // RFC 3208 §7.3: original data is switched without a look at its transport header (N-08).
        if let Body::Odata(_) = tpdu.body {
            return self.switch(arriving, tpdu.tsi());
        }
        match rewrite::obey_opx(arriving.bytes) {
            rewrite::Opx::Keep => self.dispatch(now, arriving, &tpdu),
            rewrite::Opx::Discard => self.stats.dropped += 1,
            rewrite::Opx::Changed(bytes) => {
                let bytes = Bytes::from(bytes);
                let changed = Arriving {
                    bytes: &bytes,
                    ..*arriving
                };
                if let Ok(tpdu) = Tpdu::parse(&bytes) {
                    self.dispatch(now, &changed, &tpdu);
                }
            }
        }
    }

    /// Let timers that are due fire.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.wake.is_none_or(|wake| wake > now) {
            return;
        }
        self.wake = None;
        let expiry = self.config.tsi_expiry;
        self.sessions
            .retain(|_, session| now < session.heard + expiry);
        let keys: Vec<_> = self.sessions.keys().copied().collect();
        for key in keys {
            self.repeat_requests(now, key);
            let Some(session) = self.sessions.get_mut(&key) else {
                continue;
            };
            // RFC 3208 §7.8 (N-16): NAK_RDATA_IVL without RDATA ends the state.
            session.repairs.retain(|_, repair| now < repair.discard_at);
            let discards = session.repairs.values().map(|repair| repair.discard_at);
            let expires = session.heard + expiry;
            let next = discards.fold(expires, Instant::min);
            self.wake_at(next);
        }
    }

    /// When `handle_timeout` may have something to do next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wake
    }

    /// The next packet that goes out.
    pub fn poll_transmit(&mut self) -> Option<Forward> {
        self.out.pop_front()
    }
}

impl Element {
    fn dispatch(&mut self, now: Instant, arriving: &Arriving<'_>, tpdu: &Tpdu<'_>) {
        let multicast = arriving.to.is_multicast();
        match &tpdu.body {
            Body::Spm(spm) if multicast => self.on_spm(now, arriving, spm, tpdu),
            Body::Rdata(data) => self.on_rdata(arriving, data.sqn, tpdu),
            // RFC 3208 §6.3: a multicast copy is for other receivers.
            Body::Nak(nak) if !multicast => self.on_nak(now, arriving, nak, tpdu),
            Body::Nnak(nak) if !multicast => self.on_nnak(now, arriving, nak, tpdu),
            Body::Ncf(ncf) => self.on_ncf(now, arriving, ncf, tpdu),
            Body::Polr(_) => self.on_polr(arriving, tpdu),
            // RFC 3208 §14.1: a poll is for the first PGM hop and goes no further (N-23).
            Body::Poll(_) => {}
            _ => {}
        }
    }

    /// What IP multicast does: on all other interfaces, if it came the way its source is.
    fn switch(&mut self, arriving: &Arriving<'_>, tsi: Tsi) {
        let upstream = self.sessions.get(&order(tsi)).and_then(|s| s.upstream);
        let wrong_way = upstream.is_some_and(|upstream| upstream.iface != arriving.iface);
        if wrong_way || !arriving.to.is_multicast() {
            return;
        }
        for iface in (0..self.ifaces.len()).filter(|iface| *iface != arriving.iface) {
            self.out.push_back(Forward {
                iface,
                from: arriving.from,
                to: arriving.to,
                router_alert: false,
                ttl: None,
                bytes: arriving.bytes.clone(),
            });
        }
    }

    /// The session of a TSI, made if it is new and there is room.
    fn session(
        &mut self,
        now: Instant,
        tpdu: &Tpdu<'_>,
        source: Ipv4Addr,
        group: Ipv4Addr,
    ) -> Option<&mut Session> {
        let tsi = tpdu.tsi();
        let key = order(tsi);
        if !self.sessions.contains_key(&key) {
            if self.sessions.len() >= self.config.max_sessions {
                return None;
            }
            let below = || Below {
                backoff: Backoff::new(
                    self.config.nak_bo_default,
                    self.config.nak_bo_min,
                    self.config.nak_bo_max,
                ),
                failed: false,
            };
            let session = Session {
                tsi,
                dport: tpdu.data_port(),
                source,
                group,
                upstream: None,
                spm_sqn: None,
                unreachable: false,
                heard: now,
                tg_size: None,
                curr_tg_size: None,
                redirect: None,
                repairs: HashMap::new(),
                requests: Vec::new(),
                below: self.ifaces.iter().map(|_| below()).collect(),
                report: None,
                poll_sqn: Sqn(0),
            };
            self.wake_at(now + self.config.tsi_expiry);
            self.sessions.insert(key, session);
        }
        self.sessions.get_mut(&key)
    }

    fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

impl Session {
    /// A packet of the element's own, downstream.
    fn emit(&self, body: Body, parity: bool, options: Options) -> Bytes {
        let mut out = Vec::new();
        Tpdu {
            sport: self.tsi.sport,
            dport: self.dport,
            gsi: self.tsi.gsi,
            parity,
            var_pktlen: false,
            body,
            options,
            payload: &[],
        }
        .emit(&mut out);
        Bytes::from(out)
    }

    /// What receivers behind an interface are told to back off.
    fn nak_bo_ivl(&self, iface: usize) -> NakBoIvl {
        let micros = self.below[iface].backoff.ivl().as_micros();
        NakBoIvl {
            ivl: u32::try_from(micros).unwrap_or(u32::MAX),
            ivl_sqn: Sqn(0),
        }
    }
}

/// TSIs have no order; this one will do.
fn order(tsi: Tsi) -> ([u8; 6], u16) {
    (tsi.gsi.0, tsi.sport)
}

/// The model speaks IPv4.
fn v4(nla: Nla) -> Option<Ipv4Addr> {
    match nla {
        Nla::V4(addr) => Some(addr),
        Nla::V6(_) => None,
    }
}
