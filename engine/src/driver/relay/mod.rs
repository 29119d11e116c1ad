//! The engine ends of the pairs (design D1, path A: every message travels through the kernel).
//!
//! A relay has no thread and never waits. It gets a *turn* when its descriptor or the endpoint has
//! something for it, works off a bounded amount, and says by [`Next`] when it wants the next one.

mod listener;
mod sender;
mod session;

pub(super) use listener::{Listener, Newborn};
pub(super) use sender::Sender;
pub(super) use session::Session;

use super::private::EngineFd;
use super::sys::Epoll;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

/// When a relay wants its next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// When its descriptor or the endpoint has something for it.
    Wait,
    /// After the others: there is more.
    Again,
    /// Then, or when its descriptor has something.
    At(Instant),
    /// When its source takes APDUs again.
    Room,
    /// It needs its source or session no more; only its descriptor is still open.
    Detached,
    /// Never: it can be forgotten.
    Over,
}

/// An engine end in the epoll set. HUP and ERR are always reported.
#[derive(Debug)]
struct End {
    fd: EngineFd,
    token: u64,
    /// What it is watched for; `None` when it is not in the set.
    interest: Option<u32>,
}

impl End {
    fn new(epoll: &Epoll, fd: EngineFd, token: u64, interest: u32) -> io::Result<Self> {
        epoll.add(fd.as_raw_fd(), interest, token)?;
        Ok(Self {
            fd,
            token,
            interest: Some(interest),
        })
    }

    fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Be told of `interest` from now on.
    fn watch(&mut self, epoll: &Epoll, interest: u32) {
        // Of a descriptor that has left the set for good, everything is known already.
        if self.interest.is_some_and(|old| old != interest)
            && epoll.modify(self.raw(), interest, self.token).is_ok()
        {
            self.interest = Some(interest);
        }
    }

    /// Be told of nothing any more, not even HUP, which would be reported again and again.
    fn unwatch(&mut self, epoll: &Epoll) {
        if self.interest.take().is_some() {
            // It can only fail when it is not in the set.
            let _ = epoll.remove(self.raw());
        }
    }
}

/// Whether epoll says that the application end is closed.
fn is_hang_up(events: u32) -> bool {
    events & (libc::EPOLLHUP | libc::EPOLLERR).cast_unsigned() != 0
}

/// A pause that doubles each time it is taken: for what no descriptor tells.
#[derive(Debug)]
struct Pause(Duration);

impl Pause {
    const FIRST: Duration = Duration::from_millis(1);
    const LAST: Duration = Duration::from_millis(50);

    fn new() -> Self {
        Self(Self::FIRST)
    }

    fn take(&mut self, now: Instant) -> Next {
        let at = now + self.0;
        self.0 = (self.0 * 2).min(Self::LAST);
        Next::At(at)
    }

    fn reset(&mut self) {
        self.0 = Self::FIRST;
    }
}
