//! Loading a model from a GGUF file: llama.cpp's names and sizes are converted to Hugging Face's;
//! blocks stay quantized, or are dequantized for training.
//!
//! For Llama, llama.cpp's RoPE rotates adjacent pairs, and its converter permutes the rows of the
//! query and key matrices accordingly. We permute them back. (Without that, short greedy texts
//! still look right, but the perplexity is 150 instead of 9.7.) For Gemma, its converter adds 1 to
//! the weights of norms, which we subtract.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use candle_core::{Device, Tensor};
use tensor_core::quantized::QuantizedMatrix;
use tensor_core::{Parameters, Weight};

use crate::config::{BlockLayout, ModelConfig};
use crate::gguf::{Gguf, TensorFormat};
use crate::gguf_family::GgufFamily;
use crate::row_order::{interleaved_to_half_order, n_rotated_heads, permute_rows};
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
    let interleaved_rope = family.rotates_adjacent_channels();
    let keep_quantized = mode.keeps_quantized(device);
    let (mut tensors, mut quantized) = (BTreeMap::new(), BTreeMap::new());
    for (name, info) in file.tensor_infos() {
        let Some(hf_name) = hf_name(name, &config) else {
            ensure!(name == "rope_freqs.weight", "unexpected tensor `{name}`");
            continue;
        };
        let n_head = n_rotated_heads(&hf_name, &config.attention).filter(|_| interleaved_rope);
        let head_dim = config.attention.head_dim;
        ensure!(
            n_head.is_none_or(|n_head| info.dims.first() == Some(&(n_head * head_dim))),
            "`{name}` has shape {:?}, which does not match the heads",
            info.dims
        );
        let order = n_head.map(|n_head| interleaved_to_half_order(n_head, head_dim));
        match read_weight(file, name, order.as_deref())? {
            Weight::Quantized(matrix) if keep_quantized => _ = quantized.insert(hf_name, matrix),
            Weight::Quantized(matrix) => _ = tensors.insert(hf_name, matrix.dequantize()?),
            Weight::Unquantized(scale) if family.is_gemma() && hf_name.ends_with("norm.weight") => {
                tensors.insert(hf_name, (scale - 1.)?);
            }
            Weight::Unquantized(tensor) | Weight::Bf16Products(tensor) => {
                _ = tensors.insert(hf_name, tensor)
            }
        }
    }
    let origin = file.path().display();
    let parameters = Parameters::from_tensors(tensors, origin, 0, mode.dtype(), device);
    Ok(ModelWeights { config, parameters: parameters.with_quantized(quantized) })
}

/// Hugging Face's name of llama.cpp's tensor `name`: `blk.3.attn_q.weight` becomes
/// `model.layers.3.self_attn.q_proj.weight`. `None` for a tensor unknown in a model of this config.
fn hf_name(name: &str, config: &ModelConfig) -> Option<String> {
    let names = TensorNames::of(config);
    let [attention_output_norm, mlp_output_norm] = names.output_norms;
    let has_output_norms = config.block == BlockLayout::SandwichNorm;
    let (module, kind) = name.rsplit_once('.')?;
    let hf_module = match module {
        "token_embd" => "model.embed_tokens".to_string(),
        "output_norm" => "model.norm".to_string(),
        "output" => "lm_head".to_string(),
        _ => {
            let (layer, part) = module.strip_prefix("blk.")?.split_once('.')?;
            let part = match part {
                "attn_norm" => names.attention_norm,
                "ffn_norm" => names.mlp_norm,
                "post_attention_norm" if has_output_norms => attention_output_norm,
                "post_ffw_norm" if has_output_norms => mlp_output_norm,
                "attn_q" => "self_attn.q_proj",
                "attn_k" => "self_attn.k_proj",
                "attn_v" => "self_attn.v_proj",
                "attn_output" => "self_attn.o_proj",
                "attn_q_norm" => "self_attn.q_norm",
                "attn_k_norm" => "self_attn.k_norm",
                "ffn_gate" => "mlp.gate_proj",
                "ffn_up" => "mlp.up_proj",
                "ffn_down" => "mlp.down_proj",
                _ => return None,
            };
            format!("model.layers.{layer}.{part}")
        }
    };
    Some(format!("{hf_module}.{kind}"))
}

/// Weight `name`, unquantized or in blocks, with its rows permuted by `order` if given.
fn read_weight(file: &Gguf, name: &str, order: Option<&[usize]>) -> Result<Weight> {
    let info = file.tensor_info(name)?;
    let TensorFormat::Quantized(quantization) = info.format else {
        let mut numbers = file.read_floats(name)?;
        if let Some(order) = order {
            numbers = permute_rows(&numbers, order);
        }
        return Ok(Weight::Unquantized(Tensor::from_vec(numbers, &info.dims[..], &Device::Cpu)?));
    };
    let &[rows, columns] = &info.dims[..] else { bail!("`{name}` is quantized, but not a matrix") };
    let mut matrix = QuantizedMatrix::new(quantization, rows, columns, file.read_tensor(name)?)?;
    ensure!(
        is_finite(&matrix)?,
        "`{name}` has a weight that is NaN or infinite: the file is damaged"
    );
    if let Some(order) = order {
        matrix = matrix.permute_rows(order)?;
    }
    Ok(Weight::Quantized(matrix))
}

/// True if no weight is NaN or infinite, as the scale of a block may be. Few rows at a time, so
/// that the matrix is never in memory as f32.
fn is_finite(matrix: &QuantizedMatrix) -> Result<bool> {
    let (rows, _columns) = matrix.dims();
    for rows in (0..rows as u32).collect::<Vec<_>>().chunks(64) {
        let numbers = matrix.dequantize_rows(rows)?;
        if numbers.affine(0., 0.)?.sum_all()?.to_scalar::<f32>()? != 0. {
            return Ok(false); // 0 · x is 0 for all other numbers
        }
    }
    Ok(true)
}
