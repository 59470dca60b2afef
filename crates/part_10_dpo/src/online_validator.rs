//! 10.3 Validation of a policy that learns from its own completions: greedy completions of held-out
//! prompts, whose mean reward selects the model.

use anyhow::Result;
use experiment::{RunLog, Score, Target};
use grpo::GrpoEvaluator;
use grpo::evaluation::{GrpoEvalMetrics, MatchMetrics};
use ppo::alarms::ignored_validation;
use ppo::completion_eval::non_finite_reward_message;
use ppo::{PromptExample, RewardFn};
use serde_json::json;
use sft::ModelSaver;

use crate::step::DpoPolicy;

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
        policy.models.refresh_inference(&policy.state.parameters)?;
        let (model, seed) = (&policy.models.inference, step as u64);
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
