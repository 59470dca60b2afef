//! Architecture of a modern decoder. Each design choice is an enum: the public model families are
//! combinations of the same choices, and an ablation changes one at a time.

use candle_core::{Result, bail};
use tensor_core::ops::{AttentionMask, Gelu};

pub use crate::rope_scaling::{Llama3Scaling, RopeScaling, YarnScaling};

/// Architecture of a decoder-only transformer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelConfig {
    /// V, the vocabulary size.
    pub vocab_size: usize,
    /// Number of blocks.
    pub n_layer: usize,
    /// C, the number of channels.
    pub n_embd: usize,
    /// Maximum length of a text in tokens.
    pub context_len: usize,
    /// Norm before each layer and before the LM head.
    pub norm: NormKind,
    /// Attention and position encoding.
    pub attention: AttentionConfig,
    /// Feed-forward layer.
    pub mlp: Mlp,
    /// Projection from channels to logits.
    pub lm_head: LmHead,
    /// Standard deviation of initial weights, `initializer_range` in `config.json`.
    pub init_std: f64,
}

/// Attention heads, biases, position encoding and window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionConfig {
    /// H, the number of query heads.
    pub n_head: usize,
    /// KV, the number of key-value heads; each serves H / KV query heads.
    pub n_kv_head: usize,
    /// D, the channels per head.
    pub head_dim: usize,
    /// Projections that have a bias.
    pub bias: AttentionBias,
    /// Normalization of queries and keys before the rotation.
    pub qk_norm: QkNorm,
    /// Position encoding.
    pub position: PositionEncoding,
    /// n if every n-th layer leaves queries and keys unrotated (NoPE,
    /// <https://arxiv.org/abs/2501.18795>): SmolLM3.
    pub no_rope_interval: Option<usize>,
    /// Sliding window; `None`: every token attends to all tokens before it.
    pub window: Option<SlidingWindow>,
}

/// Kind of norm, and its ε.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NormKind {
    /// RMSNorm: scale only.
    Rms {
        /// Term added under the square root.
        eps: f64,
    },
    /// LayerNorm: center, scale and shift, as in GPT-2.
    Layer {
        /// Term added under the square root.
        eps: f64,
    },
}

/// Position encoding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PositionEncoding {
    /// Learned vector per position, added to the embedding, as in GPT-2; limited to `context_len`.
    Learned,
    /// Rotary embedding of queries and keys.
    Rope {
        /// θ, 10,000 in the paper.
        base: f64,
        /// Context-extension scaling of the frequencies.
        scaling: Option<RopeScaling>,
    },
}

/// Feed-forward layer and its inner width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mlp {
    /// SwiGLU, without biases.
    SwiGlu {
        /// F, the inner width.
        width: usize,
    },
    /// Two linear layers with biases and GELU between them, as in GPT-2.
    Gelu {
        /// F, the inner width.
        width: usize,
        /// Exact GELU or its tanh approximation.
        form: Gelu,
    },
}

/// Attention projections that have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionBias {
    /// No bias: Llama, Mistral, Qwen3.
    None,
    /// Bias on queries, keys and values: Qwen2.
    Qkv,
    /// Bias on all four projections: Llama's `attention_bias`.
    All,
}

/// Normalization of queries and keys before the rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// No normalization.
    None,
    /// Norm over each head, with one learned scale for all query heads and one for all key heads:
    /// Qwen3.
    PerHead,
}

/// Weights of the LM head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LmHead {
    /// Tied to the token embedding.
    Tied,
    /// Separate matrix.
    Untied,
}

/// Sliding window with sinks: token i attends to token j ≤ i if j > i − size or j < sinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Window size in tokens, the current one included.
    pub size: usize,
    /// Attention sinks: first tokens of the text, always visible.
    pub sinks: usize,
}

impl ModelConfig {
    /// Checks that the sizes are valid and fit together.
    ///
    /// # Errors
    /// When a size is 0, when sizes that must divide each other do not, or a number is out of
    /// range.
    pub fn validate(&self) -> Result<()> {
        let Self { vocab_size, n_layer, n_embd, context_len, attention, .. } = *self;
        let AttentionConfig {
            n_head, n_kv_head, head_dim, position, no_rope_interval, window, ..
        } = attention;
        let (Mlp::SwiGlu { width } | Mlp::Gelu { width, .. }) = self.mlp;
        for (name, size) in [
            ("the vocabulary size", vocab_size),
            ("the number of layers", n_layer),
            ("the number of channels", n_embd),
            ("the context length", context_len),
            ("the number of heads", n_head),
            ("the number of key-value heads", n_kv_head),
            ("the head dimension", head_dim),
            ("the width of the feed-forward layer", width),
            ("the interval of layers without RoPE", no_rope_interval.unwrap_or(1)),
            ("the window size", window.map_or(1, |window| window.size)),
        ] {
            if size == 0 {
                bail!("{name} is 0");
            }
        }
        if n_head.checked_mul(head_dim).is_none() {
            bail!("{n_head} heads of {head_dim} are too many");
        }
        let (NormKind::Rms { eps } | NormKind::Layer { eps }) = self.norm;
        if !(eps > 0. && eps.is_finite()) {
            bail!("the ε of the norms must be above 0, got {eps}");
        }
        if !(self.init_std >= 0. && self.init_std.is_finite()) {
            bail!("init_std must be a finite number ≥ 0, got {}", self.init_std);
        }
        if let PositionEncoding::Rope { base, scaling } = position {
            if !(base > 0. && base.is_finite()) {
                bail!("the RoPE base must be above 0, got {base}");
            }
            if let Some(scaling) = scaling {
                scaling.validate(head_dim, base)?;
            }
        }
        if n_head % n_kv_head != 0 {
            bail!("{n_head} query heads cannot share {n_kv_head} key heads");
        }
        if matches!(position, PositionEncoding::Rope { .. }) && head_dim % 2 != 0 {
            bail!("RoPE rotates pairs of channels: a head of {head_dim} has an odd size");
        }
        Ok(())
    }
}

impl PositionEncoding {
    /// True if cached keys and values are valid only up to the context length: there are no more
    /// learned vectors, or the frequencies of all positions depend on the length of a longer text.
    pub fn is_limited(self) -> bool {
        matches!(
            self,
            Self::Learned | Self::Rope { scaling: Some(RopeScaling::Dynamic { .. }), .. }
        )
    }
}

impl SlidingWindow {
    /// Attention mask of this window.
    pub fn mask(self) -> AttentionMask {
        AttentionMask::sliding_window(self.size, self.sinks)
    }
}

impl AttentionConfig {
    /// True if layer `layer`, counted from 0, rotates queries and keys when the model has RoPE.
    pub fn has_rope(&self, layer: usize) -> bool {
        self.no_rope_interval.is_none_or(|interval| !(layer + 1).is_multiple_of(interval))
    }

    /// Attention mask of a whole text: causal, within the window if there is one.
    pub fn mask(&self) -> AttentionMask {
        self.window.map_or_else(AttentionMask::causal, SlidingWindow::mask)
    }
}
