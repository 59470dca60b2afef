//! 4.5 Experiment trackers: metrics are written to their files, in addition to `metrics.jsonl`.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::tensorboard::TensorBoard;
use crate::wandb::{self, Wandb};

/// Kind of experiment tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum TrackerKind {
    /// Event files: `tensorboard --logdir runs`
    Tensorboard,
    /// Weights & Biases, offline: `wandb sync`
    Wandb,
    /// Only metrics.jsonl
    None,
}

/// Flags of the experiment tracker.
#[derive(Debug, Clone, Serialize, Args)]
#[command(next_help_heading = "Run")]
pub struct TrackerFlags {
    /// Experiment tracker for which metrics are logged, in addition to metrics.jsonl
    #[arg(
        long, visible_alias = "report-to", alias = "log", value_enum,
        default_value_t = TrackerKind::Tensorboard
    )]
    pub tracker: TrackerKind,
    /// Name of a W&B run [default: that of the run folder]
    #[arg(long, value_name = "NAME")]
    pub run_name: Option<String>,
    /// Project of a W&B run [default: llm-from-scratch]
    #[arg(long, value_name = "NAME")]
    pub wandb_project: Option<String>,
}

/// Writer of a tracker's files.
pub enum Tracker {
    /// No tracker.
    Disabled,
    /// TensorBoard event file.
    TensorBoard(TensorBoard),
    /// Offline W&B run.
    Wandb {
        /// Log file of the run.
        run: Wandb,
        /// Step and metrics of the latest step; W&B needs one row per step.
        pending_row: (usize, Map<String, Value>),
    },
}

impl Tracker {
    /// Tracker of `flags` that writes to the run folder `folder`, for a run with `settings` that
    /// starts or resumes at `step`.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn create(
        flags: &TrackerFlags,
        folder: &Path,
        settings: &Value,
        step: usize,
    ) -> Result<Self> {
        Ok(match flags.tracker {
            TrackerKind::None => Self::Disabled,
            TrackerKind::Tensorboard => {
                let mut events = TensorBoard::create(folder)?;
                match step {
                    0 => events.hparams(settings)?,
                    _ => events.resume_from(step + 1)?,
                }
                Self::TensorBoard(events)
            }
            TrackerKind::Wandb => {
                let project = flags.wandb_project.as_deref().unwrap_or("llm-from-scratch");
                let folder_name = folder.file_name().unwrap_or_default().to_string_lossy();
                let name = flags.run_name.as_deref().unwrap_or(&folder_name);
                let run = Wandb::create(folder, project, name, settings)?;
                Self::Wandb { run, pending_row: (step, Map::new()) }
            }
        })
    }

    /// Logs the metrics of a step, each a number or a text; of W&B, a histogram, too.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn log_metrics(&mut self, step: usize, metrics: &Map<String, Value>) -> Result<()> {
        match self {
            Self::Disabled => {}
            Self::TensorBoard(events) => {
                for (name, value) in metrics {
                    match value {
                        Value::String(text) => events.text(step, name, text)?,
                        value => events.scalar(step, name, value.as_f64().unwrap_or(f64::NAN))?,
                    }
                }
            }
            Self::Wandb { run, pending_row: (row_step, row) } => {
                if *row_step != step && !row.is_empty() {
                    run.log(*row_step, row)?;
                    row.clear();
                }
                *row_step = step;
                row.extend(metrics.clone());
            }
        }
        Ok(())
    }

    /// Logs a text at `step`.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn log_text(&mut self, step: usize, name: &str, text: &str) -> Result<()> {
        self.log_metrics(step, &Map::from_iter([(name.to_string(), Value::from(text))]))
    }

    /// Logs a histogram of the finite ones of `values`.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn log_histogram(&mut self, step: usize, name: &str, values: &[f32]) -> Result<()> {
        match self {
            Self::TensorBoard(events) => events.histogram(step, name, values),
            Self::Wandb { .. } => {
                let histogram = wandb::histogram(values);
                self.log_metrics(step, &Map::from_iter([(name.to_string(), histogram)]))
            }
            Self::Disabled => Ok(()),
        }
    }

    /// Completes the files at the end of the run.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn finish(self) -> Result<()> {
        match self {
            Self::Disabled => Ok(()),
            Self::TensorBoard(mut events) => events.flush(),
            Self::Wandb { mut run, pending_row: (step, row) } => {
                if !row.is_empty() {
                    run.log(step, &row)?;
                }
                run.finish()
            }
        }
    }
}
