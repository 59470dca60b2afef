//! 8.4 Step report: the metrics of a step, collected and logged.

use anyhow::Result;
use serde_json::json;
use sft::one_line;

use crate::alarms::{HealthInputs, PpoAlarms};
use crate::experience::PpoExperience;
use crate::ppo_log::PpoLog;
use crate::prompts::PromptExample;
use crate::update_metrics::PpoUpdateMetrics;

/// Results of one PPO step.
pub(crate) struct StepReport<'a> {
    /// Step, counted from 1.
    pub(crate) step: usize,
    /// Prompts of the step.
    pub(crate) prompts: &'a [PromptExample],
    /// Experience from the rollouts.
    pub(crate) experience: &'a PpoExperience,
    /// Metrics of the update.
    pub(crate) update_metrics: &'a PpoUpdateMetrics,
    /// Learning rate of the policy.
    pub(crate) lr: f64,
    /// KL coefficient after the step.
    pub(crate) kl_coef: f64,
    /// Seconds of the rollout, of the experience (rewards, values, KL) and of the update.
    pub(crate) seconds: [f64; 3],
}

impl StepReport<'_> {
    /// Logs the step and its alarms.
    pub(crate) fn log(&self, log: &mut PpoLog, alarms: &mut PpoAlarms) -> Result<()> {
        let Self { step, experience, update_metrics, .. } = *self;
        let completions = || experience.groups.iter().flat_map(|group| &group.completions);
        let (rewards, n) = (&experience.rewards, experience.rewards.len() as f64);
        let n_tokens: usize = completions().map(|one| one.tokens.len()).sum();
        let mean = rewards.iter().sum::<f64>() / n;
        let variance = rewards.iter().map(|reward| (reward - mean).powi(2)).sum::<f64>() / n;
        let eos_rate = completions().filter(|one| one.terminated()).count() as f64 / n;
        let health = HealthInputs {
            entropy: update_metrics.entropy,
            kl_per_token: experience.kl_per_token,
            eos_rate,
            first_ratio_error: update_metrics.first_ratio_error,
            all_rewards_equal: rewards.iter().all(|reward| *reward == rewards[0]),
        };
        for alarm in alarms.check(step, &health) {
            log.log_alarm(step, &alarm)?;
        }
        let [rollout_s, experience_s, update_s] = self.seconds;
        let metrics = json!({
            "reward_std": variance.sqrt(),
            "kl": experience.kl, "kl_per_token": experience.kl_per_token,
            "kl_coef": self.kl_coef, "eos_rate": eos_rate, "length_mean": n_tokens as f64 / n,
            "explained_variance": experience.explained_variance()?, "lr": self.lr,
            "rollout_tokens_per_s": n_tokens as f64 / rollout_s, "experience_s": experience_s,
            "update_tokens_per_s": update_metrics.tokens_read as f64 / update_s,
        });
        if log.is_due(step) {
            log.log_completions(step, rewards, &self.completions_table())?;
        }
        log.log_step(step, mean, n_tokens, [metrics, serde_json::to_value(update_metrics)?])
    }

    /// Markdown table of eight completions with their rewards.
    fn completions_table(&self) -> String {
        let experience = self.experience;
        let prompts = experience.groups.iter().zip(self.prompts);
        let prompts = prompts.flat_map(|(group, prompt)| vec![prompt; group.completions.len()]);
        let all: Vec<_> =
            prompts.zip(experience.completion_texts.iter().zip(&experience.rewards)).collect();
        let cell = |text: &str| one_line(text).replace('|', "\\|");
        let mut table = "| prompt | completion | reward |\n| --- | --- | --- |\n".to_string();
        for (prompt, (text, reward)) in all.iter().step_by(all.len().div_ceil(8).max(1)) {
            let message = prompt.example.prompt.last().map_or("", |message| &message.content);
            table += &format!("| {} | {} | {reward:.3} |\n", cell(message), cell(text));
        }
        table
    }
}
