//! 8.1 The critic: who guesses values, on which network.
//!
//! A head on the policy's own network costs nothing and shares what it knows, but what the head learns moves the policy. A network
//! of its own costs a second one, and can learn at a rate of its own; it begins as a copy of the policy.

use anyhow::{Context, Result};
use candle_core::{DType, Tensor};
use modern::{GptModern, ModelConfig};
use serde::Serialize;
use sft::TrainState;
use tensor_core::{AdamWConfig, Parameters};

use crate::token_batch::TokenBatch;
use crate::value_head::ValueHead;

/// On which network values are guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum CriticBackbone {
    /// The policy's
    Shared,
    /// One of its own, at first a copy of the policy's
    #[default]
    Separate,
}

/// Who guesses values.
#[derive(Debug, Clone)]
pub enum Critic {
    /// A head on what the policy knows.
    Shared(ValueHead),
    /// A network with a head.
    Separate(Box<GptModern>, ValueHead),
}

/// The values of a batch.
#[derive(Debug)]
pub struct CriticValues {
    /// V before each token: (R, T), 0 where there is none.
    pub token_values: Tensor,
    /// V after the last token of a response that was cut off, 0 of one that ended: (R).
    pub bootstrap_values: Tensor,
}

/// A critic in training, that of `policy`, whose own parameters are `parameters`.
///
/// # Errors
/// When memory is short.
pub fn new_critic(
    trunk: CriticBackbone,
    policy: &ModelConfig,
    parameters: &Parameters,
    optimizer: AdamWConfig,
) -> Result<TrainState> {
    let mut own = Parameters::seeded(0, DType::F32, parameters.device());
    if trunk == CriticBackbone::Separate {
        GptModern::new(policy, own.root())?;
        for parameter in own.iter() {
            let source = parameters.get(&parameter.name);
            let source = source.with_context(|| format!("the policy has no {}", parameter.name))?;
            parameter.var.set(&source.var.as_detached_tensor().to_dtype(DType::F32)?)?;
        }
    }
    ValueHead::new(own.root().at("value_head"), policy.n_embd)?;
    TrainState::new(*policy, own, optimizer)
}

impl Critic {
    /// The critic on `parameters`, made by [`new_critic`] for a model of `config`.
    ///
    /// # Errors
    /// When they are not.
    pub fn from_parameters(
        parameters: &mut Parameters,
        trunk: CriticBackbone,
        config: &ModelConfig,
    ) -> Result<Self> {
        let head = ValueHead::new(parameters.root().at("value_head"), config.n_embd)?;
        Ok(match trunk {
            CriticBackbone::Shared => Self::Shared(head),
            CriticBackbone::Separate => {
                Self::Separate(Box::new(GptModern::new(config, parameters.root())?), head)
            }
        })
    }

    /// The values of `batch`; `policy` gives what the policy knows of it, (B · S, C), if that is asked for.
    ///
    /// # Errors
    /// When the batch is of another model.
    pub fn values(
        &self,
        batch: &TokenBatch,
        policy: impl FnOnce() -> Result<Tensor>,
    ) -> Result<CriticValues> {
        let (knows, head) = self.head_inputs(batch, policy)?;
        let before = batch.to_padded(&head.forward(&batch.at_predicting_positions(&knows)?)?)?;
        let mut bootstrap = vec![0f32; batch.n_completions()];
        if let Some((known, cut)) = batch.at_bootstrap_positions(&knows)? {
            let values: Vec<f32> = head.forward(&known)?.detach().to_vec1()?;
            cut.iter().zip(values).for_each(|(&response, value)| bootstrap[response] = value);
        }
        Ok(CriticValues {
            token_values: before,
            bootstrap_values: Tensor::new(bootstrap, batch.mask.device())?,
        })
    }

    /// V before each token of `batch` alone: (R, T), 0 where there is none.
    ///
    /// # Errors
    /// As [`Critic::values`].
    pub fn token_values(
        &self,
        batch: &TokenBatch,
        policy: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Tensor> {
        let (knows, head) = self.head_inputs(batch, policy)?;
        batch.to_padded(&head.forward(&batch.at_predicting_positions(&knows)?)?)
    }

    /// What the head sees, (B · S, C), and the head.
    fn head_inputs(
        &self,
        batch: &TokenBatch,
        policy: impl FnOnce() -> Result<Tensor>,
    ) -> Result<(Tensor, &ValueHead)> {
        Ok(match self {
            Self::Shared(head) => (policy()?, head),
            Self::Separate(trunk, head) => (batch.hidden(trunk)?, head),
        })
    }
}
