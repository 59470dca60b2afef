//! 5.2 E Σ f P on four tokens (predict, 8 minutes, ●●○)
//!
//! The load-balancing loss is E Σ f P over the experts: f is the share of the tokens that went to
//! an expert, P its mean probability. Two experts, four tokens, each to the likelier one; their
//! probabilities of expert 0 are 0.9, 0.8, 0.7 and 0.4.
//!
//! Hint: Three tokens go to expert 0, one to expert 1. Question 4: f is a count. Can it be
//! differentiated?
//! Hint: P of expert 0 is (0.9 + 0.8 + 0.7 + 0.4) / 4 = 0.7. Question 2: at balance f and P are 1/2
//! for both experts.
//! Hint: 2 (0.75 · 0.7 + 0.25 · 0.3). Question 3: f and P of expert 0 are 1.
//! Read: crates/part_5_moe/src/auxiliary_losses.rs: pub fn load_balancing_loss
//! Read: book/src/05_experts.md: ## Why experts collapse, and what is done about it

use candle_core::{Device, Result, Tensor};
use moe::auxiliary_losses::load_balancing_loss;

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let here = loss(&[0.9, 0.8, 0.7, 0.4]).expect("four tokens");
    vec![
        Prediction::number("The loss?", here, 1e-3, "2 (0.75 · 0.7 + 0.25 · 0.3) = 1.2.")
            .trap(here / 2., "times the number of experts, so that balance is 1 for any E"),
        Prediction::number("At perfect balance?", 1., 1e-6, "E · E · (1/E)² = 1.")
            .trap(0., "it is no distance: its smallest value is about 1"),
        Prediction::number("If expert 0 gets all tokens with certainty?", 2., 1e-6, "E.")
            .trap(1., "that is balance"),
        Prediction::choice(
            "Through which factor does its gradient reach the router?",
            &["f", "P", "both"],
            1,
            "f is a count: a crowded expert's probabilities are pushed down, in proportion to f.",
        )
        .trap(0., "a count has no derivative")
        .trap(2., "a count has no derivative"),
    ]
}

fn loss(of_first: &[f64]) -> Result<f64> {
    let cells: Vec<f64> = of_first.iter().flat_map(|p| [*p, 1. - p]).collect();
    let probabilities = Tensor::from_vec(cells, (of_first.len(), 2), &Device::Cpu)?;
    let experts: Vec<u32> = of_first.iter().map(|p| u32::from(*p < 0.5)).collect();
    load_balancing_loss(&probabilities, &experts, None)?.to_scalar()
}
