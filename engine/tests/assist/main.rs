//! What hosts do for and with network elements, other parents and local repairers: polling (RFC 3208 §14),
//! implosion control (§15), redirection and DLRs (§9.5).

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod dlr;
mod implosion;
mod kit;
mod poll;
mod redirect;
