//! `part_9 train`: a model and problems in, a run folder out; or a run folder in, and the rest of its run.

use anyhow::{Result, ensure};
use candle_core::DType;
use modern::{Checkpoint, Purpose};
use ppo::prompts::questions;
use ppo::{Asking, Question};
use scaling::settings::check_resumable;
use scaling::tracker::Tracker;
use scaling::{Checkpoints, Schedule, fingerprint};
use serde_json::{Value, json};
use sft::resume::resume;
use sft::tuned::model_in;
use sft::{Example, Keeper, Outputs, Place, Speech, Tuning};
use tiny_gpt::RunFolder;
use tiny_gpt::command::usage;

use super::arguments::TrainArgs;
use super::report::report;
use crate::evaluation::Exam;
use crate::reference::Reference;
use crate::training::Looks;
use crate::{GrpoConfig, Problems, RunLog, StepConfig, Surroundings, train};

/// What may change when a run is resumed beside where things are: how much is looked at.
const FREE: [&str; 2] = ["eval_every", "eval_problems"];

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    args.task.check()?;
    let schedule = args.schedule.schedule()?;
    args.draw.rollout(args.task.budget(), Vec::new())?; // a group of one is refused before anything is opened
    let device = args.run.compute.open()?;
    let settings = serde_json::to_value(args)?;
    if args.run.settings.resume {
        check_resumable(&args.out, &settings, &FREE)?;
    } else {
        RunFolder::spares(&args.out, "--model", &args.model)?;
        RunFolder::spares(&args.out, "--reward", args.task.named())?;
    }
    let problems = args.task.task.problems(args.task.data.as_deref())?;
    let name = fingerprint_of(&problems);
    let base = model_in(&args.model);
    let mut checkpoint = Checkpoint::open(&base, Purpose::Training(DType::F32), &device)?;
    let speech = Speech::of(&mut checkpoint, args.template)?;
    let mut scorer = args.task.judge(&speech, &device)?;
    let context = checkpoint.model.config().context;
    let (learned, validation) = asked(args, problems, &speech, context)?;
    let config = grpo_config(args, schedule, speech.ends().to_vec())?;
    let lora = args.lora.config();
    let (model, parameters) = (*checkpoint.model.config(), checkpoint.parameters);
    let optimizer = config.steps.optimizer;
    let mut tuning = Tuning::begin(model, parameters, lora.as_ref(), optimizer, config.seed)?;
    let mut reference = config.reference.map(|kind| Reference::new(&tuning, kind)).transpose()?;
    println!("{}", tuning.size());
    let keeper = Keeper {
        speech: &speech,
        ends: &checkpoint.ends,
        sampler: checkpoint.sampler.as_ref(),
        lora: lora.as_ref().map(|lora| (lora, base.as_str())),
    };
    let checkpoints = Checkpoints::new(args.out.join("checkpoints"), args.run.save.keep);
    let (folder, rows) = match args.run.settings.resume {
        true => resume(&args.out, &settings, &checkpoints, |path| {
            tuning.restore(path, &name)?;
            reference.as_mut().map_or(Ok(()), |reference| reference.restore(path))
        })?,
        // Not before all that can be wrong is known to be right.
        false => (RunFolder::create(&args.out, &settings)?, Vec::new()),
    };
    let step = tuning.state.step;
    let tracker = Tracker::create(args.looks.figures.log, &args.out, &settings, step)?;
    let log = RunLog::new(schedule.total, step, args.looks.figures.log_interval.get())?;
    let mut log = log.record(folder, tracker, &rows);
    let interval = args.run.save.save_interval;
    let place = Place { folder: &args.out, keeper: &keeper, checkpoints, interval, data: &name };
    let outputs = Outputs::of_run(place, &args.run.save)?;
    let max_new_tokens = args.task.budget();
    let asking = Asking { speech: &speech, max_new_tokens, batch_size: 64 };
    let exam = Exam { task: args.task.task, asking };
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
        seed: args.run.compute.seed,
    })
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
