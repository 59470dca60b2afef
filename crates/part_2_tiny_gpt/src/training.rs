//! 2.4 The training loop: forward, loss, backward, clip, optimizer step; at intervals, an
//! evaluation on the validation text.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::DType;
use experiment::flags::Precision;
use experiment::terminal::printable;
use experiment::{Run, RunLog, RunLogConfig, StepMetrics, ensure_finite, is_due};
use serde::Serialize;
use serde_json::json;
use tensor_core::ops::cross_entropy;
use tensor_core::{
    AdamWConfig, Optimizer, OptimizerConfig, Parameters, Rng, backward, clip_grad_norm,
};

use crate::evaluation::Validator;
use crate::{Batch, ByteCorpus, ByteTokenizer, LanguageModel, LmEvalMetrics, Sampling};

/// Learning-rate schedule after the warm-up.
///
/// The warm-up raises the rate linearly from 0: Adam's first steps rest on a poor estimate of the
/// gradient's scale and can spoil freshly initialized weights.
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
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    /// Batch size B: windows per step.
    pub batch_size: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// Learning-rate schedule after the warm-up.
    pub lr_scheduler: LrDecay,
    /// Number format of the computations; weights and optimizer state are f32.
    pub dtype: Precision,
    /// Optimizer, and its hyperparameters.
    pub optimizer: OptimizerConfig,
    /// Maximum gradient norm; `None` disables clipping.
    pub max_grad_norm: Option<f64>,
    /// Steps between evaluations on the validation part.
    pub eval_interval: usize,
    /// Samples that the run prints.
    #[serde(flatten)]
    pub samples: SampleConfig,
}

/// Samples that a run prints.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct SampleConfig {
    /// Steps between printed samples; 0 disables them.
    pub sample_interval: usize,
    /// Tokens per sample.
    #[serde(skip)]
    pub sample_len: usize,
    /// Sampling strategy.
    #[serde(skip)]
    pub sampling: Sampling,
}

impl SampleConfig {
    /// No samples.
    pub const DISABLED: Self =
        Self { sample_interval: 0, sample_len: 0, sampling: Sampling::Greedy };
}

impl TrainConfig {
    /// Default configuration: `steps` steps of `batch_size` windows, validated at the end, without
    /// samples.
    pub fn with_defaults(steps: usize, batch_size: usize) -> Self {
        Self {
            steps,
            warmup_steps: steps / 20,
            batch_size,
            lr: 3e-3,
            lr_scheduler: LrDecay::Linear,
            dtype: Precision::F32,
            optimizer: AdamWConfig { beta2: 0.99, ..AdamWConfig::default() }.into(),
            max_grad_norm: Some(1.),
            eval_interval: steps,
            samples: SampleConfig::DISABLED,
        }
    }

    /// Learning rate of `step`, counted from 0.
    pub fn lr_at(&self, step: usize) -> f64 {
        let warmup = ((step + 1) as f64 / (self.warmup_steps + 1) as f64).min(1.);
        let decay = match self.lr_scheduler {
            LrDecay::Constant => 1.,
            LrDecay::Linear => 1. - step as f64 / self.steps as f64,
        };
        self.lr * warmup.min(decay)
    }

    /// Log of the mean loss of every ten steps.
    pub fn log_config(&self) -> RunLogConfig {
        RunLogConfig::losses(self.steps, self.warmup_steps, 10)
    }
}

/// Trains `model`, whose weights are `parameters`, on `corpus`, until the last step or until `run`
/// is stopped, and returns the best validation metrics. The model that has them is saved in
/// `model_folder`. The batches depend on `seed` alone.
///
/// # Errors
/// When the corpus is too short, the loss is not finite, or a file cannot be written.
pub fn train(
    model: &impl LanguageModel,
    parameters: &Parameters,
    corpus: &ByteCorpus,
    config: &TrainConfig,
    seed: u64,
    model_folder: Option<&Path>,
    run: &Run,
    log: &mut RunLog,
) -> Result<LmEvalMetrics> {
    let (device, context_len) = (parameters.device(), model.context_len());
    corpus.ensure_fits_context(context_len)?;
    let inference = model.for_inference(parameters)?; // shared memory, no autograd graph
    let max_grad_norm = config.max_grad_norm.unwrap_or(f64::MAX);
    let mut validator = Validator::new(&corpus.validation, config.batch_size, model_folder);
    let mut optimizer = Optimizer::new(parameters, config.optimizer)?;
    let mut rng = Rng::new(seed);
    print_sample(0, &inference, &config.samples, log)?;
    // ANCHOR: loop
    for step in 0..config.steps {
        let batch = Batch::random(&corpus.train, config.batch_size, context_len, &mut rng, device)?;
        let model = model.in_compute_dtype(parameters, config.dtype.dtype())?; // current weights
        let logits = model.forward(&batch.inputs)?.to_dtype(DType::F32)?; // (B, T, V)
        let loss = cross_entropy(&logits, &batch.targets)?; // ()
        let mut grads = backward(&loss)?;
        let grad_norm = clip_grad_norm(&mut grads, parameters, max_grad_norm)?;
        let loss = f64::from(loss.to_scalar::<f32>()?); // waits for the device
        let (lr, step) = (config.lr_at(step), step + 1); // from here on counted from 1
        ensure_finite(step, loss, grad_norm, "--lr")?;
        optimizer.step(&grads, lr)?;
        // ANCHOR_END: loop

        let n_tokens = batch.inputs.elem_count();
        let param_norm = log.param_norm(step, parameters)?;
        let metrics = StepMetrics { step, loss, lr, grad_norm, n_tokens };
        log.step(&metrics, json!({ "param_norm": param_norm }))?;
        let is_stopped = run.should_stop(step)?;
        if step == config.steps || is_stopped || is_due(step, config.eval_interval) {
            validator.run(step, &inference, parameters, log)?;
        }
        if is_stopped || is_due(step, config.samples.sample_interval) {
            print_sample(step, &inference, &config.samples, log)?;
        }
        if is_stopped {
            break;
        }
    }
    validator.best.context("steps must be at least 1")
}

/// Prints and logs a sample of `model`, an inference copy, after `step` steps, unless samples are
/// disabled. Each sample has its own generator with the same seed, so it does not affect the
/// training.
///
/// # Errors
/// When the generation fails, or the row cannot be written.
pub fn print_sample(
    step: usize,
    model: &impl LanguageModel,
    samples: &SampleConfig,
    log: &mut RunLog,
) -> Result<()> {
    let SampleConfig { sample_interval, sample_len, sampling } = samples;
    if *sample_interval == 0 {
        return Ok(());
    }
    let prompt = ByteTokenizer.encode("\n");
    let text = log.suspend(|| {
        let tokens = model.generate(&prompt, *sample_len, sampling, &mut Rng::new(0))?;
        let text = ByteTokenizer.decode(&tokens);
        println!("--- sample after {step} steps\n{}\n---", printable(text.trim()));
        anyhow::Ok(text)
    })?;
    log.row(step, json!({ "sample": text }))
}
