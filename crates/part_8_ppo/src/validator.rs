//! 8.5 Validation: greedy completions for held-out prompts, which pick the best model of the run.

use anyhow::Result;
use experiment::{RunLog, Score, Target, TrainState};
use modern::GptModern;
use modern::sampler::SamplingStrategy;
use serde_json::json;
use sft::ModelSaver;
use tensor_core::Rng;

use crate::alarms::ignored_validation;
use crate::completion_eval::{
    CompletionEvalConfig, PpoEvalMetrics, ScoredCompletion, compute_metrics,
    non_finite_reward_message,
};
use crate::prompts::PromptExample;
use crate::reward_fn::RewardFn;
use crate::rewards::RewardShapingConfig;

/// Validation set, generation settings and interval.
#[derive(Debug)]
pub struct PpoValidator<'a> {
    /// Validation prompts. They can end the run, so results are reported on other prompts.
    pub prompts: &'a [PromptExample],
    /// Reward shaping of the run: clipping, and the rewards of truncated completions.
    pub reward_shaping: &'a RewardShapingConfig,
    /// Settings of generation.
    pub eval_config: CompletionEvalConfig<'a>,
    /// Steps between validations; 0 validates only before and after training.
    pub interval: usize,
    /// Mean reward, shaped as in training, at which the run ends.
    pub target_reward: Option<f64>,
    /// Where the best model is saved, if it is.
    pub model_saver: Option<&'a ModelSaver>,
}

impl PpoValidator<'_> {
    /// Validates `policy` through `inference_policy`, its view for inference, and saves it if it is
    /// the best so far. A completion's reward is what training gives its last token, so a truncated
    /// one loses the penalty here too. A validation with a reward that is not finite raises an
    /// alarm and decides nothing.
    ///
    /// # Errors
    /// When a file cannot be written, and those of `reward_fn`.
    pub fn run(
        &self,
        inference_policy: &GptModern,
        policy: &mut TrainState,
        reward_fn: &mut RewardFn,
        log: &mut RunLog,
    ) -> Result<()> {
        let step = policy.progress.step;
        let mut rng = Rng::new(step as u64);
        let greedy = SamplingStrategy::Greedy;
        let mut completions = log.suspend(|| {
            let config = &self.eval_config;
            config.generate_and_score(inference_policy, self.prompts, greedy, reward_fn, &mut rng)
        })?;
        if let Some(bad) = non_finite_reward_message(&completions) {
            return log.alarm(step, &ignored_validation(&bad));
        }
        for ScoredCompletion { reward, finish_reason, .. } in &mut completions {
            *reward = self.reward_shaping.terminal_reward(*reward, *finish_reason);
        }
        let PpoEvalMetrics {
            reward_mean, exact_match, relaxed_match, length_mean, eos_rate, ..
        } = compute_metrics(self.prompts, &completions);
        let mut summary = format!("length {length_mean:.1}, eos {eos_rate:.3}");
        if let (Some(exact), Some(relaxed)) = (exact_match, relaxed_match) {
            summary = format!("exact match {exact:.3}, relaxed {relaxed:.3}, {summary}");
        }
        let metrics = json!({
            "val_reward": reward_mean, "val_exact_match": exact_match,
            "val_relaxed_match": relaxed_match, "val_length": length_mean,
            "val_eos_rate": eos_rate,
        });
        let summary = format!(": validation reward {reward_mean:.3}, {summary}");
        log.validation(step, &summary, metrics)?;
        let target = Target::of(reward_mean, self.target_reward);
        if policy.progress.record_validation(Score::Reward(reward_mean), target) {
            self.model_saver.map_or(Ok(()), |saver| saver.save(&policy.parameters))?;
        }
        Ok(())
    }
}
