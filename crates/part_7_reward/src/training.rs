//! The loop: that of the earlier parts. What differs is that a step learns from pairs, by a loss of the difference of their scores.

use anyhow::{Result, bail, ensure};
use candle_core::{Device, Tensor};
use scaling::Schedule;
use scaling::accumulation::gradients_of;
use serde_json::json;
use sft::run_log::Figures;
use sft::{Curriculum, Order, Outputs, RunLog, Tuning};
use tensor_core::{AdamWConfig, clip_grad_norm};

use crate::metrics::{Scores, accuracy, mean_margin};
use crate::pairs::{Batch, Pair};
use crate::{Architecture, Exam, PreferenceLoss, RewardModel};

/// What decides where a run arrives.
#[derive(Debug, Clone, Copy)]
pub struct TrainConfig {
    /// Pairs whose gradient is computed at a time.
    pub batch_size: usize,
    /// Such batches per step.
    pub accumulate: usize,
    /// What is learned from a pair.
    pub loss: PreferenceLoss,
    /// The rate of each step, and how many there are.
    pub schedule: Schedule,
    /// β₁, β₂, ε and weight decay.
    pub optimizer: AdamWConfig,
    /// Largest gradient norm.
    pub grad_clip: f64,
    /// Of the order.
    pub seed: u64,
}

/// Trains `tuning`, a reward model's, on `pairs` from where it is, until its schedule ends, it is told to stop, or `exam` is
/// passed.
///
/// # Errors
/// When there is nothing to learn from, the loss stops being a number, or a file cannot be written.
pub fn train(
    (tuning, architecture): (&mut Tuning, Architecture),
    pairs: &[Pair],
    config: &TrainConfig,
    exam: &Exam<'_>,
    outputs: &Outputs<'_>,
    log: &mut RunLog,
) -> Result<()> {
    ensure!(!pairs.is_empty(), "there is no pair to learn from");
    let model = RewardModel::new(&tuning.config, architecture, &mut tuning.parameters)?;
    let twin = RewardModel::new(&tuning.config, architecture, &mut tuning.parameters.inference())?;
    let lengths = pairs.iter().map(|pair| pair.chosen.len().max(pair.rejected.len())).collect();
    let mut order = Order::new(lengths, Curriculum::Shuffled, config.batch_size, config.seed);
    let total = config.schedule.total;
    if tuning.state.step == 0 {
        exam.sit(&twin, tuning, outputs, log)?; // what there is to improve on
        if tuning.state.passed {
            outputs.save(tuning)?;
        }
    }
    while tuning.state.step < total && !tuning.state.passed {
        let step = tuning.state.step + 1;
        let batches = batches(&mut order, step, (pairs, config), model.body().device())?;
        let counts: Vec<usize> = batches.iter().map(Batch::n_pairs).collect();
        let parameters = &tuning.parameters;
        let mut scores: Vec<Scores> = Vec::new();
        let loss_of = |batch: &Batch| {
            let [chosen, rejected] = batch.scores(&model)?; // (P) each
            note(&mut scores, &chosen, &rejected)?;
            Ok(config.loss.of(&chosen, &rejected)?)
        };
        let (loss, mut grads) = gradients_of(parameters, &batches, &counts, 1., loss_of)?;
        let norm = clip_grad_norm(&mut grads, parameters, config.grad_clip)?;
        let rate = config.schedule.at(step);
        if let Some(alarm) = log.alarm(step, loss, rate, norm)? {
            bail!(alarm);
        }
        tuning.optimizer.step(&grads, rate)?;
        tuning.state.step = step;

        let tokens = batches.iter().map(Batch::n_tokens).sum();
        let found = json!({ "accuracy": accuracy(&scores), "margin": mean_margin(&scores) });
        log.step(&Figures { step, loss, rate, norm, tokens }, found)?;
        if step == total || exam.due(step) {
            exam.sit(&twin, tuning, outputs, log)?;
        }
        let stop = outputs.stop(step);
        if step == total || stop || tuning.state.passed || outputs.save_due(step) {
            outputs.save(tuning)?;
        }
        if stop {
            break;
        }
    }
    Ok(())
}

/// What a step, counted from 1, learns from.
pub(crate) fn batches(
    order: &mut Order,
    step: usize,
    (pairs, config): (&[Pair], &TrainConfig),
    device: &Device,
) -> Result<Vec<Batch>> {
    let first = (step - 1) * config.accumulate;
    let batch = |number| {
        let chosen: Vec<&Pair> = order.batch(number).iter().map(|&pair| &pairs[pair]).collect();
        Batch::of(&chosen, device)
    };
    (first..first + config.accumulate).map(batch).collect()
}

/// Puts the scores of a batch, (P) each, behind those before.
fn note(scores: &mut Vec<Scores>, chosen: &Tensor, rejected: &Tensor) -> Result<()> {
    let [chosen, rejected] = [chosen, rejected].map(|scores| scores.detach().to_vec1::<f32>());
    let pairs = chosen?.into_iter().zip(rejected?);
    scores.extend(pairs.map(|(chosen, rejected)| [f64::from(chosen), f64::from(rejected)]));
    Ok(())
}
