//! 4.3 One step of pretraining, from the micro-batches to the optimizer: the step of part 2 with
//! mixed precision, loss scaling and gradient accumulation.

use anyhow::Result;
use experiment::{RunLog, StepMetrics};
use ranks::{BatchGradients, ReductionTime};
use serde_json::json;
use tensor_core::clip_grad_norm;
use tiny_gpt::Batch;

use crate::accumulation::gradients;
use crate::{LoaderState, PretrainState, TrainConfig};

/// Takes the next step of `run` on these micro-batches, or this rank's rows of them, after which
/// the data are read from `loader_state` on. A step whose gradients overflow f16 is skipped: only
/// the loss scale changes.
///
/// # Errors
/// When the loss or the gradient norm is not finite, or the log cannot be written.
pub fn pretrain_step(
    run: &mut PretrainState,
    batches: &[Batch],
    loader_state: LoaderState,
    config: &TrainConfig,
    log: &mut RunLog,
) -> Result<()> {
    let step = run.train.progress.step + 1;
    let model = run.model_in_compute_dtype(config)?; // the current weights in config.dtype
    let parameters = &run.train.parameters;
    let of_rank = gradients(&model, parameters, batches, run.loss_scale())?;
    let BatchGradients { loss, mut grads, n_tokens, reduction, .. } =
        of_rank.average(&run.train.ranks, &[parameters])?;
    run.unscale(&mut grads)?; // before the norm is computed
    let grad_norm = clip_grad_norm(&mut grads, &run.train.parameters, config.max_grad_norm)?;
    if !run.update_grad_scaler(grad_norm)? {
        run.progress.n_skipped_steps += 1;
        let (skipped, scale) = (run.progress.n_skipped_steps, run.loss_scale());
        return log.row(step, json!({ "n_skipped_steps": skipped, "loss_scale": scale }));
    }
    let lr = config.schedule.lr_at(step);
    let metrics = StepMetrics { step, loss, lr, grad_norm, n_tokens };
    log.check(&metrics)?;
    run.train.optimizer.step(&grads, lr)?;
    (run.train.progress.step, run.progress.loader_state) = (step, loader_state);

    let param_norm = log.param_norm(step, &run.train.parameters)?;
    let mut row = json!({ "epoch": loader_state.epoch, "param_norm": param_norm });
    if run.progress.grad_scaler.is_some() {
        row["loss_scale"] = json!(run.loss_scale());
    }
    if let Some(ReductionTime { wait, all_reduce }) = reduction {
        row["wait_time_s"] = json!(wait.as_secs_f64());
        row["all_reduce_time_s"] = json!(all_reduce.as_secs_f64());
    }
    log.step(&metrics, row)
}
