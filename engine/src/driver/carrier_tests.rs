//! Carriers on loopback, with real sockets.

use super::super::config::ListenOptions;
use super::*;
use crate::endpoint::SessionId;
use crate::num::Gsi;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const LO: Ipv4Addr = Ipv4Addr::LOCALHOST;
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 192, 7, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(239, 192, 7, 2);
const DPORT: u16 = 7500;

/// Packet types used here.
const ODATA: u8 = 0x4;
const NAK: u8 = 0x8;
const SPMR: u8 = 0xc;

/// Two ports of this call alone, below those the kernel hands out. (A port found free by binding it is not
/// free while the child of another test's fork has not yet got to its exec.)
fn encap() -> UdpEncap {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let port = || {
        let offset = std::process::id().wrapping_mul(128);
        let offset = offset.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        10_000 + u16::try_from(offset).expect("below 20000")
    };
    UdpEncap {
        unicast: port(),
        multicast: port(),
    }
}

fn udp(encap: UdpEncap) -> Carrier {
    Carrier::open(Carriage::Udp(encap), &Defaults::default()).expect("open")
}

fn lo(carrier: &Carrier) -> Interface {
    carrier.route(GROUP, Some(LO)).expect("loopback is up")
}

/// A TSI of this process and test: tests may run as threads of one process.
fn tsi(sport: u16) -> Tsi {
    let mut hasher = DefaultHasher::new();
    (std::process::id(), std::thread::current().id()).hash(&mut hasher);
    let [gsi @ .., _, _] = hasher.finish().to_be_bytes();
    Tsi {
        gsi: Gsi(gsi),
        sport,
    }
}

/// A minimal TPDU with a number in it.
fn tpdu(kind: u8, tsi: Tsi, dport: u16, number: u32) -> Vec<u8> {
    let ports = if matches!(kind, NAK | SPMR) {
        [dport, tsi.sport]
    } else {
        [tsi.sport, dport]
    };
    let mut tpdu: Vec<u8> = ports.iter().flat_map(|p| p.to_be_bytes()).collect();
    tpdu.extend([kind, 0, 0, 0]);
    tpdu.extend(tsi.gsi.0);
    tpdu.extend([0, 0]);
    tpdu.extend(number.to_be_bytes());
    tpdu
}

fn number_of(tpdu: &[u8]) -> u32 {
    u32::from_be_bytes(tpdu[16..].try_into().expect("four octets"))
}

fn open_source(carrier: &mut Carrier, id: u32, group: Ipv4Addr, tsi: Tsi) {
    let options = Defaults::default().send;
    let iface = lo(carrier);
    carrier
        .open_source(SourceId(id), tsi, group, DPORT, &iface, &options)
        .expect("source");
}

fn join(carrier: &mut Carrier, group: Ipv4Addr) {
    let iface = lo(carrier);
    carrier.join(group, DPORT, &[iface]).expect("join");
}

fn from_source(id: u32, group: Ipv4Addr) -> Transmit {
    Transmit {
        to: Destination::Group(group),
        via: Via::Source(SourceId(id)),
        len: 0,
        router_alert: false,
        ttl: None,
        source: None,
    }
}

fn from_session(to: Destination) -> Transmit {
    Transmit {
        to,
        via: Via::Session(SessionId(1)),
        len: 0,
        router_alert: false,
        ttl: None,
        source: None,
    }
}

impl Carrier {
    /// Queue one TPDU from elsewhere.
    fn push(&mut self, transmit: &Transmit, tpdu: &[u8]) {
        self.buffer().extend_from_slice(tpdu);
        self.commit(&Transmit {
            len: tpdu.len(),
            ..*transmit
        });
    }
}

/// How long anything may take; on loopback packets arrive at once unless the machine is busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// Repeat `step` until it is true.
fn patiently(mut step: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if step() {
            return true;
        }
        if start.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Send TPDUs and insist that the kernel took them.
fn send(carrier: &mut Carrier, transmit: &Transmit, tpdus: &[Vec<u8>]) {
    let before = carrier.stats();
    for tpdu in tpdus {
        carrier.push(transmit, tpdu);
    }
    let mut flushed = || {
        carrier.flush().expect("flush");
        !carrier.is_blocked()
    };
    assert!(patiently(&mut flushed), "blocked");
    let after = carrier.stats();
    assert_eq!(
        (after.sent - before.sent, after.send_errors),
        (tpdus.len() as u64, 0)
    );
}

/// What is there now, in order per socket. To show that nothing has come, ask after something that was
/// sent at the same time has arrived elsewhere.
fn arrivals(carrier: &mut Carrier) -> Vec<(Arrival, Vec<u8>)> {
    let mut all = Vec::new();
    for Watch { port, .. } in carrier.watches() {
        let mut each = |a: Arrival, tpdu: &[u8]| all.push((a, tpdu.to_vec()));
        while carrier
            .receive(Instant::now(), port, &mut each)
            .expect("receive")
            > 0
        {}
    }
    all
}

/// At least the next `count` arrivals, by group and sender, then in order.
fn awaited(carrier: &mut Carrier, count: usize) -> Vec<(Arrival, Vec<u8>)> {
    let mut all = Vec::new();
    patiently(|| {
        all.extend(arrivals(carrier));
        all.len() >= count
    });
    all.sort_by_key(|(arrival, _)| (arrival.group, arrival.from));
    all
}

fn by_unicast(from: Ipv4Addr) -> Arrival {
    Arrival { from, group: None }
}

fn on_group(group: Ipv4Addr) -> Arrival {
    Arrival {
        from: LO,
        group: Some(group),
    }
}

fn is_root() -> bool {
    // SAFETY: no memory is involved.
    unsafe { libc::geteuid() == 0 }
}

/// Run as another user, which only this one thread becomes.
fn as_user<T>(uid: libc::uid_t, work: impl FnOnce() -> T) -> T {
    /// All threads here have one descriptor table.
    struct SameTable<T>(T);
    // SAFETY: made for another thread and used by one at a time.
    unsafe impl<T> Send for SameTable<T> {}
    let work = SameTable(work);
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let SameTable(work) = { work };
            // SAFETY: no memory is involved; the raw call changes the ids of the calling thread alone.
            let result = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
            assert_eq!(result, 0, "root may");
            SameTable(work())
        });
        thread.join().expect("no panic").0
    })
}

#[test]
fn data_goes_to_the_group_and_naks_come_back_by_unicast() {
    let encap = encap();
    let [mut sender, mut receiver] = [udp(encap), udp(encap)];
    let t = tsi(1);
    open_source(&mut sender, 1, GROUP, t);
    join(&mut receiver, GROUP);
    let data: Vec<_> = (0..200).map(|n| tpdu(ODATA, t, DPORT, n)).collect();
    send(&mut sender, &from_source(1, GROUP), &data);
    let expected: Vec<_> = data.into_iter().map(|d| (on_group(GROUP), d)).collect();
    assert_eq!(awaited(&mut receiver, 200), expected);
    assert_eq!(arrivals(&mut sender), [], "the sender did not join");

    let nak = tpdu(NAK, t, DPORT, 5);
    send(
        &mut receiver,
        &from_session(Destination::Host(LO)),
        std::slice::from_ref(&nak),
    );
    assert_eq!(awaited(&mut sender, 1), [(by_unicast(LO), nak)]);
    assert_eq!(arrivals(&mut receiver), []);
    assert_eq!(receiver.stats().received, 200);
    assert_eq!(sender.stats().sent_bytes, 200 * 20);
}

#[test]
fn segmented_runs_arrive_as_single_tpdus() {
    let encap = encap();
    let mut defaults = Defaults {
        gso: true,
        ..Defaults::default()
    };
    let mut sender = Carrier::open(Carriage::Udp(encap), &defaults).expect("open");
    defaults.gso = false;
    let mut receiver = udp(encap);
    open_source(&mut sender, 1, GROUP, tsi(1));
    join(&mut receiver, GROUP);
    let data: Vec<_> = (0..150).map(|n| tpdu(ODATA, tsi(1), DPORT, n)).collect();
    send(&mut sender, &from_source(1, GROUP), &data);
    let got: Vec<_> = awaited(&mut receiver, 150)
        .into_iter()
        .map(|(_, tpdu)| tpdu)
        .collect();
    assert_eq!(got, data);
}

/// Two groups, each with a sender and a receiver, on shared ports; nothing strays.
fn groups_do_not_mix(encap: UdpEncap) {
    let [mut sender, mut here, mut there, mut both, mut bystander] =
        std::array::from_fn(|_| udp(encap));
    open_source(&mut sender, 1, GROUP, tsi(1));
    open_source(&mut sender, 2, OTHER, tsi(2));
    join(&mut here, GROUP);
    join(&mut there, OTHER);
    join(&mut both, GROUP);
    join(&mut both, OTHER);
    let [one, two] = [tpdu(ODATA, tsi(1), DPORT, 1), tpdu(ODATA, tsi(2), DPORT, 2)];
    send(
        &mut sender,
        &from_source(1, GROUP),
        std::slice::from_ref(&one),
    );
    send(
        &mut sender,
        &from_source(2, OTHER),
        std::slice::from_ref(&two),
    );
    let (one, two) = ((on_group(GROUP), one), (on_group(OTHER), two));
    assert_eq!(
        awaited(&mut both, 2),
        [one.clone(), two.clone()],
        "once each"
    );
    assert_eq!(arrivals(&mut here), [one]);
    assert_eq!(arrivals(&mut there), [two]);
    assert_eq!(arrivals(&mut bystander), []);
    assert_eq!(arrivals(&mut sender), []);
}

#[test]
fn groups_on_one_port_do_not_mix() {
    groups_do_not_mix(encap());
}

#[test]
fn one_port_for_unicast_and_multicast_works() {
    let port = encap().unicast;
    groups_do_not_mix(UdpEncap {
        unicast: port,
        multicast: port,
    });
}

#[test]
fn a_receivers_word_to_the_group_reaches_the_others() {
    let encap = encap();
    let [mut one, mut two] = [udp(encap), udp(encap)];
    join(&mut one, GROUP);
    join(&mut two, GROUP);
    let word = tpdu(SPMR, tsi(1), DPORT, 0);
    let transmit = Transmit {
        ttl: Some(1),
        ..from_session(Destination::Group(GROUP))
    };
    send(&mut one, &transmit, std::slice::from_ref(&word));
    assert_eq!(awaited(&mut two, 1), [(on_group(GROUP), word.clone())]);
    // Nobody joined this one, so there is no way out: counted, not sent.
    one.push(&from_session(Destination::Group(OTHER)), &word);
    one.flush().expect("flush");
    assert_eq!(one.stats().send_errors, 1);
}

/// Numbers of the TPDUs that survived, of 4000.
fn survivors(share: f64, seed: u64) -> Vec<u32> {
    let encap = encap();
    // Not the TSI of the last call: a child some other test just forked may still hold its name.
    let t = tsi(encap.unicast);
    let mut sender = udp(encap);
    let defaults = Defaults {
        fault_loss: share,
        fault_seed: seed,
        ..Defaults::default()
    };
    let mut receiver = Carrier::open(Carriage::Udp(encap), &defaults).expect("open");
    open_source(&mut sender, 1, GROUP, t);
    join(&mut receiver, GROUP);
    let mut numbers = Vec::new();
    for round in 0..40 {
        let data: Vec<_> = (0..100)
            .map(|n| tpdu(ODATA, t, DPORT, round * 100 + n))
            .collect();
        send(&mut sender, &from_source(1, GROUP), &data);
        let complete = patiently(|| {
            numbers.extend(
                arrivals(&mut receiver)
                    .iter()
                    .map(|(_, tpdu)| number_of(tpdu)),
            );
            let stats = receiver.stats();
            stats.received + stats.fault_dropped == u64::from(round + 1) * 100
        });
        assert!(complete, "every TPDU was received or dropped on purpose");
    }
    numbers
}

#[test]
fn losses_on_purpose_are_as_many_as_asked_for_and_repeatable() {
    assert_eq!(survivors(0.0, 1).len(), 4000);
    assert_eq!(survivors(1.0, 1).len(), 0);
    let five_percent = survivors(0.05, 1);
    // Four standard deviations around 3800.
    assert!(
        (3745..=3855).contains(&five_percent.len()),
        "{}",
        five_percent.len()
    );
    assert_eq!(survivors(0.05, 1), five_percent);
    assert_ne!(survivors(0.05, 2), five_percent);
}

#[test]
fn forwarded_tpdus_are_lost_on_purpose_as_well() {
    let encap = encap();
    let defaults = Defaults {
        fault_loss: 1.0,
        ..Defaults::default()
    };
    let mut deaf = Carrier::open(Carriage::Udp(encap), &defaults).expect("open");
    open_source(&mut deaf, 1, GROUP, tsi(1));
    let mut other = udp(encap);
    other.forward(tsi(1), &tpdu(NAK, tsi(1), DPORT, 0), LO);
    assert_eq!(arrivals(&mut deaf), []);
    assert_eq!(deaf.stats().fault_dropped, 1);
}

#[test]
fn the_largest_tpdu_fits_the_interface_or_what_was_asked_for() {
    let carrier = udp(encap());
    let iface = Interface {
        mtu: 9000,
        ..lo(&carrier)
    };
    let mut options = Defaults::default().send;
    assert_eq!(carrier.max_tpdu(&lo(&carrier), &options), 1472);
    assert_eq!(carrier.max_tpdu(&iface, &options), 8972);
    options.mtu = 1400;
    assert_eq!(carrier.max_tpdu(&iface, &options), 1372);
    options.mtu = u16::MAX;
    assert_eq!(carrier.max_tpdu(&iface, &options), 65_507);
}

#[test]
fn the_largest_tpdu_of_all_arrives() {
    let encap = encap();
    let [mut sender, mut receiver] = [udp(encap), udp(encap)];
    open_source(&mut sender, 1, GROUP, tsi(1));
    join(&mut receiver, GROUP);
    let mut large = tpdu(ODATA, tsi(1), DPORT, 0);
    large.resize(65_507, 0x5a);
    send(
        &mut sender,
        &from_source(1, GROUP),
        std::slice::from_ref(&large),
    );
    assert_eq!(awaited(&mut receiver, 1), [(on_group(GROUP), large)]);
}

#[test]
fn the_wanted_interface_may_come_from_the_environment() {
    let interface = Some(WantedInterface::Addr(LO));
    let defaults = Defaults {
        interface,
        ..Defaults::default()
    };
    let carrier = Carrier::open(Carriage::Udp(encap()), &defaults).expect("open");
    assert!(carrier.route(GROUP, None).expect("loopback").loopback);
    assert!(
        carrier
            .route(GROUP, Some(Ipv4Addr::UNSPECIFIED))
            .expect("loopback")
            .loopback
    );
    let error = carrier
        .route(GROUP, Some(Ipv4Addr::new(192, 0, 2, 250)))
        .expect_err("not ours");
    assert_eq!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL));
    let ListenOptions { interfaces, .. } = defaults.listen;
    assert_eq!(interfaces, [] as [Ipv4Addr; 0]);
}

#[test]
fn a_receive_buffer_that_overflows_is_counted() {
    let encap = encap();
    let [mut sender, mut receiver] = [udp(encap), udp(encap)];
    open_source(&mut sender, 1, GROUP, tsi(1));
    join(&mut receiver, GROUP);
    let mut large = tpdu(ODATA, tsi(1), DPORT, 0);
    large.resize(60_000, 0);
    let start = Instant::now();
    while receiver.stats().kernel_dropped == 0 {
        send(
            &mut sender,
            &from_source(1, GROUP),
            std::slice::from_ref(&large),
        );
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "buffers are finite"
        );
    }
    let mut got = 0;
    let complete = patiently(|| {
        got += arrivals(&mut receiver).len() as u64;
        got + receiver.stats().kernel_dropped == sender.stats().sent
    });
    assert!(complete, "every packet was received or counted");
    // The count survives the socket.
    let dropped = receiver.stats().kernel_dropped;
    receiver.leave(GROUP, DPORT, &[lo(&receiver)]);
    assert_eq!(receiver.stats().kernel_dropped, dropped);
}

#[path = "carrier_tests_native.rs"]
mod native_and_interfaces;
#[path = "carrier_tests_shared.rs"]
mod shared_ports;
#[path = "carrier_tests_open.rs"]
mod what_is_open;
