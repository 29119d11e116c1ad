//! Log lines on stderr; async-signal-safe: one `write` per line, no allocation, `errno` preserved.
//!
//! `PGM_LOG` sets the level. Without it nothing is shown, unless the environment makes another setting:
//! then errors and warnings are, because a value nobody understands must not be silent.

use super::pair::is_app_end;
use super::private::{self, EngineFd};
use super::{process, unix};
use std::fmt::{self, Write};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

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

impl Level {
    /// As in `PGM_LOG` and in a line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Off as u8);

/// Show lines up to this level from now on.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Whether lines of this level are shown.
#[must_use]
pub fn enabled(level: Level) -> bool {
    level != Level::Off && level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// Write `pgmshim[pid]: level: text` if `level` is shown. Longer lines are cut.
///
/// ```
/// use pgm_engine::{log_line, driver::log::Level};
/// log_line!(Level::Debug, "session {} began", 7);
/// ```
#[macro_export]
macro_rules! log_line {
    ($level:expr, $($text:tt)*) => {
        if $crate::driver::log::enabled($level) {
            $crate::driver::log::write_line($level, format_args!($($text)*));
        }
    };
}

/// Longest line, octets.
const LINE_MAX: usize = 512;

/// A line being put together on the stack; what does not fit is cut.
struct Line {
    octets: [u8; LINE_MAX],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One octet stays free for the newline.
        let room = LINE_MAX - 1 - self.len;
        let text = &text.as_bytes()[..text.len().min(room)];
        self.octets[self.len..self.len + text.len()].copy_from_slice(text);
        self.len += text.len();
        Ok(())
    }
}

impl Line {
    fn format(level: Level, pid: u32, text: fmt::Arguments<'_>) -> Self {
        let mut line = Self {
            octets: [0; LINE_MAX],
            len: 0,
        };
        // The writer never fails; a `Display` that does leaves its part of the line out.
        let _ = write!(line, "pgmshim[{pid}]: {}: {text}", level.name());
        line.octets[line.len] = b'\n';
        line.len += 1;
        line
    }

    fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

/// The engine thread's table has the stderr the program had when the engine started.
static HAS_STDERR: AtomicBool = AtomicBool::new(false);

/// The program's stderr of this moment. The engine thread does not have it: a program that closes it closes it.
fn stderr_of_the_program() -> io::Result<EngineFd> {
    process::descriptor_of(std::process::id(), libc::STDERR_FILENO)
}

/// Whether the engine thread has to take stderr along into its table: there are lines to be written, and the
/// system lets it fetch nothing later (Linux before 5.6, sandboxes, no main thread any more). Called while it still
/// has the program's table.
pub(super) fn needs_its_own_stderr() -> bool {
    let needed = enabled(Level::Error)
        && stderr_of_the_program().is_err()
        && unix::duplicate(libc::STDERR_FILENO).is_ok();
    HAS_STDERR.store(needed, Ordering::Relaxed);
    needed
}

/// Write one line whatever the level; what [`log_line!`] expands to.
///
/// Not if the program has closed stderr and a PGM socket got its number: the line would be a message.
pub fn write_line(level: Level, text: fmt::Arguments<'_>) {
    let line = Line::format(level, std::process::id(), text);
    // SAFETY: `__errno_location` is valid for the calling thread.
    let errno = unsafe { &mut *libc::__errno_location() };
    let saved = *errno;
    if !private::is_engine_thread() || HAS_STDERR.load(Ordering::Relaxed) {
        write(libc::STDERR_FILENO, line.as_bytes());
    } else if let Ok(stderr) = stderr_of_the_program() {
        write(stderr.as_raw_fd(), line.as_bytes());
    }
    *errno = saved;
}

fn write(fd: RawFd, line: &[u8]) {
    if !is_app_end(fd) {
        // SAFETY: `line` is readable for its length.
        unsafe { libc::write(fd, line.as_ptr().cast(), line.len()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_process_and_level() {
        let line = Line::format(Level::Warn, 42, format_args!("{} of {}", 1, 2));
        assert_eq!(line.as_bytes(), b"pgmshim[42]: warn: 1 of 2\n");
    }

    #[test]
    fn a_long_line_is_cut_and_still_ends() {
        let line = Line::format(Level::Info, 1, format_args!("{}", "x".repeat(2 * LINE_MAX)));
        assert_eq!(line.as_bytes().len(), LINE_MAX);
        assert_eq!(line.as_bytes().last(), Some(&b'\n'));
    }

    #[test]
    fn levels_are_ordered_and_off_is_never_shown() {
        assert!(Level::Error < Level::Debug);
        assert!(!enabled(Level::Off));
    }

    #[test]
    fn errno_survives_a_line() {
        // SAFETY: errno of this thread.
        let errno = unsafe { &mut *libc::__errno_location() };
        *errno = libc::EXDEV;
        write_line(Level::Debug, format_args!("errno test"));
        assert_eq!(*errno, libc::EXDEV);
    }
}
