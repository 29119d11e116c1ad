//! Fragments of one APDU put together as they come in order (RFC 3208 §9.2 ).
//!
//! Memory grows with the octets that really arrived: the length a packet announces is never believed
//! beforehand, so a forged one allocates nothing (RFC 3208 §10 ).

use crate::num::Sqn;
use crate::wire::Fragment;
use bytes::Bytes;

/// Least capacity of an APDU under assembly, unless it is known to be shorter.
const FIRST_CAPACITY: usize = 64 << 10;

/// Steps in which an APDU grows while memory is short: this part of it.
const LEAN_STEP: usize = 16;

/// Fragments that contradict each other or the limit: the APDU cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadApdu;

/// The APDU at the head of the stream, as far as it takes several TPDUs.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    state: State,
    /// No APDU boundary was seen yet: a late joiner may have begun in the middle of an APDU.
    resyncing: bool,
    /// Memory is short.
    lean: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Partial {
        first: Sqn,
        apdu_len: usize,
        octets: Vec<u8>,
    },
    Complete(Bytes),
}

/// Whether a fragment can be true, seen alone. Sizes are octets.
///
/// Every fragment has at least one octet, so at most `offset` fragments precede it.
pub(super) fn is_possible(fragment: &Fragment, sqn: Sqn, len: usize) -> bool {
    let Fragment {
        first,
        offset,
        apdu_len,
    } = *fragment;
    let before = sqn.since(first);
    (0..=i64::from(offset)).contains(&i64::from(before))
        && (before == 0) == (offset == 0)
        && (len > 0 || apdu_len == 0)
        && u64::from(offset) + len as u64 <= u64::from(apdu_len)
}

impl Assembly {
    /// Whether memory is short.
    pub(super) fn set_lean(&mut self, lean: bool) {
        self.lean = lean;
    }

    /// The session begins at an SQN that need not begin an APDU.
    pub(super) fn resync(&mut self) {
        self.resyncing = true;
    }

    /// The stream stands at an APDU boundary.
    pub(super) fn on_boundary(&mut self) -> Result<(), BadApdu> {
        self.resyncing = false;
        match self.state {
            State::Idle => Ok(()),
            // RFC 3208 §9.2: fragments take consecutive SQNs.
            _ => Err(BadApdu),
        }
    }

    /// The next fragment in SQN order.
    pub(super) fn push(
        &mut self,
        fragment: &Fragment,
        payload: &[u8],
        max_apdu: usize,
    ) -> Result<(), BadApdu> {
        let apdu_len = fragment.apdu_len as usize;
        if fragment.offset == 0 {
            self.on_boundary()?;
            if apdu_len > max_apdu {
                return Err(BadApdu);
            }
            self.state = State::Partial {
                first: fragment.first,
                apdu_len,
                octets: Vec::new(),
            };
        } else if self.resyncing {
            // RFC 3208 §9.2: resume at the next APDU boundary.
            return Ok(());
        }
        let State::Partial {
            first,
            apdu_len: expected,
            octets,
        } = &mut self.state
        else {
            return Err(BadApdu);
        };
        if (fragment.first, apdu_len, fragment.offset as usize) != (*first, *expected, octets.len())
        {
            return Err(BadApdu);
        }
        let needed = octets.len() + payload.len();
        if needed > octets.capacity() {
            let ample = match self.lean {
                true => octets.capacity() + octets.capacity() / LEAN_STEP,
                false => FIRST_CAPACITY.max(2 * octets.capacity()),
            };
            let capacity = needed.max(ample).min(apdu_len);
            octets.reserve_exact(capacity - octets.len());
        }
        octets.extend_from_slice(payload);
        if octets.len() == apdu_len {
            self.state = State::Complete(std::mem::take(octets).into());
        }
        Ok(())
    }

    /// Whether a whole APDU waits here.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete(_))
    }

    /// Whether an APDU was begun and is not whole.
    pub(super) fn is_partial(&self) -> bool {
        matches!(self.state, State::Partial { .. })
    }

    /// Octets held.
    pub(super) fn bytes(&self) -> usize {
        match &self.state {
            State::Idle => 0,
            State::Partial { octets, .. } => octets.capacity(),
            State::Complete(apdu) => apdu.len(),
        }
    }

    /// The whole APDU.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        match std::mem::take(&mut self.state) {
            State::Complete(apdu) => Some(apdu),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Free a half APDU that will not be finished.
    pub(super) fn abandon(&mut self) {
        if self.is_partial() {
            self.state = State::Idle;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn fragment(first: u32, offset: u32, apdu_len: u32) -> Fragment {
        Fragment {
            first: Sqn(first),
            offset,
            apdu_len,
        }
    }

    #[test] // RFC 3208 §9.2: offset, length and first SQN must fit together
    fn impossible_fragments_are_told_from_possible_ones() {
        let possible = |f: Fragment, sqn, len| is_possible(&f, Sqn(sqn), len);
        assert!(possible(fragment(7, 0, 10), 7, 4));
        assert!(possible(fragment(7, 4, 10), 8, 6));
        assert!(possible(fragment(u32::MAX, 4, 10), 3, 6), "across the wrap");
        assert!(!possible(fragment(7, 4, 10), 8, 7), "beyond the APDU");
        assert!(
            !possible(fragment(7, 11, 10), 8, 0),
            "offset beyond the APDU"
        );
        assert!(
            !possible(fragment(7, u32::MAX, u32::MAX), 8, 2),
            "sum over 2^32"
        );
        assert!(
            !possible(fragment(8, 4, 10), 7, 4),
            "first SQN after its own"
        );
        assert!(
            !possible(fragment(7, 0, 10), 8, 4),
            "offset 0 on a later SQN"
        );
        assert!(
            !possible(fragment(7, 4, 10), 7, 4),
            "offset on the first SQN"
        );
        assert!(
            !possible(fragment(7, 4, 10), 12, 4),
            "more SQNs than octets before it"
        );
        assert!(!possible(fragment(7, 4, 10), 8, 0), "empty fragment");
        assert!(
            !possible(fragment(7, 4, 10), 7u32.wrapping_add(1 << 31), 4),
            "half the space"
        );
    }

    #[test] // the announced length is not believed
    fn memory_follows_the_octets_that_came() {
        let mut assembly = Assembly::default();
        assembly
            .push(&fragment(1, 0, 200 << 20), &[0; 1000], 256 << 20)
            .unwrap();
        assert!(assembly.bytes() <= FIRST_CAPACITY);
        assert_eq!(
            assembly.push(&fragment(1, 0, 200 << 20), &[0; 10], 256 << 20),
            Err(BadApdu)
        );
    }

    #[test]
    fn fragments_make_the_apdu() {
        let mut assembly = Assembly::default();
        let apdu: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        for (i, part) in apdu.chunks(1400).enumerate() {
            assert!(!assembly.is_complete());
            let f = fragment(1, i as u32 * 1400, apdu.len() as u32);
            assembly.push(&f, part, 1 << 20).unwrap();
        }
        assert_eq!(assembly.take().unwrap(), apdu);
        assert_eq!(assembly.take(), None);
    }

    #[test]
    fn contradictions_are_found() {
        let begun = || {
            let mut assembly = Assembly::default();
            assembly.push(&fragment(1, 0, 10), &[0; 4], 10).unwrap();
            assembly
        };
        assert_eq!(
            begun().push(&fragment(1, 5, 10), &[0; 4], 10),
            Err(BadApdu),
            "hole"
        );
        assert_eq!(
            begun().push(&fragment(1, 3, 10), &[0; 4], 10),
            Err(BadApdu),
            "overlap"
        );
        assert_eq!(
            begun().push(&fragment(1, 4, 11), &[0; 4], 11),
            Err(BadApdu),
            "length"
        );
        assert_eq!(
            begun().push(&fragment(0, 4, 10), &[0; 4], 10),
            Err(BadApdu),
            "first SQN"
        );
        assert_eq!(begun().on_boundary(), Err(BadApdu), "whole APDU inside");
        let mut assembly = Assembly::default();
        assert_eq!(
            assembly.push(&fragment(1, 0, 11), &[0; 4], 10),
            Err(BadApdu),
            "too long"
        );
        assert_eq!(
            assembly.push(&fragment(1, 4, 10), &[0; 4], 10),
            Err(BadApdu),
            "no beginning"
        );
    }

    #[test] // RFC 3208 §9.2
    fn a_late_joiner_waits_for_the_boundary() {
        let mut assembly = Assembly::default();
        assembly.resync();
        assembly.push(&fragment(1, 4, 10), &[0; 4], 10).unwrap();
        assembly.push(&fragment(1, 8, 10), &[0; 2], 10).unwrap();
        assert!(!assembly.is_complete() && !assembly.is_partial());
        assembly.push(&fragment(4, 0, 10), &[0; 4], 10).unwrap();
        assert_eq!(
            assembly.push(&fragment(4, 3, 10), &[0; 4], 10),
            Err(BadApdu)
        );
    }
}
