//! 9.5 Validation: greedy completions for held-out problems, which pick the best model of the run.

use anyhow::Result;
use experiment::{RunLog, Score, Target};
use ppo::alarms::ignored_validation;
use ppo::completion_eval::non_finite_reward_message;
use ppo::{PromptExample, RewardFn};
use serde_json::json;
use sft::ModelSaver;

use crate::evaluation::{GrpoEvalMetrics, GrpoEvaluator, MatchMetrics};
use crate::policy::Policy;

/// Validation set, evaluator and interval.
#[derive(Debug)]
pub struct GrpoValidator<'a> {
    /// Validation prompts.
    pub prompts: &'a [PromptExample],
    /// Evaluator of the policy.
    pub evaluator: GrpoEvaluator<'a>,
    /// Steps between validations; 0 validates only before and after training.
    pub interval: usize,
    /// Where the best model is saved, if it is.
    pub model_saver: Option<&'a ModelSaver>,
}

impl GrpoValidator<'_> {
    /// Validates `policy` and saves it if it is the best so far. A validation with a reward that is
    /// not finite raises an alarm and decides nothing.
    ///
    /// # Errors
    /// When a file cannot be written, and those of `reward_fn`.
    pub fn run(
        &self,
        policy: &mut Policy,
        reward_fn: &mut RewardFn,
        log: &mut RunLog,
    ) -> Result<()> {
        let step = policy.state.progress.step;
        policy.models.refresh_inference(&policy.state.parameters)?;
        let (model, seed) = (&policy.models.inference, step as u64);
        let (metrics, completions) =
            log.suspend(|| self.evaluator.evaluate_greedy(model, self.prompts, reward_fn, seed))?;
        if let Some(bad) = non_finite_reward_message(&completions) {
            return log.alarm(step, &ignored_validation(&bad));
        }
        let GrpoEvalMetrics { matches, reward_mean, eos_rate, length_mean, .. } = metrics;
        let (seconds, n_tokens) = (policy.progress.timings.total(), log.state.n_tokens);
        let mut right = String::new();
        if let Some(MatchMetrics { exact_match, relaxed_match, .. }) = matches {
            policy.progress.validations.push((n_tokens, exact_match));
            right = format!("exact match {exact_match:.3}, relaxed {relaxed_match:.3}, ");
        }
        let summary = format!(
            ", {seconds:.0} s, {n_tokens} tokens sampled: validation reward {reward_mean:.3}, \
             {right}eos {eos_rate:.3}"
        );
        let row = json!({
            "val_exact_match": matches.map(|matches| matches.exact_match),
            "val_relaxed_match": matches.map(|matches| matches.relaxed_match),
            "val_reward": reward_mean, "val_eos_rate": eos_rate, "val_length": length_mean,
            "seconds": seconds,
        });
        log.validation(step, &summary, row)?;
        if policy.state.progress.record_validation(Score::Reward(reward_mean), Target::NotReached) {
            policy.progress.best_exact_match = matches.map(|matches| matches.exact_match);
            self.model_saver.map_or(Ok(()), |saver| saver.save(&policy.state.parameters))?;
        }
        Ok(())
    }
}
