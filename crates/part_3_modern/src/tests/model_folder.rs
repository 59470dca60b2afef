use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::{DType, Module, Tensor};
use model_io::config::LmHead;
use model_io::config_json;
use model_io::model_folder::{SpecialTokenIds, open, read_special_token_ids, save};
use serde::Deserialize;
use serde_json::{Value, json};
use tensor_core::ops::cross_entropy;
use tensor_core::testing::assert_close;
use tensor_core::{Parameters, backward};

use super::{CPU, fresh, tiny, variants};
use crate::GptModern;

const FAMILIES: [&str; 16] = [
    "llama",
    "llama_3",
    "qwen2",
    "qwen3",
    "mistral",
    "smollm3",
    "phi3",
    "gemma",
    "gemma2",
    "gemma3",
    "gpt2",
    "opt",
    "opt_350m",
    "gpt_neox",
    "mixtral",
    "qwen3_moe",
];

fn golden(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(family)
}

/// Reference results of transformers, from scripts/golden_modern.py.
#[derive(Deserialize)]
struct Golden {
    sequences: Vec<Sequence>,
    loss: f64,
    grad_norms: std::collections::BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Sequence {
    input_ids: Vec<u32>,
    logits: Vec<Vec<f64>>,
}

fn read_golden(family: &str) -> Result<Golden> {
    Ok(serde_json::from_slice(&std::fs::read(golden(family).join("golden.json"))?)?)
}

fn logits_of(model: &GptModern, ids: &[u32]) -> candle_core::Result<Tensor> {
    model.forward(&Tensor::new(ids, &CPU)?.unsqueeze(0)?)?.squeeze(0)
}

#[test]
fn logits_equal_those_of_transformers_for_every_family() -> Result<()> {
    for family in FAMILIES {
        let (model, _) = GptModern::from_weights(open(&golden(family), DType::F32, &CPU)?)?;
        for Sequence { input_ids, logits } in read_golden(family)?.sequences {
            println!("{family}, {} tokens", input_ids.len());
            assert_close(&logits_of(&model, &input_ids)?, &Tensor::new(logits, &CPU)?, 1e-4);
        }
    }
    Ok(())
}

#[test]
fn gradients_equal_those_of_transformers_for_every_family() -> Result<()> {
    for family in FAMILIES {
        let (model, parameters) =
            GptModern::from_weights(open(&golden(family), DType::F32, &CPU)?)?;
        let golden = read_golden(family)?;
        let ids = &golden.sequences[0].input_ids;
        let n = ids.len();
        let targets: Vec<i64> = ids[1..].iter().map(|&id| i64::from(id)).collect();
        let logits = logits_of(&model, ids)?.narrow(0, 0, n - 1)?;
        let loss = cross_entropy(&logits, &Tensor::new(targets, &CPU)?)?;
        assert_close(f64::from(loss.to_scalar::<f32>()?), golden.loss, 1e-5);
        let grads = backward(&loss)?;
        for parameter in parameters.iter() {
            let grad = grads.get(parameter.var.as_tensor()).expect("a gradient");
            let norm = grad.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt();
            // Transformers has other names in memory, and stacks the matrices of experts.
            let is_expert = parameter.name.contains(".experts.");
            if is_expert && matches!(family, "mixtral" | "qwen3_moe") {
                assert!(norm > 0., "{family}, {}: no gradient", parameter.name);
                continue;
            }
            let name = parameter.name.replace("embed_out", "lm_head");
            let theirs = name.replace("block_sparse_moe", "mlp");
            let expected = golden.grad_norms[&theirs];
            let close = (f64::from(norm) - expected).abs() < 1e-4 * (1. + expected);
            assert!(close, "{family}, {}: {norm}, not {expected}", parameter.name);
        }
    }
    Ok(())
}

fn values_of(parameters: &Parameters) -> Result<Vec<(String, Vec<f32>)>> {
    let all = parameters.iter().map(|p| {
        let numbers = p.var.as_tensor().to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        Ok((p.name.clone(), numbers))
    });
    all.collect()
}

#[test]
fn a_saved_model_opens_unchanged() -> Result<()> {
    let special_ids = SpecialTokenIds { bos: Some(1), eos: vec![2, 7] };
    for (name, config) in variants() {
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            println!("{name} {dtype:?}");
            let folder = tempfile::tempdir()?;
            let (_, parameters) = fresh(&config, dtype)?;
            save(folder.path(), &config, &parameters, &special_ids, None)?;
            let (model, opened) = GptModern::from_weights(open(folder.path(), dtype, &CPU)?)?;
            assert_eq!(*model.config(), config);
            assert_eq!(values_of(&opened)?, values_of(&parameters)?);
            assert_eq!(read_special_token_ids(folder.path())?, special_ids);
        }
    }
    Ok(())
}

#[test]
fn a_transformers_config_survives_reading_and_writing() -> Result<()> {
    for family in FAMILIES {
        let theirs: Value =
            serde_json::from_slice(&std::fs::read(golden(family).join("config.json"))?)?;
        let config = config_json::from_json(&theirs)?;
        let ours = config_json::to_json(&config);
        assert_eq!(ours["model_type"], theirs["model_type"]);
        assert_eq!(ours["architectures"], theirs["architectures"]);
        assert_eq!(config_json::from_json(&ours)?, config);
    }
    Ok(())
}

/// Error message of opening Llama's golden folder after a change to it.
fn error_after(change: impl FnOnce(&Path) -> Result<()>) -> Result<String> {
    let folder = tempfile::tempdir()?;
    for entry in std::fs::read_dir(golden("llama_3"))? {
        let entry = entry?;
        std::fs::copy(entry.path(), folder.path().join(entry.file_name()))?;
    }
    change(folder.path())?;
    let opened = open(folder.path(), DType::F32, &CPU).and_then(GptModern::from_weights);
    let error = opened.map(drop).expect_err("an error");
    Ok(format!("{error:#}"))
}

fn edit(folder: &Path, name: &str, key: &str, value: Value) -> Result<()> {
    let path = folder.join(name);
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    json[key] = value;
    Ok(std::fs::write(path, json.to_string())?)
}

#[test]
fn damaged_folders_are_rejected_with_the_reason() -> Result<()> {
    let config = |key: &'static str, value: Value| {
        error_after(move |folder| edit(folder, "config.json", key, value))
    };
    assert!(config("model_type", json!("bert"))?.contains("model_type `bert` is not supported"));
    let own_moe = error_after(|folder| {
        edit(folder, "config.json", "model_type", json!("llm_from_scratch"))?;
        edit(folder, "config.json", "num_local_experts", json!(4))
    })?;
    assert!(own_moe.contains("a mixture of experts: open it with `part_5 sample`"));
    assert!(config("hidden_act", json!("relu"))?.contains("`hidden_act` is `relu`"));
    assert!(config("num_hidden_layers", json!(3))?.contains("`model.layers.2"));
    assert!(config("num_hidden_layers", json!(1))?.contains("unexpected tensor `model.layers.1"));
    assert!(config("num_key_value_heads", json!(3))?.contains("cannot share 3"));
    assert!(config("head_dim", json!(4))?.contains("has shape [24, 16]"));
    assert!(config("vocab_size", json!(-1))?.contains("`vocab_size` is -1"));
    assert!(config("rope_parameters", json!({ "rope_type": "mrope" }))?.contains("`mrope`"));
    assert!(
        config("tie_word_embeddings", json!(true))?
            .contains("differs from `model.embed_tokens.weight`")
    );
    assert!(
        error_after(|f| Ok(std::fs::write(f.join("config.json"), "{")?))?.contains("is not JSON")
    );
    let shard = "model-00002-of-00003.safetensors";
    assert!(error_after(|f| Ok(std::fs::remove_file(f.join(shard))?))?.contains(shard));
    let truncated = error_after(|f| {
        let bytes = std::fs::read(f.join(shard))?;
        Ok(std::fs::write(f.join(shard), &bytes[..bytes.len() / 2])?)
    })?;
    assert!(truncated.contains("is not a complete safetensors file"), "{truncated}");
    let map = |value| error_after(|f| edit(f, "model.safetensors.index.json", "weight_map", value));
    assert!(map(json!({ "x": "../secret" }))?.contains("not a .safetensors file of this folder"));
    assert!(map(json!(3))?.contains("lacks a `weight_map`"));
    Ok(())
}

#[test]
fn a_stored_copy_of_a_tied_lm_head_is_accepted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (_, parameters) = fresh(&tiny(), DType::F32)?;
    save(folder.path(), &tiny(), &parameters, &SpecialTokenIds::default(), None)?;
    let path = folder.path().join("model.safetensors");
    let mut tensors = tensor_core::weights::load(&path)?;
    tensors.insert("lm_head.weight".into(), tensors["model.embed_tokens.weight"].clone());
    tensor_core::weights::save(&path, &tensors)?;
    let (model, _) = GptModern::from_weights(open(folder.path(), DType::F32, &CPU)?)?;
    assert_eq!(model.config().lm_head, LmHead::Tied);
    Ok(())
}
