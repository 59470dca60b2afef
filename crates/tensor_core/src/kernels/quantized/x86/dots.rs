//! Dot products of one row of W with a few rows of x; all sums stay in vectors until the end of the
//! row.

use std::arch::x86_64::__m256;

use pulp::cast;

use super::blocks::Blocks;
use super::vectors::Vectors;
use crate::kernels::quantized::activations::Rows;
use crate::kernels::quantized::block_dots::{BlockDots, Row};
use crate::kernels::quantized::format::{Format, ZeroPoint};

impl<F: Blocks, V: Vectors> BlockDots<F> for V {
    #[inline(always)]
    fn scales(self, blocks: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
        let done = F::vector_scales(self, blocks, scales, offsets);
        let groups = done * (F::BLOCK_SIZE / F::GROUP_SIZE);
        F::scales(&blocks[done * F::BLOCK_BYTES..], &mut scales[groups..], &mut offsets[groups..]);
    }

    #[inline(always)]
    fn dots<const R: usize>(self, w: Row<'_>, x: &Rows<'_, R>, scratch: &mut [f32]) -> [f32; R] {
        // Blocks alternate between four sums, as a multiply-add has a latency of four cycles.
        let mut sums = [[self.avx()._mm256_setzero_ps(); R]; 4];
        let padded = x.scales[0].len();
        for i in 0..R {
            if !matches!(F::ZERO_POINT, ZeroPoint::Fixed(0)) {
                sums[1][i] = offset_sum(self, &w.offsets[..padded], x.sums[i], x.mask);
            }
            let products = scratch[i * padded..][..padded].as_chunks_mut::<8>().0;
            let scales = w.scales.as_chunks::<8>().0.iter().zip(x.scales[i].as_chunks::<8>().0);
            for (product, (&a, &b)) in products.iter_mut().zip(scales) {
                *product = cast(self.avx()._mm256_mul_ps(cast(a), cast(b)));
            }
        }
        let scales: [&[f32]; R] = std::array::from_fn(|i| &scratch[i * padded..][..x.groups]);
        let quants: [&[[i8; 32]]; R] = x.quants.map(|quants| quants.as_chunks().0);
        let (parts, groups) = (F::BLOCK_SIZE / 32, F::BLOCK_SIZE / F::GROUP_SIZE);
        let mut done = 0;
        if R <= 2 && parts == 1 {
            for w in w.blocks.chunks_exact(4 * F::BLOCK_BYTES) {
                let quants = quants.map(|quants| quants[done..].first_chunk::<4>());
                let scales = scales.map(|scales| scales[done..].first_chunk::<4>());
                for i in 0..4 {
                    let quants = quants.map(|quants| &quants.expect("as many blocks as w")[i..=i]);
                    let scales = scales.map(|scales| &scales.expect("as many blocks as w")[i..=i]);
                    let w = &w[i * F::BLOCK_BYTES..][..F::BLOCK_BYTES];
                    sums[i] = add_block::<F, V, R>(self, w, quants, scales, sums[i]);
                }
                done += 4;
            }
        }
        for (i, w) in w.blocks[done * F::BLOCK_BYTES..].chunks_exact(F::BLOCK_BYTES).enumerate() {
            let quants = quants.map(|quants| &quants[(done + i) * parts..][..parts]);
            let scales = scales.map(|scales| &scales[(done + i) * groups..][..groups]);
            sums[0] = add_block::<F, V, R>(self, w, quants, scales, sums[0]);
        }
        let mut y = [0.; R];
        for (i, y) in y.iter_mut().enumerate() {
            let add = |a, b| self.avx()._mm256_add_ps(a, b);
            *y = horizontal_sum(add(add(sums[0][i], sums[1][i]), add(sums[2][i], sums[3][i])));
        }
        y
    }
}

/// Sum of the terms with the offsets.
#[inline(always)]
fn offset_sum<V: Vectors>(v: V, offsets: &[f32], x_sums: &[f32], mask: [u32; 8]) -> __m256 {
    let (&last, offsets) = offsets.as_chunks::<8>().0.split_last().expect("a group");
    let (&last_sum, x_sums) = x_sums.as_chunks::<8>().0.split_last().expect("a group");
    let last = v.avx()._mm256_and_ps(cast(last), cast(mask)); // without the groups of the next row
    let mut sum = v.avx()._mm256_mul_ps(last, cast(last_sum));
    for (&offsets, &x_sums) in offsets.iter().zip(x_sums) {
        sum = v.fma()._mm256_fmadd_ps(cast(offsets), cast(x_sums), sum);
    }
    sum
}

/// Adds to `sums` the products of a block of W with the corresponding blocks of x, scaled by the
/// products of their scales.
#[inline(always)]
fn add_block<F: Blocks, V: Vectors, const R: usize>(
    v: V,
    w: &[u8],
    x: [&[[i8; 32]]; R],
    scales: [&[f32]; R],
    sums: [__m256; R],
) -> [__m256; R] {
    let mut sums = [sums, [v.avx()._mm256_setzero_ps(); R]]; // alternating, to hide the latency
    let vectors = F::vectors(v, w);
    for part in 0..F::BLOCK_SIZE / 32 {
        let q = vectors.as_ref()[part];
        let magnitude = v.avx2()._mm256_abs_epi8(q);
        for i in 0..R {
            let p = cast(x[i][part]);
            let dot = match F::ZERO_POINT {
                // q may be negative here, but `dot` needs q ≥ 0: move the sign to p.
                ZeroPoint::Fixed(0) => v.dot(magnitude, v.avx2()._mm256_sign_epi8(p, q)),
                _ => v.dot(q, p),
            };
            let scale = part_scale::<F, V>(v, scales[i], part);
            let sum = &mut sums[part % 2][i];
            *sum = v.fma()._mm256_fmadd_ps(v.avx()._mm256_cvtepi32_ps(dot), scale, *sum);
        }
    }
    let [mut even, odd] = sums;
    if F::BLOCK_SIZE > 32 {
        for i in 0..R {
            even[i] = v.avx()._mm256_add_ps(even[i], odd[i]);
        }
    }
    even
}

/// Scale of the group of each element of a part.
#[inline(always)]
fn part_scale<F: Format, V: Vectors>(v: V, scales: &[f32], part: usize) -> __m256 {
    let every = |i: usize| v.avx()._mm256_set1_ps(scales[i]);
    match F::GROUP_SIZE {
        32 => every(part),
        _ => v.avx()._mm256_blend_ps::<0xf0>(every(2 * part), every(2 * part + 1)),
    }
}

#[inline(always)]
fn horizontal_sum(sum: __m256) -> f32 {
    let [low, high]: [[f32; 4]; 2] = cast(sum);
    let x: [f32; 4] = std::array::from_fn(|i| low[i] + high[i]);
    (x[0] + x[2]) + (x[1] + x[3])
}
