//! 9.3 From a number per token to one loss: how much each token of a completion counts.
//!
//! ```text
//! per sequence   1/B Σ_i 1/|o_i| Σ_t l_it      GRPO. Long wrong answers are punished less per token.
//! per token      Σ_i Σ_t l_it / Σ_i |o_i|      DAPO, <https://arxiv.org/abs/2503.14476>
//! by a constant  Σ_i Σ_t l_it / (B L)          Dr. GRPO, with L the completion budget
//! ```
//!
//! All three are Σ w_t l_t over the tokens that were drawn, so the choice is a weight per token. B counts the completions
//! that take part and |o_i| their tokens: what is left out above the fraction is left out below it. The weights are those of
//! the whole step, whatever pieces its gradient is computed in; sums of pieces are then the sum of the whole.

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
            (true, Self::Constant) => (1. / (b * budget as f64)) as f32,
        };
        lengths.iter().zip(takes_part).map(weight).collect()
    }
}
