//! The loop: that of the earlier parts. What differs is that a step learns from pairs, by a loss of the difference of their scores.

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

/// What decides where a run arrives.
#[derive(Debug, Clone, Copy)]
pub struct TrainConfig {
    /// Pairs whose gradient is computed at a time.
    pub batch_size: usize,
    /// Such batches per step.
    pub grad_accum_steps: usize,
    /// What is learned from a pair.
    pub loss: PreferenceLoss,
    /// The rate of each step, and how many there are.
    pub schedule: LrSchedule,
    /// β₁, β₂, ε and weight decay.
    pub optimizer: AdamWConfig,
    /// Largest gradient norm.
    pub max_grad_norm: f64,
    /// Of the order.
    pub seed: u64,
}

/// Trains `tuning`, a reward model's, on `pairs` from where it is, until its schedule ends, it is told to stop, or `exam` is
/// passed.
///
/// # Errors
/// When there is nothing to learn from, the loss stops being a number, or a file cannot be written.
pub fn train(
    (tuning, architecture): (&mut TrainState, RewardArchitecture),
    pairs: &[TokenizedPair],
    config: &TrainConfig,
    exam: &RewardValidator<'_>,
    outputs: &RunOutputs<'_>,
    log: &mut SftLog,
) -> Result<()> {
    ensure!(!pairs.is_empty(), "there is no pair to learn from");
    let model = RewardModel::new(&tuning.config, architecture, &mut tuning.parameters)?;
    let twin =
        RewardModel::new(&tuning.config, architecture, &mut tuning.parameters.for_inference())?;
    let lengths = pairs.iter().map(|pair| pair.chosen.len().max(pair.rejected.len())).collect();
    let mut order =
        BatchSampler::new(lengths, Curriculum::Shuffled, config.batch_size, config.seed);
    let total = config.schedule.total_steps;
    if tuning.progress.step == 0 {
        exam.run(&twin, tuning, outputs, log)?; // what there is to improve on
        if tuning.progress.target_reached {
            outputs.save_checkpoint(tuning)?;
        }
    }
    while tuning.progress.step < total && !tuning.progress.target_reached {
        let step = tuning.progress.step + 1;
        let batches = micro_batches(&mut order, step, (pairs, config), model.backbone().device())?;
        let counts: Vec<usize> = batches.iter().map(PairBatch::n_pairs).collect();
        let parameters = &tuning.parameters;
        let mut scores: Vec<PairRewards> = Vec::new();
        let loss_of = |batch: &PairBatch| {
            let [chosen, rejected] = batch.rewards(&model)?; // (P) each
            append_rewards(&mut scores, &chosen, &rejected)?;
            Ok(config.loss.compute(&chosen, &rejected)?)
        };
        let (loss, mut grads) = gradients_of_mean_loss(parameters, &batches, &counts, 1., loss_of)?;
        let norm = clip_grad_norm(&mut grads, parameters, config.max_grad_norm)?;
        let rate = config.schedule.lr_at(step);
        if let Some(alarm) = log.check_alarms(step, loss, rate, norm)? {
            bail!(alarm);
        }
        tuning.optimizer.step(&grads, rate)?;
        tuning.progress.step = step;

        let tokens = batches.iter().map(PairBatch::n_tokens).sum();
        let found = json!({ "accuracy": accuracy(&scores), "margin": mean_margin(&scores) });
        log.log_step(
            &SftStepMetrics { step, loss, lr: rate, grad_norm: norm, n_tokens: tokens },
            found,
        )?;
        if step == total || exam.is_due(step) {
            exam.run(&twin, tuning, outputs, log)?;
        }
        let stop = outputs.should_stop(step);
        if step == total || stop || tuning.progress.target_reached || outputs.is_save_due(step) {
            outputs.save_checkpoint(tuning)?;
        }
        if stop {
            break;
        }
    }
    Ok(())
}

/// What a step, counted from 1, learns from.
pub(crate) fn micro_batches(
    order: &mut BatchSampler,
    step: usize,
    (pairs, config): (&[TokenizedPair], &TrainConfig),
    device: &Device,
) -> Result<Vec<PairBatch>> {
    let first = (step - 1) * config.grad_accum_steps;
    let batch = |number| {
        let chosen: Vec<&TokenizedPair> =
            order.batch_indices(number).iter().map(|&pair| &pairs[pair]).collect();
        PairBatch::from_pairs(&chosen, device)
    };
    (first..first + config.grad_accum_steps).map(batch).collect()
}

/// Puts the scores of a batch, (P) each, behind those before.
fn append_rewards(scores: &mut Vec<PairRewards>, chosen: &Tensor, rejected: &Tensor) -> Result<()> {
    let [chosen, rejected] = [chosen, rejected].map(|scores| scores.detach().to_vec1::<f32>());
    let pairs = chosen?.into_iter().zip(rejected?);
    scores.extend(pairs.map(|(chosen, rejected)| [f64::from(chosen), f64::from(rejected)]));
    Ok(())
}
