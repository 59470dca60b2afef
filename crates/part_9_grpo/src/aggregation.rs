//! 9.3 From a number per token to one loss: how much each token of a completion counts.
//!
//! ```text
//! per sequence   1/B Σ_i 1/|o_i| Σ_t l_it      GRPO. Long wrong answers are punished less per token.
//! per token      Σ_i Σ_t l_it / Σ_i |o_i|      DAPO, <https://arxiv.org/abs/2503.14476>
//! by a constant  Σ_i Σ_t l_it / (B L)          Dr. GRPO, with L the completion budget
//! ```
//!
//! All three are Σ w_t l_t over the tokens that were drawn, so the choice is a weight per token. Where completions take no part, they
//! are left out above the fraction and below it: B counts those that do, and |o_i| their tokens. A constant stays one: there B counts
//! all. TRL divides so by tokens (`dapo`) and by the constant (`dr_grpo`), but its mean over sequences (`grpo`) is over all of them,
//! so that what is left out makes the steps smaller; ours is larger by the number of all over the number that take part.
//!
//! The weights are those of the whole step, whatever pieces its gradient is computed in, so sums of pieces are the sum of the whole.
//! A mean of the means of pieces (TRL's `bnpo` with more than one piece) is not offered.

use serde::Serialize;

/// How tokens are weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Aggregation {
    /// Every completion counts the same, whatever its length
    Sequence,
    /// Every token counts the same
    Token,
    /// Every token counts the same, whatever lengths its neighbours have
    Constant,
}

impl Aggregation {
    /// The weight of the tokens of each completion, by `lengths`; of those that do not take part, 0. `budget` is L.
    pub fn weights(self, lengths: &[usize], takes_part: &[bool], budget: usize) -> Vec<f32> {
        let taking_part = || lengths.iter().zip(takes_part).filter(|(_, part)| **part);
        let b = taking_part().count() as f64;
        let tokens = taking_part().map(|(length, _)| *length).sum::<usize>() as f64;
        let weight = |(&length, &part): (&usize, &bool)| match (part && length > 0, self) {
            (false, _) => 0.,
            (true, Self::Sequence) => (1. / (b * length as f64)) as f32,
            (true, Self::Token) => (1. / tokens) as f32,
            (true, Self::Constant) => (1. / (lengths.len() * budget) as f64) as f32,
        };
        lengths.iter().zip(takes_part).map(weight).collect()
    }
}
