//! Rows of an evaluation that a model has not learned from: those that its runs held out.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::prompt_row::PromptKey;
use crate::{
    DatasetFlags, Example, FilteredPreferences, PreferenceColumns, PromptRow, RowKind, SplitRule,
    Splits, json_rows,
};

/// Rows of an evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldOutRows<T> {
    /// Rows.
    pub rows: Vec<T>,
    /// Description of the rows, if a run of the model has learned from the same data.
    pub message: Option<String>,
    /// Warning, if a run may have learned any of the rows.
    pub warning: Option<String>,
}

impl<T: PromptRow> HeldOutRows<T> {
    /// Rows of `requested`, data with the flags that select a part of it, which `load` reads,
    /// without those whose prompts a run that led to the model was trained on. `runs` are the
    /// settings of these runs, the latest first. Of the data of the latest run, they are its test
    /// rows, or its validation rows if it has no test rows.
    ///
    /// `load_of_run` reads the rows of a run, a mixture drawn by the seed that it is given; the
    /// pairs of a run on preferences are read here, without those that it filtered out.
    ///
    /// # Errors
    /// When `load` fails, the rows of the latest run on these data cannot be read, or it was
    /// trained on all rows.
    pub fn new(
        runs: &[Value],
        requested: (&DatasetFlags, &str),
        load_of_run: impl Fn(&Value, u64) -> Result<Vec<Example>>,
        load: impl FnOnce() -> Result<Vec<T>>,
    ) -> Result<Self> {
        let mut runs = runs.iter().filter(|run| is_learned_by(run, requested.0, requested.1));
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

    /// Rows that the latest run, with these `settings` and `splits`, was not trained on.
    fn of_latest(
        settings: &Value,
        (dataset, name): (&DatasetFlags, &str),
        splits: Result<Option<(SplitRule, Splits<Example>)>>,
        load: impl FnOnce() -> Result<Vec<T>>,
    ) -> Result<Self> {
        let is_data_of = dataset.is_data_of(settings, name);
        let warning = match (settings["eval_file"].as_str(), splits) {
            (Some(file), _) => {
                format!("the run was trained on these rows; its validation rows are in {file}")
            }
            (None, Ok(None)) => SplitRule::changed_since("the run"),
            (None, Ok(Some((_, splits)))) => {
                let is_own = is_data_of && RowKind::of_run(settings) == T::KIND;
                let (rows, message) = hold_out(load()?, &splits, is_own, name)?;
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
                let trained = questions(&splits.train);
                let n_trained =
                    self.rows.iter().filter(|row| trained.contains(&row.question())).count();
                match self.rows.len() - n_trained {
                    _ if n_trained == 0 => return,
                    0 => format!("{run} was trained on all of these rows"),
                    n_left => {
                        self.rows.retain(|row| !trained.contains(&row.question()));
                        let left = format!("{n_left} rows that {run} was not trained on");
                        return append(&mut self.message, left);
                    }
                }
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

/// True if the run with these `settings` was trained on rows of the data `name` of `dataset`.
pub fn is_learned_by(settings: &Value, dataset: &DatasetFlags, name: &str) -> bool {
    SplitRule::is_of_run(settings) && dataset.shares_files_with(settings, name)
}

/// Those of `rows`, of the data `name`, that a run with these `splits` was not trained on, and a
/// message that describes them. Of its own data, they are the test or validation rows alone.
///
/// # Errors
/// When none is left.
fn hold_out<T: PromptRow>(
    mut rows: Vec<T>,
    splits: &Splits<Example>,
    is_own: bool,
    name: &str,
) -> Result<(Vec<T>, String)> {
    let (held_out, description) = match splits.test.is_empty() {
        false => (&splits.test, "test rows of the run's data: it has not used them"),
        true => {
            (&splits.validation, "validation rows of the run's data; it was trained on the others")
        }
    };
    let of_split = questions(held_out);
    // Columns of its own may read other prompts.
    if is_own && rows.iter().any(|row| of_split.contains(&row.question())) {
        return Ok((rows_of_questions(rows, held_out), format!("the {description}")));
    }
    let (n_rows, trained) = (rows.len(), questions(&splits.train));
    rows.retain(|row| !trained.contains(&row.question()));
    ensure!(!rows.is_empty(), "the run was trained on all rows of {name}");
    let n = rows.len();
    Ok((rows, format!("{n} of {n_rows} rows: the run was trained on the others")))
}

fn questions(rows: &[Example]) -> HashSet<PromptKey> {
    rows.iter().map(Example::question).collect()
}

/// Those of `rows` with the questions of `examples`, in the order of these.
fn rows_of_questions<T: PromptRow>(rows: Vec<T>, examples: &[Example]) -> Vec<T> {
    let mut of_question: HashMap<PromptKey, Vec<T>> = HashMap::new();
    for row in rows {
        of_question.entry(row.question()).or_default().push(row);
    }
    let rows = examples.iter().filter_map(|example| of_question.remove(&example.question()));
    rows.flatten().collect()
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
    SplitRule::splits_of_run(settings, |seed| match RowKind::of_run(settings) {
        RowKind::Preference => preferences_of_run(settings, seed),
        RowKind::Example => load(seed),
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
