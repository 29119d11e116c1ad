//! Numbers of the protocol as types: sequence numbers, session identifiers, network addresses.
//!
//! Serial numbers have no total order, so [`Sqn`] implements no `Ord`: [`Sqn::since`] is the only
//! comparison (RFC 3208 §3.1, §3.3).

use std::fmt;
use std::net::IpAddr;

/// Network-layer address as PGM carries it (RFC 3208 §8: NLA AFI + NLA).
pub type Nla = IpAddr;

/// Data sequence number: 32-bit, circular.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sqn(pub u32);

impl Sqn {
    /// Signed distance `self - earlier` (RFC 3208 §3.3 (G-20)). Exactly 2³¹ apart is `i32::MIN`: unordered, so never newer.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }

    /// Whether `self` is strictly newer than `other` in the half space ahead of it.
    #[must_use]
    pub const fn is_newer_than(self, other: Self) -> bool {
        self.since(other) > 0
    }

    /// The number `n` places on.
    #[must_use]
    pub const fn plus(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }

    /// The number `n` places back.
    #[must_use]
    pub const fn minus(self, n: u32) -> Self {
        Self(self.0.wrapping_sub(n))
    }

    /// The next number.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }
}

impl fmt::Display for Sqn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Global source identifier: 48 bits, fixed for a session (RFC 3208 §8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gsi(pub [u8; 6]);

/// Transport session identifier: GSI + data-source port (RFC 3208 §3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tsi {
    /// Which host or process.
    pub gsi: Gsi,
    /// Data-source port: which session of it.
    pub sport: u16,
}

impl fmt::Display for Tsi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for octet in self.gsi.0 {
            write!(f, "{octet:02x}")?;
        }
        write!(f, ".{}", self.sport)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // G-20
    fn serial_arithmetic_crosses_the_wrap() {
        assert_eq!(Sqn(0).since(Sqn(u32::MAX)), 1);
        assert!(Sqn(5).is_newer_than(Sqn(u32::MAX - 5)));
        assert!(
            !Sqn(1 << 31).is_newer_than(Sqn(0)),
            "2^31 apart is unordered"
        );
        assert!(
            !Sqn(0).is_newer_than(Sqn(1 << 31)),
            "2^31 apart is unordered"
        );
        assert_eq!(Sqn(u32::MAX).next(), Sqn(0));
        assert_eq!(Sqn(0).minus(1), Sqn(u32::MAX));
    }

    /// Numbers around every place where 32-bit arithmetic turns over.
    const EDGES: [u32; 10] = [
        0,
        1,
        2,
        0x7FFF_FFFE,
        0x7FFF_FFFF,
        0x8000_0000,
        0x8000_0001,
        0xFFFF_FFFD,
        0xFFFF_FFFE,
        0xFFFF_FFFF,
    ];

    #[test] // G-20
    fn of_two_numbers_at_most_one_is_newer() {
        for (a, b) in EDGES
            .into_iter()
            .flat_map(|a| EDGES.map(|b| (Sqn(a), Sqn(b))))
        {
            let unordered = a == b || a.0.abs_diff(b.0) == 1 << 31;
            let newer = [a.is_newer_than(b), b.is_newer_than(a)];
            let one = newer == [true, false] || newer == [false, true];
            assert_eq!(one, !unordered, "{a} and {b}: {newer:?}");
            assert!(
                !unordered || newer == [false, false],
                "{a} and {b}: {newer:?}"
            );
        }
    }

    #[test]
    fn distance_undoes_movement() {
        for (start, n) in EDGES.into_iter().flat_map(|a| EDGES.map(|b| (Sqn(a), b))) {
            assert_eq!(start.plus(n).since(start), n.cast_signed());
            assert_eq!(start.minus(n).since(start), n.wrapping_neg().cast_signed());
            assert_eq!(start.plus(n).minus(n), start);
        }
    }

    #[test] // G-20
    fn the_half_space_ahead_is_newer() {
        for start in EDGES.map(Sqn) {
            for n in [1, 2, 0x7FFF_FFFE, 0x7FFF_FFFF] {
                assert!(start.plus(n).is_newer_than(start), "{start} + {n}");
                assert!(!start.minus(n).is_newer_than(start), "{start} - {n}");
            }
        }
    }

    #[test]
    fn sessions_print_as_hexadecimal_and_port() {
        let tsi = Tsi {
            gsi: Gsi([0x0A, 0, 0xFF, 1, 2, 3]),
            sport: 1000,
        };
        assert_eq!(tsi.to_string(), "0a00ff010203.1000");
    }
}
