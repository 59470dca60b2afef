//! 2.4 The training loop: forward, loss, backward, clip, optimizer step; at intervals, an
//! evaluation on the validation text.

use anyhow::{Result, ensure};
use candle_core::Device;
use serde::Serialize;
use tensor_core::ops::cross_entropy;
use tensor_core::{AdamW, AdamWConfig, Parameters, Rng, backward, clip_grad_norm};

use crate::{Batch, ByteCorpus, LanguageModel, LmEvalMetrics, TrainLog, evaluate};

/// Learning-rate schedule after the warm-up.
///
/// The warm-up raises the rate linearly from 0 over the first twentieth of the steps: Adam's first
/// steps rest on a poor estimate of the gradient's scale and can spoil freshly initialized weights.
/// Part 4 teaches schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LrDecay {
    /// Constant learning rate
    Constant,
    /// Linear decay, to 0 after the last step
    Linear,
}

/// Hyperparameters of a training run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct TrainConfig {
    /// Number of optimizer steps.
    pub steps: usize,
    /// Batch size B: windows per step.
    pub batch_size: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// Learning-rate schedule after the warm-up.
    pub lr_scheduler: LrDecay,
    /// AdamW's β₁, β₂, ε and weight decay.
    pub optimizer: AdamWConfig,
    /// Maximum gradient norm; `None` disables clipping.
    pub max_grad_norm: Option<f64>,
    /// Steps between evaluations on the validation part.
    pub eval_interval: usize,
    /// Steps between printed samples; 0 disables them.
    pub sample_interval: usize,
}

impl TrainConfig {
    /// Learning rate of `step`, counted from 0.
    pub fn lr_at(&self, step: usize) -> f64 {
        let warmup_steps = (self.steps / 20) as f64;
        let warmup = ((step + 1) as f64 / (warmup_steps + 1.)).min(1.);
        let decay = match self.lr_scheduler {
            LrDecay::Constant => 1.,
            LrDecay::Linear => 1. - step as f64 / self.steps as f64,
        };
        self.lr * warmup.min(decay)
    }
}

/// Trains `model`, whose weights are `parameters`, on `corpus`, and returns the best validation
/// metrics. `log` prints and records the run and saves the best model. The batches depend on `seed`
/// alone.
///
/// # Errors
/// When the corpus is too short, the loss is not finite, or the log cannot be written.
pub fn train(
    model: &impl LanguageModel,
    parameters: &Parameters,
    corpus: &ByteCorpus,
    config: &TrainConfig,
    seed: u64,
    log: &mut TrainLog,
) -> Result<LmEvalMetrics> {
    let (device, context_len): (&Device, _) = (parameters.device(), model.context_len());
    corpus.ensure_fits_context(context_len)?;
    let inference = model.for_inference(parameters)?; // shared memory, no autograd graph
    let mut optimizer = AdamW::new(parameters, config.optimizer)?;
    let mut rng = Rng::new(seed);
    let mut best = None;
    for step in 0..config.steps {
        log.log_sample(step, config.sample_interval, &inference)?;
        let batch = Batch::random(&corpus.train, config.batch_size, context_len, &mut rng, device)?;
        let logits = model.forward(&batch.inputs)?; // (B, T, V)
        let loss = cross_entropy(&logits, &batch.targets)?; // ()
        let mut grads = backward(&loss)?;
        let grad_norm =
            clip_grad_norm(&mut grads, parameters, config.max_grad_norm.unwrap_or(f64::MAX))?;
        let lr = config.lr_at(step);
        optimizer.step(&grads, lr)?;

        let loss = loss.to_scalar::<f32>()?; // waits for the device
        ensure!(loss.is_finite(), "the loss is {loss} at step {step}: try a smaller --lr");
        log.log_step(step, loss, lr, grad_norm, batch.inputs.elem_count())?;
        let is_last = step + 1 == config.steps || log.is_interrupted();
        if is_last || (step + 1) % config.eval_interval == 0 {
            let validate = || evaluate(&inference, &corpus.validation, config.batch_size, device);
            let metrics = log.suspend(validate)?;
            log.log_validation(step + 1, &metrics)?;
            if best.is_none_or(|best: LmEvalMetrics| metrics.loss < best.loss) {
                best = Some(metrics);
                log.save_model(model, parameters)?;
            }
        }
        if is_last {
            log.log_sample(config.steps, config.sample_interval, &inference)?;
            break;
        }
    }
    best.ok_or_else(|| anyhow::anyhow!("steps must be at least 1"))
}
