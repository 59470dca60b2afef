use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};

use super::golden;
use crate::testing::assert_close;
use crate::{AdamW, AdamWConfig, Init, Parameters, WeightDecay, backward, clip_grad_norm};

const CPU: Device = Device::Cpu;

/// Parameters with one f64 parameter `p` of value `start`.
fn store(start: &Tensor, decay: WeightDecay) -> Result<Parameters> {
    let tensors = [("p".to_string(), start.clone())].into();
    let mut parameters = Parameters::from_tensors(tensors, "test", 0, DType::F64, &CPU);
    parameters.root().parameter("p", start.shape(), Init::Zeros, decay)?;
    Ok(parameters)
}

/// Gradient store in which parameter i has the gradient `gradients[i]`.
fn grads(parameters: &Parameters, gradients: &[Tensor]) -> Result<GradStore> {
    let terms = parameters.iter().zip(gradients).map(|(p, g)| (p.var.as_tensor() * g)?.sum_all());
    let terms = terms.collect::<candle_core::Result<Vec<_>>>()?;
    Ok(backward(&Tensor::stack(&terms, 0)?.sum_all()?)?)
}

fn start() -> Result<Tensor> {
    Ok(Tensor::new(&[0.5f64, -1., 2., 0.], &CPU)?)
}

#[test]
fn adamw_agrees_with_pytorch_with_and_without_weight_decay() -> Result<()> {
    for (name, decay) in [("adamw_decay", WeightDecay::Yes), ("adamw", WeightDecay::No)] {
        let entry = &golden::all()?[name];
        let lrs = golden::tensor(&entry["rates"])?.to_vec1::<f64>()?;
        let (gradients, values) =
            (golden::tensor(&entry["grads"])?, golden::tensor(&entry["values"])?);
        let parameters = store(&start()?, decay)?;
        let mut optimizer = AdamW::new(&parameters, AdamWConfig::default())?;
        for (step, lr) in lrs.into_iter().enumerate() {
            optimizer.step(&grads(&parameters, &[gradients.get(step)?])?, lr)?;
            let value = parameters.iter().next().unwrap().var.as_detached_tensor();
            assert_close(&value, &values.get(step)?, 1e-12);
        }
    }
    Ok(())
}

/// In PPO ε is often 1e-5, and so are gradients: there it matters where ε is added. TensorFlow's
/// Adam adds it before the bias correction.
#[test]
fn epsilon_is_added_to_the_root_after_the_bias_correction() -> Result<()> {
    let (lr, eps) = (0.1, 1e-5);
    let gradient = [1e-5, -3e-5, 0., 1.];
    let parameters = store(&start()?, WeightDecay::No)?;
    let config = AdamWConfig { eps, ..AdamWConfig::default() };
    let mut optimizer = AdamW::new(&parameters, config)?;
    for n in 1..4 {
        let grads = grads(&parameters, &[Tensor::new(&gradient, &CPU)?])?;
        optimizer.step(&grads, lr)?;
        // With the same gradient g in every step, m̂ = g and v̂ = g².
        let step = Tensor::new(&gradient.map(|g: f64| lr * g / (g.abs() + eps)), &CPU)?;
        let expected = (start()? - (step * f64::from(n))?)?;
        let value = parameters.iter().next().unwrap().var.as_detached_tensor();
        assert_close(&value, &expected, 1e-9);
    }
    Ok(())
}

/// The gradients differ: with equal ones, Adam's second step is its first one.
#[test]
fn a_restored_optimizer_continues_bit_for_bit() -> Result<()> {
    let first = Tensor::new(&[1f64, -2., 0.5, 3.], &CPU)?;
    let second = Tensor::new(&[-0.25f64, 4., 0.5, -1.], &CPU)?;
    let parameters = store(&start()?, WeightDecay::Yes)?;
    let mut optimizer = AdamW::new(&parameters, AdamWConfig::default())?;
    optimizer.step(&grads(&parameters, &[first])?, 0.1)?;
    let halfway = parameters.iter().next().unwrap().var.as_detached_tensor().copy()?;
    let state = optimizer.state_dict()?;
    optimizer.step(&grads(&parameters, std::slice::from_ref(&second))?, 0.1)?;

    let step_from_halfway = |state: Option<_>| -> Result<Vec<f64>> {
        let resumed = store(&halfway, WeightDecay::Yes)?;
        let mut optimizer = AdamW::new(&resumed, AdamWConfig::default())?;
        state.map_or(Ok(()), |state| optimizer.load_state_dict(state))?;
        optimizer.step(&grads(&resumed, std::slice::from_ref(&second))?, 0.1)?;
        Ok(resumed.iter().next().unwrap().var.to_vec1()?)
    };
    let whole: Vec<f64> = parameters.iter().next().unwrap().var.to_vec1()?;
    assert_eq!(step_from_halfway(Some(state))?, whole);
    let forgotten = step_from_halfway(None)?;
    assert!(whole.iter().zip(forgotten).any(|(a, b)| (a - b).abs() > 1e-2), "a state that matters");
    Ok(())
}

#[test]
fn load_state_dict_rejects_missing_and_unknown_tensors() -> Result<()> {
    let parameters = store(&start()?, WeightDecay::Yes)?;
    let mut optimizer = AdamW::new(&parameters, AdamWConfig::default())?;
    let mut missing = optimizer.state_dict()?;
    missing.remove("p.second");
    let error = optimizer.load_state_dict(missing).unwrap_err().to_string();
    assert!(error.contains("`p.second` is missing"), "{error}");
    let mut extra = optimizer.state_dict()?;
    extra.insert("q.first".into(), start()?);
    let error = optimizer.load_state_dict(extra).unwrap_err().to_string();
    assert!(error.contains("`q.first` does not belong to a trainable parameter"), "{error}");
    Ok(())
}

#[test]
fn a_parameter_without_a_gradient_keeps_its_value_and_step_count() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F64, &CPU);
    let a = parameters.root().parameter("a", 1, Init::Ones, WeightDecay::No)?;
    let b = parameters.root().parameter("b", 1, Init::Ones, WeightDecay::No)?;
    let mut optimizer = AdamW::new(&parameters, AdamWConfig { eps: 0., ..Default::default() })?;
    for _ in 0..3 {
        optimizer.step(&backward(&a.sum_all()?)?, 0.01)?;
    }
    assert_eq!(b.to_vec1::<f64>()?, [1.]);
    optimizer.step(&backward(&b.sum_all()?)?, 0.01)?;
    // With ε = 0, the first step of Adam is exactly lr.
    assert_close(&b, &Tensor::new(&[0.99f64], &CPU)?, 1e-12);
    Ok(())
}

#[test]
fn adam_moments_of_bf16_parameters_are_stored_in_f32() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::BF16, &CPU);
    parameters.root().parameter("a", 2, Init::Ones, WeightDecay::No)?;
    let state = AdamW::new(&parameters, AdamWConfig::default())?.state_dict()?;
    assert_eq!(state["a.first"].dtype(), DType::F32);
    Ok(())
}

/// Moments do not depend on the weights, so those of 16-bit weights are those of f32 ones.
#[test]
fn the_update_of_bf16_weights_is_that_of_f32_weights_rounded() -> Result<()> {
    let after_two_steps = |dtype| -> Result<[Tensor; 3]> {
        let start = start()?.to_dtype(DType::F32)?;
        let tensors = [("p".to_string(), start)].into();
        let mut parameters = Parameters::from_tensors(tensors, "test", 0, dtype, &CPU);
        parameters.root().parameter("p", 4, Init::Zeros, WeightDecay::Yes)?;
        let mut optimizer = AdamW::new(&parameters, AdamWConfig::default())?;
        for gradient in [[1f32, -2., 0.5, 0.125], [0.25, 4., -0.5, -1.]] {
            let gradient = Tensor::new(&gradient, &CPU)?.to_dtype(dtype)?; // exact in bf16
            optimizer.step(&grads(&parameters, &[gradient])?, 0.1)?;
        }
        let mut state = optimizer.state_dict()?;
        let weights = parameters.iter().next().unwrap().var.to_dtype(DType::F32)?;
        let mut moment = |name: &str| state.remove(name).expect("a moment");
        Ok([weights, moment("p.first"), moment("p.second")])
    };
    let [weights, first, second] = after_two_steps(DType::F32)?;
    let [rounded, first_of_rounded, second_of_rounded] = after_two_steps(DType::BF16)?;
    assert_close(&rounded, &weights, 0.01);
    assert_close(&first_of_rounded, &first, 1e-6);
    assert_close(&second_of_rounded, &second, 1e-6);
    Ok(())
}

#[test]
fn gradient_clipping_agrees_with_pytorch() -> Result<()> {
    let entry = &golden::all()?["clip"];
    let gradient = golden::tensor(&entry["grads"])?;
    let mut parameters = Parameters::seeded(0, DType::F64, &CPU);
    for (name, size) in [("a", 6), ("b", 4), ("c", 1)] {
        parameters.root().parameter(name, size, Init::Ones, WeightDecay::No)?;
    }
    let parts = [gradient.narrow(0, 0, 6)?, gradient.narrow(0, 6, 4)?, gradient.narrow(0, 10, 1)?];
    let mut store = grads(&parameters, &parts)?;
    let norm = clip_grad_norm(&mut store, &parameters, 1.)?;
    assert_close(norm, entry["norm"].as_f64().unwrap(), 1e-6); // the norm is summed in f32
    let clipped: Vec<_> =
        parameters.iter().map(|p| store.get(p.var.as_tensor()).unwrap()).collect();
    // PyTorch divides by norm + 1e-6.
    assert_close(&Tensor::cat(&clipped, 0)?, &golden::tensor(&entry["clipped"])?, 2e-6);
    let norm = clip_grad_norm(&mut store, &parameters, 2.)?;
    assert_close(norm, 1., 1e-6); // a norm below max_norm is unchanged
    Ok(())
}

#[test]
fn gradients_of_any_size_are_clipped() -> Result<()> {
    for size in [1e25f32, 1e-25, 3.] {
        let mut parameters = Parameters::seeded(0, DType::F32, &Device::Cpu);
        let x = parameters.root().parameter("x", 4, Init::Ones, WeightDecay::No)?;
        let mut grads = backward(&(&x * f64::from(size))?.sum_all()?)?;
        let norm = clip_grad_norm(&mut grads, &parameters, f64::from(size))?; // half of the norm
        assert_close(norm / f64::from(size), 2., 1e-6);
        let clipped = grads.get(&x).expect("a gradient").to_vec1::<f32>()?;
        clipped.iter().for_each(|g| assert_close(g / size, 0.5, 1e-6));
    }
    Ok(())
}
