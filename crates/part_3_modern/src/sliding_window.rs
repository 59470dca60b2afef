//! 3.5 Sliding-window attention (Longformer, <https://arxiv.org/abs/2004.05150>; Mistral,
//! <https://arxiv.org/abs/2310.06825>): a token attends to the last `size` tokens only, so older
//! keys and values can be dropped.
//!
//! Token i attends to token j iff j ≤ i and j > i − size. Positions are those in the text, whatever
//! the cache still stores. Each layer extends the receptive field by `size` tokens. With sinks
//! (3.6), tokens j < sinks stay visible too.

use crate::config::SlidingWindow;

impl SlidingWindow {
    /// True if the token at position `query` attends to the one at position `key`.
    pub fn can_attend(self, query: usize, key: usize) -> bool {
        key <= query && (query - key < self.size || key < self.sinks)
    }

    /// Maximum number of tokens that a layer must cache.
    pub fn cache_len(self) -> usize {
        self.sinks.saturating_add(self.size)
    }
}
