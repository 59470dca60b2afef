//! 8.5 Completions of a step with their rewards and advantages, as rows of `completions.jsonl`. The
//! columns are TRL's: `step`, `prompt`, `completion`, a column per reward function, `advantage`;
//! and `reward`, which is what the policy learns from. A row of metrics has a summary: `samples`, a
//! table of some completions, and how the answers are distributed.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::iter::repeat_n;

use anyhow::Result;
use datasets::answers::{extract_answer_tag, final_answer};
use datasets::numbers::single_number;
use experiment::RunLog;
use serde::Serialize;
use serde_json::{Value, json};
use sft::one_line;

use crate::prompts::PromptExample;
use crate::reward_fn::{RewardPart, RewardParts};

/// Completions in the table of a row of metrics.
const N_SAMPLES: usize = 4;
/// Answers whose shares are shown.
const N_ANSWERS: usize = 8;
/// Longest text in a table, in characters.
const MAX_CELL: usize = 200;

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
    /// Appends the rows of step `step` to the log, if it has a row of metrics; the result is the
    /// part of that row that describes the completions.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, step: usize, log: &mut RunLog) -> Result<Value> {
        if !log.is_due(step) {
            return Ok(json!({}));
        }
        let row = |(i, (prompt, text)): (usize, (&PromptExample, &String))| {
            let mut row = json!({
                "step": step, "prompt": prompt.example.prompt, "completion": text,
                "reward": self.rewards[i],
            });
            for RewardPart { name, rewards, notes } in self.parts.0.borrow().iter() {
                row[name] = json!(rewards[i]);
                if let Some(note) = notes.get(i).filter(|note| !note.is_empty()) {
                    row[format!("{name}_note")] = json!(note);
                }
            }
            row["advantage"] = json!(self.advantages[i]);
            row
        };
        log.completions(&self.completions().enumerate().map(row).collect::<Vec<Value>>())?;
        if log.tracker().is_some() {
            log.suspend(|| self.print_sample(step));
        }
        let answers = AnswerDistribution::new(self.texts);
        if let Some(tracker) = log.tracker() {
            tracker.log_histogram(step, "answer", &answers.numbers)?;
        }
        let mut summary = serde_json::to_value(&answers)?;
        summary["samples"] = self.table().into();
        Ok(summary)
    }

    /// Prompts and completions.
    fn completions(&self) -> impl Iterator<Item = (&PromptExample, &String)> {
        let group_size = self.texts.len() / self.prompts.len().max(1);
        self.prompts.iter().flat_map(move |prompt| repeat_n(prompt, group_size)).zip(self.texts)
    }

    /// Prints the first completion with its reward.
    fn print_sample(&self, step: usize) {
        if let (Some((prompt, text)), Some(reward)) =
            (self.completions().next(), self.rewards.first())
        {
            let message = prompt.example.prompt.last().map_or("", |message| &message.content);
            let cell = |text: &str| one_line(text).chars().take(MAX_CELL).collect::<String>();
            println!("step {step}, reward {reward:.3}: {} -> {}", cell(message), cell(text));
        }
    }

    /// Markdown table of a few completions with their rewards.
    fn table(&self) -> String {
        let cell = |text: &str| -> String {
            one_line(text).replace('|', "\\|").chars().take(MAX_CELL).collect()
        };
        let mut table = "| prompt | completion | reward |\n| --- | --- | --- |\n".to_string();
        let step = self.texts.len().div_ceil(N_SAMPLES).max(1);
        for ((prompt, text), reward) in self.completions().zip(self.rewards).step_by(step) {
            let message = prompt.example.prompt.last().map_or("", |message| &message.content);
            table += &format!("| {} | {} | {reward:.3} |\n", cell(message), cell(text));
        }
        table
    }
}

/// Distribution of the answers of completions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnswerDistribution {
    /// Most frequent answers with their shares, as a text: `7: 0.500, none: 0.250`.
    pub answers: String,
    /// Number of different answers.
    pub answers_distinct: usize,
    /// Entropy of the distribution in nats: 0 if all answers are the same.
    pub answer_entropy: f64,
    /// Answers that are numbers.
    #[serde(skip)]
    numbers: Vec<f32>,
}

impl AnswerDistribution {
    /// Distribution of the answers in `texts`: the content of `<answer>`, else the number after
    /// `####`, else the last number, else `none`.
    pub fn new(texts: &[String]) -> Self {
        let (mut counts, mut numbers) = (BTreeMap::<String, usize>::new(), Vec::new());
        for text in texts {
            let tagged = extract_answer_tag(text);
            let number = tagged.map_or_else(|| final_answer(text), single_number);
            numbers.extend(number.map(|number| number as f32));
            let answer = number.map(|number| number.to_string()).or_else(|| tagged.map(one_line));
            *counts.entry(answer.unwrap_or("none".into())).or_default() += 1;
        }
        let share = |count: usize| count as f64 / texts.len() as f64;
        let mut sorted: Vec<(&String, usize)> =
            counts.iter().map(|(answer, &count)| (answer, count)).collect();
        sorted.sort_by_key(|(_, count)| Reverse(*count)); // stable: equal counts by answer
        let shown = sorted.iter().take(N_ANSWERS).map(|(answer, count)| {
            let answer: String = answer.chars().take(MAX_CELL).collect();
            format!("{answer}: {:.3}", share(*count))
        });
        Self {
            answers: shown.collect::<Vec<_>>().join(", "),
            answers_distinct: counts.len(),
            answer_entropy: counts
                .values()
                .map(|&c| -share(c) * share(c).ln())
                .sum::<f64>()
                .max(0.),
            numbers,
        }
    }
}
