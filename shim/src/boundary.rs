//! RM_SET_MESSAGE_BOUNDARY: one message of several sends.
//!
//! The engine learns the length with the first part, which travels as a file beside a token that tells it;
//! from then on it takes what is sent for parts until the message is whole. Here it is watched that no
//! send runs over the boundary, and that each part and its account are one step.

use crate::errno::{Errno, Native};
use crate::interpose::guarded;
use crate::lock::OwnedLock;
use crate::next;
use crate::send::{Parcel, send_plain};
use crate::sys::Iov;
use libc::{c_int, msghdr};
use pgm_engine::driver::PAIR_MESSAGE_MAX;
use pgm_engine::source::MAX_APDU;
use std::sync::atomic::{AtomicU64, Ordering};

/// A part of the message was sent; without it nothing was yet.
const BEGUN: u64 = 1 << 32;

/// What the message announced still lacks.
#[derive(Debug)]
pub(crate) struct Boundary {
    /// Octets, and `BEGUN`. 0: each send is a message.
    state: AtomicU64,
    /// Held while a part is sent, never while blocking.
    sending: OwnedLock,
}

impl Boundary {
    pub(crate) const fn new() -> Self {
        Self {
            state: AtomicU64::new(0),
            sending: OwnedLock::new(),
        }
    }

    /// For a socket in a slot that was another's.
    pub(crate) fn reset(&self) {
        self.state.store(0, Ordering::Relaxed);
    }

    /// In the child of a fork, where nobody else is sending.
    pub(crate) fn survive_fork(&self) {
        self.sending.release();
    }

    /// Whether sends are parts of a message.
    pub(crate) fn is_set(&self) -> bool {
        self.state.load(Ordering::Relaxed) != 0
    }

    /// The next sends together make a message of so many octets; 0 cancels, as long as none was made.
    pub(crate) fn set(&self, octets: u32) -> Result<(), Errno> {
        if octets as usize > MAX_APDU {
            return Err(Errno(libc::EINVAL));
        }
        let _held = self.sending.lock().map_err(|_| Errno(libc::EBUSY))?;
        if self.state.load(Ordering::Relaxed) & BEGUN != 0 {
            return Err(Errno(libc::EBUSY));
        }
        self.state.store(octets.into(), Ordering::Relaxed);
        Ok(())
    }

    /// Send the caller's buffers as a part. All of it or nothing, as a message would be.
    ///
    /// To wait for room is to send natively a message of no octets, which the engine skips: that brings
    /// O_NONBLOCK, SO_SNDTIMEO, EINTR and SA_RESTART, cancellation and the end of the engine with it.
    pub(crate) fn send(&self, fd: c_int, buffers: Iov, flags: c_int) -> Result<usize, Errno> {
        let mut parcel = Parcel::NONE;
        let sent = loop {
            match guarded(|| self.attempt(fd, buffers, flags | libc::MSG_DONTWAIT, &mut parcel)) {
                Err(Errno(libc::EAGAIN)) if flags & libc::MSG_DONTWAIT == 0 => {}
                result => break result,
            }
            // SAFETY: all zero is a valid msghdr: no buffers, no name.
            let nothing: msghdr = unsafe { std::mem::zeroed() };
            // SAFETY: the header is ours. May block: nothing here needs dropping.
            if let Err(error) = unsafe { next::sendmsg(fd, &raw const nothing, flags) }.check() {
                break Err(error);
            }
        };
        parcel.close();
        sent
    }

    fn attempt(
        &self,
        fd: c_int,
        buffers: Iov,
        flags: c_int,
        parcel: &mut Parcel,
    ) -> Result<usize, Errno> {
        let _held = self.sending.lock().map_err(|_| Errno(libc::EBUSY))?;
        let state = self.state.load(Ordering::Relaxed);
        let (len, lacking) = (buffers.total as u64, state & !BEGUN);
        if state != 0 && len > lacking {
            return Err(Errno(libc::EMSGSIZE));
        }
        let whole = if state & BEGUN == 0 && len < lacking {
            lacking
        } else {
            0
        };
        let sent = if whole > 0 || buffers.total > PAIR_MESSAGE_MAX {
            parcel.pack(buffers)?;
            parcel.send(fd, buffers.total, whole, flags)?
        } else {
            send_plain(fd, buffers, flags)?
        };
        let rest = lacking.saturating_sub(len);
        let next = if rest == 0 { 0 } else { rest | BEGUN };
        self.state.store(next, Ordering::Relaxed);
        Ok(sent)
    }
}
