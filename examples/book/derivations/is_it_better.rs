//! Chapter 12.

use experiment::statistics::wilson_interval;
use tensor_core::testing::assert_close;

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

#[test]
fn pass_at_k_of_both_policies_crosses_between_2_and_4() {
    let gain = |k| pass_at_k(&TRAINED, k) - pass_at_k(&BASE, k);
    assert!(gain(2) > 0. && gain(4) < 0.);
    assert_close([pass_at_k(&BASE, 1), pass_at_k(&TRAINED, 1)], [0.25, 0.469], THREE_DIGITS);
    assert!(pass_at_k(&BASE, 128) > 0.999 && pass_at_k(&TRAINED, 128) < 0.9);
}
