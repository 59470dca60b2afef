//! Muon: PyTorch's steps (`golden_muon.json`, made by `scripts/golden_muon.py`), the singular
//! values of an orthogonalized matrix, the state, and the parameters that are hidden matrices.

use std::collections::BTreeMap;

use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use super::golden;
use crate::muon::{is_hidden_matrix, orthogonalize};
use crate::testing::assert_close;
use crate::{
    Bias, Init, Linear, LoraScaling, MuonConfig, Optimizer, OptimizerConfig, Parameters, Rng,
    WeightDecay, backward,
};

const CPU: Device = Device::Cpu;
const NORMAL: Init = Init::Normal { std: 1. };

fn muon() -> OptimizerConfig {
    OptimizerConfig::Muon(MuonConfig::default())
}

/// Gradients in which that of each parameter is what `gradient` returns for its name.
fn grads(
    parameters: &Parameters,
    gradient: impl Fn(&str) -> candle_core::Result<Tensor>,
) -> candle_core::Result<GradStore> {
    let mut loss = Tensor::zeros((), parameters.dtype(), &CPU)?;
    for parameter in parameters.iter() {
        let gradient = gradient(&parameter.name)?.to_dtype(parameters.dtype())?;
        loss = (loss + (parameter.var.as_tensor() * gradient)?.sum_all()?)?;
    }
    backward(&loss)
}

#[test]
fn muon_and_the_adamw_beside_it_agree_with_pytorch() -> Result<()> {
    let golden: Value = serde_json::from_str(include_str!("golden_muon.json"))?;
    let tensor = |name: &str, what: &str| golden::tensor(&golden["weights"][name][what]);
    let names: Vec<&String> = golden["weights"].as_object().expect("an object").keys().collect();
    let lrs = golden::tensor(&golden["lrs"])?.to_vec1::<f64>()?;
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 5e-6)] {
        let mut start = BTreeMap::new();
        for name in &names {
            start.insert(name.to_string(), tensor(name, "start")?);
        }
        let mut parameters = Parameters::from_tensors(start.clone(), "test", 0, dtype, &CPU);
        for (name, start) in &start {
            let decay = if name == "wte.weight" { WeightDecay::No } else { WeightDecay::Yes };
            parameters.root().parameter(name, start.shape(), Init::Zeros, decay)?;
        }
        let mut optimizer = Optimizer::new(&parameters, muon())?;
        for (step, &lr) in lrs.iter().enumerate() {
            let grads = grads(&parameters, |name| tensor(name, "grads")?.get(step))?;
            optimizer.step(&grads, lr)?;
            for parameter in parameters.iter() {
                let expected = tensor(&parameter.name, "values")?.get(step)?;
                assert_close(&parameter.var.to_dtype(DType::F64)?, &expected, tolerance);
            }
        }
    }
    Ok(())
}

/// Five steps of the polynomial on a number.
fn newton_schulz(singular_value: f64) -> f64 {
    let polynomial = |s: f64| 3.4445 * s - 4.7750 * s.powi(3) + 2.0315 * s.powi(5);
    (0..5).fold(singular_value, |s, _| polynomial(s))
}

/// Orthogonal and symmetric matrix (n, n): the reflection I − 2 v vᵀ / ‖v‖².
fn reflection(n: usize, rng: &mut Rng) -> Result<Tensor> {
    let v = rng.normal_tensor((n, 1), 1., DType::F64, &CPU)?;
    let projection = v.matmul(&v.t()?)?.broadcast_div(&v.sqr()?.sum_all()?)?; // (n, n)
    Ok((Tensor::eye(n, DType::F64, &CPU)? - (projection * 2.)?)?)
}

#[test]
fn orthogonalizing_acts_on_the_singular_values_alone() -> Result<()> {
    let singular_values = [1., 0.9, 0.4, 0.06, 0.02, 0.004, 1e-4, 0.];
    let norm = singular_values.iter().map(|s| s * s).sum::<f64>().sqrt();
    let expected = singular_values.map(|s| newton_schulz(s / norm));
    let mut rng = Rng::new(5);
    for (rows, columns) in [(8, 8), (8, 11), (11, 8)] {
        let diagonal = |values: &[f64]| -> Result<Tensor> {
            let mut matrix = vec![0.; rows * columns];
            for (i, &value) in values.iter().enumerate() {
                matrix[i * columns + i] = value;
            }
            Ok(Tensor::from_vec(matrix, (rows, columns), &CPU)?)
        };
        let (u, v) = (reflection(rows, &mut rng)?, reflection(columns, &mut rng)?);
        let scaled = (diagonal(&singular_values)? * 7.)?; // the size of a gradient has no effect
        let orthogonalized = orthogonalize(&u.matmul(&scaled)?.matmul(&v)?)?;
        let diagonalized = u.matmul(&orthogonalized.contiguous()?)?.matmul(&v)?; // Uᵀ = U, Vᵀ = V
        assert_close(&diagonalized, &diagonal(&expected)?, 1e-9);
    }
    Ok(())
}

/// The bounds that [`orthogonalize`] states.
#[test]
fn singular_values_end_between_0_68_and_1_13_unless_they_start_small() {
    let (mut largest, mut smallest) = (0f64, f64::INFINITY);
    for start in (1..=100_000).map(|i| f64::from(i) * 1e-5) {
        let end = newton_schulz(start);
        assert!(end > 0. && end <= 485. * start && end < 1.2024, "{start} {end}");
        if start >= 0.0016 {
            assert!(end > 0.6818, "{start} {end}");
        }
        if start >= 0.0053 {
            (largest, smallest) = (largest.max(end), smallest.min(end));
        }
    }
    assert_close(largest, 1.1344, 1e-4);
    assert_close(smallest, 0.6818, 1e-4);
}

/// A small model: an embedding (5, 4), and a layer with a matrix (6, 4) and a bias.
fn model() -> Result<Parameters> {
    let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
    parameters.root().parameter("wte.weight", (5, 4), NORMAL, WeightDecay::No)?;
    Linear::new(parameters.root().at("h").at(0).at("c_fc"), 4, 6, Bias::Yes, NORMAL)?;
    Ok(parameters)
}

fn weights(parameters: &Parameters) -> Result<Vec<Vec<f32>>> {
    parameters.iter().map(|p| Ok(p.var.flatten_all()?.to_vec1()?)).collect()
}

#[test]
fn a_gradient_of_zero_leaves_only_the_weight_decay() -> Result<()> {
    let parameters = model()?;
    let before = weights(&parameters)?;
    let zero = |name: &str| parameters.get(name).expect("a name").var.zeros_like();
    let mut optimizer = Optimizer::new(&parameters, muon())?;
    optimizer.step(&grads(&parameters, zero)?, 0.1)?;
    let decayed: Vec<f32> = before[1].iter().map(|weight| 0.99 * weight).collect();
    let after = weights(&parameters)?;
    assert_close(&after[1][..], &decayed[..], 1e-6);
    assert_eq!((&after[0], &after[2]), (&before[0], &before[2]));
    Ok(())
}

/// Takes `n` steps with the gradient 3 p − 1 of each parameter p.
fn train(parameters: &Parameters, optimizer: &mut Optimizer, n: usize) -> Result<()> {
    for _ in 0..n {
        let grads = grads(parameters, |name| {
            (parameters.get(name).expect("a name").var.as_detached_tensor() * 3.)? - 1.
        })?;
        optimizer.step(&grads, 0.01)?;
    }
    Ok(())
}

#[test]
fn the_momentum_is_saved_and_a_resumed_run_equals_an_uninterrupted_one() -> Result<()> {
    let parameters = model()?;
    let mut optimizer = Optimizer::new(&parameters, muon())?;
    train(&parameters, &mut optimizer, 3)?;
    let state = optimizer.state_dict()?;
    let names: Vec<&str> = state.keys().map(String::as_str).collect();
    let adamw = |name: &str| ["first", "second", "updates"].map(|what| format!("{name}.{what}"));
    let mut expected = adamw("h.0.c_fc.bias").to_vec();
    expected.push("h.0.c_fc.weight.momentum".to_string());
    expected.extend(adamw("wte.weight"));
    assert_eq!(names, expected);

    let folder = tempfile::tempdir()?;
    let files = ["saved", "saved_again"].map(|name| folder.path().join(name));
    crate::weights::save(&files[0], &state)?;
    let resume = |state: Option<BTreeMap<String, Tensor>>| -> Result<_> {
        let resumed = model()?;
        for (from, to) in parameters.iter().zip(resumed.iter()) {
            to.var.set(&from.var.as_detached_tensor().copy()?)?;
        }
        let mut optimizer = Optimizer::new(&resumed, muon())?;
        state.map_or(Ok(()), |state| optimizer.load_state_dict(state))?;
        Ok((resumed, optimizer))
    };
    let (resumed, mut resumed_optimizer) = resume(Some(crate::weights::load(&files[0])?))?;
    crate::weights::save(&files[1], &resumed_optimizer.state_view()?)?;
    assert!(std::fs::read(&files[0])? == std::fs::read(&files[1])?, "the same state");
    let (forgetful, mut forgetful_optimizer) = resume(None)?;
    train(&resumed, &mut resumed_optimizer, 2)?;
    train(&forgetful, &mut forgetful_optimizer, 2)?;
    train(&parameters, &mut optimizer, 2)?;
    assert!(weights(&resumed)? == weights(&parameters)?);
    let (forgetful, whole) = (weights(&forgetful)?, weights(&parameters)?);
    assert!(forgetful[1] != whole[1], "the momentum matters");
    Ok(())
}

#[test]
fn the_state_of_another_optimizer_is_refused_and_changes_nothing() -> Result<()> {
    let parameters = model()?;
    let trained = |config: OptimizerConfig| -> Result<Optimizer> {
        let mut optimizer = Optimizer::new(&parameters, config)?;
        train(&parameters, &mut optimizer, 1)?;
        Ok(optimizer)
    };
    let adamw = OptimizerConfig::default();
    for (saved, loaded, name) in [(muon(), adamw, "momentum"), (adamw, muon(), "first")] {
        let (saved, mut optimizer) = (trained(saved)?.state_dict()?, trained(loaded)?);
        let before = optimizer.state_dict()?;
        let error = optimizer.load_state_dict(saved).expect_err("refused").to_string();
        let named = error.contains(&format!("`h.0.c_fc.weight.{name}`"));
        assert!(named && error.contains("another --optim"), "{error}");
        for (name, tensor) in optimizer.state_dict()? {
            assert_close(&tensor.to_dtype(DType::F64)?, &before[&name].to_dtype(DType::F64)?, 0.);
        }
    }
    Ok(())
}

#[test]
fn the_matrices_of_numbered_layers_are_hidden_matrices() -> Result<()> {
    let mut parameters = model()?;
    for (name, is_hidden) in [
        ("model.layers.0.mlp.experts.3.up_proj.weight", true),
        ("model.layers.11.mlp.gate.weight", true),
        ("model.embed_tokens.weight", false),
        ("lm_head.weight", false),
        ("score.weight", false),
        ("value_head.weight", false),
        ("0.weight", false),
    ] {
        parameters.root().parameter(name, (3, 2), NORMAL, WeightDecay::Yes)?;
        let parameter = parameters.get(name).expect("it was requested");
        assert_eq!(is_hidden_matrix(parameter), is_hidden, "{name}");
    }
    let experts = "model.layers.0.mlp.experts";
    parameters.root().parameter(experts, (2, 3, 2), NORMAL, WeightDecay::Yes)?;
    let zeros = |dims: (usize, usize)| Tensor::zeros(dims, DType::F32, &CPU);
    let scaling = LoraScaling { scale: 1., dropout: 0. };
    parameters.add_adapter("h.0.c_fc", &zeros((2, 4))?, &zeros((6, 2))?, scaling)?;
    let [bias, lora_a, lora_b] =
        ["bias", "lora_A.weight", "lora_B.weight"].map(|name| format!("h.0.c_fc.{name}"));
    for name in [experts, &bias, &lora_a, &lora_b, "wte.weight"] {
        assert!(!is_hidden_matrix(parameters.get(name).expect(name)), "{name}");
    }
    assert!(is_hidden_matrix(parameters.get("h.0.c_fc.weight").expect("a matrix")));
    Ok(())
}
