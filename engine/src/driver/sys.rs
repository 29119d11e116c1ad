//! The unsafe system-call layer of the driver: what neither std nor socket2 offers.
//!
//! Everything here works on borrowed descriptors and plain memory; policy lives in the callers. The
//! libc functions called may be this library's own hooks, which pass the engine thread through.

use super::private::EngineFd;
use arrayvec::ArrayVec;
use std::ffi::CStr;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Most packets of one `sendmmsg` or `recvmmsg`.
pub(super) const BATCH: usize = 64;

/// Turn a libc result into an `io::Result`.
pub(super) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Take ownership of a descriptor the kernel has just returned.
pub(super) fn own(result: libc::c_int) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the kernel returned this descriptor to us just now, nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Move a descriptor to a high number, CLOEXEC, so that the program never sees its own numbering
/// change. Stays where it is when the limit on descriptors leaves no room.
pub(super) fn high(fd: OwnedFd) -> OwnedFd {
    duplicate_high(fd.as_raw_fd()).unwrap_or(fd)
}

/// Another descriptor of the same file: CLOEXEC, with a high number.
pub(super) fn duplicate_high(fd: RawFd) -> io::Result<OwnedFd> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid rlimit for the kernel to fill.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    // High, but not so high that the kernel's descriptor table grows beyond a few pages.
    let base = (limit.rlim_cur.min(4096) / 4 * 3) as libc::c_int;
    // SAFETY: F_DUPFD_CLOEXEC takes an int and touches no memory of ours.
    own(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, base) })
}

/// An epoll set.
#[derive(Debug)]
pub(super) struct Epoll(EngineFd);

impl AsRawFd for Epoll {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Epoll {
    /// An empty set.
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no memory is involved.
        own(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).map(|fd| Self(EngineFd::from(fd)))
    }

    fn control(
        &self,
        operation: libc::c_int,
        fd: RawFd,
        events: u32,
        token: u64,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: `event` is valid for the call; the kernel copies it.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd, &raw mut event) })?;
        Ok(())
    }

    /// Watch `fd` for `events` (`EPOLLIN` …); `token` comes back from `wait`.
    pub(super) fn add(&self, fd: RawFd, events: u32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, events, token)
    }

    /// Change what `fd` is watched for.
    pub(super) fn modify(&self, fd: RawFd, events: u32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, events, token)
    }

    /// Stop watching `fd`.
    pub(super) fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    /// Wait for events, at most `timeout` (for ever when `None`). Interruption counts as no event.
    ///
    /// Nanosecond timeouts need Linux 5.11; older kernels get whole milliseconds, rounded up.
    pub(super) fn wait(
        &self,
        events: &mut [libc::epoll_event],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        /// Set when the kernel does not know the call, so that it is not asked every time.
        static MILLISECONDS: AtomicBool = AtomicBool::new(false);
        let mut result = Err(io::Error::from_raw_os_error(libc::ENOSYS));
        if !MILLISECONDS.load(Ordering::Relaxed) {
            result = self.wait_precisely(events, timeout);
        }
        if matches!(&result, Err(e) if e.raw_os_error() == Some(libc::ENOSYS)) {
            MILLISECONDS.store(true, Ordering::Relaxed);
            result = self.wait_milliseconds(events, timeout);
        }
        match result {
            Ok(n) => Ok(usize::try_from(n).unwrap_or(0)),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(e) => Err(e),
        }
    }

    /// By `epoll_pwait2`, which libc may not have yet.
    fn wait_precisely(
        &self,
        events: &mut [libc::epoll_event],
        timeout: Option<Duration>,
    ) -> io::Result<libc::c_int> {
        let timespec = timeout.map(|t| libc::timespec {
            tv_sec: libc::time_t::try_from(t.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: t.subsec_nanos().into(),
        });
        let timespec = timespec
            .as_ref()
            .map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `events` is writable for its length, `timespec` is null or valid, the signal mask is null.
        let n = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.0.as_raw_fd(),
                events.as_mut_ptr(),
                room(events),
                timespec,
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        libc::c_int::try_from(n)
            .map_err(io::Error::other)
            .and_then(check)
    }

    /// By `epoll_wait`.
    fn wait_milliseconds(
        &self,
        events: &mut [libc::epoll_event],
        timeout: Option<Duration>,
    ) -> io::Result<libc::c_int> {
        let ms = timeout.map_or(-1, |t| {
            libc::c_int::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
        });
        let (fd, room) = (self.0.as_raw_fd(), room(events));
        // SAFETY: `events` is writable for `room` entries.
        check(unsafe { libc::epoll_wait(fd, events.as_mut_ptr(), room, ms) })
    }
}

/// How many events a call may bring.
fn room(events: &[libc::epoll_event]) -> libc::c_int {
    libc::c_int::try_from(events.len()).unwrap_or(libc::c_int::MAX)
}

/// `setsockopt` with a plain value.
fn set_option<T: Copy>(
    fd: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: T,
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).expect("options are small");
    // SAFETY: `value` is readable for `len` octets during the call.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) })?;
    Ok(())
}

/// IP_MULTICAST_IF by kernel index, with the source address to use.
pub(super) fn set_multicast_if(fd: RawFd, index: u32, addr: Ipv4Addr) -> io::Result<()> {
    let request = libc::ip_mreqn {
        imr_multiaddr: in_addr(Ipv4Addr::UNSPECIFIED),
        imr_address: in_addr(addr),
        imr_ifindex: index.cast_signed(),
    };
    set_option(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, request)
}

/// A non-blocking netlink socket that becomes readable when an IPv4 address of this host comes or goes.
pub(super) fn address_news() -> io::Result<EngineFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is involved.
    let fd = own(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
    // SAFETY: all zeros is a valid address.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = libc::RTMGRP_IPV4_IFADDR.cast_unsigned();
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: `address` is readable for `len` octets during the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(EngineFd::from(fd))
}

/// SO_PRIORITY.
pub(super) fn set_priority(fd: RawFd, priority: libc::c_int) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_PRIORITY, priority)
}

/// IP_OPTIONS: four octets of options on everything the socket sends.
pub(super) fn set_ip_options(fd: RawFd, options: [u8; 4]) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_IP, libc::IP_OPTIONS, options)
}

/// IP_TRANSPARENT: packets may have a source address that is not this host's. Needs CAP_NET_RAW or
/// CAP_NET_ADMIN.
pub(super) fn set_transparent(fd: RawFd) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_IP, libc::IP_TRANSPARENT, 1 as libc::c_int)
}

/// A receive buffer of this many octets, or as much as the system allows.
pub(super) fn set_receive_buffer(fd: RawFd, octets: libc::c_int) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, octets)
        .or_else(|_| set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, octets))
}

/// Packets the kernel dropped because this socket's receive buffer was full; 0 if it will not say.
pub(super) fn kernel_drops(fd: RawFd) -> u64 {
    /// Words of SO_MEMINFO (`linux/sock_diag.h`), the last of them SK_MEMINFO_DROPS.
    const WORDS: usize = 9;
    let mut words = [0_u32; WORDS];
    let mut len = libc::socklen_t::try_from(size_of_val(&words)).expect("36 octets");
    // SAFETY: `words` is writable for `len` octets.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            words.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result == 0 {
        words[WORDS - 1].into()
    } else {
        0
    }
}

fn in_addr(addr: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: u32::from(addr).to_be(),
    }
}

fn sockaddr(addr: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).expect("2"),
        sin_port: addr.port().to_be(),
        sin_addr: in_addr(*addr.ip()),
        sin_zero: [0; 8],
    }
}

/// One packet to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing<'a> {
    /// Its octets, or those of several to be cut.
    pub octets: &'a [u8],
    /// Where to, on a socket that is not connected.
    pub to: Option<SocketAddrV4>,
    /// Interface index and source address instead of the socket's.
    pub via: Option<(u32, Ipv4Addr)>,
    /// TTL instead of the socket's.
    pub ttl: Option<u8>,
    /// Cut into UDP datagrams of this many octets (UDP_SEGMENT).
    pub segment: Option<u16>,
}

/// Room for IP_PKTINFO, IP_TTL and UDP_SEGMENT.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 96]);

impl Outgoing<'_> {
    /// Control messages, and how many octets of them are used.
    fn control(&self) -> (Control, usize) {
        let (mut control, mut used) = (Control([0; 96]), 0);
        let mut add = |level: libc::c_int, kind: libc::c_int, value: &[u8]| {
            let header = libc::cmsghdr {
                cmsg_len: size_of::<libc::cmsghdr>() + value.len(),
                cmsg_level: level,
                cmsg_type: kind,
            };
            let room = &mut control.0[used..];
            assert!(room.len() >= header.cmsg_len, "three control messages fit");
            // SAFETY: `room` holds at least header and value; unaligned writes of plain octets.
            unsafe {
                room.as_mut_ptr()
                    .cast::<libc::cmsghdr>()
                    .write_unaligned(header);
            }
            room[size_of::<libc::cmsghdr>()..header.cmsg_len].copy_from_slice(value);
            used += header.cmsg_len.next_multiple_of(size_of::<usize>());
        };
        if let Some((index, source)) = self.via {
            // struct in_pktinfo: interface index, source address, (ignored) header address.
            let mut info = [0; 12];
            info[..4].copy_from_slice(&index.to_ne_bytes());
            info[4..8].copy_from_slice(&source.octets());
            add(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        if let Some(ttl) = self.ttl {
            add(
                libc::IPPROTO_IP,
                libc::IP_TTL,
                &libc::c_int::from(ttl).to_ne_bytes(),
            );
        }
        if let Some(size) = self.segment {
            add(libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
        }
        (control, used)
    }
}

/// Send up to [`BATCH`] packets without waiting; how many the kernel took, at least one.
///
/// # Errors
/// Why it did not take the first.
pub(super) fn send_batch(fd: RawFd, packets: &[Outgoing<'_>]) -> io::Result<usize> {
    let packets = &packets[..packets.len().min(BATCH)];
    let mut names: ArrayVec<libc::sockaddr_in, BATCH> =
        packets.iter().filter_map(|p| p.to).map(sockaddr).collect();
    let mut vectors: ArrayVec<libc::iovec, BATCH> = packets
        .iter()
        .map(|p| libc::iovec {
            iov_base: p.octets.as_ptr().cast_mut().cast(),
            iov_len: p.octets.len(),
        })
        .collect();
    let mut controls = ArrayVec::<(Control, usize), BATCH>::new();
    for packet in packets {
        if packet.via.is_some() || packet.ttl.is_some() || packet.segment.is_some() {
            controls.push(packet.control());
        }
    }
    let (mut names, mut controls) = (names.iter_mut(), controls.iter_mut());
    let mut headers: ArrayVec<libc::mmsghdr, BATCH> = packets
        .iter()
        .zip(&mut vectors)
        .map(|(packet, vector)| {
            let mut header = empty_header(vector);
            if packet.to.is_some() {
                let name = names.next().expect("one for each packet with an address");
                header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
                header.msg_hdr.msg_namelen = SOCKADDR_LEN;
            }
            if packet.via.is_some() || packet.ttl.is_some() || packet.segment.is_some() {
                let (control, used) = controls.next().expect("one for each packet that needs it");
                header.msg_hdr.msg_control = std::ptr::from_mut(control).cast();
                header.msg_hdr.msg_controllen = *used;
            }
            header
        })
        .collect();
    let count = libc::c_uint::try_from(headers.len()).expect("at most BATCH");
    // SAFETY: the headers point to vectors, names and control messages that outlive the call; the kernel
    // only reads the packets.
    let sent = check(unsafe {
        libc::sendmmsg(
            fd,
            headers.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    })?;
    Ok(usize::try_from(sent).unwrap_or(0))
}

const SOCKADDR_LEN: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;

/// A message header with one vector and nothing else.
fn empty_header(vector: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all-zero is a valid mmsghdr (null pointers, zero lengths; it has private padding on some libcs).
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_iov = vector;
    header.msg_hdr.msg_iovlen = 1;
    header
}

/// One packet received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incoming {
    /// IPv4 source address; unspecified on a socket of another family.
    pub from: Ipv4Addr,
    /// Octets in its buffer.
    pub len: usize,
    /// It was longer than its buffer.
    pub truncated: bool,
}

/// Receive up to [`BATCH`] packets without waiting, the n-th into `buffers[n * stride..]`.
///
/// # Errors
/// As the kernel says; errors that say nothing about the next call, EAGAIN too, are no packets.
pub(super) fn receive_batch(
    fd: RawFd,
    buffers: &mut [u8],
    stride: usize,
) -> io::Result<ArrayVec<Incoming, BATCH>> {
    let no_name = sockaddr(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    let mut vectors: ArrayVec<libc::iovec, BATCH> = buffers
        .chunks_exact_mut(stride)
        .take(BATCH)
        .map(|buffer| libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        })
        .collect();
    let mut names: ArrayVec<libc::sockaddr_in, BATCH> = vectors.iter().map(|_| no_name).collect();
    let mut headers: ArrayVec<libc::mmsghdr, BATCH> = vectors
        .iter_mut()
        .zip(&mut names)
        .map(|(vector, name)| {
            let mut header = empty_header(vector);
            header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = SOCKADDR_LEN;
            header
        })
        .collect();
    let count = libc::c_uint::try_from(headers.len()).expect("at most BATCH");
    // SAFETY: every header points to its own vector and name; every vector to its own part of `buffers`, all
    // writable; the time-out is null.
    let result = check(unsafe {
        let no_time_out = std::ptr::null_mut();
        libc::recvmmsg(
            fd,
            headers.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT,
            no_time_out,
        )
    });
    let received = match result {
        Ok(n) => usize::try_from(n).unwrap_or(0),
        Err(error) if is_passing(&error) => 0,
        Err(error) => return Err(error),
    };
    let family = no_name.sin_family;
    Ok(headers
        .iter()
        .zip(&names)
        .take(received)
        .map(|(header, name)| Incoming {
            from: match name.sin_family == family && header.msg_hdr.msg_namelen >= SOCKADDR_LEN {
                true => u32::from_be(name.sin_addr.s_addr).into(),
                false => Ipv4Addr::UNSPECIFIED,
            },
            len: usize::try_from(header.msg_len)
                .unwrap_or(usize::MAX)
                .min(stride),
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        })
        .collect())
}

/// Errors of a receive that say nothing about the next one: try again, no memory, and ICMP errors of earlier packets,
/// which the kernel reports on whatever call comes next.
fn is_passing(error: &io::Error) -> bool {
    use libc::{
        EAGAIN, ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH, EINTR, EMSGSIZE, ENETDOWN, ENETUNREACH,
        ENOBUFS, ENOMEM, ENONET, ENOPROTOOPT, EOPNOTSUPP, EPROTO,
    };
    let passing = [
        EAGAIN,
        EINTR,
        ENOBUFS,
        ENOMEM,
        // All that ICMP can mean (icmp_err_convert in the kernel).
        ECONNREFUSED,
        EHOSTDOWN,
        EHOSTUNREACH,
        ENETDOWN,
        ENETUNREACH,
        ENONET,
        EPROTO,
        ENOPROTOOPT,
        EOPNOTSUPP,
        EMSGSIZE,
    ];
    error
        .raw_os_error()
        .is_some_and(|errno| passing.contains(&errno))
}

/// One IPv4 address of a network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InterfaceAddress {
    /// Kernel name.
    pub name: String,
    /// Kernel index.
    pub index: u32,
    /// The address.
    pub addr: Ipv4Addr,
    /// Bits of it that name its subnet.
    pub prefix: u8,
    /// IFF_*.
    pub flags: libc::c_int,
    /// Octets.
    pub mtu: u32,
}

/// All IPv4 addresses of this host, in the kernel's order.
pub(super) fn interface_addresses() -> io::Result<Vec<InterfaceAddress>> {
    let probe = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: `list` receives a list that `freeifaddrs` below releases.
    check(unsafe { libc::getifaddrs(&raw mut list) })?;
    let mut found = Vec::new();
    let mut next = list;
    // SAFETY: `next` is null or a node of the list, alive until `freeifaddrs`.
    while let Some(node) = unsafe { next.as_ref() } {
        next = node.ifa_next;
        // SAFETY: the address is null or a sockaddr of the family it names.
        let Some(addr) = (unsafe { inet_addr(node.ifa_addr) }) else {
            continue;
        };
        // SAFETY: as the address; the family of a netmask may be missing, then it is no subnet's.
        let mask = unsafe { inet_addr(node.ifa_netmask) }.unwrap_or(Ipv4Addr::BROADCAST);
        // SAFETY: the name of a node is a NUL-terminated string.
        let name = unsafe { CStr::from_ptr(node.ifa_name) };
        // SAFETY: `name` is a NUL-terminated string.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        // An interface that vanished meanwhile has index 0 or no MTU.
        if let Some(mtu) = interface_mtu(probe.as_raw_fd(), name)
            && index != 0
        {
            found.push(InterfaceAddress {
                name: name.to_string_lossy().into_owned(),
                index,
                addr,
                prefix: u32::from(mask).leading_ones() as u8,
                flags: node.ifa_flags.cast_signed(),
                mtu,
            });
        }
    }
    // SAFETY: `list` came from `getifaddrs` and nothing refers to it any more.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

/// The address in a sockaddr if it is IPv4.
///
/// # Safety
/// `addr` is null or points to a sockaddr as long as its family says.
unsafe fn inet_addr(addr: *const libc::sockaddr) -> Option<Ipv4Addr> {
    // SAFETY: as the caller promises.
    let family = unsafe { addr.as_ref() }?.sa_family;
    if libc::c_int::from(family) != libc::AF_INET {
        return None;
    }
    // SAFETY: an AF_INET sockaddr is a sockaddr_in; it may be unaligned for it.
    let addr = unsafe { addr.cast::<libc::sockaddr_in>().read_unaligned() };
    Some(u32::from_be(addr.sin_addr.s_addr).into())
}

fn interface_mtu(probe: RawFd, name: &CStr) -> Option<u32> {
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = name.to_bytes_with_nul();
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    // SAFETY: SIOCGIFMTU reads the name, which is terminated, and writes the union inside `request`.
    check(unsafe { libc::ioctl(probe, libc::SIOCGIFMTU, &raw mut request) }).ok()?;
    // SAFETY: after success the kernel has set this member.
    u32::try_from(unsafe { request.ifr_ifru.ifru_mtu }).ok()
}
