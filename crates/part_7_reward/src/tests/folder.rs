//! The folder: what is saved opens as it was, transformers scores alike, and what has no head is refused.

use anyhow::Result;
use candle_core::DType;
use modern::{ChatMessage, Checkpoint, LoadMode};
use serde_json::json;
use sft::{LoraConfig, TargetModules};
use tensor_core::testing::assert_python_agrees;
use tiny_gpt::json_file;

use super::{BOTH, CPU, checkpoint, golden, speech};
use crate::model_folder::{self, RewardModelConfig};
use crate::{RewardArchitecture, RewardCheckpoint, RewardNormalization, initialization};

const TRAINING: LoadMode = LoadMode::Training(DType::F32);

fn texts() -> Vec<Vec<u32>> {
    vec![vec![5, 60, 70, 8], vec![300, 5, 60], vec![9; 20]]
}

fn save(folder: &std::path::Path, it: &RewardCheckpoint) -> Result<()> {
    let (config, architecture) = (*it.model.backbone().config(), it.model.architecture());
    let normalisation = RewardNormalization { mean: 2., std: 0.5 };
    let description =
        RewardModelConfig { backbone: config, architecture, normalization: normalisation };
    let parameters = initialization::merged_weights(&it.parameters, (&config, architecture))?;
    model_folder::save(folder, &description, &parameters, &it.chat_tokenizer, &it.special_ids)
}

#[test]
fn what_is_saved_opens_as_it_was_with_its_normalisation_and_its_own_tokenizer() -> Result<()> {
    for architecture in BOTH {
        let folder = tempfile::tempdir()?;
        let begun = RewardCheckpoint::from_language_model(checkpoint(3)?, architecture, None, 7)?;
        save(folder.path(), &begun)?;
        let source = folder.path().to_string_lossy();
        let opened = RewardCheckpoint::open(&source, LoadMode::Inference, &CPU)?;
        assert_eq!(opened.model.architecture(), architecture);
        let (raw, rewards) = (begun.rewards(&texts(), 2)?, opened.rewards(&texts(), 2)?);
        for (raw, reward) in raw.iter().zip(&rewards) {
            assert!(((raw - 2.) / 0.5 - reward).abs() < 1e-4, "{raw} {reward}");
        }
        let prompt = [ChatMessage::user("What is 12 + 7?")];
        let ids = opened.tokenize(&prompt, "19")?;
        assert_eq!(ids, begun.tokenize(&prompt, "19")?);
        assert_eq!(
            ids.last(),
            Some(&opened.chat_tokenizer.eos_token_id()),
            "a text ends with its end"
        );
        let again = RewardCheckpoint::open(&source, TRAINING, &CPU)?;
        assert!(again.parameters.trainable().count() > 0, "it can be trained further");
    }
    Ok(())
}

/// How a chat model's turns end, whose texts end otherwise.
const TURNS: &str = "{% for message in messages %}{{ message['content'] }}{% if message['role'] == 'assistant' %}{{ '<pad>' }}\
                     {% endif %}{{ '\n' }}{% endfor %}";

#[test]
fn what_is_saved_ends_texts_as_it_learned_to() -> Result<()> {
    let mut base = checkpoint(3)?;
    base.chat_template = Some(modern::ChatTemplate::new(TURNS, &base.tokenizer)?);
    let begun = RewardCheckpoint::from_language_model(base, RewardArchitecture::Causal, None, 7)?;
    assert_eq!(
        begun.chat_tokenizer.eos_token_id(),
        begun.chat_tokenizer.tokenizer.token_to_id("<pad>").expect("one")
    );
    let folder = tempfile::tempdir()?;
    save(folder.path(), &begun)?;
    let opened =
        RewardCheckpoint::open(&folder.path().to_string_lossy(), LoadMode::Inference, &CPU)?;
    assert_eq!(opened.chat_tokenizer.stop_token_ids(), begun.chat_tokenizer.stop_token_ids());
    let prompt = [ChatMessage::user("What is 12 + 7?")];
    assert_eq!(opened.tokenize(&prompt, "19")?, begun.tokenize(&prompt, "19")?);
    Ok(())
}

#[test]
fn transformers_scores_what_we_save_as_we_do() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut begun =
        RewardCheckpoint::from_language_model(checkpoint(3)?, RewardArchitecture::Causal, None, 7)?;
    let end = begun.chat_tokenizer.eos_token_id();
    // as many chat models have it
    begun.chat_tokenizer.tokenizer = begun.chat_tokenizer.tokenizer.with_pad_token(end);
    save(folder.path(), &begun)?;
    let prompt = [ChatMessage::user("What is 12 + 7?")];
    let answers = ["19", "the answer of all", "1", ""];
    let ids: Vec<_> =
        answers.iter().map(|text| begun.tokenize(&prompt, text)).collect::<Result<_>>()?;
    let shown =
        |ids: &Vec<u32>| begun.chat_tokenizer.tokenizer.decode(ids, modern::SkipSpecialTokens::No);
    let texts: Vec<String> = ids.iter().map(shown).collect::<Result<_>>()?;
    let scores = crate::checkpoint::raw_rewards(&begun.model, &ids, 3)?;
    let said = folder.path().join("scores.json");
    json_file::write(&said, &json!({ "texts": texts, "ids": ids, "scores": scores }))?;
    assert_python_agrees("check_reward_folder.py", [folder.path(), said.as_path()]);
    Ok(())
}

#[test]
fn rows_are_never_filled_up_with_the_token_that_ends_texts() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut begun =
        RewardCheckpoint::from_language_model(checkpoint(3)?, RewardArchitecture::Causal, None, 7)?;
    let end = begun.chat_tokenizer.eos_token_id();
    for ends in [vec![end], vec![1]] {
        begun.chat_tokenizer = sft::ChatTokenizer::new(
            begun.chat_tokenizer.tokenizer.clone(),
            speech()?.template,
            ends.clone(),
        )?;
        save(folder.path(), &begun)?;
        let padding = json_file::read(&folder.path().join("config.json"))?["pad_token_id"].clone();
        assert!(padding.is_u64() && padding != ends[0], "{padding} and {ends:?}");
        let tokenizer = modern::Tokenizer::open(folder.path())?;
        assert_eq!(
            tokenizer.special_tokens().pad.map(u64::from),
            padding.as_u64(),
            "both files agree"
        );
    }
    Ok(())
}

#[test]
fn adapters_and_the_head_are_trained_and_merged_into_what_is_saved() -> Result<()> {
    let begun =
        RewardCheckpoint::from_language_model(checkpoint(3)?, RewardArchitecture::Causal, None, 7)?;
    let shape = (begun.model.backbone().config(), RewardArchitecture::Causal);
    let lora = LoraConfig { rank: 2, alpha: 4., dropout: 0., target_modules: TargetModules::All };
    let mut adapted = initialization::attach_lora(&begun.parameters, shape, &lora, 1)?;
    let trained: Vec<&str> = adapted.trainable().map(|p| p.name.as_str()).collect();
    assert!(trained.contains(&"score.weight"));
    assert!(trained.iter().all(|name| name.contains("lora_") || *name == "score.weight"));
    assert!(!trained.iter().any(|name| name.starts_with("score.lora")), "the head needs none");
    for parameter in adapted.trainable() {
        parameter.var.set(&(parameter.var.as_detached_tensor() + 0.05)?)?;
    }
    let model = crate::RewardModel::new(shape.0, shape.1, &mut adapted)?;
    let before: Vec<Vec<f32>> =
        adapted.iter().map(|p| Ok(p.var.flatten_all()?.to_vec1()?)).collect::<Result<_>>()?;
    let mut merged = initialization::merged_weights(&adapted, shape)?;
    let alone = crate::RewardModel::new(shape.0, shape.1, &mut merged)?;
    let [a, b] = [&model, &alone].map(|model| crate::checkpoint::raw_rewards(model, &texts(), 3));
    let plain = crate::checkpoint::raw_rewards(&begun.model, &texts(), 3)?;
    for ((a, b), plain) in a?.iter().zip(b?).zip(plain) {
        assert!((a - b).abs() < 1e-4 && (a - plain).abs() > 1e-3, "{a} {b} {plain}");
    }
    let after: Vec<Vec<f32>> =
        adapted.iter().map(|p| Ok(p.var.flatten_all()?.to_vec1()?)).collect::<Result<_>>()?;
    assert_eq!(before, after, "merging for the disk leaves the run's weights alone");
    Ok(())
}

#[test]
fn what_is_no_reward_model_is_refused_by_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (plain, reward) = (folder.path().join("plain"), folder.path().join("reward"));
    checkpoint(3)?.save(&plain)?;
    let refused = |path: &std::path::Path, says: &str| {
        let opened = RewardCheckpoint::open(&path.to_string_lossy(), LoadMode::Inference, &CPU);
        let error = format!("{:#}", opened.err().expect("no reward model"));
        assert!(error.contains(says), "{error} does not say {says}");
    };
    refused(&plain, "it is a LlamaForCausalLM and has no reward head");
    refused(&folder.path().join("nothing"), "there is no folder");
    for architecture in BOTH {
        save(
            &reward,
            &RewardCheckpoint::from_language_model(checkpoint(3)?, architecture, None, 7)?,
        )?;
        let opened = Checkpoint::open(&reward.to_string_lossy(), LoadMode::Inference, &CPU);
        assert!(opened.is_err(), "and a language model is no reward model");
        let path = reward.join("config.json");
        let config = json_file::read(&path)?;
        for (key, value, says) in [
            ("id2label", json!({ "0": "a", "1": "b" }), "it tells 2 labels apart"),
            ("reward_normalisation", json!({ "mean": 0., "std": 0. }), "a deviation of 0"),
            ("reward_normalisation", json!({ "mean": 0. }), "has no `std`"),
        ] {
            let mut changed = config.clone();
            changed[key] = value;
            json_file::write(&path, &changed)?;
            refused(&reward, says);
        }
        json_file::write(&path, &config)?;
    }
    assert!(
        model_folder::is_reward_model(&golden("llama")) && !model_folder::is_reward_model(&plain)
    );
    Ok(())
}
