//! 7.3 Training loop of the reward model. It differs from the earlier parts only in its batches of
//! pairs and the loss of their reward differences.

use anyhow::{Result, ensure};
use candle_core::Device;
use experiment::{Run, RunLog, TrainState, is_due};
use ranks::Ranks;
use sft::{BatchSampler, Curriculum};

use crate::step::reward_step;
use crate::tokenized_pairs::{PairBatch, TokenizedPair};
use crate::{RewardModel, RewardValidator, TrainConfig};

/// Trains `model`, whose weights are those of `state`, on `pairs` from its current step, until the
/// schedule ends, the run is stopped, or the target accuracy of `validator` is reached.
///
/// # Errors
/// When `pairs` is empty, the loss is not finite, or a file cannot be written.
pub fn train(
    model: &RewardModel,
    state: &mut TrainState,
    pairs: &[TokenizedPair],
    config: &TrainConfig,
    validator: &RewardValidator<'_>,
    run: &Run,
    log: &mut RunLog,
) -> Result<()> {
    ensure!(!pairs.is_empty(), "there is no pair to train on");
    state.join(&run.ranks)?;
    let mut model = model.clone();
    let lengths = pairs.iter().map(|pair| pair.chosen.len().max(pair.rejected.len())).collect();
    let mut sampler =
        BatchSampler::new(lengths, Curriculum::Shuffled, config.batch_size, config.seed);
    sampler.set_grouping(state.progress.length_grouping);
    let total_steps = config.schedule.total_steps;
    if state.progress.step == 0 {
        // Baseline before training.
        validator.run(&model.for_inference(&state.parameters)?, state, log)?;
        if run.is_over(&state.progress, total_steps)? {
            run.save_checkpoint(0, &[&*state], log, |folder, id| state.save(folder, id))?;
        }
    }
    while !run.is_over(&state.progress, total_steps)? {
        model.refresh(&mut state.parameters)?; // those of a checkpoint, or of the last step
        let step = state.progress.step + 1;
        let device = model.backbone().device();
        let batches = micro_batches(&mut sampler, step, pairs, config, &run.ranks, device)?;
        state.seed_dropout(config.seed);
        reward_step(&model, state, &batches, config, log)?;
        if step == total_steps || is_due(step, validator.interval) {
            validator.run(&model.for_inference(&state.parameters)?, state, log)?;
        }
        let is_last = run.is_over(&state.progress, total_steps)? || run.should_stop(step)?;
        if is_last || run.is_save_due(step)? {
            run.save_checkpoint(step, &[&*state], log, |folder, id| state.save(folder, id))?;
        }
        if is_last {
            break;
        }
    }
    match run.is_over(&state.progress, total_steps)? {
        true => log.write_pending_row(),
        false => Ok(()),
    }
}

/// Micro-batches of `step`, which counts from 1, with the pairs of this one of the `ranks`.
pub(crate) fn micro_batches(
    sampler: &mut BatchSampler,
    step: usize,
    pairs: &[TokenizedPair],
    config: &TrainConfig,
    ranks: &Ranks,
    device: &Device,
) -> Result<Vec<PairBatch>> {
    let first = (step - 1) * config.grad_accum_steps;
    let mut batches = Vec::with_capacity(config.grad_accum_steps);
    for index in first..first + config.grad_accum_steps {
        let indices = sampler.batch_indices(index);
        let own = indices[ranks.rows(indices.len())].iter();
        let selected: Vec<&TokenizedPair> = own.map(|&pair| &pairs[pair]).collect();
        if selected.is_empty() {
            continue;
        }
        batches.push(PairBatch::from_pairs(&selected, device)?);
    }
    Ok(batches)
}
