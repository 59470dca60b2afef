//! 9.5 One step of GRPO (Shao et al., <https://arxiv.org/abs/2402.03300>), from the prompts to the
//! optimizer. REINFORCE and RLOO are the same step with other advantages and without clipping.
//!
//! ```text
//! G completions of each prompt → rewards → advantages A
//! log π_old of their tokens, as they were sampled, and log π_ref
//! for each of μ iterations: ρ = π / π_old
//!     loss = Σ w [ −min(ρ A, clip(ρ) A) + β KL(π ‖ π_ref) ]  → one optimizer step
//! ```

use anyhow::Result;
use experiment::progress::Stopwatch;
use experiment::{RunLog, ensure_finite};
use modern::GptModern;
use ppo::alarms::skipped_step;
use ppo::log_probs::log_probs;
use ppo::prompts::step_rng;
use ppo::reward_fn::non_finite_message;
use ppo::{CompletionLog, PromptExample, ScoredRollouts, Scoring, rollout_share};
use ranks::PartialGradients;
use scaling::accumulation::GradAccumulator;
use serde_json::json;
use tensor_core::{Parameters, clip_grad_norm};

use crate::config::GrpoConfig;
use crate::experience::{GrpoExperience, MicroBatch};
use crate::objective::Objective;
use crate::policy::Policy;
use crate::update_metrics::TokenSums;

/// Takes the next step of `policy` on `prompts`. A step with a reward that is not finite is skipped
/// with an alarm: its tokens count as sampled, and nothing is learned from them.
///
/// # Errors
/// When the reward function fails, the loss is not finite, or the log cannot be written.
pub fn grpo_step(
    policy: &mut Policy,
    scoring: &mut Scoring<'_>,
    prompts: &[PromptExample],
    config: &GrpoConfig,
    log: &mut RunLog,
) -> Result<()> {
    let GrpoConfig { rollout: rollout_config, advantage, objective, update, .. } = config;
    let (step, mut watch) = (policy.state.progress.step + 1, Stopwatch::start());
    let (mut rng, lr) = (step_rng(config.seed, step), update.schedule.lr_at(step));

    policy.models.refresh_inference(&policy.state.parameters)?;
    let ranks = &policy.state.ranks;
    let groups = rollout_share(&policy.models.inference, prompts, rollout_config, ranks, &mut rng)?;
    let counts = scoring.counter.counts();
    let rollouts = ScoredRollouts::of_all_ranks(groups, prompts, scoring, ranks, &mut rng)?;
    scoring.counter.log(counts, step, log)?;
    policy.progress.timings.generation += watch.lap();
    if let Some(bad) = non_finite_message(&rollouts.rewards, &rollouts.completion_texts) {
        log.progress(step, "skipped", rollouts.n_tokens());
        log.alarm(step, &skipped_step(&bad))?;
        return policy.progress.log_row_if_due(step, json!({}), lr, log);
    }

    // The advantage A and the token weight w of each completion.
    let moving_average = policy.progress.mean_reward();
    let experience =
        GrpoExperience::from_rollouts(rollouts, rollout_config, advantage, moving_average)?;
    let rewards: Vec<f64> = experience.rewards.iter().map(|&reward| f64::from(reward)).collect();
    policy.progress.add_rewards(&rewards);
    policy.state.progress.rewards.record(&rewards, scoring.max_reward);
    // log π_old and log π_ref of the tokens, (R, T) per micro-batch. With n ranks, each learns from
    // every n-th group.
    let rollout_model = &policy.models.inference;
    let reference = policy.reference.as_ref().map(|reference| &reference.model);
    let chosen = experience.learned_groups(objective);
    let (rank, world_size) = (policy.state.ranks.rank(), policy.state.ranks.world_size());
    let own: Vec<usize> = chosen.iter().copied().skip(rank).step_by(world_size).collect();
    let n_groups = update.micro_batch_size;
    let micro_batches =
        experience.micro_batches_of(&own, objective, rollout_model, reference, n_groups)?;
    policy.progress.timings.log_probs += watch.lap();

    let mut updates = Vec::new();
    policy.state.seed_dropout(config.seed);
    let num_iterations = if chosen.is_empty() { 0 } else { update.num_iterations };
    for _ in 0..num_iterations {
        let (model, parameters) = (&policy.models.training, &policy.state.parameters);
        let (part, sums) = gradients(model, parameters, &micro_batches, objective)?;
        let (loss, mut grads) = part.sum(&policy.state.ranks, &[parameters])?;
        let sums = sums.of_all_ranks(&policy.state.ranks)?;
        let grad_norm = clip_grad_norm(&mut grads, parameters, update.max_grad_norm)?;
        ensure_finite(step, loss, grad_norm, "--lr")?;
        policy.state.optimizer.step(&grads, lr)?;
        policy.models.refresh(&mut policy.state.parameters)?;
        updates.push(sums.update_metrics(loss, grad_norm));
    }
    policy.progress.timings.training += watch.lap();
    let completion_log = CompletionLog {
        prompts,
        texts: &experience.completion_texts,
        rewards: &rewards,
        parts: &scoring.parts,
        advantages: &experience.advantages,
    };
    let mut completions = completion_log.write(step, log)?;
    completions["param_norm"] = json!(log.param_norm(step, &policy.state.parameters)?);
    let plateau = policy.state.progress.rewards.plateau;
    policy.progress.log_step(step, &experience, &updates, completions, plateau, lr, log)
}

/// Part of `micro_batches` in the loss of a step, its gradients, and sums over their tokens for the
/// metrics.
///
/// # Errors
/// When memory is short.
pub fn gradients(
    model: &GptModern,
    parameters: &Parameters,
    micro_batches: &[MicroBatch],
    objective: &Objective,
) -> Result<(PartialGradients, TokenSums)> {
    let (mut accumulator, mut all_log_probs) = (GradAccumulator::default(), Vec::new());
    for micro_batch in micro_batches {
        let MicroBatch { batch, inputs, temperature } = micro_batch;
        let log_probs = log_probs(model, batch, *temperature)?; // (R, T)
        let loss = objective.loss(&log_probs, inputs)?; // ()
        accumulator.backward(&loss, &[parameters])?;
        all_log_probs.push(log_probs.detach());
    }
    let sums = TokenSums::new(&all_log_probs, micro_batches, objective)?;
    Ok((accumulator.finish_part()?, sums))
}
