//! What the program must not notice: descriptors, threads, forks.

use crate::app::{Net, eventually, message, window};
use crate::flow::Forger;
use pgm_engine::driver::{
    Handle, Mode, Occasion, Role, for_each_private_fd, forget_in_child, is_private_fd, make_pair,
};
use pgm_engine::wire::Options;
use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The numbers in a descriptor table.
fn numbers(table: impl AsRef<Path>) -> BTreeSet<RawFd> {
    let dir = std::fs::read_dir(table).expect("/proc");
    dir.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Descriptors of this process.
fn open_fds() -> BTreeSet<RawFd> {
    let mut found = numbers("/proc/self/fd");
    // The listing's own is gone by now.
    // SAFETY: no memory is involved.
    found.retain(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } != -1);
    found
}

/// How many descriptors all engine threads have.
fn engine_fds() -> usize {
    engine_threads()
        .map(|task| numbers(task.join("fd")).len())
        .sum()
}

/// Directories of this process's engine threads.
fn engine_threads() -> impl Iterator<Item = PathBuf> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc");
    tasks
        .map(|task| task.expect("a thread").path())
        .filter(|path| {
            std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "pgmshim")
        })
}

fn is_cloexec(fd: RawFd) -> bool {
    // SAFETY: no memory is involved.
    unsafe { libc::fcntl(fd, libc::F_GETFD) & libc::FD_CLOEXEC != 0 }
}

#[test]
fn the_program_has_one_descriptor_of_the_engine() {
    let before = open_fds();
    let net = Net::new();
    let engine = net.engine();
    let line: Vec<_> = open_fds().difference(&before).copied().collect();
    let listener = net.listener(&engine, Mode::Message);
    let sender = net.sender(&engine, Mode::Message);
    sender.send(b"one");
    let session = listener.accept();
    let program = [&listener.app, &sender.app, &session.app].map(|fd| fd.as_raw_fd());
    let mut expected = before;
    expected.extend(program.iter().chain(&line));
    assert_eq!(open_fds(), expected);
    let [line] = line[..] else {
        panic!("not one descriptor: {line:?}")
    };
    assert!(line > 100, "descriptor {line} is in the program's way");
    assert!(is_private_fd(line) && is_cloexec(line));
    assert!(program.iter().all(|fd| !is_private_fd(*fd)));
    let fresh = make_pair(Mode::Message, false, Role::Fresh)
        .expect("pair")
        .1;
    assert!(is_private_fd(fresh.as_raw_fd()) && is_cloexec(fresh.as_raw_fd()));
    // epoll, three streams, line, two UDP sockets, the source's, three engine ends.
    assert!(engine_fds() >= 10, "{}", engine_fds());
}

#[test]
fn what_the_program_closes_is_closed() {
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    let engine = Net::new().engine();
    assert!(engine.is_here());
    drop(writer);
    let mut octets = [0; 1];
    assert_eq!(
        std::io::Read::read(&mut reader, &mut octets).expect("the end"),
        0
    );
}

#[test]
fn the_engine_leaves_a_number_that_the_program_wants() {
    let net = Net::new();
    let engine = net.engine();
    let listener = net.listener(&engine, Mode::Message);
    let sender = net.sender(&engine, Mode::Message);
    let null = std::fs::File::open("/dev/null").expect("/dev/null");
    for _ in 0..3 {
        let mut line = None;
        for_each_private_fd(|fd| line = Some(fd));
        let line = line.expect("a line");
        engine.vacate(line).expect("another number");
        // SAFETY: no memory is involved, and the number is free for this.
        assert_eq!(unsafe { libc::dup2(null.as_raw_fd(), line) }, line);
        assert!(!is_private_fd(line));
        let another = net.sender(&engine, Mode::Message);
        assert!(engine.sender_stats(another.info.id).is_some());
    }
    sender.send(b"one");
    assert_eq!(listener.accept().recv().expect("a message"), b"one");
}

#[test]
fn an_engine_whose_line_is_cut_goes_on() {
    if !alone("hygiene::an_engine_whose_line_is_cut_goes_on", 1024) {
        return;
    }
    let net = Net::new();
    let engine = net.engine();
    let listener = net.listener(&engine, Mode::Message);
    let sender = net.sender(&engine, Mode::Message);
    for_each_private_fd(|fd| {
        // SAFETY: behind the engine's back, which is what this is about; nothing here has the number.
        unsafe { libc::close(fd) };
    });
    assert!(
        engine.sender_stats(sender.info.id).is_none(),
        "nobody can ask it"
    );
    sender.send(b"one");
    assert_eq!(listener.accept().recv().expect("a message"), b"one");
    let begun = std::time::Instant::now();
    engine.leave(Occasion::Exec, Duration::from_secs(20));
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "it sees who leaves"
    );
}

#[test]
fn sockets_leave_nothing_behind() {
    let net = Net::new();
    let engine = net.engine();
    let (idle, program) = (engine_fds(), open_fds());
    for _ in 0..3 {
        let listener = net.listener(&engine, Mode::Message);
        let sender = net.sender(&engine, Mode::Message);
        sender.send(b"one");
        let session = listener.accept();
        assert!(engine_fds() > idle);
        drop((sender, session, listener));
        eventually("everything is closed, ports included", || {
            engine_fds() <= idle
        });
        assert_eq!(open_fds(), program);
    }
}

#[test]
fn twenty_engines_start() {
    let net = Net::new();
    let engines: Vec<_> = (0..20).map(|_| net.engine()).collect();
    let listener = net.listener(&engines[0], Mode::Message);
    let sender = net.sender(&engines[19], Mode::Message);
    sender.send(b"one");
    assert_eq!(listener.accept().recv().expect("a message"), b"one");
}

#[test]
fn the_thread_has_a_name_and_no_signals() {
    let engine = Net::new().engine();
    // An answer: the thread has come to its loop.
    assert!(engine.sender_stats(Handle(1)).is_none());
    let mut found = 0;
    for task in std::fs::read_dir("/proc/self/task").expect("/proc") {
        let path = task.expect("a thread").path();
        let read = |name| std::fs::read_to_string(path.join(name)).unwrap_or_default();
        if read("comm").trim() != "pgmshim" {
            continue;
        }
        found += 1;
        let status = read("status");
        let blocked = status
            .lines()
            .find_map(|l| l.strip_prefix("SigBlk:"))
            .expect("a mask");
        let blocked = u64::from_str_radix(blocked.trim(), 16).expect("hexadecimal");
        for signal in [
            libc::SIGHUP,
            libc::SIGINT,
            libc::SIGTERM,
            libc::SIGCHLD,
            libc::SIGUSR1,
        ] {
            assert_ne!(blocked & 1 << (signal - 1), 0, "signal {signal}");
        }
    }
    assert!(found > 0);
}

#[test]
fn the_child_of_a_fork_forgets_the_engine() {
    let net = Net::new();
    let engine = net.engine();
    let listener = net.listener(&engine, Mode::Message);
    let sender = net.sender(&engine, Mode::Message);
    let mut fds = Vec::new();
    for_each_private_fd(|fd| fds.push(fd));
    assert!(!fds.is_empty());
    // SAFETY: the child calls nothing but async-signal-safe functions.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        forget_in_child();
        let mut wrong = engine.is_here();
        for fd in &fds {
            // SAFETY: no memory is involved.
            wrong |= is_private_fd(*fd) || unsafe { libc::fcntl(*fd, libc::F_GETFD) } != -1;
        }
        // The program's own ends are still there.
        // SAFETY: no memory is involved.
        wrong |= unsafe { libc::fcntl(sender.app.as_raw_fd(), libc::F_GETFD) } == -1;
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(wrong)) };
    }
    let mut status = 0;
    // SAFETY: `status` is writable; the child is ours.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0, "the child found something left");
    // The parent goes on.
    assert!(engine.is_here());
    sender.send(b"one");
    assert_eq!(listener.accept().recv().expect("a message"), b"one");
}

/// Run this test in a process of its own, with a limit on descriptors. True: this is that process.
fn alone(test: &str, descriptors: u64) -> bool {
    const VARIABLE: &str = "PGM_TEST_ALONE";
    if std::env::var_os(VARIABLE).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, "1");
    let limit = libc::rlimit {
        rlim_cur: descriptors,
        rlim_max: descriptors,
    };
    // SAFETY: setrlimit is async-signal-safe.
    unsafe {
        command.pre_exec(
            move || match libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            },
        );
    }
    let output = command.output().expect("a process");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    false
}

#[test]
fn few_descriptors_are_enough() {
    if !alone("hygiene::few_descriptors_are_enough", 16) {
        return;
    }
    let net = Net::new();
    let engine = net.engine();
    let listener = net.listener(&engine, Mode::Message);
    let sender = net.sender(&engine, Mode::Message);
    let mut taken = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
    }
    assert!(taken.len() > 5, "{}", taken.len());
    sender.send(b"one");
    taken.pop();
    let session = listener.accept();
    assert_eq!(session.recv().expect("a message"), b"one");
}

#[test]
fn sessions_nobody_accepts_take_few_descriptors() {
    if !alone("hygiene::sessions_nobody_accepts_take_few_descriptors", 400) {
        return;
    }
    let net = Net::new();
    let engine = net.engine();
    let listener = net.listener(&engine, Mode::Message);
    let mut forger = Forger::new(&net);
    let sessions = 1000;
    for n in 1..=sessions {
        forger.sport = n;
        forger.spm(1, 0, Options::default());
        forger.odata(1, &n.to_be_bytes());
        // Not more at once than a receive buffer holds.
        std::thread::sleep(Duration::from_micros(500));
    }
    let files: Result<Vec<_>, _> = (0..200).map(|_| std::fs::File::open("/dev/null")).collect();
    drop(files.expect("descriptors are left for the program"));
    let before = engine_effort();
    std::thread::sleep(Duration::from_secs(1));
    let effort = engine_effort().0 - before.0;
    assert!(
        effort <= Duration::from_millis(200),
        "{effort:?} of a second"
    );
    // Accepted in their order, as far as nothing was lost on the way.
    let mut last = 0;
    for _ in 0..900 {
        let session = listener.accept();
        let octets = session.recv().expect("a message");
        let n = u16::from_be_bytes(octets.try_into().expect("two octets"));
        assert!(n > last, "{n} after {last}");
        last = n;
    }
}

/// Processor time of all engine threads so far, and how often they slept.
fn engine_effort() -> (Duration, u64) {
    let (mut ticks, mut sleeps) = (0, 0);
    for task in std::fs::read_dir("/proc/self/task").expect("/proc") {
        let path = task.expect("a thread").path();
        let read = |name| std::fs::read_to_string(path.join(name)).unwrap_or_default();
        if read("comm").trim() != "pgmshim" {
            continue;
        }
        // After the name in parentheses, utime and stime are the 12th and 13th fields.
        let stat = read("stat");
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
        ticks += fields[11].parse::<u64>().expect("a number")
            + fields[12].parse::<u64>().expect("a number");
        let status = read("status");
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
        sleeps += line
            .expect("a count")
            .trim()
            .parse::<u64>()
            .expect("a number");
    }
    (Duration::from_millis(ticks * 10), sleeps)
}

#[test]
fn nothing_spins_while_everybody_waits() {
    if !alone("hygiene::nothing_spins_while_everybody_waits", 1024) {
        return;
    }
    // A sender that closed with more queued than its source takes.
    let mut slow = Net::new();
    slow.defaults.send.window = window(100);
    let engine = slow.engine();
    let closed = slow.sender(&engine, Mode::Message);
    for i in 0..500 {
        closed.send(&message(i, 1000));
    }
    drop(closed);
    // A program that does not read, and one that accepts nothing.
    let mut fast = Net::new();
    fast.defaults.send.window = window(200_000);
    let listeners = [0, 1].map(|_| fast.listener(&engine, Mode::Message));
    let sender = fast.sender(&engine, Mode::Message);
    for i in 0..5_000 {
        sender.send(&message(i, 1000));
    }
    // One that shut its writing side down and stays.
    let shut = fast.sender(&engine, Mode::Message);
    shut.send(b"one");
    // SAFETY: no memory is involved.
    unsafe { libc::shutdown(shut.app.as_raw_fd(), libc::SHUT_WR) };
    let session = listeners[0].accept();
    eventually("all is sent", || engine.unsent(sender.info.id) == 0);
    std::thread::sleep(Duration::from_millis(500));

    let before = engine_effort();
    std::thread::sleep(Duration::from_secs(1));
    let after = engine_effort();
    let (time, sleeps) = (after.0 - before.0, after.1 - before.1);
    assert!(
        time <= Duration::from_millis(150),
        "{time:?} of a second, {sleeps} sleeps"
    );
    assert!(sleeps < 500, "{sleeps} sleeps in a second");
    drop(session);
}
