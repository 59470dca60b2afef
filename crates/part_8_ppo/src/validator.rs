//! 8.4 A look at the policy: its likeliest answers to validation questions, which it does not learn from.

use anyhow::Result;
use modern::GptModern;
use modern::sampler::SamplingStrategy;
use serde_json::json;
use sft::{RunOutputs, TrainState};
use tensor_core::Rng;

use crate::completion_eval::{
    CompletionEvalConfig, PpoEvalMetrics, compute_metrics, non_finite_reward_message,
};
use crate::ppo_log::PpoLog;
use crate::prompts::PromptExample;
use crate::reward_fn::RewardFn;

/// What questions are asked, and when.
#[derive(Debug)]
pub struct PpoValidator<'a> {
    /// What is asked. The run may be ended by it, so results are reported of others.
    pub prompts: &'a [PromptExample],
    /// How.
    pub eval_config: CompletionEvalConfig<'a>,
    /// Steps between two looks; 0 for one at the end.
    pub interval: usize,
    /// Mean score at which the run ends.
    pub target_reward: Option<f64>,
}

impl PpoValidator<'_> {
    /// Whether there is one after step `step`.
    pub fn is_due(&self, step: usize) -> bool {
        self.interval > 0 && step.is_multiple_of(self.interval)
    }

    /// Looks at `twin`, an inference twin of `policy`, which is saved if it is the best so far, or good enough. A look at which a score is
    /// no number says so and decides nothing.
    ///
    /// # Errors
    /// When a file cannot be written, and those of `scorer`.
    pub fn run(
        &self,
        twin: &GptModern,
        policy: &mut TrainState,
        scorer: &mut RewardFn,
        outputs: &RunOutputs<'_>,
        log: &mut PpoLog,
    ) -> Result<()> {
        let step = policy.progress.step;
        let mut rng = Rng::new(step as u64);
        let asked = || {
            self.eval_config.generate_and_score(
                twin,
                self.prompts,
                SamplingStrategy::Greedy,
                scorer,
                &mut rng,
            )
        };
        let answers = log.run_untimed(asked)?;
        if let Some(bad) = non_finite_reward_message(&answers) {
            return log
                .log_alarm(step, &format!("the look after step {step} does not count: {bad}"));
        }
        let found = compute_metrics(self.prompts, &answers);
        let PpoEvalMetrics {
            reward_mean,
            exact_match,
            relaxed_match: form_forgiven,
            length_mean,
            eos_rate,
            ..
        } = found;
        let mut said = format!("length {length_mean:.1}, ended {eos_rate:.3}");
        if let (Some(exact), Some(forgiven)) = (exact_match, form_forgiven) {
            said = format!("exact match {exact:.3}, with the form forgiven {forgiven:.3}, {said}");
        }
        let figures = json!({
            "val_exact_match": exact_match, "val_relaxed_match": form_forgiven, "val_length": length_mean,
            "val_eos_rate": eos_rate,
        });
        log.log_validation(step, reward_mean, &said, figures)?;
        policy.progress.target_reached =
            self.target_reward.is_some_and(|enough| reward_mean >= enough);
        if policy.progress.update_best_loss(-reward_mean) {
            outputs.save_model(policy)?;
        }
        Ok(())
    }
}
