//! The loop of this part: part 2's, with losses that keep the load even, and an eye on it.

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use tensor_core::ops::{add, cross_entropy};
use tensor_core::{AdamW, Parameters, Rng, backward, clip_grad_norm};
use tiny_gpt::loss_curve::Curve;
use tiny_gpt::{Batch, ByteCorpus, LanguageModel, LmEvalMetrics, TrainLog, evaluate};

use crate::auxiliary_losses::{load_balancing_loss, router_z_loss};
use crate::balancing_bias;
use crate::config::LoadBalancing;
use crate::expert_load::ExpertLoad;
use crate::load_monitor::LoadMonitor;
use crate::model::GptMoe;
use crate::router::RouterOutput;

/// What decides where a run arrives.
#[derive(Debug, Clone, Copy)]
pub struct TrainConfig {
    /// Part 2's settings.
    pub base: tiny_gpt::TrainConfig,
    /// How the load is kept even.
    pub load_balancing: LoadBalancing,
}

/// What became of a run.
#[derive(Debug, Clone)]
pub struct MoeTrainOutcome {
    /// The best look at the held-out text.
    pub best_eval: LmEvalMetrics,
    /// The largest load over the mean, of the layer that is worst, by step.
    pub max_load_curve: Curve,
    /// Choices that were dropped, of all.
    pub dropped_fraction: f64,
}

/// `loss` with what the routing of each layer adds to it: the mean over the layers of each auxiliary loss, weighted. Every token
/// counts: windows of a text have no padding.
pub fn total_loss(
    loss: &Tensor,
    layers: &[RouterOutput],
    balancing: &LoadBalancing,
) -> candle_core::Result<Tensor> {
    let mut total = loss.clone();
    for routed in layers {
        let RouterOutput { logits, probabilities, selected_experts } = routed;
        let each = 1. / layers.len() as f64;
        if balancing.aux_loss_coef != 0. {
            let balance = load_balancing_loss(probabilities, selected_experts, None)?;
            let weighted = (balance * (balancing.aux_loss_coef * each))?.to_dtype(total.dtype())?;
            total = add(&total, &weighted)?;
        }
        if balancing.z_loss_coef != 0. {
            let z = (router_z_loss(logits, None)? * (balancing.z_loss_coef * each))?;
            total = add(&total, &z.to_dtype(total.dtype())?)?;
        }
    }
    Ok(total)
}

/// Trains `model`, whose weights are `parameters`, on `corpus`; `log` shows, records and keeps the best model. Batches follow
/// from `seed` alone, and are those of part 2's loop.
///
/// # Errors
/// When the corpus is too short, the loss stops being a number, or the log cannot be written.
pub fn train(
    model: &GptMoe,
    parameters: &Parameters,
    corpus: &ByteCorpus,
    config: &TrainConfig,
    seed: u64,
    log: &mut TrainLog,
) -> Result<MoeTrainOutcome> {
    let TrainConfig { base: run, load_balancing } = config;
    let (device, block_size): (&Device, _) = (parameters.device(), model.context_len());
    corpus.ensure_fits_context(block_size)?;
    let inference = model.for_inference(parameters)?; // same memory, no graph, no strain
    let mut optimizer = AdamW::new(parameters, run.optimizer)?;
    let (mut rng, mut watch, mut best) = (Rng::new(seed), LoadMonitor::new(), None);
    for step in 0..run.steps {
        log.log_sample(step, run.sample_interval, &inference)?;
        let batch = Batch::random(&corpus.train, run.batch_size, block_size, &mut rng, device)?;
        let (logits, routed) = model.forward(&batch.inputs)?; // (B, T, V), a note per layer
        let loss = cross_entropy(&logits, &batch.targets)?; // ()
        let mut grads = backward(&total_loss(&loss, &routed, load_balancing)?)?;
        let norm = clip_grad_norm(&mut grads, parameters, run.max_grad_norm.unwrap_or(f64::MAX))?;
        let lr = run.lr_at(step);
        optimizer.step(&grads, lr)?;
        let loads: Vec<ExpertLoad> = routed.iter().map(|routed| model.load(routed)).collect();
        balancing_bias::update_biases(parameters, &loads, load_balancing.bias_update_rate)?;

        let loss = loss.to_scalar::<f32>()?; // waits for the device
        ensure!(
            loss.is_finite(),
            "the loss is {loss} at step {step}: try a smaller --lr or --aux-loss-coef"
        );
        log.log_step(step, loss, lr, norm, batch.inputs.elem_count())?;
        watch.update(&loads);
        let last = step + 1 == run.steps || log.is_interrupted();
        if last || (step + 1) % run.eval_interval == 0 {
            let look = || evaluate(&inference, &corpus.validation, run.batch_size, device);
            let found = log.suspend(look)?;
            log.log_validation(step + 1, &found)?;
            if best.is_none_or(|best: LmEvalMetrics| found.loss < best.loss) {
                best = Some(found);
                log.save_model(model, parameters)?;
            }
        }
        if last {
            log.log_sample(run.steps, run.sample_interval, &inference)?;
            break;
        }
    }
    let best = best.ok_or_else(|| anyhow::anyhow!("0 steps train nothing"))?;
    Ok(MoeTrainOutcome {
        best_eval: best,
        dropped_fraction: watch.dropped_fraction(),
        max_load_curve: watch.curve(),
    })
}
