//! PGM packets (TPDUs): parse into meaning, emit from meaning (RFC 3208 §8, §9).
//!
//! Owns layouts, option bits, checksum. Knows neither time nor state. Parsing refuses nonsense once,
//! with one [`WireError`] per reason; later layers never re-check a length.

#![deny(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing))]

mod checksum;
mod encoded;
mod field;
mod options;
mod packet;

pub use encoded::{ENCODED_NULL, Encoded, FRAGMENT_OCTETS, flag_octet};

use crate::num::{Gsi, Nla, Sqn, Tsi};
use arrayvec::ArrayVec;

/// Most sequence numbers in OPT_NAK_LIST beyond the one in the header (RFC 3208 §9.3 (O-12)).
pub const NAK_LIST_MAX: usize = 62;

/// One parsed or to-be-emitted TPDU. `payload` is the TSDU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tpdu<'a> {
    /// Source port as on the wire: data-source port downstream, data-destination port upstream.
    pub sport: u16,
    /// Destination port as on the wire.
    pub dport: u16,
    /// Global source identifier of the session.
    pub gsi: Gsi,
    /// OPT_PARITY bit of the Options octet (0x80).
    pub parity: bool,
    /// OPT_VAR_PKTLEN bit of the Options octet (0x40); means nothing without `parity`.
    pub var_pktlen: bool,
    /// Type and type-specific header.
    pub body: Body,
    /// Option extensions.
    pub options: Options,
    /// TSDU.
    pub payload: &'a [u8],
}

/// Packet type with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Source path message, 0x00.
    Spm(Spm),
    /// Poll request, 0x01.
    Poll(Poll),
    /// Poll response, 0x02.
    Polr(Polr),
    /// Original data, 0x04.
    Odata(Data),
    /// Repair data, 0x05.
    Rdata(Data),
    /// Negative acknowledgement, 0x08.
    Nak(Nak),
    /// Null NAK, 0x09.
    Nnak(Nak),
    /// NAK confirmation, 0x0A.
    Ncf(Nak),
    /// SPM request, 0x0C.
    Spmr,
    /// PGMCC acknowledgement, 0x0D (deployed form, not RFC 3208).
    Ack(Ack),
}

/// Source path message body (RFC 3208 §8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spm {
    /// Own sequence space of SPMs.
    pub spm_sqn: Sqn,
    /// `None` when the source advertises no window (trail 0, lead 0x8000_0000), or when
    /// OPT_NBR_UNREACH voids it (RFC 3208 §15.3.2).
    pub window: Option<Window>,
    /// Where NAKs for this TSI go: the last hop's NLA, not the IP source.
    pub path: Nla,
}

/// Advertised transmit window. Empty means `lead == trail - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Oldest repairable SQN.
    pub trail: Sqn,
    /// Newest SQN sent.
    pub lead: Sqn,
}

/// ODATA and RDATA body (RFC 3208 §8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data {
    /// This packet's SQN.
    pub sqn: Sqn,
    /// The source's trailing edge at the time of sending.
    pub trail: Sqn,
}

/// NAK, NNAK and NCF body with OPT_NAK_LIST folded in (RFC 3208 §8.3, §9.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nak {
    /// First requested SQN.
    pub sqn: Sqn,
    /// Further requested SQNs.
    pub list: ArrayVec<Sqn, NAK_LIST_MAX>,
    /// NLA of the data source.
    pub source: Nla,
    /// NLA of the group.
    pub group: Nla,
}

/// Poll request body (RFC 3208 §14.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// Scoped by path and TSI.
    pub sqn: Sqn,
    /// 0 first.
    pub round: u16,
    /// 0 general, 1 DLR.
    pub sub_type: u16,
    /// NLA of the sending interface.
    pub path: Nla,
    /// Reply back-off interval, microseconds.
    pub bo_ivl: u32,
    /// Compared with the node's random identifier under `mask`.
    pub rand: u32,
    /// Reply probability 2^-(bits set).
    pub mask: u32,
}

/// Poll response body (RFC 3208 §14.7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polr {
    /// Echo of the POLL.
    pub sqn: Sqn,
    /// Echo of the POLL.
    pub round: u16,
}

/// PGMCC acknowledgement body (deployed form).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Newest data SQN received.
    pub rx_max: Sqn,
    /// Bit i: SQN `rx_max - i` received.
    pub bitmap: u32,
}

/// Option extensions in the order of RFC 3208 §9, OPT_LENGTH and OPT_NAK_LIST aside.
///
/// A repeated option keeps its first occurrence (§11.2); unknown ones are skipped by length. Which
/// option belongs on which packet type is for those who act on it to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// OPT_FRAGMENT.
    pub fragment: Option<Fragment>,
    /// OPT_JOIN: minimum SQN a late joiner may ask for.
    pub join: Option<Sqn>,
    /// OPT_NAK_BO_IVL.
    pub nak_bo_ivl: Option<NakBoIvl>,
    /// OPT_NAK_BO_RNG, microseconds.
    pub nak_bo_rng: Option<NakBoRng>,
    /// OPT_REDIRECT: NLA of the DLR.
    pub redirect: Option<Nla>,
    /// OPT_PARITY_PRM.
    pub parity_prm: Option<ParityPrm>,
    /// OPT_PARITY_GRP: group number.
    pub parity_grp: Option<u32>,
    /// OPT_CURR_TGSIZE: actual transmission group size.
    pub curr_tgsize: Option<u32>,
    /// OPT_NBR_UNREACH.
    pub nbr_unreach: bool,
    /// OPT_PATH_NLA.
    pub path_nla: Option<Nla>,
    /// OPT_SYN.
    pub syn: bool,
    /// OPT_FIN.
    pub fin: bool,
    /// OPT_RST.
    pub rst: Option<Rst>,
    /// OPT_CR.
    pub cr: Option<Cr>,
    /// OPT_CRQST: which reports are asked for.
    pub crqst: Option<CrBits>,
    /// OPT_PGMCC_DATA (deployed).
    pub pgmcc_data: Option<PgmccData>,
    /// OPT_PGMCC_FEEDBACK (deployed).
    pub pgmcc_feedback: Option<PgmccFeedback>,
    /// Options of parity packets with the F bit (RFC 3208 §11.2).
    pub encoded: Encoded,
}

/// OPT_FRAGMENT (RFC 3208 §9.2): length octet 16, not the 12 the text says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// SQN of the fragment at offset 0.
    pub first: Sqn,
    /// Offset of this fragment in the APDU, octets.
    pub offset: u32,
    /// Length of the whole APDU, octets.
    pub apdu_len: u32,
}

/// OPT_NAK_BO_IVL (RFC 3208 §15.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NakBoIvl {
    /// Back-off interval, microseconds.
    pub ivl: u32,
    /// POLL_SQN the value was derived from; 0: none.
    pub ivl_sqn: Sqn,
}

/// OPT_NAK_BO_RNG (RFC 3208 §15.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NakBoRng {
    /// Largest back-off interval, microseconds.
    pub max: u32,
    /// Smallest back-off interval, microseconds.
    pub min: u32,
}

/// OPT_PARITY_PRM (RFC 3208 §11.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParityPrm {
    /// Bit 0x02: pro-active parity.
    pub proactive: bool,
    /// Bit 0x01: on-demand parity.
    pub on_demand: bool,
    /// Transmission group size k.
    pub tg_size: u32,
}

/// OPT_RST (RFC 3208 §9.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rst {
    /// N bit: the source can no longer answer NAKs.
    pub no_naks: bool,
    /// Error code, 0..=63.
    pub code: u8,
}

/// Report bits of OPT_CR and OPT_CRQST (RFC 3208 §12.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrBits {
    /// 0x04: worst link.
    pub link: bool,
    /// 0x02: worst path.
    pub path: bool,
    /// 0x01: receiver worst path.
    pub receiver: bool,
}

/// OPT_CR (RFC 3208 §12.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cr {
    /// Which reports are present.
    pub bits: CrBits,
    /// Window lead when the NAK was sent.
    pub lead: Sqn,
    /// Worst link, 0xFFFF = 100 %.
    pub ne_wl: u16,
    /// Worst path.
    pub ne_wp: u16,
    /// Worst receiver-measured loss.
    pub rx_wp: u16,
    /// Worst receiver.
    pub receiver: Nla,
}

/// OPT_PGMCC_DATA (deployed form).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PgmccData {
    /// Sender timestamp, milliseconds.
    pub timestamp: u32,
    /// Elected acker.
    pub acker: Nla,
}

/// OPT_PGMCC_FEEDBACK (deployed form).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PgmccFeedback {
    /// Echoed timestamp.
    pub timestamp: u32,
    /// Loss, 0xFFFF = 100 %.
    pub loss_rate: u16,
    /// Reporting receiver.
    pub receiver: Nla,
}

/// Why a packet was refused; one variant per reason, each counted by the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WireError {
    /// Shorter than its header, body or TSDU length says, or longer.
    #[error("length of the packet and its fields disagree")]
    Length,
    /// Version or reserved Type bits set.
    #[error("unknown version")]
    Version,
    /// Type not assigned.
    #[error("unknown packet type")]
    Type,
    /// Checksum does not match.
    #[error("bad checksum")]
    Checksum,
    /// ODATA or RDATA without checksum (RFC 3208 §8).
    #[error("data packet without checksum")]
    NoChecksum,
    /// Option chain: bad length, missing OPT_LENGTH first, no OPT_END, too many, group 0.
    #[error("malformed option")]
    Option,
    /// AFI neither IPv4 nor IPv6.
    #[error("unknown address family")]
    AddressFamily,
    /// SPM_LEAD behind SPM_TRAIL - 1.
    #[error("inverted window")]
    WindowInverted,
}

impl WireError {
    /// Every reason, in the order of its counter.
    pub const ALL: [Self; 8] = [
        Self::Length,
        Self::Version,
        Self::Type,
        Self::Checksum,
        Self::NoChecksum,
        Self::Option,
        Self::AddressFamily,
        Self::WindowInverted,
    ];
}

impl<'a> Tpdu<'a> {
    /// Parse and verify one TPDU: lengths, checksum, options.
    ///
    /// # Errors
    /// One [`WireError`] per reason; the packet is to be dropped and counted.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        packet::parse(bytes)
    }

    /// Append the packet to `out`, checksum included (a zero sum is sent as 0xFFFF).
    ///
    /// What the format cannot say is the caller's bug: a TSDU above 65 535 octets, more than 16
    /// options, an inverted window, a transmission group of size or number 0.
    pub fn emit(&self, out: &mut Vec<u8>) {
        packet::emit(self, out);
    }

    /// Session the packet belongs to: GSI and the data-source port, whichever side sent it (RFC 3208 §8.3
    /// (G-17)).
    #[must_use]
    pub fn tsi(&self) -> Tsi {
        let sport = if self.body.is_upstream() {
            self.dport
        } else {
            self.sport
        };
        Tsi {
            gsi: self.gsi,
            sport,
        }
    }

    /// Data-destination port of the session, whichever side sent the packet.
    #[must_use]
    pub fn data_port(&self) -> u16 {
        if self.body.is_upstream() {
            self.sport
        } else {
            self.dport
        }
    }
}

impl Body {
    /// Sent by receivers towards the source, with swapped ports (RFC 3208 §8).
    #[must_use]
    pub fn is_upstream(&self) -> bool {
        matches!(
            self,
            Self::Nak(_) | Self::Nnak(_) | Self::Spmr | Self::Polr(_) | Self::Ack(_)
        )
    }
}

impl Window {
    /// Number of SQNs inside; 0 when empty.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.lead
            .since(self.trail)
            .wrapping_add(1)
            .max(0)
            .cast_unsigned()
    }

    /// Whether no SQN is inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Nak {
    /// All requested SQNs, first one first: a list stands for as many NAKs (RFC 3208 §9.3 (O-13)).
    pub fn sqns(&self) -> impl Iterator<Item = Sqn> + '_ {
        std::iter::once(self.sqn).chain(self.list.iter().copied())
    }
}

/// Put the right checksum into a packet that was changed in place, as network elements do (RFC 3208 §8).
#[cfg(feature = "testnet")]
pub(crate) fn reseal(packet: &mut [u8]) {
    packet::seal(packet);
}

/// Octets of header and options of an ODATA/RDATA packet with these options: what a TPDU loses to PGM.
#[must_use]
pub fn data_overhead(options: &Options) -> usize {
    packet::data_overhead(options)
}
