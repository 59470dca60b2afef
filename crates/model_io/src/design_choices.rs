//! Design choices of a decoder, an enum each: embeddings, the block's layout, norms, the
//! feed-forward layer, projections, biases, the output matrix and the attention window.

use tensor_core::ops::{AttentionMask, Gelu};

/// Token embeddings on their way into the first block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenEmbedding {
    /// C channels, unchanged.
    Plain,
    /// C channels, multiplied by √C as in the first transformer
    /// (<https://arxiv.org/abs/1706.03762>, 3.4): Gemma 1 to 3. √C is rounded to the dtype of the
    /// table.
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
    /// x ← x + norm′(f(norm(x))), then x ← x + norm′(g(norm(x))): Gemma 2
    /// (<https://arxiv.org/abs/2408.00118>), Gemma 3. A last norm precedes the LM head.
    SandwichNorm,
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
    /// (<https://arxiv.org/abs/2403.08295>) 1 to 3.
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
    /// GELU in place of SwiGLU's SiLU (<https://arxiv.org/abs/2002.05202>): Gemma 1 to 3.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QkNorm {
    /// No normalization.
    #[default]
    None,
    /// Norm over each head, with one learned scale for all query heads and one for all key heads:
    /// Qwen3, Gemma 3.
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

/// Type of a layer by the tokens that it attends to, in transformers' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerType {
    /// Every token attends to all tokens before it.
    FullAttention,
    /// Every token attends to those in the sliding window.
    SlidingAttention,
}

/// Sliding window with sinks: token i attends to token j ≤ i if j > i − size or j < sinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Window size in tokens, the current one included.
    pub size: usize,
    /// Attention sinks: first tokens of the text, always visible.
    pub sinks: usize,
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

impl SlidingWindow {
    /// Attention mask of this window.
    pub fn mask(self) -> AttentionMask {
        AttentionMask::sliding_window(self.size, self.sinks)
    }
}
