//! The blocks of the model, one after the other: each gets the rotary table of its layer's type, or
//! none, and a cache of its own.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use model_io::config::{AttentionConfig, ModelConfig};
use tensor_core::{Dropout, Scope};

use crate::attention_context::AttentionContext;
use crate::block::{Block, FeedForwardLayer};
use crate::cache::{Cache, LayerCache};
use crate::rope::{LayerRopes, RotaryTable, RotaryTables};

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

/// Blocks of a model in order, and the rotation frequencies of their layers.
#[derive(Debug, Clone)]
pub(crate) struct BlockStack {
    blocks: Vec<Block>,
    attention: AttentionConfig,
    rope: Option<LayerRopes>,
    gradient_checkpointing: GradientCheckpointing,
}

impl BlockStack {
    /// Creates the parameters of each block in a scope of its number, with the feed-forward layers
    /// that `mlp` builds.
    pub(crate) fn new(
        mut scope: Scope<'_>,
        config: &ModelConfig,
        mut mlp: impl FnMut(Scope<'_>) -> Result<Arc<dyn FeedForwardLayer>>,
    ) -> Result<Self> {
        let blocks = (0..config.n_layer)
            .map(|layer| Block::new(scope.at(layer), layer, config, &mut mlp))
            .collect::<Result<_>>()?;
        Ok(Self {
            blocks,
            attention: config.attention,
            rope: LayerRopes::of(&config.attention),
            gradient_checkpointing: GradientCheckpointing::Off,
        })
    }

    pub(crate) fn set_dropout(&mut self, dropout: &Dropout) {
        self.blocks.iter_mut().for_each(|block| block.set_dropout(dropout.clone()));
    }

    pub(crate) fn gradient_checkpointing(&self) -> GradientCheckpointing {
        self.gradient_checkpointing
    }

    pub(crate) fn set_gradient_checkpointing(&mut self, checkpointing: GradientCheckpointing) {
        self.gradient_checkpointing = checkpointing;
    }

    /// Maps embeddings `x: (B, T, C)` to the output (B, T, C) of the last block; `aux_outputs` as
    /// in [`FeedForwardLayer::forward_with_aux_outputs`], in block order.
    pub(crate) fn forward(
        &self,
        mut x: Tensor,
        context: &AttentionContext,
        cache: Option<&mut Cache>,
        aux_outputs: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let tables = self.rotary_tables(&x, context)?;
        let caches: Vec<Option<&mut LayerCache>> = match cache {
            Some(cache) => cache.layers().map(Some).collect(),
            None => self.blocks.iter().map(|_| None).collect(),
        };
        if caches.len() != self.blocks.len() {
            bail!("the cache has {} layers, the model {}", caches.len(), self.blocks.len());
        }
        for (layer, (block, cache)) in self.blocks.iter().zip(caches).enumerate() {
            let rotary = self.rotary_table(tables.as_ref(), layer);
            x = match (self.gradient_checkpointing, cache) {
                (GradientCheckpointing::On, None) => {
                    block.forward_checkpointed(&x, context, rotary, aux_outputs)?
                }
                (_, cache) => block.forward(&x, context, rotary, cache, aux_outputs)?,
            };
        }
        Ok(x)
    }

    /// Queries, keys and values of every block, for the embeddings `x: (B, T, C)` of whole texts.
    pub(crate) fn queries_keys_values(
        &self,
        mut x: Tensor,
        context: &AttentionContext,
    ) -> Result<Vec<[Tensor; 3]>> {
        let tables = self.rotary_tables(&x, context)?;
        let all_layers = self.blocks.iter().enumerate().map(|(layer, block)| {
            let rotary = self.rotary_table(tables.as_ref(), layer);
            let queries_keys_values = block.queries_keys_values(&x, context, rotary)?;
            x = block.forward(&x, context, rotary, None, &mut Vec::new())?;
            Ok(queries_keys_values)
        });
        all_layers.collect()
    }

    /// Attention weights (B, H, T, T) of every block, for the embeddings `x: (B, T, C)` of whole
    /// texts.
    pub(crate) fn attention_weights(
        &self,
        x: Tensor,
        context: &AttentionContext,
    ) -> Result<Vec<Tensor>> {
        let queries_keys_values = self.queries_keys_values(x, context)?;
        let layers = self.blocks.iter().zip(&queries_keys_values);
        layers.map(|(block, [q, k, _v])| block.attention_weights(q, k, context)).collect()
    }

    /// Rotary tables of the positions of `x: (B, T, C)`; `None` if positions are learned.
    fn rotary_tables(
        &self,
        x: &Tensor,
        context: &AttentionContext,
    ) -> Result<Option<RotaryTables>> {
        let Some(rope) = &self.rope else { return Ok(None) };
        let (_b, t, _c) = x.dims3()?;
        let (first, end) = context.position_range(t);
        Ok(Some(rope.tables(first, end - first, x.dtype(), x.device())?))
    }

    /// Table of layer `layer` of `tables`; `None` if it does not rotate queries and keys.
    fn rotary_table<'a>(
        &self,
        tables: Option<&'a RotaryTables>,
        layer: usize,
    ) -> Option<&'a RotaryTable> {
        let tables = tables.filter(|_| self.attention.has_rope(layer))?;
        Some(tables.get(self.attention.layer_type(layer)))
    }
}
