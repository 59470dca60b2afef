//! `part_9 train`: a model and problems in, a run folder out; or a run folder in, and the rest of its run.

use anyhow::{Context, Result, ensure};
use candle_core::DType;
use modern::{Checkpoint, ModelConfig, Purpose};
use ppo::Question;
use ppo::prompts::questions;
use scaling::settings::check_unchanged;
use scaling::tracker::Tracker;
use scaling::{Checkpoints, Schedule, fingerprint};
use serde_json::{Value, json};
use sft::resume::resume;
use sft::tuned::model_in;
use sft::{Example, Keeper, LoraConfig, Outputs, Place, Speech, Tuning, lora};
use tensor_core::Parameters;
use tiny_gpt::command::usage;
use tiny_gpt::{Interrupt, RunFolder};

use super::arguments::TrainArgs;
use super::report::report;
use crate::evaluation::Exam;
use crate::reference::Reference;
use crate::training::Looks;
use crate::{GrpoConfig, Problems, RunLog, StepConfig, Surroundings, train};

/// What may change when a run is resumed: where things are and what is shown, not what is computed. (The problems are compared by
/// what they say.)
const FREE: [&str; 14] = [
    "data",
    "out",
    "device",
    "threads",
    "json",
    "save_interval",
    "keep",
    "stop_after",
    "eval_every",
    "eval_problems",
    "log_interval",
    "log",
    "merge",
    "model",
];

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    args.task.check()?;
    let schedule = args.schedule.schedule()?;
    args.draw.rollout(args.task.budget(), Vec::new())?; // a group of one is refused before anything is opened
    let device = args.compute.open()?;
    let settings = serde_json::to_value(args)?;
    if args.settings.resume {
        let old = RunFolder::settings(&args.out)?;
        check_unchanged(&old.context("there is no run to resume")?, &settings, &FREE)?;
    }
    let problems = args.task.task.problems(args.task.data.as_deref())?;
    let name = fingerprint_of(&problems);
    let base = model_in(&args.model);
    let mut checkpoint = Checkpoint::open(&base, Purpose::Training(DType::F32), &device)?;
    let speech = Speech::of(&mut checkpoint, args.template)?;
    let stop = speech.ends().to_vec();
    let mut scorer = args.task.judge(&speech, &device)?;
    let context = checkpoint.model.config().context;
    let (learned, validation) = asked(args, problems, &speech, context)?;
    let config = grpo_config(args, schedule, stop.clone())?;
    let lora = args.lora.config();
    let model = *checkpoint.model.config();
    let (mut tuning, mut reference) = policy(model, checkpoint.parameters, lora.as_ref(), &config)?;
    let keeper = Keeper {
        speech: &speech,
        ends: &checkpoint.ends,
        sampler: checkpoint.sampler.as_ref(),
        lora: lora.as_ref().map(|lora| (lora, base.as_str())),
    };
    let checkpoints = Checkpoints::new(args.out.join("checkpoints"), args.save.keep);
    let (folder, rows) = match args.settings.resume {
        false => begun(args, &settings)?,
        true => {
            let run = resume(&args.out, &settings, &mut tuning, &checkpoints, &name)?;
            if let (Some(reference), Some((_, path))) = (&mut reference, checkpoints.newest()?) {
                reference.restore(&path)?;
            }
            run
        }
    };
    let mut log = log_of(args, &settings, (schedule.total, tuning.state.step), (folder, &rows))?;
    let outputs = outputs(args, &keeper, checkpoints, &name)?;
    let exam = Exam {
        task: args.task.task,
        speech: &speech,
        stop: &stop,
        max_new_tokens: args.task.budget(),
        batch_size: 64,
    };
    let looks = Looks { exam, questions: &validation, interval: args.looks.eval_every };
    let mut around = Surroundings { reference, scorer: &mut *scorer, looks };
    train(&mut tuning, learned, &config, &mut around, &outputs, &mut log)?;
    let (tokens, times) = (log.tokens, log.times);
    log.finish()?;
    if args.lora.merge && tuning.ended(schedule.total) {
        keeper.save_merged(&args.out, &device)?;
    }
    report(args, &tuning, schedule.total, tokens, times)
}

/// What is learned from, and what is looked at.
fn asked(
    args: &TrainArgs,
    problems: Problems,
    speech: &Speech,
    context: usize,
) -> Result<(Vec<Question>, Vec<Question>)> {
    let budget = args.task.budget();
    usage((|| {
        ensure!(
            budget < context,
            "--max-new-tokens {budget} leaves no room for a prompt in the model's context of {context} tokens"
        );
        Ok(())
    })())?;
    let Problems { train, mut validation } = problems;
    validation.truncate(args.looks.eval_problems.get());
    let (train, left_out) = questions(train, speech, context, budget)?;
    let (validation, _) = questions(validation, speech, context, budget)?;
    println!(
        "{} problems to learn from, {} to look at; {left_out} were left out, as they are too long; paid for: {}",
        train.len(),
        validation.len(),
        args.task.named()
    );
    Ok((train, validation))
}

fn grpo_config(args: &TrainArgs, schedule: Schedule, stop: Vec<u32>) -> Result<GrpoConfig> {
    Ok(GrpoConfig {
        prompts: args.step.batch_size.get(),
        rollout: args.draw.rollout(args.task.budget(), stop)?,
        judgement: args.objective.judgement(),
        objective: args.objective.objective(),
        reference: args.objective.reference(),
        steps: StepConfig {
            updates: args.step.mu.get(),
            groups_each: args.step.micro_batch.get(),
            schedule,
            optimizer: args.step.optimizer.config(),
            grad_clip: args.step.optimizer.grad_clip().unwrap_or(f64::MAX),
            most_tokens: None,
        },
        seed: args.compute.seed,
    })
}

/// The policy, which begins as `parameters` are, and what it is kept near.
fn policy(
    model: ModelConfig,
    mut parameters: Parameters,
    lora: Option<&LoraConfig>,
    config: &GrpoConfig,
) -> Result<(Tuning, Option<Reference>)> {
    if let Some(lora) = lora {
        lora::attach(&mut parameters, lora, config.seed)?;
    }
    let tuning = Tuning::new(model, parameters, config.steps.optimizer)?;
    let reference = config.reference.map(|kind| Reference::new(&tuning, kind)).transpose()?;
    let (trained, all) = tuning.counts();
    println!("{all} parameters, of which {trained} are trained");
    Ok((tuning, reference))
}

/// Where results go; from now on, Ctrl-C ends the run saved.
fn outputs<'a>(
    args: &'a TrainArgs,
    keeper: &'a Keeper<'a>,
    checkpoints: Checkpoints,
    data: &'a str,
) -> Result<Outputs<'a>> {
    let interrupt = Interrupt::catch()?;
    let interval = args.save.save_interval;
    let place = Place { folder: &args.out, keeper, checkpoints, interval, data };
    let stop_after = args.save.stop_after.map(|n| n.get());
    Ok(Outputs { place: Some(place), interrupt, stop_after })
}

/// What shows and records the run, which is at a step of so many and has these rows.
fn log_of(
    args: &TrainArgs,
    settings: &Value,
    (total, step): (usize, usize),
    (folder, rows): (RunFolder, &[Value]),
) -> Result<RunLog> {
    let tracker = Tracker::create(args.looks.log, &args.out, settings, step)?;
    let log = RunLog::new(total, step, args.looks.log_interval.get())?;
    Ok(log.record(folder, tracker, rows))
}

/// A new run's folder; not before all that can be wrong is known to be right.
fn begun(args: &TrainArgs, settings: &Value) -> Result<(RunFolder, Vec<Value>)> {
    RunFolder::create(&args.out, settings)?;
    Ok((RunFolder::resume(&args.out, 0)?.0, Vec::new()))
}

/// A name that follows from what is learned, so that a checkpoint is not continued with something else.
fn fingerprint_of(problems: &Problems) -> String {
    let text = |Example { prompt, response }: &Example| {
        let said: Vec<Value> = prompt.iter().map(|message| json!(message.content)).collect();
        json!([said, response]).to_string()
    };
    let all: Vec<String> = problems.train.iter().chain(&problems.validation).map(text).collect();
    fingerprint::of_bytes(all.join("\n").as_bytes())
}
