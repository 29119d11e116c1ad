//! Changes of a packet in place: a network element adds no option and removes none (RFC 3208 §9), and
//! leaves alone what it does not know.

use crate::num::Sqn;
use crate::wire::{self, Cr, NakBoIvl};
use std::net::Ipv4Addr;

/// Where the type-specific header is, and in it SPM_PATH; the SQN of a NAK; the options of both (IPv4).
const SPM_PATH: usize = 32;
const NAK_SQN: usize = 16;
/// The Options octet, and its bits for options at all, and for some that concern network elements.
const BITS: usize = 5;
const PRESENT: u8 = 0x01;
const NETWORK: u8 = 0x02;

const END: u8 = 0x80;
const NAK_LIST: u8 = 0x02;
const NAK_BO_IVL: u8 = 0x04;
const UNASSIGNED: u8 = 0x06;
const CR: u8 = 0x10;
/// The last option we know.
const LAST: u8 = 0x13;
const INVALID: u8 = 0x7F;

/// Two bits of an option's third octet (RFC 3208 §9).
const OPX: u8 = 0x03;
const OPX_INVALIDATE: u8 = 0x01;
const OPX_DISCARD: u8 = 0x02;

/// What options that nobody knows want done.
pub(super) enum Opx {
    Keep,
    Changed(Vec<u8>),
    Discard,
}

/// One option: its type, and where it begins and ends.
struct Found {
    kind: u8,
    at: usize,
    end: usize,
}

/// The options of a packet that parses, OPT_LENGTH aside.
fn options(packet: &[u8]) -> Vec<Found> {
    if packet[BITS] & PRESENT == 0 {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut at = 16 + body_len(packet) + 4;
    while let Some([kind, len, ..]) = packet.get(at..at + 4) {
        let end = at + usize::from(*len).max(4);
        let last = kind & END != 0;
        found.push(Found {
            kind: kind & !END,
            at,
            end,
        });
        at = end;
        if last {
            break;
        }
    }
    found
}

/// Octets between the common header and the options (IPv4).
fn body_len(packet: &[u8]) -> usize {
    match packet[4] & 0x0F {
        0x00 => 20,
        0x01 => 28,
        0x08..=0x0A => 20,
        0x0C => 0,
        _ => 8,
    }
}

/// RFC 3208 §9: an unknown option is ignored, made OPT_INVALID, or the end of the packet (N-19).
pub(super) fn obey_opx(packet: &[u8]) -> Opx {
    // RFC 3208 §8: who routes need not look where nothing concerns the network.
    if packet[BITS] & NETWORK == 0 {
        return Opx::Keep;
    }
    let mut changed: Option<Vec<u8>> = None;
    for option in options(packet) {
        let known = option.kind <= LAST && option.kind != UNASSIGNED || option.kind == INVALID;
        if known {
            continue;
        }
        match packet[option.at + 2] & OPX {
            OPX_INVALIDATE => {
                let changed = changed.get_or_insert_with(|| packet.to_vec());
                changed[option.at] = changed[option.at] & END | INVALID;
            }
            OPX_DISCARD => return Opx::Discard,
            _ => {}
        }
    }
    match changed {
        Some(mut packet) => {
            wire::reseal(&mut packet);
            Opx::Changed(packet)
        }
        None => Opx::Keep,
    }
}

/// An SPM as it goes out by an interface: SPM_PATH is the interface's address (RFC 3208 §7.1), and the
/// parent's OPT_NAK_BO_IVL is overwritten (RFC 3208 §15.2.1 (N-22)).
pub(super) fn spm(packet: &[u8], path: Ipv4Addr, nak_bo: NakBoIvl) -> Vec<u8> {
    let mut out = packet.to_vec();
    out[SPM_PATH..SPM_PATH + 4].copy_from_slice(&path.octets());
    for option in options(packet) {
        if option.kind == NAK_BO_IVL && option.end == option.at + 12 {
            put(&mut out, option.at + 4, nak_bo.ivl);
            put(&mut out, option.at + 8, nak_bo.ivl_sqn.0);
        }
    }
    wire::reseal(&mut out);
    out
}

/// A NAK with other SQNs, as many as it has, and another congestion report, if it has one.
pub(super) fn nak(packet: &[u8], sqns: &[Sqn], cr: Option<&Cr>) -> Vec<u8> {
    let mut out = packet.to_vec();
    put(&mut out, NAK_SQN, sqns[0].0);
    for option in options(packet) {
        match (option.kind, cr) {
            (NAK_LIST, _) => {
                let places = (option.at + 4..option.end).step_by(4);
                for (at, sqn) in places.zip(&sqns[1..]) {
                    put(&mut out, at, sqn.0);
                }
            }
            (CR, Some(cr)) => {
                put(&mut out, option.at + 4, cr.lead.0);
                for (at, load) in [(8, cr.ne_wl), (10, cr.ne_wp), (12, cr.rx_wp)] {
                    out[option.at + at..option.at + at + 2].copy_from_slice(&load.to_be_bytes());
                }
                if let Some(receiver) = super::v4(cr.receiver) {
                    out[option.at + 20..option.at + 24].copy_from_slice(&receiver.octets());
                }
            }
            _ => {}
        }
    }
    wire::reseal(&mut out);
    out
}

fn put(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_be_bytes());
}
