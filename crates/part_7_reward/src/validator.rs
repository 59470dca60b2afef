//! Validation during training: metrics on validation pairs, model selection, early stopping.
//!
//! The best model is saved with its normalization and a histogram of its rewards. The criterion is
//! the Bradley-Terry loss, whichever loss is trained with, because it is the one that measures
//! whether σ(r⁺ − r⁻) is a good probability.

use anyhow::Result;
use experiment::{RunLog, TrainState};
use serde_json::json;
use sft::ModelSaver;

use crate::evaluation::{RewardEvalMetrics, evaluate, normalization_of_pairs, write_histogram};
use crate::metrics::PairRewards;
use crate::model_folder::{self, RewardModelConfig};
use crate::tokenized_pairs::TokenizedPair;
use crate::{RewardModel, initialization};

/// Periodic validation of a reward model.
#[derive(Debug)]
pub struct RewardValidator<'a> {
    /// Validation pairs. They select the model and may end the run, so report results on other
    /// pairs.
    pub pairs: &'a [TokenizedPair],
    /// Texts per forward pass.
    pub batch_size: usize,
    /// Steps between validations; 0 validates only before and after training.
    pub interval: usize,
    /// Validation accuracy at which the run ends.
    pub target_accuracy: Option<f64>,
    /// Where the best model is saved, if it is.
    pub model_saver: Option<&'a ModelSaver>,
}

impl RewardValidator<'_> {
    /// Evaluates `model`, an inference model of `state`, and saves it if it has the best loss so
    /// far or has reached the target.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn run(&self, model: &RewardModel, state: &mut TrainState, log: &mut RunLog) -> Result<()> {
        let (metrics, rewards) = log.suspend(|| evaluate(model, self.pairs, self.batch_size))?;
        let RewardEvalMetrics { loss, accuracy, margin, length_correlation, .. } = metrics;
        let summary = format!(
            ", {} tokens: validation loss {loss:.4}, accuracy {accuracy:.3}, margin {margin:.3}",
            log.state.n_tokens
        );
        let row = json!({
            "val_loss": loss, "val_accuracy": accuracy, "val_margin": margin,
            "length_correlation": length_correlation,
        });
        log.validation(state.progress.step, &summary, row)?;
        let target_reached = self.target_accuracy.is_some_and(|target| accuracy >= target);
        if state.progress.record_validation(loss, target_reached)
            && let Some(saver) = self.model_saver
        {
            log.suspend(|| save(model, state, saver, &rewards))?;
        }
        Ok(())
    }
}

/// Saves the model with adapters merged, normalized by the raw rewards of the validation pairs, and
/// their histogram.
fn save(
    model: &RewardModel,
    state: &TrainState,
    saver: &ModelSaver,
    rewards: &[PairRewards],
) -> Result<()> {
    let (backbone, architecture) = (saver.config, model.architecture());
    let normalization = normalization_of_pairs(rewards);
    let config = RewardModelConfig { backbone, architecture, normalization };
    let parameters = initialization::merged_weights(&state.parameters, &backbone, architecture)?;
    let folder = saver.folder.join("model");
    model_folder::save(&folder, &config, &parameters, &saver.chat_tokenizer, &saver.special_ids)?;
    write_histogram(&saver.folder.join("rewards.png"), rewards, normalization)
}
