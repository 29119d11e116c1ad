//! A simulated network that drives endpoints in virtual time, with seeded loss.
