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
    pub const ALL: [Self; 10] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Quantized(Quantization::Q4_0),
        Self::Quantized(Quantization::Q4_1),
        Self::Quantized(Quantization::Q5_0),
        Self::Quantized(Quantization::Q5_1),
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
            Self::Quantized(Quantization::Q5_0) => 6,
            Self::Quantized(Quantization::Q5_1) => 7,
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

/// ggml's names of its formats, by number; empty where a number is not in use.
const GGML_NAMES: [&str; 42] = [
    "F32", "F16", "Q4_0", "Q4_1", "", "", "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2_K", "Q3_K", "Q4_K",
    "Q5_K", "Q6_K", "Q8_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S",
    "IQ4_XS", "I8", "I16", "I32", "I64", "F64", "IQ1_M", "BF16", "", "", "", "TQ1_0", "TQ2_0", "",
    "", "", "MXFP4", "NVFP4", "Q1_0",
];

/// ggml's name of format number `ggml_type`, for messages.
pub(super) fn ggml_name(ggml_type: u32) -> String {
    match GGML_NAMES.get(ggml_type as usize) {
        None | Some(&"") => format!("number {ggml_type}"),
        Some(name) => name.to_string(),
    }
}

impl Display for TensorFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(GGML_NAMES[self.ggml_type() as usize])
    }
}
