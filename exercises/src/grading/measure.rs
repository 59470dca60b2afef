//! Grader of runs: it reads the settings and the metrics that a run left in its folder, and checks
//! the setting, the control and the sign of the effect.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::verdict::{GradeReport, Outcome};

/// Run folder, read.
#[derive(Debug, Clone)]
pub struct Run {
    /// Settings, `config.json`.
    pub settings: Value,
    /// Rows of `metrics.jsonl`.
    pub rows: Vec<Value>,
}

impl Run {
    /// Reads the run in `folder`, or a file with what a command printed with `--json`.
    ///
    /// # Errors
    /// When it is not the folder of a run, and no such file.
    pub fn open(folder: &Path) -> Result<Self> {
        if folder.is_file() {
            return Self::of_output(folder);
        }
        let settings = tensor_core::json_file::read(&folder.join("config.json"))
            .with_context(|| format!("{} is not the folder of a run", folder.display()))?;
        let path = folder.join("metrics.jsonl");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let rows = text.lines().map(serde_json::from_str).collect::<Result<Vec<_>, _>>();
        let rows = rows.with_context(|| format!("{} is not JSON", path.display()))?;
        ensure!(!rows.is_empty(), "{} has no row: let the run finish", path.display());
        Ok(Self { settings, rows })
    }

    /// Output of a command: its last line is a JSON object, and the rows are those of its list
    /// `curve`, or the object itself.
    fn of_output(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let object: Value = serde_json::from_str(last).with_context(|| {
            format!("the last line of {} is not JSON: was it --json?", path.display())
        })?;
        let rows = object.get("curve").and_then(Value::as_array).cloned();
        Ok(Self { settings: Value::Null, rows: rows.unwrap_or_else(|| vec![object]) })
    }

    /// Run with `settings` and `rows`, as examples are written.
    pub fn of(settings: Value, rows: &[Value]) -> Self {
        Self { settings, rows: rows.to_vec() }
    }

    /// First number that the rows have under `key`.
    pub fn first(&self, key: &str) -> Option<f64> {
        self.rows.iter().find_map(|row| row.get(key)?.as_f64())
    }

    /// Last number that the rows have under `key`.
    pub fn last(&self, key: &str) -> Option<f64> {
        self.rows.iter().rev().find_map(|row| row.get(key)?.as_f64())
    }

    /// Number of the setting `key`, on whatever level of the settings it stands.
    pub fn setting(&self, key: &str) -> Option<f64> {
        find(&self.settings, key)?.as_f64()
    }

    /// Text of the setting `key`, on whatever level of the settings it stands.
    pub fn text(&self, key: &str) -> Option<&str> {
        find(&self.settings, key)?.as_str()
    }
}

fn find<'a>(settings: &'a Value, key: &str) -> Option<&'a Value> {
    let levels = settings.as_object()?;
    levels.get(key).or_else(|| levels.values().find_map(|level| find(level, key)))
}

/// Finding about the runs: a sentence, and whether it is as it should be.
pub type Finding = (bool, String);

/// Grader of runs.
pub struct Measure {
    /// Number of run folders that it takes.
    pub n_runs: usize,
    /// Findings about the runs.
    pub findings: fn(&[Run]) -> Vec<Finding>,
    /// Runs as they should be.
    pub right: fn() -> Vec<Run>,
    /// Runs that are refused, each list with the piece of a sentence that says why.
    pub wrong: fn() -> Vec<(Vec<Run>, &'static str)>,
}

impl Measure {
    /// Verdict on `runs`.
    pub fn judge(&self, runs: &[Run]) -> GradeReport {
        if runs.len() != self.n_runs {
            let lines = vec![format!("{} run folders are needed, got {}", self.n_runs, runs.len())];
            return GradeReport::new(Outcome::Wrong, lines);
        }
        let findings = (self.findings)(runs);
        let all = findings.iter().all(|(good, _)| *good);
        let line = |(good, says): &Finding| format!("{} {says}", if *good { "✓" } else { "✗" });
        let outcome = if all { Outcome::Right } else { Outcome::Wrong };
        GradeReport::new(outcome, findings.iter().map(line).collect())
    }

    /// Faults of the grader: right runs that it refuses, wrong ones that it takes.
    pub fn faults(&self) -> Vec<String> {
        let right = self.judge(&(self.right)());
        let mut faults = Vec::new();
        if !right.is_right() {
            faults.push(format!("runs that are right are refused: {right:?}"));
        }
        for (runs, says) in (self.wrong)() {
            let verdict = self.judge(&runs);
            let named = |line: &String| line.starts_with('✗') && line.contains(says);
            if !verdict.lines.iter().any(named) {
                faults.push(format!("runs that are wrong are not named \"{says}\": {verdict:?}"));
            }
        }
        faults
    }
}
