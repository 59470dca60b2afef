//! `part_7 train`: a model and preferences in, a run folder out; or a run folder in, and the rest of its run.

use std::path::Path;

use anyhow::{Result, ensure};
use sft::{ModelSaver, RunSetup, SftLog};
use tiny_gpt::command::as_usage_error;

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
    let begins_with = [("--model", args.model.as_deref())];
    let start = RunSetup::new(args, (&args.out, &args.run), &[], &begins_with)?;
    let examples = args.split.load_dataset(&args.data, config.seed)?;
    let mut begin = load_initial_model(args, &device)?;
    let shape =
        (with_context_len(begin.model.backbone().config(), args)?, begin.model.architecture());
    let context = shape.0.context_len;
    let data = tokenize_pairs(&examples.train, &begin.chat_tokenizer, context)?;
    let mut validation =
        tokenize_pairs(&examples.validation, &begin.chat_tokenizer, context)?.pairs;
    validation.truncate(args.eval.eval_pairs.get());
    ensure!(!validation.is_empty(), "no pair is left to validate on within {context} tokens");
    let mut learner = new_train_state(args, begin.parameters, shape, &config)?;
    print_dataset_summary(&data, &examples, context)?;
    start.create_folder()?;
    if args.model.is_none() && !start.is_resumed {
        let how = (args.base.config(), args.sft_steps);
        let base = train_and_save_base_model(&args.out, how, config.seed, &device)?;
        begin = add_reward_head(args, base)?;
        learner = new_train_state(args, begin.parameters, shape, &config)?;
    }
    let name = pairs_sha256(data.pairs.iter().chain(&validation));
    let keeper = ModelSaver {
        chat_tokenizer: &begin.chat_tokenizer,
        special_ids: &begin.special_ids,
        sampler: None,
        lora: None,
    };
    let figures = args.eval.metrics;
    let restore = |path: &Path| learner.restore(path, &name);
    let (folder, tracker, rows) = start.open_run(figures.tracker, restore)?;
    let (step, schedule) = (learner.progress.step, config.schedule);
    let log =
        SftLog::new(schedule.total_steps, schedule.warmup_steps, step, figures.log_interval.get())?;
    let mut log = log.record_to(folder, tracker, &rows);
    let outputs = start.outputs(&keeper, &name)?;
    let exam = RewardValidator {
        pairs: &validation,
        batch_size: 2 * config.batch_size,
        interval: args.eval.eval_interval,
        target_accuracy: args.stop_at,
    };
    println!("{}", learner.parameter_summary());
    train((&mut learner, shape.1), &data.pairs, &config, &exam, &outputs, &mut log)?;
    let tokens_per_second = log.tokens_per_second();
    log.finish()?; // the progress line ends before we speak
    print_run_report(args, &learner, &config, tokens_per_second)
}

fn train_config(args: &TrainArgs) -> Result<TrainConfig> {
    let step = &args.step;
    step.ensure_f32_without_checkpointing()?;
    args.lora.check()?;
    as_usage_error(match args.lora.merge {
        true => Err("--merge: here adapters are merged into what is saved in any case"),
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
