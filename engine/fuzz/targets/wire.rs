//! Any octets as a packet: no panic, and what parses means the same after it was emitted and parsed again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgm_engine::wire::Tpdu;

#[path = "../shared/seal.rs"]
mod seal;

fuzz_target!(|data: &[u8]| {
    let _ = Tpdu::parse(data);
    let mut packet = data.to_vec();
    seal::seal(&mut packet);
    round_trip(&packet);
});

fn round_trip(packet: &[u8]) {
    let Ok(tpdu) = Tpdu::parse(packet) else {
        return;
    };
    let mut emitted = Vec::new();
    tpdu.emit(&mut emitted);
    let again = Tpdu::parse(&emitted).expect("what is emitted can be parsed");
    assert_eq!(again, tpdu);
    let mut once_more = Vec::new();
    again.emit(&mut once_more);
    assert_eq!(once_more, emitted);
}
