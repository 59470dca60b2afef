//! 7.3 Losses: train the reward of the chosen completion, r⁺, above that of the rejected one, r⁻.
//!
//! ```text
//! Bradley-Terry   p(chosen ≻ rejected) = σ(r⁺ − r⁻)
//!                 loss = −log σ(r⁺ − r⁻) = softplus(r⁻ − r⁺)
//! margin          loss = max(0, margin − (r⁺ − r⁻))
//! centering       loss + λ · (r⁺ + r⁻)²
//! ```
//!
//! Bradley-Terry (<https://doi.org/10.2307/2334029>) is logistic regression on a difference: a pair
//! ranked correctly with certainty has a gradient of 0, and one that is wrong by a large x has a
//! loss of about x. Computed naively in f32, log(σ(x)) is −∞ from x = −104 on; softplus stays
//! finite. Both losses depend on differences only and leave the mean reward undetermined; the
//! centering term fixes it near 0 (Eisenstein et al., <https://arxiv.org/abs/2312.09244>).

use candle_core::{D, Result, Tensor};
use serde::Serialize;
use tensor_core::ops::log_softmax;

/// Preference loss with an optional centering term.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PreferenceLoss {
    /// Loss of the difference r⁺ − r⁻.
    pub kind: LossKind,
    /// Coefficient λ of the centering term; 0 disables it.
    pub center_rewards_coefficient: f64,
}

/// Loss of the reward difference r⁺ − r⁻.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossKind {
    /// softplus(r⁻ − r⁺)
    BradleyTerry,
    /// max(0, margin − (r⁺ − r⁻)), with this margin.
    Margin(f64),
}

impl PreferenceLoss {
    /// Mean loss over pairs, with rewards `chosen` and `rejected`: (P), (P) -> ().
    pub fn compute(&self, chosen: &Tensor, rejected: &Tensor) -> Result<Tensor> {
        let loss = match self.kind {
            LossKind::BradleyTerry => bradley_terry(chosen, rejected)?,
            LossKind::Margin(margin) => margin_ranking(chosen, rejected, margin)?,
        };
        match self.center_rewards_coefficient {
            0. => Ok(loss),
            coefficient => loss + (centering_penalty(chosen, rejected)? * coefficient)?,
        }
    }
}

// ANCHOR: bradley_terry
/// Bradley-Terry loss, the mean of softplus(r⁻ − r⁺): (P), (P) -> ().
pub fn bradley_terry(chosen: &Tensor, rejected: &Tensor) -> Result<Tensor> {
    softplus(&(rejected - chosen)?)?.mean_all()
}
// ANCHOR_END: bradley_terry

/// Margin ranking loss, the mean of max(0, margin − (r⁺ − r⁻)): (P), (P) -> ().
pub fn margin_ranking(chosen: &Tensor, rejected: &Tensor, margin: f64) -> Result<Tensor> {
    ((rejected - chosen)? + margin)?.relu()?.mean_all()
}

/// Centering term, the mean of (r⁺ + r⁻)²: (P), (P) -> ().
pub fn centering_penalty(chosen: &Tensor, rejected: &Tensor) -> Result<Tensor> {
    (chosen + rejected)?.sqr()?.mean_all()
}

/// Softplus, log(1 + eˣ), elementwise: (N) -> (N).
///
/// It is the log of the denominator of a softmax over the logits 0 and x. Computed by
/// `log_softmax`, it does not overflow and its gradient is σ(x) everywhere.
pub fn softplus(x: &Tensor) -> Result<Tensor> {
    let logits = Tensor::stack(&[&x.zeros_like()?, x], D::Minus1)?; // (N, 2)
    let log_prob_of_0 = log_softmax(&logits)?.narrow(D::Minus1, 0, 1)?.squeeze(D::Minus1)?; // (N)
    log_prob_of_0.neg() // −(0 − log(e⁰ + eˣ))
}
