//! AdamW: Adam with weight decay apart from the gradient (Loshchilov and Hutter, <https://arxiv.org/abs/1711.05101>).
//!
//! m ← β₁ m + (1−β₁) g,  v ← β₂ v + (1−β₂) g²,  p ← p − lr·λ·p − lr · m̂ / (√v̂ + ε), where m̂ = m / (1−β₁ᵗ) and
//! v̂ = v / (1−β₂ᵗ). As in PyTorch, t counts the updates of each parameter on its own, so that one that had no
//! gradient for a while starts right. The moments are kept in f32 or wider whatever the parameter's type.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor, bail};
use serde::{Deserialize, Serialize};

use crate::ops::cpu::{GRAIN, by_type, for_each_part, has_fused_loops, vectorized};
use crate::ops::float::Real;
use crate::ops::storage::{values, write};
use crate::{Parameter, Parameters, WeightDecay};

/// The constants of [`AdamW`]; the learning rate comes with each step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamWConfig {
    /// β₁, the memory of the gradient's mean.
    pub beta1: f64,
    /// β₂, the memory of the gradient's square.
    pub beta2: f64,
    /// ε, keeps the division finite.
    pub eps: f64,
    /// λ, for parameters that decay.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 }
    }
}

/// The optimiser's memory of one parameter.
struct Moments {
    parameter: Parameter,
    updates: u32,   // t
    first: Tensor,  // m
    second: Tensor, // v
}

/// The optimiser: holds the moments of every parameter that was trainable when it was made.
pub struct AdamW {
    config: AdamWConfig,
    moments: Vec<Moments>,
}

impl AdamW {
    /// An optimiser of all trainable `parameters`, its moments 0.
    pub fn new(parameters: &Parameters, config: AdamWConfig) -> Result<Self> {
        let start = |parameter: &Parameter| {
            let var = &parameter.var;
            let zeros = || Tensor::zeros(var.shape(), wide(var.dtype()), var.device());
            let (first, second) = (zeros()?, zeros()?);
            Ok(Moments { parameter: parameter.clone(), updates: 0, first, second })
        };
        Ok(Self { config, moments: parameters.trainable().map(start).collect::<Result<_>>()? })
    }

    /// Moves every parameter that has a gradient in `grads` one step at learning rate `lr`.
    pub fn step(&mut self, grads: &GradStore, lr: f64) -> Result<()> {
        for moments in &mut self.moments {
            if let Some(grad) = grads.get(moments.parameter.var.as_tensor()) {
                moments.update(&grad.detach(), lr, &self.config)?;
            }
        }
        Ok(())
    }

    /// A copy of the moments and update counts by name, as they go into a file.
    pub fn state_dict(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = BTreeMap::new();
        for Moments { parameter, updates, first, second } in &self.moments {
            let updates = Tensor::new(*updates, first.device())?;
            state.insert(format!("{}.updates", parameter.name), updates);
            state.insert(format!("{}.first", parameter.name), first.copy()?);
            state.insert(format!("{}.second", parameter.name), second.copy()?);
        }
        Ok(state)
    }

    /// Takes over the moments that [`AdamW::state_dict`] gave.
    ///
    /// # Errors
    /// Names a tensor that is missing, left over or misshapen; the optimiser is then unchanged.
    pub fn load_state_dict(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<()> {
        let mut restored = Vec::with_capacity(self.moments.len());
        for Moments { parameter, first, .. } in &self.moments {
            let mut take = |what: &str, like: &Tensor| {
                let name = format!("{}.{what}", parameter.name);
                match state.remove(&name) {
                    Some(tensor) if tensor.shape() == like.shape() => {
                        tensor.to_device(like.device())?.to_dtype(like.dtype())?.copy()
                    }
                    Some(tensor) => bail!("optimiser state `{name}` has shape {:?}", tensor.dims()),
                    None => bail!("optimiser state `{name}` is missing"),
                }
            };
            let count = Tensor::new(0u32, first.device())?;
            let updates = take("updates", &count)?.to_scalar()?;
            let (first, second) = (take("first", first)?, take("second", first)?);
            restored.push(Moments { parameter: parameter.clone(), updates, first, second });
        }
        if let Some(name) = state.keys().next() {
            bail!("optimiser state `{name}` belongs to no trainable parameter");
        }
        self.moments = restored;
        Ok(())
    }
}

impl Moments {
    fn update(&mut self, grad: &Tensor, lr: f64, config: &AdamWConfig) -> Result<()> {
        self.updates += 1;
        let t = self.updates as i32;
        let decay = match self.parameter.weight_decay {
            WeightDecay::Yes => 1. - lr * config.weight_decay,
            WeightDecay::No => 1.,
        };
        let step = Step {
            beta1: config.beta1,
            beta2: config.beta2,
            unbias1: 1. / (1. - config.beta1.powi(t)),
            unbias2: 1. / (1. - config.beta2.powi(t)),
            eps: config.eps,
            decay,
            lr,
        };
        let var = &self.parameter.var;
        if has_fused_loops(var) && grad.dtype() == var.dtype() {
            by_type!(var, fused(self, grad, &step))
        } else {
            self.reference(grad, &step)
        }
    }

    fn reference(&mut self, grad: &Tensor, step: &Step) -> Result<()> {
        let var = &self.parameter.var;
        let grad = grad.to_dtype(self.first.dtype())?;
        self.first = ((&self.first * step.beta1)? + (&grad * (1. - step.beta1))?)?;
        self.second = ((&self.second * step.beta2)? + (grad.sqr()? * (1. - step.beta2))?)?;
        let unbiased_first = (&self.first * step.unbias1)?;
        let unbiased_second = (&self.second * step.unbias2)?;
        let update = (unbiased_first / (unbiased_second.sqrt()? + step.eps)?)?;
        let value = var.as_detached_tensor().to_dtype(update.dtype())?;
        var.set(&((value * step.decay)? - (update * step.lr)?)?.to_dtype(var.dtype())?)
    }
}

/// The numbers of the formula at one step.
struct Step {
    beta1: f64,
    beta2: f64,
    unbias1: f64,
    unbias2: f64,
    eps: f64,
    decay: f64,
    lr: f64,
}

/// The whole formula in one walk over the memory.
fn fused<T: Real>(moments: &Moments, grad: &Tensor, step: &Step) -> Result<()> {
    let grad = grad.contiguous()?;
    let grad = values::<T>(&grad)?;
    let real = T::real;
    let (beta1, beta2) = (real(step.beta1), real(step.beta2));
    let (rest1, rest2) = (real(1. - step.beta1), real(1. - step.beta2));
    let (unbias1, unbias2) = (real(step.unbias1), real(step.unbias2));
    let (eps, decay, lr) = (real(step.eps), real(step.decay), real(step.lr));
    let run = |value: &mut [T], first: &mut [T], second: &mut [T]| {
        let parts = [(value, GRAIN), (first, GRAIN), (second, GRAIN)];
        for_each_part(parts, |part, [value, first, second]| {
            let each = value.iter_mut().zip(first).zip(second).zip(&grad[part * GRAIN..]);
            vectorized!({
                each.for_each(|(((value, first), second), &g)| {
                    *first = beta1 * *first + rest1 * g;
                    *second = beta2 * *second + rest2 * g * g;
                    let update = *first * unbias1 / ((*second * unbias2).sqrt() + eps);
                    *value = *value * decay - lr * update;
                });
            });
        });
    };
    let mut done = Ok(());
    write(moments.parameter.var.as_tensor(), |value| {
        done = write(&moments.first, |first| {
            // The last of the three locks; an error in it is the outer one's.
            let inner = write(&moments.second, |second| run(value, first, second));
            debug_assert!(inner.is_ok());
        });
    })?;
    done
}

/// f32 for the half-precision types, the type itself otherwise.
fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}
