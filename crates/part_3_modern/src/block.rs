//! The transformer block: x ← x + Attention(norm(x)), then x ← x + FFN(norm(x)), as in part 1, with
//! the components of this part. The feed-forward layer is a trait: dense here, a mixture of experts
//! in part 5.

use std::fmt;
use std::sync::Arc;

use candle_core::{Module, Result, Tensor};
use model_io::config::ModelConfig;
use tensor_core::ops::add;
use tensor_core::{Dropout, Scope, gradient_checkpoint_all};

use crate::attention::Attention;
use crate::attention_context::AttentionContext;
use crate::cache::LayerCache;
use crate::rms_norm::Norm;
use crate::rope::RotaryTable;
use crate::swiglu::FeedForward;

/// Position-wise layer of a block.
pub trait FeedForwardLayer: fmt::Debug + Send + Sync {
    /// Maps `x: (B, T, C)` to `(B, T, C)`, each token on its own. Appends the tensors that an
    /// auxiliary loss needs to `aux_outputs`: a fixed number per layer, with gradient.
    fn forward_with_aux_outputs(&self, x: &Tensor, aux_outputs: &mut Vec<Tensor>)
    -> Result<Tensor>;
}

impl FeedForwardLayer for FeedForward {
    fn forward_with_aux_outputs(&self, x: &Tensor, _: &mut Vec<Tensor>) -> Result<Tensor> {
        self.forward(x)
    }
}

/// Pre-norm transformer block; parameters are named as in Llama.
#[derive(Debug, Clone)]
pub struct Block {
    input_layernorm: Norm,
    self_attn: Attention,
    post_attention_layernorm: Norm, // Llama's name for the norm before the feed-forward layer
    mlp: Arc<dyn FeedForwardLayer>,
    dropout: Dropout,
}

impl Block {
    /// Creates the parameters `input_layernorm`, `self_attn`, `post_attention_layernorm` and those
    /// of the feed-forward layer that `mlp` builds.
    pub fn new(
        mut scope: Scope<'_>,
        config: &ModelConfig,
        mlp: impl FnOnce(Scope<'_>) -> Result<Arc<dyn FeedForwardLayer>>,
    ) -> Result<Self> {
        let (c, norm, [init, residual]) = (config.n_embd, config.norm, config.weight_inits());
        Ok(Self {
            input_layernorm: Norm::new(scope.at("input_layernorm"), c, norm)?,
            self_attn: Attention::new(
                scope.at("self_attn"),
                c,
                &config.attention,
                norm,
                init,
                residual,
            )?,
            post_attention_layernorm: Norm::new(scope.at("post_attention_layernorm"), c, norm)?,
            mlp: mlp(scope)?,
            dropout: Dropout::disabled(),
        })
    }

    pub(crate) fn set_dropout(&mut self, dropout: Dropout) {
        self.dropout = dropout;
    }

    /// Maps `x: (B, T, C)` to `(B, T, C)`; `aux_outputs` as in
    /// [`FeedForwardLayer::forward_with_aux_outputs`].
    pub fn forward(
        &self,
        x: &Tensor,
        context: &AttentionContext,
        rotary: Option<&RotaryTable>,
        cache: Option<&mut LayerCache>,
        aux_outputs: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let attention_output =
            self.self_attn.forward(&self.input_layernorm.forward(x)?, context, rotary, cache)?;
        let x = add(x, &self.dropout.forward(&attention_output)?)?;
        let mlp_output = self
            .mlp
            .forward_with_aux_outputs(&self.post_attention_layernorm.forward(&x)?, aux_outputs)?;
        add(&x, &self.dropout.forward(&mlp_output)?)
    }

    /// [`Block::forward`] of whole texts that stores only `x`, and repeats the forward pass during
    /// the backward pass.
    pub(crate) fn forward_checkpointed(
        &self,
        x: &Tensor,
        context: &AttentionContext,
        rotary: Option<&RotaryTable>,
        aux_outputs: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let (block, context, rotary) = (self.clone(), context.clone(), rotary.cloned());
        let mut outputs = gradient_checkpoint_all(x, &self.dropout, move |x| {
            let mut outputs = Vec::new();
            let y = block.forward(x, &context, rotary.as_ref(), None, &mut outputs)?;
            outputs.insert(0, y);
            Ok(outputs)
        })?;
        let y = outputs.remove(0);
        aux_outputs.extend(outputs);
        Ok(y)
    }

    /// Queries, keys and values of the block's attention for the input `x: (B, T, C)`.
    pub fn queries_keys_values(
        &self,
        x: &Tensor,
        context: &AttentionContext,
        rotary: Option<&RotaryTable>,
    ) -> Result<[Tensor; 3]> {
        self.self_attn.queries_keys_values(&self.input_layernorm.forward(x)?, context, rotary)
    }
}
