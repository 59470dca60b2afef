//! Chapter 2.

use anyhow::Result;
use tensor_core::testing::assert_close;
use tensor_core::{AdamWConfig, MomentFormat, WeightDecay};
use tiny_gpt::GptConfig;
use tiny_gpt::adamw::{AdamMoments, adamw_update};

use super::{normal, tensor};
use crate::optimizer_paths::{CURVATURES, LR, height, momentum};
use crate::sampling;

const CONFIG: AdamWConfig = AdamWConfig {
    beta1: 0.9,
    beta2: 0.99,
    eps: 0.,
    weight_decay: 0.1,
    moments: MomentFormat::Full,
};

/// Weights after updates with `gradients`, one after the other, from `start`.
fn after(start: &[f64], gradients: &[Vec<f64>], lr: f64, decay: WeightDecay) -> Result<Vec<f64>> {
    let mut p = tensor(start)?;
    let zero = p.zeros_like()?;
    let mut moments = AdamMoments { first: zero.clone(), second: zero, updates: 0 };
    for gradient in gradients {
        (p, moments) = adamw_update(&p, &tensor(gradient)?, &moments, lr, decay, &CONFIG)?;
    }
    Ok(p.to_vec1()?)
}

#[test]
fn the_model_of_the_demo_has_the_parameters_of_the_table() {
    let embedding = 256 * 128 + 64 * 128;
    let feed_forward = 128 * 512 + 512 + 512 * 128 + 128;
    assert_eq!(feed_forward, 131_712);
    let block = 128 * 384 + 384 + 128 * 128 + 128 + feed_forward + 512;
    assert_eq!(embedding + 2 * block + 256, 437_760);
    assert_eq!(GptConfig::byte_level(64, 2, 4, 128).parameter_count(), 437_760.);
    assert_close(block as f64, 12. * 128. * 128., 0.01);
    assert_close(0.02 * 128f64.sqrt(), 0.23, 5e-3);
}

#[test]
fn equal_gradients_move_a_weight_by_the_learning_rate() -> Result<()> {
    let gradients = vec![vec![3., -0.01, 500.]; 7];
    let found = after(&[0.; 3], &gradients, 0.1, WeightDecay::No)?;
    assert_close(found, [-0.7, 0.7, -0.7], 1e-12);
    Ok(())
}

#[test]
fn the_first_step_on_noise_is_a_full_one_and_later_ones_are_not() -> Result<()> {
    // 2,000 weights at once
    let gradients: Vec<Vec<f64>> = (0..50).map(|seed| normal(2000, seed)).collect();
    let mean_step = |steps: usize| -> Result<f64> {
        let before = after(&[0.; 2000], &gradients[..steps - 1], 1., WeightDecay::No)?;
        let now = after(&[0.; 2000], &gradients[..steps], 1., WeightDecay::No)?;
        Ok(now.iter().zip(&before).map(|(a, b)| (a - b).abs()).sum::<f64>() / 2000.)
    };
    assert_close([mean_step(1)?, mean_step(10)?, mean_step(50)?], [1., 0.27, 0.18], 0.02);
    Ok(())
}

#[test]
fn the_scale_of_the_loss_does_not_change_adams_steps() -> Result<()> {
    let gradients: Vec<Vec<f64>> = (0..5).map(|seed| normal(4, seed)).collect();
    let larger: Vec<Vec<f64>> =
        gradients.iter().map(|g| g.iter().map(|g| 1000. * g).collect()).collect();
    let at = |gradients: &[Vec<f64>]| after(&[1.; 4], gradients, 0.1, WeightDecay::Yes);
    assert_close(at(&gradients)?, at(&larger)?, 1e-12);
    Ok(())
}

#[test]
fn uncorrected_first_steps_are_those_of_the_text() {
    assert_close(0.1 / 0.01f64.sqrt(), 1., 1e-12);
    assert_close(0.1 / 0.001f64.sqrt(), 3.2, 0.02);
}

#[test]
fn decay_outside_of_the_gradient_halves_an_idle_weight_in_log_2_over_lr_lambda_steps() -> Result<()>
{
    let steps = (2f64.ln() / (0.003 * 0.1)).round() as usize;
    assert_eq!(steps, 2310);
    // In part 2's update ε keeps 0/0 away; here the gradient is tiny instead, and so is its step.
    let (mut p, factor) = (1f64, 1. - 0.003 * 0.1);
    (0..steps).for_each(|_| p *= factor);
    assert_close(p, 0.5, 1e-3);
    let one = after(&[1.], &[vec![1.]], 0.003, WeightDecay::Yes)?;
    assert_close(one, [factor - 0.003], 1e-12);
    Ok(())
}

#[test]
fn decay_inside_of_adams_gradient_moves_by_the_learning_rate_whatever_lambda_is() -> Result<()> {
    for lambda in [0.001, 0.1, 10.] {
        let found = after(&[2.], &[vec![lambda * 2.]], 0.003, WeightDecay::No)?;
        assert_close(found, [2. - 0.003], 1e-12);
    }
    Ok(())
}

#[test]
fn gradient_descent_is_stable_below_2_over_the_largest_curvature() {
    let last = |lr: f64, beta: f64| height(*momentum(lr, beta).last().expect("points"));
    const { assert!(LR < 2. / CURVATURES[1]) };
    assert!(last(LR, 0.) < 0.01);
    assert!(last(0.041, 0.) > 1e3);
    assert_close(-1. / (1. - 2. / 50f64).ln(), 24.5, 1e-2); // "some 25 steps"
    // Equal steps add up to lr / (1 − β).
    assert_close((0..500).map(|i| 0.9f64.powi(i)).sum::<f64>(), 1. / (1. - 0.9), 1e-12);
    assert!(last(LR / 4., 0.9) < 0.1 * last(LR, 0.));
}

#[test]
fn top_p_of_the_figure_leaves_three_tokens() {
    let kept = sampling::probabilities(1., Some(0.8));
    assert!(kept[..3].iter().all(|p| *p > 0.) && kept[3..].iter().all(|p| *p == 0.));
    let first = [0.5, 1., 2.].map(|temperature| sampling::probabilities(temperature, None)[0]);
    assert!(first.is_sorted_by(|a, b| a > b));
}
