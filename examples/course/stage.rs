//! A finished stage: its record, and the metrics its training run logged.
//!
//! The record is written last. A stage without one starts over when the run is resumed; a stage
//! with one is skipped.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tensor_core::json_file;

/// Difference in exact match that does not count as progress.
const PLATEAU_MARGIN: f64 = 0.02;
const RECORD_FILE: &str = "stage.json";

/// Record of a finished stage, stored beside its output.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct StageRecord {
    /// Equivalent command line, if there is one.
    pub(crate) command: Option<String>,
    /// Duration in seconds.
    pub(crate) seconds: f64,
    /// Number of training tokens, read or generated.
    pub(crate) tokens: u64,
    /// Number of completions that were sampled for training.
    #[serde(default)]
    pub(crate) completions: u64,
    /// Plateau of the validation metric.
    #[serde(default)]
    pub(crate) plateau: Option<Plateau>,
    /// Results, one sentence fragment each.
    #[serde(alias = "found")]
    pub(crate) results: Vec<String>,
}

/// First validation whose exact match is within [`PLATEAU_MARGIN`] of the highest of the run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plateau {
    pub(crate) step: f64,
    /// Steps of the run.
    pub(crate) total_steps: f64,
}

impl StageRecord {
    /// Seconds to the plateau, as its share of the steps: the time of a stage is known, that of a
    /// step is not.
    pub(crate) fn plateau_seconds(&self) -> Option<f64> {
        let Plateau { step, total_steps } = self.plateau?;
        Some(self.seconds * step / total_steps.max(1.))
    }

    /// Marks the stage in `folder` as done.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        json_file::write(&folder.join(RECORD_FILE), self)
    }

    /// Record of the stage in `folder`; `None` if the stage is not done.
    ///
    /// # Errors
    /// When the file exists and cannot be read.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(RECORD_FILE);
        match json_file::read_or_null(&path)? {
            Value::Null => Ok(None),
            record => serde_json::from_value(record)
                .with_context(|| format!("{} is not a stage record", path.display())),
        }
    }
}

/// Metrics that a training run logged to `metrics.jsonl`.
#[derive(Debug, Clone)]
pub(crate) struct MetricsLog {
    path: PathBuf,
    rows: Vec<Value>,
}

impl MetricsLog {
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("metrics.jsonl");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let rows = text.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>();
        let rows =
            rows.with_context(|| format!("{} holds a line that is not JSON", path.display()))?;
        Ok(Self { path, rows })
    }

    /// (step, value) of the metric `key`, for the rows that have it.
    pub(crate) fn curve(&self, key: &str) -> Vec<(f64, f64)> {
        let point = |row: &Value| Some((row["step"].as_f64()?, row[key].as_f64()?));
        self.rows.iter().filter_map(point).collect()
    }

    /// The last value of the metric `key`.
    ///
    /// # Errors
    /// When no row has it.
    pub(crate) fn last(&self, key: &str) -> Result<f64> {
        let last = self.curve(key).last().map(|&(_, value)| value);
        last.with_context(|| format!("{} has no metric `{key}`", self.path.display()))
    }

    /// Plateau of the metric `key`; `None` if the run has no such metric.
    pub(crate) fn plateau(&self, key: &str) -> Option<Plateau> {
        let curve = self.curve(key);
        let best = curve.iter().map(|&(_, value)| value).reduce(f64::max)?;
        let (step, _) = curve.iter().find(|(_, value)| *value >= best - PLATEAU_MARGIN)?;
        let total_steps = curve.last()?.0;
        Some(Plateau { step: *step, total_steps })
    }

    /// The last step that has the metric `key`; 0 if none has.
    pub(crate) fn last_step(&self, key: &str) -> f64 {
        self.curve(key).last().map_or(0., |&(step, _)| step)
    }

    /// The sum of the metric `key` over all rows.
    pub(crate) fn sum(&self, key: &str) -> f64 {
        self.curve(key).into_iter().map(|(_, value)| value).sum()
    }
}
