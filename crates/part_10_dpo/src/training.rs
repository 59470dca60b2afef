//! 10.2 Training loop. It differs from part 7's only in its step: the same pairs, the same
//! validation.

use anyhow::{Result, ensure};
use experiment::{Run, RunLog, is_due};
use sft::{BatchSampler, Curriculum};

use crate::preference_example::PreferenceDataset;
use crate::step::{DpoBatch, DpoPolicy, TrainConfig, dpo_step};
use crate::validator::DpoValidator;

/// Trains `policy` on `data` from its current step, until the schedule ends, the run is stopped, or
/// the target accuracy of `validator` is reached.
///
/// # Errors
/// When there are no examples, the loss is not finite, or a file cannot be written.
pub fn train(
    policy: &mut DpoPolicy,
    data: &PreferenceDataset,
    config: &TrainConfig,
    validator: &DpoValidator<'_>,
    run: &Run,
    log: &mut RunLog,
) -> Result<()> {
    ensure!(!data.examples.is_empty(), "there is nothing to train on");
    let lengths = data.examples.iter().map(|example| example.n_tokens()).collect();
    let mut sampler =
        BatchSampler::new(lengths, Curriculum::Shuffled, config.batch_size, config.seed);
    sampler.set_grouping(policy.state.progress.length_grouping);
    let total_steps = config.schedule.total_steps;
    policy.state.join(&run.ranks)?;
    // The weights may be those of a checkpoint.
    policy.models.refresh(&mut policy.state.parameters)?;
    if policy.state.progress.step == 0 {
        validator.run(policy, log)?; // baseline before training
        if run.is_over(&policy.state.progress, total_steps)? {
            let state = &policy.state;
            run.save_checkpoint(0, &[state], log, |folder, id| state.save(folder, id))?;
        }
    }
    while !run.is_over(&policy.state.progress, total_steps)? {
        let step = policy.state.progress.step + 1;
        let batch = batch_of_step(&mut sampler, step, data, config.grad_accum_steps);
        dpo_step(policy, &batch, config, log)?;
        if step == total_steps || is_due(step, validator.interval) {
            validator.run(policy, log)?;
        }
        let is_last = run.is_over(&policy.state.progress, total_steps)? || run.should_stop(step)?;
        if is_last || run.is_save_due(step)? {
            let state = &policy.state;
            run.save_checkpoint(step, &[state], log, |folder, id| state.save(folder, id))?;
        }
        if is_last {
            break;
        }
    }
    match run.is_over(&policy.state.progress, total_steps)? {
        true => log.write_pending_row(),
        false => Ok(()),
    }
}

/// Examples of `step`, which counts from 1.
pub(crate) fn batch_of_step(
    sampler: &mut BatchSampler,
    step: usize,
    data: &PreferenceDataset,
    grad_accum_steps: usize,
) -> DpoBatch {
    let mut batch = DpoBatch::default();
    let first = (step - 1) * grad_accum_steps;
    for index in first..first + grad_accum_steps {
        let indices = sampler.batch_indices(index);
        batch.micro_batches.push(indices.iter().map(|&i| data.examples[i].clone()).collect());
        if !data.mismatched.is_empty() {
            batch.mismatched.extend(indices.iter().map(|&i| data.mismatched[i].clone()));
        }
    }
    batch
}
