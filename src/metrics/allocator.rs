//! The allocator of the process: mimalloc, with a count of the bytes that are allocated.
//!
//! mimalloc does not tell how much of its memory is in use. [`CountingAllocator`] counts beside it, in a thread's
//! own cell that is added to the total once it holds [`MAX_PENDING_BYTES`]: an allocation takes no atomic
//! operation. From the resident memory and this count the memory ledger knows what the allocators keep free.
#![allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait; all calls are passed on as they came")]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

use mimalloc::MiMalloc;
use schemas::memory::allocated_bytes;

/// Most bytes, allocated or freed, that a thread has not added to the total yet.
const MAX_PENDING_BYTES: isize = 64 << 10;

/// Bytes that are allocated, without what threads have pending.
static ALLOCATED: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    static PENDING: PendingBytes = const { PendingBytes(Cell::new(0)) };
}

/// mimalloc, counted.
pub struct CountingAllocator;

/// Bytes that a thread has allocated, less those that it has freed, since it last added them to the total.
struct PendingBytes(Cell<isize>);

impl Drop for PendingBytes {
    fn drop(&mut self) {
        ALLOCATED.fetch_add(self.0.get(), Ordering::Relaxed);
    }
}

impl PendingBytes {
    fn add(&self, bytes: isize) {
        let pending = self.0.get() + bytes;
        if pending.abs() < MAX_PENDING_BYTES {
            self.0.set(pending);
        } else {
            self.0.set(0);
            ALLOCATED.fetch_add(pending, Ordering::Relaxed);
        }
    }
}

/// Counts bytes that were allocated, or freed if below zero.
fn count_bytes(bytes: isize) {
    // A thread that ends still frees after its cell is gone.
    if PENDING.try_with(|pending| pending.add(bytes)).is_err() {
        ALLOCATED.fetch_add(bytes, Ordering::Relaxed);
    }
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

/// Returns the bytes of all blocks that are in use. Each thread may have [`MAX_PENDING_BYTES`] beside it.
pub fn allocated() -> u64 {
    u64::try_from(ALLOCATED.load(Ordering::Relaxed)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

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
