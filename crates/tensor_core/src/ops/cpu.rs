//! Building blocks of the fused CPU loops: division of memory among threads, vectorization, scratch
//! buffers.
//!
//! A fused operation reads its inputs once and writes its result once, where a chain of tensor
//! operations allocates and traverses memory for each step. The loops are plain Rust:
//! [`vectorized!`] compiles them for each generation of vector units and selects one at run time.
//! The division of a loop into tasks depends on shapes alone, never on the number of threads, so
//! its results do not either. (A matrix product is divided by the number of threads, see
//! `matmul.rs`; the same number gives the same bits.)

use candle_core::{DType, Device, Tensor};

use super::float::Float;
use crate::pool;

/// True if `x` is on the CPU in a dtype with fused loops, and not empty; otherwise the reference
/// implementation runs.
pub(crate) fn has_fused_loops(x: &Tensor) -> bool {
    x.elem_count() > 0
        && matches!(x.device(), Device::Cpu)
        && matches!(x.dtype(), DType::F32 | DType::F64)
}

/// Calls `$function::<T>(..)` with T the element type of `$x`, which must satisfy
/// [`has_fused_loops`].
macro_rules! by_type {
    ($x:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $x.dtype() {
            candle_core::DType::F64 => $function::<f64>($($argument),*),
            _ => $function::<f32>($($argument),*),
        }
    };
}
pub(crate) use by_type;

/// `vectorized!(body)` is `body`, with its loops compiled for the widest vectors of this CPU.
///
/// A macro, because the compiler reliably inlines a closure into the code for wider vectors only if
/// it is called once: each kind of CPU gets a closure of its own. With a function instead, the
/// longer loops silently fell back to the narrowest vectors.
macro_rules! vectorized {
    ($body:expr) => {
        match pulp::Arch::new() {
            #[cfg(target_arch = "x86_64")]
            pulp::Arch::V4(simd) => simd.vectorize($crate::ops::cpu::Loops(|| $body)),
            #[cfg(target_arch = "x86_64")]
            pulp::Arch::V3(simd) => simd.vectorize($crate::ops::cpu::Loops(|| $body)),
            _ => $body,
        }
    };
}
pub(crate) use vectorized;

/// Body of [`vectorized!`].
pub(crate) struct Loops<F>(pub(crate) F);

impl<R, F: FnOnce() -> R> pulp::NullaryFnOnce for Loops<F> {
    type Output = R;

    #[inline(always)]
    fn call(self) -> R {
        self.0()
    }
}

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

/// Calls `work` with a buffer of `n` elements of arbitrary value, which this thread keeps for the
/// next call.
pub(crate) fn with_scratch<T: Float, R>(n: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
    let mut buffer = T::scratch().take();
    if buffer.len() < n {
        buffer.resize(n, T::ZERO);
    }
    let result = work(&mut buffer[..n]);
    T::scratch().set(buffer);
    result
}

/// Slice that several tasks write to at the same time, each in its own ranges.
pub(crate) struct SharedSlice<'a, T> {
    start: *mut T,
    pub(crate) len: usize,
    slice: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: it gives access to the elements only through `range`, whose caller guarantees that no two
// ranges overlap.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for SharedSlice<'_, T> {}

impl<'a, T> SharedSlice<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: std::marker::PhantomData }
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
