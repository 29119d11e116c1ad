//! Loss on purpose, for tests and demonstrations (`PGM_FAULT_LOSS`, `PGM_FAULT_SEED`).

/// Decides which arriving TPDU is dropped before the protocol sees it.
#[derive(Debug)]
pub(super) struct Loss {
    share: f64,
    random: fastrand::Rng,
}

impl Loss {
    /// Drop `share` (0..=1) of all; the same ones for the same seed.
    pub(super) fn new(share: f64, seed: u64) -> Self {
        Self {
            share,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Whether the next one is dropped.
    pub(super) fn strikes(&mut self) -> bool {
        self.share > 0.0 && self.random.f64() < self.share
    }
}
