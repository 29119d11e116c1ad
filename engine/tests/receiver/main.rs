//! The receiver against RFC 3208, packet by packet in virtual time. Ids like R-21 name conformance
//! checkpoints: one statement of the RFC each.
#![allow(clippy::unwrap_used)]

mod apdus;
mod ends;
mod joining;
mod kit;
mod model;
mod modes;
mod naks;
mod windows;
