//! Network-order fields: bounded reading, appending.

use super::WireError;
use crate::num::{Nla, Sqn};

/// Address family numbers of RFC 3208 §8 (IANA).
const AFI_IPV4: u16 = 1;
const AFI_IPV6: u16 = 2;

/// The octets not read yet. A read past the end is the error given at the start.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    short: WireError,
}

/// What an AFI announces.
#[derive(Clone, Copy, Debug)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], short: WireError) -> Self {
        Self { rest: bytes, short }
    }

    /// All that is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `N` octets.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(self.short)?;
        self.rest = rest;
        Ok(*head)
    }

    /// From here on a read past the end is `short`.
    pub(super) fn on_short(&mut self, short: WireError) {
        self.short = short;
    }

    /// A reader for the next `len` octets alone.
    pub(super) fn sub(&mut self, len: usize) -> Result<Self, WireError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(self.short)?;
        self.rest = rest;
        Ok(Self::new(head, self.short))
    }

    pub(super) fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn sqn(&mut self) -> Result<Sqn, WireError> {
        Ok(Sqn(self.u32()?))
    }

    /// An AFI alone (RFC 3208 §8 (G-23)).
    pub(super) fn family(&mut self) -> Result<Family, WireError> {
        match self.u16()? {
            AFI_IPV4 => Ok(Family::Ipv4),
            AFI_IPV6 => Ok(Family::Ipv6),
            _ => Err(WireError::AddressFamily),
        }
    }

    /// An address alone.
    pub(super) fn address(&mut self, family: Family) -> Result<Nla, WireError> {
        Ok(match family {
            Family::Ipv4 => Nla::from(self.array::<4>()?),
            Family::Ipv6 => Nla::from(self.array::<16>()?),
        })
    }

    /// AFI, two reserved octets, address: the usual form of an NLA.
    pub(super) fn nla(&mut self) -> Result<Nla, WireError> {
        let family = self.family()?;
        self.u16()?;
        self.address(family)
    }
}

/// Octets of an address alone.
pub(super) fn address_len(nla: Nla) -> usize {
    if nla.is_ipv4() { 4 } else { 16 }
}

/// Append the AFI of `nla`.
pub(super) fn put_family(out: &mut Vec<u8>, nla: Nla) {
    let afi = if nla.is_ipv4() { AFI_IPV4 } else { AFI_IPV6 };
    out.extend_from_slice(&afi.to_be_bytes());
}

/// Append the octets of `nla` alone.
pub(super) fn put_address(out: &mut Vec<u8>, nla: Nla) {
    match nla {
        Nla::V4(address) => out.extend_from_slice(&address.octets()),
        Nla::V6(address) => out.extend_from_slice(&address.octets()),
    }
}

/// Append AFI, two reserved octets and the address.
pub(super) fn put_nla(out: &mut Vec<u8>, nla: Nla) {
    put_family(out, nla);
    out.extend_from_slice(&[0, 0]);
    put_address(out, nla);
}

/// Append a 32-bit number.
pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Append a 16-bit number.
pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Overwrite octets that were appended earlier with what is known only now.
pub(super) fn patch<const N: usize>(out: &mut [u8], at: usize, octets: [u8; N]) {
    let place = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
    debug_assert!(place.is_some(), "only octets already appended are patched");
    if let Some(place) = place {
        *place = octets;
    }
}
