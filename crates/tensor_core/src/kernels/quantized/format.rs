//! Decoding of a block's bytes into integers q with scale and offset, w = scale · q + offset. The
//! formats themselves are in `layouts.rs`.

/// Integer q that represents w = 0.
pub(crate) enum ZeroPoint {
    /// This q, in every group.
    Fixed(i8),
    /// Determined by the minimum of each group.
    PerGroup,
}

/// Precision of the quantized activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    /// 8 bits.
    Int8,
    /// 8 bits, and 8 bits of the residual.
    Int8WithResidual,
}

/// Decoder of a format.
pub(crate) trait Format {
    /// Weights per block.
    const BLOCK_SIZE: usize;
    /// Bytes per block.
    const BLOCK_BYTES: usize;
    /// Weights that share a scale and an offset.
    const GROUP_SIZE: usize = 32;
    /// Integer that represents w = 0.
    const ZERO_POINT: ZeroPoint;
    /// Precision of the activations that such weights are multiplied by.
    const PRECISION: Precision = Precision::Int8;

    /// Scale and offset of each group of the blocks of a row.
    fn scales(blocks: &[u8], scales: &mut [f32], offsets: &mut [f32]);

    /// Integers of a block.
    fn quants(block: &[u8], quants: &mut [i8]);

    /// Bytes of a row of `columns` weights.
    #[inline(always)]
    fn row_bytes(columns: usize) -> usize {
        columns / Self::BLOCK_SIZE * Self::BLOCK_BYTES
    }
}
