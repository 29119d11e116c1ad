//! `dprintf` and its kind: libc writes what they print without passing through a hook.
//!
//! A variadic function cannot be written in stable Rust. A few instructions put the arguments where a `va_list` of
//! the platform has them; from there on libc's own functions that take one do the rest. The directives tell
//! whoever unwinds the stack (a cancelled thread) how deep it is.

use crate::errno;
use crate::left;
use crate::send;
use crate::socket::Socket;
use crate::{__vdprintf_chk, vdprintf};
use libc::{c_char, c_int, c_void};
use std::arch::naked_asm;
use std::ptr::null_mut;

/// What `va_list` is as a parameter: the address of the list, on both targets here.
pub(crate) type List = *mut c_void;

/// Define a function whose named arguments are as many as `named`, for a function that takes the list after them.
macro_rules! variadic {
    ($name:ident, $target:ident, named: $named:literal, list: $x86:literal, $arm:literal) => {
        /// Interposed.
        ///
        /// # Safety
        /// As the C function of this name.
        #[unsafe(naked)]
        #[cfg_attr(not(test), unsafe(no_mangle))]
        #[cfg(target_arch = "x86_64")]
        pub unsafe extern "C" fn $name() {
            naked_asm!(
                ".cfi_startproc",
                // The list, 24 octets; then, from 32 on, all registers that may hold arguments.
                "sub rsp, 216",
                ".cfi_adjust_cfa_offset 216",
                "mov [rsp + 32], rdi",
                "mov [rsp + 40], rsi",
                "mov [rsp + 48], rdx",
                "mov [rsp + 56], rcx",
                "mov [rsp + 64], r8",
                "mov [rsp + 72], r9",
                "test al, al",
                "je 2f",
                "movaps [rsp + 80], xmm0",
                "movaps [rsp + 96], xmm1",
                "movaps [rsp + 112], xmm2",
                "movaps [rsp + 128], xmm3",
                "movaps [rsp + 144], xmm4",
                "movaps [rsp + 160], xmm5",
                "movaps [rsp + 176], xmm6",
                "movaps [rsp + 192], xmm7",
                "2:",
                // Where the next of each kind is, and those on the caller's stack.
                "mov dword ptr [rsp], 8 * {named}",
                "mov dword ptr [rsp + 4], 48",
                "lea rax, [rsp + 224]",
                "mov [rsp + 8], rax",
                "lea rax, [rsp + 32]",
                "mov [rsp + 16], rax",
                concat!("mov ", $x86, ", rsp"),
                "call {target}",
                "add rsp, 216",
                ".cfi_adjust_cfa_offset -216",
                "ret",
                ".cfi_endproc",
                named = const $named,
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
                ".cfi_startproc",
                // The frame, 16 octets; the list, 32; the registers, 64 and 128.
                "sub sp, sp, #240",
                ".cfi_adjust_cfa_offset 240",
                "stp x29, x30, [sp]",
                ".cfi_rel_offset x29, 0",
                ".cfi_rel_offset x30, 8",
                "mov x29, sp",
                "stp x0, x1, [sp, #48]",
                "stp x2, x3, [sp, #64]",
                "stp x4, x5, [sp, #80]",
                "stp x6, x7, [sp, #96]",
                "stp q0, q1, [sp, #112]",
                "stp q2, q3, [sp, #144]",
                "stp q4, q5, [sp, #176]",
                "stp q6, q7, [sp, #208]",
                // Those on the caller's stack, and the ends of both kinds of registers.
                "add x9, sp, #240",
                "str x9, [sp, #16]",
                "add x10, sp, #112",
                "str x10, [sp, #24]",
                "str x9, [sp, #32]",
                "mov w9, #(8 * {named} - 64)",
                "str w9, [sp, #40]",
                "mov w9, #-128",
                "str w9, [sp, #44]",
                concat!("add ", $arm, ", sp, #16"),
                "bl {target}",
                "ldp x29, x30, [sp]",
                "add sp, sp, #240",
                ".cfi_adjust_cfa_offset -240",
                "ret",
                ".cfi_endproc",
                named = const $named,
                target = sym $target,
            )
        }
    };
}

variadic!(dprintf, vdprintf, named: 2, list: "rdx", "x2");
variadic!(__dprintf_chk, __vdprintf_chk, named: 3, list: "rcx", "x3");

/// What `vdprintf` is on a PGM socket: one message, whatever its length. `format` as `vasprintf`. May block.
///
/// # Safety
/// `format` is as it should be.
pub(crate) unsafe fn print(
    socket: &'static Socket,
    fd: c_int,
    format: impl FnOnce(*mut *mut c_char) -> c_int,
) -> c_int {
    let mut text = null_mut();
    let len = format(&raw mut text);
    if len < 0 {
        return -1;
    }
    let frame = (&raw const text).addr();
    let hold = left::hold_text(text, frame);
    let mut done = 0;
    // Not at once only in stream mode, where it may end in the middle, as libc's.
    while done < len {
        // SAFETY: the text has `len` octets. Nothing here needs dropping.
        let sent = unsafe {
            let rest = text.add(done as usize);
            send::send_one(socket, fd, rest.cast(), (len - done) as usize, 0)
        };
        if sent <= 0 {
            break;
        }
        done += sent as c_int;
    }
    let saved = errno::get();
    hold.let_go();
    errno::set(saved);
    if done < len { -1 } else { len }
}
