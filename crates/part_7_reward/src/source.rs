//! 7.1 Preference sources: built-in pairs, a local file, or a file on the Hub.

use std::path::PathBuf;

use anyhow::Result;
use datasets::preference::{FilterCounts, FilteredPreferences, Preference};
use datasets::{
    Mixture, PreferenceColumns, Split, SplitRule, Splits, arithmetic_preferences, politeness,
};

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
                return Ok(FilteredPreferences { usable: pairs.concat(), filter_counts });
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

    /// All preferences, as [`PreferenceSource::load_eval_preferences`]; those of a mixture as
    /// `seed` draws them.
    ///
    /// # Errors
    /// Those of [`PreferenceSource::load_eval_preferences`].
    pub fn load_preferences(
        &self,
        columns: &PreferenceColumns,
        seed: u64,
    ) -> Result<FilteredPreferences> {
        match self {
            Self::Mixture(mixture) => {
                let (pairs, filter_counts) = Self::read_mixture(mixture, columns)?;
                Ok(FilteredPreferences { usable: pairs.interleave(seed), filter_counts })
            }
            _ => self.load_eval_preferences(columns),
        }
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
        let all = self.load_preferences(columns, seed)?;
        let (train, validation) = match self {
            Self::Arithmetic => (
                arithmetic_preferences::train_pairs(n, seed),
                arithmetic_preferences::eval_pairs(Split::Validation),
            ),
            Self::Politeness => {
                (politeness::train_pairs(n, seed), politeness::eval_pairs(Split::Validation))
            }
            Self::Files(_) | Self::Mixture(_) => {
                let rule = SplitRule::of_shares(all.usable.len(), validation, test, seed);
                return PreferenceDataset::split(all, &rule);
            }
        };
        let FilteredPreferences { usable: test, filter_counts } = all;
        Ok(PreferenceDataset { train, validation, test, filter_counts })
    }
}

impl PreferenceDataset {
    /// Usable `preferences`, split by `rule`.
    ///
    /// # Errors
    /// When no pair is left to train on.
    pub fn split(preferences: FilteredPreferences, rule: &SplitRule) -> Result<Self> {
        let FilteredPreferences { usable, filter_counts } = preferences;
        let Splits { train, validation, test } = rule.hold_out(usable)?;
        Ok(Self { train, validation, test, filter_counts })
    }
}
