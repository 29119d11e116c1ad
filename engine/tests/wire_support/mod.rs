//! Packets made octet by octet, without the emitter under test.
#![allow(dead_code, reason = "each test binary uses its own part")]

use pgm_engine::wire::{Tpdu, WireError};

/// Type codes (RFC 3208 §8).
pub(crate) const SPM: u8 = 0x00;
pub(crate) const POLL: u8 = 0x01;
pub(crate) const POLR: u8 = 0x02;
pub(crate) const ODATA: u8 = 0x04;
pub(crate) const RDATA: u8 = 0x05;
pub(crate) const NAK: u8 = 0x08;
pub(crate) const NNAK: u8 = 0x09;
pub(crate) const NCF: u8 = 0x0A;
pub(crate) const SPMR: u8 = 0x0C;
pub(crate) const ACK: u8 = 0x0D;
/// Every assigned type.
pub(crate) const TYPES: [u8; 10] = [SPM, POLL, POLR, ODATA, RDATA, NAK, NNAK, NCF, SPMR, ACK];

/// A body that is good for type `kind`, IPv4.
pub(crate) fn body(kind: u8) -> Vec<u8> {
    let nla = [0, 1, 0, 0, 10, 1, 1, 1];
    match kind {
        SPM => [&[0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 9], &nla[..]].concat(),
        POLL => [&[0, 0, 0, 1, 0, 0, 0, 0], &nla[..], &[0; 12]].concat(),
        NAK | NNAK | NCF => [&[0, 0, 0, 6], &nla[..], &nla[..]].concat(),
        SPMR => Vec::new(),
        _ => vec![0, 0, 0, 7, 0, 0, 0, 5],
    }
}

/// A sealed packet of type `kind` whose options and TSDU are `options` and `tsdu` as they are.
pub(crate) fn packet_of(kind: u8, body: &[u8], options: &[u8], tsdu: &[u8]) -> Vec<u8> {
    let present = u8::from(!options.is_empty());
    let tsdu_len = u16::try_from(tsdu.len())
        .expect("a short TSDU")
        .to_be_bytes();
    let mut packet = vec![
        0x03, 0xE8, 0x1D, 0x4C, kind, present, 0, 0, 1, 2, 3, 4, 5, 6,
    ];
    packet.extend(tsdu_len);
    packet.extend([body, options, tsdu].concat());
    seal(&mut packet);
    packet
}

/// As [`packet_of`], with a good body.
pub(crate) fn packet(kind: u8, options: &[u8], tsdu: &[u8]) -> Vec<u8> {
    packet_of(kind, &body(kind), options, tsdu)
}

/// OPT_LENGTH and then `options`; OPT_END is theirs to set.
pub(crate) fn chain(options: &[&[u8]]) -> Vec<u8> {
    let options = options.concat();
    let [high, low] = u16::try_from(options.len() + 4)
        .expect("short options")
        .to_be_bytes();
    [&[0x00, 4, high, low], &options[..]].concat()
}

/// Make the checksum right: RFC 1071 as written, word by word. Leaves stumps alone.
pub(crate) fn seal(packet: &mut [u8]) {
    if packet.len() < 8 {
        return;
    }
    packet[6..8].fill(0);
    let words = packet
        .chunks(2)
        .map(|pair| [pair[0], pair.get(1).copied().unwrap_or(0)]);
    let mut sum: u32 = words.map(|word| u32::from(u16::from_be_bytes(word))).sum();
    while sum > 0xFFFF {
        sum = (sum >> 16) + (sum & 0xFFFF);
    }
    let sum = if sum == 0xFFFF { 0xFFFF } else { 0xFFFF - sum };
    packet[6..8].copy_from_slice(&u16::try_from(sum).expect("folded").to_be_bytes());
}

/// Why `packet` is refused.
#[track_caller]
pub(crate) fn refusal(packet: &[u8]) -> WireError {
    Tpdu::parse(packet).expect_err("a packet to refuse")
}

/// What `packet` means.
#[track_caller]
pub(crate) fn accepted(packet: &[u8]) -> Tpdu<'_> {
    Tpdu::parse(packet).expect("a packet to accept")
}
