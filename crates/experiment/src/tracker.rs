//! 4.5 Experiment trackers: metrics are written to their files, in addition to `metrics.jsonl`.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::tensorboard::TensorBoard;
use crate::wandb::Wandb;

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
    /// Tracker of `kind` that writes to the run folder `folder`, for a run with `settings` that
    /// starts or resumes at `step`.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn create(kind: TrackerKind, folder: &Path, settings: &Value, step: usize) -> Result<Self> {
        Ok(match kind {
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
                let name = folder.file_name().unwrap_or_default().to_string_lossy();
                let run = Wandb::create(folder, "llm-from-scratch", &name, settings)?;
                Self::Wandb { run, pending_row: (step, Map::new()) }
            }
        })
    }

    /// Logs the metrics of a step, each a number or a text.
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

    /// Logs a histogram of `values`. Only TensorBoard supports it; other trackers ignore it.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn log_histogram(&mut self, step: usize, name: &str, values: &[f32]) -> Result<()> {
        match self {
            Self::TensorBoard(events) => events.histogram(step, name, values),
            Self::Disabled | Self::Wandb { .. } => Ok(()),
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
