//! Allocator that counts allocated bytes. A memory test declares it in a file of its own, so that
//! it counts the process of this test alone:
//!
//! ```
//! use tensor_core::testing::CountingAllocator;
//!
//! #[global_allocator]
//! static ALLOCATOR: CountingAllocator = CountingAllocator::new();
//!
//! let before = ALLOCATOR.reset_peak();
//! drop(vec![0u8; 1000]);
//! assert!(ALLOCATOR.peak() >= before + 1000);
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Allocator, the system's or another one, with counters of the allocated bytes, per process and
/// per thread.
pub struct CountingAllocator<A = System> {
    inner: A,
    in_use: AtomicUsize,
    peak: AtomicUsize,
}

thread_local! {
    // Signed, as a thread may free memory that another one allocated.
    static THREAD_IN_USE: Cell<isize> = const { Cell::new(0) };
    static THREAD_PEAK: Cell<isize> = const { Cell::new(0) };
}

impl CountingAllocator {
    /// System allocator with all counters at 0.
    #[allow(clippy::new_without_default)] // a static cannot be made by `default`
    pub const fn new() -> Self {
        Self::around(System)
    }
}

impl<A> CountingAllocator<A> {
    /// Allocator `inner` with all counters at 0.
    pub const fn around(inner: A) -> Self {
        Self { inner, in_use: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    /// Bytes allocated now.
    pub fn bytes_in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Resets the peak to the bytes allocated now, and returns them.
    pub fn reset_peak(&self) -> usize {
        let in_use = self.bytes_in_use();
        self.peak.store(in_use, Ordering::Relaxed);
        in_use
    }

    /// Peak of the allocated bytes since [`CountingAllocator::reset_peak`].
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Result of `work`, and the peak of the bytes that it allocated on this thread, independent of
    /// tests that run in parallel.
    pub fn thread_peak_during<T>(&self, work: impl FnOnce() -> T) -> (T, usize) {
        let before = THREAD_IN_USE.get();
        THREAD_PEAK.set(before);
        let result = work();
        (result, (THREAD_PEAK.get() - before) as usize)
    }
}

// SAFETY: all memory is the inner allocator's; the counters do not affect it, and need neither
// memory nor a destructor.
#[allow(unsafe_code)]
unsafe impl<A: GlobalAlloc> GlobalAlloc for CountingAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let in_use = self.in_use.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        self.peak.fetch_max(in_use, Ordering::Relaxed);
        THREAD_IN_USE.set(THREAD_IN_USE.get() + layout.size() as isize);
        THREAD_PEAK.set(THREAD_PEAK.get().max(THREAD_IN_USE.get()));
        // SAFETY: guaranteed by the caller.
        unsafe { self.inner.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.in_use.fetch_sub(layout.size(), Ordering::Relaxed);
        THREAD_IN_USE.set(THREAD_IN_USE.get() - layout.size() as isize);
        // SAFETY: guaranteed by the caller.
        unsafe { self.inner.dealloc(pointer, layout) }
    }
}
