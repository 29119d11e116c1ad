//! RM_SET_MESSAGE_BOUNDARY: one message of several sends.
//!
//! The engine learns the length with the first part, which travels as a file beside a token that tells it;
//! from then on it takes what is sent for parts until the message is whole. Here it is watched that no
//! send runs over the boundary, and that each part and its account are one step.
//!
//! The account is the socket's, not the process's: others may have the socket, too. So it is kept where they
//! all find it, in the one number of the kernel's socket that nobody else needs: a sender never peeks, and
//! SO_PEEK_OFF is no option of PGM sockets.

use crate::errno::Errno;
use crate::interpose::{guarded, undisturbed};
use crate::send::{Parcel, send_plain, wait_for_room};
use crate::socket::Socket;
use crate::sys::{self, Iov};
use crate::turn::{Taken, Turn};
use libc::c_int;
use pgm_engine::driver::PAIR_MESSAGE_MAX;
use pgm_engine::source::MAX_APDU;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is known of the message announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Account {
    /// Octets that it lacks. 0: each send is a message.
    lacking: u32,
    /// A part of it was sent; without it nothing was yet.
    begun: bool,
}

const _: () = assert!(MAX_APDU <= (c_int::MAX >> 1) as usize);

impl Account {
    fn of(fd: RawFd) -> Result<Self, Errno> {
        sys::peek_offset(fd).map(Self::decode)
    }

    fn keep(self, fd: RawFd) -> Result<(), Errno> {
        sys::set_peek_offset(fd, self.encode())
    }

    fn encode(self) -> c_int {
        match self.lacking {
            // A new socket's.
            0 => -1,
            lacking => (lacking << 1).cast_signed() | c_int::from(self.begun),
        }
    }

    fn decode(offset: c_int) -> Self {
        match u32::try_from(offset) {
            Err(_) => Self::default(),
            Ok(offset) => Self {
                lacking: offset >> 1,
                begun: offset & 1 != 0,
            },
        }
    }
}

/// How many octets the message lacks of which a send is a part; 0: a send is a message.
pub(crate) fn lacking(fd: RawFd) -> usize {
    // It can only fail when the descriptor is closed.
    Account::of(fd).map_or(0, |account| account.lacking as usize)
}

/// What this process knows of the account.
#[derive(Debug)]
pub(crate) struct Boundary {
    /// There may be a message announced: this process has done so.
    announced: AtomicBool,
    /// A part and its account are one step.
    pub(crate) sending: Turn,
}

impl Boundary {
    pub(crate) const fn new() -> Self {
        Self {
            announced: AtomicBool::new(false),
            sending: Turn::new(),
        }
    }

    /// For a socket in a slot that was another's.
    pub(crate) fn reset(&self) {
        self.announced.store(false, Ordering::Relaxed);
    }

    /// Whether sends may be parts of a message. `shared`: another process may have announced it.
    pub(crate) fn may_be_set(&self, shared: bool) -> bool {
        shared || self.announced.load(Ordering::Relaxed)
    }

    /// The next sends together make a message of so many octets; 0 cancels, as long as none was made.
    pub(crate) fn set(&self, fd: RawFd, shared: bool, octets: u32) -> Result<(), Errno> {
        if octets as usize > MAX_APDU {
            return Err(Errno(libc::EINVAL));
        }
        let _turn = self.take(fd, shared)?;
        if Account::of(fd)?.begun {
            return Err(Errno(libc::EBUSY));
        }
        self.announced.store(octets != 0, Ordering::Relaxed);
        let account = Account {
            lacking: octets,
            begun: false,
        };
        account.keep(fd)
    }

    fn take(&self, fd: RawFd, shared: bool) -> Result<Taken<'_>, Errno> {
        let taken = self.sending.take(fd, shared);
        taken.map_err(|_| Errno(libc::EBUSY))
    }
}

/// Send the caller's buffers as a part. All of it or nothing, as a message would be.
pub(crate) fn send(socket: &Socket, fd: c_int, buffers: Iov, flags: c_int) -> Result<usize, Errno> {
    let mut parcel = Parcel::NONE;
    let sent = loop {
        // No handler may jump between a part and its account.
        let attempt = || attempt(socket, fd, buffers, flags | libc::MSG_DONTWAIT, &mut parcel);
        match undisturbed(|| guarded(attempt)) {
            Err(Errno(libc::EAGAIN)) if flags & libc::MSG_DONTWAIT == 0 => {}
            result => break result,
        }
        if let Err(error) = wait_for_room(fd, flags) {
            break Err(error);
        }
    };
    parcel.close();
    sent
}

fn attempt(
    socket: &Socket,
    fd: c_int,
    buffers: Iov,
    flags: c_int,
    parcel: &mut Parcel,
) -> Result<usize, Errno> {
    let boundary = &socket.boundary;
    let _turn = boundary.take(fd, socket.is_shared())?;
    let account = Account::of(fd)?;
    let (len, lacking) = (buffers.total, account.lacking as usize);
    if lacking > 0 && len > lacking {
        return Err(Errno(libc::EMSGSIZE));
    }
    let whole = if !account.begun && len < lacking {
        lacking as u64
    } else {
        0
    };
    let sent = if whole > 0 || len > PAIR_MESSAGE_MAX {
        parcel.pack(socket, fd, buffers, whole)?;
        parcel.send(fd, len, whole, flags)?
    } else {
        send_plain(fd, buffers, flags)?
    };
    if lacking > 0 {
        let rest = lacking - len;
        boundary.announced.store(rest > 0, Ordering::Relaxed);
        let account = Account {
            lacking: rest as u32,
            begun: true,
        };
        account.keep(fd)?;
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_a_number_of_the_kernels() {
        for (lacking, begun) in [(1, false), (1, true), (MAX_APDU as u32, true)] {
            let account = Account { lacking, begun };
            assert!(account.encode() >= 0);
            assert_eq!(Account::decode(account.encode()), account);
        }
        // What a new socket says, and what is kept when a message is whole.
        assert_eq!(Account::decode(-1), Account::default());
        let whole = Account {
            lacking: 0,
            begun: true,
        };
        assert_eq!(whole.encode(), -1);
    }
}
