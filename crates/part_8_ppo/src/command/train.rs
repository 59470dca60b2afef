//! `part_8 train`: a policy, questions and a scorer in, a run folder out; or a run folder in, and the rest of its run.

use std::path::Path;

use anyhow::{Result, ensure};
use candle_core::Device;
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
use crate::{ActorCritic, PpoContext, PpoLog, PromptLoader, RunInputs, reference, train};

/// What may change when a run is resumed beside where things are: how much is looked at. What reference and scorer hold is compared apart.
const OVERRIDABLE_ON_RESUME: [&str; 3] = ["eval_examples", "reference", "reward"];

/// Texts that a reward model reads at a time.
const REWARD_BATCH_SIZE: usize = 32;

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    check(args)?;
    let device = args.run.compute.open_device()?;
    let reward = Some(args.reward_fn.reward.as_str());
    let (model, reference) = (args.model.as_deref(), args.reference.as_deref());
    let begins_with = [("--model", model), ("--reference", reference), ("--reward", reward)];
    let start = RunSetup::new(args, (&args.out, &args.run), &OVERRIDABLE_ON_RESUME, &begins_with)?;
    let source = initial_policy::policy_source(args);
    let mut checkpoint = initial_policy::open_checkpoint(args, &source, &device)?;
    let speech = ChatTokenizer::from_checkpoint(&mut checkpoint, args.template)?;
    let (model, optimizer) = (*checkpoint.model.config(), args.step.optimizer.adamw_config());
    let config = config(args, &speech)?;
    let asked = load_run_data(args, &speech, model.context_len)?;
    let NamedRewardFn { reward_fn: mut scorer, name: scored_by } =
        args.reward_fn.open_reward_fn(&args.data.data, &speech, REWARD_BATCH_SIZE, &device)?;
    let lora = args.lora.config();
    lora.as_ref().map(|lora| lora.resolve_layers(&checkpoint.parameters)).transpose()?;
    let opened = |named| {
        reference::open_reference(&resolve_model_path(named), &model, &speech.tokenizer, &device)
    };
    let other = args.reference.as_deref().map(opened).transpose()?;
    start.create_folder()?;
    if args.model.is_none() && !start.is_resumed {
        let how = (args.base.config(), args.sft_steps);
        let taught = train_and_save_base_model(&args.out, how, config.seed, &device)?;
        checkpoint.parameters = taught.parameters; // in the place of those that all was tried on
    }

    let of = other.as_ref().map_or(&checkpoint.parameters, |other| &other.parameters);
    let origins = RunInputs { reference: parameters_sha256(of.iter())?, reward_fn: scored_by };
    let (parameters, seed) = (checkpoint.parameters, config.seed);
    let policy = TrainState::with_optional_lora(model, parameters, lora.as_ref(), optimizer, seed)?;
    let reference = other
        .map_or_else(|| reference::create_reference_model(&policy), |other| Ok(other.model))?;
    let mut learner = ActorCritic::new(
        policy,
        args.objective.critic_backbone(&args.lora),
        optimizer,
        config.kl_controller,
    )?;
    learner.run_inputs = origins;
    let name = asked.sha256(); // what it may go on with
    let keeper = ModelSaver {
        chat_tokenizer: &speech,
        special_ids: &checkpoint.special_ids,
        sampler: checkpoint.sampler.as_ref(),
        lora: lora.as_ref().map(|lora| (lora, source.as_str())),
    };
    let figures = args.eval.metrics;
    let restore = |path: &Path| learner.restore(path, &name);
    let (folder, tracker, rows) = start.open_run(figures.tracker, restore)?;
    let (total, step) = (config.schedule.total_steps, learner.policy.progress.step);
    let log = PpoLog::new(total, step, figures.log_interval.get())?;
    let mut log = log.record_to(folder, tracker, &rows);
    let outputs = start.outputs(&keeper, &name)?;
    let exam = validator(args, &asked.validation, &speech);
    print_run_summary(&learner, &config, asked.train.len(), asked.n_dropped);
    let mut prompts = PromptLoader::new(asked.train, config.seed)?;
    let (scorer, mix) = (&mut *scorer, asked.ptx_loss);
    let mut around = PpoContext {
        reference: &reference,
        chat_tokenizer: &speech,
        reward_fn: scorer,
        ptx_loss: mix,
    };
    train(&mut learner, &mut around, &mut prompts, (&config, &exam), &outputs, &mut log)?;
    log.finish()?; // the progress line ends before we speak
    if learner.policy.is_finished(config.schedule.total_steps) {
        finish_run(args, &learner, &keeper, &device)?;
    }
    print_run_report(args, &learner, config.schedule.total_steps)
}

/// The end of a run: there has to be a model to show for it.
fn finish_run(
    args: &TrainArgs,
    learner: &ActorCritic,
    keeper: &ModelSaver<'_>,
    device: &Device,
) -> Result<()> {
    let TrainProgress { best_loss: best, target_reached: passed, .. } = learner.policy.progress;
    ensure!(
        passed || learner.progress.updates > 0,
        "no step was learned from: among the scores of each was one that is no number"
    );
    ensure!(
        best.is_some(),
        "no model was kept: at each look at validation questions a score was no number"
    );
    if args.lora.merge {
        keeper.save_merged(&args.out, device)?;
    }
    Ok(())
}
