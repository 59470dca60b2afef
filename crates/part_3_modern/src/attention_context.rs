//! Positions and attention masks of a forward pass: the only difference between whole texts, texts
//! with a cache, padded rows, packed rows, and completions with a shared prefix.

use candle_core::{Device, Result, Tensor, bail};
use model_io::config::{AttentionConfig, LayerType};
use tensor_core::ops::{AttentionMask, Positions};

use crate::sliding_window::LayerMasks;

/// Positions and attention masks of the tokens of a forward pass.
#[derive(Debug, Clone)]
pub struct AttentionContext {
    token_positions: TokenPositions,
    /// Masks over the keys that the caches return.
    masks: LayerMasks,
}

/// Segment of the padding at the end of a row.
const PADDING: u32 = 0;

#[derive(Debug, Clone)]
enum TokenPositions {
    StartAt(usize),
    RowStarts(Vec<i64>),
    /// Position of every token, row by row.
    PerToken(Vec<usize>),
}

impl AttentionContext {
    /// Context of whole sequences that start at position 0, for a model with `attention`.
    pub fn full_sequence(attention: &AttentionConfig) -> Self {
        Self::start_at(0, LayerMasks::of(attention))
    }

    /// Context of whole sequences that start at position 0, with the same mask in all layers.
    pub fn with_mask(mask: AttentionMask) -> Self {
        Self::start_at(0, LayerMasks::same(mask))
    }

    /// Context of the next tokens of texts of `start` tokens.
    pub(crate) fn start_at(start: usize, masks: LayerMasks) -> Self {
        Self { token_positions: TokenPositions::StartAt(start), masks }
    }

    /// Context of the next tokens of left-padded texts: row b is at position `starts[b]`, negative
    /// in its padding.
    pub(crate) fn row_starts(starts: Vec<i64>, masks: LayerMasks) -> Self {
        Self { token_positions: TokenPositions::RowStarts(starts), masks }
    }

    /// Context of packed rows with several texts each. Token t of row b belongs to text
    /// `segments[b][t]` of its row, attends within that text only, and has its position within it.
    /// Any numbering from 1 works that gives neighboring texts different numbers; 0 is padding.
    ///
    /// # Errors
    /// When rows differ in length, or `attention` has sinks: the mask has them at the start of the
    /// row only, not at that of each text.
    pub fn packed(attention: &AttentionConfig, segments: &[Vec<u32>]) -> Result<Self> {
        if attention.sliding_window().is_some_and(|window| window.sinks > 0) {
            bail!("a model with attention sinks does not support packed rows");
        }
        let mut positions: Vec<usize> = Vec::new();
        for row in segments {
            for (t, segment) in row.iter().enumerate() {
                // Padding has position 0, so that it never exceeds the learned positions.
                let same_text = t > 0 && row[t - 1] == *segment && *segment != PADDING;
                let previous = positions.last().copied().unwrap_or(0);
                positions.push(if same_text { previous + 1 } else { 0 });
            }
        }
        let segments = Tensor::new(segments.to_vec(), &Device::Cpu)?; // (B, T)
        Ok(Self {
            token_positions: TokenPositions::PerToken(positions),
            masks: LayerMasks::of(attention).map(|mask| mask.with_segment_ids(&segments))?,
        })
    }

    /// Context of rows in which several completions share one prefix. The first `prefix_lens[b]`
    /// tokens of row b are the prefix. A later token t belongs to completion `segments[b][t]`,
    /// attends to the prefix and to its own completion, and has the position it would have if this
    /// were the only one. Segment 0 is padding.
    ///
    /// # Errors
    /// When rows differ in length, or `attention` has a sliding window in any layer: its mask does
    /// not know the distance to the prefix.
    pub fn shared_prefix(
        attention: &AttentionConfig,
        prefix_lens: Vec<usize>,
        segments: &[Vec<u32>],
    ) -> Result<Self> {
        if attention.window.is_some() {
            bail!("a sliding window does not support completions with a shared prefix");
        }
        let mut positions: Vec<usize> = Vec::new();
        for (row, &prefix_len) in segments.iter().zip(&prefix_lens) {
            for t in 0..row.len() {
                let starts_completion = t > prefix_len && row[t - 1] != row[t];
                let next = positions.last().map_or(0, |previous| previous + 1);
                positions.push(if t == 0 || row[t] == PADDING {
                    0
                } else if starts_completion {
                    prefix_len
                } else {
                    next
                });
            }
        }
        let segments = Tensor::new(segments.to_vec(), &Device::Cpu)?; // (B, T)
        let masks = LayerMasks::of(attention).map(|mask| {
            mask.with_segment_ids(&segments)?.with_shared_prefixes(prefix_lens.clone())
        })?;
        Ok(Self { token_positions: TokenPositions::PerToken(positions), masks })
    }

    /// Mask over the keys that the cache of a layer of this type returns.
    pub fn mask(&self, layer_type: LayerType) -> &AttentionMask {
        self.masks.get(layer_type)
    }

    /// Position of each token.
    pub fn positions(&self) -> Positions<'_> {
        match &self.token_positions {
            TokenPositions::StartAt(start) => Positions::StartAt(*start),
            TokenPositions::RowStarts(starts) => Positions::RowStarts(starts),
            TokenPositions::PerToken(positions) => Positions::PerToken(positions),
        }
    }

    /// Rows of a table of learned positions, which begins with `offset` unused ones, for T tokens
    /// in each of B rows: (B, T), u32.
    pub(crate) fn position_rows(
        &self,
        offset: usize,
        (b, t): (usize, usize),
        device: &Device,
    ) -> Result<Tensor> {
        let row = |i: usize| offset + self.positions().position(i / t, i % t, t);
        let positions = (0..b * t).map(|i| row(i) as u32);
        Tensor::from_iter(positions, device)?.reshape((b, t))
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
