//! 10.3 A round: prompts, completions of the policy, rewards or a teacher, and the optimizer steps
//! on what they show.

use anyhow::Result;
use experiment::RunLog;
use experiment::statistics::mean;
use ppo::alarms::{no_better_completion, skipped_step};
use ppo::prompts::step_rng;
use ppo::reward_fn::non_finite_message;
use ppo::{PromptExample, RolloutGroup, ScoredRollouts, rollout_share};
use serde_json::json;
use sft::ChatTokenizer;
use tensor_core::Rng;

use crate::distillation::distill_step;
use crate::online_context::{OnlineConfig, OnlineContext, Teacher};
use crate::preference_example::{Label, PreferenceRow, tokenize};
use crate::ref_cache::set_ref_log_probs;
use crate::step::{DpoBatch, DpoPolicy, TrainConfig, dpo_step};

/// Samples completions after the policy's current step, and takes the steps of a round on the
/// examples that they give. None, with an alarm, if a reward is not finite.
pub(crate) fn preference_round(
    policy: &mut DpoPolicy,
    context: &mut OnlineContext<'_>,
    online: &OnlineConfig,
    config: &TrainConfig,
    log: &mut RunLog,
) -> Result<()> {
    let Round { step, number, mut rng, prompts } = Round::begin(policy, context, online, config);
    policy.models.refresh_inference(&policy.state.parameters)?;
    let (model, ranks) = (&policy.models.inference, &policy.state.ranks);
    let groups = rollout_share(model, &prompts, &online.rollout, ranks, &mut rng)?;
    let scoring = &mut context.scoring;
    let counts = scoring.counter.counts();
    let rollouts = ScoredRollouts::of_all_ranks(groups, &prompts, scoring, ranks, &mut rng)?;
    scoring.counter.log(counts, step + 1, log)?;
    if let Some(bad) = non_finite_message(&rollouts.rewards, &rollouts.completion_texts) {
        return log.alarm(step + 1, &skipped_step(&bad));
    }
    let mut examples = online.signal.examples(&rollouts);
    let history = &mut policy.state.progress.rewards;
    let mean_reward = mean(&rollouts.rewards);
    history.record(&rollouts.rewards, context.scoring.max_reward);
    let equal = match history.plateau {
        Some(plateau) => plateau.alarm(),
        None => examples.is_empty().then(|| no_better_completion(mean_reward)),
    };
    equal.map_or(Ok(()), |alarm| log.alarm(step + 1, &alarm))?;
    if let Some(reference) = &context.reference {
        set_ref_log_probs(
            &mut examples,
            &reference.model,
            2 * config.batch_size,
            &policy.state.ranks,
        )?;
    }
    let row = json!({
        "round": number, "reward_mean": mean_reward, "examples": examples.len(),
        "sampled_completions": rollouts.rewards.len(), "sampled_tokens": rollouts.n_tokens(),
    });
    log.row(step + 1, row)?;
    for part in online.parts(&examples, step, config) {
        let micro_batches = part.chunks(config.batch_size).map(<[_]>::to_vec).collect();
        let batch = DpoBatch { micro_batches, mismatched: Vec::new() };
        dpo_step(policy, &batch, config, log)?;
    }
    Ok(())
}

/// Takes the steps of a round of distillation, on completions that the policy samples or, in a
/// share 1 − λ of the rounds, on the right answers.
pub(crate) fn distillation_round(
    policy: &mut DpoPolicy,
    context: &mut OnlineContext<'_>,
    online: &OnlineConfig,
    config: &TrainConfig,
    log: &mut RunLog,
) -> Result<()> {
    let Round { step, number, mut rng, prompts } = Round::begin(policy, context, online, config);
    let Some(Teacher { model, divergence, lambda }) = &context.teacher else { return Ok(()) };
    let is_on_policy = rng.uniform() < *lambda;
    let groups = match is_on_policy {
        true => {
            policy.models.refresh_inference(&policy.state.parameters)?;
            let (model, ranks) = (&policy.models.inference, &policy.state.ranks);
            let share = rollout_share(model, &prompts, &online.rollout, ranks, &mut rng)?;
            ranks.gather(&share)?.concat()
        }
        false => {
            let context_len = policy.models.training.config().context_len;
            right_answers(&prompts, context.scoring.chat_tokenizer, context_len)?
        }
    };
    let n_tokens: usize = groups.iter().map(RolloutGroup::n_tokens).sum();
    let row = json!({
        "round": number, "on_policy": is_on_policy,
        "sampled_tokens": if is_on_policy { n_tokens } else { 0 },
    });
    log.row(step + 1, row)?;
    for part in online.parts(&groups, step, config) {
        distill_step(policy, model, part, (*divergence, config), log)?;
    }
    Ok(())
}

/// A round before its completions are sampled.
struct Round {
    /// Steps taken so far. Rows of the round are those of the next step: a run that was ended in
    /// the round and resumed at this step samples it again.
    step: usize,
    /// Number of the round, from 1.
    number: usize,
    /// Random stream of the round.
    rng: Rng,
    prompts: Vec<PromptExample>,
}

impl Round {
    /// Round that begins after the current step of `policy`.
    fn begin(
        policy: &DpoPolicy,
        context: &mut OnlineContext<'_>,
        online: &OnlineConfig,
        config: &TrainConfig,
    ) -> Self {
        let step = policy.state.progress.step;
        let number = step.div_ceil(online.steps_per_round) + 1;
        let prompts = context.prompts.batch(number, online.prompts_per_round);
        Self { step, number, rng: step_rng(config.seed, number), prompts }
    }
}

impl OnlineConfig {
    /// `items` of the round after `step` steps, split evenly into its steps; fewer parts if there
    /// are fewer items.
    fn parts<'a, T>(
        &self,
        items: &'a [T],
        step: usize,
        config: &TrainConfig,
    ) -> std::slice::Chunks<'a, T> {
        let n_steps = self.steps_per_round.min(config.schedule.total_steps - step);
        items.chunks(items.len().div_ceil(n_steps).max(1))
    }
}

/// Prompts with their right answers as the only completion.
fn right_answers(
    prompts: &[PromptExample],
    chat_tokenizer: &ChatTokenizer,
    context_len: usize,
) -> Result<Vec<RolloutGroup>> {
    let row = |PromptExample { example, .. }: &PromptExample| PreferenceRow {
        prompt: example.prompt.clone(),
        completions: vec![(Label::Chosen, example.completion_message())],
    };
    let rows: Vec<PreferenceRow> = prompts.iter().map(row).collect();
    let (examples, _) = tokenize(&rows, chat_tokenizer, context_len)?;
    Ok(examples.into_iter().map(|example| example.group).collect())
}
