//! Setup of a run that starts from a model: a new run, or a resumed one.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use experiment::flags::RunFlags;
use experiment::resume::{latest_checkpoint, reopen_run};
use experiment::settings::check_resumable;
use experiment::tracker::{Tracker, TrackerKind};
use experiment::{Checkpoints, Interrupt, RunFolder};
use serde::Serialize;
use serde_json::Value;

use crate::{ModelSaver, RunDestination, RunOutputs};

/// Folder, settings and flags of a run.
#[derive(Debug)]
pub struct RunSetup<'a> {
    /// Run folder.
    pub out: &'a Path,
    /// Settings of the run, as stored in its `config.json`.
    pub settings: Value,
    /// True if the run continues the one in the run folder.
    pub is_resumed: bool,
    flags: &'a RunFlags,
}

impl<'a> RunSetup<'a> {
    /// Setup with the arguments `args`. A resumed run may differ from its stored settings only in
    /// the keys `overridable`. A new run moves the contents of `out` aside, which must not hold any
    /// of its `inputs`: flags with their paths. Nothing is written yet.
    ///
    /// # Errors
    /// When there is no such run to resume, or a new run would move one of its inputs aside.
    pub fn validate<A: Serialize + Args>(
        args: &A,
        (out, flags): (&'a Path, &'a RunFlags),
        overridable: &[&str],
        inputs: &[(&str, Option<&str>)],
    ) -> Result<Self> {
        let (settings, is_resumed) = (serde_json::to_value(args)?, flags.settings.resume);
        let setup = Self { out, settings, is_resumed, flags };
        if is_resumed {
            check_resumable::<A>(out, &setup.settings, overridable)?;
            latest_checkpoint(out, &setup.checkpoints())?;
            return Ok(setup);
        }
        for (flag, path) in inputs {
            path.map_or(Ok(()), |path| RunFolder::ensure_input_not_overwritten(out, flag, path))?;
        }
        Ok(setup)
    }

    fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(self.out.join("checkpoints"), self.flags.save.keep_checkpoints)
    }

    /// Creates the folder of a new run. Call it after everything else has been validated.
    ///
    /// # Errors
    /// Those of [`RunFolder::create`].
    pub fn create_folder(&self) -> Result<()> {
        if self.is_resumed {
            return Ok(());
        }
        RunFolder::create(self.out, &self.settings).map(drop)
    }

    /// Run folder, tracker, and the metrics rows so far. For a resumed run, `restore` loads the
    /// newest checkpoint.
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
        let model = |settings: &Value| {
            settings["model"].as_str().unwrap_or("its own base model").to_string()
        };
        let current = model(&self.settings);
        let stored =
            RunFolder::read_settings(out)?.map_or_else(|| current.clone(), |old| model(&old));
        restore(&path).with_context(|| match current == stored {
            true => format!("{} cannot be resumed", out.display()),
            false => {
                let out = out.display();
                format!("{out} started from {stored} and cannot be resumed with {current}")
            }
        })?;
        Ok((step, reopen_run(out, &self.settings, step)?))
    }

    /// Outputs of the run; `data_id` names its training data. From now on, Ctrl-C stops the run
    /// with a checkpoint.
    ///
    /// # Errors
    /// When the signal handler cannot be installed.
    pub fn outputs<'k>(
        &self,
        model_saver: &'k ModelSaver<'k>,
        data_id: &'k str,
    ) -> Result<RunOutputs<'k>>
    where
        'a: 'k,
    {
        let (folder, checkpoints) = (self.out, self.checkpoints());
        let save_interval = self.flags.save.save_interval;
        let destination =
            RunDestination { folder, model_saver, checkpoints, save_interval, data_id };
        let stop_after = self.flags.save.stop_after.map(NonZeroUsize::get);
        Ok(RunOutputs {
            destination: Some(destination),
            interrupt: Interrupt::listen()?,
            stop_after,
        })
    }
}
