//! 8.2 Critic: the expected return of a completion, estimated before each of its tokens.
//!
//! V(s_t) = w · h_t + b, where h_t is the hidden state that predicts token t. Both start at 0, so
//! the first advantages are the rewards themselves rather than the noise of a random estimate.
//!
//! A head on the policy's backbone is almost free and shares its features, but its gradient also
//! moves the policy. A separate backbone costs a second model and can have its own learning rate;
//! it starts as a copy of the policy.

use anyhow::{Context, Result};
use candle_core::{DType, Module, Tensor};
use experiment::TrainState;
use model_io::ModelConfig;
use modern::{GptModern, GradientCheckpointing};
use ranks::Ranks;
use serde::Serialize;
use tensor_core::{Bias, Init, Linear, OptimizerConfig, Parameters, Scope};

use crate::rollout_group::{RolloutGroup, longest_completion};
use crate::token_batch::TokenBatch;

/// Value head: a linear layer from hidden states to values.
#[derive(Debug, Clone)]
pub struct ValueHead(Linear);

impl ValueHead {
    /// Parameters `weight: (1, C)` and `bias: (1)`, both 0. The head computes in f32 or wider.
    ///
    /// # Errors
    /// When the store has tensors of other names or shapes.
    pub fn new(scope: Scope<'_>, c: usize) -> Result<Self> {
        Ok(Self(Linear::new(scope.at_least_f32(), c, 1, Bias::Yes, Init::Zeros)?))
    }

    /// Values of `hidden: (N, C)`: (N), in f32.
    ///
    /// # Errors
    /// When the widths differ.
    pub fn forward(&self, hidden: &Tensor) -> Result<Tensor> {
        let hidden = hidden.to_dtype(self.0.weight.as_tensor()?.dtype())?;
        Ok(self.0.forward(&hidden)?.squeeze(1)?.to_dtype(DType::F32)?)
    }
}

/// Backbone of the critic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum CriticBackbone {
    /// The policy's backbone
    Shared,
    /// A separate backbone, initialized as a copy of the policy's
    #[default]
    Separate,
}

/// Model that estimates values.
#[derive(Debug, Clone)]
pub enum Critic {
    /// Value head on the policy's hidden states.
    Shared(ValueHead),
    /// Separate backbone with a value head.
    Separate(Box<GptModern>, ValueHead),
}

/// Values of a batch of completions.
#[derive(Debug)]
pub struct CriticValues {
    /// Value before each token: (R, T), 0 at padding.
    pub token_values: Tensor,
    /// Value after the last token of each truncated completion, 0 for terminated ones: (R).
    pub bootstrap_values: Tensor,
}

/// Train state of a new critic for a policy with config `policy` and weights `parameters`; its
/// backbone computes in the dtype of the policy.
///
/// # Errors
/// When memory is short.
pub fn new_critic(
    backbone: CriticBackbone,
    policy: &ModelConfig,
    parameters: &Parameters,
    optimizer: OptimizerConfig,
) -> Result<TrainState> {
    let mut own = Parameters::seeded(0, DType::F32, parameters.device());
    if backbone == CriticBackbone::Separate {
        GptModern::new(policy, own.root())?;
        for parameter in own.iter() {
            let source = parameters.get(&parameter.name);
            let source = source.with_context(|| format!("the policy has no {}", parameter.name))?;
            parameter.var.set(&source.var.as_detached_tensor().to_dtype(DType::F32)?)?;
        }
    }
    ValueHead::new(own.root().at("value_head"), policy.embedding_width())?;
    TrainState::new(own, optimizer)?.with_compute_dtype(parameters.compute_dtype())
}

impl Critic {
    /// Critic over the `parameters` that [`new_critic`] made for a model of `config`.
    ///
    /// # Errors
    /// When the parameters do not match.
    pub fn from_parameters(
        parameters: &mut Parameters,
        backbone: CriticBackbone,
        config: &ModelConfig,
    ) -> Result<Self> {
        let head = ValueHead::new(parameters.root().at("value_head"), config.embedding_width())?;
        Ok(match backbone {
            CriticBackbone::Shared => Self::Shared(head),
            CriticBackbone::Separate => {
                Self::Separate(Box::new(GptModern::new(config, parameters.root())?), head)
            }
        })
    }

    /// The critic with gradient checkpointing of its own backbone, or without it. A shared one has
    /// that of the policy.
    pub fn with_gradient_checkpointing(self, checkpointing: GradientCheckpointing) -> Self {
        match self {
            Self::Shared(head) => Self::Shared(head),
            Self::Separate(backbone, head) => {
                let backbone = backbone.with_gradient_checkpointing(checkpointing);
                Self::Separate(Box::new(backbone), head)
            }
        }
    }

    /// Builds a backbone of its own again if it has rounded copies of the weights of `parameters`:
    /// see [`GptModern::refresh`].
    ///
    /// # Errors
    /// When memory is short.
    pub fn refresh(&mut self, parameters: &mut Parameters) -> Result<()> {
        if let Self::Separate(backbone, _) = self {
            backbone.refresh(parameters)?;
        }
        Ok(())
    }

    /// Values of `batch`. `policy` computes the policy's hidden states, (B · S, C); it is called
    /// only by a shared critic.
    ///
    /// # Errors
    /// When the batch does not fit the model.
    pub fn values(
        &self,
        batch: &TokenBatch,
        policy: impl FnOnce() -> Result<Tensor>,
    ) -> Result<CriticValues> {
        let (hidden, head) = self.head_inputs(batch, policy)?;
        let token_values =
            batch.to_padded(&head.forward(&batch.at_predicting_positions(&hidden)?)?)?;
        let device = batch.mask.device();
        let mut bootstrap_values = Tensor::zeros(batch.n_completions(), DType::F32, device)?;
        if let Some((hidden, truncated)) = batch.at_bootstrap_positions(&hidden)? {
            let values = head.forward(&hidden)?.detach(); // (K)
            let rows = Tensor::from_iter(truncated.iter().map(|&r| r as u32), device)?;
            bootstrap_values = bootstrap_values.index_add(&rows, &values, 0)?;
        }
        Ok(CriticValues { token_values, bootstrap_values })
    }

    /// Value before each token of `batch`: (R, T), 0 at padding.
    ///
    /// # Errors
    /// As [`Critic::values`].
    pub fn token_values(
        &self,
        batch: &TokenBatch,
        policy: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Tensor> {
        let (hidden, head) = self.head_inputs(batch, policy)?;
        batch.to_padded(&head.forward(&batch.at_predicting_positions(&hidden)?)?)
    }

    /// Hidden states that the head reads, (B · S, C), and the head.
    fn head_inputs(
        &self,
        batch: &TokenBatch,
        policy: impl FnOnce() -> Result<Tensor>,
    ) -> Result<(Tensor, &ValueHead)> {
        Ok(match self {
            Self::Shared(head) => (policy()?, head),
            Self::Separate(backbone, head) => (batch.hidden(backbone)?, head),
        })
    }
}

/// Values of `critic` for all completions of `groups`, `n_groups` groups at a time. A critic that
/// shares its backbone reads the hidden states of `policy`. Each of the `ranks` computes those of
/// its share.
///
/// # Errors
/// When a group is longer than the model's context, or another rank has ended.
pub fn values_of_groups(
    critic: &Critic,
    policy: &GptModern,
    groups: &[RolloutGroup],
    n_groups: usize,
    ranks: &Ranks,
) -> Result<CriticValues> {
    let t = longest_completion(groups);
    let (mut token_values, mut bootstrap_values) = (Vec::new(), Vec::new());
    for groups in groups[ranks.rows(groups.len())].chunks(n_groups) {
        let batch = TokenBatch::from_groups(groups, policy.config(), policy.device())?;
        let values = critic.values(&batch, || batch.hidden(policy))?;
        let (_r, longest) = values.token_values.dims2()?;
        token_values.push(values.token_values.pad_with_zeros(1, 0, t - longest)?);
        bootstrap_values.push(values.bootstrap_values);
    }
    Ok(CriticValues {
        token_values: ranks.concat(&token_values, policy.device())?, // (R, T)
        bootstrap_values: ranks.concat(&bootstrap_values, policy.device())?, // (R)
    })
}
