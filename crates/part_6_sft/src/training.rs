//! Training loop: that of the earlier parts, with a loss mask (6.2) and regular validation (6.4).

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

/// Hyperparameters that determine the result of a run.
#[derive(Debug, Clone, Copy)]
pub struct TrainConfig {
    /// Examples per micro-batch.
    pub batch_size: usize,
    /// Micro-batches per step (gradient accumulation).
    pub grad_accum_steps: usize,
    /// Order of the examples.
    pub curriculum: Curriculum,
    /// Layout of the examples in a batch.
    pub batch_layout: BatchLayout,
    /// Learning rate of each step, and number of steps.
    pub schedule: LrSchedule,
    /// AdamW hyperparameters: β₁, β₂, ε and weight decay.
    pub optimizer: AdamWConfig,
    /// Gradient norm above which gradients are clipped.
    pub max_grad_norm: f64,
    /// Seed of the shuffle.
    pub seed: u64,
}

impl TrainConfig {
    /// Default configuration: `steps` batches in shuffled order, one example per row, and a cosine
    /// schedule with peak `peak_lr`.
    pub fn with_defaults(batch_size: usize, steps: usize, peak_lr: f64, seed: u64) -> Self {
        Self {
            batch_size,
            grad_accum_steps: 1,
            curriculum: Curriculum::Shuffled,
            batch_layout: BatchLayout::Padded,
            schedule: LrSchedule::cosine(peak_lr, steps),
            optimizer: AdamWConfig { beta2: 0.99, weight_decay: 0.01, ..AdamWConfig::default() },
            max_grad_norm: 1.,
            seed,
        }
    }
}

/// Layout of the examples in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchLayout {
    /// One example per row, padded on the right.
    Padded,
    /// Several examples per row, in rows of this many tokens.
    Packed(usize),
}

/// Trains `train_state` on `examples` from its current step, until the schedule ends, a stop is
/// requested, or `validator` reaches its target.
///
/// # Errors
/// When there are no examples, the loss is not finite, or a file cannot be written.
pub fn train(
    train_state: &mut TrainState,
    examples: &[TokenizedExample],
    config: &TrainConfig,
    validator: Option<&SftValidator<'_>>,
    outputs: &RunOutputs<'_>,
    log: &mut SftLog,
) -> Result<()> {
    ensure!(!examples.is_empty(), "there are no training examples");
    let model = GptModern::new(&train_state.config, train_state.parameters.root())?;
    let inference_model =
        GptModern::new(&train_state.config, train_state.parameters.for_inference().root())?;
    let lengths = examples.iter().map(|example| example.ids.len()).collect();
    let mut sampler = BatchSampler::new(lengths, config.curriculum, config.batch_size, config.seed);
    let total_steps = config.schedule.total_steps;
    if let Some(validator) = validator.filter(|_| train_state.progress.step == 0) {
        validator.run(&inference_model, train_state, outputs, log)?; // baseline before training
    }
    while train_state.progress.step < total_steps && !train_state.progress.target_reached {
        let step = train_state.progress.step + 1;
        let batches = micro_batches(&mut sampler, step, (examples, config), model.device())?;
        let counts: Vec<usize> = batches.iter().map(SftBatch::n_targets).collect();
        let parameters = &train_state.parameters;
        let loss_of = |batch: &SftBatch| Ok(batch.loss(&model)?);
        let (loss, mut grads) = gradients_of_mean_loss(parameters, &batches, &counts, 1., loss_of)?;
        let grad_norm = clip_grad_norm(&mut grads, parameters, config.max_grad_norm)?;
        let lr = config.schedule.lr_at(step);
        if let Some(alarm) = log.log_alarms(step, loss, lr, grad_norm)? {
            bail!(alarm);
        }
        train_state.optimizer.step(&grads, lr)?;
        train_state.progress.step = step;

        let n_tokens = batches.iter().map(SftBatch::n_tokens).sum();
        let target_share = counts.iter().sum::<usize>() as f64 / n_tokens as f64;
        log.log_step(
            &SftStepMetrics { step, loss, lr, grad_norm, n_tokens },
            json!({ "learned_share": target_share }),
        )?;
        if let Some(validator) =
            validator.filter(|validator| step == total_steps || validator.is_due(step))
        {
            validator.run(&inference_model, train_state, outputs, log)?;
        }
        let stop = outputs.should_stop(step);
        if step == total_steps
            || stop
            || train_state.progress.target_reached
            || outputs.is_save_due(step)
        {
            outputs.save_checkpoint(train_state)?;
        }
        if stop {
            break;
        }
    }
    Ok(())
}

/// Micro-batches of a step, counted from 1.
fn micro_batches(
    sampler: &mut BatchSampler,
    step: usize,
    (examples, config): (&[TokenizedExample], &TrainConfig),
    device: &Device,
) -> Result<Vec<SftBatch>> {
    let first = (step - 1) * config.grad_accum_steps;
    let batch = |index| {
        let indices = sampler.batch_indices(index).iter();
        let batch: Vec<TokenizedExample> = indices.map(|&i| examples[i].clone()).collect();
        Ok(match config.batch_layout {
            BatchLayout::Padded => SftBatch::padded(&batch, device)?,
            BatchLayout::Packed(width) => SftBatch::packed(&batch, width, device)?,
        })
    };
    (first..first + config.grad_accum_steps).map(batch).collect()
}
