//! Streams on PGM sockets. libc reads and writes them by calls that pass by every hook, and its reads would
//! lose what a buffer has no room for. So a stream on one of our descriptors is a custom one
//! (`fopencookie`) whose functions are the hooks.
//!
//! `stdin`, `stdout` and `stderr` are replaced when their descriptor becomes a PGM socket, unless
//! something waits in their buffers. What they do then depends on what the number names at the time, so
//! that it may become something else again.

use crate::errno::{self, Errno, Native};
use crate::fdtable;
use crate::interpose::inside;
use libc::{FILE, c_char, c_int, c_void, off64_t, size_t, ssize_t};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

/// `cookie_io_functions_t`.
#[repr(C)]
struct Functions {
    read: unsafe extern "C-unwind" fn(*mut c_void, *mut c_char, size_t) -> ssize_t,
    write: unsafe extern "C-unwind" fn(*mut c_void, *const c_char, size_t) -> ssize_t,
    seek: unsafe extern "C-unwind" fn(*mut c_void, *mut off64_t, c_int) -> c_int,
    close: unsafe extern "C-unwind" fn(*mut c_void) -> c_int,
}

unsafe extern "C" {
    fn fopencookie(cookie: *mut c_void, mode: *const c_char, functions: Functions) -> *mut FILE;
    fn __fpending(file: *mut FILE) -> size_t;
    fn ftrylockfile(file: *mut FILE) -> c_int;
    fn funlockfile(file: *mut FILE);
    fn fwide(file: *mut FILE, mode: c_int) -> c_int;
    static mut stdin: *mut FILE;
    static mut stdout: *mut FILE;
    static mut stderr: *mut FILE;
}

/// What glibc's `FILE` has had in the same place since `getc` was a macro. All 64-bit targets agree.
#[repr(C)]
struct Head {
    flags: c_int,
    read_ptr: *mut c_char,
    read_end: *mut c_char,
    others: [*mut c_void; 11],
    fileno: c_int,
    flags2: c_int,
    more: [*mut c_void; 5],
    wide_data: *mut c_void,
}

/// `fileno` of a new custom stream.
const NO_DESCRIPTOR: c_int = -2;

/// Our streams, to be flushed as the process ends; those that find no room here are flushed by libc, but
/// later than the engine can send.
static STREAMS: [AtomicPtr<FILE>; 256] = [const { AtomicPtr::new(null_mut()) }; 256];

fn descriptor(cookie: *mut c_void) -> c_int {
    // It was made of one.
    cookie.addr() as c_int
}

unsafe extern "C-unwind" fn read(cookie: *mut c_void, buffer: *mut c_char, len: size_t) -> ssize_t {
    // SAFETY: libc's buffer.
    unsafe { crate::read(descriptor(cookie), buffer.cast(), len) }
}

unsafe extern "C-unwind" fn write(
    cookie: *mut c_void,
    buffer: *const c_char,
    len: size_t,
) -> ssize_t {
    let mut done = 0;
    while done < len {
        // SAFETY: libc's buffer.
        let n = unsafe { crate::write(descriptor(cookie), buffer.add(done).cast(), len - done) };
        match usize::try_from(n) {
            Ok(n) if n > 0 => done += n,
            _ => break,
        }
    }
    // An error is less than was asked for.
    done.cast_signed()
}

unsafe extern "C-unwind" fn seek(cookie: *mut c_void, place: *mut off64_t, whence: c_int) -> c_int {
    // SAFETY: libc's offset. A socket answers ESPIPE.
    unsafe {
        let at = libc::lseek64(descriptor(cookie), *place, whence);
        if at < 0 {
            return -1;
        }
        *place = at;
    }
    0
}

unsafe extern "C-unwind" fn close(cookie: *mut c_void) -> c_int {
    // SAFETY: the stream owns the descriptor.
    unsafe { crate::close(descriptor(cookie)) }
}

/// A stream on `fd`.
///
/// # Safety
/// `mode` is a C string.
unsafe fn open(fd: c_int, mode: *const c_char) -> Result<*mut FILE, Errno> {
    let functions = Functions {
        read,
        write,
        seek,
        close,
    };
    let cookie = std::ptr::without_provenance_mut(fd.cast_unsigned() as usize);
    // SAFETY: the mode is the caller's; the functions fit.
    let file = unsafe { fopencookie(cookie, mode, functions) };
    if file.is_null() {
        return Err(Errno(errno::get()));
    }
    let head = file.cast::<Head>();
    // SAFETY: a stream of libc's begins like this; if it should be another libc's, `fileno` stays without
    // an answer.
    unsafe {
        if (*head).fileno == NO_DESCRIPTOR {
            (*head).fileno = fd;
        }
    }
    let free = |slot: &&AtomicPtr<FILE>| {
        slot.compare_exchange(null_mut(), file, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    };
    let _ = STREAMS.iter().find(free);
    Ok(file)
}

/// `fdopen` of one of our descriptors.
///
/// # Safety
/// As the C function.
pub(crate) unsafe fn fdopen(fd: c_int, mode: *const c_char) -> *mut FILE {
    let opened: Result<*mut FILE, Errno> = inside(|| {
        // SAFETY: no memory is involved.
        unsafe { libc::fcntl(fd, libc::F_GETFL) }.check()?;
        // SAFETY: the caller's.
        unsafe { open(fd, mode) }
    });
    opened.unwrap_or_else(|error| {
        errno::set(error.0);
        null_mut()
    })
}

/// Whether the stream is ours; if so it is about to be closed or to become another.
fn forget(file: *mut FILE) -> bool {
    let take = |slot: &AtomicPtr<FILE>| {
        slot.compare_exchange(file, null_mut(), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    };
    !file.is_null() && STREAMS.iter().any(take)
}

fn fileno(file: *mut FILE) -> c_int {
    if file.is_null() {
        return -1;
    }
    let saved = errno::get();
    // SAFETY: a stream, the caller's promise. -1 for one without a descriptor.
    let fd = unsafe { libc::fileno(file) };
    errno::set(saved);
    fd
}

/// Before `fclose`. libc's own streams close their descriptor where we do not see it.
pub(crate) fn before_close(file: *mut FILE) {
    if !forget(file) {
        fdtable::remove(fileno(file));
    }
}

/// `freopen` by the native call: the descriptor keeps its number and becomes another file.
pub(crate) fn reopened(file: *mut FILE, native: impl FnOnce() -> *mut FILE) -> *mut FILE {
    let fd = fileno(file);
    if !fdtable::is_foreign(fd) && !file.is_null() {
        // What the stream still holds is the socket's.
        // SAFETY: a stream, the caller's promise.
        unsafe { libc::fflush(file) };
        if forget(file) {
            // libc gives -1 to a custom stream, and `freopen` takes that for an address.
            let head = file.cast::<Head>();
            // SAFETY: as in `open`.
            unsafe {
                if (*head).fileno == fd && (*head).wide_data.addr() == usize::MAX {
                    (*head).wide_data = null_mut();
                }
            }
        }
        fdtable::remove(fd);
    }
    native()
}

/// Descriptors 0, 1, 2: if this one is a PGM socket now, so is its stream.
pub(crate) fn follow(fd: c_int) {
    let mode = if fd == 0 { c"r" } else { c"w" };
    let place = match fd {
        0 => &raw mut stdin,
        1 => &raw mut stdout,
        2 => &raw mut stderr,
        _ => return,
    };
    // One that cannot be replaced goes on as libc's own.
    let _ = inside(|| {
        // SAFETY: libc's variables. Programs that change them while others use them take the risk, too.
        unsafe {
            let old = *place;
            let ours = |slot: &AtomicPtr<FILE>| slot.load(Ordering::Acquire) == old;
            if fileno(old) != fd || STREAMS.iter().any(ours) {
                return Ok(());
            }
            let head = old.cast::<Head>();
            // What wide characters are written to stays libc's: a custom stream takes none.
            if fwide(old, 0) > 0 || __fpending(old) > 0 || (*head).read_ptr != (*head).read_end {
                return Ok(());
            }
            let new = open(fd, mode.as_ptr())?;
            if fd == 2 {
                libc::setvbuf(new, null_mut(), libc::_IONBF, 0);
            }
            *place = new;
        }
        Ok(())
    });
}

/// The process ends: send what our streams hold while there is an engine. One that another thread uses
/// is left to libc.
pub(crate) fn flush() {
    for slot in &STREAMS {
        let file = slot.load(Ordering::Acquire);
        // SAFETY: it is open, or it would not be listed.
        unsafe {
            if !file.is_null() && ftrylockfile(file) == 0 {
                libc::fflush(file);
                funlockfile(file);
            }
        }
    }
}
