//! 8.5 Training loop: a step on the next prompts, a validation, a checkpoint.

use anyhow::Result;
use experiment::{Run, RunLog, is_due};

use crate::actor_critic::ActorCritic;
use crate::config::{PpoConfig, PpoContext};
use crate::prompts::PromptLoader;
use crate::step::ppo_step;
use crate::validator::PpoValidator;

/// Trains `actor_critic` from its current step until its schedule ends, the run is stopped,
/// `validator` reaches its target reward, or all completions of many steps get the highest reward.
///
/// # Errors
/// When the loss is not finite, the reward function fails, or a file cannot be written.
pub fn train(
    actor_critic: &mut ActorCritic,
    context: &mut PpoContext<'_>,
    prompts: &mut PromptLoader,
    config: &PpoConfig,
    validator: &PpoValidator<'_>,
    run: &Run,
    log: &mut RunLog,
) -> Result<()> {
    actor_critic.policy.join(&run.ranks)?;
    actor_critic.critic.join(&run.ranks)?;
    let mut models = actor_critic.models()?;
    let (total_steps, saver) = (config.schedule.total_steps, validator.model_saver);
    if actor_critic.policy.progress.step == 0 {
        // Baseline before training.
        let policy = &mut actor_critic.policy;
        validator.run(&models.rollout_policy, policy, context.scoring.reward_fn, log)?;
        if run.is_over(&policy.progress, total_steps)? {
            let states = [&actor_critic.policy, &actor_critic.critic];
            run.save_checkpoint(0, &states, log, |folder, data| {
                actor_critic.save(folder, data, saver)
            })?;
        }
    }
    while !run.is_over(&actor_critic.policy.progress, total_steps)? {
        let step = actor_critic.policy.progress.step + 1;
        let batch = prompts.batch(step, config.prompts_per_step);
        ppo_step(actor_critic, &mut models, context, &batch, config, log)?;
        actor_critic.policy.progress.step = step;
        let is_over = run.is_over(&actor_critic.policy.progress, total_steps)?;
        if is_over || is_due(step, validator.interval) {
            let policy = &mut actor_critic.policy;
            validator.run(&models.rollout_policy, policy, context.scoring.reward_fn, log)?;
        }
        let progress = &actor_critic.policy.progress;
        let is_last = run.is_over(progress, total_steps)? || run.should_stop(step)?;
        if is_last || run.is_save_due(step)? {
            let states = [&actor_critic.policy, &actor_critic.critic];
            run.save_checkpoint(step, &states, log, |folder, data| {
                actor_critic.save(folder, data, saver)
            })?;
        }
        if is_last {
            break;
        }
    }
    match run.is_over(&actor_critic.policy.progress, total_steps)? {
        true => log.write_pending_row(),
        false => Ok(()),
    }
}
