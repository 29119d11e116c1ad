//! Forward error correction: the Reed-Solomon code of deployed PGM (RFC 3208 §11).
//!
//! Knows octets and block numbers, no packet: what is in a block is for the source and the receiver.

mod gf256;
mod rs;
#[allow(unsafe_code)]
mod simd;

pub use rs::Code;

/// Largest k of [`Code`]: data blocks of a transmission group.
pub const K_MAX: u8 = 128;
