//! How a GGUF tensor stores its numbers: as they are, or in blocks of 4 to 8 bits a number with shared scales.

use std::fmt::{self, Display};

use tensor_core::quantized::Quantization;

/// The formats that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TensorFormat {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point with a mantissa of 10 bits.
    F16,
    /// The upper half of an [`Format::F32`].
    BF16,
    /// Blocks with scales of their own.
    Quantized(Quantization),
}

impl TensorFormat {
    /// All of them.
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

    /// The format's number in the file, `ggml_type` in ggml.h.
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

    /// How many numbers a block holds, 1 where there are none; a row is whole blocks.
    pub fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Quantized(quantization) => quantization.block_size(),
        }
    }

    /// How many bytes a block takes.
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

/// What ggml calls a format that is none of ours.
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
