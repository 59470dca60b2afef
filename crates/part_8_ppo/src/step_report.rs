//! 8.4 What is said and recorded of a step.

use anyhow::Result;
use serde_json::json;
use sft::one_line;

use crate::alarms::{HealthInputs, PpoAlarms};
use crate::experience::PpoExperience;
use crate::ppo_log::PpoLog;
use crate::prompts::PromptExample;
use crate::update_metrics::PpoUpdateMetrics;

/// A step that was learned from.
pub(crate) struct StepReport<'a> {
    /// Counted from 1.
    pub(crate) step: usize,
    /// What was asked.
    pub(crate) prompts: &'a [PromptExample],
    /// What came of it.
    pub(crate) experience: &'a PpoExperience,
    /// What was made of that.
    pub(crate) update_metrics: &'a PpoUpdateMetrics,
    /// The policy's learning rate.
    pub(crate) lr: f64,
    /// What a nat of KL costs from now on.
    pub(crate) kl_coef: f64,
    /// Of the rollout, of judging it, and of the update.
    pub(crate) seconds: [f64; 3],
}

impl StepReport<'_> {
    /// Shows and records it.
    pub(crate) fn log(&self, log: &mut PpoLog, alarms: &mut PpoAlarms) -> Result<()> {
        let Self { step, experience, update_metrics: updated, .. } = *self;
        let responses = || experience.groups.iter().flat_map(|group| &group.completions);
        let (scores, n) = (&experience.rewards, experience.rewards.len() as f64);
        let tokens: usize = responses().map(|one| one.tokens.len()).sum();
        let mean = scores.iter().sum::<f64>() / n;
        let deviation = (scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / n).sqrt();
        let eos_rate = responses().filter(|one| one.terminated()).count() as f64 / n;
        let signs = HealthInputs {
            entropy: updated.entropy,
            kl_per_token: experience.kl_per_token,
            eos_rate,
            first_ratio_error: updated.first_ratio_error,
            all_rewards_equal: scores.iter().all(|score| *score == scores[0]),
        };
        for alarm in alarms.check(step, &signs) {
            log.log_alarm(step, &alarm)?;
        }
        let [rollout, judging, update] = self.seconds;
        let figures = json!({
            "reward_std": deviation, "kl": experience.kl, "kl_per_token": experience.kl_per_token,
            "kl_coef": self.kl_coef, "eos_rate": eos_rate, "length_mean": tokens as f64 / n,
            "explained_variance": experience.explained_variance()?, "lr": self.lr,
            "rollout_tokens_per_s": tokens as f64 / rollout, "experience_s": judging,
            "update_tokens_per_s": updated.tokens_read as f64 / update,
        });
        if log.is_due(step) {
            log.log_completions(step, scores, &self.completions_table())?;
        }
        log.log_step(step, mean, tokens, [figures, serde_json::to_value(updated)?])
    }

    /// Some responses with their scores, as a Markdown table.
    fn completions_table(&self) -> String {
        let experience = self.experience;
        let asked = experience.groups.iter().zip(self.prompts);
        let asked = asked.flat_map(|(group, question)| vec![question; group.completions.len()]);
        let all: Vec<_> =
            asked.zip(experience.completion_texts.iter().zip(&experience.rewards)).collect();
        let cell = |text: &str| one_line(text).replace('|', "\\|");
        let mut table = "| prompt | response | score |\n| --- | --- | --- |\n".to_string();
        for (question, (text, score)) in all.iter().step_by(all.len().div_ceil(8).max(1)) {
            let said = question.example.prompt.last().map_or("", |message| &message.content);
            table += &format!("| {} | {} | {score:.3} |\n", cell(said), cell(text));
        }
        table
    }
}
