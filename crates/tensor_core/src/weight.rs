//! Weight matrix of a layer: a trainable tensor, multiplied as it is or rounded to bf16, or
//! quantized blocks that take a quarter of the time to read.

use candle_core::{Device, Result, Tensor, bail};

use crate::ops::{self, grouped_linear};
use crate::precision::at_least_f32;
use crate::quantized::QuantizedMatrix;

/// Matrix (rows, columns).
#[derive(Debug, Clone)]
pub enum Weight {
    /// Tensor (rows, columns), trainable.
    Unquantized(Tensor),
    /// Tensor (rows, columns), trainable, in f32, or in bf16 if it is frozen. In its products with
    /// inputs in f32, all operands are rounded to bf16 and sums are in f32.
    Bf16Products(Tensor),
    /// Matrix in one of ggml's block formats: on the CPU, a constant to the backward pass.
    Quantized(QuantizedMatrix),
}

impl Weight {
    /// x Wᵀ + bias for `x: (.., columns)`, giving `(.., rows)`.
    pub fn linear(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        match (self, bias) {
            (Self::Unquantized(weight), bias) => ops::linear(x, weight, bias),
            (Self::Bf16Products(weight), bias) => ops::linear::linear_bf16(x, weight, bias),
            (Self::Quantized(weight), None) => weight.matmul(x),
            (Self::Quantized(weight), Some(bias)) => ops::add(&weight.matmul(x)?, bias),
        }
    }

    /// `x: (N, columns)` by one weight and bias for each group of rows, as
    /// [`ops::grouped_linear`](fn@ops::grouped_linear), in the arithmetic of the weights.
    ///
    /// # Errors
    /// When a weight is quantized, and those of the operation.
    pub fn grouped_linear(
        x: &Tensor,
        groups: &[(&Self, Option<&Tensor>)],
        counts: &[usize],
    ) -> Result<Tensor> {
        let tensors = groups.iter().map(|&(weight, bias)| Ok((weight.as_tensor()?, bias)));
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        match groups.first() {
            Some((Self::Bf16Products(_), _)) => {
                grouped_linear::grouped_linear_bf16(x, &tensors, counts)
            }
            _ => ops::grouped_linear(x, &tensors, counts),
        }
    }

    /// Rows at the integers `ids: (..)`, as `(.., columns)`.
    ///
    /// # Errors
    /// Those of [`ops::embedding`](fn@ops::embedding).
    pub fn embedding(&self, ids: &Tensor) -> Result<Tensor> {
        match self {
            Self::Unquantized(weight) => ops::embedding(weight, ids),
            Self::Bf16Products(weight) => at_least_f32(&ops::embedding(weight, ids)?),
            Self::Quantized(weight) => {
                let (rows, columns) = weight.dims();
                let row_ids = ops::embedding::row_ids(ids, rows)?;
                let row_ids: Vec<u32> = row_ids.into_iter().map(|id| id as u32).collect();
                let rows = weight.dequantize_rows(&row_ids)?; // (ids, columns)
                rows.reshape([ids.dims(), &[columns]].concat())
            }
        }
    }

    /// Weight as one tensor (rows, columns), in the dtype in which it is stored.
    ///
    /// # Errors
    /// When it is quantized.
    pub fn as_tensor(&self) -> Result<&Tensor> {
        match self {
            Self::Unquantized(weight) | Self::Bf16Products(weight) => Ok(weight),
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
            Self::Unquantized(weight) | Self::Bf16Products(weight) => weight.dims2(),
            Self::Quantized(weight) => Ok(weight.dims()),
        }
    }

    /// Device of the matrix.
    pub fn device(&self) -> &Device {
        match self {
            Self::Unquantized(weight) | Self::Bf16Products(weight) => weight.device(),
            Self::Quantized(_) => &Device::Cpu,
        }
    }
}
