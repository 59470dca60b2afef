//! Setup of a `part_4 train` run: from text and settings, or from its newest checkpoint.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use datasets::dataset::{ValidationSplit, tokenize};
use datasets::{Dataset, TextCorpus};
use experiment::program::as_usage_error;
use experiment::resume::{latest_checkpoint, reopen_run};
use experiment::settings::check_resumable;
use experiment::{Checkpoints, RunFolder, training_memory};
use model_io::{ModelConfig, Tokenizer};
use serde_json::Value;

use super::arguments::TrainArgs;
use super::corpus_progress;
use crate::tokenizer_training::ensure_valid_vocab_size;
use crate::{PretrainState, TrainConfig};

/// Settings of this part that may change on `--resume`, beside paths: they only affect the output.
const OVERRIDABLE_ON_RESUME: [&str; 7] =
    ["eval_windows", "sample_interval", "sample_len", "temperature", "tokenizer", "top_k", "top_p"];

/// Training state, dataset, run folder and the rows of its metrics.
pub(super) type StartedRun = (PretrainState, Dataset, RunFolder, Vec<Value>);

/// Starts a new run. Nothing is written to `--out` before the data are known to be valid.
pub(super) fn start_run(
    args: &TrainArgs,
    settings: &Value,
    model: &mut ModelConfig,
    config: &TrainConfig,
    device: &Device,
) -> Result<StartedRun> {
    ensure_out_usable(args)?;
    let new_state = |data: &Dataset, model: &mut ModelConfig| {
        let (n_tokens, t) = (data.train.len(), model.context_len);
        ensure!(
            n_tokens > t && data.validation.len() > 1,
            "{n_tokens} training tokens are too few for --context-len {t}"
        );
        model.vocab_size = data.tokenizer.vocab_size();
        training_memory::ensure_fits_in_memory(model.parameter_count(), device)?;
        PretrainState::new(*model, config.optimizer, config.dtype, args.run.compute.seed, device)
    };
    if Dataset::exists_at(&args.data) {
        let data = Dataset::open(&args.data)?;
        let run = new_state(&data, model)?;
        return Ok((run, data, RunFolder::create(&args.out, settings)?, Vec::new()));
    }
    let parent = args.out.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let temporary = tempfile::Builder::new().prefix(".tokens-").tempdir_in(parent);
    let temporary = temporary.with_context(|| format!("writing {}", parent.display()))?;
    prepare_dataset(args, temporary.path())?;
    let run = new_state(&Dataset::open(temporary.path())?, model)?;
    let folder = RunFolder::create(&args.out, settings)?;
    let data_folder = args.out.join("data");
    std::fs::rename(temporary.keep(), &data_folder)
        .with_context(|| format!("writing {}", data_folder.display()))?;
    Ok((run, Dataset::open(&data_folder)?, folder, Vec::new()))
}

/// Checks that a new run can be written to `--out`.
///
/// # Errors
/// When `--out` cannot be a run folder, or `--data` would be moved aside with the run it holds.
fn ensure_out_usable(args: &TrainArgs) -> Result<()> {
    let TrainArgs { out, data, .. } = args;
    let path = out.display();
    ensure!(out.file_name().is_some(), "--out {path} does not name a folder");
    ensure!(out.is_dir() || !out.exists(), "--out {path} is a file");
    RunFolder::ensure_input_not_overwritten(out, "--data", data)
}

/// Tokenizes the text of `--data` into `folder`, with `--tokenizer` or a newly trained one.
fn prepare_dataset(args: &TrainArgs, folder: &Path) -> Result<()> {
    if args.tokenizer.is_none() {
        as_usage_error(ensure_valid_vocab_size(args.vocab_size))?;
    }
    let corpus = TextCorpus::open(&args.data)?;
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

/// Resumes the run in `--out` from its newest checkpoint.
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
    let own_data = args.out.join("data");
    let data = Dataset::open(if Dataset::exists_at(&args.data) { &args.data } else { &own_data })?;
    model.vocab_size = data.tokenizer.vocab_size();
    let run = PretrainState::open(&path, *model, config.optimizer, &data, device)?;
    let (folder, rows) = reopen_run(&args.out, settings, step)?;
    Ok((run, data, folder, rows))
}
