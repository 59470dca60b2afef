//! Attention masks as the attention loops read them.

use std::ops::Range;

use crate::kernels::float::Float;

/// Keys that a query attends to by its position.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pattern {
    Bidirectional,
    Causal,
    Window { window: usize, sinks: usize },
}

/// Mask of T queries over S keys, borrowed from `ops::AttentionMask`.
#[derive(Clone, Copy)]
pub(crate) struct Mask<'a> {
    pub(crate) pattern: Pattern,
    /// Number of keys before the first query.
    pub(crate) offset: usize,
    /// Number of keys, S.
    pub(crate) n_keys: usize,
    /// 0 for padding, 1 for tokens: (B, S).
    pub(crate) attention_mask: Option<&'a [u8]>,
    /// Segment ids: (B, S).
    pub(crate) segments: Option<&'a [i64]>,
    /// Number of keys at the start of each row that all of its segments attend to: (B).
    pub(crate) prefix_lens: Option<&'a [usize]>,
}

impl Mask<'_> {
    /// Row `b` of `values: (B, S)`.
    #[inline(always)]
    fn row<'v, T>(&self, values: &'v [T], b: usize) -> &'v [T] {
        &values[b * self.n_keys..][..self.n_keys]
    }

    /// Number of keys at the start of row `b` that all of its segments attend to.
    #[inline(always)]
    fn prefix_len(&self, b: usize) -> usize {
        self.prefix_lens.map_or(0, |prefix_lens| prefix_lens[b])
    }

    /// Keys that the `queries` of row `b` attend to, as at most two ranges: the sinks, then the
    /// others. (The first is empty if the second begins at 0.)
    pub(super) fn ranges(&self, b: usize, queries: Range<usize>) -> [Range<usize>; 2] {
        let (first, last) = (queries.start + self.offset, queries.end - 1 + self.offset);
        let (sinks, mut near) = match self.pattern {
            Pattern::Bidirectional => (0, 0..self.n_keys),
            Pattern::Causal => (0, 0..last + 1),
            Pattern::Window { window, sinks } => {
                (sinks, (first + 1).saturating_sub(window)..last + 1)
            }
        };
        let is_hidden = |key: usize| {
            let is_padding = |mask| self.row(mask, b)[key] == 0;
            let other_segment = |segments| {
                let row: &[i64] = self.row(segments, b);
                key >= self.prefix_len(b) && !row[first..=last].contains(&row[key])
            };
            self.attention_mask.is_some_and(is_padding) || self.segments.is_some_and(other_segment)
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
    pub(super) fn apply<T: Float>(
        &self,
        b: usize,
        query: usize,
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
        if let Some(mask) = self.attention_mask {
            let entries = logits.iter_mut().zip(&self.row(mask, b)[keys.clone()]);
            entries.for_each(|(x, &is_token)| *x = if is_token == 0 { hidden } else { *x });
        }
        if let Some(segments) = self.segments {
            let row = self.row(segments, b);
            let own_segment = row[position];
            let prefix_len = column(self.prefix_len(b)); // visible from all segments
            let entries = logits.iter_mut().zip(&row[keys]).skip(prefix_len);
            entries.for_each(|(x, &segment)| *x = if segment == own_segment { *x } else { hidden });
        }
        end
    }
}
