//! The training loop: part 2's, with auxiliary losses and monitoring of the expert load.

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use experiment::loss_curve::Curve;
use tensor_core::ops::{add, cross_entropy};
use tensor_core::{AdamW, Parameters, Rng, backward, clip_grad_norm};
use tiny_gpt::{Batch, ByteCorpus, LanguageModel, LmEvalMetrics, TrainLog, evaluate};

use crate::auxiliary_losses::{load_balancing_loss, router_z_loss};
use crate::balancing_bias;
use crate::config::LoadBalancing;
use crate::expert_load::ExpertLoad;
use crate::load_monitor::LoadMonitor;
use crate::model::GptMoe;
use crate::router::RouterOutput;

/// Hyperparameters that determine the result.
#[derive(Debug, Clone, Copy)]
pub struct TrainConfig {
    /// Settings of part 2's training loop.
    pub base: tiny_gpt::TrainConfig,
    /// Load-balancing settings.
    pub load_balancing: LoadBalancing,
}

/// Outcome of a training run.
#[derive(Debug, Clone)]
pub struct MoeTrainOutcome {
    /// Best validation metrics.
    pub best_eval: LmEvalMetrics,
    /// Max load / mean load of the worst layer, by step.
    pub max_load_curve: Curve,
    /// Fraction of the assignments that were dropped.
    pub dropped_fraction: f64,
}

/// Total loss: `loss` plus the mean over the layers of each auxiliary loss, times its coefficient.
/// All tokens count, since windows of a text do not contain padding.
pub fn total_loss(
    loss: &Tensor,
    layers: &[RouterOutput],
    load_balancing: &LoadBalancing,
) -> candle_core::Result<Tensor> {
    let mut total = loss.clone();
    for router_output in layers {
        let RouterOutput { logits, probabilities, selected_experts } = router_output;
        let per_layer = 1. / layers.len() as f64;
        if load_balancing.aux_loss_coef != 0. {
            let aux_loss = load_balancing_loss(probabilities, selected_experts, None)?;
            let aux_loss = (aux_loss * (load_balancing.aux_loss_coef * per_layer))?;
            total = add(&total, &aux_loss.to_dtype(total.dtype())?)?;
        }
        if load_balancing.z_loss_coef != 0. {
            let z_loss = router_z_loss(logits, None)?;
            let z_loss = (z_loss * (load_balancing.z_loss_coef * per_layer))?;
            total = add(&total, &z_loss.to_dtype(total.dtype())?)?;
        }
    }
    Ok(total)
}

/// Trains `model`, whose weights are `parameters`, on `corpus`. `log` prints and records the run
/// and saves the best model. The batches depend on `seed` alone and equal those of part 2's loop.
///
/// # Errors
/// When the corpus is too short, the loss is not finite, or the log cannot be written.
pub fn train(
    model: &GptMoe,
    parameters: &Parameters,
    corpus: &ByteCorpus,
    config: &TrainConfig,
    seed: u64,
    log: &mut TrainLog,
) -> Result<MoeTrainOutcome> {
    let TrainConfig { base, load_balancing } = config;
    let (device, context_len): (&Device, _) = (parameters.device(), model.context_len());
    corpus.ensure_fits_context(context_len)?;
    let inference = model.for_inference(parameters)?; // shared memory, no graph, no jitter
    let mut optimizer = AdamW::new(parameters, base.optimizer)?;
    let (mut rng, mut load_monitor, mut best) = (Rng::new(seed), LoadMonitor::new(), None);
    for step in 0..base.steps {
        log.log_sample(step, base.sample_interval, &inference)?;
        let batch = Batch::random(&corpus.train, base.batch_size, context_len, &mut rng, device)?;
        let (logits, layers) = model.forward(&batch.inputs)?; // (B, T, V), output per router
        let loss = cross_entropy(&logits, &batch.targets)?; // ()
        let mut grads = backward(&total_loss(&loss, &layers, load_balancing)?)?;
        let grad_norm =
            clip_grad_norm(&mut grads, parameters, base.max_grad_norm.unwrap_or(f64::MAX))?;
        let lr = base.lr_at(step);
        optimizer.step(&grads, lr)?;
        let loads: Vec<ExpertLoad> = layers.iter().map(|layer| model.load(layer)).collect();
        balancing_bias::update_biases(parameters, &loads, load_balancing.bias_update_rate)?;

        let loss = loss.to_scalar::<f32>()?; // waits for the device
        ensure!(
            loss.is_finite(),
            "the loss is {loss} at step {step}: try a smaller --lr or --aux-loss-coef"
        );
        log.log_step(step, loss, lr, grad_norm, batch.inputs.elem_count())?;
        load_monitor.update(&loads);
        let is_last = step + 1 == base.steps || log.is_interrupted();
        if is_last || (step + 1) % base.eval_interval == 0 {
            let validate = || evaluate(&inference, &corpus.validation, base.batch_size, device);
            let metrics = log.suspend(validate)?;
            log.log_validation(step + 1, &metrics)?;
            if best.is_none_or(|best: LmEvalMetrics| metrics.loss < best.loss) {
                best = Some(metrics);
                log.save_model(model, parameters)?;
            }
        }
        if is_last {
            log.log_sample(base.steps, base.sample_interval, &inference)?;
            break;
        }
    }
    let best_eval = best.ok_or_else(|| anyhow::anyhow!("steps must be at least 1"))?;
    Ok(MoeTrainOutcome {
        best_eval,
        dropped_fraction: load_monitor.dropped_fraction(),
        max_load_curve: load_monitor.curve(),
    })
}
