//! Handing unicast TPDUs to the process of this host that owns their TSI (design D6).
//!
//! All processes share the unicast UDP port, and the kernel gives a unicast packet to one of them, not
//! always the right one. So the owner of a source binds an abstract AF_UNIX datagram socket named after
//! the TSI, `pgmshim-tsi-1/GSI.PORT` (as [`Tsi`] prints; 1 is the version of the format below), and whoever gets
//! a TPDU for a TSI it does not own sends it there.
//!
//! A datagram is one or more frames: IPv4 source address (4 octets), length of the TPDU (2 octets, network
//! order), TPDU. Abstract names live in the network namespace, as the ports do, and have no permissions:
//! users need not be the same, as for the ports. So a local user can claim anything, and what is
//! accepted is only what any host could send by unicast anyway: upstream packets for this very TSI.

use super::private::EngineFd;
use crate::num::{Gsi, Tsi};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

/// Longest datagram, octets: a TPDU of any size with its frame header.
const DATAGRAM_MAX: usize = FRAME_HEADER + u16::MAX as usize;
/// Octets that wait for owners who do not keep up, over all TSIs. More is dropped: receivers repeat NAKs.
const WAITING_MAX: usize = 256 << 10;
/// Times a datagram is tried again; an owner that is stopped must not keep us busy.
const TRIES_MAX: u32 = 100;
const FRAME_HEADER: usize = 6;

/// Octets of the common header (RFC 3208 §8).
const PGM_HEADER: usize = 16;

fn address(tsi: Tsi) -> io::Result<SockAddr> {
    SockAddr::unix(format!("\0pgmshim-tsi-1/{tsi}"))
}

fn socket() -> io::Result<EngineFd> {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM.nonblocking(), None)?;
    Ok(EngineFd::from(OwnedFd::from(socket)))
}

/// The owner's end.
///
/// # Errors
/// `EADDRINUSE` another source of this host has this TSI.
pub(super) fn inlet(tsi: Tsi) -> io::Result<EngineFd> {
    let socket = socket()?;
    SockRef::from(&socket).bind(&address(tsi)?)?;
    Ok(socket)
}

/// TSI an upstream TPDU is for; `None` if it is too short or not upstream.
fn upstream_tsi(tpdu: &[u8]) -> Option<Tsi> {
    /// POLR, NAK, NNAK, SPMR, ACK.
    const UPSTREAM: [u8; 5] = [0x2, 0x8, 0x9, 0xc, 0xd];
    let header = tpdu.first_chunk::<PGM_HEADER>()?;
    let [_, _, d0, d1, kind, _, _, _, gsi @ .., _, _] = *header;
    UPSTREAM.contains(&(kind & 0x0f)).then_some(Tsi {
        gsi: Gsi(gsi),
        sport: u16::from_be_bytes([d0, d1]),
    })
}

/// Take a datagram apart; `each` gets the frames that are right. Returns how many were not.
pub(super) fn open_frames(
    tsi: Tsi,
    mut datagram: &[u8],
    mut each: impl FnMut(Ipv4Addr, &[u8]),
) -> u64 {
    let mut bad = 0;
    while !datagram.is_empty() {
        let Some(([a, b, c, d, l0, l1], rest)) = datagram.split_first_chunk::<FRAME_HEADER>()
        else {
            return bad + 1;
        };
        let Some((tpdu, rest)) = rest.split_at_checked(u16::from_be_bytes([*l0, *l1]).into())
        else {
            return bad + 1;
        };
        datagram = rest;
        if upstream_tsi(tpdu) == Some(tsi) {
            each(Ipv4Addr::new(*a, *b, *c, *d), tpdu);
        } else {
            bad += 1;
        }
    }
    bad
}

/// The other end: sends to owners, and keeps a little for those whose queue is full.
#[derive(Debug)]
pub(super) struct Forwarder {
    socket: EngineFd,
    /// Frames that wait, for each TSI one datagram.
    waiting: Vec<Waiting>,
    /// TPDUs handed over.
    pub forwarded: u64,
    /// TPDUs dropped: nobody has the TSI, or its owner does not keep up.
    pub dropped: u64,
}

#[derive(Debug)]
struct Waiting {
    tsi: Tsi,
    datagram: Vec<u8>,
    frames: u64,
    tries: u32,
}

impl Forwarder {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            socket: socket()?,
            waiting: Vec::new(),
            forwarded: 0,
            dropped: 0,
        })
    }

    /// Hand over one TPDU.
    pub(super) fn forward(&mut self, tsi: Tsi, tpdu: &[u8], from: Ipv4Addr) {
        let Ok(len) = u16::try_from(tpdu.len()) else {
            self.dropped += 1;
            return;
        };
        let mut frame = Vec::with_capacity(FRAME_HEADER + tpdu.len());
        frame.extend(from.octets());
        frame.extend(len.to_be_bytes());
        frame.extend(tpdu);
        let held: usize = self.waiting.iter().map(|w| w.datagram.len()).sum();
        match self.waiting.iter_mut().find(|w| w.tsi == tsi) {
            Some(w)
                if w.datagram.len() + frame.len() <= DATAGRAM_MAX
                    && held + frame.len() <= WAITING_MAX =>
            {
                w.datagram.extend(frame);
                w.frames += 1;
            }
            Some(_) => self.dropped += 1,
            None => {
                let new = Waiting {
                    tsi,
                    datagram: frame,
                    frames: 1,
                    tries: 0,
                };
                if let Some(new) = self.send(new) {
                    if held + new.datagram.len() <= WAITING_MAX {
                        self.waiting.push(new);
                    } else {
                        self.dropped += 1;
                    }
                }
            }
        }
    }

    /// Try again what waits.
    pub(super) fn flush(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            let still = self.send(waiting);
            self.waiting.extend(still);
        }
    }

    /// Something waits for an owner to make room: `flush` after a millisecond or so.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Send and count; gives the datagram back if its owner's queue is full.
    fn send(&mut self, mut waiting: Waiting) -> Option<Waiting> {
        let result = address(waiting.tsi)
            .and_then(|to| SockRef::from(&self.socket).send_to(&waiting.datagram, &to));
        match result {
            Ok(_) => self.forwarded += waiting.frames,
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock && waiting.tries < TRIES_MAX =>
            {
                waiting.tries += 1;
                return Some(waiting);
            }
            // Tried long enough, or ECONNREFUSED: no such name, the TSI is not of this host or gone.
            Err(_) => self.dropped += waiting.frames,
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hash, Hasher};
    use std::io::Read;

    const FROM: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);

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

    fn read(socket: &EngineFd, buffer: &mut [u8]) -> io::Result<usize> {
        (&*SockRef::from(socket)).read(buffer)
    }

    fn tpdu(tsi: Tsi, kind: u8) -> Vec<u8> {
        let mut tpdu = vec![0x1d, 0x4c];
        tpdu.extend(tsi.sport.to_be_bytes());
        tpdu.extend([kind, 0, 0, 0]);
        tpdu.extend(tsi.gsi.0);
        tpdu.extend([0, 0]);
        tpdu
    }

    fn frames(tsi: Tsi, datagram: &[u8]) -> (Vec<(Ipv4Addr, Vec<u8>)>, u64) {
        let mut frames = Vec::new();
        let bad = open_frames(tsi, datagram, |from, tpdu| {
            frames.push((from, tpdu.to_vec()))
        });
        (frames, bad)
    }

    #[test]
    fn a_tpdu_reaches_its_owner_and_no_other() {
        let mut forwarder = Forwarder::new().expect("socket");
        let [one, two] = [1, 2].map(|n| inlet(tsi(n)).expect("bind"));
        forwarder.forward(tsi(1), &tpdu(tsi(1), 0x8), FROM);
        let mut buffer = [0; 256];
        let n = read(&one, &mut buffer).expect("one datagram");
        assert_eq!(
            frames(tsi(1), &buffer[..n]),
            (vec![(FROM, tpdu(tsi(1), 0x8))], 0)
        );
        assert_eq!(
            read(&two, &mut buffer).expect_err("none").kind(),
            io::ErrorKind::WouldBlock
        );
        forwarder.forward(tsi(3), &tpdu(tsi(3), 0x8), FROM);
        assert_eq!(
            (forwarder.forwarded, forwarder.dropped),
            (1, 1),
            "nobody has the third"
        );
    }

    #[test]
    fn a_tsi_has_one_owner() {
        let _first = inlet(tsi(1)).expect("bind");
        let error = inlet(tsi(1)).expect_err("taken");
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
    }

    #[test]
    fn an_owner_that_does_not_keep_up_gets_the_rest_later_and_bounded() {
        let mut forwarder = Forwarder::new().expect("socket");
        let owner = inlet(tsi(1)).expect("bind");
        for _ in 0..100_000 {
            forwarder.forward(tsi(1), &tpdu(tsi(1), 0x9), FROM);
        }
        assert!(forwarder.is_waiting());
        assert!(forwarder.dropped > 0, "bounded");
        let mut buffer = vec![0; DATAGRAM_MAX];
        let mut got = 0;
        for _ in 0..1_000 {
            while let Ok(n) = read(&owner, &mut buffer) {
                let (frames, bad) = frames(tsi(1), &buffer[..n]);
                assert_eq!(bad, 0);
                got += frames.len() as u64;
            }
            if !forwarder.is_waiting() {
                break;
            }
            forwarder.flush();
        }
        assert_eq!(got, forwarder.forwarded);
        assert_eq!(forwarder.forwarded + forwarder.dropped, 100_000);
    }

    #[test]
    fn an_owner_that_is_stopped_is_given_up() {
        let mut forwarder = Forwarder::new().expect("socket");
        let _owner = inlet(tsi(1)).expect("bind");
        while !forwarder.is_waiting() {
            forwarder.forward(tsi(1), &tpdu(tsi(1), 0x8), FROM);
        }
        for _ in 0..=TRIES_MAX {
            forwarder.flush();
        }
        assert!(!forwarder.is_waiting());
        assert_eq!(forwarder.dropped, 1);
    }

    #[test]
    fn only_upstream_packets_for_the_tsi_are_accepted() {
        let frame = |tpdu: &[u8]| {
            let len = u16::try_from(tpdu.len()).expect("short");
            [&FROM.octets()[..], &len.to_be_bytes(), tpdu].concat()
        };
        let right = frame(&tpdu(tsi(1), 0x8));
        for wrong in [
            frame(&tpdu(tsi(2), 0x8)),
            frame(&tpdu(tsi(1), 0x0)),
            frame(&tpdu(tsi(1), 0x5)),
            frame(&tpdu(tsi(1), 0x8)[..15]),
            frame(&[]),
        ] {
            let (good, bad) = frames(tsi(1), &[right.clone(), wrong, right.clone()].concat());
            assert_eq!((good.len(), bad), (2, 1));
        }
        for cut in 1..right.len() {
            assert_eq!(frames(tsi(1), &right[..cut]), (vec![], 1), "cut at {cut}");
        }
    }
}
