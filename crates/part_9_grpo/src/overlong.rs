//! Overlong completions: excluded from the loss, or penalized before the length limit (DAPO).
//!
//! ```text
//! masked      excluded from the loss, but still part of their group's mean
//! penalized   r − min(1, max(0, (|o| − (L − M)) / M))      L: max_new_tokens, M ≤ L: the buffer
//! ```
//!
//! The soft penalty is DAPO's (<https://arxiv.org/abs/2503.14476>): it starts before the limit, so
//! there is a slope back to shorter completions.
//!
//! Part 8's `TruncationHandling` answers another question: the reward or value at the end of a
//! truncated completion.

use ppo::SampledCompletion;
use serde::Serialize;

/// Handling of overlong completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum OverlongHandling {
    /// Rewarded like all others.
    None,
    /// Excluded from the loss if truncated.
    Masked,
    /// Penalized by up to 1 over the last `buffer` tokens before the limit.
    Penalized {
        /// Number of tokens M.
        buffer: usize,
    },
}

impl OverlongHandling {
    /// True if `completion` is part of the loss.
    pub fn includes(self, completion: &SampledCompletion) -> bool {
        completion.terminated() || self != Self::Masked
    }

    /// Penalty on a completion of `length` tokens, where `max_new_tokens` is the limit.
    pub fn penalty(self, length: usize, max_new_tokens: usize) -> f32 {
        match self {
            Self::None | Self::Masked => 0.,
            Self::Penalized { buffer } => {
                let excess = (length + buffer).saturating_sub(max_new_tokens);
                (excess as f32 / buffer.max(1) as f32).min(1.)
            }
        }
    }
}
