//! Messages from application end to application end.

use crate::app::{Net, message, window};
use pgm_engine::driver::{Mode, Occasion};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::thread;

/// Send messages of these lengths and close; all must arrive, in order, and then end-of-file.
fn transfer(net: &Net, lengths: impl Iterator<Item = usize> + Clone + Send) {
    let engine = net.engine();
    let listener = net.listener(&engine, Mode::Message);
    let sender = net.sender(&engine, Mode::Message);
    let sent = lengths.clone();
    thread::scope(|scope| {
        scope.spawn(move || {
            for (i, len) in sent.enumerate() {
                sender.send(&message(i, len));
            }
        });
        let session = listener.accept();
        for (i, len) in lengths.enumerate() {
            let received = session.recv().expect("a message");
            assert!(received == message(i, len), "message {i} of {len} octets");
        }
        assert_eq!(session.recv().expect("end of file"), b"");
    });
}

#[test]
fn ten_thousand_messages_arrive_in_order() {
    transfer(&Net::new(), (0..10_000).map(|i| 1 + i * 37 % 1400));
}

#[test]
fn a_message_of_16_mib_arrives_whole() {
    let mut net = Net::new();
    net.defaults.send.window = window(400_000);
    transfer(
        &net,
        [10, 16 << 20, 10, 200_000, 131_072, 131_073].into_iter(),
    );
}

#[test]
fn ten_percent_loss_is_repaired() {
    let mut net = Net::new();
    net.defaults.fault_loss = 0.1;
    net.defaults.fault_seed = 7;
    transfer(&net, (0..3_000).map(|i| 1 + i * 37 % 1400));
}

#[test]
fn a_stream_is_the_octets_in_order() {
    let net = Net::new();
    let engine = net.engine();
    let listener = net.listener(&engine, Mode::Stream);
    let sender = net.sender(&engine, Mode::Stream);
    let sent: Vec<u8> = (0..3_000)
        .flat_map(|i| message(i, 1 + i * 37 % 1400))
        .collect();
    let octets = sent.clone();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut rest = octets.as_slice();
            while !rest.is_empty() {
                let some = rest.len().min(100_000);
                let n = crate::app::send(sender.app.as_raw_fd(), &rest[..some]).expect("send");
                rest = &rest[n..];
            }
        });
        let received = listener.accept().read_to_end().concat();
        assert!(
            received == sent,
            "{} of {} octets",
            received.len(),
            sent.len()
        );
    });
}

#[test]
fn two_senders_and_two_listeners_share_an_engine() {
    let net = Net::new();
    let engine = net.engine();
    let listeners = [0, 1].map(|_| net.listener(&engine, Mode::Message));
    let senders = [0, 1].map(|_| net.sender(&engine, Mode::Message));
    for i in 0..500 {
        for (s, sender) in senders.iter().enumerate() {
            sender.send(&message(i, 100 + s));
        }
    }
    let ports = senders.each_ref().map(|sender| sender.info.local.port());
    assert_ne!(ports[0], ports[1]);
    drop(senders);
    for listener in &listeners {
        let mut seen = Vec::new();
        for _ in 0..2 {
            let session = listener.accept();
            assert_eq!(session.hello.peer_addr, [127, 0, 0, 1]);
            let s = ports
                .iter()
                .position(|p| *p == session.hello.peer_port)
                .expect("a sender");
            let expected: Vec<_> = (0..500).map(|i| message(i, 100 + s)).collect();
            assert!(session.read_to_end() == expected);
            seen.push(s);
        }
        seen.sort_unstable();
        assert_eq!(seen, [0, 1], "one session of each sender");
    }
}

#[test]
fn two_engines_meet() {
    let net = Net::new();
    let (here, there) = (net.engine(), net.engine());
    let listener = net.listener(&there, Mode::Message);
    let sender = net.sender(&here, Mode::Message);
    sender.send(b"hello");
    let session = listener.accept();
    assert_eq!(session.recv().expect("a message"), b"hello");
    drop(sender);
    assert_eq!(session.recv().expect("end of file"), b"");
}

#[test]
fn counters_are_there_as_long_as_the_sockets() {
    let net = Net::new();
    let engine = net.engine();
    let listener = net.listener(&engine, Mode::Message);
    let sender = net.sender(&engine, Mode::Message);
    for i in 0..10 {
        sender.send(&message(i, 1000));
    }
    let session = listener.accept();
    let handle = pgm_engine::driver::Handle(session.hello.handle);
    for _ in 0..10 {
        session.recv().expect("a message");
    }
    let sent = engine.sender_stats(sender.info.id).expect("a sender");
    assert_eq!((sent.messages_sent, sent.data_bytes_sent), (10, 10_000));
    assert_eq!(engine.unsent(sender.info.id), 0);

    let id = sender.info.id;
    drop(sender);
    assert_eq!(session.recv().expect("end of file"), b"");
    let received = engine
        .session_stats(handle)
        .expect("a session, also after its end");
    assert_eq!(
        (received.messages_received, received.data_bytes_received),
        (10, 10_000)
    );
    engine.leave(Occasion::Exit, crate::app::PATIENCE);
    let sent = engine.sender_stats(id).expect("kept for a while");
    assert_eq!(sent.data_bytes_sent, 10_000);

    assert!(engine.sender_stats(handle).is_none(), "not a sender");
    assert!(engine.session_stats(id).is_none(), "not a session");
    assert!(
        engine
            .session_stats(pgm_engine::driver::Handle(u64::MAX))
            .is_none()
    );
}

#[test]
fn impossible_interfaces_are_refused() {
    let net = Net::new();
    let engine = net.engine();
    let nowhere = "192.0.2.77".parse().expect("an address");
    let refused = engine
        .check(net.carriage, *net.group.ip(), &[nowhere])
        .expect_err("not ours");
    assert_eq!(refused.kind(), ErrorKind::AddrNotAvailable);
    engine
        .check(
            net.carriage,
            *net.group.ip(),
            &net.defaults.listen.interfaces,
        )
        .expect("loopback");

    let (_app, end) =
        pgm_engine::driver::make_pair(Mode::Message, false, pgm_engine::driver::Role::Fresh)
            .expect("pair");
    let mut options = net.defaults.send.clone();
    options.interface = Some(nowhere);
    let refused = engine
        .connect(net.carriage, Mode::Message, net.group, options, &end)
        .expect_err("not ours");
    assert_eq!(refused.raw_os_error(), Some(libc::EADDRNOTAVAIL));
}
