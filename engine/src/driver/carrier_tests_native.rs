//! Native carriers, and several interfaces in a network namespace: as root; else skipped.

use super::*;
use socket2::Socket;

#[test]
fn native_needs_privilege() {
    let open = || Carrier::open(Carriage::Native, &Defaults::default()).map(drop);
    let result = if is_root() {
        as_user(65_534, open)
    } else {
        open()
    };
    match result {
        Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EPERM)),
        Ok(()) => println!("skipped: this user has CAP_NET_RAW"),
    }
}

/// A native carrier, or the reason why there is none.
fn native() -> Option<Carrier> {
    match Carrier::open(Carriage::Native, &Defaults::default()) {
        Ok(carrier) => Some(carrier),
        Err(error) => {
            println!("skipped: native PGM needs CAP_NET_RAW ({error})");
            None
        }
    }
}

#[test]
fn native_data_and_naks_pass_the_filters_of_those_they_concern() {
    let (Some(mut sender), Some(mut receiver), Some(mut other), Some(mut bystander)) =
        (native(), native(), native(), native())
    else {
        return;
    };
    let t = tsi(1000);
    open_source(&mut sender, 1, GROUP, t);
    open_source(&mut other, 1, OTHER, tsi(1001));
    join(&mut receiver, GROUP);
    let iface = lo(&bystander);
    bystander
        .join(GROUP, DPORT + 1, std::slice::from_ref(&iface))
        .expect("join");
    bystander.join(OTHER, DPORT, &[iface]).expect("join");

    let data: Vec<_> = (0..100).map(|n| tpdu(ODATA, t, DPORT, n)).collect();
    send(&mut sender, &from_source(1, GROUP), &data[..50]);
    let alert = Transmit {
        router_alert: true,
        ..from_source(1, GROUP)
    };
    send(&mut sender, &alert, &data[50..]);
    let expected: Vec<_> = data.into_iter().map(|d| (on_group(GROUP), d)).collect();
    assert_eq!(awaited(&mut receiver, 100), expected);

    let nak = tpdu(NAK, t, DPORT, 5);
    send(
        &mut receiver,
        &from_session(Destination::Host(LO)),
        std::slice::from_ref(&nak),
    );
    let spmr = tpdu(SPMR, t, DPORT, 0);
    let copy = Transmit {
        ttl: Some(1),
        ..from_session(Destination::Group(GROUP))
    };
    send(&mut receiver, &copy, &[spmr]);
    assert_eq!(awaited(&mut sender, 1), [(by_unicast(LO), nak)]);
    assert_eq!(arrivals(&mut other), []);
    assert_eq!(
        arrivals(&mut bystander),
        [],
        "another session port, another group"
    );

    // The filters follow what is open.
    receiver.leave(GROUP, DPORT, &[lo(&receiver)]);
    send(
        &mut sender,
        &from_source(1, GROUP),
        &[tpdu(ODATA, t, DPORT, 7)],
    );
    assert_eq!(arrivals(&mut receiver), []);
    sender.close_source(SourceId(1));
    send(
        &mut other,
        &from_session(Destination::Host(LO)),
        &[tpdu(NAK, t, DPORT, 5)],
    );
    assert_eq!(arrivals(&mut sender), []);
}

/// IP header and TPDU of the next native packet a plain raw socket sees on the group.
fn next_native(spy: &Socket) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let mut reader = spy;
    let n = std::io::Read::read(&mut reader, &mut buffer).expect("a packet within the time-out");
    buffer[..n].to_vec()
}

#[test] // G-01, G-19
fn native_packets_carry_ttl_tos_and_router_alert() {
    let (Some(mut sender), Some(mut receiver)) = (native(), native()) else {
        return;
    };
    let group = Ipv4Addr::new(239, 192, 7, 3);
    let spy = Socket::new(
        socket2::Domain::IPV4,
        socket2::Type::RAW,
        Some(socket2::Protocol::from(113)),
    )
    .expect("socket");
    spy.set_multicast_all_v4(false).expect("option");
    spy.set_read_timeout(Some(Duration::from_secs(5)))
        .expect("option");
    spy.bind(&SocketAddrV4::new(group, 0).into()).expect("bind");
    let iface = lo(&sender);
    let index = socket2::InterfaceIndexOrAddress::Index(iface.index);
    spy.join_multicast_v4_n(&group, &index).expect("join");

    let options = SendOptions {
        ttl: 7,
        tos: 0xb8,
        ..Defaults::default().send
    };
    sender
        .open_source(SourceId(1), tsi(1), group, DPORT, &iface, &options)
        .expect("source");
    let data = tpdu(ODATA, tsi(1), DPORT, 1);
    for router_alert in [false, true] {
        let transmit = Transmit {
            router_alert,
            ..from_source(1, group)
        };
        send(&mut sender, &transmit, std::slice::from_ref(&data));
        let packet = next_native(&spy);
        let header = if router_alert { 24 } else { 20 };
        assert_eq!(packet[0], 0x40 + header / 4);
        assert_eq!((packet[1], packet[8], packet[9]), (0xb8, 7, 113));
        assert_eq!(packet[12..20], [LO.octets(), group.octets()].concat());
        if router_alert {
            assert_eq!(packet[20..24], [0x94, 0x04, 0, 0]);
        }
        assert_eq!(packet[header.into()..], data);
    }

    receiver.join(group, DPORT, &[iface]).expect("join");
    let copy = Transmit {
        ttl: Some(1),
        ..from_session(Destination::Group(group))
    };
    send(&mut receiver, &copy, &[tpdu(SPMR, tsi(1), DPORT, 0)]);
    let packet = next_native(&spy);
    assert_eq!((packet[0], packet[8]), (0x45, 1), "TTL 1");
}

/// Two veth pairs, near0-far0 and near1-far1, in a network namespace of this thread's own.
fn lab() -> Result<(), String> {
    // SAFETY: no memory is involved; the namespace of this thread alone changes.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(format!(
            "needs root for a network namespace: {}",
            io::Error::last_os_error()
        ));
    }
    let ip = |arguments: String| {
        let status = std::process::Command::new("ip")
            .args(arguments.split(' '))
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("ip {arguments}: {other:?}")),
        }
    };
    ip("link set lo up".to_owned())?;
    for n in [0, 1] {
        ip(format!("link add near{n} type veth peer name far{n}"))?;
        for (end, host) in [("near", 1), ("far", 2)] {
            ip(format!("addr add 10.77.{n}.{host}/24 dev {end}{n}"))?;
            ip(format!("link set {end}{n} mtu {} up", 1400 + 100 * n))?;
            // Both ends are in one namespace, so what arrives seems to come from ourselves.
            for (key, value) in [("accept_local", "1"), ("rp_filter", "0")] {
                let path = format!("/proc/sys/net/ipv4/conf/{end}{n}/{key}");
                std::fs::write(&path, value).map_err(|e| format!("{path}: {e}"))?;
            }
        }
    }
    std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "0").map_err(|e| e.to_string())?;
    ip("route add 239.0.0.0/8 dev near1".to_owned())
}

/// What a thread with a namespace of its own finds: tells interfaces apart in both directions.
fn interfaces_do_not_mix(open: impl Fn() -> Carrier) {
    let at =
        |carrier: &Carrier, addr: [u8; 4]| carrier.route(GROUP, Some(addr.into())).expect("there");
    let [mut sender, mut one, mut both, mut second] = std::array::from_fn(|_| open());
    let near = [at(&sender, [10, 77, 0, 1]), at(&sender, [10, 77, 1, 1])];
    let far = [at(&one, [10, 77, 0, 2]), at(&one, [10, 77, 1, 2])];
    let options = Defaults::default().send;
    for (id, iface) in near.iter().enumerate() {
        let (id, t) = (id as u32, tsi(100 + id as u16));
        sender
            .open_source(SourceId(id), t, GROUP, DPORT, iface, &options)
            .expect("source");
    }
    one.join(GROUP, DPORT, &far[..1]).expect("join");
    second.join(GROUP, DPORT, &far[1..]).expect("join");
    both.join(GROUP, DPORT, &far).expect("join");
    let data = [
        tpdu(ODATA, tsi(100), DPORT, 0),
        tpdu(ODATA, tsi(101), DPORT, 1),
    ];
    for (id, tpdu) in data.iter().enumerate() {
        send(
            &mut sender,
            &from_source(id as u32, GROUP),
            std::slice::from_ref(tpdu),
        );
    }
    let from = |host: &Interface| Arrival {
        from: host.addr,
        group: Some(GROUP),
    };
    let [first, other] = [
        (from(&near[0]), data[0].clone()),
        (from(&near[1]), data[1].clone()),
    ];
    assert_eq!(awaited(&mut both, 2), [first.clone(), other.clone()]);
    assert_eq!(awaited(&mut one, 1), [first]);
    assert_eq!(awaited(&mut second, 1), [other]);

    // A receiver's word to the group leaves where it has joined, with the address it has there.
    sender.join(GROUP, DPORT, &near).expect("join");
    let word = tpdu(SPMR, tsi(100), DPORT, 0);
    let transmit = Transmit {
        ttl: Some(1),
        ..from_session(Destination::Group(GROUP))
    };
    both.push(&transmit, &word);
    both.flush().expect("flush");
    assert_eq!((both.stats().sent, both.stats().send_errors), (2, 0));
    let expected = [(from(&far[0]), word.clone()), (from(&far[1]), word)];
    assert_eq!(awaited(&mut sender, 2), expected);
}

#[test]
fn interfaces_do_not_mix_and_are_chosen_by_route() {
    let result = std::thread::spawn(|| {
        lab()?;
        let encap = encap();
        interfaces_do_not_mix(|| udp(encap));
        interfaces_do_not_mix(|| native().expect("root"));

        let by_route = udp(encap).route(GROUP, None).expect("near1");
        assert_eq!((by_route.name.as_str(), by_route.mtu), ("near1", 1500));
        let interface = Some(WantedInterface::Name("far0".to_owned()));
        let defaults = Defaults {
            interface,
            ..Defaults::default()
        };
        let by_name = Carrier::open(Carriage::Native, &defaults).expect("root");
        let iface = by_name.route(GROUP, None).expect("far0");
        assert_eq!((iface.addr, iface.mtu), ([10, 77, 0, 2].into(), 1400));
        assert_eq!(by_name.max_tpdu(&iface, &defaults.send), 1376);
        Ok::<(), String>(())
    });
    if let Err(why) = result.join().expect("no panic") {
        println!("skipped: {why}");
    }
}

#[test] // D-03, G-19: what a DLR multicasts has the source's address, and Router Alert
fn a_dlr_can_send_as_its_source() {
    let result = std::thread::spawn(|| {
        lab()?;
        let [mut dlr, mut child] = std::array::from_fn(|_| native().expect("root"));
        let at = |carrier: &Carrier, addr: [u8; 4]| carrier.route(GROUP, Some(addr.into()));
        let far = at(&dlr, [10, 77, 0, 2]).expect("far0");
        let near = at(&child, [10, 77, 0, 1]).expect("near0");
        dlr.join(GROUP, DPORT, &[far]).expect("join");
        child.join(GROUP, DPORT, &[near]).expect("join");
        dlr.open_as_source().expect("as root");
        let spy = Socket::new(
            socket2::Domain::IPV4,
            socket2::Type::RAW,
            Some(socket2::Protocol::from(113)),
        );
        let spy = spy.expect("as root");
        spy.set_read_timeout(Some(PATIENCE)).expect("time-out");
        spy.bind(&SocketAddrV4::new(GROUP, 0).into()).expect("bind");
        let source = Ipv4Addr::new(10, 77, 0, 99);
        let repair = tpdu(ODATA, tsi(1), DPORT, 1);
        let transmit = Transmit {
            router_alert: true,
            source: Some(source),
            ..from_session(Destination::Group(GROUP))
        };
        send(&mut dlr, &transmit, std::slice::from_ref(&repair));
        let arrival = Arrival {
            from: source,
            group: Some(GROUP),
        };
        assert_eq!(awaited(&mut child, 1), [(arrival, repair.clone())]);
        let packet = next_native(&spy);
        assert_eq!(
            (packet[0], packet[8]),
            (0x46, 255),
            "with an option, and PGM_TTL"
        );
        assert_eq!(packet[20..24], [0x94, 0x04, 0, 0]);
        assert_eq!(packet[24..], repair);
        Ok::<(), String>(())
    });
    if let Err(why) = result.join().expect("no panic") {
        println!("skipped: {why}");
    }
}

#[test] // D-04: NAKs by unicast reach the process that repairs for their source
fn naks_pass_the_filter_of_a_dlr() {
    let (Some(mut dlr), Some(mut other), Some(mut child)) = (native(), native(), native()) else {
        return;
    };
    let t = tsi(1000);
    dlr.open_repairer(SessionId(1), t).expect("filter");
    let nak = tpdu(NAK, t, DPORT, 5);
    let to_dlr = from_session(Destination::Host(LO));
    send(&mut child, &to_dlr, std::slice::from_ref(&nak));
    assert_eq!(awaited(&mut dlr, 1), [(by_unicast(LO), nak.clone())]);
    dlr.close_repairer(SessionId(1));
    other.open_repairer(SessionId(1), t).expect("filter");
    send(&mut child, &to_dlr, std::slice::from_ref(&nak));
    assert_eq!(awaited(&mut other, 1), [(by_unicast(LO), nak)]);
    assert_eq!(arrivals(&mut dlr), []);
}
