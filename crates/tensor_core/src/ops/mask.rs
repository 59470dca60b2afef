//! Which keys a query may attend to.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, bail};

/// Attention mask: the keys, of S, that each of T queries sees. Query t stands at position t, or
/// further on: see [`AttentionMask::with_offset`].
#[derive(Debug, Clone)]
pub struct AttentionMask {
    pattern: Pattern,
    /// Keys before the first query.
    offset: usize,
    /// Keys that are not 0 here are real.
    real: Option<Rows<u8>>,
    /// Keys of the query's own segment.
    segments: Option<Rows<i64>>,
    /// How many keys at the start of each row all of its segments see.
    stems: Option<Arc<Vec<usize>>>,
}

#[derive(Debug, Clone, Copy)]
enum Pattern {
    Bidirectional,
    Causal,
    Window { window: usize, sinks: usize },
}

/// What is said of single keys, row by row of the batch: (B, S) on the host.
#[derive(Debug, Clone)]
struct Rows<T> {
    values: Arc<Vec<T>>,
    b: usize,
    s: usize,
}

impl<T: candle_core::WithDType> Rows<T> {
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
    /// Every query sees every key.
    pub fn bidirectional() -> Self {
        let pattern = Pattern::Bidirectional;
        Self { pattern, offset: 0, real: None, segments: None, stems: None }
    }

    /// Query i sees the keys j ≤ i: itself and its past.
    pub fn causal() -> Self {
        Self { pattern: Pattern::Causal, ..Self::bidirectional() }
    }

    /// Query i sees the last `window` keys up to itself and the first `sinks` of all: j ≤ i and (j < sinks or
    /// j > i − window). Sinks are explained by Xiao et al., <https://arxiv.org/abs/2309.17453>.
    pub fn sliding_window(window: usize, sinks: usize) -> Self {
        Self { pattern: Pattern::Window { window, sinks }, ..Self::bidirectional() }
    }

    /// The same with the first query at position `offset`, as many keys being cached from before.
    pub fn with_offset(self, offset: usize) -> Self {
        Self { offset, ..self }
    }

    /// The same, keys that are 0 in `real: (B, S)` being padding that nobody sees.
    pub fn with_padding(self, real: &Tensor) -> Result<Self> {
        Ok(Self { real: Some(Rows::of(&real.ne(0.)?)?), ..self })
    }

    /// The same, but only within a text, where several are packed into a row: `segments: (B, S)` numbers them.
    ///
    /// # Errors
    /// When they are not whole numbers.
    pub fn with_segment_ids(self, segments: &Tensor) -> Result<Self> {
        if !segments.dtype().is_int() {
            bail!("mask: segments are numbered by integers, not by {:?}", segments.dtype());
        }
        Ok(Self { segments: Some(Rows::of(segments)?), ..self })
    }

    /// The same, but the first `stems[b]` keys of row b are seen from all of its segments: one beginning with several
    /// continuations, each of which is a segment.
    ///
    /// # Errors
    /// When there are no segments, or not as many rows.
    pub fn with_shared_prefixes(self, stems: Vec<usize>) -> Result<Self> {
        let rows = self.segments.as_ref().map_or(0, |segments| segments.b);
        if rows != stems.len() {
            bail!("mask: {} beginnings for {rows} rows of segments", stems.len());
        }
        Ok(Self { stems: Some(Arc::new(stems)), ..self })
    }

    /// How many keys at the start of row `b` all of its segments see.
    #[inline(always)]
    fn stem(&self, b: usize) -> usize {
        self.stems.as_ref().map_or(0, |stems| stems[b])
    }

    /// As a tensor, (B or 1, 1, T, S): 0 where a query sees a key, −∞ elsewhere.
    pub fn to_tensor(&self, t: usize, s: usize, dtype: DType, device: &Device) -> Result<Tensor> {
        self.check("mask", None, t, s)?;
        let offset = self.offset as i64;
        let query = Tensor::arange(offset, offset + t as i64, device)?.reshape((t, 1))?;
        let key = Tensor::arange(0i64, s as i64, device)?.reshape((1, s))?;
        let past = || key.broadcast_le(&query);
        let seen = match self.pattern {
            Pattern::Bidirectional => Tensor::ones((t, s), DType::U8, device)?,
            Pattern::Causal => past()?,
            Pattern::Window { window, sinks } => {
                let [window, sinks] = [window, sinks].map(|n| n.min(self.offset + t) as i64);
                let near =
                    key.broadcast_gt(&query.broadcast_sub(&Tensor::new(window, device)?)?)?;
                (past()? * near.broadcast_maximum(&key.lt(sinks)?)?)?
            }
        };
        let mut seen = seen.reshape((1, 1, t, s))?;
        if let Some(real) = &self.real {
            seen = seen.broadcast_mul(&real.tensor(device)?.reshape((real.b, 1, 1, s))?)?;
        }
        if let Some(segments) = &self.segments {
            let of_keys = segments.tensor(device)?.reshape((segments.b, 1, 1, s))?;
            let of_queries = of_keys.narrow(3, self.offset, t)?.reshape((segments.b, 1, t, 1))?;
            let mut shared = of_queries.broadcast_eq(&of_keys)?; // (B, 1, T, S)
            if let Some(stems) = &self.stems {
                let stems = stems.iter().map(|&stem| stem as i64);
                let stems = Tensor::from_iter(stems, device)?.reshape((segments.b, 1, 1, 1))?;
                shared = shared.broadcast_maximum(&key.broadcast_lt(&stems)?)?;
            }
            seen = seen.broadcast_mul(&shared)?;
        }
        let zero = Tensor::zeros(seen.shape(), dtype, device)?;
        seen.where_cond(&zero, &(zero.ones_like()? * f64::NEG_INFINITY)?)
    }

    /// Demands that the mask fits T queries and S keys in each of `b` rows.
    pub(super) fn check(&self, op: &str, b: Option<usize>, t: usize, s: usize) -> Result<()> {
        let real = self.real.as_ref().map(|rows| (rows.b, rows.s));
        let segments = self.segments.as_ref().map(|rows| (rows.b, rows.s));
        for (rows, width) in [real, segments].into_iter().flatten() {
            if width != s || b.is_some_and(|b| b != rows) {
                bail!("{op}: the mask is for keys {:?}, there are {:?}", (rows, width), (b, s));
            }
        }
        let ordered = !matches!(self.pattern, Pattern::Bidirectional) || self.segments.is_some();
        if ordered && self.offset.saturating_add(t) > s {
            bail!("{op}: {t} queries after {} keys need more keys than {s}", self.offset);
        }
        Ok(())
    }

    /// The keys that `queries` of row `b` may see between them, as at most two ranges: sinks, then the others. (The
    /// first is empty where the second begins at 0.)
    pub(super) fn ranges(&self, b: usize, queries: Range<usize>, s: usize) -> [Range<usize>; 2] {
        let (first, last) = (queries.start + self.offset, queries.end - 1 + self.offset);
        let (sinks, mut near) = match self.pattern {
            Pattern::Bidirectional => (0, 0..s),
            Pattern::Causal => (0, 0..last + 1),
            Pattern::Window { window, sinks } => {
                (sinks, (first + 1).saturating_sub(window)..last + 1)
            }
        };
        let unseen = |key: usize| {
            let padding = |real: &Rows<u8>| real.row(b)[key] == 0;
            let foreign = |segments: &Rows<i64>| {
                let row = segments.row(b);
                key >= self.stem(b) && !row[first..=last].contains(&row[key])
            };
            self.real.as_ref().is_some_and(padding) || self.segments.as_ref().is_some_and(foreign)
        };
        while !near.is_empty() && unseen(near.start) {
            near.start += 1;
        }
        while !near.is_empty() && unseen(near.end - 1) {
            near.end -= 1;
        }
        [0..sinks.min(near.start), near]
    }

    /// Writes −∞ over the `scores` of those `keys` that `query` of row `b` does not see; leaves those from the result on,
    /// all of which it does not see, as they are.
    #[inline(always)]
    pub(super) fn hide<T: super::float::Real>(
        &self,
        (b, query): (usize, usize),
        keys: Range<usize>,
        scores: &mut [T],
    ) -> usize {
        let hidden = T::real(f64::NEG_INFINITY);
        let position = query + self.offset;
        let at = |key: usize| key.clamp(keys.start, keys.end) - keys.start;
        let end = match self.pattern {
            Pattern::Bidirectional => keys.len(),
            Pattern::Causal | Pattern::Window { .. } => at(position + 1),
        };
        if let Pattern::Window { window, sinks } = self.pattern {
            let near = (position + 1).saturating_sub(window);
            scores[at(sinks.min(near))..at(near)].fill(hidden);
        }
        if let Some(real) = &self.real {
            let each = scores.iter_mut().zip(&real.row(b)[keys.clone()]);
            each.for_each(|(x, &real)| *x = if real == 0 { hidden } else { *x });
        }
        if let Some(segments) = &self.segments {
            let row = segments.row(b);
            let own = row[position];
            let stem = at(self.stem(b)); // those before it are seen from everywhere
            let each = scores.iter_mut().zip(&row[keys]).skip(stem);
            each.for_each(|(x, &segment)| *x = if segment == own { *x } else { hidden });
        }
        end
    }
}
