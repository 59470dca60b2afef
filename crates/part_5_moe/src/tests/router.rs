use candle_core::{DType, Result, Tensor, Var};
use tensor_core::testing::{assert_close, assert_grad};
use tensor_core::{Init, Parameters, backward};

use super::{CPU, WIDTH, random};
use crate::config::{ExpertSelection, GateWeights, RouterConfig};
use crate::router::{Router, Routing, jitter, top_k};

fn route(logits: &Tensor, k: usize, weights: GateWeights) -> Result<Routing> {
    let e = logits.dim(1)?;
    Routing::new(logits, &RouterConfig { gate_weights: weights, ..RouterConfig::new(e, k) }, None)
}

#[test]
fn top_k_sorts_descending_and_prefers_the_first_of_equals() {
    assert_eq!(top_k(&[0.1, 0.4, 0.2, 0.3], 4, 2), [1, 3]);
    assert_eq!(top_k(&[0.5, 0.5, 0.1, 0.1, 0.5, 0.5], 3, 2), [0, 1, 1, 2]);
    assert_eq!(top_k(&[f32::NAN, 1., 2.], 3, 2), [2, 1], "NaN is never the best");
    assert_eq!(top_k(&[f32::NAN; 3], 3, 3), [0, 1, 2], "an expert is selected only once");
}

/// Computed by hand: p = (e², e, 1, 1) / (e² + e + 2) for logits (2, 1, 0, 0).
#[test]
fn gate_weights_are_the_softmax_over_all_experts_or_renormalized() -> Result<()> {
    let logits = Tensor::new(&[[2f64, 1., 0., 0.]], &CPU)?;
    let (one, two) = (1f64.exp(), 2f64.exp());
    let sum = two + one + 2.;
    let raw = route(&logits, 2, GateWeights::Raw)?;
    assert_eq!(raw.selected_experts, [0, 1]);
    assert_close(&raw.gate_weights, &Tensor::new(&[[two / sum, one / sum]], &CPU)?, 1e-12);
    let mixtral = route(&logits, 2, GateWeights::Renormalized)?;
    let expected = Tensor::new(&[[two / (two + one), one / (two + one)]], &CPU)?;
    assert_close(&mixtral.gate_weights, &expected, 1e-12);
    Ok(())
}

#[test]
fn renormalized_gate_weights_sum_to_one_and_raw_ones_to_less() -> Result<()> {
    let logits = random(0, (50, 6), DType::F64)?;
    for k in 1..6 {
        let sums = |weights| route(&logits, k, weights)?.gate_weights.sum(1)?.to_vec1::<f64>();
        sums(GateWeights::Renormalized)?.iter().for_each(|sum| assert_close(*sum, 1., 1e-12));
        assert!(sums(GateWeights::Raw)?.iter().all(|&sum| sum > 0. && sum < 1.));
        let raw = route(&logits, k, GateWeights::Raw)?.gate_weights;
        assert_close(
            &route(&logits, k, GateWeights::Scaled)?.gate_weights,
            &(raw * (6. / k as f64))?,
            1e-12,
        );
    }
    Ok(())
}

#[test]
fn the_gradient_flows_through_the_gate_weights() -> Result<()> {
    let logits = random(1, (7, 5), DType::F64)?;
    for (k, weights) in
        [(1, GateWeights::Raw), (1, GateWeights::Scaled), (2, GateWeights::Renormalized)]
    {
        assert_grad(&logits, |logits| Ok(route(logits, k, weights)?.gate_weights), 1e-6)?;
    }
    Ok(())
}

/// This is why models with one expert per token have scaled gate weights.
#[test]
fn one_renormalized_gate_weight_gives_the_router_zero_gradient() -> Result<()> {
    let logits = Var::from_tensor(&random(1, (7, 5), DType::F64)?)?;
    let routing = route(&logits, 1, GateWeights::Renormalized)?;
    assert_close(&routing.gate_weights, &Tensor::ones((7, 1), DType::F64, &CPU)?, 1e-12);
    let grads = backward(&routing.gate_weights.sum_all()?)?;
    assert_close(grads.get(&logits).expect("a gradient"), &logits.zeros_like()?, 1e-12);
    Ok(())
}

/// The second expert has nearly all of p, but a bias selects two others with equal p, so that each
/// has a gate weight of one half.
#[test]
fn renormalized_gate_weights_are_finite_for_a_vanishing_p() -> Result<()> {
    let bias = Tensor::new(&[2f32, 0., 2., 0.], &CPU)?;
    for large in [5f32, 50., 90.] {
        let logits = Var::new(&[[0., large, 0., 0.]], &CPU)?;
        let routing = Routing::new(&logits, &RouterConfig::new(4, 2), Some(&bias))?;
        assert_eq!(routing.selected_experts, [0, 2]);
        assert_close(&routing.gate_weights, &Tensor::new(&[[0.5f32, 0.5]], &CPU)?, 1e-6);
        let grads = backward(&routing.gate_weights.narrow(1, 0, 1)?.sum_all()?)?;
        let expected = Tensor::new(&[[0.25f32, 0., -0.25, 0.]], &CPU)?;
        assert_close(grads.get(&logits).expect("a gradient"), &expected, 1e-6);
    }
    Ok(())
}

#[test]
fn routing_is_computed_in_32_bits_or_more() -> Result<()> {
    let logits = random(0, (3, 4), DType::BF16)?;
    assert_eq!(route(&logits, 2, GateWeights::Renormalized)?.gate_weights.dtype(), DType::F32);
    Ok(())
}

#[test]
fn gate_weights_default_to_scaled_for_one_expert_per_token() {
    assert_eq!(RouterConfig::new(4, 1).gate_weights, GateWeights::Scaled);
    assert_eq!(RouterConfig::new(4, 2).gate_weights, GateWeights::Renormalized);
}

#[test]
fn a_selection_bias_changes_the_selection_but_not_the_gate_weights() -> Result<()> {
    let config = RouterConfig {
        expert_selection: ExpertSelection::Biased,
        gate_weights: GateWeights::Raw,
        ..RouterConfig::new(4, 1)
    };
    let mut parameters = Parameters::seeded(0, DType::F64, &CPU);
    let router = Router::new(parameters.root(), WIDTH, config, Init::Normal { std: 1. })?;
    let logits = random(2, (9, 4), DType::F64)?;
    let unbiased = router.route(&logits)?;
    let bias = parameters.iter().find(|p| p.name.contains("bias")).expect("a bias");
    bias.var.set(&Tensor::new(&[0f64, 0., 5., 0.], &CPU)?)?;
    let biased = router.route(&logits)?;
    assert!(unbiased.selected_experts.iter().any(|&expert| expert != 2));
    assert_eq!(biased.selected_experts, [2; 9]);
    assert_close(&biased.probabilities, &unbiased.probabilities, 0.);
    assert_close(&biased.gate_weights, &unbiased.probabilities.narrow(1, 2, 1)?, 0.);
    Ok(())
}

#[test]
fn jitter_is_bounded_and_the_same_for_the_same_input() -> Result<()> {
    let x = Tensor::ones((30, WIDTH), DType::F32, &CPU)?;
    let noisy = jitter(&x, 0.1, 0)?;
    let (low, high) = (noisy.min_all()?.to_scalar::<f32>()?, noisy.max_all()?.to_scalar::<f32>()?);
    assert!((0.9..0.93).contains(&low) && (1.07..=1.1).contains(&high), "{low} {high}");
    assert_close(&noisy, &jitter(&x, 0.1, 0)?, 0.);
    let other = jitter(&(&x * 1.001)?, 0.1, 0)?;
    assert!(
        (other - noisy)?.abs()?.max_all()?.to_scalar::<f32>()? > 0.05,
        "another input has other noise"
    );
    Ok(())
}

#[test]
fn invalid_numbers_of_experts_are_refused() {
    for (e, k, text) in [
        (0, 0, "the number of experts must be at least 1"),
        (4, 0, "0 experts per token of 4: must be from 1 to 4"),
        (4, 5, "5 experts per token of 4"),
        (0, 1, "the number of experts must be at least 1"),
    ] {
        let error = RouterConfig::new(e, k).check().expect_err("refused").to_string();
        assert!(error.contains(text), "{error}");
    }
}
