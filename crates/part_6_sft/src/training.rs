//! The loop: that of the earlier parts. What differs is which tokens count (6.2) and what is looked at from time to time (6.4).

use anyhow::{Result, bail, ensure};
use candle_core::Device;
use modern::GptModern;
use scaling::LrSchedule;
use scaling::accumulation::gradients_of_mean_loss;
use serde_json::json;
use tensor_core::{AdamWConfig, clip_grad_norm};

use crate::sft_log::SftStepMetrics;
use crate::validator::SftValidator;
use crate::{BatchSampler, Curriculum, RunOutputs, SftBatch, SftLog, TokenizedExample, TrainState};

/// What decides where a run arrives.
#[derive(Debug, Clone, Copy)]
pub struct TrainConfig {
    /// Examples whose gradient is computed at a time.
    pub batch_size: usize,
    /// Such batches per step.
    pub grad_accum_steps: usize,
    /// The order of the examples.
    pub curriculum: Curriculum,
    /// How they stand in a batch.
    pub batch_layout: BatchLayout,
    /// The rate of each step, and how many there are.
    pub schedule: LrSchedule,
    /// β₁, β₂, ε and weight decay.
    pub optimizer: AdamWConfig,
    /// Largest gradient norm.
    pub max_grad_norm: f64,
    /// Of the order.
    pub seed: u64,
}

impl TrainConfig {
    /// The usual one: `steps` batches in shuffled order, an example a row, the rate's peak at `peak`.
    pub fn with_defaults(batch_size: usize, steps: usize, peak: f64, seed: u64) -> Self {
        Self {
            batch_size,
            grad_accum_steps: 1,
            curriculum: Curriculum::Shuffled,
            batch_layout: BatchLayout::Padded,
            schedule: LrSchedule::cosine(peak, steps),
            optimizer: AdamWConfig { beta2: 0.99, weight_decay: 0.01, ..AdamWConfig::default() },
            max_grad_norm: 1.,
            seed,
        }
    }
}

/// How examples stand in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchLayout {
    /// One in each row.
    Padded,
    /// Several behind each other in rows of this many tokens.
    Packed(usize),
}

/// Trains `tuning` on `examples` from where it is, until its schedule ends, it is told to stop, or `exam` is passed.
///
/// # Errors
/// When there is nothing to learn from, the loss stops being a number, or a file cannot be written.
pub fn train(
    tuning: &mut TrainState,
    examples: &[TokenizedExample],
    config: &TrainConfig,
    exam: Option<&SftValidator<'_>>,
    outputs: &RunOutputs<'_>,
    log: &mut SftLog,
) -> Result<()> {
    ensure!(!examples.is_empty(), "there is no example to learn from");
    let model = GptModern::new(&tuning.config, tuning.parameters.root())?;
    let twin = GptModern::new(&tuning.config, tuning.parameters.for_inference().root())?;
    let lengths = examples.iter().map(|example| example.ids.len()).collect();
    let mut order = BatchSampler::new(lengths, config.curriculum, config.batch_size, config.seed);
    let total = config.schedule.total_steps;
    if let Some(exam) = exam.filter(|_| tuning.progress.step == 0) {
        exam.run(&twin, tuning, outputs, log)?; // what there is to improve on
    }
    while tuning.progress.step < total && !tuning.progress.target_reached {
        let step = tuning.progress.step + 1;
        let batches = micro_batches(&mut order, step, (examples, config), model.device())?;
        let counts: Vec<usize> = batches.iter().map(SftBatch::n_targets).collect();
        let parameters = &tuning.parameters;
        let loss_of = |batch: &SftBatch| Ok(batch.loss(&model)?);
        let (loss, mut grads) = gradients_of_mean_loss(parameters, &batches, &counts, 1., loss_of)?;
        let norm = clip_grad_norm(&mut grads, parameters, config.max_grad_norm)?;
        let rate = config.schedule.lr_at(step);
        if let Some(alarm) = log.check_alarms(step, loss, rate, norm)? {
            bail!(alarm);
        }
        tuning.optimizer.step(&grads, rate)?;
        tuning.progress.step = step;

        let tokens = batches.iter().map(SftBatch::n_tokens).sum();
        let share = counts.iter().sum::<usize>() as f64 / tokens as f64;
        log.log_step(
            &SftStepMetrics { step, loss, lr: rate, grad_norm: norm, n_tokens: tokens },
            json!({ "learned_share": share }),
        )?;
        if let Some(exam) = exam.filter(|exam| step == total || exam.is_due(step)) {
            exam.run(&twin, tuning, outputs, log)?;
        }
        let stop = outputs.should_stop(step);
        if step == total || stop || tuning.progress.target_reached || outputs.is_save_due(step) {
            outputs.save_checkpoint(tuning)?;
        }
        if stop {
            break;
        }
    }
    Ok(())
}

/// What a step, counted from 1, learns from.
fn micro_batches(
    order: &mut BatchSampler,
    step: usize,
    (examples, config): (&[TokenizedExample], &TrainConfig),
    device: &Device,
) -> Result<Vec<SftBatch>> {
    let first = (step - 1) * config.grad_accum_steps;
    let batch = |number| {
        let chosen = order.batch_indices(number).iter();
        let chosen: Vec<TokenizedExample> =
            chosen.map(|&example| examples[example].clone()).collect();
        Ok(match config.batch_layout {
            BatchLayout::Padded => SftBatch::padded(&chosen, device)?,
            BatchLayout::Packed(width) => SftBatch::packed(&chosen, width, device)?,
        })
    };
    (first..first + config.grad_accum_steps).map(batch).collect()
}
