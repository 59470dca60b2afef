//! Chapter 12.

use experiment::statistics::wilson_interval;
use tensor_core::testing::assert_close;

use super::normal;
use crate::significance::{BASE, TRAINED, pass_at_k, questions_needed, sign_test};

/// Largest difference that is allowed to a share with three digits.
const THREE_DIGITS: f64 = 5e-4;

fn normal_density(x: f64) -> f64 {
    (-x * x / 2.).exp() / std::f64::consts::TAU.sqrt()
}

#[test]
fn wilsons_ends_are_the_shares_for_which_the_result_is_no_surprise() {
    let z2 = 1.959_964f64.powi(2);
    for (share, n) in [(0.582, 500), (0.05, 40), (1., 20)] {
        for end in wilson_interval(share, n) {
            let surprise = (share - end) * (share - end) - z2 * end * (1. - end) / n as f64;
            assert_close(surprise, 0., 1e-12);
        }
    }
    let half = |share| {
        let [low, high] = wilson_interval(share, 500);
        50. * (high - low)
    };
    assert_close([half(0.5), half(0.9), half(0.98)], [4.37, 2.64, 1.28], 2e-3);
    assert_close(wilson_interval(0.582, 500), [0.538, 0.624], THREE_DIGITS);
    assert_close(wilson_interval(0.93, 500), [0.904, 0.949], THREE_DIGITS);
    assert_close(wilson_interval(1., 20)[0], 0.839, THREE_DIGITS);
    assert_close(wilson_interval(0., 500)[1], 0.0076, 5e-5);
}

#[test]
fn comparisons_of_the_text() {
    assert_close([sign_test(11, 1), sign_test(30, 20)], [0.0063, 0.2026], 5e-5);
    assert_close([11. - 1., 30. - 20.], [475. - 465.; 2], 1e-12); // the same shares
    let errors: f64 = [0.93f64, 0.95].iter().map(|p| p * (1. - p) / 500.).sum();
    assert_close(0.02 / errors.sqrt(), 1.33, 5e-3);
    assert_close(wilson_interval(0.95, 500), [0.927, 0.966], THREE_DIGITS);
    assert_close(questions_needed(0.93, 0.95), 2209.5, 1e-3);
    assert_close(sign_test(3, 3), 1., 1e-12);
    // Of many questions the normal approximation: 99.5 / √1100 standard deviations and beyond.
    assert_close(sign_test(600, 500), 0.00282, 1e-5);
    assert_close(questions_needed(0.93, 0.94), 9536., 1e-4);
    assert_close((0.93f64 * 0.07 / 500.).sqrt(), 0.0114, 5e-5);
    assert_close((0.8f64 * 0.2 / 89.).sqrt(), 0.0424, 5e-5);
}

#[test]
fn the_best_of_several_is_too_high() {
    // E of the largest of k: ∫ x k Φ(x)ᵏ⁻¹ φ(x) dx.
    let expected = |k: i32| {
        let step = 1e-3;
        let (mut cdf, mut sum) = (0., 0.);
        for i in -8_000..8_000 {
            let x = (f64::from(i) + 0.5) * step;
            let density = normal_density(x) * step;
            sum += x * f64::from(k) * f64::powi(cdf + density / 2., k - 1) * density;
            cdf += density;
        }
        sum
    };
    assert_close([expected(6), expected(20)], [1.267, 1.867], THREE_DIGITS);
    assert_close(1.267 * (0.16f64 / 89.).sqrt(), 0.054, THREE_DIGITS);
}

/// Distribution of a normal number, by the midpoint rule.
fn normal_cdf(x: f64) -> f64 {
    const STEP: f64 = 1e-3;
    let n = ((x + 10.) / STEP).max(0.) as usize;
    (0..n).map(|i| normal_density(-10. + (i as f64 + 0.5) * STEP) * STEP).sum()
}

#[test]
fn four_of_five_true_differences_are_found() {
    for (a, b) in [(0.93, 0.95), (0.5, 0.6)] {
        let n = questions_needed(a, b);
        let standard_error = ((a * (1. - a) + b * (1. - b)) / n).sqrt();
        // The difference is at least 1.96 standard errors, in the right direction.
        assert_close(normal_cdf((b - a) / standard_error - 1.959_964), 0.8, 1e-3);
    }
    // Seeds: each method's mean of m has the variance s²/m.
    let seeds = |difference: f64| 2. * (1.96f64 + 0.84).powi(2) / (difference * difference);
    assert_close([seeds(1.), seeds(2.)], [15.7, 3.92], 5e-3);
    let standard_error = (2f64 / seeds(1.)).sqrt();
    assert_close(normal_cdf(1. / standard_error - 1.96), 0.8, 1e-3);
    assert_close(1.96 * (0.25f64 / 1e4).sqrt(), 0.98 / 1e4f64.sqrt(), 1e-12); // ± 1/√n
}

#[test]
fn the_variance_of_a_difference_on_the_same_questions() {
    let (a, b) = (normal(50, 1), normal(50, 2));
    let b: Vec<f64> = a.iter().zip(b).map(|(a, b)| 0.8 * a + 0.6 * b).collect();
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let covariance = |x: &[f64], y: &[f64]| {
        let (mean_x, mean_y) = (mean(x), mean(y));
        mean(&x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y)).collect::<Vec<_>>())
    };
    let difference: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
    let expected = covariance(&a, &a) + covariance(&b, &b) - 2. * covariance(&a, &b);
    assert_close(covariance(&difference, &difference), expected, 1e-12);
    assert!(expected < 0.5 * (covariance(&a, &a) + covariance(&b, &b)));
}

#[test]
fn errors_of_measured_shares() {
    assert_close(5.7 / 3f64.sqrt(), 3.3, 1e-2); // mean of three differences
    let [low, high] = wilson_interval(0.683, 500);
    assert_close((high - low) / 2., 0.041, THREE_DIGITS);
}

#[test]
fn pass_at_k_of_both_policies_crosses_between_2_and_4() {
    let gain = |k| pass_at_k(&TRAINED, k) - pass_at_k(&BASE, k);
    assert!(gain(2) > 0. && gain(4) < 0.);
    assert_close([pass_at_k(&BASE, 1), pass_at_k(&TRAINED, 1)], [0.25, 0.469], THREE_DIGITS);
    assert!(pass_at_k(&BASE, 128) > 0.999);
    assert_close(pass_at_k(&TRAINED, 128), 0.85, THREE_DIGITS);
    assert!(f64::powi(1. - TRAINED[3], 128) > 0.5); // the fourth is open more often than not
}
