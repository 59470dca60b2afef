use candle_core::{DType, Module, Result, Tensor, Var};
use model_io::TensorNames;
use model_io::config::Mlp;
use modern::FeedForwardLayer;
use modern::swiglu::FeedForward;
use tensor_core::testing::{assert_close, assert_grad, assert_gradients_flow};
use tensor_core::{Init, Parameters, backward};

use super::{CPU, GELU, SWIGLU, WIDTH, layer, random, routers};
use crate::MoeLayer;
use crate::config::{RouterConfig, RouterTrainingConfig};
use crate::hybrid::Hybrid;

const UNLIMITED: RouterTrainingConfig = RouterTrainingConfig { jitter: 0., capacity_factor: None };

/// Output of `f`, and the gradients of a random projection of it for all parameters and x.
fn value_and_gradients(
    x: &Tensor,
    parameters: &Parameters,
    f: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Vec<Tensor>> {
    let x = Var::from_tensor(x)?;
    let y = f(&x)?;
    let grads = backward(&(&y * random(77, y.shape(), y.dtype())?)?.sum_all()?)?;
    let variables = parameters.iter().map(|p| p.var.as_tensor()).chain([x.as_tensor()]);
    let zero = |v: &Tensor| v.zeros_like();
    let grads = variables.map(|v| grads.get(v).map_or_else(|| zero(v), |grad| Ok(grad.clone())));
    let mut all = vec![y.detach()];
    all.extend(grads.collect::<Result<Vec<_>>>()?);
    Ok(all)
}

#[test]
fn the_grouped_forward_equals_the_reference_forward() -> Result<()> {
    let x = random(0, (40, WIDTH), DType::F64)?;
    let limited = RouterTrainingConfig { capacity_factor: Some(0.8), ..UNLIMITED };
    for router in routers() {
        for (mlp, router_training) in
            [(SWIGLU, UNLIMITED), (GELU, UNLIMITED), (SWIGLU, limited), (GELU, limited)]
        {
            let (layer, parameters) = layer(router, mlp, router_training, DType::F64)?;
            let forward_reference = |x: &Tensor| layer.forward_reference(x, &layer.route(x)?);
            let reference = value_and_gradients(&x, &parameters, forward_reference)?;
            let forward_grouped = |x: &Tensor| layer.forward_grouped(x, &layer.route(x)?);
            let grouped = value_and_gradients(&x, &parameters, forward_grouped)?;
            println!("{router:?} {mlp:?} {router_training:?}");
            for (grouped, reference) in grouped.iter().zip(&reference) {
                assert_close(grouped, reference, 1e-10);
            }
        }
    }
    Ok(())
}

#[test]
fn the_gradient_matches_finite_differences() -> Result<()> {
    let x = random(0, (9, WIDTH), DType::F64)?;
    for router in routers() {
        let (layer, _) = layer(router, SWIGLU, UNLIMITED, DType::F64)?;
        assert_grad(&x, |x| layer.forward_grouped(x, &layer.route(x)?), 1e-6)?;
    }
    Ok(())
}

#[test]
fn one_expert_equals_the_dense_layer() -> Result<()> {
    let x = random(0, (2, 8, WIDTH), DType::F64)?;
    for mlp in [SWIGLU, GELU] {
        let (layer, parameters) = layer(RouterConfig::new(1, 1), mlp, UNLIMITED, DType::F64)?;
        let mut dense = Parameters::seeded(0, DType::F64, &CPU);
        let init = Init::Normal { std: 1. };
        let feed_forward =
            FeedForward::new(dense.root(), WIDTH, mlp, &TensorNames::LLAMA, [init, init])?;
        let names = match mlp {
            Mlp::SwiGlu { .. } => vec![("gate_proj", "w1"), ("up_proj", "w3"), ("down_proj", "w2")],
            _ => vec![("fc", "fc"), ("proj", "proj")],
        };
        for parameter in dense.iter() {
            let (name, kind) = parameter.name.split_once('.').expect("a layer's name");
            let (_, expert) = names.iter().find(|(dense, _)| *dense == name).expect("known");
            let expert = format!("experts.0.{expert}.{kind}");
            let expert = parameters.iter().find(|p| p.name == expert).expect("the same layer");
            parameter.var.set(expert.var.as_tensor())?;
        }
        let y = FeedForwardLayer::forward_with_aux_outputs(&layer, &x, &mut Vec::new())?;
        assert_close(&y, &feed_forward.forward(&x)?, 1e-12);
    }
    Ok(())
}

#[test]
fn permuting_the_experts_does_not_change_the_output() -> Result<()> {
    let x = random(0, (30, WIDTH), DType::F64)?;
    let order = [2u32, 0, 3, 1];
    for router in [RouterConfig::new(4, 1), RouterConfig::new(4, 2)] {
        let (layer_a, a) = layer(router, SWIGLU, UNLIMITED, DType::F64)?;
        let (layer_b, b) = layer(router, SWIGLU, UNLIMITED, DType::F64)?;
        for parameter in b.iter() {
            let find = |name: &str| a.iter().find(|p| p.name == name).expect("the same names");
            match parameter.name.strip_prefix("experts.") {
                None => {
                    let rows = Tensor::new(&order, &CPU)?;
                    let gate = find("gate.weight").var.index_select(&rows, 0)?;
                    parameter.var.set(&gate)?;
                }
                Some(rest) => {
                    let (e, rest) = rest.split_at(1);
                    let from = order[e.parse::<usize>().expect("a number")];
                    parameter.var.set(find(&format!("experts.{from}{rest}")).var.as_tensor())?;
                }
            }
        }
        let (routing_a, routing_b) = (layer_a.route(&x)?, layer_b.route(&x)?);
        assert_ne!(routing_a.selected_experts, routing_b.selected_experts);
        assert_close(
            &layer_a.forward_grouped(&x, &routing_a)?,
            &layer_b.forward_grouped(&x, &routing_b)?,
            1e-12,
        );
    }
    Ok(())
}

#[test]
fn every_expert_and_the_router_get_a_gradient_from_a_batch() -> Result<()> {
    let x = random(0, (64, WIDTH), DType::F64)?;
    for router in routers().into_iter().filter(|router| router.n_expert > 1) {
        for mlp in [SWIGLU, GELU] {
            let (layer, parameters) = layer(router, mlp, UNLIMITED, DType::F64)?;
            let y = layer.forward_grouped(&x, &layer.route(&x)?)?;
            let grads = backward(&y.sqr()?.sum_all()?)?;
            assert_gradients_flow(&parameters, &grads)?;
        }
    }
    Ok(())
}

#[test]
fn an_expert_without_tokens_causes_neither_error_nor_nan() -> Result<()> {
    let x = random(0, (12, WIDTH), DType::F32)?;
    let (layer, parameters) = layer(RouterConfig::new(4, 1), GELU, UNLIMITED, DType::F32)?;
    // With zero router weights all experts have the same p, and the first one is selected.
    parameters.iter().next().expect("the gate").var.zero_set()?;
    let routing = layer.route(&x)?;
    assert_eq!(routing.selected_experts, [0; 12]);
    let forward = |x: &Tensor| layer.forward_grouped(x, &layer.route(x)?);
    for (i, tensor) in value_and_gradients(&x, &parameters, forward)?.iter().enumerate() {
        let sum = tensor.abs()?.sum_all()?.to_scalar::<f32>()?;
        assert!(sum.is_finite(), "{i}");
    }
    Ok(())
}

#[test]
fn jitter_affects_the_router_but_not_the_experts() -> Result<()> {
    let x = random(0, (1, 40, WIDTH), DType::F64)?;
    let router = RouterConfig::new(4, 1);
    let (unlimited, _) = layer(router, SWIGLU, UNLIMITED, DType::F64)?;
    let (jittered, _) =
        layer(router, SWIGLU, RouterTrainingConfig { jitter: 0.3, ..UNLIMITED }, DType::F64)?;
    let flat = x.squeeze(0)?;
    let routing = jittered.route(&flat)?;
    let difference = (&routing.logits - unlimited.route(&flat)?.logits)?.abs()?;
    assert!(difference.max_all()?.to_scalar::<f64>()? > 0.1);
    let y = FeedForwardLayer::forward_with_aux_outputs(&jittered, &x, &mut Vec::new())?;
    assert_close(&y.squeeze(0)?, &unlimited.forward_grouped(&flat, &routing)?, 1e-12);
    Ok(())
}

#[test]
fn dropped_tokens_get_zero_and_the_others_are_unchanged() -> Result<()> {
    let x = random(0, (40, WIDTH), DType::F64)?;
    let router = RouterConfig::new(4, 1);
    let (unlimited, _) = layer(router, SWIGLU, UNLIMITED, DType::F64)?;
    let limited = RouterTrainingConfig { capacity_factor: Some(0.5), ..UNLIMITED };
    let (limited, _) = layer(router, SWIGLU, limited, DType::F64)?;
    let routing = unlimited.route(&x)?;
    let dispatch = limited.dispatch(&routing)?;
    assert!(dispatch.n_dropped() >= 20, "{} of 40", dispatch.n_dropped());
    let full = unlimited.forward_grouped(&x, &routing)?;
    let dropped = limited.forward_grouped(&x, &routing)?;
    for (token, row_of_token) in dispatch.row_of_choice.iter().enumerate() {
        let row = |y: &Tensor| y.narrow(0, token, 1);
        match row_of_token {
            Some(_) => assert_close(&row(&dropped)?, &row(&full)?, 1e-12),
            None => assert_close(&row(&dropped)?, &row(&full)?.zeros_like()?, 0.),
        }
    }
    Ok(())
}

#[test]
fn a_hybrid_interpolates_between_the_experts_and_the_dense_layer() -> Result<()> {
    let x = random(0, (2, 8, WIDTH), DType::F64)?;
    let init = Init::Normal { std: 1. };
    let (experts, _) = layer(RouterConfig::new(3, 2), SWIGLU, UNLIMITED, DType::F64)?;
    let mut parameters = Parameters::seeded(0, DType::F64, &CPU);
    let dense =
        FeedForward::new(parameters.root(), WIDTH, GELU, &TensorNames::LLAMA, [init, init])?;
    let hybrid = |dense_weight| {
        let hybrid = Hybrid { dense: dense.clone(), experts: experts.clone(), dense_weight };
        hybrid.forward_with_aux_outputs(&x, &mut Vec::new())
    };
    let experts_only = FeedForwardLayer::forward_with_aux_outputs(&experts, &x, &mut Vec::new())?;
    assert_close(&hybrid(1.)?, &dense.forward(&x)?, 1e-12);
    assert_close(&hybrid(0.)?, &experts_only, 1e-12);
    let expected = ((dense.forward(&x)? * 0.3)? + (experts_only * 0.7)?)?;
    assert_close(&hybrid(0.3)?, &expected, 1e-12);
    Ok(())
}

#[test]
fn auxiliary_outputs_hold_logits_probabilities_and_experts() -> Result<()> {
    let x = random(0, (2, 8, WIDTH), DType::F64)?;
    let (layer, _): (MoeLayer, _) = layer(RouterConfig::new(4, 2), SWIGLU, UNLIMITED, DType::F64)?;
    let mut aux_outputs = Vec::new();
    FeedForwardLayer::forward_with_aux_outputs(&layer, &x, &mut aux_outputs)?;
    let shapes: Vec<&[usize]> = aux_outputs.iter().map(Tensor::dims).collect();
    assert_eq!(shapes, [&[16, 4][..], &[16, 4], &[16, 2]]);
    assert_close(&aux_outputs[1].sum(1)?, &Tensor::ones(16, DType::F64, &CPU)?, 1e-12);
    Ok(())
}

#[test]
fn a_capacity_does_not_hide_an_overload_from_the_losses_and_the_load() -> Result<()> {
    let x = random(0, (1, 40, WIDTH), DType::F64)?;
    let aux_outputs = |capacity_factor| -> Result<Vec<Tensor>> {
        let training = RouterTrainingConfig { capacity_factor, ..UNLIMITED };
        let (layer, _) = layer(RouterConfig::new(4, 1), SWIGLU, training, DType::F64)?;
        let mut aux_outputs = Vec::new();
        FeedForwardLayer::forward_with_aux_outputs(&layer, &x, &mut aux_outputs)?;
        Ok(aux_outputs)
    };
    for (limited, unlimited) in aux_outputs(Some(0.5))?.iter().zip(&aux_outputs(None)?) {
        assert_close(limited, unlimited, 0.);
    }
    Ok(())
}
