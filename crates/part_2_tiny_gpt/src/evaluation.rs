//! 2.6 Evaluation: the loss on text held out from training, with every token predicted once.
//!
//! Consecutive windows instead of random ones make the result reproducible: the same model always
//! has the same loss.

use std::path::Path;

use anyhow::{Result, ensure};
use candle_core::Device;
use experiment::RunLog;
use experiment::selection::{Score, Selection};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tensor_core::Parameters;
use tensor_core::ops::cross_entropy;

use crate::bits_per_byte::bits_per_byte;
use crate::{Batch, LanguageModel};

/// Loss of a language model on a text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LmEvalMetrics {
    /// Mean cross-entropy in nats per token.
    pub loss: f64,
    /// Mean cross-entropy in bits per byte of text.
    pub bits_per_byte: f64,
    /// Number of predicted tokens.
    pub tokens: usize,
}

/// Evaluates `model` on `tokens`, each one a byte, `batch_size` windows at a time. Pass an
/// inference copy, which builds no autograd graph.
///
/// # Errors
/// When there are fewer than two tokens, so that nothing can be predicted.
pub fn evaluate(
    model: &impl LanguageModel,
    tokens: &[u32],
    batch_size: usize,
    device: &Device,
) -> Result<LmEvalMetrics> {
    ensure!(tokens.len() > 1, "too few tokens ({}) to predict any", tokens.len());
    let (mut nats, mut predicted) = (0., 0);
    for batch in Batch::consecutive(tokens, batch_size, model.context_len(), device) {
        let batch = batch?;
        let n = batch.targets.elem_count();
        let loss = cross_entropy(&model.forward(&batch.inputs)?, &batch.targets)?;
        nats += f64::from(loss.to_scalar::<f32>()?) * n as f64;
        predicted += n;
    }
    let loss = nats / predicted as f64;
    let bits_per_byte = bits_per_byte(loss, predicted, predicted);
    Ok(LmEvalMetrics { loss, bits_per_byte, tokens: predicted })
}

/// Validation during a run: logs the metrics, and keeps those of the best model, which it saves.
#[derive(Debug)]
pub struct Validator<'a> {
    tokens: &'a [u32],
    batch_size: usize,
    model_folder: Option<&'a Path>,
    selection: Selection,
    /// Best metrics so far.
    pub best: Option<LmEvalMetrics>,
}

impl<'a> Validator<'a> {
    /// Validation on `tokens`, `batch_size` windows at a time; saves the best model in
    /// `model_folder`, if one is given.
    pub fn new(tokens: &'a [u32], batch_size: usize, model_folder: Option<&'a Path>) -> Self {
        let selection = Selection::default();
        Self { tokens, batch_size, model_folder, selection, best: None }
    }

    /// Evaluates `model`, an inference copy with the memory of `parameters`, after `step` steps.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn run(
        &mut self,
        step: usize,
        model: &impl LanguageModel,
        parameters: &Parameters,
        log: &mut RunLog,
    ) -> Result<()> {
        let device = parameters.device();
        let metrics = log.suspend(|| evaluate(model, self.tokens, self.batch_size, device))?;
        let LmEvalMetrics { loss, bits_per_byte, .. } = metrics;
        let summary = format!(": validation loss {loss:.4} nats, {bits_per_byte:.4} bits per byte");
        log.validation(
            step,
            &summary,
            json!({ "val_loss": loss, "bits_per_byte": bits_per_byte }),
        )?;
        if self.selection.record(step, Score::Loss(loss)) {
            self.best = Some(metrics);
            if let Some(folder) = self.model_folder {
                log.suspend(|| model.save(folder, parameters))?;
            }
        }
        Ok(())
    }
}
