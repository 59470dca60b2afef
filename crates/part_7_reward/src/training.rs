//! Training loop of the reward model. It differs from the earlier parts only in its batches of
//! pairs and the loss of their reward differences.

use anyhow::{Result, bail, ensure};
use candle_core::{Device, Tensor};
use scaling::LrSchedule;
use scaling::accumulation::gradients_of_mean_loss;
use serde_json::json;
use sft::sft_log::SftStepMetrics;
use sft::{BatchSampler, Curriculum, RunOutputs, SftLog, TrainState};
use tensor_core::{AdamWConfig, clip_grad_norm};

use crate::metrics::{PairRewards, accuracy, mean_margin};
use crate::tokenized_pairs::{PairBatch, TokenizedPair};
use crate::{PreferenceLoss, RewardArchitecture, RewardModel, RewardValidator};

/// Hyperparameters that determine the result of a run.
#[derive(Debug, Clone, Copy)]
pub struct TrainConfig {
    /// Pairs per micro-batch.
    pub batch_size: usize,
    /// Micro-batches per optimizer step (gradient accumulation).
    pub grad_accum_steps: usize,
    /// Preference loss.
    pub loss: PreferenceLoss,
    /// Learning-rate schedule, which includes the number of steps.
    pub schedule: LrSchedule,
    /// AdamW's β₁, β₂, ε and weight decay.
    pub optimizer: AdamWConfig,
    /// Maximum gradient norm (clipping).
    pub max_grad_norm: f64,
    /// Seed of the shuffle.
    pub seed: u64,
}

/// Trains the reward model of `train_state` on `pairs`, from its current step until the schedule
/// ends, a stop is requested, or the target accuracy of `validator` is reached.
///
/// # Errors
/// When `pairs` is empty, the loss is not finite, or a file cannot be written.
pub fn train(
    (train_state, architecture): (&mut TrainState, RewardArchitecture),
    pairs: &[TokenizedPair],
    config: &TrainConfig,
    validator: &RewardValidator<'_>,
    outputs: &RunOutputs<'_>,
    log: &mut SftLog,
) -> Result<()> {
    ensure!(!pairs.is_empty(), "there is no pair to train on");
    let model = RewardModel::new(&train_state.config, architecture, &mut train_state.parameters)?;
    let inference_model = RewardModel::new(
        &train_state.config,
        architecture,
        &mut train_state.parameters.for_inference(),
    )?;
    let lengths = pairs.iter().map(|pair| pair.chosen.len().max(pair.rejected.len())).collect();
    let mut sampler =
        BatchSampler::new(lengths, Curriculum::Shuffled, config.batch_size, config.seed);
    let total_steps = config.schedule.total_steps;
    if train_state.progress.step == 0 {
        validator.run(&inference_model, train_state, outputs, log)?; // baseline before training
        if train_state.progress.target_reached {
            outputs.save_checkpoint(train_state)?;
        }
    }
    while train_state.progress.step < total_steps && !train_state.progress.target_reached {
        let step = train_state.progress.step + 1;
        let device = model.backbone().device();
        let batches = micro_batches(&mut sampler, step, (pairs, config), device)?;
        let n_pairs: Vec<usize> = batches.iter().map(PairBatch::n_pairs).collect();
        let parameters = &train_state.parameters;
        let mut rewards: Vec<PairRewards> = Vec::new();
        let loss_of = |batch: &PairBatch| {
            let [chosen, rejected] = batch.rewards(&model)?; // (P) each
            append_rewards(&mut rewards, &chosen, &rejected)?;
            Ok(config.loss.compute(&chosen, &rejected)?)
        };
        let (loss, mut grads) =
            gradients_of_mean_loss(parameters, &batches, &n_pairs, 1., loss_of)?;
        let grad_norm = clip_grad_norm(&mut grads, parameters, config.max_grad_norm)?;
        let lr = config.schedule.lr_at(step);
        if let Some(alarm) = log.log_alarms(step, loss, lr, grad_norm)? {
            bail!(alarm);
        }
        train_state.optimizer.step(&grads, lr)?;
        train_state.progress.step = step;

        let n_tokens = batches.iter().map(PairBatch::n_tokens).sum();
        let metrics = json!({ "accuracy": accuracy(&rewards), "margin": mean_margin(&rewards) });
        log.log_step(&SftStepMetrics { step, loss, lr, grad_norm, n_tokens }, metrics)?;
        if step == total_steps || validator.is_due(step) {
            validator.run(&inference_model, train_state, outputs, log)?;
        }
        let stop = outputs.should_stop(step);
        let is_last = step == total_steps || stop || train_state.progress.target_reached;
        if is_last || outputs.is_save_due(step) {
            outputs.save_checkpoint(train_state)?;
        }
        if stop {
            break;
        }
    }
    Ok(())
}

/// Micro-batches of `step`, which counts from 1.
pub(crate) fn micro_batches(
    sampler: &mut BatchSampler,
    step: usize,
    (pairs, config): (&[TokenizedPair], &TrainConfig),
    device: &Device,
) -> Result<Vec<PairBatch>> {
    let first = (step - 1) * config.grad_accum_steps;
    let batch = |number| {
        let selected: Vec<&TokenizedPair> =
            sampler.batch_indices(number).iter().map(|&pair| &pairs[pair]).collect();
        PairBatch::from_pairs(&selected, device)
    };
    (first..first + config.grad_accum_steps).map(batch).collect()
}

/// Appends the rewards of a batch, (P) each, to `all`.
fn append_rewards(all: &mut Vec<PairRewards>, chosen: &Tensor, rejected: &Tensor) -> Result<()> {
    let [chosen, rejected] = [chosen, rejected].map(|rewards| rewards.detach().to_vec1::<f32>());
    let pairs = chosen?.into_iter().zip(rejected?);
    all.extend(pairs.map(|(chosen, rejected)| [f64::from(chosen), f64::from(rejected)]));
    Ok(())
}
