//! Loading a model from a GGUF file: llama.cpp's names and sizes are converted to Hugging Face's;
//! blocks stay quantized, or are dequantized for training.
//!
//! For Llama, llama.cpp's RoPE rotates adjacent pairs, and its converter permutes the rows of the
//! query and key matrices accordingly. We permute them back. (Without that, short greedy texts
//! still look right, but the perplexity is 150 instead of 9.7.)

mod names;
mod config;
mod weights;
mod tokenizer;

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use candle_core::Device;
use tensor_core::{Parameters, Weight};
pub use tokenizer::{read_special_token_ids, read_tokenizer};

use crate::LoadMode;
use crate::config::AttentionConfig;
use crate::gguf::Gguf;
use crate::model_folder::ModelWeights;
use crate::row_order::interleaved_to_half_order;

/// Configuration and weights of the model in a GGUF file.
///
/// # Errors
/// When the file has another architecture or only a part of a model, or a tensor is unknown or
/// truncated.
pub fn open(file: &Gguf, mode: LoadMode, device: &Device) -> Result<ModelWeights> {
    let n_files = file.get_optional("split.count", Gguf::get_usize)?.unwrap_or(1);
    ensure!(
        n_files <= 1,
        "it is one of {n_files} files of a model: merge them with \
         `llama-gguf-split --merge FIRST.gguf WHOLE.gguf`"
    );
    let config = config::read(file)?;
    let interleaved_rope = file.get_str("general.architecture")? == "llama";
    let keep_quantized = mode.keeps_quantized(device);
    let (mut tensors, mut quantized) = (BTreeMap::new(), BTreeMap::new());
    for (name, info) in file.tensor_infos() {
        let Some(hf_name) = names::hf_name(name) else {
            ensure!(name == "rope_freqs.weight", "unexpected tensor `{name}`");
            continue;
        };
        let n_head =
            if interleaved_rope { n_permuted_heads(&hf_name, &config.attention) } else { None };
        let order = match n_head.map(|n_head| (n_head, config.attention.head_dim)) {
            None => None,
            Some((n_head, d)) if info.dims.first() == Some(&(n_head * d)) => {
                Some(interleaved_to_half_order(n_head, d))
            }
            Some(_) => bail!("`{name}` has shape {:?}, which does not match the heads", info.dims),
        };
        match weights::read(file, name, order.as_deref())? {
            Weight::Quantized(matrix) if keep_quantized => _ = quantized.insert(hf_name, matrix),
            Weight::Quantized(matrix) => _ = tensors.insert(hf_name, matrix.dequantize()?),
            Weight::Unquantized(tensor) => _ = tensors.insert(hf_name, tensor),
        }
    }
    let origin = file.path().display();
    let parameters = Parameters::from_tensors(tensors, origin, 0, mode.dtype(), device);
    Ok(ModelWeights { config, parameters: parameters.with_quantized(quantized) })
}

/// Number of heads of the tensor `name`, if it is one whose rows llama.cpp permutes.
fn n_permuted_heads(name: &str, attention: &AttentionConfig) -> Option<usize> {
    if name.contains(".q_proj.") {
        Some(attention.n_head)
    } else if name.contains(".k_proj.") {
        Some(attention.n_kv_head)
    } else {
        None
    }
}
