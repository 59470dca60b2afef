//! Blockwise dynamic quantization: numbers of an optimizer's state in 8 bits each (Dettmers et al.,
//! <https://arxiv.org/abs/2110.02861>).
//!
//! ```text
//! block    256 neighbors and their largest magnitude a; a number x is stored as the code whose
//!          value is nearest to x / a
//! codes    256 values from -1 to 1, or from 0 to 1, dense near 0: seven decades, and the larger
//!          the decade, the more fractions it has
//! ```
//!
//! An outlier costs precision in its own block alone, and the codes keep numbers that are a million
//! times smaller than the largest. The paper has blocks of 2,048; bitsandbytes has had 256 since
//! version 0.43, and so have we. One difference: a positive number of an unsigned block never gets
//! the code of 0. It is a second moment, by whose root a step is divided.

use std::sync::LazyLock;

/// Numbers per block.
pub(crate) const BLOCK: usize = 256;
/// Decades of the codes below 1.
const DECADES: i32 = 7;
/// Bits of an f32 below those that choose the first code to compare with.
const LOW_BITS: u32 = 19;

/// Signed codes, for first moments.
pub(crate) static SIGNED: LazyLock<CodeMap> = LazyLock::new(|| CodeMap::new(Sign::Both));
/// Codes of numbers from 0 on, for second moments.
pub(crate) static UNSIGNED: LazyLock<CodeMap> = LazyLock::new(|| CodeMap::new(Sign::Positive));

#[derive(Clone, Copy, PartialEq)]
enum Sign {
    Both,
    Positive,
}

/// Values of the 256 codes.
pub(crate) struct CodeMap {
    /// Values, ascending.
    values: [f32; 256],
    /// Means of neighboring values, between which a number has the code of the upper one.
    bounds: [f32; 256],
    /// Code of the smallest number with these upper bits.
    first_codes: Vec<u8>,
    /// Smallest code of a positive number.
    min_positive: u8,
}

impl CodeMap {
    fn new(sign: Sign) -> Self {
        let mut all = vec![0., 1.];
        for decade in 0..DECADES {
            // Midpoints of 2^i (signed) or 2^(i + 1) equal parts of [0.1, 1], times 10^(i − 6).
            let n = 1usize << if sign == Sign::Both { decade } else { decade + 1 };
            let midpoints = (0..n).map(|i| 0.1 + 0.9 * (i as f64 + 0.5) / n as f64);
            let scale = 10f64.powi(decade - (DECADES - 1));
            for value in midpoints.map(|midpoint| scale * midpoint) {
                all.push(value);
                if sign == Sign::Both {
                    all.push(-value);
                }
            }
        }
        all.sort_by(f64::total_cmp);
        let values: [f32; 256] = std::array::from_fn(|code| all[code] as f32);
        let bound = |code: usize| (all[code] + all[(code + 1).min(255)]) / 2.;
        let mut bounds = std::array::from_fn(|code| bound(code) as f32);
        bounds[255] = f32::INFINITY;
        let first_codes = (0..1u32 << (32 - LOW_BITS)).map(|upper| {
            let bits = upper << LOW_BITS;
            // Of negative numbers, the one with the largest bits is the smallest.
            let bits = if bits >> 31 == 1 { bits | ((1 << LOW_BITS) - 1) } else { bits };
            let smallest = f32::from_bits(bits);
            bounds.iter().take_while(|&&bound| bound < smallest).count().min(255) as u8
        });
        let first_codes = first_codes.collect();
        let min_positive = if sign == Sign::Both { 0 } else { 1 };
        Self { values, bounds, first_codes, min_positive }
    }

    /// Code of `x`, which is from -1 to 1.
    fn code(&self, x: f32) -> u8 {
        let mut code = self.first_codes[(x.to_bits() >> LOW_BITS) as usize];
        while x > self.bounds[usize::from(code)] {
            code += 1;
        }
        code
    }

    /// Value of each of `codes`, times `absmax`, into `numbers`.
    pub(crate) fn dequantize(&self, codes: &[u8], absmax: f32, numbers: &mut [f32]) {
        for (number, &code) in numbers.iter_mut().zip(codes) {
            *number = self.values[usize::from(code)] * absmax;
        }
    }

    /// Writes the codes of `numbers`, at most a block; returns their largest magnitude.
    pub(crate) fn quantize(&self, numbers: &[f32], codes: &mut [u8]) -> f32 {
        let absmax = numbers.iter().fold(0f32, |max, x| max.max(x.abs()));
        for (code, &number) in codes.iter_mut().zip(numbers) {
            *code = self.code(if absmax > 0. { number / absmax } else { 0. });
            if number > 0. {
                *code = (*code).max(self.min_positive);
            }
        }
        absmax
    }
}
