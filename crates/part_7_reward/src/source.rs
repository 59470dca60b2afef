//! 7.1 Preference sources: built-in pairs, a local file, or a file on the Hub.

use std::path::PathBuf;

use anyhow::Result;
use datasets::preference::{FilterCounts, FilteredPreferences, Preference};
use datasets::{PreferenceColumns, Split, Splits, arithmetic_preferences, politeness};

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
#[derive(Debug, Clone)]
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
    /// Built-in source called `name`.
    pub fn built_in(name: &str) -> Option<Self> {
        match name {
            "arithmetic" => Some(Self::Arithmetic),
            "manners" => Some(Self::Politeness),
            _ => None,
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
        let usable = match self {
            Self::Arithmetic => arithmetic_preferences::eval_pairs(Split::Test),
            Self::Politeness => politeness::eval_pairs(Split::Test),
            Self::File(path) => return columns.read_file(path),
        };
        Ok(FilteredPreferences { usable, filter_counts: FilterCounts::default() })
    }

    /// Loads the training, validation and test preferences.
    ///
    /// A file is split at random by `seed`, pairs of one prompt together: `validation` and `test`
    /// are the shares of the rows held out. Of a built-in source, `n` training pairs are generated.
    ///
    /// # Errors
    /// When [`PreferenceSource::load_eval_preferences`] fails, or the splits leave nothing to train
    /// on.
    pub fn load_dataset(
        &self,
        columns: &PreferenceColumns,
        n: usize,
        validation: f64,
        test: f64,
        seed: u64,
    ) -> Result<PreferenceDataset> {
        let FilteredPreferences { usable, filter_counts } = self.load_eval_preferences(columns)?;
        let Splits { train, validation, test } = match self {
            Self::Arithmetic => Splits {
                train: arithmetic_preferences::train_pairs(n, seed),
                validation: arithmetic_preferences::eval_pairs(Split::Validation),
                test: usable,
            },
            Self::Politeness => Splits {
                train: politeness::train_pairs(n, seed),
                validation: politeness::eval_pairs(Split::Validation),
                test: usable,
            },
            Self::File(_) => {
                let prompt = |pair: &Preference| pair.prompt.clone();
                Splits::hold_out_shares(usable, prompt, validation, test, seed)?
            }
        };
        Ok(PreferenceDataset { train, validation, test, filter_counts })
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
