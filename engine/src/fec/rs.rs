//! Systematic Reed-Solomon over GF(2⁸) as deployed PGM has it.
//!
//! RFC 3208 §11.1 (F-31, F-32) names neither field nor matrix; implementations follow Rizzo's: a Vandermonde matrix over
//! the points 0, 1, α, α², …, multiplied by the inverse of its top square. So block `r` of n is the value
//! at point `r` of the polynomial of degree below k that the k data blocks are values of, and every
//! coefficient is Lagrange's: no matrix is kept, and none is inverted to decode.

use super::K_MAX;
use super::gf256::{exp, inverse, log};
use super::simd::mul_add;
use arrayvec::ArrayVec;

/// Coefficients of one block, or their logarithms.
type Row<T> = ArrayVec<T, { K_MAX as usize }>;

/// The code for k data blocks and n - k parity blocks, 1 ≤ k ≤ 128, k < n ≤ 255. Any k of the n blocks
/// give the others. A short transmission group has the code of its own size.
#[derive(Clone, Debug)]
pub struct Code {
    n: u8,
    k: u8,
    /// For the point of each data block the logarithm of its Lagrange denominator.
    denominators: Row<u32>,
}

impl Code {
    /// `None` if there is no such code. The cost is k² additions of logarithms.
    #[must_use]
    pub fn new(n: u8, k: u8) -> Option<Self> {
        if !(1..=K_MAX).contains(&k) || n <= k {
            return None;
        }
        let points: Row<u8> = (0..k).map(point).collect();
        let denominators = denominators(&points);
        Some(Self { n, k, denominators })
    }

    /// Data blocks.
    #[must_use]
    pub fn k(&self) -> u8 {
        self.k
    }

    /// Data and parity blocks.
    #[must_use]
    pub fn n(&self) -> u8 {
        self.n
    }

    /// Parity block `parity` (0-based, below n - k; row k + `parity` of the matrix) of the k data blocks.
    /// Those shorter than `out` count as padded with zeros, and longer ones as cut.
    ///
    /// The code is linear: parts of the blocks can be encoded in separate calls.
    pub fn encode<'a>(&self, parity: u8, data: impl IntoIterator<Item = &'a [u8]>, out: &mut [u8]) {
        out.fill(0);
        let row = self.k.checked_add(parity).filter(|row| *row < self.n);
        debug_assert!(row.is_some(), "parity {parity} of {}", self.n - self.k);
        let Some(row) = row else { return };
        let points: Row<u8> = (0..self.k).map(point).collect();
        let row = coefficients(point(row), &points, &self.denominators);
        for (c, block) in row.into_iter().zip(data) {
            mul_add(out, block, c);
        }
    }

    /// The data blocks that are not among `shares`, by row, each of `len` octets; those of one decoding.
    ///
    /// `shares` are exactly k distinct blocks with their rows: below k data, from k on parity. Data blocks
    /// shorter than `len` count as padded with zeros. `None` if they are anything else.
    #[must_use]
    pub fn rebuild(&self, shares: &[(u8, &[u8])], len: usize) -> Option<Vec<(u8, Vec<u8>)>> {
        let mut missing = [true; u8::MAX as usize + 1];
        for (row, block) in shares {
            let fits = if *row < self.k {
                block.len() <= len
            } else {
                block.len() == len
            };
            if *row >= self.n || !fits || !missing[usize::from(*row)] {
                return None;
            }
            missing[usize::from(*row)] = false;
        }
        if shares.len() != usize::from(self.k) {
            return None;
        }
        let points: Row<u8> = shares.iter().map(|(row, _)| point(*row)).collect();
        let denominators = denominators(&points);
        let rows = (0..self.k).filter(|row| missing[usize::from(*row)]);
        let rebuilt = rows.map(|row| {
            let mut out = vec![0; len];
            let row_coefficients = coefficients(point(row), &points, &denominators);
            for (c, (_, block)) in row_coefficients.into_iter().zip(shares) {
                mul_add(&mut out, block, c);
            }
            (row, out)
        });
        Some(rebuilt.collect())
    }
}

/// Where the polynomial's value is block `row`.
fn point(row: u8) -> u8 {
    row.checked_sub(1).map_or(0, |power| exp(power.into()))
}

/// Logarithms of ∏ (xᵢ - xₘ) over all m ≠ i.
fn denominators(points: &[u8]) -> Row<u32> {
    let product = |x: &u8| {
        let others = points.iter().filter(|other| *other != x);
        others.map(|other| u32::from(log(x ^ other))).sum()
    };
    points.iter().map(product).collect()
}

/// Lagrange's coefficients for the value at `x`, which is none of `points`.
fn coefficients(x: u8, points: &[u8], denominators: &[u32]) -> Row<u8> {
    let all: u32 = points.iter().map(|point| u32::from(log(x ^ point))).sum();
    let coefficient = |(point, denominator): (&u8, &u32)| {
        exp(all + inverse(log(x ^ point).into()) + inverse(*denominator))
    };
    points.iter().zip(denominators).map(coefficient).collect()
}

#[cfg(test)]
mod tests;
