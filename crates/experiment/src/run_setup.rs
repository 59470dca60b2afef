//! Setup of a run: a new one, or the newest intact checkpoint of the one in the run folder.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tensor_core::json_file;

use crate::flags::RunFlags;
use crate::machine::peak_resident_bytes;
use crate::program::shell_quote;
use crate::run::{LOG_STATE_FILE, RunCheckpoints};
use crate::run_log::{RunLog, RunLogConfig};
use crate::settings::check_resumable;
use crate::tracker::Tracker;
use crate::{Checkpoints, Interrupt, Run, RunFolder, TrainProgress};

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
    /// Setup with the arguments `args`, which hold `flags`. A resumed run may differ from its
    /// stored settings only in the keys `overridable`. A new run moves the contents of its folder
    /// aside, which must not hold any of its `inputs`: flags with their paths. Nothing is written
    /// yet.
    ///
    /// # Errors
    /// When there is no such run to resume, or a new run would move one of its inputs aside.
    pub fn new<A: Serialize + Args>(
        args: &A,
        flags: &'a RunFlags,
        overridable: &[&str],
        inputs: &[(&str, Option<impl AsRef<Path>>)],
    ) -> Result<Self> {
        let (settings, is_resumed) = (settings_of(args)?, flags.settings.resume);
        let setup = Self { out: &flags.out, settings, is_resumed, flags };
        if is_resumed {
            check_resumable::<A>(setup.out, &setup.settings, overridable)?;
            setup.latest_checkpoint()?;
            return Ok(setup);
        }
        for (flag, path) in inputs {
            if let Some(path) = path {
                RunFolder::ensure_input_not_overwritten(setup.out, flag, path)?;
            }
        }
        Ok(setup)
    }

    fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(self.out.join("checkpoints"), self.flags.save.keep_checkpoints)
    }

    /// Step and folder of the newest intact checkpoint.
    fn latest_checkpoint(&self) -> Result<(usize, PathBuf)> {
        self.checkpoints().latest()?.with_context(|| {
            format!(
                "{} has no checkpoint yet: omit --resume to start a new run",
                self.out.display()
            )
        })
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
        if self.is_resumed {
            let (latest, checkpoint) = self.latest_checkpoint()?;
            restore(&checkpoint).with_context(|| self.why_not_resumed())?;
            saved = json_file::read_or_null(&checkpoint.join(LOG_STATE_FILE))?;
            step = latest;
        }
        let (folder, rows) = RunFolder::resume(self.out, step)?;
        if self.is_resumed {
            json_file::write(&self.out.join("config.json"), &self.settings)?;
            println!("resuming after step {step}");
        }
        let tracker = self.flags.metrics.tracker;
        let tracker = Tracker::create(tracker, self.out, &self.settings, step)?;
        let mut log = RunLog::new(config, step)?.with_run_folder(folder, tracker, &rows);
        if !saved.is_null() {
            log.state = serde_json::from_value(saved)?;
        }
        Ok(log)
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
    /// When the signal handler cannot be installed.
    pub fn run(&self, data_id: &str) -> Result<Run> {
        Ok(Run {
            checkpoints: Some(RunCheckpoints {
                checkpoints: self.checkpoints(),
                save_interval: self.flags.save.save_interval,
                data_id: data_id.into(),
            }),
            interrupt: Interrupt::listen()?,
            stop_after: self.flags.save.stop_after.map(NonZeroUsize::get),
        })
    }

    /// Prints the end of a run of `part`: its speed, and the folder of its `model` in the run
    /// folder or how to resume it. With `--json`, the last line is `result` with the path of that
    /// folder.
    pub fn print_report(
        &self,
        part: &str,
        progress: &TrainProgress,
        tokens_per_second: f64,
        model: &str,
        mut result: Value,
    ) {
        match peak_resident_bytes() {
            Some(bytes) => {
                println!("{tokens_per_second:.0} tokens/s, peak memory {} MB", bytes / 1_000_000);
            }
            None => println!("{tokens_per_second:.0} tokens/s"),
        }
        let total = self.settings["steps"].as_u64().unwrap_or_default() as usize;
        let path = self.out.join(model);
        match progress.step >= total || progress.target_reached {
            true => println!("the best {model} is in {}", path.display()),
            false => println!("{}", resume_hint(part, progress.step, total, self.out)),
        }
        if self.flags.json {
            result[model] = json!(path);
            println!("{result}");
        }
    }
}

/// Settings of `args`: those of its groups of flags, which are nested objects, in one list.
///
/// # Errors
/// Never in practice: flags are numbers, texts and switches.
fn settings_of(args: &impl Serialize) -> Result<Value> {
    let mut settings = Map::new();
    collect_settings(serde_json::to_value(args)?, &mut settings);
    Ok(Value::Object(settings))
}

fn collect_settings(group: Value, settings: &mut Map<String, Value>) {
    let Value::Object(group) = group else { return };
    for (key, value) in group {
        match value.is_object() {
            true => collect_settings(value, settings),
            false => drop(settings.insert(key, value)),
        }
    }
}

/// Message about a run of `part` that stopped early, with the command that resumes it.
pub fn resume_hint(part: &str, step: usize, total: usize, out: &Path) -> String {
    format!(
        "stopped and saved after step {step} of {total}; \
         continue with: cargo run -p {part} -- train --resume --out {}",
        shell_quote(out)
    )
}
