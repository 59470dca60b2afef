//! Hyperparameters from the command line.

use anyhow::{Result, ensure};
use experiment::program::as_usage_error;
use sft::ChatTokenizer;

use super::arguments::TrainArgs;
use crate::{PpoConfig, PpoUpdateConfig};

/// Checks the combination of arguments.
///
/// # Errors
/// When the arguments alone are wrong.
pub(super) fn check(args: &TrainArgs) -> Result<()> {
    args.rollout.check()?;
    args.reward_fn.check(&args.data.data)?;
    args.rewards.check()?;
    args.schedule.schedule()?;
    args.step.ensure_f32_without_checkpointing()?;
    args.lora.check()?;
    as_usage_error((|| {
        let (prompts, minibatches) =
            (args.step.batch_size.get(), args.objective.num_minibatches.get());
        ensure!(
            prompts >= minibatches,
            "{prompts} prompts are too few for {minibatches} minibatches"
        );
        let micro_batches = minibatches * args.step.grad_accum_steps.get();
        ensure!(
            prompts >= micro_batches,
            "{prompts} prompts are too few for {minibatches} minibatches of {} micro-batches",
            args.step.grad_accum_steps
        );
        ensure!(
            args.lora.lora_dropout == 0.,
            "--lora-dropout: rollouts have no dropout, so the first ratios would differ from 1"
        );
        Ok(())
    })())
}

/// Hyperparameters of the run for a policy with `chat_tokenizer`.
///
/// # Errors
/// As [`check`].
pub(super) fn config(args: &TrainArgs, chat_tokenizer: &ChatTokenizer) -> Result<PpoConfig> {
    let objective = &args.objective;
    Ok(PpoConfig {
        prompts_per_step: args.step.batch_size.get(),
        rollout: args.rollout.config(chat_tokenizer, args.data.default_max_new_tokens()),
        reward_shaping: args.rewards.config(),
        kl_controller: args.rewards.kl_controller(),
        update: PpoUpdateConfig {
            ppo_epochs: objective.ppo_epochs.get(),
            n_minibatches: objective.num_minibatches.get(),
            grad_accum_steps: args.step.grad_accum_steps.get(),
            clip_range: objective.clip_range(),
            value_clip_range: objective.value_clip_range(),
            loss_weights: objective.loss_weights(),
            early_stop_kl: objective.early_stop_kl,
            max_grad_norm: args.step.optimizer.max_grad_norm().unwrap_or(f64::MAX),
        },
        schedule: args.schedule.schedule()?,
        critic_lr_multiplier: objective.critic_lr_multiplier,
        seed: args.run.compute.seed,
    })
}
