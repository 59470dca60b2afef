//! Checks of the flags of a run that trains a policy on its own completions, in parts 8 to 10.

use anyhow::Result;
use experiment::program::ensure_usage;
use experiment::settings::SettingsFlags;
use sft::flags::ensure_shares_of_file;
use sft::model_flags::LoraFlags;
use sft::run_split::GivenSplit;

/// Checks that adapters have no dropout.
///
/// # Errors
/// A usage error if they have.
pub fn ensure_no_dropout(lora: &LoraFlags) -> Result<()> {
    ensure_usage(
        lora.lora_dropout == 0.,
        "--lora-dropout: rollouts are generated without dropout, so ratios would not be 1 before \
         the first update",
    )
}

/// Checks that no split is `given` of generated or built-in data, as [`ensure_shares_of_file`]
/// does, nor a seed of one.
///
/// # Errors
/// A usage error if one is.
pub fn ensure_split_of_file(
    is_file: bool,
    given: GivenSplit,
    settings: &SettingsFlags,
) -> Result<()> {
    ensure_usage(
        is_file || given.seed.is_none(),
        "--split-seed is for files; generated data have splits of their own",
    )?;
    ensure_shares_of_file(is_file, given.validation, None, settings)
}
