//! Validation during training: metrics on validation pairs, model selection, early stopping.
//!
//! The best model is saved with its normalization and a histogram of its rewards. The criterion is
//! the accuracy, because only the order of rewards counts for a policy that learns from them: the
//! loss rises while the accuracy still grows, since a confident model pays for each pair that it
//! ranks wrong. Between equal accuracies the Bradley-Terry loss decides, whichever loss is trained
//! with: it measures whether σ(r⁺ − r⁻) is a good probability.

use std::path::Path;

use anyhow::{Context, Result};
use experiment::{RunLog, Score, Target, TrainState};
use serde_json::json;
use sft::ModelSaver;

use crate::evaluation::{RewardEvalMetrics, evaluate, normalization_of_pairs, write_histogram};
use crate::model_folder::{self, RewardModelConfig};
use crate::tokenized_pairs::TokenizedPair;
use crate::{RewardModel, RewardNormalization, initialization};

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
    /// Evaluates `model`, an inference model of `state`, and saves it if it is the best so far or
    /// has reached the target.
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
        let target = Target::of(accuracy, self.target_accuracy);
        let score = Score::Accuracy { accuracy, loss };
        if state.progress.record_validation(score, target)
            && let Some(saver) = self.model_saver
        {
            let normalization = normalization_of_pairs(&rewards);
            log.suspend(|| save(&saver.folder.join("model"), model, state, saver, normalization))?;
            write_histogram(&saver.folder.join("rewards.png"), &rewards, normalization)?;
        }
        Ok(())
    }

    /// Saves `model`, whose weights are those of `state`, into `folder` after the last step.
    ///
    /// # Errors
    /// When a file cannot be written, or the validator saves no models.
    pub fn save_last(&self, folder: &Path, model: &RewardModel, state: &TrainState) -> Result<()> {
        let saver = self.model_saver.context("a validator without a saver")?;
        let inference_model = model.for_inference(&state.parameters)?;
        let (_, rewards) = evaluate(&inference_model, self.pairs, self.batch_size)?;
        save(folder, model, state, saver, normalization_of_pairs(&rewards))
    }
}

/// Saves the model into `folder` with adapters merged and with this normalization.
fn save(
    folder: &Path,
    model: &RewardModel,
    state: &TrainState,
    saver: &ModelSaver,
    normalization: RewardNormalization,
) -> Result<()> {
    let (backbone, architecture) = (saver.config, model.architecture());
    let config = RewardModelConfig { backbone, architecture, normalization };
    let parameters = initialization::merged_weights(&state.parameters, &backbone, architecture)?;
    model_folder::save(folder, &config, &parameters, &saver.chat_tokenizer, &saver.special_ids)
}
