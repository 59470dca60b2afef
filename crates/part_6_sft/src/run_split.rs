//! Split of the run that a model comes from. A later run on the same data holds out the same rows:
//! of rows that the model has learned, in any of its runs, a validation would measure what it
//! remembers.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use datasets::held_out::{is_learned_by, splits_of_run};
use datasets::prompt_row::PromptKey;
use datasets::{DatasetFlags, Example, ExampleColumns, PromptRow, RowKind, SplitRule, SplitSpec};
use experiment::RunFolder;
use experiment::model_runs::runs_of_model;
use serde_json::Value;

use crate::SftSource;
use crate::flags::DataFlags;

/// Split of the run that a model comes from, and what the runs before it have learned.
#[derive(Debug)]
pub struct RunSplit {
    /// Folder of the run.
    pub run: PathBuf,
    /// Rule of the split; `None` if the run has only some of the data, such as a source of a
    /// mixture, or rows of another kind, such as preferences.
    pub rule: Option<SplitRule>,
    /// Prompts of the training rows of all runs.
    pub(crate) learned: HashSet<PromptKey>,
}

/// Split that flags give.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GivenSplit {
    /// Share of the rows in the validation split (--validation).
    pub validation: Option<f64>,
    /// Seed of the split (--split-seed).
    pub seed: Option<u64>,
}

impl RunSplit {
    /// Split of the first fine-tuning run on `data`, a part of which `dataset` selects, among the
    /// runs that led to `model`, and what all of these have learned of the data, or of a source
    /// that they share. `None` without one, and for generated data. A run is left out with a
    /// warning if there are other rows than when it was trained, or if its rows cannot be read and
    /// it is not a fine-tuning run on `data`.
    ///
    /// # Errors
    /// When the settings of a run, or the rows of a fine-tuning run on `data`, cannot be read.
    pub fn find(model: Option<&str>, data: &str, dataset: &DatasetFlags) -> Result<Option<Self>> {
        let is_generated = SftSource::built_in(data) == Some(SftSource::Arithmetic);
        let Some(model) = model.filter(|_| !is_generated) else { return Ok(None) };
        Self::find_by(has_examples, model, data, dataset)
    }

    /// Like [`RunSplit::find`], the split of the first run on preferences `data`, which are those
    /// of files.
    ///
    /// # Errors
    /// When the settings of a run, or the rows of a run on these preferences, cannot be read.
    pub fn find_of_preferences(
        model: Option<&str>,
        data: &str,
        dataset: &DatasetFlags,
    ) -> Result<Option<Self>> {
        let Some(model) = model else { return Ok(None) };
        let is_kind = |settings: &Value| RowKind::of_run(settings) == RowKind::Preference;
        Self::find_by(is_kind, model, data, dataset)
    }

    /// Split of the first run on `data` whose settings satisfy `is_kind`.
    fn find_by(
        is_kind: impl Fn(&Value) -> bool,
        model: &str,
        data: &str,
        dataset: &DatasetFlags,
    ) -> Result<Option<Self>> {
        let (mut of_data, mut of_source, mut learned) = (None, None, HashSet::new());
        let mut runs = runs_of_model(Path::new(model))?;
        runs.retain(|(_, settings)| is_learned_by(settings, dataset, data));
        for (run, settings) in runs {
            let has_same_data = is_kind(&settings) && dataset.is_data_of(&settings, data);
            let rows = match split_rows(&run, &settings) {
                Err(error) if !has_same_data => {
                    eprintln!(
                        "warning: {error:#}: which of these rows it has learned is not known"
                    );
                    continue;
                }
                rows => rows?,
            };
            let Some((rule, train)) = rows else { continue };
            learned.extend(train.iter().map(Example::conversation));
            match has_same_data {
                true => of_data = Some((run, Some(rule))),
                false => of_source = Some((run, None)),
            }
        }
        Ok(of_data.or(of_source).map(|(run, rule)| Self { run, rule, learned }))
    }

    /// Number of `rows` whose prompt the runs have learned.
    pub fn n_learned<T: PromptRow>(&self, rows: &[T]) -> usize {
        rows.iter().filter(|row| self.learned.contains(&row.conversation())).count()
    }

    /// Warns if the run has learned some of the `validation` rows of a run that starts from its
    /// model.
    pub fn warn_of_learned<T: PromptRow>(&self, validation: &[T]) {
        let (run, n_learned) = (self.run.display(), self.n_learned(validation));
        if n_learned > 0 {
            eprintln!(
                "warning: {run}, from which the model comes, was trained on {n_learned} of the {} \
                 validation rows: how well it does on them says little about others",
                validation.len()
            );
        }
    }
}

/// Split of a run: that which the run in the folder `resumed` recorded; of a new run that of the
/// seed that its flags give, else `earlier`, that of the run on the same data that its model comes
/// from, which is printed, else the `default` of its part; a share that the flags give applies to
/// each of them.
///
/// # Errors
/// When the settings of the resumed run cannot be read.
pub fn split_of_run(
    resumed: Option<&Path>,
    given: GivenSplit,
    earlier: Option<&RunSplit>,
    default: SplitSpec,
) -> Result<SplitSpec> {
    let of_seed = given.seed.map(|seed| {
        let validation = given.validation.unwrap_or(SplitRule::VALIDATION_SHARE);
        SplitSpec::Shares { validation, seed }
    });
    if let Some(resumed) = resumed {
        let settings = RunFolder::read_settings(resumed)?.unwrap_or_default();
        let recorded = SplitRule::recorded(&settings)?.map(SplitSpec::Recorded);
        return Ok(recorded.or(of_seed).unwrap_or(default));
    }
    let of_earlier = earlier.and_then(|split| Some((split.run.display(), split.rule?)));
    Ok(match (of_seed, of_earlier) {
        (Some(of_seed), _) => of_seed,
        (None, Some((run, rule))) => {
            match given.validation {
                None => println!("held out for validation are the rows that {run} held out"),
                Some(share) => println!(
                    "held out for validation is the share {share} of the rows, which are in the \
                     order of the split of {run}"
                ),
            }
            SplitSpec::Recorded(rule).with_validation(given.validation)
        }
        (None, None) => default.with_validation(given.validation),
    })
}

/// Rule by which the run with these `settings` split its rows, and its training rows. `None`, with
/// a warning, if the rows have changed since.
fn split_rows(run: &Path, settings: &Value) -> Result<Option<(SplitRule, Vec<Example>)>> {
    let load_rows = |mixture_seed| load_rows_of_run(settings, mixture_seed);
    let context = || format!("reading the rows of the run {}", run.display());
    if settings["eval_file"].is_string() {
        // All rows are for training.
        let rows = load_rows(SplitRule::PROBLEMS_MIXTURE_SEED).with_context(context)?;
        return Ok(Some((SplitRule::of_problems(rows.len()), rows)));
    }
    let splits = splits_of_run(settings, load_rows).with_context(context)?;
    if splits.is_none() {
        let run = format!("{}, from which the model comes,", run.display());
        eprintln!("warning: {}", SplitRule::changed_since(run));
    }
    Ok(splits.map(|(rule, splits)| (rule, splits.train)))
}

/// Rows of the run with these `settings`, examples or prompts alone; of a mixture those that `seed`
/// draws.
///
/// # Errors
/// When they cannot be read.
pub fn load_rows_of_run(settings: &Value, seed: u64) -> Result<Vec<Example>> {
    let load =
        |columns: Option<&ExampleColumns>| DataFlags::load_rows_of_run(settings, columns, seed);
    load(None).or_else(|_| load(Some(&ExampleColumns::AnyPrompt)))
}

/// True if the run with these `settings` has learned from examples: one of part 6, or of part 8.
fn has_examples(settings: &Value) -> bool {
    settings["examples"].is_u64() // a setting of no other run
}
