//! The engine thread.

use super::Request;
use super::config::Defaults;
use crossbeam_channel::Receiver;
use std::io;
use std::os::fd::RawFd;

/// Start the engine thread.
pub(super) fn spawn(
    defaults: Defaults,
    wake: RawFd,
    requests: Receiver<Request>,
) -> io::Result<()> {
    let _ = (defaults, wake, requests);
    todo!()
}
