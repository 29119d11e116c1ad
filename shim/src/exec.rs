//! `execl`, `execlp`, `execle`: libc's own call the kernel without passing through a hook.
//!
//! A variadic function cannot be written in stable Rust. These three take nothing but pointers, so a few
//! instructions do: those of the arguments that came in registers are put before the ones on the stack,
//! which makes the array that `execv` wants.

use crate::Args;
use libc::{c_char, c_int};
use std::arch::naked_asm;

/// Define a function `(first, arguments...)` that calls `target(first, array of the arguments)`.
macro_rules! listed {
    ($name:ident, $target:ident) => {
        /// Interposed.
        ///
        /// # Safety
        /// As the C function of this name.
        #[unsafe(naked)]
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[cfg(target_arch = "x86_64")]
        pub unsafe extern "C" fn $name() {
            naked_asm!(
                // From under the arguments to above them.
                "pop rax",
                "push r9",
                "push r8",
                "push rcx",
                "push rdx",
                "push rsi",
                "mov rsi, rsp",
                "push rax",
                "call {target}",
                "pop rcx",
                "add rsp, 40",
                "push rcx",
                "ret",
                target = sym $target,
            )
        }

        /// Interposed.
        ///
        /// # Safety
        /// As the C function of this name.
        #[unsafe(naked)]
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[cfg(target_arch = "aarch64")]
        pub unsafe extern "C" fn $name() {
            naked_asm!(
                "sub sp, sp, #80",
                "stp x29, x30, [sp]",
                "mov x29, sp",
                // The last of them ends where the arguments on the stack begin.
                "str x1, [sp, #24]",
                "stp x2, x3, [sp, #32]",
                "stp x4, x5, [sp, #48]",
                "stp x6, x7, [sp, #64]",
                "add x1, sp, #24",
                "bl {target}",
                "ldp x29, x30, [sp]",
                "add sp, sp, #80",
                "ret",
                target = sym $target,
            )
        }
    };
}

listed!(execl, execl_list);
listed!(execlp, execlp_list);
listed!(execle, execle_list);

unsafe extern "C" fn execl_list(path: *const c_char, arguments: Args) -> c_int {
    // SAFETY: the C caller's promise.
    unsafe { crate::execv(path, arguments) }
}

unsafe extern "C" fn execlp_list(file: *const c_char, arguments: Args) -> c_int {
    // SAFETY: the C caller's promise.
    unsafe { crate::execvp(file, arguments) }
}

/// The environment follows the null pointer that ends the arguments.
unsafe extern "C" fn execle_list(path: *const c_char, arguments: Args) -> c_int {
    // SAFETY: the C caller's promise.
    unsafe {
        let mut last = arguments;
        while !(*last).is_null() {
            last = last.add(1);
        }
        let environment = last.add(1).read().cast::<*const c_char>();
        crate::execve(path, arguments, environment)
    }
}
