//! Rows of an evaluation that a model has not learned from: those that its run held out.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{DatasetFlags, Example, SplitRule};

/// Rows of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldOutRows {
    /// Rows.
    pub rows: Vec<Example>,
    /// Description of the rows, if the run of the model has learned from the same data.
    pub message: Option<String>,
}

impl HeldOutRows {
    /// Rows of the data `name` with the flags `dataset`, which `load` reads, without those whose
    /// prompts a run with these `settings` was trained on. `load_of_run` reads the rows of the run,
    /// a mixture drawn by the seed that it is given.
    ///
    /// # Errors
    /// When rows cannot be read, or none is left.
    pub fn new(
        settings: &Value,
        (dataset, name): (&DatasetFlags, &str),
        load_of_run: impl FnOnce(u64) -> Result<Vec<Example>>,
        load: impl FnOnce() -> Result<Vec<Example>>,
    ) -> Result<Self> {
        if !dataset.shares_files_with(settings, name) || !SplitRule::is_of_run(settings) {
            return Ok(Self { rows: load()?, message: None });
        }
        if let Some(file) = settings["eval_file"].as_str() {
            let message = format!(
                "warning: the run was trained on these rows; its validation rows are in {file}"
            );
            return Ok(Self { rows: load()?, message: Some(message) });
        }
        let splits = SplitRule::splits_of_run(settings, load_of_run)
            .context("reading the data of the model's run")?;
        let Some((_, splits)) = splits else {
            let message = "warning: the run was trained on rows of these data, and they have \
                           changed since: which ones it held out is not known";
            return Ok(Self { rows: load()?, message: Some(message.into()) });
        };
        if dataset.is_data_of(settings, name) {
            let message = "the validation rows of the run's data; it was trained on the others";
            return Ok(Self { rows: splits.validation, message: Some(message.into()) });
        }
        let trained: HashSet<_> = splits.train.iter().map(Example::question).collect();
        let mut rows = load()?;
        let n_rows = rows.len();
        rows.retain(|row| !trained.contains(&row.question()));
        ensure!(!rows.is_empty(), "the run was trained on all rows of {name}");
        let message = format!("{} of {n_rows} rows: the run was trained on the others", rows.len());
        Ok(Self { rows, message: Some(message) })
    }
}
