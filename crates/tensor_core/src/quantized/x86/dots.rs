//! One row of W with a few rows of x, all sums in vectors until the row ends.

use std::arch::x86_64::__m256;

use pulp::cast;

use super::{Blocks, Vectors};
use crate::quantized::activations::Rows;
use crate::quantized::format::{Format, Zero};
use crate::quantized::small_batch::{Dots, Row};

impl<F: Blocks, V: Vectors> Dots<F> for V {
    #[inline(always)]
    fn scales(self, blocks: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
        let done = F::vector_scales(self, blocks, scales, offsets);
        let groups = done * (F::NUMBERS / F::GROUP);
        F::scales(&blocks[done * F::BYTES..], &mut scales[groups..], &mut offsets[groups..]);
    }

    #[inline(always)]
    fn dots<const R: usize>(self, w: Row<'_>, x: &Rows<'_, R>, scratch: &mut [f32]) -> [f32; R] {
        // Blocks take turns with four sums, as a multiply-add is only done four cycles later. R rows have R sums anyway.
        let mut sums = [[self.avx()._mm256_setzero_ps(); R]; 4];
        let padded = x.scales[0].len();
        for i in 0..R {
            if !matches!(F::ZERO, Zero::At(0)) {
                sums[1][i] = of_offsets(self, &w.offsets[..padded], x.sums[i], x.mask);
            }
            let products = scratch[i * padded..][..padded].as_chunks_mut::<8>().0;
            let scales = w.scales.as_chunks::<8>().0.iter().zip(x.scales[i].as_chunks::<8>().0);
            for (product, (&a, &b)) in products.iter_mut().zip(scales) {
                *product = cast(self.avx()._mm256_mul_ps(cast(a), cast(b)));
            }
        }
        let scales: [&[f32]; R] = std::array::from_fn(|i| &scratch[i * padded..][..x.groups]);
        let quants: [&[[i8; 32]]; R] = x.quants.map(|quants| quants.as_chunks().0);
        let (parts, groups) = (F::NUMBERS / 32, F::NUMBERS / F::GROUP);
        let mut done = 0;
        if R <= 2 && parts == 1 {
            for w in w.blocks.chunks_exact(4 * F::BYTES) {
                let quants = quants.map(|quants| quants[done..].first_chunk::<4>());
                let scales = scales.map(|scales| scales[done..].first_chunk::<4>());
                for i in 0..4 {
                    let quants = quants.map(|quants| &quants.expect("as many blocks as w")[i..=i]);
                    let scales = scales.map(|scales| &scales.expect("as many blocks as w")[i..=i]);
                    let w = &w[i * F::BYTES..][..F::BYTES];
                    sums[i] = add_block::<F, V, R>(self, w, quants, scales, sums[i]);
                }
                done += 4;
            }
        }
        for (i, w) in w.blocks[done * F::BYTES..].chunks_exact(F::BYTES).enumerate() {
            let quants = quants.map(|quants| &quants[(done + i) * parts..][..parts]);
            let scales = scales.map(|scales| &scales[(done + i) * groups..][..groups]);
            sums[0] = add_block::<F, V, R>(self, w, quants, scales, sums[0]);
        }
        let mut y = [0.; R];
        for (i, y) in y.iter_mut().enumerate() {
            let add = |a, b| self.avx()._mm256_add_ps(a, b);
            *y = total(add(add(sums[0][i], sums[1][i]), add(sums[2][i], sums[3][i])));
        }
        y
    }
}

/// The offsets' part of the sum.
#[inline(always)]
fn of_offsets<V: Vectors>(v: V, offsets: &[f32], of_x: &[f32], mask: [u32; 8]) -> __m256 {
    let (&last, offsets) = offsets.as_chunks::<8>().0.split_last().expect("a group");
    let (&of_last, of_x) = of_x.as_chunks::<8>().0.split_last().expect("a group");
    let last = v.avx()._mm256_and_ps(cast(last), cast(mask)); // not what belongs to the next row
    let mut sum = v.avx()._mm256_mul_ps(last, cast(of_last));
    for (&offsets, &of_x) in offsets.iter().zip(of_x) {
        sum = v.fma()._mm256_fmadd_ps(cast(offsets), cast(of_x), sum);
    }
    sum
}

/// `sums` and a block of W with the numbers of x that it meets, by the products of their scales.
#[inline(always)]
fn add_block<F: Blocks, V: Vectors, const R: usize>(
    v: V,
    w: &[u8],
    x: [&[[i8; 32]]; R],
    scales: [&[f32]; R],
    sums: [__m256; R],
) -> [__m256; R] {
    let mut sums = [sums, [v.avx()._mm256_setzero_ps(); R]]; // taking turns
    let vectors = F::vectors(v, w);
    for part in 0..F::NUMBERS / 32 {
        let q = vectors.as_ref()[part];
        let magnitude = v.avx2()._mm256_abs_epi8(q);
        for i in 0..R {
            let p = cast(x[i][part]);
            let dot = match F::ZERO {
                // q is of either sign here.
                Zero::At(0) => v.dot(magnitude, v.avx2()._mm256_sign_epi8(p, q)),
                _ => v.dot(q, p),
            };
            let scale = spread::<F, V>(v, scales[i], part);
            let sum = &mut sums[part % 2][i];
            *sum = v.fma()._mm256_fmadd_ps(v.avx()._mm256_cvtepi32_ps(dot), scale, *sum);
        }
    }
    let [mut even, odd] = sums;
    if F::NUMBERS > 32 {
        for i in 0..R {
            even[i] = v.avx()._mm256_add_ps(even[i], odd[i]);
        }
    }
    even
}

/// The scale of part i in every place that belongs to it.
#[inline(always)]
fn spread<F: Format, V: Vectors>(v: V, scales: &[f32], part: usize) -> __m256 {
    let every = |i: usize| v.avx()._mm256_set1_ps(scales[i]);
    match F::GROUP {
        32 => every(part),
        _ => v.avx()._mm256_blend_ps::<0xf0>(every(2 * part), every(2 * part + 1)),
    }
}

#[inline(always)]
fn total(sum: __m256) -> f32 {
    let [low, high]: [[f32; 4]; 2] = cast(sum);
    let x: [f32; 4] = std::array::from_fn(|i| low[i] + high[i]);
    (x[0] + x[2]) + (x[1] + x[3])
}
