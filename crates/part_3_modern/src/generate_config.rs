//! Settings of a generation: how tokens are sampled, when a completion ends, which cache is used.

use std::num::NonZeroUsize;

use model_io::SlidingWindow;
use model_io::config::{AttentionConfig, LayerWindow};

use crate::sampler::Sampler;
use crate::{Cache, GptModern};

/// Settings of a generation.
#[derive(Debug, Clone)]
pub struct GenerateConfig {
    /// Sampler of the next token.
    pub sampler: Sampler,
    /// Maximum number of new tokens per row.
    pub max_new_tokens: usize,
    /// Number of new tokens before which a row does not end: stop tokens are not sampled.
    pub min_new_tokens: usize,
    /// Tokens that end a row.
    pub stop_tokens: Vec<u32>,
    /// Kind of KV cache.
    pub cache_kind: CacheKind,
    /// Prompt tokens per forward pass of the prefill, which bounds its memory.
    pub prefill_chunk: usize,
    /// Prompt lookup decoding of a single text, with up to this number of proposed tokens per
    /// forward pass.
    pub prompt_lookup_num_tokens: Option<NonZeroUsize>,
}

impl GenerateConfig {
    /// Settings with the cache that the model's attention needs.
    pub fn new(model: &GptModern, sampler: Sampler, max_new_tokens: usize, stop: Vec<u32>) -> Self {
        Self {
            sampler,
            max_new_tokens,
            min_new_tokens: 0,
            stop_tokens: stop,
            cache_kind: CacheKind::of(&model.config().attention),
            prefill_chunk: 512,
            prompt_lookup_num_tokens: None,
        }
    }
}

/// Kind of KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheKind {
    /// Keys and values of the whole text, at most the model's context.
    Full,
    /// Keys and values of a sliding window and the sinks; text of unlimited length.
    SlidingWindow(SlidingWindow),
    /// Keys and values of the model's own sliding window in the layers that have it, and of the
    /// whole text, at most the model's context, in the others.
    PerLayer,
}

impl CacheKind {
    /// Smallest cache for a model with `attention`: its sliding window in the layers that have it.
    pub fn of(attention: &AttentionConfig) -> Self {
        match attention.window {
            None => Self::Full,
            Some(LayerWindow { full_attention_interval: Some(_), .. }) => Self::PerLayer,
            Some(LayerWindow { window, .. }) => Self::SlidingWindow(window),
        }
    }

    /// Empty cache for `model`.
    pub fn new_cache(self, model: &GptModern) -> Cache {
        let n_layer = model.config().n_layer;
        match self {
            Self::Full => Cache::dynamic(n_layer),
            Self::SlidingWindow(window) => Cache::rolling(n_layer, window),
            Self::PerLayer => Cache::per_layer(model.config()),
        }
    }
}
