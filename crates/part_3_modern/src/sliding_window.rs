//! 3.5 The sliding window (Longformer, <https://arxiv.org/abs/2004.05150>; Mistral, <https://arxiv.org/abs/2310.06825>):
//! a token looks back at most `size` tokens, so what lies further back need not be kept.
//!
//! Token i sees token j iff j ≤ i and j > i − size. Positions are those in the text, whatever is still stored. Layer on
//! layer, what a token knows still reaches `size` tokens further back each time. With sinks (3.6), also iff j < sinks.

use crate::config::SlidingWindow;

impl SlidingWindow {
    /// The lesson: whether the token at position `query` sees the one at position `key`.
    pub fn can_attend(self, query: usize, key: usize) -> bool {
        key <= query && (query - key < self.size || key < self.sinks)
    }

    /// Most keys and values that a layer needs to keep.
    pub fn cache_len(self) -> usize {
        self.sinks.saturating_add(self.size)
    }
}
