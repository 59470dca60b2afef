//! 8.3 The variance with a baseline (predict, 4 minutes, ●●○)
//!
//! In the world of 125 completions of part 8 the mean reward is 3.17 with a standard deviation of
//! 0.91, and the variance of the REINFORCE gradient is exact. The mean of that gradient is the same
//! in all that follows. Answer with a pencil, the first to within 0.1, the second to within 0.2.
//! (`cargo run --example estimator_lab` prints the variances for the rewards as they are.)
//!
//! Hint: Without a baseline, the reward is its mean (3.17) plus a deviation (0.91), and the mean is
//! pure noise.
//! Hint: The variance grows about with E[(r − b)²], b the baseline, and E[x²] is the square of the
//! mean of x plus that of its deviation.
//! Hint: (4.17² + 0.91²) / (3.17² + 0.91²), and (1² + 0.91²) / 0.91².
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
    let [none, mean, none_more, mean_more] = variances().expect("memory for 125 completions");
    vec![
        Prediction::number(
            "There is no baseline, and 1 is added to all rewards. By what factor is the variance \
             multiplied?",
            none_more / none,
            0.1,
            "1.67: about E[(r + 1)²] / E[r²]. The size of the rewards alone makes noise.",
        )
        .trap(1., "nothing takes the added 1 away where there is no baseline")
        .trap(4.17 / 3.17, "a variance grows with the square of what it multiplies")
        .trap(none / mean, "that is the factor between no baseline and the mean reward"),
        Prediction::number(
            "The baseline is the mean reward, 3.17. Now 1 is added to all rewards, and the \
             baseline stays as it is. By what factor is the variance multiplied?",
            mean_more / mean,
            0.2,
            "2.08, about (1 + 0.91²) / 0.91²: even so, a tenth of that without a baseline.",
        )
        .trap(1., "only a baseline that moves with the rewards takes the added 1 away")
        .trap(none_more / none, "that is the factor without a baseline; 3.17 is still subtracted"),
    ]
}

/// Variances without a baseline and with the mean reward, and both when all rewards have 1 more
/// and the baseline is the same.
fn variances() -> Result<[f64; 4]> {
    let policy = random_policy(1)?;
    let rewards = (Rng::new(9).normal_tensor(N_COMPLETIONS, 1., DType::F64, &Device::Cpu)? + 3.)?;
    let mean: f64 = expectation_over_completions(&policy, &rewards)?.to_scalar()?;
    let variance = |rewards: &Tensor, baseline| -> Result<f64> {
        Ok(reinforce_moments(&policy, rewards, baseline, 2)?.variance)
    };
    let (none, constant) = (RewardBaseline::None, RewardBaseline::Constant(mean));
    let more = (&rewards + 1.)?;
    Ok([
        variance(&rewards, none)?,
        variance(&rewards, constant)?,
        variance(&more, none)?,
        variance(&more, constant)?,
    ])
}
