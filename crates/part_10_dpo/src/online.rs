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
use experiment::statistics::mean;
use experiment::{Run, RunLog, Score, Target, is_due};
use grpo::evaluation::{GrpoEvalMetrics, MatchMetrics};
use grpo::{GrpoEvaluator, ReferenceModel};
use modern::GptModern;
use ppo::alarms::{ignored_validation, no_better_completion, skipped_step};
use ppo::completion_eval::non_finite_reward_message;
use ppo::prompts::{prompt_ids, step_rng};
use ppo::reward_fn::{NamedRewardFn, non_finite_message};
use ppo::{
    ContextOverflow, PromptExample, PromptLoader, RewardFn, RolloutConfig, RolloutGroup,
    ScoredRollouts, rollout,
};
use serde_json::json;
use sft::{ChatTokenizer, ModelSaver};
use tensor_core::Rng;

use crate::distillation::{Divergence, distill_step};
use crate::preference_example::{Label, PreferenceRow, tokenize};
use crate::ref_cache::set_ref_log_probs;
use crate::sampled::SampledSignal;
use crate::step::{DpoBatch, DpoPolicy, TrainConfig, dpo_step};

/// Hyperparameters of a round.
#[derive(Debug, Clone)]
pub struct OnlineConfig {
    /// Signal that is taken from the completions.
    pub signal: SampledSignal,
    /// Prompts per round.
    pub prompts_per_round: usize,
    /// Optimizer steps per round.
    pub steps_per_round: usize,
    /// Sampling.
    pub rollout: RolloutConfig,
}

/// Everything that rounds read and do not train.
pub struct OnlineContext<'a> {
    /// Tokenizer and chat template of the policy.
    pub chat_tokenizer: &'a ChatTokenizer,
    /// Reward function.
    pub reward_fn: &'a mut RewardFn,
    /// Counter of the conversations that are too long for a reward model.
    pub overflow: ContextOverflow,
    /// Highest reward that it gives, if that is known.
    pub max_reward: Option<f64>,
    /// Reference model, synchronized by round; `None` for a loss without a reference.
    pub reference: Option<ReferenceModel>,
    /// Teacher of distillation.
    pub teacher: Option<Teacher>,
    /// Training prompts.
    pub prompts: PromptLoader,
}

impl<'a> OnlineContext<'a> {
    /// Context of the reward function `reward`, without reference and teacher.
    pub fn new(
        chat_tokenizer: &'a ChatTokenizer,
        reward: &'a mut NamedRewardFn,
        prompts: PromptLoader,
    ) -> Self {
        Self {
            chat_tokenizer,
            reward_fn: &mut *reward.reward_fn,
            overflow: reward.overflow.clone(),
            max_reward: reward.max_reward,
            reference: None,
            teacher: None,
            prompts,
        }
    }
}

/// Teacher of distillation.
pub struct Teacher {
    /// Model, built for inference.
    pub model: GptModern,
    /// Divergence of the policy from it.
    pub divergence: Divergence,
    /// λ: share of rounds on the policy's own completions.
    pub lambda: f64,
}

/// Periodic validation by greedy completions of held-out prompts.
#[derive(Debug)]
pub struct OnlineValidator<'a> {
    /// Validation prompts.
    pub prompts: &'a [PromptExample],
    /// Evaluator of the policy.
    pub evaluator: GrpoEvaluator<'a>,
    /// Steps between validations; 0 validates only before and after training.
    pub interval: usize,
    /// Where the best model is saved, if it is.
    pub model_saver: Option<&'a ModelSaver>,
}

/// Trains `policy` on its own completions from its current step, until the schedule ends, the run
/// is stopped, or all completions of many rounds get the highest reward.
///
/// # Errors
/// When the reward function fails, the loss is not finite, or a file cannot be written.
pub fn train_online(
    policy: &mut DpoPolicy,
    context: &mut OnlineContext<'_>,
    (online, config): (&OnlineConfig, &TrainConfig),
    validator: &OnlineValidator<'_>,
    run: &Run,
    log: &mut RunLog,
) -> Result<()> {
    let total_steps = config.schedule.total_steps;
    if policy.state.progress.step == 0 {
        validator.run(policy, context.reward_fn, log)?; // baseline before training
    }
    while !run.is_finished(&policy.state.progress, total_steps) {
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
        if run.is_finished(&policy.state.progress, total_steps) || is_validation_due {
            validator.run(policy, context.reward_fn, log)?;
        }
        let is_last =
            run.is_finished(&policy.state.progress, total_steps) || run.should_stop(last)?;
        if is_last || (first + 1..=last).any(|step| run.is_save_due(step)) {
            run.save_checkpoint(last, log, |folder, id| {
                policy.state.save(folder, id)?;
                context.reference.as_ref().map_or(Ok(()), |reference| reference.save(folder))
            })?;
        }
        if is_last {
            break;
        }
    }
    Ok(())
}

/// Samples completions after the policy's current step, and takes the steps of a round on the
/// examples that they give. None, with an alarm, if a reward is not finite.
fn preference_round(
    policy: &mut DpoPolicy,
    context: &mut OnlineContext<'_>,
    online: &OnlineConfig,
    config: &TrainConfig,
    log: &mut RunLog,
) -> Result<()> {
    let Round { step, number, mut rng, prompts } = Round::begin(policy, context, online, config);
    let ids = prompt_ids(&prompts);
    let groups = rollout(&policy.inference_model, &ids, &online.rollout, &mut rng)?;
    let (chat_tokenizer, reward_fn) = (context.chat_tokenizer, &mut *context.reward_fn);
    let overflow = context.overflow.counts();
    let rollouts = ScoredRollouts::new(groups, &prompts, chat_tokenizer, reward_fn, &mut rng)?;
    context.overflow.log(overflow, step, log)?;
    if let Some(bad) = non_finite_message(&rollouts.rewards, &rollouts.completion_texts) {
        return log.alarm(step, &skipped_step(&bad));
    }
    let mut examples = online.signal.examples(&rollouts);
    let (history, mean_reward) = (&mut policy.state.progress.rewards, mean(&rollouts.rewards));
    history.record(&rollouts.rewards, context.max_reward);
    let equal = match history.plateau {
        Some(plateau) => plateau.alarm(),
        None => examples.is_empty().then(|| no_better_completion(mean_reward)),
    };
    equal.map_or(Ok(()), |alarm| log.alarm(step, &alarm))?;
    if let Some(reference) = &context.reference {
        set_ref_log_probs(&mut examples, &reference.model, 2 * config.batch_size)?;
    }
    let row = json!({
        "round": number, "reward_mean": mean_reward, "examples": examples.len(),
        "sampled_completions": rollouts.rewards.len(), "sampled_tokens": rollouts.n_tokens(),
    });
    log.row(step, row)?;
    for part in online.parts(&examples, step, config) {
        let micro_batches = part.chunks(config.batch_size).map(<[_]>::to_vec).collect();
        let batch = DpoBatch { micro_batches, mismatched: Vec::new() };
        dpo_step(policy, &batch, config, log)?;
    }
    Ok(())
}

/// Takes the steps of a round of distillation, on completions that the policy samples or, in a
/// share 1 − λ of the rounds, on the right answers.
fn distillation_round(
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
            let ids = prompt_ids(&prompts);
            rollout(&policy.inference_model, &ids, &online.rollout, &mut rng)?
        }
        false => {
            let context_len = policy.model.config().context_len;
            right_answers(&prompts, context.chat_tokenizer, context_len)?
        }
    };
    let n_tokens: usize = groups.iter().map(RolloutGroup::n_tokens).sum();
    let row = json!({
        "round": number, "on_policy": is_on_policy,
        "sampled_tokens": if is_on_policy { n_tokens } else { 0 },
    });
    log.row(step, row)?;
    for part in online.parts(&groups, step, config) {
        distill_step(policy, model, part, (*divergence, config), log)?;
    }
    Ok(())
}

/// A round before its completions are sampled.
struct Round {
    /// Steps taken so far.
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
        completions: vec![(Label::Chosen, example.completion.clone())],
    };
    let rows: Vec<PreferenceRow> = prompts.iter().map(row).collect();
    let (examples, _) = tokenize(&rows, chat_tokenizer, context_len)?;
    Ok(examples.into_iter().map(|example| example.group).collect())
}

impl OnlineValidator<'_> {
    /// Validates `policy` and saves it if it is the best so far. A validation with a reward that is
    /// not finite raises an alarm and decides nothing.
    ///
    /// # Errors
    /// When a file cannot be written, and those of `reward_fn`.
    pub fn run(
        &self,
        policy: &mut DpoPolicy,
        reward_fn: &mut RewardFn,
        log: &mut RunLog,
    ) -> Result<()> {
        let step = policy.state.progress.step;
        let (model, seed) = (&policy.inference_model, step as u64);
        let (metrics, completions) =
            log.suspend(|| self.evaluator.evaluate_greedy(model, self.prompts, reward_fn, seed))?;
        if let Some(bad) = non_finite_reward_message(&completions) {
            return log.alarm(step, &ignored_validation(&bad));
        }
        let GrpoEvalMetrics { matches, reward_mean, eos_rate, length_mean, .. } = metrics;
        let right = matches.map_or(String::new(), |matches| {
            let MatchMetrics { exact_match, relaxed_match, .. } = matches;
            format!("exact match {exact_match:.3}, relaxed {relaxed_match:.3}, ")
        });
        let summary = format!(": validation reward {reward_mean:.3}, {right}eos {eos_rate:.3}");
        let row = json!({
            "val_exact_match": matches.map(|matches| matches.exact_match),
            "val_relaxed_match": matches.map(|matches| matches.relaxed_match),
            "val_reward": reward_mean, "val_eos_rate": eos_rate, "val_length": length_mean,
        });
        log.validation(step, &summary, row)?;
        if policy.state.progress.record_validation(Score::Reward(reward_mean), Target::NotReached) {
            self.model_saver.map_or(Ok(()), |saver| saver.save(&policy.state.parameters))?;
        }
        Ok(())
    }
}
