//! 7.1 Where preferences come from: the built-in ones, a file, or a file on the Hub. What is named is what is used.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use modern::{fetch_dataset_file, is_dataset_id};
use sft::arithmetic::Split;
use sft::json_rows;
use tensor_core::Rng;

use crate::preference::{FilterCounts, FilteredPreferences, Preference};
use crate::{PreferenceColumns, arithmetic, politeness};

/// What a program's `--data` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreferenceSource {
    /// Right answers against near misses, generated.
    Arithmetic,
    /// Polite answers against rude ones, generated.
    Politeness,
    /// A JSON or JSON Lines file.
    File(PathBuf),
}

/// Preferences by what they are for.
#[derive(Debug, Clone, Default)]
pub struct PreferenceDataset {
    /// To learn from.
    pub train: Vec<Preference>,
    /// To decide by.
    pub validation: Vec<Preference>,
    /// To report of.
    pub test: Vec<Preference>,
    /// What could be neither.
    pub filter_counts: FilterCounts,
}

impl PreferenceSource {
    /// The one called `name`; a file on the Hub, `owner/name:file.jsonl`, is downloaded.
    ///
    /// # Errors
    /// When it cannot be downloaded.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "arithmetic" => Ok(Self::Arithmetic),
            "manners" => Ok(Self::Politeness),
            _ if is_dataset_id(name) => Ok(Self::File(fetch_dataset_file(name)?)),
            _ => Ok(Self::File(name.into())),
        }
    }

    /// All preferences of a file; of those that are generated, the held-out ones.
    ///
    /// # Errors
    /// When a row cannot be used (the file and the line are named), or none can.
    pub fn load_all(&self, columns: &PreferenceColumns) -> Result<FilteredPreferences> {
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
            "{} has no pair to learn from: {}",
            path.display(),
            all.filter_counts
        );
        Ok(all)
    }

    /// Preferences by what they are for. Of a file, these shares of the rows, drawn by `seed`, are to decide by and to report of;
    /// of those that are generated, `n` are drawn to learn from.
    ///
    /// # Errors
    /// As [`PreferenceSource::load_all`], or when there are too few.
    pub fn load_dataset(
        &self,
        columns: &PreferenceColumns,
        n: usize,
        shares: [f64; 2],
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
        let FilteredPreferences { usable: mut train, filter_counts } = self.load_all(columns)?;
        Rng::new(seed).shuffle(&mut train);
        let rows = train.len();
        let [validation, test] = shares.map(|share| (rows as f64 * share).round() as usize);
        let validation = validation.max(1);
        ensure!(
            rows > validation + test,
            "{rows} pairs are too few to learn from and to keep {validation} and {test} of them apart"
        );
        let validation = train.split_off(rows - validation);
        let test = train.split_off(train.len() - test);
        Ok(PreferenceDataset { train, validation, test, filter_counts })
    }

    /// `n` built-in ones to learn from, and those that never are: to decide by, and to report of.
    fn generate(&self, n: usize, seed: u64) -> (Vec<Preference>, [Vec<Preference>; 2]) {
        let apart = [Split::Validation, Split::Test];
        match self {
            Self::Arithmetic => {
                (arithmetic::train_pairs(n, seed), apart.map(arithmetic::eval_pairs))
            }
            Self::Politeness => {
                (politeness::train_pairs(n, seed), apart.map(politeness::eval_pairs))
            }
            Self::File(_) => (Vec::new(), [Vec::new(), Vec::new()]),
        }
    }
}

impl PreferenceDataset {
    /// What was not learned from, best to report of, and what that is: the test share, or where there is none, the validation
    /// pairs.
    pub fn into_eval_pairs(self) -> (Vec<Preference>, &'static str) {
        match self.test.is_empty() {
            false => (self.test, "measured on what the run kept apart for this"),
            true => (
                self.validation,
                "measured on the validation pairs, by which the run's model was chosen: `train --test P` keeps others apart",
            ),
        }
    }
}
