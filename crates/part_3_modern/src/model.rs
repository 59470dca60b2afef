//! The model: part 2's, with this part's block. One type for all the families that [`ModelConfig`] spans.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor, bail};
use tensor_core::ops::add;
use tensor_core::{Bias, Dropout, Embedding, Linear, Scope, gradient_checkpoint_all};

use crate::block::Block;
use crate::cache::{AttentionContext, Cache, LayerCache};
use crate::config::{LmHead, ModelConfig, PositionEncoding};
use crate::feed_forward_layer::FeedForwardLayer;
use crate::rms_norm::Norm;
use crate::rope::{Rope, RotaryTable};
use crate::swiglu::FeedForward;

/// What a model in training keeps of each block until its gradient is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GradientCheckpointing {
    /// All that the gradient needs.
    #[default]
    Off,
    /// Its input alone: a long context then fits, for a second forward pass.
    On,
}

/// A decoder-only transformer, parameters named as Llama's.
#[derive(Debug, Clone)]
pub struct GptModern {
    config: ModelConfig,
    embed_tokens: Embedding,            // (V, C)
    embed_positions: Option<Embedding>, // (T_max, C), where positions are learned
    layers: Vec<Block>,
    norm: Norm,
    lm_head: Option<Linear>, // C -> V, where it is not the token table
    rope: Option<Rope>,
    dropout: Dropout,
    gradient_checkpointing: GradientCheckpointing,
}

impl GptModern {
    /// Parameters `model.embed_tokens`, `model.layers.0` and so on, `model.norm`, and `lm_head` unless tied.
    ///
    /// # Errors
    /// As [`ModelConfig::check`].
    pub fn new(config: &ModelConfig, scope: Scope<'_>) -> Result<Self> {
        let [init, residual] = config.weight_inits();
        Self::with_feed_forward_layers(config, scope, |mut block| {
            let layer =
                FeedForward::new(block.at("mlp"), config.n_embd, config.mlp, init, residual)?;
            Ok(Arc::new(layer))
        })
    }

    /// The same with the layers that `mlp` makes, a block's scope at a time, in place of feed-forward layers.
    ///
    /// # Errors
    /// As [`ModelConfig::check`].
    pub fn with_feed_forward_layers(
        config: &ModelConfig,
        mut scope: Scope<'_>,
        mut mlp: impl FnMut(Scope<'_>) -> Result<Arc<dyn FeedForwardLayer>>,
    ) -> Result<Self> {
        config.validate()?;
        let ModelConfig { vocab_size, n_layer, n_embd, context_len: context, .. } = *config;
        let [init, _] = config.weight_inits();
        let mut model = scope.at("model");
        let embed_tokens = Embedding::new(model.at("embed_tokens"), vocab_size, n_embd, init)?;
        let embed_positions = match config.attention.position {
            PositionEncoding::Learned => {
                Some(Embedding::new(model.at("embed_positions"), context, n_embd, init)?)
            }
            PositionEncoding::Rope { .. } => None,
        };
        let layers = (0..n_layer)
            .map(|layer| Block::new(model.at("layers").at(layer), config, &mut mlp))
            .collect::<Result<_>>()?;
        let norm = Norm::new(model.at("norm"), n_embd, config.norm)?;
        let lm_head = match config.lm_head {
            LmHead::Tied => None,
            LmHead::Untied => {
                Some(Linear::new(scope.at("lm_head"), n_embd, vocab_size, Bias::No, init)?)
            }
        };
        let rope = Rope::new(config.attention.head_dim, config.attention.position);
        Ok(Self {
            config: *config,
            embed_tokens,
            embed_positions,
            layers,
            norm,
            lm_head,
            rope,
            dropout: Dropout::disabled(),
            gradient_checkpointing: GradientCheckpointing::Off,
        })
    }

    /// The same in training: `dropout` after the embedding and after each layer, as GPT-2 has it, and activations that are
    /// `activations`.
    pub fn for_training(mut self, dropout: Dropout, activations: GradientCheckpointing) -> Self {
        self.layers.iter_mut().for_each(|layer| layer.set_dropout(dropout.clone()));
        Self { dropout, gradient_checkpointing: activations, ..self }
    }

    /// What it was made with.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where its weights live.
    pub fn device(&self) -> &Device {
        self.embed_tokens.weight.device()
    }

    /// The scores of every possible next token after each of `ids: (B, T)`: (B, T, V).
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        self.logits(&self.hidden_states(ids)?)
    }

    /// The same, and what the layers noted on the way, from the first block to the last.
    pub fn forward_with_aux_outputs(&self, ids: &Tensor) -> Result<(Tensor, Vec<Tensor>)> {
        let mut notes = Vec::new();
        let pass = AttentionContext::full_sequence(self.config.attention.mask());
        let hidden = self.hidden_states_with_aux_outputs(ids, &pass, None, &mut notes)?;
        Ok((self.logits(&hidden)?, notes))
    }

    /// What the model knows at each token of whole texts, `ids: (B, T)`: (B, T, C).
    pub fn hidden_states(&self, ids: &Tensor) -> Result<Tensor> {
        self.hidden_states_in_context(
            ids,
            &AttentionContext::full_sequence(self.config.attention.mask()),
            None,
        )
    }

    /// Reads the next tokens of a text, `ids: (B, T)`, after those in `cache`, which takes them in; what the model then
    /// knows at each of them: (B, T, C).
    ///
    /// # Errors
    /// When the text grows longer than the context. (A rolling cache has no such limit.)
    pub fn hidden_states_cached(&self, ids: &Tensor, cache: &mut Cache) -> Result<Tensor> {
        let (_b, t) = ids.dims2()?;
        let (end, context) = (cache.position() + t, self.config.context_len);
        if end > context && cache.is_dynamic() {
            bail!("the text is {end} tokens long, the model's context {context}");
        }
        let pass = cache.next_context(&self.config.attention, t, ids.device())?;
        let hidden = self.hidden_states_in_context(ids, &pass, Some(cache))?;
        cache.advance(t);
        Ok(hidden)
    }

    /// From what the model knows, `(.., C)`, to scores: (.., V).
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        match &self.lm_head {
            Some(lm_head) => lm_head.forward(hidden),
            None => self.embed_tokens.logits(hidden),
        }
    }

    /// What the model knows at each of `ids: (B, T)`, before it is turned into scores: (B, T, C).
    pub fn hidden_states_in_context(
        &self,
        ids: &Tensor,
        pass: &AttentionContext,
        cache: Option<&mut Cache>,
    ) -> Result<Tensor> {
        self.hidden_states_with_aux_outputs(ids, pass, cache, &mut Vec::new())
    }

    fn hidden_states_with_aux_outputs(
        &self,
        ids: &Tensor,
        pass: &AttentionContext,
        cache: Option<&mut Cache>,
        notes: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let (mut x, angles) = self.embed(ids, pass)?;
        let mut caches: Vec<Option<&mut LayerCache>> = match cache {
            Some(cache) => cache.layers().map(Some).collect(),
            None => self.layers.iter().map(|_| None).collect(),
        };
        if caches.len() != self.layers.len() {
            bail!("a cache of {} layers for a model of {}", caches.len(), self.layers.len());
        }
        for (layer, cache) in self.layers.iter().zip(&mut caches) {
            x = match (self.gradient_checkpointing, cache.take()) {
                (GradientCheckpointing::On, None) => {
                    let (layer, pass, angles) = (layer.clone(), pass.clone(), angles.clone());
                    let mut all = gradient_checkpoint_all(&x, &self.dropout, move |x| {
                        let mut all = Vec::new();
                        let y = layer.forward(x, &pass, angles.as_ref(), None, &mut all)?;
                        all.insert(0, y);
                        Ok(all)
                    })?;
                    let y = all.remove(0);
                    notes.extend(all);
                    y
                }
                (_, cache) => layer.forward(&x, pass, angles.as_ref(), cache, notes)?,
            };
        }
        self.norm.forward(&x)
    }

    /// What attention in each layer gets to see of whole texts, `ids: (B, T)`: queries, keys and values.
    pub fn queries_keys_values(&self, ids: &Tensor) -> Result<Vec<[Tensor; 3]>> {
        let pass = AttentionContext::full_sequence(self.config.attention.mask());
        let (mut x, angles) = self.embed(ids, &pass)?;
        let each = self.layers.iter().map(|layer| {
            let seen = layer.queries_keys_values(&x, &pass, angles.as_ref())?;
            x = layer.forward(&x, &pass, angles.as_ref(), None, &mut Vec::new())?;
            Ok(seen)
        });
        each.collect()
    }

    /// The tokens as vectors, (B, T, C), and the angles of their places.
    fn embed(
        &self,
        ids: &Tensor,
        pass: &AttentionContext,
    ) -> Result<(Tensor, Option<RotaryTable>)> {
        let (_b, t) = ids.dims2()?;
        let mut x = self.embed_tokens.forward(ids)?;
        if let Some(table) = &self.embed_positions {
            x = add(&x, &self.learned_positions(table, pass, ids)?)?;
        }
        let (first, end) = pass.position_range(t);
        let angles = match &self.rope {
            Some(rope) => Some(rope.table(first, end - first, x.dtype(), x.device())?),
            None => None,
        };
        Ok((self.dropout.forward(&x)?, angles))
    }

    /// The vector of each token's position: (B, T, C).
    fn learned_positions(
        &self,
        table: &Embedding,
        pass: &AttentionContext,
        ids: &Tensor,
    ) -> Result<Tensor> {
        let (b, t) = ids.dims2()?;
        let (_first, end) = pass.position_range(t);
        if end > self.config.context_len {
            bail!("position {} lies beyond the {} learned ones", end - 1, self.config.context_len);
        }
        let at = (0..b * t).map(|i| pass.positions().position(i / t, i % t, t) as u32);
        table.forward(&Tensor::from_iter(at, ids.device())?.reshape((b, t))?)
    }
}
