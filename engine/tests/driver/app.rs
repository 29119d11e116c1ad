//! The program's side: what the shim does with application ends, and a group nobody else uses.

use pgm_engine::driver::config::{
    Defaults, Linger, ListenOptions, SendOptions, SendWindow, UdpEncap,
};
use pgm_engine::driver::{
    BigMessage, Carriage, Engine, Handle, Mode, Role, SenderInfo, SessionHello, make_pair, park,
};
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Longer than anything here may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A group and ports of this test alone: other tests, and other runs, use the host at the same time.
pub(crate) struct Net {
    pub(crate) carriage: Carriage,
    pub(crate) encap: UdpEncap,
    pub(crate) group: SocketAddrV4,
    pub(crate) defaults: Defaults,
}

impl Net {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let group = Ipv4Addr::new(239, 64 + (serial % 64) as u8, high, low);
        let unicast = 20_000 + (std::process::id() as u16 % 3_000) * 4 + serial % 2 * 2;
        let encap = UdpEncap {
            unicast,
            multicast: unicast + 1,
        };
        let mut defaults = Defaults::default();
        defaults.send.interface = Some(Ipv4Addr::LOCALHOST);
        defaults.listen.interfaces = vec![Ipv4Addr::LOCALHOST];
        // No test's process is to be outlived.
        defaults.send.linger = Linger::Block;
        defaults.send.linger_quiet = Duration::from_millis(300);
        Self {
            carriage: Carriage::Udp(encap),
            encap,
            group: SocketAddrV4::new(group, 7500 + serial),
            defaults,
        }
    }

    pub(crate) fn engine(&self) -> Engine {
        Engine::start_with(self.defaults.clone()).expect("engine")
    }

    pub(crate) fn sender(&self, engine: &Engine, mode: Mode) -> Sender {
        self.sender_with(engine, mode, self.defaults.send.clone())
    }

    pub(crate) fn sender_with(&self, engine: &Engine, mode: Mode, options: SendOptions) -> Sender {
        let (app, end) = make_pair(mode, false, Role::Fresh).expect("pair");
        let info = engine
            .connect(self.carriage, mode, self.group, options, &end)
            .expect("connect");
        Sender { app, info }
    }

    pub(crate) fn listener(&self, engine: &Engine, mode: Mode) -> Listener {
        self.listener_with(engine, mode, self.defaults.listen.clone())
    }

    pub(crate) fn listener_with(
        &self,
        engine: &Engine,
        mode: Mode,
        options: ListenOptions,
    ) -> Listener {
        let (app, end) = make_pair(mode, false, Role::Fresh).expect("pair");
        park(app.as_raw_fd()).expect("park");
        let handle = engine
            .listen(self.carriage, mode, self.group, options, &end)
            .expect("listen");
        Listener { app, handle }
    }
}

/// A window for this rate.
pub(crate) fn window(kbits: u32) -> SendWindow {
    SendWindow::LAN
        .with(Some(kbits), Some(32 << 20), None)
        .expect("a window")
}

pub(crate) struct Sender {
    pub(crate) app: OwnedFd,
    pub(crate) info: SenderInfo,
}

impl Sender {
    /// `send`, as the shim does it.
    pub(crate) fn send(&self, message: &[u8]) {
        if message.len() > pgm_engine::driver::PAIR_MESSAGE_MAX {
            self.send_long(message);
        } else {
            assert_eq!(
                send(self.app.as_raw_fd(), message).expect("send"),
                message.len()
            );
        }
    }

    fn send_long(&self, message: &[u8]) {
        // SAFETY: a NUL-terminated name.
        let fd = unsafe { libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(fd >= 0);
        // SAFETY: just created.
        let file = unsafe { File::from_raw_fd(fd) };
        file.write_all_at(message, 0).expect("write");
        let big = BigMessage::new(message.len());
        send_fd(self.app.as_raw_fd(), &big.to_bytes(), file.as_raw_fd());
    }
}

pub(crate) struct Listener {
    pub(crate) app: OwnedFd,
    pub(crate) handle: Handle,
}

pub(crate) struct Session {
    pub(crate) app: OwnedFd,
    pub(crate) hello: SessionHello,
}

impl Listener {
    /// `accept`, as the shim does it.
    pub(crate) fn accept(&self) -> Session {
        self.accept_within(PATIENCE).expect("a session")
    }

    pub(crate) fn accept_within(&self, patience: Duration) -> Option<Session> {
        if !wait(self.app.as_raw_fd(), libc::POLLIN, patience) {
            return None;
        }
        let mut octets = [0; 64];
        let (n, fd) = receive(self.app.as_raw_fd(), &mut octets).expect("accept");
        let hello = SessionHello::from_bytes(&octets[..n]).expect("a hello");
        Some(Session {
            app: fd.expect("an application end"),
            hello,
        })
    }
}

impl Session {
    /// `recv` with room for everything, as the shim does it.
    pub(crate) fn recv(&self) -> io::Result<Vec<u8>> {
        assert!(
            wait(self.app.as_raw_fd(), libc::POLLIN, PATIENCE),
            "nothing to receive"
        );
        let mut octets = vec![0; 256 << 10];
        let (n, file) = receive(self.app.as_raw_fd(), &mut octets)?;
        octets.truncate(n);
        if let Some(file) = file {
            let big = BigMessage::from_bytes(&octets).expect("a long message");
            octets = vec![0; big.len as usize];
            File::from(file)
                .read_exact_at(&mut octets, 0)
                .expect("read");
        }
        Ok(octets)
    }

    pub(crate) fn is_ready(&self, events: libc::c_short) -> bool {
        wait(self.app.as_raw_fd(), events, Duration::ZERO)
    }

    /// Everything until end-of-file.
    pub(crate) fn read_to_end(&self) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        loop {
            let message = self.recv().expect("no error");
            if message.is_empty() {
                return messages;
            }
            messages.push(message);
        }
    }
}

/// `len` octets that differ from message to message.
pub(crate) fn message(number: usize, len: usize) -> Vec<u8> {
    let mut message: Vec<u8> = (0..len).map(|i| (i * 7 + number * 13) as u8).collect();
    let digits = number.to_be_bytes();
    let n = len.min(digits.len());
    message[..n].copy_from_slice(&digits[digits.len() - n..]);
    message
}

/// Wait for one of `events`, HUP and ERR aside.
pub(crate) fn wait(fd: RawFd, events: libc::c_short, patience: Duration) -> bool {
    revents(fd, events, patience) & events != 0
}

pub(crate) fn revents(fd: RawFd, events: libc::c_short, patience: Duration) -> libc::c_short {
    let mut poll = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one pollfd.
    unsafe { libc::poll(&raw mut poll, 1, patience.as_millis() as libc::c_int) };
    poll.revents
}

pub(crate) fn send(fd: RawFd, octets: &[u8]) -> io::Result<usize> {
    // SAFETY: `octets` is readable.
    let n = unsafe { libc::send(fd, octets.as_ptr().cast(), octets.len(), libc::MSG_NOSIGNAL) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

pub(crate) fn try_send(fd: RawFd, octets: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: `octets` is readable.
    let n = unsafe { libc::send(fd, octets.as_ptr().cast(), octets.len(), flags) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

fn send_fd(fd: RawFd, octets: &[u8], passed: RawFd) {
    let mut control = [0_u64; 3];
    let mut vector = libc::iovec {
        iov_base: octets.as_ptr().cast_mut().cast(),
        iov_len: octets.len(),
    };
    // SAFETY: zero is valid for all fields; the control buffer has room for one descriptor.
    let n = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        let cmsg = libc::CMSG_FIRSTHDR(&raw const header);
        (*cmsg).cmsg_level = libc::SOL_SOCKET;
        (*cmsg).cmsg_type = libc::SCM_RIGHTS;
        (*cmsg).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(cmsg)
            .cast::<RawFd>()
            .write_unaligned(passed);
        libc::sendmsg(fd, &raw const header, libc::MSG_NOSIGNAL)
    };
    assert_eq!(n, octets.len() as isize);
}

fn receive(fd: RawFd, octets: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut control = [0_u64; 3];
    let mut vector = libc::iovec {
        iov_base: octets.as_mut_ptr().cast(),
        iov_len: octets.len(),
    };
    // SAFETY: zero is valid for all fields; the buffers outlive the call; a received descriptor is ours.
    unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        let n = libc::recvmsg(
            fd,
            &raw mut header,
            libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT,
        );
        let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
        let cmsg = libc::CMSG_FIRSTHDR(&raw const header);
        let passed = (!cmsg.is_null())
            .then(|| OwnedFd::from_raw_fd(libc::CMSG_DATA(cmsg).cast::<RawFd>().read_unaligned()));
        Ok((n, passed))
    }
}

/// Until `done` says so, or patience ends.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
