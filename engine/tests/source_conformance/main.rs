//! The source against RFC 3208, in virtual time: what it sends, when, and in which order.
//!
//! Names like S-14 are checkpoints of the project's protocol reference.

mod close;
mod data;
mod progress;
mod rate;
mod repair;
mod rig;
mod spm;
mod window;
