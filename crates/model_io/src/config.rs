//! Architecture of a modern decoder. Each design choice is an enum: the public model families are
//! combinations of the same choices, and an ablation changes one at a time.

use std::f64::consts::TAU;

use candle_core::{Result, bail};
use tensor_core::ops::{AttentionMask, Gelu};

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
        scaling: Option<Llama3Scaling>,
    },
}

/// Llama 3's context extension: low RoPE frequencies are divided by `factor`, high ones stay, those
/// in between are interpolated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Llama3Scaling {
    /// Divisor of the low frequencies.
    pub factor: f64,
    /// Turns within the original context below which a frequency counts as low.
    pub low_freq_factor: f64,
    /// Turns within the original context above which a frequency counts as high.
    pub high_freq_factor: f64,
    /// Context length before the extension.
    pub original_context_len: usize,
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
        let AttentionConfig { n_head, n_kv_head, head_dim, position, window, .. } = attention;
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
            let factor = scaling.map_or(1., |scaling| scaling.factor);
            if !(base > 0. && base.is_finite() && factor > 0. && factor.is_finite()) {
                bail!("RoPE base {base} and scaling factor {factor} must both be above 0");
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

impl SlidingWindow {
    /// Attention mask of this window.
    pub fn mask(self) -> AttentionMask {
        AttentionMask::sliding_window(self.size, self.sinks)
    }
}

impl AttentionConfig {
    /// Attention mask of a whole text: causal, within the window if there is one.
    pub fn mask(&self) -> AttentionMask {
        self.window.map_or_else(AttentionMask::causal, SlidingWindow::mask)
    }
}

impl Llama3Scaling {
    /// Frequency of a pair of channels, in radians per position, for the extended context.
    pub fn scale_frequency(self, inv_freq: f64) -> f64 {
        let Self { factor, low_freq_factor, high_freq_factor, original_context_len } = self;
        let turns = original_context_len as f64 * inv_freq / TAU; // in the original context
        let unscaled = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
        let unscaled = unscaled.clamp(0., 1.); // weight of the unscaled frequency
        inv_freq * (unscaled + (1. - unscaled) / factor)
    }
}
