//! Part 8: PPO for language models.

// Letters used in shapes: R responses, T tokens of the longest, N tokens of all responses, B rows that a model reads, S their
// length, C channels, V vocabulary.

pub mod value_head; // 8.1
pub mod critic;
pub mod prompts; // 8.2
pub mod rollout;
pub mod token_batch;
pub mod scoring;
pub mod masked; // 8.3
pub mod kl;
pub mod rewards;
pub mod gae;
pub mod losses;

pub use critic::{Critic, Trunk, Values};
pub use gae::{Discount, Estimates, gae};
pub use kl::{KlControl, KlEstimator};
pub use losses::{Clip, clipped_surrogate};
pub use masked::{masked_mean, masked_whiten};
pub use prompts::{Prompts, Question};
pub use rollout::{Group, Response, RolloutConfig, rollout};
pub use scoring::{Scored, score};
pub use token_batch::TokenBatch;

#[cfg(test)]
mod tests;
