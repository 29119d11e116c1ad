//! What a source is told once, with defaults that suit a LAN.

use super::group::tg_sqn;
use crate::fec::K_MAX;
use crate::num::{Nla, Sqn, Tsi};
use crate::wire::Nak;
use std::net::Ipv4Addr;
use std::time::Duration;

/// What keeps a source from sending more than the network takes, beside the fixed rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CongestionControl {
    /// Nothing: the fixed rate is the rate.
    #[default]
    Off,
    /// PGMCC (draft-ietf-rmt-bb-pgmcc-03): the rate is what TCP would have to the slowest receiver, and the
    /// fixed rate the most. Receivers must take part; without any the rate is ten packets a second.
    Pgmcc,
}

/// Everything a source is told once.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Session identifier.
    pub tsi: Tsi,
    /// Data-destination port: the session port receivers bind.
    pub dport: u16,
    /// Multicast group.
    pub group: Ipv4Addr,
    /// Unicast address receivers send NAKs to (SPM_PATH).
    pub nla: Ipv4Addr,
    /// Largest PGM packet (header, options, TSDU), octets; IP and UDP headers are not in it.
    pub max_tpdu: usize,
    /// First data SQN; with FEC, that of its transmission group.
    pub first_sqn: Sqn,
    /// Octets of TPDUs on the wire per second, ODATA + RDATA + SPM; `None`: unlimited.
    ///
    /// Departs from RFC 3208 §12.1 (S-34): by default this limit is all there is to avoid congestion. Programs made for
    /// these sockets set a rate and expect it.
    pub rate: Option<u64>,
    /// Below that rate.
    pub congestion_control: CongestionControl,
    /// Window limit, octets of TPDUs.
    pub window_bytes: u64,
    /// Data stays repairable at least this long, and longer while the window has room. It is a
    /// floor: a window full of younger data holds new data back.
    pub window_ivl: Duration,
    /// Step of the trailing edge, percent of the window (RM_SEND_WINDOW_ADV_RATE).
    pub window_adv_percent: u8,
    /// Percentage of the window late joiners may ask for (RM_LATEJOIN). Late means later than
    /// `start_ivl` after the start.
    pub late_join_percent: u8,
    /// Ambient SPM interval.
    pub ambient_spm_ivl: Duration,
    /// First and last heartbeat SPM interval after data (IHB_MIN, IHB_MAX).
    pub ihb_min: Duration,
    /// See `ihb_min`.
    pub ihb_max: Duration,
    /// For this long after the start SPMs are dense and carry OPT_JOIN with the first SQN, so that a
    /// receiver that was there before the source misses nothing whatever was lost.
    pub start_ivl: Duration,
    /// Bounds and start of the back-off interval advertised in OPT_NAK_BO_IVL (RFC 3208 §15.2). The
    /// maximum is at most an eighth of `window_ivl`, so that there is time to ask repeatedly.
    pub nak_bo_min: Duration,
    /// See `nak_bo_min`.
    pub nak_bo_max: Duration,
    /// See `nak_bo_min`.
    pub nak_bo_default: Duration,
    /// Forward error correction; `None`: off.
    pub fec: Option<Fec>,
    /// Count the receivers by polls, and make the interval longer for many (RFC 3208 §14, §15.2.3). Off by
    /// default: the receivers' back-off depends little on their number, duplicates of NAKs tune it
    /// anyway, libpgm's receivers answer no poll, and who came after the poll may not use its interval.
    pub polling: bool,
    /// DUP_NAK_MAX: so many duplicates of one NAK mean that multicast does not reach who asks, and each is
    /// told by unicast to wait for the next SPM (RFC 3208 §15.3). 0: never. That is the default, since
    /// whoever forges NAKs has us send to the addresses it forges.
    pub dup_nak_max: u32,
    /// After FIN: the session ends when no NAK came for this long (and for four times the advertised
    /// back-off interval, which a receiver may need to ask, and for twice as long as repairs have been
    /// going on since the FIN) …
    pub linger_quiet: Duration,
    /// … and at the latest after this long.
    pub linger_max: Duration,
}

/// What parity a source provides (RFC 3208 §11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fec {
    /// Packets of a group, data and parity, at most 255.
    pub n: u8,
    /// Data packets of a group at most: a power of two, 1 to 128, less than n.
    pub k: u8,
    /// Parity packets sent with every group, at most n - k.
    pub proactive: u8,
    /// Whether receivers may ask for parity.
    pub on_demand: bool,
    /// Octet order of the TSDU lengths in the parity of packets of unequal length. RFC 3208 does not say;
    /// network order is the natural reading, libpgm has its host's.
    pub little_endian: bool,
}

impl Fec {
    /// The nearest that works; `None` if no parity is wanted.
    fn clamped(self) -> Option<Self> {
        // RFC 3208 §11.2 (F-02)
        let k = 1 << self.k.clamp(1, K_MAX).ilog2();
        let n = self.n.max(k + 1);
        let proactive = self.proactive.min(n - k);
        (proactive > 0 || self.on_demand).then_some(Self {
            n,
            k,
            proactive,
            ..self
        })
    }
}

/// Below this no TPDU holds a useful TSDU beside its options.
const MIN_TPDU: usize = 128;
/// TSDU Length is 16 bits (RFC 3208 §8).
const MAX_TPDU: usize = u16::MAX as usize;

impl SourceConfig {
    /// Defaults for a LAN: 100 Mbit/s, a window of 10 000 000 octets and 800 ms.
    #[must_use]
    pub fn new(tsi: Tsi, dport: u16, group: Ipv4Addr, nla: Ipv4Addr) -> Self {
        Self {
            tsi,
            dport,
            group,
            nla,
            max_tpdu: 1472,
            first_sqn: Sqn(0),
            rate: Some(12_500_000),
            congestion_control: CongestionControl::Off,
            window_bytes: 10_000_000,
            window_ivl: Duration::from_millis(800),
            window_adv_percent: 15,
            late_join_percent: 0,
            ambient_spm_ivl: Duration::from_secs(1),
            ihb_min: Duration::from_millis(4),
            ihb_max: Duration::from_secs(1),
            start_ivl: Duration::from_secs(1),
            nak_bo_min: Duration::from_micros(500),
            nak_bo_max: Duration::from_millis(200),
            nak_bo_default: Duration::from_millis(10),
            fec: None,
            polling: false,
            dup_nak_max: 0,
            linger_quiet: Duration::from_millis(500),
            linger_max: Duration::from_secs(10),
        }
    }

    /// RFC 3208 §8.3: whether a NAK is for this source and group.
    pub(super) fn is_named_by(&self, nak: &Nak) -> bool {
        nak.source == Nla::V4(self.nla) && nak.group == Nla::V4(self.group)
    }

    /// The same with values no source can work with moved to the nearest that it can: a zero interval
    /// would be a busy loop, a window below one TPDU a standstill.
    pub(super) fn clamped(mut self) -> Self {
        let tick = Duration::from_millis(1);
        self.max_tpdu = self.max_tpdu.clamp(MIN_TPDU, MAX_TPDU);
        self.rate = self.rate.map(|rate| rate.max(1));
        self.window_bytes = self.window_bytes.max(self.max_tpdu as u64);
        self.window_adv_percent = self.window_adv_percent.min(100);
        self.late_join_percent = self.late_join_percent.min(100);
        self.fec = self.fec.and_then(Fec::clamped);
        if let Some(fec) = self.fec {
            // RFC 3208 §11.2: groups begin at multiples of k.
            self.first_sqn = tg_sqn(self.first_sqn, fec.k);
        }
        self.ambient_spm_ivl = self.ambient_spm_ivl.max(tick);
        self.ihb_min = self.ihb_min.max(tick);
        self.ihb_max = self.ihb_max.max(self.ihb_min);
        self.nak_bo_min = self.nak_bo_min.max(Duration::from_micros(1));
        if self.window_ivl > Duration::ZERO {
            self.nak_bo_max = self.nak_bo_max.min(self.window_ivl / 8);
        }
        self.nak_bo_max = self.nak_bo_max.max(self.nak_bo_min);
        self.nak_bo_default = self.nak_bo_default.clamp(self.nak_bo_min, self.nak_bo_max);
        self
    }
}
