//! Products of bytes by AVX2 and AVX-512 VNNI: 32 numbers of a group at a time, all sums in one vector until the row ends.

use std::arch::x86_64::{__m128i, __m256, __m256i};

use pulp::cast;

use super::few_rows::Rows;
use super::format::{Format, Q4_0, Q4_1, Q4K, Q6K, Q8_0};

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
    /// Calls `each` with every 32 whole numbers of a block.
    fn vectors<V: Vectors>(v: V, block: &[u8], each: impl FnMut(usize, __m256i));
}

/// The 32 bytes from `start` on.
#[inline(always)]
fn load(bytes: &[u8], start: usize) -> __m256i {
    let bytes: [u8; 32] =
        *bytes[start..].first_chunk().expect("a block is as long as its format says");
    cast(bytes)
}

/// The low and the high halves of 16 bytes.
#[inline(always)]
fn nibbles<V: Vectors>(v: V, bytes: &[u8], start: usize) -> __m256i {
    let bytes: [u8; 16] =
        *bytes[start..].first_chunk().expect("a block is as long as its format says");
    let low: __m128i = cast(bytes);
    let both = v.avx2()._mm256_inserti128_si256::<1>(
        v.avx()._mm256_castsi128_si256(low),
        cast(u128::from_le_bytes(bytes) >> 4),
    );
    v.avx2()._mm256_and_si256(both, v.avx()._mm256_set1_epi8(15))
}

impl Blocks for Q8_0 {
    #[inline(always)]
    fn vectors<V: Vectors>(_: V, block: &[u8], mut each: impl FnMut(usize, __m256i)) {
        each(0, load(block, 2));
    }
}

impl Blocks for Q4_0 {
    #[inline(always)]
    fn vectors<V: Vectors>(v: V, block: &[u8], mut each: impl FnMut(usize, __m256i)) {
        each(0, nibbles(v, block, 2));
    }
}

impl Blocks for Q4_1 {
    #[inline(always)]
    fn vectors<V: Vectors>(v: V, block: &[u8], mut each: impl FnMut(usize, __m256i)) {
        each(0, nibbles(v, block, 4));
    }
}

impl Blocks for Q4K {
    #[inline(always)]
    fn vectors<V: Vectors>(v: V, block: &[u8], mut each: impl FnMut(usize, __m256i)) {
        let fifteen = v.avx()._mm256_set1_epi8(15);
        for i in 0..4 {
            let both = load(block, 16 + 32 * i);
            each(2 * i, v.avx2()._mm256_and_si256(both, fifteen));
            let high = v.avx2()._mm256_srli_epi16::<4>(both);
            each(2 * i + 1, v.avx2()._mm256_and_si256(high, fifteen));
        }
    }
}

impl Blocks for Q6K {
    #[inline(always)]
    fn vectors<V: Vectors>(v: V, block: &[u8], mut each: impl FnMut(usize, __m256i)) {
        let avx2 = v.avx2();
        let (fifteen, top) = (v.avx()._mm256_set1_epi8(15), v.avx()._mm256_set1_epi8(0x30));
        for half in 0..2 {
            let high = load(block, 128 + 32 * half);
            let low = [load(block, 64 * half), load(block, 64 * half + 32)];
            let mut put = |i, low, high| {
                let (low, high) =
                    (avx2._mm256_and_si256(low, fifteen), avx2._mm256_and_si256(high, top));
                each(4 * half + i, avx2._mm256_or_si256(low, high));
            };
            put(0, low[0], avx2._mm256_slli_epi16::<4>(high));
            put(1, low[1], avx2._mm256_slli_epi16::<2>(high));
            put(2, avx2._mm256_srli_epi16::<4>(low[0]), high);
            put(3, avx2._mm256_srli_epi16::<4>(low[1]), avx2._mm256_srli_epi16::<2>(high));
        }
    }
}

/// One row of W with R rows of x.
#[inline(always)]
pub(super) fn dots<F: Blocks, V: Vectors, const R: usize>(
    v: V,
    w: &[u8],
    x: &Rows<'_, R>,
    scratch: &mut [f32],
) -> [f32; R] {
    let padded = x.scales[0].len();
    let (scales, rest) = scratch.split_at_mut(padded);
    let (offsets, both) = rest.split_at_mut(padded);
    F::scales(w, &mut scales[..x.groups], &mut offsets[..x.groups]);

    // The offsets' part of the sums, and the products of scales, eight at a time.
    let mut sums = [v.avx()._mm256_setzero_ps(); R];
    for (i, sum) in sums.iter_mut().enumerate() {
        let of_x = x.sums[i].as_chunks::<8>().0;
        for (offsets, of_x) in offsets.as_chunks::<8>().0.iter().zip(of_x) {
            *sum = v.fma()._mm256_fmadd_ps(cast(*offsets), cast(*of_x), *sum);
        }
        let both = both[i * padded..][..padded].iter_mut();
        both.zip(&*scales).zip(x.scales[i]).for_each(|((both, a), b)| *both = a * b);
    }

    let both: [&[f32]; R] = std::array::from_fn(|i| &both[i * padded..][..x.groups]);
    let of_x: [&[[i8; 32]]; R] = x.quants.map(|quants| quants.as_chunks().0);
    for (block, w) in w.chunks_exact(F::BYTES).enumerate() {
        F::vectors(v, w, |part, q| {
            let part = block * (F::NUMBERS / 32) + part;
            let magnitude = v.avx2()._mm256_abs_epi8(q);
            for i in 0..R {
                let p = cast(of_x[i][part]);
                let dot = if matches!(F::ZERO, super::format::Zero::At(0)) {
                    v.dot(magnitude, v.avx2()._mm256_sign_epi8(p, q)) // q is of either sign here
                } else {
                    v.dot(q, p)
                };
                let scale = spread::<F, V>(v, both[i], part);
                sums[i] = v.fma()._mm256_fmadd_ps(v.avx()._mm256_cvtepi32_ps(dot), scale, sums[i]);
            }
        });
    }
    sums.map(|sum| total(sum))
}

/// The scale of part i in every place that belongs to it.
#[inline(always)]
fn spread<F: Format, V: Vectors>(v: V, scales: &[f32], part: usize) -> __m256 {
    if F::GROUP == 32 {
        v.avx()._mm256_set1_ps(scales[part])
    } else {
        let [a, b] = [scales[2 * part], scales[2 * part + 1]];
        v.avx()._mm256_setr_ps(a, a, a, a, b, b, b, b)
    }
}

#[inline(always)]
fn total(sum: __m256) -> f32 {
    let x: [f32; 8] = cast(sum);
    ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
}
