//! Multiply a block by a coefficient and add it to another: where all the time of the code goes.
//!
//! A product is two look-ups in tables of sixteen octets, which a vector shuffle does for a whole register.

use super::gf256::NIBBLES;

/// `out[i] += c × data[i]` over the shorter of both.
pub(super) fn mul_add(out: &mut [u8], data: &[u8], c: u8) {
    let len = out.len().min(data.len());
    let (out, data) = (&mut out[..len], &data[..len]);
    if c == 0 {
        return;
    }
    let done = vectors(out, data, &NIBBLES[usize::from(c)]);
    scalar(&mut out[done..], &data[done..], &NIBBLES[usize::from(c)]);
}

/// The same one octet after the other: the definition, and what no vector is left for.
fn scalar(out: &mut [u8], data: &[u8], table: &[u8; 32]) {
    let (low, high) = table.split_at(16);
    for (out, data) in out.iter_mut().zip(data) {
        *out ^= low[usize::from(data & 15)] ^ high[usize::from(data >> 4)];
    }
}

/// As many whole vectors as there are; how many octets that was.
#[cfg(target_arch = "x86_64")]
fn vectors(out: &mut [u8], data: &[u8], table: &[u8; 32]) -> usize {
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        unsafe { x86::avx2(out, data, table) }
    } else if std::arch::is_x86_feature_detected!("ssse3") {
        // SAFETY: the processor has SSSE3.
        unsafe { x86::ssse3(out, data, table) }
    } else {
        0
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn vectors(_out: &mut [u8], _data: &[u8], _table: &[u8; 32]) -> usize {
    0
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::*;

    /// Octets of whole vectors in both slices, which are equally long.
    #[target_feature(enable = "ssse3")]
    pub(super) fn ssse3(out: &mut [u8], data: &[u8], table: &[u8; 32]) -> usize {
        let (low, high) = halves(table);
        let nibble = _mm_set1_epi8(15);
        let ((out, _), (data, _)) = (out.as_chunks_mut::<16>(), data.as_chunks::<16>());
        for (out, data) in out.iter_mut().zip(data) {
            let out: *mut __m128i = out.as_mut_ptr().cast();
            // SAFETY: both chunks have the 16 octets that are read, at any alignment.
            let (sum, data) =
                unsafe { (_mm_loadu_si128(out), _mm_loadu_si128(data.as_ptr().cast())) };
            let low = _mm_shuffle_epi8(low, _mm_and_si128(data, nibble));
            let high = _mm_shuffle_epi8(high, _mm_and_si128(_mm_srli_epi64(data, 4), nibble));
            let sum = _mm_xor_si128(sum, _mm_xor_si128(low, high));
            // SAFETY: the chunk has the 16 octets that are written, at any alignment.
            unsafe { _mm_storeu_si128(out, sum) };
        }
        16 * out.len()
    }

    /// Octets of whole vectors in both slices, which are equally long.
    #[target_feature(enable = "avx2")]
    pub(super) fn avx2(out: &mut [u8], data: &[u8], table: &[u8; 32]) -> usize {
        let (low, high) = halves(table);
        let (low, high) = (
            _mm256_broadcastsi128_si256(low),
            _mm256_broadcastsi128_si256(high),
        );
        let nibble = _mm256_set1_epi8(15);
        let ((out, _), (data, _)) = (out.as_chunks_mut::<32>(), data.as_chunks::<32>());
        for (out, data) in out.iter_mut().zip(data) {
            let out: *mut __m256i = out.as_mut_ptr().cast();
            // SAFETY: both chunks have the 32 octets that are read, at any alignment.
            let (sum, data) = unsafe {
                (
                    _mm256_loadu_si256(out),
                    _mm256_loadu_si256(data.as_ptr().cast()),
                )
            };
            let low = _mm256_shuffle_epi8(low, _mm256_and_si256(data, nibble));
            let high =
                _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi64(data, 4), nibble));
            let sum = _mm256_xor_si256(sum, _mm256_xor_si256(low, high));
            // SAFETY: the chunk has the 32 octets that are written, at any alignment.
            unsafe { _mm256_storeu_si256(out, sum) };
        }
        32 * out.len()
    }

    /// The tables of low and of high nibbles.
    #[target_feature(enable = "sse2")]
    fn halves(table: &[u8; 32]) -> (__m128i, __m128i) {
        let at: *const __m128i = table.as_ptr().cast();
        // SAFETY: the table has twice the 16 octets that are read, at any alignment.
        unsafe { (_mm_loadu_si128(at), _mm_loadu_si128(at.add(1))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Kernel = fn(&mut [u8], &[u8], &[u8; 32]) -> usize;

    /// What this machine has, by name.
    fn kernels() -> Vec<(&'static str, Kernel)> {
        let mut kernels: Vec<(&'static str, Kernel)> = vec![("the chosen one", vectors)];
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("ssse3") {
                // SAFETY: the processor has SSSE3.
                kernels.push(("SSSE3", |out, data, table| unsafe {
                    x86::ssse3(out, data, table)
                }));
            }
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: the processor has AVX2.
                kernels.push(("AVX2", |out, data, table| unsafe {
                    x86::avx2(out, data, table)
                }));
            }
        }
        kernels
    }

    #[test]
    fn vectors_agree_with_the_definition_for_every_length_and_alignment() {
        let mut rng = fastrand::Rng::with_seed(1);
        let octets: Vec<u8> = (0..4096).map(|_| rng.u8(..)).collect();
        for (name, kernel) in kernels() {
            for round in 0..3000 {
                let len = if round % 4 == 0 {
                    rng.usize(..1600)
                } else {
                    rng.usize(..100)
                };
                let (at, from, c) = (rng.usize(..64), rng.usize(..64), rng.u8(..));
                let table = &NIBBLES[usize::from(c)];
                let data = &octets[2048 + from..][..len];
                let mut fast = octets.clone();
                let mut slow = octets.clone();
                let done = kernel(&mut fast[at..at + len], data, table);
                assert!(done <= len && done % 16 == 0, "{name}: {done} of {len}");
                scalar(&mut fast[at + done..at + len], &data[done..], table);
                scalar(&mut slow[at..at + len], data, table);
                assert_eq!(
                    fast, slow,
                    "{name}: {len} octets at {at} from {from} by {c}"
                );
            }
        }
    }

    #[test]
    fn the_shorter_block_ends_it() {
        for (out_len, data_len) in [(0, 40), (40, 0), (70, 33), (33, 70)] {
            let (mut out, data) = (vec![7; out_len], vec![1; data_len]);
            mul_add(&mut out, &data, 5);
            let sum: Vec<u8> = (0..out_len)
                .map(|i| if i < data_len { 7 ^ 5 } else { 7 })
                .collect();
            assert_eq!(out, sum);
            mul_add(&mut out, &data, 0);
            assert_eq!(out, sum);
        }
    }
}
