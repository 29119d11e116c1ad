//! Where a carrier receives: addresses of its own, groups, and what the kernel lets through.

use super::{Address, Carriage, Carrier, Interface, PortKind};
use crate::driver::follow::Member;
use crate::driver::native::{self, Ports, Upstream};
use crate::driver::udp;
use std::io;
use std::net::Ipv4Addr;

impl Carrier {
    /// One more source sends from this address.
    pub(super) fn receive_at(&mut self, addr: Ipv4Addr, port: u16) -> io::Result<()> {
        let known = self.addresses.iter().position(|a| a.addr == addr);
        let index = match known {
            Some(index) => index,
            None => {
                let socket = udp::unicast(addr, port)?;
                let port = self.add_port(socket, PortKind::Unicast);
                self.addresses.push(Address {
                    addr,
                    port,
                    sources: 0,
                });
                self.addresses.len() - 1
            }
        };
        self.addresses[index].sources += 1;
        Ok(())
    }

    /// One source less does.
    pub(super) fn stop_receiving_at(&mut self, addr: Ipv4Addr) {
        let Some(index) = self.addresses.iter().position(|a| a.addr == addr) else {
            return;
        };
        self.addresses[index].sources -= 1;
        if self.addresses[index].sources == 0 {
            let Address { port, .. } = self.addresses.swap_remove(index);
            self.remove_port(port);
        }
    }

    /// Join the group on these interfaces. Joins are counted: several listeners share a socket.
    ///
    /// # Errors
    /// As socket calls say; then nothing was joined.
    pub(in crate::driver) fn join(
        &mut self,
        group: Ipv4Addr,
        dport: u16,
        ifaces: &[Interface],
    ) -> io::Result<()> {
        for (i, iface) in ifaces.iter().enumerate() {
            if let Err(error) = self.join_one(group, dport, iface) {
                self.leave(group, dport, &ifaces[..i]);
                return Err(error);
            }
        }
        self.filter_unicast()
    }

    pub(super) fn join_one(
        &mut self,
        group: Ipv4Addr,
        dport: u16,
        iface: &Interface,
    ) -> io::Result<()> {
        let found = self.members.iter().position(|m| m.is(group, iface));
        let index = match found {
            Some(index) => index,
            None => {
                let socket = match self.carriage {
                    Carriage::Udp(encap) => udp::group(group, encap.multicast, iface)?,
                    Carriage::Native => native::group(group, iface)?,
                };
                let port = self.add_port(socket, PortKind::Group(group));
                self.members.push(Member::new(group, iface, port));
                self.members.len() - 1
            }
        };
        self.members[index].dports.push(dport);
        self.filter_member(index)
    }

    /// Undo one `join` with the same arguments.
    pub(in crate::driver) fn leave(&mut self, group: Ipv4Addr, dport: u16, ifaces: &[Interface]) {
        for iface in ifaces {
            let Some(index) = self.members.iter().position(|m| m.is(group, iface)) else {
                continue;
            };
            let member = &mut self.members[index];
            if let Some(at) = member.dports.iter().position(|p| *p == dport) {
                member.dports.swap_remove(at);
            }
            if member.dports.is_empty() {
                let member = self.members.swap_remove(index);
                self.remove_port(member.port);
            } else {
                // The old filter only passes more than needed.
                let _ = self.filter_member(index);
            }
        }
        let _ = self.filter_unicast();
    }

    /// Tell the kernel which PGM ports the unicast socket is for; native only.
    pub(super) fn filter_unicast(&self) -> io::Result<()> {
        if self.carriage != Carriage::Native {
            return Ok(());
        }
        let sessions = self.members.iter().flat_map(|m| &m.dports).copied();
        let sources = self.sources.values().map(|source| source.tsi.sport);
        let sources = sources.chain(self.repairers.iter().map(|repairer| repairer.tsi.sport));
        native::attach(
            &self.ports[&self.unicast].socket,
            &Ports {
                sessions: distinct(sessions),
                sources: distinct(sources),
                upstream: Upstream::Destination,
            },
        )
    }

    /// The same for the socket of a group.
    pub(super) fn filter_member(&self, index: usize) -> io::Result<()> {
        if self.carriage != Carriage::Native {
            return Ok(());
        }
        let Member { port, dports, .. } = &self.members[index];
        let ports = distinct(dports.iter().copied());
        native::attach(
            &self.ports[port].socket,
            &Ports {
                sessions: ports.clone(),
                sources: ports,
                upstream: Upstream::Source,
            },
        )
    }
}

fn distinct(ports: impl Iterator<Item = u16>) -> Vec<u16> {
    let mut ports: Vec<u16> = ports.collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}
