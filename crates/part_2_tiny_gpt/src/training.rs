//! 2.4 Training: predict, measure, differentiate, step; from time to time look at text the model has not seen.

use anyhow::{Result, ensure};
use candle_core::Device;
use serde::Serialize;
use tensor_core::ops::cross_entropy;
use tensor_core::{AdamW, AdamWConfig, Parameters, Rng, backward, clip_grad_norm};

use crate::{Batch, ByteCorpus, LanguageModel, LmEvalMetrics, TrainLog, evaluate};

/// Learning-rate schedule after the warm-up, in which the rate has risen from 0 over the first
/// twentieth of the steps (Adam's
/// first steps, taken on a guess of the gradient's size, can spoil fresh weights). Part 4 teaches schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LrDecay {
    /// It stays.
    Constant,
    /// It falls on a straight line, to 0 after the last step.
    Linear,
}

/// The settings of a training run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct TrainConfig {
    /// Optimiser steps.
    pub steps: usize,
    /// B, windows per step.
    pub batch_size: usize,
    /// Highest learning rate.
    pub lr: f64,
    /// Learning-rate schedule after the warm-up.
    pub lr_scheduler: LrDecay,
    /// β₁, β₂, ε and weight decay.
    pub optimizer: AdamWConfig,
    /// Largest gradient norm; `None` for no clipping.
    pub max_grad_norm: Option<f64>,
    /// Steps between two looks at the validation part.
    pub eval_interval: usize,
    /// Steps between two samples; 0 for none.
    pub sample_interval: usize,
}

impl TrainConfig {
    /// The learning rate of a step, counted from 0.
    pub fn lr_at(&self, step: usize) -> f64 {
        let warmup = (self.steps / 20) as f64;
        let risen = ((step + 1) as f64 / (warmup + 1.)).min(1.);
        let left = match self.lr_scheduler {
            LrDecay::Constant => 1.,
            LrDecay::Linear => 1. - step as f64 / self.steps as f64,
        };
        self.lr * risen.min(left)
    }
}

/// Trains `model`, whose weights are `parameters`, on `corpus`; `log` shows, records and keeps the best model.
/// Batches follow from `seed` alone. Gives the best validation result.
///
/// # Errors
/// When the corpus is too short, the loss stops being a number, or the log cannot be written.
pub fn train(
    model: &impl LanguageModel,
    parameters: &Parameters,
    corpus: &ByteCorpus,
    config: &TrainConfig,
    seed: u64,
    log: &mut TrainLog,
) -> Result<LmEvalMetrics> {
    let (device, block_size): (&Device, _) = (parameters.device(), model.context_len());
    corpus.ensure_fits_context(block_size)?;
    let inference = model.for_inference(parameters)?; // same memory, no graph
    let mut optimizer = AdamW::new(parameters, config.optimizer)?;
    let mut rng = Rng::new(seed);
    let mut best = None;
    for step in 0..config.steps {
        log.log_sample(step, config.sample_interval, &inference)?;
        let batch = Batch::random(&corpus.train, config.batch_size, block_size, &mut rng, device)?;
        let logits = model.forward(&batch.inputs)?; // (B, T, V)
        let loss = cross_entropy(&logits, &batch.targets)?; // ()
        let mut grads = backward(&loss)?;
        let norm =
            clip_grad_norm(&mut grads, parameters, config.max_grad_norm.unwrap_or(f64::MAX))?;
        let lr = config.lr_at(step);
        optimizer.step(&grads, lr)?;

        let loss = loss.to_scalar::<f32>()?; // waits for the device
        ensure!(loss.is_finite(), "the loss is {loss} at step {step}: try a smaller --lr");
        log.log_step(step, loss, lr, norm, batch.inputs.elem_count())?;
        let last = step + 1 == config.steps || log.is_interrupted();
        if last || (step + 1) % config.eval_interval == 0 {
            let look = || evaluate(&inference, &corpus.validation, config.batch_size, device);
            let found = log.suspend(look)?;
            log.log_validation(step + 1, &found)?;
            if best.is_none_or(|best: LmEvalMetrics| found.loss < best.loss) {
                best = Some(found);
                log.save_model(model, parameters)?;
            }
        }
        if last {
            log.log_sample(config.steps, config.sample_interval, &inference)?;
            break;
        }
    }
    best.ok_or_else(|| anyhow::anyhow!("0 steps train nothing"))
}
