//! The ratio rule of RM_RATE_WINDOW_SIZE: `bytes = kilobits per second * milliseconds / 8`.

use pgm_engine::driver::config::SendWindow;

/// The window a program asks for: 0 means not given, what is not given follows from the ratio and, as
/// far as needed, from the window so far. `None`: a contradiction, or out of range.
pub(super) fn requested(now: SendWindow, [rate, msecs, bytes]: [u32; 3]) -> Option<SendWindow> {
    let given = |n: u32| (n > 0).then_some(n);
    if (rate, msecs, bytes) == (0, 0, 0) {
        return None;
    }
    now.with(given(rate), given(bytes), given(msecs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_default(members: [u32; 3]) -> Option<[u32; 3]> {
        requested(SendWindow::LAN, members).map(|w| [w.rate_kbits, w.msecs, w.bytes])
    }

    #[test]
    fn two_members_give_the_third() {
        assert_eq!(from_default([56, 60_000, 0]), Some([56, 60_000, 420_000]));
        assert_eq!(
            from_default([56, 0, 10_000_000]),
            Some([56, 1_428_571, 10_000_000])
        );
        assert_eq!(
            from_default([0, 1000, 125_000]),
            Some([1000, 1000, 125_000])
        );
    }

    #[test]
    fn one_member_keeps_another() {
        assert_eq!(from_default([1000, 0, 0]), Some([1000, 80_000, 10_000_000]));
        assert_eq!(
            from_default([0, 1600, 0]),
            Some([100_000, 1600, 20_000_000])
        );
        assert_eq!(
            from_default([0, 0, 1_000_000]),
            Some([100_000, 80, 1_000_000])
        );
    }

    #[test]
    fn rounding_of_callers_is_no_contradiction() {
        // (rate / 8) * ms, and rate * ms / 8.
        for (rate, ms) in [(56, 1_428_571), (1001, 333), (99_999, 1234), (7, 100_000)] {
            for bytes in [rate / 8 * ms, (u64::from(rate) * u64::from(ms) / 8) as u32] {
                if bytes > 0 {
                    assert_eq!(from_default([rate, ms, bytes]), Some([rate, ms, bytes]));
                }
            }
        }
        // bytes * 8 / rate.
        assert_eq!(
            from_default([1_000_000, 8, 1_100_000]),
            Some([1_000_000, 8, 1_100_000])
        );
    }

    #[test]
    fn contradictions_and_overflow_are_refused() {
        assert_eq!(from_default([1000, 1000, 1_000_000]), None);
        assert_eq!(from_default([u32::MAX, u32::MAX, 0]), None);
        assert_eq!(from_default([1, 1, 0]), None);
        assert_eq!(from_default([0, u32::MAX, 1]), None);
        assert_eq!(from_default([0, 0, 0]), None);
    }
}
