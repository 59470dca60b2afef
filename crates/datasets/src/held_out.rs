//! Rows of an evaluation that a model has not learned from: those that its run held out.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    DatasetFlags, Example, FilteredPreferences, PreferenceColumns, SplitRule, columns, json_rows,
};

/// Rows of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldOutRows {
    /// Rows.
    pub rows: Vec<Example>,
    /// Description of the rows, if the run of the model has learned from the same data.
    pub message: Option<String>,
    /// Warning, if the run may have learned any of the rows.
    pub warning: Option<String>,
}

impl HeldOutRows {
    /// Rows of the data `name` with the flags `dataset`, which `load` reads, without those whose
    /// prompts a run with these `settings` was trained on. `load_of_run` reads the rows of the run,
    /// a mixture drawn by the seed that it is given; the pairs of a run on preferences are read
    /// here, without those that it filtered out.
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
            return Ok(Self { rows: load()?, message: None, warning: None });
        }
        if let Some(file) = settings["eval_file"].as_str() {
            let warning =
                format!("the run was trained on these rows; its validation rows are in {file}");
            return Ok(Self { rows: load()?, message: None, warning: Some(warning) });
        }
        let is_on_preferences = is_on_preferences(settings);
        let load_of_run = |seed: u64| match is_on_preferences {
            true => preferences_of_run(settings, seed),
            false => load_of_run(seed),
        };
        let splits = SplitRule::splits_of_run(settings, load_of_run)
            .context("reading the data of the model's run")?;
        let Some((_, splits)) = splits else {
            let warning = Some(SplitRule::CHANGED.to_string());
            return Ok(Self { rows: load()?, message: None, warning });
        };
        if dataset.is_data_of(settings, name) && !is_on_preferences {
            let message = "the validation rows of the run's data; it was trained on the others";
            let message = Some(message.to_string());
            return Ok(Self { rows: splits.validation, message, warning: None });
        }
        let trained: HashSet<_> = splits.train.iter().map(Example::question).collect();
        let mut rows = load()?;
        let n_rows = rows.len();
        rows.retain(|row| !trained.contains(&row.question()));
        ensure!(!rows.is_empty(), "the run was trained on all rows of {name}");
        let message = format!("{} of {n_rows} rows: the run was trained on the others", rows.len());
        Ok(Self { rows, message: Some(message), warning: None })
    }

    /// True if the run of the model has learned from the same data.
    pub fn are_of_run(&self) -> bool {
        self.message.is_some() || self.warning.is_some()
    }

    /// Prints the message to stdout, as results are, and the warning to stderr.
    pub fn print(&self) {
        self.message.iter().for_each(|message| println!("{message}"));
        self.warning.iter().for_each(|warning| eprintln!("warning: {warning}"));
    }
}

/// True if the run with these `settings` was trained on preferences: one of part 7, or of part 10
/// on rows.
fn is_on_preferences(settings: &Value) -> bool {
    // A setting of no other run.
    settings["pairs"].is_u64() && settings["online"].is_null()
}

/// Rows of the run on preferences with these `settings`, in the order in which it split them; those
/// of a mixture as `seed` draws them. The completion is the chosen one.
fn preferences_of_run(settings: &Value, seed: u64) -> Result<Vec<Example>> {
    let (data, flags) =
        (settings["data"].as_str().unwrap_or_default(), DatasetFlags::of_run(settings));
    let names = match settings["columns"].as_str() {
        Some(map) => PreferenceColumns::parse(map)?,
        None => PreferenceColumns::default(),
    };
    let read = |name: &str| read_preferences(&flags.locate(name)?, &names);
    match flags.open_mixture(data, read)? {
        Some(mixture) => Ok(mixture.interleave(seed)),
        None => read(data),
    }
}

/// Rows of files with a completion and a label, as KTO reads them, and then the usable pairs.
fn read_preferences(paths: &[PathBuf], names: &PreferenceColumns) -> Result<Vec<Example>> {
    let mut pairs = FilteredPreferences::default();
    let labeled = json_rows::read_parsed(paths, |row| {
        if row.get("label").is_none() || !columns::has_value(row, "completion") {
            return names.read_row(row, &mut pairs).map(|()| None);
        }
        let completion = columns::completion(row, "completion")?;
        Ok(Some(Example::of_messages(names.read_prompt(row)?, completion)))
    })?;
    let mut rows: Vec<Example> = labeled.into_iter().flatten().collect();
    let pairs = pairs.usable.into_iter();
    rows.extend(pairs.map(|pair| Example::of_messages(pair.prompt, pair.chosen)));
    Ok(rows)
}
