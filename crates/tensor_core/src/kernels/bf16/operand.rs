//! Numbers that a bf16 product takes: f32, which it rounds, and bf16.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
#[cfg(target_arch = "x86_64")]
use std::mem::transmute;

use half::bf16;

use crate::kernels::{GRAIN, build, vectorized};

/// Number of an operand of a bf16 product.
pub(crate) trait Operand: Copy + Send + Sync + 'static {
    /// 0.
    #[cfg(target_arch = "x86_64")]
    const ZERO: Self;

    /// The number rounded to bf16, to even if it lies halfway, as the upper 16 bits of an f32. NaN
    /// stays NaN.
    fn upper_bits(self) -> u32;

    /// 32 numbers as bf16: 16 pairs of neighbors.
    ///
    /// # Safety
    /// The CPU must have AVX512-BF16.
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    unsafe fn pairs(numbers: &[Self; 32]) -> __m512i;

    /// 32 numbers as bf16: 16 pairs of a number of `even` and the one of `odd` at the same place.
    ///
    /// # Safety
    /// The CPU must have AVX512-BF16.
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    unsafe fn interleaved(even: &[Self; 16], odd: &[Self; 16]) -> __m512i;
}

impl Operand for f32 {
    #[cfg(target_arch = "x86_64")]
    const ZERO: Self = 0.;

    #[inline(always)]
    fn upper_bits(self) -> u32 {
        let bits = self.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        let quiet_nan = bits | 0x40_0000; // its upper bits alone could be those of infinity
        (if self.is_nan() { quiet_nan } else { rounded }) & 0xffff_0000
    }

    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn pairs(numbers: &[Self; 32]) -> __m512i {
        // SAFETY: both are 1,024 bits, all of which are valid; the CPU has the instructions.
        unsafe {
            let [first, last] = transmute::<[Self; 32], [__m512; 2]>(*numbers);
            rounded_32(first, last)
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn interleaved(even: &[Self; 16], odd: &[Self; 16]) -> __m512i {
        // SAFETY: as above.
        unsafe {
            let [even, odd] = transmute::<[[Self; 16]; 2], [__m512; 2]>([*even, *odd]);
            interleaved_halves(rounded_32(even, odd))
        }
    }
}

impl Operand for bf16 {
    #[cfg(target_arch = "x86_64")]
    const ZERO: Self = Self::ZERO;

    #[inline(always)]
    fn upper_bits(self) -> u32 {
        u32::from(self.to_bits()) << 16
    }

    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn pairs(numbers: &[Self; 32]) -> __m512i {
        // SAFETY: both are 512 bits, all of which are valid.
        unsafe { transmute::<[Self; 32], __m512i>(*numbers) }
    }

    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn interleaved(even: &[Self; 16], odd: &[Self; 16]) -> __m512i {
        // SAFETY: as above, and the CPU has the instructions.
        unsafe { interleaved_halves(transmute::<[[Self; 16]; 2], __m512i>([*even, *odd])) }
    }
}

/// 32 numbers as bf16, rounded as [`Operand::upper_bits`] does, but for those below the smallest
/// normal number, which become 0.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn rounded_32(first: __m512, last: __m512) -> __m512i {
    // SAFETY: both are 512 bits, all of which are valid.
    #[allow(unsafe_code)]
    unsafe {
        transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(last, first))
    }
}

/// 16 numbers of 16 bits and 16 others, as 16 pairs.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn interleaved_halves(numbers: __m512i) -> __m512i {
    const ORDER: [u16; 32] = {
        let mut order = [0; 32];
        let mut i = 0;
        while i < 32 {
            order[i] = (i / 2 + i % 2 * 16) as u16;
            i += 1;
        }
        order
    };
    // SAFETY: both are 512 bits, all of which are valid.
    #[allow(unsafe_code)]
    let order = unsafe { transmute::<[u16; 32], __m512i>(ORDER) };
    _mm512_permutexvar_epi16(order, numbers)
}

/// `numbers` rounded to bf16, as f32.
pub(super) fn rounded<T: Operand>(numbers: &[T]) -> Vec<f32> {
    let [rounded] = build([(numbers.len(), GRAIN)], |part, [out]| {
        let numbers = &numbers[part * GRAIN..][..out.len()];
        [vectorized!(out.fill_each(|i| f32::from_bits(numbers[i].upper_bits())))]
    });
    rounded
}

/// `numbers` rounded to bf16, written to `out`, which is as long.
#[inline(always)]
pub(super) fn round_into<T: Operand>(numbers: &[T], out: &mut [f32]) {
    for (out, number) in out.iter_mut().zip(numbers) {
        *out = f32::from_bits(number.upper_bits());
    }
}
