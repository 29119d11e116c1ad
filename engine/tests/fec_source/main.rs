//! A source that provides parity, seen from the wire (RFC 3208 §11).
//!
//! What arrives is decoded here by the rules of the text, so that every parity packet is proved to be of use.

mod demand;
mod encoding;
mod groups;
mod rig;
mod session;
