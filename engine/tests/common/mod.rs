//! What the simulations share: messages that can be told apart, and a picture when a test fails.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use pgm_engine::num::{Gsi, Nla, Sqn, Tsi};
use pgm_engine::receiver::Read;
use pgm_engine::testnet::{Rx, SessionLog, TestNet};
use pgm_engine::wire::{Body, Options, Tpdu};
use std::net::Ipv4Addr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

pub const fn us(n: u64) -> Duration {
    Duration::from_micros(n)
}

pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A net that shows its last packets when the test fails, and with TESTNET_PCAP=directory leaves all
/// of them there as a capture named after the test. With TESTNET_FIRST_SQN=number sources begin there.
pub struct Sim(TestNet);

pub fn sim(net: TestNet) -> Sim {
    let net = net.first_sqn(first_sqn());
    let wanted = std::env::var_os("TESTNET_PCAP").is_some();
    Sim(if wanted { net.capturing() } else { net })
}

/// Where sources begin that are told nothing else.
#[allow(dead_code)]
pub fn first_sqn() -> Sqn {
    Sqn(std::env::var("TESTNET_FIRST_SQN").map_or(0, |n| n.parse().unwrap()))
}

impl Deref for Sim {
    type Target = TestNet;
    fn deref(&self) -> &TestNet {
        &self.0
    }
}

impl DerefMut for Sim {
    fn deref_mut(&mut self) -> &mut TestNet {
        &mut self.0
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        eprintln!("{}", self.0.diagram());
        if let Some(dir) = std::env::var_os("TESTNET_PCAP") {
            let test = std::thread::current()
                .name()
                .unwrap_or("test")
                .replace("::", "-");
            let file = std::path::Path::new(&dir).join(format!("{test}.pcapng"));
            eprintln!(
                "capture: {} ({:?})",
                file.display(),
                std::fs::write(&file, self.0.pcapng())
            );
        }
    }
}

/// The `index`th message of a series, `len` octets: no two are alike, nor are two parts of one.
pub fn message(series: u64, index: u64, len: usize) -> Vec<u8> {
    let mut text = format!("{series}:{index} ").into_bytes();
    let mut rng = fastrand::Rng::with_seed(series << 32 | index);
    while text.len() < len {
        text.extend(rng.u64(..).to_le_bytes());
    }
    text.truncate(len.max(1));
    text
}

/// `count` messages of `len` octets.
pub fn messages(series: u64, count: u64, len: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|index| message(series, index, len))
        .collect()
}

/// `count` messages of up to `max` octets.
pub fn mixed(series: u64, count: u64, max: usize) -> Vec<Vec<u8>> {
    let mut rng = fastrand::Rng::with_seed(series);
    (0..count)
        .map(|index| message(series, index, rng.usize(8..=max)))
        .collect()
}

/// Where two series part, for people.
pub fn difference(got: &[impl AsRef<[u8]>], expected: &[impl AsRef<[u8]>]) -> Option<String> {
    let same = got
        .iter()
        .zip(expected)
        .take_while(|(g, e)| g.as_ref() == e.as_ref())
        .count();
    if same == got.len() && same == expected.len() {
        return None;
    }
    let show = |m: Option<&[u8]>| {
        m.map(|m| {
            let head = String::from_utf8_lossy(&m[..m.len().min(12)]).into_owned();
            format!("{head:?} ({} octets)", m.len())
        })
    };
    Some(format!(
        "{} of {} messages, alike up to {same}; got {:?}, expected {:?}",
        got.len(),
        expected.len(),
        show(got.get(same).map(AsRef::as_ref)),
        show(expected.get(same).map(AsRef::as_ref)),
    ))
}

/// The one session of `rx`.
pub fn only_session(net: &TestNet, rx: Rx) -> &SessionLog {
    let mut sessions = net.sessions(rx);
    let session = sessions.next().expect("no session");
    assert_eq!(sessions.count(), 0, "more than one session");
    session
}

/// `rx` had one session with exactly these messages, and it was not reset.
#[track_caller]
pub fn assert_all(net: &TestNet, rx: Rx, expected: &[Vec<u8>]) {
    let session = only_session(net, rx);
    let stats = |rx: Rx| format!("{rx:?}: {:?}", session.end);
    if let Some(difference) = difference(&session.apdus, expected) {
        panic!("{} {difference}", stats(rx));
    }
    assert!(
        !matches!(session.end, Some(Read::Reset(_))),
        "{:?}",
        session.end
    );
}

/// As `assert_all`, and the session ended in order.
#[track_caller]
pub fn assert_all_and_fin(net: &TestNet, rx: Rx, expected: &[Vec<u8>]) {
    assert_all(net, rx, expected);
    assert_eq!(only_session(net, rx).end, Some(Read::Fin), "{rx:?}");
}

/// A TSI for packets made by hand.
pub fn tsi(n: u32) -> Tsi {
    let [a, b, c, d] = n.to_be_bytes();
    Tsi {
        gsi: Gsi([0xbb, 0xbb, a, b, c, d]),
        sport: 4000,
    }
}

/// A packet made by hand; `data_port` is the session port whatever the direction.
pub fn packet(tsi: Tsi, data_port: u16, body: Body, options: Options, payload: &[u8]) -> Vec<u8> {
    let (sport, dport) = if body.is_upstream() {
        (data_port, tsi.sport)
    } else {
        (tsi.sport, data_port)
    };
    let gsi = tsi.gsi;
    let tpdu = Tpdu {
        sport,
        dport,
        gsi,
        parity: false,
        var_pktlen: false,
        body,
        options,
        payload,
    };
    let mut bytes = Vec::new();
    tpdu.emit(&mut bytes);
    bytes
}

pub fn nla(a: u8, b: u8) -> (Ipv4Addr, Nla) {
    let addr = Ipv4Addr::new(10, 9, a, b);
    (addr, Nla::V4(addr))
}

/// `text` is what tests/snapshots/`name` says, to the letter; with UPDATE=1 it is written there.
#[track_caller]
pub fn assert_snapshot(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/snapshots")
        .join(name);
    if std::env::var_os("UPDATE").is_some_and(|update| update == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        return std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let rows = kept.lines().map(Some).chain(std::iter::repeat(None));
    for (now, kept) in text.lines().zip(rows) {
        assert_eq!(
            Some(now),
            kept,
            "{}: if it is meant to be so, run the test with UPDATE=1",
            path.display()
        );
    }
    assert_eq!(
        text.lines().count(),
        kept.lines().count(),
        "{}",
        path.display()
    );
}

/// All of `work` done on two threads, results in its order.
pub fn in_parallel<T: Sync, R: Send>(work: &[T], run: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let done = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
                    && let Some(item) = work.get(index)
                {
                    let result = run(item);
                    done.lock().unwrap().push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
