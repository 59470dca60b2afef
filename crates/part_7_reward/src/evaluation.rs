//! 7.4 Evaluation: pairwise accuracy of a reward model, next to trivial baselines.
//!
//! Baselines: constant reward, random choice, and length alone. A reward model that does not beat
//! the length baseline may have learned nothing but length.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use experiment::histogram::{self, Series};
use experiment::statistics::wilson_interval;
use serde::Serialize;

use crate::checkpoint::raw_rewards;
use crate::metrics::{
    CalibrationBin, PairRewards, accuracy, calibration, calibration_error, length_correlation,
    length_only_accuracy, mean_margin,
};
use crate::tokenized_pairs::TokenizedPair;
use crate::{RewardModel, RewardNormalization};

/// Metrics of a reward model on preference pairs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RewardEvalMetrics {
    /// Number of pairs.
    pub n: usize,
    /// Fraction of pairs with r⁺ > r⁻; a tie counts one half.
    pub accuracy: f64,
    /// Lower end of the accuracy's 95 % confidence interval.
    pub accuracy_low: f64,
    /// Upper end of the accuracy's 95 % confidence interval.
    pub accuracy_high: f64,
    /// Mean of r⁺ − r⁻.
    pub margin: f64,
    /// Mean Bradley-Terry loss, in nats per pair; ln 2 for an uninformed model.
    pub loss: f64,
    /// Correlation of reward and length within pairs: 1 if longer completions get higher rewards,
    /// −1 if lower.
    pub length_correlation: f64,
    /// Accuracy of the length baseline, in the better of its two directions.
    pub length_only_accuracy: f64,
    /// Lower end of the 95 % interval of random choice.
    pub random_low: f64,
    /// Upper end of the 95 % interval of random choice.
    pub random_high: f64,
    /// Accuracy of a constant reward.
    pub constant_accuracy: f64,
    /// Accuracy by confidence.
    pub calibration: Vec<CalibrationBin>,
    /// Expected calibration error: mean gap between confidence and accuracy.
    pub calibration_error: f64,
}

/// Metrics and raw rewards of `model` on `pairs`, `batch_size` texts at a time. `model` should be
/// opened for inference.
///
/// # Errors
/// When `pairs` is empty, or a text is longer than the context.
pub fn evaluate(
    model: &RewardModel,
    pairs: &[TokenizedPair],
    batch_size: usize,
) -> Result<(RewardEvalMetrics, Vec<PairRewards>)> {
    ensure!(!pairs.is_empty(), "there is no pair to evaluate on");
    let rewards = pair_rewards(model, pairs, batch_size)?;
    let lengths: Vec<[usize; 2]> = pairs.iter().map(|pair| pair.completion_chars).collect();
    Ok((compute_metrics(&rewards, &lengths), rewards))
}

/// Raw rewards of each pair, `batch_size` texts at a time. `model` should be opened for inference.
///
/// # Errors
/// When a text is longer than the context, or a reward is not finite.
pub fn pair_rewards(
    model: &RewardModel,
    pairs: &[TokenizedPair],
    batch_size: usize,
) -> Result<Vec<PairRewards>> {
    let texts: Vec<_> = pairs.iter().flat_map(|pair| [&pair.chosen, &pair.rejected]).collect();
    let rewards = raw_rewards(model, &texts, batch_size)?;
    if let Some(index) = rewards.iter().position(|reward| !reward.is_finite()) {
        bail!(
            "the reward of a completion of pair {} is {}: the model's weights have diverged",
            index / 2 + 1,
            rewards[index]
        );
    }
    Ok(rewards.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect())
}

/// Metrics of these raw rewards, for completions of these lengths in characters.
pub fn compute_metrics(rewards: &[PairRewards], lengths: &[[usize; 2]]) -> RewardEvalMetrics {
    let n = rewards.len();
    let model_accuracy = accuracy(rewards);
    let [accuracy_low, accuracy_high] = wilson_interval(model_accuracy, n);
    let [random_low, random_high] = wilson_interval(0.5, n);
    let calibration = calibration(rewards);
    RewardEvalMetrics {
        n,
        accuracy: model_accuracy,
        accuracy_low,
        accuracy_high,
        margin: mean_margin(rewards),
        loss: rewards.iter().map(|[chosen, rejected]| softplus(rejected - chosen)).sum::<f64>()
            / n.max(1) as f64,
        length_correlation: length_correlation(rewards, lengths),
        length_only_accuracy: length_only_accuracy(lengths),
        random_low,
        random_high,
        constant_accuracy: accuracy(&vec![[0.; 2]; n]),
        calibration_error: calibration_error(&calibration),
        calibration,
    }
}

/// Normalization by the raw rewards of all chosen and rejected completions.
pub fn normalization_of_pairs(rewards: &[PairRewards]) -> RewardNormalization {
    RewardNormalization::from_rewards(rewards.as_flattened())
}

/// Writes a PNG histogram of the normalized rewards of the chosen and of the rejected completions
/// of `pairs`. A good model separates the two.
///
/// # Errors
/// When a reward is not finite, or the file cannot be written.
pub fn write_histogram(
    path: &Path,
    pairs: &[PairRewards],
    normalization: RewardNormalization,
) -> Result<()> {
    let normalized = |index: usize| -> Vec<f64> {
        pairs.iter().map(|pair| normalization.normalize(pair[index])).collect()
    };
    let series = [
        Series { name: "chosen", values: normalized(0) },
        Series { name: "rejected", values: normalized(1) },
    ];
    histogram::write(path, &series, ["reward", "completions"], -1. ..1.)
}

/// log(1 + eˣ) of a scalar, without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.) + (-x.abs()).exp().ln_1p()
}
