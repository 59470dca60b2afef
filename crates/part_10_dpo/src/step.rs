//! 10.2 One step of DPO, from the pairs to the optimizer, and its hyperparameters.
//!
//! ```text
//! log π of both completions of each pair          one forward pass; log π_ref is known
//! loss = −mean log σ(β [log(π/π_ref)(y⁺) − log(π/π_ref)(y⁻)])      losses.rs has the others
//! gradient of a pair = −β σ(−margin) (∇log π(y⁺) − ∇log π(y⁻))     large where the order is wrong
//! ```

use anyhow::Result;
use candle_core::Tensor;
use experiment::{Alarm, RunLog, StepMetrics, TrainState};
use model_io::ModelConfig;
use modern::{GptModern, GradientCheckpointing, TrainingModels};
use ranks::Ranks;
use scaling::LrSchedule;
use scaling::accumulation::GradAccumulator;
use tensor_core::{OptimizerConfig, clip_grad_norm};

use crate::log_probs::{completion_log_probs, log_probs_of_examples};
use crate::losses::DpoLoss;
use crate::metrics::{DpoMetrics, batch_log_probs, loss_totals};
use crate::preference_example::PreferenceExample;

/// Drop of log π of the chosen completions below the reference, in nats per token, that raises an
/// alarm: each token has become less likely by a third.
const DISPLACEMENT_ALARM: f64 = 0.4;

/// Hyperparameters that determine the result of a run.
#[derive(Debug, Clone, Copy)]
pub struct TrainConfig {
    /// Pairs (for KTO: rows) per micro-batch.
    pub batch_size: usize,
    /// Micro-batches per optimizer step (gradient accumulation).
    pub grad_accum_steps: usize,
    /// Preference loss.
    pub loss: DpoLoss,
    /// Learning-rate schedule, which includes the number of steps.
    pub schedule: LrSchedule,
    /// Optimizer, and its hyperparameters.
    pub optimizer: OptimizerConfig,
    /// Maximum gradient norm (clipping).
    pub max_grad_norm: f64,
    /// Seed of the shuffle.
    pub seed: u64,
}

/// Policy that is trained.
pub struct DpoPolicy {
    /// Models of the weights, for training and for inference.
    pub models: TrainingModels,
    /// Weights, optimizer and progress.
    pub state: TrainState,
}

/// Examples of a step.
#[derive(Debug, Clone, Default)]
pub struct DpoBatch {
    /// Examples of each micro-batch.
    pub micro_batches: Vec<Vec<PreferenceExample>>,
    /// For KTO, the mismatched examples of the step.
    pub mismatched: Vec<PreferenceExample>,
}

impl DpoPolicy {
    /// Policy of `config` with the weights of `state`.
    ///
    /// # Errors
    /// When the weights do not fit `config`.
    pub fn new(config: &ModelConfig, mut state: TrainState) -> Result<Self> {
        let models = TrainingModels::new(config, &mut state.parameters)?;
        Ok(Self { models, state })
    }

    /// The policy with gradient checkpointing of its training model, or without it.
    pub fn with_gradient_checkpointing(mut self, checkpointing: GradientCheckpointing) -> Self {
        self.models.training = self.models.training.with_gradient_checkpointing(checkpointing);
        self
    }
}

/// Takes the next step of `policy` on `batch`, of which each rank computes its share.
///
/// # Errors
/// When the loss is not finite, or the log cannot be written.
pub fn dpo_step(
    policy: &mut DpoPolicy,
    batch: &DpoBatch,
    config: &TrainConfig,
    log: &mut RunLog,
) -> Result<()> {
    let step = policy.state.progress.step + 1;
    let (examples, ranks) = (batch.micro_batches.concat(), &policy.state.ranks.clone());
    if !batch.mismatched.is_empty() {
        policy.models.refresh_inference(&policy.state.parameters)?;
    }
    let kl = kl_baseline(&policy.models.inference, &batch.mismatched, config.batch_size, ranks)?;
    let totals = loss_totals(&config.loss, &examples, kl);
    let (mut accumulator, mut log_probs) = (GradAccumulator::default(), Vec::new());
    let mut n_completions: Vec<usize> = Vec::new(); // of each micro-batch
    policy.state.seed_dropout(config.seed);
    for micro_batch in &batch.micro_batches {
        let micro_batch = &micro_batch[ranks.rows(micro_batch.len())];
        n_completions.push(micro_batch.iter().map(|example| example.labels.len()).sum());
        if micro_batch.is_empty() {
            continue;
        }
        let groups = micro_batch.iter().map(|example| &example.group);
        let policy_log_probs = completion_log_probs(&policy.models.training, groups)?; // (R)
        let numbers = batch_log_probs(&policy_log_probs, micro_batch)?;
        let loss = config.loss.compute(&numbers, &totals)?; // (), its part of the step's loss
        accumulator.backward(&loss, &[&policy.state.parameters])?;
        log_probs.push(numbers.policy.detach());
    }
    let log_probs = log_probs_of_micro_batches(&log_probs, &n_completions)?;
    let log_probs = in_order_of_examples(&ranks.gather(&log_probs)?);
    let (loss, mut grads) = accumulator.finish_part()?.sum(ranks, &[&policy.state.parameters])?;
    let grad_norm = clip_grad_norm(&mut grads, &policy.state.parameters, config.max_grad_norm)?;
    let lr = config.schedule.lr_at(step);
    let n_tokens = examples.iter().map(PreferenceExample::n_tokens).sum();
    let step_metrics = StepMetrics { step, loss, lr, grad_norm, n_tokens };
    log.check(&step_metrics)?;
    policy.state.optimizer.step(&grads, lr)?;
    policy.models.refresh(&mut policy.state.parameters)?;
    policy.state.progress.step = step;

    let metrics = DpoMetrics::new(&config.loss, &examples, &log_probs, &totals)?;
    raise_displacement_alarm(step, &config.loss, &metrics, log)?;
    log.step(&step_metrics, metrics.row(""))
}

/// Log-probabilities of the completions of each micro-batch, which has `n_completions[i]` of them,
/// from those of the micro-batches that have any. They are read once.
fn log_probs_of_micro_batches(all: &[Tensor], n_completions: &[usize]) -> Result<Vec<Vec<f64>>> {
    let all: Vec<f64> = match all.is_empty() {
        true => Vec::new(),
        false => Tensor::cat(all, 0)?.to_vec1()?, // waits for the device
    };
    let mut all = all.into_iter();
    Ok(n_completions.iter().map(|&n| all.by_ref().take(n).collect()).collect())
}

/// Log-probabilities of the completions of a step, from those of each rank's share of each of its
/// micro-batches.
pub(crate) fn in_order_of_examples(of_ranks: &[Vec<Vec<f64>>]) -> Vec<f64> {
    let n_micro_batches = of_ranks.first().map_or(0, Vec::len);
    (0..n_micro_batches).flat_map(|i| of_ranks.iter().flat_map(move |own| own[i].clone())).collect()
}

/// KTO's estimate of KL(π ‖ π_ref), max(0, mean log(π/π_ref)) over the completions of the
/// `mismatched` examples: how much more likely than the reference the policy makes completions that
/// do not answer their prompt. 0 without any. Each of the `ranks` reads its share.
///
/// # Errors
/// When a text is longer than the model's context, or another rank has ended.
pub fn kl_baseline(
    inference_model: &GptModern,
    mismatched: &[PreferenceExample],
    batch_size: usize,
    ranks: &Ranks,
) -> Result<f64> {
    let own = &mismatched[ranks.rows(mismatched.len())];
    let log_probs = log_probs_of_examples(inference_model, own, batch_size)?.concat();
    let reference = own.iter().flat_map(|example| &example.ref_log_probs);
    let sum: f64 = log_probs.iter().zip(reference).map(|(p, q)| p - q).sum();
    let sum: f64 = ranks.gather(&sum)?.iter().sum();
    let n: usize = mismatched.iter().map(|example| example.labels.len()).sum();
    Ok((sum / n.max(1) as f64).max(0.))
}

/// Raises an alarm if the chosen completions have become much less likely than under the reference.
fn raise_displacement_alarm(
    step: usize,
    loss: &DpoLoss,
    metrics: &DpoMetrics,
    log: &mut RunLog,
) -> Result<()> {
    let fall = -metrics.chosen_log_ratio_per_token;
    if !loss.loss_type.needs_reference() || fall.is_nan() || fall <= DISPLACEMENT_ALARM {
        return Ok(());
    }
    let message = format!(
        "the chosen completions become less likely: their log π fell by {fall:.2} nats per token; \
         the margin grows because the rejected ones fall faster, and the probability goes to \
         completions of no pair; a larger --beta, an --sft-weight, a smaller --lr or fewer steps \
         help"
    );
    log.alarm(step, &Alarm::new("displacement", message).with_severity(fall))
}
