//! Where a run of `part_4 train` comes from: text and settings, or its own newest checkpoint.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use modern::{ModelConfig, Tokenizer};
use serde_json::Value;
use tiny_gpt::command::as_usage_error;
use tiny_gpt::{RunFolder, training_memory};

use super::arguments::TrainArgs;
use super::corpus_progress;
use crate::dataset::{ValidationSplit, tokenize};
use crate::resume::{latest_checkpoint, reopen_run};
use crate::settings::check_resumable;
use crate::tokenizer_training::ensure_valid_vocab_size;
use crate::{Checkpoints, Corpus, Dataset, PretrainState, TrainConfig};

/// What may change when a run is resumed beside where things are: what is shown of it.
const OVERRIDABLE_ON_RESUME: [&str; 7] =
    ["eval_windows", "sample_interval", "sample_len", "temperature", "tokenizer", "top_k", "top_p"];

/// A run, what it learns from, its folder and the figures in it.
pub(super) type StartedRun = (PretrainState, Dataset, RunFolder, Vec<Value>);

/// A new run. Nothing is written before the data are known to be good.
pub(super) fn start_run(
    args: &TrainArgs,
    settings: &Value,
    model: &mut ModelConfig,
    config: &TrainConfig,
    device: &Device,
) -> Result<StartedRun> {
    ensure_out_usable(args)?;
    let fresh = |data: &Dataset, model: &mut ModelConfig| {
        let (tokens, t) = (data.train.len(), model.context_len);
        ensure!(
            tokens > t && data.validation.len() > 1,
            "{tokens} tokens to learn from are too few for windows of --context-len {t}"
        );
        model.vocab_size = data.tokenizer.vocab_size();
        training_memory::ensure_fits_in_memory(model.parameter_count(), device)?;
        PretrainState::new(*model, config.optimizer, config.dtype, args.run.compute.seed, device)
    };
    if Dataset::exists_at(&args.data) {
        let data = Dataset::open(&args.data)?;
        let run = fresh(&data, model)?;
        return Ok((run, data, RunFolder::create(&args.out, settings)?, Vec::new()));
    }
    let parent = args.out.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let aside = tempfile::Builder::new().prefix(".tokens-").tempdir_in(parent);
    let aside = aside.with_context(|| format!("writing {}", parent.display()))?;
    prepare_dataset(args, aside.path())?;
    let run = fresh(&Dataset::open(aside.path())?, model)?;
    let folder = RunFolder::create(&args.out, settings)?;
    let place = args.out.join("data");
    std::fs::rename(aside.keep(), &place)
        .with_context(|| format!("writing {}", place.display()))?;
    Ok((run, Dataset::open(&place)?, folder, Vec::new()))
}

/// # Errors
/// When no run can be in `--out`, or the data would be moved away with the run that is there.
fn ensure_out_usable(args: &TrainArgs) -> Result<()> {
    let TrainArgs { out, data, .. } = args;
    let place = out.display();
    ensure!(out.file_name().is_some(), "--out {place} has no name of its own");
    ensure!(out.is_dir() || !out.exists(), "--out {place} is a file");
    RunFolder::ensure_input_not_overwritten(out, "--data", data)
}

/// Turns the text into tokens in `folder`.
fn prepare_dataset(args: &TrainArgs, folder: &Path) -> Result<()> {
    if args.tokenizer.is_none() {
        as_usage_error(ensure_valid_vocab_size(args.vocab_size))?;
    }
    let corpus = Corpus::open(&args.data)?;
    let split = ValidationSplit { fraction: args.validation, seed: args.run.compute.seed };
    split.ensure_splittable(corpus.n_documents)?;
    let tokenizer = match &args.tokenizer {
        Some(path) => Tokenizer::open(path)?,
        None => corpus_progress::train_tokenizer(&corpus, args.vocab_size)?,
    };
    let bar = corpus_progress::byte_progress_bar(corpus.n_bytes, "tokenizing")?;
    tokenize(&corpus, &tokenizer, split, folder, |bytes| bar.inc(bytes as u64))?;
    bar.finish_and_clear();
    Ok(())
}

/// The run in the folder, where its newest checkpoint is.
pub(super) fn resume_run(
    args: &TrainArgs,
    settings: &Value,
    model: &mut ModelConfig,
    config: &TrainConfig,
    checkpoints: &Checkpoints,
    device: &Device,
) -> Result<StartedRun> {
    check_resumable::<TrainArgs>(&args.out, settings, &OVERRIDABLE_ON_RESUME)?;
    let (step, path) = latest_checkpoint(&args.out, checkpoints)?;
    let place = args.out.join("data");
    let data = Dataset::open(if Dataset::exists_at(&args.data) { &args.data } else { &place })?;
    model.vocab_size = data.tokenizer.vocab_size();
    let run = PretrainState::open(&path, *model, config.optimizer, &data, device)?;
    let (folder, rows) = reopen_run(&args.out, settings, step)?;
    Ok((run, data, folder, rows))
}
