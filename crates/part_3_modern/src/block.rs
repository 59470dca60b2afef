//! 3.7 The transformer block: x ← x + Attention(norm(x)), then x ← x + FFN(norm(x)), as in part 1,
//! with the components of this part, or with the norms in another place ([`BlockLayout`]). The
//! feed-forward layer is a trait: dense here, a mixture of experts in part 5.

use std::fmt;
use std::sync::Arc;

use candle_core::{Module, Result, Tensor};
use model_io::TensorNames;
use model_io::config::{BlockLayout, ModelConfig};
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

/// Transformer block.
#[derive(Debug, Clone)]
pub struct Block {
    layout: BlockLayout,
    attention_norm: Norm,
    attention: Attention,
    mlp_norm: Norm,
    /// Norms of the outputs of attention and of the feed-forward layer.
    output_norms: Option<[Norm; 2]>,
    mlp: Arc<dyn FeedForwardLayer>,
    dropout: Dropout,
}

impl Block {
    /// Creates the parameters of the norms, of attention, and of the feed-forward layer that `mlp`
    /// builds, for layer `layer`, counted from 0.
    pub fn new(
        mut scope: Scope<'_>,
        layer: usize,
        config: &ModelConfig,
        mlp: impl FnOnce(Scope<'_>) -> Result<Arc<dyn FeedForwardLayer>>,
    ) -> Result<Self> {
        let (c, norm, names) = (config.n_embd, config.norm, TensorNames::of(config));
        let (attention, inits) = (&config.attention, config.weight_inits());
        Ok(Self {
            layout: config.block,
            attention_norm: Norm::new(scope.at(names.attention_norm), c, norm)?,
            attention: Attention::new(
                scope.at(names.attention),
                c,
                layer,
                attention,
                norm,
                &names,
                inits,
            )?,
            mlp_norm: Norm::new(scope.at(names.mlp_norm), c, norm)?,
            output_norms: match config.block {
                BlockLayout::SandwichNorm => {
                    let [attention, mlp] = names.output_norms;
                    let attention = Norm::new(scope.at(attention), c, norm)?;
                    Some([attention, Norm::new(scope.at(mlp), c, norm)?])
                }
                BlockLayout::PreNorm | BlockLayout::PostNorm | BlockLayout::Parallel => None,
            },
            dropout: scope.dropout(0.),
            mlp: mlp(scope)?,
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
        let attend = |x: &Tensor| {
            let y = self.attention.forward(x, context, rotary, cache)?;
            let y = match &self.output_norms {
                Some([norm, _]) => norm.forward(&y)?,
                None => y,
            };
            self.dropout.forward(&y)
        };
        let mut mlp = |x: &Tensor| {
            let y = self.mlp.forward_with_aux_outputs(x, aux_outputs)?;
            let y = match &self.output_norms {
                Some([_, norm]) => norm.forward(&y)?,
                None => y,
            };
            self.dropout.forward(&y)
        };
        let (norm, mlp_norm) = (&self.attention_norm, &self.mlp_norm);
        match self.layout {
            BlockLayout::PreNorm | BlockLayout::SandwichNorm => {
                let x = add(x, &attend(&norm.forward(x)?)?)?;
                add(&x, &mlp(&mlp_norm.forward(&x)?)?)
            }
            BlockLayout::PostNorm => {
                let x = norm.forward(&add(x, &attend(x)?)?)?;
                mlp_norm.forward(&add(&x, &mlp(&x)?)?)
            }
            BlockLayout::Parallel => {
                let attended = add(x, &attend(&norm.forward(x)?)?)?;
                add(&attended, &mlp(&mlp_norm.forward(x)?)?)
            }
        }
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
        let input = match self.layout {
            BlockLayout::PostNorm => x,
            _ => &self.attention_norm.forward(x)?,
        };
        self.attention.queries_keys_values(input, context, rotary)
    }

    /// Attention weights (B, H, T, T) of the block's queries `q` and keys `k` of whole texts.
    pub(crate) fn attention_weights(
        &self,
        q: &Tensor,
        k: &Tensor,
        context: &AttentionContext,
    ) -> Result<Tensor> {
        self.attention.weights(q, k, context)
    }
}
