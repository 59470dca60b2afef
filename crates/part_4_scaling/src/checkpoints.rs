//! 4.4 Checkpoints that survive anything: a process killed at any moment, a full disk, a byte that has flipped.
//!
//! ```text
//! write checkpoints/step-20.partial/*, each file synced  ->  sums.json  ->  rename to step-20  ->  remove step-10
//! ```
//!
//! A rename happens or does not, so whatever is called `step-N` was written whole. What happens to it later shows in its
//! checksums; then the one before it is taken.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tiny_gpt::json_file;

use crate::sha256;

const STEP_PREFIX: &str = "step-";
const PARTIAL_SUFFIX: &str = ".partial";
const CHECKSUMS_FILE: &str = "sums.json";

/// The checkpoints of a run.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
    keep_checkpoints: NonZeroUsize,
}

impl Checkpoints {
    /// Those in `folder`, of which the newest `keep` are kept.
    pub fn new(folder: PathBuf, keep: NonZeroUsize) -> Self {
        Self { folder, keep_checkpoints: keep }
    }

    /// Saves what `write` puts into the folder that it is given, as the state after `step` steps.
    ///
    /// # Errors
    /// When something cannot be written; every checkpoint that was there before still is.
    pub fn save(&self, step: usize, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let partial = self.folder.join(format!("{STEP_PREFIX}{step}{PARTIAL_SUFFIX}"));
        let saved =
            self.write_partial(&partial, write).and_then(|()| self.publish_partial(&partial, step));
        if let Err(error) = saved {
            let _ = fs::remove_dir_all(&partial); // makes room; what matters is the error
            let before = match self.saved_steps().unwrap_or_default().first() {
                Some(step) => format!("the one of step {step} is whole: --resume continues there"),
                None => "there is none before".to_string(),
            };
            return Err(
                error.context(format!("the checkpoint of step {step} was not saved; {before}"))
            );
        }
        self.remove_old()
    }

    /// The newest whole checkpoint; `None` where there are none at all. A damaged one is named on stderr, passed over, and
    /// renamed, so that it does not count any more.
    ///
    /// # Errors
    /// When there are checkpoints, and all are damaged.
    pub fn latest(&self) -> Result<Option<(usize, PathBuf)>> {
        let steps = self.saved_steps()?;
        for &step in &steps {
            let path = self.path(step);
            match verify_checksums(&path) {
                Ok(()) => return Ok(Some((step, path))),
                Err(error) => {
                    eprintln!("warning: {} is passed over: {error:#}", path.display());
                    let aside = path.with_extension("damaged");
                    let _ = remove_folder_if_exists(&aside)
                        .and_then(|()| Ok(fs::rename(&path, &aside)?)); // or it is passed over again
                }
            }
        }
        ensure!(steps.is_empty(), "every checkpoint in {} is damaged", self.folder.display());
        Ok(None)
    }

    fn path(&self, step: usize) -> PathBuf {
        self.folder.join(format!("{STEP_PREFIX}{step}"))
    }

    /// The steps that have a checkpoint, newest first.
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
        remove_folder_if_exists(partial)?; // of a run that was killed
        fs::create_dir(partial).with_context(creating)?;
        write(partial)?;
        let sums: BTreeMap<String, String> = list_files_recursively(partial)?
            .into_iter()
            .map(|name| Ok((name.clone(), sha256::hash_file(&partial.join(name))?)))
            .collect::<Result<_>>()?;
        json_file::write(&partial.join(CHECKSUMS_FILE), &sums)?;
        for name in
            entry_names(partial)?.iter().map(|name| partial.join(name)).filter(|path| path.is_dir())
        {
            sync_folder(&name)?;
        }
        sync_folder(partial)
    }

    fn publish_partial(&self, partial: &Path, step: usize) -> Result<()> {
        let place = self.path(step);
        remove_folder_if_exists(&place)?; // passed over as damaged, or this run would not be at this step again
        fs::rename(partial, &place).with_context(|| format!("renaming {}", partial.display()))?;
        sync_folder(&self.folder)
    }

    /// Removes all but the newest, and what killed runs left. A name goes first, so that nothing half removed has one.
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

/// # Errors
/// When a file is missing, added or changed.
fn verify_checksums(checkpoint: &Path) -> Result<()> {
    let sums: BTreeMap<String, String> =
        serde_json::from_value(json_file::read(&checkpoint.join(CHECKSUMS_FILE))?)
            .context("its sums are damaged")?;
    for (name, sum) in &sums {
        ensure!(sha256::hash_file(&checkpoint.join(name))? == *sum, "{name} is not what was saved");
    }
    for name in list_files_recursively(checkpoint)? {
        if name != CHECKSUMS_FILE && !sums.contains_key(&name) {
            bail!("{name} was not saved with it");
        }
    }
    Ok(())
}

/// The names in a folder.
fn entry_names(folder: &Path) -> Result<Vec<String>> {
    let reading = || format!("reading {}", folder.display());
    let names = fs::read_dir(folder)
        .with_context(reading)?
        .map(|entry| Ok(entry.with_context(reading)?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

/// The files in a folder and in those below it, by their paths from it.
fn list_files_recursively(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for name in entry_names(folder)? {
        let path = folder.join(&name);
        match path.is_dir() {
            true => files.extend(
                self::list_files_recursively(&path)?.iter().map(|file| format!("{name}/{file}")),
            ),
            false => files.push(name),
        }
    }
    Ok(files)
}

/// Removes a folder, if it is there.
fn remove_folder_if_exists(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Waits until the disk has the names in a folder.
fn sync_folder(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.with_context(|| format!("writing {}", folder.display()))
}
