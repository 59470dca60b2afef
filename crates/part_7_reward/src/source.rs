//! 7.1 Preference sources: built-in pairs, a local file, or a file on the Hub.

use std::path::PathBuf;

use anyhow::Result;
use datasets::preference::{FilterCounts, FilteredPreferences, Preference};
use datasets::{Mixture, PreferenceColumns, Split, Splits, arithmetic_preferences, politeness};

/// Source of preferences, as given by `--data`.
#[derive(Debug, Clone, PartialEq)]
pub enum PreferenceSource {
    /// Generated right answers against near misses.
    Arithmetic,
    /// Generated polite completions against rude ones.
    Politeness,
    /// Files of rows.
    Files(Vec<PathBuf>),
    /// Pairs of several sources.
    Mixture(Mixture<PreferenceSource>),
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
            Self::Files(paths) => return columns.read_files(paths),
            Self::Mixture(mixture) => {
                let (pairs, filter_counts) = Self::read_mixture(mixture, columns)?;
                let usable = pairs.sources.into_iter().flat_map(|(pairs, _)| pairs).collect();
                return Ok(FilteredPreferences { usable, filter_counts });
            }
        };
        Ok(FilteredPreferences { usable, filter_counts: FilterCounts::default() })
    }

    /// Usable pairs of each source, and the counts of all.
    fn read_mixture(
        mixture: &Mixture<Self>,
        columns: &PreferenceColumns,
    ) -> Result<(Mixture<Vec<Preference>>, FilterCounts)> {
        let mut counts = FilterCounts::default();
        let pairs = mixture.map(|source| {
            let FilteredPreferences { usable, filter_counts } =
                source.load_eval_preferences(columns)?;
            counts += filter_counts;
            Ok(usable)
        })?;
        Ok((pairs, counts))
    }

    /// Loads the training, validation and test preferences. A mixture is drawn by `seed`.
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
        let (usable, filter_counts) = match self {
            Self::Mixture(mixture) => {
                let (pairs, filter_counts) = Self::read_mixture(mixture, columns)?;
                (pairs.interleave(seed), filter_counts)
            }
            _ => {
                let all = self.load_eval_preferences(columns)?;
                (all.usable, all.filter_counts)
            }
        };
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
            Self::Files(_) | Self::Mixture(_) => {
                let prompt = |pair: &Preference| pair.prompt.clone();
                Splits::hold_out_shares(usable, prompt, validation, test, seed)?
            }
        };
        Ok(PreferenceDataset { train, validation, test, filter_counts })
    }
}

impl PreferenceDataset {
    /// Number of pairs of all splits.
    pub fn n_pairs(&self) -> usize {
        self.train.len() + self.validation.len() + self.test.len()
    }

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
