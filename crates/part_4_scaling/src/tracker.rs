//! 4.5 Where the figures go beside `metrics.jsonl`: to the files of an experiment tracker, or nowhere.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::tensorboard::TensorBoard;
use crate::wandb::Wandb;

/// Which tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum TrackerKind {
    /// Event files: `tensorboard --logdir runs`
    Tensorboard,
    /// An offline run of Weights & Biases: `wandb sync`
    Wandb,
    /// `metrics.jsonl` alone
    None,
}

/// A tracker's files in the making.
pub enum Tracker {
    /// None.
    Disabled,
    /// One event file.
    TensorBoard(TensorBoard),
    /// One offline run.
    Wandb {
        /// Its file.
        run: Wandb,
        /// All that is known of the latest step: a step is one row.
        pending_row: (usize, Map<String, Value>),
    },
}

impl Tracker {
    /// Files of `kind` in the run folder `folder`, for a run with these settings that has been at `step`.
    ///
    /// # Errors
    /// When they cannot be written.
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

    /// Figures of a step, each a number or a text.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn log_metrics(&mut self, step: usize, figures: &Map<String, Value>) -> Result<()> {
        match self {
            Self::Disabled => {}
            Self::TensorBoard(events) => {
                for (name, value) in figures {
                    match value {
                        Value::String(text) => events.text(step, name, text)?,
                        value => events.scalar(step, name, value.as_f64().unwrap_or(f64::NAN))?,
                    }
                }
            }
            Self::Wandb { run, pending_row: (at, row) } => {
                if *at != step && !row.is_empty() {
                    run.log(*at, row)?;
                    row.clear();
                }
                *at = step;
                row.extend(figures.clone());
            }
        }
        Ok(())
    }

    /// A text of a step.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn log_text(&mut self, step: usize, name: &str, text: &str) -> Result<()> {
        self.log_metrics(step, &Map::from_iter([(name.to_string(), Value::from(text))]))
    }

    /// How the numbers in `values` are spread; trackers without histograms get nothing.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn log_histogram(&mut self, step: usize, name: &str, values: &[f32]) -> Result<()> {
        match self {
            Self::TensorBoard(events) => events.histogram(step, name, values),
            Self::Disabled | Self::Wandb { .. } => Ok(()),
        }
    }

    /// The run has ended.
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
