//! TPDUs on their way out, collected so that one system call sends many (design D14).

use super::sys::{self, BATCH, Outgoing};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::os::fd::RawFd;

/// Octets after which a batch is sent though it has fewer than [`BATCH`] packets.
const OCTETS_MAX: usize = 1 << 20;
/// Packets that may wait while sockets refuse them; the driver stops well before.
const WAITING_MAX: usize = 4 * BATCH;
/// Most UDP payload of one datagram, cut by the kernel or not.
const DATAGRAM_MAX: usize = 65_507;

/// Where a TPDU leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exit {
    /// Socket; open until the batch is flushed or [`Batch::forget`] is called.
    pub fd: RawFd,
    /// Destination if the socket is not connected.
    pub to: Option<SocketAddrV4>,
    /// Interface index and source address instead of the socket's.
    pub via: Option<(u32, Ipv4Addr)>,
    /// TTL instead of the socket's.
    pub ttl: Option<u8>,
}

#[derive(Clone, Debug)]
struct Packet {
    exit: Exit,
    octets: Range<usize>,
}

/// Counters of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    /// TPDUs the kernel took.
    pub packets: u64,
    /// Octets of them.
    pub octets: u64,
    /// TPDUs refused for good.
    pub errors: u64,
    /// Times a socket refused for now.
    pub blocked: u64,
}

/// What waits to be sent.
#[derive(Debug)]
pub(super) struct Batch {
    octets: Vec<u8>,
    packets: Vec<Packet>,
    /// Let the kernel cut runs of equal datagrams.
    gso: bool,
    blocked: bool,
    /// Counters.
    pub sent: Sent,
}

impl Batch {
    pub(super) fn new(gso: bool) -> Self {
        Self {
            octets: Vec::new(),
            packets: Vec::new(),
            gso,
            blocked: false,
            sent: Sent::default(),
        }
    }

    /// To append a TPDU to, before [`Self::queue`].
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.octets
    }

    /// Queue the last `len` octets of the buffer once for each exit. Returns whether to flush now.
    pub(super) fn queue(&mut self, len: usize, exits: impl IntoIterator<Item = Exit>) -> bool {
        let start = self.octets.len().saturating_sub(len);
        let octets = start..self.octets.len();
        let before = self.packets.len();
        if before >= WAITING_MAX {
            self.octets.truncate(start);
            self.sent.errors += 1;
            return true;
        }
        self.packets.extend(exits.into_iter().map(|exit| Packet {
            exit,
            octets: octets.clone(),
        }));
        if self.packets.len() == before {
            // No way out, for example to a group nobody has joined.
            self.octets.truncate(start);
            self.sent.errors += 1;
        }
        self.packets.len() >= BATCH || self.octets.len() >= OCTETS_MAX
    }

    /// A socket refused, and what it refused is still here.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Send all; what sockets refuse for now stays.
    ///
    /// # Errors
    /// The first refused for good.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let packets = std::mem::take(&mut self.packets);
        let mut refusing: Vec<RawFd> = Vec::new();
        let mut kept: Vec<Packet> = Vec::new();
        let mut result = Ok(());
        for run in packets.chunk_by(|a, b| a.exit.fd == b.exit.fd) {
            let Some(fd) = run.first().map(|packet| packet.exit.fd) else {
                continue;
            };
            let mut rest = run;
            while !rest.is_empty() && !refusing.contains(&fd) {
                match self.send_some(fd, rest) {
                    Ok(taken) => rest = &rest[taken..],
                    Err(error) if is_temporary(&error) => {
                        self.sent.blocked += 1;
                        refusing.push(fd);
                    }
                    Err(error) => {
                        self.sent.errors += 1;
                        rest = &rest[1..];
                        result = result.and(Err(error));
                    }
                }
            }
            kept.extend_from_slice(rest);
        }
        self.blocked = !kept.is_empty();
        self.keep(kept);
        if packets.capacity() > self.packets.capacity() && self.packets.is_empty() {
            self.packets = packets;
            self.packets.clear();
        }
        result
    }

    /// Send the first packets of a run on one socket; how many the kernel took.
    fn send_some(&mut self, fd: RawFd, run: &[Packet]) -> io::Result<usize> {
        loop {
            // Each datagram, and how many packets it is made of.
            let mut joined = arrayvec::ArrayVec::<(Outgoing<'_>, usize), BATCH>::new();
            let mut rest = run;
            while let Some((first, _)) = rest.split_first()
                && !joined.is_full()
            {
                let count = if self.gso { equal_run(rest) } else { 1 };
                let octets = first.octets.start..rest[count - 1].octets.end;
                let Exit { to, via, ttl, .. } = first.exit;
                // The range check of `equal_run` keeps the length within 16 bits.
                let segment = (count > 1).then_some(first.octets.len() as u16);
                let octets = &self.octets[octets];
                joined.push((
                    Outgoing {
                        octets,
                        to,
                        via,
                        ttl,
                        segment,
                    },
                    count,
                ));
                rest = &rest[count..];
            }
            let datagrams: arrayvec::ArrayVec<_, BATCH> = joined.iter().map(|(o, _)| *o).collect();
            let result = sys::send_batch(fd, &datagrams);
            match result {
                Ok(n) => {
                    let taken = joined[..n].iter().map(|(_, count)| count).sum::<usize>();
                    self.sent.packets += taken as u64;
                    let octets = joined[..n]
                        .iter()
                        .map(|(o, _)| o.octets.len())
                        .sum::<usize>();
                    self.sent.octets += octets as u64;
                    return Ok(taken);
                }
                // A kernel, device or packet size without segmentation: never try again.
                Err(error) if joined[0].0.segment.is_some() && !is_temporary(&error) => {
                    self.gso = false;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Start anew with these packets of the old buffer.
    fn keep(&mut self, kept: Vec<Packet>) {
        if kept.is_empty() {
            self.octets.clear();
            return;
        }
        let old = std::mem::take(&mut self.octets);
        let mut copied: Option<Range<usize>> = None;
        for mut packet in kept {
            // Copies of one TPDU to several exits stay one.
            if copied.as_ref() != Some(&packet.octets) {
                self.octets.extend_from_slice(&old[packet.octets.clone()]);
                copied = Some(packet.octets.clone());
            }
            packet.octets = self.octets.len() - packet.octets.len()..self.octets.len();
            self.packets.push(packet);
        }
    }

    /// Drop what waits for a socket that is about to be closed.
    pub(super) fn forget(&mut self, fd: RawFd) {
        let before = self.packets.len();
        self.packets.retain(|packet| packet.exit.fd != fd);
        self.sent.errors += (before - self.packets.len()) as u64;
        if self.packets.is_empty() {
            self.octets.clear();
            self.blocked = false;
        }
    }
}

/// Whether the kernel may take the same packet in a moment.
fn is_temporary(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(
        errno,
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR)
    )
}

/// How many of the first packets can leave as one for the kernel to cut: same exit, one after the
/// other in the buffer, equal lengths save a shorter last one.
fn equal_run(packets: &[Packet]) -> usize {
    let Some((first, rest)) = packets.split_first() else {
        return 0;
    };
    let size = first.octets.len();
    let mut end = first.octets.end;
    let mut count = 1;
    for packet in rest {
        let len = packet.octets.len();
        let fits = packet.octets.end - first.octets.start <= DATAGRAM_MAX && count < BATCH;
        if packet.exit != first.exit || packet.octets.start != end || len > size || !fits {
            break;
        }
        end = packet.octets.end;
        count += 1;
        if len < size {
            break;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixDatagram;

    /// A receiver, and a sender connected to it.
    fn pair() -> (UdpSocket, UdpSocket) {
        let receiver = UdpSocket::bind("127.0.0.1:0").expect("bind");
        receiver.set_nonblocking(true).expect("non-blocking");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("bind");
        sender
            .connect(receiver.local_addr().expect("address"))
            .expect("connect");
        (receiver, sender)
    }

    /// The second refuses after a few datagrams that the first has not read.
    fn slow_pair() -> (UnixDatagram, UnixDatagram) {
        let (reader, refusing) = UnixDatagram::pair().expect("pair");
        reader.set_nonblocking(true).expect("non-blocking");
        socket2::SockRef::from(&refusing)
            .set_send_buffer_size(1)
            .expect("the least there is");
        (reader, refusing)
    }

    fn exit(socket: &UdpSocket) -> Exit {
        Exit {
            fd: socket.as_raw_fd(),
            to: None,
            via: None,
            ttl: None,
        }
    }

    fn push(batch: &mut Batch, exit: Exit, octets: &[u8]) -> bool {
        batch.buffer().extend_from_slice(octets);
        batch.queue(octets.len(), [exit])
    }

    fn received(socket: &UdpSocket) -> Vec<Vec<u8>> {
        let mut buffer = [0; 2048];
        std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|n| buffer[..n].to_vec())).collect()
    }

    /// Packets whose length and octets depend on their number.
    fn sample() -> Vec<Vec<u8>> {
        let lengths = [100, 100, 100, 40, 100, 7, 7, 9, 1400, 1400, 1400, 1];
        lengths
            .iter()
            .zip(0_u8..)
            .map(|(&n, i)| vec![i; n])
            .collect()
    }

    fn everything_arrives(gso: bool) {
        let (receiver, sender) = pair();
        let mut batch = Batch::new(gso);
        for packet in sample() {
            assert!(!push(&mut batch, exit(&sender), &packet));
        }
        batch.flush().expect("sent");
        assert_eq!(received(&receiver), sample());
        let octets: usize = sample().iter().map(Vec::len).sum();
        assert_eq!((batch.sent.packets, batch.sent.octets), (12, octets as u64));
        assert!(!batch.is_blocked());
    }

    #[test]
    fn packets_arrive_in_order_and_whole() {
        everything_arrives(false);
    }

    #[test]
    fn packets_cut_by_the_kernel_arrive_just_the_same() {
        everything_arrives(true);
    }

    #[test]
    fn runs_for_the_kernel_to_cut_are_found() {
        let (_receiver, sender) = pair();
        let mut batch = Batch::new(true);
        for packet in sample() {
            push(&mut batch, exit(&sender), &packet);
        }
        let mut rest = &batch.packets[..];
        let mut runs = Vec::new();
        while !rest.is_empty() {
            runs.push(equal_run(rest));
            rest = &rest[runs[runs.len() - 1]..];
        }
        assert_eq!(runs, [4, 2, 1, 1, 4]);
        push(
            &mut batch,
            Exit {
                ttl: Some(1),
                ..exit(&sender)
            },
            &[1],
        );
        assert_eq!(
            equal_run(&batch.packets[11..]),
            1,
            "another TTL is another exit"
        );
    }

    #[test]
    fn a_full_batch_wants_to_leave() {
        let (_receiver, sender) = pair();
        let mut batch = Batch::new(false);
        let full = (0..BATCH)
            .map(|_| push(&mut batch, exit(&sender), &[0; 10]))
            .collect::<Vec<_>>();
        assert!(full[BATCH - 1] && full[..BATCH - 1].iter().all(|f| !f));
    }

    #[test]
    fn a_socket_that_refuses_holds_up_nobody_else_and_loses_nothing() {
        let (reader, refusing) = slow_pair();
        let (receiver, sender) = pair();
        let mut batch = Batch::new(false);
        let slow = Exit {
            fd: refusing.as_raw_fd(),
            ..exit(&sender)
        };
        for n in 0..100 {
            push(&mut batch, slow, &[n]);
            push(&mut batch, exit(&sender), &[n]);
        }
        batch.flush().expect("no error, only not now");
        assert!(batch.is_blocked());
        assert_eq!(received(&receiver).len(), 100);
        let mut got = Vec::new();
        let mut buffer = [0; 16];
        for _ in 0..200 {
            while let Ok(n) = reader.recv(&mut buffer) {
                got.extend_from_slice(&buffer[..n]);
            }
            if !batch.is_blocked() {
                break;
            }
            batch.flush().expect("no error");
        }
        assert_eq!(got, (0..100).collect::<Vec<u8>>());
        assert!(batch.sent.blocked > 0);
        assert_eq!(batch.sent.errors, 0);
    }

    #[test]
    fn what_waits_is_bounded_and_forgotten_with_its_socket() {
        let (_reader, refusing) = slow_pair();
        let (_receiver, sender) = pair();
        let mut batch = Batch::new(false);
        let slow = Exit {
            fd: refusing.as_raw_fd(),
            ..exit(&sender)
        };
        for _ in 0..2_000 {
            if push(&mut batch, slow, &[0; 100]) {
                batch.flush().expect("no error, only not now");
            }
        }
        assert!(batch.packets.len() <= WAITING_MAX && batch.octets.len() <= WAITING_MAX * 100);
        batch.forget(refusing.as_raw_fd());
        assert!(!batch.is_blocked() && batch.octets.is_empty());
        assert_eq!(batch.sent.packets + batch.sent.errors, 2_000);
    }

    #[test]
    fn a_packet_refused_for_good_is_counted_and_the_next_one_leaves() {
        let (receiver, sender) = pair();
        let mut batch = Batch::new(false);
        push(&mut batch, exit(&sender), &[1]);
        push(&mut batch, exit(&sender), &vec![0; DATAGRAM_MAX + 1]);
        push(&mut batch, exit(&sender), &[2]);
        let error = batch.flush().expect_err("too long");
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
        assert_eq!(received(&receiver), [[1], [2]]);
        assert_eq!((batch.sent.packets, batch.sent.errors), (2, 1));
    }
}
