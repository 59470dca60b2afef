//! 5.3 The model: part 3's, with experts in the seat of each feed-forward layer.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use modern::swiglu::FeedForward;
use modern::{GptModern, TokenLayer};
use tensor_core::Scope;

use crate::config::{Blend, MoeConfig, Strain};
use crate::dispatch::{Dispatch, capacity};
use crate::hybrid::Hybrid;
use crate::load::Load;
use crate::moe_layer::MoeLayer;
use crate::router::{Routed, SELECTION_BIAS};

/// A decoder with experts, parameters named as Mixtral's.
#[derive(Debug, Clone)]
pub struct GptMoe {
    /// What reads and writes: part 3's tools take it as they take any.
    pub gpt: GptModern,
    config: MoeConfig,
    strain: Strain,
}

impl GptMoe {
    /// A model for use.
    ///
    /// # Errors
    /// As [`MoeConfig::check`].
    pub fn new(config: &MoeConfig, scope: Scope<'_>) -> Result<Self> {
        Self::strained(config, scope, Strain::default())
    }

    /// A model in training, whose routers bear `strain`. What is [`moved_by_hand`] is to be frozen: the optimiser has nothing to
    /// do with it.
    ///
    /// # Errors
    /// As [`MoeConfig::check`].
    pub fn strained(config: &MoeConfig, scope: Scope<'_>, strain: Strain) -> Result<Self> {
        config.check()?;
        let MoeConfig { model, router, blend } = *config;
        let (c, [init, residual]) = (model.n_embd, model.inits());
        let gpt = GptModern::with_layers(&model, scope, |mut block| {
            let place = block.at("block_sparse_moe");
            let experts = MoeLayer::new(place, c, (router, model.mlp), strain, [init, residual])?;
            let layer: Arc<dyn TokenLayer> = match blend {
                Blend::ExpertsAlone => Arc::new(experts),
                Blend::Hybrid { dense_share } => {
                    let dense = FeedForward::new(block.at("mlp"), c, model.mlp, init, residual)?;
                    Arc::new(Hybrid { dense, experts, dense_share })
                }
            };
            Ok(layer)
        })?;
        Ok(Self { gpt, config: *config, strain })
    }

    /// What it was made with.
    pub fn config(&self) -> &MoeConfig {
        &self.config
    }

    /// The scores of every possible next token after each of `ids: (B, T)`, (B, T, V), and where each layer sent the tokens.
    pub fn forward(&self, ids: &Tensor) -> Result<(Tensor, Vec<Routed>)> {
        let (logits, notes) = self.gpt.forward_with_notes(ids)?;
        Ok((logits, Routed::of_notes(&notes)?))
    }

    /// How many tokens went where in a layer.
    pub fn load(&self, routed: &Routed) -> Load {
        let (e, k) = (self.config.router.n_expert, self.config.router.top_k);
        let n = routed.experts.len() / k;
        let dropped = self.strain.capacity_factor.map_or(0, |factor| {
            Dispatch::new(&routed.experts, k, e, Some(capacity(factor, n, k, e))).dropped()
        });
        Load::new(&routed.experts, e, dropped)
    }
}

/// Whether the parameter of this name is moved after each step by the load, not by a gradient: freeze it.
pub fn moved_by_hand(name: &str) -> bool {
    name.ends_with(SELECTION_BIAS)
}
