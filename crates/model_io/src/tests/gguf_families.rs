//! Families of GGUF files with fused matrices, experts or LayerNorm: a file gives the same as the
//! `config.json` of its model.

use anyhow::Result;
use candle_core::Device;
use serde_json::{Value, json};

use super::error;
use super::gguf::open;
use super::gguf_config::{model, number, read, size, with};
use super::writer::{Writer, string};
use crate::config::{Mlp, SlidingWindow};
use crate::config_json::from_json;
use crate::gguf::TensorFormat;
use crate::gguf_tensor_names::{HfName, hf_name};
use crate::{LoadMode, gguf_model};

/// Model with an LM head of its own.
fn untied(family: &str, architecture: &str, n_layer: u32) -> (Value, Writer) {
    let (json, file) = model(family, architecture, n_layer);
    (json, file.tensor("output.weight", &[11, 1], TensorFormat::F32))
}

/// Mixtral, whose `architecture` is Llama's.
fn mixtral() -> (Value, Writer) {
    let settings = [
        size("num_local_experts", 8, "expert_count"),
        size("num_experts_per_tok", 3, "expert_used_count"),
        number("rope_theta", 1e6, "rope.freq_base"),
    ];
    with(untied("mixtral", "llama", 32), "llama", settings)
}

#[test]
fn phi_3_equals_its_config_json() -> Result<()> {
    let (json, file) = untied("phi3", "phi3", 32);
    // 0 where the model has no window.
    let file = file.value("phi3.attention.sliding_window", 4, 0u32.to_le_bytes());
    assert_eq!(read(&file)?, from_json(&json)?);
    let window = size("sliding_window", 2047, "attention.sliding_window");
    let (mut json, file) = with(untied("phi3", "phi3", 32), "phi3", [window]);
    json["partial_rotary_factor"] = json!(0.75);
    let config = read(&file.value("phi3.rope.dimension_count", 4, 96u32.to_le_bytes()))?;
    assert_eq!(config, from_json(&json)?);
    assert_eq!(config.attention.sliding_window(), Some(SlidingWindow { size: 2047, sinks: 0 }));
    Ok(())
}

#[test]
fn mixtures_of_experts_equal_their_config_json() -> Result<()> {
    let (json, file) = mixtral();
    assert_eq!(read(&file)?, from_json(&json)?);
    let settings = [
        size("num_experts", 128, "expert_count"),
        size("num_experts_per_tok", 8, "expert_used_count"),
        size("moe_intermediate_size", 768, "expert_feed_forward_length"),
    ];
    let (mut json, file) = with(untied("qwen3_moe", "qwen3moe", 48), "qwen3moe", settings);
    // llama.cpp divides the weights by their sum whatever the model does.
    json["norm_topk_prob"] = json!(true);
    let file = file.tensor("blk.0.attn_q_norm.weight", &[128], TensorFormat::F32);
    let config = read(&file)?;
    assert_eq!(config, from_json(&json)?);
    assert!(matches!(config.mlp, Mlp::Experts { width: 768, n_expert: 128, top_k: 8, .. }));
    Ok(())
}

/// File of a family with LayerNorm.
fn layer_norm_file(architecture: &str, sizes: &[(&str, u32)]) -> Writer {
    let eps = format!("{architecture}.attention.layer_norm_epsilon");
    let file = Writer::new()
        .value("general.architecture", 8, string(architecture))
        .value(&eps, 12, 1e-5f64.to_le_bytes())
        .tensor("token_embd.weight", &[11, 1], TensorFormat::F32);
    sizes.iter().fold(file, |file, (name, size)| {
        file.value(&format!("{architecture}.{name}"), 4, size.to_le_bytes())
    })
}

#[test]
fn gpt_2_equals_its_config_json() -> Result<()> {
    let file = layer_norm_file(
        "gpt2",
        &[
            ("block_count", 12),
            ("embedding_length", 768),
            ("feed_forward_length", 3072),
            ("attention.head_count", 12),
            ("context_length", 1024),
        ],
    );
    let mut json = json!({
        "model_type": "gpt2", "vocab_size": 11, "n_layer": 12, "n_embd": 768, "n_head": 12,
        "n_positions": 1024,
    });
    assert_eq!(read(&file)?, from_json(&json)?);
    // Files of older converters hold the tied table twice.
    json["tie_word_embeddings"] = json!(false);
    let file = file.tensor("output.weight", &[11, 1], TensorFormat::F32);
    assert_eq!(read(&file)?, from_json(&json)?);
    Ok(())
}

#[test]
fn gpt_neox_equals_its_config_json() -> Result<()> {
    // Only the number of layers tells the 20B model, whose GELU is the approximation.
    for (n_layer, activation) in [(32, "gelu"), (44, "gelu_fast")] {
        let sizes = [
            ("block_count", n_layer),
            ("embedding_length", 2560),
            ("feed_forward_length", 10_240),
            ("attention.head_count", 32),
            ("context_length", 2048),
            ("rope.dimension_count", 20),
        ];
        for parallel in [true, false] {
            let file = layer_norm_file("gptneox", &sizes)
                .tensor("output.weight", &[11, 1], TensorFormat::F32)
                .value("gptneox.use_parallel_residual", 7, [u8::from(parallel)]);
            let json = json!({
                "model_type": "gpt_neox", "vocab_size": 11, "num_hidden_layers": n_layer,
                "hidden_size": 2560, "intermediate_size": 10_240, "num_attention_heads": 32,
                "max_position_embeddings": 2048, "rotary_pct": 0.25, "hidden_act": activation,
                "use_parallel_residual": parallel,
            });
            assert_eq!(read(&file)?, from_json(&json)?, "{n_layer} layers");
        }
    }
    Ok(())
}

#[test]
fn older_files_have_a_tensor_for_each_expert() -> Result<()> {
    let config = read(&mixtral().1)?;
    let experts = "model.layers.3.block_sparse_moe";
    for (name, expected) in [
        ("blk.3.ffn_gate_inp.weight", "gate.weight"),
        ("blk.3.ffn_gate.7.weight", "experts.7.w1.weight"),
        ("blk.3.ffn_down.0.weight", "experts.0.w2.weight"),
        ("blk.3.ffn_up.7.weight", "experts.7.w3.weight"),
    ] {
        let expected = Some(HfName::One(format!("{experts}.{expected}")));
        assert_eq!(hf_name(name, &config), expected, "{name}");
    }
    assert_eq!(hf_name("blk.3.ffn_up.weight", &config), None);
    let Some(HfName::Experts(names)) = hf_name("blk.3.ffn_down_exps.weight", &config) else {
        panic!("the matrices of all experts")
    };
    assert_eq!(names.name(5), format!("{experts}.experts.5.w2.weight"));
    Ok(())
}

#[test]
fn a_stack_of_matrices_must_have_one_for_each_expert() -> Result<()> {
    for (dims, expected) in [
        (&[2, 1, 1][..], " has 2 matrices for 8 experts"),
        (&[8, 1], " has shape [8, 1], expected a matrix for each expert"),
    ] {
        let name = "blk.0.ffn_up_exps.weight";
        let file = mixtral().1.tensor(name, dims, TensorFormat::F32);
        let opened = gguf_model::open(&open(&file.file())?, LoadMode::Inference, &Device::Cpu);
        assert_eq!(error(opened), format!("`{name}`{expected}"));
    }
    Ok(())
}
