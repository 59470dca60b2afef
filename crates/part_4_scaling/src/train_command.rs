//! `part_4 train`: settings and text in, a run folder out; or a run folder in, and the rest of its run.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::Device;
use modern::{Activations, ModelConfig, Tokenizer};
use scaling::dataset::{Split, tokenize};
use scaling::evaluation::Extent;
use scaling::machine::{flops_per_token, gemm_peak};
use scaling::run_log::LogConfig;
use scaling::settings::check_unchanged;
use scaling::tokenizer_training::check;
use scaling::tracker::Tracker;
use scaling::training::Outputs;
use scaling::{Checkpoints, Corpus, Dataset, Run, RunLog, TrainConfig, train};
use serde_json::{Value, json};
use tensor_core::AdamWConfig;
use tiny_gpt::command::usage;
use tiny_gpt::{Interrupt, RunFolder, json_file, training_memory};

use crate::arguments::TrainArgs;
use crate::work;

/// What may change when a run is resumed: where things are and what is shown, not what is computed. (The data's place may; what
/// it holds is compared by checksum.)
const FREE: [&str; 18] = [
    "data",
    "out",
    "tokenizer",
    "device",
    "threads",
    "json",
    "save_interval",
    "keep",
    "stop_after",
    "log",
    "log_interval",
    "eval_interval",
    "eval_windows",
    "sample_interval",
    "sample_tokens",
    "temperature",
    "top_k",
    "top_p",
];

pub(crate) fn run(args: &TrainArgs) -> Result<()> {
    let mut model = model_config(args)?;
    let config = train_config(args)?;
    let device = args.compute.open()?;
    training_memory::check(model.parameter_count(), &device)?; // the vocabulary comes on top
    let settings = serde_json::to_value(args)?;
    let checkpoints = Checkpoints::new(args.out.join("checkpoints"), args.save.keep);
    let (mut run, data, folder, rows) = match args.settings.resume {
        true => resumed(args, &settings, &mut model, &config, &checkpoints, &device)?,
        false => begun(args, &settings, &mut model, &config, &device)?,
    };
    let tracker = Tracker::create(args.log.log, &args.out, &settings, run.state.step)?;
    let log = log_config(args, &run, &config, &device)?;
    tell(&run, &data, &log);
    let mut log = RunLog::new(log, folder, tracker, (run.state.step, &rows))?;
    let interrupt = Interrupt::default();
    interrupt.catch()?;
    let outputs = Outputs {
        folder: &args.out,
        checkpoints,
        intervals: args.log.intervals(&args.save),
        extent: Extent {
            batch_size: args.step.batch_size.get(),
            windows: Some(args.log.eval_windows.get()),
        },
        interrupt,
        stop_after: args.save.stop_after,
    };
    train(&mut run, &data, &config, args.compute.seed, &outputs, &mut log)?;
    let tokens_per_second = log.tokens_per_second();
    log.finish()?; // the progress line ends before we speak
    report(args, &run, &config, tokens_per_second)
}

/// The model that the flags describe; its vocabulary is not known yet.
fn model_config(args: &TrainArgs) -> Result<ModelConfig> {
    let gpt = args.size.config()?;
    let block = gpt.block;
    let mut model = ModelConfig::bytes(gpt.block_size, block.n_layer, block.n_head, block.n_embd);
    model.attention.n_kv_head = args.n_kv_head.map_or(block.n_head, |n| n.get());
    usage(model.check())?;
    Ok(model)
}

fn train_config(args: &TrainArgs) -> Result<TrainConfig> {
    let step = &args.step;
    Ok(TrainConfig {
        batch_size: step.batch_size.get(),
        accumulate: step.accumulate.get(),
        schedule: args.schedule.schedule()?,
        optimizer: AdamWConfig {
            beta2: step.beta2,
            weight_decay: step.weight_decay,
            ..AdamWConfig::default()
        },
        grad_clip: if step.grad_clip > 0. { step.grad_clip } else { f64::MAX },
        dropout: args.size.dropout,
        dtype: step.dtype.dtype(),
        activations: if step.recompute { Activations::Recomputed } else { Activations::Kept },
    })
}

/// A run, what it learns from, its folder and the figures in it.
type Begun = (Run, Dataset, RunFolder, Vec<Value>);

/// A new run. Nothing is written before the data are known to be good.
fn begun(
    args: &TrainArgs,
    settings: &Value,
    model: &mut ModelConfig,
    config: &TrainConfig,
    device: &Device,
) -> Result<Begun> {
    let fresh = |data: &Dataset, model: &mut ModelConfig| {
        model.vocab_size = data.tokenizer.vocab_size();
        training_memory::check(model.parameter_count(), device)?;
        Run::new(*model, config.optimizer, config.dtype, args.compute.seed, device)
    };
    if Dataset::is_at(&args.data) {
        let data = Dataset::open(&args.data)?;
        let run = fresh(&data, model)?;
        return Ok((run, data, RunFolder::create(&args.out, settings)?, Vec::new()));
    }
    let parent = args.out.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let aside = tempfile::Builder::new().prefix(".tokens-").tempdir_in(parent);
    let aside = aside.with_context(|| format!("writing {}", parent.display()))?;
    prepare(args, aside.path())?;
    let run = fresh(&Dataset::open(aside.path())?, model)?;
    let folder = RunFolder::create(&args.out, settings)?;
    let place = args.out.join("data");
    std::fs::rename(aside.keep(), &place)
        .with_context(|| format!("writing {}", place.display()))?;
    Ok((run, Dataset::open(&place)?, folder, Vec::new()))
}

/// Turns the text into tokens in `folder`.
fn prepare(args: &TrainArgs, folder: &Path) -> Result<()> {
    if args.tokenizer.is_none() {
        usage(check(args.vocab_size))?;
    }
    let corpus = Corpus::open(&args.data)?;
    let split = Split { validation: args.validation, seed: args.compute.seed };
    split.check(corpus.documents)?;
    let tokenizer = match &args.tokenizer {
        Some(path) => Tokenizer::open(path)?,
        None => work::tokenizer(&corpus, args.vocab_size)?,
    };
    let bar = work::bytes(corpus.bytes, "tokenizing")?;
    tokenize(&corpus, &tokenizer, split, folder, |bytes| bar.inc(bytes as u64))?;
    bar.finish_and_clear();
    Ok(())
}

/// The run in the folder, where its newest checkpoint is.
fn resumed(
    args: &TrainArgs,
    settings: &Value,
    model: &mut ModelConfig,
    config: &TrainConfig,
    checkpoints: &Checkpoints,
    device: &Device,
) -> Result<Begun> {
    let out = args.out.display();
    let old =
        RunFolder::settings(&args.out)?.with_context(|| format!("there is no run in {out}"))?;
    check_unchanged(&old, settings, &FREE)?;
    let (step, path) = checkpoints.newest()?.with_context(|| {
        format!("{out} has no checkpoint yet: leave --resume out to begin anew")
    })?;
    let place = args.out.join("data");
    let data = Dataset::open(if Dataset::is_at(&args.data) { &args.data } else { &place })?;
    model.vocab_size = data.tokenizer.vocab_size();
    let run = Run::open(&path, *model, config.optimizer, &data.sha256(), device)?;
    let (folder, rows) = RunFolder::resume(&args.out, step)?;
    json_file::write(&args.out.join("config.json"), settings)?;
    println!("resuming after step {step}");
    Ok((run, data, folder, rows))
}

fn log_config(
    args: &TrainArgs,
    run: &Run,
    config: &TrainConfig,
    device: &Device,
) -> Result<LogConfig> {
    let flops = flops_per_token(&run.model, run.parameters.count());
    Ok(LogConfig {
        interval: args.log.log_interval.get(),
        steps: config.schedule.total,
        warmup: config.schedule.warmup,
        tokens_per_step: config.batch_size * config.accumulate * run.model.context,
        peak_share: flops / gemm_peak(config.dtype, device)?,
        sampling: args.log.sampling.sampling(),
        sample_tokens: args.log.sample_tokens,
    })
}

/// What is about to happen.
fn tell(run: &Run, data: &Dataset, log: &LogConfig) {
    let (train, validation) = (&data.train, &data.validation);
    println!(
        "{} parameters, a vocabulary of {}",
        run.parameters.count(),
        data.tokenizer.vocab_size()
    );
    println!(
        "{} tokens in {} documents to learn from, {} in {} to measure on",
        train.len(),
        train.documents(),
        validation.len(),
        validation.documents()
    );
    let all = log.steps * log.tokens_per_step;
    println!(
        "{} steps of {} tokens: {:.1} times through the text",
        log.steps,
        log.tokens_per_step,
        all as f64 / train.len() as f64
    );
}

fn report(args: &TrainArgs, run: &Run, config: &TrainConfig, tokens_per_second: f64) -> Result<()> {
    let (step, total, out) = (run.state.step, config.schedule.total, &args.out);
    match run.state.best {
        Some(best) => println!("best validation loss {best:.4}, {tokens_per_second:.0} tokens/s"),
        None => println!("{tokens_per_second:.0} tokens/s"),
    }
    match step == total {
        true => println!("the model is in {}", out.join("model").display()),
        false => println!(
            "stopped and saved after step {step} of {total}; continue with: part_4 train --resume --out {}",
            out.display()
        ),
    }
    if args.json {
        let report = json!({
            "step": step, "loss": run.state.best, "tokens_per_s": tokens_per_second,
            "parameters": run.parameters.count(), "model": out.join("model"),
        });
        println!("{report}");
    }
    Ok(())
}
