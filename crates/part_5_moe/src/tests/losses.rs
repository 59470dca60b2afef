use candle_core::{DType, Result, Tensor, Var};
use serde::Deserialize;
use tensor_core::backward;
use tensor_core::ops::softmax;
use tensor_core::testing::{assert_close, assert_grad};

use super::{CPU, golden, random};
use crate::auxiliary_losses::{load_balancing_loss, router_z_loss};
use crate::router::top_k;

fn scalar(x: &Tensor) -> Result<f64> {
    x.to_dtype(DType::F64)?.to_scalar()
}

/// Router probabilities, and the top `k` experts of each row.
fn route(logits: &Tensor, k: usize) -> Result<(Tensor, Vec<u32>)> {
    let p = softmax(logits)?;
    let flat: Vec<f32> = p.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    let experts = top_k(&flat, logits.dim(1)?, k);
    Ok((p, experts))
}

#[derive(Deserialize)]
struct Case {
    top_k: usize,
    logits: Vec<Vec<f64>>,
    real: Vec<bool>,
    load_balancing_loss_times_k: f64,
    gradient_times_k: Vec<Vec<f64>>,
    router_z_loss: f64,
}

/// transformers divides the counts by N, not by N K: see scripts/golden_mixtral.py. One case has
/// padding.
#[test]
fn auxiliary_losses_match_transformers_up_to_the_factor_k() -> anyhow::Result<()> {
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(golden("losses.json"))?)?;
    for case in cases {
        let logits = Var::from_tensor(&Tensor::new(case.logits, &CPU)?)?;
        let (p, experts) = route(&logits, case.top_k)?;
        let mask = Some(&case.real[..]);
        let loss = (load_balancing_loss(&p, &experts, mask)? * case.top_k as f64)?;
        let expected = case.load_balancing_loss_times_k;
        assert_close(scalar(&loss)?, expected, 1e-5);
        let grads = backward(&loss)?;
        let expected = Tensor::new(case.gradient_times_k, &CPU)?;
        assert_close(grads.get(&logits).expect("a gradient"), &expected, 1e-6);
        let z = scalar(&router_z_loss(&logits, mask)?)?;
        assert_close(z, case.router_z_loss, 1e-5);
    }
    Ok(())
}

#[test]
fn the_loss_is_one_for_a_balanced_load_and_e_for_a_collapsed_one() -> Result<()> {
    for (e, k) in [(4, 1), (4, 2), (6, 3)] {
        let uniform = Tensor::full(1. / e as f64, (e, e), &CPU)?;
        let experts: Vec<u32> =
            (0..e).flat_map(|n| (0..k).map(move |j| ((n + j) % e) as u32)).collect();
        let loss = scalar(&load_balancing_loss(&uniform, &experts, None)?)?;
        assert_close(loss, 1., 1e-12);
    }
    for e in [2usize, 4, 8] {
        let row: Vec<f64> = (0..e).map(|i| if i == 0 { 1. } else { 0. }).collect();
        let collapsed = Tensor::new(vec![row; 5], &CPU)?;
        let loss = scalar(&load_balancing_loss(&collapsed, &[0; 5], None)?)?;
        assert_close(loss, e as f64, 1e-12);
    }
    Ok(())
}

/// Logits of (5, 0, 0, 0) route all tokens to expert 0, with p = e⁵ / (e⁵ + 3): 4 p = 3.9207.
#[test]
fn the_loss_matches_a_worked_example() -> Result<()> {
    let (p, experts) = route(&Tensor::new(vec![vec![5f64, 0., 0., 0.]; 32], &CPU)?, 1)?;
    let expected = 4. * 5f64.exp() / (5f64.exp() + 3.);
    assert_close(expected, 3.9207, 1e-4);
    assert_close(scalar(&load_balancing_loss(&p, &experts, None)?)?, expected, 1e-12);
    Ok(())
}

/// P includes the probabilities of unselected experts: with those of the selected ones alone, it
/// would sum to less than 1 for K = 1.
#[test]
fn probabilities_of_unselected_experts_get_a_gradient() -> Result<()> {
    let p = Var::from_tensor(&softmax(&random(0, (20, 4), DType::F64)?)?)?;
    let flat: Vec<f64> = p.flatten_all()?.to_vec1()?;
    let flat: Vec<f32> = flat.into_iter().map(|p| p as f32).collect();
    let experts = top_k(&flat, 4, 1);
    let grads = backward(&load_balancing_loss(&p, &experts, None)?)?;
    let grad = grads.get(&p).expect("a gradient").to_vec2::<f64>()?;
    // ∂/∂p_ne = E f_e / N, the same for every token, whichever expert it selected.
    assert!(grad.iter().all(|row| row == &grad[0]) && grad[0].iter().all(|&g| g > 0.));
    Ok(())
}

#[test]
fn padding_tokens_do_not_affect_the_losses() -> Result<()> {
    let logits = random(0, (12, 4), DType::F64)?;
    let noise = random(1, (5, 4), DType::F64)?;
    let padded = Tensor::cat(&[&logits, &(noise * 9.)?], 0)?;
    let mask: Vec<bool> = (0..17).map(|n| n < 12).collect();
    let ((p, experts), (padded_p, padded_experts)) = (route(&logits, 2)?, route(&padded, 2)?);
    let expected = load_balancing_loss(&p, &experts, None)?;
    assert_close(&load_balancing_loss(&padded_p, &padded_experts, Some(&mask))?, &expected, 1e-12);
    assert_close(&router_z_loss(&padded, Some(&mask))?, &router_z_loss(&logits, None)?, 1e-12);
    let padding_only = load_balancing_loss(&p, &experts, Some(&[false; 12]))?;
    assert_eq!(scalar(&padding_only)?, 0., "padding alone gives neither an error nor NaN");
    Ok(())
}

/// Two layers route all tokens to one expert each, but to different ones: pooled, they appear
/// balanced.
#[test]
fn layers_that_collapse_to_different_experts_do_not_cancel() -> Result<()> {
    let layer = |logits: [f64; 2]| -> Result<f64> {
        let (p, experts) = route(&Tensor::new(vec![logits.to_vec(); 8], &CPU)?, 1)?;
        scalar(&load_balancing_loss(&p, &experts, None)?)
    };
    let mean = (layer([9., 0.])? + layer([0., 9.])?) / 2.;
    let both: Vec<Vec<f64>> =
        (0..16).map(|n| if n < 8 { vec![9., 0.] } else { vec![0., 9.] }).collect();
    let (p, experts) = route(&Tensor::new(both, &CPU)?, 1)?;
    let pooled = scalar(&load_balancing_loss(&p, &experts, None)?)?;
    assert!(mean > 1.99 && (pooled - 1.).abs() < 1e-9, "{mean} {pooled}");
    Ok(())
}

#[test]
fn gradients_of_both_losses_match_finite_differences() -> Result<()> {
    let logits = random(2, (6, 3), DType::F64)?;
    // The selection is fixed, since it is not differentiable.
    let (_, experts) = route(&logits, 2)?;
    assert_grad(&logits, |l| load_balancing_loss(&softmax(l)?, &experts, None), 1e-6)?;
    assert_grad(&logits, |l| router_z_loss(l, None), 1e-6)
}

#[test]
fn the_z_loss_is_finite_for_huge_logits_and_log_e_squared_for_zeros() -> Result<()> {
    let huge = Tensor::new(&[[1e4f32, -1e4, 3.]], &CPU)?;
    assert_close(scalar(&router_z_loss(&huge, None)?)?, 1e8, 1e-8);
    let zeros = Tensor::zeros((3, 4), DType::F64, &CPU)?;
    assert_close(scalar(&router_z_loss(&zeros, None)?)?, 4f64.ln().powi(2), 1e-12);
    Ok(())
}
