//! 7.4 Evaluation: how often a model prefers what was preferred, beside policies that read nothing.
//!
//! What a constant, a coin and a ruler reach is the floor: a model that is not above the ruler has learned to measure.

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::checkpoint::raw_rewards;
use crate::metrics::{
    CalibrationBin, PairRewards, accuracy, calibration, calibration_error, length_correlation,
    length_only_accuracy, mean_margin, wilson_interval,
};
use crate::tokenized_pairs::TokenizedPair;
use crate::{RewardModel, RewardNormalization};

/// How well a model tells chosen from rejected responses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RewardEvalMetrics {
    /// Pairs.
    pub n: usize,
    /// Share told apart rightly; ties count one half.
    pub accuracy: f64,
    /// Where that may lie, at a level of 95 %.
    pub accuracy_low: f64,
    /// Its upper end.
    pub accuracy_high: f64,
    /// Mean difference of the scores.
    pub margin: f64,
    /// Mean Bradley-Terry loss, in nats per pair; ln 2 where nothing is known.
    pub loss: f64,
    /// Whether longer responses score higher (1) or lower (−1).
    pub length_correlation: f64,
    /// What going by length alone reaches, longer or shorter, whichever is better here.
    pub length_only_accuracy: f64,
    /// What a coin reaches, at a level of 95 %: at least this,
    pub random_low: f64,
    /// and at most this.
    pub random_high: f64,
    /// What one score for all reaches.
    pub constant_accuracy: f64,
    /// How right the model is where it is how sure.
    pub calibration: Vec<CalibrationBin>,
    /// The mean gap between the two.
    pub calibration_error: f64,
}

/// The figures of `model`, an inference twin, on `pairs`, read `batch_size` texts at a time; and its scores of each pair.
///
/// # Errors
/// When there is no pair, or a text is longer than the context.
pub fn evaluate(
    model: &RewardModel,
    pairs: &[TokenizedPair],
    batch_size: usize,
) -> Result<(RewardEvalMetrics, Vec<PairRewards>)> {
    ensure!(!pairs.is_empty(), "there is no pair to evaluate on");
    let scores = pair_rewards(model, pairs, batch_size)?;
    let lengths: Vec<[usize; 2]> = pairs.iter().map(|pair| pair.completion_chars).collect();
    Ok((compute_metrics(&scores, &lengths), scores))
}

/// What `model`, an inference twin, makes of each pair, read `batch_size` texts at a time.
///
/// # Errors
/// When a text is longer than the context.
pub fn pair_rewards(
    model: &RewardModel,
    pairs: &[TokenizedPair],
    batch_size: usize,
) -> Result<Vec<PairRewards>> {
    let texts: Vec<_> = pairs.iter().flat_map(|pair| [&pair.chosen, &pair.rejected]).collect();
    let scores = raw_rewards(model, &texts, batch_size)?;
    Ok(scores.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect())
}

/// The figures of these scores, of responses with these lengths.
pub fn compute_metrics(scores: &[PairRewards], lengths: &[[usize; 2]]) -> RewardEvalMetrics {
    let n = scores.len();
    let found = accuracy(scores);
    let [accuracy_low, accuracy_high] = wilson_interval(found, n);
    let [random_low, random_high] = wilson_interval(0.5, n);
    let calibration = calibration(scores);
    RewardEvalMetrics {
        n,
        accuracy: found,
        accuracy_low,
        accuracy_high,
        margin: mean_margin(scores),
        loss: scores.iter().map(|[chosen, rejected]| softplus(rejected - chosen)).sum::<f64>()
            / n.max(1) as f64,
        length_correlation: length_correlation(scores, lengths),
        length_only_accuracy: length_only_accuracy(lengths),
        random_low,
        random_high,
        constant_accuracy: accuracy(&vec![[0.; 2]; n]),
        calibration_error: calibration_error(&calibration),
        calibration,
    }
}

/// That of the scores of all responses in pairs.
pub fn normalization_of_pairs(scores: &[PairRewards]) -> RewardNormalization {
    RewardNormalization::from_rewards(scores.as_flattened())
}

/// log(1 + eˣ), of one number.
fn softplus(x: f64) -> f64 {
    x.max(0.) + (-x.abs()).exp().ln_1p()
}
