//! The memory of a model that reads a text piece by piece: a cache per layer, and where the text has got to.
//!
//! How many tokens were read is counted apart from how many are stored: positions go on when the window moves on.

use candle_core::{Device, Result, Tensor, bail};
use tensor_core::ops::{AttentionMask, Positions};

use crate::config::{AttentionConfig, SlidingWindow};
use crate::{KvCache, RollingCache};

/// Keys and values of the tokens read so far, of every layer and row of a batch.
#[derive(Debug)]
pub struct Cache {
    layers: Vec<LayerCache>,
    position: usize,
    /// Tokens of padding at the start of each row; empty where there is none.
    padding: Vec<usize>,
}

/// The keys and values of one layer.
#[derive(Debug)]
pub enum LayerCache {
    /// All of them (3.4).
    Dynamic(KvCache),
    /// Those of a window and of the sinks (3.6).
    Rolling(RollingCache),
}

/// Where the tokens of a pass stand, and what they see.
#[derive(Debug, Clone)]
pub struct AttentionContext {
    token_positions: TokenPositions,
    /// Of the keys that the cache gives out.
    pub mask: AttentionMask,
}

#[derive(Debug, Clone)]
enum TokenPositions {
    StartAt(usize),
    RowStarts(Vec<i64>),
    /// Of every token, row by row.
    PerToken(Vec<usize>),
}

impl AttentionContext {
    /// Whole texts from their first token on.
    pub fn full_sequence(mask: AttentionMask) -> Self {
        Self { token_positions: TokenPositions::StartAt(0), mask }
    }

    /// Several texts in a row: token t of row b belongs to text `segments[b][t]` of its row, sees that alone, and stands
    /// where it stands in it. The texts of a row are numbered in any way that keeps neighbours apart.
    ///
    /// # Errors
    /// When rows differ in length.
    pub fn packed(mask: AttentionMask, segments: &[Vec<u32>], device: &Device) -> Result<Self> {
        let mut positions: Vec<usize> = Vec::new();
        for row in segments {
            for (t, segment) in row.iter().enumerate() {
                let goes_on = t > 0 && row[t - 1] == *segment;
                let before = positions.last().copied().unwrap_or(0);
                positions.push(if goes_on { before + 1 } else { 0 });
            }
        }
        let segments = Tensor::new(segments.to_vec(), device)?; // (B, T)
        Ok(Self {
            token_positions: TokenPositions::PerToken(positions),
            mask: mask.with_segment_ids(&segments)?,
        })
    }

    /// Several continuations of one beginning in a row: the first `stems[b]` tokens of row b are the beginning; then token t
    /// belongs to continuation `segments[b][t]`, sees the beginning and its own continuation, and stands where it would
    /// stand if this were the only one.
    ///
    /// # Errors
    /// When rows differ in length, or a window moves through them: it would not know how far back the beginning is.
    pub fn shared_prefix(
        attention: &AttentionConfig,
        stems: Vec<usize>,
        segments: &[Vec<u32>],
        device: &Device,
    ) -> Result<Self> {
        if attention.window.is_some() {
            bail!("a window cannot move through texts that share their beginning");
        }
        let mut positions: Vec<usize> = Vec::new();
        for (row, &stem) in segments.iter().zip(&stems) {
            for t in 0..row.len() {
                let branches = t > stem && row[t - 1] != row[t];
                let before = positions.last().map_or(0, |before| before + 1);
                positions.push(if t == 0 {
                    0
                } else if branches {
                    stem
                } else {
                    before
                });
            }
        }
        let segments = Tensor::new(segments.to_vec(), device)?; // (B, T)
        let mask = attention.mask().with_segment_ids(&segments)?.with_shared_prefixes(stems)?;
        Ok(Self { token_positions: TokenPositions::PerToken(positions), mask })
    }

    /// The position of each token.
    pub fn positions(&self) -> Positions<'_> {
        match &self.token_positions {
            TokenPositions::StartAt(start) => Positions::StartAt(*start),
            TokenPositions::RowStarts(starts) => Positions::RowStarts(starts),
            TokenPositions::PerToken(positions) => Positions::PerToken(positions),
        }
    }

    /// The positions between which all of T tokens stand.
    pub(crate) fn position_range(&self, t: usize) -> (usize, usize) {
        let (first, last) = match &self.token_positions {
            TokenPositions::StartAt(start) => (*start, *start),
            TokenPositions::RowStarts(starts) => {
                let at = |start: Option<&i64>| start.map_or(0, |&start| start.max(0) as usize);
                (at(starts.iter().min()), at(starts.iter().max()))
            }
            TokenPositions::PerToken(positions) => {
                return (0, positions.iter().max().map_or(0, |last| last + 1));
            }
        };
        (first, last + t)
    }
}

impl Cache {
    /// One that keeps everything.
    pub fn dynamic(n_layer: usize) -> Self {
        Self::with_layer_caches(n_layer, || LayerCache::Dynamic(KvCache::default()))
    }

    /// One of fixed size, for a model with this window or one that is to read as if it had it.
    pub fn rolling(n_layer: usize, window: SlidingWindow) -> Self {
        Self::with_layer_caches(n_layer, || LayerCache::Rolling(RollingCache::new(window)))
    }

    fn with_layer_caches(n_layer: usize, layer: impl Fn() -> LayerCache) -> Self {
        Self { layers: (0..n_layer).map(|_| layer()).collect(), position: 0, padding: Vec::new() }
    }

    /// Says of an empty cache that row b begins with `padding[b]` tokens that are none.
    ///
    /// # Errors
    /// When it is not empty, or rolling: its rows would need sinks in different places.
    pub fn with_padding(self, padding: Vec<usize>) -> Result<Self> {
        if self.position > 0 || matches!(self.layers.first(), Some(LayerCache::Rolling(_))) {
            bail!("only an empty, growing cache takes padding");
        }
        let padding = if padding.iter().all(|&n| n == 0) { Vec::new() } else { padding };
        Ok(Self { padding, ..self })
    }

    /// The same with every row `n` times, side by side: what was read of a beginning serves several continuations.
    ///
    /// # Errors
    /// When it is rolling, or memory is short.
    pub fn expand(&self, n: usize) -> Result<Self> {
        let layer = |layer: &LayerCache| match layer {
            LayerCache::Dynamic(cache) => Ok(LayerCache::Dynamic(cache.expand(n)?)),
            LayerCache::Rolling(_) => bail!("a rolling cache is not repeated"),
        };
        let layers = self.layers.iter().map(layer).collect::<Result<_>>()?;
        let padding = self.padding.iter().flat_map(|&padding| vec![padding; n]).collect();
        Ok(Self { layers, position: self.position, padding })
    }

    /// Tokens read, padding included.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Whether all is kept, so that texts longer than the context must be refused.
    pub fn is_dynamic(&self) -> bool {
        matches!(self.layers.first(), Some(LayerCache::Dynamic(_)))
    }

    /// Memory held, in bytes.
    pub fn size_in_bytes(&self) -> usize {
        self.layers.iter().map(LayerCache::size_in_bytes).sum()
    }

    /// Forgets all tokens but the first `len`; all, where a window has moved on and those before are gone. What it
    /// still knows is [`Cache::seen`].
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

    /// The next `t` tokens of a model with `attention`.
    pub(crate) fn next_context(
        &self,
        attention: &AttentionConfig,
        t: usize,
        device: &Device,
    ) -> Result<AttentionContext> {
        let mask = match self.layers.first() {
            Some(LayerCache::Rolling(layer)) => match t {
                1 => AttentionMask::bidirectional(), // all that is stored is in view
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
        let real = self.padding.iter().flat_map(|&n| (0..s).map(move |i| u8::from(i >= n)));
        let real = Tensor::from_iter(real, device)?.reshape((self.padding.len(), s))?;
        Ok(AttentionContext {
            token_positions: TokenPositions::RowStarts(starts),
            mask: mask.with_padding(&real)?,
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
    /// Takes the keys and values of new tokens, (B, T, KV, D) each; gives those that the pass's mask is for.
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
