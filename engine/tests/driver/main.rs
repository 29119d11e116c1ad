//! The engine as the shim uses it: real threads, real sockets, application ends, over loopback.

mod app;
mod drain;
mod flow;
mod hygiene;
mod transfer;
