//! What the fused CPU loops share: parts of memory for each thread, and wide vectors.
//!
//! A fused operation reads its inputs once and writes its result once, where a chain of tensor operations allocates and
//! walks memory for each link. The loops are plain Rust: [`vectorized!`] has the compiler build them for each generation
//! of vector units and picks one at run time. How a loop is cut into tasks depends on shapes alone, never on the number
//! of threads, so its results do not either. (A matrix product is cut by the number of threads, see `product.rs`; the same
//! number gives the same bits.)

use candle_core::{DType, Device, Tensor};

use super::float::Real;
use crate::pool;

/// Whether `x` is on the CPU in a type that has fused loops, and not empty; all else takes the reference path.
pub(crate) fn has_fused_loops(x: &Tensor) -> bool {
    x.elem_count() > 0
        && matches!(x.device(), Device::Cpu)
        && matches!(x.dtype(), DType::F32 | DType::F64)
}

/// Calls `$function::<T>(..)` with T the type of `$x`'s numbers, which [`has_fused_loops`] has vouched for.
macro_rules! by_type {
    ($x:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $x.dtype() {
            candle_core::DType::F64 => $function::<f64>($($argument),*),
            _ => $function::<f32>($($argument),*),
        }
    };
}
pub(crate) use by_type;

/// `vectorized!(body)` is `body`, loops compiled for the widest vectors this CPU has.
///
/// A macro, as the compiler takes a closure into the code for wider vectors for certain only where it is called once: so
/// each kind of CPU gets closures of its own. With a function in its place, the longer loops fell back to the
/// narrowest vectors without a word.
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

/// The body of [`vectorized!`].
pub(crate) struct Loops<F>(pub(crate) F);

impl<R, F: FnOnce() -> R> pulp::NullaryFnOnce for Loops<F> {
    type Output = R;

    #[inline(always)]
    fn call(self) -> R {
        self.0()
    }
}

/// Numbers that a task works on: enough to be worth handing out, few enough to stay in a core's own cache.
pub(crate) const GRAIN: usize = 8 * 1024;

/// How many numbers make a task where rows of `width` stay together.
pub(crate) fn whole_rows(width: usize) -> usize {
    (GRAIN / width).max(1) * width
}

/// Cuts each slice into parts of its own length (the last may be shorter) and runs `work(i, parts i)` on all threads.
///
/// # Panics
/// When the slices do not fall into equally many parts.
pub(crate) fn for_each_part<T: Send, const N: usize>(
    slices: [(&mut [T], usize); N],
    work: impl Fn(usize, [&mut [T]; N]) + Sync,
) {
    let slices = slices.map(|(slice, part)| (Shared::new(slice), part));
    let tasks = slices[0].0.len.div_ceil(slices[0].1);
    for (slice, part) in &slices {
        assert_eq!(slice.len.div_ceil(*part), tasks, "slices of unequally many parts");
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

/// Lends `work` a buffer of `n` numbers, whatever they are, that this thread keeps for the next time.
pub(crate) fn with_scratch<T: Real, R>(n: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
    let mut buffer = T::scratch().take();
    if buffer.len() < n {
        buffer.resize(n, T::ZERO);
    }
    let result = work(&mut buffer[..n]);
    T::scratch().set(buffer);
    result
}

/// A slice that several tasks write to at once, each in places of its own.
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    pub(crate) len: usize,
    slice: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: it gives access to the numbers only through `range`, whose caller promises that no two overlap.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: std::marker::PhantomData }
    }

    /// The numbers from `start` on.
    ///
    /// # Safety
    /// Nobody else may read or write any of these numbers while the result lives.
    #[allow(unsafe_code, clippy::mut_from_ref)]
    pub(crate) unsafe fn range(&self, start: usize, len: usize) -> &'a mut [T] {
        assert!(start + len <= self.len, "a range beyond the slice");
        // SAFETY: the range lies in the slice that `self` borrows mutably; that it is alone is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }

    /// Where the number at `start` is.
    pub(crate) fn pointer(&self, start: usize) -> *mut T {
        assert!(start <= self.len, "a pointer beyond the slice");
        self.start.wrapping_add(start)
    }
}
