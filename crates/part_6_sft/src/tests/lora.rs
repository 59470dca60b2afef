//! LoRA: the update, the trained parameters, and the unchanged base weights.

use anyhow::Result;
use candle_core::{DType, Module, Tensor, Var};
use model_io::{LoraConfig, LoraVariant, RankScaling, TargetModules};
use modern::GptModern;
use tensor_core::testing::{assert_close, assert_gradients_flow};
use tensor_core::{AdamW, AdamWConfig, Bias, Init, Linear, LoraScaling, Parameters, backward};

use super::{CPU, config, model, model_with_dtype};
use crate::lora::{attach, dora_weight, lora_weight, merge};
use crate::{SftBatch, TokenizedExample};

fn ids() -> Result<Tensor> {
    Ok(Tensor::new(&[[1u32, 9, 300, 4, 7], [3, 3, 8, 250, 6]], &CPU)?)
}

fn batch() -> Result<SftBatch> {
    Ok(SftBatch::padded(&[TokenizedExample::new(vec![1, 9, 300, 4, 7], 2)], &CPU)?)
}

fn build(parameters: &mut Parameters) -> Result<GptModern> {
    Ok(GptModern::new(&config(16), parameters.root())?)
}

/// Trains a few steps, so that B is not zero.
fn train_briefly(parameters: &mut Parameters) -> Result<()> {
    let model = build(parameters)?;
    let mut optimizer = AdamW::new(parameters, AdamWConfig::default())?;
    for _ in 0..5 {
        optimizer.step(&backward(&batch()?.loss(&model)?)?, 0.02)?;
    }
    Ok(())
}

fn values(parameters: &Parameters) -> Result<Vec<Vec<f32>>> {
    parameters.iter().map(|p| Ok(p.var.flatten_all()?.to_vec1()?)).collect()
}

#[test]
fn fresh_adapters_leave_the_logits_unchanged_bit_for_bit() -> Result<()> {
    for variant in [LoraVariant::Plain, LoraVariant::Dora] {
        let (base, mut parameters) = model(&config(16), 5)?;
        let before = base.forward(&ids()?)?.to_vec3::<f32>()?;
        attach(&mut parameters, &LoraConfig { variant, ..LoraConfig::new(4) }, 1)?;
        assert_eq!(build(&mut parameters)?.forward(&ids()?)?.to_vec3::<f32>()?, before);
    }
    Ok(())
}

#[test]
fn a_is_random_b_is_zero_and_both_get_gradients_after_a_step() -> Result<()> {
    let (_, mut parameters) = model(&config(16), 5)?;
    attach(&mut parameters, &LoraConfig::new(4), 1)?;
    let zero = |p: &tensor_core::Parameter| -> Result<bool> {
        Ok(p.var.abs()?.sum_all()?.to_scalar::<f32>()? == 0.)
    };
    for parameter in parameters.trainable() {
        let up = parameter.name.ends_with("lora_B.weight");
        assert!(up || parameter.name.ends_with("lora_A.weight"), "{}", parameter.name);
        assert_eq!(zero(parameter)?, up, "{}", parameter.name);
    }
    assert_eq!(parameters.trainable().count(), 2 * 7 * 2, "seven layers in each of two blocks");
    train_briefly(&mut parameters)?;
    let model = build(&mut parameters)?;
    let grads = backward(&batch()?.loss(&model)?)?;
    assert_gradients_flow(&parameters, &grads)?; // and none reach frozen weights
    Ok(())
}

#[test]
fn only_adapters_are_optimized_and_the_base_stays_unchanged() -> Result<()> {
    for (variant, n_tensors) in [(LoraVariant::Plain, 28), (LoraVariant::Dora, 42)] {
        let (_, mut parameters) = model(&config(16), 5)?;
        let before = values(&parameters)?;
        attach(&mut parameters, &LoraConfig { variant, ..LoraConfig::new(4) }, 1)?;
        let optimizer_state = AdamW::new(&parameters, AdamWConfig::default())?.state_dict()?;
        assert!(optimizer_state.keys().all(|name| name.contains("lora_")));
        assert_eq!(optimizer_state.len(), 3 * n_tensors);
        train_briefly(&mut parameters)?;
        assert_eq!(values(&parameters)?[..before.len()], before);
        let grads = backward(&batch()?.loss(&build(&mut parameters)?)?)?;
        assert_gradients_flow(&parameters, &grads)?; // and none reach frozen weights
    }
    Ok(())
}

#[test]
fn the_model_without_adapters_is_the_base_model() -> Result<()> {
    let (base, mut parameters) = model(&config(16), 5)?;
    let before = base.forward(&ids()?)?.to_vec3::<f32>()?;
    let count = parameters.n_parameters();
    attach(&mut parameters, &LoraConfig::new(4), 1)?;
    train_briefly(&mut parameters)?;
    let finetuned = build(&mut parameters)?.forward(&ids()?)?.to_vec3::<f32>()?;
    assert_ne!(finetuned, before);
    let mut without = parameters.for_inference().without_adapters();
    assert_eq!(build(&mut without)?.forward(&ids()?)?.to_vec3::<f32>()?, before);
    assert_eq!(without.n_parameters(), count);
    let mut inference = parameters.for_inference();
    let inference = build(&mut inference)?.forward(&ids()?)?;
    assert_eq!(inference.to_vec3::<f32>()?, finetuned, "inference parameters keep the adapters");
    assert!(!inference.track_op());
    Ok(())
}

/// Linear layer `mine` from 3 to 2 features, in f64, with its adapter if `parameters` have one.
fn linear_layer(parameters: &mut Parameters) -> Result<Linear> {
    let init = Init::Normal { std: 0.5 };
    Ok(Linear::new(parameters.root().at("mine"), 3, 2, Bias::Yes, init)?)
}

/// Worked by hand: B A = (2, 1)ᵀ (1, −2) for R = 1, and s = α / R = 3.
#[test]
fn lora_weight_matches_the_worked_example() -> Result<()> {
    let w = Tensor::new(&[[1f64, 0.], [0., 1.]], &CPU)?;
    let (a, b) = (Tensor::new(&[[1f64, -2.]], &CPU)?, Tensor::new(&[[2f64], [1.]], &CPU)?);
    let config = LoraConfig { alpha: 3., ..LoraConfig::new(1) };
    let merged = lora_weight(&w, &a, &b, config.scale())?;
    assert_eq!(merged.to_vec2::<f64>()?, [[7., -12.], [3., -5.]]);
    Ok(())
}

#[test]
fn rslora_divides_alpha_by_the_square_root_of_the_rank() {
    let config = LoraConfig { rank: 16, alpha: 8., ..LoraConfig::new(16) };
    assert_eq!(config.scale(), 0.5);
    let config = LoraConfig { scaling: RankScaling::RankStabilized, ..config };
    assert_eq!(config.scale(), 2.);
}

#[test]
fn a_layer_with_an_adapter_computes_what_its_lora_weight_does() -> Result<()> {
    let mut parameters = Parameters::seeded(1, DType::F64, &CPU);
    let plain = linear_layer(&mut parameters)?;
    let a = Tensor::new(&[[1f64, -2., 0.5], [0.25, 3., -1.]], &CPU)?;
    let b = Tensor::new(&[[2f64, 1.], [-1., 4.]], &CPU)?;
    let config = LoraConfig { rank: 2, alpha: 3., ..LoraConfig::new(2) };
    assert_eq!(config.scale(), 1.5);
    let scaling = LoraScaling { scale: config.scale(), dropout: 0. };
    parameters.add_adapter("mine", &a, &b, scaling)?;
    let x = Var::new(&[[1f64, 2., 3.], [-1., 0., 2.]], &CPU)?;
    let adapted = linear_layer(&mut parameters)?.forward(&x)?;

    let (a, b) = (Var::from_tensor(&a)?, Var::from_tensor(&b)?);
    let w = parameters.get("mine.weight").expect("a weight").var.as_detached_tensor();
    let merged = x.matmul(&lora_weight(&w, &a, &b, 1.5)?.t()?)?; // x (W + s B A)ᵀ: (2, 2)
    let merged = merged.broadcast_add(&plain.bias.expect("a bias"))?;
    assert_close(&adapted, &merged, 1e-12);

    let (adapted, merged) =
        (backward(&adapted.sqr()?.sum_all()?)?, backward(&merged.sqr()?.sum_all()?)?);
    let [lora_a, lora_b] = parameters.adapter_parameters("mine").expect("an adapter");
    for (var, same) in [(&lora_a.var, &a), (&lora_b.var, &b), (&x, &x)] {
        let grad = adapted.get(var.as_tensor()).expect("a gradient");
        assert_close(grad, merged.get(same.as_tensor()).expect("a gradient"), 1e-12);
    }
    Ok(())
}

/// Worked by hand: the rows of W + s B A are (3, 4) and (0, 2), and are to be 10 and 1 long.
#[test]
fn dora_weight_matches_the_worked_example() -> Result<()> {
    let w = Tensor::new(&[[3f64, 4.], [0., 2.]], &CPU)?;
    let weight = dora_weight(&w, &Tensor::new(&[10f64, 1.], &CPU)?)?;
    assert_close(&weight, [[6., 8.], [0., 1.]], 1e-15);
    Ok(())
}

/// The paper's section 4.3: the length of W + s B A is a constant to the gradient.
#[test]
fn a_dora_layer_computes_its_dora_weight_and_takes_the_norm_for_a_constant() -> Result<()> {
    let mut parameters = Parameters::seeded(1, DType::F64, &CPU);
    let plain = linear_layer(&mut parameters)?;
    parameters.freeze(|_| true);
    let a = Var::new(&[[1f64, -2., 0.5], [0.25, 3., -1.]], &CPU)?;
    let b = Var::new(&[[2f64, 1.], [-1., 4.]], &CPU)?;
    let m = Var::new(&[3f64, 0.5], &CPU)?;
    parameters.add_adapter("mine", &a, &b, LoraScaling { scale: 1.5, dropout: 0. })?;
    parameters.add_magnitude("mine", &m)?;
    let x = Var::new(&[[1f64, 2., 3.], [-1., 0., 2.]], &CPU)?;
    let adapted = linear_layer(&mut parameters)?.forward(&x)?;

    let w = parameters.get("mine.weight").expect("a weight").var.as_detached_tensor();
    let v = lora_weight(&w, &a, &b, 1.5)?;
    let norms = v.detach().sqr()?.sum(1)?.sqrt()?;
    let dora = v.broadcast_mul(&(m.as_tensor() / norms)?.unsqueeze(1)?)?;
    assert_close(&dora, &dora_weight(&v, &m)?, 1e-12);
    let bias = plain.bias.expect("a bias").detach();
    let expected = x.matmul(&dora.t()?)?.broadcast_add(&bias)?;
    assert_close(&adapted, &expected, 1e-12);

    let (adapted, expected) =
        (backward(&adapted.sqr()?.sum_all()?)?, backward(&expected.sqr()?.sum_all()?)?);
    let [lora_a, lora_b] = parameters.adapter_parameters("mine").expect("an adapter");
    let magnitude = parameters.magnitude("mine").expect("magnitudes");
    for (var, same) in [(&lora_a.var, &a), (&lora_b.var, &b), (&magnitude.var, &m), (&x, &x)] {
        let grad = adapted.get(var.as_tensor()).expect("a gradient");
        assert_close(grad, expected.get(same.as_tensor()).expect("a gradient"), 1e-12);
    }
    Ok(())
}

#[test]
fn the_dropout_of_dora_leaves_the_frozen_product_as_it_is() -> Result<()> {
    let layer = |dropout| -> Result<Linear> {
        let mut parameters = Parameters::seeded(1, DType::F64, &CPU);
        linear_layer(&mut parameters)?;
        parameters.freeze(|_| true);
        let (a, b) =
            (Tensor::ones((1, 3), DType::F64, &CPU)?, Tensor::ones((2, 1), DType::F64, &CPU)?);
        parameters.add_adapter("mine", &a, &b, LoraScaling { scale: 1., dropout })?;
        parameters.add_magnitude("mine", &Tensor::new(&[3f64, 0.5], &CPU)?)?;
        linear_layer(&mut parameters)
    };
    let x = Tensor::new(&[[1f64, 2., 3.]], &CPU)?;
    let (sure, dropped) = (layer(0.)?, layer(0.5)?);
    let base = sure.weight.linear(&x, sure.bias.as_ref())?;
    let change = (sure.forward(&x)? - &base)?;
    let mean_change = (0..4000).try_fold(change.zeros_like()?, |sum, _| {
        sum + ((dropped.forward(&x)? - &base)? / 4000.)?
    })?;
    assert_close(&mean_change, &change, 0.1);
    Ok(())
}

#[test]
fn a_merged_model_computes_what_its_adapters_do() -> Result<()> {
    // In f64: the logits reach 20, and the sums that give them cancel, so f32 would be off by 1e-5.
    for variant in [LoraVariant::Plain, LoraVariant::Dora] {
        let (_, mut parameters) = model_with_dtype(DType::F64, &config(16), 5)?;
        attach(&mut parameters, &LoraConfig { variant, ..LoraConfig::new(4) }, 1)?;
        train_briefly(&mut parameters)?;
        let finetuned = build(&mut parameters)?.forward(&ids()?)?;
        merge(&parameters)?;
        assert_close(
            &build(&mut parameters.without_adapters())?.forward(&ids()?)?,
            &finetuned,
            1e-10,
        );
    }
    Ok(())
}

#[test]
fn target_modules_select_layers_by_the_end_of_their_name() -> Result<()> {
    let selected = |names: &[&str]| {
        let (_, mut parameters) = model(&config(16), 5)?;
        let layers = TargetModules::Named(names.iter().map(ToString::to_string).collect());
        attach(&mut parameters, &LoraConfig { target_modules: layers, ..LoraConfig::new(2) }, 1)?;
        anyhow::Ok(parameters.adapters().keys().cloned().collect::<Vec<_>>())
    };
    assert_eq!(
        selected(&["q_proj"])?,
        ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"]
    );
    assert_eq!(selected(&["1.mlp.up_proj"])?, ["model.layers.1.mlp.up_proj"]);
    let error = selected(&["q_proj", "proj"]).expect_err("no layer is called that").to_string();
    assert!(error.contains("no linear layer is called `proj`"), "{error}");
    assert!(
        error.contains("q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj"),
        "{error}"
    );
    assert!(selected(&["embed_tokens"]).is_err(), "an embedding is not a linear layer");
    Ok(())
}

#[test]
fn a_second_adapter_and_wrong_shapes_are_rejected() -> Result<()> {
    let (_, mut parameters) = model(&config(16), 5)?;
    attach(&mut parameters, &LoraConfig::new(2), 1)?;
    assert!(attach(&mut parameters, &LoraConfig::new(2), 1).is_err());
    let (_, mut parameters) = model(&config(16), 5)?;
    let [down, up] = [(2, 16), (8, 2)].map(|shape| Tensor::zeros(shape, DType::F32, &CPU));
    let scaling = LoraScaling { scale: 1., dropout: 0. };
    let error = parameters.add_adapter("model.layers.0.mlp.up_proj", &down?, &up?, scaling);
    assert!(error.expect_err("8 rows").to_string().contains("lora_B.weight has shape [8, 2]"));
    assert!(parameters.adapters().is_empty(), "nothing was changed");
    assert!(parameters.trainable().all(|p| !p.name.contains("lora")));

    let layer = "model.layers.0.mlp.up_proj";
    let norms = parameters.row_norms(layer)?;
    let error = |parameters: &mut Parameters, magnitude: &Tensor| {
        parameters.add_magnitude(layer, magnitude).expect_err("a fault").to_string()
    };
    assert!(error(&mut parameters, &norms).contains("has no adapter"));
    let zeros = |shape| Tensor::zeros(shape, DType::F32, &CPU);
    parameters.add_adapter(layer, &zeros((2, 16))?, &zeros((norms.dim(0)?, 2))?, scaling)?;
    assert!(error(&mut parameters, &norms).contains("is trained: freeze it"));
    parameters.freeze(|_| true);
    assert!(error(&mut parameters, &norms.narrow(0, 0, 3)?).contains("vector has shape [3]"));
    parameters.add_magnitude(layer, &norms)?;
    assert!(error(&mut parameters, &norms).contains("has magnitudes already"));
    Ok(())
}

#[test]
fn lora_dropout_is_active_in_training_only() -> Result<()> {
    let (_, mut parameters) = model(&config(16), 5)?;
    attach(&mut parameters, &LoraConfig { dropout: 0.5, ..LoraConfig::new(4) }, 1)?;
    train_briefly(&mut parameters)?;
    let model = build(&mut parameters)?;
    let logits = |model: &GptModern| anyhow::Ok(model.forward(&ids()?)?.to_vec3::<f32>()?);
    assert_ne!(logits(&model)?, logits(&model)?);
    let mut inference = parameters.for_inference();
    let inference = build(&mut inference)?;
    assert_eq!(logits(&inference)?, logits(&inference)?);
    Ok(())
}

#[test]
fn the_dropout_of_adapters_depends_on_the_seed() -> Result<()> {
    let logits = |seed| -> Result<Vec<Vec<Vec<f32>>>> {
        let (_, mut parameters) = model(&config(16), 5)?;
        attach(&mut parameters, &LoraConfig { dropout: 0.5, ..LoraConfig::new(4) }, seed)?;
        for parameter in parameters.trainable() {
            parameter.var.set(&(parameter.var.ones_like()? * 0.1)?)?; // equal for all seeds
        }
        Ok(build(&mut parameters)?.forward(&ids()?)?.to_vec3()?)
    };
    assert_eq!(logits(1)?, logits(1)?);
    assert_ne!(logits(1)?, logits(2)?);
    Ok(())
}

#[test]
fn a_rank_above_that_of_the_layers_is_rejected_before_allocation() -> Result<()> {
    for rank in [17, 100_000_000, 100_000_000_000_000_000] {
        let (_, mut parameters) = model(&config(16), 5)?;
        let error = attach(&mut parameters, &LoraConfig::new(rank), 1)
            .expect_err("no such rank")
            .to_string();
        assert!(error.contains("at most rank 16"), "{error}");
        assert!(parameters.trainable().count() > 0, "nothing was frozen");
    }
    let (_, mut parameters) = model(&config(16), 5)?;
    attach(&mut parameters, &LoraConfig::new(16), 1)
}

#[test]
fn sixteen_bit_weights_are_merged_in_f32() -> Result<()> {
    // −1 + (1 + 2⁻⁸): in bf16 the sum in parentheses would round to 1.
    let mut parameters = Parameters::seeded(1, DType::BF16, &CPU);
    let init = Init::Normal { std: 0.5 };
    Linear::new(parameters.root().at("mine"), 1, 1, Bias::No, init)?;
    let weight = parameters.get("mine.weight").expect("a weight").var.clone();
    weight.set(&Tensor::new(&[[-1f32]], &CPU)?.to_dtype(DType::BF16)?)?;
    let down = Tensor::new(&[[1f32], [1.]], &CPU)?.to_dtype(DType::BF16)?;
    let up = Tensor::new(&[[1f32, 1. / 256.]], &CPU)?.to_dtype(DType::BF16)?;
    parameters.add_adapter("mine", &down, &up, LoraScaling { scale: 1., dropout: 0. })?;
    merge(&parameters)?;
    assert_eq!(weight.to_dtype(DType::F32)?.to_vec2::<f32>()?, [[1. / 256.]]);
    Ok(())
}
