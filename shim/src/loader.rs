//! `dlopen` and `dlmopen` without RTLD_DEEPBIND: a library opened with it would call libc past us.
//!
//! libc looks at where the call came from to find the caller's search path, so these only change one
//! argument and jump: for libc it is the program that calls.

use crate::interpose::{late_name, resolve};
use libc::{c_int, c_void};
use std::arch::naked_asm;
use std::ptr::null_mut;
use std::sync::atomic::AtomicPtr;

const _: () = assert!(libc::RTLD_DEEPBIND == 8);

static DLOPEN: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static DLMOPEN: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// Look both up; once, before `main`.
pub(crate) fn resolve_all() {
    resolve(c"dlopen", &DLOPEN, dlopen as *const c_void);
    resolve(c"dlmopen", &DLMOPEN, dlmopen as *const c_void);
}

/// In place of a function that is nowhere.
unsafe extern "C" fn failing() -> *mut c_void {
    null_mut()
}

fn or_failing(found: *mut c_void) -> *mut c_void {
    if found.is_null() {
        failing as *mut c_void
    } else {
        found
    }
}

/// From constructors that run before ours.
unsafe extern "C" fn late_dlopen() -> *mut c_void {
    or_failing(late_name("dlopen"))
}

unsafe extern "C" fn late_dlmopen() -> *mut c_void {
    or_failing(late_name("dlmopen"))
}

/// Define a function that clears bit 3 of an argument and jumps to the next definition.
macro_rules! without_deepbind {
    ($name:ident, $slot:ident, $late:ident, $x86_64:literal, $aarch64:literal) => {
        /// Interposed.
        ///
        /// # Safety
        /// As the C function of this name.
        #[unsafe(naked)]
        #[cfg_attr(not(test), unsafe(no_mangle))]
        pub unsafe extern "C" fn $name(_: *mut c_void, _: *mut c_void, _: c_int) -> *mut c_void {
            #[cfg(target_arch = "x86_64")]
            naked_asm!(
                concat!("and ", $x86_64, ", -9"),
                "mov rax, qword ptr [rip + {slot}]",
                "test rax, rax",
                "jnz 2f",
                "push rdi",
                "push rsi",
                "push rdx",
                "call {late}",
                "pop rdx",
                "pop rsi",
                "pop rdi",
                "2: jmp rax",
                slot = sym $slot,
                late = sym $late,
            );
            #[cfg(target_arch = "aarch64")]
            naked_asm!(
                concat!("and ", $aarch64, ", ", $aarch64, ", #0xfffffff7"),
                "adrp x16, {slot}",
                "ldr x16, [x16, :lo12:{slot}]",
                "cbnz x16, 2f",
                "stp x29, x30, [sp, #-48]!",
                "stp x0, x1, [sp, #16]",
                "str x2, [sp, #32]",
                "bl {late}",
                "mov x16, x0",
                "ldr x2, [sp, #32]",
                "ldp x0, x1, [sp, #16]",
                "ldp x29, x30, [sp], #48",
                "2: br x16",
                slot = sym $slot,
                late = sym $late,
            );
        }
    };
}

without_deepbind!(dlopen, DLOPEN, late_dlopen, "esi", "w1");
without_deepbind!(dlmopen, DLMOPEN, late_dlmopen, "edx", "w2");
