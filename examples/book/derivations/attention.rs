//! Chapter 1.

use anyhow::Result;
use attention::readable_heads::rotate_back_one_position;
use attention::sinusoidal_positions;
use candle_core::{DType, Device};
use tensor_core::testing::assert_close;

use super::{normal, softmax};
use crate::residual_path::{Wiring, measure as measure_depths};
use crate::softmax_width::measure;
use crate::{attention_steps, induction};

#[test]
fn the_head_of_the_example_reads_the_noun() {
    let trace = attention_steps::trace();
    let last: Vec<f64> = trace.weights.row(2).to_vec();
    assert_close(&last, [0.045, 0.909, 0.045], 5e-4);
    assert_close(&last, softmax(&[0., 3., 0.]), 1e-12);
    assert_close([3f64.exp(), 3f64.exp() + 2.], [20.1, 22.1], 5e-3);
    assert_close(trace.output.row(2).to_vec(), [0.045, 0.909, 0.045, 0.], 5e-4);
}

#[test]
fn a_dot_product_has_variance_d_and_a_scaled_one_variance_1() {
    for d in [2, 16, 64, 256] {
        let row = measure(d);
        assert_close(row.std, (d as f64).sqrt(), 0.03);
    }
    let [unscaled, scaled] = measure(64).largest;
    assert_close([unscaled, scaled], [0.88, 0.36], 5e-3);
}

#[test]
fn the_derivative_of_a_weight_by_its_own_score_is_p_times_1_minus_p() {
    for seed in 0..10 {
        let scores = normal(5, seed);
        let at = |shift: f64| {
            let mut scores = scores.clone();
            scores[0] += shift;
            softmax(&scores)[0]
        };
        let p = at(0.);
        assert_close((at(1e-5) - at(-1e-5)) / 2e-5, p * (1. - p), 1e-8);
    }
    assert_close([0.5 * 0.5, 0.99 * 0.01], [0.25, 0.01], 2e-4);
}

#[test]
fn one_position_back_is_a_rotation() -> Result<()> {
    let positions = sinusoidal_positions(50, 32, DType::F32, &Device::Cpu)?;
    let back = rotate_back_one_position(&positions)?;
    assert_close(back.narrow(0, 1, 49)?, positions.narrow(0, 0, 49)?, 1e-5);
    Ok(())
}

#[test]
fn an_induction_head_set_by_hand_completes_every_repeated_string() -> Result<()> {
    for seed in 0..100 {
        let tokens = induction::repeated_string(seed);
        let prediction = induction::predict(&tokens)?;
        assert_eq!(induction::accuracy(&tokens, &prediction), 1., "{tokens:?}");
    }
    Ok(())
}

#[test]
fn norms_keep_the_gradient_and_the_residual_path_keeps_the_tokens_apart() -> Result<()> {
    let ratio = |wiring| -> Result<f64> {
        let norms = measure_depths(wiring)?.gradient_norms;
        Ok(norms[0] / norms[norms.len() - 1])
    };
    for wiring in [Wiring::PreNorm, Wiring::PostNorm, Wiring::NormAlone] {
        let ratio = ratio(wiring)?;
        assert!((0.25..4.05).contains(&ratio), "{ratio}");
    }
    assert_close(ratio(Wiring::Plain)?, 0.002, 2e-4);
    let similarity = |wiring, block: usize| -> Result<f64> {
        Ok(measure_depths(wiring)?.similarities[block - 1])
    };
    assert!(similarity(Wiring::NormAlone, 2)? > 0.9);
    assert_close(similarity(Wiring::PreNorm, 12)?, 0.7, 0.03);
    assert!(similarity(Wiring::PostNorm, 12)? > 0.95);
    Ok(())
}
