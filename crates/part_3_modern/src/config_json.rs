//! `config.json`: how transformers says what [`ModelConfig`] says.
//!
//! Llama, Mistral, Qwen2 and Qwen3 are points in the space of our configurations, and are written under their names. What
//! none of them is gets `model_type: llm_from_scratch`, which transformers refuses by name instead of misreading it.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use tensor_core::ops::Gelu;

use crate::block::INIT_STD;
use crate::config::{
    AttentionBias, AttentionConfig, Llama3Scaling, Mlp, ModelConfig, Norm, OutputLayer, Position,
    QkNorm, Window,
};

const OURS: &str = "llm_from_scratch";

/// The architectures that are opened, by `model_type`.
const FAMILIES: [&str; 5] = ["llama", "mistral", "qwen2", "qwen3", OURS];

/// The family that a model belongs to, and what transformers calls its class.
fn family(config: &ModelConfig) -> (&'static str, &'static str) {
    let AttentionConfig { bias, qk_norm, position, window, head_dim, n_head, .. } =
        config.attention;
    let whole = head_dim * n_head == config.n_embd;
    match (config.norm, config.mlp, position, bias, qk_norm, window) {
        (Norm::Rms { .. }, Mlp::SwiGlu { .. }, Position::Rope { .. }, bias, qk_norm, window) => {
            match (bias, qk_norm, window) {
                (AttentionBias::None | AttentionBias::All, QkNorm::None, None) => {
                    ("llama", "LlamaForCausalLM")
                }
                (AttentionBias::None, QkNorm::None, Some(Window { sinks: 0, .. })) => {
                    ("mistral", "MistralForCausalLM")
                }
                (AttentionBias::Qkv, QkNorm::None, None) if whole => ("qwen2", "Qwen2ForCausalLM"),
                (AttentionBias::None, QkNorm::PerHead, None) => ("qwen3", "Qwen3ForCausalLM"),
                _ => (OURS, "GptModern"),
            }
        }
        _ => (OURS, "GptModern"),
    }
}

/// The model's `config.json`, without its special tokens.
pub fn to_json(config: &ModelConfig) -> Value {
    let (model_type, class) = family(config);
    let attention = config.attention;
    let (Norm::Rms { eps } | Norm::Layer { eps }) = config.norm;
    let (Mlp::SwiGlu { width } | Mlp::Gelu { width, .. }) = config.mlp;
    let activation = match config.mlp {
        Mlp::SwiGlu { .. } => "silu",
        Mlp::Gelu { form: Gelu::Tanh, .. } => "gelu_new",
        Mlp::Gelu { form: Gelu::Exact, .. } => "gelu",
    };
    let mut json = json!({
        "architectures": [class],
        "model_type": model_type,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context,
        "num_hidden_layers": config.n_layer,
        "hidden_size": config.n_embd,
        "num_attention_heads": attention.n_head,
        "num_key_value_heads": attention.n_kv_head,
        "head_dim": attention.head_dim,
        "intermediate_size": width,
        "hidden_act": activation,
        "rms_norm_eps": eps,
        "tie_word_embeddings": config.output == OutputLayer::Tied,
        "sliding_window": attention.window.map(|window| window.size),
        "attention_bias": attention.bias == AttentionBias::All,
        "attention_dropout": 0.0,
        "initializer_range": INIT_STD,
        "dtype": "float32",
    });
    if let Position::Rope { base, scaling } = attention.position {
        json["rope_theta"] = json!(base); // where transformers 4 looks
        let mut parameters = json!({ "rope_type": "default", "rope_theta": base });
        if let Some(scaling) = scaling {
            let Llama3Scaling { factor, low_freq_factor, high_freq_factor, original_context } =
                scaling;
            let scaling = json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": original_context,
            });
            json["rope_scaling"] = scaling.clone();
            parameters = scaling;
            parameters["rope_theta"] = json!(base);
        }
        json["rope_parameters"] = parameters; // where transformers 5 looks
    }
    if model_type == OURS {
        json["norm"] = json!(if matches!(config.norm, Norm::Rms { .. }) { "rms" } else { "layer" });
        json["attention_sinks"] = json!(attention.window.map_or(0, |window| window.sinks));
        json["qkv_bias"] = json!(attention.bias != AttentionBias::None);
        json["qk_norm"] = json!(attention.qk_norm == QkNorm::PerHead);
    }
    json
}

/// Reads a `config.json`.
///
/// # Errors
/// When it describes a model that this part does not have, naming what.
pub fn from_json(json: &Value) -> Result<ModelConfig> {
    let json = Reader(json.as_object().context("no JSON object")?);
    let family = json.text("model_type").unwrap_or("none");
    ensure!(FAMILIES.contains(&family), "model_type `{family}` is none of {}", FAMILIES.join(", "));
    ensure!(!json.flag("mlp_bias")?, "`mlp_bias` is not supported");
    ensure!(
        json.value("quantization_config").is_none(),
        "`quantization_config`: only plain weights are opened from a folder; a .gguf file may be quantised"
    );
    let (n_embd, n_head) = (json.size("hidden_size")?, json.size("num_attention_heads")?);
    let eps = json.number("rms_norm_eps", 1e-6)?;
    let width = json.size("intermediate_size")?;
    let config = ModelConfig {
        vocab_size: json.size("vocab_size")?,
        n_layer: json.size("num_hidden_layers")?,
        n_embd,
        context: json.size("max_position_embeddings")?,
        norm: match (family, json.text("norm")) {
            (OURS, Some("layer")) => Norm::Layer { eps },
            _ => Norm::Rms { eps },
        },
        attention: AttentionConfig {
            n_head,
            n_kv_head: json.size_or("num_key_value_heads", n_head)?,
            head_dim: json.size_or("head_dim", n_embd / n_head.max(1))?,
            bias: attention_bias(family, json)?,
            qk_norm: match family == "qwen3" || json.flag("qk_norm")? {
                true => QkNorm::PerHead,
                false => QkNorm::None,
            },
            position: position(family, json)?,
            window: window(family, json)?,
        },
        mlp: match (family, json.text("hidden_act").unwrap_or("silu")) {
            (_, "silu") => Mlp::SwiGlu { width },
            (OURS, "gelu_new") => Mlp::Gelu { width, form: Gelu::Tanh },
            (OURS, "gelu") => Mlp::Gelu { width, form: Gelu::Exact },
            (_, other) => bail!("`hidden_act` is `{other}`, expected `silu`"),
        },
        output: match json.flag("tie_word_embeddings")? {
            true => OutputLayer::Tied,
            false => OutputLayer::Own,
        },
    };
    config.check()?;
    Ok(config)
}

fn attention_bias(family: &str, json: Reader<'_>) -> Result<AttentionBias> {
    Ok(match (family, json.flag("attention_bias")?) {
        ("qwen2", _) => AttentionBias::Qkv,
        (_, true) => AttentionBias::All,
        (OURS, false) if json.flag("qkv_bias")? => AttentionBias::Qkv,
        (_, false) => AttentionBias::None,
    })
}

fn position(family: &str, json: Reader<'_>) -> Result<Position> {
    let parameters = json.value("rope_parameters").or_else(|| json.value("rope_scaling"));
    let Some(parameters) = parameters.and_then(Value::as_object).map(Reader) else {
        if family == OURS && json.value("rope_theta").is_none() {
            return Ok(Position::Learned);
        }
        return Ok(Position::Rope { base: json.number("rope_theta", 10_000.)?, scaling: None });
    };
    let base = parameters.number("rope_theta", json.number("rope_theta", 10_000.)?)?;
    let kind = parameters.text("rope_type").or_else(|| parameters.text("type"));
    let scaling = match kind.unwrap_or("default") {
        "default" => None,
        "llama3" => Some(Llama3Scaling {
            factor: parameters.number("factor", 8.)?,
            low_freq_factor: parameters.number("low_freq_factor", 1.)?,
            high_freq_factor: parameters.number("high_freq_factor", 4.)?,
            original_context: parameters.size("original_max_position_embeddings")?,
        }),
        other => bail!("RoPE scaling `{other}` is neither `default` nor `llama3`"),
    };
    Ok(Position::Rope { base, scaling })
}

fn window(family: &str, json: Reader<'_>) -> Result<Option<Window>> {
    let switched_on = !family.starts_with("qwen") || json.flag("use_sliding_window")?;
    if !switched_on || json.value("sliding_window").is_none() {
        return Ok(None);
    }
    if family.starts_with("qwen") {
        let first = json.size_or("max_window_layers", 0)?;
        ensure!(first == 0, "only some layers have a window (`max_window_layers` is {first})");
    }
    let sinks = json.size_or("attention_sinks", 0)?;
    Ok(Some(Window { size: json.size("sliding_window")?, sinks }))
}

/// Looks into a JSON object; a key that is null is as one that is not there.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a Map<String, Value>);

impl<'a> Reader<'a> {
    fn value(self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn text(self, key: &str) -> Option<&'a str> {
        self.value(key).and_then(Value::as_str)
    }

    fn size(self, key: &str) -> Result<usize> {
        let value = self.value(key).with_context(|| format!("`{key}` is missing"))?;
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.with_context(|| format!("`{key}` is {value}, expected a size"))
    }

    fn size_or(self, key: &str, default: usize) -> Result<usize> {
        if self.value(key).is_none() { Ok(default) } else { self.size(key) }
    }

    fn number(self, key: &str, default: f64) -> Result<f64> {
        let Some(value) = self.value(key) else { return Ok(default) };
        value.as_f64().with_context(|| format!("`{key}` is {value}, expected a number"))
    }

    fn flag(self, key: &str) -> Result<bool> {
        let Some(value) = self.value(key) else { return Ok(false) };
        value.as_bool().with_context(|| format!("`{key}` is {value}, expected true or false"))
    }
}
