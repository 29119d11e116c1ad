//! What a transmission group is, a parity packet of it, and the data that enough of them give back
//! (RFC 3208 §11.2). Knows neither time nor window.
//!
//! Whatever one packet claims is held against the others of its group. None of it is authentic, so what
//! is rebuilt is checked like data of the network.

use super::reassembly;
use super::rxw::{Marks, Packet};
use crate::fec::{Code, K_MAX};
use crate::num::Sqn;
use crate::wire::{Data, ENCODED_NULL, FRAGMENT_OCTETS, Fragment, ParityPrm, Tpdu, flag_octet};
use bytes::Bytes;

/// Rows of a block: data and parity (RFC 3208 §11.2: GF(2⁸)).
const N_MAX: u8 = u8::MAX;
/// Octets of the TSDU length behind the TSDU of a group of unequal ones.
const SUFFIX: usize = 2;
/// Octets beside the TSDU that are in the code: its length, OPT_FRAGMENT, OPT_SYN, OPT_FIN.
const SIDE: usize = SUFFIX + FRAGMENT_OCTETS + 2;
const FRAGMENT_AT: usize = SUFFIX;
const SYN_AT: usize = FRAGMENT_AT + FRAGMENT_OCTETS;
const FIN_AT: usize = SYN_AT + 1;

/// A packet that contradicts itself, its group, or the RFC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Implausible;

/// How a session's SQNs are divided into groups: k, a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grouping {
    k: u8,
}

impl Grouping {
    /// As OPT_PARITY_PRM says. RFC 3208 §11.2 (F-02): k is a power of two; none is above 128.
    pub(super) fn new(prm: &ParityPrm) -> Option<Self> {
        let k = u8::try_from(prm.tg_size).ok()?;
        (k.is_power_of_two() && k <= K_MAX).then_some(Self { k })
    }

    pub(super) fn k(self) -> u8 {
        self.k
    }

    /// SQNs of a group, used or not.
    pub(super) fn sqns(self) -> u32 {
        self.k.into()
    }

    /// TG_SQN: the first SQN of the group of `sqn`.
    pub(super) fn start(self, sqn: Sqn) -> Sqn {
        Sqn(sqn.0 & !(self.sqns() - 1))
    }

    /// PKT_SQN.
    pub(super) fn row(self, sqn: Sqn) -> u8 {
        (sqn.0 & (self.sqns() - 1)) as u8
    }

    /// How many packets a parity NAK or NCF with this SQN asks for or announces.
    pub(super) fn count(self, sqn: Sqn) -> u8 {
        self.row(sqn) + 1
    }

    /// RFC 3208 §11.5 (F-25): the SQN of a parity NAK for so many packets, 1 to k.
    pub(super) fn nak_sqn(self, start: Sqn, count: u8) -> Sqn {
        start.plus(u32::from(count.clamp(1, self.k)) - 1)
    }
}

/// What the parity packets of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Data packets of the group.
    pub(super) size: u8,
    /// Octets of the longest TSDU.
    len: usize,
    /// OPT_VAR_PKTLEN.
    is_var: bool,
    /// Which options are encoded: OPT_FRAGMENT, OPT_SYN, OPT_FIN.
    encoded: [bool; 3],
}

/// One parity packet.
#[derive(Debug)]
pub(super) struct Parity {
    /// j: 0 is the first.
    pub(super) index: u8,
    tsdu: Bytes,
    side: [u8; SIDE],
}

impl Parity {
    /// Octets held for it.
    pub(super) fn octets(&self) -> usize {
        self.tsdu.len() + size_of::<Self>()
    }

    /// The parity packet `tpdu` of a group of `grouping`, and what it says of the group.
    pub(super) fn parse(
        grouping: Grouping,
        data: Data,
        tpdu: &Tpdu<'_>,
    ) -> Result<(Form, Self), Implausible> {
        let k = grouping.sqns();
        let size = tpdu.options.curr_tgsize.unwrap_or(k);
        let suffix = if tpdu.var_pktlen { SUFFIX } else { 0 };
        let (Some(len), true) = (tpdu.payload.len().checked_sub(suffix), size <= k) else {
            return Err(Implausible);
        };
        // RFC 3208 §11.2 (F-30): j = m * k + PKT_SQN, and the block ends at 255 packets.
        let block = u64::from(tpdu.options.parity_grp.unwrap_or(0)) * u64::from(k);
        let index = block + u64::from(grouping.row(data.sqn));
        // What belongs to a packet is encoded on parity packets, or not there.
        if index + u64::from(size) >= N_MAX.into() || tpdu.options.fragment.is_some() {
            return Err(Implausible);
        }
        let encoded = &tpdu.options.encoded;
        let form = Form {
            size: size as u8,
            len,
            is_var: tpdu.var_pktlen,
            encoded: [
                encoded.fragment.is_some(),
                encoded.syn.is_some(),
                encoded.fin.is_some(),
            ],
        };
        let mut side = [0; SIDE];
        side[..suffix].copy_from_slice(&tpdu.payload[len..]);
        side[FRAGMENT_AT..SYN_AT].copy_from_slice(&encoded.fragment.unwrap_or_default());
        side[SYN_AT] = encoded.syn.unwrap_or_default();
        side[FIN_AT] = encoded.fin.unwrap_or_default();
        let parity = Self {
            index: index as u8,
            tsdu: Bytes::copy_from_slice(&tpdu.payload[..len]),
            side,
        };
        Ok((form, parity))
    }
}

/// How the two octets of the TSDU length are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Network,
    /// Departs from RFC 3208 §11.2, which does not say: libpgm has the order of its host.
    Little,
}

impl Order {
    fn octets(self, len: usize) -> [u8; SUFFIX] {
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        match self {
            Self::Network => len.to_be_bytes(),
            Self::Little => len.to_le_bytes(),
        }
    }

    fn len(self, octets: [u8; SUFFIX]) -> usize {
        match self {
            Self::Network => u16::from_be_bytes(octets),
            Self::Little => u16::from_le_bytes(octets),
        }
        .into()
    }
}

impl Form {
    /// Whether a data packet can belong to the group.
    fn admits(&self, packet: &Packet) -> bool {
        let fits = match self.is_var {
            true => packet.payload.len() <= self.len,
            false => packet.payload.len() == self.len,
        };
        let has = [
            packet.fragment().is_some() || packet.marks.lone_fragment,
            packet.marks.syn,
            packet.marks.fin,
        ];
        // RFC 3208 §11.2 (F-15): what one packet has, each parity packet has.
        fits && has
            .iter()
            .zip(self.encoded)
            .all(|(has, encoded)| !has || encoded)
    }

    /// What `packet` with `sqn` has in the code beside its TSDU.
    fn side(&self, sqn: Sqn, packet: &Packet, order: Order) -> [u8; SIDE] {
        let mut side = [0; SIDE];
        if self.is_var {
            side[..SUFFIX].copy_from_slice(&order.octets(packet.payload.len()));
        }
        let [fragment, syn, fin] = self.encoded;
        if fragment {
            let lone = packet.marks.lone_fragment.then(|| Fragment {
                first: sqn,
                offset: 0,
                apdu_len: packet.payload.len() as u32,
            });
            let octets = Fragment::to_octets(packet.fragment().or(lone));
            side[FRAGMENT_AT..SYN_AT].copy_from_slice(&octets);
        }
        if syn {
            side[SYN_AT] = flag_octet(packet.marks.syn);
        }
        if fin {
            side[FIN_AT] = flag_octet(packet.marks.fin);
        }
        side
    }

    /// The packet that the rebuilt octets are.
    fn packet(&self, sqn: Sqn, mut tsdu: Vec<u8>, side: &[u8], order: Order) -> Option<Packet> {
        let side: &[u8; SIDE] = side.try_into().ok()?;
        if self.is_var {
            let len = order.len([side[0], side[1]]);
            // RFC 3208 §11.2 (F-12): what is beyond the length is padding.
            if tsdu.get(len..)?.iter().any(|octet| *octet != 0) {
                return None;
            }
            tsdu.truncate(len);
        }
        let [fragment, syn, fin] = self.encoded;
        // RFC 3208 §11.2 (F-16): U = 1 says that the packet had no such option.
        let is_set = |octet: u8| octet & ENCODED_NULL == 0;
        let octets = side[FRAGMENT_AT..SYN_AT].first_chunk()?;
        let fragment = Fragment::from_octets(octets).filter(|_| fragment);
        let fragment = checked_fragment(sqn, tsdu.len(), fragment).ok()?;
        let marks = Marks {
            syn: syn && is_set(side[SYN_AT]),
            fin: fin && is_set(side[FIN_AT]),
            lone_fragment: fragment.is_lone,
        };
        Some(Packet::new(tsdu.into(), fragment.kept, marks))
    }
}

/// The data packets of the group at `start` that are not in `data` (by row) but follow from it and
/// `parity`, of which together there must be as many as the group has.
///
/// RFC 3208 §11.1 (F-31): any k of the n packets will do. The work is bounded by k² rows of one TSDU.
pub(super) fn rebuild(
    start: Sqn,
    form: &Form,
    data: &[(u8, &Packet)],
    parity: &[Parity],
) -> Result<Vec<(Sqn, Packet)>, Implausible> {
    if data.iter().any(|(_, packet)| !form.admits(packet)) {
        return Err(Implausible);
    }
    let code = Code::new(N_MAX, form.size).ok_or(Implausible)?;
    let wanted = usize::from(form.size).saturating_sub(data.len());
    let parity = parity.get(..wanted).ok_or(Implausible)?;
    let rows = parity.iter().map(|parity| form.size + parity.index);
    let tsdus = data.iter().map(|(row, packet)| (*row, &packet.payload[..]));
    let shares: Vec<_> = tsdus
        .chain(
            rows.clone()
                .zip(parity.iter().map(|parity| &parity.tsdu[..])),
        )
        .collect();
    let tsdus = code.rebuild(&shares, form.len).ok_or(Implausible)?;
    let orders: &[Order] = match form.is_var {
        true => &[Order::Network, Order::Little],
        false => &[Order::Network],
    };
    for order in orders {
        let of_data: Vec<_> = data
            .iter()
            .map(|(row, packet)| (*row, form.side(start.plus((*row).into()), packet, *order)))
            .collect();
        let of_data = of_data.iter().map(|(row, side)| (*row, &side[..]));
        let of_parity = rows
            .clone()
            .zip(parity.iter().map(|parity| &parity.side[..]));
        let shares: Vec<_> = of_data.chain(of_parity).collect();
        let sides = code.rebuild(&shares, SIDE).ok_or(Implausible)?;
        let packets = tsdus.iter().zip(&sides).map(|((row, tsdu), (_, side))| {
            let sqn = start.plus((*row).into());
            Some((sqn, form.packet(sqn, tsdu.clone(), side, *order)?))
        });
        if let Some(packets) = packets.collect() {
            return Ok(packets);
        }
    }
    Err(Implausible)
}

/// An OPT_FRAGMENT as the window keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checked {
    /// `None` for an APDU of one TPDU.
    pub(super) kept: Option<Fragment>,
    /// There was one, for an APDU of one TPDU.
    pub(super) is_lone: bool,
}

/// The fragment option if the APDU has several TPDUs; an error if it cannot be true.
pub(super) fn checked_fragment(
    sqn: Sqn,
    len: usize,
    fragment: Option<Fragment>,
) -> Result<Checked, reassembly::BadApdu> {
    match fragment {
        Some(f) if !reassembly::is_possible(&f, sqn, len) => Err(reassembly::BadApdu),
        Some(f) if f.apdu_len as usize == len => Ok(Checked {
            kept: None,
            is_lone: true,
        }),
        kept => Ok(Checked {
            kept,
            is_lone: false,
        }),
    }
}
