//! Block formats: their names and sizes. The kernels read them byte by byte.

use candle_core::quantized::GgmlDType;

use crate::kernels::quantized::Format;

/// Block format of ggml.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quantization {
    /// 8 bits per weight, and a scale for each 32.
    Q8_0,
    /// 4 bits per weight, and a scale for each 32.
    Q4_0,
    /// 4 bits per weight, and a scale and a minimum for each 32.
    Q4_1,
    /// 5 bits per weight, and a scale for each 32.
    Q5_0,
    /// 5 bits per weight, and a scale and a minimum for each 32.
    Q5_1,
    /// 4 bits per weight, and 6-bit scales and minima for each 32, which share a scale of their
    /// own.
    Q4K,
    /// 6 bits per weight, and 8-bit scales for each 16, which share a scale of their own.
    Q6K,
}

/// Calls `$function::<F>(..)` with F the [`Format`] of `$format`.
macro_rules! by_format {
    ($format:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        use $crate::kernels::quantized::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q6K, Q8_0};
        use $crate::quantized::Quantization;
        match $format {
            Quantization::Q8_0 => $function::<Q8_0>($($argument),*),
            Quantization::Q4_0 => $function::<Q4_0>($($argument),*),
            Quantization::Q4_1 => $function::<Q4_1>($($argument),*),
            Quantization::Q5_0 => $function::<Q5_0>($($argument),*),
            Quantization::Q5_1 => $function::<Q5_1>($($argument),*),
            Quantization::Q4K => $function::<Q4K>($($argument),*),
            Quantization::Q6K => $function::<Q6K>($($argument),*),
        }
    }};
}
pub(crate) use by_format;

impl Quantization {
    /// All formats.
    pub const ALL: [Self; 7] =
        [Self::Q8_0, Self::Q4_0, Self::Q4_1, Self::Q5_0, Self::Q5_1, Self::Q4K, Self::Q6K];

    /// Name of the format in ggml.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
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

    /// Candle's name of the format.
    pub(crate) fn ggml_dtype(self) -> GgmlDType {
        match self {
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q4_0 => GgmlDType::Q4_0,
            Self::Q4_1 => GgmlDType::Q4_1,
            Self::Q5_0 => GgmlDType::Q5_0,
            Self::Q5_1 => GgmlDType::Q5_1,
            Self::Q4K => GgmlDType::Q4K,
            Self::Q6K => GgmlDType::Q6K,
        }
    }
}
