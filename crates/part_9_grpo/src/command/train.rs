//! `part_9 train`: trains a policy from a model and problems into a run folder, or resumes a run.

use std::num::NonZeroUsize;

use anyhow::{Result, ensure};
use experiment::train_state::parameters_sha256;
use experiment::{RunLog, RunLogConfig, RunSetup};
use ppo::{CompletionEvalConfig, PromptLoader, RunInputs, Scoring};
use scaling::LrSchedule;
use scaling::run_defaults::resolved_settings;
use serde_json::json;
use sft::finetuned::resolve_model_path;
use sft::merged_model::open_for_training;
use sft::{ModelSaver, save_run_end};

use super::arguments::TrainArgs;
use super::run_data::load_run_data;
use crate::config::GrpoConfig;
use crate::evaluation::{ExactMatchChange, GrpoEvaluator};
use crate::policy::Policy;
use crate::training::train;
use crate::validator::GrpoValidator;

/// Settings that may change on resume, beside those of every run.
const OVERRIDABLE_ON_RESUME: [&str; 7] = [
    "code_python",
    "code_timeout",
    "eval_file",
    "eval_split",
    "judge_model",
    "reward_timeout",
    "rollout_batch_size",
];

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    args.check()?;
    let device = args.run.compute.open_device()?;
    let rewards = args.task.weighted_rewards()?;
    let mut inputs = vec![("--model", Some(args.policy.model.as_str()))];
    inputs.extend(rewards.reward_models().map(|model| ("--reward", Some(model))));
    let mut setup = RunSetup::new_on_ranks(args, &args.run, &OVERRIDABLE_ON_RESUME, &inputs)?;
    let task = args.task.task;
    let dataset = load_run_data(args, &setup)?;
    let (data_id, rule, dataset) = (dataset.sha256(), dataset.rule, dataset.splits);
    let base = resolve_model_path(&args.policy.model)?;
    let variables = args.chat_template.variables();
    let checkpoint = open_for_training(&base, &device)?.with_chat_variables(&variables);
    let template = args.task.prompts.chat_format(args.template);
    let (saver, parameters) =
        ModelSaver::new(setup.out, &base, checkpoint, template, args.lora.config())?;
    let chat_tokenizer = &saver.chat_tokenizer;
    let context_len = saver.config.context_len;
    let mut reward = args.task.open_reward_fn(chat_tokenizer, &variables, &device)?;
    let (mut train_prompts, n_dropped) =
        args.task.prompt_examples(dataset.train, chat_tokenizer, context_len)?;
    train_prompts.truncate(args.max_train_samples.map_or(usize::MAX, NonZeroUsize::get));
    let (mut validation_prompts, _) =
        args.task.prompt_examples(dataset.validation, chat_tokenizer, context_len)?;
    validation_prompts.truncate(args.eval_examples.get());
    let defaults = args.run_defaults(saver.config.parameter_count(), train_prompts.len());
    let config = args.grpo_config(chat_tokenizer.stop_token_ids().to_vec(), &defaults)?;
    let LrSchedule { total_steps, warmup_steps, .. } = config.update.schedule;
    setup.resolve(resolved_settings(&config.update.schedule, config.prompts_per_step, rule))?;

    let reference = parameters_sha256(&parameters)?;
    let (optimizer, dtype) = (config.update.optimizer, args.step.dtype.dtype());
    let state = saver.train_state(parameters, optimizer, dtype, config.seed)?;
    let policy = Policy::new(&saver.config, state, config.reference_update)?;
    let mut policy = policy.with_gradient_checkpointing(args.step.gradient_checkpointing.into());
    policy.progress.run_inputs = RunInputs::of_all_ranks(reference, reward.name.clone())?;
    setup.create_folder()?;
    let metrics = args.run.metrics;
    let log = RunLogConfig::rewards(total_steps, warmup_steps, metrics.log_interval.get());
    let mut log = setup.open_log(log, |checkpoint| policy.restore(checkpoint, &data_id))?;
    let run = setup.run(&data_id)?;
    let max_new_tokens = config.rollout.max_new_tokens;
    let eval_config = CompletionEvalConfig { chat_tokenizer, max_new_tokens, batch_size: 64 };
    let validator = GrpoValidator {
        prompts: &validation_prompts,
        evaluator: GrpoEvaluator { task, eval_config },
        interval: metrics.eval_interval.unwrap_or(defaults.eval_interval(total_steps)),
        model_saver: run.ranks.is_first().then_some(&saver),
    };
    print_run_summary(args, &policy, train_prompts.len(), validation_prompts.len(), n_dropped);
    println!("{}", defaults.summary(&config.update.schedule));
    let mut prompts = PromptLoader::new(train_prompts, config.seed)?;
    let mut scoring = Scoring::new(chat_tokenizer, &mut reward);
    train(&mut policy, &mut scoring, &mut prompts, &config, &validator, &run, &mut log)?;
    log_last_steps(&setup, &mut policy, &config, &mut log)?;
    let n_tokens = log.state.n_tokens;
    let speed = log.finish()?; // ends the progress line before the report is printed
    if setup.is_finished(&policy.state.progress) {
        finish_run(args, &setup, &policy, &saver)?;
    }
    print_run_report(&setup, &policy, n_tokens, speed, saver.subfolder());
    Ok(())
}

/// Writes the row of the last steps of a run that is over before its last step.
fn log_last_steps(
    setup: &RunSetup<'_>,
    policy: &mut Policy,
    config: &GrpoConfig,
    log: &mut RunLog,
) -> Result<()> {
    let step = policy.state.progress.step;
    if !setup.is_finished(&policy.state.progress) {
        return Ok(()); // the checkpoint has them
    }
    policy.progress.log_pending_row(step, json!({}), config.update.schedule.lr_at(step), log)
}

/// Prints the parameter counts, the numbers of training, validation and dropped problems, and the
/// reward.
fn print_run_summary(
    args: &TrainArgs,
    policy: &Policy,
    n_train: usize,
    n_validation: usize,
    n_dropped: usize,
) {
    println!("{}", policy.state.parameter_summary());
    println!(
        "{n_train} problems for training, {n_validation} for validation; {n_dropped} were dropped \
         because their prompt is too long; reward: {}",
        args.task.reward_spec()
    );
}

/// Checks, after the last step, that a model was saved, merges its adapter if asked to, and saves
/// the last model.
fn finish_run(
    args: &TrainArgs,
    setup: &RunSetup<'_>,
    policy: &Policy,
    saver: &ModelSaver,
) -> Result<()> {
    if !policy.state.ranks.is_first() {
        return Ok(()); // the first writes
    }
    ensure!(
        policy.progress.n_rewards > 0,
        "every step was skipped: each batch had a reward that is not finite"
    );
    setup.ensure_model_kept(&policy.state.progress)?;
    save_run_end(saver, setup, &policy.state, &args.lora)
}

/// Prints timings, steps without a signal, and where the result is or how to resume. `n_tokens` is
/// the number of sampled tokens, `model` the folder of the best model in the run folder.
fn print_run_report(
    setup: &RunSetup<'_>,
    policy: &Policy,
    n_tokens: usize,
    tokens_per_second: f64,
    model: &str,
) {
    let progress = &policy.progress;
    let step = policy.state.progress.step;
    let seconds = progress.timings.total();
    let fractions = progress.timings.fractions();
    println!(
        "{seconds:.0} s: {:.0} % generation, {:.0} % log-probs, {:.0} % training",
        100. * fractions.generation,
        100. * fractions.log_probs,
        100. * fractions.training
    );
    if progress.zero_advantage_steps > 0 {
        println!(
            "in {} of {step} steps no completion was better than the others of its group, so there \
             was nothing to learn from",
            progress.zero_advantage_steps
        );
    }
    let change = progress.exact_match_change();
    if let Some(change) = change {
        println!("validation problems: {change}");
    }
    let best = policy.state.progress.selection.best;
    let result = json!({
        "step": step, "best_step": best.map(|best| best.step),
        "val_reward": best.map(|best| best.score.value()),
        "val_exact_match_before": change.map(|change| change.before),
        "val_exact_match": change.map(|change| change.after),
        "val_exact_match_points": change.map(ExactMatchChange::points),
        "tokens": n_tokens, "zero_advantage_steps": progress.zero_advantage_steps,
        "seconds": seconds, "saved": setup.saved_folder(model),
        "generation_time_fraction": fractions.generation,
        "log_probs_time_fraction": fractions.log_probs,
        "training_time_fraction": fractions.training,
    });
    setup.print_report("part_9", &policy.state.progress, tokens_per_second, model, result);
}
