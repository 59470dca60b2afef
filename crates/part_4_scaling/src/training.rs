//! 4.3 Training loop: the loop of part 2, plus checkpoints, for runs without supervision.

use std::path::Path;

use anyhow::{Result, ensure};
use datasets::Dataset;
use experiment::{Run, RunLog, Score, Target, is_due};
use modern::GptModern;
use serde_json::json;
use tiny_gpt::LmEvalMetrics;

use crate::evaluation::{ValidationConfig, evaluate};
use crate::metrics::{log_qkv_statistics, log_sample};
use crate::step::pretrain_step;
use crate::{DataLoader, PretrainState, TrainConfig};

/// Trains `state` on `data` from its current step, with the data shuffled by `seed`, until the
/// schedule ends or the run is stopped. The best model is saved in `model_folder`.
///
/// # Errors
/// When a loss or gradient norm is not finite, or a file cannot be written.
pub fn train(
    state: &mut PretrainState,
    data: &Dataset,
    config: &TrainConfig,
    validation: &ValidationConfig,
    model_folder: &Path,
    run: &Run,
    log: &mut RunLog,
) -> Result<()> {
    state.train.join(&run.ranks)?;
    let device = state.train.parameters.device().clone();
    let mut data_loader = DataLoader::new(&data.train, state.window_len, config.seed)?;
    let inference = GptModern::new(&state.config, state.train.parameters.for_inference().root())?;
    let total_steps = config.schedule.total_steps;
    if state.train.progress.step == 0 {
        validate(state, &inference, data, validation, model_folder, log)?; // before training
    }
    while !run.is_over(&state.train.progress, total_steps)? {
        let step = state.train.progress.step + 1;
        let mut loader_state = state.progress.loader_state;
        let mut batches = Vec::with_capacity(config.grad_accum_steps);
        for _ in 0..config.grad_accum_steps {
            let batch = data_loader.next_batch(&mut loader_state, config.batch_size, &device)?;
            batches.extend(batch.rows(run.ranks.rows(config.batch_size))?);
        }
        state.train.seed_dropout(config.seed);
        pretrain_step(state, &batches, loader_state, config, log)?;
        let is_skipped = state.train.progress.step < step;
        if !is_skipped && (step == total_steps || is_due(step, validation.eval_interval)) {
            validate(state, &inference, data, validation, model_folder, log)?;
        }
        let progress = &state.train.progress;
        let is_last = run.is_over(progress, total_steps)? || run.should_stop(progress.step)?;
        if !is_skipped && (step == total_steps || is_due(step, validation.sample_interval)) {
            log_sample(step, &inference, &data.tokenizer, validation, log)?;
        }
        if is_last || (!is_skipped && run.is_save_due(step)?) {
            let step = state.train.progress.step;
            run.save_checkpoint(step, &[&state.train], log, |folder, data_id| {
                state.save(folder, &data.tokenizer, data_id)
            })?;
        }
        if is_last {
            break;
        }
    }
    match run.is_over(&state.train.progress, total_steps)? {
        true => log.write_pending_row(),
        false => Ok(()),
    }
}

/// Evaluates the model of `state`, of which `inference` is a view, and saves it if it is the best
/// so far.
fn validate(
    state: &mut PretrainState,
    inference: &GptModern,
    data: &Dataset,
    validation: &ValidationConfig,
    model_folder: &Path,
    log: &mut RunLog,
) -> Result<()> {
    let step = state.train.progress.step;
    let metrics = log.suspend(|| evaluate(inference, &data.validation, validation.eval_config))?;
    let LmEvalMetrics { loss, bits_per_byte, .. } = metrics;
    // A step on such a model reports the cause.
    ensure!(step == 0 || loss.is_finite(), "the validation loss after step {step} is {loss}");
    let summary =
        format!(": validation loss {loss:.4} nats per token, {bits_per_byte:.4} bits per byte");
    log.validation(step, &summary, json!({ "val_loss": loss, "bits_per_byte": bits_per_byte }))?;
    let window = data.validation.first_window(state.window_len, inference.device())?;
    log_qkv_statistics(step, inference, &window, log)?;
    if state.train.progress.record_validation(Score::Loss(loss), Target::NotReached) {
        state.save_model(model_folder, &data.tokenizer)?;
    }
    Ok(())
}
