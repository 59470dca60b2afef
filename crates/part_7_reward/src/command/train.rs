//! `part_7 train`: trains a reward model in a run folder, or resumes a run.

use std::path::Path;

use anyhow::{Result, ensure};
use experiment::flags::MetricsFlags;
use experiment::program::as_usage_error;
use sft::{ModelSaver, RunSetup, SftLog};

use super::arguments::TrainArgs;
use super::initial_model::{
    add_reward_head, load_initial_model, new_train_state, with_context_len,
};
use super::report::{print_dataset_summary, print_run_report};
use crate::initialization::train_and_save_base_model;
use crate::tokenized_pairs::pairs_sha256;
use crate::{RewardValidator, TrainConfig, tokenize_pairs, train};

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    let config = train_config(args)?;
    let device = args.run.compute.open_device()?;
    let inputs = [("--model", args.model.as_deref())];
    let setup = RunSetup::validate(args, (&args.out, &args.run), &[], &inputs)?;
    let preferences = args.split.load_dataset(&args.data, config.seed)?;
    let mut initial = load_initial_model(args, &device)?;
    let shape =
        (with_context_len(initial.model.backbone().config(), args)?, initial.model.architecture());
    let context_len = shape.0.context_len;
    let data = tokenize_pairs(&preferences.train, &initial.chat_tokenizer, context_len)?;
    let mut validation_pairs =
        tokenize_pairs(&preferences.validation, &initial.chat_tokenizer, context_len)?.pairs;
    validation_pairs.truncate(args.eval.eval_pairs.get());
    ensure!(
        !validation_pairs.is_empty(),
        "no validation pair is left after truncation to {context_len} tokens"
    );
    let mut train_state = new_train_state(args, initial.parameters, shape, &config)?;
    print_dataset_summary(&data, &preferences, context_len)?;
    setup.create_folder()?;
    if args.model.is_none() && !setup.is_resumed {
        let base_config = (args.base.config(), args.sft_steps);
        let base = train_and_save_base_model(&args.out, base_config, config.seed, &device)?;
        initial = add_reward_head(args, base)?;
        train_state = new_train_state(args, initial.parameters, shape, &config)?;
    }
    let data_sha256 = pairs_sha256(data.pairs.iter().chain(&validation_pairs));
    let saver = ModelSaver {
        chat_tokenizer: &initial.chat_tokenizer,
        special_ids: &initial.special_ids,
        sampler: None,
        lora: None,
    };
    let MetricsFlags { tracker, log_interval, .. } = args.eval.metrics;
    let restore = |path: &Path| train_state.restore(path, &data_sha256);
    let (folder, tracker, rows) = setup.open_run(tracker, restore)?;
    let (step, schedule) = (train_state.progress.step, config.schedule);
    let log = SftLog::new(schedule.total_steps, schedule.warmup_steps, step, log_interval.get())?;
    let mut log = log.with_run_folder(folder, tracker, &rows);
    let outputs = setup.outputs(&saver, &data_sha256)?;
    let validator = RewardValidator {
        pairs: &validation_pairs,
        batch_size: 2 * config.batch_size,
        interval: args.eval.eval_interval,
        target_accuracy: args.target_accuracy,
    };
    println!("{}", train_state.parameter_summary());
    let trainee = (&mut train_state, shape.1);
    train(trainee, &data.pairs, &config, &validator, &outputs, &mut log)?;
    let tokens_per_second = log.tokens_per_second();
    log.finish()?; // ends the progress line before the report
    print_run_report(args, &train_state, &config, tokens_per_second)
}

fn train_config(args: &TrainArgs) -> Result<TrainConfig> {
    let step = &args.step;
    step.ensure_f32_without_checkpointing()?;
    args.lora.check()?;
    as_usage_error(match args.lora.merge {
        true => Err("--merge is for part 6; this part always merges adapters into the saved model"),
        false => Ok(()),
    })?;
    Ok(TrainConfig {
        batch_size: step.batch_size.get(),
        grad_accum_steps: step.grad_accum_steps.get(),
        loss: args.loss.config()?,
        schedule: args.schedule.schedule()?,
        optimizer: step.optimizer.adamw_config(),
        max_grad_norm: step.optimizer.max_grad_norm().unwrap_or(f64::MAX),
        seed: args.run.compute.seed,
    })
}
