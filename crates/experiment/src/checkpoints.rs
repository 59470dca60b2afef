//! 4.4 Checkpoints that survive a process killed at any moment, a full disk and a flipped byte.
//!
//! ```text
//! write checkpoints/step-20.partial/*, each file synced
//!     ->  write sums.json  ->  rename to step-20  ->  remove step-10
//! ```
//!
//! A rename is atomic, so a folder named `step-N` was written completely. Later damage shows in its
//! checksums; then the previous checkpoint is used.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tensor_core::{json_file, regular_file, sha256};

use crate::terminal::printable;

/// Start of the name of a checkpoint's folder.
pub(crate) const STEP_PREFIX: &str = "step-";
const PARTIAL_SUFFIX: &str = ".partial";
const CHECKSUMS_FILE: &str = "sums.json";

/// Checkpoints of a run.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
    keep_checkpoints: NonZeroUsize,
}

impl Checkpoints {
    /// Checkpoints in `folder`, of which the newest `keep` are kept.
    pub fn new(folder: PathBuf, keep: NonZeroUsize) -> Self {
        Self { folder, keep_checkpoints: keep }
    }

    /// Saves a checkpoint after `step` steps: `write` writes its files into the folder it is given.
    ///
    /// # Errors
    /// When something cannot be written; all earlier checkpoints remain.
    pub fn save(&self, step: usize, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let partial = self.folder.join(format!("{STEP_PREFIX}{step}{PARTIAL_SUFFIX}"));
        let saved =
            self.write_partial(&partial, write).and_then(|()| self.publish_partial(&partial, step));
        if let Err(error) = saved {
            let _ = fs::remove_dir_all(&partial); // frees space; `error` is the one to report
            let remedy = match self.saved_steps().unwrap_or_default().first() {
                Some(step) => format!("--resume continues from step {step}"),
                None => "there is no earlier one".to_string(),
            };
            return Err(
                error.context(format!("the checkpoint of step {step} was not saved; {remedy}"))
            );
        }
        self.remove_old()
    }

    /// Newest intact checkpoint (step and folder), or `None` if there are no checkpoints. A damaged
    /// one is skipped with a warning on stderr and renamed, so that later calls ignore it.
    ///
    /// # Errors
    /// When there are checkpoints and all are damaged.
    pub fn latest(&self) -> Result<Option<(usize, PathBuf)>> {
        let steps = self.saved_steps()?;
        for &step in &steps {
            let path = self.path(step);
            match verify_checksums(&path) {
                Ok(()) => return Ok(Some((step, path))),
                Err(error) => {
                    let skipped = format!("skipping {}: {error:#}", path.display());
                    eprintln!("warning: {}", printable(&skipped));
                    let damaged = path.with_extension("damaged");
                    let _ = remove_folder_if_exists(&damaged)
                        .and_then(|()| Ok(fs::rename(&path, &damaged)?)); // else skipped again
                }
            }
        }
        ensure!(steps.is_empty(), "every checkpoint in {} is damaged", self.folder.display());
        Ok(None)
    }

    fn path(&self, step: usize) -> PathBuf {
        self.folder.join(format!("{STEP_PREFIX}{step}"))
    }

    /// Steps that have a checkpoint, newest first.
    fn saved_steps(&self) -> Result<Vec<usize>> {
        let reading = || format!("reading {}", self.folder.display());
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(reading)?,
        };
        let mut steps = Vec::new();
        for entry in entries {
            let name = entry.with_context(reading)?.file_name();
            let step: Option<usize> =
                name.to_str().and_then(|name| name.strip_prefix(STEP_PREFIX)?.parse().ok());
            steps.extend(step);
        }
        steps.sort_unstable_by(|a, b| b.cmp(a));
        Ok(steps)
    }

    fn write_partial(&self, partial: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let creating = || format!("creating {}", partial.display());
        fs::create_dir_all(&self.folder).with_context(creating)?;
        remove_folder_if_exists(partial)?; // left by a run that was killed
        fs::create_dir(partial).with_context(creating)?;
        write(partial)?;
        let checksums: BTreeMap<String, String> = regular_file::list(partial)?
            .into_iter()
            .map(|name| Ok((name.clone(), sha256::hash_file(&partial.join(name))?)))
            .collect::<Result<_>>()?;
        json_file::write(&partial.join(CHECKSUMS_FILE), &checksums)?;
        for name in
            entry_names(partial)?.iter().map(|name| partial.join(name)).filter(|path| path.is_dir())
        {
            sync_folder(&name)?;
        }
        sync_folder(partial)
    }

    fn publish_partial(&self, partial: &Path, step: usize) -> Result<()> {
        let checkpoint = self.path(step);
        // An existing one was skipped as damaged: otherwise this run would have resumed from it.
        remove_folder_if_exists(&checkpoint)?;
        fs::rename(partial, &checkpoint)
            .with_context(|| format!("renaming {}", partial.display()))?;
        sync_folder(&self.folder)
    }

    /// Removes all but the newest checkpoints, and the leftovers of killed runs. A checkpoint is
    /// renamed before it is removed, so a half-removed folder never has a checkpoint's name.
    fn remove_old(&self) -> Result<()> {
        for step in self.saved_steps()?.into_iter().skip(self.keep_checkpoints.get()) {
            let (path, partial) =
                (self.path(step), self.folder.join(format!("{STEP_PREFIX}{step}{PARTIAL_SUFFIX}")));
            remove_folder_if_exists(&partial)?;
            fs::rename(&path, &partial).with_context(|| format!("removing {}", path.display()))?;
        }
        for name in entry_names(&self.folder)? {
            if name.starts_with(STEP_PREFIX) && name.ends_with(PARTIAL_SUFFIX) {
                remove_folder_if_exists(&self.folder.join(name))?;
            }
        }
        Ok(())
    }
}

/// Compares the files of a checkpoint with its checksums.
///
/// # Errors
/// When a file is missing, added or changed.
fn verify_checksums(checkpoint: &Path) -> Result<()> {
    let checksums: BTreeMap<String, String> =
        serde_json::from_value(json_file::read(&checkpoint.join(CHECKSUMS_FILE))?)
            .context("sums.json is damaged")?;
    for (name, sum) in &checksums {
        ensure!(
            sha256::hash_file(&checkpoint.join(name))? == *sum,
            "{name} does not match its checksum"
        );
    }
    for name in regular_file::list(checkpoint)? {
        if name != CHECKSUMS_FILE && !checksums.contains_key(&name) {
            bail!("{name} is not listed in sums.json");
        }
    }
    Ok(())
}

/// Names of the entries of a folder.
fn entry_names(folder: &Path) -> Result<Vec<String>> {
    let reading = || format!("reading {}", folder.display());
    let names = fs::read_dir(folder)
        .with_context(reading)?
        .map(|entry| Ok(entry.with_context(reading)?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

/// Removes a folder if it exists.
fn remove_folder_if_exists(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Syncs the directory entries of a folder to disk.
fn sync_folder(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("writing {}", folder.display()))
}
