//! What the fused CPU loops share: parts of memory for each thread, wide vectors, sums in a fixed order.
//!
//! A fused operation reads its inputs once and writes its result once, where a chain of tensor operations allocates and
//! walks memory for each link. The loops are plain Rust: [`vectorized`] has the compiler build them for each generation
//! of vector units and picks one at run time. How a loop is cut into tasks depends on shapes alone, never on the number
//! of threads, so results do not either.

use candle_core::{DType, Device, Tensor};

use super::real::Real;
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

/// Runs `body`, a plain loop, compiled for the widest vectors this CPU has.
#[inline(always)]
pub(crate) fn vectorized<R>(body: impl FnOnce() -> R) -> R {
    struct Body<F>(F);
    impl<R, F: FnOnce() -> R> pulp::NullaryFnOnce for Body<F> {
        type Output = R;
        #[inline(always)]
        fn call(self) -> R {
            self.0()
        }
    }
    pulp::Arch::new().dispatch(Body(body))
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

/// New vectors of (numbers in all, numbers per part), filled by all threads: each of `fill(i, parts i)`'s parts holds
/// zeros, put there by the thread that works on it, so that they are still in its cache.
pub(crate) fn build<T: Real, const N: usize>(
    sizes: [(usize, usize); N],
    fill: impl Fn(usize, [&mut [T]; N]) + Sync,
) -> [Vec<T>; N] {
    let mut vectors = sizes.map(|(n, _)| Vec::<T>::with_capacity(n));
    let mut sizes = sizes.into_iter();
    let slices = vectors.each_mut().map(|vector| {
        let (n, part) = sizes.next().expect("as many sizes as vectors");
        (&mut vector.spare_capacity_mut()[..n], part)
    });
    let counts = slices.each_ref().map(|(slice, _)| slice.len());
    for_each_part(slices, |task, parts| {
        let zeroed = parts.map(|part| {
            part.iter_mut().for_each(|x| _ = x.write(T::ZERO));
            // SAFETY: the line above has initialised all of the part.
            #[allow(unsafe_code)]
            unsafe {
                &mut *(std::ptr::from_mut(part) as *mut [T])
            }
        });
        fill(task, zeroed);
    });
    for (vector, n) in vectors.iter_mut().zip(counts) {
        // SAFETY: the parts cover the first n numbers, and each task has initialised its own.
        #[allow(unsafe_code)]
        unsafe {
            vector.set_len(n);
        }
    }
    vectors
}

/// `n` zeros, put there by all threads.
pub(crate) fn zeros<T: Real>(n: usize) -> Vec<T> {
    let [zeros] = build([(n, GRAIN)], |_, _| ());
    zeros
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

/// Sums `f` over 0..n in a fixed order that vector units can follow.
#[inline(always)]
pub(crate) fn sum<T: Real>(n: usize, f: impl Fn(usize) -> T) -> T {
    const LANES: usize = 16;
    let mut lanes = [T::ZERO; LANES];
    let whole = n / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, total) in lanes.iter_mut().enumerate() {
            *total += f(start + lane);
        }
    }
    let rest: T = (whole..n).map(&f).sum();
    lanes.into_iter().sum::<T>() + rest
}

/// The largest of `row`, −∞ if there is none.
#[inline(always)]
pub(crate) fn largest<T: Real>(row: &[T]) -> T {
    const LANES: usize = 16;
    let mut lanes = [T::real(f64::NEG_INFINITY); LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (most, &x) in lanes.iter_mut().zip(chunk) {
            *most = most.larger(x);
        }
    }
    lanes.iter().chain(rest).fold(T::real(f64::NEG_INFINITY), |most, &x| most.larger(x))
}
