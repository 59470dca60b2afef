//! `part_10 train --online`: trains a policy on its own completions in a run folder, or resumes a
//! run.

use anyhow::{Context, Result};
use candle_core::Device;
use datasets::{SplitRule, SplitSpec};
use experiment::{RunLogConfig, RunSetup, TrainState};
use grpo::{GrpoEvaluator, GrpoValidator, ReferenceModel, WeightedRewards};
use ppo::prompts::tokenize_prompts;
use ppo::reference::open_reference;
use ppo::reward_fn::NamedRewardFn;
use ppo::{CompletionEvalConfig, PromptExample, PromptLoader, Scoring};
use reward::flags::PreferenceFlags;
use scaling::LrSchedule;
use scaling::run_defaults::resolved_settings;
use sft::run_split::split_of_run;
use sft::{ChatTokenizer, InitialModel, ModelSaver, RunSplit};
use tensor_core::sha256;

use super::arguments::{SFT_STEPS, TrainArgs};
use super::train::finish_run;
use crate::online::train_online;
use crate::online_context::{OnlineContext, Teacher};
use crate::online_flags::OnlineFlags;
use crate::step::DpoPolicy;

/// Completions per batch of a validation.
const EVAL_BATCH_SIZE: usize = 64;

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    args.check()?;
    let (seed, device) = (args.run.compute.seed, args.run.compute.open_device()?);
    let (flags, rewards) = (&args.online, args.online.weighted_rewards()?);
    let mut inputs =
        vec![("--model", args.model.model.as_deref()), ("--teacher", flags.teacher.as_deref())];
    inputs.extend(rewards.reward_models().map(|model| ("--reward", Some(model))));
    let mut setup =
        RunSetup::new_on_ranks(args, &args.run, &["chat_date", "reward_timeout"], &inputs)?;
    let initial = InitialModel::new(&args.model, args.sft_steps, SFT_STEPS, &setup)?;
    let checkpoint = initial.open(seed, &device)?;
    let (dtype, lora) = (args.optimization.dtype.dtype(), args.model.lora.config());
    let (saver, mut parameters) =
        ModelSaver::new(setup.out, &initial.path, checkpoint, args.model.template, lora)?;
    let chat_tokenizer = &saver.chat_tokenizer;
    let mut reward = open_reward_fn(args, &rewards, chat_tokenizer, &device)?;
    let Prompts { training, validation, data_id, split_rule } =
        Prompts::load(args, &saver, &reward.name, &setup)?;
    let online = flags.config(chat_tokenizer.stop_token_ids().to_vec())?;
    let defaults = args.online_defaults(saver.config.parameter_count(), training.len());
    let config = args.train_config(&defaults)?;
    setup.resolve(resolved_settings(&config.schedule, config.batch_size, split_rule))?;
    let teacher = open_teacher(args, &saver, &device)?;
    setup.create_folder()?;
    if let Some(trained) = initial.train_and_save(seed, &device)? {
        parameters = trained.parameters;
    }
    let state = saver.train_state(parameters, config.optimizer, dtype, seed)?;
    let reference = match config.loss.loss_type.needs_reference() {
        true => Some(new_reference(args, &saver, &state)?),
        false => None,
    };
    let mut policy = DpoPolicy::new(&saver.config, state)?
        .with_gradient_checkpointing(args.optimization.gradient_checkpointing.into());
    let (metrics, LrSchedule { total_steps, warmup_steps, .. }) =
        (args.run.metrics, config.schedule);
    let log = RunLogConfig::rewards(total_steps, warmup_steps, metrics.log_interval.get());
    let mut log = setup.open_log(log, |checkpoint| {
        policy.state.restore(checkpoint, &data_id)?;
        reference.as_ref().map_or(Ok(()), |reference| reference.restore(checkpoint))
    })?;
    let run = setup.run(&data_id)?;
    let max_new_tokens = flags.max_new_tokens();
    let eval_config =
        CompletionEvalConfig { chat_tokenizer, max_new_tokens, batch_size: EVAL_BATCH_SIZE };
    let validator = GrpoValidator {
        prompts: &validation,
        evaluator: GrpoEvaluator { task: flags.task, eval_config },
        interval: metrics.eval_interval.unwrap_or(defaults.eval_interval(total_steps)),
        model_saver: run.ranks.is_first().then_some(&saver),
    };
    let prompts = PromptLoader::new(training, config.seed)?;
    let scoring = Scoring::new(chat_tokenizer, &mut reward);
    let mut context = OnlineContext { scoring, reference, teacher, prompts };
    println!("{}", policy.state.parameter_summary());
    train_online(&mut policy, &mut context, (&online, &config), &validator, &run, &mut log)?;
    finish_run(args, &setup, &policy, &saver, log)
}

/// Reward function of the sum `rewards` for completions of a policy with `chat_tokenizer`.
fn open_reward_fn(
    args: &TrainArgs,
    rewards: &WeightedRewards,
    chat_tokenizer: &ChatTokenizer,
    device: &Device,
) -> Result<NamedRewardFn> {
    let (program, variables) = (&args.online.program, args.model.chat_template.variables());
    rewards.open_reward_fn(program, chat_tokenizer, EVAL_BATCH_SIZE, &variables, device)
}

/// Prompts of the task.
struct Prompts {
    training: Vec<PromptExample>,
    validation: Vec<PromptExample>,
    /// Id of the problems and of the reward function: a checkpoint is not resumed with others.
    data_id: String,
    /// Rule by which the rows were split; `None` for built-in problems.
    split_rule: Option<SplitRule>,
}

impl Prompts {
    /// Prompts of the problems of --data for the model of `saver`, and prints their numbers. A new
    /// run holds out the problems that the run of its model held out of the same data.
    fn load(
        args: &TrainArgs,
        saver: &ModelSaver,
        reward_name: &str,
        setup: &RunSetup<'_>,
    ) -> Result<Self> {
        let PreferenceFlags { data, dataset, .. } = &args.data;
        let task = args.online.task;
        let rows = match data.as_str() {
            "arithmetic" => None,
            data => Some(task.read_files(&dataset.locate(data)?)?),
        };
        let resumed = setup.is_resumed.then_some(setup.out);
        let sft_split = RunSplit::find(args.model.model.as_deref(), data, dataset)?;
        let (given, default) = (args.given_split(), SplitSpec::Problems);
        let split_spec = split_of_run(resumed, given, sft_split.as_ref(), default)?;
        let is_file = rows.is_some();
        let dataset = task.load_dataset(rows, None, split_spec)?;
        if is_file {
            dataset.print_counts();
        }
        let (dataset_sha256, split_rule) = (dataset.sha256(), dataset.rule);
        let dataset = dataset.splits;
        if let Some(sft_split) = sft_split {
            sft_split.warn_of_learned(&dataset.validation);
        }
        args.online.ensure_applicable(&dataset.train)?;
        args.online.ensure_applicable(&dataset.validation)?;
        let data_id = sha256::hash_bytes(format!("{dataset_sha256}\n{reward_name}").as_bytes());
        let (max_new_tokens, context_len) =
            (args.online.max_new_tokens(), saver.config.context_len);
        let prompts = |examples| {
            tokenize_prompts(examples, &saver.chat_tokenizer, context_len, max_new_tokens)
        };
        let (training, n_dropped) = prompts(dataset.train)?;
        let (mut validation, _) = prompts(dataset.validation)?;
        validation.truncate(args.eval_pairs.get());
        println!(
            "{} prompts for training, {} for validation; {n_dropped} leave no room to answer",
            training.len(),
            validation.len()
        );
        Ok(Self { training, validation, data_id, split_rule })
    }
}

/// Reference of the policy that `state` begins with.
fn new_reference(
    args: &TrainArgs,
    saver: &ModelSaver,
    state: &TrainState,
) -> Result<ReferenceModel> {
    let update = args.online.reference_update();
    ReferenceModel::new(&saver.config, &state.parameters, update)
}

/// Teacher of --teacher for the model of `saver`.
fn open_teacher(args: &TrainArgs, saver: &ModelSaver, device: &Device) -> Result<Option<Teacher>> {
    let Some(source) = &args.online.teacher else { return Ok(None) };
    let tokenizer = &saver.chat_tokenizer.tokenizer;
    let checkpoint = open_reference(source, &saver.config, tokenizer, device)
        .context("--teacher must have the vocabulary of the policy")?;
    let OnlineFlags { lmbda: lambda, .. } = args.online;
    let model = checkpoint.inference_model(args.optimization.dtype.dtype())?;
    Ok(Some(Teacher { model, divergence: args.online.divergence(), lambda }))
}
