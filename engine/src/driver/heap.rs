//! The library's own heap. The program's may be locked when we need ours: by a thread that a signal handler
//! interrupted and that now waits for us, or, in a process forked by the bare system call, by a thread that is not
//! there. Nor do programs find our blocks among theirs.
//!
//! A heap of dlmalloc's under a lock that knows its owner, and that a fork can hold.

use dlmalloc::Dlmalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::time::Duration;

/// The heap as Rust's allocator; each has the same one behind it.
#[derive(Debug)]
pub struct Heap;

/// What cannot wait for the lock gets its memory from here, and leaves it there: a signal handler that interrupted its
/// own thread in the heap, or a child of a bare fork whose heap is locked for ever.
const RESERVE: usize = 256 << 10;

/// Blocks from here on are mappings of their own: zeros at no cost, and nothing of them stays when they are freed. Both
/// need no lock.
const LARGE: usize = 1 << 20;

/// Names the thread; the same in the child of its fork.
fn this_thread() -> usize {
    // SAFETY: cannot fail and touches no memory.
    unsafe { libc::pthread_self() as usize }
}

#[repr(align(16))]
struct Reserve(UnsafeCell<[u8; RESERVE]>);

struct Shared {
    /// 0, or the thread that is in the heap.
    owner: AtomicUsize,
    /// Its owner is in no operation, and may begin one.
    frozen: AtomicBool,
    /// The process all of this belongs to; 0: nobody asked yet.
    pid: AtomicI32,
    heap: UnsafeCell<Dlmalloc>,
    reserve: Reserve,
    /// Octets of it that are given out.
    reserved: AtomicUsize,
}

// SAFETY: the heap is touched by the owner of the lock alone, each octet of the reserve by whom it was given to.
unsafe impl Sync for Shared {}

static SHARED: Shared = Shared {
    owner: AtomicUsize::new(0),
    frozen: AtomicBool::new(false),
    pid: AtomicI32::new(0),
    heap: UnsafeCell::new(Dlmalloc::new()),
    reserve: Reserve(UnsafeCell::new([0; RESERVE])),
    reserved: AtomicUsize::new(0),
};

/// The lock, for one operation.
struct Entered {
    /// It was free before.
    taken: bool,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if self.taken {
            SHARED.owner.store(0, Ordering::Release);
        }
    }
}

/// The calling thread keeps all others out of the heap until [`thaw`], and may use it: what is forked meanwhile has a
/// heap at rest. Not for a thread that already does.
pub fn freeze() {
    if let Some(entered) = enter() {
        std::mem::forget(entered);
        SHARED.frozen.store(true, Ordering::Relaxed);
    }
}

/// Let others use it again; in the child of a fork as in its parent.
pub fn thaw() {
    let own = SHARED.owner.load(Ordering::Relaxed) == this_thread();
    // Not so if it was in the middle of an operation, and could not be frozen.
    if own && SHARED.frozen.swap(false, Ordering::Relaxed) {
        SHARED.owner.store(0, Ordering::Release);
    }
}

/// This process is the one whose threads use the heap: after a fork of the program's, and before the first thread.
pub fn belongs_here() {
    SHARED.pid.store(getpid(), Ordering::Relaxed);
}

fn getpid() -> i32 {
    // SAFETY: cannot fail and touches no memory.
    unsafe { libc::getpid() }
}

/// Wait for the lock. `None`: it would be for ever.
fn enter() -> Option<Entered> {
    let me = this_thread();
    let mut tries = 0_u32;
    loop {
        let taken = SHARED
            .owner
            .compare_exchange_weak(0, me, Ordering::Acquire, Ordering::Relaxed);
        match taken {
            Ok(_) => return Some(Entered { taken: true }),
            Err(owner) if owner == me => {
                let between = SHARED.frozen.load(Ordering::Relaxed);
                return between.then_some(Entered { taken: false });
            }
            Err(_) => tries += 1,
        }
        // An owner is quick but may lose the processor: spin, then yield, then sleep.
        match tries {
            0..64 => std::hint::spin_loop(),
            64..256 => std::thread::yield_now(),
            _ => {
                let pid = SHARED.pid.load(Ordering::Relaxed);
                if pid != 0 && pid != getpid() {
                    return None;
                }
                std::thread::sleep(Duration::from_micros(50));
            }
        }
    }
}

impl Shared {
    /// From the reserve; null if it is used up.
    fn reserve(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        let mut begin = 0;
        let next = |used: usize| {
            // The reserve itself is aligned as malloc's blocks are.
            begin = used.next_multiple_of(align);
            begin.checked_add(size).filter(|end| *end <= RESERVE)
        };
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        if align > align_of::<Reserve>()
            || self.reserved.fetch_update(success, failure, next).is_err()
        {
            return std::ptr::null_mut();
        }
        // SAFETY: `begin` is within, and nobody else gets these octets.
        unsafe { self.reserve.0.get().cast::<u8>().add(begin) }
    }

    fn is_reserved(&self, block: *mut u8) -> bool {
        let first = self.reserve.0.get().addr();
        (first..first + RESERVE).contains(&block.addr())
    }

    /// One operation on the heap.
    fn heap<T>(&self, operation: impl FnOnce(&mut Dlmalloc) -> T) -> Option<T> {
        let _entered = enter()?;
        // SAFETY: the lock is held, and no operation on this thread's stack is unfinished.
        Some(operation(unsafe { &mut *self.heap.get() }))
    }
}

/// Whether the block is a mapping: its layout alone tells.
fn is_large(layout: Layout) -> bool {
    // No page is smaller.
    layout.size() >= LARGE && layout.align() <= 4096
}

fn map(size: usize) -> *mut u8 {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, of nothing that was there.
    let block = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0) };
    if block == libc::MAP_FAILED {
        return std::ptr::null_mut();
    }
    block.cast()
}

// SAFETY: dlmalloc's blocks are as they should be, and so are mappings; those of the reserve are never given out again.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_large(layout) {
            return map(layout.size());
        }
        // SAFETY: the caller's layout.
        let block = SHARED.heap(|heap| unsafe { heap.malloc(layout.size(), layout.align()) });
        block.unwrap_or_else(|| SHARED.reserve(layout))
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_large(layout) {
            return map(layout.size());
        }
        // SAFETY: the caller's layout.
        let block = SHARED.heap(|heap| unsafe { heap.calloc(layout.size(), layout.align()) });
        // The reserve begins as zeros and is used once.
        block.unwrap_or_else(|| SHARED.reserve(layout))
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_large(layout) {
            // SAFETY: a mapping of this size, the caller's promise.
            unsafe { libc::munmap(block.cast(), layout.size()) };
        } else if !SHARED.is_reserved(block) {
            // What cannot be given back is lost.
            // SAFETY: a block of the heap, with the layout it was asked for with.
            SHARED.heap(|heap| unsafe { heap.free(block, layout.size(), layout.align()) });
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the alignment was one before, the caller promises that the size fits.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_large(layout), is_large(wanted)) {
            (true, true) => {
                let flags = libc::MREMAP_MAYMOVE;
                // SAFETY: a mapping of this size, the caller's promise.
                let moved = unsafe { libc::mremap(block.cast(), layout.size(), size, flags) };
                if moved == libc::MAP_FAILED {
                    return std::ptr::null_mut();
                }
                return moved.cast();
            }
            (false, false) if !SHARED.is_reserved(block) => {
                // SAFETY: as for `dealloc`.
                let resize = |heap: &mut Dlmalloc| unsafe {
                    heap.realloc(block, layout.size(), layout.align(), size)
                };
                if let Some(moved) = SHARED.heap(resize) {
                    return moved;
                }
            }
            _ => {}
        }
        // SAFETY: the caller's promises; the new block is another.
        unsafe {
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::process::{self, Fork};
    use std::hint::black_box;

    /// Unit tests run with it, too.
    #[global_allocator]
    static HEAP: Heap = Heap;

    #[test]
    fn a_frozen_heap_serves_who_froze_it_and_nobody_else() {
        freeze();
        let waiting = std::thread::Builder::new();
        // It needs memory before it runs, and more when it does.
        let mine = vec![1_u8; 100_000];
        thaw();
        let other = waiting.spawn(|| black_box(vec![2_u8; 1000]).len());
        assert_eq!(other.expect("thread").join().expect("joined"), 1000);
        freeze();
        let begun = std::sync::Arc::new(AtomicBool::new(false));
        thaw();
        let flag = begun.clone();
        let (to, from) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || {
            to.send(()).expect("sent");
            while !flag.load(Ordering::Acquire) {}
            let block = black_box(Box::new(7_u64));
            flag.store(false, Ordering::Release);
            *block
        });
        from.recv().expect("it runs");
        freeze();
        begun.store(true, Ordering::Release);
        std::thread::sleep(Duration::from_millis(50));
        assert!(begun.load(Ordering::Acquire), "it waits for the heap");
        thaw();
        assert_eq!(other.join().expect("joined"), 7);
        assert_eq!(mine.len(), 100_000);
    }

    #[test]
    fn a_child_forked_amid_allocations_has_a_heap() {
        let threads: Vec<_> = (0..3)
            .map(|_| {
                std::thread::spawn(|| {
                    let end = std::time::Instant::now() + Duration::from_millis(300);
                    while std::time::Instant::now() < end {
                        drop(black_box(vec![0_u8; 30_000]));
                    }
                })
            })
            .collect();
        for _ in 0..100 {
            match process::fork_silently().expect("fork") {
                Fork::Child => {
                    for n in 1..200 {
                        drop(black_box(vec![0_u8; n * 500]));
                    }
                    process::leave(0);
                }
                Fork::Parent(pid) => assert!(process::reap(pid)),
            }
        }
        for thread in threads {
            thread.join().expect("joined");
        }
    }

    #[test]
    fn blocks_grow_and_shrink_across_what_is_a_mapping() {
        let mut octets: Vec<u8> = (0..100_u8).collect();
        for size in [1000, LARGE - 1, LARGE, 5 * LARGE, 2 * LARGE, LARGE - 1, 200] {
            if size > octets.len() {
                octets.reserve_exact(size - octets.len());
                octets.resize(size, 7);
            } else {
                octets.truncate(size);
                octets.shrink_to_fit();
            }
            assert_eq!(octets.capacity(), size);
            assert!(octets[..100].iter().copied().eq(0..100));
            assert!(octets[100..].iter().all(|octet| *octet == 7), "{size}");
        }
        assert!(vec![0_u8; 3 * LARGE].iter().all(|octet| *octet == 0));
    }

    #[test]
    fn who_cannot_wait_gets_what_is_in_reserve() {
        let layout = Layout::from_size_align(1000, 16).expect("layout");
        // As a signal handler that interrupted an operation of its own thread finds it.
        let entered = enter().expect("free");
        // SAFETY: the layouts are those of the blocks.
        unsafe {
            let a = Heap.alloc(layout);
            let b = Heap.alloc_zeroed(layout);
            let grown = Heap.realloc(a, layout, 5000);
            let too_much = Heap.alloc(Layout::from_size_align_unchecked(RESERVE, 16));
            let of_the_heap = [a, b, grown].map(|block| !SHARED.is_reserved(block));
            Heap.dealloc(b, layout);
            drop(entered);
            assert_eq!(of_the_heap, [false; 3]);
            assert!(a.addr().is_multiple_of(16) && b.addr() - a.addr() >= 1000);
            assert!(too_much.is_null());
            assert!(!SHARED.is_reserved(Heap.alloc(layout)));
        }
    }
}
