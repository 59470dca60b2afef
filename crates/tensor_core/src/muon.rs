//! Muon: momentum, orthogonalized, for the hidden matrices of a model (Jordan,
//! <https://kellerjordan.github.io/posts/muon/>), and AdamW for its other parameters.
//!
//! ```text
//! m ← β m + (1−β) g,   u = β m + (1−β) g                           Nesterov's momentum
//! p ← p − lr·λ·p − lr · 0.2 √max(rows, columns) · orthogonalize(u)
//! ```
//!
//! With u = U S Vᵀ, its singular value decomposition, [`orthogonalize`] gives nearly U Vᵀ: the step
//! goes as far in each direction that the gradient has. Of all matrices of spectral norm 1, U Vᵀ
//! lowers the loss most, to first order.
//!
//! An orthogonalized matrix has a root mean square of about 1 / √max(rows, columns), and an update
//! of AdamW one of 0.2 to 0.4. The factor makes up for the difference, so that both kinds of
//! parameters share the learning rate and the weight decay of AdamW (Liu et al.,
//! <https://arxiv.org/abs/2502.16982>, section 2.2; `adjust_lr_fn="match_rms_adamw"` in PyTorch).
//! PyTorch and Jordan orthogonalize in bf16; here the iteration is in f32, or in f64 for f64
//! parameters, as is the momentum.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::adamw::{AdamW, AdamWConfig};
use crate::optimizer_state::{MOMENTUM, take_tensor};
use crate::{Parameter, Parameters, WeightDecay, ops};

/// Coefficients a, b, c of the polynomial p(s) = a s + b s³ + c s⁵ of a Newton-Schulz step.
const COEFFICIENTS: [f64; 3] = [3.4445, -4.7750, 2.0315];
/// Number of Newton-Schulz steps.
const NEWTON_SCHULZ_STEPS: usize = 5;
/// Lower bound of the norm that a matrix is divided by, for gradients of 0.
const MIN_NORM: f64 = 1e-7;
/// Root mean square of an update of AdamW, which Muon's is scaled to.
const ADAMW_RMS: f64 = 0.2;

/// Hyperparameters of [`Muon`]; the learning rate is an argument of each step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MuonConfig {
    /// Decay rate β of the momentum.
    pub momentum: f64,
    /// AdamW of the other parameters. Its weight decay λ is that of the hidden matrices, too.
    pub adamw: AdamWConfig,
}

impl Default for MuonConfig {
    fn default() -> Self {
        Self { momentum: 0.95, adamw: AdamWConfig::default() }
    }
}

/// Momentum of one hidden matrix.
struct MatrixState {
    parameter: Parameter,
    momentum: Tensor, // m: (rows, columns)
}

/// Muon optimizer of the hidden matrices, with an AdamW optimizer of the other parameters. Stores
/// the state of every parameter that was trainable when it was created.
pub struct Muon {
    config: MuonConfig,
    matrices: Vec<MatrixState>,
    adamw: AdamW,
}

impl Muon {
    /// Optimizer of all trainable `parameters`, with momentum and moments 0.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new(parameters: &Parameters, config: MuonConfig) -> Result<Self> {
        let trainable = parameters.trainable().cloned();
        let (matrices, others): (Vec<Parameter>, Vec<Parameter>) =
            trainable.partition(is_hidden_matrix);
        Ok(Self {
            config,
            matrices: matrices.into_iter().map(MatrixState::new).collect::<Result<_>>()?,
            adamw: AdamW::of_parameters(others, config.adamw)?,
        })
    }

    /// Updates every parameter that has a gradient in `grads`, at learning rate `lr`.
    ///
    /// # Errors
    /// When memory is short.
    pub fn step(&mut self, grads: &GradStore, lr: f64) -> Result<()> {
        for matrix in &mut self.matrices {
            if let Some(grad) = grads.get(matrix.parameter.var.as_tensor()) {
                matrix.update(&grad.detach(), lr, &self.config)?;
            }
        }
        self.adamw.step(grads, lr)
    }

    /// Momentum of the hidden matrices and state of AdamW by name, in the memory of the optimizer,
    /// which the next step changes: to be written at once.
    ///
    /// # Errors
    /// Those of [`AdamW::state_view`].
    pub fn state_view(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = self.adamw.state_view()?;
        for MatrixState { parameter, momentum } in &self.matrices {
            state.insert(format!("{}.{MOMENTUM}", parameter.name), momentum.clone());
        }
        Ok(state)
    }

    /// Restores the state returned by [`Muon::state_view`].
    ///
    /// # Errors
    /// Those of [`AdamW::load_state_dict`]; the optimizer is then unchanged.
    pub fn load_state_dict(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<()> {
        let mut restored = Vec::with_capacity(self.matrices.len());
        for MatrixState { parameter, momentum } in &self.matrices {
            let (dims, dtype) = (momentum.dims(), momentum.dtype());
            let tensor = take_tensor(&mut state, &parameter.name, MOMENTUM, dims, dtype)?;
            restored.push(tensor.to_device(momentum.device())?.copy()?);
        }
        self.adamw.load_state_dict(state)?;
        for (matrix, momentum) in self.matrices.iter_mut().zip(restored) {
            matrix.momentum = momentum;
        }
        Ok(())
    }
}

impl MatrixState {
    fn new(parameter: Parameter) -> Result<Self> {
        let var = &parameter.var;
        let dtype = if var.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let momentum = Tensor::zeros(var.shape(), dtype, var.device())?;
        Ok(Self { parameter, momentum })
    }

    fn update(&mut self, grad: &Tensor, lr: f64, config: &MuonConfig) -> Result<()> {
        let (rows, columns) = self.momentum.dims2()?;
        let beta = config.momentum;
        let new = (grad.to_dtype(self.momentum.dtype())? * (1. - beta))?; // (1−β) g
        self.momentum = ((&self.momentum * beta)? + &new)?;
        let update = orthogonalize(&((&self.momentum * beta)? + &new)?)?; // (rows, columns)
        let decay = match self.parameter.weight_decay {
            WeightDecay::Yes => 1. - lr * config.adamw.weight_decay,
            WeightDecay::No => 1.,
        };
        let step = lr * ADAMW_RMS * (rows.max(columns) as f64).sqrt();
        let var = &self.parameter.var;
        let value = var.as_detached_tensor().to_dtype(update.dtype())?;
        var.set(&((value * decay)? - (update * step)?)?.to_dtype(var.dtype())?)
    }
}

/// True for the parameters that Muon trains: the matrices of the numbered layers of a model, such
/// as `model.layers.0.mlp.up_proj.weight` and `h.0.attn.c_attn.weight`, each expert's own.
///
/// AdamW trains the rest:
/// - embeddings and output layers, also the heads of rewards and values. A row belongs to one token
///   or one number, so a common size of the steps in all directions has no meaning there;
/// - norms, biases and other vectors, which have no singular values, and tensors of three and more
///   dimensions, which have no single decomposition;
/// - adapters: their product is what changes a weight, so an orthogonalized step of one factor is
///   not one of the weight, and the learning rates known for LoRA are AdamW's.
///
/// A matrix of several projections, such as the queries, keys and values in GPT-2's `c_attn`, is
/// orthogonalized as a whole.
pub fn is_hidden_matrix(parameter: &Parameter) -> bool {
    let mut below_root = parameter.name.split('.').skip(1);
    let is_in_layer = below_root.any(|part| part.parse::<usize>().is_ok());
    parameter.var.rank() == 2 && is_in_layer && !parameter.is_adapter_matrix()
}

/// Orthogonalized `matrix`: (rows, columns) with the singular vectors of `matrix` and singular
/// values of about 1, by five steps of a Newton-Schulz iteration.
///
/// A step takes X = U S Vᵀ to a X + b (X Xᵀ) X + c (X Xᵀ)² X = U p(S) Vᵀ with the odd polynomial
/// p(s) = a s + b s³ + c s⁵, as (X Xᵀ) X = U S Vᵀ V S Uᵀ U S Vᵀ = U S³ Vᵀ. Divided by the Frobenius
/// norm, the matrix starts with singular values of at most 1.
///
/// Where the values end: from 0 on, p rises with the slope a to p(0.5545) = 1.2024, falls to
/// p(1.0501) = 0.6818, and rises again. So a value between 0.6818 and 1.2024 stays there: p takes
/// the ends to 1.1344 and 0.9465, and all values to between 0.6818 and 1.1344. A smaller value
/// grows by nearly the factor a = 3.4445 a step until it is there. That is the case after five
/// steps for a value of at least 0.0016 times the Frobenius norm, and after four for one of 0.0053,
/// which therefore ends between 0.6818 and 1.1344. Smaller values end below, at most 3.4445⁵ = 485
/// times as large as they started. A matrix of zeros stays one.
///
/// # Errors
/// When `matrix` does not have two dimensions, or memory is short.
pub fn orthogonalize(matrix: &Tensor) -> Result<Tensor> {
    let (rows, columns) = matrix.dims2()?;
    if rows > columns {
        return orthogonalize(&matrix.t()?)?.t(); // X Xᵀ is the smaller product
    }
    let norm = matrix.sqr()?.sum_all()?.sqrt()?.maximum(MIN_NORM)?; // ()
    let mut x = matrix.broadcast_div(&norm)?; // X: (rows, columns)
    let [a, b, c] = COEFFICIENTS;
    for _ in 0..NEWTON_SCHULZ_STEPS {
        let gram = ops::linear(&x, &x, None)?; // X Xᵀ: (rows, rows)
        let gram_squared = ops::linear(&gram, &gram, None)?; // (X Xᵀ)², as X Xᵀ is symmetric
        let even = ((gram * b)? + (gram_squared * c)?)?; // b X Xᵀ + c (X Xᵀ)²: (rows, rows)
        x = ((&x * a)? + ops::linear(&even, &x.t()?, None)?)?;
    }
    Ok(x)
}
