//! 9.5 Validation: greedy completions for held-out problems, which pick the best model of the run.

use anyhow::Result;
use experiment::{RunLog, Score, Target};
use modern::GptModern;
use ppo::alarms::ignored_validation;
use ppo::completion_eval::non_finite_reward_message;
use ppo::{PromptExample, RewardFn};
use serde_json::{Value, json};
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
        let Some(metrics) = self.evaluate(&policy.models.inference, step, reward_fn, log)? else {
            return Ok(());
        };
        let exact_match = metrics.matches.map(|matches| matches.exact_match);
        let (seconds, n_tokens) = (policy.progress.timings.total(), log.state.n_tokens);
        policy.progress.validations.extend(exact_match.map(|exact_match| (n_tokens, exact_match)));
        let elapsed = format!(", {seconds:.0} s, {n_tokens} tokens sampled");
        let mut row = metrics.validation_row();
        row["seconds"] = json!(seconds);
        log.validation(step, &(elapsed + &metrics.validation_summary()), row)?;
        let score = Score::Reward(metrics.reward_mean);
        if policy.state.progress.record_validation(score, Target::NotReached) {
            policy.progress.best_exact_match = exact_match;
            self.model_saver.map_or(Ok(()), |saver| saver.save(&policy.state.parameters))?;
        }
        Ok(())
    }

    /// Metrics of `model`, built for inference, after `step`; `None`, with an alarm, if a reward is
    /// not finite.
    ///
    /// # Errors
    /// When the log cannot be written, and those of `reward_fn`.
    pub fn evaluate(
        &self,
        model: &GptModern,
        step: usize,
        reward_fn: &mut RewardFn,
        log: &mut RunLog,
    ) -> Result<Option<GrpoEvalMetrics>> {
        let (metrics, completions) = log.suspend(|| {
            self.evaluator.evaluate_greedy(model, self.prompts, reward_fn, step as u64)
        })?;
        match non_finite_reward_message(&completions) {
            Some(bad) => log.alarm(step, &ignored_validation(&bad)).map(|()| None),
            None => Ok(Some(metrics)),
        }
    }
}

impl GrpoEvalMetrics {
    /// Metrics of a validation, for its line on the screen.
    pub fn validation_summary(&self) -> String {
        let Self { matches, reward_mean, eos_rate, .. } = self;
        let matches = matches.map_or(String::new(), |matches| {
            let MatchMetrics { exact_match, relaxed_match, .. } = matches;
            format!("exact match {exact_match:.3}, relaxed {relaxed_match:.3}, ")
        });
        format!(": validation reward {reward_mean:.3}, {matches}eos {eos_rate:.3}")
    }

    /// Metrics of a validation, for its row of the log.
    pub fn validation_row(&self) -> Value {
        json!({
            "val_exact_match": self.matches.map(|matches| matches.exact_match),
            "val_relaxed_match": self.matches.map(|matches| matches.relaxed_match),
            "val_reward": self.reward_mean, "val_eos_rate": self.eos_rate,
            "val_length": self.length_mean,
        })
    }
}
