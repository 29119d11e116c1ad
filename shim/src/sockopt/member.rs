//! Memberships of groups, as programs written for UDP ask for them. A PGM receiver is a member of its
//! group by `bind` and `listen`; asking may name the interface and choose among sources.

use super::Call;
use super::value::Value;
use crate::errno::Errno;
use crate::socket::{Kind, Settings, check_local};
use crate::sys;
use libc::c_int;
use pgm_engine::receiver::SourceFilter;
use std::net::Ipv4Addr;

const EINVAL: Errno = Errno(libc::EINVAL);

/// Most groups of a socket, as Linux (igmp_max_memberships).
const MOST_GROUPS: usize = 20;
/// Most sources of a group, as Linux (igmp_max_msf).
const MOST_SOURCES: usize = 10;

/// Group and interface, each pair once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members(Vec<Member>);

#[derive(Clone, Debug)]
struct Member {
    group: Ipv4Addr,
    interface: Option<Ipv4Addr>,
    filter: SourceFilter,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) group: Ipv4Addr,
    /// `None`: whichever.
    pub(super) interface: Option<Ipv4Addr>,
    pub(super) source: Option<Ipv4Addr>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Join,
    Leave,
    /// Only this source, too.
    JoinSource,
    LeaveSource,
    /// Not this source.
    Block,
    Unblock,
}

fn address(octets: &[u8], at: usize) -> Result<Ipv4Addr, Errno> {
    let octets = octets.get(at..).and_then(|rest| rest.first_chunk::<4>());
    octets.map(|octets| Ipv4Addr::from(*octets)).ok_or(EINVAL)
}

fn specified(addr: Ipv4Addr) -> Option<Ipv4Addr> {
    Some(addr).filter(|addr| !addr.is_unspecified())
}

/// The address of an interface, by its index; 0: whichever.
fn by_index(index: c_int) -> Result<Option<Ipv4Addr>, Errno> {
    match u32::try_from(index) {
        Ok(index) if index > 0 => sys::address_of_interface(index).map(Some),
        _ => Ok(None),
    }
}

impl Request {
    /// An `ip_mreq` (8 octets) or `ip_mreqn` (12, with an interface index).
    pub(super) fn of_mreq(value: Value<'_>) -> Result<Self, Errno> {
        let index = match value.head::<12>() {
            Ok([.., a, b, c, d]) => c_int::from_ne_bytes([a, b, c, d]),
            Err(_) => 0,
        };
        let named = by_index(index)?;
        Ok(Self {
            group: address(value.0, 0)?,
            interface: named.or(specified(address(value.0, 4)?)),
            source: None,
        })
    }

    /// An `ip_mreq_source`: group, interface, source.
    pub(super) fn of_mreq_source(value: Value<'_>) -> Result<Self, Errno> {
        Ok(Self {
            group: address(value.0, 0)?,
            interface: specified(address(value.0, 4)?),
            source: Some(address(value.0, 8)?),
        })
    }

    /// A `group_req`, or with `source` a `group_source_req`: an index, and addresses of 128 octets aligned
    /// as a long.
    pub(super) fn of_group(value: Value<'_>, with_source: bool) -> Result<Self, Errno> {
        const FIRST: usize = align_of::<libc::sockaddr_storage>();
        const SIZE: usize = size_of::<libc::sockaddr_storage>();
        let needed = FIRST + SIZE * (1 + usize::from(with_source));
        if value.0.len() < needed {
            return Err(EINVAL);
        }
        let inet = |at: usize| {
            let family = value.0.get(at..).and_then(|rest| rest.first_chunk::<2>());
            match family.map(|family| u16::from_ne_bytes(*family)) {
                Some(family) if c_int::from(family) == libc::AF_INET => address(value.0, at + 4),
                _ => Err(Errno(libc::EADDRNOTAVAIL)),
            }
        };
        Ok(Self {
            group: inet(FIRST)?,
            interface: by_index(c_int::from_ne_bytes(value.head::<4>()?))?,
            source: with_source.then(|| inet(FIRST + SIZE)).transpose()?,
        })
    }
}

/// Do it: for a socket that is not yet in use also to its interfaces.
pub(super) fn act(call: &mut Call, request: Request, act: Act) -> Result<(), Errno> {
    let Request {
        group, interface, ..
    } = request;
    if !group.is_multicast() {
        return Err(EINVAL);
    }
    if interface.is_some_and(|addr| check_local(addr).is_err()) {
        return Err(Errno(libc::ENODEV));
    }
    let bound = call.socket.local();
    let open = matches!(call.socket.kind(), Kind::Fresh | Kind::Bound);
    let settings = call.settings()?;
    // By `bind` it is a member of this one, whatever it did before.
    let implied = *bound.ip() == group;
    settings.members.act(request, act, implied)?;
    if open && let Some(interface) = interface {
        follow(settings, interface);
    }
    Ok(())
}

/// Listen on an interface as long as a membership names it.
fn follow(settings: &mut Settings, interface: Ipv4Addr) {
    let members = &settings.members.0;
    let wanted = members.iter().any(|m| m.interface == Some(interface));
    let interfaces = &mut settings.listen.interfaces;
    interfaces.retain(|known| *known != interface);
    if wanted {
        interfaces.push(interface);
    }
}

impl Members {
    /// Whom a receiver of this group wants to hear. All its memberships together say it: who is a
    /// member without naming sources wants all.
    pub(crate) fn filter(&self, group: Ipv4Addr) -> SourceFilter {
        let mut all = SourceFilter::default();
        let of_group = self.0.iter().filter(|member| member.group == group);
        let whole = of_group
            .clone()
            .any(|member| member.filter.include.is_empty());
        for Member { filter, .. } in of_group {
            if !whole {
                all.include.extend(&filter.include);
            }
            all.exclude.extend(&filter.exclude);
        }
        all
    }

    fn act(&mut self, request: Request, act: Act, implied: bool) -> Result<(), Errno> {
        const MISSING: Errno = Errno(libc::EADDRNOTAVAIL);
        let Request {
            group,
            interface,
            source,
        } = request;
        let same =
            |m: &Member| m.group == group && (interface.is_none() || m.interface == interface);
        let at = self.0.iter().position(same);
        match (act, at) {
            (Act::Join, Some(_)) => Err(Errno(libc::EADDRINUSE)),
            (Act::Join | Act::JoinSource, None) | (Act::Block, None)
                if self.0.len() >= MOST_GROUPS =>
            {
                Err(Errno(libc::ENOBUFS))
            }
            (Act::Join | Act::JoinSource, None) => {
                let mut filter = SourceFilter::default();
                filter.include.extend(source);
                self.0.push(Member {
                    group,
                    interface,
                    filter,
                });
                Ok(())
            }
            (Act::Block, None) if implied => {
                let mut filter = SourceFilter::default();
                filter.exclude.extend(source);
                self.0.push(Member {
                    group,
                    interface,
                    filter,
                });
                Ok(())
            }
            (Act::Leave, None) if implied => Ok(()),
            (_, None) => Err(MISSING),
            (Act::Leave, Some(at)) => {
                self.0.remove(at);
                Ok(())
            }
            (_, Some(at)) => {
                let source = source.ok_or(EINVAL)?;
                let filter = &mut self.0[at].filter;
                // A membership either names its sources or takes all but some.
                match act {
                    Act::JoinSource if filter.include.is_empty() => Err(EINVAL),
                    Act::Block if !filter.include.is_empty() => Err(EINVAL),
                    Act::JoinSource => add(&mut filter.include, source),
                    Act::Block => add(&mut filter.exclude, source),
                    Act::Unblock => remove(&mut filter.exclude, source),
                    _ => {
                        remove(&mut filter.include, source)?;
                        if filter.include.is_empty() {
                            self.0.remove(at);
                        }
                        Ok(())
                    }
                }
            }
        }
    }
}

fn add(sources: &mut Vec<Ipv4Addr>, source: Ipv4Addr) -> Result<(), Errno> {
    if sources.contains(&source) {
        return Err(Errno(libc::EADDRNOTAVAIL));
    }
    if sources.len() >= MOST_SOURCES {
        return Err(Errno(libc::ENOBUFS));
    }
    sources.push(source);
    Ok(())
}

fn remove(sources: &mut Vec<Ipv4Addr>, source: Ipv4Addr) -> Result<(), Errno> {
    let at = sources.iter().position(|known| *known == source);
    sources.remove(at.ok_or(Errno(libc::EADDRNOTAVAIL))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 192, 0, 1);

    fn request(source: Option<u8>) -> Request {
        Request {
            group: GROUP,
            interface: None,
            source: source.map(|n| Ipv4Addr::new(192, 0, 2, n)),
        }
    }

    #[test]
    fn membership_requests_come_in_two_sizes() {
        let octets = [239, 192, 0, 1, 127, 0, 0, 1, 0, 0, 0, 0];
        let expected = Request {
            interface: Some(Ipv4Addr::LOCALHOST),
            ..request(None)
        };
        assert_eq!(Request::of_mreq(Value(&octets[..8])), Ok(expected));
        assert_eq!(Request::of_mreq(Value(&octets)), Ok(expected));
        assert_eq!(Request::of_mreq(Value(&octets[..7])), Err(EINVAL));
    }

    #[test]
    fn sources_are_chosen_or_blocked_but_not_both() {
        let errno = |result: Result<(), Errno>| result.err().map(|error| error.0);
        let mut members = Members::default();
        let mut act = |act, source| errno(members.act(request(source), act, false));
        assert_eq!(act(Act::Leave, None), Some(libc::EADDRNOTAVAIL));
        assert_eq!(act(Act::JoinSource, Some(1)), None);
        assert_eq!(act(Act::JoinSource, Some(1)), Some(libc::EADDRNOTAVAIL));
        assert_eq!(act(Act::Block, Some(2)), Some(libc::EINVAL));
        assert_eq!(act(Act::JoinSource, Some(2)), None);
        assert_eq!(act(Act::LeaveSource, Some(1)), None);
        assert_eq!(act(Act::LeaveSource, Some(2)), None);
        assert_eq!(act(Act::Join, None), None);
        assert_eq!(act(Act::Join, None), Some(libc::EADDRINUSE));
        assert_eq!(act(Act::Block, Some(2)), None);
        assert_eq!(act(Act::JoinSource, Some(2)), Some(libc::EINVAL));
        assert_eq!(act(Act::Unblock, Some(3)), Some(libc::EADDRNOTAVAIL));
        assert_eq!(act(Act::Unblock, Some(2)), None);
        assert_eq!(act(Act::Leave, None), None);
    }
}
