//! Model folders in Hugging Face's GPT-2 format, which `transformers` can load and save too.
//!
//! GPT-2 stores its linear layers as "Conv1D" weights, (in, out) instead of (out, in). This and the
//! prefix `transformer.` are the only differences from the parameters in memory.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use attention::BlockConfig;
use candle_core::{DType, Device};
use model_io::weight_files::{drop_tied_lm_head, write_model_folder};
use serde_json::{Value, json};
use tensor_core::ops::Gelu;
use tensor_core::{Parameters, json_file, weights};

use crate::{ByteTokenizer, Gpt, GptConfig};

const PREFIX: &str = "transformer.";

/// Writes `config.json`, `generation_config.json`, `tokenizer.json` and `model.safetensors` into
/// `folder`. Each write is atomic and the weights come last, so a folder with weights is complete.
///
/// # Errors
/// When a file cannot be written.
pub fn save(folder: &Path, config: &GptConfig, parameters: &Parameters) -> Result<()> {
    let mut files = vec![
        ("config.json", config_to_json(config)),
        ("generation_config.json", json!({ "do_sample": true, "temperature": 1.0 })),
    ];
    if config.vocab_size == ByteTokenizer::VOCAB_SIZE {
        files.push(("tokenizer.json", ByteTokenizer.to_json()));
    }
    let tensors = parameters.iter().map(|parameter| {
        let tensor = parameter.var.as_detached_tensor();
        let tensor = if is_conv1d(&parameter.name) { tensor.t()? } else { tensor };
        Ok((format!("{PREFIX}{}", parameter.name), tensor))
    });
    write_model_folder(folder, &files, &tensors.collect::<Result<_>>()?)
}

/// Opens a GPT-2 folder. `seed` is the dropout seed of further training.
///
/// # Errors
/// When a file is missing or damaged, the architecture is another one, or a tensor is missing,
/// unknown or of the wrong shape.
pub fn open(folder: &Path, seed: u64, device: &Device) -> Result<(Gpt, Parameters)> {
    let path = folder.join("config.json");
    let config = config_from_json(&json_file::read(&path)?)
        .with_context(|| format!("{} does not describe a model of this part", path.display()))?;

    let path = folder.join("model.safetensors");
    let mut tensors = BTreeMap::new();
    for (name, tensor) in weights::load(&path)? {
        // The Hub's GPT-2 lacks the prefix and holds the causal masks of old versions as tensors.
        let name = name.strip_prefix(PREFIX).unwrap_or(&name);
        if name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") {
            continue;
        }
        let tensor = if is_conv1d(name) && tensor.rank() == 2 { tensor.t()? } else { tensor };
        tensors.insert(name.to_string(), tensor);
    }
    drop_tied_lm_head(&mut tensors, "wte.weight", &path)?;
    let mut parameters =
        Parameters::from_tensors(tensors, path.display(), seed, DType::F32, device);
    let gpt = Gpt::new(&config, parameters.root())?;
    parameters.ensure_all_used()?;
    Ok((gpt, parameters))
}

/// Opens the folder of a byte-level model for inference.
///
/// # Errors
/// Those of [`open`], and when the model has another tokenizer than [`ByteTokenizer`].
pub fn open_byte_level(folder: &Path, device: &Device) -> Result<Gpt> {
    let (model, parameters) = open(folder, 0, device)?;
    let v = model.config().vocab_size;
    let message = format!("{} has another tokenizer; this part reads bytes", folder.display());
    ensure!(v == ByteTokenizer::VOCAB_SIZE, "{message} (vocabulary {v}, not 256)");
    let path = folder.join("tokenizer.json");
    if path.exists() {
        let json = json_file::read(&path)?;
        let expected = ByteTokenizer.to_json();
        ensure!(json["model"]["vocab"] == expected["model"]["vocab"], "{message}");
    }
    Ok(Gpt::new(model.config(), parameters.for_inference().root())?)
}

/// Returns whether GPT-2 stores this parameter as (in, out).
fn is_conv1d(name: &str) -> bool {
    ["c_attn.weight", "c_proj.weight", "c_fc.weight"].iter().any(|layer| name.ends_with(layer))
}

/// JSON of the model's `config.json`.
pub fn config_to_json(config: &GptConfig) -> Value {
    let GptConfig { vocab_size, context_len, block } = *config;
    let activation = match block.gelu {
        Gelu::Tanh => "gelu_new",
        Gelu::Exact => "gelu",
    };
    json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": vocab_size,
        "n_positions": context_len,
        "n_layer": block.n_layer,
        "n_head": block.n_head,
        "n_embd": block.n_embd,
        "n_inner": null,
        "activation_function": activation,
        "layer_norm_epsilon": block.layer_norm_eps,
        "initializer_range": BlockConfig::INIT_STD,
        "attn_pdrop": block.dropout,
        "embd_pdrop": block.dropout,
        "resid_pdrop": block.dropout,
        "tie_word_embeddings": true,
        "bos_token_id": null,
        "eos_token_id": null,
        "dtype": "float32",
    })
}

fn config_from_json(json: &Value) -> Result<GptConfig> {
    let model_type = json["model_type"].as_str().unwrap_or("none");
    ensure!(model_type == "gpt2", "model_type is `{model_type}`, expected `gpt2`");
    let size = |key: &str| {
        let value = json[key]
            .as_u64()
            .with_context(|| format!("`{key}` must be a non-negative integer"))?;
        usize::try_from(value).with_context(|| format!("`{key}` is {value}"))
    };
    // The defaults of transformers, for keys that its files may omit.
    let number = |key: &str, default: f64| json[key].as_f64().unwrap_or(default);
    let gelu = match json["activation_function"].as_str().unwrap_or("gelu_new") {
        "gelu_new" | "gelu_pytorch_tanh" => Gelu::Tanh,
        "gelu" => Gelu::Exact,
        other => bail!("activation_function is `{other}`, expected `gelu_new` or `gelu`"),
    };
    let (n_embd, dropout) = (size("n_embd")?, number("resid_pdrop", 0.1));
    let inner = json["n_inner"].as_u64().unwrap_or(4 * n_embd as u64);
    ensure!(inner == 4 * n_embd as u64, "n_inner is {inner}, expected 4 n_embd");
    for key in ["attn_pdrop", "embd_pdrop"] {
        ensure!(number(key, 0.1) == dropout, "`{key}` differs from `resid_pdrop`");
    }
    for (key, required) in [
        ("tie_word_embeddings", true),
        ("scale_attn_weights", true),
        ("scale_attn_by_inverse_layer_idx", false),
    ] {
        ensure!(json[key].as_bool().unwrap_or(required) == required, "`{key}` must be {required}");
    }
    let (n_layer, n_head) = (size("n_layer")?, size("n_head")?);
    let layer_norm_eps = number("layer_norm_epsilon", 1e-5);
    let block = BlockConfig { n_layer, n_head, n_embd, dropout, gelu, layer_norm_eps };
    Ok(GptConfig { vocab_size: size("vocab_size")?, context_len: size("n_positions")?, block })
}
