//! 7.4 Metrics, checked by hand: ties, confidence intervals, length, calibration, normalization.

use anyhow::Result;
use tensor_core::testing::assert_close;

use crate::RewardNormalization;
use crate::evaluation::{compute_metrics, normalization_of_pairs, write_histogram};
use crate::metrics::{
    accuracy, calibration, calibration_error, length_correlation, length_only_accuracy, mean_margin,
};

fn assert_eq_f64(actual: f64, expected: f64) {
    assert_close(actual, expected, 1e-9);
}

#[test]
fn a_tie_counts_one_half_in_the_accuracy() {
    assert_eq_f64(accuracy(&[[1., 0.], [0., 1.], [2., 2.], [3., 1.]]), 0.625);
    assert_eq_f64(accuracy(&[[0., 0.]; 7]), 0.5);
    assert_eq_f64(accuracy(&[]), 0.5);
    assert_eq_f64(accuracy(&[[f64::NAN, 0.]]), 0.);
    assert_eq_f64(mean_margin(&[[1., 0.], [0., 3.]]), -1.);
}

#[test]
fn length_correlation_ignores_differences_between_pairs() {
    // Both completions of the second pair are longer with higher rewards, which must not count.
    let rewards = [[1., 0.], [100., 101.], [5., 5.]];
    assert_eq_f64(
        length_correlation(&rewards, &[[3, 2], [50, 51], [7, 4]]),
        2. / (2f64 * 11.).sqrt(),
    );
    assert_eq_f64(length_correlation(&rewards, &[[3, 2], [51, 50], [4, 4]]), 0.);
    assert_eq_f64(length_correlation(&rewards, &[[3, 3], [50, 50], [4, 4]]), 0.);
    let longer: Vec<[f64; 2]> = [[9., 3.], [2., 8.]].into();
    assert_eq_f64(length_correlation(&longer, &[[9, 3], [2, 8]]), 1.);
    assert_eq_f64(length_correlation(&longer, &[[3, 9], [8, 2]]), -1.);
}

#[test]
fn the_length_baseline_uses_the_better_direction() {
    assert_eq_f64(length_only_accuracy(&[[3, 2], [5, 4], [1, 2], [4, 4]]), 0.625);
    assert_eq_f64(length_only_accuracy(&[[2, 3], [4, 5], [2, 1], [4, 4]]), 0.625);
    assert_eq_f64(length_only_accuracy(&[[4, 4]; 3]), 0.5);
}

#[test]
fn confidence_of_70_percent_with_accuracy_of_70_percent_is_calibrated() {
    let margin = (0.7f64 / 0.3).ln();
    let calibrated: Vec<[f64; 2]> =
        (0..10).map(|i| if i < 7 { [margin, 0.] } else { [0., margin] }).collect();
    let bins = calibration(&calibrated);
    assert_eq!(bins.len(), 1);
    assert_eq_f64(bins[0].confidence, 0.7);
    assert_eq_f64(bins[0].accuracy, 0.7);
    assert_eq_f64(calibration_error(&bins), 0.);
    let overconfident: Vec<[f64; 2]> =
        calibrated.iter().map(|pair| pair.map(|reward| reward * 1e3)).collect();
    assert_eq_f64(calibration_error(&calibration(&overconfident)), 0.3);
    let sorted = calibration(&[[0.1, 0.], [9., 0.], [1., 0.]]);
    assert_eq!(sorted.iter().map(|bin| bin.n).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn trivial_baselines_have_an_accuracy_of_one_half() {
    let rewards = vec![[0.3, 0.]; 4000];
    let lengths = vec![[2, 2]; 4000];
    let metrics = compute_metrics(&rewards, &lengths);
    assert_eq_f64(metrics.accuracy, 1.);
    assert_eq_f64(metrics.constant_accuracy, 0.5);
    assert_eq_f64(metrics.length_only_accuracy, 0.5);
    assert_eq_f64(metrics.random_low + metrics.random_high, 1.);
    assert_close(metrics.random_high, 0.515, 1e-3);
    assert_eq_f64(compute_metrics(&[[0., 0.]], &[[1, 1]]).loss, 2f64.ln());
    assert_eq_f64(compute_metrics(&[[-1e4, 1e4]], &[[1, 1]]).loss, 2e4);
}

#[test]
fn normalized_rewards_have_mean_0_and_standard_deviation_1() {
    let raw = [[3., -1.], [10., 4.]];
    let normalization = normalization_of_pairs(&raw);
    assert_eq_f64(normalization.mean, 4.);
    let rewards: Vec<f64> =
        raw.as_flattened().iter().map(|&reward| normalization.normalize(reward)).collect();
    assert_eq_f64(rewards.iter().sum::<f64>(), 0.);
    assert_eq_f64(rewards.iter().map(|reward| reward * reward).sum::<f64>() / 4., 1.);
    assert_eq!(
        RewardNormalization::from_rewards(&[2., 2.]),
        RewardNormalization { mean: 2., std: 1. }
    );
    assert_eq_f64(RewardNormalization::NONE.normalize(0.3), 0.3);
}

#[test]
fn the_histogram_is_a_png_and_rejects_nan() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("rewards.png");
    write_histogram(&path, &[[1., -1.], [0.5, 0.], [3., -9.]], RewardNormalization::NONE)?;
    assert!(std::fs::read(&path)?.starts_with(b"\x89PNG"));
    write_histogram(&path, &[[0., 0.]], RewardNormalization::NONE)?;
    let result = write_histogram(&path, &[[f64::NAN, 0.]], RewardNormalization::NONE);
    assert!(result.is_err());
    Ok(())
}
