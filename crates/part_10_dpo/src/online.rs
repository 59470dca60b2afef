//! 10.3 Online and iterated training: a round samples completions from the policy, rewards them,
//! and takes a few optimizer steps on what they show.
//!
//! ```text
//! round   prompts → G completions each (part 8's rollout)
//!         → rewards (part 9's rules, part 7's models) → pairs, or the best → log π_ref
//!         → `steps_per_round` steps of 10.2
//!         → every `sync_ref` rounds the reference becomes the policy
//! ```
//!
//! A checkpoint is written between rounds, so the completions need not be stored: a resumed run
//! samples the same ones again.

use anyhow::Result;
use experiment::{Run, RunLog, is_due};
use grpo::GrpoValidator;

use crate::online_context::{OnlineConfig, OnlineContext};
use crate::online_validator::validate;
use crate::round::{distillation_round, preference_round};
use crate::step::{DpoPolicy, TrainConfig};

/// Trains `policy` on its own completions from its current step, until the schedule ends, the run
/// is stopped, or all completions of many rounds get the highest reward.
///
/// # Errors
/// When the reward function fails, the loss is not finite, or a file cannot be written.
pub fn train_online(
    policy: &mut DpoPolicy,
    context: &mut OnlineContext<'_>,
    (online, config): (&OnlineConfig, &TrainConfig),
    validator: &GrpoValidator<'_>,
    run: &Run,
    log: &mut RunLog,
) -> Result<()> {
    let total_steps = config.schedule.total_steps;
    policy.state.join(&run.ranks)?;
    // The weights may be those of a checkpoint.
    policy.models.refresh(&mut policy.state.parameters)?;
    if policy.state.progress.step == 0 {
        validate(validator, policy, context.scoring.reward_fn, log)?; // baseline before training
    }
    while !run.is_over(&policy.state.progress, total_steps)? {
        let first = policy.state.progress.step;
        let round = first.div_ceil(online.steps_per_round) + 1;
        let last = (first + online.steps_per_round).min(total_steps);
        match context.teacher {
            Some(_) => distillation_round(policy, context, online, config, log)?,
            None => preference_round(policy, context, online, config, log)?,
        }
        policy.state.progress.step = last; // also after a round with too few examples
        if let Some(reference) = &context.reference {
            reference.sync_if_due(round, &policy.state.parameters)?;
        }
        let is_validation_due = (first + 1..=last).any(|step| is_due(step, validator.interval));
        if run.is_over(&policy.state.progress, total_steps)? || is_validation_due {
            validate(validator, policy, context.scoring.reward_fn, log)?;
        }
        let is_last = run.is_over(&policy.state.progress, total_steps)? || run.should_stop(last)?;
        let mut is_save_due = is_last;
        for step in first + 1..=last {
            is_save_due = is_save_due || run.is_save_due(step)?;
        }
        if is_save_due {
            run.save_checkpoint(last, &[&policy.state], log, |folder, id| {
                policy.state.save(folder, id)?;
                context.reference.as_ref().map_or(Ok(()), |reference| reference.save(folder))
            })?;
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
