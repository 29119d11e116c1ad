//! Payload-specific options as FEC sees them (RFC 3208 §11.2): octet 3 of the option header and the
//! contents, as of one packet or combined in a parity packet.

use super::Fragment;
use crate::num::Sqn;

/// U bit, OP_ENCODED_NULL: the packet has no option of that type.
pub const ENCODED_NULL: u8 = 0x80;

/// Octets of an OPT_FRAGMENT that are encoded: all but type, length, F and OPX.
pub const FRAGMENT_OCTETS: usize = 13;

/// Encoded options of a parity packet. Those of other types are stepped over: nobody sends them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// OPT_FRAGMENT.
    pub fragment: Option<[u8; FRAGMENT_OCTETS]>,
    /// OPT_SYN.
    pub syn: Option<u8>,
    /// OPT_FIN.
    pub fin: Option<u8>,
}

impl Fragment {
    /// What of the option is encoded; of a packet without one, zeros with the U bit.
    #[must_use]
    pub fn to_octets(fragment: Option<Self>) -> [u8; FRAGMENT_OCTETS] {
        let mut octets = [0; FRAGMENT_OCTETS];
        let Some(fragment) = fragment else {
            octets[0] = ENCODED_NULL;
            return octets;
        };
        let (_, contents) = octets.split_at_mut(1);
        let (words, _) = contents.as_chunks_mut::<4>();
        let values = [fragment.first.0, fragment.offset, fragment.apdu_len];
        for (word, value) in words.iter_mut().zip(values) {
            *word = value.to_be_bytes();
        }
        octets
    }

    /// The option that decoded octets are, if the packet had one.
    #[must_use]
    pub fn from_octets(octets: &[u8; FRAGMENT_OCTETS]) -> Option<Self> {
        let [bits, contents @ ..] = octets;
        let ([first, offset, apdu_len], _) = contents.as_chunks::<4>() else {
            return None;
        };
        (bits & ENCODED_NULL == 0).then(|| Self {
            first: Sqn(u32::from_be_bytes(*first)),
            offset: u32::from_be_bytes(*offset),
            apdu_len: u32::from_be_bytes(*apdu_len),
        })
    }
}

/// Octet 3 of an OPT_SYN or OPT_FIN that a packet has or has not.
#[must_use]
pub fn flag_octet(present: bool) -> u8 {
    if present { 0 } else { ENCODED_NULL }
}
