//! The sockets of one carriage, UDP or native: joins groups, receives and sends batches of TPDUs.
//!
//! Owned by the engine thread. Knows addresses, ports and TSIs, not the protocol. Typical round:
//! `receive` what is readable, hand it to the endpoint, `forward` what was somebody else's, `commit` all
//! the endpoint wants to send, `flush`; while `is_blocked`, commit nothing more; while `needs_flush`,
//! `flush` again after a millisecond.

mod receiving;

use super::Carriage;
use super::batch::{Batch, Exit};
use super::config::{Defaults, SendOptions, UdpEncap, WantedInterface};
use super::fault::Loss;
use super::follow::{Member, Source};
use super::forward::{self, Forwarder};
pub(super) use super::iface::Interface;
use super::log::Level;
use super::native;
use super::private::EngineFd;
pub(super) use super::sys::BATCH;
use super::{iface, sys, udp};
use crate::endpoint::{Arrival, SessionId, SourceId};
use crate::num::Tsi;
use crate::{Destination, Transmit, Via, log_line};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

/// Names a descriptor of a carrier; not reused within a carrier's life, unlike the descriptor's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PortId(pub u32);

/// A descriptor of a carrier to be watched for input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watch {
    /// To add to the epoll set (level-triggered `EPOLLIN`).
    pub fd: RawFd,
    /// For [`Carrier::receive`].
    pub port: PortId,
}

/// Counters of a carrier; 64-bit, monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CarrierStats {
    /// TPDUs handed to `each`.
    pub received: u64,
    /// Octets of them.
    pub received_bytes: u64,
    /// Dropped because they are no whole packet: truncated, a bad IP header, a bad forwarded frame.
    pub bad_packets: u64,
    /// Dropped on purpose (`PGM_FAULT_LOSS`).
    pub fault_dropped: u64,
    /// Dropped by the kernel because a receive buffer was full.
    pub kernel_dropped: u64,
    /// TPDUs the kernel took.
    pub sent: u64,
    /// Octets of them.
    pub sent_bytes: u64,
    /// TPDUs the kernel refused for good, or with no socket to go by.
    pub send_errors: u64,
    /// Times a socket refused for now (EAGAIN, ENOBUFS).
    pub blocked: u64,
    /// TPDUs handed to another process of this host (design D6).
    pub forwarded: u64,
    /// TPDUs for a TSI that no process of this host has, or whose process does not keep up.
    pub forward_dropped: u64,
    /// TPDUs handed to us by another process; they count as received, too.
    pub forwarded_in: u64,
}

/// Octets between two receive buffers: the longest IP packet, and a shift so that the beginnings of
/// 64 packets do not all fall on the same cache sets. Pages never written to take no memory.
const STRIDE: usize = (66 << 10) + 64;

/// Sockets of one carriage.
#[derive(Debug)]
pub(super) struct Carrier {
    carriage: Carriage,
    wanted: Option<WantedInterface>,
    generation: u64,
    next_port: u32,
    /// Everything that receives.
    pub(super) ports: BTreeMap<PortId, Port>,
    /// Any address: unicast goes out here, and comes in.
    unicast: PortId,
    /// The same for the very addresses that sources send from.
    addresses: Vec<Address>,
    pub(super) sources: BTreeMap<SourceId, Source>,
    pub(super) members: Vec<Member>,
    repairers: Vec<Repairer>,
    /// Sends with the source address of others; native, and only for a DLR.
    as_source: Option<EngineFd>,
    /// TTL of what a DLR multicasts.
    ttl: u8,
    batch: Batch,
    forwarder: Forwarder,
    loss: Loss,
    buffers: Vec<u8>,
    stats: CarrierStats,
}

/// A socket that receives.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) socket: EngineFd,
    kind: PortKind,
}

#[derive(Clone, Copy, Debug)]
enum PortKind {
    /// Unicast.
    Unicast,
    /// One group on one interface.
    Group(Ipv4Addr),
    /// Unicast that another process got for this TSI.
    Inlet(Tsi),
    /// The kernel's word that addresses have come or gone.
    Addresses,
}

/// A session that repairs in its source's place (DLR).
#[derive(Debug)]
struct Repairer {
    id: SessionId,
    tsi: Tsi,
    /// Where other processes hand over what is for it; UDP only.
    inlet: Option<PortId>,
}

/// An address of this host that sources send from; UDP only.
///
/// The kernel prefers its socket to those for any address: so receivers on this host, other
/// implementations among them, cannot take the NAKs away.
#[derive(Debug)]
struct Address {
    addr: Ipv4Addr,
    port: PortId,
    /// How many.
    sources: usize,
}

impl Carrier {
    /// Open the carriage's unicast socket.
    ///
    /// # Errors
    /// `EPERM` native without CAP_NET_RAW, `EADDRINUSE` the port is taken by a program that does not share.
    pub(super) fn open(carriage: Carriage, defaults: &Defaults) -> io::Result<Self> {
        let socket = match carriage {
            Carriage::Udp(encap) => udp::unicast(Ipv4Addr::UNSPECIFIED, encap.unicast)
                .inspect_err(|e| log_line!(Level::Error, "UDP port {}: {e}", encap.unicast))?,
            Carriage::Native => native::unicast()?,
        };
        if defaults.fault_loss > 0.0 {
            let percent = defaults.fault_loss * 100.0;
            log_line!(
                Level::Info,
                "dropping {percent} % of what arrives on purpose"
            );
        }
        let mut carrier = Self {
            carriage,
            wanted: defaults.interface.clone(),
            generation: 0,
            next_port: 0,
            ports: BTreeMap::new(),
            unicast: PortId(0),
            addresses: Vec::new(),
            sources: BTreeMap::new(),
            members: Vec::new(),
            repairers: Vec::new(),
            as_source: None,
            ttl: defaults.send.ttl,
            batch: Batch::new(defaults.gso && matches!(carriage, Carriage::Udp(_))),
            forwarder: Forwarder::new()?,
            loss: Loss::new(defaults.fault_loss, defaults.fault_seed),
            buffers: vec![0; BATCH * STRIDE],
            stats: CarrierStats::default(),
        };
        carrier.unicast = carrier.add_port(socket, PortKind::Unicast);
        // Where it is not allowed an interface that goes is gone.
        if let Ok(news) = sys::address_news() {
            carrier.add_port(news, PortKind::Addresses);
        }
        Ok(carrier)
    }

    /// All descriptors to watch. Read it again when [`Self::generation`] has changed, and compare by
    /// [`PortId`]: ports that are gone are closed and thus out of the epoll set, and a new one may have
    /// the number of one that is gone.
    pub(super) fn watches(&self) -> Vec<Watch> {
        self.ports
            .iter()
            .map(|(id, port)| Watch {
                fd: port.socket.as_raw_fd(),
                port: *id,
            })
            .collect()
    }

    /// Changes whenever `watches` does.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The interface for this group (design D9): `wanted`, else `PGM_INTERFACE`, else the route, else the first
    /// that can multicast, else loopback.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` no interface has the address, `ENODEV` no interface at all.
    pub(super) fn route(&self, group: Ipv4Addr, wanted: Option<Ipv4Addr>) -> io::Result<Interface> {
        let wanted = wanted
            .filter(|addr| !addr.is_unspecified())
            .map(WantedInterface::Addr);
        iface::find(group, wanted.as_ref().or(self.wanted.as_ref()))
    }

    /// Whether it is native PGM.
    pub(super) fn is_native(&self) -> bool {
        self.carriage == Carriage::Native
    }

    /// Largest TPDU of a source with these options: the IP packet less IP and UDP headers, or less if it
    /// was told so.
    pub(super) fn max_tpdu(&self, iface: &Interface, options: &SendOptions) -> usize {
        let packet = match options.mtu {
            0 => usize::try_from(iface.mtu)
                .unwrap_or(usize::MAX)
                .min(usize::from(u16::MAX)),
            wanted => wanted.into(),
        };
        let overhead = match self.carriage {
            Carriage::Udp(_) => udp::OVERHEAD,
            Carriage::Native => native::OVERHEAD,
        };
        let room = packet.saturating_sub(overhead);
        match options.tpdu_size {
            0 => room,
            wanted => room.min(wanted.into()),
        }
    }

    /// Open the sockets of a source. Open it before the endpoint emits anything for it.
    ///
    /// # Errors
    /// `EADDRINUSE` another process of this host has this TSI: choose another; or as socket calls say.
    pub(super) fn open_source(
        &mut self,
        id: SourceId,
        tsi: Tsi,
        group: Ipv4Addr,
        dport: u16,
        iface: &Interface,
        options: &SendOptions,
    ) -> io::Result<()> {
        // The session port is in the TPDUs; no socket of a source depends on it.
        let _ = dport;
        let source = match self.carriage {
            Carriage::Udp(encap) => {
                let inlet = forward::inlet(tsi)?;
                let to = SocketAddrV4::new(group, encap.multicast);
                let plain = udp::source(to, iface, options)?;
                self.receive_at(iface.addr, encap.unicast)?;
                let inlet = self.add_port(inlet, PortKind::Inlet(tsi));
                Source {
                    tsi,
                    addr: iface.addr,
                    iface: iface.index,
                    plain,
                    alert: None,
                    receives: Some((inlet, iface.addr)),
                }
            }
            Carriage::Native => {
                let [plain, alert] = native::source(group, iface, options)?;
                Source {
                    tsi,
                    addr: iface.addr,
                    iface: iface.index,
                    plain,
                    alert: Some(alert),
                    receives: None,
                }
            }
        };
        self.sources.insert(id, source);
        self.filter_unicast()
    }

    /// Close the sockets of a source; what it still has queued is sent or dropped first.
    pub(super) fn close_source(&mut self, id: SourceId) {
        // Refusals are counted; nobody is left to tell.
        let _ = self.batch.flush();
        let Some(source) = self.sources.remove(&id) else {
            return;
        };
        for socket in [Some(&source.plain), source.alert.as_ref()]
            .into_iter()
            .flatten()
        {
            self.batch.forget(socket.as_raw_fd());
        }
        if let Some((inlet, addr)) = source.receives {
            self.remove_port(inlet);
            self.stop_receiving_at(addr);
        }
        // The old filter only passes more than needed.
        let _ = self.filter_unicast();
    }

    /// Whether packets can be sent with a source address of others, from now on: only native PGM can.
    pub(super) fn open_as_source(&mut self) -> io::Result<()> {
        if self.as_source.is_none() {
            self.as_source = match self.carriage {
                Carriage::Udp(_) => return Err(io::ErrorKind::Unsupported.into()),
                Carriage::Native => Some(native::as_source()?),
            };
        }
        Ok(())
    }

    /// Receive NAKs by unicast for a session that repairs for the source `tsi`.
    ///
    /// # Errors
    /// `EADDRINUSE` another process of this host has this TSI, its source or another DLR.
    pub(super) fn open_repairer(&mut self, id: SessionId, tsi: Tsi) -> io::Result<()> {
        let inlet = match self.carriage {
            Carriage::Udp(_) => Some(forward::inlet(tsi)?),
            Carriage::Native => None,
        };
        let inlet = inlet.map(|inlet| self.add_port(inlet, PortKind::Inlet(tsi)));
        self.repairers.push(Repairer { id, tsi, inlet });
        self.filter_unicast()
    }

    /// Undo `open_repairer`, if it was done.
    pub(super) fn close_repairer(&mut self, id: SessionId) {
        let Some(index) = self.repairers.iter().position(|r| r.id == id) else {
            return;
        };
        if let Some(inlet) = self.repairers.swap_remove(index).inlet {
            self.remove_port(inlet);
        }
        // The old filter only passes more than needed.
        let _ = self.filter_unicast();
    }

    /// Receive one batch from a watched descriptor; `each` gets every TPDU. Returns how many packets the
    /// kernel had; 0: it would block, or the port is gone. Fewer than [`BATCH`]: nothing is left.
    ///
    /// # Errors
    /// Only what a socket will say again and again.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        port: PortId,
        each: &mut dyn FnMut(Arrival, &[u8]),
    ) -> io::Result<usize> {
        let Some(Port { socket, kind }) = self.ports.get(&port) else {
            return Ok(0);
        };
        if let PortKind::Addresses = kind {
            self.addresses_changed(port);
            return Ok(0);
        }
        let batch = sys::receive_batch(socket.as_raw_fd(), &mut self.buffers, STRIDE)?;
        if let PortKind::Group(_) = kind
            && !batch.is_empty()
            && let Some(member) = self.members.iter_mut().find(|m| m.port == port)
        {
            member.on_heard(now);
        }
        let (stats, loss) = (&mut self.stats, &mut self.loss);
        let mut deliver = |stats: &mut CarrierStats, arrival, tpdu: &[u8]| {
            if loss.strikes() {
                stats.fault_dropped += 1;
                return;
            }
            stats.received += 1;
            stats.received_bytes += tpdu.len() as u64;
            each(arrival, tpdu);
        };
        for (incoming, buffer) in batch.iter().zip(self.buffers.chunks_exact(STRIDE)) {
            let packet = &buffer[..incoming.len];
            let group = match kind {
                PortKind::Group(group) => Some(*group),
                PortKind::Unicast | PortKind::Addresses => None,
                PortKind::Inlet(tsi) => {
                    let mut frames = 0;
                    let bad = forward::open_frames(*tsi, packet, |from, tpdu| {
                        frames += 1;
                        deliver(stats, Arrival { from, group: None }, tpdu);
                    });
                    stats.forwarded_in += frames;
                    stats.bad_packets += bad;
                    continue;
                }
            };
            let tpdu = match self.carriage {
                Carriage::Udp(_) => Some(packet),
                Carriage::Native => native::strip_ip_header(packet),
            };
            match tpdu.filter(|_| !incoming.truncated) {
                Some(tpdu) => deliver(
                    stats,
                    Arrival {
                        from: incoming.from,
                        group,
                    },
                    tpdu,
                ),
                None => stats.bad_packets += 1,
            }
        }
        Ok(batch.len())
    }

    /// The batch's buffer, to let `poll_transmit` append to it directly. Every TPDU appended must be
    /// announced with [`Self::commit`] before the next.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        self.batch.buffer()
    }

    /// Queue the `transmit.len` octets just appended to [`Self::buffer`]; sends when the batch is full.
    pub(super) fn commit(&mut self, transmit: &Transmit) {
        let source = match transmit.via {
            Via::Source(id) => self.sources.get(&id),
            Via::Session(_) => None,
        };
        let Transmit { len, ttl, .. } = *transmit;
        let unicast = self.ports[&self.unicast].socket.as_raw_fd();
        let full = match (transmit.to, source) {
            (Destination::Group(_), Some(source)) => {
                let alert = source.alert.as_ref().filter(|_| transmit.router_alert);
                let fd = alert.unwrap_or(&source.plain).as_raw_fd();
                self.batch.queue(
                    len,
                    [Exit {
                        fd,
                        to: None,
                        via: None,
                        ttl,
                    }],
                )
            }
            (Destination::Group(group), None) => {
                // A receiver's word to the others: wherever the group was joined. Only a DLR's goes further
                // than the link.
                let to = Some(self.address(group));
                let ttl = Some(ttl.unwrap_or(self.ttl));
                let members = self.members.iter().filter(|m| m.group == group);
                let spoofed = transmit.source.and_then(|source| {
                    let fd = self.as_source.as_ref()?.as_raw_fd();
                    Some((fd, source))
                });
                self.batch.queue(
                    len,
                    members.map(|m| Exit {
                        fd: spoofed.map_or(unicast, |(fd, _)| fd),
                        to,
                        via: Some((m.iface, spoofed.map_or(m.addr, |(_, source)| source))),
                        ttl,
                    }),
                )
            }
            (Destination::Host(host), _) => {
                let to = Some(self.address(host));
                self.batch.queue(
                    len,
                    [Exit {
                        fd: unicast,
                        to,
                        via: None,
                        ttl,
                    }],
                )
            }
        };
        if full {
            // What is refused for good is counted; what is refused for now stays.
            let _ = self.batch.flush();
        }
    }

    /// Send all that is queued. What a socket refuses for now stays queued, see [`Self::is_blocked`].
    ///
    /// # Errors
    /// The first packet refused for good, after everything was tried; already counted.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.forwarder.flush();
        self.batch.flush()
    }

    /// TPDUs the kernel took so far.
    pub(super) fn sent(&self) -> u64 {
        self.batch.sent.packets
    }

    /// TPDUs are still queued because a socket refused them: commit nothing more, `flush` again after
    /// about a millisecond.
    pub(super) fn is_blocked(&self) -> bool {
        self.batch.is_blocked()
    }

    /// `flush` again after about a millisecond, though nothing new was committed: blocked, or a process that
    /// TPDUs are forwarded to is slow (which is no reason to stop).
    pub(super) fn needs_flush(&self) -> bool {
        self.batch.is_blocked() || self.forwarder.is_waiting()
    }

    /// Hand an upstream TPDU for a TSI of another process of this host to that process (design D6).
    pub(super) fn forward(&mut self, tsi: Tsi, tpdu: &[u8], from: Ipv4Addr) {
        // Native: the kernel has given everybody a copy. Our own: it would come back for ever.
        let ours = self.sources.values().any(|source| source.tsi == tsi)
            || self.repairers.iter().any(|repairer| repairer.tsi == tsi);
        if ours || self.carriage == Carriage::Native {
            self.stats.forward_dropped += 1;
        } else {
            self.forwarder.forward(tsi, tpdu, from);
        }
    }

    /// Counters.
    pub(super) fn stats(&self) -> CarrierStats {
        let open = self
            .ports
            .values()
            .map(|port| sys::kernel_drops(port.socket.as_raw_fd()));
        let sent = self.batch.sent;
        CarrierStats {
            kernel_dropped: self.stats.kernel_dropped + open.sum::<u64>(),
            sent: sent.packets,
            sent_bytes: sent.octets,
            send_errors: sent.errors,
            blocked: sent.blocked,
            forwarded: self.forwarder.forwarded,
            forward_dropped: self.stats.forward_dropped + self.forwarder.dropped,
            ..self.stats
        }
    }

    /// Where a host or group listens.
    fn address(&self, to: Ipv4Addr) -> SocketAddrV4 {
        let port = match self.carriage {
            Carriage::Udp(UdpEncap { unicast, multicast }) => {
                if to.is_multicast() {
                    multicast
                } else {
                    unicast
                }
            }
            Carriage::Native => 0,
        };
        SocketAddrV4::new(to, port)
    }

    fn add_port(&mut self, socket: EngineFd, kind: PortKind) -> PortId {
        let id = PortId(self.next_port);
        self.next_port = self.next_port.wrapping_add(1);
        self.generation += 1;
        self.ports.insert(id, Port { socket, kind });
        id
    }

    fn remove_port(&mut self, id: PortId) {
        if let Some(port) = self.ports.remove(&id) {
            self.generation += 1;
            self.stats.kernel_dropped += sys::kernel_drops(port.socket.as_raw_fd());
        }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        log_line!(
            Level::Debug,
            "{:?} closes: {:?}",
            self.carriage,
            self.stats()
        );
    }
}

#[cfg(test)]
#[path = "carrier_tests.rs"]
mod tests;
