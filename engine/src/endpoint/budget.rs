//! Memory that sessions or sources share, of one endpoint or of several (RFC 3208 §10 ).
//!
//! Memory is *short* from the half of it on. Who held more than a share by then keeps it, and then nobody grows beyond
//! an equal share of this half again: together they stay within the whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory is short from this part of it on.
const SHORT: usize = 2;

/// So many octets, for all who hold a clone.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Ledger>);

#[derive(Debug)]
struct Ledger {
    octets: usize,
    held: AtomicUsize,
    holders: AtomicUsize,
}

/// How much a holder may have before it may take more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    /// What is left before memory is short and what it has, but its share at least.
    Ample(usize),
    /// Its share.
    Short(usize),
}

impl Budget {
    /// A budget of so many octets, of which nothing is held.
    #[must_use]
    pub fn new(octets: usize) -> Self {
        Self(Arc::new(Ledger {
            octets,
            held: AtomicUsize::new(0),
            holders: AtomicUsize::new(0),
        }))
    }

    /// Octets held by all.
    #[must_use]
    pub fn held(&self) -> usize {
        // Those who share it take turns in one thread: nobody orders anything by it.
        self.0.held.load(Ordering::Relaxed)
    }

    /// All its octets.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.0.octets
    }

    /// Whether all that is not kept for the shares is held.
    pub(super) fn is_short(&self) -> bool {
        self.held() >= self.0.octets / SHORT
    }

    /// Whether more is held than makes it short.
    pub(super) fn is_over_short(&self) -> bool {
        self.held() > self.0.octets / SHORT
    }

    /// What each may have while memory is short.
    pub(super) fn share(&self) -> usize {
        self.0.octets / SHORT / self.holders().max(1)
    }

    /// What is left until memory is short.
    pub(super) fn left(&self) -> usize {
        (self.0.octets / SHORT).saturating_sub(self.held())
    }

    /// Those who have an account.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.0.holders.load(Ordering::Relaxed)
    }

    /// An account for one more holder, closed when it is dropped.
    pub(super) fn open(&self) -> Account {
        self.0.holders.fetch_add(1, Ordering::Relaxed);
        Account {
            budget: self.clone(),
            octets: 0,
        }
    }
}

/// What one holder has of a budget.
#[derive(Debug)]
pub(super) struct Account {
    budget: Budget,
    octets: usize,
}

impl Account {
    /// It has so many octets now.
    pub(super) fn set(&mut self, octets: usize) {
        let held = &self.budget.0.held;
        match octets.checked_sub(self.octets) {
            Some(0) => return,
            Some(more) => held.fetch_add(more, Ordering::Relaxed),
            None => held.fetch_sub(self.octets - octets, Ordering::Relaxed),
        };
        self.octets = octets;
    }

    /// How much it may have before it may take more.
    pub(super) fn allowance(&self) -> Allowance {
        match self.budget.left() {
            0 => Allowance::Short(self.budget.share()),
            left => Allowance::Ample(self.budget.share().max(self.octets + left)),
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.set(0);
        self.budget.0.holders.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Allowance {
    pub(super) fn octets(self) -> usize {
        match self {
            Self::Ample(octets) | Self::Short(octets) => octets,
        }
    }

    /// The share, if memory is short.
    pub(super) fn share(self) -> Option<usize> {
        match self {
            Self::Ample(_) => None,
            Self::Short(share) => Some(share),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_the_half_on_all_have_equal_shares() {
        let budget = Budget::new(1000);
        let (mut first, mut second) = (budget.open(), budget.open());
        assert_eq!(first.allowance(), Allowance::Ample(500));
        first.set(400);
        assert_eq!(first.allowance(), Allowance::Ample(500));
        assert_eq!(second.allowance(), Allowance::Ample(250));
        second.set(100);
        assert_eq!(first.allowance(), Allowance::Short(250));
        assert_eq!(second.allowance(), Allowance::Short(250));
        assert!(budget.is_short() && !budget.is_over_short());
        first.set(300);
        assert_eq!((budget.held(), budget.left()), (400, 100));
        assert_eq!(first.allowance(), Allowance::Ample(400));
        drop(first);
        assert_eq!((budget.held(), budget.holders()), (100, 1));
    }
}
