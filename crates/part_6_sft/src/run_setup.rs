//! A start of a run that begins with a model: of a new run, or of the rest of one that was stopped.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use scaling::Checkpoints;
use scaling::flags::RunFlags;
use scaling::resume::{latest_checkpoint, reopen_run};
use scaling::settings::check_resumable;
use scaling::tracker::{Tracker, TrackerKind};
use serde::Serialize;
use serde_json::Value;
use tiny_gpt::{Interrupt, RunFolder};

use crate::{ModelSaver, RunDestination, RunOutputs};

/// Where a run is, what it is told, and whether it is new.
#[derive(Debug)]
pub struct RunSetup<'a> {
    /// The run folder.
    pub out: &'a Path,
    /// What the run is told, as its `config.json` keeps it.
    pub settings: Value,
    /// Whether it goes on with the run that is there.
    pub is_resumed: bool,
    flags: &'a RunFlags,
}

impl<'a> RunSetup<'a> {
    /// A start with the arguments `args`. A run goes on where they differ from its own in nothing but what is `free`; a new one moves
    /// aside what is in `out`, where nothing may be that it begins with: what the flags in `begins_with` name. Nothing is written yet.
    ///
    /// # Errors
    /// When there is no such run to go on with, or a new one would lose what it begins with.
    pub fn new<A: Serialize + Args>(
        args: &A,
        (out, flags): (&'a Path, &'a RunFlags),
        free: &[&str],
        begins_with: &[(&str, Option<&str>)],
    ) -> Result<Self> {
        let (settings, resumes) = (serde_json::to_value(args)?, flags.settings.resume);
        let start = Self { out, settings, is_resumed: resumes, flags };
        if resumes {
            check_resumable::<A>(out, &start.settings, free)?;
            latest_checkpoint(out, &start.checkpoints())?;
            return Ok(start);
        }
        for (flag, named) in begins_with {
            named.map_or(Ok(()), |named| {
                RunFolder::ensure_input_not_overwritten(out, flag, named)
            })?;
        }
        Ok(start)
    }

    fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(self.out.join("checkpoints"), self.flags.save.keep_checkpoints)
    }

    /// Makes the folder of a new run: not before all that can be wrong is known to be right.
    ///
    /// # Errors
    /// As [`RunFolder::create`].
    pub fn create_folder(&self) -> Result<()> {
        if self.is_resumed {
            return Ok(());
        }
        RunFolder::create(self.out, &self.settings).map(drop)
    }

    /// The run's folder, the files of its tracker and its figures so far. Of a run that goes on, `restore` takes over the newest
    /// checkpoint.
    ///
    /// # Errors
    /// When the checkpoint is of another model or other data, or a file cannot be read or written.
    pub fn open_run(
        &self,
        tracker: TrackerKind,
        restore: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<(RunFolder, Tracker, Vec<Value>)> {
        let (step, (folder, rows)) = match self.is_resumed {
            true => self.restore_run(restore)?,
            false => (0, RunFolder::resume(self.out, 0)?),
        };
        Ok((folder, Tracker::create(tracker, self.out, &self.settings, step)?, rows))
    }

    fn restore_run(
        &self,
        restore: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<(usize, (RunFolder, Vec<Value>))> {
        let out = self.out;
        let (step, path) = latest_checkpoint(out, &self.checkpoints())?;
        let model = |told: &Value| told["model"].as_str().unwrap_or("its own base").to_string();
        let now = model(&self.settings);
        let began = RunFolder::read_settings(out)?.map_or_else(|| now.clone(), |old| model(&old));
        restore(&path).with_context(|| match now == began {
            true => format!("{} cannot go on", out.display()),
            false => format!("{} began with {began} and cannot go on with {now}", out.display()),
        })?;
        Ok((step, reopen_run(out, &self.settings, step)?))
    }

    /// Where the run's results go; `data` names what it learns from. From now on, Ctrl-C ends it saved.
    ///
    /// # Errors
    /// When Ctrl-C cannot be caught.
    pub fn outputs<'k>(&self, keeper: &'k ModelSaver<'k>, data: &'k str) -> Result<RunOutputs<'k>>
    where
        'a: 'k,
    {
        let (folder, checkpoints) = (self.out, self.checkpoints());
        let interval = self.flags.save.save_interval;
        let place = RunDestination {
            folder,
            model_saver: keeper,
            checkpoints,
            save_interval: interval,
            data_id: data,
        };
        let stop_after = self.flags.save.stop_after.map(NonZeroUsize::get);
        Ok(RunOutputs { destination: Some(place), interrupt: Interrupt::listen()?, stop_after })
    }
}
