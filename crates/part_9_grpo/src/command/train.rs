//! `part_9 train`: a model and problems in, a run folder out; or a run folder in, and the rest of its run.

use std::path::Path;

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use modern::{Checkpoint, LoadMode};
use ppo::reward_fn::NamedRewardFn;
use ppo::{CompletionEvalConfig, PromptExample, RunInputs};
use scaling::{LrSchedule, sha256};
use serde_json::{Value, json};
use sft::finetuned::resolve_model_path;
use sft::flags::LoraFlags;
use sft::{ChatTokenizer, Example, ModelSaver, RunSetup, TrainState};
use tiny_gpt::command::as_usage_error;

use super::arguments::TrainArgs;
use super::report::{print_run_report, print_run_summary};
use crate::evaluation::GrpoEvaluator;
use crate::flags::check_rollout_size;
use crate::reference::{ReferenceModel, base_weights_sha256};
use crate::training::GrpoValidation;
use crate::{GrpoConfig, GrpoContext, GrpoLog, GrpoUpdateConfig, RunState, TaskDataset, train};

/// What may change when a run is resumed beside where things are: how much is looked at.
const OVERRIDABLE_ON_RESUME: [&str; 3] = ["eval_interval", "eval_examples", "eval_file"];

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    let schedule = check_args(args)?;
    let device = args.run.compute.open_device()?;
    let mix = args.task.weighted_rewards()?;
    let rewards = mix.reward_models().map(|model| ("--reward", Some(model)));
    let begins_with: Vec<_> = rewards.chain([("--model", Some(args.model.as_str()))]).collect();
    let start = RunSetup::new(args, (&args.out, &args.run), &OVERRIDABLE_ON_RESUME, &begins_with)?;
    let aside = args.eval.eval_file.as_deref();
    let problems = args.task.task.load_dataset(args.task.data.as_deref(), aside)?;
    let name = dataset_sha256(&problems);
    let base = resolve_model_path(&args.model);
    let mut checkpoint = Checkpoint::open(&base, LoadMode::Training(DType::F32), &device)?;
    let speech = ChatTokenizer::from_checkpoint(&mut checkpoint, args.template)?;
    let NamedRewardFn { reward_fn: mut scorer, name: scored_by } =
        args.task.open_reward_fn(&speech, &device)?;
    let context = checkpoint.model.config().context_len;
    let (learned, validation, left_out) =
        train_and_validation_prompts(args, problems, &speech, context)?;
    let config = grpo_config(args, schedule, speech.stop_token_ids().to_vec())?;
    let lora = args.lora.config();
    let (model, parameters) = (*checkpoint.model.config(), checkpoint.parameters);
    let optimizer = config.update.optimizer;
    let mut tuning =
        TrainState::with_optional_lora(model, parameters, lora.as_ref(), optimizer, config.seed)?;
    let origins = RunInputs { reference: base_weights_sha256(&tuning)?, reward_fn: scored_by };
    let mut so_far = RunState { run_inputs: origins, ..RunState::default() };
    let mut reference =
        config.reference_update.map(|kind| ReferenceModel::new(&tuning, kind)).transpose()?;
    let keeper = ModelSaver {
        chat_tokenizer: &speech,
        special_ids: &checkpoint.special_ids,
        sampler: checkpoint.sampler.as_ref(),
        lora: lora.as_ref().map(|lora| (lora, base.as_str())),
    };
    let restore = |path: &Path| {
        let saved = RunState::load(path)?;
        saved.run_inputs.ensure_same_as(&so_far.run_inputs)?;
        so_far = saved;
        tuning.restore(path, &name)?;
        reference.as_mut().map_or(Ok(()), |reference| reference.restore(path))
    };
    start.create_folder()?;
    let figures = args.eval.metrics;
    let (folder, tracker, rows) = start.open_run(figures.tracker, restore)?;
    print_run_summary(args, &tuning, [learned.len(), validation.len(), left_out]);
    let (total, step) = (schedule.total_steps, tuning.progress.step);
    let log = GrpoLog::new(total, step, so_far, figures.log_interval.get())?;
    let mut log = log.with_run_folder(folder, tracker, &rows);
    let outputs = start.outputs(&keeper, &name)?;
    let asking = CompletionEvalConfig {
        chat_tokenizer: &speech,
        max_new_tokens: args.task.max_new_tokens(),
        batch_size: 64,
    };
    let exam = GrpoEvaluator { task: args.task.task, eval_config: asking };
    let looks =
        GrpoValidation { evaluator: exam, prompts: &validation, interval: args.eval.eval_interval };
    let mut around = GrpoContext { reference, reward_fn: &mut *scorer, validation: looks };
    train(&mut tuning, learned, &config, &mut around, &outputs, &mut log)?;
    finish_run(args, &tuning, schedule, log, (&keeper, &device))
}

/// The end of a run: where it was not told to stop before, there has to be a model to show for it.
fn finish_run(
    args: &TrainArgs,
    tuning: &TrainState,
    schedule: LrSchedule,
    mut log: GrpoLog,
    (keeper, device): (&ModelSaver<'_>, &Device),
) -> Result<()> {
    let (total, ended) = (schedule.total_steps, tuning.is_finished(schedule.total_steps));
    if ended {
        log.log_row(total, schedule.lr_at(total))?;
    }
    let (so_far, times) = (log.run_state.clone(), log.timings);
    log.finish()?;
    if ended {
        ensure!(
            so_far.n_tokens > 0,
            "no step was learned from: among the scores of each was one that is no number"
        );
        ensure!(
            tuning.progress.best_loss.is_some(),
            "no model was kept: at each look at validation problems a score was no number"
        );
        if args.lora.merge {
            keeper.save_merged(&args.out, device)?;
        }
    }
    print_run_report(args, tuning, total, &so_far, times)
}

/// # Errors
/// When the arguments alone are wrong.
fn check_args(args: &TrainArgs) -> Result<LrSchedule> {
    let budget = args.task.max_new_tokens();
    args.task.check()?;
    args.objective.check(budget)?;
    args.lora.check()?;
    check_dropout(&args.lora)?;
    let samples = args.rollout.rollout_config(budget, Vec::new())?.group_size;
    check_rollout_size(args.step.batch_size.get(), samples, budget)?;
    args.schedule.schedule()
}

/// # Errors
/// When completions would be scored by another network than the one that wrote them.
fn check_dropout(lora: &LoraFlags) -> Result<()> {
    as_usage_error((|| {
        ensure!(
            lora.lora_dropout == 0.,
            "--lora-dropout: completions are written without it, so ratios would not be 1 before the first step"
        );
        Ok(())
    })())
}

/// What is learned from, what is looked at, and how many problems were left out.
fn train_and_validation_prompts(
    args: &TrainArgs,
    problems: TaskDataset,
    speech: &ChatTokenizer,
    context: usize,
) -> Result<(Vec<PromptExample>, Vec<PromptExample>, usize)> {
    let (train, left_out) = args.task.prompt_examples(problems.train, speech, context)?;
    let (mut validation, _) = args.task.prompt_examples(problems.validation, speech, context)?;
    validation.truncate(args.eval.eval_examples.get());
    Ok((train, validation, left_out))
}

pub(crate) fn grpo_config(
    args: &TrainArgs,
    schedule: LrSchedule,
    stop: Vec<u32>,
) -> Result<GrpoConfig> {
    Ok(GrpoConfig {
        prompts_per_step: args.step.batch_size.get(),
        rollout: args.rollout.rollout_config(args.task.max_new_tokens(), stop)?,
        advantage: args.objective.advantage_config(),
        objective: args.objective.objective(),
        reference_update: args.objective.reference_update(),
        update: GrpoUpdateConfig {
            num_iterations: args.step.num_iterations.get(),
            micro_batch_size: args.step.micro_batch_size.get(),
            schedule,
            optimizer: args.step.optimizer.adamw_config(),
            max_grad_norm: args.step.optimizer.max_grad_norm().unwrap_or(f64::MAX),
            max_sampled_tokens: None,
        },
        seed: args.run.compute.seed,
    })
}

/// A name that follows from what is learned, so that a checkpoint is not continued with something else.
fn dataset_sha256(problems: &TaskDataset) -> String {
    let text = |Example { prompt, completion }: &Example| {
        let said: Vec<Value> = prompt.iter().map(|message| json!(message.content)).collect();
        json!([said, completion]).to_string()
    };
    let all: Vec<String> = problems.train.iter().chain(&problems.validation).map(text).collect();
    sha256::hash_bytes(all.join("\n").as_bytes())
}
