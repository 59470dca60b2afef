//! AdamW: Adam with decoupled weight decay (Loshchilov and Hutter,
//! <https://arxiv.org/abs/1711.05101>).
//!
//! m ← β₁ m + (1−β₁) g,  v ← β₂ v + (1−β₂) g²,  p ← p − lr·λ·p − lr · m̂ / (√v̂ + ε), where m̂ = m
//! / (1−β₁ᵗ) and v̂ = v / (1−β₂ᵗ). As in PyTorch, t counts the updates of each parameter
//! separately, so that the bias correction is right for a parameter that had no gradient for a
//! while. The moments are stored in f32, in f64 for f64 parameters, or in 8 bits
//! ([`MomentFormat`]).

mod update;

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor, Var, bail};
use candle_nn::{Optimizer, ParamsAdamW};
use serde::{Deserialize, Serialize};
use update::{fused, reference};

use crate::kernels::{by_type, has_fused_loops};
use crate::moments::{MomentFormat, Moments, Step, update_blockwise};
use crate::optimizer_state::take_tensor;
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
    /// Number format of the moments.
    #[serde(default)]
    pub moments: MomentFormat,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, moments: MomentFormat::Full }
    }
}

/// Optimizer state of one parameter.
struct State {
    parameter: Parameter,
    updates: u32, // t
    moments: Moments,
}

/// AdamW optimizer. Stores the moments of every parameter that was trainable when it was created.
pub struct AdamW {
    config: AdamWConfig,
    states: Vec<State>,
    /// Learning rate of steps that are taken through candle-nn's trait, once it is set.
    learning_rate: Option<f64>,
}

impl AdamW {
    /// Optimizer of all trainable `parameters`, with moments 0.
    pub fn new(parameters: &Parameters, config: AdamWConfig) -> Result<Self> {
        Self::of_parameters(parameters.trainable().cloned(), config)
    }

    /// Optimizer of some `parameters`, with moments 0.
    pub(crate) fn of_parameters(
        parameters: impl IntoIterator<Item = Parameter>,
        config: AdamWConfig,
    ) -> Result<Self> {
        let states = parameters.into_iter();
        let states = states.map(|parameter| State::new(parameter, config.moments));
        Ok(Self { config, states: states.collect::<Result<_>>()?, learning_rate: None })
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
        let parameters = vars.map(|(name, var)| {
            let weight_decay = WeightDecay::Yes;
            Parameter { name, var, weight_decay, trainable: true }
        });
        Self::of_parameters(parameters, config)
    }

    /// Updates every parameter that has a gradient in `grads`, at learning rate `lr`.
    pub fn step(&mut self, grads: &GradStore, lr: f64) -> Result<()> {
        for state in &mut self.states {
            if let Some(grad) = grads.get(state.parameter.var.as_tensor()) {
                state.update(&grad.detach(), lr, &self.config)?;
            }
        }
        Ok(())
    }

    /// Copy of the moments and update counts by name, to be written to a file.
    ///
    /// # Errors
    /// When candle-nn's trait made the optimizer, whose variables have no names.
    pub fn state_dict(&self) -> Result<BTreeMap<String, Tensor>> {
        self.state_view()?.into_iter().map(|(name, tensor)| Ok((name, tensor.copy()?))).collect()
    }

    /// [`AdamW::state_dict`] in the memory of the optimizer, which the next step changes: to be
    /// written at once.
    ///
    /// # Errors
    /// Those of [`AdamW::state_dict`].
    pub fn state_view(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = BTreeMap::new();
        for State { parameter, updates, moments } in &self.states {
            if parameter.name.is_empty() {
                bail!("the optimizer's variables have no names: make it with AdamW::of_vars");
            }
            let updates = Tensor::new(*updates, parameter.var.device())?;
            state.insert(format!("{}.updates", parameter.name), updates);
            for (name, tensor) in moments.state()? {
                state.insert(format!("{}.{name}", parameter.name), tensor);
            }
        }
        Ok(state)
    }

    /// Restores the state returned by [`AdamW::state_dict`].
    ///
    /// # Errors
    /// Names a tensor that is missing, unexpected, misshapen or of another optimizer; the optimizer
    /// is then unchanged.
    pub fn load_state_dict(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<()> {
        let mut restored = Vec::with_capacity(self.states.len());
        for State { parameter, moments, .. } in &self.states {
            let mut take = |what: &str, dims: &[usize], dtype: DType| {
                take_tensor(&mut state, &parameter.name, what, dims, dtype)
            };
            let updates = take("updates", &[], DType::U32)?.to_scalar()?;
            let moments = moments.restored(take)?;
            restored.push(State { parameter: parameter.clone(), updates, moments });
        }
        if let Some(name) = state.keys().next() {
            bail!("optimizer state `{name}` does not belong to a trainable parameter");
        }
        self.states = restored;
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
        let moments = MomentFormat::Full;
        let config = AdamWConfig { beta1, beta2, eps, weight_decay, moments };
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

impl State {
    fn new(parameter: Parameter, format: MomentFormat) -> Result<Self> {
        let moments = Moments::new(&parameter, format)?;
        Ok(Self { parameter, updates: 0, moments })
    }

    fn update(&mut self, grad: &Tensor, lr: f64, config: &AdamWConfig) -> Result<()> {
        self.updates = self.updates.saturating_add(1);
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
        match &mut self.moments {
            Moments::Blockwise(blocks) => update_blockwise(var.as_tensor(), blocks, grad, &step),
            Moments::Full { first, second }
                if has_fused_loops(var) && grad.dtype() == var.dtype() =>
            {
                by_type!(var, fused(var.as_tensor(), [first, second], grad, &step))
            }
            Moments::Full { first, second } => reference(var, [first, second], grad, &step),
        }
    }
}
