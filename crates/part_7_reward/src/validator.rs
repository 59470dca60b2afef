//! Validation during training: metrics on validation pairs, model selection, early stopping.
//!
//! The best model is saved with its normalization and a histogram of its rewards. The criterion is
//! the Bradley-Terry loss, whichever loss is trained with, because it is the one that measures
//! whether σ(r⁺ − r⁻) is a good probability.

use anyhow::Result;
use serde_json::json;
use sft::{RunOutputs, SftLog, TrainState};

use crate::evaluation::{RewardEvalMetrics, evaluate, normalization_of_pairs};
use crate::metrics::PairRewards;
use crate::model_folder::{self, RewardModelConfig};
use crate::tokenized_pairs::TokenizedPair;
use crate::{RewardModel, histogram, initialization};

/// Periodic validation of a reward model.
#[derive(Debug)]
pub struct RewardValidator<'a> {
    /// Validation pairs. They select the model and may end the run, so report results on other
    /// pairs.
    pub pairs: &'a [TokenizedPair],
    /// Texts per forward pass.
    pub batch_size: usize,
    /// Steps between two validations; 0 validates at the end only.
    pub interval: usize,
    /// Validation accuracy at which the run ends.
    pub target_accuracy: Option<f64>,
}

impl RewardValidator<'_> {
    /// Returns true if validation is due after step `step`.
    pub fn is_due(&self, step: usize) -> bool {
        self.interval > 0 && step.is_multiple_of(self.interval)
    }

    /// Evaluates `inference_model`, which shares its weights with `train_state`, and saves it if it
    /// has the best loss so far or has reached the target.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn run(
        &self,
        inference_model: &RewardModel,
        train_state: &mut TrainState,
        outputs: &RunOutputs<'_>,
        log: &mut SftLog,
    ) -> Result<()> {
        let (metrics, rewards) =
            log.suspend(|| evaluate(inference_model, self.pairs, self.batch_size))?;
        let RewardEvalMetrics { loss, accuracy, margin, length_correlation, .. } = metrics;
        let summary = format!("accuracy {accuracy:.3}, margin {margin:.3}");
        let row = json!({
            "val_accuracy": accuracy,
            "val_margin": margin,
            "length_correlation": length_correlation,
        });
        log.log_validation(train_state.progress.step, loss, &summary, row)?;
        train_state.progress.target_reached =
            self.target_accuracy.is_some_and(|target| accuracy >= target);
        if train_state.progress.update_best_loss(loss) {
            log.suspend(|| save(inference_model, train_state, outputs, &rewards))?;
        }
        Ok(())
    }
}

/// Saves the model with adapters merged, normalized by the raw rewards of the validation pairs, and
/// their histogram.
fn save(
    inference_model: &RewardModel,
    train_state: &TrainState,
    outputs: &RunOutputs<'_>,
    rewards: &[PairRewards],
) -> Result<()> {
    let Some(destination) = &outputs.destination else { return Ok(()) };
    let (backbone, architecture) = (train_state.config, inference_model.architecture());
    let normalization = normalization_of_pairs(rewards);
    let reward_config = RewardModelConfig { backbone, architecture, normalization };
    let parameters =
        initialization::merged_weights(&train_state.parameters, (&backbone, architecture))?;
    let (folder, saver) = (destination.folder.join("model"), destination.model_saver);
    model_folder::save(
        &folder,
        &reward_config,
        &parameters,
        saver.chat_tokenizer,
        saver.special_ids,
    )?;
    histogram::write(&destination.folder.join("rewards.png"), rewards, normalization)
}
