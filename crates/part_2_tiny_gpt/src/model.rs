//! 2.3 The model: GPT-2's architecture (Radford et al. 2019), small.
//!
//! token + position embeddings → blocks of part 1 → final norm → one logit per token of the
//! vocabulary. The output layer shares the token embedding matrix (tied embeddings, Press and Wolf,
//! <https://arxiv.org/abs/1608.05859>).

use attention::{Block, BlockConfig, LearnedPositions};
use candle_core::{Device, Module, Result, Tensor, bail};
use tensor_core::ops::{Gelu, add};
use tensor_core::{Dropout, Embedding, Init, LayerNorm, Scope};

/// Sizes of a [`Gpt`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GptConfig {
    /// Vocabulary size V.
    pub vocab_size: usize,
    /// Context length: the largest T, and the number of learned positions.
    pub context_len: usize,
    /// Block settings: layers, heads, channels, dropout and the form of the activation.
    pub block: BlockConfig,
}

impl GptConfig {
    /// Sizes of a byte-level model: V = 256, GPT-2's activation and norms.
    pub fn byte_level(context_len: usize, n_layer: usize, n_head: usize, n_embd: usize) -> Self {
        let (dropout, gelu, layer_norm_eps) = (0., Gelu::Tanh, 1e-5);
        let block = BlockConfig { n_layer, n_head, n_embd, dropout, gelu, layer_norm_eps };
        Self { vocab_size: 256, context_len, block }
    }

    /// Number of parameters. A float, so that absurdly large sizes do not overflow.
    pub fn parameter_count(&self) -> f64 {
        let BlockConfig { n_layer, n_embd, .. } = self.block;
        let [v, t, n_layer, c] =
            [self.vocab_size, self.context_len, n_layer, n_embd].map(|n| n as f64);
        // Attention 4 C² + 4 C, feed-forward 8 C² + 5 C, norms 4 C.
        let block = 12. * c * c + 13. * c;
        (v + t) * c + n_layer * block + 2. * c
    }
}

/// Decoder-only transformer with GPT-2's parameter names.
#[derive(Debug, Clone)]
pub struct Gpt {
    config: GptConfig,
    wte: Embedding,        // (V, C), also the output layer
    wpe: LearnedPositions, // (T_max, C)
    dropout: Dropout,
    h: Vec<Block>,
    ln_f: LayerNorm,
}

impl Gpt {
    /// Creates the parameters `wte`, `wpe`, `h.0` and so on, `ln_f`.
    ///
    /// # Errors
    /// When a size is 0 or the heads do not divide the channels.
    pub fn new(config: &GptConfig, mut scope: Scope<'_>) -> Result<Self> {
        let GptConfig { vocab_size, context_len, block } = *config;
        if vocab_size == 0 || context_len == 0 || block.n_layer == 0 {
            bail!(
                "vocabulary {vocab_size}, context length {context_len}, layers {}: \
                 each must be at least 1",
                block.n_layer
            );
        }
        let init = Init::Normal { std: BlockConfig::INIT_STD };
        let wte = Embedding::new(scope.at("wte"), vocab_size, block.n_embd, init)?;
        let wpe = LearnedPositions::new(scope.at("wpe"), context_len, block.n_embd, init)?;
        let dropout = scope.dropout(block.dropout);
        let h = (0..block.n_layer)
            .map(|layer| Block::new(scope.at("h").at(layer), &block))
            .collect::<Result<_>>()?;
        let ln_f = LayerNorm::new(scope.at("ln_f"), block.n_embd, block.layer_norm_eps)?;
        Ok(Self { config: *config, wte, wpe, dropout, h, ln_f })
    }

    /// Sizes of the model.
    pub fn config(&self) -> &GptConfig {
        &self.config
    }

    /// Device of the weights.
    pub fn device(&self) -> &Device {
        self.wte.weight.device()
    }

    /// Logits (B, V) of the token after the last one of `ids: (B, T)`.
    pub fn next_logits(&self, ids: &Tensor) -> Result<Tensor> {
        let (_b, t) = ids.dims2()?;
        let last = self.hidden(ids)?.narrow(1, t - 1, 1)?.squeeze(1)?; // (B, C)
        self.wte.logits(&last)
    }

    /// Hidden states (B, T, C) after the final norm, before the output layer.
    pub fn hidden(&self, ids: &Tensor) -> Result<Tensor> {
        let mut x = self.embed(ids)?;
        for block in &self.h {
            x = block.forward(&x)?;
        }
        self.ln_f.forward(&x)
    }

    /// Attention weights of every head: one (B, H, T, T) per block.
    pub fn attention_weights(&self, ids: &Tensor) -> Result<Vec<Tensor>> {
        let mut x = self.embed(ids)?;
        let mut maps = Vec::with_capacity(self.h.len());
        for block in &self.h {
            maps.push(block.attention_weights(&x)?);
            x = block.forward(&x)?;
        }
        Ok(maps)
    }

    fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        let (_b, t) = ids.dims2()?;
        let x = add(&self.wte.forward(ids)?, &self.wpe.forward(t)?)?; // (B, T, C)
        self.dropout.forward(&x)
    }
}

impl Module for Gpt {
    /// Logits (B, T, V) of the token after each of `ids: (B, T)`.
    fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        self.wte.logits(&self.hidden(ids)?)
    }
}
