//! `part_6 train`: a model and examples in, a run folder out; or a run folder in, and the rest of its run.

use anyhow::{Context, Result, ensure};
use candle_core::DType;
use modern::GptModern;
use scaling::settings::check_unchanged;
use scaling::tracker::Tracker;
use scaling::{Checkpoints, fingerprint};
use tiny_gpt::command::usage;
use tiny_gpt::{Interrupt, RunFolder};

use super::arguments::TrainArgs;
use super::report::{report, tell_data, tell_model};
use super::start::{base_model, outlives, pretrained};
use crate::evaluation::Extent;
use crate::flags::LoraFlags;
use crate::resume::{newest, resume};
use crate::source::Examples;
use crate::tokens::Tokenized;
use crate::{
    Exam, Keeper, LoraConfig, Outputs, Place, Rows, RunLog, Speech, TrainConfig, Tuning, lora,
    tokenize, train,
};

/// What may change when a run is resumed: where things are and what is shown, not what is computed. (The data are compared by
/// what they hold.)
const FREE: [&str; 14] = [
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
];

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    let config = train_config(args)?;
    let device = args.compute.open()?;
    let settings = serde_json::to_value(args)?;
    let examples = args.examples.examples(&args.data, args.compute.seed)?;
    let checkpoints = Checkpoints::new(args.out.join("checkpoints"), args.save.keep);
    let base = match &args.model {
        Some(model) => model.clone(),
        None => args.out.join("base").to_string_lossy().into_owned(),
    };
    if args.settings.resume {
        let old = RunFolder::settings(&args.out)?;
        check_unchanged(&old.context("there is no run to resume")?, &settings, &FREE)?;
        newest(&args.out, &checkpoints)?;
    } else {
        outlives(&base, args)?;
    }
    let mut checkpoint = base_model(args, &base, &device)?;
    let speech = Speech::of(&mut checkpoint, args.template)?;
    let context = checkpoint.model.config().context;
    let data = tokenize(&examples.train, &speech, context)?;
    let lora = args.lora.config();
    if let Some(lora) = &lora {
        lora.layers_of(&checkpoint.parameters)?;
    }
    tell_data(&data, &speech, context)?;
    if !args.settings.resume {
        RunFolder::create(&args.out, &settings)?; // not before all that can be wrong is known to be right
    }
    if args.model.is_none() && !args.settings.resume {
        checkpoint = pretrained(args, &base, &device)?;
    }
    let mut tuning = tuning(checkpoint.parameters, &checkpoint.model, lora.as_ref(), &config)?;
    let name = data_name(&data);
    let keeper = Keeper {
        speech: &speech,
        ends: &checkpoint.ends,
        sampler: checkpoint.sampler.as_ref(),
        lora: lora.as_ref().map(|lora| (lora, base.as_str())),
    };
    let (folder, rows) = match args.settings.resume {
        true => resume(&args.out, &settings, &mut tuning, &checkpoints, &name)?,
        false => (RunFolder::resume(&args.out, 0)?.0, Vec::new()),
    };
    let tracker = Tracker::create(args.exam.log, &args.out, &settings, tuning.state.step)?;
    let schedule = config.schedule;
    let interval = args.exam.log_interval.get();
    let log = RunLog::new(schedule.total, schedule.warmup, tuning.state.step, interval)?;
    let mut log = log.record(folder, tracker, &rows);
    let outputs = outputs(args, &keeper, checkpoints, &name)?;
    let exam = exam(args, &examples, &speech);
    tell_model(&tuning);
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
    usage((|| {
        ensure!(step.dtype.dtype() == DType::F32, "--dtype: this part trains in f32");
        ensure!(!step.recompute, "--recompute: this part keeps what the gradient needs");
        let LoraFlags { lora_rank, lora_dropout, lora_layers, .. } = &args.lora;
        ensure!(
            lora_rank.is_some() || (*lora_dropout == 0. && lora_layers == "all"),
            "--lora-dropout and --lora-layers are for adapters: give a --lora-rank"
        );
        Ok(())
    })())?;
    Ok(TrainConfig {
        batch_size: step.batch_size.get(),
        accumulate: step.accumulate.get(),
        curriculum: args.curriculum,
        rows: args.pack.map_or(Rows::Padded, |width| Rows::Packed(width.get())),
        schedule: args.schedule.schedule()?,
        optimizer: step.optimizer.config(),
        grad_clip: step.optimizer.grad_clip().unwrap_or(f64::MAX),
        seed: args.compute.seed,
    })
}

fn tuning(
    mut parameters: tensor_core::Parameters,
    model: &GptModern,
    lora: Option<&LoraConfig>,
    config: &TrainConfig,
) -> Result<Tuning> {
    if let Some(lora) = lora {
        lora::attach(&mut parameters, lora, config.seed)?;
    }
    Tuning::new(*model.config(), parameters, config.optimizer)
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

fn exam<'a>(args: &TrainArgs, examples: &'a Examples, speech: &'a Speech) -> Exam<'a> {
    let arithmetic = args.data.data == "arithmetic";
    let max_new_tokens = args.exam.max_new_tokens.unwrap_or(if arithmetic { 8 } else { 64 });
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
    let bytes: Vec<u8> = numbers.flat_map(u32::to_le_bytes).collect();
    fingerprint::of_bytes(&bytes)
}
