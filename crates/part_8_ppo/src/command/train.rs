//! `part_8 train`: a policy, questions and a scorer in, a run folder out; or a run folder in, and the rest of its run.

use anyhow::{Result, ensure};
use candle_core::Device;
use modern::Checkpoint;
use reward::start::small_model_of_run;
use scaling::Checkpoints;
use scaling::settings::check_resumable;
use scaling::tracker::Tracker;
use serde_json::Value;
use sft::resume::resume;
use sft::tuned::model_in;
use sft::tuning::{State, fingerprint_of};
use sft::{Keeper, Outputs, Place, Speech, Tuning};
use tiny_gpt::RunFolder;

use super::arguments::TrainArgs;
use super::config::{check, config};
use super::questions::{asked, exam};
use super::report::{report, tell_start};
use super::start;
use crate::scorer::Judge;
use crate::{Learner, Origins, Prompts, RunLog, Surroundings, reference, train};

/// What may change when a run is resumed beside where things are: how much is looked at. What reference and scorer hold is compared apart.
const FREE: [&str; 3] = ["eval_examples", "reference", "reward"];

/// Texts that a reward model reads at a time.
const SCORED_AT_A_TIME: usize = 32;

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    check(args)?;
    let device = args.run.compute.open()?;
    let settings = serde_json::to_value(args)?;
    let resumes = args.run.settings.resume;
    match resumes {
        true => check_resumable(&args.out, &settings, &FREE)?,
        false => check_spared(args)?,
    }
    let source = start::source(args);
    let mut checkpoint = start::checkpoint(args, &source, &device)?;
    let speech = Speech::of(&mut checkpoint, args.template)?;
    let (model, optimizer) = (*checkpoint.model.config(), args.step.optimizer.config());
    let config = config(args, &speech)?;
    let asked = asked(args, &speech, model.context)?;
    let Judge { mut scorer, name: scored_by } =
        args.scorer.open(&args.data.data, &speech, SCORED_AT_A_TIME, &device)?;
    let lora = args.lora.config();
    lora.as_ref().map(|lora| lora.layers_of(&checkpoint.parameters)).transpose()?;
    let opened = |named| reference::opened(&model_in(named), &model, &speech.tokenizer, &device);
    let other = args.reference.as_deref().map(opened).transpose()?;
    if !resumes {
        begin(args, &settings, &mut checkpoint, &device)?; // not before all that can be wrong is known to be right
    }

    let of = other.as_ref().map_or(&checkpoint.parameters, |other| &other.parameters);
    let origins = Origins { reference: fingerprint_of(of.iter())?, scorer: scored_by };
    let policy =
        Tuning::begin(model, checkpoint.parameters, lora.as_ref(), optimizer, config.seed)?;
    let reference = other.map_or_else(|| reference::of_start(&policy), |other| Ok(other.model))?;
    let mut learner =
        Learner::new(policy, args.objective.trunk(&args.lora), optimizer, config.kl_price)?;
    learner.origins = origins;
    let name = asked.name(); // what it may go on with
    let keeper = Keeper {
        speech: &speech,
        ends: &checkpoint.ends,
        sampler: checkpoint.sampler.as_ref(),
        lora: lora.as_ref().map(|lora| (lora, source.as_str())),
    };
    let checkpoints = Checkpoints::new(args.out.join("checkpoints"), args.run.save.keep);
    let (folder, rows) = match resumes {
        true => resume(&args.out, &settings, &checkpoints, |path| learner.restore(path, &name))?,
        false => RunFolder::resume(&args.out, 0)?,
    };
    let mut log = log(args, &settings, learner.policy.state.step, (folder, &rows))?;
    let interval = args.run.save.save_interval;
    let place = Place { folder: &args.out, keeper: &keeper, checkpoints, interval, data: &name };
    let outputs = Outputs::of_run(place, &args.run.save)?;
    let exam = exam(args, &asked.validation, &speech);
    tell_start(&learner, &config, (asked.train.len(), asked.left_out));
    let mut prompts = Prompts::new(asked.train, config.seed)?;
    let (scorer, mix) = (&mut *scorer, asked.mix);
    let mut around = Surroundings { reference: &reference, speech: &speech, scorer, mix };
    train(&mut learner, &mut around, &mut prompts, (&config, &exam), &outputs, &mut log)?;
    log.finish()?; // the progress line ends before we speak
    if learner.policy.ended(config.schedule.total) {
        finish(args, &learner, &keeper, &device)?;
    }
    report(args, &learner, config.schedule.total)
}

/// Refuses to begin with what the run's own folder would take away.
fn check_spared(args: &TrainArgs) -> Result<()> {
    let (model, reference) = (args.model.as_deref(), args.reference.as_deref());
    let reward = Some(args.scorer.reward.as_str());
    for (flag, named) in [("--model", model), ("--reference", reference), ("--reward", reward)] {
        named.map_or(Ok(()), |named| RunFolder::spares(&args.out, flag, named))?;
    }
    Ok(())
}

/// A new run folder; where no model is named, a small one is taught, in the place of the one that all was tried on.
fn begin(
    args: &TrainArgs,
    settings: &Value,
    checkpoint: &mut Checkpoint,
    device: &Device,
) -> Result<()> {
    if args.model.is_some() {
        return RunFolder::create(&args.out, settings).map(drop);
    }
    let how = (args.base.config(), args.sft_steps);
    let taught = small_model_of_run(&args.out, settings, how, args.run.compute.seed, device)?;
    checkpoint.parameters = taught.parameters;
    Ok(())
}

/// What the run records: new rows after those that are there.
fn log(
    args: &TrainArgs,
    settings: &Value,
    step: usize,
    (folder, rows): (RunFolder, &[Value]),
) -> Result<RunLog> {
    let (figures, total) = (args.exam.figures, args.schedule.steps.get());
    let tracker = Tracker::create(figures.log, &args.out, settings, step)?;
    let log = RunLog::new(total, step, figures.log_interval.get())?;
    Ok(log.record(folder, tracker, rows))
}

/// The end of a run: there has to be a model to show for it.
fn finish(args: &TrainArgs, learner: &Learner, keeper: &Keeper<'_>, device: &Device) -> Result<()> {
    let State { best, passed, .. } = learner.policy.state;
    ensure!(
        passed || learner.state.updates > 0,
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
