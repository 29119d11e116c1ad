//! GF(2⁸) with x⁸ + x⁴ + x³ + x² + 1 and the generator α = 2.
//!
//! Addition is XOR. What multiplies points of the code does so by logarithms; blocks are multiplied by
//! tables of nibbles ([`NIBBLES`]).

/// The field polynomial, without x⁸.
const POLYNOMIAL: u8 = 0x1D;

/// Order of α: the number of elements but zero.
const ORDER: u16 = 255;

/// α to the power of the index.
const EXP: [u8; ORDER as usize] = {
    let mut exp = [0; ORDER as usize];
    let (mut i, mut x) = (0, 1u8);
    while i < exp.len() {
        exp[i] = x;
        x = times_two(x);
        i += 1;
    }
    exp
};

/// Logarithm to base α; that of zero does not exist and reads 0.
const LOG: [u8; 256] = {
    let mut log = [0; 256];
    let mut i = 0;
    while i < EXP.len() {
        log[EXP[i] as usize] = i as u8;
        i += 1;
    }
    log
};

/// For each coefficient its products with the sixteen low nibbles, then with the sixteen high ones: what
/// a vector shuffle looks up.
pub(super) static NIBBLES: [[u8; 32]; 256] = {
    let mut tables = [[0; 32]; 256];
    let mut c = 0;
    while c < 256 {
        let mut nibble = 0;
        while nibble < 16 {
            tables[c][nibble] = multiply(c as u8, nibble as u8);
            tables[c][16 + nibble] = multiply(c as u8, (nibble as u8) << 4);
            nibble += 1;
        }
        c += 1;
    }
    tables
};

const fn times_two(x: u8) -> u8 {
    let carry = x >> 7;
    (x << 1) ^ (carry * POLYNOMIAL)
}

/// By the definition, bit by bit: for the tables.
const fn multiply(a: u8, b: u8) -> u8 {
    let (mut product, mut a, mut bit) = (0, a, 0);
    while bit < 8 {
        product ^= a * ((b >> bit) & 1);
        a = times_two(a);
        bit += 1;
    }
    product
}

/// Logarithm of an element that is not zero.
pub(super) fn log(x: u8) -> u16 {
    debug_assert!(x != 0, "zero has no logarithm");
    u16::from(LOG[usize::from(x)])
}

/// α to any power.
pub(super) fn exp(power: u32) -> u8 {
    EXP[(power % u32::from(ORDER)) as usize]
}

/// The power of the inverse of α^`power`, not negative.
pub(super) fn inverse(power: u32) -> u32 {
    u32::from(ORDER) - power % u32::from(ORDER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_generates_every_element_but_zero() {
        let mut seen = EXP.to_vec();
        seen.sort_unstable();
        assert_eq!(seen, (1..=255).collect::<Vec<_>>());
        assert_eq!(
            (EXP[8], exp(255), exp(510 + 8)),
            (POLYNOMIAL, 1, POLYNOMIAL)
        );
    }

    #[test]
    fn logarithms_and_nibbles_agree_with_the_definition() {
        for (a, b) in (0..=255).flat_map(|a| (0..=255).map(move |b| (a, b))) {
            let product = multiply(a, b);
            if a != 0 && b != 0 {
                assert_eq!(exp(u32::from(log(a) + log(b))), product, "{a} × {b}");
            }
            let table = NIBBLES[usize::from(a)];
            let (low, high) = (usize::from(b & 15), usize::from(b >> 4));
            assert_eq!(table[low] ^ table[16 + high], product, "{a} × {b}");
        }
        for a in 1..=255 {
            let inverse = exp(inverse(log(a).into()));
            assert_eq!(multiply(a, inverse), 1, "1 ÷ {a}");
        }
    }
}
