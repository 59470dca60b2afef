//! Weight matrix of a layer: a trainable tensor, or quantized blocks that take a quarter of the
//! time to read.

use candle_core::{Device, Result, Tensor, bail};

use crate::ops;
use crate::quantized::QuantizedMatrix;

/// Matrix (rows, columns).
#[derive(Debug, Clone)]
pub enum Weight {
    /// Tensor (rows, columns), trainable.
    Unquantized(Tensor),
    /// Matrix in one of ggml's block formats: on the CPU, a constant to the backward pass.
    Quantized(QuantizedMatrix),
}

impl Weight {
    /// x Wᵀ + bias for `x: (.., columns)`, giving `(.., rows)`.
    pub fn linear(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        match (self, bias) {
            (Self::Unquantized(weight), bias) => ops::linear(x, weight, bias),
            (Self::Quantized(weight), None) => weight.matmul(x),
            (Self::Quantized(weight), Some(bias)) => ops::add(&weight.matmul(x)?, bias),
        }
    }

    /// Rows at the integers `ids: (..)`, as `(.., columns)`.
    ///
    /// # Errors
    /// Those of [`ops::embedding`](fn@ops::embedding).
    pub fn embedding(&self, ids: &Tensor) -> Result<Tensor> {
        match self {
            Self::Unquantized(weight) => ops::embedding(weight, ids),
            Self::Quantized(weight) => {
                let (rows, columns) = weight.dims();
                let row_ids = ops::embedding::row_ids(ids, rows)?;
                let row_ids: Vec<u32> = row_ids.into_iter().map(|id| id as u32).collect();
                let rows = weight.dequantize_rows(&row_ids)?; // (ids, columns)
                rows.reshape([ids.dims(), &[columns]].concat())
            }
        }
    }

    /// Weight as one tensor (rows, columns).
    ///
    /// # Errors
    /// When it is quantized.
    pub fn as_tensor(&self) -> Result<&Tensor> {
        match self {
            Self::Unquantized(weight) => Ok(weight),
            Self::Quantized(weight) => {
                bail!(
                    "a {} weight is quantized: it has no trainable tensor",
                    weight.format().name()
                )
            }
        }
    }

    /// Shape (rows, columns).
    pub fn dims(&self) -> Result<(usize, usize)> {
        match self {
            Self::Unquantized(weight) => weight.dims2(),
            Self::Quantized(weight) => Ok(weight.dims()),
        }
    }

    /// Device of the matrix.
    pub fn device(&self) -> &Device {
        match self {
            Self::Unquantized(weight) => weight.device(),
            Self::Quantized(_) => &Device::Cpu,
        }
    }
}
