//! Memory with an end: behind it is none.

use libc::c_void;

/// Octets of a page, on every machine we fuzz on or a divisor of them.
const SIZE: usize = 4096;

/// One page of octets, and one that nobody may touch.
pub struct Page(*mut u8);

impl Page {
    pub fn new() -> Self {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: new memory, the second page of which is made untouchable.
        unsafe {
            let start = libc::mmap(std::ptr::null_mut(), 2 * SIZE, protection, flags, -1, 0);
            assert!(start != libc::MAP_FAILED);
            assert_eq!(
                libc::mprotect(start.cast::<u8>().add(SIZE).cast(), SIZE, libc::PROT_NONE),
                0
            );
            Self(start.cast())
        }
    }

    /// These octets, at the end of the page.
    pub fn at_the_end(&self, octets: &[u8]) -> *const c_void {
        assert!(octets.len() <= SIZE);
        // SAFETY: inside the page, which nobody else uses.
        unsafe {
            let place = self.0.add(SIZE - octets.len());
            std::ptr::copy_nonoverlapping(octets.as_ptr(), place, octets.len());
            place.cast_const().cast()
        }
    }
}
