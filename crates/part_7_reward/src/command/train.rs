//! `part_7 train`: trains a reward model in a run folder, or resumes a run.

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use experiment::{RunLogConfig, RunSetup, TrainState};
use model_io::{LoadMode, ModelConfig};
use modern::Checkpoint;
use scaling::LrSchedule;
use serde_json::json;
use sft::{InitialModel, ModelSaver};
use tensor_core::Parameters;

use super::arguments::TrainArgs;
use super::eval::print_filter_counts;
use crate::checkpoint::locate_model;
use crate::initialization::attach_lora;
use crate::source::PreferenceDataset;
use crate::tokenized_pairs::{TokenizedPairs, pairs_sha256};
use crate::{
    RewardArchitecture, RewardCheckpoint, RewardModel, RewardValidator, TrainConfig, model_folder,
    tokenize_pairs, train,
};

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    let config = args.train_config()?;
    let device = args.run.compute.open_device()?;
    let setup = RunSetup::new(args, &args.run, &[], &[("--model", args.model.model.as_deref())])?;
    let preferences = args.split.load_dataset(&args.data, config.seed)?;
    let language_model = InitialModel::new(&args.model, args.sft_steps, &setup)?;
    let mut initial = open_initial_model(args, &language_model, &device)?;
    let architecture = initial.model.architecture();
    let backbone = args.backbone_config(initial.model.backbone().config())?;
    let context_len = backbone.context_len;
    let data = tokenize_pairs(&preferences.train, &initial.chat_tokenizer, context_len)?;
    let mut validation_pairs =
        tokenize_pairs(&preferences.validation, &initial.chat_tokenizer, context_len)?.pairs;
    validation_pairs.truncate(args.eval_pairs.get());
    ensure!(
        !validation_pairs.is_empty(),
        "no validation pair is left after truncation to {context_len} tokens"
    );
    let mut state = new_train_state(args, initial.parameters, &backbone, architecture, &config)?;
    print_dataset_summary(&data, &preferences, context_len)?;
    setup.create_folder()?;
    if let Some(trained) = language_model.train_and_save(config.seed, &device)? {
        initial = add_reward_head(args, trained)?;
        state = new_train_state(args, initial.parameters, &backbone, architecture, &config)?;
    }
    let model = RewardModel::new(&backbone, architecture, &mut state.parameters)?;
    let data_id = pairs_sha256(data.pairs.iter().chain(&validation_pairs));
    let LrSchedule { total_steps, warmup_steps, .. } = config.schedule;
    let log = RunLogConfig::losses(total_steps, warmup_steps, args.run.metrics.log_interval.get());
    let mut log =
        setup.open_log(log, |checkpoint| state.restore(checkpoint, &data_id).map(drop))?;
    let run = setup.run(&data_id)?;
    let model_saver = ModelSaver {
        folder: setup.out.to_path_buf(),
        config: backbone,
        chat_tokenizer: initial.chat_tokenizer,
        special_ids: initial.special_ids,
        sampler: None,
        lora: None,
        base: language_model.path,
    };
    let validator = RewardValidator {
        pairs: &validation_pairs,
        batch_size: 2 * config.batch_size,
        interval: args.run.metrics.eval_interval,
        target_accuracy: args.target_accuracy,
        model_saver: Some(&model_saver),
    };
    println!("{}", state.parameter_summary());
    train(&model, &mut state, &data.pairs, &config, &validator, &run, &mut log)?;
    let speed = log.finish()?; // ends the progress line before the report
    let mut result = state.result(speed);
    result["saved"] = json!(setup.out.join("model"));
    setup.print_report("part_7", &state.progress, speed, "model", result);
    Ok(())
}

/// Initial model of a run: the reward model `--model`, or a language model with a new reward head.
fn open_initial_model(
    args: &TrainArgs,
    language_model: &InitialModel,
    device: &Device,
) -> Result<RewardCheckpoint> {
    match &args.model.model {
        Some(model) if model_folder::is_reward_model(&locate_model(model)?) => {
            reopen_reward_model(args, model, device)
        }
        _ => add_reward_head(args, language_model.open(args.run.compute.seed, device)?),
    }
}

/// Adds a new reward head to a language model.
fn add_reward_head(args: &TrainArgs, base: Checkpoint) -> Result<RewardCheckpoint> {
    let (architecture, seed) = (args.architecture.unwrap_or_default(), args.run.compute.seed);
    RewardCheckpoint::from_language_model(base, architecture, args.model.template, seed)
}

/// Opens a reward model for further training.
fn reopen_reward_model(args: &TrainArgs, model: &str, device: &Device) -> Result<RewardCheckpoint> {
    let checkpoint = RewardCheckpoint::open(model, LoadMode::Training(DType::F32), device)?;
    let architecture = checkpoint.model.architecture();
    ensure!(
        args.architecture.is_none_or(|requested| requested == architecture)
            && args.model.template.is_none(),
        "{model} is a reward model already: its architecture and template cannot be changed"
    );
    Ok(checkpoint)
}

/// Initial training state, for full training or LoRA.
fn new_train_state(
    args: &TrainArgs,
    parameters: Parameters,
    backbone: &ModelConfig,
    architecture: RewardArchitecture,
    config: &TrainConfig,
) -> Result<TrainState> {
    let parameters = match args.model.lora.config() {
        Some(lora) => attach_lora(&parameters, backbone, architecture, &lora, config.seed)?,
        None => parameters,
    };
    TrainState::new(parameters, config.optimizer)
}

/// Prints the sizes of the splits and the counts of filtered pairs.
fn print_dataset_summary(
    data: &TokenizedPairs,
    preferences: &PreferenceDataset,
    context_len: usize,
) -> Result<()> {
    let longest = data.pairs.iter().flat_map(|pair| [pair.chosen.len(), pair.rejected.len()]).max();
    let longest = longest.with_context(|| {
        format!(
            "no pair is left to train on: truncated to {context_len} tokens, both texts of every \
             pair are identical"
        )
    })?;
    let PreferenceDataset { validation, test, filter_counts, .. } = preferences;
    println!(
        "{} training pairs of up to {longest} tokens, {} validation pairs, {} test pairs",
        data.pairs.len(),
        validation.len(),
        test.len()
    );
    print_filter_counts(filter_counts, data);
    Ok(())
}
