//! A run of the course: its folder, its settings, and which stages are done.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use experiment::program::shell_quote;
use experiment::{Interrupt, run_folder};
use tensor_core::json_file;

use crate::scoreboard::MODELS;
use crate::settings::CourseSettings;
use crate::stage::StageRecord;
use crate::stages::{CourseStage, STAGES};

const SETTINGS: &str = "course.json";

/// A run of the course.
pub(crate) struct CourseRun {
    /// Run folder.
    pub(crate) out: PathBuf,
    pub(crate) settings: CourseSettings,
    /// Device of the evaluations; the training commands open their own.
    pub(crate) device: Device,
    /// Shutdown flag, set by Ctrl-C.
    interrupt: Interrupt,
    /// File lock that keeps other processes from writing to the run while this is open.
    _lock: File,
}

impl CourseRun {
    /// True if `out` holds a run of the course.
    pub(crate) fn exists_in(out: &Path) -> bool {
        out.join(SETTINGS).exists()
    }

    /// Creates a new run in `out`.
    ///
    /// # Errors
    /// When `out` is not empty.
    pub(crate) fn create(out: PathBuf, settings: CourseSettings, device: Device) -> Result<Self> {
        let folder = out.display();
        ensure!(
            !Self::exists_in(&out),
            "{folder} holds a run of the course: \
             continue it with --resume, or use another folder with --out"
        );
        let empty = out.read_dir().is_ok_and(|mut files| files.next().is_none());
        ensure!(
            empty || !out.exists(),
            "{folder} is not an empty folder: use another one with --out"
        );
        std::fs::create_dir_all(&out).with_context(|| format!("creating {folder}"))?;
        let (interrupt, _lock) = (Interrupt::listen()?, run_folder::lock_run(&out)?);
        json_file::write(&out.join(SETTINGS), &settings)?;
        Ok(Self { out, settings, device, interrupt, _lock })
    }

    /// Settings of the run in `out`, checked against those `requested` on the command line.
    ///
    /// # Errors
    /// When there is no run in `out`, or a requested setting differs.
    pub(crate) fn load_settings(out: &Path, requested: &CourseSettings) -> Result<CourseSettings> {
        let folder = out.display().to_string();
        let saved = json_file::read_or_null(&out.join(SETTINGS))?;
        ensure!(!saved.is_null(), "there is no run of the course in {folder} to resume");
        let saved: CourseSettings = serde_json::from_value(saved)
            .with_context(|| format!("{folder}/{SETTINGS} does not hold settings of the course"))?;
        saved.check_resumable(requested, &folder)
    }

    /// Opens the existing run in `out`, whose settings have been loaded.
    ///
    /// # Errors
    /// When another process holds the lock of the run.
    pub(crate) fn resume(out: PathBuf, settings: CourseSettings, device: Device) -> Result<Self> {
        let (interrupt, _lock) = (Interrupt::listen()?, run_folder::lock_run(&out)?);
        Ok(Self { out, settings, device, interrupt, _lock })
    }

    /// Runs all unfinished stages; false if it was interrupted.
    pub(crate) fn run(&self) -> Result<bool> {
        for stage in &STAGES {
            match StageRecord::read(&self.stage_folder(stage.name))? {
                Some(_) => println!("{}: already done", stage.heading()),
                None if !self.run_stage(stage)? => return Ok(false),
                None => {}
            }
        }
        Ok(true)
    }

    /// Runs the stage `name` again; false if it was interrupted. The old outputs of the stage and
    /// of all stages that depend on it are moved aside first, so `--resume` runs those again too.
    pub(crate) fn redo_stage(&self, name: &str) -> Result<bool> {
        let stage = STAGES.iter().find(|stage| stage.name == name);
        let stage = stage.context("there is no such stage")?;
        self.ensure_prerequisites(stage)?;
        let mut stale = vec![name];
        let mut moved = Vec::new();
        for stage in &STAGES {
            if stage.name == name || stage.prerequisites.iter().any(|needed| stale.contains(needed))
            {
                stale.push(stage.name);
                moved.extend(self.move_aside(stage.name)?);
            }
        }
        if !moved.is_empty() {
            println!("moved aside: {}", moved.join(", "));
        }
        self.run_stage(stage)
    }

    /// Renames the folder of the stage `name`, if it is done, to `NAME.previous`, or to
    /// `NAME.previous-2` and so on where that holds checkpoints. Returns the new name.
    fn move_aside(&self, name: &str) -> Result<Option<String>> {
        let folder = self.stage_folder(name);
        if StageRecord::read(&folder)?.is_none() {
            return Ok(None);
        }
        let backup = run_folder::backup_path(&folder)?;
        if backup.exists() {
            std::fs::remove_dir_all(&backup)
                .with_context(|| format!("removing {}", backup.display()))?;
        }
        std::fs::rename(&folder, &backup)
            .with_context(|| format!("moving {} to {}", folder.display(), backup.display()))?;
        Ok(backup.file_name().map(|name| name.to_string_lossy().into_owned()))
    }

    /// Names of the stages that are not done.
    pub(crate) fn unfinished_stages(&self) -> Result<Vec<&'static str>> {
        let mut unfinished = Vec::new();
        for stage in &STAGES {
            if StageRecord::read(&self.stage_folder(stage.name))?.is_none() {
                unfinished.push(stage.name);
            }
        }
        Ok(unfinished)
    }

    fn ensure_prerequisites(&self, stage: &CourseStage) -> Result<()> {
        for needed in stage.prerequisites {
            ensure!(
                StageRecord::read(&self.stage_folder(needed))?.is_some(),
                "the stage {} needs the output of the stage {needed}: \
                 run that first with --only {needed}",
                stage.name
            );
        }
        Ok(())
    }

    /// Runs one stage; false if it was interrupted.
    fn run_stage(&self, stage: &CourseStage) -> Result<bool> {
        self.ensure_prerequisites(stage)?;
        let (folder, start) = (self.stage_folder(stage.name), Instant::now());
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("removing the unfinished {}", folder.display()))?;
        }
        std::fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
        println!("\n{}\n", stage.heading());
        let record = (stage.run)(self, &folder);
        if self.interrupt.is_requested() {
            return Ok(false); // an interrupted command may fail or leave any state behind
        }
        let record = record.with_context(|| format!("in the stage {}", stage.name))?;
        let seconds = start.elapsed().as_secs_f64();
        println!("\n{} in {seconds:.0} s", record.results.join("; "));
        StageRecord { seconds, ..record }.write(&folder)?;
        Ok(true)
    }

    /// The last finished stage whose model can answer questions.
    pub(crate) fn last_chat_stage(&self) -> Result<Option<&'static str>> {
        for (stage, _) in MODELS.into_iter().rev() {
            if StageRecord::read(&self.stage_folder(stage))?.is_some() {
                return Ok(Some(stage));
            }
        }
        Ok(None)
    }

    /// Output folder of the stage `name`.
    pub(crate) fn stage_folder(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    /// Runs the command line `line` of a part with the run folder `out`. Returns the command as a
    /// user would type it.
    pub(crate) fn run_command(
        &self,
        run: fn(Vec<String>) -> Result<()>,
        line: &[&str],
        out: &Path,
    ) -> Result<String> {
        let mut line: Vec<String> = line.iter().map(ToString::to_string).collect();
        line.push(format!("--out={}", out.display()));
        line.extend(self.settings.to_flags());
        run(line.clone())?;
        let arguments: Vec<String> = line[1..].iter().map(shell_quote).collect();
        Ok(format!("cargo run -p {} -- {}", line[0], arguments.join(" ")))
    }

    /// The value of a setting for a full run or for `--quick`.
    pub(crate) fn full_or_quick<'a>(&self, full: &'a str, quick: &'a str) -> &'a str {
        if self.settings.quick { quick } else { full }
    }

    /// True after Ctrl-C.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.is_requested()
    }
}
