//! 3.5 Sliding-window attention (Longformer, <https://arxiv.org/abs/2004.05150>; Mistral,
//! <https://arxiv.org/abs/2310.06825>): a token attends to the last `size` tokens only, so older
//! keys and values can be dropped.
//!
//! Token i attends to token j iff j ≤ i and j > i − size. Positions are those in the text, whatever
//! the cache still stores. Each layer extends the receptive field by `size` tokens. With sinks
//! (3.6), tokens j < sinks stay visible too.

use model_io::config::SlidingWindow;

/// True if the token at position `query` attends to the one at position `key`.
pub fn can_attend(window: SlidingWindow, query: usize, key: usize) -> bool {
    key <= query && (query - key < window.size || key < window.sinks)
}

/// Maximum number of tokens that a layer must cache.
pub fn cache_len(window: SlidingWindow) -> usize {
    window.sinks.saturating_add(window.size)
}
