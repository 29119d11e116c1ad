//! Counters that outlive what they count.

use crate::driver::Handle;
use std::collections::VecDeque;

/// Counters kept of sources and sessions that are gone.
const KEPT: usize = 64;

/// The last counters of what is gone.
#[derive(Debug)]
pub(in crate::driver) struct Retired<T>(VecDeque<(Handle, T)>);

impl<T: Copy> Retired<T> {
    pub(in crate::driver) const fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(super) fn keep(&mut self, handle: Handle, stats: Option<T>) {
        if let Some(stats) = stats {
            self.0.truncate(KEPT - 1);
            self.0.push_front((handle, stats));
        }
    }

    pub(in crate::driver) fn find(&self, handle: Handle) -> Option<T> {
        self.0
            .iter()
            .find(|(kept, _)| *kept == handle)
            .map(|(_, stats)| *stats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn retired_counters_are_few_and_the_newest() {
        let mut retired = Retired::new();
        for i in 0..=KEPT as u64 {
            retired.keep(Handle(i), Some(i));
        }
        retired.keep(Handle(1000), None);
        assert_eq!(retired.find(Handle(0)), None, "the oldest gave way");
        assert_eq!(retired.find(Handle(1)), Some(1));
        assert_eq!(retired.find(Handle(KEPT as u64)), Some(KEPT as u64));
        assert_eq!(retired.find(Handle(1000)), None);
    }
}
