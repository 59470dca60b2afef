//! Architecture of a modern decoder: its sizes, and a value of each design choice. The public model
//! families are combinations of the same choices, and an ablation changes one at a time.

use candle_core::{Result, bail};

pub use crate::attention_config::{AttentionConfig, AttentionLogits, LayerWindow};
pub use crate::design_choices::{
    AttentionBias, BlockLayout, ExpertWeights, LayerType, LmHead, Mlp, NormKind, QkNorm,
    QkvProjections, SlidingWindow, TokenEmbedding,
};
pub use crate::position_encoding::{PositionEncoding, RopeParameters};
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
        attention.validate(context_len)?;
        for cap in [self.logit_softcap, attention.logits.softcap].into_iter().flatten() {
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
