//! LoRA adapter: a low-rank correction of a linear layer (Hu et al.,
//! <https://arxiv.org/abs/2106.09685>), y = x Wᵀ + b + s · (x Aᵀ) Bᵀ.
//!
//! With magnitudes m it is DoRA (Liu et al., <https://arxiv.org/abs/2402.09353>): the adapter
//! changes the direction of each row of the weight, and m is the length of the row.
//!
//! ```text
//! y = m / n · (x Wᵀ + s · (x Aᵀ) Bᵀ) + b      n = ‖W + s · B A‖, row by row, without a gradient
//! ```
//!
//! The gradient takes n for a constant, as the paper's section 4.3 proposes and `peft` computes.
//!
//! A layer uses an adapter if its parameters have one: see
//! [`Parameters::add_adapter`](crate::Parameters::add_adapter).

use candle_core::{Module, Result, Tensor};

use crate::precision::at_least_f32;
use crate::{Dropout, Weight, ops};

/// Scale and dropout of an adapter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoraScaling {
    /// Scale s of the correction.
    pub scale: f64,
    /// Dropout probability of the adapter's input in training.
    pub dropout: f64,
}

/// Low-rank correction of one layer.
#[derive(Debug, Clone)]
pub struct LoraAdapter {
    /// Matrix A: (R, in).
    pub lora_a: Tensor,
    /// Matrix B: (out, R).
    pub lora_b: Tensor,
    /// Scale s.
    pub scale: f64,
    /// Dropout on the input of A; with DoRA on that of W beside m / n, too, as in `peft`.
    pub dropout: Dropout,
    /// Magnitudes of DoRA.
    pub magnitude: Option<Magnitude>,
}

/// Magnitudes of DoRA: the lengths of the rows of an adapted weight.
#[derive(Debug, Clone)]
pub struct Magnitude {
    /// Lengths m, which are trained: (out).
    pub vector: Tensor,
    /// Lengths of the rows of W, which is frozen: (out), in f32 or wider.
    pub weight_norms: Tensor,
}

impl LoraAdapter {
    /// Output (.., out) of the layer with this `weight` and `bias` and the adapter, for
    /// `x: (.., in)`.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        weight: &Weight,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        let dropped = self.dropout.forward(x)?;
        let inner = ops::linear(&dropped, &self.lora_a, None)?; // (.., R)
        let update = (ops::linear(&inner, &self.lora_b, None)? * self.scale)?; // (.., out)
        let Some(magnitude) = &self.magnitude else {
            return ops::add(&weight.linear(x, bias)?, &update);
        };
        let ratio = self.length_ratio(magnitude, weight)?.to_dtype(x.dtype())?; // m / n: (out)
        let y = weight.linear(x, None)?;
        let y = if self.dropout.is_active() {
            // peft drops out the input of the change alone: y + (m / n − 1) · y' + m / n · update
            let y_dropped = weight.linear(&dropped, None)?;
            let change = y_dropped.broadcast_mul(&(&ratio - 1.)?)?;
            ops::add(&ops::add(&y, &change)?, &update.broadcast_mul(&ratio)?)?
        } else {
            ops::add(&y, &update)?.broadcast_mul(&ratio)?
        };
        match bias {
            Some(bias) => ops::add(&y, bias),
            None => Ok(y),
        }
    }

    /// m / n: (out), in f32 or wider, with n = ‖W + s · B A‖ as a constant.
    ///
    /// n² = ‖W‖² + s · (2 W Aᵀ + s · B (A Aᵀ)) · B, row by row, needs no matrix as large as W.
    fn length_ratio(&self, magnitude: &Magnitude, weight: &Weight) -> Result<Tensor> {
        let (a, b) = (self.lora_a.detach(), self.lora_b.detach());
        let w_a = match weight {
            // In f32, as the products with A and B.
            Weight::Bf16Products(weight) => ops::linear(&a, &at_least_f32(weight)?, None)?,
            weight => at_least_f32(&weight.linear(&a, None)?)?,
        };
        let w_a = w_a.t()?; // W Aᵀ: (out, R)
        let (a, b) = (at_least_f32(&a)?, at_least_f32(&b)?);
        let b_a_a = (b.matmul(&a.matmul(&a.t()?)?)? * self.scale)?; // s · B (A Aᵀ): (out, R)
        let difference = (((w_a * 2.)? + b_a_a)? * b)?.sum(1)?; // (n² − ‖W‖²) / s: (out)
        let norms = (magnitude.weight_norms.sqr()? + (difference * self.scale)?)?.sqrt()?;
        at_least_f32(&magnitude.vector)? / norms
    }

    /// Weight of the layer with the adapter merged into its `weight: (out, in)`: W + s · B A, with
    /// magnitudes m / n · (W + s · B A).
    pub(crate) fn merged(&self, weight: &Tensor) -> Result<Tensor> {
        let sum = (weight + (self.lora_b.matmul(&self.lora_a)? * self.scale)?)?; // (out, in)
        let Some(Magnitude { vector, .. }) = &self.magnitude else { return Ok(sum) };
        let ratio = (at_least_f32(vector)? / row_norms(&sum.detach())?)?.to_dtype(sum.dtype())?;
        sum.broadcast_mul(&ratio.unsqueeze(1)?) // (out, 1)
    }
}

/// Lengths of the rows of `matrix`, (rows, columns): (rows), in f32 or wider.
pub(crate) fn row_norms(matrix: &Tensor) -> Result<Tensor> {
    at_least_f32(matrix)?.sqr()?.sum(1)?.sqrt()
}
