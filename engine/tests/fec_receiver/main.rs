//! A receiver and parity (RFC 3208 §11), packet by packet in virtual time. The parity is made here, from the
//! code alone.
#![allow(clippy::unwrap_used)]

mod asking;
#[path = "../receiver/kit.rs"]
#[allow(dead_code, reason = "the receiver's tests use the rest")]
mod kit;
mod model;
mod nonsense;
mod peers;
mod rebuilding;
mod short;
mod stream;
