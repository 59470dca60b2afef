//! candle-nn on our parameters, and beside our operations.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "shows that they cut the gradient"
)]

use std::collections::BTreeMap;

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_nn::{Optimizer, ParamsAdamW, VarBuilder, VarMap};

use crate::testing::assert_close;
use crate::{
    AdamW, AdamWConfig, GradientReport, LoraScaling, Parameters, Rng, WeightDecay, backward,
    clip_grad_norm, gradient_report, ops,
};

const CPU: Device = Device::Cpu;
const EPS: f64 = 1e-5;

/// Model made of candle-nn's parts.
struct Model {
    table: candle_nn::Embedding,
    norm: candle_nn::LayerNorm,
    hidden: candle_nn::Linear,
    output: candle_nn::Linear,
}

impl Model {
    fn new(builder: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            table: candle_nn::embedding(5, 4, builder.pp("table"))?,
            norm: candle_nn::layer_norm(4, EPS, builder.pp("norm"))?,
            hidden: candle_nn::linear_no_bias(4, 6, builder.pp("hidden"))?,
            output: candle_nn::linear(6, 5, builder.pp("output"))?,
        })
    }

    /// With candle's fused norm.
    fn cut(&self, ids: &Tensor) -> Result<Tensor> {
        self.output.forward(&self.hidden.forward(&self.norm.forward(&self.table.forward(ids)?)?)?)
    }

    /// With ours.
    fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let x = self.table.forward(ids)?;
        let bias = self.norm.bias().expect("a layer norm has a bias");
        let x = ops::layer_norm(&x, self.norm.weight(), bias, EPS)?;
        self.output.forward(&self.hidden.forward(&x)?)
    }
}

fn ids() -> Result<Tensor> {
    Tensor::new(&[0u32, 1, 2, 3, 4, 0], &CPU)
}

fn loss(logits: &Tensor) -> Result<Tensor> {
    let targets = Tensor::new(&[1u32, 2, 3, 4, 0, 1], &CPU)?;
    candle_nn::loss::cross_entropy(logits, &targets)
}

fn seeded() -> Result<(Parameters, Model)> {
    let mut parameters = Parameters::seeded(3, DType::F32, &CPU);
    let model = Model::new(&parameters.var_builder())?;
    Ok((parameters, model))
}

fn tensors(parameters: &Parameters) -> BTreeMap<String, Tensor> {
    parameters.iter().map(|p| (p.name.clone(), p.var.as_tensor().clone())).collect()
}

#[test]
fn names_and_decay_groups_are_those_of_our_layers() -> Result<()> {
    let (mut parameters, _) = seeded()?;
    let names: Vec<&str> = parameters.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "table.weight",
            "norm.weight",
            "norm.bias",
            "hidden.weight",
            "output.weight",
            "output.bias"
        ]
    );
    let decayed = |parameters: &Parameters| -> Vec<String> {
        let all = parameters.iter().filter(|p| p.weight_decay == WeightDecay::Yes);
        all.map(|p| p.name.clone()).collect()
    };
    assert_eq!(decayed(&parameters), ["hidden.weight", "output.weight"]);
    parameters.set_weight_decay(|parameter| parameter.name.starts_with("table"));
    assert_eq!(decayed(&parameters), ["table.weight"]);
    let layers: Vec<&str> =
        parameters.linear_layers().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(layers, ["hidden", "output"]);
    Ok(())
}

#[test]
fn initial_weights_come_from_the_seed_and_have_the_spread_that_candle_asks_for() -> Result<()> {
    let weights = |seed| -> Result<Vec<f32>> {
        let mut parameters = Parameters::seeded(seed, DType::F32, &CPU);
        candle_nn::linear(64, 256, parameters.var_builder())?.weight().flatten_all()?.to_vec1()
    };
    let (first, again) = (weights(1)?, weights(1)?);
    assert!(first == again && first != weights(2)?);
    let variance = first.iter().map(|w| w * w).sum::<f32>() / first.len() as f32;
    assert_close(variance * 64., 2., 0.1); // Kaiming for ReLU: 2 / fan-in
    Ok(())
}

#[test]
fn the_report_names_what_candles_layer_norm_cuts_off() -> Result<()> {
    let (parameters, model) = seeded()?;
    assert_close(&model.cut(&ids()?)?, &model.forward(&ids()?)?, 1e-5);

    let report = gradient_report(&loss(&model.cut(&ids()?)?)?, &parameters)?;
    let cut: Vec<&str> = report.without_gradient().collect();
    assert_eq!(cut, ["table.weight", "norm.weight", "norm.bias"]);
    let error = report.ensure_complete().expect_err("a cut graph").to_string();
    let expected = "3 of 6 trainable parameters are not trained: table.weight (no gradient), ";
    assert!(error.contains(expected), "{error}");
    let table = report.to_string();
    assert!(table.contains("norm.bias      [4]  no gradient\n"), "{table}");
    assert!(table.ends_with("3 of 6 parameters have a gradient"), "{table}");

    gradient_report(&loss(&model.forward(&ids()?)?)?, &parameters)?.ensure_complete()
}

#[test]
fn a_frozen_parameter_is_not_in_the_report_and_is_not_trained() -> Result<()> {
    let (mut parameters, _) = seeded()?;
    parameters.freeze(|name| name.starts_with("table"));
    let model = Model::new(&parameters.var_builder())?;
    let grads = backward(&loss(&model.forward(&ids()?)?)?)?;
    let report = GradientReport::new(&grads, &parameters)?;
    assert_eq!(report.rows.len(), 5);
    report.ensure_complete()?;
    let table = parameters.get("table.weight").expect("is there").var.as_tensor();
    assert!(grads.get(table).is_none());
    Ok(())
}

#[test]
fn a_model_of_candle_nn_is_trained_saved_and_loaded_as_ours_are() -> Result<()> {
    let (parameters, model) = seeded()?;
    let mut optimizer = AdamW::new(&parameters, AdamWConfig::default())?;
    let mut losses = Vec::new();
    for _ in 0..40 {
        let loss = loss(&model.forward(&ids()?)?)?;
        losses.push(loss.to_scalar::<f32>()?);
        let mut grads = backward(&loss)?;
        clip_grad_norm(&mut grads, &parameters, 1.)?;
        optimizer.step(&grads, 0.05)?;
    }
    assert!(losses[39] < 0.1 * losses[0], "{losses:?}");

    let mut loaded = Parameters::from_tensors(tensors(&parameters), "m", 0, DType::F32, &CPU);
    let copy = Model::new(&loaded.var_builder())?;
    loaded.ensure_all_used()?;
    assert_close(&copy.forward(&ids()?)?, &model.forward(&ids()?)?, 0.);
    let view = Model::new(&parameters.for_inference().var_builder())?.forward(&ids()?)?;
    assert!(backward(&view.sum_all()?)?.get_ids().count() <= 1, "an inference view built a graph");
    Ok(())
}

#[test]
fn an_adapter_of_a_candle_layer_is_the_adapter_of_ours() -> Result<()> {
    let (mut parameters, model) = seeded()?;
    let before = model.forward(&ids()?)?;
    let mut rng = Rng::new(8);
    let lora_a = rng.normal_tensor((2, 4), 1., DType::F32, &CPU)?;
    let lora_b = rng.normal_tensor((6, 2), 1., DType::F32, &CPU)?;
    parameters.freeze(|_| true);
    let scaling = LoraScaling { scale: 0.5, dropout: 0. };
    parameters.add_adapter("hidden", &lora_a, &lora_b, scaling)?;
    let model = Model::new(&parameters.var_builder())?;

    let weight = parameters.get("hidden.weight").expect("is there").var.as_detached_tensor();
    let merged = (weight + (lora_b.matmul(&lora_a)? * 0.5)?)?;
    assert_close(model.hidden.weight(), &merged, 1e-6);
    let report = gradient_report(&loss(&model.forward(&ids()?)?)?, &parameters)?;
    let names: Vec<&str> = report.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["hidden.lora_A.weight", "hidden.lora_B.weight"]);
    report.ensure_complete()?;
    let base = Model::new(&parameters.without_adapters().var_builder())?;
    assert_close(&base.forward(&ids()?)?, &before, 0.);

    let lengths = Tensor::new(&[1f32, 2., 3., 4., 5., 6.], &CPU)?; // DoRA
    parameters.add_magnitude("hidden", &lengths)?;
    let model = Model::new(&parameters.var_builder())?;
    assert_close(&model.hidden.weight().sqr()?.sum(1)?.sqrt()?, &lengths, 1e-6);
    let report = gradient_report(&loss(&model.forward(&ids()?)?)?, &parameters)?;
    assert_eq!(report.rows.len(), 3);
    report.ensure_complete()?;

    let scaling = LoraScaling { scale: 1., dropout: 0.5 };
    parameters.add_adapter(
        "output",
        &Tensor::ones((1, 6), DType::F32, &CPU)?,
        &Tensor::ones((5, 1), DType::F32, &CPU)?,
        scaling,
    )?;
    let error = Model::new(&parameters.var_builder()).err().expect("dropout").to_string();
    assert!(error.contains("`output`: a layer of candle-nn cannot drop out"), "{error}");
    Ok(())
}

#[test]
fn missing_and_misshapen_tensors_have_the_errors_of_our_loader() -> Result<()> {
    let (parameters, _) = seeded()?;
    let all = tensors(&parameters);
    let error = |change: &dyn Fn(&mut BTreeMap<String, Tensor>)| -> String {
        let mut tensors = all.clone();
        change(&mut tensors);
        let mut loaded = Parameters::from_tensors(tensors, "a/model", 0, DType::F32, &CPU);
        let result = Model::new(&loaded.var_builder()).map(|_| ());
        result.and_then(|()| loaded.ensure_all_used()).expect_err("a fault").to_string()
    };
    let missing = error(&|tensors| drop(tensors.remove("norm.bias")));
    assert!(missing.contains("a/model: tensor `norm.bias` is missing"), "{missing}");
    let misshapen = error(&|tensors| {
        let bias = tensors["norm.bias"].clone();
        tensors.insert("output.bias".into(), bias);
    });
    let expected = "a/model: output.bias has shape [4], the model expects [5]";
    assert!(misshapen.contains(expected), "{misshapen}");
    let unused = error(&|tensors| {
        let bias = tensors["norm.bias"].clone();
        tensors.insert("other".into(), bias);
    });
    assert!(unused.contains("a/model: unexpected tensor `other`"), "{unused}");
    Ok(())
}

#[test]
fn the_builder_answers_questions_about_tensors() -> Result<()> {
    let tensors = BTreeMap::from([("a".to_string(), Tensor::ones((2, 3), DType::F32, &CPU)?)]);
    let mut loaded = Parameters::from_tensors(tensors, "m", 0, DType::F32, &CPU);
    let builder = loaded.var_builder();
    assert!(builder.contains_tensor("a") && !builder.contains_tensor("b"));
    assert_eq!(builder.get_unchecked("a")?.dims(), [2, 3]);
    assert_eq!(builder.get_unchecked_dtype("a", DType::F64)?.dtype(), DType::F64);
    let error = builder.get_unchecked("b").expect_err("missing").to_string();
    assert!(error.contains("tensor `b` is missing"), "{error}");
    let init = candle_nn::Init::Randn { mean: 1., stdev: 1. };
    let mut fresh = Parameters::seeded(0, DType::F32, &CPU);
    let error = fresh.var_builder().get_with_hints(2, "c", init).expect_err("a mean").to_string();
    assert!(error.contains("cannot be initialized by Randn"), "{error}");
    Ok(())
}

#[test]
fn our_adamw_behind_candles_trait_takes_the_steps_of_candles() -> Result<()> {
    let params = ParamsAdamW { lr: 0.01, weight_decay: 0.1, ..ParamsAdamW::default() };
    let start = Rng::new(4).normal_tensor((3, 4), 1., DType::F64, &CPU)?;
    let [ours, theirs] = [Var::from_tensor(&start)?, Var::from_tensor(&start)?];
    let mut our_optimizer = <AdamW as Optimizer>::new(vec![ours.clone()], params.clone())?;
    let mut their_optimizer = candle_nn::AdamW::new(vec![theirs.clone()], params)?;
    for step in 0..20 {
        our_optimizer.backward_step(&ops::softmax(ours.as_tensor())?.sqr()?.sum_all()?)?;
        let softmax = candle_nn::ops::softmax(theirs.as_tensor(), 1)?;
        their_optimizer.backward_step(&softmax.sqr()?.sum_all()?)?;
        assert_close(ours.as_tensor(), theirs.as_tensor(), 1e-12);
        if step == 10 {
            our_optimizer.set_learning_rate(0.1);
            their_optimizer.set_learning_rate(0.1);
        }
    }
    assert_eq!(our_optimizer.learning_rate(), 0.1);
    Ok(())
}

#[test]
fn our_optimizer_trains_the_variables_of_a_var_map() -> Result<()> {
    let variables = VarMap::new();
    let builder = VarBuilder::from_varmap(&variables, DType::F32, &CPU);
    let model = Model::new(&builder)?;
    let mut optimizer = <AdamW as Optimizer>::new(
        variables.all_vars(),
        ParamsAdamW { lr: 0.05, ..Default::default() },
    )?;
    let before = loss(&model.forward(&ids()?)?)?.to_scalar::<f32>()?;
    for _ in 0..20 {
        optimizer.backward_step(&loss(&model.forward(&ids()?)?)?)?;
    }
    assert!(loss(&model.forward(&ids()?)?)?.to_scalar::<f32>()? < 0.5 * before);
    Ok(())
}

#[test]
fn a_step_without_a_learning_rate_is_an_error_and_not_a_step_of_0() -> Result<()> {
    let (parameters, model) = seeded()?;
    let mut optimizer = AdamW::new(&parameters, AdamWConfig::default())?;
    let loss = || loss(&model.forward(&ids()?)?);
    let error = optimizer.backward_step(&loss()?).expect_err("no rate").to_string();
    assert!(error.contains("call set_learning_rate first"), "{error}");
    let before = loss()?.to_scalar::<f32>()?;
    optimizer.set_learning_rate(0.05);
    optimizer.backward_step(&loss()?)?;
    assert!(loss()?.to_scalar::<f32>()? < before);
    Ok(())
}

/// A `VarMap` lists its variables in an order of its own, so moments are found by name.
#[test]
fn moments_of_a_var_map_are_saved_by_name() -> Result<()> {
    let trained = |n_steps: usize, state: Option<BTreeMap<String, Tensor>>| -> Result<AdamW> {
        let variables = VarMap::new();
        let builder = VarBuilder::from_varmap(&variables, DType::F32, &CPU);
        let names = ["a", "b", "c", "d"];
        let vars =
            names.map(|name| builder.get_with_hints((3, 3), name, candle_nn::Init::Const(1.)));
        let named = variables.data().lock().expect("one thread").clone();
        let mut optimizer = AdamW::of_vars(named, AdamWConfig::default())?;
        if let Some(state) = state {
            optimizer.load_state_dict(state)?;
        }
        let mut loss = Tensor::zeros((), DType::F32, &CPU)?;
        for (i, var) in vars.into_iter().enumerate() {
            loss = (loss + (var?.sum_all()? * (i + 1) as f64)?)?; // the gradient tells them apart
        }
        optimizer.set_learning_rate(0.1);
        for _ in 0..n_steps {
            optimizer.backward_step(&loss)?;
        }
        Ok(optimizer)
    };
    let state = trained(1, None)?.state_dict()?;
    let first: Vec<f32> = state["c.first"].flatten_all()?.to_vec1()?;
    assert!(first.iter().all(|m| (m - 0.3).abs() < 1e-6), "{first:?}"); // (1 - β₁) · 3
    let restored = trained(0, Some(state.clone()))?.state_dict()?;
    for (name, tensor) in &state {
        assert_close(tensor, &restored[name], 0.);
    }
    let unnamed =
        <AdamW as Optimizer>::new(vec![Var::ones(2, DType::F32, &CPU)?], ParamsAdamW::default())?;
    let error = unnamed.state_dict().expect_err("no names").to_string();
    assert!(error.contains("AdamW::of_vars"), "{error}");
    Ok(())
}

#[test]
fn layers_may_start_from_any_constant() -> Result<()> {
    let mut seeded = Parameters::seeded(0, DType::F32, &CPU);
    candle_nn::prelu(None, seeded.var_builder())?;
    let weight = seeded.get("weight").expect("requested").var.flatten_all()?.to_vec1::<f32>()?;
    assert_eq!(weight, [0.25]);
    // From a file nothing is initialized, so any request will do.
    let tensors = BTreeMap::from([("c".to_string(), Tensor::ones(2, DType::F32, &CPU)?)]);
    let mut loaded = Parameters::from_tensors(tensors, "model", 0, DType::F32, &CPU);
    let init = candle_nn::Init::Randn { mean: 1., stdev: 1. };
    let tensor = loaded.var_builder().get_with_hints(2, "c", init)?;
    assert_eq!(tensor.to_vec1::<f32>()?, [1., 1.]);
    Ok(())
}

/// candle-nn multiplies tensors as they are, so nothing would be rounded.
#[test]
fn models_of_candle_nn_are_refused_where_only_products_are_in_bf16() -> Result<()> {
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    Model::new(&parameters.var_builder())?;
    let mut mixed = parameters.with_compute_dtype(DType::BF16);
    let error = Model::new(&mixed.var_builder()).err().expect("an error").to_string();
    assert!(error.contains("they cannot compute in BF16 on the CPU"), "{error}");
    let mut in_f16 = parameters.with_compute_dtype(DType::F16);
    assert_eq!(Model::new(&in_f16.var_builder())?.output.weight().dtype(), DType::F16);
    Ok(())
}
