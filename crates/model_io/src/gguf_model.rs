//! Loading a model from a GGUF file: llama.cpp's names and sizes are converted to Hugging Face's;
//! blocks stay quantized, or are dequantized for training.
//!
//! For Llama, llama.cpp's RoPE rotates adjacent pairs, and its converter permutes the rows of the
//! query and key matrices accordingly. We permute them back. (Without that, short greedy texts
//! still look right, but the perplexity is 150 instead of 9.7.) For GPT-NeoX, it sorts the rows of
//! each head into queries, keys and values. For Gemma, it adds 1 to the weights of norms, which we
//! subtract.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use candle_core::Device;
use tensor_core::{Parameters, Weight};

use crate::config::{AttentionConfig, Mlp, ModelConfig, QkvProjections};
use crate::gguf::Gguf;
use crate::gguf_family::GgufFamily;
use crate::gguf_tensor_names::{HfName, hf_name};
use crate::gguf_weights::{read_experts, read_weight};
use crate::row_order::{fused_to_per_head_order, interleaved_to_half_order, n_rotated_heads};
use crate::{LoadMode, ModelWeights, TensorNames, gguf_config};

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
    let config = gguf_config::read(file)?;
    let family = GgufFamily::of(file)?;
    let keep_quantized = mode.keeps_quantized(device);
    let (mut tensors, mut quantized) = (BTreeMap::new(), BTreeMap::new());
    for (name, _) in file.tensor_infos() {
        for (hf_name, weight) in read_parameters(file, name, family, &config)? {
            match weight {
                Weight::Quantized(matrix) if keep_quantized => {
                    quantized.insert(hf_name, matrix);
                }
                Weight::Quantized(matrix) => _ = tensors.insert(hf_name, matrix.dequantize()?),
                Weight::Unquantized(scale)
                    if family.is_gemma() && hf_name.ends_with("norm.weight") =>
                {
                    tensors.insert(hf_name, (scale - 1.)?);
                }
                Weight::Unquantized(tensor) | Weight::Bf16Products(tensor) => {
                    tensors.insert(hf_name, tensor);
                }
            }
        }
    }
    let origin = file.path().display();
    let parameters = Parameters::from_tensors(tensors, origin, 0, mode.dtype(), device);
    Ok(ModelWeights { config, parameters: parameters.with_quantized(quantized) })
}

/// Parameters in the tensor `name`, under Hugging Face's names: one, or those of all experts; none
/// in a table of RoPE.
fn read_parameters(
    file: &Gguf,
    name: &str,
    family: GgufFamily,
    config: &ModelConfig,
) -> Result<Vec<(String, Weight)>> {
    match (hf_name(name, config), config.mlp) {
        (Some(HfName::One(hf_name)), _) => {
            let order = row_order(file, name, &hf_name, family, config)?;
            Ok(vec![(hf_name, read_weight(file, name, order.as_deref())?)])
        }
        (Some(HfName::Experts(names)), Mlp::Experts { n_expert, .. }) => {
            let experts = read_experts(file, name, n_expert)?.into_iter().enumerate();
            Ok(experts.map(|(expert, weight)| (names.name(expert), weight)).collect())
        }
        _ => {
            ensure!(family.has_rope_factors(name), "unexpected tensor `{name}`");
            Ok(Vec::new())
        }
    }
}

/// Order of the rows of the tensor `name` that we need, if it is another in the file.
fn row_order(
    file: &Gguf,
    name: &str,
    hf_name: &str,
    family: GgufFamily,
    config: &ModelConfig,
) -> Result<Option<Vec<usize>>> {
    let AttentionConfig { n_head, head_dim, projections, .. } = config.attention;
    let is_rotated = family.rotates_adjacent_channels();
    let n_rotated = n_rotated_heads(hf_name, &config.attention).filter(|_| is_rotated);
    let per_head = projections == QkvProjections::FusedPerHead
        && hf_name.contains(TensorNames::of(config).qkv_proj);
    let n_rows = match n_rotated {
        Some(n_head) => n_head * head_dim,
        None if per_head => 3 * n_head * head_dim,
        None => return Ok(None),
    };
    let dims = &file.tensor_info(name)?.dims;
    ensure!(
        dims.first() == Some(&n_rows),
        "`{name}` has shape {dims:?}, which does not match the heads"
    );
    Ok(Some(match n_rotated {
        Some(n_head) => interleaved_to_half_order(n_head, head_dim),
        None => fused_to_per_head_order(n_head, head_dim),
    }))
}
