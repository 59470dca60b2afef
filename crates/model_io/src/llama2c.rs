//! Reader of <https://github.com/karpathy/llama2.c> checkpoints in the version 0 `.bin` format:
//! seven sizes, then f32 tensors.
//!
//! Tensors are not named: all layers of one kind are stored together, and the sizes determine where
//! each begins. They get Hugging Face names here, and the rows of q and k its order
//! (`row_order.rs`).

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use tensor_core::regular_file::{self, RegularFile};

use crate::ModelConfig;
use crate::config::{LmHead, Mlp, NormKind, PositionEncoding};
use crate::row_order::{interleaved_to_half_order, n_rotated_heads, permute_rows};

/// Header size: seven 4-byte integers.
const HEADER_BYTES: u64 = 28;
/// Names of the header's integers in llama2.c.
const SIZES: [&str; 7] =
    ["dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len"];
/// RoPE base θ. The format does not store it; llama2.c uses this constant.
pub(crate) const ROPE_THETA: f64 = 10_000.;
/// RMSNorm ε, also a constant of llama2.c.
pub(crate) const RMS_NORM_EPS: f64 = 1e-5;

/// Reads a checkpoint: its architecture, which is Llama's, and its tensors (f32, on the CPU) under
/// Hugging Face's names. `lm_head.weight` is present only if it is untied.
///
/// # Errors
/// When the file cannot be read, or its length does not match its sizes.
pub fn open(path: &Path) -> Result<(ModelConfig, BTreeMap<String, Tensor>)> {
    let RegularFile { file, len } = regular_file::open(path)?;
    read(BufReader::new(file), len).with_context(|| format!("{} cannot be used", path.display()))
}

/// Reads a checkpoint of `length` bytes; see [`open`].
pub(crate) fn read(
    mut reader: impl Read,
    length: u64,
) -> Result<(ModelConfig, BTreeMap<String, Tensor>)> {
    let config = read_header(&mut reader, length)?;
    let mut tensors = BTreeMap::new();
    for (name, dims) in tensors_in_file_order(&config) {
        for i in 0..n_copies(name, &config) {
            let mut numbers = read_numbers(&mut reader, dims.iter().product())?;
            if let Some(n_head) = n_rotated_heads(name, &config.attention) {
                let order = interleaved_to_half_order(n_head, config.attention.head_dim);
                numbers = permute_rows(&numbers, &order);
            }
            if name != ROPE_TABLES {
                let name = format!("{}.weight", name.replace("{i}", &i.to_string()));
                tensors.insert(name, Tensor::from_vec(numbers, &dims[..], &Device::Cpu)?);
            }
        }
    }
    Ok((config, tensors))
}

/// Reads the sizes and checks that they match a file of `length` bytes.
fn read_header(mut reader: impl Read, length: u64) -> Result<ModelConfig> {
    ensure!(
        length >= HEADER_BYTES,
        "it has {length} bytes, fewer than the {HEADER_BYTES} of the header"
    );
    let mut bytes = [0; HEADER_BYTES as usize];
    reader.read_exact(&mut bytes)?;
    let (numbers, _) = bytes.as_chunks::<4>();
    ensure!(&numbers[0] != b"24ka", "it uses a later llama2.c format; export it as version 0");
    let mut sizes = [0; 7];
    let mut lm_head = LmHead::Tied;
    for ((size, name), number) in sizes.iter_mut().zip(SIZES).zip(numbers) {
        let mut number = i32::from_le_bytes(*number);
        // The sign of vocab_size is a flag: negative means untied.
        if name == "vocab_size" && number < 0 {
            (number, lm_head) = (number.saturating_abs(), LmHead::Untied);
        }
        *size = usize::try_from(number)
            .ok()
            .filter(|&size| size > 0)
            .with_context(|| format!("its {name} is {number}: not a llama2.c checkpoint"))?;
    }
    let [n_embd, width, n_layer, n_head, n_kv_head, vocab_size, context_len] = sizes;
    let mut config = ModelConfig {
        vocab_size,
        norm: NormKind::Rms { eps: RMS_NORM_EPS },
        mlp: Mlp::SwiGlu { width },
        lm_head,
        init_std: ModelConfig::GPT2_INIT_STD,
        ..ModelConfig::byte_level(context_len, n_layer, n_head, n_embd)
    };
    config.attention.n_kv_head = n_kv_head;
    config.attention.position = PositionEncoding::rope(ROPE_THETA);
    ensure!(
        n_embd.is_multiple_of(n_head) && config.attention.head_dim.is_multiple_of(2),
        "its dim {n_embd} must be n_heads {n_head} times an even number"
    );
    ensure!(
        n_head.is_multiple_of(n_kv_head),
        "its n_heads {n_head} must be a multiple of n_kv_heads {n_kv_head}"
    );
    let expected = file_len(&config);
    ensure!(
        expected == u128::from(length),
        "its header requires {expected} bytes, but it has {length}: \
         it is truncated or not a llama2.c checkpoint"
    );
    Ok(config)
}

/// Expected file size in bytes, as `u128` because the product of three sizes overflows `u64`.
fn file_len(config: &ModelConfig) -> u128 {
    let numbers = tensors_in_file_order(config).into_iter().map(|(name, dims)| {
        n_copies(name, config) as u128 * dims.iter().map(|&dim| dim as u128).product::<u128>()
    });
    u128::from(HEADER_BYTES) + 4 * numbers.sum::<u128>()
}

/// Tables of cos and sin, (T, D/2) each, which a model computes itself.
const ROPE_TABLES: &str = "rope";

/// Names and shapes, (out, in) of a matrix. A name with `{i}` stands for one tensor of each layer;
/// they are stored together.
fn tensors_in_file_order(config: &ModelConfig) -> Vec<(&'static str, Vec<usize>)> {
    let ModelConfig { vocab_size: v, n_embd: c, attention, .. } = *config;
    let f = config.mlp.width();
    let kv = attention.n_kv_head * attention.head_dim;
    let mut tensors = vec![
        ("model.embed_tokens", vec![v, c]),
        ("model.layers.{i}.input_layernorm", vec![c]),
        ("model.layers.{i}.self_attn.q_proj", vec![c, c]),
        ("model.layers.{i}.self_attn.k_proj", vec![kv, c]),
        ("model.layers.{i}.self_attn.v_proj", vec![kv, c]),
        ("model.layers.{i}.self_attn.o_proj", vec![c, c]),
        ("model.layers.{i}.post_attention_layernorm", vec![c]),
        ("model.layers.{i}.mlp.gate_proj", vec![f, c]),
        ("model.layers.{i}.mlp.down_proj", vec![c, f]),
        ("model.layers.{i}.mlp.up_proj", vec![f, c]),
        ("model.norm", vec![c]),
        (ROPE_TABLES, vec![config.context_len, attention.head_dim]),
    ];
    if config.lm_head == LmHead::Untied {
        tensors.push(("lm_head", vec![v, c]));
    }
    tensors
}

/// Number of tensors that `name` stands for.
fn n_copies(name: &str, config: &ModelConfig) -> usize {
    if name.contains("{i}") { config.n_layer } else { 1 }
}

/// Next `count` numbers. The header check has ensured that the file contains them.
fn read_numbers(mut reader: impl Read, count: usize) -> Result<Vec<f32>> {
    let mut bytes = vec![0; 4 * count];
    reader.read_exact(&mut bytes)?;
    let (numbers, _) = bytes.as_chunks::<4>();
    Ok(numbers.iter().map(|&number| f32::from_le_bytes(number)).collect())
}
