//! Attention masks: the keys that each query may attend to.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, bail};

/// Attention mask of T queries over S keys. Query t is at position t, or further on: see
/// [`AttentionMask::with_offset`].
#[derive(Debug, Clone)]
pub struct AttentionMask {
    pattern: Pattern,
    /// Number of keys before the first query.
    offset: usize,
    /// Padding mask of the keys, as in transformers: 0 for padding, 1 for tokens.
    attention_mask: Option<PerKey<u8>>,
    /// Segment ids; a query attends to keys of its own segment only.
    segments: Option<PerKey<i64>>,
    /// Number of keys at the start of each row that all of its segments attend to.
    prefix_lens: Option<Arc<Vec<usize>>>,
}

#[derive(Debug, Clone, Copy)]
enum Pattern {
    Bidirectional,
    Causal,
    Window { window: usize, sinks: usize },
}

/// Values per key, (B, S), on the host.
#[derive(Debug, Clone)]
struct PerKey<T> {
    values: Arc<Vec<T>>,
    b: usize,
    s: usize,
}

impl<T: candle_core::WithDType> PerKey<T> {
    fn of(x: &Tensor) -> Result<Self> {
        let (b, s) = x.dims2()?;
        Ok(Self { values: Arc::new(x.flatten_all()?.to_dtype(T::DTYPE)?.to_vec1()?), b, s })
    }

    fn row(&self, b: usize) -> &[T] {
        &self.values[b * self.s..][..self.s]
    }

    fn tensor(&self, device: &Device) -> Result<Tensor> {
        Tensor::from_slice(&self.values, (self.b, self.s), device)
    }
}

impl AttentionMask {
    /// Every query attends to every key.
    pub fn bidirectional() -> Self {
        let pattern = Pattern::Bidirectional;
        Self { pattern, offset: 0, attention_mask: None, segments: None, prefix_lens: None }
    }

    /// Query i attends to the keys j ≤ i: itself and its past.
    pub fn causal() -> Self {
        Self { pattern: Pattern::Causal, ..Self::bidirectional() }
    }

    /// Query i attends to the last `window` keys up to itself and to the first `sinks` keys: j ≤ i
    /// and (j < sinks or j > i − window). Attention sinks: Xiao et al.,
    /// <https://arxiv.org/abs/2309.17453>.
    pub fn sliding_window(window: usize, sinks: usize) -> Self {
        Self { pattern: Pattern::Window { window, sinks }, ..Self::bidirectional() }
    }

    /// This mask with the first query at position `offset`, after as many cached keys.
    pub fn with_offset(self, offset: usize) -> Self {
        Self { offset, ..self }
    }

    /// This mask without the padding: keys that are 0 in `attention_mask: (B, S)` are hidden from
    /// all queries. (transformers' `attention_mask`.)
    pub fn with_padding(self, attention_mask: &Tensor) -> Result<Self> {
        Ok(Self { attention_mask: Some(PerKey::of(&attention_mask.ne(0.)?)?), ..self })
    }

    /// This mask within each sequence of rows that pack several: `segments: (B, S)` holds the
    /// number of each key's sequence.
    ///
    /// # Errors
    /// When the segment ids are not integers.
    pub fn with_segment_ids(self, segments: &Tensor) -> Result<Self> {
        if !segments.dtype().is_int() {
            bail!("mask: segment ids must be integers, got {:?}", segments.dtype());
        }
        Ok(Self { segments: Some(PerKey::of(segments)?), ..self })
    }

    /// This mask with a shared prefix: all segments of row b attend to its first `prefix_lens[b]`
    /// keys. One prompt with several completions, each of which is a segment.
    ///
    /// # Errors
    /// When there are no segments, or the number of rows differs.
    pub fn with_shared_prefixes(self, prefix_lens: Vec<usize>) -> Result<Self> {
        let rows = self.segments.as_ref().map_or(0, |segments| segments.b);
        if rows != prefix_lens.len() {
            bail!("mask: {} prefix lengths for {rows} rows of segments", prefix_lens.len());
        }
        Ok(Self { prefix_lens: Some(Arc::new(prefix_lens)), ..self })
    }

    /// Number of keys at the start of row `b` that all of its segments attend to.
    #[inline(always)]
    fn prefix_len(&self, b: usize) -> usize {
        self.prefix_lens.as_ref().map_or(0, |prefix_lens| prefix_lens[b])
    }

    /// Mask as a tensor, (B or 1, 1, T, S): 0 where a query attends to a key, −∞ elsewhere.
    pub fn to_tensor(&self, t: usize, s: usize, dtype: DType, device: &Device) -> Result<Tensor> {
        self.check("mask", None, t, s)?;
        let offset = self.offset as i64;
        let query = Tensor::arange(offset, offset + t as i64, device)?.reshape((t, 1))?;
        let key = Tensor::arange(0i64, s as i64, device)?.reshape((1, s))?;
        let past = || key.broadcast_le(&query);
        let visible = match self.pattern {
            Pattern::Bidirectional => Tensor::ones((t, s), DType::U8, device)?,
            Pattern::Causal => past()?,
            Pattern::Window { window, sinks } => {
                let [window, sinks] = [window, sinks].map(|n| n.min(self.offset + t) as i64);
                let near =
                    key.broadcast_gt(&query.broadcast_sub(&Tensor::new(window, device)?)?)?;
                (past()? * near.broadcast_maximum(&key.lt(sinks)?)?)?
            }
        };
        let mut visible = visible.reshape((1, 1, t, s))?;
        if let Some(mask) = &self.attention_mask {
            visible = visible.broadcast_mul(&mask.tensor(device)?.reshape((mask.b, 1, 1, s))?)?;
        }
        if let Some(segments) = &self.segments {
            let key_segments = segments.tensor(device)?.reshape((segments.b, 1, 1, s))?;
            let query_segments =
                key_segments.narrow(3, self.offset, t)?.reshape((segments.b, 1, t, 1))?;
            let mut same_segment = query_segments.broadcast_eq(&key_segments)?; // (B, 1, T, S)
            if let Some(prefix_lens) = &self.prefix_lens {
                let prefix_lens = prefix_lens.iter().map(|&prefix_len| prefix_len as i64);
                let prefix_lens =
                    Tensor::from_iter(prefix_lens, device)?.reshape((segments.b, 1, 1, 1))?;
                same_segment = same_segment.broadcast_maximum(&key.broadcast_lt(&prefix_lens)?)?;
            }
            visible = visible.broadcast_mul(&same_segment)?;
        }
        let zero = Tensor::zeros(visible.shape(), dtype, device)?;
        visible.where_cond(&zero, &(zero.ones_like()? * f64::NEG_INFINITY)?)
    }

    /// Checks that the mask fits T queries and S keys in each of `b` rows.
    pub(super) fn check(&self, op: &str, b: Option<usize>, t: usize, s: usize) -> Result<()> {
        let padding = self.attention_mask.as_ref().map(|rows| (rows.b, rows.s));
        let segments = self.segments.as_ref().map(|rows| (rows.b, rows.s));
        for (rows, width) in [padding, segments].into_iter().flatten() {
            if width != s || b.is_some_and(|b| b != rows) {
                bail!(
                    "{op}: the mask is for keys (B, S) = {:?}, the tensors have {:?}",
                    (rows, width),
                    (b, s)
                );
            }
        }
        let ordered = !matches!(self.pattern, Pattern::Bidirectional) || self.segments.is_some();
        if ordered && self.offset.saturating_add(t) > s {
            bail!("{op}: {t} queries after {} keys need more keys than {s}", self.offset);
        }
        Ok(())
    }

    /// Keys that the `queries` of row `b` attend to, as at most two ranges: the sinks, then the
    /// others. (The first is empty if the second begins at 0.)
    pub(super) fn ranges(&self, b: usize, queries: Range<usize>, s: usize) -> [Range<usize>; 2] {
        let (first, last) = (queries.start + self.offset, queries.end - 1 + self.offset);
        let (sinks, mut near) = match self.pattern {
            Pattern::Bidirectional => (0, 0..s),
            Pattern::Causal => (0, 0..last + 1),
            Pattern::Window { window, sinks } => {
                (sinks, (first + 1).saturating_sub(window)..last + 1)
            }
        };
        let is_hidden = |key: usize| {
            let is_padding = |mask: &PerKey<u8>| mask.row(b)[key] == 0;
            let other_segment = |segments: &PerKey<i64>| {
                let row = segments.row(b);
                key >= self.prefix_len(b) && !row[first..=last].contains(&row[key])
            };
            self.attention_mask.as_ref().is_some_and(is_padding)
                || self.segments.as_ref().is_some_and(other_segment)
        };
        while !near.is_empty() && is_hidden(near.start) {
            near.start += 1;
        }
        while !near.is_empty() && is_hidden(near.end - 1) {
            near.end -= 1;
        }
        [0..sinks.min(near.start), near]
    }

    /// Writes −∞ to the `logits` of those `keys` that `query` of row `b` does not attend to.
    /// Returns the index from which on all keys are hidden; their logits are left as they are.
    #[inline(always)]
    pub(super) fn apply<T: super::float::Float>(
        &self,
        (b, query): (usize, usize),
        keys: Range<usize>,
        logits: &mut [T],
    ) -> usize {
        let hidden = T::cast(f64::NEG_INFINITY);
        let position = query + self.offset;
        let column = |key: usize| key.clamp(keys.start, keys.end) - keys.start;
        let end = match self.pattern {
            Pattern::Bidirectional => keys.len(),
            Pattern::Causal | Pattern::Window { .. } => column(position + 1),
        };
        if let Pattern::Window { window, sinks } = self.pattern {
            let near = (position + 1).saturating_sub(window);
            logits[column(sinks.min(near))..column(near)].fill(hidden);
        }
        if let Some(mask) = &self.attention_mask {
            let entries = logits.iter_mut().zip(&mask.row(b)[keys.clone()]);
            entries.for_each(|(x, &is_token)| *x = if is_token == 0 { hidden } else { *x });
        }
        if let Some(segments) = &self.segments {
            let row = segments.row(b);
            let own_segment = row[position];
            let prefix_len = column(self.prefix_len(b)); // visible from all segments
            let entries = logits.iter_mut().zip(&row[keys]).skip(prefix_len);
            entries.for_each(|(x, &segment)| *x = if segment == own_segment { *x } else { hidden });
        }
        end
    }
}
