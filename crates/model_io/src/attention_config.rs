//! Configuration of attention: the heads and their projections, positions, the window of each
//! layer, and what bounds the attention logits.

use candle_core::{Result, bail};
use tensor_core::ops::AttentionMask;

use crate::design_choices::{AttentionBias, LayerType, QkNorm, QkvProjections, SlidingWindow};
use crate::position_encoding::PositionEncoding;

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
    /// Position encoding.
    pub position: PositionEncoding,
    /// Sliding window, and the layers that have it; `None`: in every layer, every token attends to
    /// all tokens before it.
    pub window: Option<LayerWindow>,
    /// Norms, scale and cap of the attention logits.
    pub logits: AttentionLogits,
}

/// Sliding window of most layers or of all, and how these differ from layers with full attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerWindow {
    /// The window, the same in all layers that have one.
    pub window: SlidingWindow,
    /// n if every n-th layer has full attention: 2 in Gemma 2, 6 in Gemma 3; `None`: no layer has.
    pub full_attention_interval: Option<usize>,
    /// θ of RoPE in the layers with the window, without scaling (Gemma 3); `None`: RoPE is the same
    /// in all layers.
    pub local_rope_base: Option<f64>,
}

/// Attention logits: q · k / √D with options that keep them in bounds. Gemma 3 has norms of q and k
/// where Gemma 2 had the cap.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct AttentionLogits {
    /// Normalization of queries and keys before the rotation.
    pub qk_norm: QkNorm,
    /// s in q · k / √s; `None`: D. Gemma 2 and 3.
    pub query_pre_attn_scalar: Option<usize>,
    /// Soft cap c of the logits, c · tanh(x / c): Gemma 2.
    pub softcap: Option<f64>,
}

impl From<SlidingWindow> for LayerWindow {
    /// The window in all layers.
    fn from(window: SlidingWindow) -> Self {
        Self { window, full_attention_interval: None, local_rope_base: None }
    }
}

impl AttentionConfig {
    /// Checks what differs between layers and positions, for texts of `context_len` tokens.
    pub(crate) fn validate(&self, context_len: usize) -> Result<()> {
        self.position.validate(self.head_dim, context_len)?;
        if let Some(window) = self.window {
            window.validate(self.position)?;
        }
        if self.logits.query_pre_attn_scalar == Some(0) {
            bail!("`query_pre_attn_scalar` is 0");
        }
        Ok(())
    }

    /// Sliding window of the layers that have one; `None` if no layer has.
    pub fn sliding_window(&self) -> Option<SlidingWindow> {
        self.window.map(|layers| layers.window)
    }

    /// True if layer `layer`, counted from 0, rotates queries and keys.
    pub fn has_rope(&self, layer: usize) -> bool {
        self.position.rope_parameters().is_some_and(|rope| rope.has_rope(layer))
    }

    /// Type of layer `layer`, counted from 0.
    pub fn layer_type(&self, layer: usize) -> LayerType {
        let is_full = |interval: usize| (layer + 1).is_multiple_of(interval);
        match self.window {
            Some(window) if !window.full_attention_interval.is_some_and(is_full) => {
                LayerType::SlidingAttention
            }
            _ => LayerType::FullAttention,
        }
    }

    /// Attention mask of a whole text in layers of this type: causal, within the window if they
    /// have one.
    pub fn mask(&self, layer_type: LayerType) -> AttentionMask {
        match (layer_type, self.window) {
            (LayerType::SlidingAttention, Some(layers)) => layers.window.mask(),
            _ => AttentionMask::causal(),
        }
    }

    /// Factor of the queries with which q · k / √D becomes q · k / √s; `None` if s is D.
    pub fn query_scale(&self) -> Option<f64> {
        let scalar = self.logits.query_pre_attn_scalar;
        let scalar = scalar.filter(|&scalar| scalar != self.head_dim)?;
        Some((self.head_dim as f64 / scalar as f64).sqrt())
    }
}

impl LayerWindow {
    /// Checks the window of a model with the position encoding `position`.
    fn validate(&self, position: PositionEncoding) -> Result<()> {
        let Self { window, full_attention_interval, local_rope_base } = *self;
        if let Some(base) = local_rope_base {
            if matches!(position, PositionEncoding::Learned { .. }) {
                bail!("learned positions do not have a RoPE base for the layers with a window");
            }
            if !(base > 0. && base.is_finite()) {
                bail!("the RoPE base of the layers with a window must be above 0, got {base}");
            }
        }
        if full_attention_interval == Some(0) {
            bail!("the interval of layers with full attention is 0");
        }
        if window.size == 0 {
            bail!("the window size is 0");
        }
        Ok(())
    }
}
