//! 8.3 The variance with a baseline (predict, 8 minutes, ●●○)
//!
//! In the world of 125 completions of part 8 the mean reward is 3.17 with a standard deviation of
//! 0.91, and the variance of the REINFORCE gradient is exact. First guess; then
//! `cargo run --example estimator_lab` prints the table.
//!
//! Hint: Without a baseline, the reward is its mean (3.17) plus a deviation (0.91), and the mean is
//! pure noise.
//! Hint: The variance grows about with E[r²] = 3.17² + 0.91²; with the baseline with 0.91².
//! Hint: (3.17² + 0.91²) / 0.91² ≈ 13.
//! Read: crates/part_8_ppo/src/gradient_variance.rs: Bias and variance of gradient estimators
//! Read: book/src/08_trying.md: ## The baseline

use candle_core::{DType, Device, Result, Tensor};
use ppo::RewardBaseline;
use ppo::gradient_variance::reinforce_moments;
use ppo::tabular_mdp::{N_COMPLETIONS, expectation_over_completions, random_policy};
use tensor_core::Rng;

use crate::grading::Prediction;

/// Questions.
pub fn questions() -> Vec<Prediction> {
    let [none, mean, all_by_one] = variances().expect("memory for 125 completions");
    vec![
        Prediction::number(
            "By what factor does the mean reward as a baseline divide the variance?",
            none / mean,
            2.,
            "12.06 / 0.99: about E[r²] / Var(r).",
        )
        .trap(1., "the mean of the gradient stays, its variance does not"),
        Prediction::number(
            "1 is added to all rewards, and the baseline is again their mean. By what factor is \
             the variance multiplied?",
            all_by_one / mean,
            0.01,
            "Not at all, a factor of 1: the baseline moves with the rewards.",
        )
        .trap(none / mean, "the baseline takes the added 1 away again")
        .trap(0., "a factor of 0 would leave no variance; no change is a factor of 1"),
    ]
}

/// Variance without a baseline, with the mean reward, and with it when all rewards have 1 more.
fn variances() -> Result<[f64; 3]> {
    let policy = random_policy(1)?;
    let rewards = (Rng::new(9).normal_tensor(N_COMPLETIONS, 1., DType::F64, &Device::Cpu)? + 3.)?;
    let mean: f64 = expectation_over_completions(&policy, &rewards)?.to_scalar()?;
    let variance = |rewards: &Tensor, baseline| -> Result<f64> {
        Ok(reinforce_moments(&policy, rewards, baseline, 2)?.variance)
    };
    Ok([
        variance(&rewards, RewardBaseline::None)?,
        variance(&rewards, RewardBaseline::Constant(mean))?,
        variance(&(&rewards + 1.)?, RewardBaseline::Constant(mean + 1.))?,
    ])
}
