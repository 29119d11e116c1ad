//! The end of the process: what was sent must still arrive (design D5).

use crate::app::{Net, PATIENCE, message, window};
use pgm_engine::driver::{Mode, Occasion};
use std::time::{Duration, Instant};

#[test]
fn the_end_waits_for_everything_queued_though_the_socket_is_open() {
    let mut net = Net::new();
    net.defaults.send.window = window(20_000);
    net.defaults.fault_loss = 0.05;
    let engine = net.engine();
    let listener = net.listener(&engine, Mode::Message);
    let sender = net.sender(&engine, Mode::Message);
    for i in 0..1_000 {
        sender.send(&message(i, 1000));
    }
    let began = Instant::now();
    engine.leave(Occasion::Exit, PATIENCE);
    assert!(
        began.elapsed() > Duration::from_millis(200),
        "a megabyte at 20 Mbit/s"
    );
    assert!(began.elapsed() < PATIENCE);
    let session = listener.accept();
    for i in 0..1_000 {
        assert!(
            session.recv().expect("a message") == message(i, 1000),
            "message {i}"
        );
    }
    assert_eq!(session.recv().expect("end of file"), b"");

    let began = Instant::now();
    engine.leave(Occasion::Exit, PATIENCE);
    assert!(began.elapsed() < Duration::from_millis(200), "nothing left");
    drop(sender);
}

#[test]
fn the_end_gives_up_at_its_limit_and_does_not_wait_again() {
    let mut net = Net::new();
    net.defaults.send.window = window(100);
    let engine = net.engine();
    let sender = net.sender(&engine, Mode::Message);
    for i in 0..200 {
        sender.send(&message(i, 1000));
    }
    let began = Instant::now();
    engine.leave(Occasion::Exit, Duration::from_millis(300));
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(290) && took < Duration::from_secs(5),
        "{took:?}"
    );
    let began = Instant::now();
    engine.leave(Occasion::Exit, PATIENCE);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_end_without_senders_is_quick() {
    let net = Net::new();
    let engine = net.engine();
    let _listener = net.listener(&engine, Mode::Message);
    let began = Instant::now();
    engine.leave(Occasion::Exit, PATIENCE);
    assert!(began.elapsed() < Duration::from_secs(5));
}
