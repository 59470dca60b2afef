//! 7.4 The figures, by hand: ties, a coin's interval, length, calibration, normalisation, and policies that read nothing.

use anyhow::Result;

use crate::evaluation::{compute_metrics, normalization_of_pairs};
use crate::metrics::{
    accuracy, calibration, calibration_error, length_correlation, length_only_accuracy,
    mean_margin, wilson_interval,
};
use crate::{RewardNormalization, histogram};

fn is(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 1e-9, "{found}, and not {wanted}");
}

#[test]
fn a_tie_counts_one_half() {
    is(accuracy(&[[1., 0.], [0., 1.], [2., 2.], [3., 1.]]), 0.625);
    is(accuracy(&[[0., 0.]; 7]), 0.5);
    is(accuracy(&[]), 0.5);
    is(accuracy(&[[f64::NAN, 0.]]), 0.);
    is(mean_margin(&[[1., 0.], [0., 3.]]), -1.);
}

#[test]
fn wilsons_interval_is_that_of_the_tables() {
    // 8 of 10 and 0 of 20, at 95 %: (.490, .943) and (0, .161).
    let near = |found: [f64; 2], wanted: [f64; 2]| {
        found.iter().zip(wanted).for_each(|(a, b)| assert!((a - b).abs() < 5e-4, "{a} {b}"));
    };
    near(wilson_interval(0.8, 10), [0.490, 0.943]);
    near(wilson_interval(0., 20), [0., 0.161]);
}

#[test]
fn length_is_correlated_within_pairs_alone() {
    // The second pair scores higher and is longer as a whole, which says nothing.
    let scores = [[1., 0.], [100., 101.], [5., 5.]];
    is(length_correlation(&scores, &[[3, 2], [50, 51], [7, 4]]), 2. / (2f64 * 11.).sqrt());
    is(length_correlation(&scores, &[[3, 2], [51, 50], [4, 4]]), 0.);
    is(length_correlation(&scores, &[[3, 3], [50, 50], [4, 4]]), 0.);
    let longer: Vec<[f64; 2]> = [[9., 3.], [2., 8.]].into();
    is(length_correlation(&longer, &[[9, 3], [2, 8]]), 1.);
    is(length_correlation(&longer, &[[3, 9], [8, 2]]), -1.);
}

#[test]
fn going_by_length_takes_the_better_direction() {
    is(length_only_accuracy(&[[3, 2], [5, 4], [1, 2], [4, 4]]), 0.625);
    is(length_only_accuracy(&[[2, 3], [4, 5], [2, 1], [4, 4]]), 0.625);
    is(length_only_accuracy(&[[4, 4]; 3]), 0.5);
}

#[test]
fn a_model_that_says_seventy_percent_and_is_right_so_often_is_calibrated() {
    let margin = (0.7f64 / 0.3).ln();
    let honest: Vec<[f64; 2]> =
        (0..10).map(|i| if i < 7 { [margin, 0.] } else { [0., margin] }).collect();
    let bins = calibration(&honest);
    assert_eq!(bins.len(), 1);
    is(bins[0].confidence, 0.7);
    is(bins[0].accuracy, 0.7);
    is(calibration_error(&bins), 0.);
    let boastful: Vec<[f64; 2]> = honest.iter().map(|pair| pair.map(|score| score * 1e3)).collect();
    is(calibration_error(&calibration(&boastful)), 0.3);
    let sorted = calibration(&[[0.1, 0.], [9., 0.], [1., 0.]]);
    assert_eq!(sorted.iter().map(|bin| bin.n).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn policies_that_read_nothing_win_half_the_time() {
    let scores = vec![[0.3, 0.]; 4000];
    let lengths = vec![[2, 2]; 4000];
    let found = compute_metrics(&scores, &lengths);
    is(found.accuracy, 1.);
    is(found.constant_accuracy, 0.5);
    is(found.length_only_accuracy, 0.5);
    is(found.random_low + found.random_high, 1.);
    assert!((found.random_high - 0.515).abs() < 1e-3, "{}", found.random_high);
    is(compute_metrics(&[[0., 0.]], &[[1, 1]]).loss, 2f64.ln());
    is(compute_metrics(&[[-1e4, 1e4]], &[[1, 1]]).loss, 2e4);
}

#[test]
fn rewards_have_mean_0_and_deviation_1_on_the_texts_they_are_normalised_by() {
    let scores = [[3., -1.], [10., 4.]];
    let scale = normalization_of_pairs(&scores);
    is(scale.mean, 4.);
    let rewards: Vec<f64> =
        scores.as_flattened().iter().map(|&score| scale.normalize(score)).collect();
    is(rewards.iter().sum::<f64>(), 0.);
    is(rewards.iter().map(|reward| reward * reward).sum::<f64>() / 4., 1.);
    assert_eq!(
        RewardNormalization::from_rewards(&[2., 2.]),
        RewardNormalization { mean: 2., std: 1. }
    );
    is(RewardNormalization::NONE.normalize(0.3), 0.3);
}

#[test]
fn the_rewards_are_drawn_as_a_png() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("rewards.png");
    histogram::write(&path, &[[1., -1.], [0.5, 0.], [3., -9.]], RewardNormalization::NONE)?;
    assert!(std::fs::read(&path)?.starts_with(b"\x89PNG"));
    histogram::write(&path, &[[0., 0.]], RewardNormalization::NONE)?;
    let nothing = histogram::write(&path, &[[f64::NAN, 0.]], RewardNormalization::NONE);
    assert!(nothing.is_err(), "what is no number cannot be drawn");
    Ok(())
}
