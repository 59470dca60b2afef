//! `part_7 train`: a model and preferences in, a run folder out; or a run folder in, and the rest of its run.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use candle_core::{DType, Device};
use modern::config::Position;
use modern::{Checkpoint, ModelConfig, Purpose};
use scaling::settings::check_resumable;
use scaling::tracker::Tracker;
use scaling::{Checkpoints, fingerprint};
use serde_json::Value;
use sft::resume::resume;
use sft::tuned::model_in;
use sft::{Keeper, Outputs, Place, RunLog, Tuning};
use tiny_gpt::RunFolder;

use super::arguments::TrainArgs;
use super::report::{report, tell_data};
use crate::pairs::Tokenized;
use crate::source::Examples;
use crate::{
    Architecture, Exam, RewardCheckpoint, TrainConfig, model_folder, start, tokenize, train,
};

/// What may change when a run is resumed beside where things are: how much is looked at.
const FREE: [&str; 1] = ["eval_pairs"];

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    let config = train_config(args)?;
    let device = args.run.compute.open()?;
    let settings = serde_json::to_value(args)?;
    let (source, columns) = args.data.open()?;
    let Examples { train: preferences, validation, dropped } =
        source.examples(&columns, args.pairs.get(), args.validation, args.run.compute.seed)?;
    if args.run.settings.resume {
        check_resumable(&args.out, &settings, &FREE)?;
    } else if let Some(model) = &args.model {
        RunFolder::spares(&args.out, "--model", model)?;
    }
    let begin = beginning(args, &settings, &device)?;
    let body = with_context(begin.model.body().config(), args)?;
    let architecture = begin.model.architecture();
    let (speech, context) = (&begin.speech, body.context);
    let data = tokenize(&preferences, speech, context)?;
    let mut validation = tokenize(&validation, speech, context)?.pairs;
    validation.truncate(args.exam.eval_pairs.get());
    ensure!(!validation.is_empty(), "no pair is left to validate on within {context} tokens");
    let parameters = match args.lora.config() {
        Some(lora) => {
            start::with_adapters(&begin.parameters, (&body, architecture), &lora, config.seed)?
        }
        None => begin.parameters,
    };
    let mut tuning = Tuning::new(body, parameters, config.optimizer)?;
    if args.model.is_some() && !args.run.settings.resume {
        RunFolder::create(&args.out, &settings)?; // not before all that can be wrong is known to be right
    }
    tell_data(&data, &dropped, context)?;
    let name = data_name(&data);
    let keeper = Keeper { speech, ends: &begin.ends, sampler: None, lora: None };
    let checkpoints = Checkpoints::new(args.out.join("checkpoints"), args.run.save.keep);
    let (folder, rows) = match args.run.settings.resume {
        true => resume(&args.out, &settings, &checkpoints, |path| tuning.restore(path, &name))?,
        false => RunFolder::resume(&args.out, 0)?,
    };
    let tracker = Tracker::create(args.exam.figures.log, &args.out, &settings, tuning.state.step)?;
    let schedule = config.schedule;
    let interval = args.exam.figures.log_interval.get();
    let log = RunLog::new(schedule.total, schedule.warmup, tuning.state.step, interval)?;
    let mut log = log.record(folder, tracker, &rows);
    let interval = args.run.save.save_interval;
    let place = Place { folder: &args.out, keeper: &keeper, checkpoints, interval, data: &name };
    let outputs = Outputs::of_run(place, &args.run.save)?;
    let (batch_size, interval) = (2 * config.batch_size, args.exam.eval_interval);
    let exam = Exam { pairs: &validation, batch_size, interval, stop_at: args.stop_at };
    println!("{}", tuning.size());
    train((&mut tuning, architecture), &data.pairs, &config, &exam, &outputs, &mut log)?;
    let tokens_per_second = log.tokens_per_second();
    log.finish()?; // the progress line ends before we speak
    report(args, &tuning, &config, tokens_per_second)
}

fn train_config(args: &TrainArgs) -> Result<TrainConfig> {
    let step = &args.step;
    step.check_plain()?;
    Ok(TrainConfig {
        batch_size: step.batch_size.get(),
        accumulate: step.accumulate.get(),
        loss: args.loss.config(),
        schedule: args.schedule.schedule()?,
        optimizer: step.optimizer.config(),
        grad_clip: step.optimizer.grad_clip().unwrap_or(f64::MAX),
        seed: args.run.compute.seed,
    })
}

/// The reward model to begin with: the one that is named, or a language model with a fresh head: the one that is named, the one that
/// the run to be resumed began with, or a new one, which the run keeps in `base/`.
fn beginning(args: &TrainArgs, settings: &Value, device: &Device) -> Result<RewardCheckpoint> {
    let (purpose, seed) = (Purpose::Training(DType::F32), args.run.compute.seed);
    let own = args.out.join("base");
    let checkpoint = match &args.model {
        Some(model) => {
            let source = model_in(model);
            if model_folder::is_one(Path::new(&source)) {
                return reopened(args, model, device);
            }
            Checkpoint::open(&source, purpose, device)?
        }
        None if args.run.settings.resume => {
            Checkpoint::open(&own.to_string_lossy(), purpose, device)?
        }
        None => {
            let how = (args.base.config(), args.sft_steps);
            start::small_model_of_run(&args.out, settings, how, seed, device)?
        }
    };
    RewardCheckpoint::begin(checkpoint, args.architecture, args.template, seed)
}

/// A reward model, to be trained further.
fn reopened(args: &TrainArgs, model: &str, device: &Device) -> Result<RewardCheckpoint> {
    let checkpoint = RewardCheckpoint::open(model, Purpose::Training(DType::F32), device)?;
    let its = checkpoint.model.architecture();
    let other = args.architecture != Architecture::default() && args.architecture != its;
    if other || args.template.is_some() {
        bail!("{model} is a reward model already: its architecture and template stay as they are");
    }
    Ok(checkpoint)
}

/// The model's sizes, with the context that is asked for.
fn with_context(config: &ModelConfig, args: &TrainArgs) -> Result<ModelConfig> {
    let Some(context) = args.block_size.map(|size| size.get()) else { return Ok(*config) };
    let learned = config.attention.position == Position::Learned;
    ensure!(
        context <= config.context && !learned,
        "--block-size {context}: the model reads up to {} tokens{}",
        config.context,
        if learned {
            ", at positions that it has learned, so that this cannot be changed"
        } else {
            ""
        }
    );
    Ok(ModelConfig { context, ..*config })
}

/// A name that follows from what is learned, so that a checkpoint is not continued with something else.
fn data_name(data: &Tokenized) -> String {
    let texts = data.pairs.iter().flat_map(|pair| [&pair.chosen, &pair.rejected]);
    fingerprint::of_texts(texts)
}
