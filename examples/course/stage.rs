//! A finished stage: its record, and the metrics its training run logged.
//!
//! The record is written last. A stage without one starts over when the run is resumed; a stage
//! with one is skipped.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tensor_core::json_file;

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
    /// Results, one sentence fragment each.
    #[serde(alias = "found")]
    pub(crate) results: Vec<String>,
}

impl StageRecord {
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

    /// The sum of the metric `key` over all rows.
    pub(crate) fn sum(&self, key: &str) -> f64 {
        self.curve(key).into_iter().map(|(_, value)| value).sum()
    }
}
