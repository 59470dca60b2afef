use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_core::{DType, Module, Tensor};
use serde_json::{Value, json};
use tensor_core::ops::cross_entropy;
use tensor_core::testing::assert_close;
use tensor_core::{Parameters, backward, weights};

use super::{CPU, new_model};
use crate::{Gpt, GptConfig, model_folder};

/// A random GPT-2 made by `transformers`, with its logits, loss and gradient norms
/// (`scripts/golden_gpt2.py`).
fn golden() -> (PathBuf, Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gpt2");
    let text = std::fs::read_to_string(folder.join("golden.json")).unwrap();
    (folder, serde_json::from_str(&text).unwrap())
}

fn ids(sequence: &Value) -> Vec<u32> {
    serde_json::from_value(sequence["input_ids"].clone()).unwrap()
}

fn error<T>(result: Result<T>) -> String {
    format!("{:#}", result.err().expect("an error"))
}

#[test]
fn logits_match_transformers() -> Result<()> {
    let (folder, golden) = golden();
    let (_, parameters) = model_folder::open(&folder, 0, &CPU)?;
    let config = model_folder::open(&folder, 0, &CPU)?.0.config().to_owned();
    // The inference copy ignores the dropout of 0.1 in the config.
    let model = Gpt::new(&config, parameters.for_inference().root())?;
    for sequence in golden["sequences"].as_array().unwrap() {
        let logits: Vec<Vec<f32>> = serde_json::from_value(sequence["logits"].clone())?;
        let output = model.forward(&Tensor::new(ids(sequence), &CPU)?.unsqueeze(0)?)?.squeeze(0)?;
        assert_close(&output, &Tensor::new(logits, &CPU)?, 1e-4);
    }
    Ok(())
}

#[test]
fn loss_and_gradient_norms_match_transformers() -> Result<()> {
    let (folder, golden) = golden();
    let opened = model_folder::open(&folder, 0, &CPU)?;
    let mut config = *opened.0.config();
    config.block.dropout = 0.;
    let mut parameters = opened.1;
    let model = Gpt::new(&config, parameters.root())?;
    let ids = ids(&golden["sequences"][0]);
    let inputs = Tensor::new(&ids[..23], &CPU)?.unsqueeze(0)?;
    let targets = Tensor::new(&ids[1..], &CPU)?.unsqueeze(0)?.to_dtype(DType::I64)?;
    let loss = cross_entropy(&model.forward(&inputs)?, &targets)?;
    let expected = golden["loss"].as_f64().unwrap();
    assert_close(&loss, expected, 1e-5);
    let grads = backward(&loss)?;
    for parameter in parameters.iter() {
        let grad = grads.get(parameter.var.as_tensor()).unwrap();
        let norm = f64::from(grad.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt();
        let expected =
            golden["grad_norms"][format!("transformer.{}", parameter.name)].as_f64().unwrap();
        assert_close(norm, expected, 1e-4);
    }
    Ok(())
}

#[test]
fn saving_and_loading_a_model_does_not_change_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (model, parameters) = new_model(3, DType::F32)?;
    model_folder::save(folder.path(), model.config(), &parameters)?;
    let (opened, _) = model_folder::open(folder.path(), 0, &CPU)?;
    assert_eq!(opened.config(), model.config());
    let ids = Tensor::new(&[[1u32, 2, 3]], &CPU)?;
    assert_close(&opened.forward(&ids)?, &model.forward(&ids)?, 0.);
    let names: Vec<_> =
        weights::load(&folder.path().join("model.safetensors"))?.into_keys().collect();
    assert!(names.contains(&"transformer.h.1.attn.c_attn.weight".to_string()));
    assert!(!names.contains(&"lm_head.weight".to_string()), "tied embeddings are stored once");
    Ok(())
}

#[test]
fn tensors_without_prefix_and_old_mask_tensors_are_accepted() -> Result<()> {
    let (source, golden) = golden();
    let folder = tempfile::tempdir()?;
    std::fs::copy(source.join("config.json"), folder.path().join("config.json"))?;
    let mut tensors: std::collections::BTreeMap<_, _> =
        weights::load(&source.join("model.safetensors"))?
            .into_iter()
            .map(|(name, tensor)| (name.replace("transformer.", ""), tensor))
            .collect();
    tensors.insert("h.0.attn.bias".into(), Tensor::ones((1, 1, 24, 24), DType::F32, &CPU)?);
    tensors.insert("lm_head.weight".into(), tensors["wte.weight"].clone());
    weights::save(&folder.path().join("model.safetensors"), &tensors)?;
    let ids = Tensor::new(ids(&golden["sequences"][1]), &CPU)?.unsqueeze(0)?;
    let logits = |folder: &Path| -> Result<Tensor> {
        Ok(model_folder::open_byte_level(folder, &CPU)?.forward(&ids)?)
    };
    assert_close(&logits(folder.path())?, &logits(&source)?, 0.);

    tensors.insert("lm_head.weight".into(), tensors["wte.weight"].ones_like()?);
    weights::save(&folder.path().join("model.safetensors"), &tensors)?;
    let untied = error(model_folder::open(folder.path(), 0, &CPU));
    assert!(untied.contains("`lm_head.weight` differs from `wte.weight`"), "{untied}");
    Ok(())
}

#[test]
fn damaged_and_unsupported_folders_give_a_clear_error() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path();
    let open = || error(model_folder::open(path, 0, &CPU));
    assert!(open().contains("config.json: No such file"), "{}", open());

    let (model, parameters) = new_model(0, DType::F32)?;
    model_folder::save(path, model.config(), &parameters)?;
    let config: Value = serde_json::from_slice(&std::fs::read(path.join("config.json"))?)?;
    for (key, value, expected) in [
        ("model_type", json!("llama"), "model_type is `llama`, expected `gpt2`"),
        ("n_inner", json!(17), "n_inner is 17"),
        ("n_layer", json!(-2), "`n_layer` is -2, expected a size"),
        ("n_layer", json!(0), "each must be at least 1"),
        ("n_head", json!(5), "n_embd 16 is not divisible by n_head 5"),
        ("n_layer", json!(3), "tensor `h.2.ln_1.weight` is missing"),
        ("n_layer", json!(1), "unexpected tensor `h.1."),
        ("n_positions", json!(9), "wpe.weight has shape [8, 16], the model expects [9, 16]"),
        ("activation_function", json!("relu"), "`relu`"),
        ("tie_word_embeddings", json!(false), "`tie_word_embeddings` must be true"),
    ] {
        let mut changed = config.clone();
        changed[key] = value;
        std::fs::write(path.join("config.json"), changed.to_string())?;
        assert!(open().contains(expected), "{}", open());
    }
    std::fs::write(path.join("config.json"), "{ no json")?;
    assert!(open().contains("config.json is not JSON"), "{}", open());

    std::fs::write(path.join("config.json"), config.to_string())?;
    let bytes = std::fs::read(path.join("model.safetensors"))?;
    std::fs::write(path.join("model.safetensors"), &bytes[..bytes.len() / 2])?;
    assert!(open().contains("model.safetensors is no"), "{}", open());
    std::fs::remove_file(path.join("model.safetensors"))?;
    assert!(open().contains("model.safetensors: No such file"), "{}", open());
    Ok(())
}

#[test]
fn a_model_with_another_tokenizer_is_not_opened_as_byte_level() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = GptConfig { vocab_size: 300, ..super::tiny_config() };
    let mut parameters = Parameters::seeded(0, DType::F32, &CPU);
    Gpt::new(&config, parameters.root())?;
    model_folder::save(folder.path(), &config, &parameters)?;
    assert!(!folder.path().join("tokenizer.json").exists());
    let message = error(model_folder::open_byte_level(folder.path(), &CPU));
    assert!(message.contains("this part reads bytes (vocabulary 300, not 256)"), "{message}");

    let (model, parameters) = new_model(0, DType::F32)?;
    model_folder::save(folder.path(), model.config(), &parameters)?;
    assert!(model_folder::open_byte_level(folder.path(), &CPU).is_ok());
    std::fs::write(folder.path().join("tokenizer.json"), r#"{"model":{"vocab":{"a":0}}}"#)?;
    let message = error(model_folder::open_byte_level(folder.path(), &CPU));
    assert!(message.contains("has another tokenizer"), "{message}");
    Ok(())
}
