//! The formats of ggml, byte by byte.
//!
//! | format | weights | bytes | group | w |
//! |---|---|---|---|---|
//! | Q8_0 | 32 | 34 | 32 | d q, −128 ≤ q ≤ 127 |
//! | Q4_0 | 32 | 18 | 32 | d (q − 8), 0 ≤ q ≤ 15 |
//! | Q4_1 | 32 | 20 | 32 | d q + m, 0 ≤ q ≤ 15 |
//! | Q5_0 | 32 | 22 | 32 | d (q − 16), 0 ≤ q ≤ 31 |
//! | Q5_1 | 32 | 24 | 32 | d q + m, 0 ≤ q ≤ 31 |
//! | Q4_K | 256 | 144 | 32 | d s q − d' m, 0 ≤ q ≤ 15, 0 ≤ s, m ≤ 63 |
//! | Q6_K | 256 | 210 | 16 | d s (q − 32), 0 ≤ q ≤ 63, −128 ≤ s ≤ 127 |
//!
//! d, d' and the m of Q4_1 and Q5_1 are 16-bit floats. (Layouts: `ggml-common.h` of
//! <https://github.com/ggml-org/ggml>.)

use super::format::{Format, Precision, ZeroPoint};

pub(crate) struct Q8_0;
pub(crate) struct Q4_0;
pub(crate) struct Q4_1;
pub(crate) struct Q5_0;
pub(crate) struct Q5_1;
pub(crate) struct Q4K;
pub(crate) struct Q6K;

impl Format for Q8_0 {
    const BLOCK_SIZE: usize = 32;
    const BLOCK_BYTES: usize = 34; // d, q
    const ZERO_POINT: ZeroPoint = ZeroPoint::Fixed(0);
    const PRECISION: Precision = Precision::Int8WithResidual;

    #[inline(always)]
    fn scales(blocks: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
        for (scale, block) in scales.iter_mut().zip(blocks.as_chunks::<{ Self::BLOCK_BYTES }>().0) {
            *scale = half(block, 0);
        }
        offsets.fill(0.);
    }

    #[inline(always)]
    fn quants(block: &[u8], quants: &mut [i8]) {
        quants.iter_mut().zip(&block[2..34]).for_each(|(q, &byte)| *q = byte as i8);
    }
}

impl Format for Q4_0 {
    const BLOCK_SIZE: usize = 32;
    const BLOCK_BYTES: usize = 18; // d, q
    const ZERO_POINT: ZeroPoint = ZeroPoint::Fixed(8);

    #[inline(always)]
    fn scales(blocks: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
        for (scale, block) in scales.iter_mut().zip(blocks.as_chunks::<{ Self::BLOCK_BYTES }>().0) {
            *scale = half(block, 0);
        }
        offsets.iter_mut().zip(scales).for_each(|(offset, scale)| *offset = -8. * *scale);
    }

    #[inline(always)]
    fn quants(block: &[u8], quants: &mut [i8]) {
        nibbles::<16>(&block[2..], quants);
    }
}

impl Format for Q4_1 {
    const BLOCK_SIZE: usize = 32;
    const BLOCK_BYTES: usize = 20; // d, m, q
    const ZERO_POINT: ZeroPoint = ZeroPoint::PerGroup;

    #[inline(always)]
    fn scales(blocks: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
        let blocks = blocks.as_chunks::<{ Self::BLOCK_BYTES }>().0;
        for ((scale, offset), block) in scales.iter_mut().zip(offsets).zip(blocks) {
            *scale = half(block, 0);
            *offset = half(block, 2);
        }
    }

    #[inline(always)]
    fn quants(block: &[u8], quants: &mut [i8]) {
        nibbles::<16>(&block[4..], quants);
    }
}

impl Format for Q5_0 {
    const BLOCK_SIZE: usize = 32;
    const BLOCK_BYTES: usize = 22; // d, the high bit of each q, the low 4 bits
    const ZERO_POINT: ZeroPoint = ZeroPoint::Fixed(16);

    #[inline(always)]
    fn scales(blocks: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
        for (scale, block) in scales.iter_mut().zip(blocks.as_chunks::<{ Self::BLOCK_BYTES }>().0) {
            *scale = half(block, 0);
        }
        offsets.iter_mut().zip(scales).for_each(|(offset, scale)| *offset = -16. * *scale);
    }

    #[inline(always)]
    fn quants(block: &[u8], quants: &mut [i8]) {
        five_bits(&block[2..], quants);
    }
}

impl Format for Q5_1 {
    const BLOCK_SIZE: usize = 32;
    const BLOCK_BYTES: usize = 24; // d, m, the high bit of each q, the low 4 bits
    const ZERO_POINT: ZeroPoint = ZeroPoint::PerGroup;

    #[inline(always)]
    fn scales(blocks: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
        let blocks = blocks.as_chunks::<{ Self::BLOCK_BYTES }>().0;
        for ((scale, offset), block) in scales.iter_mut().zip(offsets).zip(blocks) {
            *scale = half(block, 0);
            *offset = half(block, 2);
        }
    }

    #[inline(always)]
    fn quants(block: &[u8], quants: &mut [i8]) {
        five_bits(&block[4..], quants);
    }
}

impl Format for Q4K {
    const BLOCK_SIZE: usize = 256;
    const BLOCK_BYTES: usize = 144; // d, d', 12 bytes of s and m, q
    const ZERO_POINT: ZeroPoint = ZeroPoint::PerGroup;

    #[inline(always)]
    fn scales(blocks: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
        let groups = scales.as_chunks_mut::<8>().0.iter_mut().zip(offsets.as_chunks_mut::<8>().0);
        for (block, (scales, offsets)) in
            blocks.as_chunks::<{ Self::BLOCK_BYTES }>().0.iter().zip(groups)
        {
            let (d, min_scale) = (half(block, 0), half(block, 2));
            let [s, m] = six_bits(block);
            for i in 0..8 {
                scales[i] = d * f32::from(s[i]);
                offsets[i] = -(min_scale * f32::from(m[i]));
            }
        }
    }

    #[inline(always)]
    fn quants(block: &[u8], quants: &mut [i8]) {
        for (bytes, quants) in block[16..144].chunks_exact(32).zip(quants.chunks_exact_mut(64)) {
            nibbles::<32>(bytes, quants);
        }
    }
}

impl Format for Q6K {
    const BLOCK_SIZE: usize = 256;
    const BLOCK_BYTES: usize = 210; // the low 4 bits of q, the high 2 bits, s, d
    const GROUP_SIZE: usize = 16;
    const ZERO_POINT: ZeroPoint = ZeroPoint::Fixed(32);
    const PRECISION: Precision = Precision::Int8WithResidual;

    #[inline(always)]
    fn scales(blocks: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
        let groups = scales.as_chunks_mut::<16>().0.iter_mut().zip(offsets.as_chunks_mut::<16>().0);
        for (block, (scales, offsets)) in
            blocks.as_chunks::<{ Self::BLOCK_BYTES }>().0.iter().zip(groups)
        {
            let d = half(block, 208);
            for i in 0..16 {
                scales[i] = d * f32::from(block[192 + i] as i8);
                offsets[i] = -32. * scales[i];
            }
        }
    }

    #[inline(always)]
    fn quants(block: &[u8], quants: &mut [i8]) {
        for (half, quants) in quants.as_chunks_mut::<128>().0.iter_mut().enumerate() {
            let (low, high) = (&block[64 * half..][..64], &block[128 + 32 * half..][..32]);
            for i in 0..32 {
                quants[i] = (low[i] & 15 | (high[i] & 3) << 4) as i8;
                quants[i + 32] = (low[i + 32] & 15 | (high[i] >> 2 & 3) << 4) as i8;
                quants[i + 64] = (low[i] >> 4 | (high[i] >> 4 & 3) << 4) as i8;
                quants[i + 96] = (low[i + 32] >> 4 | high[i] >> 6 << 4) as i8;
            }
        }
    }
}

/// The eight s and the eight m of a Q4_K block, six bits each. Those of the first four groups are
/// contiguous; those of the others are split into 4 and 2 bits. Decodes four at a time, as the
/// bytes of a word.
#[inline(always)]
fn six_bits(block: &[u8; Q4K::BLOCK_BYTES]) -> [[u8; 8]; 2] {
    let word =
        |start: usize| u32::from_le_bytes(*block[start..].first_chunk().expect("within the block"));
    let [a, b, c] = [word(4), word(8), word(12)];
    let top = |x: u32| (x >> 6 & 0x0303_0303) << 4;
    let s = [a & 0x3f3f_3f3f, c & 0x0f0f_0f0f | top(a)];
    let m = [b & 0x3f3f_3f3f, c >> 4 & 0x0f0f_0f0f | top(b)];
    [s, m].map(|[low, high]| (u64::from(low) | u64::from(high) << 32).to_le_bytes())
}

/// 32 integers of five bits: a word of their high bits, then 16 bytes with the low four bits.
#[inline(always)]
fn five_bits(bytes: &[u8], quants: &mut [i8]) {
    let high = u32::from_le_bytes(*bytes.first_chunk().expect("as long as the format says"));
    nibbles::<16>(&bytes[4..], quants);
    for (i, q) in quants[..32].iter_mut().enumerate() {
        *q |= ((high >> i & 1) << 4) as i8;
    }
}

/// Two integers from each of N bytes: the low nibbles of all, then the high ones.
#[inline(always)]
fn nibbles<const N: usize>(bytes: &[u8], quants: &mut [i8]) {
    let bytes: &[u8; N] = bytes.first_chunk().expect("as long as the format says");
    let (low, high) = quants[..2 * N].split_at_mut(N);
    for i in 0..N {
        low[i] = (bytes[i] & 15) as i8;
        high[i] = (bytes[i] >> 4) as i8;
    }
}

/// 16-bit float at byte `start`, converted without branches, so that loops over it vectorize.
#[inline(always)]
fn half<const N: usize>(block: &[u8; N], start: usize) -> f32 {
    let bytes = *block[start..].first_chunk().expect("within the block");
    let bits = u32::from(u16::from_le_bytes(bytes));
    // The exponent is now 112 too small, also for subnormal numbers. ∞ and NaN keep an exponent
    // of ones.
    let magnitude = (bits & 0x7fff) << 13;
    let special = if magnitude >= 0x0f80_0000 { 0x7000_0000 } else { 0 };
    let value = f32::from_bits(magnitude | special) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(value.to_bits() | (bits & 0x8000) << 16)
}
