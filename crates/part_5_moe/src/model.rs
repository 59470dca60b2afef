//! 5.3 The model: part 3's decoder with an MoE layer in place of each feed-forward layer.

use std::sync::Arc;

use candle_core::{DType, Device, Module, Result, Tensor};
use model_io::TensorNames;
use modern::swiglu::FeedForward;
use modern::{FeedForwardLayer, GptModern};
use tensor_core::{Parameters, Scope};

use crate::config::{DenseBranch, MoeConfig, RouterTrainingConfig};
use crate::dispatch::{Dispatch, expert_capacity};
use crate::expert_load::ExpertLoad;
use crate::hybrid::Hybrid;
use crate::moe_layer::MoeLayer;
use crate::router::{RouterOutput, SELECTION_BIAS};

/// Mixture-of-experts decoder with Mixtral's parameter names.
#[derive(Debug, Clone)]
pub struct GptMoe {
    /// Part 3's model with MoE layers, for part 3's generation and caching.
    pub gpt: GptModern,
    config: MoeConfig,
    router_training: RouterTrainingConfig,
}

impl GptMoe {
    /// Model for inference, without jitter and capacity.
    ///
    /// # Errors
    /// Those of [`MoeConfig::check`].
    pub fn new(config: &MoeConfig, scope: Scope<'_>) -> Result<Self> {
        Self::new_for_training(config, scope, RouterTrainingConfig::default())
    }

    /// Model for training, with the jitter and capacity of `router_training`. Freeze every
    /// [`is_selection_bias`] parameter: the load updates it, not the optimizer.
    ///
    /// # Errors
    /// Those of [`MoeConfig::check`].
    pub fn new_for_training(
        config: &MoeConfig,
        scope: Scope<'_>,
        router_training: RouterTrainingConfig,
    ) -> Result<Self> {
        config.check()?;
        let MoeConfig { model, router, dense_branch } = *config;
        let (c, [init, residual]) = (model.n_embd, model.weight_inits());
        let gpt = GptModern::with_feed_forward_layers(&model, scope, |mut block| {
            let (scope, mlp) = (block.at("block_sparse_moe"), model.mlp);
            let experts = MoeLayer::new(scope, c, router, mlp, router_training, init, residual)?;
            let layer: Arc<dyn FeedForwardLayer> = match dense_branch {
                DenseBranch::None => Arc::new(experts),
                DenseBranch::Weighted { dense_weight } => {
                    let (scope, names) = (block.at("mlp"), TensorNames::LLAMA);
                    let dense = FeedForward::new(scope, c, mlp, &names, [init, residual])?;
                    Arc::new(Hybrid { dense, experts, dense_weight })
                }
            };
            Ok(layer)
        })?;
        Ok(Self { gpt, config: *config, router_training })
    }

    /// The training model with the current values of `parameters`, computing in `dtype`.
    pub(crate) fn in_dtype(&self, parameters: &Parameters, dtype: DType) -> Result<Self> {
        let mut parameters = parameters.with_compute_dtype(dtype);
        Self::new_for_training(&self.config, parameters.root(), self.router_training)
    }

    /// Configuration of the model.
    pub fn config(&self) -> &MoeConfig {
        &self.config
    }

    /// Device of the weights.
    pub fn device(&self) -> &Device {
        self.gpt.device()
    }

    /// Logits (B, T, V) of the token after each of `ids: (B, T)`, and the router output of each
    /// layer.
    pub fn forward_with_routing(&self, ids: &Tensor) -> Result<(Tensor, Vec<RouterOutput>)> {
        let (logits, aux_outputs) = self.gpt.forward_with_aux_outputs(ids)?;
        Ok((logits, RouterOutput::from_aux_outputs(&aux_outputs)?))
    }

    /// Expert load of a layer with this router output.
    pub fn load(&self, router_output: &RouterOutput) -> ExpertLoad {
        let (e, k) = (self.config.router.n_expert, self.config.router.top_k);
        let experts = &router_output.selected_experts;
        let n = experts.len() / k;
        let dropped = self.router_training.capacity_factor.map_or(0, |factor| {
            Dispatch::new(experts, k, e, Some(expert_capacity(factor, n, k, e))).n_dropped()
        });
        ExpertLoad::new(experts, e, dropped)
    }
}

impl Module for GptMoe {
    /// Logits (B, T, V) of the token after each of `ids: (B, T)`.
    fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        self.gpt.forward(ids)
    }
}

/// Returns whether this parameter is a selection bias, which the load updates after each step and
/// not a gradient: freeze it.
pub fn is_selection_bias(name: &str) -> bool {
    name.ends_with(SELECTION_BIAS)
}
