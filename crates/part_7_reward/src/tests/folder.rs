//! 7.2 Model folder: saving and opening, agreement with transformers, LoRA merging, errors.

use anyhow::Result;
use candle_core::DType;
use model_io::{
    ChatMessage, ChatVariables, LoadMode, LoraConfig, ModelConfig, SkipSpecialTokens,
    SpecialTokenIds,
};
use modern::Checkpoint;
use serde_json::json;
use tensor_core::testing::{assert_close, assert_python_agrees};
use tensor_core::{Parameters, json_file};

use super::{BOTH, CPU, chat_tokenizer, checkpoint, golden};
use crate::model_folder::{self, RewardModelConfig};
use crate::{
    RewardArchitecture, RewardCheckpoint, RewardModel, RewardNormalization, initialization,
};

const TRAINING: LoadMode = LoadMode::Training(DType::F32);

fn texts() -> Vec<Vec<u32>> {
    vec![vec![5, 60, 70, 8], vec![300, 5, 60], vec![9; 20]]
}

fn save(folder: &std::path::Path, reward: &RewardCheckpoint) -> Result<()> {
    let (backbone, architecture) = (*reward.model.backbone().config(), reward.model.architecture());
    let normalization = RewardNormalization { mean: 2., std: 0.5 };
    let config = RewardModelConfig { backbone, architecture, normalization };
    let parameters = initialization::merged_weights(&reward.parameters, &backbone, architecture)?;
    model_folder::save(folder, &config, &parameters, &reward.chat_tokenizer, &reward.special_ids)
}

#[test]
fn a_saved_model_opens_with_its_normalization_and_tokenizer() -> Result<()> {
    for architecture in BOTH {
        let folder = tempfile::tempdir()?;
        let initial = RewardCheckpoint::from_language_model(checkpoint(3)?, architecture, None, 7)?;
        save(folder.path(), &initial)?;
        let source = folder.path().to_string_lossy();
        let opened = RewardCheckpoint::open(&source, LoadMode::Inference, &CPU)?;
        assert_eq!(opened.model.architecture(), architecture);
        let (raw_rewards, rewards) = (initial.rewards(&texts(), 2)?, opened.rewards(&texts(), 2)?);
        for (raw, reward) in raw_rewards.iter().zip(&rewards) {
            assert_close((raw - 2.) / 0.5, reward, 1e-4);
        }
        let prompt = [ChatMessage::user("What is 12 + 7?")];
        let ids = opened.tokenize(&prompt, "19")?;
        assert_eq!(ids, initial.tokenize(&prompt, "19")?);
        assert!(ids.contains(&opened.chat_tokenizer.eos_token_id()));
        let reopened = RewardCheckpoint::open(&source, TRAINING, &CPU)?;
        assert!(reopened.parameters.trainable().count() > 0, "training can continue");
    }
    Ok(())
}

#[test]
fn a_reward_model_of_gemma_3_has_the_class_that_reads_text_alone() -> Result<()> {
    let mut variants = model_io::testing::variants().into_iter();
    let (_, gemma) = variants.find(|(name, _)| *name == "gemma3_text").expect("a variant");
    let backbone = ModelConfig { vocab_size: 400, ..gemma };
    let architecture = RewardArchitecture::CausalLastToken;
    let mut parameters = Parameters::seeded(1, DType::F32, &CPU);
    RewardModel::new(&backbone, architecture, &mut parameters)?;
    let normalization = RewardNormalization::NONE;
    let config = RewardModelConfig { backbone, architecture, normalization };
    let (folder, special_ids) = (tempfile::tempdir()?, SpecialTokenIds::default());
    model_folder::save(folder.path(), &config, &parameters, &chat_tokenizer()?, &special_ids)?;
    let json = json_file::read(&folder.path().join("config.json"))?;
    assert_eq!(json["architectures"], json!(["Gemma3TextForSequenceClassification"]));
    let (opened, ..) = model_folder::open(folder.path(), DType::F32, &CPU)?;
    assert_eq!(opened, config);
    Ok(())
}

/// Chat template whose assistant turns end with `<pad>` instead of the model's EOS token.
const PAD_ENDED_TEMPLATE: &str = "{% for message in messages %}{{ message['content'] }}\
     {% if message['role'] == 'assistant' %}{{ '<pad>' }}{% endif %}{{ '\n' }}{% endfor %}";

#[test]
fn a_saved_model_keeps_the_end_of_turn_token_of_its_template() -> Result<()> {
    let mut base = checkpoint(3)?;
    base.chat_template = Some(model_io::ChatTemplate::new(PAD_ENDED_TEMPLATE, &base.tokenizer)?);
    let initial =
        RewardCheckpoint::from_language_model(base, RewardArchitecture::CausalLastToken, None, 7)?;
    assert_eq!(
        initial.chat_tokenizer.eos_token_id(),
        initial.chat_tokenizer.tokenizer.token_to_id("<pad>").expect("<pad>")
    );
    let folder = tempfile::tempdir()?;
    save(folder.path(), &initial)?;
    let opened =
        RewardCheckpoint::open(&folder.path().to_string_lossy(), LoadMode::Inference, &CPU)?;
    assert_eq!(opened.chat_tokenizer.stop_token_ids(), initial.chat_tokenizer.stop_token_ids());
    let prompt = [ChatMessage::user("What is 12 + 7?")];
    assert_eq!(opened.tokenize(&prompt, "19")?, initial.tokenize(&prompt, "19")?);
    Ok(())
}

/// Chat template that begins with the year.
const DATED_TEMPLATE: &str = "{{ strftime_now('%Y') }}{% for message in messages %}\
     {{ message['content'] }}{% if message['role'] == 'assistant' %}{{ '<pad>' }}{% endif %}\
     {{ '\n' }}{% endfor %}";

#[test]
fn a_reward_model_reads_the_date_of_a_run_and_not_that_of_the_clock() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut base = checkpoint(3)?;
    base.chat_template = Some(model_io::ChatTemplate::new(DATED_TEMPLATE, &base.tokenizer)?);
    let architecture = RewardArchitecture::CausalLastToken;
    let initial = RewardCheckpoint::from_language_model(base, architecture, None, 7)?;
    let model = folder.path().join("model");
    save(&model, &initial)?;
    let source = model.to_string_lossy();
    let date = |date: &str| -> Result<ChatVariables> {
        Ok(ChatVariables { date: Some(date.parse()?), ..ChatVariables::default() })
    };
    let year = |opened: Result<RewardCheckpoint>| -> Result<String> {
        let opened = opened?;
        let ids = opened.tokenize(&[ChatMessage::user("What is 12 + 7?")], "19")?;
        let text = opened.chat_tokenizer.tokenizer.decode(&ids, SkipSpecialTokens::Yes)?;
        Ok(text.trim().chars().take(4).collect())
    };
    let (mode, run_date) = (LoadMode::Inference, date("2004-07-26")?);
    assert_eq!(year(RewardCheckpoint::open_for_run(&source, mode, &run_date, &CPU))?, "2004");
    std::fs::write(folder.path().join("config.json"), r#"{"chat_date": "2003-01-02"}"#)?;
    std::fs::write(folder.path().join("metrics.jsonl"), "")?; // marks the folder of a run
    assert_eq!(year(RewardCheckpoint::open(&source, mode, &CPU))?, "2003", "that of its run");
    assert_eq!(year(RewardCheckpoint::open_for_run(&source, mode, &run_date, &CPU))?, "2003");
    let reopened = RewardCheckpoint::open_with_variables(&source, mode, &run_date, &CPU);
    assert_eq!(year(reopened)?, "2004", "a run that trains it further has its own date");
    Ok(())
}

#[test]
fn transformers_computes_the_same_rewards_from_a_saved_model() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut initial = RewardCheckpoint::from_language_model(
        checkpoint(3)?,
        RewardArchitecture::CausalLastToken,
        None,
        7,
    )?;
    let eos = initial.chat_tokenizer.eos_token_id();
    // Many chat models pad with EOS.
    initial.chat_tokenizer.tokenizer = initial.chat_tokenizer.tokenizer.with_pad_token(eos);
    save(folder.path(), &initial)?;
    let prompt = [ChatMessage::user("What is 12 + 7?")];
    let completions = ["19", "the answer of all", "1", ""];
    let ids: Vec<_> =
        completions.iter().map(|text| initial.tokenize(&prompt, text)).collect::<Result<_>>()?;
    let decode = |ids: &Vec<u32>| {
        initial.chat_tokenizer.tokenizer.decode(ids, model_io::SkipSpecialTokens::No)
    };
    let texts: Vec<String> = ids.iter().map(decode).collect::<Result<_>>()?;
    let rewards = crate::checkpoint::raw_rewards(&initial.model, &ids, 3)?;
    let path = folder.path().join("scores.json");
    json_file::write(&path, &json!({ "texts": texts, "ids": ids, "scores": rewards }))?;
    assert_python_agrees("check_reward_folder.py", [folder.path(), path.as_path()]);
    Ok(())
}

#[test]
fn the_padding_token_of_a_saved_model_is_never_its_eos_token() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut initial = RewardCheckpoint::from_language_model(
        checkpoint(3)?,
        RewardArchitecture::CausalLastToken,
        None,
        7,
    )?;
    let eos = initial.chat_tokenizer.eos_token_id();
    for stop_ids in [vec![eos], vec![1]] {
        initial.chat_tokenizer = sft::ChatTokenizer::new(
            initial.chat_tokenizer.tokenizer.clone(),
            chat_tokenizer()?.template,
            stop_ids.clone(),
        )?;
        save(folder.path(), &initial)?;
        let padding = json_file::read(&folder.path().join("config.json"))?["pad_token_id"].clone();
        assert!(padding.is_u64() && padding != stop_ids[0], "{padding} and {stop_ids:?}");
        let tokenizer = model_io::Tokenizer::open(folder.path())?;
        assert_eq!(
            tokenizer.special_tokens().pad.map(u64::from),
            padding.as_u64(),
            "config.json and the tokenizer agree"
        );
    }
    Ok(())
}

#[test]
fn lora_trains_adapters_and_the_head_and_is_merged_when_saved() -> Result<()> {
    let initial = RewardCheckpoint::from_language_model(
        checkpoint(3)?,
        RewardArchitecture::CausalLastToken,
        None,
        7,
    )?;
    let shape = (initial.model.backbone().config(), RewardArchitecture::CausalLastToken);
    let lora = LoraConfig::new(2);
    let mut adapted = initialization::attach_lora(&initial.parameters, shape.0, shape.1, &lora, 1)?;
    let trainable: Vec<&str> = adapted.trainable().map(|p| p.name.as_str()).collect();
    assert!(trainable.contains(&"score.weight"));
    assert!(trainable.iter().all(|name| name.contains("lora_") || *name == "score.weight"));
    assert!(!trainable.iter().any(|name| name.starts_with("score.lora")), "adapter on the head");
    for parameter in adapted.trainable() {
        parameter.var.set(&(parameter.var.as_detached_tensor() + 0.05)?)?;
    }
    let model = crate::RewardModel::new(shape.0, shape.1, &mut adapted)?;
    let before: Vec<Vec<f32>> =
        adapted.iter().map(|p| Ok(p.var.flatten_all()?.to_vec1()?)).collect::<Result<_>>()?;
    let mut merged = initialization::merged_weights(&adapted, shape.0, shape.1)?;
    let merged_model = crate::RewardModel::new(shape.0, shape.1, &mut merged)?;
    let [a, b] =
        [&model, &merged_model].map(|model| crate::checkpoint::raw_rewards(model, &texts(), 3));
    let plain = crate::checkpoint::raw_rewards(&initial.model, &texts(), 3)?;
    for ((a, b), plain) in a?.iter().zip(b?).zip(plain) {
        assert!((a - b).abs() < 1e-4 && (a - plain).abs() > 1e-3, "{a} {b} {plain}");
    }
    let after: Vec<Vec<f32>> =
        adapted.iter().map(|p| Ok(p.var.flatten_all()?.to_vec1()?)).collect::<Result<_>>()?;
    assert_eq!(before, after, "merging changed the weights of the run");
    Ok(())
}

#[test]
fn a_folder_that_is_not_a_reward_model_is_an_error() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (plain, reward) = (folder.path().join("plain"), folder.path().join("reward"));
    checkpoint(3)?.save(&plain)?;
    let assert_error = |path: &std::path::Path, message: &str| {
        let opened = RewardCheckpoint::open(&path.to_string_lossy(), LoadMode::Inference, &CPU);
        let error = format!("{:#}", opened.err().expect("an error"));
        assert!(error.contains(message), "{error} lacks {message}");
    };
    assert_error(&plain, "it is a LlamaForCausalLM and has no reward head");
    assert_error(&folder.path().join("nothing"), "there is no folder");
    for architecture in BOTH {
        save(
            &reward,
            &RewardCheckpoint::from_language_model(checkpoint(3)?, architecture, None, 7)?,
        )?;
        let opened = Checkpoint::open(&reward.to_string_lossy(), LoadMode::Inference, &CPU);
        assert!(opened.is_err(), "a reward model cannot be opened as a language model");
        let path = reward.join("config.json");
        let config = json_file::read(&path)?;
        for (key, value, message) in [
            ("id2label", json!({ "0": "a", "1": "b" }), "a classifier with 2 labels"),
            (
                "reward_normalisation",
                json!({ "mean": 0., "std": 0. }),
                "std must be above 0, got 0",
            ),
            ("reward_normalisation", json!({ "mean": 0. }), "lacks `std`"),
        ] {
            let mut changed = config.clone();
            changed[key] = value;
            json_file::write(&path, &changed)?;
            assert_error(&reward, message);
        }
        json_file::write(&path, &config)?;
    }
    assert!(
        model_folder::is_reward_model(&golden("llama")) && !model_folder::is_reward_model(&plain)
    );
    Ok(())
}
