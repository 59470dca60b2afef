//! 7.4 Metrics of rewards on preference pairs.
//!
//! ```text
//! accuracy             fraction of pairs with r⁺ > r⁻; a tie counts one half
//! mean margin          mean of r⁺ − r⁻
//! length correlation   correlation of reward and length, each minus the mean of its pair
//! calibration          accuracy of the pairs with confidence p = σ(|r⁺ − r⁻|), compared with p
//! ```

pub use experiment::statistics::wilson_interval; // for part 9
use serde::Serialize;

/// Rewards of a pair, `[chosen, rejected]`.
pub type PairRewards = [f64; 2];

/// Calibration bin: pairs of similar confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// Number of pairs.
    pub n: usize,
    /// Mean confidence, σ(|r⁺ − r⁻|).
    pub confidence: f64,
    /// Accuracy on these pairs.
    pub accuracy: f64,
}

/// Accuracy: fraction of pairs with r⁺ > r⁻. A tie counts one half; without pairs it is one half.
pub fn accuracy(rewards: &[PairRewards]) -> f64 {
    if rewards.is_empty() {
        return 0.5;
    }
    rewards.iter().map(win).sum::<f64>() / rewards.len() as f64
}

/// 1 if r⁺ > r⁻, ½ at a tie, 0 otherwise.
fn win([chosen, rejected]: &PairRewards) -> f64 {
    match chosen.partial_cmp(rejected) {
        Some(std::cmp::Ordering::Greater) => 1.,
        Some(std::cmp::Ordering::Equal) => 0.5,
        _ => 0., // less, or NaN
    }
}

/// Mean of r⁺ − r⁻.
pub fn mean_margin(rewards: &[PairRewards]) -> f64 {
    let sum: f64 = rewards.iter().map(|[chosen, rejected]| chosen - rejected).sum();
    sum / rewards.len().max(1) as f64
}

/// Pearson correlation of reward and length over all completions, after subtracting the means of
/// each pair. 0 if rewards or lengths never differ within a pair.
pub fn length_correlation(rewards: &[PairRewards], lengths: &[[usize; 2]]) -> f64 {
    let (mut covariance, mut reward_variance, mut length_variance) = (0., 0., 0.);
    for ([chosen, rejected], [n_chosen, n_rejected]) in rewards.iter().zip(lengths) {
        let (reward, length) = (chosen - rejected, *n_chosen as f64 - *n_rejected as f64);
        covariance += reward * length;
        reward_variance += reward * reward;
        length_variance += length * length;
    }
    let scale = (reward_variance * length_variance).sqrt();
    if scale > 0. { covariance / scale } else { 0. }
}

/// Accuracy of the length baseline: always preferring the longer or always the shorter completion,
/// in the direction that does better on these pairs; at least one half.
pub fn length_only_accuracy(lengths: &[[usize; 2]]) -> f64 {
    let rewards: Vec<PairRewards> = lengths.iter().map(|pair| pair.map(|n| n as f64)).collect();
    let prefer_longer = accuracy(&rewards);
    prefer_longer.max(1. - prefer_longer)
}

/// Calibration: pairs in five bins of confidence σ(|r⁺ − r⁻|) from ½ to 1, without the empty bins.
pub fn calibration(rewards: &[PairRewards]) -> Vec<CalibrationBin> {
    const BINS: usize = 5;
    let mut bins = [(0usize, 0., 0.); BINS];
    for pair @ [chosen, rejected] in rewards {
        let confidence = 1. / (1. + (-(chosen - rejected).abs()).exp());
        let bin = ((confidence - 0.5) * 2. * BINS as f64) as usize;
        let (n, confidence_sum, n_correct) = &mut bins[bin.min(BINS - 1)];
        *n += 1;
        *confidence_sum += confidence;
        *n_correct += win(pair);
    }
    let non_empty = bins.into_iter().filter(|(n, ..)| *n > 0);
    non_empty
        .map(|(n, confidence_sum, n_correct)| CalibrationBin {
            n,
            confidence: confidence_sum / n as f64,
            accuracy: n_correct / n as f64,
        })
        .collect()
}

/// Expected calibration error: |confidence − accuracy| of the bins, averaged over the pairs.
pub fn calibration_error(bins: &[CalibrationBin]) -> f64 {
    let n: usize = bins.iter().map(|bin| bin.n).sum();
    let sum: f64 =
        bins.iter().map(|bin| bin.n as f64 * (bin.confidence - bin.accuracy).abs()).sum();
    sum / n.max(1) as f64
}
