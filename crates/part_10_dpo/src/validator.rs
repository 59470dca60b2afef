//! Validation during training: metrics on validation pairs, and model selection.
//!
//! As in part 7 the accuracy decides, of equal ones the loss. It is that of the loss's own score,
//! so a loss per token is not judged by sums. Without pairs, or for a loss that orders none
//! (`sft`), the loss decides.

use anyhow::Result;
use experiment::{Alarm, RunLog, Score, Target};
use modern::GptModern;
use ranks::Ranks;
use serde_json::json;
use sft::ModelSaver;

use crate::log_probs::log_probs_of_examples;
use crate::losses::DpoLoss;
use crate::metrics::{DpoMetrics, loss_totals};
use crate::preference_example::PreferenceDataset;
use crate::step::{DpoPolicy, kl_baseline};

/// Step from which on a policy that still equals its reference raises an alarm.
const EQUALITY_ALARM_STEP: usize = 10;
/// Largest |log(π/π_ref)| of a completion that rounding explains.
const ROUNDING: f64 = 1e-4;

/// Periodic validation of a policy.
#[derive(Debug)]
pub struct DpoValidator<'a> {
    /// Validation examples. They select the model and may end the run, so report results on others.
    pub data: &'a PreferenceDataset,
    /// Loss.
    pub loss: DpoLoss,
    /// Examples per forward pass.
    pub batch_size: usize,
    /// Steps between validations; 0 validates only before and after training.
    pub interval: usize,
    /// Validation accuracy at which the run ends.
    pub target_accuracy: Option<f64>,
    /// Where the best model is saved, if it is.
    pub model_saver: Option<&'a ModelSaver>,
}

impl DpoValidator<'_> {
    /// Evaluates `policy` and saves it if it is the best so far or has reached the target.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn run(&self, policy: &mut DpoPolicy, log: &mut RunLog) -> Result<()> {
        policy.models.refresh_inference(&policy.state.parameters)?;
        let model = &policy.models.inference;
        let metrics = log.suspend(|| evaluate(model, self.data, &self.loss, self.batch_size))?;
        let DpoMetrics { loss, accuracy, margin, .. } = metrics;
        let accuracy_text =
            accuracy.map_or(String::new(), |accuracy| format!("accuracy {accuracy:.3}, "));
        let summary = format!(
            ", {} tokens: validation loss {loss:.4}, {accuracy_text}margin {margin:.3}, \
             log π {:.2} (chosen) and {:.2} (rejected)",
            log.state.n_tokens, metrics.log_probs_chosen, metrics.log_probs_rejected
        );
        let progress = &mut policy.state.progress;
        let mut row = json!({ "val_loss": loss });
        experiment::metrics_writer::extend_row(&mut row, metrics.row("val_"));
        log.validation(progress.step, &summary, row)?;
        let is_reference =
            self.loss.loss_type.needs_reference() && metrics.max_log_ratio < ROUNDING;
        if is_reference && progress.step >= EQUALITY_ALARM_STEP {
            let message = "the policy still equals its reference, so nothing is learned; is --lr \
                           far too small?";
            log.alarm(progress.step, &Alarm::new("policy_equals_reference", message))?;
        }
        let target = accuracy
            .map_or(Target::NotReached, |accuracy| Target::of(accuracy, self.target_accuracy));
        let score = match accuracy {
            Some(accuracy) => Score::Accuracy { accuracy, loss },
            None => Score::Loss(loss),
        };
        if progress.record_validation(score, target)
            && let Some(saver) = self.model_saver
        {
            log.suspend(|| saver.save(&policy.state.parameters))?;
        }
        Ok(())
    }
}

/// Metrics of `model`, built for inference, on `data`, whose log-probabilities under the reference
/// are known; `batch_size` examples at a time.
///
/// # Errors
/// When a text is longer than the model's context.
pub fn evaluate(
    model: &GptModern,
    data: &PreferenceDataset,
    loss: &DpoLoss,
    batch_size: usize,
) -> Result<DpoMetrics> {
    let log_probs = log_probs_of_examples(model, &data.examples, batch_size)?.concat();
    let kl = kl_baseline(model, &data.mismatched, batch_size, &Ranks::Alone)?;
    DpoMetrics::new(loss, &data.examples, &log_probs, &loss_totals(loss, &data.examples, kl))
}
