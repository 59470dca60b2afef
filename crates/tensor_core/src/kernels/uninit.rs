//! Uninitialized output buffers. A task receives its part as [`Uninit`] and must return [`Filled`],
//! which only the fill methods create.
//!
//! With `vec![0; n]`, every element would be written twice, and the first time by a single thread.

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

use super::float::Float;
use super::parts::{GRAIN, for_each_part};

/// New vectors of (elements in all, elements per part), filled by all threads: `fill` turns each
/// uninitialized part into a filled one. Memory is written once, by the thread that computes on it.
pub(crate) fn build<T: Float, const N: usize>(
    sizes: [(usize, usize); N],
    fill: impl for<'a> Fn(usize, [Uninit<'a, T>; N]) -> [Filled<'a, T>; N] + Sync,
) -> [Vec<T>; N] {
    let mut vectors = sizes.map(|(n, _)| Vec::<T>::with_capacity(n));
    let mut rest = sizes.into_iter();
    let slices = vectors.each_mut().map(|vector| {
        let (n, part) = rest.next().expect("as many sizes as vectors");
        (&mut vector.spare_capacity_mut()[..n], part)
    });
    for_each_part(slices, |task, parts| _ = fill(task, parts.map(Uninit)));
    for (vector, (n, _)) in vectors.iter_mut().zip(sizes) {
        // SAFETY: the parts cover the first n elements, and each was returned filled.
        #[allow(unsafe_code)]
        unsafe {
            vector.set_len(n);
        }
    }
    vectors
}

/// Memory without values yet.
pub(crate) struct Uninit<'a, T>(&'a mut [MaybeUninit<T>]);

/// [`Uninit`] memory that has been written.
pub(crate) struct Filled<'a, T>(&'a mut [T]);

impl<'a, T: Float> Uninit<'a, T> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Writes element i of `f(rows)` to place i. (The rows are cut to the length of the output
    /// here, as the compiler vectorizes a loop only if it sees that no index can be out of bounds.)
    ///
    /// # Panics
    /// When a row is shorter than the output; also in the methods below.
    #[inline(always)]
    pub(crate) fn fill<const N: usize>(
        self,
        rows: [&[T]; N],
        f: impl Fn([T; N]) -> T,
    ) -> Filled<'a, T> {
        let [filled] = Uninit::fill_all([self], rows, |numbers| [f(numbers)]);
        filled
    }

    /// Fills several outputs of the same length at once with the components of `f`.
    #[inline(always)]
    pub(crate) fn fill_all<const M: usize, const N: usize>(
        mut all: [Self; M],
        rows: [&[T]; N],
        f: impl Fn([T; N]) -> [T; M],
    ) -> [Filled<'a, T>; M] {
        let n = all[0].len();
        let rows = rows.map(|row| &row[..n]);
        let outputs = all.each_mut().map(|output| &mut output.0[..n]);
        for i in 0..n {
            let values = f(rows.map(|row| row[i]));
            for m in 0..M {
                outputs[m][i].write(values[m]);
            }
        }
        assert!(all.iter().all(|output| output.len() == n), "outputs of different lengths");
        all.map(Self::assume_filled)
    }

    /// Fills the two halves of the output with the components of `f`.
    #[inline(always)]
    pub(crate) fn fill_halves<const N: usize>(
        self,
        rows: [&[T]; N],
        f: impl Fn([T; N]) -> [T; 2],
    ) -> Filled<'a, T> {
        let half = self.len() / 2;
        assert_eq!(self.len(), 2 * half, "an odd number of numbers");
        let (first, second) = self.0.split_at_mut(half);
        Uninit::fill_all([Uninit(first), Uninit(second)], rows, f);
        self.assume_filled()
    }

    /// Writes `value(i)` to place i, for values that take a loop of their own.
    #[inline(always)]
    pub(crate) fn fill_each(self, value: impl Fn(usize) -> T) -> Filled<'a, T> {
        for (i, place) in self.0.iter_mut().enumerate() {
            place.write(value(i));
        }
        self.assume_filled()
    }

    /// Calls `fill` on each row of `width` elements.
    ///
    /// # Panics
    /// When the length is not a multiple of `width`.
    #[inline(always)]
    pub(crate) fn fill_rows(
        self,
        width: usize,
        mut fill: impl for<'b> FnMut(usize, Uninit<'b, T>) -> Filled<'b, T>,
    ) -> Filled<'a, T> {
        assert_eq!(self.len() % width, 0, "{} numbers in rows of {width}", self.len());
        for (i, row) in self.0.chunks_exact_mut(width).enumerate() {
            fill(i, Uninit(row));
        }
        self.assume_filled()
    }

    /// Fills the output with zeros, to accumulate into.
    #[inline(always)]
    pub(crate) fn zeroed(self) -> Filled<'a, T> {
        self.fill([], |[]| T::ZERO)
    }

    /// Copies the first elements of `numbers`.
    #[inline(always)]
    pub(crate) fn copy_of(self, numbers: &[T]) -> Filled<'a, T> {
        self.fill([numbers], |[x]| x)
    }

    #[inline(always)]
    fn assume_filled(self) -> Filled<'a, T> {
        // SAFETY: private, and called only where every element has been written.
        #[allow(unsafe_code)]
        Filled(unsafe { &mut *(std::ptr::from_mut(self.0) as *mut [T]) })
    }
}

impl<T> Deref for Filled<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.0
    }
}

impl<T> DerefMut for Filled<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.0
    }
}

/// Vector of `n` zeros, written by all threads.
pub(crate) fn zeros<T: Float>(n: usize) -> Vec<T> {
    let [zeros] = build([(n, GRAIN)], |_, [part]| [part.zeroed()]);
    zeros
}
