use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor};
use tensor_core::testing::assert_close;
use tensor_core::{AdamW, AdamWConfig, Init, MomentFormat, Parameters, Rng, WeightDecay, backward};

use super::CPU;
use crate::adamw::{AdamMoments, adamw_update};
use crate::gradient_clipping::clip_grad_norm;

/// Moments before the first update of a parameter like `p`.
fn no_moments(p: &Tensor) -> Result<AdamMoments> {
    Ok(AdamMoments { first: p.zeros_like()?, second: p.zeros_like()?, updates: 0 })
}

/// Matrix `w` and bias `b` in f32.
fn new_parameters() -> Result<Parameters> {
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    let init = Init::Normal { std: 1. };
    parameters.root().parameter("w", (4, 3), init, WeightDecay::Yes)?;
    parameters.root().parameter("b", 4, init, WeightDecay::No)?;
    Ok(parameters)
}

fn values(parameters: &Parameters) -> Result<Vec<Tensor>> {
    parameters.iter().map(|p| p.var.as_detached_tensor().copy()).collect()
}

/// Gradient store in which parameter i has the gradient `grads[i]`.
fn grad_store(parameters: &Parameters, grads: &[Tensor]) -> Result<GradStore> {
    let terms = parameters.iter().zip(grads).map(|(p, grad)| (p.var.as_tensor() * grad)?.sum_all());
    backward(&Tensor::stack(&terms.collect::<Result<Vec<_>>>()?, 0)?.sum_all()?)
}

/// Worked by hand: p = 1, lr = 0.1, λ = 0.1.
///
/// The first gradient is 0.5, so m̂ = 0.5 and √v̂ = 0.5: p = 1 · 0.99 − 0.1 · 1 = 0.89. The second
/// is −0.5, so m = 0.9 · 0.05 − 0.1 · 0.5 = −0.005, m̂ = −0.005 / 0.19 and √v̂ = 0.5 as before: p =
/// 0.89 · 0.99 + 0.1 · 0.0526316 = 0.8863632. (`torch.optim.AdamW` is compared in tensor_core.)
#[test]
fn adamw_matches_the_worked_example() -> Result<()> {
    let config = AdamWConfig {
        beta1: 0.9,
        beta2: 0.95,
        eps: 0.,
        weight_decay: 0.1,
        moments: MomentFormat::Full,
    };
    let mut p = Tensor::new(&[1f64], &CPU)?;
    let mut moments = no_moments(&p)?;
    for (grad, expected) in [(0.5f64, 0.89f64), (-0.5, 0.8863632)] {
        let grad = Tensor::new(&[grad], &CPU)?;
        (p, moments) = adamw_update(&p, &grad, &moments, 0.1, WeightDecay::Yes, &config)?;
        assert_close(&p, &Tensor::new(&[expected], &CPU)?, 1e-7);
    }
    Ok(())
}

#[test]
fn the_written_out_update_equals_the_optimizer_over_ten_steps() -> Result<()> {
    let (parameters, config, mut rng) = (new_parameters()?, AdamWConfig::default(), Rng::new(1));
    let mut optimizer = AdamW::new(&parameters, config)?;
    let mut ours = values(&parameters)?;
    let mut moments = ours.iter().map(no_moments).collect::<Result<Vec<_>>>()?;
    for step in 0..10 {
        let lr = 0.1 / f64::from(step + 1);
        let grads = ours.iter().map(|p| rng.normal_tensor(p.shape(), 0.3, DType::F32, &CPU));
        let grads = grads.collect::<Result<Vec<_>>>()?;
        optimizer.step(&grad_store(&parameters, &grads)?, lr)?;
        for (i, parameter) in parameters.iter().enumerate() {
            let decay = parameter.weight_decay;
            (ours[i], moments[i]) =
                adamw_update(&ours[i], &grads[i], &moments[i], lr, decay, &config)?;
            assert_close(&ours[i], parameter.var.as_detached_tensor(), 1e-6);
        }
    }
    let state = optimizer.state_dict()?;
    for (moments, name) in moments.iter().zip(["w", "b"]) {
        assert_close(&moments.first, &state[&format!("{name}.first")], 1e-6);
        assert_close(&moments.second, &state[&format!("{name}.second")], 1e-6);
    }
    Ok(())
}

#[test]
fn a_step_does_not_depend_on_the_gradients_scale_but_decay_shrinks_matrices() -> Result<()> {
    let p = Tensor::new(&[2f64, -2.], &CPU)?;
    let config = AdamWConfig { eps: 0., ..AdamWConfig::default() };
    for scale in [1e-6, 1., 1e6] {
        let grad = (Tensor::new(&[1f64, 3.], &CPU)? * scale)?;
        let update = |decay| adamw_update(&p, &grad, &no_moments(&p)?, 0.1, decay, &config);
        assert_close(&update(WeightDecay::No)?.0, &Tensor::new(&[1.9f64, -2.1], &CPU)?, 1e-12);
        assert_close(&update(WeightDecay::Yes)?.0, &Tensor::new(&[1.88f64, -2.08], &CPU)?, 1e-12);
    }
    Ok(())
}

#[test]
fn the_written_out_clipping_equals_the_fused_one_and_keeps_the_direction() -> Result<()> {
    let (parameters, mut rng) = (new_parameters()?, Rng::new(2));
    let grads = parameters.iter().map(|p| rng.normal_tensor(p.var.shape(), 1., DType::F32, &CPU));
    let grads = grads.collect::<Result<Vec<_>>>()?;
    for max_norm in [0.5, 100.] {
        let (clipped, norm) = clip_grad_norm(&grads, max_norm)?;
        let mut store = grad_store(&parameters, &grads)?;
        let fused_norm = tensor_core::clip_grad_norm(&mut store, &parameters, max_norm)?;
        assert_close(norm, fused_norm, 1e-6);
        for ((parameter, grad), clipped) in parameters.iter().zip(&grads).zip(&clipped) {
            let fused = store.get(parameter.var.as_tensor()).expect("a gradient");
            assert_close(clipped, fused, 1e-6);
            assert_close(clipped, &(grad * (max_norm / norm).min(1.))?, 1e-6);
        }
        let (_, norm_after) = clip_grad_norm(&clipped, max_norm)?;
        assert_close(norm_after, norm.min(max_norm), 1e-6);
    }
    Ok(())
}
