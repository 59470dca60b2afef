//! 8.5 One step of PPO, from the prompts to the optimizers.
//!
//! ```text
//! rollout → rewards → advantages (experience.rs)
//! for each epoch, for each minibatch:
//!     ratio → clipped surrogate + value loss − entropy bonus → one step of both optimizers
//! ```

use anyhow::Result;
use candle_core::Tensor;
use experiment::progress::Stopwatch;
use experiment::{RewardHistory, RunLog, ensure_finite};
use scaling::accumulation::GradAccumulator;
use tensor_core::{Rng, clip_grad_norm};

use crate::actor_critic::{ActorCritic, PpoModels};
use crate::alarms::skipped_step;
use crate::completion_log::CompletionLog;
use crate::config::{PpoConfig, PpoContext, PpoUpdateConfig};
use crate::experience::{MicroBatch, PpoExperience};
use crate::log_probs::{LogProbsAndEntropy, log_probs_and_entropy};
use crate::losses::{clipped_surrogate, total_loss, value_loss};
use crate::metrics::{MinibatchMetrics, PhaseSeconds, PpoUpdateMetrics, TokenLosses, log_step};
use crate::prompts::{PromptExample, step_rng};
use crate::ptx_loss::PtxLoss;
use crate::rank_rollouts::rollout_share;
use crate::reward_fn::{ScoredRollouts, non_finite_message};
use crate::rewards::{TruncationHandling, clip_reward};
use crate::rollout_group::SampledCompletion;

/// Takes the next step of `actor_critic`, whose models are `models`, on `prompts`. A step with a
/// reward that is not finite is skipped with an alarm: its tokens count as sampled, and nothing is
/// learned from them.
///
/// # Errors
/// When the reward function fails, the loss is not finite, or the log cannot be written.
pub fn ppo_step(
    actor_critic: &mut ActorCritic,
    models: &mut PpoModels,
    context: &mut PpoContext<'_>,
    prompts: &[PromptExample],
    config: &PpoConfig,
    log: &mut RunLog,
) -> Result<()> {
    let step = actor_critic.policy.progress.step + 1;
    let (mut rng, mut watch) = (step_rng(config.seed, step), Stopwatch::start());
    let (policy, ranks) = (&models.rollout_policy, &actor_critic.policy.ranks.clone());
    let groups = rollout_share(policy, prompts, &config.rollout, ranks, &mut rng)?;
    let rollout_seconds = watch.lap();
    let scoring = &mut context.scoring;
    let counts = scoring.counter.counts();
    let rollouts = ScoredRollouts::of_all_ranks(groups, prompts, scoring, ranks, &mut rng)?;
    scoring.counter.log(counts, step, log)?;
    if let Some(bad) = non_finite_message(&rollouts.rewards, &rollouts.completion_texts) {
        log.progress(step, "skipped", rollouts.n_tokens());
        return log.alarm(step, &skipped_step(&bad));
    }
    let (kl_coef, lr) = (actor_critic.progress.kl_coef, config.schedule.lr_at(step));
    let reference = context.reference;
    let experience =
        PpoExperience::from_rollouts(rollouts, models, reference, config, kl_coef, ranks)?;
    let experience_seconds = watch.lap();
    let mut ptx_loss = context.ptx_loss.as_mut();
    if let Some(ptx_loss) = &mut ptx_loss {
        let first = (step - 1) * config.update.n_micro_batches();
        ptx_loss.seek_batch(first, actor_critic.policy.progress.length_grouping);
    }
    actor_critic.policy.seed_dropout(config.seed);
    let metrics = update(actor_critic, models, &experience, config, lr, ptx_loss, &mut rng)?;
    let ActorCritic { policy, critic, .. } = &*actor_critic;
    models.refresh_for_rollouts(&policy.parameters, &critic.parameters)?;
    actor_critic.progress.updates += metrics.updates;
    let seconds = PhaseSeconds {
        rollout: rollout_seconds,
        experience: experience_seconds,
        update: watch.lap(),
    };
    record_rewards(&mut actor_critic.policy.progress.rewards, &experience, config, context);
    let truncation = config.reward_shaping.truncation;
    let completions = CompletionLog {
        prompts,
        texts: &experience.completion_texts,
        rewards: &experience.rewards,
        parts: &context.scoring.parts,
        advantages: &experience.mean_advantages()?,
    };
    log_step(actor_critic, &experience, &completions, &metrics, truncation, lr, seconds, log)?;
    let n = experience.rewards.len();
    actor_critic.progress.kl_coef =
        config.kl_controller.next_kl_coef(kl_coef, experience.kl_per_completion, n);
    Ok(())
}

/// Updates policy and critic in several epochs over `experience`, in minibatches of groups that
/// `rng` shuffles. Past `early_stop_kl` the remaining minibatches are skipped. In 16 bits the
/// models for rollouts stay as they are: see [`PpoModels::refresh_for_rollouts`].
///
/// # Errors
/// When a loss or a gradient is not finite, or memory is short.
pub fn update(
    actor_critic: &mut ActorCritic,
    models: &mut PpoModels,
    experience: &PpoExperience,
    config: &PpoConfig,
    lr: f64,
    mut ptx_loss: Option<&mut PtxLoss>,
    rng: &mut Rng,
) -> Result<PpoUpdateMetrics> {
    let PpoUpdateConfig { ppo_epochs, n_minibatches, max_grad_norm, .. } = config.update;
    let ActorCritic { policy, critic, .. } = actor_critic;
    let step = policy.progress.step + 1;
    let mut order: Vec<usize> = (0..experience.groups.len()).collect();
    let mut metrics = PpoUpdateMetrics::default();
    for _ in 0..ppo_epochs {
        rng.shuffle(&mut order);
        for minibatch in split_evenly(&order, n_minibatches) {
            let stores = [&policy.parameters, &critic.parameters];
            let mut accumulator = GradAccumulator::default();
            let mut means = MinibatchMetrics::default();
            let n_tokens = experience.n_tokens(minibatch) as f64;
            let share_of = |groups: &[usize]| experience.n_tokens(groups) as f64 / n_tokens;
            for groups in split_evenly(minibatch, config.update.grad_accum_steps) {
                let own = &groups[policy.ranks.rows(groups.len())];
                if !own.is_empty() {
                    let micro_batch = experience.micro_batch(own, models.policy.config())?;
                    let (loss, tokens) = ppo_loss(models, &micro_batch, config)?; // (), (R, T)
                    means.add_micro_batch(&micro_batch, &tokens, share_of(own), &config.update)?;
                    accumulator.backward(&(loss * share_of(own))?, &stores)?;
                }
                if let Some(ptx_loss) = &mut ptx_loss
                    && let Some(loss) = ptx_loss.loss(&models.policy, &policy.ranks)?
                {
                    accumulator.backward(&(loss * share_of(groups))?, &stores)?;
                }
            }
            let (loss, mut grads) = accumulator.finish_part()?.sum(&policy.ranks, &stores)?;
            let means = means.of_all_ranks(&policy.ranks)?;
            let grad_norm = clip_grad_norm(&mut grads, &policy.parameters, max_grad_norm)?;
            let critic_grad_norm = clip_grad_norm(&mut grads, &critic.parameters, max_grad_norm)?;
            ensure_finite(step, loss, grad_norm + critic_grad_norm, "--lr")?;
            metrics.add_minibatch(&means);
            if config.update.early_stop_kl.is_some_and(|limit| means.approx_kl > limit) {
                return Ok(metrics.means()); // measured before this step, which is skipped too
            }
            (metrics.grad_norm, metrics.critic_grad_norm) = (grad_norm, critic_grad_norm);
            policy.optimizer.step(&grads, lr)?;
            critic.optimizer.step(&grads, lr * config.critic_lr_multiplier)?;
            models.refresh(&mut policy.parameters, &mut critic.parameters)?;
            metrics.updates += 1;
        }
    }
    Ok(metrics.means())
}

/// Loss of a micro-batch, (), and the tensors of its tokens that it is the mean of.
fn ppo_loss(
    models: &PpoModels,
    micro_batch: &MicroBatch,
    config: &PpoConfig,
) -> Result<(Tensor, TokenLosses)> {
    let MicroBatch { batch, old_log_probs, advantages, old_values, returns } = micro_batch;
    let PpoUpdateConfig { clip_range, value_clip_range, loss_weights, .. } = config.update;
    let hidden = batch.hidden(&models.policy)?;
    let temperature = config.rollout.temperature();
    let LogProbsAndEntropy { log_probs, entropy } =
        log_probs_and_entropy(&models.policy, batch, &hidden, temperature)?; // (R, T) each
    let values = models.critic.token_values(batch, || Ok(hidden.clone()))?; // (R, T)
    let policy_loss = clipped_surrogate(&log_probs, old_log_probs, advantages, clip_range)?;
    let value_loss = value_loss(&values, old_values, returns, value_clip_range)?; // (R, T)
    let loss = total_loss(&policy_loss, &value_loss, &entropy, &batch.mask, loss_weights)?;
    Ok((loss, TokenLosses { log_probs, values, policy_loss, value_loss, entropy }))
}

/// Records the rewards of `experience` as training shaped them. A step in which a completion has no
/// reward but a bootstrap value ends a plateau.
fn record_rewards(
    history: &mut RewardHistory,
    experience: &PpoExperience,
    config: &PpoConfig,
    context: &PpoContext<'_>,
) {
    let shaping = &config.reward_shaping;
    let completions = experience.groups.iter().flat_map(|group| &group.completions);
    let is_bootstrapped = |completion: &SampledCompletion| {
        shaping.truncation == TruncationHandling::Bootstrap && !completion.terminated()
    };
    let rewards: Vec<f64> = match completions.clone().any(is_bootstrapped) {
        true => Vec::new(),
        false => {
            let rewards = experience.rewards.iter().zip(completions);
            rewards.map(|(&r, c)| shaping.terminal_reward(r, c.finish_reason)).collect()
        }
    };
    let max_reward = context.scoring.max_reward;
    let max_reward = max_reward.map(|max| clip_reward(max, shaping.reward_clip));
    history.record(&rewards, max_reward);
}

/// Splits `items` into `n` slices whose lengths differ by at most one; empty ones are left out.
fn split_evenly<T>(items: &[T], n: usize) -> impl Iterator<Item = &[T]> {
    let start = move |i: usize| i * items.len() / n;
    (0..n).map(move |i| &items[start(i)..start(i + 1)]).filter(|slice| !slice.is_empty())
}
