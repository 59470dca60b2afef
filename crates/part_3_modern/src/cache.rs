//! The KV cache of a model: one cache per layer, and the position in the text.
//!
//! The position is counted separately from the number of stored tokens, because it keeps growing
//! after a sliding window has dropped tokens. A model with a window in some layers has rolling
//! caches in these alone.

use candle_core::{Device, Result, Tensor, bail};
use model_io::config::{AttentionConfig, LayerType, ModelConfig, SlidingWindow};
use tensor_core::ops::AttentionMask;

use crate::sliding_window::LayerMasks;
use crate::{AttentionContext, KvCache, RollingCache};

/// Keys and values of the tokens so far, for every layer and row of a batch.
#[derive(Debug)]
pub struct Cache {
    layers: Vec<LayerCache>,
    position: usize,
    /// Padding tokens at the start of each row; empty without padding.
    padding: Vec<usize>,
    /// Length of a text after which all its keys have other RoPE frequencies, in the model that
    /// processed the tokens so far; `None` if they never change.
    frequency_change: Option<usize>,
}

/// Keys and values of one layer.
#[derive(Debug)]
pub enum LayerCache {
    /// Keys and values of all tokens (3.4).
    Dynamic(KvCache),
    /// Keys and values of a sliding window and of the sinks (3.6).
    Rolling(RollingCache),
}

impl Cache {
    /// Empty cache that keeps all tokens.
    pub fn dynamic(n_layer: usize) -> Self {
        Self::with_layer_caches(n_layer, |_| LayerCache::Dynamic(KvCache::default()))
    }

    /// Empty cache of fixed size, for a model with this sliding window or one that is run with it.
    pub fn rolling(n_layer: usize, window: SlidingWindow) -> Self {
        Self::with_layer_caches(n_layer, |_| LayerCache::Rolling(RollingCache::new(window)))
    }

    /// Empty cache of a model of `config` that keeps what each layer can attend to: the window in
    /// those that have it, all tokens in the others.
    pub fn per_layer(config: &ModelConfig) -> Self {
        let attention = &config.attention;
        Self::with_layer_caches(config.n_layer, |layer| {
            match (attention.layer_type(layer), attention.sliding_window()) {
                (LayerType::SlidingAttention, Some(window)) => {
                    LayerCache::Rolling(RollingCache::new(window))
                }
                _ => LayerCache::Dynamic(KvCache::default()),
            }
        })
    }

    fn with_layer_caches(n_layer: usize, layer: impl Fn(usize) -> LayerCache) -> Self {
        let layers = (0..n_layer).map(layer).collect();
        Self { layers, position: 0, padding: Vec::new(), frequency_change: None }
    }

    /// Rolling cache of the first layer that has one.
    pub(crate) fn rolling_layer(&self) -> Option<&RollingCache> {
        self.layers.iter().find_map(|layer| match layer {
            LayerCache::Rolling(cache) => Some(cache),
            LayerCache::Dynamic(_) => None,
        })
    }

    /// Sets the left padding of an empty cache: row b starts with `padding[b]` padding tokens.
    ///
    /// # Errors
    /// When the cache is not empty, or is rolling in some layers: its rows would need sinks in
    /// different places.
    pub fn with_padding(self, padding: Vec<usize>) -> Result<Self> {
        if self.position > 0 || self.rolling_layer().is_some() {
            bail!("padding needs an empty cache that is not rolling");
        }
        let padding = if padding.iter().all(|&n| n == 0) { Vec::new() } else { padding };
        Ok(Self { padding, ..self })
    }

    /// Copy with every row repeated `n` times in place, so that one prefill serves several
    /// completions.
    ///
    /// # Errors
    /// When the cache is rolling in some layers, or memory is short.
    pub fn repeat_interleave(&self, n: usize) -> Result<Self> {
        let layer = |layer: &LayerCache| match layer {
            LayerCache::Dynamic(cache) => Ok(LayerCache::Dynamic(cache.repeat_interleave(n)?)),
            LayerCache::Rolling(_) => bail!("a rolling cache cannot be expanded"),
        };
        let layers = self.layers.iter().map(layer).collect::<Result<_>>()?;
        let padding = self.padding.iter().flat_map(|&padding| vec![padding; n]).collect();
        let Self { position, frequency_change, .. } = *self;
        Ok(Self { layers, position, padding, frequency_change })
    }

    /// Keeps the rows `rows` of the batch alone, in this order.
    ///
    /// # Errors
    /// When a row is missing, or memory is short.
    pub fn keep_rows(&mut self, rows: &[usize], device: &Device) -> Result<()> {
        let indices = Tensor::from_iter(rows.iter().map(|&row| row as u32), device)?;
        for layer in &mut self.layers {
            match layer {
                LayerCache::Dynamic(cache) => cache.keep_rows(&indices)?,
                LayerCache::Rolling(cache) => cache.keep_rows(&indices)?,
            }
        }
        if !self.padding.is_empty() {
            self.padding = rows.iter().map(|&row| self.padding[row]).collect();
        }
        Ok(())
    }

    /// Number of tokens processed so far, padding included.
    pub fn position(&self) -> usize {
        self.position
    }

    /// True if some layers keep all tokens, so that texts longer than the context must be refused.
    pub fn is_dynamic(&self) -> bool {
        self.layers.iter().any(|layer| matches!(layer, LayerCache::Dynamic(_)))
    }

    /// Allocated memory in bytes.
    pub fn size_in_bytes(&self) -> usize {
        self.layers.iter().map(LayerCache::size_in_bytes).sum()
    }

    /// Drops all tokens but the first `len`. A cache that is rolling in some layers drops all
    /// tokens once one has left the window, because it is gone. All are dropped, too, if their keys
    /// have the frequencies of a longer text ([`frequency_change`]). [`Cache::position`] is the
    /// number of tokens left.
    ///
    /// [`frequency_change`]: model_io::config::PositionEncoding::frequency_change
    pub fn truncate(&mut self, len: usize) {
        if len >= self.position {
            return;
        }
        let is_complete = self.layers.iter().all(|layer| match layer {
            LayerCache::Dynamic(_) => true,
            LayerCache::Rolling(layer) => layer.has_all_tokens(),
        });
        let fits = |change: usize| self.position <= change || len > change;
        let is_valid = self.frequency_change.is_none_or(fits);
        let len = if is_complete && is_valid { len } else { 0 };
        self.position = len;
        for layer in &mut self.layers {
            match layer {
                LayerCache::Dynamic(layer) => layer.truncate(len),
                LayerCache::Rolling(layer) => layer.truncate(len),
            }
        }
    }

    /// Positions and masks of the next `t` tokens, for a model with `attention`.
    pub(crate) fn next_context(
        &self,
        attention: &AttentionConfig,
        t: usize,
    ) -> Result<AttentionContext> {
        let masks = LayerMasks::of(attention).map(|mask| Ok(mask.with_offset(self.position)))?;
        let rolling = self.rolling_layer().map(|layer| match t {
            1 => AttentionMask::bidirectional(), // every stored token is visible
            _ => layer.mask(),
        });
        let masks = match (rolling, self.is_dynamic()) {
            (None, _) => masks,
            (Some(rolling), true) => masks.with_sliding(rolling),
            (Some(rolling), false) => LayerMasks::same(rolling),
        };
        if self.padding.is_empty() {
            return Ok(AttentionContext::start_at(self.position, masks));
        }
        let starts = self.padding.iter().map(|&n| self.position as i64 - n as i64).collect();
        let s = self.position + t;
        let is_token = self.padding.iter().flat_map(|&n| (0..s).map(move |i| u8::from(i >= n)));
        // On the CPU, where masks keep it: there is no GPU to wait for.
        let is_token = Tensor::from_iter(is_token, &Device::Cpu)?;
        let is_token = is_token.reshape((self.padding.len(), s))?; // (B, S)
        let masks = masks.map(|mask| mask.with_padding(&is_token))?;
        Ok(AttentionContext::row_starts(starts, masks))
    }

    pub(crate) fn layers(&mut self) -> impl Iterator<Item = &mut LayerCache> {
        self.layers.iter_mut()
    }

    /// Counts `t` tokens that a model with `attention` has processed.
    pub(crate) fn advance(&mut self, attention: &AttentionConfig, t: usize) {
        self.position += t;
        self.frequency_change = attention.position.frequency_change();
    }
}

impl LayerCache {
    /// Appends the keys and values of new tokens, (B, T, KV, D) each, and returns those that the
    /// forward pass's mask covers.
    pub(crate) fn extend(&mut self, new: [&Tensor; 2]) -> Result<[Tensor; 2]> {
        match self {
            Self::Dynamic(cache) => cache.extend(new),
            Self::Rolling(cache) => cache.extend(new),
        }
    }

    fn size_in_bytes(&self) -> usize {
        match self {
            Self::Dynamic(cache) => cache.size_in_bytes(),
            Self::Rolling(cache) => cache.size_in_bytes(),
        }
    }
}
