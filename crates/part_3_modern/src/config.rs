//! What a modern decoder is made of. Each choice is an enum: the ablation of this part flips one at a time, and the
//! files of the model families people use are points in the same space.

use candle_core::{Result, bail};
use tensor_core::ops::{AttentionMask, Gelu};

/// Everything that decides a [`GptModern`](crate::GptModern)'s shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelConfig {
    /// V
    pub vocab_size: usize,
    /// Blocks.
    pub n_layer: usize,
    /// C
    pub n_embd: usize,
    /// Longest text it is trained for, in tokens.
    pub context_len: usize,
    /// Before each layer and before the output.
    pub norm: NormKind,
    /// How tokens look at each other.
    pub attention: AttentionConfig,
    /// The layer that works on each token alone.
    pub mlp: Mlp,
    /// From channels to scores.
    pub lm_head: LmHead,
    /// Standard deviation of fresh weights, `initializer_range` on disk.
    pub init_std: f64,
}

/// How tokens look at each other, and how they know where they stand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionConfig {
    /// H, query heads.
    pub n_head: usize,
    /// KV, heads of keys and values; each serves H / KV query heads.
    pub n_kv_head: usize,
    /// D
    pub head_dim: usize,
    /// Which projections add a bias.
    pub bias: AttentionBias,
    /// What happens to queries and keys before they are turned.
    pub qk_norm: QkNorm,
    /// How a token knows where it stands.
    pub position: PositionEncoding,
    /// How far back a token looks; `None`: as far as there is text.
    pub window: Option<SlidingWindow>,
}

/// The norm and its ε.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NormKind {
    /// Scale alone (3.1).
    Rms {
        /// Keeps the root above 0.
        eps: f64,
    },
    /// Centre, scale and shift, as GPT-2 does.
    Layer {
        /// Keeps the root above 0.
        eps: f64,
    },
}

/// How a token knows where it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PositionEncoding {
    /// A learned vector for each position, added once, as GPT-2 does. Nothing lies beyond the last one.
    Learned,
    /// Queries and keys are turned (3.2).
    Rope {
        /// θ, 10,000 in the paper.
        base: f64,
        /// How a longer context was made from a shorter one.
        scaling: Option<Llama3Scaling>,
    },
}

/// Llama 3's way to a longer context: slow turns are slowed further, fast ones stay, those between are blended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Llama3Scaling {
    /// By how much slow turns are slowed.
    pub factor: f64,
    /// Fewer turns than this within the original context are slow.
    pub low_freq_factor: f64,
    /// More turns than this are fast.
    pub high_freq_factor: f64,
    /// The context before.
    pub original_context_len: usize,
}

/// The layer that works on each token alone, and how wide it is inside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mlp {
    /// Gated (3.3), no biases.
    SwiGlu {
        /// F
        width: usize,
    },
    /// Two layers with GELU between them and biases, as GPT-2 has.
    Gelu {
        /// F
        width: usize,
        /// The form of the activation.
        form: Gelu,
    },
}

/// Which of attention's projections add a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionBias {
    /// None: Llama, Mistral, Qwen3.
    None,
    /// Queries, keys and values: Qwen2.
    Qkv,
    /// The output too: Llama's `attention_bias`.
    All,
}

/// What happens to queries and keys before they are turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// Nothing.
    None,
    /// Each head is normalised, with one learned scale for all query heads and one for all key heads: Qwen3.
    PerHead,
}

/// Where the scores come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LmHead {
    /// The token table itself.
    Tied,
    /// A matrix of its own.
    Untied,
}

/// Token i sees token j ≤ i if j > i − size, or j < sinks (3.5, 3.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Tokens seen up to and with oneself.
    pub size: usize,
    /// First tokens of the text that stay in view.
    pub sinks: usize,
}

impl ModelConfig {
    /// A byte-level model in Llama's style: RMSNorm, RoPE, SwiGLU as wide as makes it as large as a GELU layer of 4 C.
    pub fn byte_level(context: usize, n_layer: usize, n_head: usize, n_embd: usize) -> Self {
        Self {
            vocab_size: 256,
            n_layer,
            n_embd,
            context_len: context,
            norm: NormKind::Rms { eps: 1e-5 },
            attention: AttentionConfig {
                n_head,
                n_kv_head: n_head,
                head_dim: n_embd / n_head.max(1),
                bias: AttentionBias::None,
                qk_norm: QkNorm::None,
                position: PositionEncoding::Rope { base: 10_000., scaling: None },
                window: None,
            },
            mlp: Mlp::SwiGlu { width: Self::swiglu_width(n_embd) },
            lm_head: LmHead::Tied,
            init_std: Self::init_std_for_width(n_embd.max(1)),
        }
    }

    /// 8/3 C, rounded up to a multiple of 8: with three matrices in place of two, as many parameters as 4 C.
    pub fn swiglu_width(n_embd: usize) -> usize {
        n_embd.saturating_mul(8).div_ceil(3).next_multiple_of(8)
    }

    /// # Errors
    /// When a size is 0, or sizes that must divide each other do not.
    pub fn validate(&self) -> Result<()> {
        let Self { vocab_size, n_layer, n_embd, context_len: context, attention, .. } = *self;
        let AttentionConfig { n_head, n_kv_head, head_dim, position, window, .. } = attention;
        let (Mlp::SwiGlu { width } | Mlp::Gelu { width, .. }) = self.mlp;
        for (name, size) in [
            ("the vocabulary", vocab_size),
            ("the number of layers", n_layer),
            ("the number of channels", n_embd),
            ("the context", context),
            ("the number of heads", n_head),
            ("the number of key heads", n_kv_head),
            ("the size of a head", head_dim),
            ("the width of the feed-forward layer", width),
            ("the window", window.map_or(1, |window| window.size)),
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
            bail!("the ε of the norms is {eps}, which is not above 0");
        }
        if !(self.init_std >= 0. && self.init_std.is_finite()) {
            bail!("fresh weights spread by {}, which is no number from 0 up", self.init_std);
        }
        if let PositionEncoding::Rope { base, scaling } = position {
            let factor = scaling.map_or(1., |scaling| scaling.factor);
            if !(base > 0. && base.is_finite() && factor > 0. && factor.is_finite()) {
                bail!("RoPE with base {base} and factor {factor}: both must be above 0");
            }
        }
        if n_head % n_kv_head != 0 {
            bail!("{n_head} query heads cannot share {n_kv_head} key heads");
        }
        if matches!(position, PositionEncoding::Rope { .. }) && head_dim % 2 != 0 {
            bail!("RoPE turns pairs, and a head of {head_dim} has one left over");
        }
        Ok(())
    }
}

impl SlidingWindow {
    /// The mask that says the same.
    pub fn mask(self) -> AttentionMask {
        AttentionMask::sliding_window(self.size, self.sinks)
    }
}

impl AttentionConfig {
    /// What a token of a whole text sees.
    pub fn mask(&self) -> AttentionMask {
        self.window.map_or_else(AttentionMask::causal, SlidingWindow::mask)
    }
}
