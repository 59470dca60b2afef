//! `part_7 train`: a model and preferences in, a run folder out; or a run folder in, and the rest of its run.

use std::path::Path;

use anyhow::{Result, ensure};
use sft::{Keeper, RunLog, RunStart};
use tiny_gpt::command::usage;

use super::arguments::TrainArgs;
use super::report::{report, tell_data};
use super::start::{beginning, tuning, with_context, with_head};
use crate::pairs::fingerprint;
use crate::start::small_model_of_run;
use crate::{Exam, TrainConfig, tokenize, train};

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    let config = train_config(args)?;
    let device = args.run.compute.open()?;
    let begins_with = [("--model", args.model.as_deref())];
    let start = RunStart::new(args, (&args.out, &args.run), &[], &begins_with)?;
    let examples = args.split.examples(&args.data, config.seed)?;
    let mut begin = beginning(args, &device)?;
    let shape = (with_context(begin.model.body().config(), args)?, begin.model.architecture());
    let context = shape.0.context;
    let data = tokenize(&examples.train, &begin.speech, context)?;
    let mut validation = tokenize(&examples.validation, &begin.speech, context)?.pairs;
    validation.truncate(args.exam.eval_pairs.get());
    ensure!(!validation.is_empty(), "no pair is left to validate on within {context} tokens");
    let mut learner = tuning(args, begin.parameters, shape, &config)?;
    tell_data(&data, &examples, context)?;
    start.create()?;
    if args.model.is_none() && !start.resumes {
        let how = (args.base.config(), args.sft_steps);
        let base = small_model_of_run(&args.out, how, config.seed, &device)?;
        begin = with_head(args, base)?;
        learner = tuning(args, begin.parameters, shape, &config)?;
    }
    let name = fingerprint(data.pairs.iter().chain(&validation));
    let keeper = Keeper { speech: &begin.speech, ends: &begin.ends, sampler: None, lora: None };
    let figures = args.exam.figures;
    let restore = |path: &Path| learner.restore(path, &name);
    let (folder, tracker, rows) = start.open(figures.log, restore)?;
    let (step, schedule) = (learner.state.step, config.schedule);
    let log = RunLog::new(schedule.total, schedule.warmup, step, figures.log_interval.get())?;
    let mut log = log.record(folder, tracker, &rows);
    let outputs = start.outputs(&keeper, &name)?;
    let exam = Exam {
        pairs: &validation,
        batch_size: 2 * config.batch_size,
        interval: args.exam.eval_interval,
        stop_at: args.stop_at,
    };
    println!("{}", learner.size());
    train((&mut learner, shape.1), &data.pairs, &config, &exam, &outputs, &mut log)?;
    let tokens_per_second = log.tokens_per_second();
    log.finish()?; // the progress line ends before we speak
    report(args, &learner, &config, tokens_per_second)
}

fn train_config(args: &TrainArgs) -> Result<TrainConfig> {
    let step = &args.step;
    step.check_plain()?;
    args.lora.check()?;
    usage(match args.lora.merge {
        true => Err("--merge: here adapters are merged into what is saved in any case"),
        false => Ok(()),
    })?;
    Ok(TrainConfig {
        batch_size: step.batch_size.get(),
        accumulate: step.accumulate.get(),
        loss: args.loss.config()?,
        schedule: args.schedule.schedule()?,
        optimizer: step.optimizer.config(),
        grad_clip: step.optimizer.grad_clip().unwrap_or(f64::MAX),
        seed: args.run.compute.seed,
    })
}
