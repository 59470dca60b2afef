//! Products of bytes by AVX2 and AVX-512 VNNI: 32 numbers of a group at a time, all sums in one vector until the row ends.

use std::arch::x86_64::{__m256, __m256i};

use pulp::cast;

use super::activations::Rows;
use super::few_rows::{Dots, Row};
use super::format::{Format, Q4_0, Q4_1, Q4K, Q6K, Q8_0, Zero};

pulp::simd_type! {
    /// Says that this CPU has AVX2.
    pub(crate) struct Avx2 { avx: "avx", avx2: "avx2", fma: "fma" }

    /// Says that this CPU has AVX-512 VNNI.
    pub(crate) struct Vnni {
        avx: "avx", avx2: "avx2", fma: "fma", f: "avx512f", vl: "avx512vl", vnni: "avx512vnni",
    }
}

/// What both have.
pub(super) trait Vectors: Copy {
    fn avx(self) -> pulp::core_arch::x86::Avx;
    fn avx2(self) -> pulp::core_arch::x86::Avx2;
    fn fma(self) -> pulp::core_arch::x86::Fma;

    /// Σ q p over each four numbers side by side, 0 ≤ q ≤ 128 and −127 ≤ p ≤ 127.
    fn dot(self, q: __m256i, p: __m256i) -> __m256i;
}

impl Vectors for Avx2 {
    #[inline(always)]
    fn avx(self) -> pulp::core_arch::x86::Avx {
        self.avx
    }
    #[inline(always)]
    fn avx2(self) -> pulp::core_arch::x86::Avx2 {
        self.avx2
    }
    #[inline(always)]
    fn fma(self) -> pulp::core_arch::x86::Fma {
        self.fma
    }

    #[inline(always)]
    fn dot(self, q: __m256i, p: __m256i) -> __m256i {
        let pairs = self.avx2._mm256_maddubs_epi16(q, p); // 2 · 128 · 127 < 2¹⁵: exact
        self.avx2._mm256_madd_epi16(pairs, self.avx._mm256_set1_epi16(1))
    }
}

impl Vectors for Vnni {
    #[inline(always)]
    fn avx(self) -> pulp::core_arch::x86::Avx {
        self.avx
    }
    #[inline(always)]
    fn avx2(self) -> pulp::core_arch::x86::Avx2 {
        self.avx2
    }
    #[inline(always)]
    fn fma(self) -> pulp::core_arch::x86::Fma {
        self.fma
    }

    #[inline(always)]
    fn dot(self, q: __m256i, p: __m256i) -> __m256i {
        let zero = self.avx._mm256_setzero_si256();
        // SAFETY: `self` says that this CPU has the instruction.
        #[allow(unsafe_code)]
        unsafe {
            std::arch::x86_64::_mm256_dpbusd_epi32(zero, q, p)
        }
    }
}

/// A format whose blocks become vectors.
pub(super) trait Blocks: Format {
    /// 32 whole numbers each.
    type Vectors: AsRef<[__m256i]>;

    /// Scale and offset of each group of blocks.
    #[inline(always)]
    fn vector_scales<V: Vectors>(_: V, blocks: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
        Self::scales(blocks, scales, offsets);
    }

    /// The whole numbers of a block.
    fn vectors<V: Vectors>(v: V, block: &[u8]) -> Self::Vectors;
}

/// The 32 bytes from `start` on.
#[inline(always)]
fn load(bytes: &[u8], start: usize) -> __m256i {
    let bytes: [u8; 32] =
        *bytes[start..].first_chunk().expect("a block is as long as its format says");
    cast(bytes)
}

/// The low halves of 16 bytes, then the high ones.
#[inline(always)]
fn nibbles<V: Vectors>(v: V, block: &[u8], start: usize) -> __m256i {
    let bytes: [u8; 16] = *block[start..].first_chunk().expect("as long as the format says");
    let twice = v.avx2()._mm256_broadcastsi128_si256(cast(bytes));
    let shift: __m256i = cast([0, 0, 0, 0, 4, 4, 4, 4]);
    low_bits(v, v.avx2()._mm256_srlv_epi32(twice, shift), 15)
}

impl Blocks for Q8_0 {
    type Vectors = [__m256i; 1];

    #[inline(always)]
    fn vectors<V: Vectors>(_: V, block: &[u8]) -> Self::Vectors {
        [load(block, 2)]
    }
}

impl Blocks for Q4_0 {
    type Vectors = [__m256i; 1];

    #[inline(always)]
    fn vectors<V: Vectors>(v: V, block: &[u8]) -> Self::Vectors {
        [nibbles(v, block, 2)]
    }
}

impl Blocks for Q4_1 {
    type Vectors = [__m256i; 1];

    #[inline(always)]
    fn vectors<V: Vectors>(v: V, block: &[u8]) -> Self::Vectors {
        [nibbles(v, block, 4)]
    }
}

impl Blocks for Q4K {
    type Vectors = [__m256i; 8];

    #[inline(always)]
    fn vectors<V: Vectors>(v: V, block: &[u8]) -> Self::Vectors {
        let mut vectors = [v.avx()._mm256_setzero_si256(); 8];
        for (i, pair) in vectors.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let both = load(block, 16 + 32 * i);
            let high = v.avx2()._mm256_srli_epi16::<4>(both);
            *pair = [low_bits(v, both, 15), low_bits(v, high, 15)];
        }
        vectors
    }
}

impl Blocks for Q6K {
    type Vectors = [__m256i; 8];

    #[inline(always)]
    fn vectors<V: Vectors>(v: V, block: &[u8]) -> Self::Vectors {
        let avx2 = v.avx2();
        let mut vectors = [v.avx()._mm256_setzero_si256(); 8];
        for (i, four) in vectors.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let [a, b] = [load(block, 64 * i), load(block, 64 * i + 32)];
            let low = [a, b, avx2._mm256_srli_epi16::<4>(a), avx2._mm256_srli_epi16::<4>(b)];
            let high = load(block, 128 + 32 * i);
            let high = [
                avx2._mm256_slli_epi16::<4>(high),
                avx2._mm256_slli_epi16::<2>(high),
                high,
                avx2._mm256_srli_epi16::<2>(high),
            ];
            for (q, (low, high)) in four.iter_mut().zip(low.into_iter().zip(high)) {
                *q = avx2._mm256_or_si256(low_bits(v, low, 15), low_bits(v, high, 0x30));
            }
        }
        vectors
    }
}

/// The bits of `mask` in each byte.
#[inline(always)]
fn low_bits<V: Vectors>(v: V, x: __m256i, mask: i8) -> __m256i {
    v.avx2()._mm256_and_si256(x, v.avx()._mm256_set1_epi8(mask))
}

impl<F: Blocks, V: Vectors> Dots<F> for V {
    #[inline(always)]
    fn scales(self, blocks: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
        F::vector_scales(self, blocks, scales, offsets);
    }

    #[inline(always)]
    fn dots<const R: usize>(self, w: Row<'_>, x: &Rows<'_, R>, scratch: &mut [f32]) -> [f32; R] {
        let v = self;
        let mut sums = [v.avx()._mm256_setzero_ps(); R];
        let padded = x.scales[0].len();
        let scales = w.scales[..padded].as_chunks::<8>().0;
        let (last, offsets) = w.offsets[..padded].as_chunks::<8>().0.split_last().expect("a group");
        let last = v.avx()._mm256_and_ps(cast(*last), cast(x.mask)); // not what belongs to the next row
        for (i, sum) in sums.iter_mut().enumerate() {
            // The products of scales, and the offsets' part of the sums, eight at a time.
            let of_x = x.scales[i].as_chunks::<8>().0;
            let products = scratch[i * padded..][..padded].as_chunks_mut::<8>().0;
            for ((product, &a), &b) in products.iter_mut().zip(scales).zip(of_x) {
                *product = cast(v.avx()._mm256_mul_ps(cast(a), cast(b)));
            }
            if !matches!(F::ZERO, Zero::At(0)) {
                let (&of_last, of_x) = x.sums[i].as_chunks::<8>().0.split_last().expect("a group");
                for (&offsets, &of_x) in offsets.iter().zip(of_x) {
                    *sum = v.fma()._mm256_fmadd_ps(cast(offsets), cast(of_x), *sum);
                }
                *sum = v.fma()._mm256_fmadd_ps(last, cast(of_last), *sum);
            }
        }
        let scales: [&[f32]; R] = std::array::from_fn(|i| &scratch[i * padded..][..x.groups]);
        let of_x: [&[[i8; 32]]; R] = x.quants.map(|quants| quants.as_chunks().0);
        let parts = F::NUMBERS / 32;
        for (block, w) in w.blocks.chunks_exact(F::BYTES).enumerate() {
            let vectors = F::vectors(v, w);
            for part in 0..parts {
                let q = vectors.as_ref()[part];
                let part = block * parts + part;
                let magnitude = v.avx2()._mm256_abs_epi8(q);
                for i in 0..R {
                    let p = cast(of_x[i][part]);
                    let dot = match F::ZERO {
                        // q is of either sign here
                        Zero::At(0) => v.dot(magnitude, v.avx2()._mm256_sign_epi8(p, q)),
                        _ => v.dot(q, p),
                    };
                    let scale = spread::<F, V>(v, scales[i], part);
                    sums[i] =
                        v.fma()._mm256_fmadd_ps(v.avx()._mm256_cvtepi32_ps(dot), scale, sums[i]);
                }
            }
        }
        sums.map(|sum| total(sum))
    }
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
