//! What a call holds while it waits, and its thread may be cancelled or a signal handler may jump away: nobody comes
//! back for it. A cancelled thread's is freed with the thread; what a jump left, by the next call of the thread
//! that holds something of the kind.
//!
//! No destructor of Rust's would do: it registers itself with libc, which takes memory from malloc, and sends are
//! allowed in signal handlers.

use crate::next;
use crate::send::Counted;
use libc::{c_char, c_int, c_void};
use std::cell::Cell;
use std::os::fd::RawFd;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::thread::LocalKey;

/// Something to be freed.
#[derive(Clone, Copy, Debug)]
enum Thing {
    /// And the room that it has.
    File(RawFd, Option<Counted>),
    /// Of malloc's.
    Text(*mut c_char),
}

impl Thing {
    fn free(self) {
        // SAFETY: ours, and used by nobody any more.
        unsafe {
            match self {
                Self::File(fd, counted) => {
                    next::close(fd);
                    if let Some(counted) = counted {
                        counted.give_back();
                    }
                }
                Self::Text(text) => libc::free(text.cast()),
            }
        }
    }
}

/// A thing, and where on the stack the call is that holds it.
type Place = Cell<Option<(Thing, usize)>>;

thread_local! {
    // A text may hold while it is sent as a file.
    static FILE: Place = const { Cell::new(None) };
    static TEXT: Place = const { Cell::new(None) };
}

/// A key whose destructor frees a thread's things.
static KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();

/// Before the first thing is held.
pub(crate) fn prepare() {
    let mut key = 0;
    if KEY.get().is_none()
        // SAFETY: the destructor is a function of this library, which is never unloaded.
        && unsafe { libc::pthread_key_create(&raw mut key, Some(thread_ends)) } == 0
    {
        let _ = KEY.set(key);
    }
}

unsafe extern "C" fn thread_ends(_: *mut c_void) {
    for place in [&FILE, &TEXT] {
        if let Some((thing, _)) = place.take() {
            thing.free();
        }
    }
}

/// What a call holds. It must be let go: nothing that holds it is dropped by who cancels or jumps.
#[derive(Debug)]
pub(crate) struct Hold {
    thing: Thing,
    /// What a call further up holds, which a signal handler interrupted.
    above: Option<(Thing, usize)>,
}

/// Hold a descriptor, and the room that its file has. `frame`: an address in the stack frame of the call that does.
pub(crate) fn hold_file(fd: RawFd, counted: Option<Counted>, frame: usize) -> Hold {
    hold(Thing::File(fd, counted), frame)
}

/// Hold what malloc gave.
pub(crate) fn hold_text(text: *mut c_char, frame: usize) -> Hold {
    hold(Thing::Text(text), frame)
}

fn place_of(thing: Thing) -> &'static LocalKey<Place> {
    match thing {
        Thing::File(..) => &FILE,
        Thing::Text(_) => &TEXT,
    }
}

/// Free the file that a jump left, and its room, before room is taken. `frame` as in [`hold_file`].
pub(crate) fn free_file(frame: usize) {
    let above = free_left(&FILE, frame);
    FILE.set(above);
}

/// Whether a call of this thread further up holds a file that has room.
pub(crate) fn has_room() -> bool {
    matches!(FILE.get(), Some((Thing::File(_, Some(_)), _)))
}

/// What a call further up holds; what a jump left is freed.
fn free_left(place: &'static LocalKey<Place>, frame: usize) -> Option<(Thing, usize)> {
    // Stacks grow down: who is above this call and not below it has not come to an end. A handler on a stack of its
    // own is anywhere.
    let lives = |(_, other): &(Thing, usize)| *other > frame || is_on_another_stack();
    match place.take() {
        Some(above) if lives(&above) => Some(above),
        left => {
            if let Some((left, _)) = left {
                left.free();
            }
            None
        }
    }
}

fn hold(thing: Thing, frame: usize) -> Hold {
    let above = free_left(place_of(thing), frame);
    place_of(thing).set(Some((thing, frame)));
    if let Some(key) = KEY.get() {
        // SAFETY: nobody follows the pointer; it only must not be null.
        unsafe { libc::pthread_setspecific(*key, (&raw const KEY).cast()) };
    }
    Hold { thing, above }
}

/// Whether this thread runs on its alternate signal stack.
fn is_on_another_stack() -> bool {
    let mut stack = libc::stack_t {
        ss_sp: null_mut(),
        ss_flags: 0,
        ss_size: 0,
    };
    // SAFETY: the old state is written to a local.
    unsafe { libc::sigaltstack(std::ptr::null(), &raw mut stack) };
    stack.ss_flags & libc::SS_ONSTACK != 0
}

impl Hold {
    /// The descriptor.
    pub(crate) fn fd(&self) -> c_int {
        match self.thing {
            Thing::File(fd, _) => fd,
            Thing::Text(_) => -1,
        }
    }

    /// Its file was sent: the room is the receiver's to give back.
    pub(crate) fn leave_room(&mut self) {
        if let Thing::File(fd, counted) = &mut self.thing {
            *counted = None;
            if let Some((Thing::File(held, _), frame)) = FILE.get()
                && held == *fd
            {
                FILE.set(Some((self.thing, frame)));
            }
        }
    }

    /// It is not needed any more.
    pub(crate) fn let_go(self) {
        place_of(self.thing).set(self.above);
        self.thing.free();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{AsRawFd, IntoRawFd};

    fn file() -> (RawFd, std::io::PipeReader) {
        let (reader, writer) = std::io::pipe().expect("pipe");
        (writer.into_raw_fd(), reader)
    }

    fn is_open(reader: &std::io::PipeReader) -> bool {
        let mut poll = libc::pollfd {
            fd: reader.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd; a zero timeout never blocks.
        unsafe { libc::poll(&raw mut poll, 1, 0) };
        poll.revents & libc::POLLHUP == 0
    }

    #[test]
    fn what_is_left_goes_with_the_next_call_or_the_thread_and_nothing_that_is_held() {
        let (fds, readers): (Vec<_>, Vec<_>) = (0..5).map(|_| file()).unzip();
        let open = || readers.iter().map(is_open).collect::<Vec<_>>();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                prepare();
                let first = hold_file(fds[0], None, 3000);
                // A handler interrupts it, which is interrupted, too, and jumps.
                let second = hold_file(fds[1], None, 2000);
                let _ = hold_file(fds[2], None, 1000);
                assert_eq!(open(), [true; 5]);
                // It sends again.
                let _ = second;
                hold_file(fds[3], None, 1500).let_go();
                assert_eq!(open(), [true, true, false, false, true]);
                first.let_go();
                assert_eq!(open(), [false, true, false, false, true]);
                let _ = hold_file(fds[4], None, 1000);
            });
            // The scope alone waits for its result, not until it has ended.
            thread.join().expect("no panic");
        });
        assert_eq!(open(), [false, true, false, false, false]);
        // SAFETY: it was lost on purpose.
        unsafe { libc::close(fds[1]) };
    }
}
