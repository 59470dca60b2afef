//! The scoreboard: all models on the same test set.

use std::path::Path;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tensor_core::json_file;

use crate::course::CourseRun;
use crate::evaluation::{self, GroupSample, ModelResults, Proportion};
use crate::stage::StageRecord;

const FILE: &str = "scoreboard.json";
/// Stages that produce a language model, and the name of the model.
pub(crate) const MODELS: [(&str, &str); 4] =
    [("base", "base"), ("sft", "fine-tuned"), ("ppo", "PPO"), ("grpo", "GRPO")];

/// Test results of all models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scoreboard {
    /// Size of the test set.
    #[serde(alias = "n")]
    pub(crate) n_examples: usize,
    #[serde(alias = "marks")]
    pub(crate) models: Vec<ModelResults>,
    /// Accuracy of the reward model.
    #[serde(alias = "judge")]
    pub(crate) reward_accuracy: Proportion,
    /// Displayed prompts, each with the right answer.
    #[serde(alias = "shown")]
    pub(crate) displayed: Vec<[String; 2]>,
    /// Completions of each displayed prompt, sampled from the fine-tuned model.
    #[serde(alias = "tries")]
    pub(crate) groups: Vec<Vec<GroupSample>>,
}

pub(crate) fn run(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let mut models = Vec::new();
    for (stage, name) in MODELS {
        models.push(evaluation::evaluate_model(course, name, &course.stage_folder(stage))?);
        if course.is_interrupted() {
            bail!("interrupted");
        }
    }
    let prompt_and_answer =
        |example: datasets::Example| [example.prompt[0].content.clone(), example.completion];
    let reward_model = course.stage_folder("reward");
    let board = Scoreboard {
        n_examples: evaluation::test_set().len(),
        models,
        reward_accuracy: evaluation::evaluate_reward_model(course, &reward_model)?,
        displayed: evaluation::displayed_examples().into_iter().map(prompt_and_answer).collect(),
        groups: evaluation::sample_groups(course, &course.stage_folder("sft"))?,
    };
    json_file::write(&folder.join(FILE), &board)?;
    print(&board);
    Ok(StageRecord {
        results: vec![format!("{} test problems", board.n_examples)],
        ..StageRecord::default()
    })
}

/// Scoreboard in `folder`, if there is one.
pub(crate) fn open(folder: &Path) -> Result<Option<Scoreboard>> {
    let board = json_file::read_or_null(&folder.join(FILE))?;
    Ok(if board.is_null() { None } else { Some(serde_json::from_value(board)?) })
}

/// Prints the table and the models' completions of the displayed prompts.
fn print(board: &Scoreboard) {
    table_lines(board).iter().for_each(|line| println!("{line}"));
    for (i, [prompt, answer]) in board.displayed.iter().enumerate() {
        println!("\n{prompt}  ({answer})");
        for ModelResults { stage, completions, .. } in &board.models {
            println!("  {stage:11}{}", one_line(&completions[i], 26));
        }
    }
}

/// Lines of the table, at most 40 columns wide.
pub(crate) fn table_lines(board: &Scoreboard) -> Vec<String> {
    let percent = |x: f64| format!("{:.1}", 100. * x);
    let row = |name: &str, Proportion { value, low, high }: Proportion, last: &str| {
        let interval = format!("{} to {}", percent(low), percent(high));
        format!("{name:11}{:>6} {interval:>13}{last:>9}", percent(value))
    };
    let mut lines = vec![format!("{:11}{:>6} {:>13}{:>9}", "in %", "exact", "95 % CI", "relaxed")];
    lines.extend(
        board
            .models
            .iter()
            .map(|model| row(&model.stage, model.exact_match, &percent(model.relaxed_match))),
    );
    lines.push(row("RM accuracy", board.reward_accuracy, "of pairs"));
    lines
}

/// `text` on one line, cut to at most `max_chars` characters.
pub(crate) fn one_line(text: &str, max_chars: usize) -> String {
    let text = sft::one_line(text);
    match text.chars().count() > max_chars {
        true => text.chars().take(max_chars - 1).chain(['…']).collect(),
        false => text,
    }
}
