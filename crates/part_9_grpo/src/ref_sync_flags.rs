//! Flags of the reference model's updates: our own, and TRL's, which mix.

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Args;
use experiment::number::probability;
use experiment::program::ensure_usage;
use serde::Serialize;

use crate::reference::ReferenceUpdate;

/// Flags of the reference model's updates.
#[derive(Debug, Clone, Copy, Serialize, Args)]
#[command(next_help_heading = "Algorithm")]
pub struct RefSyncFlags {
    /// Copy the policy to the reference model every N steps; not with LoRA [default: never]
    #[arg(
        long, alias = "reference-every", value_name = "N",
        conflicts_with_all = ["lora_rank", "sync_ref_model"]
    )]
    pub sync_ref: Option<NonZeroUsize>,
    /// Mix the policy into the reference model now and then, as in TRL; not with LoRA
    #[arg(long, conflicts_with = "lora_rank")]
    pub sync_ref_model: bool,
    /// With --sync-ref-model: steps between two mixes [default: 512]
    #[arg(long, value_name = "N")]
    pub ref_model_sync_steps: Option<NonZeroUsize>,
    /// With --sync-ref-model: weight α of the policy in the mix [default: 0.6]
    #[arg(long, value_name = "X", value_parser = probability)]
    pub ref_model_mixup_alpha: Option<f64>,
}

impl RefSyncFlags {
    /// Checks the flags of a run that has a reference model, or none.
    ///
    /// # Errors
    /// A [`UsageError`](experiment::program::UsageError) when a flag has nothing to act on.
    pub fn check(&self, kl_coef: f64) -> Result<()> {
        ensure_usage(
            self.sync_ref_model
                || self.ref_model_sync_steps.is_none() && self.ref_model_mixup_alpha.is_none(),
            "--ref-model-sync-steps and --ref-model-mixup-alpha do nothing without \
             --sync-ref-model, as in TRL; --sync-ref N copies the policy every N steps",
        )?;
        ensure_usage(
            kl_coef > 0. || self.update() == ReferenceUpdate::Fixed,
            "--sync-ref and --sync-ref-model need a reference model, which --kl-coef 0 disables",
        )
    }

    /// Update rule of the reference model, with TRL's defaults under TRL's names.
    pub fn update(&self) -> ReferenceUpdate {
        match self.sync_ref {
            Some(interval) => ReferenceUpdate::SyncEvery(interval.get()),
            None if self.sync_ref_model => ReferenceUpdate::MixEvery {
                interval: self.ref_model_sync_steps.map_or(512, NonZeroUsize::get),
                alpha: self.ref_model_mixup_alpha.unwrap_or(0.6),
            },
            None => ReferenceUpdate::Fixed,
        }
    }
}
