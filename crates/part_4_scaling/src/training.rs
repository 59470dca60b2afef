//! Training loop of this part: the loop of part 2, plus mixed precision, gradient accumulation,
//! alarms and checkpoints, for runs without supervision.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use candle_core::DType;
use datasets::Dataset;
use experiment::{Checkpoints, Interrupt};
use modern::{GptModern, GradientCheckpointing};
use serde::Serialize;
use tensor_core::{AdamWConfig, clip_grad_norm};

use crate::accumulation::gradients;
use crate::evaluation::{LmEvalConfig, evaluate};
use crate::step_metrics::PretrainStepMetrics;
use crate::{DataLoader, LrSchedule, PretrainLog, PretrainState, model_folder};

/// Hyperparameters that determine the result.
#[derive(Debug, Clone, Copy)]
pub struct TrainConfig {
    /// Sequences per micro-batch.
    pub batch_size: usize,
    /// Micro-batches per optimizer step.
    pub grad_accum_steps: usize,
    /// Learning-rate schedule, which includes the number of steps.
    pub schedule: LrSchedule,
    /// β₁, β₂, ε and weight decay.
    pub optimizer: AdamWConfig,
    /// Maximum gradient norm.
    pub max_grad_norm: f64,
    /// Dropout probability.
    pub dropout: f64,
    /// Data type of the model's computations.
    pub dtype: DType,
    /// Gradient checkpointing.
    pub gradient_checkpointing: GradientCheckpointing,
}

/// Intervals in steps; 0 means only at the end of the run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Intervals {
    /// Interval of validations; the model is saved if its loss is the best so far.
    pub eval: usize,
    /// Interval of checkpoints.
    pub save: usize,
    /// Interval of samples.
    pub sample: usize,
}

/// Outputs of a run: its folder, checkpoints and validations, and its stop conditions.
#[derive(Debug)]
pub struct PretrainOutputs<'a> {
    /// Run folder.
    pub folder: &'a Path,
    /// Checkpoints of the run.
    pub checkpoints: Checkpoints,
    /// Intervals of validations, checkpoints and samples.
    pub intervals: Intervals,
    /// Size of a validation.
    pub eval_config: LmEvalConfig,
    /// Signal that stops the run after saving a checkpoint.
    pub interrupt: Interrupt,
    /// Step after which the run saves and stops.
    pub stop_after: Option<usize>,
}

/// Trains `run` on `data` from its current step, with the data shuffled by `seed`, until the
/// schedule ends or the run is stopped.
///
/// # Errors
/// When a loss or gradient norm is not finite, or a file cannot be written.
pub fn train(
    run: &mut PretrainState,
    data: &Dataset,
    config: &TrainConfig,
    seed: u64,
    outputs: &PretrainOutputs<'_>,
    log: &mut PretrainLog,
) -> Result<()> {
    let device = run.parameters.device().clone();
    let mut data_loader = DataLoader::new(&data.train, run.config.context_len, seed)?;
    let inference = GptModern::new(&run.config, run.parameters.for_inference().root())?;
    let due = |step: usize, interval: usize| interval > 0 && step.is_multiple_of(interval);
    while run.progress.step < config.schedule.total_steps {
        let mut loader_state = run.progress.loader_state;
        let batches = (0..config.grad_accum_steps)
            .map(|_| data_loader.next_batch(&mut loader_state, config.batch_size, &device))
            .collect::<Result<Vec<_>>>()?;
        let model = run.model_in_compute_dtype(config)?; // the current weights in config.dtype
        let (loss, mut grads) = gradients(&model, &run.parameters, &batches, run.loss_scale())?;
        run.unscale(&mut grads)?; // before the norm is computed
        let grad_norm = clip_grad_norm(&mut grads, &run.parameters, config.max_grad_norm)?;
        if !run.update_grad_scaler(grad_norm)? {
            log.log_skipped_step(run)?; // f16 overflow: only the loss scale has changed
            if outputs.interrupt.is_requested() {
                return outputs
                    .checkpoints
                    .save(run.progress.step, |folder| run.save(folder, data));
            }
            continue;
        }
        let step = run.progress.step + 1;
        let lr = config.schedule.lr_at(step);
        if let Some(alarm) = log.log_alarms(step, loss, lr, grad_norm)? {
            bail!(alarm);
        }
        run.optimizer.step(&grads, lr)?;
        (run.progress.step, run.progress.loader_state) = (step, loader_state);

        let stop =
            outputs.interrupt.is_requested() || outputs.stop_after.is_some_and(|n| step >= n);
        let last = step == config.schedule.total_steps;
        let epoch = loader_state.epoch;
        log.log_step(&PretrainStepMetrics { step, epoch, loss, lr, grad_norm }, run)?;
        if last || due(step, outputs.intervals.eval) {
            let metrics =
                log.suspend(|| evaluate(&inference, &data.validation, outputs.eval_config))?;
            let val_loss = metrics.loss;
            ensure!(val_loss.is_finite(), "the validation loss after step {step} is {val_loss}");
            log.log_validation(step, &metrics)?;
            let window = data.validation.first_window(run.config.context_len, &device)?;
            log.log_qkv_statistics(step, &inference, &window)?;
            if run.progress.best_loss.is_none_or(|best| val_loss < best) {
                run.progress.best_loss = Some(val_loss);
                model_folder::save(&outputs.folder.join("model"), run, &data.tokenizer)?;
            }
        }
        if last || due(step, outputs.intervals.sample) {
            log.log_sample(step, &inference, &data.tokenizer)?;
        }
        if last || stop || due(step, outputs.intervals.save) {
            log.suspend(|| outputs.checkpoints.save(step, |folder| run.save(folder, data)))?;
        }
        if stop {
            break;
        }
    }
    Ok(())
}
