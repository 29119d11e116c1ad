//! Processes, users and other implementations that share the ports of one host, and what is forwarded among them.

use super::*;
use socket2::Socket;
use std::net::UdpSocket;

/// What the engine does with what arrived: own TSIs are kept, the others forwarded.
fn sort_out(carrier: &mut Carrier, own: &[Tsi]) -> Vec<(Arrival, Vec<u8>)> {
    let mut kept = Vec::new();
    for (arrival, tpdu) in arrivals(carrier) {
        let sport = u16::from_be_bytes([tpdu[2], tpdu[3]]);
        let gsi = Gsi(tpdu[8..14].try_into().expect("six octets"));
        let tsi = Tsi { gsi, sport };
        if own.contains(&tsi) {
            kept.push((arrival, tpdu));
        } else {
            carrier.forward(tsi, &tpdu, arrival.from);
        }
    }
    let _ = carrier.flush();
    kept
}

/// Sources `a` and `b` on one host, a receiver that asks both: whoever gets a NAK, its owner has it.
#[test]
fn naks_reach_the_right_one_of_several_processes() {
    let encap = encap();
    for receiver_first in [false, true] {
        let early = receiver_first.then(|| udp(encap));
        let [mut a, mut b] = [udp(encap), udp(encap)];
        let (ta, tb) = (tsi(1), tsi(2));
        open_source(&mut a, 1, GROUP, ta);
        open_source(&mut b, 1, GROUP, tb);
        let mut receiver = early.unwrap_or_else(|| udp(encap));
        // The second address belongs to no source, so any process may get what goes there.
        for host in [LO, Ipv4Addr::new(127, 0, 0, 2)] {
            let naks: Vec<_> = (0..20)
                .map(|n| tpdu(NAK, if n % 2 == 0 { ta } else { tb }, DPORT, n))
                .collect();
            send(&mut receiver, &from_session(Destination::Host(host)), &naks);
            let (mut got_a, mut got_b) = (Vec::new(), Vec::new());
            patiently(|| {
                got_a.extend(sort_out(&mut a, &[ta]));
                got_b.extend(sort_out(&mut b, &[tb]));
                assert_eq!(sort_out(&mut receiver, &[]), []);
                got_a.len() + got_b.len() >= naks.len()
            });
            for (got, rest) in [(got_a, 0), (got_b, 1)] {
                let mut expected: Vec<_> = naks.iter().skip(rest).step_by(2).cloned().collect();
                let mut got: Vec<_> = got
                    .into_iter()
                    .map(|(arrival, tpdu)| {
                        assert_eq!(arrival.group, None);
                        assert!(arrival.from.is_loopback(), "{arrival:?}");
                        tpdu
                    })
                    .collect();
                expected.sort();
                got.sort();
                assert_eq!(got, expected, "receiver first: {receiver_first}, to {host}");
            }
        }
        let all = [a.stats(), b.stats(), receiver.stats()];
        let forwarded: u64 = all.iter().map(|s| s.forwarded).sum();
        assert!(
            forwarded >= 20,
            "every NAK for one of the two went astray first: {forwarded}"
        );
        assert_eq!(forwarded, all.iter().map(|s| s.forwarded_in).sum::<u64>());
        assert_eq!(all.iter().map(|s| s.forward_dropped).sum::<u64>(), 0);
    }
}

#[test]
fn what_nobody_owns_is_counted_and_never_goes_in_circles() {
    let encap = encap();
    let mut a = udp(encap);
    open_source(&mut a, 1, GROUP, tsi(1));
    a.forward(tsi(9), &tpdu(NAK, tsi(9), DPORT, 0), LO);
    a.forward(tsi(1), &tpdu(NAK, tsi(1), DPORT, 0), LO);
    assert_eq!(arrivals(&mut a), []);
    assert_eq!((a.stats().forwarded, a.stats().forward_dropped), (0, 2));
}

/// A socket as OpenPGM binds it: any address, SO_REUSEPORT and nothing else.
fn foreign(port: u16) -> Socket {
    let socket = Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).expect("socket");
    socket.set_reuse_port(true).expect("option");
    socket
        .bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())
        .expect("the port is shared");
    socket
}

#[test]
fn other_implementations_share_the_ports_and_cannot_take_the_naks() {
    for foreign_first in [true, false] {
        let encap = encap();
        let both = || [encap.unicast, encap.multicast].map(foreign);
        let before = foreign_first.then(both);
        let [mut sender, mut receiver] = [udp(encap), udp(encap)];
        open_source(&mut sender, 1, GROUP, tsi(1));
        join(&mut receiver, GROUP);
        let _foreign = before.unwrap_or_else(both);
        for n in 0..50 {
            let nak = tpdu(NAK, tsi(1), DPORT, n);
            let client = UdpSocket::bind((LO, 0)).expect("bind");
            client.send_to(&nak, (LO, encap.unicast)).expect("send");
        }
        assert_eq!(awaited(&mut sender, 50).len(), 50);
        assert_eq!(arrivals(&mut receiver), []);
        let data = tpdu(ODATA, tsi(1), DPORT, 0);
        send(
            &mut sender,
            &from_source(1, GROUP),
            std::slice::from_ref(&data),
        );
        assert_eq!(awaited(&mut receiver, 1), [(on_group(GROUP), data)]);
        sender.close_source(SourceId(1));
    }
}

#[test] // G-15
fn a_tsi_belongs_to_one_process_of_a_host() {
    let encap = encap();
    let [mut a, mut b] = [udp(encap), udp(encap)];
    open_source(&mut a, 1, GROUP, tsi(1));
    let iface = lo(&b);
    let options = Defaults::default().send;
    let generation = b.generation();
    let error = b.open_source(SourceId(1), tsi(1), GROUP, DPORT, &iface, &options);
    assert_eq!(
        error.expect_err("taken").raw_os_error(),
        Some(libc::EADDRINUSE)
    );
    assert_eq!(b.generation(), generation);
    a.close_source(SourceId(1));
    let opened = patiently(|| {
        b.open_source(SourceId(1), tsi(1), GROUP, DPORT, &iface, &options)
            .is_ok()
    });
    assert!(opened, "free again");
}

#[test]
fn users_share_ports_and_forward_to_each_other() {
    if !is_root() {
        println!("skipped: needs root to become two users");
        return;
    }
    let encap = encap();
    let mut a = as_user(65_533, || udp(encap));
    let (mut b, mut receiver) = as_user(65_534, || (udp(encap), udp(encap)));
    let (ta, tb) = (tsi(1), tsi(2));
    as_user(65_533, || open_source(&mut a, 1, GROUP, ta));
    as_user(65_534, || {
        open_source(&mut b, 1, GROUP, tb);
        join(&mut receiver, GROUP);
        let naks = [tpdu(NAK, ta, DPORT, 0), tpdu(NAK, tb, DPORT, 1)];
        send(&mut receiver, &from_session(Destination::Host(LO)), &naks);
    });
    let (mut got_a, mut got_b) = (0, 0);
    patiently(|| {
        got_a += as_user(65_533, || sort_out(&mut a, &[ta]).len());
        got_b += as_user(65_534, || sort_out(&mut b, &[tb]).len());
        got_a + got_b >= 2
    });
    assert_eq!((got_a, got_b), (1, 1));
    let data = tpdu(ODATA, ta, DPORT, 7);
    as_user(65_533, || {
        send(&mut a, &from_source(1, GROUP), std::slice::from_ref(&data))
    });
    assert_eq!(
        awaited(&mut receiver, 1),
        [(on_group(GROUP), data)],
        "multicast reaches all users"
    );
}

#[test] // D-04: whichever process gets a NAK by unicast, the one that repairs for its source has it in the end
fn naks_are_handed_to_the_process_of_a_dlr() {
    let encap = encap();
    let [mut dlr, mut other] = [udp(encap), udp(encap)];
    let t = tsi(1);
    dlr.open_repairer(SessionId(1), t).expect("nobody else");
    let error = other.open_repairer(SessionId(1), t).expect_err("taken");
    assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
    let nak = tpdu(NAK, t, DPORT, 5);
    let from = Ipv4Addr::new(10, 1, 2, 3);
    other.forward(t, &nak, from);
    assert_eq!(awaited(&mut dlr, 1), [(by_unicast(from), nak.clone())]);
    // What the DLR itself has no use for must not come back to it for ever.
    dlr.forward(t, &nak, from);
    assert_eq!(dlr.stats().forward_dropped, 1);
    dlr.close_repairer(SessionId(1));
    other.forward(t, &nak, from);
    assert_eq!(other.stats().forward_dropped, 1);
    let error = dlr.open_as_source().expect_err("not over UDP");
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
}
