//! The block: x ← x + Attention(norm(x)), then x ← x + FFN(norm(x)), as in part 1, of this part's pieces.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use tensor_core::ops::add;
use tensor_core::{Dropout, Scope};

use crate::attention::Attention;
use crate::cache::{AttentionContext, LayerCache};
use crate::config::ModelConfig;
use crate::feed_forward_layer::FeedForwardLayer;
use crate::rms_norm::Norm;
use crate::rope::RotaryTable;

/// A pre-norm transformer block, parameters named as Llama's.
#[derive(Debug, Clone)]
pub struct Block {
    input_layernorm: Norm,
    self_attn: Attention,
    post_attention_layernorm: Norm, // before the feed-forward layer, that is
    mlp: Arc<dyn FeedForwardLayer>,
    dropout: Dropout,
}

impl Block {
    /// Parameters `input_layernorm`, `self_attn`, `post_attention_layernorm` and those of the layer that `mlp` makes.
    pub fn new(
        mut scope: Scope<'_>,
        config: &ModelConfig,
        mlp: impl FnOnce(Scope<'_>) -> Result<Arc<dyn FeedForwardLayer>>,
    ) -> Result<Self> {
        let (c, norm) = (config.n_embd, config.norm);
        Ok(Self {
            input_layernorm: Norm::new(scope.at("input_layernorm"), c, norm)?,
            self_attn: Attention::new(
                scope.at("self_attn"),
                c,
                &config.attention,
                norm,
                config.weight_inits(),
            )?,
            post_attention_layernorm: Norm::new(scope.at("post_attention_layernorm"), c, norm)?,
            mlp: mlp(scope)?,
            dropout: Dropout::disabled(),
        })
    }

    pub(crate) fn set_dropout(&mut self, dropout: Dropout) {
        self.dropout = dropout;
    }

    /// Maps `x: (B, T, C)` to `(B, T, C)`; `notes` as [`TokenLayer::forward`] has it.
    pub fn forward(
        &self,
        x: &Tensor,
        pass: &AttentionContext,
        angles: Option<&RotaryTable>,
        cache: Option<&mut LayerCache>,
        notes: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let attended =
            self.self_attn.forward(&self.input_layernorm.forward(x)?, pass, angles, cache)?;
        let x = add(x, &self.dropout.forward(&attended)?)?;
        let found = self.mlp.forward(&self.post_attention_layernorm.forward(&x)?, notes)?;
        add(&x, &self.dropout.forward(&found)?)
    }

    /// What its attention gets to see of `x: (B, T, C)`: queries, keys and values.
    pub fn queries_keys_values(
        &self,
        x: &Tensor,
        pass: &AttentionContext,
        angles: Option<&RotaryTable>,
    ) -> Result<[Tensor; 3]> {
        self.self_attn.queries_keys_values(&self.input_layernorm.forward(x)?, pass, angles)
    }
}
