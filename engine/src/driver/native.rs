//! Raw sockets of native PGM, IP protocol 113, and the filter that keeps strangers' packets out.
//!
//! A raw socket gets a copy of every packet of its protocol whatever the PGM port, so each carries a
//! classic BPF program that passes only the ports of this process (design D6).

use super::config::SendOptions;
use super::iface::Interface;
use super::log::Level;
use super::private::EngineFd;
use super::{sys, udp};
use crate::log_line;
use socket2::{Protocol, SockFilter, SockRef, Type};
use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

/// IP protocol number of PGM: its header follows that of IP (RFC 3208 §8 (G-01)).
const IPPROTO_PGM: i32 = 113;

/// IP Router Alert (RFC 2113) on what network elements act on (RFC 3208 §4, §14.4 (G-19)).
const ROUTER_ALERT: [u8; 4] = [0x94, 0x04, 0, 0];

/// Octets of IP header with Router Alert: RDATA carries it, and must be able to repeat any ODATA.
pub(super) const OVERHEAD: usize = 20 + ROUTER_ALERT.len();

/// A raw socket that passes nothing until [`attach`] says what.
fn socket() -> io::Result<EngineFd> {
    let socket = udp::open(Type::RAW, Protocol::from(IPPROTO_PGM)).inspect_err(|error| {
        if error.raw_os_error() == Some(libc::EPERM) {
            log_line!(
                Level::Error,
                "native PGM (IP protocol 113) needs CAP_NET_RAW: run as root, or with cap_net_raw as an \
                 ambient capability, or use IPPROTO_UDP"
            );
        }
    })?;
    attach(&socket, &Ports::default())?;
    // Until now everything came in, to whatever group; from now on nothing does, so this ends.
    while SockRef::from(&socket)
        .recv(&mut [MaybeUninit::uninit()])
        .is_ok()
    {}
    Ok(socket)
}

/// Socket for unicast, and to send unicast from.
pub(super) fn unicast() -> io::Result<EngineFd> {
    let socket = socket()?;
    udp::prepare_receive(&socket)?;
    Ok(socket)
}

/// Socket that receives one group from one interface.
pub(super) fn group(group: Ipv4Addr, iface: &Interface) -> io::Result<EngineFd> {
    let socket = socket()?;
    udp::prepare_receive(&socket)?;
    SockRef::from(&socket).bind(&SocketAddrV4::new(group, 0).into())?;
    udp::join(&socket, group, iface.index)?;
    Ok(socket)
}

/// Sockets a source sends to its group from: the plain one and one that adds Router Alert.
pub(super) fn source(
    group: Ipv4Addr,
    iface: &Interface,
    options: &SendOptions,
) -> io::Result<[EngineFd; 2]> {
    let [plain, alert] = [socket()?, socket()?];
    sys::set_ip_options(alert.as_raw_fd(), ROUTER_ALERT)?;
    for socket in [&plain, &alert] {
        udp::prepare_source(socket, SocketAddrV4::new(group, 0), iface, options)?;
    }
    Ok([plain, alert])
}

/// Socket that sends with Router Alert and with the source address of others: what a DLR multicasts
/// (RFC 3208 §9.5.2.1).
pub(super) fn as_source() -> io::Result<EngineFd> {
    let socket = socket()?;
    sys::set_ip_options(socket.as_raw_fd(), ROUTER_ALERT)?;
    sys::set_transparent(socket.as_raw_fd())?;
    Ok(socket)
}

/// The TPDU of a received packet: what follows the IP header. `None` if the header is impossible.
pub(super) fn strip_ip_header(packet: &[u8]) -> Option<&[u8]> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    if header < 20 {
        None
    } else {
        packet.get(header..)
    }
}

/// What a socket lets through. PGM ports swap with the direction (RFC 3208 §8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ports {
    /// Data-destination ports: downstream packets' DPORT.
    pub sessions: Vec<u16>,
    /// Ports of upstream packets, at the offset `upstream` says.
    pub sources: Vec<u16>,
    /// Which of the two ports counts in upstream packets.
    pub upstream: Upstream,
}

/// Which port of an upstream packet tells whether it is for us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Upstream {
    /// By unicast: DPORT, the data-source port of the TSI.
    #[default]
    Destination,
    /// On the group, for other receivers to hear: SPORT, the data-destination port.
    Source,
}

/// Put a filter in place of the one before, at once.
pub(super) fn attach(socket: &EngineFd, ports: &Ports) -> io::Result<()> {
    let program: Vec<_> = ports
        .program()
        .iter()
        .map(|i| SockFilter::new(i.code, i.jt, i.jf, i.k))
        .collect();
    SockRef::from(socket).attach_filter(&program)
}

/// One classic BPF instruction (`linux/filter.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

/// Most ports a list of the program holds: jumps reach 255 instructions. With more, all pass, and the
/// endpoint sorts them out.
const PORTS_MAX: usize = 100;

/// Upstream packet types: POLR, NAK, NNAK, SPMR, ACK. The others are downstream or unknown.
const UPSTREAM_TYPES: [u32; 5] = [0x2, 0x8, 0x9, 0xc, 0xd];

impl Ports {
    /// The program; its data begin with the IP header.
    fn program(&self) -> Vec<Instruction> {
        use libc::{BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_IND, BPF_LD, BPF_LDX, BPF_MSH};
        let plain = |code, k| Instruction {
            code: code as u16,
            jt: 0,
            jf: 0,
            k,
        };
        // TPDU offsets (RFC 3208 §8): SPORT 0, DPORT 2, Type 4.
        let upstream_offset = match self.upstream {
            Upstream::Destination => 2,
            Upstream::Source => 0,
        };
        let down = check_ports(plain(BPF_LD | BPF_H | BPF_IND, 2), &self.sessions);
        let up = check_ports(
            plain(BPF_LD | BPF_H | BPF_IND, upstream_offset),
            &self.sources,
        );
        // X = length of the IP header, A = packet type.
        let mut program = vec![
            plain(BPF_LDX | BPF_B | BPF_MSH, 0),
            plain(BPF_LD | BPF_B | BPF_IND, 4),
            plain(BPF_ALU | BPF_AND, 0x0f),
        ];
        let down_len = down.len();
        for (i, kind) in UPSTREAM_TYPES.into_iter().enumerate() {
            program.push(jump_if(kind, UPSTREAM_TYPES.len() - 1 - i + down_len));
        }
        program.extend(down);
        program.extend(up);
        program
    }
}

/// Jump over `distance` instructions if A is `value`.
fn jump_if(value: u32, distance: usize) -> Instruction {
    let code = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let jt = u8::try_from(distance).expect("PORTS_MAX keeps jumps short");
    Instruction {
        code,
        jt,
        jf: 0,
        k: value,
    }
}

/// `load` the port and pass the packet if it is one of `ports`.
fn check_ports(load: Instruction, ports: &[u16]) -> Vec<Instruction> {
    let give = |octets| Instruction {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: octets,
    };
    if ports.len() > PORTS_MAX {
        return vec![give(u32::MAX)];
    }
    let mut program = vec![load];
    for (i, port) in ports.iter().enumerate() {
        program.push(jump_if((*port).into(), ports.len() - i));
    }
    program.extend([give(0), give(u32::MAX)]);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the kernel would pass the packet: the few instructions the program uses.
    fn passes(program: &[Instruction], packet: &[u8]) -> bool {
        use libc::{
            BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JMP, BPF_LD, BPF_LDX, BPF_MSH,
            BPF_RET,
        };
        let (mut a, mut x, mut at) = (0_u32, 0_u32, 0_usize);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let octets = |offset: u32, n: usize| {
                let offset = offset as usize;
                packet
                    .get(offset..offset + n)
                    .map(|o| o.iter().fold(0, |v, o| v << 8 | u32::from(*o)))
            };
            // A load beyond the packet ends the program with 0.
            let load = |value: Option<u32>, to: &mut u32| value.map(|v| *to = v).is_some();
            let code = u32::from(code);
            let ok = match code {
                c if c == BPF_LDX | BPF_B | BPF_MSH => {
                    load(octets(k, 1).map(|o| (o & 0xf) * 4), &mut x)
                }
                c if c == BPF_LD | BPF_B | BPF_IND => load(octets(x + k, 1), &mut a),
                c if c == BPF_LD | BPF_H | BPF_IND => load(octets(x + k, 2), &mut a),
                c if c == BPF_ALU | BPF_AND => load(Some(a & k), &mut a),
                c if c == BPF_JMP | BPF_JEQ => {
                    at += usize::from(if a == k { jt } else { jf });
                    true
                }
                c if c == BPF_RET => return k > 0,
                other => panic!("instruction {other:#x} is not in the program's repertoire"),
            };
            if !ok {
                return false;
            }
        }
    }

    /// An IP packet with `ihl` words of header and a minimal TPDU.
    fn packet(ihl: u8, kind: u8, sport: u16, dport: u16) -> Vec<u8> {
        let mut packet = vec![0; usize::from(ihl) * 4];
        packet[0] = 0x40 | ihl;
        packet.extend(sport.to_be_bytes());
        packet.extend(dport.to_be_bytes());
        packet.extend([kind, 0, 0, 0]);
        packet.extend([0; 8]);
        packet
    }

    const DOWN: [u8; 5] = [0x0, 0x1, 0x4, 0x5, 0xa];
    const UP: [u8; 5] = [0x2, 0x8, 0x9, 0xc, 0xd];

    #[test]
    fn a_group_socket_passes_its_sessions_in_both_directions() {
        let ports = Ports {
            sessions: vec![7500, 7501],
            sources: vec![7500, 7501],
            upstream: Upstream::Source,
        };
        let program = ports.program();
        for ihl in [5, 6, 15] {
            for kind in DOWN {
                assert!(passes(&program, &packet(ihl, kind, 1000, 7500)), "{kind}");
                assert!(passes(&program, &packet(ihl, kind, 1000, 7501)), "{kind}");
                assert!(!passes(&program, &packet(ihl, kind, 7500, 1000)), "{kind}");
            }
            for kind in UP {
                assert!(passes(&program, &packet(ihl, kind, 7501, 1000)), "{kind}");
                assert!(!passes(&program, &packet(ihl, kind, 1000, 7501)), "{kind}");
            }
        }
    }

    #[test]
    fn the_unicast_socket_passes_what_is_for_our_sources() {
        let ports = Ports {
            sessions: vec![],
            sources: vec![1000],
            upstream: Upstream::Destination,
        };
        let program = ports.program();
        for kind in UP {
            assert!(passes(&program, &packet(6, kind, 7500, 1000)), "{kind}");
            assert!(!passes(&program, &packet(6, kind, 1000, 7500)), "{kind}");
        }
        for kind in DOWN {
            assert!(!passes(&program, &packet(5, kind, 7500, 1000)), "{kind}");
        }
    }

    #[test]
    fn no_ports_pass_nothing_and_short_packets_never_pass() {
        let nothing = Ports::default().program();
        let some = Ports {
            sessions: vec![0],
            sources: vec![0],
            ..Ports::default()
        }
        .program();
        for kind in 0..16 {
            assert!(!passes(&nothing, &packet(5, kind, 0, 0)));
            assert!(!passes(&some, &packet(5, kind, 0, 0)[..21]));
        }
        assert!(!passes(&some, &[]));
    }

    #[test]
    fn the_longest_lists_still_jump_right() {
        let all: Vec<u16> = (1..=100).collect();
        let program = Ports {
            sessions: all.clone(),
            sources: all,
            upstream: Upstream::Source,
        }
        .program();
        for port in [1, 50, 100] {
            assert!(passes(&program, &packet(5, 0x4, 9, port)));
            assert!(passes(&program, &packet(5, 0x8, port, 9000)));
        }
        assert!(!passes(&program, &packet(5, 0x4, 9, 101)));
        assert!(!passes(&program, &packet(5, 0x8, 101, 9)));
    }

    #[test]
    fn too_many_ports_pass_all() {
        let many: Vec<u16> = (1..=101).collect();
        let program = Ports {
            sessions: many,
            ..Ports::default()
        }
        .program();
        assert!(passes(&program, &packet(5, 0x4, 9, 5000)));
        assert!(
            !passes(&program, &packet(5, 0x8, 9, 5000)),
            "the other list is still short"
        );
    }

    #[test]
    fn the_ip_header_is_stripped_or_refused() {
        let with_options = packet(6, 0, 1, 2);
        assert_eq!(strip_ip_header(&with_options), Some(&with_options[24..]));
        assert_eq!(strip_ip_header(&[0x44; 40]), None, "16 octets of header");
        assert_eq!(
            strip_ip_header(&[0x4f; 40]),
            None,
            "more header than packet"
        );
        assert_eq!(strip_ip_header(&[]), None);
    }
}
