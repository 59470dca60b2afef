//! 8.4 Training loop: rollout → rewards → advantages → update.

use std::time::Instant;

use anyhow::Result;
use modern::GptModern;
use sft::{ChatTokenizer, RunOutputs};
use tensor_core::Rng;

use crate::actor_critic::{ActorCritic, PpoModels};
use crate::config::PpoConfig;
use crate::experience::{
    PpoExperience, ScoredRollouts, compute_rewards, decode_completions, non_finite_message,
};
use crate::ppo_log::PpoLog;
use crate::prompts::{PromptExample, PromptLoader, step_rng};
use crate::ptx_loss::PtxLoss;
use crate::reward_fn::RewardFn;
use crate::rollout::rollout;
use crate::step_report::StepReport;
use crate::update::{PpoUpdateConfig, UpdateInputs, update};
use crate::update_metrics::PpoUpdateMetrics;
use crate::validator::PpoValidator;

/// Models and functions that training uses beside the policy and the critic.
pub struct PpoContext<'a> {
    /// Reference model of the KL penalty.
    pub reference: &'a GptModern,
    /// Tokenizer and chat template of the policy.
    pub chat_tokenizer: &'a ChatTokenizer,
    /// Reward function of completions.
    pub reward_fn: &'a mut RewardFn,
    /// PTX loss, if it is mixed in.
    pub ptx_loss: Option<PtxLoss>,
}

/// Trains `actor_critic` from its current step until its schedule ends, an interrupt, or
/// `validator` reports that the target reward is reached.
///
/// # Errors
/// When the loss is not finite, the reward function fails, or a file cannot be written.
pub fn train(
    actor_critic: &mut ActorCritic,
    context: &mut PpoContext<'_>,
    prompts: &mut PromptLoader,
    (config, validator): (&PpoConfig, &PpoValidator<'_>),
    outputs: &RunOutputs<'_>,
    log: &mut PpoLog,
) -> Result<()> {
    let models = actor_critic.models()?;
    if actor_critic.policy.progress.step == 0 {
        // Baseline before training.
        validate(validator, &models, actor_critic, context, outputs, log)?;
    }
    let total = config.schedule.total_steps;
    while actor_critic.policy.progress.step < total && !actor_critic.policy.progress.target_reached
    {
        let step = actor_critic.policy.progress.step + 1;
        let batch = prompts.batch(step, config.prompts_per_step);
        ppo_step(actor_critic, &models, context, &batch, config, log)?;
        actor_critic.policy.progress.step = step;
        if step == total || validator.is_due(step) {
            validate(validator, &models, actor_critic, context, outputs, log)?;
        }
        let stop = outputs.should_stop(step);
        let ends = stop || step == total || actor_critic.policy.progress.target_reached;
        if ends || outputs.is_save_due(step) {
            save_checkpoint(actor_critic, outputs)?;
        }
        if stop {
            break;
        }
    }
    Ok(())
}

/// One step of PPO on the prompts of `batch`: rollout → rewards → experience → update → log. A step
/// with a reward that is not finite is skipped with an alarm.
fn ppo_step(
    actor_critic: &mut ActorCritic,
    models: &PpoModels,
    context: &mut PpoContext<'_>,
    batch: &[PromptExample],
    config: &PpoConfig,
    log: &mut PpoLog,
) -> Result<()> {
    let step = actor_critic.policy.progress.step + 1;
    let (mut rng, mut lap) = (step_rng(config.seed, step), lap_timer());
    let ids: Vec<Vec<u32>> = batch.iter().map(|one| one.prompt.clone()).collect();
    let groups = rollout(&models.rollout_policy, &ids, &config.rollout, &mut rng)?;
    let rollout_s = lap();
    let completion_texts = decode_completions(&groups, context.chat_tokenizer)?;
    let rewards = compute_rewards(&groups, batch, &completion_texts, context.reward_fn, &mut rng)?;
    if let Some(bad) = non_finite_message(&rewards, &completion_texts) {
        return log.log_alarm(step, &format!("step {step} is skipped: {bad}"));
    }
    let rollouts = ScoredRollouts { groups, completion_texts, rewards };
    let (reference, kl_coef) = (context.reference, actor_critic.progress.kl_coef);
    let experience = PpoExperience::from_rollouts(rollouts, models, reference, config, kl_coef)?;
    let experience_s = lap();
    let update_metrics = update_step(actor_critic, models, context, &experience, config, &mut rng)?;
    let report = StepReport {
        step,
        prompts: batch,
        experience: &experience,
        update_metrics: &update_metrics,
        lr: config.schedule.lr_at(step),
        kl_coef: actor_critic.progress.kl_coef,
        seconds: [rollout_s, experience_s, lap()],
    };
    report.log(log, &mut actor_critic.progress.alarms)
}

/// Validates the policy and saves it if it is the best so far.
fn validate(
    validator: &PpoValidator<'_>,
    models: &PpoModels,
    actor_critic: &mut ActorCritic,
    context: &mut PpoContext<'_>,
    outputs: &RunOutputs<'_>,
    log: &mut PpoLog,
) -> Result<()> {
    let policy = &mut actor_critic.policy;
    validator.run(&models.rollout_policy, policy, context.reward_fn, outputs, log)
}

/// Timer that returns at each call the seconds since the previous call.
fn lap_timer() -> impl FnMut() -> f64 {
    let mut begun = Instant::now();
    move || std::mem::replace(&mut begun, Instant::now()).elapsed().as_secs_f64()
}

/// Runs the update of the next step and adapts the KL coefficient after it.
fn update_step(
    actor_critic: &mut ActorCritic,
    models: &PpoModels,
    context: &mut PpoContext<'_>,
    experience: &PpoExperience,
    config: &PpoConfig,
    rng: &mut Rng,
) -> Result<PpoUpdateMetrics> {
    let step = actor_critic.policy.progress.step + 1;
    let PpoUpdateConfig { ppo_epochs, n_minibatches, grad_accum_steps, .. } = config.update;
    if let Some(ptx_loss) = &mut context.ptx_loss {
        ptx_loss.seek_batch((step - 1) * ppo_epochs * n_minibatches * grad_accum_steps);
    }
    let lr = config.schedule.lr_at(step);
    let inputs = UpdateInputs {
        config: &config.update,
        temperature: config.rollout.temperature(),
        lr,
        critic_lr: lr * config.critic_lr_multiplier,
        ptx_loss: context.ptx_loss.as_mut(),
    };
    let metrics = update(actor_critic, models, experience, inputs, rng)?;
    let (kl_coef, n) = (actor_critic.progress.kl_coef, experience.rewards.len());
    actor_critic.progress.kl_coef = config.kl_controller.next_kl_coef(kl_coef, experience.kl, n);
    Ok(metrics)
}

fn save_checkpoint(actor_critic: &ActorCritic, outputs: &RunOutputs<'_>) -> Result<()> {
    let Some(destination) = &outputs.destination else { return Ok(()) };
    let step = actor_critic.policy.progress.step;
    destination.checkpoints.save(step, |folder| actor_critic.save(folder, destination.data_id))
}
