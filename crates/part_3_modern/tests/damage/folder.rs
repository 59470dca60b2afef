//! Damaged model folders: weights, shard index, `config.json`, `tokenizer.json` and special tokens.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use model_io::LoadMode;
use modern::Checkpoint;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use tempfile::TempDir;
use tensor_core::weights;
use tiny_gpt::ByteTokenizer;

use super::bytes::{damage, damaged};
use super::{golden, load_and_generate, tokenizer};

/// Copy of a golden folder with a tokenizer for its 64 tokens.
pub(super) fn folder(family: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(golden(family)).expect("a golden folder") {
        let entry = entry.expect("an entry");
        if entry.file_name() != "golden.json" {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("a copy");
        }
    }
    let config = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>" });
    for (name, json) in [("tokenizer.json", tokenizer::json()), ("tokenizer_config.json", config)] {
        std::fs::write(folder.path().join(name), json.to_string()).expect("a file");
    }
    if family == "qwen3" {
        // Cover the sentencepiece tokenizer too.
        let source = golden("gguf/llama.gguf");
        let checkpoint =
            Checkpoint::open(&source.to_string_lossy(), LoadMode::Inference, &Device::Cpu);
        checkpoint
            .and_then(|model| model.tokenizer.save(folder.path(), 64, None))
            .expect("a tokenizer");
    }
    folder
}

/// JSON pointers of all values in a document.
fn pointers(json: &Value, pointer: String) -> Vec<String> {
    let mut all = vec![pointer.clone()];
    let inner: Vec<(String, &Value)> = match json {
        Value::Array(list) => list.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        Value::Object(map) => {
            map.iter().map(|(k, v)| (k.replace('~', "~0").replace('/', "~1"), v)).collect()
        }
        _ => Vec::new(),
    };
    all.extend(
        inner.into_iter().flat_map(|(key, value)| pointers(value, format!("{pointer}/{key}"))),
    );
    all
}

/// Replaces a random value of a JSON file.
fn replace_value(folder: &Path, name: &str, at: &Index, new: Value) {
    let path = folder.join(name);
    let mut json: Value =
        serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
    let pointers = pointers(&json, String::new());
    *json.pointer_mut(at.get::<String>(&pointers)).expect("a value") = new;
    std::fs::write(path, json.to_string()).expect("a file");
}

/// Replacement values: extreme numbers, wrong types, unexpected names.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u64>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        prop::sample::select(vec![
            0u64,
            1,
            3,
            1 << 20,
            1 << 31,
            1 << 32,
            1 << 40,
            1 << 62,
            1 << 63,
            u64::MAX
        ])
        .prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            json!(null),
            json!(true),
            json!(false),
            json!([]),
            json!({}),
            json!(""),
            json!("é"),
            json!("(((")
        ]),
        prop::sample::select(vec![
            json!([[1]]),
            json!({ "a": 0 }),
            json!([0, 18_446_744_073_709_551_615u64]),
            json!({ "type": "Sequence" })
        ]),
        prop::sample::select(vec![
            "llama",
            "qwen2",
            "mistral",
            "Unigram",
            "WordLevel",
            "Strip",
            "Replace",
            "linear"
        ])
        .prop_map(Value::from),
    ]
}

#[test]
fn undamaged_folders_load_and_generate() {
    for family in ["llama", "llama_3", "qwen2", "qwen3", "mistral"] {
        let folder = folder(family);
        assert_eq!(load_and_generate(folder.path(), folder.path()), Ok(()), "{family}");
    }
}

#[test]
fn impossible_sizes_in_config_json_are_rejected() {
    for family in ["llama", "llama_3", "qwen3", "mistral"] {
        for key in [
            "vocab_size",
            "num_hidden_layers",
            "hidden_size",
            "intermediate_size",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
            "max_position_embeddings",
            "sliding_window",
        ] {
            for size in [0, 1 << 32, 1 << 62, 1 << 63, u64::MAX] {
                let folder = folder(family);
                let path = folder.path().join("config.json");
                let mut json: Value =
                    serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
                json[key] = json!(size);
                std::fs::write(path, json.to_string()).expect("a file");
                let result = load_and_generate(folder.path(), folder.path());
                let harmless = ["max_position_embeddings", "sliding_window"].contains(&key);
                assert!(result.is_err() || harmless, "{family}: {key} is {size}");
            }
        }
    }
}

#[test]
fn unusual_tensors_are_refused_in_one_line() {
    let folder = folder("llama");
    let path = folder.path().join("model.safetensors");
    let original = weights::load(&path).expect("weights");
    let result_with = |name: &str, tensor: Tensor| {
        let mut tensors = original.clone();
        tensors.insert(name.to_string(), tensor);
        weights::save(&path, &tensors).expect("a file");
        load_and_generate(folder.path(), folder.path()).expect_err(name)
    };
    let zeros = |n: usize| Tensor::zeros((n, n), DType::F32, &Device::Cpu).expect("a tensor");
    let error = result_with("model.norm.weight", zeros(0));
    assert!(error.contains("model.norm.weight has shape [0, 0]"), "{error}");
    assert!(result_with("empty", zeros(0)).contains("unexpected tensor `empty`"));
    assert!(result_with(&"n".repeat(1 << 20), zeros(1)).contains("a name of 1048576 bytes"));
    let name = "model.layers.0.mlp.up_proj.weight";
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let weight = original[name].affine(0., number).expect("a tensor");
        let error = result_with(name, weight);
        assert!(error.contains(name) && error.contains("NaN or infinite"), "{error}");
    }
}

#[test]
fn contexts_of_one_and_of_a_million_tokens_generate() {
    for family in ["llama", "llama_3", "qwen3", "mistral"] {
        for size in [1, 1_000_000] {
            let folder = folder(family);
            let path = folder.path().join("config.json");
            let mut json: Value =
                serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
            json["max_position_embeddings"] = json!(size);
            std::fs::write(path, json.to_string()).expect("a file");
            assert_eq!(load_and_generate(folder.path(), folder.path()), Ok(()), "{family} {size}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400, failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn loading_never_panics_on_any_json_value(
        family in prop::sample::select(vec!["llama", "llama_3", "qwen3", "mistral"]),
        name in prop::sample::select(vec![
            "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
        ]),
        changes in prop::collection::vec((any::<Index>(), value()), 1..3),
    ) {
        let folder = folder(family);
        for (at, new) in changes {
            replace_value(folder.path(), name, &at, new);
        }
        let _ = load_and_generate(folder.path(), folder.path());
    }

    #[test]
    fn loading_never_panics_on_a_damaged_file(
        name in prop::sample::select(vec![
            "config.json", "tokenizer.json", "model.safetensors.index.json",
            "model-00002-of-00003.safetensors",
        ]),
        damages in damage(),
    ) {
        let folder = folder("llama_3");
        let path = folder.path().join(name);
        let bytes = std::fs::read(&path).expect("a file");
        let header_len = if name.ends_with("safetensors") { 1000 } else { bytes.len() };
        std::fs::write(&path, damaged(bytes, header_len, &damages)).expect("a file");
        let _ = load_and_generate(folder.path(), folder.path());
    }
}

#[test]
fn a_byte_tokenizer_larger_than_the_vocabulary_is_rejected() {
    let folder = folder("llama");
    std::fs::write(folder.path().join("tokenizer.json"), ByteTokenizer.to_json().to_string())
        .expect("a file");
    let error = load_and_generate(folder.path(), folder.path()).expect_err("256 tokens for 64");
    assert!(error.contains("the tokenizer's vocabulary has 256 ids, the model's 64"), "{error}");
}
