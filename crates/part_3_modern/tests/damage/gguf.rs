//! Damaged GGUF files, opened as models. (`src/tests/gguf_damage.rs` damages only the header and
//! parses only that.)

use std::path::PathBuf;

use candle_core::Device;
use model_io::gguf::Gguf;
use model_io::{GgufTokenizer, LoadMode, Tokenizer};
use modern::Checkpoint;
use proptest::prelude::*;
use tempfile::TempDir;

use super::bytes::{damage, damaged};
use super::{checked_open, golden, load_and_generate};

const FILES: [&str; 13] = [
    "llama",
    "llama_3",
    "smollm3",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3",
    "k_quants",
    "phi3",
    "gpt2",
    "gpt_neox_q5_1",
    "mixtral",
    "qwen3_moe_q5_0",
];

/// First part of the metadata keys of a file.
fn architecture(name: &'static str) -> &'static str {
    match name {
        "llama_3" | "k_quants" | "mixtral" => "llama",
        "gpt_neox_q5_1" => "gptneox",
        "qwen3_moe_q5_0" => "qwen3moe",
        _ => name,
    }
}

/// True if a file loads with this `size` as the value of `key`: it fits the tensors too, or nothing
/// depends on it.
fn is_harmless(name: &str, key: &str, size: u32) -> bool {
    match (name, key) {
        (_, "context_length") => size != 0,
        // Queries, keys and values in one matrix do not tell the number of heads.
        ("gpt2" | "gpt_neox_q5_1", "attention.head_count") => size == 1,
        ("qwen3_moe_q5_0", "feed_forward_length") => true,
        ("qwen3_moe_q5_0", "attention.head_count_kv") => size == 1,
        ("mixtral" | "qwen3_moe_q5_0", "expert_count") => size == 3,
        ("mixtral" | "qwen3_moe_q5_0", "expert_used_count") => [1, 3].contains(&size),
        _ => false,
    }
}

/// Bytes of a file, and the length of its header.
fn read(name: &str) -> (Vec<u8>, usize) {
    let path = golden("gguf").join(format!("{name}.gguf"));
    let bytes = std::fs::read(&path).expect("a file");
    let file = Gguf::open(&path).expect("a GGUF file");
    let data: usize =
        file.tensor_infos().map(|(_, info)| info.size_in_bytes().next_multiple_of(32)).sum();
    let header = bytes.len() - data;
    (bytes, header)
}

fn temp_file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).expect("a file");
    (folder, path)
}

/// Offset of a numeric metadata value, after its key and type.
fn value_offset(bytes: &[u8], key: &str) -> usize {
    let key_offset = bytes.windows(key.len()).position(|window| window == key.as_bytes());
    key_offset.expect("the key") + key.len() + 4
}

#[test]
fn undamaged_gguf_files_load_and_generate() {
    for name in FILES {
        let path = golden("gguf").join(format!("{name}.gguf"));
        assert_eq!(load_and_generate(&path, &path), Ok(()), "{name}");
    }
}

#[test]
fn quantized_weights_that_are_nan_are_refused() {
    let (mut bytes, header) = read("k_quants");
    bytes[header..].fill(0xff); // NaN as f16, the type of the scales
    let (_folder, path) = temp_file(&bytes);
    let source = path.to_string_lossy();
    let opened = || Checkpoint::open(&source, LoadMode::Inference, &Device::Cpu);
    let error = checked_open(&path, opened).map(drop).expect_err("NaN");
    assert!(error.contains("weight` has a weight that is NaN or infinite: the file is"), "{error}");
    assert!(error.contains("`blk.") || error.contains("`token_embd"), "{error}");
}

#[test]
fn impossible_sizes_in_gguf_metadata_are_rejected() {
    for name in FILES {
        for key in [
            "block_count",
            "embedding_length",
            "feed_forward_length",
            "attention.head_count",
            "attention.head_count_kv",
            "attention.key_length",
            "rope.dimension_count",
            "context_length",
            "expert_count",
            "expert_used_count",
            "expert_feed_forward_length",
        ] {
            let harmless = |size| is_harmless(name, key, size);
            let key = format!("{}.{key}", architecture(name));
            let (bytes, header) = read(name);
            if !bytes[..header].windows(key.len()).any(|window| window == key.as_bytes()) {
                continue;
            }
            for size in [0, 1, 3, 1 << 16, 1 << 31, u32::MAX] {
                let mut bytes = bytes.clone();
                let at = value_offset(&bytes, &key);
                bytes[at..at + 4].copy_from_slice(&size.to_le_bytes());
                let (_folder, path) = temp_file(&bytes);
                let result = load_and_generate(&path, &path);
                assert!(result.is_err() || harmless(size), "{name}: {key} is {size}");
            }
        }
    }
}

#[test]
fn a_tokenizer_with_very_long_tokens_is_refused() {
    let tokens = vec!["a".to_string(), "aa".into(), "a".repeat(1 << 20), "é".repeat(1 << 20)];
    let parts = GgufTokenizer {
        model: "llama".into(),
        scores: vec![0.; tokens.len()],
        tokens,
        ..GgufTokenizer::default()
    };
    let error = Tokenizer::from_gguf(&parts).expect_err("a token of a megabyte").to_string();
    assert_eq!(error, "token 2 has 1048576 bytes, more than 4096");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400, failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn loading_never_panics_on_a_damaged_gguf_file(
        name in prop::sample::select(&FILES[..]),
        damages in damage(),
        whole_file in any::<bool>(),
    ) {
        let (bytes, header) = read(name);
        let header_len = if whole_file { bytes.len() } else { header };
        let (_folder, path) = temp_file(&damaged(bytes, header_len, &damages));
        let _ = load_and_generate(&path, &path);
    }
}
