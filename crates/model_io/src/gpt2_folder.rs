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

use crate::json_fields::Fields;
use crate::tensor_names::is_conv1d;
use crate::weight_files::{self, WEIGHTS_FILE, drop_tied_lm_head};
use crate::{ModelConfig, TensorNames};

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
        let fields = Fields(json.as_object().context("expected a JSON object")?);
        let model_type = fields.string("model_type")?.unwrap_or("none");
        ensure!(model_type == "gpt2", "model_type is `{model_type}`, expected `gpt2`");
        let activation_function = fields.string("activation_function")?.unwrap_or("gelu_new");
        let activation_function = match activation_function {
            "gelu_new" | "gelu_pytorch_tanh" => Gelu::Tanh,
            "gelu" => Gelu::Exact,
            other => bail!("activation_function is `{other}`, expected `gelu_new` or `gelu`"),
        };
        let (n_embd, dropout) = (fields.size("n_embd")?, fields.number_or("resid_pdrop", 0.1)?);
        let inner = fields.size_or("n_inner", n_embd.saturating_mul(4))?;
        ensure!(inner == n_embd.saturating_mul(4), "n_inner is {inner}, expected 4 n_embd");
        for key in ["attn_pdrop", "embd_pdrop"] {
            ensure!(fields.number_or(key, 0.1)? == dropout, "`{key}` differs from `resid_pdrop`");
        }
        for (key, required) in [
            ("tie_word_embeddings", true),
            ("scale_attn_weights", true),
            ("scale_attn_by_inverse_layer_idx", false),
        ] {
            let value = fields.value(key).is_none_or(|value| *value == required);
            ensure!(value, "`{key}` must be {required}");
        }
        ensure!(
            (0. ..1.).contains(&dropout),
            "`resid_pdrop` is {dropout}: it must be at least 0 and below 1"
        );
        let layer_norm_epsilon = fields.number_or("layer_norm_epsilon", 1e-5)?;
        ensure!(layer_norm_epsilon > 0., "`layer_norm_epsilon` is {layer_norm_epsilon}");
        Ok(Self {
            n_layer: fields.size("n_layer")?,
            n_head: fields.size("n_head")?,
            n_embd,
            activation_function,
            layer_norm_epsilon,
            dropout,
            vocab_size: fields.size("vocab_size")?,
            n_positions: fields.size("n_positions")?,
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
        if TensorNames::is_buffer(name) {
            continue;
        }
        let tensor = if is_conv1d(name) && tensor.rank() == 2 { tensor.t()? } else { tensor };
        tensors.insert(name.to_string(), tensor);
    }
    drop_tied_lm_head(&mut tensors, "lm_head.weight", "wte.weight", path.display())?;
    Ok(Parameters::from_tensors(tensors, path.display(), seed, DType::F32, device))
}
