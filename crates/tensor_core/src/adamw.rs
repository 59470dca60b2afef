//! AdamW: Adam with decoupled weight decay (Loshchilov and Hutter,
//! <https://arxiv.org/abs/1711.05101>).
//!
//! m ← β₁ m + (1−β₁) g,  v ← β₂ v + (1−β₂) g²,  p ← p − lr·λ·p − lr · m̂ / (√v̂ + ε), where m̂ = m
//! / (1−β₁ᵗ) and v̂ = v / (1−β₂ᵗ). As in PyTorch, t counts the updates of each parameter
//! separately, so that the bias correction is right for a parameter that had no gradient for a
//! while. The moments are stored in f32, or in f64 for f64 parameters.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor, Var, bail};
use candle_nn::{Optimizer, ParamsAdamW};
use serde::{Deserialize, Serialize};

use crate::kernels::{
    Float, GRAIN, by_type, for_each_part, has_fused_loops, values, vectorized, write,
};
use crate::{Parameter, Parameters, WeightDecay, backward};

/// Hyperparameters of [`AdamW`]; the learning rate is an argument of each step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamWConfig {
    /// Decay rate β₁ of the first moment.
    pub beta1: f64,
    /// Decay rate β₂ of the second moment.
    pub beta2: f64,
    /// Term ε that keeps the division finite.
    pub eps: f64,
    /// Weight decay λ, for parameters with [`WeightDecay::Yes`].
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 }
    }
}

/// Optimizer state of one parameter.
struct Moments {
    parameter: Parameter,
    updates: u32,   // t
    first: Tensor,  // m
    second: Tensor, // v
}

/// AdamW optimizer. Stores the moments of every parameter that was trainable when it was created.
pub struct AdamW {
    config: AdamWConfig,
    moments: Vec<Moments>,
    /// Learning rate of steps that are taken through candle-nn's trait, once it is set.
    learning_rate: Option<f64>,
}

impl AdamW {
    /// Optimizer of all trainable `parameters`, with moments 0.
    pub fn new(parameters: &Parameters, config: AdamWConfig) -> Result<Self> {
        let moments = parameters.trainable().cloned().map(Moments::new).collect::<Result<_>>()?;
        Ok(Self { config, moments, learning_rate: None })
    }

    /// Optimizer of named variables, such as those of a `candle_nn::VarMap`; weight decay applies
    /// to each.
    ///
    /// # Errors
    /// When memory is short.
    pub fn of_vars(
        vars: impl IntoIterator<Item = (String, Var)>,
        config: AdamWConfig,
    ) -> Result<Self> {
        let vars = vars.into_iter().filter(|(_, var)| var.dtype().is_float());
        let moments = vars.map(|(name, var)| {
            let weight_decay = WeightDecay::Yes;
            Moments::new(Parameter { name, var, weight_decay, trainable: true })
        });
        Ok(Self { config, moments: moments.collect::<Result<_>>()?, learning_rate: None })
    }

    /// Updates every parameter that has a gradient in `grads`, at learning rate `lr`.
    pub fn step(&mut self, grads: &GradStore, lr: f64) -> Result<()> {
        for moments in &mut self.moments {
            if let Some(grad) = grads.get(moments.parameter.var.as_tensor()) {
                moments.update(&grad.detach(), lr, &self.config)?;
            }
        }
        Ok(())
    }

    /// Copy of the moments and update counts by name, to be written to a file.
    ///
    /// # Errors
    /// When candle-nn's trait made the optimizer, whose variables have no names.
    pub fn state_dict(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = BTreeMap::new();
        for Moments { parameter, updates, first, second } in &self.moments {
            if parameter.name.is_empty() {
                bail!("the optimizer's variables have no names: make it with AdamW::of_vars");
            }
            let updates = Tensor::new(*updates, first.device())?;
            state.insert(format!("{}.updates", parameter.name), updates);
            state.insert(format!("{}.first", parameter.name), first.copy()?);
            state.insert(format!("{}.second", parameter.name), second.copy()?);
        }
        Ok(state)
    }

    /// Restores the state returned by [`AdamW::state_dict`].
    ///
    /// # Errors
    /// Names a tensor that is missing, unexpected or misshapen; the optimizer is then unchanged.
    pub fn load_state_dict(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<()> {
        let mut restored = Vec::with_capacity(self.moments.len());
        for Moments { parameter, first, .. } in &self.moments {
            let mut take = |what: &str, like: &Tensor| {
                let name = format!("{}.{what}", parameter.name);
                match state.remove(&name) {
                    Some(tensor) if tensor.shape() == like.shape() => {
                        tensor.to_device(like.device())?.to_dtype(like.dtype())?.copy()
                    }
                    Some(tensor) => bail!("optimizer state `{name}` has shape {:?}", tensor.dims()),
                    None => bail!("optimizer state `{name}` is missing"),
                }
            };
            let count = Tensor::new(0u32, first.device())?;
            let updates = take("updates", &count)?.to_scalar()?;
            let (first, second) = (take("first", first)?, take("second", first)?);
            restored.push(Moments { parameter: parameter.clone(), updates, first, second });
        }
        if let Some(name) = state.keys().next() {
            bail!("optimizer state `{name}` does not belong to a trainable parameter");
        }
        self.moments = restored;
        Ok(())
    }
}

/// For programs written for candle-nn: weight decay applies to every variable, and `backward_step`
/// differentiates through the operations of this crate too.
///
/// A `VarMap` lists its variables in another order each time, so moments cannot be saved by their
/// place: an optimizer whose state is to be saved is made by [`AdamW::new`] or [`AdamW::of_vars`],
/// and takes its steps here once `set_learning_rate` was called.
impl Optimizer for AdamW {
    type Config = ParamsAdamW;

    fn new(vars: Vec<Var>, params: ParamsAdamW) -> Result<Self> {
        let ParamsAdamW { lr, beta1, beta2, eps, weight_decay } = params;
        let config = AdamWConfig { beta1, beta2, eps, weight_decay };
        let unnamed = vars.into_iter().map(|var| (String::new(), var));
        Ok(Self { learning_rate: Some(lr), ..Self::of_vars(unnamed, config)? })
    }

    fn step(&mut self, grads: &GradStore) -> Result<()> {
        match self.learning_rate {
            Some(lr) => Self::step(self, grads, lr),
            None => bail!("the optimizer has no learning rate: call set_learning_rate first"),
        }
    }

    /// Learning rate, or 0 before one is set.
    fn learning_rate(&self) -> f64 {
        self.learning_rate.unwrap_or(0.)
    }

    fn set_learning_rate(&mut self, lr: f64) {
        self.learning_rate = Some(lr);
    }

    fn backward_step(&mut self, loss: &Tensor) -> Result<()> {
        Optimizer::step(self, &backward(loss)?)
    }
}

impl Moments {
    fn new(parameter: Parameter) -> Result<Self> {
        let var = &parameter.var;
        let zeros = || Tensor::zeros(var.shape(), moment_dtype(var.dtype()), var.device());
        let (first, second) = (zeros()?, zeros()?);
        Ok(Self { parameter, updates: 0, first, second })
    }

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
            bias_correction1: 1. / (1. - config.beta1.powi(t)),
            bias_correction2: 1. / (1. - config.beta2.powi(t)),
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
        let corrected_first = (&self.first * step.bias_correction1)?;
        let corrected_second = (&self.second * step.bias_correction2)?;
        let update = (corrected_first / (corrected_second.sqrt()? + step.eps)?)?;
        let value = var.as_detached_tensor().to_dtype(update.dtype())?;
        var.set(&((value * step.decay)? - (update * step.lr)?)?.to_dtype(var.dtype())?)
    }
}

/// Constants of the update formula at one step.
struct Step {
    beta1: f64,
    beta2: f64,
    bias_correction1: f64,
    bias_correction2: f64,
    eps: f64,
    decay: f64,
    lr: f64,
}

/// Update of one parameter in a single pass over memory.
fn fused<T: Float>(moments: &Moments, grad: &Tensor, step: &Step) -> Result<()> {
    let grad = grad.contiguous()?;
    let grad = values::<T>(&grad)?;
    let cast = T::cast;
    let (beta1, beta2) = (cast(step.beta1), cast(step.beta2));
    let (one_minus_beta1, one_minus_beta2) = (cast(1. - step.beta1), cast(1. - step.beta2));
    let (bias_correction1, bias_correction2) =
        (cast(step.bias_correction1), cast(step.bias_correction2));
    let (eps, decay, lr) = (cast(step.eps), cast(step.decay), cast(step.lr));
    let run = |value: &mut [T], first: &mut [T], second: &mut [T]| {
        let parts = [(value, GRAIN), (first, GRAIN), (second, GRAIN)];
        for_each_part(parts, |part, [value, first, second]| {
            let weights = value.iter_mut().zip(first).zip(second).zip(&grad[part * GRAIN..]);
            vectorized!({
                weights.for_each(|(((value, first), second), &g)| {
                    *first = beta1 * *first + one_minus_beta1 * g;
                    *second = beta2 * *second + one_minus_beta2 * g * g;
                    let update =
                        *first * bias_correction1 / ((*second * bias_correction2).sqrt() + eps);
                    *value = *value * decay - lr * update;
                });
            });
        });
    };
    let mut result = Ok(());
    write(moments.parameter.var.as_tensor(), |value| {
        result = write(&moments.first, |first| {
            // The last of the three locks; an error in it is the outer one's.
            let inner = write(&moments.second, |second| run(value, first, second));
            debug_assert!(inner.is_ok());
        });
    })?;
    result
}

/// Dtype of the moments: f32 for half-precision parameters, else the dtype of the parameter.
fn moment_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}
