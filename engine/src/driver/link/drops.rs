//! What the network sent that was not taken, told once in a while: a flood makes no flood of lines.

use crate::driver::log;
use crate::endpoint::Endpoint;
use crate::log_line;
use crate::stats::EndpointStats;
use crate::wire::WireError;
use std::fmt;
use std::time::{Duration, Instant};

/// Lines follow each other no closer than this.
const IVL: Duration = Duration::from_secs(2);

/// So many of what happens every day are too many.
const MANY: u64 = 100;

/// The counters as the last line left them.
#[derive(Debug, Default)]
pub(super) struct Drops {
    next: Option<Instant>,
    told: EndpointStats,
}

impl Drops {
    /// Tell what was dropped since the last line, if it is time for one.
    pub(super) fn look(&mut self, now: Instant, endpoint: &Endpoint) {
        if !log::enabled(log::Level::Warn) || self.next.is_some_and(|next| now < next) {
            return;
        }
        self.next = Some(now + IVL);
        let now = endpoint.stats();
        let news = Since(&self.told, &now);
        if news.is_worth_a_line() {
            log_line!(log::Level::Warn, "dropped since the last such line: {news}");
            self.told = now;
        }
    }
}

/// What was counted between two moments.
struct Since<'a>(&'a EndpointStats, &'a EndpointStats);

impl Since<'_> {
    fn count(&self, of: impl Fn(&EndpointStats) -> u64) -> u64 {
        of(self.1).saturating_sub(of(self.0))
    }

    fn malformed(&self) -> u64 {
        self.count(|s| s.malformed.iter().sum())
    }

    /// Packets for nobody here, full windows, late NAKs and SPM requests are everyday life until there are many.
    fn is_worth_a_line(&self) -> bool {
        let strange = self.count(|s| s.spoofed + s.peers_refused + s.over_budget);
        let common = self.count(|s| s.unusable + s.late + s.naks_refused + s.other_requests);
        self.malformed() + strange > 0 || common >= MANY
    }
}

impl fmt::Display for Since<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} malformed", self.malformed())?;
        let mut before = " (";
        for reason in WireError::ALL {
            let n = self.count(|s| s.malformed[reason as usize]);
            if n > 0 {
                write!(f, "{before}{reason} {n}")?;
                before = ", ";
            }
        }
        write!(
            f,
            "{}, {} not from the session's source, {} of new sources without room, {} over the memory budget, \
             {} unusable, {} of sessions that are over, {} NAKs refused, {} other requests, {} for nobody here, of {} packets",
            if before == ", " { ")" } else { "" },
            self.count(|s| s.spoofed),
            self.count(|s| s.peers_refused),
            self.count(|s| s.over_budget),
            self.count(|s| s.unusable),
            self.count(|s| s.late),
            self.count(|s| s.naks_refused),
            self.count(|s| s.other_requests),
            self.count(|s| s.foreign),
            self.count(|s| s.tpdus_received)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_was_dropped_and_why() {
        let (mut before, mut after) = (EndpointStats::default(), EndpointStats::default());
        before.malformed[WireError::Option as usize] = 1;
        after.malformed[WireError::Option as usize] = 3;
        after.malformed[WireError::Length as usize] = 1;
        (after.spoofed, after.tpdus_received) = (5, 9);
        let line = Since(&before, &after).to_string();
        assert!(
            line.starts_with("3 malformed (length of the packet and its fields disagree 1, malformed option 2), 5 not"),
            "{line}"
        );
        assert!(Since(&before, &after).is_worth_a_line());
    }

    #[test]
    fn packets_for_others_alone_are_no_news() {
        let foreign = EndpointStats {
            foreign: 9,
            ..EndpointStats::default()
        };
        assert!(!Since(&EndpointStats::default(), &foreign).is_worth_a_line());
    }
}
