//! Model folders of `GPT2LMHeadModel`, which transformers can load and save too.
//!
//! GPT-2 stores its linear layers as "Conv1D" weights, (in, out) instead of (out, in). This and the
//! prefix `transformer.` are the only differences from the parameters in memory.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device};
use serde_json::{Value, json};
use tensor_core::Parameters;
use tensor_core::ops::Gelu;

use crate::ModelConfig;
use crate::weight_files::{self, WEIGHTS_FILE, drop_tied_lm_head};

const PREFIX: &str = "transformer.";

/// Architecture of a GPT-2 in the words of its `config.json`.
///
/// The head is tied and the inner width of the feed-forward layer is 4 `n_embd`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gpt2Config {
    /// V, the vocabulary size.
    pub vocab_size: usize,
    /// Maximum length of a text in tokens.
    pub n_positions: usize,
    /// Number of blocks.
    pub n_layer: usize,
    /// H, the number of heads.
    pub n_head: usize,
    /// C, the number of channels.
    pub n_embd: usize,
    /// `gelu_new` (tanh) or `gelu` (exact).
    pub activation_function: Gelu,
    /// ε of the norms.
    pub layer_norm_epsilon: f64,
    /// Dropout probability, the same everywhere: `attn_pdrop`, `embd_pdrop` and `resid_pdrop`.
    pub dropout: f64,
}

impl Gpt2Config {
    /// Content of the `config.json`.
    pub fn to_json(&self) -> Value {
        let activation = match self.activation_function {
            Gelu::Tanh => "gelu_new",
            Gelu::Exact => "gelu",
        };
        json!({
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": self.vocab_size,
            "n_positions": self.n_positions,
            "n_layer": self.n_layer,
            "n_head": self.n_head,
            "n_embd": self.n_embd,
            "n_inner": null,
            "activation_function": activation,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "initializer_range": ModelConfig::GPT2_INIT_STD,
            "attn_pdrop": self.dropout,
            "embd_pdrop": self.dropout,
            "resid_pdrop": self.dropout,
            "tie_word_embeddings": true,
            "bos_token_id": null,
            "eos_token_id": null,
            "dtype": "float32",
        })
    }

    /// Reads a `config.json`. Keys that transformers' files may omit have its defaults.
    ///
    /// # Errors
    /// When a key is invalid or describes a model that is not supported; names the key.
    pub fn from_json(json: &Value) -> Result<Self> {
        let model_type = json["model_type"].as_str().unwrap_or("none");
        ensure!(model_type == "gpt2", "model_type is `{model_type}`, expected `gpt2`");
        let size = |key: &str| {
            let value = json[key]
                .as_u64()
                .with_context(|| format!("`{key}` must be a non-negative integer"))?;
            usize::try_from(value).with_context(|| format!("`{key}` is {value}"))
        };
        let number = |key: &str, default: f64| json[key].as_f64().unwrap_or(default);
        let activation_function = match json["activation_function"].as_str().unwrap_or("gelu_new") {
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
            let value = json[key].as_bool().unwrap_or(required);
            ensure!(value == required, "`{key}` must be {required}");
        }
        Ok(Self {
            n_layer: size("n_layer")?,
            n_head: size("n_head")?,
            n_embd,
            activation_function,
            layer_norm_epsilon: number("layer_norm_epsilon", 1e-5),
            dropout,
            vocab_size: size("vocab_size")?,
            n_positions: size("n_positions")?,
        })
    }
}

/// Writes `config.json`, `generation_config.json`, `tokenizer.json` if given, and
/// `model.safetensors` into `folder`, the weights last.
///
/// # Errors
/// When a file cannot be written.
pub fn save(
    folder: &Path,
    config: &Gpt2Config,
    tokenizer: Option<Value>,
    parameters: &Parameters,
) -> Result<()> {
    let mut files = vec![
        ("config.json", config.to_json()),
        ("generation_config.json", json!({ "do_sample": true, "temperature": 1.0 })),
    ];
    files.extend(tokenizer.map(|tokenizer| ("tokenizer.json", tokenizer)));
    let tensors = parameters.iter().map(|parameter| {
        let tensor = parameter.var.as_detached_tensor();
        let tensor = if is_conv1d(&parameter.name) { tensor.t()? } else { tensor };
        Ok((format!("{PREFIX}{}", parameter.name), tensor))
    });
    weight_files::write(folder, &files, WEIGHTS_FILE, &tensors.collect::<Result<_>>()?)
}

/// Weights of a GPT-2 folder, f32. `seed` is the dropout seed of further training.
///
/// # Errors
/// When a file is missing or damaged.
pub fn read_parameters(folder: &Path, seed: u64, device: &Device) -> Result<Parameters> {
    let path = folder.join(WEIGHTS_FILE);
    let mut tensors = BTreeMap::new();
    for (name, tensor) in weight_files::read(folder)? {
        // The Hub's GPT-2 lacks the prefix and holds the causal masks of old versions as tensors.
        let name = name.strip_prefix(PREFIX).unwrap_or(&name);
        if name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") {
            continue;
        }
        let tensor = if is_conv1d(name) && tensor.rank() == 2 { tensor.t()? } else { tensor };
        tensors.insert(name.to_string(), tensor);
    }
    drop_tied_lm_head(&mut tensors, "wte.weight", path.display())?;
    Ok(Parameters::from_tensors(tensors, path.display(), seed, DType::F32, device))
}

/// True if GPT-2 stores this parameter as (in, out).
fn is_conv1d(name: &str) -> bool {
    ["c_attn.weight", "c_proj.weight", "c_fc.weight"].iter().any(|layer| name.ends_with(layer))
}
