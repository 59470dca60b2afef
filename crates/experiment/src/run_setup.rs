//! Setup of a run: a new one, or the newest intact checkpoint of the one in the run folder.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use ranks::Ranks;
use serde::Serialize;
use serde_json::Value;
use tensor_core::json_file;

use crate::flags::RunFlags;
use crate::interrupt::announce_run;
use crate::metrics_writer::extend_row;
use crate::program::ensure_usage;
use crate::run::{LOG_STATE_FILE, RunCheckpoints};
use crate::run_folder::{CHECKPOINTS, write_settings};
use crate::run_log::RunLog;
use crate::run_log_config::RunLogConfig;
use crate::settings::{check_resolved, check_resumable, ensure_same_settings, settings_of};
use crate::tracker::Tracker;
use crate::{Checkpoints, Interrupt, Run, RunFolder};

/// Flags whose values name files that a run reads, in the parts that have them.
const INPUT_FILES: [&str; 7] = [
    "--data",
    "--eval-file",
    "--reference",
    "--reward-program",
    "--judge-model",
    "--judge-prompt",
    "--tokenizer",
];

/// Folder, settings and flags of a run.
#[derive(Debug)]
pub struct RunSetup<'a> {
    /// Run folder.
    pub out: &'a Path,
    /// Settings of the run, as stored in its `config.json`.
    pub settings: Value,
    /// True if the run continues the one in the run folder.
    pub is_resumed: bool,
    /// Step and folder of the newest intact checkpoint of a resumed run.
    checkpoint: Option<(usize, PathBuf)>,
    pub(crate) flags: &'a RunFlags,
}

impl<'a> RunSetup<'a> {
    /// Setup with the arguments `args`, which hold `flags`. A resumed run may differ from its
    /// stored settings only in the keys `overridable`. A new run moves the contents of its folder
    /// aside, which must not hold any of its `inputs`: flags with their paths. Nothing is written
    /// yet.
    ///
    /// # Errors
    /// When there is no such run to resume, or a new run would move one of its inputs aside; a
    /// usage error if mpirun has started several ranks.
    pub fn new<A: Serialize + Args>(
        args: &A,
        flags: &'a RunFlags,
        overridable: &[&str],
        inputs: &[(&str, Option<impl AsRef<Path>>)],
    ) -> Result<Self> {
        ensure_usage(
            !Ranks::of_process()?.are_several(),
            "this part trains on one rank: start it alone",
        )?;
        Self::new_on_ranks(args, flags, overridable, inputs)
    }

    /// Like [`new`](Self::new), for a part whose ranks train together.
    ///
    /// # Errors
    /// When there is no such run to resume, a new run would move one of its inputs aside, or ranks
    /// have different settings.
    pub fn new_on_ranks<A: Serialize + Args>(
        args: &A,
        flags: &'a RunFlags,
        overridable: &[&str],
        inputs: &[(&str, Option<impl AsRef<Path>>)],
    ) -> Result<Self> {
        announce_run();
        let (settings, is_resumed) = (settings_of(args)?, flags.settings.resume);
        ensure_same_settings(&Ranks::of_process()?, &settings)?;
        let setup = Self { out: &flags.out, settings, is_resumed, checkpoint: None, flags };
        if is_resumed {
            check_resumable::<A>(setup.out, &setup.settings, overridable)?;
            let checkpoint = Some(setup.latest_checkpoint()?);
            return Ok(Self { checkpoint, ..setup });
        }
        for (flag, path) in inputs {
            if let Some(path) = path {
                RunFolder::ensure_input_not_overwritten(setup.out, flag, path)?;
            }
        }
        for flag in INPUT_FILES {
            let value = setup.settings[flag.trim_start_matches("--").replace('-', "_")].as_str();
            // Of a mixture, a.jsonl=0.7,b.jsonl=0.3, each file; of a command, each word.
            for path in value.unwrap_or_default().split([',', '=', ' ']) {
                RunFolder::ensure_input_not_overwritten(setup.out, flag, path)?;
            }
        }
        Ok(setup)
    }

    fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(self.out.join(CHECKPOINTS), self.flags.save.keep_checkpoints)
    }

    /// Step and folder of the newest intact checkpoint, after which a step can be taken.
    fn latest_checkpoint(&self) -> Result<(usize, PathBuf)> {
        let (step, folder) = self.checkpoints().latest()?.with_context(|| {
            format!(
                "{} has no checkpoint yet: omit --resume to start a new run",
                self.out.display()
            )
        })?;
        if let Some(last) = self.flags.save.stop_after {
            ensure_usage(
                last.get() > step,
                format!("--stop-after {last}: the run has already taken {step} steps"),
            )?;
        }
        Ok((step, folder))
    }

    /// Sets settings to the values that follow from the data or the model where a flag was not
    /// given, so that `config.json` has them and a resumed run does not derive them again.
    ///
    /// # Errors
    /// When a resumed run would have fewer `steps` than before, or another warm-up, for example.
    pub fn resolve(&mut self, derived: Value) -> Result<()> {
        extend_row(&mut self.settings, derived);
        let total_steps = self.total_steps();
        let stored = match self.is_resumed {
            true => RunFolder::read_settings(self.out)?.unwrap_or_default(),
            false => Value::Null,
        };
        if self.is_resumed {
            check_resolved(&stored, &self.settings)?;
        }
        let before = stored["steps"].as_u64().map_or(total_steps, |steps| steps as usize);
        ensure_usage(
            total_steps >= before,
            format!(
                "{total_steps} steps: the run has {before}, and --resume can only make it longer; \
                 --stop-after ends it earlier"
            ),
        )?;
        if total_steps > before {
            println!(
                "the learning-rate schedule spans {total_steps} steps from now on, instead of \
                 {before}"
            );
        }
        Ok(())
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

    /// Log of the run. For a resumed run, `restore` first loads the newest checkpoint.
    ///
    /// # Errors
    /// When the checkpoint is of another model or other data, or a file cannot be read or written.
    pub fn open_log(
        &self,
        config: RunLogConfig,
        restore: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<RunLog> {
        let (mut step, mut saved) = (0, Value::Null);
        if let Some((latest, checkpoint)) = &self.checkpoint {
            restore(checkpoint).with_context(|| self.why_not_resumed())?;
            saved = json_file::read_or_null(&checkpoint.join(LOG_STATE_FILE))?;
            step = *latest;
        }
        let (folder, rows) = RunFolder::resume(self.out, step)?;
        if self.is_resumed {
            write_settings(self.out, &self.settings)?;
            println!("resuming after step {step}");
        }
        let tracker = Tracker::create(&self.flags.tracker, self.out, &self.settings, step)?;
        let mut log = RunLog::new(config, step)?.with_run_folder(folder, tracker, &rows);
        if !saved.is_null() {
            log.state = serde_json::from_value(saved)?;
        }
        Ok(if Ranks::of_process()?.is_first() { log } else { log.without_progress() })
    }

    /// Message of a checkpoint that does not fit, which names the model if it is another one.
    fn why_not_resumed(&self) -> String {
        let out = self.out.display();
        let stored = RunFolder::read_settings(self.out).ok().flatten().unwrap_or_default();
        let [stored, current] = [&stored, &self.settings]
            .map(|settings| settings["model"].as_str().unwrap_or("its own base model"));
        match current == stored {
            true => format!("{out} cannot be resumed"),
            false => format!("{out} started from {stored} and cannot be resumed with {current}"),
        }
    }

    /// The run for its training loop; `data_id` names its training data. From now on, Ctrl-C stops
    /// the run with a checkpoint.
    ///
    /// # Errors
    /// When the signal handler cannot be installed, or the ranks have different data.
    pub fn run(&self, data_id: &str) -> Result<Run> {
        let ranks = Ranks::of_process()?;
        ranks.ensure_same(&data_id.to_string(), "data set (--data)")?;
        Ok(Run {
            ranks,
            checkpoints: Some(RunCheckpoints::new(
                self.checkpoints(),
                self.flags.save.save_interval,
                data_id,
            )),
            interrupt: Interrupt::listen()?,
            stop_after: self.flags.save.stop_after.map(NonZeroUsize::get),
            patience: self.patience(),
            stop_when_solved: self.stop_when_solved(),
        })
    }

    /// Value of --patience.
    pub(crate) fn patience(&self) -> Option<usize> {
        self.flags.metrics.patience.map(NonZeroUsize::get)
    }

    /// Value of --stop-when-solved, in the parts that have it; 0 stands for never.
    pub(crate) fn stop_when_solved(&self) -> Option<usize> {
        let n_steps = self.settings["stop_when_solved"].as_u64().unwrap_or_default() as usize;
        Some(n_steps).filter(|&n| n > 0)
    }

    pub(crate) fn total_steps(&self) -> usize {
        self.settings["steps"].as_u64().unwrap_or_default() as usize
    }
}
