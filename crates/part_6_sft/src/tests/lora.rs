//! LoRA: the update, the trained parameters, and the unchanged base weights.

use anyhow::Result;
use candle_core::{DType, Module, Tensor, Var};
use model_io::{LoraConfig, TargetModules};
use modern::GptModern;
use tensor_core::testing::{assert_close, assert_gradients_flow};
use tensor_core::{AdamW, AdamWConfig, Bias, Init, Linear, LoraScaling, Parameters, backward};

use super::{CPU, config, model, model_with_dtype};
use crate::lora::{attach, lora_weight, merge, unmerge};
use crate::{SftBatch, TokenizedExample};

fn lora(rank: usize) -> LoraConfig {
    LoraConfig { rank, alpha: 2. * rank as f64, dropout: 0., target_modules: TargetModules::All }
}

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
    let (base, mut parameters) = model(&config(16), 5)?;
    let before = base.forward(&ids()?)?.to_vec3::<f32>()?;
    attach(&mut parameters, &lora(4), 1)?;
    assert_eq!(build(&mut parameters)?.forward(&ids()?)?.to_vec3::<f32>()?, before);
    Ok(())
}

#[test]
fn a_is_random_b_is_zero_and_both_get_gradients_after_a_step() -> Result<()> {
    let (_, mut parameters) = model(&config(16), 5)?;
    attach(&mut parameters, &lora(4), 1)?;
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
    let (_, mut parameters) = model(&config(16), 5)?;
    let before = values(&parameters)?;
    attach(&mut parameters, &lora(4), 1)?;
    let optimizer_state = AdamW::new(&parameters, AdamWConfig::default())?.state_dict()?;
    assert!(optimizer_state.keys().all(|name| name.contains("lora_")));
    assert_eq!(optimizer_state.len(), 3 * 28);
    train_briefly(&mut parameters)?;
    assert_eq!(values(&parameters)?[..before.len()], before);
    Ok(())
}

#[test]
fn the_model_without_adapters_is_the_base_model() -> Result<()> {
    let (base, mut parameters) = model(&config(16), 5)?;
    let before = base.forward(&ids()?)?.to_vec3::<f32>()?;
    let count = parameters.n_parameters();
    attach(&mut parameters, &lora(4), 1)?;
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
    let config = LoraConfig { alpha: 3., ..lora(1) };
    let merged = lora_weight(&w, &a, &b, config.scale())?;
    assert_eq!(merged.to_vec2::<f64>()?, [[7., -12.], [3., -5.]]);
    Ok(())
}

#[test]
fn a_layer_with_an_adapter_computes_what_its_lora_weight_does() -> Result<()> {
    let mut parameters = Parameters::seeded(1, DType::F64, &CPU);
    let plain = linear_layer(&mut parameters)?;
    let a = Tensor::new(&[[1f64, -2., 0.5], [0.25, 3., -1.]], &CPU)?;
    let b = Tensor::new(&[[2f64, 1.], [-1., 4.]], &CPU)?;
    let config = LoraConfig { rank: 2, alpha: 3., ..lora(2) };
    assert_eq!(config.scale(), 1.5);
    let scaling = LoraScaling { scale: config.scale(), dropout: 0. };
    parameters.add_adapter("mine", [&a, &b], scaling)?;
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

#[test]
fn merging_keeps_the_output_and_unmerging_restores_the_base() -> Result<()> {
    // In f64: the logits reach 20, and the sums that give them cancel, so f32 would be off by 1e-5.
    let (base, mut parameters) = model_with_dtype(DType::F64, &config(16), 5)?;
    let before = base.forward(&ids()?)?;
    let before = before.detach();
    attach(&mut parameters, &lora(4), 1)?;
    train_briefly(&mut parameters)?;
    let finetuned = build(&mut parameters)?.forward(&ids()?)?;
    merge(&parameters)?;
    let mut merged = parameters.without_adapters();
    assert_close(&build(&mut merged)?.forward(&ids()?)?, &finetuned, 1e-10);
    unmerge(&parameters)?;
    assert_close(&build(&mut merged)?.forward(&ids()?)?, &before, 1e-10);
    assert_close(&build(&mut parameters)?.forward(&ids()?)?, &finetuned, 1e-10);
    Ok(())
}

#[test]
fn target_modules_select_layers_by_the_end_of_their_name() -> Result<()> {
    let selected = |names: &[&str]| {
        let (_, mut parameters) = model(&config(16), 5)?;
        let layers = TargetModules::Named(names.iter().map(ToString::to_string).collect());
        attach(&mut parameters, &LoraConfig { target_modules: layers, ..lora(2) }, 1)?;
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
    attach(&mut parameters, &lora(2), 1)?;
    assert!(attach(&mut parameters, &lora(2), 1).is_err());
    let (_, mut parameters) = model(&config(16), 5)?;
    let [down, up] = [(2, 16), (8, 2)].map(|shape| Tensor::zeros(shape, DType::F32, &CPU));
    let scaling = LoraScaling { scale: 1., dropout: 0. };
    let error = parameters.add_adapter("model.layers.0.mlp.up_proj", [&down?, &up?], scaling);
    assert!(error.expect_err("8 rows").to_string().contains("lora_B.weight has shape [8, 2]"));
    assert!(parameters.adapters().is_empty(), "nothing was changed");
    assert!(parameters.trainable().all(|p| !p.name.contains("lora")));
    Ok(())
}

#[test]
fn lora_dropout_is_active_in_training_only() -> Result<()> {
    let (_, mut parameters) = model(&config(16), 5)?;
    attach(&mut parameters, &LoraConfig { dropout: 0.5, ..lora(4) }, 1)?;
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
        attach(&mut parameters, &LoraConfig { dropout: 0.5, ..lora(4) }, seed)?;
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
        let error = attach(&mut parameters, &lora(rank), 1).expect_err("no such rank").to_string();
        assert!(error.contains("at most rank 16"), "{error}");
        assert!(parameters.trainable().count() > 0, "nothing was frozen");
    }
    let (_, mut parameters) = model(&config(16), 5)?;
    attach(&mut parameters, &lora(16), 1)
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
    parameters.add_adapter("mine", [&down, &up], LoraScaling { scale: 1., dropout: 0. })?;
    merge(&parameters)?;
    assert_eq!(weight.to_dtype(DType::F32)?.to_vec2::<f32>()?, [[1. / 256.]]);
    Ok(())
}
