//! Number types with fused loops, and math functions on them that compile to vector code.

use std::cell::Cell;
use std::thread::LocalKey;

use candle_core::{CpuStorage, DType, Device, Tensor, WithDType};

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

/// Number type with fused loops: f32 for training, f64 for gradient checks.
pub(crate) trait Float:
    WithDType
    + std::ops::Neg<Output = Self>
    + std::ops::AddAssign
    + std::ops::MulAssign
    + std::iter::Sum
{
    const ZERO: Self;
    const ONE: Self;
    fn cast(x: f64) -> Self;
    fn exp(self) -> Self;
    fn erf(self) -> Self;
    fn sqrt(self) -> Self;
    fn ln(self) -> Self;
    fn larger(self, other: Self) -> Self;
    /// Scratch buffer of each thread.
    fn scratch() -> &'static LocalKey<Cell<Vec<Self>>>;
    /// Elements of a CPU storage, if it has this type.
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

/// Items of [`Float`] that read the same for both types.
macro_rules! same_for_both {
    ($float:ty, $storage:ident) => {
        const ZERO: Self = 0.;
        const ONE: Self = 1.;

        fn cast(x: f64) -> Self {
            x as $float
        }
        fn sqrt(self) -> Self {
            self.sqrt()
        }
        fn ln(self) -> Self {
            self.ln()
        }
        fn larger(self, other: Self) -> Self {
            if other > self { other } else { self }
        }
        fn scratch() -> &'static LocalKey<Cell<Vec<Self>>> {
            thread_local! { static SCRATCH: Cell<Vec<$float>> = const { Cell::new(Vec::new()) } }
            &SCRATCH
        }
        fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
            if let CpuStorage::$storage(numbers) = storage { Some(numbers) } else { None }
        }
    };
}

impl Float for f32 {
    same_for_both!(f32, F32);

    /// exp, accurate to 2 units in the last place (6 beyond 88.37), without branches, so that loops
    /// over it vectorize (the system's `expf` is a call per element). Cephes' method: x = n ln 2 +
    /// r, exp(x) = 2ⁿ · polynomial(r). Below −87.3, where results stop to be normal numbers, it is
    /// 0.
    #[inline(always)]
    fn exp(self) -> Self {
        const ROUND: f32 = 12_582_912.; // 1.5 · 2²³: adding it leaves an integer in the low bits
        const LARGEST: f32 = ROUND + 127.; // there is no 2¹²⁸: beyond, r grows instead of n
        // Not `max` and `min`, which would make a number of NaN.
        let x = if self < -87.3 { -87.3 } else { self };
        let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
        let shifted = if shifted > LARGEST { LARGEST } else { shifted };
        let n = shifted - ROUND;
        // ln 2 in two parts, of which the first is exact.
        let r = n.mul_add(2.121_944_4e-4, n.mul_add(-0.693_359_4, x));
        let p = 1.987_569_1e-4_f32;
        let p = p.mul_add(r, 1.398_199_9e-3);
        let p = p.mul_add(r, 8.333_452e-3);
        let p = p.mul_add(r, 4.166_579_6e-2);
        let p = p.mul_add(r, 1.666_666_5e-1);
        let p = p.mul_add(r, 0.5);
        let y = p.mul_add(r * r, r) + 1.;
        let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
        let y = y * f32::from_bits(exponent);
        if self < -87.3 { 0. } else { y } // −∞ gives 0 exactly
    }

    /// erf as a quotient of polynomials, accurate to a few units in the last place (Eigen's
    /// coefficients).
    #[inline(always)]
    fn erf(self) -> Self {
        const ONE_BEYOND: f32 = 3.832_507; // from here on, erf(x) rounds to 1 in f32
        let x = self.clamp(-ONE_BEYOND, ONE_BEYOND);
        let s = x * x;
        let p = -2.726_142_3e-10_f32;
        let p = p.mul_add(s, 2.770_681_4e-8);
        let p = p.mul_add(s, -2.101_024e-6);
        let p = p.mul_add(s, -5.692_506_5e-5);
        let p = p.mul_add(s, -7.349_906_3e-4);
        let p = p.mul_add(s, -2.954_6e-3);
        let p = p.mul_add(s, -1.609_603_3e-2);
        let q = -1.456_607_2e-5_f32;
        let q = q.mul_add(s, -2.133_740_6e-4);
        let q = q.mul_add(s, -1.682_827e-3);
        let q = q.mul_add(s, -7.373_329e-3);
        let q = q.mul_add(s, -1.426_473_9e-2);
        if self.abs() >= ONE_BEYOND { self.signum() } else { x * p / q }
    }
}

impl Float for f64 {
    same_for_both!(f64, F64);

    fn exp(self) -> Self {
        self.exp()
    }
    fn erf(self) -> Self {
        candle_core::cpu::erf::erf_f64(self)
    }
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
