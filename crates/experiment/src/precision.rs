//! The flag `--dtype`: number format of the computations.

use anyhow::Result;
use candle_core::DType;
use clap::{Arg, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::usage_error::ensure_usage;

/// Number format of the model's computations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits
    #[default]
    #[value(aliases = ["float32", "fp32"])]
    F32,
    /// 16 bits, range of f32, few digits
    #[value(alias = "bfloat16")]
    Bf16,
    /// 16 bits, more digits, small range (loss scaling is used)
    #[value(aliases = ["float16", "fp16"])]
    F16,
}

impl Precision {
    /// Data type of the tensors.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }

    /// Checks that the format is one for parts without loss scaling.
    ///
    /// # Errors
    /// A [`UsageError`](crate::program::UsageError) for f16.
    pub fn ensure_unscaled(self) -> Result<()> {
        let message = "--dtype f16 needs the loss scaling of part 4: use bf16 here";
        ensure_usage(self != Self::F16, message)
    }
}

/// The argument `--dtype` of a part without loss scaling.
pub fn without_f16(dtype: Arg) -> Arg {
    dtype.hide_possible_values(true).help(
        "Number format of the computations, f32 or bf16; weights and optimizer state stay f32",
    )
}
