//! Unpacking of blocks into vectors of 32 integers, and of eight scales at a time.

use std::arch::x86_64::{__m128i, __m256, __m256i};

use pulp::cast;

use super::vectors::Vectors;
use crate::kernels::quantized::format::Format;
use crate::kernels::quantized::layouts::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q6K, Q8_0};

/// Format whose blocks are unpacked into vectors.
pub(crate) trait Blocks: Format {
    /// Vectors of 32 integers each.
    type Vectors: AsRef<[__m256i]>;

    /// Integers of a block.
    fn vectors<V: Vectors>(v: V, block: &[u8]) -> Self::Vectors;

    /// Vectorized [`Format::scales`] for as many of the first blocks as fill whole vectors; returns
    /// their number.
    #[inline(always)]
    fn vector_scales<V: Vectors>(_: V, _: &[u8], _: &mut [f32], _: &mut [f32]) -> usize {
        0
    }
}

/// Scales and offsets of blocks of `N` bytes that begin with the scale and, in one format, the
/// offset.
#[inline(always)]
fn scales_in_front<V: Vectors, const N: usize>(
    v: V,
    blocks: &[u8],
    scales: &mut [f32],
    offsets: &mut [f32],
    offset: impl Fn(__m256, __m256) -> __m256,
) -> usize {
    let eights = blocks.as_chunks::<N>().0.as_chunks::<8>().0;
    let both = scales.as_chunks_mut::<8>().0.iter_mut().zip(offsets.as_chunks_mut::<8>().0);
    for (blocks, (scales, offsets)) in eights.iter().zip(both) {
        let word = |i: usize| i32::from_le_bytes(*blocks[i].first_chunk().expect("longer blocks"));
        let [a, b, c, d] = [0, 1, 2, 3].map(word);
        let [e, f, g, h] = [4, 5, 6, 7].map(word);
        let words = v.avx()._mm256_setr_epi32(a, b, c, d, e, f, g, h);
        // Move the low halves of all words to the front and the high halves behind them.
        const LOW_THEN_HIGH: [u8; 16] = [0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15];
        let halves = v.avx2()._mm256_shuffle_epi8(words, cast([LOW_THEN_HIGH, LOW_THEN_HIGH]));
        let [first, second]: [__m128i; 2] =
            cast(v.avx2()._mm256_permute4x64_epi64::<0b11_01_10_00>(halves));
        let scale = v.f16_to_f32(first);
        *scales = cast(scale);
        *offsets = cast(offset(scale, v.f16_to_f32(second)));
    }
    8 * eights.len()
}

/// 32 bytes from `start` on.
#[inline(always)]
fn load(bytes: &[u8], start: usize) -> __m256i {
    let bytes: [u8; 32] =
        *bytes[start..].first_chunk().expect("a block is as long as its format says");
    cast(bytes)
}

/// Low nibbles of 16 bytes, then the high ones.
#[inline(always)]
fn nibbles<V: Vectors>(v: V, block: &[u8], start: usize) -> __m256i {
    let bytes: [u8; 16] = *block[start..].first_chunk().expect("as long as the format says");
    let twice = v.avx2()._mm256_broadcastsi128_si256(cast(bytes));
    let shift: __m256i = cast([0, 0, 0, 0, 4, 4, 4, 4]);
    low_bits(v, v.avx2()._mm256_srlv_epi32(twice, shift), 15)
}

/// 32 integers of five bits: a word of their high bits from `start` on, then 16 bytes with the low
/// four bits.
#[inline(always)]
fn five_bits<V: Vectors>(v: V, block: &[u8], start: usize) -> __m256i {
    // Byte i of the vector gets byte i / 8 of the word, and keeps bit i % 8.
    const BYTE: [u64; 4] = [0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303];
    const BIT: [u64; 4] = [0x8040_2010_0804_0201; 4];
    let word: [u8; 4] = *block[start..].first_chunk().expect("as long as the format says");
    let word = v.avx()._mm256_set1_epi32(i32::from_le_bytes(word));
    let bytes = v.avx2()._mm256_shuffle_epi8(word, cast(BYTE));
    let bits = v.avx2()._mm256_and_si256(bytes, cast(BIT));
    let is_set = v.avx2()._mm256_cmpeq_epi8(bits, cast(BIT)); // all ones, or 0
    let high = low_bits(v, is_set, 16);
    v.avx2()._mm256_or_si256(nibbles(v, block, start + 4), high)
}

impl Blocks for Q8_0 {
    type Vectors = [__m256i; 1];

    #[inline(always)]
    fn vectors<V: Vectors>(_: V, block: &[u8]) -> Self::Vectors {
        [load(block, 2)]
    }

    #[inline(always)]
    fn vector_scales<V: Vectors>(v: V, w: &[u8], scales: &mut [f32], offsets: &mut [f32]) -> usize {
        scales_in_front::<V, { Self::BLOCK_BYTES }>(v, w, scales, offsets, |_, _| {
            v.avx()._mm256_setzero_ps()
        })
    }
}

impl Blocks for Q4_0 {
    type Vectors = [__m256i; 1];

    #[inline(always)]
    fn vectors<V: Vectors>(v: V, block: &[u8]) -> Self::Vectors {
        [nibbles(v, block, 2)]
    }

    #[inline(always)]
    fn vector_scales<V: Vectors>(v: V, w: &[u8], scales: &mut [f32], offsets: &mut [f32]) -> usize {
        scales_in_front::<V, { Self::BLOCK_BYTES }>(v, w, scales, offsets, |scale, _| {
            v.avx()._mm256_mul_ps(scale, v.avx()._mm256_set1_ps(-8.))
        })
    }
}

impl Blocks for Q4_1 {
    type Vectors = [__m256i; 1];

    #[inline(always)]
    fn vectors<V: Vectors>(v: V, block: &[u8]) -> Self::Vectors {
        [nibbles(v, block, 4)]
    }

    #[inline(always)]
    fn vector_scales<V: Vectors>(v: V, w: &[u8], scales: &mut [f32], offsets: &mut [f32]) -> usize {
        scales_in_front::<V, { Self::BLOCK_BYTES }>(v, w, scales, offsets, |_, offset| offset)
    }
}

impl Blocks for Q5_0 {
    type Vectors = [__m256i; 1];

    #[inline(always)]
    fn vectors<V: Vectors>(v: V, block: &[u8]) -> Self::Vectors {
        [five_bits(v, block, 2)]
    }

    #[inline(always)]
    fn vector_scales<V: Vectors>(v: V, w: &[u8], scales: &mut [f32], offsets: &mut [f32]) -> usize {
        scales_in_front::<V, { Self::BLOCK_BYTES }>(v, w, scales, offsets, |scale, _| {
            v.avx()._mm256_mul_ps(scale, v.avx()._mm256_set1_ps(-16.))
        })
    }
}

impl Blocks for Q5_1 {
    type Vectors = [__m256i; 1];

    #[inline(always)]
    fn vectors<V: Vectors>(v: V, block: &[u8]) -> Self::Vectors {
        [five_bits(v, block, 4)]
    }

    #[inline(always)]
    fn vector_scales<V: Vectors>(v: V, w: &[u8], scales: &mut [f32], offsets: &mut [f32]) -> usize {
        scales_in_front::<V, { Self::BLOCK_BYTES }>(v, w, scales, offsets, |_, offset| offset)
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

/// Bits of `mask` in each byte.
#[inline(always)]
fn low_bits<V: Vectors>(v: V, x: __m256i, mask: i8) -> __m256i {
    v.avx2()._mm256_and_si256(x, v.avx()._mm256_set1_epi8(mask))
}
