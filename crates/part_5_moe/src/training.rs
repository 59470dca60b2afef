//! The training loop: part 2's, with auxiliary losses and monitoring of the expert load.

use std::path::Path;

use anyhow::Result;
use candle_core::{DType, Module, Tensor};
use experiment::{Run, RunLog, Score, StepMetrics, Target, ensure_finite, is_due};
use model_io::model_folder::SpecialTokenIds;
use modern::GptModern;
use modern::language_model::save_byte_tokenizer;
use serde_json::json;
use tensor_core::ops::{add, cross_entropy};
use tensor_core::{Parameters, Rng, backward, clip_grad_norm};
use tiny_gpt::training::print_sample;
use tiny_gpt::{Batch, ByteCorpus, LanguageModel, LmEvalMetrics, Sampling, evaluate};

use crate::auxiliary_losses::{load_balancing_loss, router_z_loss};
use crate::balancing_bias::update_biases;
use crate::config::LoadBalancing;
use crate::expert_load::ExpertLoad;
use crate::model::GptMoe;
use crate::model_folder;
use crate::router::RouterOutput;
use crate::train_state::MoeTrainState;

/// Hyperparameters that determine the result.
#[derive(Debug, Clone, Copy)]
pub struct TrainConfig {
    /// Settings of part 2's training loop.
    pub base: tiny_gpt::TrainConfig,
    /// Load-balancing settings.
    pub load_balancing: LoadBalancing,
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

/// Model whose feed-forward layers may route tokens to experts; a dense one has no such layers.
pub trait RoutedModel: LanguageModel {
    /// Logits (B, T, V) of `ids: (B, T)`, and the output of each layer's router.
    fn forward_with_routing(
        &self,
        ids: &Tensor,
    ) -> candle_core::Result<(Tensor, Vec<RouterOutput>)>;

    /// Expert load of a layer with this router output.
    fn load(&self, router_output: &RouterOutput) -> ExpertLoad;
}

impl RoutedModel for GptMoe {
    fn forward_with_routing(
        &self,
        ids: &Tensor,
    ) -> candle_core::Result<(Tensor, Vec<RouterOutput>)> {
        GptMoe::forward_with_routing(self, ids)
    }

    fn load(&self, router_output: &RouterOutput) -> ExpertLoad {
        GptMoe::load(self, router_output)
    }
}

impl RoutedModel for GptModern {
    fn forward_with_routing(
        &self,
        ids: &Tensor,
    ) -> candle_core::Result<(Tensor, Vec<RouterOutput>)> {
        Ok((self.forward(ids)?, Vec::new()))
    }

    fn load(&self, _router_output: &RouterOutput) -> ExpertLoad {
        ExpertLoad::default()
    }
}

/// Trains `model`, whose weights are those of `state`, on `corpus` from its current step, until the
/// last step or until `run` is stopped. The model with the best validation metrics is saved in
/// `model_folder`. The batches depend on the seed alone and equal those of part 2's loop.
///
/// # Errors
/// When the corpus is too short, the loss is not finite, or a file cannot be written.
pub fn train(
    model: &impl RoutedModel,
    state: &mut MoeTrainState,
    corpus: &ByteCorpus,
    config: &TrainConfig,
    model_folder: Option<&Path>,
    run: &Run,
    log: &mut RunLog,
) -> Result<()> {
    let base = &config.base;
    let (device, context_len) = (state.train.parameters.device().clone(), model.context_len());
    corpus.ensure_fits_context(context_len)?;
    // Shared memory, no graph, no jitter.
    let inference = model.for_inference(&state.train.parameters)?;
    if state.train.progress.step == 0 {
        print_sample(0, &inference, &base.samples, log)?;
    }
    while !run.is_finished(&state.train.progress, base.steps) {
        let step = state.train.progress.step + 1;
        let (rng, batch_size) = (&mut state.progress.rng, base.batch_size);
        let batch = Batch::random(&corpus.train, batch_size, context_len, rng, &device)?;
        let loads = moe_step(model, state, &batch, config, log)?;
        state.progress.load_monitor.update(&loads);
        if step == base.steps || is_due(step, base.eval_interval) {
            validate(&inference, state, corpus, base, model_folder, log)?;
        }
        if is_due(step, base.samples.sample_interval) {
            print_sample(step, &inference, &base.samples, log)?;
        }
        let is_last =
            run.is_finished(&state.train.progress, base.steps) || run.should_stop(step)?;
        if is_last || run.is_save_due(step)? {
            run.save_checkpoint(step, &[&state.train], log, |folder, data_id| {
                state.save(folder, data_id)
            })?;
        }
        if is_last {
            break;
        }
    }
    match run.is_finished(&state.train.progress, base.steps) {
        true => log.write_pending_row(),
        false => Ok(()),
    }
}

/// Takes the next step of `state`, whose model is `model`, on `batch`; returns the expert load of
/// each layer.
fn moe_step(
    model: &impl RoutedModel,
    state: &mut MoeTrainState,
    batch: &Batch,
    config: &TrainConfig,
    log: &mut RunLog,
) -> Result<Vec<ExpertLoad>> {
    let TrainConfig { base, load_balancing } = config;
    let (step, parameters) = (state.train.progress.step + 1, &state.train.parameters);
    let model = model.in_compute_dtype(parameters, base.dtype.dtype())?; // the current weights
    // (B, T, V), and the output of each layer's router
    let (logits, layers) = model.forward_with_routing(&batch.inputs)?;
    let loss = cross_entropy(&logits.to_dtype(DType::F32)?, &batch.targets)?; // ()
    let mut grads = backward(&total_loss(&loss, &layers, load_balancing)?)?;
    let max_grad_norm = base.max_grad_norm.unwrap_or(f64::MAX);
    let grad_norm = clip_grad_norm(&mut grads, parameters, max_grad_norm)?;
    let loss = f64::from(loss.to_scalar::<f32>()?); // waits for the device
    let lr = base.lr_at(step - 1); // which counts from 0
    ensure_finite(step, loss, grad_norm, "--lr or --aux-loss-coef")?;
    state.train.optimizer.step(&grads, lr)?;
    let loads: Vec<ExpertLoad> = layers.iter().map(|layer| model.load(layer)).collect();
    update_biases(parameters, &loads, load_balancing.bias_update_rate)?;
    let param_norm = log.param_norm(step, parameters)?;
    state.train.progress.step = step;
    let n_tokens = batch.inputs.elem_count();
    let metrics = StepMetrics { step, loss, lr, grad_norm, n_tokens };
    log.step(&metrics, json!({ "param_norm": param_norm }))?;
    Ok(loads)
}

/// Evaluates the model of `state`, of which `inference` is a view, and saves it if it is the best
/// so far.
fn validate(
    inference: &impl RoutedModel,
    state: &mut MoeTrainState,
    corpus: &ByteCorpus,
    base: &tiny_gpt::TrainConfig,
    model_folder: Option<&Path>,
    log: &mut RunLog,
) -> Result<()> {
    let (step, device) = (state.train.progress.step, state.train.parameters.device().clone());
    let (tokens, batch_size) = (&corpus.validation, base.batch_size);
    let metrics = log.suspend(|| evaluate(inference, tokens, batch_size, &device))?;
    let LmEvalMetrics { loss, bits_per_byte, .. } = metrics;
    let summary = format!(": validation loss {loss:.4} nats, {bits_per_byte:.4} bits per byte");
    log.validation(step, &summary, json!({ "val_loss": loss, "bits_per_byte": bits_per_byte }))?;
    if state.train.progress.record_validation(Score::Loss(loss), Target::NotReached) {
        state.progress.best_eval = Some(metrics);
        if let Some(folder) = model_folder {
            log.suspend(|| inference.save(folder, &state.train.parameters))?;
        }
    }
    Ok(())
}

impl LanguageModel for GptMoe {
    fn context_len(&self) -> usize {
        self.config().model.context_len
    }

    fn for_inference(&self, parameters: &Parameters) -> candle_core::Result<Self> {
        Self::new(self.config(), parameters.for_inference().root())
    }

    fn in_compute_dtype(&self, parameters: &Parameters, dtype: DType) -> candle_core::Result<Self> {
        self.in_dtype(parameters, dtype)
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
