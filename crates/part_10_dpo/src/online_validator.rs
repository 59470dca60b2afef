//! 10.3 Validation of a policy that learns from its own completions: greedy completions of held-out
//! prompts, whose mean reward selects the model.

use anyhow::Result;
use experiment::{RunLog, Score, Target};
use grpo::GrpoValidator;
use ppo::RewardFn;

use crate::step::DpoPolicy;

/// Validates `policy` with the `validator` of part 9 and saves it if it is the best so far. A
/// validation with a reward that is not finite raises an alarm and decides nothing.
///
/// # Errors
/// When a file cannot be written, and those of `reward_fn`.
pub fn validate(
    validator: &GrpoValidator<'_>,
    policy: &mut DpoPolicy,
    reward_fn: &mut RewardFn,
    log: &mut RunLog,
) -> Result<()> {
    let DpoPolicy { models, state } = policy;
    let step = state.progress.step;
    models.refresh_inference(&state.parameters)?;
    let Some(metrics) = validator.evaluate(&models.inference, step, reward_fn, log)? else {
        return Ok(());
    };
    log.validation(step, &metrics.validation_summary(), metrics.validation_row())?;
    let score = Score::Reward(metrics.reward_mean);
    if state.progress.record_validation(score, Target::NotReached) {
        validator.model_saver.map_or(Ok(()), |saver| saver.save(&state.parameters))?;
    }
    Ok(())
}
