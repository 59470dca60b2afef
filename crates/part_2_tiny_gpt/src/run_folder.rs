//! Run folder: `config.json` (the settings), `metrics.jsonl` (one object per logged step) and
//! whatever else the run saves. A folder that already holds a run is moved aside first, to `NAME.previous`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;
use tensor_core::atomic_file;

use crate::json_file;

const CONFIG: &str = "config.json";
const METRICS: &str = "metrics.jsonl";
const LOCK: &str = ".lock";

/// A run's folder, with its figures open for more.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    metrics: File,
    _lock: File,
}

impl RunFolder {
    /// A new run at `path`, its `settings` first.
    ///
    /// # Errors
    /// When the folder cannot be written, another process is writing it, what stands there cannot be moved aside, or it has a
    /// `config.json` that a training run did not write (a model's, perhaps), which would be lost.
    pub fn create(path: &Path, settings: &impl Serialize) -> Result<Self> {
        let (config, holds) = (path.join(CONFIG), |what: &str| path.join(what).exists());
        ensure!(
            !holds(CONFIG) || holds(METRICS) || holds(LOCK), // a run that was killed early has its lock alone
            "{} is no run's, so {} is no place for one: name another --out",
            config.display(),
            path.display()
        );
        back_up_existing_run(path)?;
        fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))?;
        let lock = lock_run(path)?;
        json_file::write(&path.join(CONFIG), settings)?;
        atomic_file::write(&path.join(METRICS), b"")?;
        Self::open(path, lock)
    }

    /// The run at `path` as it was after `step` steps, and its figures up to there.
    ///
    /// # Errors
    /// When there is none, another process is writing it, or its figures cannot be read.
    pub fn resume(path: &Path, step: usize) -> Result<(Self, Vec<Value>)> {
        let lock = lock_run(path)?;
        let metrics = path.join(METRICS);
        let text = fs::read_to_string(&metrics)
            .with_context(|| format!("reading {}", metrics.display()))?;
        // A killed run may have written half a line.
        let rows = text.lines().map_while(|line| serde_json::from_str::<Value>(line).ok());
        let rows: Vec<Value> =
            rows.filter(|row| row["step"].as_u64().is_some_and(|at| at <= step as u64)).collect();
        let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
        atomic_file::write(&metrics, text.as_bytes())?;
        Ok((Self::open(path, lock)?, rows))
    }

    /// Settings of the run at `path`; `None` without a run.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read_settings(path: &Path) -> Result<Option<Value>> {
        let file = path.join(CONFIG);
        match path.join(METRICS).exists() && file.exists() {
            true => json_file::read(&file).map(Some),
            false => Ok(None),
        }
    }

    /// Refuses what a new run at `path` begins with and `flag` has `named`, where it would be moved aside with the run that is there,
    /// or removed. What does not exist lies nowhere.
    ///
    /// # Errors
    /// Says what lies where.
    pub fn ensure_input_not_overwritten(
        path: &Path,
        flag: &str,
        named: impl AsRef<Path>,
    ) -> Result<()> {
        let named = named.as_ref();
        let within = |place: &Path| match (named.canonicalize(), place.canonicalize()) {
            (Ok(named), Ok(place)) => named.starts_with(place),
            _ => false,
        };
        let mut places = vec![(path.to_path_buf(), "moved aside")];
        if path.join(METRICS).exists() {
            places.push((backup_path(path)?, "removed"));
        }
        for (place, what) in places {
            ensure!(
                !within(&place),
                "{flag} {} lies in {}, which would be {what}: name another --out",
                named.display(),
                place.display()
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

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a row of figures.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn append_metrics(&mut self, row: &Value) -> Result<()> {
        let line = format!("{row}\n");
        let written = self.metrics.write_all(line.as_bytes());
        written.with_context(|| format!("writing {}/{METRICS}", self.path.display()))
    }
}

/// Renames a folder that holds a run, so that nothing is lost. An older `.previous` gives way, unless it has checkpoints, or
/// it has a model and this run has none.
fn back_up_existing_run(path: &Path) -> Result<()> {
    if !path.join(METRICS).exists() {
        return Ok(());
    }
    let _held = lock_run(path)?; // nobody is writing it
    let holds = |path: &Path, what: &str| path.join(what).exists();
    let previous = backup_path(path)?;
    if previous.exists() {
        ensure!(holds(&previous, METRICS), "{} is in the way and holds no run", previous.display());
        let worth_less = !holds(path, "model") && !holds(path, "checkpoints");
        if holds(&previous, "model") && worth_less {
            fs::remove_dir_all(path).with_context(|| format!("removing {}", path.display()))?;
            eprintln!(
                "the run that was there saved no model; {} is kept instead",
                previous.display()
            );
            return Ok(());
        }
        fs::remove_dir_all(&previous)
            .with_context(|| format!("removing {}", previous.display()))?;
    }
    fs::rename(path, &previous)
        .with_context(|| format!("moving {} to {}", path.display(), previous.display()))?;
    eprintln!("the run that was there is now {}", previous.display());
    Ok(())
}

/// Where the run at `path` is moved to: the first place that holds no checkpoints.
///
/// # Errors
/// When `path` has no name of its own.
pub fn backup_path(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().context("the run folder has no name of its own")?;
    let named =
        |end: String| path.with_file_name(format!("{}.previous{end}", name.to_string_lossy()));
    let mut previous = named(String::new());
    for number in 2.. {
        if !previous.join("checkpoints").exists() {
            break;
        }
        previous = named(format!("-{number}"));
    }
    Ok(previous)
}

/// Holds the run at `path` for this process, as long as the file stays open.
///
/// # Errors
/// When another process holds it.
pub fn lock_run(path: &Path) -> Result<File> {
    let file = path.join(LOCK);
    let opened = OpenOptions::new().create(true).append(true).open(&file);
    let opened = opened.with_context(|| format!("writing {}", file.display()))?;
    if let Err(TryLockError::WouldBlock) = opened.try_lock() {
        bail!("another process is writing the run in {}", path.display());
    }
    Ok(opened) // also where the file system knows no locks
}
