//! Division of memory among threads.

use std::marker::PhantomData;

use super::pool;

/// Elements per task: enough to be worth sharing, few enough to stay in a core's own cache.
pub(crate) const GRAIN: usize = 8 * 1024;

/// Elements per task if rows of `width` elements must not be split.
pub(crate) fn whole_rows(width: usize) -> usize {
    (GRAIN / width).max(1) * width
}

/// Splits each slice into parts of its own length (the last may be shorter) and runs `work(i, parts
/// i)` on all threads.
///
/// # Panics
/// When the slices do not have equally many parts.
pub(crate) fn for_each_part<T: Send, const N: usize>(
    slices: [(&mut [T], usize); N],
    work: impl Fn(usize, [&mut [T]; N]) + Sync,
) {
    let slices = slices.map(|(slice, part)| (SharedSlice::new(slice), part));
    let tasks = slices[0].0.len.div_ceil(slices[0].1);
    for (slice, part) in &slices {
        assert_eq!(slice.len.div_ceil(*part), tasks, "slices with different numbers of parts");
    }
    pool::for_each(tasks, |task| {
        let parts = slices.each_ref().map(|(slice, part)| {
            let start = task * part;
            // SAFETY: every task has its own range of each slice, and the pool runs each task once.
            #[allow(unsafe_code)]
            unsafe {
                slice.range(start, (*part).min(slice.len - start))
            }
        });
        work(task, parts);
    });
}

/// [`for_each_part`] of two slices of different types.
///
/// # Panics
/// When the slices do not have equally many parts.
pub(crate) fn for_each_pair_of_parts<A: Send, B: Send>(
    (a, a_part): (&mut [A], usize),
    (b, b_part): (&mut [B], usize),
    work: impl Fn(usize, &mut [A], &mut [B]) + Sync,
) {
    let (a, b) = (SharedSlice::new(a), SharedSlice::new(b));
    let tasks = a.len.div_ceil(a_part);
    assert_eq!(b.len.div_ceil(b_part), tasks, "slices with different numbers of parts");
    pool::for_each(tasks, |task| {
        let (a_start, b_start) = (task * a_part, task * b_part);
        // SAFETY: every task has its own range of each slice, and the pool runs each task once.
        #[allow(unsafe_code)]
        let (a, b) = unsafe {
            (
                a.range(a_start, a_part.min(a.len - a_start)),
                b.range(b_start, b_part.min(b.len - b_start)),
            )
        };
        work(task, a, b);
    });
}

/// Slice that several tasks write to at the same time, each in its own ranges.
pub(crate) struct SharedSlice<'a, T> {
    start: *mut T,
    pub(crate) len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it gives access to the elements only through `range`, whose caller guarantees that no two
// ranges overlap.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for SharedSlice<'_, T> {}

impl<'a, T> SharedSlice<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// `len` elements from `start` on.
    ///
    /// # Safety
    /// Nothing else may read or write any of these elements while the result lives.
    #[allow(unsafe_code, clippy::mut_from_ref)]
    pub(crate) unsafe fn range(&self, start: usize, len: usize) -> &'a mut [T] {
        assert!(start + len <= self.len, "a range beyond the slice");
        // SAFETY: the range is within the slice that `self` borrows mutably; the caller guarantees
        // exclusive access.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }

    /// Pointer to the element at `start`.
    pub(crate) fn pointer(&self, start: usize) -> *mut T {
        assert!(start <= self.len, "a pointer beyond the slice");
        self.start.wrapping_add(start)
    }
}
