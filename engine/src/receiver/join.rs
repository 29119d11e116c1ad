//! Where a session begins for us (RFC 3208 §6.1, §9.4 (R-02, R-03, O-14)), and asking for the SPM that tells (§13).
//!
//! A receiver that was there before the source must get everything; a late joiner begins with the first
//! ODATA it sees and asks for nothing older. Which of them we are, the first packets tell:
//!
//! | first heard | the session begins at |
//! |---|---|
//! | SPM of an empty window | its trail: nothing was sent that we could have missed |
//! | SPM or data with OPT_JOIN | the option's SQN, not before the trail |
//! | data with OPT_SYN | its SQN |
//! | data that is its own window's trail | its SQN: nothing older can be had |
//! | SPM of another window | the first ODATA after it |
//! | ODATA | undecided: the SPM, asked for by SPMR, may be one of the above; else this ODATA |

use super::repair::{newer, older};
use crate::num::Sqn;
use crate::receiver::ReceiverConfig;
use crate::wire::{Data, Window};
use std::time::{Duration, Instant};

/// How far the session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No data yet, and no proof of a start.
    Listening,
    /// Data waits in the window until it is clear whether older data belongs to us.
    Holding {
        /// When we begin with what we have.
        until: Instant,
    },
    /// Begun.
    Open,
}

/// The beginning that a data packet proves. `spm_seen`: its source's SPMs have said nothing else.
pub(super) fn start_from_data(
    data: Data,
    syn: bool,
    join: Option<Sqn>,
    spm_seen: bool,
) -> Option<Sqn> {
    if syn || data.trail == data.sqn {
        return Some(data.sqn);
    }
    if let Some(min) = join {
        return Some(older(newer(min, data.trail), data.sqn));
    }
    spm_seen.then_some(data.sqn)
}

/// The beginning that an SPM proves, given the first data held.
pub(super) fn start_from_spm(
    window: Option<Window>,
    join: Option<Sqn>,
    first_data: Option<Sqn>,
) -> Option<Sqn> {
    let proven = window.and_then(|window| match join {
        Some(min) if !min.is_newer_than(window.lead.next()) => Some(newer(min, window.trail)),
        _ => window.is_empty().then_some(window.trail),
    });
    match (proven, first_data) {
        (Some(proven), Some(first)) => Some(older(proven, first)),
        (proven, first) => proven.or(first),
    }
}

/// SPM requests: random delay, a copy for the neighbours, one for the source, then patience (RFC 3208 §13.5
///
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spmr {
    /// No SPM is wanted.
    Idle,
    /// Listening whether somebody else asks.
    BackOff { until: Instant, tries: u32 },
    /// Due: `to_group` is the copy with TTL 1, which goes first.
    Send { to_group: bool, tries: u32 },
    /// The source has been asked.
    Wait { until: Instant, tries: u32 },
}

impl Spmr {
    /// Patience doubles with every request, this often at most.
    const DOUBLINGS_MAX: u32 = 6;

    /// An SPM is wanted. Asks as long as none comes.
    pub(super) fn want(&mut self, now: Instant, config: &ReceiverConfig, rng: &mut fastrand::Rng) {
        if *self == Self::Idle {
            *self = Self::back_off(now, 0, config, rng);
        }
    }

    /// RFC 3208 §13.5: somebody else asked, so the SPM is under way.
    pub(super) fn on_heard(&mut self, now: Instant, config: &ReceiverConfig) {
        if let Self::BackOff { tries, .. }
        | Self::Send {
            to_group: true,
            tries,
        } = *self
        {
            *self = Self::wait(now, tries, config);
        }
    }

    /// Let the timer fire if it is due.
    pub(super) fn on_timeout(
        &mut self,
        now: Instant,
        config: &ReceiverConfig,
        rng: &mut fastrand::Rng,
    ) {
        match *self {
            Self::BackOff { until, tries } if until <= now => {
                *self = Self::Send {
                    to_group: true,
                    tries,
                };
            }
            Self::Wait { until, tries } if until <= now => {
                *self = Self::back_off(now, tries, config, rng);
            }
            _ => {}
        }
    }

    /// The copy to send now, if any: to the group or to the source.
    pub(super) fn next_copy(&mut self, now: Instant, config: &ReceiverConfig) -> Option<Copy> {
        let Self::Send { to_group, tries } = *self else {
            return None;
        };
        if to_group {
            *self = Self::Send {
                to_group: false,
                tries,
            };
            return Some(Copy::Group);
        }
        *self = Self::wait(now, tries, config);
        Some(Copy::Source)
    }

    /// When `on_timeout` has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match *self {
            Self::BackOff { until, .. } | Self::Wait { until, .. } => Some(until),
            Self::Idle | Self::Send { .. } => None,
        }
    }

    fn back_off(
        now: Instant,
        tries: u32,
        config: &ReceiverConfig,
        rng: &mut fastrand::Rng,
    ) -> Self {
        let delay: Duration = config.spmr_bo_ivl.mul_f64(rng.f64());
        Self::BackOff {
            until: now + delay,
            tries,
        }
    }

    fn wait(now: Instant, tries: u32, config: &ReceiverConfig) -> Self {
        let patience = config.spmr_spm_ivl * (1 << tries.min(Self::DOUBLINGS_MAX));
        Self::Wait {
            until: now + patience,
            tries: tries + 1,
        }
    }
}

/// Where an SPMR goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copy {
    Group,
    Source,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(trail: u32, lead: u32) -> Option<Window> {
        Some(Window {
            trail: Sqn(trail),
            lead: Sqn(lead),
        })
    }

    #[test] // RFC 3208 §6.1, §9.4; X-08
    fn an_spm_proves_a_start() {
        let start = |w, join: Option<u32>, first: Option<u32>| {
            start_from_spm(w, join.map(Sqn), first.map(Sqn)).map(|sqn| sqn.0)
        };
        assert_eq!(start(window(5, 4), None, None), Some(5), "empty window");
        assert_eq!(
            start(window(5, 4), None, Some(7)),
            Some(5),
            "SPM overtaken by data"
        );
        assert_eq!(
            start(window(8, 7), None, Some(5)),
            Some(5),
            "window closed meanwhile"
        );
        assert_eq!(
            start(window(5, 9), None, None),
            None,
            "late, and no data yet"
        );
        assert_eq!(start(window(5, 9), None, Some(8)), Some(8), "late");
        assert_eq!(start(window(5, 9), Some(6), None), Some(6), "OPT_JOIN");
        assert_eq!(
            start(window(5, 9), Some(6), Some(8)),
            Some(6),
            "OPT_JOIN proves older data"
        );
        assert_eq!(
            start(window(5, 9), Some(2), Some(8)),
            Some(5),
            "OPT_JOIN behind the trail"
        );
        assert_eq!(
            start(window(5, 9), Some(20), Some(8)),
            Some(8),
            "OPT_JOIN beyond the lead"
        );
        assert_eq!(
            start(window(u32::MAX, 9), Some(u32::MAX), Some(1)),
            Some(u32::MAX),
            "wrap"
        );
        assert_eq!(start(None, None, Some(8)), Some(8), "no window");
        assert_eq!(start(None, Some(3), None), None, "no window, no data");
    }

    #[test] // RFC 3208 §6.1, §9.4, §9.6
    fn data_proves_a_start() {
        let data = |sqn, trail| Data {
            sqn: Sqn(sqn),
            trail: Sqn(trail),
        };
        let start = |d, syn, join: Option<u32>, seen| {
            start_from_data(d, syn, join.map(Sqn), seen).map(|sqn| sqn.0)
        };
        assert_eq!(start(data(9, 5), false, None, false), None);
        assert_eq!(start(data(9, 5), false, None, true), Some(9));
        assert_eq!(
            start(data(9, 9), false, None, false),
            Some(9),
            "nothing older exists"
        );
        assert_eq!(start(data(9, 5), true, None, false), Some(9));
        assert_eq!(start(data(9, 5), false, Some(7), false), Some(7));
        assert_eq!(start(data(9, 5), false, Some(3), false), Some(5));
        assert_eq!(start(data(9, 5), false, Some(12), false), Some(9));
    }
}
