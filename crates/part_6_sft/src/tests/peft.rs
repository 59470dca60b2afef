//! Adapter files: agreement with peft in both directions, and rejection of unsupported settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::{DType, Module, Tensor};
use model_io::{
    LoadMode, LoraConfig, LoraVariant, ModelConfig, RankScaling, TargetModules, peft_folder,
};
use modern::{Checkpoint, GptModern};
use serde_json::{Value, json};
use tensor_core::ops::cross_entropy;
use tensor_core::quantized::{Quantization, QuantizedMatrix};
use tensor_core::testing::{assert_close, assert_python_agrees};
use tensor_core::{Parameter, Parameters, Rng, backward, gradient_report, json_file};

use super::{CPU, config, model};
use crate::lora::attach;
use crate::{SftBatch, TokenizedExample, lora};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn base_folder(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../part_3_modern/tests/golden").join(family)
}

/// Small random Llama, opened for training.
fn base() -> Result<(GptModern, Parameters)> {
    base_of("llama")
}

/// Small random model of `family`, opened for training.
fn base_of(family: &str) -> Result<(GptModern, Parameters)> {
    let folder = model_io::model_folder::open(&base_folder(family), candle_core::DType::F32, &CPU)?;
    GptModern::from_weights(folder)
}

fn examples(golden: &Value) -> Vec<TokenizedExample> {
    let examples = golden["examples"].as_array().expect("examples").iter();
    examples
        .map(|example| {
            let ids = serde_json::from_value(example["ids"].clone()).expect("ids");
            TokenizedExample::new(ids, example["given"].as_u64().expect("a number") as usize)
        })
        .collect()
}

#[test]
fn an_adapter_with_nan_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::copy(golden("lora/adapter_config.json"), folder.path().join("adapter_config.json"))?;
    let file = "adapter_model.safetensors";
    let mut tensors = tensor_core::weights::load(&golden("lora").join(file))?;
    let first = tensors.values_mut().next().expect("a tensor");
    *first = (&*first * f64::NAN)?;
    tensor_core::weights::save(&folder.path().join(file), &tensors)?;
    let (_, mut parameters) = base()?;
    let error = peft_folder::open(folder.path(), &mut parameters).expect_err("NaN").to_string();
    assert!(error.contains("lora_A.weight` has a weight that is NaN or infinite"), "{error}");
    Ok(())
}

#[test]
fn masked_loss_and_adapted_models_match_transformers_and_peft() -> Result<()> {
    for adapter in ["lora", "rslora", "dora"] {
        assert_matches_peft(&golden(adapter)).with_context(|| adapter)?;
    }
    Ok(())
}

fn assert_matches_peft(folder: &Path) -> Result<()> {
    let golden_file = json_file::read(&folder.join("golden.json"))?;
    let examples = examples(&golden_file);
    let (model, mut parameters) = base()?;
    let close = |ours: &Tensor, theirs: &Value| {
        assert_close(ours, theirs.as_f64().expect("a loss"), 1e-4);
    };
    let config = *model.config();
    for batch in [SftBatch::padded(&examples, &CPU)?, SftBatch::packed(&examples, 9, &CPU)?] {
        close(&batch.loss(&model)?, &golden_file["base_loss"]);
    }
    peft_folder::open(folder, &mut parameters)?;
    let model = GptModern::new(&config, parameters.root())?;
    for batch in [SftBatch::padded(&examples, &CPU)?, SftBatch::packed(&examples, 9, &CPU)?] {
        let loss = batch.loss(&model)?;
        close(&loss, &golden_file["loss"]);
        let grads = backward(&loss)?;
        let norms = golden_file["grad_norms"].as_object().expect("norms");
        assert_eq!(norms.len(), parameters.trainable().count());
        for parameter in parameters.trainable() {
            let grad = grads.get(parameter.var.as_tensor()).expect("a gradient");
            close(&grad.sqr()?.sum_all()?.sqrt()?, &norms[&parameter.name]);
            if parameter.name.ends_with("lora_magnitude_vector") {
                let theirs = golden_file["magnitude_grads"][&parameter.name].clone();
                assert_close(grad, serde_json::from_value::<Vec<f32>>(theirs)?, 1e-4);
            }
        }
    }
    let ids = Tensor::new(&examples[0].ids[..], &CPU)?.unsqueeze(0)?;
    let theirs: Vec<Vec<f32>> = serde_json::from_value(golden_file["logits"].clone())?;
    let logits = Tensor::new(theirs, &CPU)?;
    assert_close(&model.forward(&ids)?.squeeze(0)?, &logits, 1e-4);
    lora::merge(&parameters)?;
    let merged = GptModern::new(&config, parameters.without_adapters().root())?;
    assert_close(&merged.forward(&ids)?.squeeze(0)?, &logits, 1e-4);
    Ok(())
}

#[test]
fn adapters_of_fused_experts_match_peft() -> Result<()> {
    for family in ["mixtral", "qwen3_moe"] {
        let (opened, mut parameters) = base_of(family)?;
        peft_folder::open(&golden(family), &mut parameters)?;
        let golden_file = json_file::read(&golden(family).join("golden.json"))?;
        let ids: Vec<u32> = serde_json::from_value(golden_file["ids"].clone())?;
        let ids = Tensor::new(&ids[..], &CPU)?.unsqueeze(0)?;
        let theirs: Vec<Vec<f32>> = serde_json::from_value(golden_file["logits"].clone())?;
        let theirs = Tensor::new(theirs, &CPU)?;
        let logits = |mut parameters: Parameters| -> Result<Tensor> {
            let model = GptModern::new(opened.config(), parameters.root())?;
            Ok(model.forward(&ids)?.squeeze(0)?)
        };
        assert_close(&logits(parameters.for_inference())?, &theirs, 1e-4);
        lora::merge(&parameters)?;
        assert_close(&logits(parameters.without_adapters())?, &theirs, 1e-4);
    }
    Ok(())
}

#[test]
fn adapters_of_fused_experts_that_do_not_fit_are_rejected() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let settings = json_file::read(&golden("mixtral").join("adapter_config.json"))?;
    let tensors = tensor_core::weights::load(&golden("mixtral/adapter_model.safetensors"))?;
    let path = |end: &str| format!("base_model.model.model.layers.0.mlp.experts.{end}.weight");
    let refuse = |settings: &Value,
                  change: &dyn Fn(&mut BTreeMap<String, Tensor>) -> Result<()>| {
        let mut tensors = tensors.clone();
        change(&mut tensors)?;
        json_file::write(&folder.path().join("adapter_config.json"), settings)?;
        tensor_core::weights::save(&folder.path().join("adapter_model.safetensors"), &tensors)?;
        let opened = peft_folder::open(folder.path(), &mut base_of("mixtral")?.1);
        Ok::<_, anyhow::Error>(format!("{:#}", opened.expect_err("a misfit")))
    };
    let mut no_pattern = settings.clone();
    no_pattern["rank_pattern"] = json!({});
    let error = refuse(&no_pattern, &|_| Ok(()))?;
    assert!(error.contains("lora_A has 12 rows, expected 2 for each of 3 experts"), "{error}");
    no_pattern["r"] = json!(u64::MAX);
    let error = refuse(&no_pattern, &|_| Ok(()))?;
    assert!(error.contains("expected 18446744073709551615 for each of 3 experts"), "{error}");
    let error = refuse(&settings, &|tensors| {
        tensors.remove(&path("lora_B"));
        Ok(())
    })?;
    assert!(error.contains("layers.0.mlp.experts is incomplete"), "{error}");
    let error = refuse(&settings, &|tensors| {
        tensors.insert(path("lora_A"), Tensor::zeros((6, 7), DType::F32, &CPU)?);
        Ok(())
    })?;
    assert!(error.contains("for a matrix of shape 16 x 7"), "{error}");
    Ok(())
}

#[test]
fn saved_adapters_open_unchanged() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let ids = Tensor::new(&[[1u32, 9, 3, 4, 7]], &CPU)?;
    for (target_modules, scaling, variant) in [
        (TargetModules::All, RankScaling::Standard, LoraVariant::Plain),
        (
            TargetModules::Named(vec!["q_proj".into(), "mlp.up_proj".into()]),
            RankScaling::RankStabilized,
            LoraVariant::Dora,
        ),
    ] {
        let (_, mut parameters) = model(&config(16), 5)?;
        let lora =
            LoraConfig { rank: 3, alpha: 5., dropout: 0.1, target_modules, scaling, variant };
        attach(&mut parameters, &lora, 1)?;
        for parameter in parameters.trainable() {
            let noise = tensor_core::Rng::new(9).normal_tensor(
                parameter.var.shape(),
                0.3,
                candle_core::DType::F32,
                &CPU,
            )?;
            parameter.var.set(&noise)?;
        }
        peft_folder::save(folder.path(), &parameters, &lora, "base")?;
        let (_, mut again) = model(&config(16), 5)?;
        let opened = peft_folder::open(folder.path(), &mut again)?;
        assert_eq!((opened.rank, opened.alpha, opened.dropout), (3, 5., 0.1));
        assert_eq!((opened.scaling, opened.variant), (scaling, variant));
        let logits = |parameters: &Parameters| -> Result<Vec<Vec<Vec<f32>>>> {
            let model = GptModern::new(&config(16), parameters.for_inference().root())?;
            Ok(model.forward(&ids)?.to_vec3()?)
        };
        assert_eq!(logits(&again)?, logits(&parameters)?);
        assert_eq!(again.adapters().len(), parameters.adapters().len());
    }
    Ok(())
}

#[test]
fn peft_opens_our_adapters() -> Result<()> {
    for variant in [LoraVariant::Plain, LoraVariant::Dora] {
        assert_peft_opens("llama", &LoraConfig { alpha: 6., variant, ..LoraConfig::new(4) })?;
    }
    let scaling = RankScaling::RankStabilized;
    assert_peft_opens("llama", &LoraConfig { alpha: 6., scaling, ..LoraConfig::new(4) })?;
    for family in ["mixtral", "qwen3_moe"] {
        assert_peft_opens(family, &LoraConfig { alpha: 6., ..LoraConfig::new(2) })?;
    }
    Ok(())
}

fn assert_peft_opens(family: &str, lora: &LoraConfig) -> Result<()> {
    let (opened, mut parameters) = base_of(family)?;
    let config = *opened.config();
    attach(&mut parameters, lora, 1)?;
    for (seed, parameter) in parameters.trainable().enumerate() {
        let noise = tensor_core::Rng::new(seed as u64).normal_tensor(
            parameter.var.shape(),
            0.3,
            candle_core::DType::F32,
            &CPU,
        )?;
        parameter.var.set(&noise)?;
    }
    let folder = tempfile::tempdir()?;
    peft_folder::save(folder.path(), &parameters, lora, family)?;
    let ids = [5u32, 9, 2, 30, 7, 11];
    let model = GptModern::new(&config, parameters.for_inference().root())?;
    let logits = model.forward(&Tensor::new(&[ids], &CPU)?)?.squeeze(0)?.to_vec2::<f32>()?;
    json_file::write(
        &folder.path().join("check.json"),
        &json!({ "input_ids": ids, "logits": logits }),
    )?;
    assert_python_agrees("check_adapter.py", [base_folder(family).as_path(), folder.path()]);
    Ok(())
}

#[test]
fn adapters_of_another_model_are_rejected_with_names_and_shapes() -> Result<()> {
    let (_, mut parameters) = model(&config(16), 5)?; // the same number of layers, other widths
    let error = peft_folder::open(&golden("lora"), &mut parameters).expect_err("another model");
    let text = format!("{error:#}");
    assert!(text.contains("is not an adapter of this model"), "{text}");
    assert!(text.contains("v_proj.lora_B has shape [8, 3], expected [16, 3]"), "{text}");
    assert!(!text.contains('\n'));
    assert!(parameters.adapters().is_empty() && parameters.trainable().count() > 0, "unchanged");
    let one_layer = model_io::ModelConfig { n_layer: 1, ..*base()?.0.config() };
    let mut fewer = Parameters::seeded(0, candle_core::DType::F32, &CPU);
    GptModern::new(&one_layer, fewer.root())?;
    let error = peft_folder::open(&golden("lora"), &mut fewer).expect_err("a layer is missing");
    assert!(
        format!("{error:#}").contains("no layer for base_model.model.model.layers.1."),
        "{error:#}"
    );
    Ok(())
}

#[test]
fn unsupported_peft_settings_are_rejected_by_name() -> Result<()> {
    let plain = json_file::read(&golden("lora/adapter_config.json"))?;
    for (key, value) in [
        ("peft_type", json!("IA3")),
        ("use_dora", json!(1)),
        ("use_rslora", json!("yes")),
        ("bias", json!("all")),
        ("rank_pattern", json!({"q_proj": 0})),
        ("rank_pattern", json!({"q_proj(": 2})),
        ("rank_pattern", json!({"(\\w{1000}){1000}": 2})), // gigabytes, if it were compiled
        ("rank_pattern", json!(2)),
        ("modules_to_save", json!(["lm_head"])),
        ("target_modules", json!(".*q_proj")),
        ("target_modules", json!("q_proj")), // a regex of the whole name, which matches no layer
        ("alpha_pattern", json!({"q_proj": "2"})),
        ("alpha_pattern", json!({"q_proj": 1e300})),
        ("layers_to_transform", json!([1])),
        ("target_parameters", json!(["experts"])),
        ("init_lora_weights", json!("pissa")),
        ("init_lora_weights", json!("pissa_niter_4")),
        ("init_lora_weights", json!("olora")),
        ("layer_replication", json!([[0, 1]])),
        ("alora_invocation_tokens", json!([1])),
        ("trainable_token_indices", json!([1])),
        ("of_a_later_peft", json!("on")),
        ("r", json!(0)),
        ("lora_dropout", json!(1)),
        ("lora_dropout", json!(-0.1)),
        ("lora_alpha", json!(1e300)),
    ] {
        let folder = tempfile::tempdir()?;
        let mut config = plain.clone();
        config[key] = value;
        json_file::write(&folder.path().join("adapter_config.json"), &config)?;
        let weights = "adapter_model.safetensors";
        std::fs::copy(golden("lora").join(weights), folder.path().join(weights))?;
        let (_, mut parameters) = base()?;
        let error = peft_folder::open(folder.path(), &mut parameters).expect_err(key);
        assert!(format!("{error:#}").contains(&format!("`{key}`")), "{error:#}");
    }
    Ok(())
}

#[test]
fn adapters_whose_tensors_differ_from_their_settings_are_rejected() -> Result<()> {
    for (key, value, message) in [
        ("rank_pattern", json!({"q_proj": 2}), "q_proj.lora_A has shape [3, 16], expected [2, 16]"),
        ("use_dora", json!(true), "q_proj lacks lora_magnitude_vector"),
    ] {
        let folder = tempfile::tempdir()?;
        let mut config = json_file::read(&golden("lora/adapter_config.json"))?;
        config[key] = value;
        json_file::write(&folder.path().join("adapter_config.json"), &config)?;
        let weights = "adapter_model.safetensors";
        std::fs::copy(golden("lora").join(weights), folder.path().join(weights))?;
        let error = peft_folder::open(folder.path(), &mut base()?.1).expect_err(key);
        assert!(format!("{error:#}").contains(message), "{error:#}");
    }
    let plain = tempfile::tempdir()?; // magnitudes that the settings do not announce
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(golden("dora").join(file), plain.path().join(file))?;
    }
    let path = plain.path().join("adapter_config.json");
    let mut config = json_file::read(&path)?;
    config["use_dora"] = json!(false);
    json_file::write(&path, &config)?;
    let error = peft_folder::open(plain.path(), &mut base()?.1).expect_err("magnitudes");
    assert!(format!("{error:#}").contains("lora_magnitude_vector"), "{error:#}");
    Ok(())
}

#[test]
fn initializations_that_keep_the_base_weights_are_accepted() -> Result<()> {
    let plain = json_file::read(&golden("lora/adapter_config.json"))?;
    for value in [json!(true), json!(false), json!("gaussian"), Value::Null] {
        let folder = tempfile::tempdir()?;
        let mut config = plain.clone();
        config["init_lora_weights"] = value;
        json_file::write(&folder.path().join("adapter_config.json"), &config)?;
        let weights = "adapter_model.safetensors";
        std::fs::copy(golden("lora").join(weights), folder.path().join(weights))?;
        peft_folder::open(folder.path(), &mut base()?.1)?;
    }
    Ok(())
}

#[test]
fn adapters_attach_to_quantized_weights_but_do_not_merge() -> Result<()> {
    let Some(path) = tensor_core::testing::course_data("models/SmolLM2-135M-Instruct.Q4_1.gguf")
    else {
        return Ok(());
    };
    let Checkpoint { mut parameters, .. } =
        Checkpoint::open(&path.to_string_lossy(), LoadMode::Inference, &CPU)?;
    let lora = LoraConfig::new(1);
    attach(&mut parameters, &lora, 1)?;
    assert_eq!(parameters.adapters().len(), 7 * 30);
    let error = lora::merge(&parameters).expect_err("quantized weights").to_string();
    assert!(error.contains("is quantized"), "{error}");
    Ok(())
}

/// QLoRA: the gradient passes through the quantized weights to the adapters of every layer.
#[test]
fn adapters_on_quantized_weights_get_the_gradient_of_the_dequantized_model() -> Result<()> {
    let config = ModelConfig { vocab_size: 64, ..ModelConfig::byte_level(16, 3, 2, 96) };
    let mut seeded = Parameters::seeded(1, DType::F32, &CPU);
    GptModern::new(&config, seeded.root())?;
    let (mut quantized, mut full, mut rest) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for Parameter { name, var, .. } in seeded.iter() {
        if let ([_, _], tensor) = (var.dims(), var.as_detached_tensor()) {
            let matrix = QuantizedMatrix::quantize(Quantization::Q4_1, &tensor)?;
            full.insert(name.clone(), matrix.dequantize()?);
            quantized.insert(name.clone(), matrix);
        } else {
            full.insert(name.clone(), var.as_detached_tensor());
            rest.insert(name.clone(), var.as_detached_tensor());
        }
    }
    // 18 rows, for which the product does not round the embeddings to 8 bits.
    let ids = Tensor::new(&[[1u32, 5, 9, 2, 7, 3], [4; 6], [8, 0, 8, 0, 8, 0]], &CPU)?;
    let targets = Tensor::new(&[[5i64, 9, 2, 7, 3, 4], [4; 6], [0, 8, 0, 8, 0, 8]], &CPU)?;
    let lora = LoraConfig::new(2);
    let grads_of = |mut parameters: Parameters| -> Result<Vec<Tensor>> {
        GptModern::new(&config, parameters.root())?;
        parameters.ensure_all_used()?;
        attach(&mut parameters, &lora, 3)?;
        for (i, adapter) in parameters.trainable().enumerate() {
            let random =
                Rng::new(i as u64).normal_tensor(adapter.var.shape(), 0.1, DType::F32, &CPU)?;
            adapter.var.set(&random)?; // B is 0 at first, and A then has no gradient
        }
        let model = GptModern::new(&config, parameters.root())?;
        let loss = || cross_entropy(&model.forward(&ids)?, &targets);
        gradient_report(&loss()?, &parameters)?.ensure_complete()?;
        let grads = backward(&loss()?)?;
        let of = |adapter: &Parameter| grads.get(adapter.var.as_tensor()).expect("one").clone();
        Ok(parameters.trainable().map(of).collect())
    };
    let from = |tensors| Parameters::from_tensors(tensors, "weights", 1, DType::F32, &CPU);
    let found = grads_of(from(rest).with_quantized(quantized))?;
    let expected = grads_of(from(full))?;
    assert_eq!((found.len(), expected.len()), (2 * 7 * 3, 2 * 7 * 3));
    for (found, expected) in found.iter().zip(&expected) {
        assert_close(found, expected, 1e-5);
    }
    Ok(())
}
