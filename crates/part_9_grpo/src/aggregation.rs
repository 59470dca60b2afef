//! 9.3 Loss aggregation: from one loss per token to one loss, by a weight per token.
//!
//! ```text
//! sequence   1/B Σ_i 1/|o_i| Σ_t l_it      GRPO; punishes long wrong completions less per token
//! token      Σ_i Σ_t l_it / Σ_i |o_i|      DAPO, <https://arxiv.org/abs/2503.14476>
//! constant   Σ_i Σ_t l_it / (B L)          Dr. GRPO, with L the largest length of a completion
//! completion 1/B Σ_i Σ_t l_it              a completion is one action
//! ```
//!
//! All four are Σ w_t l_t over the sampled tokens, so the choice is a weight per token. Excluded
//! completions are missing from numerator and denominator: B counts the included ones, and |o_i|
//! their tokens. Only with the constant, B counts all completions. TRL divides in the same way by
//! tokens (`dapo`) and by the constant (`dr_grpo`), but its mean over sequences (`grpo`) divides by
//! all completions, so exclusions make its steps smaller; ours is larger by the factor
//! all/included.
//!
//! The weights are those of the whole step, however it is split into micro-batches, so the sum over
//! micro-batches is the sum over the step. TRL's `bnpo`, a mean of micro-batch means if there is
//! more than one micro-batch, is not offered.

use serde::Serialize;

/// Loss aggregation over tokens and completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Aggregation {
    /// Mean over completions of the mean over their tokens (GRPO's paper)
    Sequence,
    /// Mean over all tokens of the batch (DAPO)
    #[value(alias = "dapo")]
    Token,
    /// Sum over tokens divided by the constant completions × --max-new-tokens (Dr. GRPO)
    #[value(aliases = ["dr_grpo", "dr-grpo"])]
    Constant,
    /// Mean over completions of the sum over their tokens (REINFORCE)
    Completion,
}

impl Aggregation {
    // ANCHOR: weights
    /// Weight per token of each completion, from the `lengths`; 0 for completions that are not
    /// `included`. `max_new_tokens` is L.
    pub fn weights(self, lengths: &[usize], included: &[bool], max_new_tokens: usize) -> Vec<f32> {
        let included_lengths = || lengths.iter().zip(included).filter(|(_, included)| **included);
        let b = included_lengths().count() as f64;
        let n_tokens = included_lengths().map(|(length, _)| *length).sum::<usize>() as f64;
        let weight = |(&length, &included): (&usize, &bool)| match (included && length > 0, self) {
            (false, _) => 0.,
            (true, Self::Sequence) => (1. / (b * length as f64)) as f32,
            (true, Self::Completion) => (1. / b) as f32,
            (true, Self::Token) => (1. / n_tokens) as f32,
            (true, Self::Constant) => (1. / (lengths.len() * max_new_tokens) as f64) as f32,
        };
        lengths.iter().zip(included).map(weight).collect()
    }
    // ANCHOR_END: weights
}
