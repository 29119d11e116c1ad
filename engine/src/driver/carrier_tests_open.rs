//! What a carrier has open for its sources and listeners: watches, memberships, descriptors.

use super::*;

#[test]
fn watches_follow_sources_and_joins() {
    let mut carrier = udp(encap());
    let start = (carrier.generation(), carrier.watches());
    // Unicast, and news of addresses.
    assert_eq!(start.1.len(), 2);
    open_source(&mut carrier, 1, GROUP, tsi(1));
    assert_ne!(carrier.generation(), start.0);
    assert_eq!(carrier.watches().len(), 4);
    join(&mut carrier, GROUP);
    let joined = carrier.generation();
    join(&mut carrier, GROUP);
    assert_eq!(
        carrier.generation(),
        joined,
        "the second listener shares the socket"
    );
    assert_eq!(carrier.watches().len(), 5);
    let iface = lo(&carrier);
    carrier.leave(GROUP, DPORT, std::slice::from_ref(&iface));
    assert_eq!(carrier.watches().len(), 5, "one listener is left");
    let group = carrier.watches()[4].port;
    carrier.leave(GROUP, DPORT, std::slice::from_ref(&iface));
    carrier.close_source(SourceId(1));
    assert_eq!(carrier.watches(), start.1);
    assert_eq!(
        carrier
            .receive(Instant::now(), group, &mut |_, _| panic!("gone"))
            .expect("nothing"),
        0
    );
    carrier.leave(GROUP, DPORT, &[iface]);
    carrier.close_source(SourceId(1));
}

#[test]
fn memberships_and_sources_follow_an_interface_that_went_and_came_back() {
    let mut carrier = udp(encap());
    let (t, iface) = (tsi(1), lo(&carrier));
    open_source(&mut carrier, 1, GROUP, t);
    join(&mut carrier, GROUP);
    let group = carrier.members[0].port;
    let arrived = |carrier: &mut Carrier| {
        let mut numbers = Vec::new();
        let take = &mut |_, tpdu: &[u8]| numbers.push(number_of(tpdu));
        carrier
            .receive(Instant::now(), group, take)
            .expect("no error");
        numbers
    };
    // What its removal does to the sockets: no membership, and an index that nothing has.
    let gone = 0x7fff_ff00;
    let index = socket2::InterfaceIndexOrAddress::Index(iface.index);
    socket2::SockRef::from(&carrier.ports[&group].socket)
        .leave_multicast_v4_n(&GROUP, &index)
        .expect("a member");
    carrier.members[0].iface = gone;
    carrier.sources.get_mut(&SourceId(1)).expect("open").iface = gone;
    let one = |n| [tpdu(ODATA, t, DPORT, n)];
    send(&mut carrier, &from_source(1, GROUP), &one(1));
    assert!(arrived(&mut carrier).is_empty());

    carrier.follow();
    assert_eq!(carrier.members[0].iface, iface.index);
    assert_eq!(carrier.sources[&SourceId(1)].iface, iface.index);
    send(&mut carrier, &from_source(1, GROUP), &one(2));
    assert!(patiently(|| arrived(&mut carrier) == [2]));
    carrier.follow();
    send(&mut carrier, &from_source(1, GROUP), &one(3));
    assert!(patiently(|| arrived(&mut carrier) == [3]), "and once only");
    carrier.leave(GROUP, DPORT, &[iface]);
    assert!(carrier.members.is_empty());
}

#[test]
fn descriptors_close_on_exec() {
    let mut carrier = udp(encap());
    open_source(&mut carrier, 1, GROUP, tsi(1));
    join(&mut carrier, GROUP);
    for Watch { fd, .. } in carrier.watches() {
        // SAFETY: no memory is involved.
        assert_eq!(unsafe { libc::fcntl(fd, libc::F_GETFD) }, libc::FD_CLOEXEC);
    }
}

#[test]
fn a_failed_join_leaves_nothing_behind() {
    let mut carrier = udp(encap());
    let nowhere = Interface {
        index: 0x7fff_ff00,
        ..lo(&carrier)
    };
    let before = carrier.watches();
    let ifaces = [lo(&carrier), nowhere];
    let error = carrier
        .join(GROUP, DPORT, &ifaces)
        .expect_err("no such interface");
    assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    assert_eq!(carrier.watches(), before);
}
