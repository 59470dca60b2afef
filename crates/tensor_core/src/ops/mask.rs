//! Attention masks: the keys that each query may attend to.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, bail};

use crate::kernels::attention::{Mask, Pattern};

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

    /// This mask as the attention loops read it, for `n_keys` keys.
    pub(super) fn view(&self, n_keys: usize) -> Mask<'_> {
        Mask {
            pattern: self.pattern,
            offset: self.offset,
            n_keys,
            attention_mask: self.attention_mask.as_ref().map(|mask| &mask.values[..]),
            segments: self.segments.as_ref().map(|segments| &segments.values[..]),
            prefix_lens: self.prefix_lens.as_ref().map(|prefix_lens| &prefix_lens[..]),
        }
    }
}
