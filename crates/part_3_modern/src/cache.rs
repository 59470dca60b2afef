//! The KV cache of a model: one cache per layer, and the position in the text.
//!
//! The position is counted separately from the number of stored tokens, because it keeps growing
//! after a sliding window has dropped tokens.

use candle_core::{Device, Result, Tensor, bail};
use model_io::config::{AttentionConfig, SlidingWindow};
use tensor_core::ops::{AttentionMask, Positions};

use crate::{KvCache, RollingCache};

/// Keys and values of the tokens so far, for every layer and row of a batch.
#[derive(Debug)]
pub struct Cache {
    layers: Vec<LayerCache>,
    position: usize,
    /// Padding tokens at the start of each row; empty without padding.
    padding: Vec<usize>,
}

/// Keys and values of one layer.
#[derive(Debug)]
pub enum LayerCache {
    /// Keys and values of all tokens (3.4).
    Dynamic(KvCache),
    /// Keys and values of a sliding window and of the sinks (3.6).
    Rolling(RollingCache),
}

/// Positions and attention mask of the tokens of a forward pass.
#[derive(Debug, Clone)]
pub struct AttentionContext {
    token_positions: TokenPositions,
    /// Mask over the keys that the cache returns.
    pub mask: AttentionMask,
}

#[derive(Debug, Clone)]
enum TokenPositions {
    StartAt(usize),
    RowStarts(Vec<i64>),
    /// Position of every token, row by row.
    PerToken(Vec<usize>),
}

impl AttentionContext {
    /// Context of whole sequences that start at position 0.
    pub fn full_sequence(mask: AttentionMask) -> Self {
        Self { token_positions: TokenPositions::StartAt(0), mask }
    }

    /// Context of packed rows with several texts each. Token t of row b belongs to text
    /// `segments[b][t]` of its row, attends within that text only, and has its position within it.
    /// Any numbering works that gives neighboring texts different numbers.
    ///
    /// # Errors
    /// When rows differ in length.
    pub fn packed(mask: AttentionMask, segments: &[Vec<u32>], device: &Device) -> Result<Self> {
        let mut positions: Vec<usize> = Vec::new();
        for row in segments {
            for (t, segment) in row.iter().enumerate() {
                let same_text = t > 0 && row[t - 1] == *segment;
                let previous = positions.last().copied().unwrap_or(0);
                positions.push(if same_text { previous + 1 } else { 0 });
            }
        }
        let segments = Tensor::new(segments.to_vec(), device)?; // (B, T)
        Ok(Self {
            token_positions: TokenPositions::PerToken(positions),
            mask: mask.with_segment_ids(&segments)?,
        })
    }

    /// Context of rows in which several completions share one prefix. The first `prefix_lens[b]`
    /// tokens of row b are the prefix. A later token t belongs to completion `segments[b][t]`,
    /// attends to the prefix and to its own completion, and has the position it would have if this
    /// were the only one.
    ///
    /// # Errors
    /// When rows differ in length, or `attention` has a sliding window: its mask does not know the
    /// distance to the prefix.
    pub fn shared_prefix(
        attention: &AttentionConfig,
        prefix_lens: Vec<usize>,
        segments: &[Vec<u32>],
        device: &Device,
    ) -> Result<Self> {
        if attention.window.is_some() {
            bail!("a sliding window does not support completions with a shared prefix");
        }
        let mut positions: Vec<usize> = Vec::new();
        for (row, &prefix_len) in segments.iter().zip(&prefix_lens) {
            for t in 0..row.len() {
                let starts_completion = t > prefix_len && row[t - 1] != row[t];
                let next = positions.last().map_or(0, |previous| previous + 1);
                positions.push(if t == 0 {
                    0
                } else if starts_completion {
                    prefix_len
                } else {
                    next
                });
            }
        }
        let segments = Tensor::new(segments.to_vec(), device)?; // (B, T)
        let mask =
            attention.mask().with_segment_ids(&segments)?.with_shared_prefixes(prefix_lens)?;
        Ok(Self { token_positions: TokenPositions::PerToken(positions), mask })
    }

    /// Position of each token.
    pub fn positions(&self) -> Positions<'_> {
        match &self.token_positions {
            TokenPositions::StartAt(start) => Positions::StartAt(*start),
            TokenPositions::RowStarts(starts) => Positions::RowStarts(starts),
            TokenPositions::PerToken(positions) => Positions::PerToken(positions),
        }
    }

    /// Half-open range that contains the positions of all T tokens.
    pub(crate) fn position_range(&self, t: usize) -> (usize, usize) {
        let (first, last) = match &self.token_positions {
            TokenPositions::StartAt(start) => (*start, *start),
            TokenPositions::RowStarts(starts) => {
                let clamped = |start: Option<&i64>| start.map_or(0, |&start| start.max(0) as usize);
                (clamped(starts.iter().min()), clamped(starts.iter().max()))
            }
            TokenPositions::PerToken(positions) => {
                return (0, positions.iter().max().map_or(0, |last| last + 1));
            }
        };
        (first, last + t)
    }
}

impl Cache {
    /// Empty cache that keeps all tokens.
    pub fn dynamic(n_layer: usize) -> Self {
        Self::with_layer_caches(n_layer, || LayerCache::Dynamic(KvCache::default()))
    }

    /// Empty cache of fixed size, for a model with this sliding window or one that is run with it.
    pub fn rolling(n_layer: usize, window: SlidingWindow) -> Self {
        Self::with_layer_caches(n_layer, || LayerCache::Rolling(RollingCache::new(window)))
    }

    fn with_layer_caches(n_layer: usize, layer: impl Fn() -> LayerCache) -> Self {
        Self { layers: (0..n_layer).map(|_| layer()).collect(), position: 0, padding: Vec::new() }
    }

    /// Sets the left padding of an empty cache: row b starts with `padding[b]` padding tokens.
    ///
    /// # Errors
    /// When the cache is not empty, or is rolling: its rows would need sinks in different places.
    pub fn with_padding(self, padding: Vec<usize>) -> Result<Self> {
        if self.position > 0 || matches!(self.layers.first(), Some(LayerCache::Rolling(_))) {
            bail!("padding needs an empty cache that is not rolling");
        }
        let padding = if padding.iter().all(|&n| n == 0) { Vec::new() } else { padding };
        Ok(Self { padding, ..self })
    }

    /// Copy with every row repeated `n` times in place, so that one prefill serves several
    /// completions.
    ///
    /// # Errors
    /// When the cache is rolling, or memory is short.
    pub fn repeat_interleave(&self, n: usize) -> Result<Self> {
        let layer = |layer: &LayerCache| match layer {
            LayerCache::Dynamic(cache) => Ok(LayerCache::Dynamic(cache.repeat_interleave(n)?)),
            LayerCache::Rolling(_) => bail!("a rolling cache cannot be expanded"),
        };
        let layers = self.layers.iter().map(layer).collect::<Result<_>>()?;
        let padding = self.padding.iter().flat_map(|&padding| vec![padding; n]).collect();
        Ok(Self { layers, position: self.position, padding })
    }

    /// Number of tokens processed so far, padding included.
    pub fn position(&self) -> usize {
        self.position
    }

    /// True if all tokens are kept, so that texts longer than the context must be refused.
    pub fn is_dynamic(&self) -> bool {
        matches!(self.layers.first(), Some(LayerCache::Dynamic(_)))
    }

    /// Allocated memory in bytes.
    pub fn size_in_bytes(&self) -> usize {
        self.layers.iter().map(LayerCache::size_in_bytes).sum()
    }

    /// Drops all tokens but the first `len`. A rolling cache drops all tokens, because those before
    /// the window are gone. [`Cache::position`] is the number of tokens left.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.position {
            return;
        }
        self.position = if self.is_dynamic() { len } else { 0 };
        for layer in &mut self.layers {
            match layer {
                LayerCache::Dynamic(layer) => layer.truncate(len),
                LayerCache::Rolling(layer) => layer.clear(),
            }
        }
    }

    /// Positions and mask of the next `t` tokens, for a model with `attention`.
    pub(crate) fn next_context(
        &self,
        attention: &AttentionConfig,
        t: usize,
        device: &Device,
    ) -> Result<AttentionContext> {
        let mask = match self.layers.first() {
            Some(LayerCache::Rolling(layer)) => match t {
                1 => AttentionMask::bidirectional(), // every stored token is visible
                _ => layer.mask(),
            },
            _ => attention.mask().with_offset(self.position),
        };
        if self.padding.is_empty() {
            return Ok(AttentionContext {
                token_positions: TokenPositions::StartAt(self.position),
                mask,
            });
        }
        let starts = self.padding.iter().map(|&n| self.position as i64 - n as i64).collect();
        let s = self.position + t;
        let is_token = self.padding.iter().flat_map(|&n| (0..s).map(move |i| u8::from(i >= n)));
        let is_token = Tensor::from_iter(is_token, device)?.reshape((self.padding.len(), s))?;
        Ok(AttentionContext {
            token_positions: TokenPositions::RowStarts(starts),
            mask: mask.with_padding(&is_token)?,
        })
    }

    pub(crate) fn layers(&mut self) -> impl Iterator<Item = &mut LayerCache> {
        self.layers.iter_mut()
    }

    pub(crate) fn advance(&mut self, t: usize) {
        self.position += t;
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
