//! 3.7 Decoder-only transformer of this part's blocks: one type for every family that
//! [`ModelConfig`] describes.

use std::sync::Arc;

use candle_core::{Device, Module, Result, Tensor, bail};
use model_io::TensorNames;
use model_io::config::{BlockLayout, LmHead, Mlp, ModelConfig};
use tensor_core::{Bias, Dropout, Linear, Scope};

use crate::attention_context::AttentionContext;
use crate::block::{Block, FeedForwardLayer};
use crate::cache::{Cache, LayerCache};
use crate::experts::{ExpertSizes, MixtureOfExperts};
use crate::input_embedding::{InputEmbedding, LogitHead};
use crate::rms_norm::Norm;
use crate::rope::{LayerRopes, RotaryTable, RotaryTables};
use crate::swiglu::FeedForward;

/// Gradient checkpointing of the blocks during training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GradientCheckpointing {
    /// Store every activation that the backward pass needs.
    #[default]
    Off,
    /// Store only each block's input and repeat its forward pass during the backward pass: less
    /// memory, more time.
    On,
}

impl From<bool> for GradientCheckpointing {
    /// Value of the flag `--gradient-checkpointing`.
    fn from(is_on: bool) -> Self {
        if is_on { Self::On } else { Self::Off }
    }
}

/// Decoder-only transformer with the parameter names of its family ([`TensorNames`]).
#[derive(Debug, Clone)]
pub struct GptModern {
    config: ModelConfig,
    embedding: InputEmbedding, // V -> C and, before the LM head, C -> W
    layers: Vec<Block>,
    norm: Option<Norm>,      // if no norm ends the last block
    lm_head: Option<Linear>, // W -> V, if not tied
    rope: Option<LayerRopes>,
    dropout: Dropout,
    gradient_checkpointing: GradientCheckpointing,
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
        mut mlp: impl FnMut(Scope<'_>) -> Result<Arc<dyn FeedForwardLayer>>,
    ) -> Result<Self> {
        config.validate()?;
        let ModelConfig { vocab_size, n_layer, n_embd, .. } = *config;
        let names = TensorNames::of(config);
        let mut model = scope.at(names.model);
        let embedding = InputEmbedding::new(&mut model, config, &names)?;
        let layers = (0..n_layer)
            .map(|layer| Block::new(model.at(names.layers).at(layer), layer, config, &mut mlp))
            .collect::<Result<_>>()?;
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
        let rope = LayerRopes::of(&config.attention);
        Ok(Self {
            config: *config,
            embedding,
            layers,
            norm,
            lm_head,
            rope,
            dropout: scope.dropout(0.),
            gradient_checkpointing: GradientCheckpointing::Off,
        })
    }

    /// Training version: `dropout`, a layer of the parameters' stream, after the embedding and
    /// after each layer, as in GPT-2, and optionally gradient checkpointing.
    pub fn for_training(
        mut self,
        dropout: Dropout,
        gradient_checkpointing: GradientCheckpointing,
    ) -> Self {
        self.layers.iter_mut().for_each(|layer| layer.set_dropout(dropout.clone()));
        Self { dropout, gradient_checkpointing, ..self }
    }

    /// The model with gradient checkpointing, or without it. The masks of dropout, also those of
    /// adapters, are the same in the repeated forward pass.
    pub fn with_gradient_checkpointing(
        self,
        gradient_checkpointing: GradientCheckpointing,
    ) -> Self {
        Self { gradient_checkpointing, ..self }
    }

    /// Gradient checkpointing of the blocks.
    pub fn gradient_checkpointing(&self) -> GradientCheckpointing {
        self.gradient_checkpointing
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
        let (mut x, rotary) = self.embed(ids, context)?;
        let mut caches: Vec<Option<&mut LayerCache>> = match cache {
            Some(cache) => cache.layers().map(Some).collect(),
            None => self.layers.iter().map(|_| None).collect(),
        };
        if caches.len() != self.layers.len() {
            bail!("the cache has {} layers, the model {}", caches.len(), self.layers.len());
        }
        for (i, (layer, cache)) in self.layers.iter().zip(&mut caches).enumerate() {
            let rotary = self.rotary_table(rotary.as_ref(), i);
            x = match (self.gradient_checkpointing, cache.take()) {
                (GradientCheckpointing::On, None) => {
                    layer.forward_checkpointed(&x, context, rotary, aux_outputs)?
                }
                (_, cache) => layer.forward(&x, context, rotary, cache, aux_outputs)?,
            };
        }
        if let Some(norm) = &self.norm {
            x = norm.forward(&x)?;
        }
        self.embedding.project_out(x)
    }

    /// Queries, keys and values of every layer, for complete sequences `ids: (B, T)`.
    pub fn queries_keys_values(&self, ids: &Tensor) -> Result<Vec<[Tensor; 3]>> {
        let context = AttentionContext::full_sequence(&self.config.attention);
        let (mut x, rotary) = self.embed(ids, &context)?;
        let all_layers = self.layers.iter().enumerate().map(|(i, layer)| {
            let rotary = self.rotary_table(rotary.as_ref(), i);
            let queries_keys_values = layer.queries_keys_values(&x, &context, rotary)?;
            x = layer.forward(&x, &context, rotary, None, &mut Vec::new())?;
            Ok(queries_keys_values)
        });
        all_layers.collect()
    }

    /// Attention weights (B, H, T, T) of every layer, for complete sequences `ids: (B, T)`; for
    /// inspection, as the memory grows with T².
    pub fn attention_weights(&self, ids: &Tensor) -> Result<Vec<Tensor>> {
        let context = AttentionContext::full_sequence(&self.config.attention);
        let queries_keys_values = self.queries_keys_values(ids)?;
        let layers = self.layers.iter().zip(&queries_keys_values);
        layers.map(|(layer, [q, k, _v])| layer.attention_weights(q, k, &context)).collect()
    }

    /// Table of layer `layer` of `tables`; `None` if it does not rotate queries and keys.
    fn rotary_table<'a>(
        &self,
        tables: Option<&'a RotaryTables>,
        layer: usize,
    ) -> Option<&'a RotaryTable> {
        let attention = &self.config.attention;
        let tables = tables.filter(|_| attention.has_rope(layer))?;
        Some(tables.get(attention.layer_type(layer)))
    }

    /// Token embeddings (B, T, C) and the rotary tables of their positions.
    fn embed(
        &self,
        ids: &Tensor,
        context: &AttentionContext,
    ) -> Result<(Tensor, Option<RotaryTables>)> {
        let x = self.embedding.forward(ids, context)?;
        let (first, end) = context.position_range(ids.dim(1)?);
        let rotary = match &self.rope {
            Some(rope) => Some(rope.tables(first, end - first, x.dtype(), x.device())?),
            None => None,
        };
        Ok((self.dropout.forward(&x)?, rotary))
    }
}

impl Module for GptModern {
    /// Next-token logits (B, T, V) after each of `ids: (B, T)`.
    fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        self.logits(&self.hidden_states(ids)?)
    }
}
