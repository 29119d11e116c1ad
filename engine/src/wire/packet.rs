//! Common header and type-specific bodies (RFC 3208 §8, §13.6, §14.7).
//!
//! ```text
//!  0      2      4    5    6      8            14     16
//! +------+------+----+----+------+------------+------+------+---------+------+
//! |sport |dport |type|opts|cksum | GSI        |TSDU  | body | options | TSDU |
//! +------+------+----+----+------+------------+length+------+---------+------+
//! ```

use super::field::{Reader, patch, put_nla, put_u16, put_u32};
use super::{Ack, Body, Data, Nak, Options, Poll, Polr, Spm, Tpdu, Window, WireError};
use super::{checksum, options};
use crate::num::{Gsi, Sqn};
use arrayvec::ArrayVec;

/// Octets of the common header.
const HEADER: usize = 16;
/// Octets of the ODATA and RDATA body.
const DATA_BODY: usize = 8;

/// Places in the common header that are filled in last.
const OPTIONS_AT: usize = 5;
const CHECKSUM_AT: usize = 6;

/// Version and reserved bits of the Type octet: all zero in this version, and refused otherwise (RFC 3208 §8
/// (G-02, G-03)).
const NOT_TYPE: u8 = 0xF0;

const SPM: u8 = 0x00;
const POLL: u8 = 0x01;
const POLR: u8 = 0x02;
const ODATA: u8 = 0x04;
const RDATA: u8 = 0x05;
const NAK: u8 = 0x08;
const NNAK: u8 = 0x09;
const NCF: u8 = 0x0A;
const SPMR: u8 = 0x0C;
const ACK: u8 = 0x0D;

// RFC 3208 §8 (G-04) numbers the bits of the Options octet from the other end: every implementation sends them
// mirrored, and so do we.
const OPT_VAR_PKTLEN: u8 = 0x40;
const OPT_PARITY: u8 = 0x80;

/// See [`Tpdu::parse`].
pub(super) fn parse(bytes: &[u8]) -> Result<Tpdu<'_>, WireError> {
    let mut r = Reader::new(bytes, WireError::Length);
    let (sport, dport) = (r.u16()?, r.u16()?);
    let [kind, bits] = r.array()?;
    let sum = r.u16()?;
    let gsi = Gsi(r.array()?);
    let tsdu_len = r.u16()?;

    if kind & NOT_TYPE != 0 {
        return Err(WireError::Version);
    }
    if !is_assigned(kind) {
        return Err(WireError::Type);
    }
    // RFC 3208 §8 (G-10, G-11): mandatory on data, optional elsewhere; zero means there is none.
    match sum {
        0 if matches!(kind, ODATA | RDATA) => return Err(WireError::NoChecksum),
        0 => {}
        _ if !checksum::is_valid(bytes) => return Err(WireError::Checksum),
        _ => {}
    }

    // Built in place and filled in: a TPDU is half a kilobyte, and moving it costs more than parsing.
    let mut tpdu = Tpdu {
        sport,
        dport,
        gsi,
        parity: bits & OPT_PARITY != 0,
        // RFC 3208 §8 (G-14): of parity packets only.
        var_pktlen: bits & (OPT_PARITY | OPT_VAR_PKTLEN) == OPT_PARITY | OPT_VAR_PKTLEN,
        body: parse_body(kind, &mut r)?,
        options: Options::default(),
        payload: &[],
    };
    if bits & options::OPT_PRESENT != 0 {
        options::parse(&mut r, &mut tpdu)?;
    }
    if let Body::Spm(spm) = &mut tpdu.body {
        // RFC 3208 §15.3.2: OPT_NBR_UNREACH voids the window, whatever it says.
        spm.window = spm.window.filter(|_| !tpdu.options.nbr_unreach);
        check_window(spm.window)?;
    }
    tpdu.payload = r.rest();
    // RFC 3208 §8 (G-13).
    if tpdu.payload.len() != usize::from(tsdu_len) {
        return Err(WireError::Length);
    }
    Ok(tpdu)
}

fn is_assigned(kind: u8) -> bool {
    matches!(
        kind,
        SPM | POLL | POLR | ODATA | RDATA | NAK | NNAK | NCF | SPMR | ACK
    )
}

/// The body of a packet of type `kind`; an SPM's window still unchecked.
fn parse_body(kind: u8, r: &mut Reader<'_>) -> Result<Body, WireError> {
    Ok(match kind {
        SPM => Body::Spm(parse_spm(r)?),
        POLL => Body::Poll(parse_poll(r)?),
        POLR => {
            let (sqn, round) = (r.sqn()?, r.u16()?);
            r.u16()?;
            Body::Polr(Polr { sqn, round })
        }
        ODATA => Body::Odata(parse_data(r)?),
        RDATA => Body::Rdata(parse_data(r)?),
        NAK => Body::Nak(parse_nak(r)?),
        NNAK => Body::Nnak(parse_nak(r)?),
        NCF => Body::Ncf(parse_nak(r)?),
        SPMR => Body::Spmr,
        ACK => Body::Ack(Ack {
            rx_max: r.sqn()?,
            bitmap: r.u32()?,
        }),
        _ => return Err(WireError::Type),
    })
}

fn parse_spm(r: &mut Reader<'_>) -> Result<Spm, WireError> {
    let spm_sqn = r.sqn()?;
    let window = Window {
        trail: r.sqn()?,
        lead: r.sqn()?,
    };
    let window = (window != Window::ABSENT).then_some(window);
    Ok(Spm {
        spm_sqn,
        window,
        path: r.nla()?,
    })
}

fn parse_data(r: &mut Reader<'_>) -> Result<Data, WireError> {
    Ok(Data {
        sqn: r.sqn()?,
        trail: r.sqn()?,
    })
}

fn parse_nak(r: &mut Reader<'_>) -> Result<Nak, WireError> {
    let sqn = r.sqn()?;
    let (source, group) = (r.nla()?, r.nla()?);
    Ok(Nak {
        sqn,
        list: ArrayVec::new(),
        source,
        group,
    })
}

fn parse_poll(r: &mut Reader<'_>) -> Result<Poll, WireError> {
    let sqn = r.sqn()?;
    let (round, sub_type) = (r.u16()?, r.u16()?);
    let path = r.nla()?;
    let (bo_ivl, rand, mask) = (r.u32()?, r.u32()?, r.u32()?);
    Ok(Poll {
        sqn,
        round,
        sub_type,
        path,
        bo_ivl,
        rand,
        mask,
    })
}

/// Empty means `lead == trail - 1`; a longer way back is a bug or an attack.
fn check_window(window: Option<Window>) -> Result<(), WireError> {
    match window {
        Some(window) if window.lead.since(window.trail) < -1 => Err(WireError::WindowInverted),
        _ => Ok(()),
    }
}

impl Window {
    /// How an SPM says that it carries no window (RFC 3208 §8.1 (G-22)).
    const ABSENT: Self = Self {
        trail: Sqn(0),
        lead: Sqn(0x8000_0000),
    };
}

/// See [`Tpdu::emit`].
pub(super) fn emit(tpdu: &Tpdu<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    emit_header(tpdu, out);
    emit_body(&tpdu.body, out);
    let mut bits = options::emit(tpdu, out);
    bits |= if tpdu.parity { OPT_PARITY } else { 0 };
    bits |= if tpdu.parity && tpdu.var_pktlen {
        OPT_VAR_PKTLEN
    } else {
        0
    };
    out.extend_from_slice(tpdu.payload);

    // RFC 3208 §9.1 (G-05): the Options octet is final before the checksum is computed. Every packet, new or
    // passed on, is made here, so all have one that fits (G-09, G-12).
    patch(out, start + OPTIONS_AT, [bits]);
    let sum = checksum::compute(out.get(start..).unwrap_or_default());
    patch(out, start + CHECKSUM_AT, sum);
}

/// See [`super::reseal`].
#[cfg(feature = "testnet")]
pub(super) fn seal(packet: &mut [u8]) {
    if let Some(field) = packet.get_mut(CHECKSUM_AT..CHECKSUM_AT + 2) {
        field.fill(0);
        let sum = checksum::compute(packet);
        if let Some(field) = packet.get_mut(CHECKSUM_AT..CHECKSUM_AT + 2) {
            field.copy_from_slice(&sum);
        }
    }
}

/// The common header, Options octet and checksum still zero.
fn emit_header(tpdu: &Tpdu<'_>, out: &mut Vec<u8>) {
    let tsdu_len = u16::try_from(tpdu.payload.len());
    debug_assert!(
        tsdu_len.is_ok(),
        "a TSDU of {} octets has no length field",
        tpdu.payload.len()
    );
    put_u16(out, tpdu.sport);
    put_u16(out, tpdu.dport);
    out.extend_from_slice(&[type_of(&tpdu.body), 0, 0, 0]);
    out.extend_from_slice(&tpdu.gsi.0);
    put_u16(out, tsdu_len.unwrap_or(u16::MAX));
}

fn type_of(body: &Body) -> u8 {
    match body {
        Body::Spm(_) => SPM,
        Body::Poll(_) => POLL,
        Body::Polr(_) => POLR,
        Body::Odata(_) => ODATA,
        Body::Rdata(_) => RDATA,
        Body::Nak(_) => NAK,
        Body::Nnak(_) => NNAK,
        Body::Ncf(_) => NCF,
        Body::Spmr => SPMR,
        Body::Ack(_) => ACK,
    }
}

fn emit_body(body: &Body, out: &mut Vec<u8>) {
    match body {
        Body::Spm(spm) => {
            let window = spm.window.unwrap_or(Window::ABSENT);
            put_u32(out, spm.spm_sqn.0);
            put_u32(out, window.trail.0);
            put_u32(out, window.lead.0);
            put_nla(out, spm.path);
        }
        Body::Poll(poll) => {
            put_u32(out, poll.sqn.0);
            put_u16(out, poll.round);
            put_u16(out, poll.sub_type);
            put_nla(out, poll.path);
            put_u32(out, poll.bo_ivl);
            put_u32(out, poll.rand);
            put_u32(out, poll.mask);
        }
        Body::Polr(polr) => {
            put_u32(out, polr.sqn.0);
            put_u16(out, polr.round);
            put_u16(out, 0);
        }
        Body::Odata(data) | Body::Rdata(data) => {
            put_u32(out, data.sqn.0);
            put_u32(out, data.trail.0);
        }
        Body::Nak(nak) | Body::Nnak(nak) | Body::Ncf(nak) => {
            put_u32(out, nak.sqn.0);
            put_nla(out, nak.source);
            put_nla(out, nak.group);
        }
        Body::Spmr => {}
        Body::Ack(ack) => {
            put_u32(out, ack.rx_max.0);
            put_u32(out, ack.bitmap);
        }
    }
}

/// Octets of an ODATA or RDATA packet before its TSDU.
pub(super) fn data_overhead(options: &Options) -> usize {
    HEADER + DATA_BODY + options::emitted_len(options)
}
