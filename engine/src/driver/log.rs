//! Log lines on stderr, only when `PGM_LOG` asks; async-signal-safe: one `write` per line, no allocation.

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Nothing.
    Off = 0,
    /// A call failed, and why.
    Error = 1,
    /// Something is not as it should be.
    Warn = 2,
    /// Sessions begin and end.
    Info = 3,
    /// Everything else.
    Debug = 4,
}
