//! 7.1 Preference sources: built-in pairs, a local file, or a file on the Hub.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use datasets::preference::{FilterCounts, FilteredPreferences, Preference};
use datasets::{PreferenceColumns, json_rows};
use model_io::{fetch_dataset_file, is_dataset_id};
use sft::arithmetic::Split;
use tensor_core::Rng;

use crate::{arithmetic, politeness};

/// Source of preferences, as given by `--data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreferenceSource {
    /// Generated right answers against near misses.
    Arithmetic,
    /// Generated polite completions against rude ones.
    Politeness,
    /// JSON or JSON Lines file.
    File(PathBuf),
}

/// Training, validation and test preferences.
#[derive(Debug, Clone, Default)]
pub struct PreferenceDataset {
    /// Training pairs.
    pub train: Vec<Preference>,
    /// Validation pairs, for model selection.
    pub validation: Vec<Preference>,
    /// Test pairs, for reported results.
    pub test: Vec<Preference>,
    /// Number of pairs filtered out, by reason.
    pub filter_counts: FilterCounts,
}

impl PreferenceSource {
    /// Source called `name`; a file on the Hub, `owner/name:file.jsonl`, is downloaded.
    ///
    /// # Errors
    /// When the download fails.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "arithmetic" => Ok(Self::Arithmetic),
            "manners" => Ok(Self::Politeness),
            _ if is_dataset_id(name) => Ok(Self::File(fetch_dataset_file(name)?)),
            _ => Ok(Self::File(name.into())),
        }
    }

    /// Loads all preferences of a file, or the test split of a built-in source.
    ///
    /// # Errors
    /// When a row is invalid (the error gives its file and line), or every pair is filtered out.
    pub fn load_eval_preferences(
        &self,
        columns: &PreferenceColumns,
    ) -> Result<FilteredPreferences> {
        let Self::File(path) = self else {
            let (_, [_, usable]) = self.generate(0, 0);
            return Ok(FilteredPreferences { usable, filter_counts: FilterCounts::default() });
        };
        let mut all = FilteredPreferences::default();
        for row in &json_rows::read(path)? {
            json_rows::with_row_context(path, row, |row| columns.read_row(row, &mut all))?;
        }
        ensure!(
            !all.usable.is_empty(),
            "{} has no usable pair: {}",
            path.display(),
            all.filter_counts
        );
        Ok(all)
    }

    /// Loads the training, validation and test preferences.
    ///
    /// A file is shuffled with `seed` and split: `eval_fractions` are the fractions of the rows for
    /// validation and test. Of a built-in source, `n` training pairs are generated.
    ///
    /// # Errors
    /// When [`PreferenceSource::load_eval_preferences`] fails, or the splits leave nothing to train
    /// on.
    pub fn load_dataset(
        &self,
        columns: &PreferenceColumns,
        n: usize,
        eval_fractions: [f64; 2],
        seed: u64,
    ) -> Result<PreferenceDataset> {
        let Self::File(_) = self else {
            let (train, [validation, test]) = self.generate(n, seed);
            return Ok(PreferenceDataset {
                train,
                validation,
                test,
                filter_counts: FilterCounts::default(),
            });
        };
        let FilteredPreferences { usable: mut train, filter_counts } =
            self.load_eval_preferences(columns)?;
        Rng::new(seed).shuffle(&mut train);
        let n_rows = train.len();
        let [n_validation, n_test] =
            eval_fractions.map(|fraction| (n_rows as f64 * fraction).round() as usize);
        let n_validation = n_validation.max(1);
        ensure!(
            n_rows > n_validation + n_test,
            "{n_rows} pairs are too few: {n_validation} for validation and {n_test} for test leave \
             nothing to train on"
        );
        let validation = train.split_off(n_rows - n_validation);
        let test = train.split_off(train.len() - n_test);
        Ok(PreferenceDataset { train, validation, test, filter_counts })
    }

    /// Generates `n` training pairs, and the validation and test pairs; nothing for a file.
    fn generate(&self, n: usize, seed: u64) -> (Vec<Preference>, [Vec<Preference>; 2]) {
        let eval_splits = [Split::Validation, Split::Test];
        match self {
            Self::Arithmetic => {
                (arithmetic::train_pairs(n, seed), eval_splits.map(arithmetic::eval_pairs))
            }
            Self::Politeness => {
                (politeness::train_pairs(n, seed), eval_splits.map(politeness::eval_pairs))
            }
            Self::File(_) => (Vec::new(), [Vec::new(), Vec::new()]),
        }
    }
}

impl PreferenceDataset {
    /// Pairs to report results on, and a message that describes them: the test split, or the
    /// validation split if there is no test split.
    pub fn into_eval_pairs(self) -> (Vec<Preference>, &'static str) {
        match self.test.is_empty() {
            false => (self.test, "evaluating on the run's test split"),
            true => (
                self.validation,
                "evaluating on the run's validation pairs, which also selected the model; \
                 `train --test P` holds out a test split",
            ),
        }
    }
}
