//! Readiness and flow control at the application ends, and how sessions end.

use crate::app::{Net, PATIENCE, eventually, message, revents, send, try_send, wait, window};
use pgm_engine::driver::{Handle, Mode, Role, identify};
use pgm_engine::num::{Gsi, Sqn};
use pgm_engine::wire::{Body, Data, Options, Rst, Spm, Tpdu, Window};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn readiness_is_as_the_table_says() {
    let net = Net::new();
    let engine = net.engine();
    let listener = net.listener(&engine, Mode::Message);
    let sender = net.sender(&engine, Mode::Message);
    let both = libc::POLLIN | libc::POLLOUT;
    let now = |fd: &std::os::fd::OwnedFd| revents(fd.as_raw_fd(), both, Duration::ZERO);

    assert_eq!(now(&sender.app), libc::POLLOUT, "a sender is writable");
    assert_eq!(now(&listener.app), 0, "nothing to accept");
    sender.send(b"one");
    assert!(wait(listener.app.as_raw_fd(), libc::POLLIN, PATIENCE));
    assert_eq!(now(&listener.app), libc::POLLIN, "a session is waiting");
    let session = listener.accept();
    assert_eq!(now(&listener.app), 0);

    assert!(wait(session.app.as_raw_fd(), libc::POLLIN, PATIENCE));
    assert_eq!(now(&session.app), libc::POLLIN, "a message is waiting");
    assert_eq!(session.recv().expect("a message"), b"one");
    assert_eq!(now(&session.app), 0, "drained");
    let refused = try_send(session.app.as_raw_fd(), b"x").expect_err("receives only");
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);

    drop(sender);
    assert!(wait(session.app.as_raw_fd(), libc::POLLIN, PATIENCE));
    let events = both | libc::POLLRDHUP;
    let ended = revents(session.app.as_raw_fd(), events, Duration::ZERO);
    assert_eq!(
        ended,
        libc::POLLIN | libc::POLLRDHUP,
        "end of file, not an error"
    );
    for _ in 0..3 {
        assert_eq!(session.recv().expect("end of file"), b"");
    }
}

#[test]
fn sockets_tell_what_they_are() {
    let net = Net::new();
    let engine = net.engine();
    let listener = net.listener(&engine, Mode::Message);
    let sender = net.sender(&engine, Mode::Message);
    sender.send(b"one");
    let session = listener.accept();
    let unspecified = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
    let local = sender.info.local;
    for (fd, role, local, peer, handle) in [
        (&sender.app, Role::Sender, local, net.group, sender.info.id),
        (
            &listener.app,
            Role::Listener,
            net.group,
            unspecified,
            listener.handle,
        ),
        (
            &session.app,
            Role::Session,
            net.group,
            local,
            Handle(session.hello.handle),
        ),
    ] {
        let identity = identify(fd.as_raw_fd()).expect("ours");
        assert_eq!((identity.role, identity.mode), (role, Mode::Message));
        assert_eq!((identity.local, identity.peer), (local, peer));
        assert_eq!(
            (identity.handle, identity.pid),
            (handle, std::process::id())
        );
    }
}

#[test]
fn a_slow_reader_loses_nothing() {
    let mut net = Net::new();
    // Far below what the reader's pair and receive window hold together.
    net.defaults.send.window = window(200_000);
    let engine = net.engine();
    let listener = net.listener(&engine, Mode::Message);
    let sender = net.sender(&engine, Mode::Message);
    for i in 0..20_000 {
        sender.send(&message(i, 1000));
    }
    drop(sender);
    let session = listener.accept();
    let handle = Handle(session.hello.handle);
    eventually("the pair is full and the window fills", || {
        engine
            .session_stats(handle)
            .is_some_and(|s| s.packets_buffered > 1_000)
    });
    for i in 0..20_000 {
        assert!(
            session.recv().expect("a message") == message(i, 1000),
            "message {i}"
        );
    }
    assert_eq!(session.recv().expect("end of file"), b"");
}

#[test]
fn a_full_source_blocks_the_program_and_not_for_ever() {
    let mut net = Net::new();
    net.defaults.send.window = window(8_000);
    let engine = net.engine();
    let sender = net.sender(&engine, Mode::Message);
    let fd = sender.app.as_raw_fd();
    let began = Instant::now();
    let mut sent = 0_usize;
    let mut full = false;
    // 1 MB/s: what the pair and the source's queue hold, and then as fast as the rate.
    while began.elapsed() < Duration::from_secs(2) {
        match try_send(fd, &message(sent, 1000)) {
            Ok(_) => sent += 1,
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::WouldBlock);
                full = true;
                wait(fd, libc::POLLOUT, Duration::from_secs(1));
            }
        }
    }
    assert!(full, "{sent} messages and never full");
    assert!(engine.unsent(sender.info.id) > 100_000);
    let stats = engine.sender_stats(sender.info.id).expect("a sender");
    assert!(stats.data_bytes_sent > 1_000_000, "{stats:?}");
    assert!(
        sent < 6_000,
        "{sent} messages of 1000 octets at 1 MB/s in 2 s"
    );
}

#[test]
fn a_closed_session_is_forgotten_and_the_rest_goes_on() {
    let net = Net::new();
    let engine = net.engine();
    let listeners = [0, 1].map(|_| net.listener(&engine, Mode::Message));
    let sender = net.sender(&engine, Mode::Message);
    sender.send(b"one");
    let [first, second] = listeners.each_ref().map(|listener| listener.accept());
    drop(first);
    sender.send(b"two");
    assert_eq!(second.recv().expect("a message"), b"one");
    assert_eq!(second.recv().expect("a message"), b"two");
    assert!(
        listeners[0]
            .accept_within(Duration::from_millis(200))
            .is_none(),
        "not given again"
    );

    // A closed listener's sessions live on.
    drop(listeners);
    thread::sleep(Duration::from_millis(50));
    sender.send(b"three");
    assert_eq!(second.recv().expect("a message"), b"three");
}

#[test]
fn shutdown_of_a_session_reads_as_end_of_file() {
    let net = Net::new();
    let engine = net.engine();
    let listener = net.listener(&engine, Mode::Message);
    let sender = net.sender(&engine, Mode::Message);
    sender.send(b"one");
    for how in [libc::SHUT_RD, libc::SHUT_RDWR] {
        let session = listener.accept();
        assert_eq!(session.recv().expect("a message"), b"one");
        // SAFETY: no memory is involved.
        unsafe { libc::shutdown(session.app.as_raw_fd(), how) };
        assert_eq!(session.recv().expect("end of file"), b"");
        sender.send(b"two");
        thread::sleep(Duration::from_millis(100));
        assert_eq!(session.recv().expect("end of file"), b"", "how {how}");
        if how == libc::SHUT_RDWR {
            return;
        }
        // Another sender for another session.
        let again = net.sender(&engine, Mode::Message);
        again.send(b"one");
        drop(session);
        std::mem::forget(again);
    }
}

/// A source made by hand, to do what ours never does.
pub(crate) struct Forger {
    socket: socket2::Socket,
    to: SocketAddrV4,
    /// Makes it another source.
    pub(crate) sport: u16,
    dport: u16,
}

impl Forger {
    pub(crate) fn new(net: &Net) -> Self {
        let domain = socket2::Domain::IPV4;
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None).expect("socket");
        socket
            .set_multicast_if_v4(&Ipv4Addr::LOCALHOST)
            .expect("interface");
        socket
            .bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0).into())
            .expect("bind");
        let to = SocketAddrV4::new(*net.group.ip(), net.encap.multicast);
        Self {
            socket,
            to,
            sport: 4711,
            dport: net.group.port(),
        }
    }

    fn send(&self, body: Body, options: Options, payload: &[u8]) {
        let tpdu = Tpdu {
            sport: self.sport,
            dport: self.dport,
            gsi: Gsi([6; 6]),
            parity: false,
            var_pktlen: false,
            body,
            options,
            payload,
        };
        let mut octets = Vec::new();
        tpdu.emit(&mut octets);
        self.socket.send_to(&octets, &self.to.into()).expect("send");
    }

    pub(crate) fn spm(&self, sqn: u32, lead: u32, options: Options) {
        let window = Some(Window {
            trail: Sqn(1),
            lead: Sqn(lead),
        });
        let path = Ipv4Addr::LOCALHOST.into();
        self.send(
            Body::Spm(Spm {
                spm_sqn: Sqn(sqn),
                window,
                path,
            }),
            options,
            b"",
        );
    }

    pub(crate) fn odata(&self, sqn: u32, payload: &[u8]) {
        let data = Data {
            sqn: Sqn(sqn),
            trail: Sqn(1),
        };
        self.send(Body::Odata(data), Options::default(), payload);
    }
}

#[test]
fn a_reset_is_told_once_after_the_data() {
    let net = Net::new();
    let engine = net.engine();
    for mode in [Mode::Message, Mode::Stream] {
        let listener = net.listener(&engine, mode);
        let forger = Forger::new(&net);
        forger.spm(1, 0, Options::default());
        for sqn in 1..=3 {
            forger.odata(sqn, &message(sqn as usize, 100));
        }
        let rst = Some(Rst {
            no_naks: true,
            code: 7,
        });
        forger.spm(
            2,
            3,
            Options {
                rst,
                ..Options::default()
            },
        );
        let session = listener.accept();
        // The reset is known, but what was sent before comes first, however late it is read.
        thread::sleep(Duration::from_millis(300));
        assert_eq!(
            revents(session.app.as_raw_fd(), libc::POLLIN, Duration::ZERO),
            libc::POLLIN
        );
        let mut received = Vec::new();
        let error = loop {
            match session.recv() {
                Ok(octets) if octets.is_empty() => panic!("end of file before the error"),
                Ok(octets) => received.extend(octets),
                Err(e) => break e,
            }
            eventually("readable or reset", || session.is_ready(libc::POLLIN));
        };
        assert_eq!(
            received,
            (1..=3).flat_map(|i| message(i, 100)).collect::<Vec<_>>()
        );
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        for _ in 0..3 {
            assert_eq!(session.recv().expect("end of file"), b"");
        }
        let stats = engine.session_stats(Handle(session.hello.handle));
        assert_eq!(stats.expect("kept for a while").messages_received, 3);
        drop(listener);
        // The dead session's TSI rests with the listener it was of.
        eventually("the group is left", || {
            engine.session_stats(Handle(1)).is_none()
        });
    }
}

#[test]
fn sessions_wait_for_an_accept_that_comes_late() {
    let net = Net::new();
    let engine = net.engine();
    let listener = net.listener(&engine, Mode::Message);
    let senders: Vec<_> = (0..40)
        .map(|_| net.sender(&engine, Mode::Message))
        .collect();
    for (i, sender) in senders.iter().enumerate() {
        send(sender.app.as_raw_fd(), &message(i, 8)).expect("send");
    }
    thread::sleep(Duration::from_millis(300));
    let mut seen: Vec<_> = (0..senders.len())
        .map(|_| listener.accept().recv().expect("a message"))
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        (0..senders.len())
            .map(|i| message(i, 8))
            .collect::<Vec<_>>()
    );
}
