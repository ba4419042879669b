//! Counts what a thread allocates, for figures that must not depend on the machine.

#![allow(unsafe_code)] // an allocator cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What one thread has asked of the allocator.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Allocations {
    /// Calls that gave memory.
    pub(crate) calls: u64,
    /// Bytes held now. What another thread freed still counts.
    pub(crate) held: i64,
    /// The most that was held since [`forget_peak`].
    pub(crate) peak: i64,
}

thread_local! {
    static SEEN: Cell<Allocations> = const {
        Cell::new(Allocations { calls: 0, held: 0, peak: 0 })
    };
}

/// So far, by this thread.
pub(crate) fn so_far() -> Allocations {
    SEEN.get()
}

/// From now on `peak` is counted anew.
pub(crate) fn forget_peak() {
    let seen = SEEN.get();
    SEEN.set(Allocations {
        peak: seen.held,
        ..seen
    });
}

/// The system's allocator, counted.
pub(crate) struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(calls: u64, bytes: i64) {
    // a thread that is ending has no place to count any more
    let _ended = SEEN.try_with(|seen| {
        let Allocations {
            calls: before,
            held,
            peak,
        } = seen.get();
        let held = held + bytes;
        seen.set(Allocations {
            calls: before + calls,
            held,
            peak: peak.max(held),
        });
    });
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, signed(layout.size()));
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, -signed(layout.size()));
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, signed(size) - signed(layout.size()));
        // SAFETY: the caller's promises are the same.
        unsafe { System.realloc(at, layout, size) }
    }
}
