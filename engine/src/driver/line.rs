//! The line from the program's threads to the engine thread: it wakes the engine, and takes descriptors from the
//! program's table to the engine's. It is the one descriptor that the library always has in the program's table.

use super::private::{self, EngineFd, PrivateFd};
use super::unix;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// All that a wake-up says.
const WAKE: [u8; 1] = [b'w'];

/// Names a descriptor on its way.
pub(super) type Ticket = u64;

/// How long [`ProgramEnd::vacate`] waits for others to have used the old number.
const PATIENCE: Duration = Duration::from_secs(1);

/// The two ends; the engine's is still in the program's table.
pub(super) fn pair() -> io::Result<(ProgramEnd, PrivateFd)> {
    let (program, engine) = unix::socket_pair(libc::SOCK_SEQPACKET)?;
    let program = PrivateFd::from(program);
    let end = ProgramEnd {
        number: AtomicI32::new(program.into_raw_fd()),
        users: AtomicU32::new(0),
        last: AtomicU64::new(0),
    };
    Ok((end, PrivateFd::from(engine)))
}

/// The program's end. Its number changes when the program wants it. Lives as long as the process.
#[derive(Debug)]
pub(super) struct ProgramEnd {
    number: AtomicI32,
    /// Who may be using the number.
    users: AtomicU32,
    last: AtomicU64,
}

impl ProgramEnd {
    fn with<T>(&self, f: impl FnOnce(RawFd) -> T) -> T {
        // Before the number is read: who changes it waits for those who may have read the old one.
        self.users.fetch_add(1, Ordering::SeqCst);
        let result = f(self.number.load(Ordering::SeqCst));
        self.users.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Let the engine look for what there is to do. False: there is no engine. Async-signal-safe.
    pub(super) fn wake(&self) -> bool {
        match self.with(|fd| unix::send(fd, &WAKE)) {
            Ok(_) => true,
            // It has not even seen the last ones.
            Err(e) => e.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Send a duplicate of `fd` to the engine's table.
    ///
    /// # Errors
    /// `ETOOMANYREFS` too many descriptors of this user are on their way; `EPIPE` there is no engine.
    pub(super) fn pass(&self, fd: &impl AsFd) -> io::Result<Ticket> {
        let ticket = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (octets, passed) = (ticket.to_ne_bytes(), fd.as_fd().as_raw_fd());
        self.with(|line| {
            loop {
                match unix::send_with_fd(line, &octets, passed) {
                    Ok(_) => return Ok(ticket),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => unix::wait_writable(line),
                    Err(e) => return Err(e),
                }
            }
        })
    }

    /// Leave `number`, if that is where this is: the caller lets it name another file at once.
    ///
    /// # Errors
    /// `EMFILE`; `EBUSY` somebody is still using it.
    pub(super) fn vacate(&self, number: RawFd) -> io::Result<()> {
        if self.number.load(Ordering::SeqCst) != number {
            return Ok(());
        }
        let new = PrivateFd::elsewhere(number)?;
        self.number.store(new.into_raw_fd(), Ordering::SeqCst);
        let begun = Instant::now();
        while self.users.load(Ordering::SeqCst) != 0 {
            if begun.elapsed() > PATIENCE {
                return Err(io::Error::from_raw_os_error(libc::EBUSY));
            }
            thread::yield_now();
        }
        private::unregister(number);
        Ok(())
    }
}

/// The engine's end.
#[derive(Debug)]
pub(super) struct EngineEnd {
    fd: EngineFd,
    /// Nothing where the engine's table had no room.
    arrived: BTreeMap<Ticket, Option<EngineFd>>,
}

impl EngineEnd {
    pub(super) fn new(fd: EngineFd) -> Self {
        Self {
            fd,
            arrived: BTreeMap::new(),
        }
    }

    /// Receive all there is. False: the program's end is closed.
    pub(super) fn receive(&mut self) -> bool {
        let mut octets = [0; size_of::<Ticket>()];
        loop {
            match unix::receive_with_fd(self.fd.as_raw_fd(), &mut octets) {
                Ok((0, _)) => return false,
                Ok((len, fd)) if len == octets.len() => {
                    self.arrived.insert(Ticket::from_ne_bytes(octets), fd);
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    /// The descriptor with this ticket.
    ///
    /// # Errors
    /// `EMFILE` the engine has too many.
    pub(super) fn take(&mut self, ticket: Ticket) -> io::Result<EngineFd> {
        if !self.arrived.contains_key(&ticket) {
            // It was sent before it was asked for.
            self.receive();
        }
        let fd = self.arrived.remove(&ticket).flatten();
        fd.ok_or_else(|| io::Error::from_raw_os_error(libc::EMFILE))
    }
}

impl AsRawFd for EngineEnd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::{FromRawFd, OwnedFd};

    /// Both ends in this thread's table.
    pub(in crate::driver) fn ends() -> (ProgramEnd, EngineEnd) {
        let (program, engine) = pair().expect("a line");
        let copy = engine.as_fd().try_clone_to_owned().expect("a descriptor");
        (program, EngineEnd::new(EngineFd::from(copy)))
    }

    fn file() -> OwnedFd {
        File::open("/dev/null").expect("/dev/null").into()
    }

    #[test]
    fn descriptors_arrive_under_their_tickets() {
        let (program, mut engine) = ends();
        let (a, b) = (
            file(),
            unix::socket_pair(libc::SOCK_STREAM).expect("pair").0,
        );
        let first = program.pass(&a).expect("passed");
        assert!(program.wake());
        let second = program.pass(&b).expect("passed");
        let b = engine.take(second).expect("arrived");
        assert!(unix::local_name(b.as_raw_fd()).is_ok(), "a socket");
        let a = engine.take(first).expect("arrived");
        assert!(unix::local_name(a.as_raw_fd()).is_err(), "no socket");
        let again = engine.take(first).expect_err("once");
        assert_eq!(again.raw_os_error(), Some(libc::EMFILE));
        assert!(engine.receive());
    }

    #[test]
    fn waking_never_waits_and_tells_of_the_end() {
        let (program, mut engine) = ends();
        for _ in 0..10_000 {
            assert!(program.wake());
        }
        assert!(engine.receive());
        drop(engine);
        assert!(!program.wake());
    }

    #[test]
    fn it_leaves_a_number_that_the_program_wants() {
        let (program, mut engine) = ends();
        let number = program.number.load(Ordering::SeqCst);
        assert!(private::is_private_fd(number));
        program.vacate(number + 1).expect("another's");
        assert_eq!(program.number.load(Ordering::SeqCst), number);
        program.vacate(number).expect("vacated");
        let new = program.number.load(Ordering::SeqCst);
        assert!(new != number && private::is_private_fd(new) && !private::is_private_fd(number));
        // SAFETY: left open for the program, which would have something else there now.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
        let ticket = program.pass(&file()).expect("passed");
        assert!(engine.take(ticket).is_ok());
        program.users.store(1, Ordering::SeqCst);
        let busy = program.vacate(new).expect_err("in use");
        assert_eq!(busy.raw_os_error(), Some(libc::EBUSY));
    }
}
