//! x Wᵀ for a few rows of x: W is read once, straight from memory, as in f32, and each of its rows
//! is rounded in the cache before it is multiplied.

use pulp::{Simd, WithSimd};

use super::operand::{Operand, round_into, rounded};
use crate::kernels::small_batch::{self, row_dots};

/// `x: (N, K)` times the transpose of `w: (M, K)`, plus `bias: (M)` if there is one: (N, M),
/// appended to `y`.
pub(super) fn append_linear<W: Operand>(
    y: &mut Vec<f32>,
    x: &[f32],
    w: &[W],
    k: usize,
    bias: Option<&[f32]>,
) {
    let x = rounded(x);
    small_batch::append_strips(y, (x.len() / k, w.len() / k), bias, |rows, y| {
        let w = &w[rows.start * k..rows.end * k];
        pulp::Arch::new().dispatch(Strip { x: &x, w, k, y });
    });
}

/// Products of all rows of x with the rows of a strip of W.
struct Strip<'a, W> {
    x: &'a [f32],
    w: &'a [W],
    k: usize,
    y: &'a mut [f32], // (rows of W, N)
}

impl<W: Operand> WithSimd for Strip<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, w, k, y } = self;
        let mut numbers = vec![0.; k];
        for (w, y) in w.chunks_exact(k).zip(y.chunks_exact_mut(x.len() / k)) {
            round_into(w, &mut numbers);
            row_dots(simd, &numbers, x, y);
        }
    }
}
