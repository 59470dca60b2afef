//! Data of a `part_4 train` run: token files, or text that is tokenized into its run folder.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use datasets::dataset::{ValidationSplit, tokenize};
use datasets::{Dataset, TextCorpus, columns, json_rows};
use experiment::program::as_usage_error;
use experiment::progress::byte_progress_bar;
use experiment::{RunFolder, RunSetup};
use model_io::Tokenizer;
use tempfile::{NamedTempFile, TempDir};
use tensor_core::atomic_file;

use super::arguments::TrainArgs;
use super::tokenizer::train_tokenizer;
use crate::tokenizer_training::ensure_valid_vocab_size;

/// Begin of the names of temporary folders with tokens.
const TEMPORARY: &str = ".tokens-";
const LOCK: &str = ".lock";

/// Tokens of a new run in a temporary folder, which this process has locked.
pub(super) struct NewTokens {
    folder: TempDir,
    _lock: File,
}

/// Data of the run, and the temporary folder of its tokens if they are new: nothing is written to
/// `--out` before they are known to be valid.
pub(super) fn open_data(
    args: &TrainArgs,
    setup: &RunSetup<'_>,
    tokenizer: Option<&Tokenizer>,
) -> Result<(Dataset, Option<NewTokens>)> {
    let out = setup.out;
    ensure!(out.file_name().is_some(), "--out {} does not name a folder", out.display());
    ensure!(out.is_dir() || !out.exists(), "--out {} is a file", out.display());
    if Dataset::exists_at(&args.data) {
        let data = Dataset::open(&args.data)?;
        ensure!(
            tokenizer.is_none_or(|tokenizer| tokenizer.has_same_vocab(&data.tokenizer)),
            "--data {} has tokens of another tokenizer than the model's: give the text",
            args.data.display()
        );
        return Ok((data, None));
    }
    if setup.is_resumed {
        ensure_same_text(args, out)?;
        return Ok((Dataset::open(&out.join("data"))?, None));
    }
    let folder = atomic_file::follow_links(out)?; // on the disk of the run, where it is moved to
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    remove_abandoned_tokens(parent);
    let tokens = NewTokens::new(parent).with_context(|| format!("writing {}", parent.display()))?;
    let folder = tokens.folder.path();
    prepare_dataset(args, tokenizer, folder)?;
    Ok((Dataset::open(folder)?, Some(tokens)))
}

impl NewTokens {
    fn new(parent: &Path) -> std::io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(parent)?;
        let lock = File::create(folder.path().join(LOCK))?;
        let _ = lock.try_lock(); // without locks, an abandoned folder is not removed
        Ok(Self { folder, _lock: lock })
    }
}

/// Removes the temporary folders in `parent` whose process was killed and holds no lock any more.
fn remove_abandoned_tokens(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_temporary = entry.file_name().to_string_lossy().starts_with(TEMPORARY);
        let lock = is_temporary.then(|| File::open(entry.path().join(LOCK)).ok()).flatten();
        if lock.is_some_and(|lock| lock.try_lock().is_ok()) {
            let _ = std::fs::remove_dir_all(entry.path()); // a leftover, not needed
        }
    }
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
pub(super) fn keep_tokens(tokens: NewTokens, out: &Path) -> Result<Dataset> {
    let folder = out.join("data");
    std::fs::rename(tokens.folder.keep(), &folder)
        .and_then(|()| std::fs::remove_file(folder.join(LOCK)))
        .with_context(|| format!("writing {}", folder.display()))?;
    Dataset::open(&folder)
}

/// Text of `path`: that of text files, or of the column `text` of a .json, .jsonl or .parquet file,
/// which is copied into a temporary file.
pub(super) fn open_text(path: &Path) -> Result<(TextCorpus, Option<NamedTempFile>)> {
    let name = path.to_string_lossy();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    if ![".json", ".jsonl", ".parquet"].iter().any(|extension| name.ends_with(extension)) {
        return Ok((TextCorpus::open(path)?, None));
    }
    let paths = [path.to_path_buf()];
    let rows = json_rows::read_parsed(&paths, |row| Ok(columns::text(row, "text")?.to_string()))?;
    let mut file = NamedTempFile::new().context("creating a temporary file for the text")?;
    file.write_all(rows.join("<|endoftext|>").as_bytes()).context("writing a temporary file")?;
    Ok((TextCorpus::open(file.path())?, Some(file)))
}

/// Tokenizes the text of `--data` into `folder`, with the `tokenizer` of the model, `--tokenizer`
/// or a newly trained one.
fn prepare_dataset(args: &TrainArgs, tokenizer: Option<&Tokenizer>, folder: &Path) -> Result<()> {
    let is_trained = tokenizer.is_none() && args.tokenizer.is_none();
    if is_trained {
        as_usage_error(ensure_valid_vocab_size(args.vocab_size))?;
    }
    let (corpus, _rows) = open_text(&args.data)?;
    let split = ValidationSplit { fraction: args.validation, seed: args.run.compute.seed };
    if corpus.n_documents == 1 {
        let percent = 100. * split.fraction;
        println!("the text is a single document: its last {percent:.0} % are the validation text");
    }
    let tokenizer = match (tokenizer, &args.tokenizer) {
        (Some(tokenizer), _) => tokenizer.clone(),
        (None, Some(path)) => Tokenizer::open(path)?,
        (None, None) => train_tokenizer(&corpus, args.vocab_size)?,
    };
    let bar = byte_progress_bar(corpus.n_bytes, "tokenizing")?;
    tokenize(&corpus, &tokenizer, split, folder, |bytes| bar.inc(bytes as u64))?;
    bar.finish_and_clear();
    Ok(())
}
