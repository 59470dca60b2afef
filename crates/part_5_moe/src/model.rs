//! 5.3 The model: part 3's, with experts in the seat of each feed-forward layer.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use modern::swiglu::FeedForward;
use modern::{FeedForwardLayer, GptModern};
use tensor_core::Scope;

use crate::config::{DenseBranch, MoeConfig, RouterTrainingConfig};
use crate::dispatch::{Dispatch, expert_capacity};
use crate::expert_load::ExpertLoad;
use crate::hybrid::Hybrid;
use crate::moe_layer::MoeLayer;
use crate::router::{RouterOutput, SELECTION_BIAS};

/// A decoder with experts, parameters named as Mixtral's.
#[derive(Debug, Clone)]
pub struct GptMoe {
    /// What reads and writes: part 3's tools take it as they take any.
    pub gpt: GptModern,
    config: MoeConfig,
    router_training: RouterTrainingConfig,
}

impl GptMoe {
    /// A model for use.
    ///
    /// # Errors
    /// As [`MoeConfig::check`].
    pub fn new(config: &MoeConfig, scope: Scope<'_>) -> Result<Self> {
        Self::new_for_training(config, scope, RouterTrainingConfig::default())
    }

    /// A model in training, whose routers bear `strain`. Every [`is_selection_bias`] parameter is
    /// to be frozen: the optimiser has nothing to
    /// do with it.
    ///
    /// # Errors
    /// As [`MoeConfig::check`].
    pub fn new_for_training(
        config: &MoeConfig,
        scope: Scope<'_>,
        strain: RouterTrainingConfig,
    ) -> Result<Self> {
        config.check()?;
        let MoeConfig { model, router, dense_branch: blend } = *config;
        let (c, [init, residual]) = (model.n_embd, model.weight_inits());
        let gpt = GptModern::with_feed_forward_layers(&model, scope, |mut block| {
            let place = block.at("block_sparse_moe");
            let experts = MoeLayer::new(place, c, (router, model.mlp), strain, [init, residual])?;
            let layer: Arc<dyn FeedForwardLayer> = match blend {
                DenseBranch::None => Arc::new(experts),
                DenseBranch::Weighted { dense_weight: dense_share } => {
                    let dense = FeedForward::new(block.at("mlp"), c, model.mlp, init, residual)?;
                    Arc::new(Hybrid { dense, experts, dense_weight: dense_share })
                }
            };
            Ok(layer)
        })?;
        Ok(Self { gpt, config: *config, router_training: strain })
    }

    /// What it was made with.
    pub fn config(&self) -> &MoeConfig {
        &self.config
    }

    /// The scores of every possible next token after each of `ids: (B, T)`, (B, T, V), and where each layer sent the tokens.
    pub fn forward(&self, ids: &Tensor) -> Result<(Tensor, Vec<RouterOutput>)> {
        let (logits, notes) = self.gpt.forward_with_aux_outputs(ids)?;
        Ok((logits, RouterOutput::from_aux_outputs(&notes)?))
    }

    /// How many tokens went where in a layer.
    pub fn load(&self, routed: &RouterOutput) -> ExpertLoad {
        let (e, k) = (self.config.router.n_expert, self.config.router.top_k);
        let n = routed.selected_experts.len() / k;
        let dropped = self.router_training.capacity_factor.map_or(0, |factor| {
            Dispatch::new(&routed.selected_experts, k, e, Some(expert_capacity(factor, n, k, e)))
                .n_dropped()
        });
        ExpertLoad::new(&routed.selected_experts, e, dropped)
    }
}

/// Whether the parameter of this name is moved after each step by the load, not by a gradient: freeze it.
pub fn is_selection_bias(name: &str) -> bool {
    name.ends_with(SELECTION_BIAS)
}
