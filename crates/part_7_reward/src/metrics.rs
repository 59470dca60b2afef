//! 7.4 What says how good scores are: of pairs alone, in plain numbers.
//!
//! ```text
//! accuracy             share of pairs with r⁺ > r⁻; a tie counts one half
//! mean margin          mean of r⁺ − r⁻
//! length correlation   of score and length, each apart from its pair's mean: does longer score higher?
//! calibration          of pairs of which the model says "with p = σ(|r⁺ − r⁻|)", is the share p right?
//! ```

use serde::Serialize;

/// The scores of a pair's responses, the chosen one's first.
pub type PairRewards = [f64; 2];

/// Pairs of which a model was about equally sure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// How many.
    pub n: usize,
    /// How sure it was: the mean of σ(|r⁺ − r⁻|).
    pub confidence: f64,
    /// How right.
    pub accuracy: f64,
}

/// Share of pairs whose chosen response scores higher; a tie counts one half. Of no pairs, one half.
pub fn accuracy(scores: &[PairRewards]) -> f64 {
    if scores.is_empty() {
        return 0.5;
    }
    scores.iter().map(win).sum::<f64>() / scores.len() as f64
}

/// 1 where the chosen response scores higher, ½ at a tie, 0 otherwise.
fn win([chosen, rejected]: &PairRewards) -> f64 {
    match chosen.partial_cmp(rejected) {
        Some(std::cmp::Ordering::Greater) => 1.,
        Some(std::cmp::Ordering::Equal) => 0.5,
        _ => 0., // less, or no number
    }
}

/// Mean of r⁺ − r⁻.
pub fn mean_margin(scores: &[PairRewards]) -> f64 {
    let sum: f64 = scores.iter().map(|[chosen, rejected]| chosen - rejected).sum();
    sum / scores.len().max(1) as f64
}

/// Where an accuracy found on `n` pairs may lie, at a level of 95 % (Wilson's interval, <https://doi.org/10.2307/2276774>).
pub fn wilson_interval(accuracy: f64, n: usize) -> [f64; 2] {
    const Z: f64 = 1.959_964;
    let n = n.max(1) as f64;
    let centre = accuracy + Z * Z / (2. * n);
    let half = Z * (accuracy * (1. - accuracy) / n + Z * Z / (4. * n * n)).sqrt();
    [centre - half, centre + half].map(|edge| (edge / (1. + Z * Z / n)).clamp(0., 1.))
}

/// Pearson's correlation of score and length over all responses, each taken apart from its pair's mean. 0 where either never
/// differs within a pair.
pub fn length_correlation(scores: &[PairRewards], lengths: &[[usize; 2]]) -> f64 {
    let (mut both, mut of_scores, mut of_lengths) = (0., 0., 0.);
    for ([chosen, rejected], [n_chosen, n_rejected]) in scores.iter().zip(lengths) {
        let (score, length) = (chosen - rejected, *n_chosen as f64 - *n_rejected as f64);
        both += score * length;
        of_scores += score * score;
        of_lengths += length * length;
    }
    let scale = (of_scores * of_lengths).sqrt();
    if scale > 0. { both / scale } else { 0. }
}

/// The accuracy of whoever goes by length alone, preferring the longer or the shorter, whichever does better on these very
/// pairs: at least one half.
pub fn length_only_accuracy(lengths: &[[usize; 2]]) -> f64 {
    let scores: Vec<PairRewards> = lengths.iter().map(|pair| pair.map(|n| n as f64)).collect();
    let longer = accuracy(&scores);
    longer.max(1. - longer)
}

/// Pairs by how sure the model is of them: in five bins from σ = ½ to 1, of which empty ones are left out.
pub fn calibration(scores: &[PairRewards]) -> Vec<CalibrationBin> {
    const BINS: usize = 5;
    let mut bins = [(0usize, 0., 0.); BINS];
    for pair @ [chosen, rejected] in scores {
        let confidence = 1. / (1. + (-(chosen - rejected).abs()).exp());
        let bin = ((confidence - 0.5) * 2. * BINS as f64) as usize;
        let (n, sure, right) = &mut bins[bin.min(BINS - 1)];
        *n += 1;
        *sure += confidence;
        *right += win(pair);
    }
    let full = bins.into_iter().filter(|(n, ..)| *n > 0);
    full.map(|(n, sure, right)| CalibrationBin {
        n,
        confidence: sure / n as f64,
        accuracy: right / n as f64,
    })
    .collect()
}

/// By how much confidence and accuracy differ in a bin, on average over the pairs.
pub fn calibration_error(bins: &[CalibrationBin]) -> f64 {
    let n: usize = bins.iter().map(|bin| bin.n).sum();
    let off: f64 =
        bins.iter().map(|bin| bin.n as f64 * (bin.confidence - bin.accuracy).abs()).sum();
    off / n.max(1) as f64
}
