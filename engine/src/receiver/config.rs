//! What a receiver may be told: timers, retries, limits.

use super::DlrConfig;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Which sources, by their addresses, a listener gives sessions to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceFilter {
    /// Only these; empty: all.
    pub include: Vec<Ipv4Addr>,
    /// But none of these.
    pub exclude: Vec<Ipv4Addr>,
}

impl SourceFilter {
    /// Whether a source gets a session.
    #[must_use]
    pub fn admits(&self, source: Ipv4Addr) -> bool {
        (self.include.is_empty() || self.include.contains(&source))
            && !self.exclude.contains(&source)
    }
}

/// When to ask for parity (RFC 3208 §11.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ParityNaks {
    /// Where the source offers it and is surely none that a parity NAK kills. libpgm's source aborts on
    /// one, and has the bits of OPT_PARITY_PRM the other way round, so that they alone tell nothing; it
    /// never advertises a back-off interval (OPT_NAK_BO_IVL).
    #[default]
    Auto,
    /// Wherever the bit that RFC 3208 §11.8.1 has for it is set.
    On,
    /// Never: each lost packet is asked for by itself. Parity that comes is used all the same.
    Off,
}

/// A directly connected IP subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// An address of it, ours for instance.
    pub addr: Ipv4Addr,
    /// Bits that all its addresses have in common, 0..=32.
    pub prefix: u8,
}

impl Subnet {
    /// Whether an address is of it.
    #[must_use]
    pub fn contains(&self, addr: Ipv4Addr) -> bool {
        let host_bits = 32 - u32::from(self.prefix.min(32));
        let differing = u32::from(self.addr) ^ u32::from(addr);
        differing.checked_shr(host_bits).unwrap_or(0) == 0
    }
}

/// Timers and limits of a receiver. The defaults suit a LAN.
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    /// Our address, as reports on the network name us; 0.0.0.0: none, and no reports.
    pub nla: Ipv4Addr,
    /// NAK_BO_IVL until the source advertises another (OPT_NAK_BO_IVL): random back-off before a NAK.
    pub nak_bo_ivl: Duration,
    /// NAK_RPT_IVL: wait for an NCF before the NAK is repeated. Doubles with every eighth repetition.
    pub nak_rpt_ivl: Duration,
    /// NAK_RDATA_IVL: wait for RDATA after the NCF. Doubles with every eighth repetition.
    pub nak_rdata_ivl: Duration,
    /// NAK_NCF_RETRIES.
    pub nak_ncf_retries: u32,
    /// NAK_DATA_RETRIES.
    pub nak_data_retries: u32,
    /// SPMR_BO_IVL: random wait before asking for an SPM.
    pub spmr_bo_ivl: Duration,
    /// SPMR_SPM_IVL: wait for the SPM before asking again.
    pub spmr_spm_ivl: Duration,
    /// How long the first data of a session may wait for the SPM that tells where the session starts.
    pub first_spm_wait: Duration,
    /// Receive window limit, SQNs (a power of two).
    pub rxw_sqns: u32,
    /// Receive window limit, octets of TSDUs held. An APDU longer than this is still taken, piecewise.
    pub rxw_bytes: usize,
    /// Longest APDU taken, octets; a longer one is unrecoverable loss.
    pub max_apdu: usize,
    /// A peer that is silent for this long is forgotten. Many times a source's ambient SPM interval.
    pub peer_expiry: Duration,
    /// Source-specific membership: whom to listen to.
    pub sources: SourceFilter,
    /// PGM_LISTEN_ONLY: send nothing, neither NAK nor SPMR. What others' repairs do not fill in time is
    /// lost, and the session goes on as with `continue_on_loss`.
    pub listen_only: bool,
    /// PGM_UNORDERED: give an APDU as soon as all of it is here, whatever is missing before it.
    pub unordered: bool,
    /// PGM_CONTINUE_ON_LOSS: unrecoverable loss is a [`super::Read::Gap`] and not the end.
    pub continue_on_loss: bool,
    /// PGM_FEC_PARITY_NAKS: when to ask for parity.
    pub parity_naks: ParityNaks,
    /// RFC 3208 §6.3: multicast a copy of each NAK with TTL 1 if the parent is not directly connected. Off
    /// by default: where SPM_PATH is the source or of one of `subnets`, it would be sent for nothing.
    pub nak_copy: bool,
    /// Direct NAKs to a local repairer that advertises itself (RFC 3208 §9.5.4). Off by default: the RFC
    /// leaves it open, and whoever can multicast to the group could have all NAKs sent to itself.
    pub use_dlr: bool,
    /// Where we are: a DLR of these is of no use to us.
    pub subnets: Vec<Subnet>,
    /// Be a local repairer for each session of this listener. Off by default.
    pub dlr: Option<DlrConfig>,
    /// Packets with the source's address can be sent: a DLR's to the group, and the copy of an NCF that
    /// tells the neighbours of an unreachable parent (RFC 3208 §9.5.2.1, §15.3.2).
    pub as_source: bool,
}

impl ReceiverConfig {
    /// Whether the session goes on after unrecoverable loss.
    #[must_use]
    pub fn tolerates_loss(&self) -> bool {
        self.continue_on_loss || self.listen_only
    }

    /// Whether an address is of one of our subnets.
    #[must_use]
    pub fn is_local(&self, addr: Ipv4Addr) -> bool {
        self.subnets.iter().any(|subnet| subnet.contains(addr))
    }
}

impl Default for ReceiverConfig {
    /// The RFC gives no numbers for these timers. Here the first NAK leaves within 10 ms, a repair that
    /// is lost is asked for again after some 40 ms, and a source that stopped answering is noticed
    /// after about ten seconds: 50 retries with the stretching of `nak_rpt_ivl`. With half of all
    /// packets lost, 50 retries fail about once in 10⁷ gaps.
    fn default() -> Self {
        Self {
            nla: Ipv4Addr::UNSPECIFIED,
            nak_bo_ivl: Duration::from_millis(10),
            nak_rpt_ivl: Duration::from_millis(20),
            nak_rdata_ivl: Duration::from_millis(30),
            nak_ncf_retries: 50,
            nak_data_retries: 50,
            spmr_bo_ivl: Duration::from_millis(20),
            spmr_spm_ivl: Duration::from_millis(50),
            first_spm_wait: Duration::from_millis(500),
            rxw_sqns: 1 << 16,
            rxw_bytes: 32 << 20,
            max_apdu: 256 << 20,
            peer_expiry: Duration::from_secs(30),
            sources: SourceFilter::default(),
            listen_only: false,
            unordered: false,
            continue_on_loss: false,
            parity_naks: ParityNaks::default(),
            nak_copy: false,
            use_dlr: false,
            subnets: Vec::new(),
            dlr: None,
            as_source: false,
        }
    }
}
