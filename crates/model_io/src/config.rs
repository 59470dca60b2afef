//! Architecture of a modern decoder. Each design choice is an enum: the public model families are
//! combinations of the same choices, and an ablation changes one at a time.

use candle_core::{Result, bail};
use tensor_core::ops::{AttentionMask, Gelu};

pub use crate::rope_scaling::{Llama3Scaling, LongScaling, PairFactors, RopeScaling, YarnScaling};

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
    /// Token embeddings.
    pub embedding: TokenEmbedding,
    /// Kind of all norms.
    pub norm: NormKind,
    /// Place of the norms in a block.
    pub block: BlockLayout,
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
    /// Matrices of queries, keys and values.
    pub projections: QkvProjections,
    /// Projections that have a bias.
    pub bias: AttentionBias,
    /// Normalization of queries and keys before the rotation.
    pub qk_norm: QkNorm,
    /// Position encoding.
    pub position: PositionEncoding,
    /// Fraction of the channels of a head that RoPE rotates, the first ones: 1 in most models, 1/4
    /// in GPT-NeoX.
    pub rotary_fraction: f64,
    /// n if every n-th layer leaves queries and keys unrotated (NoPE,
    /// <https://arxiv.org/abs/2501.18795>): SmolLM3.
    pub no_rope_interval: Option<usize>,
    /// Sliding window; `None`: every token attends to all tokens before it.
    pub window: Option<SlidingWindow>,
}

/// Token embeddings on their way into the first block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenEmbedding {
    /// C channels, unchanged.
    Plain,
    /// C channels, multiplied by √C as in the first transformer
    /// (<https://arxiv.org/abs/1706.03762>, 3.4): Gemma.
    Scaled,
    /// Fewer channels, projected to C, and back before the LM head: OPT-350m.
    Projected {
        /// Channels of the table.
        width: usize,
    },
}

/// Place of the norms in a block, with f attention and g the feed-forward layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockLayout {
    /// x ← x + f(norm(x)), then x ← x + g(norm(x)): GPT-2 and most models since. A last norm
    /// precedes the LM head.
    PreNorm,
    /// x ← norm(x + f(x)), then x ← norm(x + g(x)): the first transformer
    /// (<https://arxiv.org/abs/1706.03762>), OPT-350m. There is no last norm.
    PostNorm,
    /// x ← x + f(norm(x)) + g(norm′(x)), both of the same x: GPT-NeoX
    /// (<https://arxiv.org/abs/2204.06745>).
    Parallel,
}

/// Kind of norm, and its ε.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NormKind {
    /// RMSNorm: scale only.
    Rms {
        /// Term added under the square root.
        eps: f64,
    },
    /// RMSNorm whose scale is 1 + weight, so that weight decay pulls it to 1: Gemma
    /// (<https://arxiv.org/abs/2403.08295>).
    ZeroCenteredRms {
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
#[expect(clippy::large_enum_variant, reason = "a configuration is Copy, and a model has one")]
pub enum PositionEncoding {
    /// Learned vector per position, added to the embedding, as in GPT-2; limited to `context_len`.
    Learned {
        /// Unused rows at the start of the table: 2 in OPT, else 0.
        offset: usize,
    },
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
    /// SwiGLU whose gate and up projection are one matrix: Phi-3.
    FusedSwiGlu {
        /// F, the inner width.
        width: usize,
    },
    /// GELU in place of SwiGLU's SiLU (<https://arxiv.org/abs/2002.05202>): Gemma.
    GeGlu {
        /// F, the inner width.
        width: usize,
        /// Exact GELU or its tanh approximation.
        form: Gelu,
    },
    /// Two linear layers with biases and GELU between them, as in GPT-2.
    Gelu {
        /// F, the inner width.
        width: usize,
        /// Exact GELU or its tanh approximation.
        form: Gelu,
    },
    /// Two linear layers with biases and max(0, x) between them, as in the first transformer: OPT.
    Relu {
        /// F, the inner width.
        width: usize,
    },
    /// Several SwiGLU layers, the experts, of which a router selects a few for each token (part 5):
    /// Mixtral, Qwen3-MoE.
    Experts {
        /// F, the inner width of one expert.
        width: usize,
        /// E, the number of experts.
        n_expert: usize,
        /// K, the experts per token.
        top_k: usize,
        /// Weights of the selected experts.
        weights: ExpertWeights,
    },
}

/// Weights of the selected experts' outputs, where p is the router's softmax over all experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpertWeights {
    /// p divided by its sum over the selected experts: Mixtral.
    Renormalized,
    /// p unchanged: Qwen3-MoE with `norm_topk_prob: false`.
    Raw,
}

/// Matrices of queries, keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkvProjections {
    /// One matrix each.
    Separate,
    /// One matrix, with the rows of all queries, then all keys, then all values: GPT-2, Phi-3.
    Fused,
    /// One matrix, with the rows of query, key and value head by head: GPT-NeoX.
    FusedPerHead,
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
        let AttentionConfig { n_head, n_kv_head, head_dim, no_rope_interval, window, .. } =
            attention;
        let embedding_width = self.embedding_width();
        for (name, size) in [
            ("the vocabulary size", vocab_size),
            ("the number of layers", n_layer),
            ("the number of channels", n_embd),
            ("the context length", context_len),
            ("the number of heads", n_head),
            ("the number of key-value heads", n_kv_head),
            ("the head dimension", head_dim),
            ("the width of the feed-forward layer", self.mlp.width()),
            ("the width of the embeddings", embedding_width),
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
        let eps = self.norm.eps();
        if !(eps > 0. && eps.is_finite()) {
            bail!("the ε of the norms must be above 0, got {eps}");
        }
        if !(self.init_std >= 0. && self.init_std.is_finite()) {
            bail!("init_std must be a finite number ≥ 0, got {}", self.init_std);
        }
        attention.validate_position(context_len)?;
        if let Mlp::Experts { n_expert, top_k, .. } = self.mlp
            && !(1..=n_expert).contains(&top_k)
        {
            bail!("{top_k} experts per token of {n_expert}: must be from 1 to {n_expert}");
        }
        if n_head % n_kv_head != 0 {
            bail!("{n_head} query heads cannot share {n_kv_head} key heads");
        }
        if attention.projections == QkvProjections::FusedPerHead && n_head != n_kv_head {
            bail!("{n_head} query heads cannot have rows beside those of {n_kv_head} key heads");
        }
        Ok(())
    }

    /// Channels of the token embeddings.
    pub fn embedding_width(&self) -> usize {
        match self.embedding {
            TokenEmbedding::Plain | TokenEmbedding::Scaled => self.n_embd,
            TokenEmbedding::Projected { width } => width,
        }
    }
}

impl NormKind {
    /// ε under the square root.
    pub fn eps(self) -> f64 {
        let (Self::Rms { eps } | Self::ZeroCenteredRms { eps } | Self::Layer { eps }) = self;
        eps
    }
}

impl Mlp {
    /// F, the inner width of the layer, or of one expert.
    pub fn width(self) -> usize {
        let (Self::SwiGlu { width }
        | Self::FusedSwiGlu { width }
        | Self::GeGlu { width, .. }
        | Self::Gelu { width, .. }
        | Self::Relu { width }
        | Self::Experts { width, .. }) = self;
        width
    }
}

impl PositionEncoding {
    /// True if cached keys and values are valid only up to the context length: there are no more
    /// learned vectors, or the frequencies of all positions depend on the length of a longer text.
    pub fn is_limited(self) -> bool {
        matches!(
            self,
            Self::Learned { .. } | Self::Rope { scaling: Some(RopeScaling::Dynamic { .. }), .. }
        )
    }

    /// Length up to which a text has other frequencies than a longer one, in all its positions:
    /// keys that were cached before are useless after it.
    pub fn frequency_change(self) -> Option<usize> {
        match self {
            Self::Rope { scaling: Some(RopeScaling::Long(long)), .. } => {
                Some(long.original_context_len)
            }
            _ => None,
        }
    }
}

impl SlidingWindow {
    /// Attention mask of this window.
    pub fn mask(self) -> AttentionMask {
        AttentionMask::sliding_window(self.size, self.sinks)
    }
}

impl AttentionConfig {
    /// Checks the position encoding of a model of `context_len` tokens.
    fn validate_position(&self, context_len: usize) -> Result<()> {
        if let PositionEncoding::Rope { base, scaling } = self.position {
            if !(base > 0. && base.is_finite()) {
                bail!("the RoPE base must be above 0, got {base}");
            }
            if let Some(scaling) = scaling {
                scaling.validate(self.rotary_dim(), base)?;
            }
            let fraction = self.rotary_fraction;
            if !(fraction > 0. && fraction <= 1.) {
                bail!("RoPE rotates the fraction {fraction} of a head: must be above 0, at most 1");
            }
            let rotary_dim = self.rotary_dim();
            if rotary_dim == 0 || !rotary_dim.is_multiple_of(2) {
                bail!(
                    "RoPE rotates pairs of channels, not {rotary_dim} of a head of {}",
                    self.head_dim
                );
            }
        }
        if let PositionEncoding::Learned { offset } = self.position
            && context_len.checked_add(offset).is_none()
        {
            bail!("{context_len} learned positions are too many");
        }
        Ok(())
    }

    /// Channels of a head that RoPE rotates.
    pub fn rotary_dim(&self) -> usize {
        (self.head_dim as f64 * self.rotary_fraction) as usize
    }

    /// True if layer `layer`, counted from 0, rotates queries and keys when the model has RoPE.
    pub fn has_rope(&self, layer: usize) -> bool {
        self.no_rope_interval.is_none_or(|interval| !(layer + 1).is_multiple_of(interval))
    }

    /// Attention mask of a whole text: causal, within the window if there is one.
    pub fn mask(&self) -> AttentionMask {
        self.window.map_or_else(AttentionMask::causal, SlidingWindow::mask)
    }
}
