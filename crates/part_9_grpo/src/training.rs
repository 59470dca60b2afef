//! 9.5 Training loop: a step on the next prompts, a validation, a checkpoint.

use anyhow::Result;
use experiment::{Run, RunLog, RunLogConfig, TrainState, is_due};
use model_io::ModelConfig;
use ppo::{PromptExample, PromptLoader, RewardFn, Scoring};
use scaling::LrSchedule;
use tensor_core::Parameters;

use crate::config::{GrpoConfig, GrpoUpdateConfig};
use crate::policy::Policy;
use crate::step::grpo_step;
use crate::validator::GrpoValidator;

/// Trains `policy` from its current step until its schedule ends, the token limit is reached, the
/// run is stopped, or all completions of many steps get the highest reward.
///
/// # Errors
/// When the loss is not finite, the reward function fails, or a file cannot be written.
pub fn train(
    policy: &mut Policy,
    scoring: &mut Scoring<'_>,
    prompts: &mut PromptLoader,
    config: &GrpoConfig,
    validator: &GrpoValidator<'_>,
    run: &Run,
    log: &mut RunLog,
) -> Result<()> {
    let GrpoUpdateConfig { schedule, max_sampled_tokens, .. } = config.update;
    let saver = validator.model_saver;
    policy.state.join(&run.ranks)?;
    // The weights may be those of a checkpoint.
    policy.models.refresh(&mut policy.state.parameters)?;
    if policy.state.progress.step == 0 {
        validator.run(policy, scoring.reward_fn, log)?; // baseline before training
    }
    while !run.is_over(&policy.state.progress, schedule.total_steps)? {
        let step = policy.state.progress.step + 1;
        let batch = prompts.batch(step, config.prompts_per_step);
        grpo_step(policy, scoring, &batch, config, log)?;
        policy.state.progress.step = step;
        if let Some(reference) = &policy.reference {
            reference.sync_if_due(step, &policy.state.parameters)?;
        }
        let is_last = run.is_over(&policy.state.progress, schedule.total_steps)?
            || max_sampled_tokens.is_some_and(|limit| log.state.n_tokens >= limit);
        if is_last || is_due(step, validator.interval) {
            validator.run(policy, scoring.reward_fn, log)?;
        }
        let is_over = is_last || run.is_over(&policy.state.progress, schedule.total_steps)?;
        let is_stopped = is_over || run.should_stop(step)?;
        if is_stopped || run.is_save_due(step)? {
            run.save_checkpoint(step, &[&policy.state], log, |folder, data| {
                policy.save(folder, data, saver)
            })?;
        }
        if is_stopped {
            break;
        }
    }
    Ok(())
}

/// Trains a policy with `parameters` without a run folder, and returns it.
///
/// # Errors
/// Those of [`train`].
pub fn train_in_memory(
    model: &ModelConfig,
    parameters: Parameters,
    prompts: Vec<PromptExample>,
    config: &GrpoConfig,
    validator: &GrpoValidator<'_>,
    reward_fn: &mut RewardFn,
) -> Result<Policy> {
    let (update, chat_tokenizer) = (config.update, validator.evaluator.eval_config.chat_tokenizer);
    let state = TrainState::new(parameters, update.optimizer)?;
    let mut policy = Policy::new(model, state, config.reference_update)?;
    let mut scoring = Scoring::from_fn(chat_tokenizer, reward_fn, None);
    let mut prompts = PromptLoader::new(prompts, config.seed)?;
    let LrSchedule { total_steps, warmup_steps, .. } = update.schedule;
    let log = RunLogConfig::rewards(total_steps, warmup_steps, total_steps);
    let (run, mut log) = (Run::default(), RunLog::new(log, 0)?);
    train(&mut policy, &mut scoring, &mut prompts, config, validator, &run, &mut log)?;
    log.finish()?;
    Ok(policy)
}
