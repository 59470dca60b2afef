//! `part_8 train`: a policy, questions and a scorer in, a run folder out; or a run folder in, and the rest of its run.

use anyhow::{Result, ensure};
use scaling::settings::check_resumable;
use scaling::tracker::Tracker;
use scaling::{Checkpoints, Schedule, fingerprint};
use sft::resume::resume;
use sft::source::Examples;
use sft::{Keeper, Outputs, Place, Speech, Tuning, tokenize};
use tiny_gpt::RunFolder;
use tiny_gpt::command::usage;

use super::arguments::TrainArgs;
use super::report::{report, tell_start};
use super::start;
use crate::reference::reference;
use crate::{
    Asking, Exam, Learner, PpoConfig, PretrainingMix, Prompts, Question, RunLog, Surroundings,
    UpdateConfig, prompts, train,
};

/// What may change when a run is resumed beside where things are: how much is looked at, and where the reference is.
const FREE: [&str; 2] = ["eval_examples", "reference"];

/// Texts that a reward model reads at a time.
const SCORED_AT_A_TIME: usize = 32;

/// The longest response, where nothing is said.
pub(super) fn usual_length(data: &str) -> usize {
    if data == "arithmetic" { 8 } else { 64 }
}

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    check(args)?;
    let device = args.run.compute.open()?;
    let settings = serde_json::to_value(args)?;
    let examples = args.examples.examples(&args.data, args.run.compute.seed)?;
    if args.run.settings.resume {
        check_resumable(&args.out, &settings, &FREE)?;
    } else {
        let (model, reference) = (args.model.as_deref(), args.reference.as_deref());
        let reward = Some(args.scorer.reward.as_str());
        for (flag, named) in [("--model", model), ("--reference", reference), ("--reward", reward)]
        {
            named.map_or(Ok(()), |named| RunFolder::spares(&args.out, flag, named))?;
        }
    }
    let (mut checkpoint, source) = start::checkpoint(args, &settings, &device)?;
    let speech = Speech::of(&mut checkpoint, args.template)?;
    let config = config(args, &speech, args.schedule.schedule()?);
    let asked = asked(args, examples, &speech, checkpoint.model.config().context)?;
    let mut scorer = args.scorer.open(&args.data.data, &speech, SCORED_AT_A_TIME, &device)?;

    let lora = args.lora.config();
    let (model, optimizer) = (*checkpoint.model.config(), args.step.optimizer.config());
    let policy =
        Tuning::begin(model, checkpoint.parameters, lora.as_ref(), optimizer, config.seed)?;
    let named = args.reference.as_deref().or(lora.is_none().then_some(source.as_str()));
    let reference = reference(named, &policy, &speech, &device)?;
    let mut learner = Learner::new(policy, args.objective.critic, optimizer, config.kl_price)?;
    if args.model.is_some() && !args.run.settings.resume {
        RunFolder::create(&args.out, &settings)?; // not before all that can be wrong is known to be right
    }
    let name = fingerprint::of_texts(asked.train.iter().map(|one| &one.prompt)); // what it may go on with
    let keeper = Keeper {
        speech: &speech,
        ends: &checkpoint.ends,
        sampler: checkpoint.sampler.as_ref(),
        lora: lora.as_ref().map(|lora| (lora, source.as_str())),
    };
    let checkpoints = Checkpoints::new(args.out.join("checkpoints"), args.run.save.keep);
    let (folder, rows) = match args.run.settings.resume {
        true => resume(&args.out, &settings, &checkpoints, |path| learner.restore(path, &name))?,
        false => RunFolder::resume(&args.out, 0)?,
    };
    let step = learner.policy.state.step;
    let tracker = Tracker::create(args.exam.figures.log, &args.out, &settings, step)?;
    let log = RunLog::new(config.schedule.total, step, args.exam.figures.log_interval.get())?;
    let mut log = log.record(folder, tracker, &rows);
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
    let (coefficient, seed) = (args.objective.mix_coef, args.run.compute.seed);
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
        asking: Asking {
            speech,
            max_new_tokens: args.rollout.longest(usual_length(&args.data.data)),
            batch_size: 100,
        },
        interval: args.exam.eval_interval,
        stop_at: args.stop_at,
    }
}

/// # Errors
/// When the arguments alone are wrong.
fn check(args: &TrainArgs) -> Result<()> {
    args.rollout.check()?;
    args.schedule.schedule()?;
    args.step.check_plain()?;
    usage((|| {
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
        seed: args.run.compute.seed,
    }
}
