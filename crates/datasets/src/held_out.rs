//! Rows of an evaluation that a model has not learned from: those that its runs held out.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::{
    DatasetFlags, Example, FilteredPreferences, PreferenceColumns, SplitRule, Splits, json_rows,
};

/// Rows of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldOutRows {
    /// Rows.
    pub rows: Vec<Example>,
    /// Description of the rows, if a run of the model has learned from the same data.
    pub message: Option<String>,
    /// Warning, if a run may have learned any of the rows.
    pub warning: Option<String>,
}

impl HeldOutRows {
    /// Rows of `requested`, data with the flags that select a part of it, which `load` reads,
    /// without those whose prompts a run that led to the model was trained on. `runs` are the
    /// settings of these runs, the latest first. `load_of_run` reads the rows of a run, a mixture
    /// drawn by the seed that it is given; the pairs of a run on preferences are read here, without
    /// those that it filtered out.
    ///
    /// # Errors
    /// When `load` fails, the rows of the latest run on these data cannot be read, or it was
    /// trained on all rows.
    pub fn new(
        runs: &[Value],
        requested: (&DatasetFlags, &str),
        load_of_run: impl Fn(&Value, u64) -> Result<Vec<Example>>,
        load: impl FnOnce() -> Result<Vec<Example>>,
    ) -> Result<Self> {
        let mut runs = runs.iter().filter(|run| Self::is_learned_by(run, requested.0, requested.1));
        let Some(latest) = runs.next() else {
            return Ok(Self { rows: load()?, message: None, warning: None });
        };
        let splits_of = |run: &Value| splits_of_run(run, |seed| load_of_run(run, seed));
        let mut held_out = Self::of_latest(latest, requested, splits_of(latest), load)?;
        for run in runs {
            held_out.remove_learned(run, splits_of(run));
        }
        Ok(held_out)
    }

    /// True if the run with these `settings` was trained on rows of the data `name` of `dataset`.
    pub fn is_learned_by(settings: &Value, dataset: &DatasetFlags, name: &str) -> bool {
        SplitRule::is_of_run(settings) && dataset.shares_files_with(settings, name)
    }

    /// Rows that the latest run, with these `settings` and `splits`, was not trained on.
    fn of_latest(
        settings: &Value,
        (dataset, name): (&DatasetFlags, &str),
        splits: Result<Option<(SplitRule, Splits<Example>)>>,
        load: impl FnOnce() -> Result<Vec<Example>>,
    ) -> Result<Self> {
        let is_data_of = dataset.is_data_of(settings, name);
        let warning = match (settings["eval_file"].as_str(), splits) {
            (Some(file), _) => {
                format!("the run was trained on these rows; its validation rows are in {file}")
            }
            (None, Ok(None)) => SplitRule::changed_since("the run"),
            (None, Ok(Some((_, splits)))) if is_data_of && !is_on_preferences(settings) => {
                let message = "the validation rows of the run's data; it was trained on the others";
                let message = Some(message.to_string());
                return Ok(Self { rows: splits.validation, message, warning: None });
            }
            (None, Ok(Some((_, splits)))) => {
                let trained: HashSet<_> = splits.train.iter().map(Example::question).collect();
                let is_trained = |row: &Example| trained.contains(&row.question());
                let (rows, message) = hold_out_untrained(load()?, is_trained, ("rows", name))?;
                return Ok(Self { rows, message: Some(message), warning: None });
            }
            (None, Err(error)) if is_data_of => {
                return Err(error.context("reading the data of the model's run"));
            }
            (None, Err(error)) => unknown_rows("the run", &error),
        };
        Ok(Self { rows: load()?, message: None, warning: Some(warning) })
    }

    /// Removes the rows that an earlier run, with these `settings` and `splits`, was trained on, if
    /// others are left.
    fn remove_learned(
        &mut self,
        settings: &Value,
        splits: Result<Option<(SplitRule, Splits<Example>)>>,
    ) {
        let run = "an earlier run of the model";
        let warning = match splits {
            _ if settings["eval_file"].is_string() => format!("{run} was trained on these rows"),
            Err(error) => unknown_rows(run, &error),
            Ok(None) => SplitRule::changed_since(run),
            Ok(Some((_, splits))) => {
                let trained: HashSet<_> = splits.train.iter().map(Example::question).collect();
                let untrained = self.rows.iter().filter(|row| !trained.contains(&row.question()));
                let untrained: Vec<Example> = untrained.cloned().collect();
                if untrained.len() == self.rows.len() {
                    return;
                }
                if !untrained.is_empty() {
                    let left = format!("{} rows that {run} was not trained on", untrained.len());
                    self.rows = untrained;
                    return append(&mut self.message, left);
                }
                format!("{run} was trained on all of these rows")
            }
        };
        append(&mut self.warning, warning);
    }

    /// Prints the message to stdout, as results are, and the warning to stderr.
    pub fn print(&self) {
        self.message.iter().for_each(|message| println!("{message}"));
        self.warning.iter().for_each(|warning| eprintln!("warning: {warning}"));
    }
}

/// `rows` without those that a run was trained on, and a message with their number. `kind` says in
/// the plural what they are, and `name` is that of the data.
///
/// # Errors
/// When none is left.
pub fn hold_out_untrained<T>(
    mut rows: Vec<T>,
    is_trained: impl Fn(&T) -> bool,
    (kind, name): (&str, &str),
) -> Result<(Vec<T>, String)> {
    let n_rows = rows.len();
    rows.retain(|row| !is_trained(row));
    ensure!(!rows.is_empty(), "the run was trained on all {kind} of {name}");
    let n = rows.len();
    Ok((rows, format!("{n} of {n_rows} {kind}: the run was trained on the others")))
}

/// Rule and splits of the run with these `settings`. `load` reads its rows, a mixture drawn by the
/// seed that it is given; the pairs of a run on preferences are read here, without those that it
/// filtered out. `None` if there are other rows than when the run was trained.
///
/// # Errors
/// Those of `load`, and when a row is invalid.
pub fn splits_of_run(
    settings: &Value,
    load: impl FnOnce(u64) -> Result<Vec<Example>>,
) -> Result<Option<(SplitRule, Splits<Example>)>> {
    SplitRule::splits_of_run(settings, |seed| match is_on_preferences(settings) {
        true => preferences_of_run(settings, seed),
        false => load(seed),
    })
}

/// Warning that the rows of `run` cannot be read.
fn unknown_rows(run: &str, error: &anyhow::Error) -> String {
    format!(
        "the data of {run} cannot be read, so which rows it has learned is not known: {error:#}"
    )
}

/// Appends `more` to a text.
fn append(text: &mut Option<String>, more: String) {
    *text = Some(match text.take() {
        Some(text) => format!("{text}; {more}"),
        None => more,
    });
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

/// Rows of files: completions with a label, as KTO reads them, and then the usable pairs.
fn read_preferences(paths: &[PathBuf], names: &PreferenceColumns) -> Result<Vec<Example>> {
    let mut pairs = FilteredPreferences::default();
    let labeled = json_rows::read_parsed(paths, |row| names.read_labeled_row(row, &mut pairs))?;
    let labeled = labeled.into_iter().flatten().map(|row| (row.prompt, row.completion));
    let pairs = pairs.usable.into_iter().map(|pair| {
        let chosen = pair.chosen_message();
        (pair.prompt, chosen)
    });
    Ok(labeled.chain(pairs).map(|(prompt, reply)| Example::of_messages(prompt, reply)).collect())
}
