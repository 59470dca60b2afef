//! 3.5 Sliding-window attention (Longformer, <https://arxiv.org/abs/2004.05150>; Mistral,
//! <https://arxiv.org/abs/2310.06825>): a token attends to the last `size` tokens only, so older
//! keys and values can be dropped.
//!
//! Token i attends to token j iff j ≤ i and j > i − size. Positions are those in the text, whatever
//! the cache still stores. Each layer extends the receptive field by `size` tokens. With sinks
//! (3.6), tokens j < sinks stay visible too.
//!
//! In some models only most layers have the window (Gemma 2, <https://arxiv.org/abs/2408.00118>):
//! the others, with full attention, carry information over any distance.

use candle_core::Result;
use model_io::config::{AttentionConfig, LayerType, SlidingWindow};
use tensor_core::ops::AttentionMask;

/// True if the token at position `query` attends to the one at position `key`.
pub fn can_attend(window: SlidingWindow, query: usize, key: usize) -> bool {
    key <= query && (query - key < window.size || key < window.sinks)
}

/// Maximum number of tokens that a layer must cache.
pub fn cache_len(window: SlidingWindow) -> usize {
    window.sinks.saturating_add(window.size)
}

/// Attention mask of each type of layer.
#[derive(Debug, Clone)]
pub struct LayerMasks {
    full: AttentionMask,
    /// Mask of the layers with a window; `None` if all layers have the same one.
    sliding: Option<AttentionMask>,
}

impl LayerMasks {
    /// Masks of whole texts, for a model with `attention`.
    pub fn of(attention: &AttentionConfig) -> Self {
        match attention.window.and_then(|window| window.full_attention_interval) {
            None => Self::same(attention.mask(attention.layer_type(0))),
            Some(_) => Self {
                full: attention.mask(LayerType::FullAttention),
                sliding: Some(attention.mask(LayerType::SlidingAttention)),
            },
        }
    }

    /// One mask for all layers.
    pub fn same(mask: AttentionMask) -> Self {
        Self { full: mask, sliding: None }
    }

    /// These masks, with `mask` in the layers that have a window.
    pub(crate) fn with_sliding(self, mask: AttentionMask) -> Self {
        Self { sliding: Some(mask), ..self }
    }

    /// Masks that `f` makes of these; of one for all layers, it makes one.
    pub(crate) fn map(self, f: impl Fn(AttentionMask) -> Result<AttentionMask>) -> Result<Self> {
        Ok(Self { full: f(self.full)?, sliding: self.sliding.map(f).transpose()? })
    }

    /// Mask of the layers of this type.
    pub fn get(&self, layer_type: LayerType) -> &AttentionMask {
        match layer_type {
            LayerType::FullAttention => &self.full,
            LayerType::SlidingAttention => self.sliding.as_ref().unwrap_or(&self.full),
        }
    }
}
