//! Matrix products of operands that are rounded to bf16, with sums in f32: the arithmetic of the
//! vector units that multiply pairs of bf16 numbers (AVX512-BF16), up to twice as fast as f32.
//!
//! bf16 keeps the 8 exponent bits of f32 and 8 of its 24 significant bits. The product of two such
//! numbers is exact in f32, so that a CPU without the units computes the same from rounded numbers
//! in f32, but for the order of the sums, and for numbers below 2⁻¹²⁶, which the units take for 0.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod few_rows;
mod operand;
#[cfg(target_arch = "x86_64")]
mod pack;

pub(crate) use operand::Operand;

use super::matmul;
use super::matrix::Matrix;
use super::small_batch::MAX_ROWS;

/// Units that multiply bf16 numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Units {
    /// Pairs of bf16 numbers are multiplied and added to a sum in f32 by one instruction.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    /// None: rounded numbers are multiplied in f32.
    F32,
}

impl Units {
    /// Fastest units of this CPU.
    pub(crate) fn of_this_cpu() -> Self {
        #[cfg(target_arch = "x86_64")]
        if avx512::is_available() {
            return Self::Avx512Bf16;
        }
        Self::F32
    }

    /// Name of the units, or of what takes their place.
    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => "AVX512-BF16",
            Self::F32 => "f32 units, since this processor has none for bf16",
        }
    }
}

/// x Wᵀ + bias for `x: (N, K)` and `w: (M, K)`, appended to `y` as (N, M).
pub(crate) fn append_linear<W: Operand>(
    y: &mut Vec<f32>,
    x: &[f32],
    w: &[W],
    k: usize,
    bias: Option<&[f32]>,
) {
    let (n, m) = (x.len() / k, w.len() / k);
    if n <= MAX_ROWS {
        few_rows::append_linear(y, x, w, k, bias);
    } else {
        let (x, w) = (Matrix::new(x, n, k), Matrix::new(w, m, k));
        append_matmul(Units::of_this_cpu(), y, x, w.transposed(), bias);
    }
}

/// `a · b + bias` on all threads, appended to `c` row by row; the bias, if any, is added to each
/// row.
pub(crate) fn append_matmul<A: Operand, B: Operand>(
    units: Units,
    c: &mut Vec<f32>,
    a: Matrix<'_, A>,
    b: Matrix<'_, B>,
    bias: Option<&[f32]>,
) {
    match units {
        #[cfg(target_arch = "x86_64")]
        Units::Avx512Bf16 => avx512::append_matmul(c, a, b, bias),
        Units::F32 => {
            let (a_rounded, b_rounded) =
                (operand::rounded(a.values()), operand::rounded(b.values()));
            let (a, b) = (a.with_values(&a_rounded), b.with_values(&b_rounded));
            matmul::append_matmul(c, a, b, bias);
        }
    }
}
