//! `part_8 train`: a new PPO run from a policy, prompts and a reward function, or the rest of a
//! run.

use anyhow::{Result, ensure};
use candle_core::Device;
use datasets::SplitRule;
use experiment::train_state::parameters_sha256;
use experiment::{RunLogConfig, RunSetup};
use modern::{Checkpoint, GptModern};
use scaling::LrSchedule;
use scaling::run_defaults::resolved_settings;
use serde_json::{Value, json};
use sft::finetuned::resolve_model_path;
use sft::{ChatTokenizer, InitialModel, ModelSaver, save_run_end};
use tensor_core::Parameters;
use tensor_core::precision::units_note;

use super::arguments::{SFT_STEPS, TrainArgs};
use super::run_data::{RunData, load_run_data};
use crate::reference::{create_reference_model, open_reference};
use crate::reward_fn::NamedRewardFn;
use crate::{
    ActorCritic, CompletionEvalConfig, PpoConfig, PpoContext, PpoValidator, PromptLoader,
    RunInputs, Scoring, train,
};

/// Settings that may change on resume besides paths. The contents of the reference model and the
/// reward function are compared apart.
const OVERRIDABLE_ON_RESUME: [&str; 8] = [
    "chat_date",
    "code_python",
    "code_timeout",
    "judge_model",
    "reference",
    "reward",
    "reward_timeout",
    "rollout_batch_size",
];

/// Texts per batch of a reward model.
const REWARD_BATCH_SIZE: usize = 32;

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    args.check()?;
    let device = args.run.compute.open_device()?;
    let (model, reference) = (args.model.model.as_deref(), args.reference.as_deref());
    let reward = Some(args.reward_fn.source());
    let inputs = [("--model", model), ("--reference", reference), ("--reward", reward)];
    let mut setup = RunSetup::new_on_ranks(args, &args.run, &OVERRIDABLE_ON_RESUME, &inputs)?;
    let initial = InitialModel::new(&args.model, args.sft_steps, SFT_STEPS, &setup)?;
    let checkpoint = initial.open(args.run.compute.seed, &device)?;
    let template = args.prompts.chat_format(args.model.template);
    let lora = args.model.lora.config();
    let (saver, mut parameters) =
        ModelSaver::new(setup.out, &initial.path, checkpoint, template, lora)?;
    let chat_tokenizer = &saver.chat_tokenizer;
    let rollout = args.rollout_config(chat_tokenizer);
    let (max_new_tokens, context_len) = (rollout.max_new_tokens, saver.config.context_len);
    let data = load_run_data(args, chat_tokenizer, max_new_tokens, context_len, &setup)?;
    let data_id = data.sha256();
    let defaults = args.run_defaults(saver.config.parameter_count(), data.train.len());
    let config = args.ppo_config(rollout, &defaults)?;
    let LrSchedule { total_steps, warmup_steps, .. } = config.schedule;
    setup.resolve(resolved(&config, data.split_rule))?;
    let mut reward = open_reward_fn(args, chat_tokenizer, &device)?;
    let open = |named: &str| {
        let path = resolve_model_path(named)?;
        open_reference(&path, &saver.config, &chat_tokenizer.tokenizer, &device)
    };
    let other = reference.map(open).transpose()?;
    setup.create_folder()?;
    if let Some(trained) = initial.train_and_save(config.seed, &device)? {
        parameters = trained.parameters;
    }
    let (mut actor_critic, reference) =
        actor_critic(args, &config, &saver, parameters, other, &reward.name)?;
    let metrics = args.run.metrics;
    let log = RunLogConfig::rewards(total_steps, warmup_steps, metrics.log_interval.get());
    let mut log = setup.open_log(log, |checkpoint| actor_critic.restore(checkpoint, &data_id))?;
    let run = setup.run(&data_id)?;
    let validator = PpoValidator {
        prompts: &data.validation,
        reward_shaping: &config.reward_shaping,
        eval_config: CompletionEvalConfig { chat_tokenizer, max_new_tokens, batch_size: 100 },
        interval: metrics.eval_interval.unwrap_or(defaults.eval_interval(total_steps)),
        target_reward: args.target_reward,
        model_saver: run.ranks.is_first().then_some(&saver),
    };
    print_run_summary(&actor_critic, &config, &data);
    println!("{}", defaults.summary(&config.schedule));
    let mut prompts = PromptLoader::new(data.train, config.seed)?;
    let scoring = Scoring::new(chat_tokenizer, &mut reward);
    let mut context = PpoContext { reference: &reference, scoring, ptx_loss: data.ptx_loss };
    train(&mut actor_critic, &mut context, &mut prompts, &config, &validator, &run, &mut log)?;
    let speed = log.finish()?; // ends the progress line before the report is printed
    if setup.is_finished(&actor_critic.policy.progress) {
        finish_run(args, &setup, &actor_critic, &saver)?;
    }
    print_run_report(&setup, &actor_critic, speed, saver.subfolder());
    Ok(())
}

/// Reward function of the run for completions of a policy with `chat_tokenizer`.
fn open_reward_fn(
    args: &TrainArgs,
    chat_tokenizer: &ChatTokenizer,
    device: &Device,
) -> Result<NamedRewardFn> {
    let (data, variables) = (&args.data.data, args.model.chat_template.variables());
    args.reward_fn.open_reward_fn(data, chat_tokenizer, REWARD_BATCH_SIZE, &variables, device)
}

/// Settings of `config` that follow from the data and the model where no flag gives them, the
/// number of minibatches in place of their size, and the rule by which the rows were split.
fn resolved(config: &PpoConfig, split_rule: Option<SplitRule>) -> Value {
    let PpoConfig { schedule, prompts_per_step, .. } = config;
    let mut resolved = resolved_settings(schedule, *prompts_per_step, split_rule);
    resolved["num_minibatches"] = config.update.n_minibatches.into();
    resolved["mini_batch_size"] = Value::Null;
    resolved
}

/// Actor-critic of a new run with these `parameters` of the policy, and its reference: the model
/// `other`, else the policy itself.
fn actor_critic(
    args: &TrainArgs,
    config: &PpoConfig,
    saver: &ModelSaver,
    parameters: Parameters,
    other: Option<Checkpoint>,
    reward_name: &str,
) -> Result<(ActorCritic, GptModern)> {
    let ref_parameters = other.as_ref().map_or(&parameters, |other| &other.parameters);
    let reference = parameters_sha256(ref_parameters)?;
    let run_inputs = RunInputs::of_all_ranks(reference, reward_name.to_string())?;
    let optimizer = args.optimization.optimizer.optimizer_config();
    let dtype = args.optimization.dtype.dtype();
    let policy = saver.train_state(parameters, optimizer, dtype, config.seed)?;
    let reference = match other {
        Some(other) => other.inference_model(dtype)?,
        None => create_reference_model(&saver.config, &policy.parameters)?,
    };
    let backbone = args.objective.critic_backbone(&args.model.lora);
    let actor_critic =
        ActorCritic::new(saver.config, policy, backbone, optimizer, config.kl_controller)?;
    let gradient_checkpointing = args.optimization.gradient_checkpointing.into();
    Ok((ActorCritic { run_inputs, gradient_checkpointing, ..actor_critic }, reference))
}

/// Prints the size of the data and of the models.
fn print_run_summary(actor_critic: &ActorCritic, config: &PpoConfig, data: &RunData) {
    let parameters = &actor_critic.policy.parameters;
    let (trained, all) = actor_critic.policy.parameter_counts();
    let (critic, _) = actor_critic.critic.parameter_counts();
    let counted = |n: usize, what: &str| match n {
        0 => String::new(),
        _ => format!("; {n} {what}"),
    };
    println!(
        "{} prompts{}{}",
        data.train.len(),
        counted(data.n_dropped, "were dropped because they are too long"),
        counted(data.n_repeated, "rows repeat the prompt of another")
    );
    println!(
        "policy: {all} parameters, {trained} trained; critic: {critic} parameters; rollout: {} \
         prompts with {} completions each{}",
        config.prompts_per_step,
        config.rollout.group_size,
        units_note(parameters.compute_dtype(), parameters.device())
    );
}

/// Checks, after the last step, that a model was saved, merges its adapter if asked to, and saves
/// the last model.
fn finish_run(
    args: &TrainArgs,
    setup: &RunSetup<'_>,
    actor_critic: &ActorCritic,
    saver: &ModelSaver,
) -> Result<()> {
    let progress = &actor_critic.policy.progress;
    if !actor_critic.policy.ranks.is_first() {
        return Ok(()); // the first writes
    }
    ensure!(
        progress.target_reached || actor_critic.progress.updates > 0,
        "every step was skipped: each batch had a reward that is not finite"
    );
    setup.ensure_model_kept(progress)?;
    save_run_end(saver, setup, &actor_critic.policy, &args.model.lora)
}

/// Prints where the result is, or how to resume.
fn print_run_report(
    setup: &RunSetup<'_>,
    actor_critic: &ActorCritic,
    tokens_per_second: f64,
    model: &str,
) {
    let progress = &actor_critic.policy.progress;
    let result = json!({
        "step": progress.step, "best_step": progress.selection.best.map(|best| best.step),
        "val_reward": progress.selection.best.map(|best| best.score.value()),
        "target_reached": progress.target_reached, "kl_coef": actor_critic.progress.kl_coef,
        "updates": actor_critic.progress.updates,
    });
    setup.print_report("part_8", progress, tokens_per_second, model, result);
}
