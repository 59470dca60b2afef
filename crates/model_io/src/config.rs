//! Architecture of a modern decoder: its sizes, and a value of each design choice. The public model
//! families are combinations of the same choices, and an ablation changes one at a time.

use candle_core::{Result, bail};
use tensor_core::ops::AttentionMask;

pub use crate::design_choices::{
    AttentionBias, BlockLayout, ExpertWeights, LayerType, LmHead, Mlp, NormKind, PositionEncoding,
    QkNorm, QkvProjections, SlidingWindow, TokenEmbedding,
};
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
    /// Soft cap c of the logits, c · tanh(x / c): Gemma 2.
    pub logit_softcap: Option<f64>,
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
    /// n if every n-th layer has full attention in spite of the window: 2 in Gemma 2, 6 in Gemma 3.
    pub full_attention_interval: Option<usize>,
    /// θ of RoPE in the layers with a window, without scaling; `None`: that of `position`. Gemma 3.
    pub local_rope_base: Option<f64>,
    /// s in the logits q · k / √s; `None`: D. Gemma 2 and 3.
    pub query_pre_attn_scalar: Option<usize>,
    /// Soft cap c of the attention logits, c · tanh(x / c): Gemma 2.
    pub logit_softcap: Option<f64>,
}

impl ModelConfig {
    /// Checks that the sizes are valid and fit together.
    ///
    /// # Errors
    /// When a size is 0, when sizes that must divide each other do not, or a number is out of
    /// range.
    pub fn validate(&self) -> Result<()> {
        let Self { vocab_size, n_layer, n_embd, context_len, attention, .. } = *self;
        let AttentionConfig { n_head, n_kv_head, head_dim, .. } = attention;
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
        ] {
            if size == 0 {
                bail!("{name} is 0");
            }
        }
        // Queries, keys and values, or gate and up projection, may stand in one matrix.
        if n_head.checked_mul(3).and_then(|n| n.checked_mul(head_dim)).is_none() {
            bail!("{n_head} heads of {head_dim} are too many");
        }
        if self.mlp.width().checked_mul(2).is_none() {
            bail!("a feed-forward layer of {} channels is too wide", self.mlp.width());
        }
        let eps = self.norm.eps();
        if !(eps > 0. && eps.is_finite()) {
            bail!("the ε of the norms must be above 0, got {eps}");
        }
        if !(self.init_std >= 0. && self.init_std.is_finite()) {
            bail!("init_std must be a finite number ≥ 0, got {}", self.init_std);
        }
        attention.validate_position(context_len)?;
        attention.validate_layers()?;
        for cap in [self.logit_softcap, attention.logit_softcap].into_iter().flatten() {
            if !(cap > 0. && cap.is_finite()) {
                bail!("a soft cap of logits must be above 0, got {cap}");
            }
        }
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
        if let Some(base) = self.local_rope_base {
            if matches!(self.position, PositionEncoding::Learned { .. }) {
                bail!("learned positions do not have a RoPE base for the layers with a window");
            }
            if !(base > 0. && base.is_finite()) {
                bail!("the RoPE base of the layers with a window must be above 0, got {base}");
            }
        }
        if let PositionEncoding::Learned { offset } = self.position
            && context_len.checked_add(offset).is_none()
        {
            bail!("{context_len} learned positions are too many");
        }
        Ok(())
    }

    /// Checks what differs between the layers, and the scale of the attention logits.
    fn validate_layers(&self) -> Result<()> {
        let full_attention_interval = self.full_attention_interval.unwrap_or(1);
        for (name, size) in [
            ("the interval of layers without RoPE", self.no_rope_interval.unwrap_or(1)),
            ("the interval of layers with full attention", full_attention_interval),
            ("the window size", self.window.map_or(1, |window| window.size)),
            ("`query_pre_attn_scalar`", self.query_pre_attn_scalar.unwrap_or(1)),
        ] {
            if size == 0 {
                bail!("{name} is 0");
            }
        }
        if self.full_attention_interval.is_some() && self.window.is_none() {
            bail!("some layers are to have a sliding window, but its size is not given");
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

    /// Type of layer `layer`, counted from 0.
    pub fn layer_type(&self, layer: usize) -> LayerType {
        let is_full = |interval: usize| (layer + 1).is_multiple_of(interval);
        match self.window.is_none() || self.full_attention_interval.is_some_and(is_full) {
            true => LayerType::FullAttention,
            false => LayerType::SlidingAttention,
        }
    }

    /// Attention mask of a whole text in layers of this type: causal, within the window if they
    /// have one.
    pub fn mask(&self, layer_type: LayerType) -> AttentionMask {
        match (layer_type, self.window) {
            (LayerType::SlidingAttention, Some(window)) => window.mask(),
            _ => AttentionMask::causal(),
        }
    }

    /// Factor of the queries with which q · k / √D becomes q · k / √s; `None` if s is D.
    pub fn query_scale(&self) -> Option<f64> {
        let scalar = self.query_pre_attn_scalar.filter(|&scalar| scalar != self.head_dim)?;
        Some((self.head_dim as f64 / scalar as f64).sqrt())
    }
}
