//! The end of a process whose main thread ended before it, by `pthread_exit`.
//!
//! Such a process ends with its last thread, and libc counts the engine thread as one. So once the main
//! thread is leaving, the engine looks now and then whether it is the only one left, and then does what
//! libc would have done.

use super::unix;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

const PERIOD: Duration = Duration::from_millis(100);

/// The watch for the end. Never due until it begins.
#[derive(Debug, Default)]
pub(super) struct Watch(Option<Instant>);

impl Watch {
    /// The main thread is leaving.
    pub(super) fn begin(&mut self, now: Instant) {
        self.0 = Some(now + PERIOD);
    }

    /// When to look next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0
    }

    /// Look, if it is time to; end the process if nobody else is there to do it.
    pub(super) fn look(&mut self, now: Instant) {
        if self.0.is_none_or(|due| due > now) {
            return;
        }
        let ending = is_last_thread().unwrap_or(false) && end_process().is_ok();
        self.0 = (!ending).then(|| now + PERIOD);
    }
}

/// Whether the main thread has ended, of which a zombie stays, and all others but this one.
fn is_last_thread() -> io::Result<bool> {
    /// Of a directory's links, those that are no threads.
    const NO_THREADS: u64 = 2;
    let threads = fs::metadata("/proc/self/task")?.nlink();
    if threads != NO_THREADS + 2 {
        return Ok(false);
    }
    // "PID (NAME) STATE ...", and a name may hold anything.
    let stat = fs::read("/proc/self/stat")?;
    let name_end = stat.iter().rposition(|octet| *octet == b')');
    Ok(name_end.is_some_and(|end| stat[end..].starts_with(b") Z")))
}

/// In a thread of its own: this one is needed for what remains to be sent.
fn end_process() -> io::Result<()> {
    thread::Builder::new()
        .name("pgmshim-exit".into())
        .spawn(unix::exit)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_other_threads_goes_on() {
        assert!(!is_last_thread().expect("/proc"));
        let (mut watch, now) = (Watch::default(), Instant::now());
        watch.look(now);
        assert_eq!(watch.due(), None, "nobody left");
        watch.begin(now);
        watch.look(now);
        assert_eq!(watch.due(), Some(now + PERIOD), "not yet");
        watch.look(now + PERIOD);
        assert_eq!(watch.due(), Some(now + 2 * PERIOD), "and again");
    }
}
