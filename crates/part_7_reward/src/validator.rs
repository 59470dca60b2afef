//! What a run is looked at with: validation pairs, how often, and when it is good enough. The best model is kept, with its
//! normalisation and a picture of its rewards: the best by Bradley-Terry's loss, whatever is trained by, as that loss alone says how
//! far scores can be taken for probabilities.

use anyhow::Result;
use serde_json::json;
use sft::{RunOutputs, SftLog, TrainState};

use crate::evaluation::{RewardEvalMetrics, evaluate, normalization_of_pairs};
use crate::metrics::PairRewards;
use crate::model_folder::{self, RewardModelConfig};
use crate::tokenized_pairs::TokenizedPair;
use crate::{RewardModel, histogram, initialization};

/// A regular look at how well the model tells responses apart.
#[derive(Debug)]
pub struct RewardValidator<'a> {
    /// What is told apart. The run may be ended by it, so results are reported of others.
    pub pairs: &'a [TokenizedPair],
    /// Texts at a time.
    pub batch_size: usize,
    /// Steps between two looks; 0 for one at the end.
    pub interval: usize,
    /// Accuracy at which the run ends.
    pub target_accuracy: Option<f64>,
}

impl RewardValidator<'_> {
    /// Whether there is one after step `step`.
    pub fn is_due(&self, step: usize) -> bool {
        self.interval > 0 && step.is_multiple_of(self.interval)
    }

    /// Looks at `twin`, an inference twin of `tuning`, which is saved if it is the best so far, or good enough.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn run(
        &self,
        twin: &RewardModel,
        tuning: &mut TrainState,
        outputs: &RunOutputs<'_>,
        log: &mut SftLog,
    ) -> Result<()> {
        let (found, scores) = log.run_untimed(|| evaluate(twin, self.pairs, self.batch_size))?;
        let RewardEvalMetrics { loss, accuracy, margin, length_correlation, .. } = found;
        let said = format!("accuracy {accuracy:.3}, margin {margin:.3}");
        let figures = json!({
            "val_accuracy": accuracy, "val_margin": margin, "length_correlation": length_correlation,
        });
        log.log_validation(tuning.progress.step, loss, &said, figures)?;
        tuning.progress.target_reached =
            self.target_accuracy.is_some_and(|enough| accuracy >= enough);
        if tuning.progress.update_best_loss(loss) {
            log.run_untimed(|| save(twin, tuning, outputs, &scores))?;
        }
        Ok(())
    }
}

/// Writes the model, adapters merged into it, as others open it; `scores` of reference pairs say how it is normalised.
fn save(
    twin: &RewardModel,
    tuning: &TrainState,
    outputs: &RunOutputs<'_>,
    scores: &[PairRewards],
) -> Result<()> {
    let Some(place) = &outputs.destination else { return Ok(()) };
    let (config, architecture) = (tuning.config, twin.architecture());
    let description = RewardModelConfig {
        backbone: config,
        architecture,
        normalization: normalization_of_pairs(scores),
    };
    let parameters = initialization::merged_weights(&tuning.parameters, (&config, architecture))?;
    let (folder, keeper) = (place.folder.join("model"), place.model_saver);
    model_folder::save(
        &folder,
        &description,
        &parameters,
        keeper.chat_tokenizer,
        keeper.special_ids,
    )?;
    histogram::write(&place.folder.join("rewards.png"), scores, description.normalization)
}
