//! 8.3 The reward of every token: what the KL costs, and at the last token what the whole response is paid.
//!
//! ```text
//! r_t = −β · kl_t  +  paid if t is the response's last token
//! ```
//!
//! The last token is the last of the response, its end included, found by the response's length: the first token of padding is
//! past it.

use candle_core::{D, DType, Result, Tensor};

use crate::SampledCompletion;
use crate::gae::GaeConfig;
use crate::kl::KlEstimator;
use crate::masked::masked;

/// How scores become advantages.
#[derive(Debug, Clone, Copy)]
pub struct RewardShapingConfig {
    /// γ and λ.
    pub gae: GaeConfig,
    /// How the KL to the reference is estimated.
    pub kl_estimator: KlEstimator,
    /// Scores are kept between minus this and this.
    pub reward_clip: Option<f64>,
    /// What a response that was cut off is worth.
    pub truncation: TruncationHandling,
    /// What it loses besides.
    pub missing_eos_penalty: f64,
    /// Whether rewards are brought to variance 1 first.
    pub reward_scaling: RewardScaling,
}

/// What a response is worth that was cut off before it ended. Paid for what it is or for what it would have become, never for both:
/// then running on would be worth more than any answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TruncationHandling {
    /// What was expected there, as it would have gone on; it is not scored
    #[default]
    #[value(alias = "bootstrapped")]
    Bootstrap,
    /// Its score, and nothing comes after it
    #[value(alias = "scored")]
    Terminal,
}

/// What becomes of rewards before advantages are made of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RewardScaling {
    /// Nothing
    #[default]
    #[value(alias = "as-they-are")]
    None,
    /// Variance 1; their mean stays
    #[value(alias = "whitened")]
    Whiten,
}

impl RewardShapingConfig {
    /// What the last token of `response` is paid, which scored `score`.
    pub fn terminal_reward(&self, score: f64, response: &SampledCompletion) -> f64 {
        let score = clip_reward(score, self.reward_clip);
        match self.truncation {
            _ if response.terminated() => score,
            TruncationHandling::Terminal => score - self.missing_eos_penalty,
            TruncationHandling::Bootstrap => -self.missing_eos_penalty,
        }
    }
}

/// The reward of every token, (R, T): `paid: (R)` at the last token of each row of `mask: (R, T)`, less `price` times `kl: (R, T)`.
/// A row without tokens gets nothing.
///
/// # Errors
/// When the shapes do not fit.
pub fn token_rewards(paid: &Tensor, kl: &Tensor, price: f64, mask: &Tensor) -> Result<Tensor> {
    let last = last_token_mask(mask)?.to_dtype(kl.dtype())?; // (R, T)
    let paid = last.broadcast_mul(&paid.unsqueeze(1)?)?;
    masked(&(paid - (kl * price)?)?, mask)
}

/// 1 at the last token of each row of `mask: (R, T)`, whose rows are filled from the left, else 0.
fn last_token_mask(mask: &Tensor) -> Result<Tensor> {
    let (_r, t) = mask.dims2()?;
    let lengths = mask.ne(0.)?.to_dtype(DType::I64)?.sum_keepdim(D::Minus1)?; // (R, 1)
    let places = Tensor::arange(1i64, t as i64 + 1, mask.device())?.unsqueeze(0)?; // (1, T)
    places.broadcast_eq(&lengths)
}

/// A score kept between −`most` and `most`, if there is a bound.
pub fn clip_reward(score: f64, most: Option<f64>) -> f64 {
    most.map_or(score, |most| score.clamp(-most, most))
}
