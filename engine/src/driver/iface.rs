//! Which network interface a source or listener uses (design D9).

use super::config::WantedInterface;
use super::log::Level;
use super::sys::{self, InterfaceAddress};
use crate::log_line;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};

/// A network interface as a source or listener uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    /// Its address: source address of what is sent, SPM_PATH, target of NAKs.
    pub addr: Ipv4Addr,
    /// Bits of it that name its subnet.
    pub prefix: u8,
    /// Kernel index.
    pub index: u32,
    /// Kernel name.
    pub name: String,
    /// Largest IP packet unless an option asks for another, octets.
    pub mtu: u32,
    /// The loopback interface.
    pub loopback: bool,
}

/// On loopback packets stay as large as on Ethernet unless someone asks for more: other implementations
/// on the host could not take longer ones, and a test there is like one on a network.
const LOOPBACK_MTU: u32 = 1500;

/// Longest IPv4 packet.
const IP_MAX: u32 = 65_535;

impl Interface {
    fn new(found: &InterfaceAddress, addr: Ipv4Addr) -> Self {
        let loopback = has(found, libc::IFF_LOOPBACK);
        let mtu = found.mtu.min(if loopback { LOOPBACK_MTU } else { IP_MAX });
        Self {
            addr,
            prefix: found.prefix,
            index: found.index,
            name: found.name.clone(),
            mtu,
            loopback,
        }
    }
}

fn has(found: &InterfaceAddress, flags: libc::c_int) -> bool {
    found.flags & flags == flags
}

/// The interface for `group`: `wanted`, else the route to the group, else the first that can
/// multicast, else loopback.
///
/// # Errors
/// `EADDRNOTAVAIL` the wanted address is not local, `ENODEV` the wanted name does not exist or there is
/// no interface at all.
pub(super) fn find(group: Ipv4Addr, wanted: Option<&WantedInterface>) -> io::Result<Interface> {
    let all = sys::interface_addresses()?;
    choose(&all, wanted, routed_address(group))
}

/// Address this host would send to the group from.
fn routed_address(group: Ipv4Addr) -> Option<Ipv4Addr> {
    // Connecting a datagram socket looks the route up and sends nothing; any port will do.
    let probe = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    probe.connect((group, 9)).ok()?;
    match probe.local_addr().ok()?.ip() {
        std::net::IpAddr::V4(addr) => Some(addr),
        std::net::IpAddr::V6(_) => None,
    }
}

fn choose(
    all: &[InterfaceAddress],
    wanted: Option<&WantedInterface>,
    routed: Option<Ipv4Addr>,
) -> io::Result<Interface> {
    let up = || all.iter().filter(|i| has(i, libc::IFF_UP));
    let loopback = || up().find(|i| has(i, libc::IFF_LOOPBACK));
    let missing = |errno| io::Error::from_raw_os_error(errno);
    match wanted {
        Some(WantedInterface::Name(name)) => {
            let found = up()
                .find(|i| i.name == *name)
                .ok_or_else(|| missing(libc::ENODEV))?;
            return Ok(Interface::new(found, found.addr));
        }
        Some(WantedInterface::Addr(addr)) => {
            let found = up().find(|i| i.addr == *addr);
            // All of 127/8 is local, though only one address of it is listed.
            let found = found.or_else(|| loopback().filter(|_| addr.is_loopback()));
            let found = found.ok_or_else(|| missing(libc::EADDRNOTAVAIL))?;
            return Ok(Interface::new(found, *addr));
        }
        None => {}
    }
    let multicast = |i: &&InterfaceAddress| {
        has(i, libc::IFF_MULTICAST | libc::IFF_RUNNING) && !has(i, libc::IFF_LOOPBACK)
    };
    // A route to loopback is somebody's intention. One to an interface without multicast is most likely
    // the default route into a tunnel that would swallow the group.
    let by_route = up()
        .find(|i| Some(i.addr) == routed)
        .filter(|i| has(i, libc::IFF_MULTICAST) || has(i, libc::IFF_LOOPBACK));
    let found = by_route.or_else(|| up().find(multicast)).or_else(loopback);
    let found = found.ok_or_else(|| missing(libc::ENODEV))?;
    log_line!(
        Level::Debug,
        "interface {} with address {}",
        found.name,
        found.addr
    );
    Ok(Interface::new(found, found.addr))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: libc::c_int = libc::IFF_UP | libc::IFF_RUNNING;

    fn host() -> Vec<InterfaceAddress> {
        let all = [
            ("lo", [127, 0, 0, 1], UP | libc::IFF_LOOPBACK, 65_536),
            (
                "docker0",
                [172, 17, 0, 1],
                libc::IFF_UP | libc::IFF_MULTICAST,
                1500,
            ),
            ("wg0", [10, 9, 0, 1], UP | libc::IFF_POINTOPOINT, 1420),
            ("eth0", [10, 0, 0, 1], UP | libc::IFF_MULTICAST, 1500),
            ("eth0", [10, 0, 0, 2], UP | libc::IFF_MULTICAST, 1500),
            ("eth1", [10, 1, 0, 1], libc::IFF_MULTICAST, 9000),
            ("eth2", [10, 2, 0, 1], UP | libc::IFF_MULTICAST, 9000),
        ];
        all.into_iter()
            .zip(1..)
            .map(|((name, addr, flags, mtu), index)| InterfaceAddress {
                name: name.to_owned(),
                index,
                addr: addr.into(),
                prefix: 24,
                flags,
                mtu,
            })
            .collect()
    }

    fn name_of(wanted: Option<WantedInterface>, routed: Option<[u8; 4]>) -> Result<String, i32> {
        choose(&host(), wanted.as_ref(), routed.map(Into::into))
            .map(|i| format!("{} {}", i.name, i.addr))
            .map_err(|e| e.raw_os_error().expect("an errno"))
    }

    fn addr(octets: [u8; 4]) -> Option<WantedInterface> {
        Some(WantedInterface::Addr(octets.into()))
    }

    fn named(name: &str) -> Option<WantedInterface> {
        Some(WantedInterface::Name(name.to_owned()))
    }

    #[test]
    fn what_is_asked_for_is_found_or_refused() {
        assert_eq!(
            name_of(addr([10, 0, 0, 2]), None).as_deref(),
            Ok("eth0 10.0.0.2")
        );
        assert_eq!(
            name_of(addr([127, 0, 0, 7]), None).as_deref(),
            Ok("lo 127.0.0.7")
        );
        assert_eq!(name_of(named("wg0"), None).as_deref(), Ok("wg0 10.9.0.1"));
        assert_eq!(name_of(addr([10, 0, 0, 9]), None), Err(libc::EADDRNOTAVAIL));
        assert_eq!(
            name_of(addr([10, 1, 0, 1]), None),
            Err(libc::EADDRNOTAVAIL),
            "down"
        );
        assert_eq!(name_of(named("eth7"), None), Err(libc::ENODEV));
    }

    #[test]
    fn the_route_counts_unless_it_leads_where_no_multicast_goes() {
        assert_eq!(
            name_of(None, Some([10, 2, 0, 1])).as_deref(),
            Ok("eth2 10.2.0.1")
        );
        assert_eq!(
            name_of(None, Some([127, 0, 0, 1])).as_deref(),
            Ok("lo 127.0.0.1")
        );
        assert_eq!(
            name_of(None, Some([10, 9, 0, 1])).as_deref(),
            Ok("eth0 10.0.0.1")
        );
        assert_eq!(name_of(None, None).as_deref(), Ok("eth0 10.0.0.1"));
    }

    #[test]
    fn loopback_is_the_last_resort() {
        let mut few = host();
        few.truncate(3);
        assert_eq!(choose(&few, None, None).expect("loopback").name, "lo");
        let error = choose(&few[1..2], None, None).expect_err("docker0 is not running");
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn loopback_packets_are_of_ethernet_size() {
        let lo = choose(&host(), named("lo").as_ref(), None).expect("there");
        assert_eq!((lo.loopback, lo.mtu, lo.index), (true, 1500, 1));
        let eth = choose(&host(), named("eth2").as_ref(), None).expect("there");
        assert_eq!((eth.loopback, eth.mtu, eth.index), (false, 9000, 7));
    }

    #[test]
    fn this_host_has_loopback() {
        let lo = find([239, 0, 0, 1].into(), addr([127, 0, 0, 1]).as_ref()).expect("lo is up");
        assert!(lo.loopback && lo.index > 0);
        assert_eq!(lo.addr, Ipv4Addr::LOCALHOST);
    }
}
