//! What the fused CPU loops share: parts of memory for each thread, wide vectors, sums in a fixed order.
//!
//! A fused operation reads its inputs once and writes its result once, where a chain of tensor operations allocates and
//! walks memory for each link. The loops are plain Rust: [`vectorized!`] has the compiler build them for each generation
//! of vector units and picks one at run time. How a loop is cut into tasks depends on shapes alone, never on the number
//! of threads, so results do not either.

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

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

/// New vectors of (numbers in all, numbers per part), filled by all threads: `fill` turns each of its blank parts into a
/// full one. Fresh memory is so written once, and by the thread that works on it.
pub(crate) fn build<T: Real, const N: usize>(
    sizes: [(usize, usize); N],
    fill: impl for<'a> Fn(usize, [Blank<'a, T>; N]) -> [Full<'a, T>; N] + Sync,
) -> [Vec<T>; N] {
    let mut vectors = sizes.map(|(n, _)| Vec::<T>::with_capacity(n));
    let mut rest = sizes.into_iter();
    let slices = vectors.each_mut().map(|vector| {
        let (n, part) = rest.next().expect("as many sizes as vectors");
        (&mut vector.spare_capacity_mut()[..n], part)
    });
    for_each_part(slices, |task, parts| _ = fill(task, parts.map(Blank)));
    for (vector, (n, _)) in vectors.iter_mut().zip(sizes) {
        // SAFETY: the parts cover the first n numbers, and each came back full.
        #[allow(unsafe_code)]
        unsafe {
            vector.set_len(n);
        }
    }
    vectors
}

/// Memory without numbers as yet.
pub(crate) struct Blank<'a, T>(&'a mut [MaybeUninit<T>]);

/// A [`Blank`] with numbers in it.
pub(crate) struct Full<'a, T>(&'a mut [T]);

impl<'a, T: Real> Blank<'a, T> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts `f` of the numbers that stand side by side in `rows` everywhere. (The rows are cut to the blank's length
    /// here, as the compiler makes vector code of a loop only where it sees that no index can be out of bounds.)
    ///
    /// # Panics
    /// When a row is shorter than the blank; so below.
    #[inline(always)]
    pub(crate) fn fill<const N: usize>(
        self,
        rows: [&[T]; N],
        f: impl Fn([T; N]) -> T,
    ) -> Full<'a, T> {
        let [full] = Blank::fill_all([self], rows, |numbers| [f(numbers)]);
        full
    }

    /// Fills several of the same length at once with the parts of `f`.
    #[inline(always)]
    pub(crate) fn fill_all<const M: usize, const N: usize>(
        mut all: [Self; M],
        rows: [&[T]; N],
        f: impl Fn([T; N]) -> [T; M],
    ) -> [Full<'a, T>; M] {
        let n = all[0].len();
        let rows = rows.map(|row| &row[..n]);
        let blanks = all.each_mut().map(|blank| &mut blank.0[..n]);
        for i in 0..n {
            let values = f(rows.map(|row| row[i]));
            for m in 0..M {
                blanks[m][i].write(values[m]);
            }
        }
        assert!(all.iter().all(|blank| blank.len() == n), "blanks of different lengths");
        all.map(Self::assume_full)
    }

    /// Fills its two halves with the parts of `f`.
    #[inline(always)]
    pub(crate) fn fill_halves<const N: usize>(
        self,
        rows: [&[T]; N],
        f: impl Fn([T; N]) -> [T; 2],
    ) -> Full<'a, T> {
        let half = self.len() / 2;
        assert_eq!(self.len(), 2 * half, "an odd number of numbers");
        let (first, second) = self.0.split_at_mut(half);
        Blank::fill_all([Blank(first), Blank(second)], rows, f);
        self.assume_full()
    }

    /// Puts `value(i)` in place i, for loops that are long inside.
    #[inline(always)]
    pub(crate) fn fill_each(self, value: impl Fn(usize) -> T) -> Full<'a, T> {
        for (i, place) in self.0.iter_mut().enumerate() {
            place.write(value(i));
        }
        self.assume_full()
    }

    /// Lets `fill` work on each row of `width` numbers.
    ///
    /// # Panics
    /// When there is more than whole rows.
    #[inline(always)]
    pub(crate) fn fill_rows(
        self,
        width: usize,
        mut fill: impl for<'b> FnMut(usize, Blank<'b, T>) -> Full<'b, T>,
    ) -> Full<'a, T> {
        assert_eq!(self.len() % width, 0, "{} numbers in rows of {width}", self.len());
        for (i, row) in self.0.chunks_exact_mut(width).enumerate() {
            fill(i, Blank(row));
        }
        self.assume_full()
    }

    /// Zeros everywhere, to be added to.
    #[inline(always)]
    pub(crate) fn zeroed(self) -> Full<'a, T> {
        self.fill([], |[]| T::ZERO)
    }

    /// A copy of as many numbers.
    #[inline(always)]
    pub(crate) fn copy_of(self, numbers: &[T]) -> Full<'a, T> {
        self.fill([numbers], |[x]| x)
    }

    #[inline(always)]
    fn assume_full(self) -> Full<'a, T> {
        // SAFETY: private, and called only where every number has been written.
        #[allow(unsafe_code)]
        Full(unsafe { &mut *(std::ptr::from_mut(self.0) as *mut [T]) })
    }
}

impl<T> Deref for Full<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.0
    }
}

impl<T> DerefMut for Full<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.0
    }
}

/// `n` zeros, put there by all threads.
pub(crate) fn zeros<T: Real>(n: usize) -> Vec<T> {
    let [zeros] = build([(n, GRAIN)], |_, [part]| [part.zeroed()]);
    zeros
}

/// a · b, number by number.
pub(crate) fn product_of<T: Real>(a: &[T], b: &[T]) -> Vec<T> {
    let [product] = build([(a.len(), GRAIN)], |i, [product]| {
        let (a, b) = (&a[i * GRAIN..], &b[i * GRAIN..]);
        [vectorized!(product.fill([a, b], |[a, b]| a * b))]
    });
    product
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

/// Sums `f` over rows side by side, as long as the first, in a fixed order that vector units can follow.
#[inline(always)]
pub(crate) fn sum<T: Real, const N: usize>(rows: [&[T]; N], f: impl Fn([T; N]) -> T) -> T {
    const LANES: usize = 32;
    let n = rows[0].len();
    let rows = rows.map(|row| row[..n].as_chunks::<LANES>());
    let mut totals = [T::ZERO; LANES];
    for i in 0..n / LANES {
        let chunks = rows.map(|(chunks, _)| &chunks[i]);
        for lane in 0..LANES {
            totals[lane] += f(chunks.map(|chunk| chunk[lane]));
        }
    }
    let rest: T = (0..n % LANES).map(|i| f(rows.map(|(_, rest)| rest[i]))).sum();
    totals.into_iter().sum::<T>() + rest
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
