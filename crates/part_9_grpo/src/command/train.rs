//! `part_9 train`: trains a policy from a model and problems into a run folder, or resumes a run.

use std::path::Path;

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use datasets::Example;
use experiment::program::as_usage_error;
use model_io::LoadMode;
use modern::Checkpoint;
use ppo::reward_fn::NamedRewardFn;
use ppo::{CompletionEvalConfig, PromptExample, RunInputs};
use scaling::LrSchedule;
use serde_json::{Value, json};
use sft::finetuned::resolve_model_path;
use sft::flags::LoraFlags;
use sft::{ChatTokenizer, ModelSaver, RunSetup, TrainState};
use tensor_core::sha256;

use super::arguments::TrainArgs;
use super::report::{print_run_report, print_run_summary};
use crate::evaluation::GrpoEvaluator;
use crate::flags::check_rollout_size;
use crate::reference::{ReferenceModel, base_weights_sha256};
use crate::training::GrpoValidation;
use crate::{GrpoConfig, GrpoContext, GrpoLog, GrpoUpdateConfig, RunState, TaskDataset, train};

/// Settings that may change on resume, beside paths: those of validation.
const OVERRIDABLE_ON_RESUME: [&str; 3] = ["eval_interval", "eval_examples", "eval_file"];

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    let schedule = check_args(args)?;
    let device = args.run.compute.open_device()?;
    let rewards = args.task.weighted_rewards()?;
    let reward_models = rewards.reward_models().map(|model| ("--reward", Some(model)));
    let inputs: Vec<_> = reward_models.chain([("--model", Some(args.model.as_str()))]).collect();
    let setup = RunSetup::validate(args, (&args.out, &args.run), &OVERRIDABLE_ON_RESUME, &inputs)?;
    let eval_file = args.eval.eval_file.as_deref();
    let dataset = args.task.task.load_dataset(args.task.data.as_deref(), eval_file)?;
    let data_id = dataset_sha256(&dataset);
    let base_model = resolve_model_path(&args.model);
    let mut checkpoint = Checkpoint::open(&base_model, LoadMode::Training(DType::F32), &device)?;
    let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, args.template)?;
    let NamedRewardFn { mut reward_fn, name: reward_name } =
        args.task.open_reward_fn(&chat_tokenizer, &device)?;
    let context_len = checkpoint.model.config().context_len;
    let (train_prompts, validation_prompts, n_dropped) =
        train_and_validation_prompts(args, dataset, &chat_tokenizer, context_len)?;
    let config = grpo_config(args, schedule, chat_tokenizer.stop_token_ids().to_vec())?;
    let lora = args.lora.config();
    let (model_config, parameters) = (*checkpoint.model.config(), checkpoint.parameters);
    let (optimizer, seed) = (config.update.optimizer, config.seed);
    let mut train_state =
        TrainState::with_optional_lora(model_config, parameters, lora.as_ref(), optimizer, seed)?;
    let run_inputs =
        RunInputs { reference: base_weights_sha256(&train_state)?, reward_fn: reward_name };
    let mut run_state = RunState { run_inputs, ..RunState::default() };
    let mut reference = config
        .reference_update
        .map(|update| ReferenceModel::new(&train_state, update))
        .transpose()?;
    let model_saver = ModelSaver {
        chat_tokenizer: &chat_tokenizer,
        special_ids: &checkpoint.special_ids,
        sampler: checkpoint.sampler.as_ref(),
        lora: lora.as_ref().map(|lora| (lora, base_model.as_str())),
    };
    let restore = |folder: &Path| {
        let saved = RunState::load(folder)?;
        saved.run_inputs.ensure_same_as(&run_state.run_inputs)?;
        run_state = saved;
        train_state.restore(folder, &data_id)?;
        reference.as_mut().map_or(Ok(()), |reference| reference.restore(folder))
    };
    setup.create_folder()?;
    let (folder, tracker, rows) = setup.open_run(args.eval.metrics.tracker, restore)?;
    let counts = [train_prompts.len(), validation_prompts.len(), n_dropped];
    print_run_summary(args, &train_state, counts);
    let (total, step) = (schedule.total_steps, train_state.progress.step);
    let log = GrpoLog::new(total, step, run_state, args.eval.metrics.log_interval.get())?;
    let mut log = log.with_run_folder(folder, tracker, &rows);
    let outputs = setup.outputs(&model_saver, &data_id)?;
    let validation = grpo_validation(args, &chat_tokenizer, &validation_prompts);
    let mut context = GrpoContext { reference, reward_fn: &mut *reward_fn, validation };
    train(&mut train_state, train_prompts, &config, &mut context, &outputs, &mut log)?;
    finish_run(args, &train_state, schedule, log, (&model_saver, &device))
}

/// Validation with the settings of the command line.
fn grpo_validation<'a>(
    args: &TrainArgs,
    chat_tokenizer: &'a ChatTokenizer,
    prompts: &'a [PromptExample],
) -> GrpoValidation<'a> {
    let max_new_tokens = args.task.max_new_tokens();
    let eval_config = CompletionEvalConfig { chat_tokenizer, max_new_tokens, batch_size: 64 };
    let evaluator = GrpoEvaluator { task: args.task.task, eval_config };
    GrpoValidation { evaluator, prompts, interval: args.eval.eval_interval }
}

/// End of a run: the last row of the log, the merged model and the report. A run that has reached
/// its last step without a trained model is an error.
fn finish_run(
    args: &TrainArgs,
    train_state: &TrainState,
    schedule: LrSchedule,
    mut log: GrpoLog,
    (model_saver, device): (&ModelSaver<'_>, &Device),
) -> Result<()> {
    let (total, is_finished) =
        (schedule.total_steps, train_state.is_finished(schedule.total_steps));
    if is_finished {
        log.log_row(total, schedule.lr_at(total))?;
    }
    let (run_state, timings) = (log.run_state.clone(), log.timings);
    log.finish()?;
    if is_finished {
        ensure!(
            run_state.n_tokens > 0,
            "every step was skipped: each batch had a reward that is not finite"
        );
        ensure!(
            train_state.progress.best_loss.is_some(),
            "no model was saved: every validation had a reward that is not finite"
        );
        if args.lora.merge {
            model_saver.save_merged(&args.out, device)?;
        }
    }
    print_run_report(args, train_state, total, &run_state, timings)
}

/// Checks the flags before anything is opened; returns the learning rate schedule.
///
/// # Errors
/// When flags are invalid or contradict each other.
fn check_args(args: &TrainArgs) -> Result<LrSchedule> {
    let max_new_tokens = args.task.max_new_tokens();
    args.task.check()?;
    args.objective.check(max_new_tokens)?;
    args.lora.check()?;
    check_dropout(&args.lora)?;
    let group_size = args.rollout.rollout_config(max_new_tokens, Vec::new())?.group_size;
    check_rollout_size(args.step.batch_size.get(), group_size, max_new_tokens)?;
    args.schedule.schedule()
}

/// Refuses dropout, with which the loss would use another network than the rollout.
///
/// # Errors
/// A usage error when --lora-dropout is not 0.
fn check_dropout(lora: &LoraFlags) -> Result<()> {
    as_usage_error((|| {
        ensure!(
            lora.lora_dropout == 0.,
            "--lora-dropout: rollouts are generated without dropout, so ratios would not be 1 \
             before the first update"
        );
        Ok(())
    })())
}

/// Training prompts, validation prompts, and the number of training problems that were dropped.
fn train_and_validation_prompts(
    args: &TrainArgs,
    dataset: TaskDataset,
    chat_tokenizer: &ChatTokenizer,
    context_len: usize,
) -> Result<(Vec<PromptExample>, Vec<PromptExample>, usize)> {
    let prompts = |examples| args.task.prompt_examples(examples, chat_tokenizer, context_len);
    let (train, n_dropped) = prompts(dataset.train)?;
    let (mut validation, _) = prompts(dataset.validation)?;
    validation.truncate(args.eval.eval_examples.get());
    Ok((train, validation, n_dropped))
}

pub(crate) fn grpo_config(
    args: &TrainArgs,
    schedule: LrSchedule,
    stop_token_ids: Vec<u32>,
) -> Result<GrpoConfig> {
    Ok(GrpoConfig {
        prompts_per_step: args.step.batch_size.get(),
        rollout: args.rollout.rollout_config(args.task.max_new_tokens(), stop_token_ids)?,
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

/// Hash of the problems, so that a checkpoint is not resumed with other data.
fn dataset_sha256(dataset: &TaskDataset) -> String {
    let text = |Example { prompt, completion }: &Example| {
        let messages: Vec<Value> = prompt.iter().map(|message| json!(message.content)).collect();
        json!([messages, completion]).to_string()
    };
    let all: Vec<String> = dataset.train.iter().chain(&dataset.validation).map(text).collect();
    sha256::hash_bytes(all.join("\n").as_bytes())
}
