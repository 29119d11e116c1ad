//! The preload library's `setsockopt` and `getsockopt`, through the C ABI: any level, name, length and octets,
//! on sockets in every phase.
//!
//! The library is loaded from FUZZ_LIBRARY like a plugin, so that only the calls made here go through it.
//! Values end at the end of a page, behind which there is none: who reads or writes too far is seen.
#![no_main]

use libc::{c_char, c_int, c_void, sockaddr, sockaddr_in, socklen_t};
use libfuzzer_sys::fuzz_target;
use std::ffi::CString;
use std::mem::{size_of, transmute};
use std::sync::OnceLock;

#[path = "../shared/page.rs"]
mod page;

use page::Page;

/// Levels and names that lead somewhere; others come from the input itself.
const LEVELS: [c_int; 5] = [
    113,
    libc::SOL_SOCKET,
    libc::IPPROTO_IP,
    libc::IPPROTO_UDP,
    libc::IPPROTO_TCP,
];
/// RM_OPTIONSBASE of `<wsrm.h>`, and where the options of <linux/pgm.h> begin.
const BASES: [c_int; 3] = [0, 1000, 1100];

type Socket = unsafe extern "C" fn(c_int, c_int, c_int) -> c_int;
type Address = unsafe extern "C" fn(c_int, *const sockaddr, socklen_t) -> c_int;
type Listen = unsafe extern "C" fn(c_int, c_int) -> c_int;
type Accept = unsafe extern "C" fn(c_int, *mut sockaddr, *mut socklen_t, c_int) -> c_int;
type Send = unsafe extern "C" fn(c_int, *const c_void, usize, c_int) -> isize;
type Set = unsafe extern "C" fn(c_int, c_int, c_int, *const c_void, socklen_t) -> c_int;
type Get = unsafe extern "C" fn(c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int;
type Close = unsafe extern "C" fn(c_int) -> c_int;

struct Library {
    socket: Socket,
    bind: Address,
    connect: Address,
    listen: Listen,
    accept4: Accept,
    send: Send,
    setsockopt: Set,
    getsockopt: Get,
    close: Close,
}

impl Library {
    fn load() -> Self {
        let path = std::env::var("FUZZ_LIBRARY").expect("FUZZ_LIBRARY names the library");
        let path = CString::new(path).expect("a path");
        // SAFETY: the library's constructors do nothing but look around.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "the library cannot be loaded");
        let find = |name: &std::ffi::CStr| {
            let name: *const c_char = name.as_ptr();
            // SAFETY: handle and name are valid.
            let symbol = unsafe { libc::dlsym(handle, name) };
            assert!(!symbol.is_null());
            symbol
        };
        // SAFETY: they have the types of the functions of the same names.
        unsafe {
            Self {
                socket: transmute::<*mut c_void, Socket>(find(c"socket")),
                bind: transmute::<*mut c_void, Address>(find(c"bind")),
                connect: transmute::<*mut c_void, Address>(find(c"connect")),
                listen: transmute::<*mut c_void, Listen>(find(c"listen")),
                accept4: transmute::<*mut c_void, Accept>(find(c"accept4")),
                send: transmute::<*mut c_void, Send>(find(c"send")),
                setsockopt: transmute::<*mut c_void, Set>(find(c"setsockopt")),
                getsockopt: transmute::<*mut c_void, Get>(find(c"getsockopt")),
                close: transmute::<*mut c_void, Close>(find(c"close")),
            }
        }
    }
}

/// What lives as long as the fuzzer: a listener with a session on it, the sender it comes from, and the page.
struct World {
    library: Library,
    page: Page,
    listener: c_int,
    session: c_int,
    sender: c_int,
}

// SAFETY: the fuzzer has one thread.
unsafe impl Sync for World {}
// SAFETY: as above.
unsafe impl std::marker::Send for World {}

static WORLD: OnceLock<World> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let world = WORLD.get_or_init(World::new);
    world.run(data);
});

impl World {
    fn new() -> Self {
        let library = Library::load();
        let page = Page::new();
        let (listener, sender) = (library.open(), library.open());
        library.bind(listener, 7500);
        library.listen(listener);
        library.connect(sender, 7500);
        // SAFETY: one octet is there.
        let sent = unsafe { (library.send)(sender, [1_u8].as_ptr().cast(), 1, 0) };
        assert_eq!(sent, 1);
        // SAFETY: no address is wanted.
        let session =
            unsafe { (library.accept4)(listener, std::ptr::null_mut(), std::ptr::null_mut(), 0) };
        assert!(
            session >= 0,
            "no session: {}",
            std::io::Error::last_os_error()
        );
        Self {
            library,
            page,
            listener,
            session,
            sender,
        }
    }

    /// Octet 0 chooses the socket; then calls follow, each with octets for what, level, name and value.
    fn run(&self, data: &[u8]) {
        let Some((&phase, mut rest)) = data.split_first() else {
            return;
        };
        let fresh = phase % 8 < 5;
        let fd = match phase % 8 {
            5 => self.listener,
            6 => self.session,
            7 => self.sender,
            _ => self.library.open(),
        };
        let mut step = 0;
        while let Some((call, next)) = Call::read(rest) {
            rest = next;
            self.set_or_get(fd, &call);
            step += 1;
            if step == 1 + phase / 32 {
                match phase % 8 {
                    1 | 2 => self.library.bind(fd, 7600),
                    3 => self.library.connect(fd, 7700),
                    _ => {}
                }
            } else if step == 2 + phase / 32 && phase % 8 == 2 {
                self.library.listen(fd);
            }
            if step == 32 {
                break;
            }
        }
        if fresh {
            // SAFETY: opened above, closed once.
            assert_eq!(unsafe { (self.library.close)(fd) }, 0);
        }
    }

    fn set_or_get(&self, fd: c_int, call: &Call<'_>) {
        let (level, name, library) = (call.level, call.name, &self.library);
        let value = self.page.at_the_end(call.value);
        let len = call.value.len() as socklen_t;
        match call.what % 8 {
            0..=2 => {
                // SAFETY: the value is readable for its length.
                unsafe { (library.setsockopt)(fd, level, name, value, len) };
            }
            // A length that lies: EFAULT or EINVAL, or the option does not look so far.
            3 => {
                // SAFETY: the library finds out what is readable.
                unsafe { (library.setsockopt)(fd, level, name, value, call.lie) };
            }
            4 => {
                // SAFETY: as above.
                unsafe { (library.setsockopt)(fd, level, name, std::ptr::null(), call.lie) };
            }
            5 | 6 => {
                let mut room = len;
                // SAFETY: the value is writable for its length.
                let result = unsafe {
                    (library.getsockopt)(fd, level, name, value.cast_mut(), &raw mut room)
                };
                assert!(
                    result != 0 || room <= len,
                    "{room} octets put where {len} fit"
                );
            }
            _ => {
                let (mut room, place) = (call.lie, std::ptr::null_mut());
                let length = if call.lie & 1 == 0 {
                    std::ptr::null_mut()
                } else {
                    &raw mut room
                };
                // SAFETY: as above.
                unsafe { (library.getsockopt)(fd, level, name, place, length) };
            }
        }
    }
}

struct Call<'a> {
    what: u8,
    level: c_int,
    name: c_int,
    lie: socklen_t,
    value: &'a [u8],
}

impl<'a> Call<'a> {
    fn read(data: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let [what, level, name, len, rest @ ..] = data else {
            return None;
        };
        let (level, base) = (usize::from(*level), usize::from(*level >> 4));
        let known = LEVELS.get(level % 8).copied();
        let len = usize::from(*len).min(rest.len());
        let (value, rest) = rest.split_at(len);
        let word = value.first_chunk().copied().map_or(0, u32::from_ne_bytes);
        let call = Self {
            what: *what,
            level: known.unwrap_or(word.cast_signed()),
            name: BASES
                .get(base % 4)
                .map_or(word.cast_signed(), |base| base + c_int::from(*name)),
            lie: word,
            value,
        };
        Some((call, rest))
    }
}

impl Library {
    fn open(&self) -> c_int {
        // SAFETY: no pointers.
        let fd = unsafe { (self.socket)(libc::AF_INET, libc::SOCK_RDM, libc::IPPROTO_UDP) };
        assert!(fd >= 0, "no socket: {}", std::io::Error::last_os_error());
        fd
    }

    fn bind(&self, fd: c_int, port: u16) {
        let (address, len) = group(port);
        // SAFETY: the address is one.
        unsafe { (self.bind)(fd, (&raw const address).cast(), len) };
    }

    fn connect(&self, fd: c_int, port: u16) {
        let (address, len) = group(port);
        // SAFETY: the address is one.
        unsafe { (self.connect)(fd, (&raw const address).cast(), len) };
    }

    fn listen(&self, fd: c_int) {
        // SAFETY: no pointers.
        unsafe { (self.listen)(fd, 1) };
    }
}

fn group(port: u16) -> (sockaddr_in, socklen_t) {
    let address = sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes([239, 192, 0, 9]),
        },
        sin_zero: [0; 8],
    };
    (address, size_of::<sockaddr_in>() as socklen_t)
}
