//! 7.3 Losses: what makes a model score the chosen response above the rejected one.
//!
//! ```text
//! Bradley-Terry   p(chosen ≻ rejected) = σ(r⁺ − r⁻),     loss = −log σ(r⁺ − r⁻) = softplus(r⁻ − r⁺)
//! margin          loss = max(0, margin − (r⁺ − r⁻))
//! centring        loss + λ · (r⁺ + r⁻)²
//! ```
//!
//! Bradley-Terry (<https://doi.org/10.2307/2334029>) is logistic regression on a difference: a pair told apart with certainty
//! teaches nothing more, one that is wrong by x costs x. log(σ(x)), computed as it stands, is −∞ from x = −104 on, in f32; softplus
//! is not. Nothing in either loss says where 0 is; the centring term does (Eisenstein et al., <https://arxiv.org/abs/2312.09244>).

use candle_core::{D, Result, Tensor};
use serde::Serialize;
use tensor_core::ops::log_softmax;

/// What is learned from the scores of a pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PreferenceLoss {
    /// Of the difference.
    pub kind: LossKind,
    /// λ, of the centring term; 0 for none.
    pub center_rewards_coefficient: f64,
}

/// A loss of the difference r⁺ − r⁻.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossKind {
    /// softplus(r⁻ − r⁺)
    BradleyTerry,
    /// max(0, margin − (r⁺ − r⁻)), with this margin.
    Margin(f64),
}

impl PreferenceLoss {
    /// The mean loss, (), of pairs whose responses have these scores, (P) each.
    pub fn compute(&self, chosen: &Tensor, rejected: &Tensor) -> Result<Tensor> {
        let loss = match self.kind {
            LossKind::BradleyTerry => bradley_terry(chosen, rejected)?,
            LossKind::Margin(margin) => margin_ranking(chosen, rejected, margin)?,
        };
        match self.center_rewards_coefficient {
            0. => Ok(loss),
            weight => loss + (centering_penalty(chosen, rejected)? * weight)?,
        }
    }
}

/// Mean of softplus(r⁻ − r⁺): (P), (P) -> ().
pub fn bradley_terry(chosen: &Tensor, rejected: &Tensor) -> Result<Tensor> {
    softplus(&(rejected - chosen)?)?.mean_all()
}

/// Mean of max(0, margin − (r⁺ − r⁻)): (P), (P) -> ().
pub fn margin_ranking(chosen: &Tensor, rejected: &Tensor, margin: f64) -> Result<Tensor> {
    ((rejected - chosen)? + margin)?.relu()?.mean_all()
}

/// Mean of (r⁺ + r⁻)²: (P), (P) -> ().
pub fn centering_penalty(chosen: &Tensor, rejected: &Tensor) -> Result<Tensor> {
    (chosen + rejected)?.sqr()?.mean_all()
}

/// log(1 + eˣ), element by element: (N) -> (N). It is the logarithm of a softmax's denominator, of the logits x and 0, and so computed:
/// without overflow, and with the gradient σ(x) everywhere.
pub fn softplus(x: &Tensor) -> Result<Tensor> {
    let pair = Tensor::stack(&[&x.zeros_like()?, x], D::Minus1)?; // (N, 2)
    log_softmax(&pair)?.narrow(D::Minus1, 0, 1)?.squeeze(D::Minus1)?.neg() // 0 − log(e⁰ + eˣ), negated
}
