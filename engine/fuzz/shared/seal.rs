//! A right checksum, so that mutations get past it.

/// RFC 1071 as written, word by word. Leaves stumps alone.
pub fn seal(packet: &mut [u8]) {
    if packet.len() < 8 {
        return;
    }
    packet[6..8].fill(0);
    let words = packet
        .chunks(2)
        .map(|pair| [pair[0], pair.get(1).copied().unwrap_or(0)]);
    let mut sum: u64 = words.map(|word| u64::from(u16::from_be_bytes(word))).sum();
    while sum > 0xFFFF {
        sum = (sum >> 16) + (sum & 0xFFFF);
    }
    let sum = if sum == 0xFFFF {
        0xFFFF
    } else {
        0xFFFF - sum as u16
    };
    packet[6..8].copy_from_slice(&sum.to_be_bytes());
}
