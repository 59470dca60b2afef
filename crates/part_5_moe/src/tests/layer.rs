use candle_core::{DType, Result, Tensor, Var};
use modern::FeedForwardLayer;
use modern::config::Mlp;
use modern::swiglu::FeedForward;
use tensor_core::testing::{assert_close, assert_grad, assert_gradients_flow};
use tensor_core::{Init, Parameters, backward};

use super::{CPU, GELU, SWIGLU, WIDTH, layer, random, routers};
use crate::MoeLayer;
use crate::config::{RouterConfig, RouterTrainingConfig};
use crate::hybrid::Hybrid;

const FREE: RouterTrainingConfig = RouterTrainingConfig { jitter: 0., capacity_factor: None };

/// Value and gradients of all parameters and of x, weighted unevenly.
fn outcome(
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
fn sorted_by_expert_gives_what_one_expert_after_the_other_does() -> Result<()> {
    let x = random(0, (40, WIDTH), DType::F64)?;
    let tight = RouterTrainingConfig { capacity_factor: Some(0.8), ..FREE };
    for router in routers() {
        for (mlp, strain) in [(SWIGLU, FREE), (GELU, FREE), (SWIGLU, tight), (GELU, tight)] {
            let (layer, parameters) = layer(router, mlp, strain, DType::F64)?;
            let one = outcome(&x, &parameters, |x| layer.forward_reference(x, &layer.route(x)?))?;
            let all = outcome(&x, &parameters, |x| layer.forward_grouped(x, &layer.route(x)?))?;
            println!("{router:?} {mlp:?} {strain:?}");
            for (all, one) in all.iter().zip(&one) {
                assert_close(all, one, 1e-10)?;
            }
        }
    }
    Ok(())
}

#[test]
fn the_gradient_is_that_of_finite_differences() -> Result<()> {
    let x = random(0, (9, WIDTH), DType::F64)?;
    for router in routers() {
        let (layer, _) = layer(router, SWIGLU, FREE, DType::F64)?;
        assert_grad(&x, |x| layer.forward_grouped(x, &layer.route(x)?), 1e-6)?;
    }
    Ok(())
}

#[test]
fn a_single_expert_is_the_dense_layer() -> Result<()> {
    let x = random(0, (2, 8, WIDTH), DType::F64)?;
    for mlp in [SWIGLU, GELU] {
        let (layer, parameters) = layer(RouterConfig::new(1, 1), mlp, FREE, DType::F64)?;
        let mut dense = Parameters::seeded(0, DType::F64, &CPU);
        let init = Init::Normal { std: 1. };
        let feed_forward = FeedForward::new(dense.root(), WIDTH, mlp, init, init)?;
        let names = match mlp {
            Mlp::SwiGlu { .. } => vec![("gate_proj", "w1"), ("up_proj", "w3"), ("down_proj", "w2")],
            Mlp::Gelu { .. } => vec![("fc", "fc"), ("proj", "proj")],
        };
        for parameter in dense.iter() {
            let (name, kind) = parameter.name.split_once('.').expect("a layer's name");
            let (_, ours) = names.iter().find(|(theirs, _)| *theirs == name).expect("known");
            let ours = format!("experts.0.{ours}.{kind}");
            let ours = parameters.iter().find(|p| p.name == ours).expect("the same layer");
            parameter.var.set(ours.var.as_tensor())?;
        }
        let y = FeedForwardLayer::forward(&layer, &x, &mut Vec::new())?;
        assert_close(&y, &feed_forward.forward(&x)?, 1e-12)?;
    }
    Ok(())
}

#[test]
fn the_order_of_the_experts_does_not_matter() -> Result<()> {
    let x = random(0, (30, WIDTH), DType::F64)?;
    let order = [2u32, 0, 3, 1];
    for router in [RouterConfig::new(4, 1), RouterConfig::new(4, 2)] {
        let (layer_a, a) = layer(router, SWIGLU, FREE, DType::F64)?;
        let (layer_b, b) = layer(router, SWIGLU, FREE, DType::F64)?;
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
        let (from_a, from_b) = (layer_a.route(&x)?, layer_b.route(&x)?);
        assert_ne!(from_a.selected_experts, from_b.selected_experts);
        assert_close(
            &layer_a.forward_grouped(&x, &from_a)?,
            &layer_b.forward_grouped(&x, &from_b)?,
            1e-12,
        )?;
    }
    Ok(())
}

#[test]
fn every_expert_and_the_router_learn_from_a_batch() -> Result<()> {
    let x = random(0, (64, WIDTH), DType::F64)?;
    for router in routers().into_iter().filter(|router| router.n_expert > 1) {
        for mlp in [SWIGLU, GELU] {
            let (layer, parameters) = layer(router, mlp, FREE, DType::F64)?;
            let y = layer.forward_grouped(&x, &layer.route(&x)?)?;
            let grads = backward(&y.sqr()?.sum_all()?)?;
            assert_gradients_flow(&parameters, &grads)?;
        }
    }
    Ok(())
}

#[test]
fn an_expert_that_gets_nobody_is_no_error_and_no_nan() -> Result<()> {
    let x = random(0, (12, WIDTH), DType::F32)?;
    let (layer, parameters) = layer(RouterConfig::new(4, 1), GELU, FREE, DType::F32)?;
    // Without a gate all experts are equal, and the first is chosen.
    parameters.iter().next().expect("the gate").var.zero_set()?;
    let routing = layer.route(&x)?;
    assert_eq!(routing.selected_experts, [0; 12]);
    for (i, tensor) in
        outcome(&x, &parameters, |x| layer.forward_grouped(x, &layer.route(x)?))?.iter().enumerate()
    {
        let sum = tensor.abs()?.sum_all()?.to_scalar::<f32>()?;
        assert!(sum.is_finite(), "{i}");
    }
    Ok(())
}

#[test]
fn jitter_reaches_the_router_and_no_expert() -> Result<()> {
    let x = random(0, (1, 40, WIDTH), DType::F64)?;
    let router = RouterConfig::new(4, 1);
    let (free, _) = layer(router, SWIGLU, FREE, DType::F64)?;
    let (jittered, _) =
        layer(router, SWIGLU, RouterTrainingConfig { jitter: 0.3, ..FREE }, DType::F64)?;
    let flat = x.squeeze(0)?;
    let routing = jittered.route(&flat)?;
    let moved = (&routing.logits - free.route(&flat)?.logits)?.abs()?;
    assert!(moved.max_all()?.to_scalar::<f64>()? > 0.1);
    let y = FeedForwardLayer::forward(&jittered, &x, &mut Vec::new())?;
    assert_close(&y.squeeze(0)?, &free.forward_grouped(&flat, &routing)?, 1e-12)
}

#[test]
fn what_was_dropped_adds_nothing_and_the_rest_is_as_it_was() -> Result<()> {
    let x = random(0, (40, WIDTH), DType::F64)?;
    let router = RouterConfig::new(4, 1);
    let (free, _) = layer(router, SWIGLU, FREE, DType::F64)?;
    let tight = RouterTrainingConfig { capacity_factor: Some(0.5), ..FREE };
    let (tight, _) = layer(router, SWIGLU, tight, DType::F64)?;
    let routing = free.route(&x)?;
    let plan = tight.dispatch(&routing)?;
    assert!(plan.n_dropped() >= 20, "{} of 40", plan.n_dropped());
    let (all, some) = (free.forward_grouped(&x, &routing)?, tight.forward_grouped(&x, &routing)?);
    for (token, position) in plan.row_of_choice.iter().enumerate() {
        let row = |y: &Tensor| y.narrow(0, token, 1);
        match position {
            Some(_) => assert_close(&row(&some)?, &row(&all)?, 1e-12)?,
            None => assert_close(&row(&some)?, &row(&all)?.zeros_like()?, 0.)?,
        }
    }
    Ok(())
}

#[test]
fn a_hybrid_is_the_dense_layer_at_one_the_experts_at_zero_and_between_them_elsewhere() -> Result<()>
{
    let x = random(0, (2, 8, WIDTH), DType::F64)?;
    let init = Init::Normal { std: 1. };
    let (experts, _) = layer(RouterConfig::new(3, 2), SWIGLU, FREE, DType::F64)?;
    let mut parameters = Parameters::seeded(0, DType::F64, &CPU);
    let dense = FeedForward::new(parameters.root(), WIDTH, GELU, init, init)?;
    let blend = |dense_share| {
        let hybrid =
            Hybrid { dense: dense.clone(), experts: experts.clone(), dense_weight: dense_share };
        hybrid.forward(&x, &mut Vec::new())
    };
    let alone = FeedForwardLayer::forward(&experts, &x, &mut Vec::new())?;
    assert_close(&blend(1.)?, &dense.forward(&x)?, 1e-12)?;
    assert_close(&blend(0.)?, &alone, 1e-12)?;
    let between = ((dense.forward(&x)? * 0.3)? + (alone * 0.7)?)?;
    assert_close(&blend(0.3)?, &between, 1e-12)
}

#[test]
fn a_layer_notes_where_it_sent_the_tokens() -> Result<()> {
    let x = random(0, (2, 8, WIDTH), DType::F64)?;
    let (layer, _): (MoeLayer, _) = layer(RouterConfig::new(4, 2), SWIGLU, FREE, DType::F64)?;
    let mut notes = Vec::new();
    FeedForwardLayer::forward(&layer, &x, &mut notes)?;
    let shapes: Vec<&[usize]> = notes.iter().map(Tensor::dims).collect();
    assert_eq!(shapes, [&[16, 4][..], &[16, 4], &[16, 2]]);
    assert_close(&notes[1].sum(1)?, &Tensor::ones(16, DType::F64, &CPU)?, 1e-12)
}
