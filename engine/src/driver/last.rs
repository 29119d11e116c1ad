//! The end of a process whose main thread ended before it, by `pthread_exit`.
//!
//! Such a process ends with its last thread, and libc counts the engine thread as one. So once the main
//! thread is leaving, another thread of the library's looks now and then whether no thread of the program is left,
//! and then does what libc would have done. It has the program's descriptors, which the engine thread
//! has not: they stay open until then.

use super::unix;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use std::{fs, io, thread};

const PERIOD: Duration = Duration::from_millis(100);

/// The main thread is leaving: end the process when it is time.
pub(super) fn watch() -> io::Result<()> {
    let watch = || {
        while !is_last_thread().unwrap_or(false) {
            thread::sleep(PERIOD);
        }
        unix::exit();
    };
    let builder = thread::Builder::new().name("pgmshim-exit".into());
    unix::with_signals_blocked(|| builder.spawn(watch)).map(drop)
}

/// Whether the main thread has ended, of which a zombie stays, and all others but this one and the engine's.
fn is_last_thread() -> io::Result<bool> {
    /// Of a directory's links, those that are no threads.
    const NO_THREADS: u64 = 2;
    let threads = fs::metadata("/proc/self/task")?.nlink();
    if threads > NO_THREADS + 3 {
        return Ok(false);
    }
    // "PID (NAME) STATE ...", and a name may hold anything.
    let stat = fs::read("/proc/self/stat")?;
    let name_end = stat.iter().rposition(|octet| *octet == b')');
    Ok(name_end.is_some_and(|end| stat[end..].starts_with(b") Z")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_a_main_thread_goes_on() {
        assert!(!is_last_thread().expect("/proc"));
    }
}
