//! The process that goes on with the engine when the program's ends (design D5).
//!
//! The engine's thread forks between two turns of its loop, so that the child has the whole engine in a state
//! of rest: the same memory, descriptors and epoll set. Of the program's descriptors it has none, as the engine's
//! thread has none. It detaches and says that it is ready. From then on one octet decides which of the two goes on:
//!
//! ```text
//! engine of the program        successor
//!   fork twice ───────────────▶  detach
//!   ◀──────────────── READY ───  wait
//!   GO, or end-of-file ───────▶  the engine runs here; the other never again
//!   STAY ─────────────────────▶  end; the engine runs on there
//! ```
//!
//! End-of-file is the program's end, or its `exec`, since the line is CLOEXEC. Two forks, because the
//! program must have no child that it did not make; it does not even wait for the first one.

use super::log;
use super::private::EngineFd;
use super::process::{self, Fork};
use super::unix;
use crate::log_line;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const READY: u8 = b'r';
const GO: u8 = b'g';
const STAY: u8 = b's';

/// How long the successor's report may take; a busy machine has its time.
const REPORT: Duration = Duration::from_secs(2);
/// Whether this process is one.
static IS_SUCCESSOR: AtomicBool = AtomicBool::new(false);

/// Whether this process is a successor.
pub(super) fn is_here() -> bool {
    IS_SUCCESSOR.load(Ordering::Relaxed)
}

/// Where the engine goes on.
#[derive(Debug)]
pub(super) enum Place {
    /// This is the program's process, and the successor waits for a word.
    Program(Successor),
    /// This is the successor, and it was told to go on.
    Successor,
}

/// A process that waits for a word.
#[derive(Debug)]
pub(super) struct Successor(EngineFd);

impl Successor {
    /// The engine goes on over there, and never again here.
    pub(super) fn go(&self) {
        // If it is gone there is nobody to tell.
        let _ = unix::send(self.0.as_raw_fd(), &[GO]);
    }

    /// The engine goes on here; the successor ends.
    pub(super) fn stay(self) {
        let _ = unix::send(self.0.as_raw_fd(), &[STAY]);
    }
}

/// Make a successor. Returns in both processes, in the new one when it is to go on.
///
/// # Errors
/// Why the process cannot be made: `EAGAIN`, `ENOMEM`, `EMFILE`; `ETIMEDOUT` it never became ready.
pub(super) fn beget() -> io::Result<Place> {
    let (ours, theirs) = unix::socket_pair(libc::SOCK_SEQPACKET)?;
    let (ours, theirs) = (EngineFd::from(ours), EngineFd::from(theirs));
    let first = match process::fork_silently()? {
        Fork::Parent(pid) => pid,
        Fork::Child => match process::fork_plainly() {
            Ok(Fork::Child) => {
                drop(ours);
                return Ok(succeed(&theirs));
            }
            Ok(Fork::Parent(_)) => process::leave(0),
            Err(e) => process::leave(e.raw_os_error().unwrap_or(1)),
        },
    };
    drop(theirs);
    let successor = Successor(ours);
    if !process::reap(first) {
        return Err(io::Error::from_raw_os_error(libc::EAGAIN));
    }
    let line = successor.0.as_raw_fd();
    process::is_readable_within(line, Some(REPORT));
    if matches!(process::receive_octet(line), Ok(Some(READY))) {
        Ok(Place::Program(successor))
    } else {
        successor.stay();
        Err(io::ErrorKind::TimedOut.into())
    }
}

/// The new process: returns when it is to go on.
fn succeed(line: &EngineFd) -> Place {
    IS_SUCCESSOR.store(true, Ordering::Relaxed);
    process::detach();
    // The program's stderr is not its business.
    log::set_level(log::Level::Off);
    let line = line.as_raw_fd();
    if unix::send(line, &[READY]).is_err() {
        process::leave(1);
    }
    loop {
        if process::is_readable_within(line, None) {
            match process::receive_octet(line) {
                Ok(Some(STAY)) => process::leave(0),
                // End-of-file, also as ECONNRESET.
                Ok(_) => return Place::Successor,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Place::Successor,
            }
        }
    }
}

/// Say that the engine has to be waited for.
pub(super) fn complain(error: &io::Error) {
    log_line!(
        log::Level::Warn,
        "nobody can take over, the end of the process waits instead: {error}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other end of what a successor holds: closed when it has ended.
    fn witness() -> (EngineFd, EngineFd) {
        let (ours, theirs) = unix::socket_pair(libc::SOCK_SEQPACKET).expect("pair");
        (EngineFd::from(ours), EngineFd::from(theirs))
    }

    fn word(fd: &EngineFd) -> Option<u8> {
        assert!(process::is_readable_within(
            fd.as_raw_fd(),
            Some(Duration::from_secs(20))
        ));
        process::receive_octet(fd.as_raw_fd()).expect("a word or the end")
    }

    /// What a successor does in these tests: say its name and end.
    fn speak(fd: &EngineFd) -> ! {
        let _ = unix::send(fd.as_raw_fd(), b"!");
        process::leave(0)
    }

    #[test]
    fn a_successor_goes_on_when_it_is_told_to() {
        let (ours, theirs) = witness();
        match beget().expect("successor") {
            Place::Successor => speak(&theirs),
            Place::Program(successor) => {
                drop(theirs);
                successor.go();
                assert_eq!(word(&ours), Some(b'!'));
                assert_eq!(word(&ours), None, "it has ended");
            }
        }
    }

    #[test]
    fn a_successor_goes_on_when_the_program_is_gone() {
        let (ours, theirs) = witness();
        match beget().expect("successor") {
            Place::Successor => speak(&theirs),
            Place::Program(successor) => {
                drop((theirs, successor));
                assert_eq!(word(&ours), Some(b'!'));
            }
        }
    }

    #[test]
    fn a_successor_that_is_not_needed_ends() {
        let (ours, theirs) = witness();
        match beget().expect("successor") {
            Place::Successor => speak(&theirs),
            Place::Program(successor) => {
                drop(theirs);
                successor.stay();
                assert_eq!(word(&ours), None);
            }
        }
    }
}
