//! Fresh memory that is written once: a task gets its part blank and has to give it back full.
//!
//! `vec![0; n]` would have every number written twice, and the first time by one thread.

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

use super::cpu::{GRAIN, for_each_part, vectorized};
use super::float::Real;

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
