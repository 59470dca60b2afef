//! 3.7 Decoder-only transformer of this part's blocks: one type for every family that
//! [`ModelConfig`] describes.

use std::sync::Arc;

use candle_core::{Device, Module, Result, Tensor, bail};
use model_io::TensorNames;
use model_io::config::{BlockLayout, LmHead, Mlp, ModelConfig};
use tensor_core::{Bias, Dropout, Linear, Scope};

use crate::attention_context::AttentionContext;
use crate::block::FeedForwardLayer;
use crate::block_stack::{BlockStack, GradientCheckpointing};
use crate::cache::Cache;
use crate::experts::{ExpertSizes, MixtureOfExperts};
use crate::input_embedding::{InputEmbedding, LogitHead};
use crate::rms_norm::Norm;
use crate::swiglu::FeedForward;

/// Decoder-only transformer with the parameter names of its family ([`TensorNames`]).
#[derive(Debug, Clone)]
pub struct GptModern {
    config: ModelConfig,
    embedding: InputEmbedding, // V -> C and, before the LM head, C -> W
    blocks: BlockStack,
    norm: Option<Norm>,      // if no norm ends the last block
    lm_head: Option<Linear>, // W -> V, if not tied
    dropout: Dropout,
}

impl GptModern {
    /// Creates the parameters: in Llama's names `model.embed_tokens`, `model.layers.0` and so on,
    /// `model.norm`, and `lm_head` unless tied.
    ///
    /// # Errors
    /// Those of [`ModelConfig::validate`].
    pub fn new(config: &ModelConfig, scope: Scope<'_>) -> Result<Self> {
        let (names, inits, n_embd) =
            (TensorNames::of(config), config.weight_inits(), config.n_embd);
        Self::with_feed_forward_layers(config, scope, |mut block| {
            let scope = if names.mlp.is_empty() { block } else { block.at(names.mlp) };
            let layer: Arc<dyn FeedForwardLayer> = match config.mlp {
                Mlp::Experts { width, n_expert, top_k, weights } => {
                    let sizes = ExpertSizes { n_embd, width, n_expert, top_k };
                    Arc::new(MixtureOfExperts::new(scope, sizes, weights, &names, inits)?)
                }
                mlp => Arc::new(FeedForward::new(scope, n_embd, mlp, &names, inits)?),
            };
            Ok(layer)
        })
    }

    /// Like [`GptModern::new`], with feed-forward layers built by `mlp`, which gets the scope of
    /// each block in turn.
    ///
    /// # Errors
    /// Those of [`ModelConfig::validate`].
    pub fn with_feed_forward_layers(
        config: &ModelConfig,
        mut scope: Scope<'_>,
        mlp: impl FnMut(Scope<'_>) -> Result<Arc<dyn FeedForwardLayer>>,
    ) -> Result<Self> {
        config.validate()?;
        let ModelConfig { vocab_size, n_embd, .. } = *config;
        let names = TensorNames::of(config);
        let mut model = scope.at(names.model);
        let embedding = InputEmbedding::new(&mut model, config, &names)?;
        let blocks = BlockStack::new(model.at(names.layers), config, mlp)?;
        let norm = match config.block {
            BlockLayout::PreNorm | BlockLayout::Parallel | BlockLayout::SandwichNorm => {
                Some(Norm::new(model.at(names.norm), n_embd, config.norm)?)
            }
            BlockLayout::PostNorm => None,
        };
        let lm_head = match config.lm_head {
            LmHead::Tied => None,
            LmHead::Untied => {
                let ([init, _], width) = (config.weight_inits(), config.embedding_width());
                Some(Linear::new(scope.at(names.lm_head), width, vocab_size, Bias::No, init)?)
            }
        };
        let dropout = scope.dropout(0.);
        Ok(Self { config: *config, embedding, blocks, norm, lm_head, dropout })
    }

    /// Training version: `dropout`, a layer of the parameters' stream, after the embedding and
    /// after each layer, as in GPT-2, and optionally gradient checkpointing.
    pub fn for_training(
        mut self,
        dropout: Dropout,
        gradient_checkpointing: GradientCheckpointing,
    ) -> Self {
        self.blocks.set_dropout(&dropout);
        Self { dropout, ..self }.with_gradient_checkpointing(gradient_checkpointing)
    }

    /// The model with gradient checkpointing, or without it. The masks of dropout, also those of
    /// adapters, are the same in the repeated forward pass.
    pub fn with_gradient_checkpointing(
        mut self,
        gradient_checkpointing: GradientCheckpointing,
    ) -> Self {
        self.blocks.set_gradient_checkpointing(gradient_checkpointing);
        self
    }

    /// Gradient checkpointing of the blocks.
    pub fn gradient_checkpointing(&self) -> GradientCheckpointing {
        self.blocks.gradient_checkpointing()
    }

    /// Configuration of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Device of the weights.
    pub fn device(&self) -> &Device {
        self.embedding.device()
    }

    /// Logits (B, T, V) and the auxiliary outputs of the feed-forward layers, in block order.
    pub fn forward_with_aux_outputs(&self, ids: &Tensor) -> Result<(Tensor, Vec<Tensor>)> {
        let mut aux_outputs = Vec::new();
        let context = AttentionContext::full_sequence(&self.config.attention);
        let hidden = self.hidden_states_with_aux_outputs(ids, &context, None, &mut aux_outputs)?;
        Ok((self.logits(&hidden)?, aux_outputs))
    }

    /// Hidden states (B, T, W) after the final norm, for complete sequences `ids: (B, T)`; W is C
    /// unless the model projects its embeddings.
    pub fn hidden_states(&self, ids: &Tensor) -> Result<Tensor> {
        let context = AttentionContext::full_sequence(&self.config.attention);
        self.hidden_states_in_context(ids, &context, None)
    }

    /// Hidden states (B, T, W) of the next tokens `ids: (B, T)`, which attend to those in `cache`
    /// and are appended to it.
    ///
    /// # Errors
    /// When the text exceeds the context length. (A cache that is rolling in all layers is not
    /// limited, if the positions are not.)
    pub fn hidden_states_cached(&self, ids: &Tensor, cache: &mut Cache) -> Result<Tensor> {
        let (_b, t) = ids.dims2()?;
        let (end, context_len) = (cache.position() + t, self.config.context_len);
        let limited = cache.is_dynamic() || self.config.attention.position.is_limited();
        if end > context_len && limited {
            bail!("the text has {end} tokens, the model's context is {context_len}");
        }
        if let Some(limit) = self.config.attention.position.frequency_change()
            && (1..=limit).contains(&cache.position())
            && end > limit
        {
            bail!("RoPE's frequencies change after {limit} tokens: read the whole text again");
        }
        let context = cache.next_context(&self.config.attention, t)?;
        let hidden = self.hidden_states_in_context(ids, &context, Some(cache))?;
        cache.advance(&self.config.attention, t);
        Ok(hidden)
    }

    /// Logits (.., V) of `hidden: (.., W)`.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.head().forward(hidden)
    }

    /// LM head: a linear layer, or the tied embedding, and the soft cap of its outputs.
    pub(crate) fn head(&self) -> LogitHead {
        let linear = self.lm_head.clone().unwrap_or_else(|| self.embedding.tied_head());
        LogitHead { linear, softcap: self.config.logit_softcap }
    }

    /// Dropout after the embedding; of probability 0 it is a layer of the stream of the parameters
    /// all the same.
    pub(crate) fn dropout(&self) -> &Dropout {
        &self.dropout
    }

    /// Hidden states (B, T, W) of `ids: (B, T)`, with positions and mask from `context`.
    pub fn hidden_states_in_context(
        &self,
        ids: &Tensor,
        context: &AttentionContext,
        cache: Option<&mut Cache>,
    ) -> Result<Tensor> {
        self.hidden_states_with_aux_outputs(ids, context, cache, &mut Vec::new())
    }

    fn hidden_states_with_aux_outputs(
        &self,
        ids: &Tensor,
        context: &AttentionContext,
        cache: Option<&mut Cache>,
        aux_outputs: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let x = self.embed(ids, context)?; // (B, T, C)
        let mut x = self.blocks.forward(x, context, cache, aux_outputs)?; // (B, T, C)
        if let Some(norm) = &self.norm {
            x = norm.forward(&x)?;
        }
        self.embedding.project_out(x)
    }

    /// Queries, keys and values of every layer, for complete sequences `ids: (B, T)`.
    pub fn queries_keys_values(&self, ids: &Tensor) -> Result<Vec<[Tensor; 3]>> {
        let context = AttentionContext::full_sequence(&self.config.attention);
        self.blocks.queries_keys_values(self.embed(ids, &context)?, &context)
    }

    /// Attention weights (B, H, T, T) of every layer, for complete sequences `ids: (B, T)`; for
    /// inspection, as the memory grows with T².
    pub fn attention_weights(&self, ids: &Tensor) -> Result<Vec<Tensor>> {
        let context = AttentionContext::full_sequence(&self.config.attention);
        self.blocks.attention_weights(self.embed(ids, &context)?, &context)
    }

    /// Token embeddings (B, T, C).
    fn embed(&self, ids: &Tensor, context: &AttentionContext) -> Result<Tensor> {
        self.dropout.forward(&self.embedding.forward(ids, context)?)
    }
}

impl Module for GptModern {
    /// Next-token logits (B, T, V) after each of `ids: (B, T)`.
    fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        self.logits(&self.hidden_states(ids)?)
    }
}
