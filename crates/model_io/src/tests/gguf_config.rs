//! Architectures of GGUF files: a file gives the same as the `config.json` of its model.

use anyhow::Result;
use candle_core::Device;
use serde_json::{Value, json};

use super::error;
use super::gguf::open;
use super::writer::{Writer, array, string};
use crate::config_json::from_json;
use crate::gguf::TensorFormat;
use crate::{LoadMode, ModelConfig, gguf_config, gguf_model};

/// A number in a `config.json`, and the same in the metadata of a file.
pub(super) struct Setting {
    json_key: &'static str,
    value: Value,
    key: &'static str,
    value_type: u32,
    bytes: [u8; 4],
}

pub(super) fn size(json_key: &'static str, size: u32, key: &'static str) -> Setting {
    Setting { json_key, value: json!(size), key, value_type: 4, bytes: size.to_le_bytes() }
}

pub(super) fn number(json_key: &'static str, number: f32, key: &'static str) -> Setting {
    Setting { json_key, value: json!(number), key, value_type: 6, bytes: number.to_le_bytes() }
}

/// A `config.json` of `family`, and the file of llama.cpp's `architecture`, without what differs
/// between the models of a family.
pub(super) fn model(family: &str, architecture: &str, n_layer: u32) -> (Value, Writer) {
    let sizes = [
        size("num_hidden_layers", n_layer, "block_count"),
        size("hidden_size", 5376, "embedding_length"),
        size("intermediate_size", 21_504, "feed_forward_length"),
        size("num_attention_heads", 32, "attention.head_count"),
        size("num_key_value_heads", 16, "attention.head_count_kv"),
        size("head_dim", 128, "attention.key_length"),
        size("max_position_embeddings", 8192, "context_length"),
    ];
    let json = json!({ "model_type": family, "vocab_size": 11, "rms_norm_eps": 1e-6 });
    let eps = format!("{architecture}.attention.layer_norm_rms_epsilon");
    let file = Writer::new()
        .value("general.architecture", 8, string(architecture))
        .value(&eps, 12, 1e-6f64.to_le_bytes())
        .tensor("token_embd.weight", &[11, 1], TensorFormat::F32);
    with((json, file), architecture, sizes)
}

/// `model` with more settings.
pub(super) fn with(
    model: (Value, Writer),
    architecture: &str,
    settings: impl IntoIterator<Item = Setting>,
) -> (Value, Writer) {
    settings.into_iter().fold(model, |(mut json, file), setting| {
        let key = format!("{architecture}.{}", setting.key);
        json[setting.json_key] = setting.value;
        (json, file.value(&key, setting.value_type, setting.bytes))
    })
}

pub(super) fn read(file: &Writer) -> Result<ModelConfig> {
    gguf_config::read(&open(&file.file())?)
}

#[test]
fn gemma_and_smollm3_have_what_llama_cpp_knows_of_them() -> Result<()> {
    let (json, file) = model("gemma", "gemma", 18);
    assert_eq!(read(&file)?, from_json(&json)?);
    let theta = number("rope_theta", 5e6, "rope.freq_base");
    let (json, file) = with(model("smollm3", "smollm3", 36), "smollm3", [theta]);
    let config = read(&file)?;
    assert_eq!(config, from_json(&json)?);
    assert_eq!(
        config.attention.position.rope_parameters().and_then(|rope| rope.no_rope_interval),
        Some(4)
    );
    Ok(())
}

#[test]
fn gemma_2_equals_its_config_json() -> Result<()> {
    // Only the number of layers tells the largest model, whose scale is not that of its heads.
    for (n_layer, query_pre_attn_scalar) in [(42, 128), (46, 168)] {
        let (mut json, file) = model("gemma2", "gemma2", n_layer);
        json["query_pre_attn_scalar"] = json!(query_pre_attn_scalar);
        assert_eq!(read(&file)?, from_json(&json)?, "the defaults of {n_layer} layers");
        let settings = [
            size("sliding_window", 512, "attention.sliding_window"),
            number("attn_logit_softcapping", 20., "attn_logit_softcapping"),
            number("final_logit_softcapping", 10., "final_logit_softcapping"),
        ];
        let (json, file) = with((json, file), "gemma2", settings);
        assert_eq!(read(&file)?, from_json(&json)?);
    }
    Ok(())
}

/// File of Gemma 3, whose queries and keys have norms.
fn gemma_3(n_layer: u32, query_pre_attn_scalar: u32) -> (Value, Writer) {
    let theta = number("rope_theta", 1e6, "rope.freq_base");
    let (mut json, file) = with(model("gemma3_text", "gemma3", n_layer), "gemma3", [theta]);
    json["query_pre_attn_scalar"] = json!(query_pre_attn_scalar);
    (json, file.tensor("blk.0.attn_q_norm.weight", &[128], TensorFormat::F32))
}

#[test]
fn gemma_3_equals_its_config_json() -> Result<()> {
    for (n_layer, query_pre_attn_scalar) in [(26, 128), (62, 168)] {
        let window = || size("sliding_window", 1024, "attention.sliding_window");
        let model = || with(gemma_3(n_layer, query_pre_attn_scalar), "gemma3", [window()]);
        let (mut json, mut file) = model();
        json["rope_scaling"] = json!({ "rope_type": "linear", "factor": 8.0 });
        file = file.value("gemma3.rope.scaling.type", 8, string("linear"));
        file = file.value("gemma3.rope.scaling.factor", 6, 8f32.to_le_bytes());
        let config = read(&file)?;
        assert_eq!(config, from_json(&json)?);
        assert_eq!(
            config.attention.window.and_then(|window| window.local_rope_base),
            Some(10_000.)
        );
        let settings = [
            number("rope_local_base_freq", 500., "rope.freq_base_swa"),
            size("sliding_window_pattern", 3, "attention.sliding_window_pattern"),
            number("final_logit_softcapping", 10., "final_logit_softcapping"),
        ];
        let (json, file) = with(model(), "gemma3", settings);
        assert_eq!(read(&file)?, from_json(&json)?);
    }
    Ok(())
}

#[test]
fn a_gemma_3_without_a_window_has_one_kind_of_layer() -> Result<()> {
    let (mut json, file) = gemma_3(32, 128);
    json["sliding_window_pattern"] = json!(1);
    assert_eq!(read(&file)?, from_json(&json)?);
    let file = file.value("gemma3.attention.sliding_window", 4, 1024u32.to_le_bytes()).value(
        "gemma3.attention.sliding_window_pattern",
        4,
        1u32.to_le_bytes(),
    );
    assert_eq!(read(&file)?, from_json(&json)?);
    Ok(())
}

#[test]
fn an_irregular_pattern_of_layers_is_refused() {
    let (_, file) = gemma_3(26, 128);
    let pattern = array(7, &[vec![1], vec![0], vec![0]]);
    let file = file.value("gemma3.attention.sliding_window", 4, 1024u32.to_le_bytes()).value(
        "gemma3.attention.sliding_window_pattern",
        9,
        pattern,
    );
    let message = error(read(&file));
    let expected = "`gemma3.attention.sliding_window_pattern` is an array, expected a size";
    assert!(message.ends_with(expected), "{message}");
}

#[test]
fn other_architectures_and_tensors_are_refused_in_one_line() -> Result<()> {
    let refused = |file: &Writer| -> Result<String> {
        let message =
            error(gguf_model::open(&open(&file.file())?, LoadMode::Inference, &Device::Cpu));
        assert!(!message.contains('\n'), "{message}");
        Ok(message)
    };
    for (name, reason) in [
        ("gemma3n", ", because it has embeddings for each layer, and layers that share keys"),
        ("phimoe", ", because it is a mixture of experts of another kind than Mixtral"),
        ("mamba", ""),
    ] {
        let message = refused(&Writer::new().value("general.architecture", 8, string(name)))?;
        let expected = format!("architecture `{name}` is not supported{reason}");
        assert!(message.starts_with(&expected), "{message}");
        let supported = "expected one of llama, smollm3, qwen2, qwen3, qwen3moe, phi3, gemma, \
                         gemma2, gemma3, gpt2, gptneox";
        assert!(message.ends_with(supported), "{message}");
    }
    // Only a file of Gemma 2 or 3 has norms of outputs.
    let (_, file) = model("gemma", "gemma", 18);
    let name = "blk.0.post_attention_norm.weight";
    let message = refused(&file.tensor(name, &[1], TensorFormat::F32))?;
    assert_eq!(message, format!("unexpected tensor `{name}`"));
    Ok(())
}
