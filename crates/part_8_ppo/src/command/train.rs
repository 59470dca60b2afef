//! `part_8 train`: a policy, questions and a scorer in, a run folder out; or a run folder in, and the rest of its run.

use anyhow::{Context, Result, ensure};
use candle_core::DType;
use scaling::settings::check_unchanged;
use scaling::tracker::Tracker;
use scaling::{Checkpoints, Schedule, fingerprint};
use serde_json::Value;
use sft::source::Examples;
use sft::{Keeper, Outputs, Place, Speech, tokenize};
use tiny_gpt::command::usage;
use tiny_gpt::{Interrupt, RunFolder, json_file};

use super::arguments::TrainArgs;
use super::report::{report, tell_start};
use super::start;
use crate::reference::reference;
use crate::{
    Exam, Learner, PpoConfig, PretrainingMix, Prompts, Question, RunLog, Surroundings,
    UpdateConfig, prompts, train,
};

/// What may change when a run is resumed: where things are and what is shown, not what is computed. (The questions are compared by
/// what they hold.)
const FREE: [&str; 15] = [
    "data",
    "out",
    "device",
    "threads",
    "json",
    "save_interval",
    "keep",
    "stop_after",
    "eval_interval",
    "eval_examples",
    "log_interval",
    "log",
    "merge",
    "model",
    "reference",
];

/// Texts that a reward model reads at a time.
const SCORED_AT_A_TIME: usize = 32;

/// The longest response, where nothing is said.
pub(super) fn usual_length(data: &str) -> usize {
    if data == "arithmetic" { 8 } else { 64 }
}

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    check(args)?;
    let device = args.compute.open()?;
    let settings = serde_json::to_value(args)?;
    let examples = args.examples.examples(&args.data, args.compute.seed)?;
    if args.settings.resume {
        let old = RunFolder::settings(&args.out)?;
        check_unchanged(&old.context("there is no run to resume")?, &settings, &FREE)?;
    }
    let (mut checkpoint, source) = start::checkpoint(args, &settings, &device)?;
    let speech = Speech::of(&mut checkpoint, args.template)?;
    let config = config(args, &speech, args.schedule.schedule()?);
    let asked = asked(args, examples, &speech, checkpoint.model.config().context)?;
    let mut scorer = args.scorer.open(&args.data.data, &speech, SCORED_AT_A_TIME, &device)?;

    let lora = args.lora.config();
    let policy = start::policy(checkpoint.parameters, &checkpoint.model, lora.as_ref(), args)?;
    let named = args.reference.as_deref().or(lora.is_none().then_some(source.as_str()));
    let reference = reference(named, &policy, &speech, &device)?;
    let mut learner =
        Learner::new(policy, args.objective.critic, args.step.optimizer.config(), config.kl_price)?;
    if args.model.is_some() && !args.settings.resume {
        RunFolder::create(&args.out, &settings)?; // not before all that can be wrong is known to be right
    }
    let name = data_name(&asked.train);
    let keeper = Keeper {
        speech: &speech,
        ends: &checkpoint.ends,
        sampler: checkpoint.sampler.as_ref(),
        lora: lora.as_ref().map(|lora| (lora, source.as_str())),
    };
    let checkpoints = Checkpoints::new(args.out.join("checkpoints"), args.save.keep);
    let (folder, rows) = match args.settings.resume {
        true => resume(args, &settings, &mut learner, &checkpoints, &name)?,
        false => (RunFolder::resume(&args.out, 0)?.0, Vec::new()),
    };
    let step = learner.policy.state.step;
    let tracker = Tracker::create(args.exam.log, &args.out, &settings, step)?;
    let log = RunLog::new(config.schedule.total, step, args.exam.log_interval.get())?;
    let mut log = log.record(folder, tracker, &rows);
    let interrupt = Interrupt::catch()?;
    let interval = args.save.save_interval;
    let place = Place { folder: &args.out, keeper: &keeper, checkpoints, interval, data: &name };
    let stop_after = args.save.stop_after.map(|n| n.get());
    let outputs = Outputs { place: Some(place), interrupt, stop_after };
    let exam = exam(args, &asked.validation, &speech);
    tell_start(&learner, &config, (asked.train.len(), asked.left_out));
    let mut prompts = Prompts::new(asked.train, config.seed)?;
    let (scorer, mix) = (&mut *scorer, asked.mix);
    let mut around = Surroundings { reference: &reference, speech: &speech, scorer, mix };
    train(&mut learner, &mut around, &mut prompts, (&config, &exam), &outputs, &mut log)?;
    log.finish()?; // the progress line ends before we speak
    if args.lora.merge && learner.policy.ended(config.schedule.total) {
        keeper.save_merged(&args.out, &device)?;
    }
    report(args, &learner, config.schedule.total)
}

/// What a run asks, and what it mixes in.
struct Asked {
    train: Vec<Question>,
    validation: Vec<Question>,
    mix: Option<PretrainingMix>,
    left_out: usize,
}

fn asked(args: &TrainArgs, examples: Examples, speech: &Speech, context: usize) -> Result<Asked> {
    let room = args.rollout.longest(usual_length(&args.data.data));
    let (coefficient, seed) = (args.objective.mix_coef, args.compute.seed);
    let mix = match coefficient > 0. {
        true => {
            let mixed = tokenize(&examples.train, speech, context)?.examples;
            ensure!(!mixed.is_empty(), "no example to mix in fits into {context} tokens");
            Some(PretrainingMix::new(mixed, coefficient, args.step.batch_size.get(), seed))
        }
        false => None,
    };
    let (train, left_out) = prompts::questions(examples.train, speech, context, room)?;
    let (mut validation, _) = prompts::questions(examples.validation, speech, context, room)?;
    validation.truncate(args.exam.eval_examples.get());
    Ok(Asked { train, validation, mix, left_out })
}

fn exam<'a>(args: &TrainArgs, questions: &'a [Question], speech: &'a Speech) -> Exam<'a> {
    Exam {
        questions,
        speech,
        max_new_tokens: args.rollout.longest(usual_length(&args.data.data)),
        stop: speech.ends(),
        batch_size: 100,
        interval: args.exam.eval_interval,
        stop_at: args.stop_at,
    }
}

/// # Errors
/// When the arguments alone are wrong.
fn check(args: &TrainArgs) -> Result<()> {
    args.rollout.check()?;
    args.schedule.schedule()?;
    usage((|| {
        ensure!(args.step.dtype.dtype() == DType::F32, "--dtype: this part trains in f32");
        ensure!(!args.step.recompute, "--recompute: this part keeps what the gradient needs");
        let (prompts, mini) = (args.step.batch_size.get(), args.objective.mini_batches.get());
        ensure!(prompts >= mini, "{prompts} prompts are too few for {mini} mini-batches");
        Ok(())
    })())
}

fn config(args: &TrainArgs, speech: &Speech, schedule: Schedule) -> PpoConfig {
    let objective = &args.objective;
    PpoConfig {
        prompts: args.step.batch_size.get(),
        rollout: args.rollout.config(speech, usual_length(&args.data.data)),
        rewards: args.rewards.config(),
        kl_price: args.rewards.price(),
        update: UpdateConfig {
            epochs: objective.epochs.get(),
            mini_batches: objective.mini_batches.get(),
            accumulate: args.step.accumulate.get(),
            clip: objective.clip(),
            value_clip: objective.value_clip(),
            weights: objective.weights(),
            target_kl: objective.max_kl,
            grad_clip: args.step.optimizer.grad_clip().unwrap_or(f64::MAX),
        },
        schedule,
        critic_rate: objective.critic_rate,
        seed: args.compute.seed,
    }
}

/// Brings `learner` to where the run in `--out` was; the run's folder, and its figures.
fn resume(
    args: &TrainArgs,
    settings: &Value,
    learner: &mut Learner,
    checkpoints: &Checkpoints,
    data: &str,
) -> Result<(RunFolder, Vec<Value>)> {
    let out = args.out.display();
    let (step, path) = checkpoints.newest()?.with_context(|| {
        format!("{out} has no checkpoint yet: leave --resume out to begin anew")
    })?;
    learner.restore(&path, data)?;
    let begun = RunFolder::resume(&args.out, step)?;
    json_file::write(&args.out.join("config.json"), settings)?;
    println!("resuming after step {step}");
    Ok(begun)
}

/// A name that follows from what is asked, so that a checkpoint is not continued with something else.
fn data_name(questions: &[Question]) -> String {
    let ids = questions
        .iter()
        .flat_map(|one| [one.prompt.len() as u32].into_iter().chain(one.prompt.iter().copied()));
    let bytes: Vec<u8> = ids.flat_map(u32::to_le_bytes).collect();
    fingerprint::of_bytes(&bytes)
}
