//! Interfaces that go and come back while their sockets live.
//!
//! An interface that is removed, or loses its configuration, takes the memberships of sockets with it, and comes back
//! under its address with another index. A netlink socket tells of addresses; then whatever has the address joins there
//! again and sends from there.

use super::carrier::{Carrier, PortId};
use super::log::Level;
use super::{sys, udp};
use crate::log_line;
use socket2::SockRef;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

impl Carrier {
    /// Something is known about addresses: forget what, and look.
    pub(super) fn addresses_changed(&mut self, news: PortId) {
        if let Some(news) = self.ports.get(&news) {
            // What did not fit into the socket's buffer is no loss.
            while SockRef::from(&news.socket)
                .recv(&mut [MaybeUninit::uninit(); 64])
                .is_ok()
            {}
        }
        self.follow();
    }

    /// Be where the addresses are now.
    pub(super) fn follow(&mut self) {
        let Ok(all) = sys::interface_addresses() else {
            return;
        };
        for member in &mut self.members {
            let Some(found) = all.iter().find(|i| i.addr == member.addr) else {
                continue;
            };
            // Refused if it is a member there already.
            let socket = &self.ports[&member.port].socket;
            if udp::join(socket, member.group, found.index).is_ok() {
                member.iface = found.index;
                let (group, name) = (member.group, &found.name);
                log_line!(
                    Level::Info,
                    "interface {name} is back: joined {group} again"
                );
            }
        }
        for source in self.sources.values_mut() {
            let Some(found) = all.iter().find(|i| i.addr == source.addr) else {
                continue;
            };
            if found.index == source.iface {
                continue;
            }
            let sockets = [Some(&source.plain), source.alert.as_ref()];
            let moved = sockets.into_iter().flatten().all(|socket| {
                sys::set_multicast_if(socket.as_raw_fd(), found.index, source.addr).is_ok()
            });
            if moved {
                source.iface = found.index;
                let (tsi, name) = (source.tsi, &found.name);
                log_line!(
                    Level::Info,
                    "interface {name} is back: source {tsi} uses it"
                );
            }
        }
    }
}
