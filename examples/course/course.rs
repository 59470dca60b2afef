//! A run of the course: its folder, its settings, and which stages are done.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use tiny_gpt::command::shell_quote;
use tiny_gpt::{Interrupt, json_file, run_folder};

use crate::scoreboard::MODELS;
use crate::settings::CourseSettings;
use crate::stage::StageRecord;
use crate::stages::{CourseStage, STAGES};

const SETTINGS: &str = "course.json";

/// A run of the course.
pub(crate) struct CourseRun {
    /// Where everything goes.
    pub(crate) out: PathBuf,
    pub(crate) settings: CourseSettings,
    /// Where models are asked.
    pub(crate) device: Device,
    /// Whether the run was asked to end.
    interrupt: Interrupt,
    /// No other process writes the run, as long as this is open.
    _lock: File,
}

impl CourseRun {
    /// Whether there is a run in `out`.
    pub(crate) fn exists_in(out: &Path) -> bool {
        out.join(SETTINGS).exists()
    }

    /// A new run in `out`.
    ///
    /// # Errors
    /// When there is something already.
    pub(crate) fn create(out: PathBuf, settings: CourseSettings, device: Device) -> Result<Self> {
        let place = out.display();
        ensure!(
            !Self::exists_in(&out),
            "{place} holds a run of the course: go on with it by --resume, or name another place by --out"
        );
        let empty = out.read_dir().is_ok_and(|mut files| files.next().is_none());
        ensure!(empty || !out.exists(), "{place} holds other things: name another place by --out");
        std::fs::create_dir_all(&out).with_context(|| format!("creating {place}"))?;
        let (interrupt, _lock) = (Interrupt::listen()?, run_folder::lock_run(&out)?);
        json_file::write(&out.join(SETTINGS), &settings)?;
        Ok(Self { out, settings, device, interrupt, _lock })
    }

    /// The settings that the run in `out` was begun with, where a user asks for `asked`.
    ///
    /// # Errors
    /// When there is no run, or `asked` says something else.
    pub(crate) fn load_settings(out: &Path, asked: &CourseSettings) -> Result<CourseSettings> {
        let place = out.display().to_string();
        let begun = json_file::read_or_null(&out.join(SETTINGS))?;
        ensure!(!begun.is_null(), "there is no run of the course in {place} to go on with");
        let begun: CourseSettings = serde_json::from_value(begun)
            .with_context(|| format!("{place}/{SETTINGS} holds no settings of the course"))?;
        begun.check_resumable(asked, &place)
    }

    /// The run in `out`, which was begun with these settings.
    ///
    /// # Errors
    /// When another process is at it.
    pub(crate) fn resume(out: PathBuf, settings: CourseSettings, device: Device) -> Result<Self> {
        let (interrupt, _lock) = (Interrupt::listen()?, run_folder::lock_run(&out)?);
        Ok(Self { out, settings, device, interrupt, _lock })
    }

    /// Does what is not done; whether it came to the end.
    pub(crate) fn run(&self) -> Result<bool> {
        for stage in &STAGES {
            match StageRecord::read(&self.stage_folder(stage.name))? {
                Some(_) => println!("{}: done before", stage.heading()),
                None if !self.run_stage(stage)? => return Ok(false),
                None => {}
            }
        }
        Ok(true)
    }

    /// Does the stage `name` anew; whether it came to the end. It and what follows from it, which is then to be done again, are moved
    /// aside first.
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

    /// Renames the folder of the stage `name`, if it is done, to `NAME.previous`, or, where checkpoints are in the way, to
    /// `NAME.previous-2` and so on; what it is called then.
    fn move_aside(&self, name: &str) -> Result<Option<String>> {
        let folder = self.stage_folder(name);
        if StageRecord::read(&folder)?.is_none() {
            return Ok(None);
        }
        let aside = run_folder::backup_path(&folder)?;
        if aside.exists() {
            std::fs::remove_dir_all(&aside)
                .with_context(|| format!("removing {}", aside.display()))?;
        }
        std::fs::rename(&folder, &aside)
            .with_context(|| format!("moving {} to {}", folder.display(), aside.display()))?;
        Ok(aside.file_name().map(|name| name.to_string_lossy().into_owned()))
    }

    /// The stages that are still to be done.
    pub(crate) fn unfinished_stages(&self) -> Result<Vec<&'static str>> {
        let mut missing = Vec::new();
        for stage in &STAGES {
            if StageRecord::read(&self.stage_folder(stage.name))?.is_none() {
                missing.push(stage.name);
            }
        }
        Ok(missing)
    }

    fn ensure_prerequisites(&self, stage: &CourseStage) -> Result<()> {
        for needed in stage.prerequisites {
            ensure!(
                StageRecord::read(&self.stage_folder(needed))?.is_some(),
                "the stage {} begins with what the stage {needed} leaves: do that first, by --only {needed}",
                stage.name
            );
        }
        Ok(())
    }

    /// Does a stage; false where it was asked to end before.
    fn run_stage(&self, stage: &CourseStage) -> Result<bool> {
        self.ensure_prerequisites(stage)?;
        let (folder, start) = (self.stage_folder(stage.name), Instant::now());
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("removing what was begun in {}", folder.display()))?;
        }
        std::fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
        println!("\n{}\n", stage.heading());
        let done = (stage.run)(self, &folder);
        if self.interrupt.is_requested() {
            return Ok(false); // what a command that was interrupted left may be anything
        }
        let note = done.with_context(|| format!("in the stage {}", stage.name))?;
        let seconds = start.elapsed().as_secs_f64();
        println!("\n{} in {seconds:.0} s", note.results.join("; "));
        StageRecord { seconds, ..note }.write(&folder)?;
        Ok(true)
    }

    /// The last stage that made a model which answers, if one is done.
    pub(crate) fn last_chat_stage(&self) -> Result<Option<&'static str>> {
        for (stage, _) in MODELS.into_iter().rev() {
            if StageRecord::read(&self.stage_folder(stage))?.is_some() {
                return Ok(Some(stage));
            }
        }
        Ok(None)
    }

    /// Where the stage `name` keeps what it leaves.
    pub(crate) fn stage_folder(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    /// Runs a command line of a part, `out` its run folder; as one would type it.
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
        let shown: Vec<String> = line[1..].iter().map(shell_quote).collect();
        Ok(format!("cargo run --release -p {} -- {}", line[0], shown.join(" ")))
    }

    /// What a whole run gets, or a quick one.
    pub(crate) fn full_or_quick<'a>(&self, whole: &'a str, quick: &'a str) -> &'a str {
        if self.settings.quick { quick } else { whole }
    }

    /// Whether the run was asked to end.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.is_requested()
    }
}
