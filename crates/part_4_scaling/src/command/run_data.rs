//! Data of a `part_4 train` run: token files, or text that is tokenized into its run folder.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use datasets::dataset::{ValidationSplit, tokenize};
use datasets::{Dataset, TextCorpus};
use experiment::program::as_usage_error;
use experiment::progress::byte_progress_bar;
use experiment::{RunFolder, RunSetup};
use model_io::Tokenizer;
use tempfile::TempDir;

use super::arguments::TrainArgs;
use super::tokenizer::train_tokenizer;
use crate::tokenizer_training::ensure_valid_vocab_size;

/// Data of the run, and the temporary folder of its tokens if they are new: nothing is written to
/// `--out` before they are known to be valid.
pub(super) fn open_data(
    args: &TrainArgs,
    setup: &RunSetup<'_>,
) -> Result<(Dataset, Option<TempDir>)> {
    let out = setup.out;
    ensure!(out.file_name().is_some(), "--out {} does not name a folder", out.display());
    ensure!(out.is_dir() || !out.exists(), "--out {} is a file", out.display());
    if Dataset::exists_at(&args.data) {
        return Ok((Dataset::open(&args.data)?, None));
    }
    if setup.is_resumed {
        ensure_same_text(args, out)?;
        return Ok((Dataset::open(&out.join("data"))?, None));
    }
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let tokens = tempfile::Builder::new().prefix(".tokens-").tempdir_in(parent);
    let tokens = tokens.with_context(|| format!("writing {}", parent.display()))?;
    prepare_dataset(args, tokens.path())?;
    Ok((Dataset::open(tokens.path())?, Some(tokens)))
}

/// Checks that a resumed run is given the text and tokenizer that its tokens in `out` were made
/// from: it does not read them again.
fn ensure_same_text(args: &TrainArgs, out: &Path) -> Result<()> {
    let stored = RunFolder::read_settings(out)?.unwrap_or_default();
    let tokenizer = args.tokenizer.as_deref();
    for (key, path) in [("data", Some(&*args.data)), ("tokenizer", tokenizer)] {
        let initial = stored[key].as_str().map(Path::new);
        ensure!(
            path == initial,
            "--{key} {}: the run goes on with its tokens of {}; omit --{key}",
            path.unwrap_or(Path::new("null")).display(),
            initial.unwrap_or(Path::new("its own tokenizer")).display()
        );
    }
    Ok(())
}

/// Moves new tokens into the run folder `out`.
pub(super) fn keep_tokens(tokens: TempDir, out: &Path) -> Result<Dataset> {
    let folder = out.join("data");
    std::fs::rename(tokens.keep(), &folder)
        .with_context(|| format!("writing {}", folder.display()))?;
    Dataset::open(&folder)
}

/// Tokenizes the text of `--data` into `folder`, with `--tokenizer` or a newly trained one.
fn prepare_dataset(args: &TrainArgs, folder: &Path) -> Result<()> {
    if args.tokenizer.is_none() {
        as_usage_error(ensure_valid_vocab_size(args.vocab_size))?;
    }
    let corpus = TextCorpus::open(&args.data)?;
    let split = ValidationSplit { fraction: args.validation, seed: args.run.compute.seed };
    if corpus.n_documents == 1 {
        let percent = 100. * split.fraction;
        println!("the text is a single document: its last {percent:.0} % are the validation text");
    }
    let tokenizer = match &args.tokenizer {
        Some(path) => Tokenizer::open(path)?,
        None => train_tokenizer(&corpus, args.vocab_size)?,
    };
    let bar = byte_progress_bar(corpus.n_bytes, "tokenizing")?;
    tokenize(&corpus, &tokenizer, split, folder, |bytes| bar.inc(bytes as u64))?;
    bar.finish_and_clear();
    Ok(())
}
