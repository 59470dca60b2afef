//! An allocator that counts what is held. A test of memory declares it in a file of its own, whose process it then counts:
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

/// The system's allocator, with counters of the bytes held, by the process and by each thread.
pub struct CountingAllocator {
    now: AtomicUsize,
    most: AtomicUsize,
}

thread_local! {
    // Signed, as a thread may free what another one asked for.
    static NOW: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

impl CountingAllocator {
    /// With nothing counted yet.
    #[allow(clippy::new_without_default)] // a static cannot be made by `default`
    pub const fn new() -> Self {
        Self { now: AtomicUsize::new(0), most: AtomicUsize::new(0) }
    }

    /// Bytes held now.
    pub fn bytes_in_use(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// Starts a new peak from the bytes held now, which it gives.
    pub fn reset_peak(&self) -> usize {
        let now = self.bytes_in_use();
        self.most.store(now, Ordering::Relaxed);
        now
    }

    /// The most bytes held at a time since the mark.
    pub fn peak(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// What `work` gives, and the most bytes that it held at a time on this thread, whatever tests run beside it.
    pub fn thread_peak_during<T>(&self, work: impl FnOnce() -> T) -> (T, usize) {
        let before = NOW.get();
        MOST.set(before);
        let result = work();
        (result, (MOST.get() - before) as usize)
    }
}

// SAFETY: everything is the system's allocator's; the counters take no part in it, and need neither memory nor a
// destructor.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = self.now.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        self.most.fetch_max(now, Ordering::Relaxed);
        NOW.set(NOW.get() + layout.size() as isize);
        MOST.set(MOST.get().max(NOW.get()));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.now.fetch_sub(layout.size(), Ordering::Relaxed);
        NOW.set(NOW.get() - layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}
