//! Flags of preferences and of what is learned from them, for this part and later ones.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use sft::flags::fraction;
use tiny_gpt::command::as_usage_error;
use tiny_gpt::flags::non_negative;

use crate::source::PreferenceDataset;
use crate::{LossKind, PreferenceColumns, PreferenceLoss, PreferenceSource};

/// What is learned from, or measured on.
#[derive(Debug, Clone, Serialize, Deserialize, Args)]
pub struct PreferenceFlags {
    /// arithmetic, manners, a .json or .jsonl file (perhaps .gz), or owner/name:file.jsonl on the Hub
    #[arg(long, visible_alias = "dataset", value_name = "DATA", default_value = "arithmetic")]
    pub data: String,
    /// Which columns hold what, as prompt=A,chosen=B,rejected=C [default: by those names]
    #[arg(long, value_name = "MAP")]
    pub columns: Option<String>,
}

impl PreferenceFlags {
    /// Where the preferences come from, and how they are laid out.
    ///
    /// # Errors
    /// When the columns are no map, or there are none, or the data cannot be downloaded.
    pub fn open_source(&self) -> Result<(PreferenceSource, PreferenceColumns)> {
        let columns =
            as_usage_error(self.columns.as_deref().map(PreferenceColumns::parse).transpose())?;
        let built_in = ["arithmetic", "manners"].contains(&self.data.as_str());
        as_usage_error(match columns.is_some() && built_in {
            true => Err(format!("--columns is for files; --data {} has none", self.data)),
            false => Ok(()),
        })?;
        Ok((PreferenceSource::from_name(&self.data)?, columns.unwrap_or_default()))
    }
}

/// Which of it is for what.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, Args)]
pub struct SplitFlags {
    /// Pairs that are drawn of the built-in preferences
    #[arg(long, value_name = "N", default_value = "40000")]
    pub pairs: NonZeroUsize,
    /// Share of a file's rows that is kept for validation, which chooses the model
    #[arg(
        long, value_name = "P", default_value_t = 0.1, allow_negative_numbers = true,
        value_parser = fraction
    )]
    pub validation: f64,
    /// Share of a file's rows that is kept for `eval` alone [default: none]
    #[arg(long, value_name = "P", allow_negative_numbers = true, value_parser = fraction)]
    pub test: Option<f64>,
}

impl SplitFlags {
    /// Preferences to learn from, to decide by, and to report of.
    ///
    /// # Errors
    /// As [`PreferenceSource::load_dataset`].
    pub fn load_dataset(&self, data: &PreferenceFlags, seed: u64) -> Result<PreferenceDataset> {
        let Self { pairs, validation, test } = *self;
        let (source, columns) = data.open_source()?;
        source.load_dataset(&columns, pairs.get(), [validation, test.unwrap_or(0.)], seed)
    }
}

/// What is learned from the scores of a pair.
#[derive(Debug, Clone, Copy, Args, Serialize)]
pub struct LossFlags {
    /// The loss of a pair's difference
    #[arg(long, value_enum, default_value_t)]
    pub loss: LossName,
    /// By how much the chosen response is to score higher, for --loss margin [default: 1]
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = non_negative)]
    pub margin: Option<f64>,
    /// Weight of the term that centres a pair's scores on 0
    #[arg(
        long, aliases = ["centring", "centering"], value_name = "X", default_value_t = 0., allow_negative_numbers = true,
        value_parser = non_negative
    )]
    pub center_rewards_coefficient: f64,
}

/// A loss by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LossName {
    /// −log σ of the difference
    #[default]
    BradleyTerry,
    /// What the difference lacks of a margin
    Margin,
}

impl LossFlags {
    /// The loss they describe.
    ///
    /// # Errors
    /// When there is a margin for a loss that has none.
    pub fn config(&self) -> Result<PreferenceLoss> {
        let kind = match (self.loss, self.margin) {
            (LossName::BradleyTerry, None) => Ok(LossKind::BradleyTerry),
            (LossName::BradleyTerry, Some(_)) => Err("--margin is for --loss margin"),
            (LossName::Margin, margin) => Ok(LossKind::Margin(margin.unwrap_or(1.))),
        };
        Ok(PreferenceLoss {
            kind: as_usage_error(kind)?,
            center_rewards_coefficient: self.center_rewards_coefficient,
        })
    }
}
