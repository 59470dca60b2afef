//! 8.4 What a run was begun with and keeps no copy of. A run goes on with these or not at all, wherever they lie by now.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// Names that follow from what things hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInputs {
    /// The reference's weights.
    pub reference: String,
    /// Who scores: a rule by its name, a reward model by its weights.
    #[serde(alias = "scorer")]
    pub reward_fn: String,
}

impl RunInputs {
    /// Whether a run that was begun with `these` can go on with what is at hand.
    ///
    /// # Errors
    /// Names what is another.
    pub fn ensure_same_as(&self, these: &Self) -> Result<()> {
        ensure!(
            self.reference == these.reference,
            "the run began with another reference, or from other weights, than it is given now"
        );
        ensure!(
            self.reward_fn == these.reward_fn,
            "the run's responses were scored by another than --reward names now"
        );
        Ok(())
    }
}
