//! Block formats: their sizes, and the decoding of a block's bytes into integers q with scale and
//! offset, w = scale · q + offset. The formats themselves are in `layouts.rs`.

use super::activations::Precision;

/// Block format of ggml.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quantization {
    /// 8 bits per weight, and a scale for each 32.
    Q8_0,
    /// 4 bits per weight, and a scale for each 32.
    Q4_0,
    /// 4 bits per weight, and a scale and a minimum for each 32.
    Q4_1,
    /// 4 bits per weight, and 6-bit scales and minima for each 32, which share a scale of their
    /// own.
    Q4K,
    /// 6 bits per weight, and 8-bit scales for each 16, which share a scale of their own.
    Q6K,
}

/// Calls `$function::<F>(..)` with F the [`Format`] of `$format`.
macro_rules! by_format {
    ($format:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        use $crate::quantized::format::Quantization;
        use $crate::quantized::layouts::{Q4_0, Q4_1, Q4K, Q6K, Q8_0};
        match $format {
            Quantization::Q8_0 => $function::<Q8_0>($($argument),*),
            Quantization::Q4_0 => $function::<Q4_0>($($argument),*),
            Quantization::Q4_1 => $function::<Q4_1>($($argument),*),
            Quantization::Q4K => $function::<Q4K>($($argument),*),
            Quantization::Q6K => $function::<Q6K>($($argument),*),
        }
    }};
}
pub(super) use by_format;

impl Quantization {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::Q8_0, Self::Q4_0, Self::Q4_1, Self::Q4K, Self::Q6K];

    /// Name of the format in ggml.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q4K => "Q4_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Number of weights per block.
    pub fn block_size(self) -> usize {
        fn of<F: Format>() -> usize {
            F::BLOCK_SIZE
        }
        by_format!(self, of())
    }

    /// Number of bytes per block.
    pub fn block_bytes(self) -> usize {
        fn of<F: Format>() -> usize {
            F::BLOCK_BYTES
        }
        by_format!(self, of())
    }
}

/// Integer q that represents w = 0.
pub(super) enum ZeroPoint {
    /// This q, in every group.
    Fixed(i8),
    /// Determined by the minimum of each group.
    PerGroup,
}

/// Decoder of a format.
pub(super) trait Format {
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
}
