//! 8.5 Run inputs: hashes of the reference model and the reward function that a run started with. A
//! run does not copy them, so resuming checks that they are the same.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

/// Identities of the inputs, by content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInputs {
    /// Hash of the reference's weights.
    pub reference: String,
    /// Name of a reward rule, or hash of a reward model's weights.
    #[serde(alias = "scorer")]
    pub reward_fn: String,
}

impl RunInputs {
    /// Checks that a run that started with `self` can be resumed with `these`.
    ///
    /// # Errors
    /// Names the input that differs.
    pub fn ensure_same_as(&self, these: &Self) -> Result<()> {
        ensure!(
            self.reference == these.reference,
            "the run started with another reference model, or from other weights, than it is \
             given now"
        );
        ensure!(
            self.reward_fn == these.reward_fn,
            "the run started with another reward function than --reward names now"
        );
        Ok(())
    }
}
