//! `part_8 train`: a new PPO run from a policy, prompts and a reward function, or the rest of a
//! run.

use std::path::Path;

use anyhow::{Result, ensure};
use candle_core::Device;
use model_io::ModelConfig;
use modern::Checkpoint;
use reward::initialization::train_and_save_base_model;
use sft::finetuned::resolve_model_path;
use sft::train_state::{TrainProgress, parameters_sha256};
use sft::{ChatTokenizer, ModelSaver, RunSetup, TrainState};

use super::arguments::TrainArgs;
use super::config::{check, config};
use super::initial_policy;
use super::report::{print_run_report, print_run_summary};
use super::run_data::{load_run_data, validator};
use crate::reward_fn::NamedRewardFn;
use crate::{
    ActorCritic, PpoConfig, PpoContext, PpoLog, PromptLoader, RunInputs, reference, train,
};

/// Settings that may change on resume besides paths. The contents of the reference model and the
/// reward function are compared apart.
const OVERRIDABLE_ON_RESUME: [&str; 3] = ["eval_examples", "reference", "reward"];

/// Texts per batch of a reward model.
const REWARD_BATCH_SIZE: usize = 32;

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    check(args)?;
    let device = args.run.compute.open_device()?;
    let reward = Some(args.reward_fn.reward.as_str());
    let (model, reference) = (args.model.as_deref(), args.reference.as_deref());
    let inputs = [("--model", model), ("--reference", reference), ("--reward", reward)];
    let setup = RunSetup::validate(args, (&args.out, &args.run), &OVERRIDABLE_ON_RESUME, &inputs)?;
    let source = initial_policy::policy_source(args);
    let mut checkpoint = initial_policy::open_checkpoint(args, &source, &device)?;
    let chat_tokenizer = ChatTokenizer::from_checkpoint(&mut checkpoint, args.template)?;
    let (model, optimizer) = (*checkpoint.model.config(), args.step.optimizer.adamw_config());
    let config = config(args, &chat_tokenizer)?;
    let data = load_run_data(args, &chat_tokenizer, model.context_len)?;
    let NamedRewardFn { mut reward_fn, name: reward_name } = args.reward_fn.open_reward_fn(
        &args.data.data,
        &chat_tokenizer,
        REWARD_BATCH_SIZE,
        &device,
    )?;
    let lora = args.lora.config();
    lora.as_ref().map(|lora| lora.resolve_layers(&checkpoint.parameters)).transpose()?;
    let other = open_reference(args, &model, &chat_tokenizer, &device)?;
    setup.create_folder()?;
    if args.model.is_none() && !setup.is_resumed {
        let steps = (args.base.config(), args.sft_steps); // trained weights replace untrained ones
        checkpoint.parameters =
            train_and_save_base_model(&args.out, steps, config.seed, &device)?.parameters;
    }

    let ref_parameters = other.as_ref().map_or(&checkpoint.parameters, |other| &other.parameters);
    let reference_sha256 = parameters_sha256(ref_parameters.iter())?;
    let (parameters, seed) = (checkpoint.parameters, config.seed);
    let policy = TrainState::with_optional_lora(model, parameters, lora.as_ref(), optimizer, seed)?;
    let copy = || reference::create_reference_model(&policy);
    let reference = other.map_or_else(copy, |other| Ok(other.model))?;
    let backbone = args.objective.critic_backbone(&args.lora);
    let mut actor_critic = ActorCritic::new(policy, backbone, optimizer, config.kl_controller)?;
    actor_critic.run_inputs = RunInputs { reference: reference_sha256, reward_fn: reward_name };
    let data_id = data.sha256();
    let model_saver = ModelSaver {
        chat_tokenizer: &chat_tokenizer,
        special_ids: &checkpoint.special_ids,
        sampler: checkpoint.sampler.as_ref(),
        lora: lora.as_ref().map(|lora| (lora, source.as_str())),
    };
    let mut log = open_log(args, &setup, &mut actor_critic, &config, &data_id)?;
    let outputs = setup.outputs(&model_saver, &data_id)?;
    let validator = validator(args, &data.validation, &chat_tokenizer);
    print_run_summary(&actor_critic, &config, data.train.len(), data.n_dropped);
    let mut prompts = PromptLoader::new(data.train, config.seed)?;
    let mut context = PpoContext {
        reference: &reference,
        chat_tokenizer: &chat_tokenizer,
        reward_fn: &mut *reward_fn,
        ptx_loss: data.ptx_loss,
    };
    let settings = (&config, &validator);
    train(&mut actor_critic, &mut context, &mut prompts, settings, &outputs, &mut log)?;
    log.finish()?; // ends the progress line before the report is printed
    let total = config.schedule.total_steps;
    finish_run(args, &actor_critic, total, &model_saver, &device)?;
    print_run_report(args, &actor_critic, total)
}

/// Reference model that --reference names.
fn open_reference(
    args: &TrainArgs,
    model: &ModelConfig,
    chat_tokenizer: &ChatTokenizer,
    device: &Device,
) -> Result<Option<Checkpoint>> {
    let open = |named| {
        let (path, tokenizer) = (resolve_model_path(named), &chat_tokenizer.tokenizer);
        reference::open_reference(&path, model, tokenizer, device)
    };
    args.reference.as_deref().map(open).transpose()
}

/// Log of a run, which is restored from its latest checkpoint if it is resumed.
fn open_log(
    args: &TrainArgs,
    setup: &RunSetup<'_>,
    actor_critic: &mut ActorCritic,
    config: &PpoConfig,
    data_id: &str,
) -> Result<PpoLog> {
    let metrics = args.eval.metrics;
    let restore = |path: &Path| actor_critic.restore(path, data_id);
    let (folder, tracker, rows) = setup.open_run(metrics.tracker, restore)?;
    let (total, step) = (config.schedule.total_steps, actor_critic.policy.progress.step);
    let log = PpoLog::new(total, step, metrics.log_interval.get())?;
    Ok(log.with_run_folder(folder, tracker, &rows))
}

/// Checks, after the last of `total` steps, that a model was saved, and merges its adapter if asked
/// to.
fn finish_run(
    args: &TrainArgs,
    actor_critic: &ActorCritic,
    total: usize,
    model_saver: &ModelSaver<'_>,
    device: &Device,
) -> Result<()> {
    if !actor_critic.policy.is_finished(total) {
        return Ok(());
    }
    let TrainProgress { best_loss, target_reached, .. } = actor_critic.policy.progress;
    ensure!(
        target_reached || actor_critic.progress.updates > 0,
        "every step was skipped: each batch had a reward that is not finite"
    );
    ensure!(
        best_loss.is_some(),
        "no model was saved: each validation had a reward that is not finite"
    );
    if args.lora.merge {
        model_saver.save_merged(&args.out, device)?;
    }
    Ok(())
}
