//! The training loop: part 2's, with auxiliary losses and monitoring of the expert load.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::Tensor;
use experiment::loss_curve::Curve;
use experiment::{Run, RunLog, StepMetrics, ensure_finite, is_due};
use model_io::model_folder::SpecialTokenIds;
use modern::language_model::save_byte_tokenizer;
use serde_json::Value;
use tensor_core::ops::{add, cross_entropy};
use tensor_core::{AdamW, Parameters, Rng, backward, clip_grad_norm};
use tiny_gpt::evaluation::Validator;
use tiny_gpt::training::print_sample;
use tiny_gpt::{Batch, ByteCorpus, LanguageModel, LmEvalMetrics, Sampling};

use crate::auxiliary_losses::{load_balancing_loss, router_z_loss};
use crate::balancing_bias::update_biases;
use crate::config::LoadBalancing;
use crate::expert_load::ExpertLoad;
use crate::load_monitor::LoadMonitor;
use crate::model::GptMoe;
use crate::model_folder;
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

/// Trains `model`, whose weights are `parameters`, on `corpus`, until the last step or until `run`
/// is stopped. The model with the best validation metrics is saved in `model_folder`. The batches
/// depend on `seed` alone and equal those of part 2's loop.
///
/// # Errors
/// When the corpus is too short, the loss is not finite, or a file cannot be written.
pub fn train(
    model: &GptMoe,
    parameters: &Parameters,
    corpus: &ByteCorpus,
    config: &TrainConfig,
    seed: u64,
    model_folder: Option<&Path>,
    run: &Run,
    log: &mut RunLog,
) -> Result<MoeTrainOutcome> {
    let TrainConfig { base, load_balancing } = config;
    let (device, context_len) = (parameters.device(), model.context_len());
    corpus.ensure_fits_context(context_len)?;
    let inference = model.for_inference(parameters)?; // shared memory, no graph, no jitter
    let max_grad_norm = base.max_grad_norm.unwrap_or(f64::MAX);
    let mut validator = Validator::new(&corpus.validation, base.batch_size, model_folder);
    let mut optimizer = AdamW::new(parameters, base.optimizer)?;
    let (mut rng, mut load_monitor) = (Rng::new(seed), LoadMonitor::new());
    print_sample(0, &inference, &base.samples, log)?;
    for step in 0..base.steps {
        let batch = Batch::random(&corpus.train, base.batch_size, context_len, &mut rng, device)?;
        // (B, T, V), and the output of each layer's router
        let (logits, layers) = model.forward_with_routing(&batch.inputs)?;
        let loss = cross_entropy(&logits, &batch.targets)?; // ()
        let mut grads = backward(&total_loss(&loss, &layers, load_balancing)?)?;
        let grad_norm = clip_grad_norm(&mut grads, parameters, max_grad_norm)?;
        let loss = f64::from(loss.to_scalar::<f32>()?); // waits for the device
        let (lr, step) = (base.lr_at(step), step + 1); // from here on counted from 1
        ensure_finite(step, loss, grad_norm, "--lr or --aux-loss-coef")?;
        optimizer.step(&grads, lr)?;
        let loads: Vec<ExpertLoad> = layers.iter().map(|layer| model.load(layer)).collect();
        update_biases(parameters, &loads, load_balancing.bias_update_rate)?;

        let n_tokens = batch.inputs.elem_count();
        log.step(&StepMetrics { step, loss, lr, grad_norm, n_tokens }, Value::Null)?;
        load_monitor.update(&loads);
        let is_stopped = run.should_stop(step)?;
        if step == base.steps || is_stopped || is_due(step, base.eval_interval) {
            validator.run(step, &inference, parameters, log)?;
        }
        if is_stopped || is_due(step, base.samples.sample_interval) {
            print_sample(step, &inference, &base.samples, log)?;
        }
        if is_stopped {
            break;
        }
    }
    Ok(MoeTrainOutcome {
        best_eval: validator.best.context("steps must be at least 1")?,
        dropped_fraction: load_monitor.dropped_fraction(),
        max_load_curve: load_monitor.curve(),
    })
}

impl LanguageModel for GptMoe {
    fn context_len(&self) -> usize {
        self.config().model.context_len
    }

    fn for_inference(&self, parameters: &Parameters) -> candle_core::Result<Self> {
        Self::new(self.config(), parameters.for_inference().root())
    }

    fn save(&self, folder: &Path, parameters: &Parameters) -> anyhow::Result<()> {
        let config = self.config();
        save_byte_tokenizer(folder, &config.model)?;
        model_folder::save(folder, config, parameters, &SpecialTokenIds::default())
    }

    fn generate(
        &self,
        prompt: &[u32],
        n: usize,
        sampling: &Sampling,
        rng: &mut Rng,
    ) -> anyhow::Result<Vec<u32>> {
        self.gpt.generate(prompt, n, sampling, rng)
    }
}
