//! Run folder: `config.json` (the settings; `effective_config.yaml` has them as a settings file),
//! `metrics.jsonl` (one object per logged step),
//! `completions.jsonl` (those that the policy of the step was trained on, if it was) and the other
//! files of the run. An existing run is moved aside first, to `NAME.previous`.

mod location;
mod backup;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use backup::{LOCK, back_up_existing_run};
pub use backup::{backup_path, lock_run};
pub(crate) use location::{CHECKPOINTS, LAST_MODEL};
use location::{CONFIG, METRICS, MODEL_FOLDERS, enclosing_run, holds_run};
use serde::Serialize;
use serde_json::Value;
use tensor_core::{atomic_file, json_file, regular_file};

use crate::settings::current_keys::with_current_keys;
use crate::settings::source::effective_config;
use crate::terminal::printable;

const EFFECTIVE_CONFIG: &str = "effective_config.yaml";
const COMPLETIONS: &str = "completions.jsonl";
/// Limit of a file of metrics, a row of which has some hundred bytes.
const MAX_METRICS_BYTES: u64 = 1 << 32;

/// Run folder with its metrics file open for appending.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    metrics: File,
    _lock: File,
}

impl RunFolder {
    /// Creates a new run at `path` and writes its `settings`.
    ///
    /// # Errors
    /// When the folder cannot be written, another process is writing it, an existing run cannot be
    /// moved aside, or there is a `config.json` that a training run did not write (a model's, for
    /// example), which would be lost.
    pub fn create(path: &Path, settings: &impl Serialize) -> Result<Self> {
        let (config, holds) = (path.join(CONFIG), |file: &str| path.join(file).exists());
        ensure!(
            // A run that was killed early has only a lock.
            !holds(CONFIG) || holds_run(path) || holds(LOCK),
            "{} was not written by a training run; refusing to use {} as --out: \
             choose another folder",
            config.display(),
            path.display()
        );
        // A link, to another disk for example, stays: the folder that it leads to is moved aside.
        let folder = atomic_file::follow_links(path)?;
        back_up_existing_run(&folder)?;
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", path.display()))?;
        let lock = lock_run(path)?;
        write_settings(path, &serde_json::to_value(settings)?)?;
        truncate_completions(path, 0)?;
        atomic_file::write(&path.join(METRICS), b"")?;
        Self::open(path, lock)
    }

    /// Reopens the run at `path` as it was after `step` steps and returns its metrics up to there.
    ///
    /// # Errors
    /// When there is no run, another process is writing it, or its metrics cannot be read.
    pub fn resume(path: &Path, step: usize) -> Result<(Self, Vec<Value>)> {
        let lock = lock_run(path)?;
        remove_temp_files(path)?; // left by a process that was killed
        let metrics = path.join(METRICS);
        let text = match metrics.exists() {
            false => {
                let metrics = printable(&metrics.to_string_lossy());
                eprintln!("warning: {metrics} is missing: its rows begin anew");
                String::new()
            }
            true => regular_file::read_to_string(&metrics, MAX_METRICS_BYTES)?,
        };
        // A killed run may have left an incomplete last line.
        let rows = text.lines().map_while(|line| serde_json::from_str::<Value>(line).ok());
        let rows: Vec<Value> = rows
            .filter(|row| row["step"].as_u64().is_some_and(|logged| logged <= step as u64))
            .collect();
        let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
        atomic_file::write(&metrics, text.as_bytes())?;
        truncate_completions(path, step as u64)?;
        Ok((Self::open(path, lock)?, rows))
    }

    /// Settings of the run at `path`, under the keys of today; `None` without a run.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read_settings(path: &Path) -> Result<Option<Value>> {
        let file = path.join(CONFIG);
        match holds_run(path) && file.exists() {
            true => json_file::read(&file).map(with_current_keys).map(Some),
            false => Ok(None),
        }
    }

    /// Folder of the run that the model at `path` belongs to: `path` itself, or the folder around
    /// a run's `model`, `adapter` or `final`, or around the checkpoint of a step and the model in
    /// it. `None` for any other path.
    pub fn find_run(path: &Path) -> Option<PathBuf> {
        // The other spelling is for links, and for a path that ends with `.` or `..`.
        let spellings = [Some(path.to_path_buf()), path.canonicalize().ok()];
        spellings.into_iter().flatten().find_map(|path| enclosing_run(&path))
    }

    /// Settings of the run that the model at `path` belongs to, as [`RunFolder::find_run`] finds
    /// it; `None` without a run.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn settings_of_model(path: &Path) -> Result<Option<Value>> {
        Self::find_run(path).map_or(Ok(None), |run| Self::read_settings(&run))
    }

    /// Checks that the input `input`, named by `flag`, is outside the folders that a new run at
    /// `path` moves aside or removes. A path that does not exist is fine.
    ///
    /// # Errors
    /// When the input is inside such a folder.
    pub fn ensure_input_not_overwritten(
        path: &Path,
        flag: &str,
        input: impl AsRef<Path>,
    ) -> Result<()> {
        let input = input.as_ref();
        let is_inside = |folder: &Path| match (input.canonicalize(), folder.canonicalize()) {
            (Ok(input), Ok(folder)) => input.starts_with(folder),
            _ => false,
        };
        let mut replaced = vec![(path.to_path_buf(), "moved aside")];
        if holds_run(path) {
            replaced.push((backup_path(&atomic_file::follow_links(path)?)?, "removed"));
        }
        for (folder, action) in replaced {
            ensure!(
                !is_inside(&folder),
                "{flag} {} is inside {}, which would be {action}: name another --out",
                input.display(),
                folder.display()
            );
        }
        Ok(())
    }

    fn open(path: &Path, lock: File) -> Result<Self> {
        let metrics = path.join(METRICS);
        let file = OpenOptions::new().append(true).open(&metrics);
        let metrics = file.with_context(|| format!("writing {}", metrics.display()))?;
        Ok(Self { path: path.to_path_buf(), metrics, _lock: lock })
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a row of metrics.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn append_metrics(&mut self, row: &Value) -> Result<()> {
        let line = format!("{row}\n");
        let result = self.metrics.write_all(line.as_bytes());
        result.with_context(|| format!("writing {}/{METRICS}", self.path.display()))
    }

    /// Appends rows about completions, each with its `step`.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn append_completions(&self, rows: &[Value]) -> Result<()> {
        let path = self.path.join(COMPLETIONS);
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let result = file.and_then(|mut file| file.write_all(lines.as_bytes()));
        result.with_context(|| format!("writing {}", path.display()))
    }
}

/// Writes the `settings` of the run at `path`.
///
/// # Errors
/// When a file cannot be written.
pub fn write_settings(path: &Path, settings: &Value) -> Result<()> {
    json_file::write(&path.join(CONFIG), settings)?;
    let yaml = effective_config(settings);
    atomic_file::write(&path.join(EFFECTIVE_CONFIG), yaml.as_bytes())
}

/// Removes the rows after step `step`, and an incomplete last one, from the completions of the run
/// at `path`.
fn truncate_completions(path: &Path, step: u64) -> Result<()> {
    let path = path.join(COMPLETIONS);
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file.with_context(|| format!("writing {}", path.display()))?,
    };
    let (mut reader, mut line, mut len) = (BufReader::new(&file), Vec::new(), 0);
    while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        let row: Value = serde_json::from_slice(&line).unwrap_or_default();
        if row["step"].as_u64().is_none_or(|logged| logged > step) {
            break;
        }
        len += line.len() as u64;
        line.clear();
    }
    file.set_len(len).with_context(|| format!("writing {}", path.display()))
}

/// Removes the temporary files in the folder of a run and in its subfolders. Only the process that
/// has locked the run may do so.
fn remove_temp_files(path: &Path) -> Result<()> {
    atomic_file::remove_temp_files(path)?;
    for folder in MODEL_FOLDERS {
        atomic_file::remove_temp_files(&path.join(folder))?;
    }
    Ok(())
}
