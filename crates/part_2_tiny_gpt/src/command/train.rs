//! The command `train` of parts 2 and 3: trains a new model on a text file and writes a run folder.

use std::path::PathBuf;

use anyhow::Result;
use candle_core::DType;
use clap::Args;
use experiment::flags::ComputeFlags;
use experiment::{Interrupt, Run, RunLog, training_memory};
use serde_json::{Value, json};
use tensor_core::Parameters;
use tensor_core::precision::units_note;

use crate::flags::{ModelSizeFlags, TrainFlags, ValidationFlags};
use crate::{ByteCorpus, LanguageModel, train};

/// Arguments of `train` in part 2; part 3 adds the components of its model.
#[derive(Debug, Clone, Args)]
pub struct TextTrainArgs {
    /// Sizes of the model.
    #[command(flatten)]
    pub size: ModelSizeFlags,
    /// Text file of byte tokens; its last tenth (over --context-len bytes) is for validation
    #[arg(long, visible_alias = "dataset", value_name = "FILE", help_heading = "Data")]
    pub data: PathBuf,
    /// Training flags.
    #[command(flatten)]
    pub train: TrainFlags,
    /// Run folder: settings, metrics, loss curve and the best model
    #[arg(
        long,
        visible_alias = "output-dir",
        value_name = "DIR",
        default_value = "runs/tiny-gpt",
        help_heading = "Run"
    )]
    pub out: PathBuf,
    /// Flags of validation and samples.
    #[command(flatten)]
    pub validation: ValidationFlags,
    /// Device, threads and seed.
    #[command(flatten)]
    pub compute: ComputeFlags,
    /// Print the result as a JSON object on the last line
    #[arg(long)]
    pub json: bool,
}

/// Trains the model that `build` creates from new parameters, `parameter_count` of them.
/// `context_len` is its context length, and `config` describes it in the run folder.
///
/// # Errors
/// When a step has too many tokens, memory is short, the text is missing or too short, and those of
/// [`train()`].
pub fn train_new_model<M: LanguageModel>(
    args: &TextTrainArgs,
    context_len: usize,
    parameter_count: f64,
    config: &Value,
    build: impl FnOnce(&mut Parameters) -> candle_core::Result<M>,
) -> Result<()> {
    args.train.check(context_len)?;
    let device = args.compute.open_device()?;
    let optim = args.train.optimizer.optim;
    training_memory::ensure_fits_in_memory(parameter_count, optim, &device)?;
    let corpus = ByteCorpus::open(&args.data)?;
    corpus.ensure_fits_context(context_len)?;
    let (eval_interval, samples) = (args.validation.eval_interval.get(), &args.validation.samples);
    let train_config =
        args.train.config(context_len, corpus.train.len(), eval_interval, samples)?;
    let seed = args.compute.seed;
    let mut parameters = Parameters::seeded(seed, DType::F32, &device);
    let model = build(&mut parameters)?;
    println!(
        "{} parameters, {} training bytes{}",
        parameters.n_parameters(),
        corpus.train.len(),
        units_note(args.train.dtype.dtype(), &device)
    );
    let settings = json!({
        "data": args.data, "seed": seed, "device": args.compute.device.to_string(),
        "model": config, "train": train_config,
    });
    let mut log = RunLog::create(train_config.log_config(), &args.out, &settings)?;
    let run = Run { interrupt: Interrupt::listen()?, ..Run::default() };
    let folder = args.out.join("model");
    let best =
        train(&model, &parameters, &corpus, &train_config, seed, Some(&folder), &run, &mut log)?;
    drop(run); // the model is saved: from now on, Ctrl-C ends the program
    let tokens_per_s = log.tokens_per_second();
    log.finish()?;
    println!("best validation loss {:.4}, {tokens_per_s:.0} tokens/s", best.loss);
    println!("the model is in {}", folder.display());
    if args.json {
        let report = json!({
            "loss": best.loss, "bits_per_byte": best.bits_per_byte, "tokens": best.tokens,
            "tokens_per_s": tokens_per_s, "parameters": parameters.n_parameters(),
            "model": folder,
        });
        println!("{report}");
    }
    Ok(())
}
