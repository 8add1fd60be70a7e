//! The allocator of the process: mimalloc, with a count of the bytes that are allocated.
//!
//! mimalloc does not tell how much of its memory is in use. [`CountingAllocator`] counts beside it, in a thread's
//! own cell that is added to the total once it holds [`MAX_PENDING_BYTES`]: only then, and for blocks that
//! are larger, is there an atomic operation. From the resident memory and this count the memory ledger knows what the allocators keep free.
#![allow(
    unsafe_code,
    reason = "GlobalAlloc is an unsafe trait, and mimalloc's options are set by a C function"
)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ffi::{c_int, c_long};
use std::sync::atomic::{AtomicIsize, Ordering};

use mimalloc::MiMalloc;
use schemas::memory::allocated_bytes;

/// Bytes, allocated or freed on balance, with which a thread adds its own count to the total.
const MAX_PENDING_BYTES: usize = 4 << 10;

/// Bytes that are allocated, without what threads have pending.
static ALLOCATED: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    /// Bytes that the thread allocated, less those that it freed, since it last added them to the total. Without
    /// a destructor, so that an access costs no test whether it is alive.
    static PENDING: Cell<isize> = const { Cell::new(0) };
    /// Adds what is pending when the thread ends.
    static LAST_ADDITION: LastAddition = const { LastAddition };
}

/// mimalloc, counted.
pub struct CountingAllocator;

struct LastAddition;

impl Drop for LastAddition {
    fn drop(&mut self) {
        ALLOCATED.fetch_add(PENDING.take(), Ordering::Relaxed);
    }
}

/// Counts bytes that were allocated, or freed if below zero.
#[inline]
fn count_bytes(bytes: isize) {
    let pending = PENDING.get().wrapping_add(bytes);
    if pending.unsigned_abs() < MAX_PENDING_BYTES {
        PENDING.set(pending);
    } else {
        add_to_total(pending);
    }
}

#[cold]
fn add_to_total(pending: isize) {
    PENDING.set(0);
    ALLOCATED.fetch_add(pending, Ordering::Relaxed);
    // The first use makes sure that the end of the thread is noticed; there is none after it.
    let _ = LAST_ADDITION.try_with(|_| ());
}

/// Returns the bytes that a block of this layout takes, by the allocator's size classes.
fn block_bytes(size: usize) -> isize {
    allocated_bytes(size) as isize
}

// SAFETY: every call is passed on to mimalloc with its arguments as they are.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_bytes(block_bytes(layout.size()));
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_bytes(block_bytes(layout.size()));
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count_bytes(-block_bytes(layout.size()));
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_bytes(block_bytes(size) - block_bytes(layout.size()));
        unsafe { MiMalloc.realloc(block, layout, size) }
    }
}

unsafe extern "C" {
    /// Sets an option unless the environment has; `MIMALLOC_PURGE_DELAY` is this one's name there.
    safe fn mi_option_set_default(option: c_int, value: c_long);
}

/// Sets how long, and how much of, freed memory is kept before it is returned to the system. An epoch frees about what the
/// next one takes: as the allocators come, a busy process returned half of it each time, for the kernel to clear it again.
pub fn keep_freed_memory() {
    /// `mi_option_purge_delay` in `mimalloc.h`.
    const PURGE_DELAY: c_int = 15;
    const MILLISECONDS: c_long = 10_000;
    mi_option_set_default(PURGE_DELAY, MILLISECONDS);
    keep_freed_of_libraries();
}

/// The same for the C library's allocator, which RocksDB and the Kafka client use: blocks of the size of a batch do not go
/// back when they are freed, and of the end of each of its areas that much stays.
#[cfg(target_env = "gnu")]
fn keep_freed_of_libraries() {
    unsafe extern "C" {
        safe fn mallopt(option: c_int, value: c_int) -> c_int;
    }
    // M_TRIM_THRESHOLD and M_MMAP_THRESHOLD in malloc.h; the latter is at most 32 MiB.
    const TRIM: (c_int, c_int) = (-1, 256 << 20);
    const MAPPED: (c_int, c_int) = (-3, 32 << 20);
    for (option, bytes) in [TRIM, MAPPED] {
        // One that is refused stays as it comes.
        mallopt(option, bytes);
    }
}

#[cfg(not(target_env = "gnu"))]
fn keep_freed_of_libraries() {}

/// Returns the bytes of all blocks that are in use. Each thread may have [`MAX_PENDING_BYTES`] beside it.
pub fn allocated() -> u64 {
    u64::try_from(ALLOCATED.load(Ordering::Relaxed)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        unsafe extern "C" {
            safe fn mi_option_get(option: c_int) -> c_long;
        }
        let usual = mi_option_get(15);
        assert_eq!(usual, 1000, "mimalloc's own delay, in milliseconds: its options have other numbers now");
        keep_freed_memory();
        assert_eq!(mi_option_get(15), 10_000);
    }

    #[test]
    fn blocks_count_while_they_live_on_whatever_thread() {
        const BLOCK: usize = 512 << 20;
        let before = allocated();
        let block: Vec<u8> = Vec::with_capacity(BLOCK);
        assert!(allocated() >= before + BLOCK as u64 - (64 << 20), "{before} {}", allocated());
        std::thread::spawn(move || drop(block)).join().expect("the thread ends");
        assert!(allocated() < before + (64 << 20), "{before} {}", allocated());
    }

    #[test]
    fn a_thread_that_ends_leaves_nothing_uncounted() {
        let before = allocated();
        // Each thread's blocks stay below what it may have pending.
        let threads = (0..4096).map(|_| std::thread::spawn(|| Vec::<u8>::with_capacity(60 << 10)));
        let kept: Vec<_> = threads.map(|thread| thread.join().expect("the thread ends")).collect();
        assert!(allocated() > before + (200 << 20), "{before} {}", allocated());
        drop(kept);
        assert!(allocated() < before + (64 << 20), "{before} {}", allocated());
    }
}
