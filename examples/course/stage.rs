//! A stage: one idea of the course, a folder with what it left, and a note that it is done.
//!
//! The note is written last, so a stage without one begins anew when a run is resumed, and one with it is not done twice.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tiny_gpt::json_file;

const RECORD_FILE: &str = "stage.json";

/// What a stage left behind, beside its files.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct StageRecord {
    /// The same as a command, if it is one.
    pub(crate) command: Option<String>,
    /// How long it took.
    pub(crate) seconds: f64,
    /// Tokens that were read, or written, to learn from.
    pub(crate) tokens: u64,
    /// What came of it, in words.
    pub(crate) results: Vec<String>,
}

impl StageRecord {
    /// Says that the stage in `folder` is done.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        json_file::write(&folder.join(RECORD_FILE), self)
    }

    /// That of the stage in `folder`, if it is done.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(RECORD_FILE);
        match json_file::read_or_null(&path)? {
            Value::Null => Ok(None),
            note => serde_json::from_value(note)
                .with_context(|| format!("{} is no note of a stage", path.display())),
        }
    }
}

/// The figures that a run left in `folder`.
#[derive(Debug, Clone)]
pub(crate) struct MetricsLog {
    path: PathBuf,
    rows: Vec<Value>,
}

impl MetricsLog {
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("metrics.jsonl");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let rows = text.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>();
        let rows =
            rows.with_context(|| format!("{} holds a line that is no JSON", path.display()))?;
        Ok(Self { path, rows })
    }

    /// (step, value) of the figure `key`, where there is one.
    pub(crate) fn curve(&self, key: &str) -> Vec<(f64, f64)> {
        let point = |row: &Value| Some((row["step"].as_f64()?, row[key].as_f64()?));
        self.rows.iter().filter_map(point).collect()
    }

    /// The last value of the figure `key`.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn last(&self, key: &str) -> Result<f64> {
        let last = self.curve(key).last().map(|&(_, value)| value);
        last.with_context(|| format!("{} has no figure `{key}`", self.path.display()))
    }

    /// The sum of the figure `key`.
    pub(crate) fn sum(&self, key: &str) -> f64 {
        self.curve(key).into_iter().map(|(_, value)| value).sum()
    }
}
