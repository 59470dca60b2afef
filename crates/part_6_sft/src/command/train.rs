//! `part_6 train`: a model and examples in, a run folder out; or a run folder in, and the rest of its run.

use std::path::Path;

use anyhow::Result;
use scaling::fingerprint;

use super::arguments::TrainArgs;
use super::report::{report, tell_data};
use super::start::{base_model, pretrained};
use crate::evaluation::Extent;
use crate::source::Examples;
use crate::tokens::Tokenized;
use crate::{Exam, Keeper, Rows, RunLog, RunStart, Speech, TrainConfig, Tuning, tokenize, train};

/// What may change when a run is resumed beside where things are: how much is looked at.
const FREE: [&str; 1] = ["eval_examples"];

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    let config = train_config(args)?;
    let device = args.run.compute.open()?;
    let begins_with = [("--model", args.model.as_deref())];
    let start = RunStart::new(args, (&args.out, &args.run), &FREE, &begins_with)?;
    let examples = args.examples.examples(&args.data, args.demos, args.run.compute.seed)?;
    let base = match &args.model {
        Some(model) => model.clone(),
        None => args.out.join("base").to_string_lossy().into_owned(),
    };
    let mut checkpoint = base_model(args, &base, &device)?;
    let speech = Speech::of(&mut checkpoint, args.template)?;
    let context = checkpoint.model.config().context;
    let data = tokenize(&examples.train, &speech, context)?;
    let lora = args.lora.config();
    lora.as_ref().map(|lora| lora.layers_of(&checkpoint.parameters)).transpose()?;
    tell_data(&data, &speech, context)?;
    start.create()?;
    if args.model.is_none() && !start.resumes {
        checkpoint = pretrained(args, &base, &device)?;
    }
    let (model, parameters) = (*checkpoint.model.config(), checkpoint.parameters);
    let mut tuning =
        Tuning::begin(model, parameters, lora.as_ref(), config.optimizer, config.seed)?;
    let name = data_name(&data);
    let keeper = Keeper {
        speech: &speech,
        ends: &checkpoint.ends,
        sampler: checkpoint.sampler.as_ref(),
        lora: lora.as_ref().map(|lora| (lora, base.as_str())),
    };
    let restore = |path: &Path| tuning.restore(path, &name);
    let (folder, tracker, rows) = start.open(args.exam.figures.log, restore)?;
    let schedule = config.schedule;
    let interval = args.exam.figures.log_interval.get();
    let log = RunLog::new(schedule.total, schedule.warmup, tuning.state.step, interval)?;
    let mut log = log.record(folder, tracker, &rows);
    let outputs = start.outputs(&keeper, &name)?;
    let exam = exam(args, &examples, &speech);
    println!("{}", tuning.size());
    train(&mut tuning, &data.examples, &config, Some(&exam), &outputs, &mut log)?;
    let tokens_per_second = log.tokens_per_second();
    log.finish()?; // the progress line ends before we speak
    if args.lora.merge && tuning.ended(schedule.total) {
        keeper.save_merged(&args.out, &device)?;
    }
    report(args, &tuning, &config, tokens_per_second)
}

fn train_config(args: &TrainArgs) -> Result<TrainConfig> {
    let step = &args.step;
    step.check_plain()?;
    args.lora.check()?;
    Ok(TrainConfig {
        batch_size: step.batch_size.get(),
        accumulate: step.accumulate.get(),
        curriculum: args.curriculum,
        rows: args.pack.map_or(Rows::Padded, |width| Rows::Packed(width.get())),
        schedule: args.schedule.schedule()?,
        optimizer: step.optimizer.config(),
        grad_clip: step.optimizer.grad_clip().unwrap_or(f64::MAX),
        seed: args.run.compute.seed,
    })
}

fn exam<'a>(args: &TrainArgs, examples: &'a Examples, speech: &'a Speech) -> Exam<'a> {
    let max_new_tokens = args.exam.max_new_tokens.unwrap_or(args.data.usual_length());
    let batch_size = args.step.batch_size.get();
    let n = examples.validation.len().min(args.exam.eval_examples.get());
    Exam {
        examples: &examples.validation[..n],
        speech,
        extent: Extent { batch_size, max_new_tokens },
        interval: args.exam.eval_interval,
        stop_at: args.stop_at,
    }
}

/// A name that follows from what is learned, so that a checkpoint is not continued with something else.
fn data_name(data: &Tokenized) -> String {
    let numbers = data
        .examples
        .iter()
        .flat_map(|example| [example.given as u32].into_iter().chain(example.ids.iter().copied()));
    fingerprint::of_numbers(numbers)
}
