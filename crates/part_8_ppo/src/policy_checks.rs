//! Checks of the flags of a run that trains a policy on its own completions, in parts 8 to 10.

use anyhow::Result;
use experiment::program::ensure_usage;
use sft::model_flags::LoraFlags;

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

/// Checks that `--split-seed` is not given, for generated or built-in data.
///
/// # Errors
/// A usage error if it is.
pub fn ensure_no_split_seed(split_seed: Option<u64>) -> Result<()> {
    ensure_usage(
        split_seed.is_none(),
        "--split-seed is for files; built-in data have their own validation problems",
    )
}
