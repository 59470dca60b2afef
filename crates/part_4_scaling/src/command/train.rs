//! `part_4 train`: trains a model on text into a run folder, or resumes the run in it.

use std::num::NonZeroUsize;

use anyhow::{Result, ensure};
use candle_core::Device;
use datasets::Dataset;
use experiment::machine::gemm_peak;
use experiment::program::as_usage_error;
use experiment::resume::resume_hint;
use experiment::tracker::Tracker;
use experiment::{Checkpoints, Interrupt, training_memory};
use model_io::ModelConfig;
use modern::GradientCheckpointing;
use serde_json::json;

use super::arguments::TrainArgs;
use super::run_setup::{resume_run, start_run};
use crate::evaluation::LmEvalConfig;
use crate::step_metrics::LogConfig;
use crate::training::PretrainOutputs;
use crate::{PretrainLog, PretrainState, TrainConfig, train};

/// Maximum tokens of a micro-batch; more would not fit in any memory.
const MAX_TOKENS_PER_MICRO_BATCH: usize = 1 << 22;
/// Maximum micro-batches of a step: all are loaded before the first is computed.
const MAX_GRAD_ACCUM_STEPS: usize = 1 << 12;

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    let mut model = model_config(args)?;
    let config = train_config(args)?;
    let device = args.run.compute.open_device()?;
    // A lower bound: the vocabulary of the tokenizer is not known yet.
    training_memory::ensure_fits_in_memory(model.parameter_count(), &device)?;
    let settings = serde_json::to_value(args)?;
    let checkpoints =
        Checkpoints::new(args.out.join("checkpoints"), args.run.save.keep_checkpoints);
    let (mut run, data, folder, rows) = match args.run.settings.resume {
        true => resume_run(args, &settings, &mut model, &config, &checkpoints, &device)?,
        false => start_run(args, &settings, &mut model, &config, &device)?,
    };
    let tracker =
        Tracker::create(args.log.metrics.tracker, &args.out, &settings, run.progress.step)?;
    let log = log_config(args, &run, &config, &device)?;
    print_run_summary(&run, &data, &log);
    let mut log = PretrainLog::new(log, folder, tracker, (run.progress.step, &rows))?;
    let interrupt = Interrupt::listen()?;
    let outputs = PretrainOutputs {
        folder: &args.out,
        checkpoints,
        intervals: args.log.intervals(&args.run.save),
        eval_config: LmEvalConfig {
            batch_size: args.step.batch_size.get(),
            max_windows: Some(args.log.eval_windows.get()),
        },
        interrupt,
        stop_after: args.run.save.stop_after.map(NonZeroUsize::get),
    };
    train(&mut run, &data, &config, args.run.compute.seed, &outputs, &mut log)?;
    let tokens_per_second = log.tokens_per_second();
    log.finish()?; // ends the progress line before the report is printed
    print_run_report(args, &run, &config, tokens_per_second)
}

/// Model configuration from the flags. Its vocabulary size is set once the tokenizer is known.
fn model_config(args: &TrainArgs) -> Result<ModelConfig> {
    let gpt = args.size.config()?;
    let block = gpt.block;
    let mut model =
        ModelConfig::byte_level(gpt.context_len, block.n_layer, block.n_head, block.n_embd);
    model.attention.n_kv_head = args.n_kv_head.map_or(block.n_head, |n| n.get());
    as_usage_error(model.validate())?;
    Ok(model)
}

fn train_config(args: &TrainArgs) -> Result<TrainConfig> {
    let step = &args.step;
    let n_tokens = step.batch_size.get().saturating_mul(args.size.context_len);
    let n_micro_batches = step.grad_accum_steps.get();
    as_usage_error((|| {
        ensure!(
            n_tokens <= MAX_TOKENS_PER_MICRO_BATCH,
            "--batch-size times --context-len must be at most {MAX_TOKENS_PER_MICRO_BATCH} tokens"
        );
        ensure!(
            n_micro_batches <= MAX_GRAD_ACCUM_STEPS,
            "--grad-accum-steps must be at most {MAX_GRAD_ACCUM_STEPS}"
        );
        Ok(())
    })())?;
    Ok(TrainConfig {
        batch_size: step.batch_size.get(),
        grad_accum_steps: step.grad_accum_steps.get(),
        schedule: args.schedule.schedule()?,
        optimizer: step.optimizer.adamw_config(),
        max_grad_norm: step.optimizer.max_grad_norm().unwrap_or(f64::MAX),
        dropout: args.size.dropout,
        dtype: step.dtype.dtype(),
        gradient_checkpointing: if step.gradient_checkpointing {
            GradientCheckpointing::On
        } else {
            GradientCheckpointing::Off
        },
    })
}

fn log_config(
    args: &TrainArgs,
    run: &PretrainState,
    config: &TrainConfig,
    device: &Device,
) -> Result<LogConfig> {
    let flops = run.config.training_flops_per_token();
    Ok(LogConfig {
        interval: args.log.metrics.log_interval.get(),
        total_steps: config.schedule.total_steps,
        warmup_steps: config.schedule.warmup_steps,
        tokens_per_step: config.batch_size * config.grad_accum_steps * run.config.context_len,
        mfu_per_token_per_s: flops / gemm_peak(config.dtype, device)?,
        sampling: args.log.sampling.sampling(),
        sample_len: args.log.sample_len,
    })
}

/// Prints the sizes of the model, the data and the run.
fn print_run_summary(run: &PretrainState, data: &Dataset, log: &LogConfig) {
    let (train, validation) = (&data.train, &data.validation);
    println!(
        "{} parameters, vocabulary of {}",
        run.parameters.n_parameters(),
        data.tokenizer.vocab_size()
    );
    println!(
        "{} training tokens in {} documents, {} validation tokens in {}",
        train.len(),
        train.n_documents(),
        validation.len(),
        validation.n_documents()
    );
    let n_tokens = log.total_steps * log.tokens_per_step;
    println!(
        "{} steps of {} tokens: {:.1} epochs",
        log.total_steps,
        log.tokens_per_step,
        n_tokens as f64 / train.len() as f64
    );
}

fn print_run_report(
    args: &TrainArgs,
    run: &PretrainState,
    config: &TrainConfig,
    tokens_per_second: f64,
) -> Result<()> {
    let (step, total, out) = (run.progress.step, config.schedule.total_steps, &args.out);
    let throughput = match tokens_per_second > 0. {
        true => format!(", {tokens_per_second:.0} tokens/s"),
        false => String::new(), // the run was resumed at its end
    };
    match run.progress.best_loss {
        Some(best) => println!("best validation loss {best:.4}{throughput}"),
        None => println!("no validation yet{throughput}"),
    }
    match step == total {
        true => println!("the model is in {}", out.join("model").display()),
        false => println!("{}", resume_hint("part_4", step, total, out)),
    }
    if args.run.json {
        let report = json!({
            "step": step, "loss": run.progress.best_loss, "tokens_per_s": tokens_per_second,
            "parameters": run.parameters.n_parameters(), "model": out.join("model"),
        });
        println!("{report}");
    }
    Ok(())
}
