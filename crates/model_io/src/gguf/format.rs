//! Storage formats of GGUF tensors: floating point, or quantized blocks of 4 to 8 bits per number
//! with shared scales.

use std::fmt::{self, Display};

use tensor_core::quantized::Quantization;

/// Supported storage formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TensorFormat {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point with a mantissa of 10 bits.
    F16,
    /// Upper 16 bits of an `F32`.
    BF16,
    /// Quantized blocks, each with its own scales.
    Quantized(Quantization),
}

impl TensorFormat {
    /// All supported formats.
    pub const ALL: [Self; 8] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Quantized(Quantization::Q4_0),
        Self::Quantized(Quantization::Q4_1),
        Self::Quantized(Quantization::Q8_0),
        Self::Quantized(Quantization::Q4K),
        Self::Quantized(Quantization::Q6K),
    ];

    /// Number of the format in the file, `ggml_type` in ggml.h.
    pub fn ggml_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::BF16 => 30,
            Self::Quantized(Quantization::Q4_0) => 2,
            Self::Quantized(Quantization::Q4_1) => 3,
            Self::Quantized(Quantization::Q8_0) => 8,
            Self::Quantized(Quantization::Q4K) => 12,
            Self::Quantized(Quantization::Q6K) => 14,
        }
    }

    /// Numbers per block, 1 for floating point; a row consists of whole blocks.
    pub fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Quantized(quantization) => quantization.block_size(),
        }
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Quantized(quantization) => quantization.block_bytes(),
        }
    }
}

impl Display for TensorFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Quantized(quantization) => quantization.name(),
        })
    }
}

/// ggml's name of a format that is not supported.
pub(super) fn unsupported_format_name(ggml_type: u32) -> String {
    let name = match ggml_type {
        6 => "Q5_0",
        7 => "Q5_1",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        13 => "Q5_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        41 => "Q1_0",
        other => return format!("number {other}"),
    };
    name.to_string()
}
