//! How a hook is made: the next definition of the symbol, a way without it, and what surrounds our code.
//!
//! - Every symbol has an atomic pointer to the next definition, filled once before `main` from
//!   `.init_array`. Constructors of other libraries run earlier; until then a hook makes the raw system
//!   call, and never looks anything up under a lock (malloc may be on the stack).
//! - [`guarded`] surrounds our own code: no panic and no thread cancellation crosses it. Calls that may
//!   block are made outside of it, in frames without destructors, so that a cancelled thread unwinds
//!   through us as through libc ("C-unwind").
//! - A signal handler may jump out of whatever it interrupted. The calls that carry data hold nothing but
//!   locks in the meantime, which [`before_jump`] frees; the others let no handler run ([`undisturbed`]).

use crate::errno::{self, Errno};
use crate::socket;
use libc::{c_char, c_int, c_void};
use pgm_engine::driver;
use std::cell::Cell;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicPtr, Ordering};

unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}
const PTHREAD_CANCEL_DISABLE: c_int = 1;
/// No state: [`Uncancelled`] has not changed it yet.
const UNCHANGED: c_int = -1;

thread_local! {
    /// How many times this thread is inside the shim.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// How many times it is in [`guarded`].
    static GUARDS: Cell<u32> = const { Cell::new(0) };
    /// Its cancellation state before the outermost of them.
    static CANCEL_STATE: Cell<c_int> = const { Cell::new(0) };
}

/// Whether what this thread calls is ours and not the program's.
pub(crate) fn is_inside() -> bool {
    DEPTH.get() > 0 || driver::is_engine_thread()
}

/// The thread cannot be cancelled until this is dropped.
struct Uncancelled(c_int);

impl Uncancelled {
    fn new() -> Self {
        let outermost = GUARDS.get() == 0;
        if outermost {
            CANCEL_STATE.set(UNCHANGED);
        }
        // First: from here on a handler that jumps has something to undo.
        GUARDS.set(GUARDS.get() + 1);
        let mut old = 0;
        let place = if outermost {
            CANCEL_STATE.with(Cell::as_ptr)
        } else {
            &raw mut old
        };
        // SAFETY: the old state is written to a local or to a variable of this thread.
        unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, place) };
        Self(if outermost { CANCEL_STATE.get() } else { old })
    }
}

impl Drop for Uncancelled {
    fn drop(&mut self) {
        set_cancel_state(self.0);
        // Already 0 if a handler has jumped within itself meanwhile.
        GUARDS.set(GUARDS.get().saturating_sub(1));
    }
}

fn set_cancel_state(state: c_int) {
    let mut ignored = 0;
    // SAFETY: a state that the thread has had.
    unsafe { pthread_setcancelstate(state, &raw mut ignored) };
}

/// A signal handler is about to leave by `longjmp` what it interrupted. If that was our code, it will not
/// come to its end: nothing may stay locked, or as only it has it.
pub(crate) fn before_jump() {
    if GUARDS.get() > 0 {
        DEPTH.set(0);
        socket::release_locks_of_this_thread();
        if CANCEL_STATE.get() != UNCHANGED {
            set_cancel_state(CANCEL_STATE.get());
        }
        GUARDS.set(0);
    }
}

/// Signals wait until this is dropped.
struct Blocked(libc::sigset_t);

impl Blocked {
    fn new() -> Self {
        let mut all = MaybeUninit::uninit();
        let mut old = MaybeUninit::uninit();
        // SAFETY: both sets are written before they are read; the call cannot fail with SIG_SETMASK.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::sigemptyset(old.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
            Self(old.assume_init())
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: restores what `new` found.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut())
        };
    }
}

/// Run what no signal handler may interrupt: it could jump out of an allocation or half a request. Costs
/// two system calls, so it is not for data.
pub(crate) fn undisturbed<T>(body: impl FnOnce() -> T) -> T {
    let _blocked = Blocked::new();
    body()
}

/// Run our own code: a panic becomes EIO, cancellation waits, and errno is as before when it returns.
pub(crate) fn guarded<T>(body: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    let saved = errno::get();
    let uncancelled = Uncancelled::new();
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        // Dropping an arbitrary payload could panic again.
        std::mem::forget(payload);
        Err(Errno(libc::EIO))
    });
    drop(uncancelled);
    errno::set(saved);
    result
}

/// [`guarded`], for what may call the engine: hooks that it reaches meanwhile pass through.
pub(crate) fn inside<T>(body: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    DEPTH.set(DEPTH.get() + 1);
    let result = guarded(body);
    DEPTH.set(DEPTH.get().saturating_sub(1));
    result
}

/// What a C function returns: the value, or -1 and errno.
pub(crate) trait Returned: Sized {
    const FAILED: Self;
}

impl Returned for c_int {
    const FAILED: Self = -1;
}

impl Returned for isize {
    const FAILED: Self = -1;
}

/// Fail as a C function does.
pub(crate) fn fail<R: Returned>(error: Errno) -> R {
    errno::set(error.0);
    R::FAILED
}

/// [`inside`] and [`undisturbed`], with the result as C wants it.
pub(crate) fn call<R: Returned>(body: impl FnOnce() -> Result<R, Errno>) -> R {
    undisturbed(|| inside(body)).unwrap_or_else(fail)
}

/// The next definition of `name` after this library, unless it is `own` again.
pub(crate) fn find_next(name: &CStr, own: *const c_void) -> *mut c_void {
    // SAFETY: dlsym only reads the name; dlerror takes back the message of a symbol that is missing.
    let found = unsafe {
        let found = libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast::<c_char>());
        if found.is_null() {
            libc::dlerror();
        }
        found
    };
    if found.cast_const() == own {
        std::ptr::null_mut()
    } else {
        found
    }
}

/// Fill the pointer of one symbol.
pub(crate) fn resolve(name: &CStr, slot: &AtomicPtr<c_void>, own: *const c_void) {
    slot.store(find_next(name, own), Ordering::Release);
}

/// Define every hook. An entry is
/// `fn name(args) -> ret, or FALLBACK, SCOPE => BODY;` where FALLBACK serves before the next definition is
/// known and SCOPE says when BODY is asked instead of the next definition:
///
/// - `pgm(fd) |socket|`: only for a descriptor of ours, which one load from a table tells;
/// - `when(condition)`: as it says;
/// - `used`: once the program has had a PGM socket;
/// - `any`: always.
///
/// After BODY may stand `, then if (CONDITION) |result| AFTER`: if the condition holds before the call, AFTER is done
/// when the next definition has returned.
///
/// Gives the exported functions, `next::name` for the next definitions, and `resolve_all`. The bodies are
/// functions of their own, so that the way through is a load, a test and a jump, without a stack frame. (Coming back here
/// on the way out is not free: where the kernel hides from speculation what it has called, a processor foresees no
/// return after a system call, and each one more is some 5 ns.)
macro_rules! hooks {
    ($(
        fn $name:ident($($arg:ident: $ty:ty),* $(,)?) -> $ret:ty,
            or $raw:expr,
            $scope:ident $(($condition:expr) $(|$socket:ident|)?)? => $body:expr
            $(, then if ($look:expr) |$result:ident| $after:expr)?;
    )*) => {
        mod slots {
            #![allow(non_upper_case_globals, reason = "named like the symbols")]
            use std::sync::atomic::AtomicPtr;
            $(pub(super) static $name: AtomicPtr<libc::c_void> =
                AtomicPtr::new(std::ptr::null_mut());)*
        }

        /// The next definition of each symbol: what the program would have called without us.
        pub(crate) mod next {
            #![allow(unused_imports, clippy::wildcard_imports, reason = "types of the signatures")]
            use super::*;
            use std::sync::atomic::Ordering;
            $(
                /// # Safety
                /// As the C function.
                #[inline]
                #[allow(dead_code, non_snake_case, reason = "aliases; symbols of libc")]
                pub(crate) unsafe fn $name($($arg: $ty),*) -> $ret {
                    // Inlined it would move the arguments about on the way through, too.
                    #[cold]
                    #[inline(never)]
                    unsafe fn unresolved($($arg: $ty),*) -> $ret {
                        // SAFETY: the caller's duty, as for the function itself.
                        unsafe { $raw }
                    }
                    let found = super::slots::$name.load(Ordering::Relaxed);
                    if found.is_null() {
                        // SAFETY: the caller's duty.
                        return unsafe { unresolved($($arg),*) };
                    }
                    // SAFETY: found under this name, so it has this signature; the rest is the caller's duty.
                    unsafe {
                        let found: unsafe extern "C-unwind" fn($($ty),*) -> $ret =
                            std::mem::transmute(found);
                        found($($arg),*)
                    }
                }
            )*
        }

        $(
            /// Interposed.
            ///
            /// # Safety
            /// As the C function of this name.
            #[cfg_attr(not(test), unsafe(no_mangle))]
            #[allow(non_snake_case, reason = "symbols of libc")]
            #[allow(unused_unsafe, reason = "some bodies are safe")]
            pub unsafe extern "C-unwind" fn $name($($arg: $ty),*) -> $ret {
                #[inline(never)]
                unsafe extern "C-unwind" fn ours($($arg: $ty),*) -> $ret {
                    hooks!(@$scope $($(($condition) |$socket|)?)? $body, {
                        hooks!(@native $name($($arg),*) $(($look) |$result| $after)?)
                    })
                }
                if hooks!(@foreign $scope $($condition)?) {
                    hooks!(@native $name($($arg),*) $(($look) |$result| $after)?)
                } else {
                    // SAFETY: as above.
                    unsafe { ours($($arg),*) }
                }
            }
        )*

        /// Look all symbols up; once, before `main`.
        fn resolve_all() {
            $(
                // SAFETY: the literal ends with its only NUL.
                let name = unsafe {
                    std::ffi::CStr::from_bytes_with_nul_unchecked(
                        concat!(stringify!($name), "\0").as_bytes(),
                    )
                };
                interpose::resolve(name, &slots::$name, $name as *const libc::c_void);
            )*
        }
    };
    (@foreign pgm $fd:expr) => { fdtable::is_foreign($fd) };
    (@foreign when $condition:expr) => { !$condition };
    (@foreign used) => { !engine::is_used() };
    (@foreign any) => { false };
    (@native $name:ident($($arg:ident),*)) => {
        // SAFETY: the C caller's duty is handed on.
        unsafe { next::$name($($arg),*) }
    };
    (@native $name:ident($($arg:ident),*) ($look:expr) |$result:ident| $after:expr) => {
        if $look {
            // SAFETY: the C caller's duty is handed on.
            let $result = unsafe { next::$name($($arg),*) };
            // SAFETY: as above; the call has returned.
            unsafe { $after };
            $result
        } else {
            // SAFETY: as above.
            unsafe { next::$name($($arg),*) }
        }
    };
    (@pgm ($fd:expr) |$socket:ident| $body:expr, $native:expr) => {
        match fdtable::get($fd) {
            Some($socket) if !interpose::is_inside() => {
                // SAFETY: the C caller's duty is handed on.
                unsafe { $body }
            }
            _ => $native,
        }
    };
    (@$scope:ident $body:expr, $native:expr) => {
        // SAFETY: the C caller's duty is handed on.
        unsafe { $body }
    };
}
pub(crate) use hooks;

/// A raw system call with the result as the function's type; errno is set as libc does.
macro_rules! raw {
    ($number:ident $(, $arg:expr)*) => {
        libc::syscall(libc::$number $(, $arg)*) as _
    };
}
pub(crate) use raw;

/// For symbols that are no system call: look the next definition up when it is needed. Nothing that malloc
/// uses may do this.
macro_rules! late {
    ($name:ident($($arg:ident: $ty:ty),*) -> $ret:ty, $failed:expr) => {{
        let found = $crate::interpose::late_name(stringify!($name));
        if found.is_null() {
            $failed
        } else {
            let found: unsafe extern "C-unwind" fn($($ty),*) -> $ret = std::mem::transmute(found);
            found($($arg),*)
        }
    }};
}
pub(crate) use late;

/// [`find_next`] for `late!`.
pub(crate) fn late_name(name: &str) -> *mut c_void {
    let mut text = [0_u8; 32];
    if let Some(head) = text.get_mut(..name.len()) {
        head.copy_from_slice(name.as_bytes());
    }
    CStr::from_bytes_until_nul(&text).map_or(std::ptr::null_mut(), |name| {
        find_next(name, std::ptr::null())
    })
}
