use candle_core::{DType, Result, Tensor, Var};
use tensor_core::testing::{assert_close, assert_grad};
use tensor_core::{Init, Parameters, backward};

use super::{CPU, WIDTH, random};
use crate::config::{ExpertSelection, GateWeights, RouterConfig};
use crate::router::{Router, Routing, jitter};
use crate::top_k::top_k;

fn route(logits: &Tensor, k: usize, weights: GateWeights) -> Result<Routing> {
    let e = logits.dim(1)?;
    Routing::new(logits, &RouterConfig { gate_weights: weights, ..RouterConfig::new(e, k) }, None)
}

#[test]
fn the_k_best_come_best_first_and_of_equal_ones_the_first() {
    assert_eq!(top_k(&[0.1, 0.4, 0.2, 0.3], 4, 2), [1, 3]);
    assert_eq!(top_k(&[0.5, 0.5, 0.1, 0.1, 0.5, 0.5], 3, 2), [0, 1, 1, 2]);
    assert_eq!(top_k(&[f32::NAN, 1., 2.], 3, 2), [2, 1], "NaN is never the best");
    assert_eq!(top_k(&[f32::NAN; 3], 3, 3), [0, 1, 2], "no expert is chosen twice");
}

/// By hand: p = (e², e, 1, 1) / (e² + e + 2) for logits (2, 1, 0, 0).
#[test]
fn weights_are_the_softmax_over_all_experts_renormalised_or_not() -> Result<()> {
    let logits = Tensor::new(&[[2f64, 1., 0., 0.]], &CPU)?;
    let (one, two) = (1f64.exp(), 2f64.exp());
    let all = two + one + 2.;
    let raw = route(&logits, 2, GateWeights::Raw)?;
    assert_eq!(raw.selected_experts, [0, 1]);
    assert_close(&raw.gate_weights, &Tensor::new(&[[two / all, one / all]], &CPU)?, 1e-12)?;
    let mixtral = route(&logits, 2, GateWeights::Renormalized)?;
    let expected = Tensor::new(&[[two / (two + one), one / (two + one)]], &CPU)?;
    assert_close(&mixtral.gate_weights, &expected, 1e-12)
}

#[test]
fn renormalised_weights_of_a_token_add_up_to_one_and_raw_ones_to_less() -> Result<()> {
    let logits = random(0, (50, 6), DType::F64)?;
    for k in 1..6 {
        let sums = |weights| route(&logits, k, weights)?.gate_weights.sum(1)?.to_vec1::<f64>();
        assert!(sums(GateWeights::Renormalized)?.iter().all(|sum| (sum - 1.).abs() < 1e-12));
        assert!(sums(GateWeights::Raw)?.iter().all(|&sum| sum > 0. && sum < 1.));
        let raw = route(&logits, k, GateWeights::Raw)?.gate_weights;
        assert_close(
            &route(&logits, k, GateWeights::Scaled)?.gate_weights,
            &(raw * (6. / k as f64))?,
            1e-12,
        )?;
    }
    Ok(())
}

#[test]
fn the_gradient_flows_through_the_weights() -> Result<()> {
    let logits = random(1, (7, 5), DType::F64)?;
    for (k, weights) in
        [(1, GateWeights::Raw), (1, GateWeights::Scaled), (2, GateWeights::Renormalized)]
    {
        assert_grad(&logits, |logits| Ok(route(logits, k, weights)?.gate_weights), 1e-6)?;
    }
    Ok(())
}

/// Why the models of this part have other weights where a token has one expert.
#[test]
fn a_single_renormalised_weight_teaches_the_router_nothing() -> Result<()> {
    let logits = Var::from_tensor(&random(1, (7, 5), DType::F64)?)?;
    let routing = route(&logits, 1, GateWeights::Renormalized)?;
    assert_close(&routing.gate_weights, &Tensor::ones((7, 1), DType::F64, &CPU)?, 1e-12)?;
    let grads = backward(&routing.gate_weights.sum_all()?)?;
    assert_close(grads.get(&logits).expect("a gradient"), &logits.zeros_like()?, 1e-12)
}

/// The second expert has all of p, and a bias chooses two others: of the chosen ones each still has half.
#[test]
fn renormalised_weights_of_experts_without_a_share_of_p_are_numbers() -> Result<()> {
    let bias = Tensor::new(&[2f32, 0., 2., 0.], &CPU)?;
    for large in [5f32, 50., 90.] {
        let logits = Var::new(&[[0., large, 0., 0.]], &CPU)?;
        let routing = Routing::new(&logits, &RouterConfig::new(4, 2), Some(&bias))?;
        assert_eq!(routing.selected_experts, [0, 2]);
        assert_close(&routing.gate_weights, &Tensor::new(&[[0.5f32, 0.5]], &CPU)?, 1e-6)?;
        let grads = backward(&routing.gate_weights.narrow(1, 0, 1)?.sum_all()?)?;
        let expected = Tensor::new(&[[0.25f32, 0., -0.25, 0.]], &CPU)?;
        assert_close(grads.get(&logits).expect("a gradient"), &expected, 1e-6)?;
    }
    Ok(())
}

#[test]
fn routing_is_computed_in_32_bits_at_least() -> Result<()> {
    let logits = random(0, (3, 4), DType::BF16)?;
    assert_eq!(route(&logits, 2, GateWeights::Renormalized)?.gate_weights.dtype(), DType::F32);
    Ok(())
}

#[test]
fn one_expert_per_token_has_a_scaled_weight_and_several_add_up_to_one() {
    assert_eq!(RouterConfig::new(4, 1).gate_weights, GateWeights::Scaled);
    assert_eq!(RouterConfig::new(4, 2).gate_weights, GateWeights::Renormalized);
}

#[test]
fn a_bias_changes_the_choice_and_never_a_weight() -> Result<()> {
    let config = RouterConfig {
        expert_selection: ExpertSelection::Biased,
        gate_weights: GateWeights::Raw,
        ..RouterConfig::new(4, 1)
    };
    let mut parameters = Parameters::seeded(0, DType::F64, &CPU);
    let router = Router::new(parameters.root(), WIDTH, config, Init::Normal { std: 1. })?;
    let logits = random(2, (9, 4), DType::F64)?;
    let free = router.route(&logits)?;
    let bias = parameters.iter().find(|p| p.name.contains("bias")).expect("a bias");
    bias.var.set(&Tensor::new(&[0f64, 0., 5., 0.], &CPU)?)?;
    let pushed = router.route(&logits)?;
    assert!(free.selected_experts.iter().any(|&expert| expert != 2));
    assert_eq!(pushed.selected_experts, [2; 9]);
    assert_close(&pushed.probabilities, &free.probabilities, 0.)?;
    assert_close(&pushed.gate_weights, &free.probabilities.narrow(1, 2, 1)?, 0.)
}

#[test]
fn jitter_stays_within_its_bounds_and_is_the_same_for_the_same_input() -> Result<()> {
    let x = Tensor::ones((30, WIDTH), DType::F32, &CPU)?;
    let noisy = jitter(&x, 0.1, 0)?;
    let (low, high) = (noisy.min_all()?.to_scalar::<f32>()?, noisy.max_all()?.to_scalar::<f32>()?);
    assert!((0.9..0.93).contains(&low) && (1.07..=1.1).contains(&high), "{low} {high}");
    assert_close(&noisy, &jitter(&x, 0.1, 0)?, 0.)?;
    let other = jitter(&(&x * 1.001)?, 0.1, 0)?;
    assert!(
        (other - noisy)?.abs()?.max_all()?.to_scalar::<f32>()? > 0.05,
        "new numbers, new noise"
    );
    Ok(())
}

#[test]
fn numbers_of_experts_that_do_not_fit_are_refused() {
    for (e, k, text) in [
        (0, 0, "the number of experts is 0"),
        (4, 0, "0 experts per token of 4: must be from 1 to 4"),
        (4, 5, "5 experts per token of 4"),
        (0, 1, "the number of experts is 0"),
    ] {
        let error = RouterConfig::new(e, k).check().expect_err("refused").to_string();
        assert!(error.contains(text), "{error}");
    }
}
