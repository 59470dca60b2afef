//! What a block format is: its sizes, and how its bytes become whole numbers q with scale and offset,
//! w = scale · q + offset. `layouts.rs` has the formats themselves.

use super::activations::Precision;

/// A block format of ggml.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quantization {
    /// 8 bits and a scale for each 32.
    Q8_0,
    /// 4 bits and a scale for each 32.
    Q4_0,
    /// 4 bits, a scale and a minimum for each 32.
    Q4_1,
    /// 4 bits, and 6-bit scales and minima for each 32, which share a scale of their own.
    Q4K,
    /// 6 bits, and 8-bit scales for each 16, which share a scale of their own.
    Q6K,
}

/// Calls `$function::<F>(..)` with F the [`Format`] that `$format` names.
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
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Q8_0, Self::Q4_0, Self::Q4_1, Self::Q4K, Self::Q6K];

    /// As ggml writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q4K => "Q4_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// How many numbers a block holds.
    pub fn block_size(self) -> usize {
        fn of<F: Format>() -> usize {
            F::NUMBERS
        }
        by_format!(self, of())
    }

    /// How many bytes a block takes.
    pub fn block_bytes(self) -> usize {
        fn of<F: Format>() -> usize {
            F::BYTES
        }
        by_format!(self, of())
    }
}

/// What stands for w = 0.
pub(super) enum Zero {
    /// This q, in every group.
    At(i8),
    /// Whatever a group's minimum says.
    Anywhere,
}

/// How to read a format.
pub(super) trait Format {
    /// Numbers in a block.
    const NUMBERS: usize;
    /// Bytes of a block.
    const BYTES: usize;
    /// Numbers that share scale and offset.
    const GROUP: usize = 32;
    const ZERO: Zero;
    /// How much is kept of what such weights are multiplied with.
    const PRECISION: Precision = Precision::Once;

    /// Scale and offset of each group of blocks in a row.
    fn scales(blocks: &[u8], scales: &mut [f32], offsets: &mut [f32]);

    /// The whole numbers of a block.
    fn quants(block: &[u8], quants: &mut [i8]);
}
