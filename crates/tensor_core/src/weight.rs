//! The matrix of a layer: numbers, which can be trained, or blocks of small numbers, which are read a quarter as long.

use candle_core::{Device, Result, Tensor, bail};

use crate::ops;
use crate::quantized::QuantizedMatrix;

/// A matrix (rows, columns).
#[derive(Debug, Clone)]
pub enum Weight {
    /// Its numbers, as one tensor.
    Unquantized(Tensor),
    /// In one of ggml's block formats, on the CPU, for inference alone.
    Quantized(QuantizedMatrix),
}

impl Weight {
    /// x Wᵀ + bias of `x: (.., columns)`, giving `(.., rows)`.
    pub fn linear(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        match (self, bias) {
            (Self::Unquantized(weight), bias) => ops::linear(x, weight, bias),
            (Self::Quantized(weight), None) => weight.matmul(x),
            (Self::Quantized(weight), Some(bias)) => ops::add(&weight.matmul(x)?, bias),
        }
    }

    /// The rows at `ids: (..)`, as `(.., columns)`.
    pub fn embedding(&self, ids: &Tensor) -> Result<Tensor> {
        match self {
            Self::Unquantized(weight) => ops::embedding(weight, ids),
            Self::Quantized(weight) => {
                let (_rows, columns) = weight.dims();
                let rows = weight.dequantize_rows(&ids.flatten_all()?.to_vec1()?)?;
                rows.reshape([ids.dims(), &[columns]].concat())
            }
        }
    }

    /// The numbers as one tensor.
    ///
    /// # Errors
    /// When it is quantized.
    pub fn as_tensor(&self) -> Result<&Tensor> {
        match self {
            Self::Unquantized(weight) => Ok(weight),
            Self::Quantized(weight) => {
                bail!("a weight in {} can be read, not changed", weight.format().name())
            }
        }
    }

    /// (rows, columns)
    pub fn dims(&self) -> Result<(usize, usize)> {
        match self {
            Self::Unquantized(weight) => weight.dims2(),
            Self::Quantized(weight) => Ok(weight.dims()),
        }
    }

    /// Where it lives.
    pub fn device(&self) -> &Device {
        match self {
            Self::Unquantized(weight) => weight.device(),
            Self::Quantized(_) => &Device::Cpu,
        }
    }
}
