//! The loop of this part: part 2's, with everything that a run needs to be left alone overnight.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use candle_core::DType;
use modern::{GptModern, GradientCheckpointing};
use serde::Serialize;
use tensor_core::{AdamWConfig, clip_grad_norm};
use tiny_gpt::Interrupt;

use crate::accumulation::gradients;
use crate::evaluation::{LmEvalConfig, evaluate};
use crate::step_metrics::PretrainStepMetrics;
use crate::{
    Checkpoints, DataLoader, Dataset, LrSchedule, PretrainLog, PretrainState, model_folder,
};

/// What decides where a run arrives.
#[derive(Debug, Clone, Copy)]
pub struct TrainConfig {
    /// Windows whose gradient is computed at a time.
    pub batch_size: usize,
    /// Such batches per step.
    pub grad_accum_steps: usize,
    /// The rate of each step, and how many there are.
    pub schedule: LrSchedule,
    /// β₁, β₂, ε and weight decay.
    pub optimizer: AdamWConfig,
    /// Largest gradient norm.
    pub max_grad_norm: f64,
    /// Probability of dropout.
    pub dropout: f64,
    /// What the model computes in.
    pub dtype: DType,
    /// What it keeps for the gradient.
    pub gradient_checkpointing: GradientCheckpointing,
}

/// What is done how often, in steps; 0 means never.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Intervals {
    /// The loss on held-out tokens, and the model saved if it is the best so far.
    pub eval: usize,
    /// A checkpoint.
    pub save: usize,
    /// What the model writes now.
    pub sample: usize,
}

/// Where a run's results go.
#[derive(Debug)]
pub struct PretrainOutputs<'a> {
    /// The run folder.
    pub folder: &'a Path,
    /// The run's checkpoints.
    pub checkpoints: Checkpoints,
    /// How often.
    pub intervals: Intervals,
    /// How much is evaluated.
    pub eval_config: LmEvalConfig,
    /// Ends the run, saved.
    pub interrupt: Interrupt,
    /// Ends it too, after this many steps in all.
    pub stop_after: Option<usize>,
}

/// Trains `run` on `data` from where it is, with windows in the order of `seed`, until its schedule ends or it is told to stop.
///
/// # Errors
/// When the loss stops being a number, or a file cannot be written.
pub fn train(
    run: &mut PretrainState,
    data: &Dataset,
    config: &TrainConfig,
    seed: u64,
    outputs: &PretrainOutputs<'_>,
    log: &mut PretrainLog,
) -> Result<()> {
    let device = run.parameters.device().clone();
    let mut windows = DataLoader::new(&data.train, run.config.context_len, seed)?;
    let inference = GptModern::new(&run.config, run.parameters.for_inference().root())?;
    let due = |step: usize, interval: usize| interval > 0 && step.is_multiple_of(interval);
    while run.progress.step < config.schedule.total_steps {
        let mut cursor = run.progress.loader_state;
        let batches = (0..config.grad_accum_steps)
            .map(|_| windows.next_batch(&mut cursor, config.batch_size, &device))
            .collect::<Result<Vec<_>>>()?;
        let model = run.model_in_compute_dtype(config)?; // the weights as they are now, in config.dtype
        let (loss, mut grads) = gradients(&model, &run.parameters, &batches, run.loss_scale())?;
        run.unscale(&mut grads)?; // before anything measures them
        let norm = clip_grad_norm(&mut grads, &run.parameters, config.max_grad_norm)?;
        if !run.update_grad_scaler(norm)? {
            log.log_skipped_step(run)?; // f16 overflowed: nothing has moved but the scale
            if outputs.interrupt.is_requested() {
                return outputs
                    .checkpoints
                    .save(run.progress.step, |folder| run.save(folder, data));
            }
            continue;
        }
        let step = run.progress.step + 1;
        let rate = config.schedule.lr_at(step);
        if let Some(alarm) = log.check_alarms(step, loss, rate, norm)? {
            bail!(alarm);
        }
        run.optimizer.step(&grads, rate)?;
        (run.progress.step, run.progress.loader_state) = (step, cursor);

        let stop =
            outputs.interrupt.is_requested() || outputs.stop_after.is_some_and(|n| step >= n);
        let last = step == config.schedule.total_steps;
        log.log_step(
            &PretrainStepMetrics { step, epoch: cursor.epoch, loss, lr: rate, grad_norm: norm },
            run,
        )?;
        if last || due(step, outputs.intervals.eval) {
            let found =
                log.suspend(|| evaluate(&inference, &data.validation, outputs.eval_config))?;
            ensure!(
                found.loss.is_finite(),
                "the validation loss after step {step} is {}",
                found.loss
            );
            log.log_validation(step, &found)?;
            log.log_qkv_statistics(
                step,
                &inference,
                &data.validation.first_window(run.config.context_len, &device)?,
            )?;
            if run.progress.best_loss.is_none_or(|best| found.loss < best) {
                run.progress.best_loss = Some(found.loss);
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
