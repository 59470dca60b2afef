//! `part_9 train`: a model and problems in, a run folder out; or a run folder in, and the rest of its run.

use anyhow::{Context, Result, ensure};
use candle_core::DType;
use grpo::evaluation::Exam;
use grpo::reference::Reference;
use grpo::training::Looks;
use grpo::{GrpoConfig, Problems, RunLog, StepConfig, Surroundings, train};
use modern::{Checkpoint, Purpose};
use ppo::prompts::questions;
use scaling::settings::check_unchanged;
use scaling::tracker::Tracker;
use scaling::{Checkpoints, fingerprint};
use serde_json::{Value, json};
use sft::{Example, Keeper, Outputs, Place, Speech, Tuning, lora, resume::resume, tuned::model_in};
use tiny_gpt::command::usage;
use tiny_gpt::{Interrupt, RunFolder};

use crate::arguments::TrainArgs;

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

pub(crate) fn run(args: &TrainArgs) -> Result<()> {
    args.task.check()?;
    let budget = args.task.budget();
    let schedule = args.schedule.schedule()?;
    args.draw.rollout(budget, Vec::new())?; // a group of one is refused before anything is opened
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
    usage((|| {
        ensure!(
            budget < context,
            "--max-new-tokens {budget} leaves no room for a prompt in the model's context of {context} tokens"
        );
        Ok(())
    })())?;
    let Problems { train: learned, mut validation } = problems;
    validation.truncate(args.looks.eval_problems.get());
    let (learned, left_out) = questions(learned, &speech, context, budget)?;
    let (validation, _) = questions(validation, &speech, context, budget)?;
    println!(
        "{} problems to learn from, {} to look at; {left_out} were left out, as they are too long",
        learned.len(),
        validation.len()
    );
    let config = GrpoConfig {
        prompts: args.step.batch_size.get(),
        rollout: args.draw.rollout(budget, stop.clone())?,
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
    };
    let lora = args.lora.config();
    let mut parameters = checkpoint.parameters;
    if let Some(lora) = &lora {
        lora::attach(&mut parameters, lora, config.seed)?;
    }
    let mut tuning = Tuning::new(*checkpoint.model.config(), parameters, config.steps.optimizer)?;
    let mut reference = config.reference.map(|kind| Reference::new(&tuning, kind)).transpose()?;
    let keeper = Keeper {
        speech: &speech,
        ends: &checkpoint.ends,
        sampler: checkpoint.sampler.as_ref(),
        lora: lora.as_ref().map(|lora| (lora, base.as_str())),
    };
    let checkpoints = Checkpoints::new(args.out.join("checkpoints"), args.save.keep);
    let (folder, rows) = match args.settings.resume {
        true => {
            let begun = resume(&args.out, &settings, &mut tuning, &checkpoints, &name)?;
            if let (Some(reference), Some((_, path))) = (&mut reference, checkpoints.newest()?) {
                reference.restore(&path)?;
            }
            begun
        }
        false => {
            RunFolder::create(&args.out, &settings)?; // not before all that can be wrong is known to be right
            (RunFolder::resume(&args.out, 0)?.0, Vec::new())
        }
    };
    let tracker = Tracker::create(args.looks.log, &args.out, &settings, tuning.state.step)?;
    let log = RunLog::new(schedule.total, tuning.state.step, args.looks.log_interval.get())?;
    let mut log = log.record(folder, tracker, &rows);
    let interrupt = Interrupt::default();
    interrupt.catch()?;
    let place = Place {
        folder: &args.out,
        keeper: &keeper,
        checkpoints,
        interval: args.save.save_interval,
        data: &name,
    };
    let outputs = Outputs {
        place: Some(place),
        interrupt,
        stop_after: args.save.stop_after.map(|n| n.get()),
    };
    let exam = Exam {
        task: args.task.task,
        speech: &speech,
        stop: &stop,
        max_new_tokens: budget,
        batch_size: 64,
    };
    let looks = Looks { exam, questions: &validation, interval: args.looks.eval_every };
    let (trained, all) = tuning.counts();
    println!("{all} parameters, of which {trained} are trained; paid for: {}", args.task.named());
    let mut around = Surroundings { reference, scorer: &mut *scorer };
    train(&mut tuning, learned, &config, &looks, &mut around, &outputs, &mut log)?;
    let (tokens, times) = (log.tokens, log.times);
    log.finish()?;
    if args.lora.merge {
        keeper.save_merged(&args.out, &tuning)?;
    }
    report(args, &tuning, schedule.total, tokens, times)
}

/// What came of it.
fn report(
    args: &TrainArgs,
    tuning: &Tuning,
    total: usize,
    tokens: usize,
    times: grpo::run_log::Times,
) -> Result<()> {
    let (step, out) = (tuning.state.step, args.out.display());
    let seconds = times.total().as_secs_f64();
    let share = |part: std::time::Duration| part.as_secs_f64() / seconds.max(1e-9);
    let [generation, scoring, training] =
        [times.generation, times.scoring, times.training].map(share);
    println!(
        "{seconds:.0} s: {:.0} % of it writing, {:.0} % scoring, {:.0} % training",
        100. * generation,
        100. * scoring,
        100. * training
    );
    let saved = if args.lora.lora_rank.is_some() { "adapter" } else { "model" };
    match step == total {
        true => println!("the best {saved} is in {}", args.out.join(saved).display()),
        false => println!(
            "stopped and saved after step {step} of {total}; continue with: part_9 train --resume --out {out}"
        ),
    }
    if args.json {
        let best = tuning.state.best.map(|badness| -badness);
        println!(
            "{}",
            json!({
                "step": step, "reward": best, "tokens": tokens, "seconds": seconds, "saved": args.out.join(saved),
                "share_generation": generation, "share_scoring": scoring, "share_training": training,
            })
        );
    }
    Ok(())
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
