//! 8.5 Completions of a step with their rewards and advantages, as rows of `completions.jsonl`. The
//! columns are TRL's: `step`, `prompt`, `completion`, a column per reward function, `advantage`;
//! and `reward`, which is what the policy learns from.

use std::iter::repeat_n;

use anyhow::Result;
use experiment::RunLog;
use serde_json::{Value, json};

use crate::prompts::PromptExample;
use crate::reward_fn::{RewardPart, RewardParts};

/// Completions of a step, those of a prompt together, in the order of the prompts.
#[derive(Debug, Clone, Copy)]
pub struct CompletionLog<'a> {
    /// Prompts.
    pub prompts: &'a [PromptExample],
    /// Completions as text.
    pub texts: &'a [String],
    /// Reward of each.
    pub rewards: &'a [f64],
    /// Rewards that it is the weighted sum of.
    pub parts: &'a RewardParts,
    /// Advantage of each.
    pub advantages: &'a [f32],
}

impl CompletionLog<'_> {
    /// Appends the rows of step `step` to the log, if it has a row of metrics.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, step: usize, log: &mut RunLog) -> Result<()> {
        if !log.is_due(step) {
            return Ok(());
        }
        let group_size = self.texts.len() / self.prompts.len().max(1);
        let prompts = self.prompts.iter().flat_map(|prompt| repeat_n(prompt, group_size));
        let row = |(i, (prompt, text)): (usize, (&PromptExample, &String))| {
            let mut row = json!({
                "step": step, "prompt": prompt.example.prompt, "completion": text,
                "reward": self.rewards[i],
            });
            for RewardPart { name, rewards } in self.parts.0.borrow().iter() {
                row[name] = json!(rewards[i]);
            }
            row["advantage"] = json!(self.advantages[i]);
            row
        };
        log.completions(&prompts.zip(self.texts).enumerate().map(row).collect::<Vec<Value>>())
    }
}
