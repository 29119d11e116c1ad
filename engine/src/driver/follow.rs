//! Interfaces that go and come back while their sockets live, and memberships that the network forgets.
//!
//! An interface that is removed, or loses its configuration, takes the memberships of sockets with it, and comes back
//! under its address with another index, or under its name with another address. A netlink socket tells of addresses;
//! then whatever was there joins again and sends from there.
//!
//! A switch that listens to IGMP forgets members when nobody asks them in time, and a host is not told. It hears nothing
//! any more; so a group whose sessions are silent is joined anew, which reports it.

use super::carrier::{Carrier, PortId};
use super::iface::Interface;
use super::log::Level;
use super::private::EngineFd;
use super::sys::InterfaceAddress;
use super::{successor, sys, udp};
use crate::log_line;
use crate::num::Tsi;
use socket2::SockRef;
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Silence after which a group is joined anew: some of our sources' ambient SPM intervals.
const SILENCE: Duration = Duration::from_secs(4);
/// It doubles while nothing is heard, up to this.
const SILENCE_MAX: Duration = Duration::from_secs(64);
/// Between leaving and joining. The kernel reports nothing while another socket of the host is a member: all who
/// heard the last packet leave at the same time, and nobody joins before all have left.
const APART: Duration = Duration::from_millis(100);

/// A group joined on an interface.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) group: Ipv4Addr,
    /// Index of the interface at first; listeners know it by that.
    joined: u32,
    /// And now, if it came back.
    pub(super) iface: u32,
    name: String,
    /// Its address at first.
    home: Ipv4Addr,
    /// And now.
    pub(super) addr: Ipv4Addr,
    pub(super) port: PortId,
    /// Data-destination ports of the listeners, each as often as there are listeners.
    pub(super) dports: Vec<u16>,
    silence: Silence,
}

impl Member {
    pub(super) fn new(group: Ipv4Addr, iface: &Interface, port: PortId) -> Self {
        Self {
            group,
            joined: iface.index,
            iface: iface.index,
            name: iface.name.clone(),
            home: iface.addr,
            addr: iface.addr,
            port,
            dports: Vec::new(),
            silence: Silence::default(),
        }
    }

    /// Whether it is the group on what the listener knows as `iface`.
    pub(super) fn is(&self, group: Ipv4Addr, iface: &Interface) -> bool {
        self.group == group && (self.joined == iface.index || self.iface == iface.index)
    }

    /// Something came.
    pub(super) fn on_heard(&mut self, now: Instant) {
        self.silence.on_heard(now);
    }

    /// Where it is now: at its address, else under its name. All of 127/8 is where it was.
    fn find<'a>(&self, all: &'a [InterfaceAddress]) -> Option<&'a InterfaceAddress> {
        let by_address = all.iter().find(|i| i.addr == self.home);
        let by_name = || all.iter().find(|i| i.name == self.name);
        by_address.or_else(|| by_name().filter(|_| !self.home.is_loopback()))
    }
}

/// Sockets of one source.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) tsi: Tsi,
    /// Its address, and the index of the interface that has it.
    pub(super) addr: Ipv4Addr,
    pub(super) iface: u32,
    /// Sends to the group.
    pub(super) plain: EngineFd,
    /// The same with Router Alert; native only.
    pub(super) alert: Option<EngineFd>,
    /// Where other processes hand over what is for it, and the address it shares; UDP only.
    pub(super) receives: Option<(PortId, Ipv4Addr)>,
}

/// What to do about a membership whose group is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Leave,
    Join,
}

/// When a group was heard, and what is due if it is not.
#[derive(Debug, Default)]
struct Silence {
    /// When it will have lasted too long; `None`: nothing came yet, and nothing is missed.
    leave: Option<Instant>,
    patience: Duration,
    /// It was left, to be joined then.
    join: Option<Instant>,
}

impl Silence {
    fn on_heard(&mut self, now: Instant) {
        self.patience = SILENCE;
        self.leave = Some(now + SILENCE);
    }

    /// When the next step is due. Only who has sessions misses anything.
    fn at(&self, sessions: bool) -> Option<Instant> {
        self.join.or(self.leave.filter(|_| sessions))
    }

    /// The step that is due.
    fn take(&mut self, now: Instant, sessions: bool) -> Option<Step> {
        if self.at(sessions)? > now {
            return None;
        }
        if self.join.take().is_none() {
            self.join = Some(now + APART);
            return Some(Step::Leave);
        }
        self.patience = (self.patience * 2).min(SILENCE_MAX);
        self.leave = Some(now + self.patience);
        Some(Step::Join)
    }
}

impl Carrier {
    /// When [`Self::handle_silence`] is due.
    pub(super) fn silence_at(&self, sessions: bool) -> Option<Instant> {
        let due = self.members.iter().filter_map(|m| m.silence.at(sessions));
        due.min()
    }

    /// Join anew what has been silent though there are sessions.
    pub(super) fn handle_silence(&mut self, now: Instant, sessions: bool) {
        for member in &mut self.members {
            let (group, name) = (member.group, &member.name);
            let socket = &self.ports[&member.port].socket;
            // Refused if the interface is gone; then its return brings the membership back.
            match member.silence.take(now, sessions) {
                Some(Step::Leave) => {
                    log_line!(
                        Level::Info,
                        "interface {name} is silent: joining {group} anew"
                    );
                    let _ = udp::leave(socket, group, member.iface);
                }
                Some(Step::Join) => {
                    let _ = udp::join(socket, group, member.iface);
                }
                None => {}
            }
        }
    }

    /// Something is known about addresses: forget what, and look.
    pub(super) fn addresses_changed(&mut self, news: PortId) {
        if let Some(news) = self.ports.get(&news) {
            // What did not fit into the socket's buffer is no loss.
            while SockRef::from(&news.socket)
                .recv(&mut [MaybeUninit::uninit(); 64])
                .is_ok()
            {}
        }
        // A successor lives for seconds, and libc's list comes from a heap that may be locked there.
        if !successor::is_here() {
            self.follow();
        }
    }

    /// Be where the addresses are now.
    pub(super) fn follow(&mut self) {
        let Ok(all) = sys::interface_addresses() else {
            return;
        };
        for member in &mut self.members {
            let Some(found) = member.find(&all) else {
                continue;
            };
            member.addr = found.addr;
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
            // By its address alone: receivers believe no other.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_group_is_joined_anew_ever_less_often() {
        let t0 = Instant::now();
        let mut silence = Silence::default();
        assert_eq!(silence.at(true), None, "nothing came, nothing is missed");
        silence.on_heard(t0);
        assert_eq!(silence.at(false), None, "no session misses anything");
        let mut seen = Vec::new();
        while let Some(at) = silence.at(true).filter(|at| *at < t0 + SILENCE * 40) {
            seen.push((at - t0, silence.take(at, true).expect("it is due")));
            assert_eq!(silence.take(at, true), None);
        }
        let left = seen.iter().filter(|(_, step)| *step == Step::Leave);
        let left: Vec<_> = left.map(|(at, _)| at.as_secs()).collect();
        assert_eq!(
            left,
            [4, 12, 28, 60, 124],
            "4, 8, 16, 32, 64 s after the last"
        );
        for pair in seen.chunks_exact(2) {
            assert_eq!((pair[0].1, pair[1].1), (Step::Leave, Step::Join));
            assert_eq!(pair[1].0 - pair[0].0, APART);
        }
        silence.on_heard(t0 + SILENCE * 100);
        assert_eq!(silence.at(true), Some(t0 + SILENCE * 101), "as at first");
    }

    #[test]
    fn what_was_left_is_joined_whatever_happens() {
        let t0 = Instant::now();
        let mut silence = Silence::default();
        silence.on_heard(t0);
        assert_eq!(silence.take(t0 + SILENCE, true), Some(Step::Leave));
        // A packet that had waited in the socket, and then the last session ended.
        silence.on_heard(t0 + SILENCE);
        let at = silence.at(false).expect("it is due");
        assert_eq!(at, t0 + SILENCE + APART);
        assert_eq!(silence.take(at, false), Some(Step::Join));
    }
}
