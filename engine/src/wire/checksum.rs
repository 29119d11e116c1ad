//! The Internet checksum over a whole TPDU, without a pseudo-header (RFC 3208 §8 (G-07)).

/// Ones-complement sum of `bytes`, odd lengths padded with a zero octet, in the machine's octet order.
///
/// The sum commutes with swapping octets (RFC 1071 §2 B), so the loop adds native words as they lie
/// in memory and nobody swaps before the very end. 32-bit halves into 64-bit sums need no carry for
/// 2^35 octets and let the compiler use vector registers.
fn sum(bytes: &[u8]) -> u16 {
    let (mut low, mut high) = (0u64, 0u64);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let word = u64::from_ne_bytes(*word);
        low += word & 0xFFFF_FFFF;
        high += word >> 32;
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let last = u64::from_ne_bytes(last);
    low += last & 0xFFFF_FFFF;
    high += last >> 32;
    fold(low + high)
}

/// Add the four 16-bit words of `sum` with end-around carry.
fn fold(mut sum: u64) -> u16 {
    loop {
        match u16::try_from(sum) {
            Ok(folded) => return folded,
            Err(_) => sum = (sum >> 16) + (sum & 0xFFFF),
        }
    }
}

/// Octets to put into the checksum field of `packet`, whose field is zero now.
///
/// RFC 3208 §8 (G-08): a computed zero is transmitted as 0xFFFF, since zero means "no checksum".
pub(super) fn compute(packet: &[u8]) -> [u8; 2] {
    match !sum(packet) {
        0 => [0xFF, 0xFF],
        checksum => checksum.to_ne_bytes(),
    }
}

/// Whether `packet`, its non-zero checksum field included, sums up to zero.
pub(super) fn is_valid(packet: &[u8]) -> bool {
    sum(packet) == 0xFFFF
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 as written: big-endian 16-bit words, one by one.
    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
            sum += u32::from(word);
            sum = (sum >> 16) + (sum & 0xFFFF);
        }
        u16::try_from(sum).expect("folded after every addition")
    }

    #[test] // G-07
    fn agrees_with_the_definition_for_every_length_and_alignment() {
        let mut rng = fastrand::Rng::with_seed(1);
        let bytes: Vec<u8> = (0..1600).map(|_| rng.u8(..)).collect();
        for start in 0..9 {
            for len in (0..80).chain([1399, 1400, 1401, 1472, 1500]) {
                let packet = &bytes[start..start + len];
                let expected = plain(packet);
                assert_eq!(
                    u16::from_be(sum(packet)),
                    expected,
                    "start {start}, length {len}"
                );
            }
        }
    }

    #[test]
    fn carries_wrap_around_to_the_end() {
        for len in [2, 3, 8, 9, 64, 1501, 65_535] {
            assert_eq!(
                u16::from_be(sum(&vec![0xFF; len])),
                plain(&vec![0xFF; len]),
                "length {len}"
            );
        }
    }

    #[test] // G-08
    fn zero_is_sent_as_all_ones_and_accepted() {
        assert_eq!(compute(&[0xFF; 16]), [0xFF, 0xFF]);
        let mut packet = [0xFF; 18];
        packet[6..8].fill(0);
        let checksum = compute(&packet);
        packet[6..8].copy_from_slice(&checksum);
        assert!(is_valid(&packet));
    }
}
