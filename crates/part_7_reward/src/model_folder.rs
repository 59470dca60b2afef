//! A reward model as a folder: transformers' `LlamaForSequenceClassification` (or the Mistral, Qwen2, Qwen3 that the body is) with
//! a single label, and our normalisation beside it. The encoder, which transformers does not have, bears our own name.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use modern::config::LmHead;
use modern::model_folder::{SpecialTokenIds, read_tensors, save_with_config_json};
use modern::{ModelConfig, config_json};
use serde_json::{Value, json};
use sft::ChatTokenizer;
use tensor_core::Parameters;
use tiny_gpt::json_file;

use crate::{RewardArchitecture, RewardModel, RewardNormalization};

/// What transformers calls a model that classifies texts, after its family's name.
const CLASSIFIER_SUFFIX: &str = "ForSequenceClassification";
/// The encoder.
const ENCODER_CLASS: &str = "EncoderForSequenceClassification";
/// The weights of the head.
pub(crate) const HEAD_WEIGHT: &str = "score.weight";
const NORMALIZATION_KEY: &str = "reward_normalisation";

/// What a reward model is, beside its weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RewardModelConfig {
    /// Of the language model below the score.
    pub backbone: ModelConfig,
    /// How the score is read.
    pub architecture: RewardArchitecture,
    /// How it is normalised.
    pub normalization: RewardNormalization,
}

/// Writes the whole folder, the weights last; `parameters` are without adapters.
///
/// # Errors
/// When a file cannot be written.
pub fn save(
    folder: &Path,
    description: &RewardModelConfig,
    parameters: &Parameters,
    speech: &ChatTokenizer,
    ends: &SpecialTokenIds,
) -> Result<()> {
    let (mut json, padding) = (to_json(description), padding(speech));
    json["pad_token_id"] = json!(padding);
    let tokenizer = speech.tokenizer.clone().with_pad_token(padding); // transformers fills up with this one, and skips the other
    tokenizer.save(folder, description.backbone.context_len, Some(&speech.template))?;
    save_with_config_json(folder, json, parameters, ends, None)
}

/// The model in `folder`, its weights turned into `dtype`.
///
/// # Errors
/// When it has no reward head, or as [`modern::model_folder::open`].
pub fn open(
    folder: &Path,
    dtype: DType,
    device: &Device,
) -> Result<(RewardModelConfig, RewardModel, Parameters)> {
    let path = folder.join("config.json");
    let description = from_json(&json_file::read(&path)?)
        .with_context(|| format!("{} describes no reward model", path.display()))?;
    let tensors = read_tensors(folder, LmHead::Untied)?;
    let mut parameters = Parameters::from_tensors(tensors, folder.display(), 0, dtype, device);
    let RewardModelConfig { backbone: config, architecture, .. } = description;
    let model = RewardModel::new(&config, architecture, &mut parameters)?;
    parameters.ensure_all_used()?;
    Ok((description, model, parameters))
}

/// Whether `folder` says that it holds a model with a head for scores.
pub fn is_reward_model(folder: &Path) -> bool {
    json_file::read(&folder.join("config.json")).is_ok_and(|json| class(&json).is_ok())
}

fn to_json(description: &RewardModelConfig) -> Value {
    let RewardModelConfig { backbone: config, architecture, normalization } = *description;
    let mut json = match architecture {
        RewardArchitecture::Causal => config_json::to_json(&config),
        RewardArchitecture::Encoder => config_json::to_custom_json(&config),
    };
    let class = json["architectures"][0].as_str().unwrap_or_default();
    let class = match architecture {
        RewardArchitecture::Causal => {
            class.trim_end_matches("ForCausalLM").to_string() + CLASSIFIER_SUFFIX
        }
        RewardArchitecture::Encoder => ENCODER_CLASS.to_string(),
    };
    json["architectures"] = json!([class]);
    json["id2label"] = json!({ "0": "reward" }); // how transformers counts labels: two where nothing is said
    json["label2id"] = json!({ "reward": 0 });
    json[NORMALIZATION_KEY] = normalization.to_json();
    json
}

fn from_json(json: &Value) -> Result<RewardModelConfig> {
    let class = class(json)?;
    if let Some(labels) = json["id2label"].as_object() {
        ensure!(
            labels.len() == 1,
            "it tells {} labels apart; a reward model has one score",
            labels.len()
        );
    }
    Ok(RewardModelConfig {
        backbone: RewardModel::backbone_config(&config_json::from_json(json)?),
        architecture: if class == ENCODER_CLASS {
            RewardArchitecture::Encoder
        } else {
            RewardArchitecture::Causal
        },
        normalization: RewardNormalization::from_json(&json[NORMALIZATION_KEY])?,
    })
}

fn class(json: &Value) -> Result<&str> {
    let class = json["architectures"][0].as_str().unwrap_or("nothing");
    ensure!(
        class.ends_with(CLASSIFIER_SUFFIX),
        "it is a {class} and has no reward head; `part_7 train --model` puts one on"
    );
    Ok(class)
}

/// The token that fills up rows. transformers reads the score at the last token that is not this one, so it must not be the one
/// that ends texts, as many chat models have it; any other will do, since all texts end with that. A special one is in no text.
fn padding(speech: &ChatTokenizer) -> u32 {
    let tokenizer = &speech.tokenizer;
    let candidates = tokenizer.special_tokens().pad.into_iter().chain(tokenizer.all_special_ids());
    candidates.chain([0, 1]).find(|&id| id != speech.eos_token_id()).unwrap_or_default()
}
