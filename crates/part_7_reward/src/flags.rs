//! Flags of preference data and preference losses, for this part and later ones.

use std::num::NonZeroUsize;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use datasets::{DatasetFlags, PreferenceColumns, SplitRule};
use experiment::number::{fraction, non_negative};
use experiment::program::{as_usage_error, ensure_usage};
use experiment::settings::SettingsFlags;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sft::flags::{ensure_shares_of_file, ensure_whole, open_files};

use crate::source::PreferenceDataset;
use crate::{LossKind, PreferenceLoss, PreferenceSource};

/// Flags of a preference dataset.
#[derive(Debug, Clone, Serialize, Deserialize, Args)]
#[command(next_help_heading = "Data")]
pub struct PreferenceFlags {
    /// Data: arithmetic, manners, a file (.json or .jsonl, .gz too, or .parquet), a folder of them,
    /// owner/name or owner/name:file.jsonl on the Hub, or a mixture: a.jsonl=0.7,b.jsonl=0.3
    #[arg(
        long, visible_aliases = ["dataset", "dataset-name"], value_name = "DATA",
        default_value = "arithmetic"
    )]
    pub data: String,
    /// Configuration and split.
    #[command(flatten)]
    #[serde(flatten)]
    pub dataset: DatasetFlags,
    /// Column names, as prompt=A,chosen=B,rejected=C [default: prompt, chosen and rejected]
    #[arg(long, value_name = "MAP")]
    pub columns: Option<String>,
}

impl PreferenceFlags {
    /// True if the preferences are generated, without a file.
    pub fn is_built_in(&self) -> bool {
        PreferenceSource::built_in(&self.data).is_some()
    }

    /// True if the run with these `settings` has the same rows, read by the same columns.
    pub fn is_data_of(&self, settings: &Value) -> bool {
        let columns = self.columns.as_deref();
        columns.is_none_or(|columns| settings["columns"].as_str() == Some(columns))
            && self.dataset.is_data_of(settings, &self.data)
    }

    /// Pairs per micro-batch unless the user says otherwise: few of a file, which has few rows, and
    /// many of a task that generates any number.
    pub fn default_batch_size(&self) -> usize {
        if self.is_built_in() { 64 } else { 8 }
    }

    /// Source of the preferences and the names of its columns.
    ///
    /// # Errors
    /// When `--columns` is malformed or given for built-in data, or the data cannot be downloaded.
    pub fn open_source(&self) -> Result<(PreferenceSource, PreferenceColumns)> {
        let columns =
            as_usage_error(self.columns.as_deref().map(PreferenceColumns::parse).transpose())?;
        let open = |name: &str| self.open(name);
        let source = match PreferenceSource::built_in(&self.data) {
            Some(source) => {
                ensure_whole(&self.data, self.columns.as_deref(), &self.dataset)?;
                source
            }
            None => open_files(&self.data, &self.dataset, open, PreferenceSource::Mixture)?,
        };
        Ok((source, columns.unwrap_or_default()))
    }

    /// Source of rows called `name`.
    fn open(&self, name: &str) -> Result<PreferenceSource> {
        let is_generated = PreferenceSource::built_in(name).is_some();
        ensure!(!is_generated, "{name} has no rows to mix: it is generated");
        Ok(PreferenceSource::Files(self.dataset.locate(name)?))
    }
}

/// Flags of the train, validation and test splits.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Args)]
#[command(next_help_heading = "Data")]
pub struct SplitFlags {
    /// Training pairs to generate (built-in data only)
    #[arg(long, value_name = "N", default_value = "40000")]
    pub pairs: NonZeroUsize,
    /// Fraction of a file's rows held out for validation (model selection) [default: 0.1]
    #[arg(long, value_name = "P", value_parser = fraction)]
    pub validation: Option<f64>,
    /// Fraction of a file's rows held out as test split for `eval` [default: 0]
    #[arg(long, value_name = "P", value_parser = fraction)]
    pub test: Option<f64>,
}

impl SplitFlags {
    /// Checks that shares are given only of the rows of files.
    ///
    /// # Errors
    /// Those of [`ensure_shares_of_file`], if `data` are generated.
    pub fn check(&self, data: &PreferenceFlags, settings: &SettingsFlags) -> Result<()> {
        ensure_shares_of_file(!data.is_built_in(), self.validation, self.test, settings)
    }

    /// Rule by which `n_rows` rows of `data` are split; `None` for built-in data.
    pub fn rule(&self, data: &PreferenceFlags, n_rows: usize, seed: u64) -> Option<SplitRule> {
        let (validation, test) = self.shares();
        let rule = || SplitRule::of_shares(n_rows, validation, test, seed);
        (!data.is_built_in()).then(rule)
    }

    /// Loads the training, validation and test preferences.
    ///
    /// # Errors
    /// When [`PreferenceSource::load_dataset`] fails.
    pub fn load_dataset(&self, data: &PreferenceFlags, seed: u64) -> Result<PreferenceDataset> {
        let (validation, test) = self.shares();
        let (source, columns) = data.open_source()?;
        source.load_dataset(&columns, self.pairs.get(), validation, test, seed)
    }

    /// Shares of the rows for validation and test.
    pub fn shares(&self) -> (f64, f64) {
        (self.validation.unwrap_or(SplitRule::VALIDATION_SHARE), self.test.unwrap_or(0.))
    }
}

/// Flags of the preference loss.
#[derive(Debug, Clone, Copy, Args, Serialize)]
#[command(next_help_heading = "Algorithm")]
pub struct LossFlags {
    /// Loss of the reward difference r⁺ − r⁻
    #[arg(long, value_enum, default_value_t)]
    pub loss: LossName,
    /// Margin by which r⁺ should exceed r⁻, for --loss margin [default: 1]
    #[arg(long, value_name = "X", value_parser = non_negative)]
    pub margin: Option<f64>,
    /// Coefficient λ of the centering term (r⁺ + r⁻)², which keeps the mean reward near 0
    #[arg(
        long, aliases = ["centring", "centering"], value_name = "X", default_value_t = 0.,
        value_parser = non_negative
    )]
    pub center_rewards_coefficient: f64,
}

/// Name of a preference loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LossName {
    /// −log σ(r⁺ − r⁻)
    #[default]
    BradleyTerry,
    /// max(0, margin − (r⁺ − r⁻))
    Margin,
}

impl LossFlags {
    /// Loss that the flags select.
    ///
    /// # Errors
    /// When `--margin` is given without `--loss margin`.
    pub fn config(&self) -> Result<PreferenceLoss> {
        let Self { loss, margin, center_rewards_coefficient } = *self;
        let has_margin = loss == LossName::Margin;
        ensure_usage(has_margin || margin.is_none(), "--margin is for --loss margin")?;
        let kind = match loss {
            LossName::BradleyTerry => LossKind::BradleyTerry,
            LossName::Margin => LossKind::Margin(margin.unwrap_or(1.)),
        };
        Ok(PreferenceLoss { kind, center_rewards_coefficient })
    }
}
