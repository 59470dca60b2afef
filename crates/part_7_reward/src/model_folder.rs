//! Model folder of a reward model, in the format of transformers.
//!
//! The causal form is a `LlamaForSequenceClassification` (or Mistral, Qwen2, Qwen3, like its
//! backbone) with a single label; `config.json` also holds our normalization. transformers has no
//! equivalent of the encoder, which is saved under a class name of our own.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use model_io::config::LmHead;
use model_io::model_folder::{read_parameters, save_with_config_json};
use model_io::{ModelConfig, SpecialTokenIds, config_json};
use serde_json::{Value, json};
use sft::ChatTokenizer;
use tensor_core::{Parameters, json_file};

use crate::{RewardArchitecture, RewardModel, RewardNormalization};

/// Suffix of transformers' class names for sequence classification, after the model family.
const CLASSIFIER_SUFFIX: &str = "ForSequenceClassification";
/// Class name of the encoder.
const ENCODER_CLASS: &str = "EncoderForSequenceClassification";
/// Name of the reward head's weight.
pub(crate) const HEAD_WEIGHT: &str = "score.weight";
const NORMALIZATION_KEY: &str = "reward_normalisation";

/// Configuration of a reward model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RewardModelConfig {
    /// Configuration of the backbone, the language model below the reward head.
    pub backbone: ModelConfig,
    /// Causal or encoder form.
    pub architecture: RewardArchitecture,
    /// Normalization of its raw rewards.
    pub normalization: RewardNormalization,
}

/// Writes the model folder, the weights last. `parameters` must not have adapters.
///
/// # Errors
/// When a file cannot be written.
pub fn save(
    folder: &Path,
    config: &RewardModelConfig,
    parameters: &Parameters,
    chat_tokenizer: &ChatTokenizer,
    special_ids: &SpecialTokenIds,
) -> Result<()> {
    let (mut json, pad_token_id) = (to_json(config), pad_token_id(chat_tokenizer));
    json["pad_token_id"] = json!(pad_token_id);
    // transformers pads with the tokenizer's pad token and skips the one of config.json.
    let tokenizer = chat_tokenizer.tokenizer.clone().with_pad_token(pad_token_id);
    tokenizer.save(folder, config.backbone.context_len, Some(&chat_tokenizer.template))?;
    save_with_config_json(folder, &config.backbone, json, parameters, special_ids, None)
}

/// Opens the model in `folder` with its weights converted to `dtype`.
///
/// # Errors
/// When the model has no reward head, or [`model_io::model_folder::open`] would fail.
pub fn open(
    folder: &Path,
    dtype: DType,
    device: &Device,
) -> Result<(RewardModelConfig, RewardModel, Parameters)> {
    let path = folder.join("config.json");
    let reward_config = from_json(&json_file::read(&path)?)
        .with_context(|| format!("{} is not the config of a reward model", path.display()))?;
    let RewardModelConfig { backbone: config, architecture, .. } = reward_config;
    let without_head = ModelConfig { lm_head: LmHead::Untied, ..config };
    let mut parameters = read_parameters(folder, &without_head, dtype, device)?;
    let model = RewardModel::new(&config, architecture, &mut parameters)?;
    parameters.ensure_all_used()?;
    Ok((reward_config, model, parameters))
}

/// Returns true if the `config.json` of `folder` declares a reward head.
pub fn is_reward_model(folder: &Path) -> bool {
    json_file::read(&folder.join("config.json")).is_ok_and(|json| class_name(&json).is_ok())
}

fn to_json(config: &RewardModelConfig) -> Value {
    let RewardModelConfig { backbone, architecture, normalization } = *config;
    let mut json = match architecture {
        RewardArchitecture::CausalLastToken => config_json::to_json(&backbone),
        RewardArchitecture::BidirectionalMean => config_json::to_custom_json(&backbone),
    };
    let backbone_class = json["architectures"][0].as_str().unwrap_or_default();
    let class = match architecture {
        RewardArchitecture::CausalLastToken => {
            let family = ["ForCausalLM", "LMHeadModel"] // the latter is GPT-2's
                .iter()
                .find_map(|suffix| backbone_class.strip_suffix(suffix));
            let family = match family.unwrap_or(backbone_class) {
                "Gemma3" => "Gemma3Text", // the class without this part reads images
                family => family,
            };
            family.to_string() + CLASSIFIER_SUFFIX
        }
        RewardArchitecture::BidirectionalMean => ENCODER_CLASS.to_string(),
    };
    json["architectures"] = json!([class]);
    // transformers takes the number of labels from this map and assumes two without it.
    json["id2label"] = json!({ "0": "reward" });
    json["label2id"] = json!({ "reward": 0 });
    json[NORMALIZATION_KEY] = normalization.to_json();
    json
}

fn from_json(json: &Value) -> Result<RewardModelConfig> {
    let class = class_name(json)?;
    if let Some(labels) = json["id2label"].as_object() {
        ensure!(
            labels.len() == 1,
            "it is a classifier with {} labels; a reward model has one",
            labels.len()
        );
    }
    Ok(RewardModelConfig {
        backbone: RewardModel::backbone_config(&config_json::from_json(json)?),
        architecture: if class == ENCODER_CLASS {
            RewardArchitecture::BidirectionalMean
        } else {
            RewardArchitecture::CausalLastToken
        },
        normalization: RewardNormalization::from_json(&json[NORMALIZATION_KEY])?,
    })
}

fn class_name(json: &Value) -> Result<&str> {
    let class = json["architectures"][0].as_str().unwrap_or("model of an unknown class");
    ensure!(
        class.ends_with(CLASSIFIER_SUFFIX),
        "it is a {class} and has no reward head; `part_7 train --model` adds one"
    );
    Ok(class)
}

/// Padding token of saved models. transformers reads the reward at the last token that is not
/// padding, so padding must differ from EOS, although many chat models use EOS. Special tokens are
/// preferred, as texts do not contain them; a text ends with EOS, or with what the chat template
/// writes after it, mostly a line break.
fn pad_token_id(chat_tokenizer: &ChatTokenizer) -> u32 {
    let tokenizer = &chat_tokenizer.tokenizer;
    let candidates = tokenizer.special_tokens().pad.into_iter().chain(tokenizer.all_special_ids());
    let eos = chat_tokenizer.eos_token_id();
    candidates.chain([0, 1]).find(|&id| id != eos).unwrap_or_default()
}
