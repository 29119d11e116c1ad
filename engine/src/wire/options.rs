//! Option extensions (RFC 3208 §9, §11.8, §12.7, §15.4) between body and TSDU.
//!
//! ```text
//!  0        1        2        3        4
//! +--------+--------+--------+--------+---------
//! |E  type | length |  F OPX |U  bits | contents     E: last option, F: FEC-encoded
//! +--------+--------+--------+--------+---------
//! ```
//!
//! Parsing is about form: which option belongs to which packet type is left to those who act on it.
//! OPX is not looked at: it binds network elements only (§9). F and U mean something on parity packets
//! alone, whose encoded options stay as they are, for the FEC decoder.

use super::field::{
    Family, Reader, address_len, patch, put_address, put_family, put_nla, put_u16, put_u32,
};
use super::{Body, Cr, CrBits, Encoded, FRAGMENT_OCTETS, Fragment, NakBoIvl, NakBoRng, Options};
use super::{ParityPrm, PgmccData, PgmccFeedback, Rst, Tpdu, WireError};
use crate::num::Nla;

/// Most options in one packet (RFC 3208 §9 (O-04)), OPT_LENGTH not counted.
const MOST: usize = 16;

/// Network-significant bit of the Options octet, mirrored like its neighbours.
const OPT_NETWORK: u8 = 0x02;
/// "Options present" bit of the Options octet.
pub(super) const OPT_PRESENT: u8 = 0x01;

/// E, OPT_END.
const END: u8 = 0x80;
/// F, OP_ENCODED, in octet 2 …
const ENCODED: u8 = 0x04;
/// … and where libpgm has it.
const ENCODED_LIBPGM: u8 = 0x08;
/// Octets of OPT_LENGTH, and of the header of every other option.
const HEADER: usize = 4;

const LENGTH: u8 = 0x00;
const FRAGMENT: u8 = 0x01;
const NAK_LIST: u8 = 0x02;
const JOIN: u8 = 0x03;
const NAK_BO_IVL: u8 = 0x04;
const NAK_BO_RNG: u8 = 0x05;
const REDIRECT: u8 = 0x07;
const PARITY_PRM: u8 = 0x08;
const PARITY_GRP: u8 = 0x09;
const CURR_TGSIZE: u8 = 0x0A;
const NBR_UNREACH: u8 = 0x0B;
const PATH_NLA: u8 = 0x0C;
const SYN: u8 = 0x0D;
const FIN: u8 = 0x0E;
const RST: u8 = 0x0F;
const CR: u8 = 0x10;
const CRQST: u8 = 0x11;
const PGMCC_DATA: u8 = 0x12;
const PGMCC_FEEDBACK: u8 = 0x13;

// Octet 3 of OPT_PARITY_PRM (§11.8.1), OPT_RST (§9.8), OPT_CR and OPT_CRQST (§12.7).
const PRM_PROACTIVE: u8 = 0x02;
const PRM_ON_DEMAND: u8 = 0x01;
const RST_N: u8 = 0x40;
const RST_CODE: u8 = 0x3F;
const CR_LINK: u8 = 0x04;
const CR_PATH: u8 = 0x02;
const CR_RECEIVER: u8 = 0x01;

/// Parse OPT_LENGTH and all it covers into `tpdu`; an OPT_NAK_LIST into its body.
pub(super) fn parse(r: &mut Reader<'_>, tpdu: &mut Tpdu<'_>) -> Result<(), WireError> {
    r.on_short(WireError::Option);
    let mut chain = parse_length(r)?;
    for _ in 0..MOST {
        let [kind, len, flags, bits] = chain.array()?;
        let mut contents = chain.sub(contents_len(len.into())?)?;
        let is_encoded = tpdu.parity && flags & (ENCODED | ENCODED_LIBPGM) != 0;
        match kind & !END {
            // RFC 3208 §11.2 (F-16): what only the decoder can read.
            kind if is_encoded => parse_encoded(kind, bits, &mut contents, &mut tpdu.options)?,
            NAK_LIST => parse_nak_list(&mut contents, &mut tpdu.body)?,
            kind => parse_one(kind, bits, &mut contents, &mut tpdu.options)?,
        }
        if kind & END != 0 {
            // RFC 3208 §9 (O-02, O-03): E is on the last option and on no other.
            return if chain.is_empty() {
                Ok(())
            } else {
                Err(WireError::Option)
            };
        }
    }
    Err(WireError::Option)
}

/// RFC 3208 §9.1 (O-01): OPT_LENGTH comes first and is four octets long; its total counts itself.
fn parse_length<'a>(r: &mut Reader<'a>) -> Result<Reader<'a>, WireError> {
    let ([kind, len], total) = (r.array()?, r.u16()?);
    if kind != LENGTH || usize::from(len) != HEADER {
        return Err(WireError::Option);
    }
    r.sub(contents_len(total.into())?)
}

/// What a length that counts four octets of header leaves; what it names must be there (RFC 3208 §9 (O-08)).
fn contents_len(len: usize) -> Result<usize, WireError> {
    len.checked_sub(HEADER).ok_or(WireError::Option)
}

/// Sequence numbers of an OPT_NAK_LIST (RFC 3208 §9.3): at least one, none left over.
fn parse_nak_list(r: &mut Reader<'_>, body: &mut Body) -> Result<(), WireError> {
    if r.is_empty() {
        return Err(WireError::Option);
    }
    let mut list = match body {
        Body::Nak(nak) | Body::Nnak(nak) | Body::Ncf(nak) => Some(&mut nak.list),
        _ => None,
    };
    // A repeated option keeps its first occurrence.
    list = list.filter(|list| list.is_empty());
    while !r.is_empty() {
        let sqn = r.sqn()?;
        if let Some(list) = &mut list {
            list.try_push(sqn).map_err(|_| WireError::Option)?;
        }
    }
    Ok(())
}

/// Contents of one option; `bits` is octet 3 of its header.
fn parse_one(kind: u8, bits: u8, r: &mut Reader<'_>, o: &mut Options) -> Result<(), WireError> {
    match kind {
        // Sixteen octets with its header, not the text's twelve (RFC 3208 §9.2.4 (O-11)).
        FRAGMENT => {
            let (first, offset, apdu_len) = (r.sqn()?, r.u32()?, r.u32()?);
            keep(
                &mut o.fragment,
                Fragment {
                    first,
                    offset,
                    apdu_len,
                },
            );
        }
        JOIN => keep(&mut o.join, r.sqn()?),
        NAK_BO_IVL => keep(
            &mut o.nak_bo_ivl,
            NakBoIvl {
                ivl: r.u32()?,
                ivl_sqn: r.sqn()?,
            },
        ),
        // RFC 3208 §15.4 (O-22): the maximum comes first.
        NAK_BO_RNG => keep(
            &mut o.nak_bo_rng,
            NakBoRng {
                max: r.u32()?,
                min: r.u32()?,
            },
        ),
        // RFC 3208 §9.5.5 (O-15): AFI and all, eight octets and the address.
        REDIRECT => keep(&mut o.redirect, r.nla()?),
        PARITY_PRM => {
            let (proactive, on_demand) = (bits & PRM_PROACTIVE != 0, bits & PRM_ON_DEMAND != 0);
            let tg_size = non_zero(r)?;
            // RFC 3208 §11.8.1 (O-18): one of them is set; without both nothing is offered.
            if proactive || on_demand {
                keep(
                    &mut o.parity_prm,
                    ParityPrm {
                        proactive,
                        on_demand,
                        tg_size,
                    },
                );
            }
        }
        PARITY_GRP => keep(&mut o.parity_grp, non_zero(r)?),
        CURR_TGSIZE => keep(&mut o.curr_tgsize, non_zero(r)?),
        NBR_UNREACH => o.nbr_unreach = true,
        PATH_NLA => keep(&mut o.path_nla, parse_path_nla(r)?),
        SYN => o.syn = true,
        FIN => o.fin = true,
        // RFC 3208 §9.8 (O-17).
        RST => keep(
            &mut o.rst,
            Rst {
                no_naks: bits & RST_N != 0,
                code: bits & RST_CODE,
            },
        ),
        // RFC 3208 §12.7 (O-21): on NAKs, and OPT_CRQST on SPMs; elsewhere nobody looks at them.
        CR => keep(&mut o.cr, parse_cr(bits, r)?),
        CRQST => keep(&mut o.crqst, cr_bits(bits)),
        PGMCC_DATA => keep(
            &mut o.pgmcc_data,
            PgmccData {
                timestamp: r.u32()?,
                acker: r.nla()?,
            },
        ),
        PGMCC_FEEDBACK => keep(&mut o.pgmcc_feedback, parse_feedback(r)?),
        // Only ever first.
        LENGTH => return Err(WireError::Option),
        // RFC 3208 §9 (O-07): hosts step over what they do not know, OPT_INVALID (0x7F) included.
        _ => return Ok(()),
    }
    if r.is_empty() {
        Ok(())
    } else {
        Err(WireError::Option)
    }
}

/// An encoded option: octet 3 and the contents, both without meaning yet.
fn parse_encoded(kind: u8, bits: u8, r: &mut Reader<'_>, o: &mut Options) -> Result<(), WireError> {
    let encoded = &mut o.encoded;
    match kind {
        FRAGMENT => {
            let mut octets = [bits; FRAGMENT_OCTETS];
            let (_, contents) = octets.split_at_mut(1);
            contents.copy_from_slice(&r.array::<{ FRAGMENT_OCTETS - 1 }>()?);
            keep(&mut encoded.fragment, octets);
        }
        SYN => keep(&mut encoded.syn, bits),
        FIN => keep(&mut encoded.fin, bits),
        _ => return Ok(()),
    }
    if r.is_empty() {
        Ok(())
    } else {
        Err(WireError::Option)
    }
}

/// RFC 3208 §11.2: the first occurrence of an option counts.
fn keep<T>(slot: &mut Option<T>, value: T) {
    slot.get_or_insert(value);
}

/// Group sizes and group numbers, which are never zero (RFC 3208 §11.8 (O-19)).
fn non_zero(r: &mut Reader<'_>) -> Result<u32, WireError> {
    match r.u32()? {
        0 => Err(WireError::Option),
        value => Ok(value),
    }
}

/// OPT_PATH_NLA has no AFI (RFC 3208 §15.4.4): its length tells the family.
fn parse_path_nla(r: &mut Reader<'_>) -> Result<Nla, WireError> {
    match r.rest().len() {
        4 => r.address(Family::Ipv4),
        16 => r.address(Family::Ipv6),
        _ => Err(WireError::Option),
    }
}

fn cr_bits(bits: u8) -> CrBits {
    CrBits {
        link: bits & CR_LINK != 0,
        path: bits & CR_PATH != 0,
        receiver: bits & CR_RECEIVER != 0,
    }
}

fn parse_cr(bits: u8, r: &mut Reader<'_>) -> Result<Cr, WireError> {
    let lead = r.sqn()?;
    let (ne_wl, ne_wp, rx_wp) = (r.u16()?, r.u16()?, r.u16()?);
    r.u16()?;
    Ok(Cr {
        bits: cr_bits(bits),
        lead,
        ne_wl,
        ne_wp,
        rx_wp,
        receiver: r.nla()?,
    })
}

fn parse_feedback(r: &mut Reader<'_>) -> Result<PgmccFeedback, WireError> {
    let (timestamp, family, loss_rate) = (r.u32()?, r.family()?, r.u16()?);
    Ok(PgmccFeedback {
        timestamp,
        loss_rate,
        receiver: r.address(family)?,
    })
}

/// Append the options of `tpdu`, if any; the bits they set in the Options octet.
pub(super) fn emit(tpdu: &Tpdu<'_>, out: &mut Vec<u8>) -> u8 {
    let mut chain = Chain::new(out);
    // RFC 3208 §9.1 (O-05, G-06): network-significant options precede the others, and are told of.
    emit_network_significant(tpdu, &mut chain);
    let network = if chain.count == 0 { 0 } else { OPT_NETWORK };
    emit_end_to_end(tpdu, &mut chain);
    if chain.finish() {
        OPT_PRESENT | network
    } else {
        0
    }
}

/// Options under construction. OPT_LENGTH is put before the first one. What no option defines is zero
/// (RFC 3208 §9 (O-06)).
struct Chain<'o> {
    out: &'o mut Vec<u8>,
    /// Where OPT_LENGTH is or would be.
    start: usize,
    /// Where the last option is.
    last: usize,
    count: usize,
}

impl<'o> Chain<'o> {
    fn new(out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        Self {
            out,
            start,
            last: start,
            count: 0,
        }
    }

    /// Append one option with `bits` in octet 3.
    fn put(&mut self, kind: u8, bits: u8, contents: impl FnOnce(&mut Vec<u8>)) {
        self.put_flagged(kind, [0, bits], contents);
    }

    /// Append one option with `flags` in octets 2 and 3.
    fn put_flagged(&mut self, kind: u8, flags: [u8; 2], contents: impl FnOnce(&mut Vec<u8>)) {
        if self.count == 0 {
            self.out.extend_from_slice(&[LENGTH, 4, 0, 0]);
        }
        self.last = self.out.len();
        self.count += 1;
        let [octet_2, octet_3] = flags;
        self.out.extend_from_slice(&[kind, 0, octet_2, octet_3]);
        contents(self.out);
        let len = u8::try_from(self.out.len() - self.last);
        patch(
            self.out,
            self.last + 1,
            [len.expect("no option has more than 252 octets")],
        );
    }

    /// Fill in the total and mark the last option; whether there is one.
    fn finish(self) -> bool {
        debug_assert!(
            self.count <= MOST,
            "RFC 3208 §9 allows {MOST} options, not {}",
            self.count
        );
        if self.count == 0 {
            return false;
        }
        let total = u16::try_from(self.out.len() - self.start);
        let total = total.expect("all options together have less than 1000 octets");
        patch(self.out, self.start + 2, total.to_be_bytes());
        if let Some(kind) = self.out.get_mut(self.last) {
            *kind |= END;
        }
        true
    }
}

fn emit_network_significant(tpdu: &Tpdu<'_>, chain: &mut Chain<'_>) {
    let o = &tpdu.options;
    if let Body::Nak(nak) | Body::Nnak(nak) | Body::Ncf(nak) = &tpdu.body
        && !nak.list.is_empty()
    {
        chain.put(NAK_LIST, 0, |out| {
            nak.list.iter().for_each(|sqn| put_u32(out, sqn.0))
        });
    }
    if let Some(bo) = &o.nak_bo_ivl {
        chain.put(NAK_BO_IVL, 0, |out| put_u32s(out, [bo.ivl, bo.ivl_sqn.0]));
    }
    if let Some(bo) = &o.nak_bo_rng {
        chain.put(NAK_BO_RNG, 0, |out| put_u32s(out, [bo.max, bo.min]));
    }
    if let Some(dlr) = o.redirect {
        chain.put(REDIRECT, 0, |out| put_nla(out, dlr));
    }
    if let Some(prm) = &o.parity_prm {
        let bits = flag(prm.proactive, PRM_PROACTIVE) | flag(prm.on_demand, PRM_ON_DEMAND);
        chain.put(PARITY_PRM, bits, |out| put_u32(out, prm.tg_size));
    }
    // RFC 3208 §11.8.3: network-significant except on ODATA.
    if !matches!(tpdu.body, Body::Odata(_)) {
        emit_curr_tgsize(o, chain);
    }
    if o.nbr_unreach {
        chain.put(NBR_UNREACH, 0, |_| ());
    }
    if let Some(nla) = o.path_nla {
        chain.put(PATH_NLA, 0, |out| put_address(out, nla));
    }
    if let Some(cr) = &o.cr {
        chain.put(CR, emit_cr_bits(cr.bits), |out| {
            put_u32(out, cr.lead.0);
            for value in [cr.ne_wl, cr.ne_wp, cr.rx_wp, 0] {
                put_u16(out, value);
            }
            put_nla(out, cr.receiver);
        });
    }
    if let Some(bits) = o.crqst {
        chain.put(CRQST, emit_cr_bits(bits), |_| ());
    }
}

fn emit_end_to_end(tpdu: &Tpdu<'_>, chain: &mut Chain<'_>) {
    let o = &tpdu.options;
    if let Some(f) = &o.fragment {
        chain.put(FRAGMENT, 0, |out| {
            put_u32s(out, [f.first.0, f.offset, f.apdu_len])
        });
    }
    if let Some(min) = o.join {
        chain.put(JOIN, 0, |out| put_u32(out, min.0));
    }
    if matches!(tpdu.body, Body::Odata(_)) {
        emit_curr_tgsize(o, chain);
    }
    if let Some(group) = o.parity_grp {
        chain.put(PARITY_GRP, 0, |out| put_u32(out, group));
    }
    if o.syn {
        chain.put(SYN, 0, |_| ());
    }
    if o.fin {
        chain.put(FIN, 0, |_| ());
    }
    if let Some(rst) = &o.rst {
        chain.put(
            RST,
            flag(rst.no_naks, RST_N) | (rst.code & RST_CODE),
            |_| (),
        );
    }
    if let Some(data) = &o.pgmcc_data {
        chain.put(PGMCC_DATA, 0, |out| {
            put_u32(out, data.timestamp);
            put_nla(out, data.acker);
        });
    }
    if let Some(feedback) = &o.pgmcc_feedback {
        chain.put(PGMCC_FEEDBACK, 0, |out| {
            put_u32(out, feedback.timestamp);
            put_family(out, feedback.receiver);
            put_u16(out, feedback.loss_rate);
            put_address(out, feedback.receiver);
        });
    }
    emit_encoded(&o.encoded, chain);
}

/// RFC 3208 §11.2 (F-15): type, length and OPX of the originals, F set.
fn emit_encoded(encoded: &Encoded, chain: &mut Chain<'_>) {
    if let Some([bits, contents @ ..]) = &encoded.fragment {
        chain.put_flagged(FRAGMENT, [ENCODED, *bits], |out| {
            out.extend_from_slice(contents)
        });
    }
    for (kind, bits) in [(SYN, encoded.syn), (FIN, encoded.fin)] {
        if let Some(bits) = bits {
            chain.put_flagged(kind, [ENCODED, bits], |_| ());
        }
    }
}

fn emit_curr_tgsize(o: &Options, chain: &mut Chain<'_>) {
    if let Some(size) = o.curr_tgsize {
        chain.put(CURR_TGSIZE, 0, |out| put_u32(out, size));
    }
}

fn emit_cr_bits(bits: CrBits) -> u8 {
    flag(bits.link, CR_LINK) | flag(bits.path, CR_PATH) | flag(bits.receiver, CR_RECEIVER)
}

fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

/// Append several 32-bit numbers.
fn put_u32s<const N: usize>(out: &mut Vec<u8>, values: [u32; N]) {
    for value in values {
        put_u32(out, value);
    }
}

/// Octets [`emit`] appends for `o`, OPT_LENGTH included.
pub(super) fn emitted_len(o: &Options) -> usize {
    let some = |present: bool, len: usize| if present { len } else { 0 };
    let nla = |nla: Option<Nla>, len: usize| nla.map_or(0, |nla| len + address_len(nla));
    let len = some(o.fragment.is_some(), 16)
        + some(o.join.is_some(), 8)
        + some(o.nak_bo_ivl.is_some(), 12)
        + some(o.nak_bo_rng.is_some(), 12)
        + nla(o.redirect, 8)
        + some(o.parity_prm.is_some(), 8)
        + some(o.parity_grp.is_some(), 8)
        + some(o.curr_tgsize.is_some(), 8)
        + some(o.nbr_unreach, 4)
        + nla(o.path_nla, 4)
        + some(o.syn, 4)
        + some(o.fin, 4)
        + some(o.rst.is_some(), 4)
        + nla(o.cr.map(|cr| cr.receiver), 20)
        + some(o.crqst.is_some(), 4)
        + nla(o.pgmcc_data.map(|data| data.acker), 12)
        + nla(o.pgmcc_feedback.map(|feedback| feedback.receiver), 12)
        + some(o.encoded.fragment.is_some(), 16)
        + some(o.encoded.syn.is_some(), 4)
        + some(o.encoded.fin.is_some(), 4);
    some(len > 0, HEADER) + len
}
