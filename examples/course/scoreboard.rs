//! The scoreboard: all models on the same test set.

use std::path::Path;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tensor_core::{atomic_file, json_file};

use crate::course::CourseRun;
use crate::data;
use crate::evaluation::{self, GroupSample, ModelResults, Proportion};
use crate::stage::StageRecord;

const FILE: &str = "scoreboard.json";
/// Questions of the report, one a line, for a conversation with the model of the last stage.
const QUESTIONS_FILE: &str = "questions.txt";
/// Completions of these questions by that model.
const COMPLETIONS_FILE: &str = "completions.txt";
/// Stages that produce a language model, and the name of the model.
pub(crate) const MODELS: [(&str, &str); 8] = [
    ("base", "base"),
    ("sft", "fine-tuned"),
    ("dpo", "DPO"),
    ("iterated-dpo", "iterated DPO"),
    ("ppo-rm-no-kl", "PPO RM β=0"),
    ("ppo-rm", "PPO RM β=0.1"),
    ("ppo", "PPO"),
    ("grpo", "GRPO"),
];

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
    let reward_model = evaluation::open_reward_model(course, &course.stage_folder("reward"))?;
    let mut models = Vec::new();
    for (stage, name) in MODELS {
        let model = course.stage_folder(stage);
        models.push(evaluation::evaluate_model(course, name, &model, &reward_model)?);
        if course.is_interrupted() {
            bail!("interrupted");
        }
    }
    let prompt_and_answer =
        |example: datasets::Example| [example.prompt[0].content.clone(), example.completion];
    let displayed = evaluation::displayed_examples(course);
    let board = Scoreboard {
        n_examples: data::test_set(course).len(),
        models,
        reward_accuracy: evaluation::evaluate_reward_model(course, &reward_model)?,
        displayed: displayed.into_iter().map(prompt_and_answer).collect(),
        groups: evaluation::sample_groups(course, &course.stage_folder("sft"))?,
    };
    json_file::write(&folder.join(FILE), &board)?;
    write_conversation(&board, folder)?;
    print(&board);
    Ok(StageRecord {
        results: vec![format!("{} test problems", board.n_examples)],
        ..StageRecord::default()
    })
}

/// Writes the displayed prompts and their completions by the last model, a line each.
fn write_conversation(board: &Scoreboard, folder: &Path) -> Result<()> {
    let write = |file: &str, lines: Vec<&str>| {
        atomic_file::write(&folder.join(file), (lines.join("\n") + "\n").as_bytes())
    };
    write(QUESTIONS_FILE, board.displayed.iter().map(|[prompt, _]| prompt.as_str()).collect())?;
    let completions = board.models.last().map_or(&[][..], |model| &model.completions);
    write(COMPLETIONS_FILE, completions.iter().map(String::as_str).collect())
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
            println!("  {stage:13}{}", one_line(&completions[i], 24));
        }
    }
}

/// Lines of the table, at most 40 columns wide.
pub(crate) fn table_lines(board: &Scoreboard) -> Vec<String> {
    let percent = |x: f64| format!("{:.1}", 100. * x);
    let row = |name: &str, Proportion { value, low, high }: Proportion, last: &str| {
        let interval = format!("{} to {}", percent(low), percent(high));
        format!("{name:12}{:>6} {interval:>13}{last:>8}", percent(value))
    };
    let mut lines = vec![format!("{:12}{:>6} {:>13}{:>8}", "in %", "exact", "95 % CI", "relaxed")];
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
