//! Any octets as the options of a packet of any type, behind an OPT_LENGTH that is right or not.
//!
//! Octet 0 is the type, octet 1 says what is done for the fuzzer: 1 OPT_LENGTH, 2 the end bit on the last
//! option that a walk finds, 4 OPT_PARITY, 8 OPT_VAR_PKTLEN; its high half is the length of the TSDU.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgm_engine::wire::Tpdu;

#[path = "../shared/seal.rs"]
mod seal;

const TYPES: [u8; 10] = [0, 1, 2, 4, 5, 8, 9, 10, 12, 13];
const IPV4: [u8; 8] = [0, 1, 0, 0, 10, 1, 1, 1];

fuzz_target!(|data: &[u8]| {
    let [kind, help, options @ ..] = data else {
        return;
    };
    if options.len() > 4096 {
        return;
    }
    let kind = TYPES[usize::from(*kind) % TYPES.len()];
    let mut chain = options.to_vec();
    if help & 2 != 0 {
        end(&mut chain);
    }
    if help & 1 != 0 {
        let [high, low] = (chain.len() as u16 + 4).to_be_bytes();
        chain.splice(0..0, [0, 4, high, low]);
    }
    let tsdu = vec![0x55; usize::from(help >> 4)];
    let mut packet = vec![
        3,
        232,
        29,
        76,
        kind,
        1,
        0,
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        0,
        help >> 4,
    ];
    packet[5] |= (help & 4) << 5 | (help & 8) << 3;
    packet.extend(body(kind));
    packet.extend(chain);
    packet.extend(tsdu);
    seal::seal(&mut packet);

    let Ok(tpdu) = Tpdu::parse(&packet) else {
        return;
    };
    let mut emitted = Vec::new();
    tpdu.emit(&mut emitted);
    let again = Tpdu::parse(&emitted).expect("what is emitted can be parsed");
    assert_eq!(again, tpdu);
});

/// Set the end bit on the last option, as far as lengths lead to it.
fn end(chain: &mut [u8]) {
    let (mut at, mut last) = (0, None);
    while at + 4 <= chain.len() {
        chain[at] &= 0x7F;
        last = Some(at);
        at += usize::from(chain[at + 1]).max(4);
    }
    if let Some(last) = last {
        chain[last] |= 0x80;
    }
}

fn body(kind: u8) -> Vec<u8> {
    match kind {
        0 => [&[0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 9], &IPV4[..]].concat(),
        1 => [&[0, 0, 0, 1, 0, 0, 0, 0], &IPV4[..], &[0; 12]].concat(),
        8..=10 => [&[0, 0, 0, 6], &IPV4[..], &IPV4[..]].concat(),
        12 => Vec::new(),
        _ => vec![0, 0, 0, 7, 0, 0, 0, 5],
    }
}
