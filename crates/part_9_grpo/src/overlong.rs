//! Completions that were cut at the budget: nobody knows how they would have ended.
//!
//! ```text
//! masked      they take no part in the loss (but stay in their group's mean)
//! penalised   r − how far the length is into the last M tokens of the budget L:  min(1, max(0, (|o| − (L − M)) / M)),  M ≤ L
//! ```
//!
//! The soft penalty is DAPO's (<https://arxiv.org/abs/2503.14476>): being nearly too long already costs a little, so there is a
//! slope to come back by.

use serde::Serialize;

/// What becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Overlong {
    /// They are judged like all others.
    None,
    /// They take no part.
    Masked,
    /// The last `margin` tokens of the budget cost up to 1.
    Penalized {
        /// M
        buffer: usize,
    },
}

impl Overlong {
    /// What a completion of `length` tokens pays for its length, of a budget of `budget`.
    pub fn penalty(self, length: usize, budget: usize) -> f32 {
        match self {
            Self::None | Self::Masked => 0.,
            Self::Penalized { buffer: margin } => {
                let into = (length + margin).saturating_sub(budget);
                (into as f32 / margin.max(1) as f32).min(1.)
            }
        }
    }
}
