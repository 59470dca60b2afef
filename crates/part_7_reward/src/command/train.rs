//! `part_7 train`: trains a reward model in a run folder, or resumes a run.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use datasets::SplitRule;
use experiment::{RunLogConfig, RunSetup, TrainState};
use model_io::{LoadMode, ModelConfig, SpecialTokenIds};
use modern::Checkpoint;
use scaling::LrSchedule;
use scaling::run_defaults::resolved_settings;
use serde_json::json;
use sft::{ChatTokenizer, InitialModel, ModelSaver};
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

/// Steps of fine-tuning the small model on sums without --sft-steps.
const SFT_STEPS: usize = 1500;

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    args.check()?;
    let (seed, device) = (args.run.compute.seed, args.run.compute.open_device()?);
    let inputs = [("--model", args.model.model.as_deref())];
    let mut setup = RunSetup::new_on_ranks(args, &args.run, &["chat_date"], &inputs)?;
    let (preferences, rule) = load_preferences(args, &setup)?;
    let language_model = InitialModel::new(&args.model, args.sft_steps, SFT_STEPS, &setup)?;
    let mut initial = open_initial_model(args, &language_model, &device)?;
    let architecture = initial.model.architecture();
    let backbone = args.backbone_config(initial.model.backbone().config())?;
    let context_len = args.context_len.map_or(backbone.context_len, NonZeroUsize::get);
    let data = tokenize_pairs(&preferences.train, &initial.chat_tokenizer, context_len)?;
    let mut validation_pairs =
        tokenize_pairs(&preferences.validation, &initial.chat_tokenizer, context_len)?.pairs;
    validation_pairs.truncate(args.eval_pairs.get());
    ensure!(
        !validation_pairs.is_empty(),
        "no validation pair is left after truncation to {context_len} tokens"
    );
    let defaults = args.run_defaults(backbone.parameter_count(), data.pairs.len());
    let config = args.train_config(&defaults)?;
    let LrSchedule { total_steps, warmup_steps, .. } = config.schedule;
    setup.resolve(resolved_settings(&config.schedule, config.batch_size, rule))?;
    let mut state = new_train_state(args, initial.parameters, &backbone, architecture, &config)?;
    print_dataset_summary(&data, &preferences, context_len)?;
    setup.create_folder()?;
    if let Some(trained) = language_model.train_and_save(seed, &device)? {
        initial = add_reward_head(args, trained)?;
        state = new_train_state(args, initial.parameters, &backbone, architecture, &config)?;
    }
    let dropout = state.parameters.root().dropout(args.dropout);
    let model = RewardModel::new(&backbone, architecture, &mut state.parameters)?
        .for_training(dropout, args.optimization.gradient_checkpointing.into());
    let data_id = pairs_sha256(data.pairs.iter().chain(&validation_pairs));
    let metrics = args.run.metrics;
    let log = RunLogConfig::losses(total_steps, warmup_steps, metrics.log_interval.get());
    let mut log =
        setup.open_log(log, |checkpoint| state.restore(checkpoint, &data_id).map(drop))?;
    let run = setup.run(&data_id)?;
    let RewardCheckpoint { chat_tokenizer, special_ids, .. } = initial;
    let (out, base) = (setup.out, language_model.path);
    let model_saver = model_saver(out, backbone, chat_tokenizer, special_ids, base);
    let validator = RewardValidator {
        pairs: &validation_pairs,
        batch_size: 2 * config.batch_size,
        interval: metrics.eval_interval.unwrap_or(defaults.eval_interval(total_steps)),
        target_accuracy: args.target_accuracy,
        model_saver: run.ranks.is_first().then_some(&model_saver),
    };
    println!("{}\n{}", state.parameter_summary(), defaults.summary(&config.schedule));
    train(&model, &mut state, &data.pairs, &config, &validator, &run, &mut log)?;
    let speed = log.finish()?; // ends the progress line before the report
    match state.ranks.is_first() {
        true => finish_run(&setup, &model, &state, &validator, speed),
        false => Ok(()), // the first writes and reports
    }
}

/// Preferences, and the rule by which they were split; `None` of built-in ones. A new run holds out
/// the pairs that the run of its model held out of the same data.
fn load_preferences(
    args: &TrainArgs,
    setup: &RunSetup<'_>,
) -> Result<(PreferenceDataset, Option<SplitRule>)> {
    let (seed, model) = (args.run.compute.seed, args.model.model.as_deref());
    let (split_spec, earlier) = args.split.split_of_run(&args.data, model, setup, seed)?;
    let (preferences, rule) = args.split.load_dataset(&args.data, split_spec, seed)?;
    if let Some(earlier) = earlier {
        earlier.warn_of_learned(&preferences.validation);
    }
    Ok((preferences, rule))
}

/// Saves the last model of a run that is over, and prints the report.
fn finish_run(
    setup: &RunSetup<'_>,
    model: &RewardModel,
    state: &TrainState,
    validator: &RewardValidator<'_>,
    tokens_per_second: f64,
) -> Result<()> {
    if let Some(folder) = setup.last_model_folder(&state.progress)? {
        validator.save_last(&folder, model, state)?;
    }
    let mut result = state.result(tokens_per_second);
    result["saved"] = json!(setup.saved_folder("model"));
    setup.print_report("part_7", &state.progress, tokens_per_second, "model", result);
    Ok(())
}

/// Saver of a reward model without adapters, which are merged when it is saved.
fn model_saver(
    out: &Path,
    config: ModelConfig,
    chat_tokenizer: ChatTokenizer,
    special_ids: SpecialTokenIds,
    base: String,
) -> ModelSaver {
    let folder = out.to_path_buf();
    ModelSaver { folder, config, chat_tokenizer, special_ids, sampler: None, lora: None, base }
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

/// Opens a reward model for further training, with the chat variables of the run.
fn reopen_reward_model(args: &TrainArgs, model: &str, device: &Device) -> Result<RewardCheckpoint> {
    let (mode, variables) = (LoadMode::Training(DType::F32), args.model.chat_template.variables());
    let checkpoint = RewardCheckpoint::open_with_variables(model, mode, &variables, device)?;
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
    let state = TrainState::new(parameters, config.optimizer)?;
    state.with_compute_dtype(args.optimization.dtype.dtype())
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
