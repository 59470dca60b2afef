//! The scoreboard: what each stage was worth, on the same questions.

use std::path::Path;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tiny_gpt::json_file;

use crate::course::CourseRun;
use crate::exam::{self, GroupSample, ModelResults, Proportion};
use crate::stage::StageRecord;

const FILE: &str = "scoreboard.json";
/// The stages that made a model which answers, and what it is called.
pub(crate) const MODELS: [(&str, &str); 4] =
    [("base", "base"), ("sft", "fine-tuned"), ("ppo", "PPO"), ("grpo", "GRPO")];

/// What all is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scoreboard {
    /// Questions.
    pub(crate) n_examples: usize,
    pub(crate) models: Vec<ModelResults>,
    /// How often the reward model is right.
    pub(crate) reward_accuracy: Proportion,
    /// The questions that are shown, and the answers that are wanted.
    pub(crate) displayed: Vec<[String; 2]>,
    /// What the fine-tuned model tries, of each of these.
    pub(crate) groups: Vec<Vec<GroupSample>>,
}

pub(crate) fn run(course: &CourseRun, folder: &Path) -> Result<StageRecord> {
    let mut marks = Vec::new();
    for (stage, name) in MODELS {
        marks.push(exam::evaluate_model(course, name, &course.stage_folder(stage))?);
        if course.is_interrupted() {
            bail!("interrupted");
        }
    }
    let question = |example: sft::Example| [example.prompt[0].content.clone(), example.completion];
    let board = Scoreboard {
        n_examples: exam::test_set().len(),
        models: marks,
        reward_accuracy: exam::evaluate_reward_model(course, &course.stage_folder("reward"))?,
        displayed: exam::displayed_examples().into_iter().map(question).collect(),
        groups: exam::sample_groups(course, &course.stage_folder("sft"))?,
    };
    json_file::write(&folder.join(FILE), &board)?;
    print(&board);
    Ok(StageRecord {
        results: vec![format!("{} questions asked", board.n_examples)],
        ..StageRecord::default()
    })
}

/// The one that the stage in `folder` keeps, if it is done.
pub(crate) fn open(folder: &Path) -> Result<Option<Scoreboard>> {
    let board = json_file::read_or_null(&folder.join(FILE))?;
    Ok(if board.is_null() { None } else { Some(serde_json::from_value(board)?) })
}

/// The board, and what each model answers.
fn print(board: &Scoreboard) {
    table_lines(board).iter().for_each(|line| println!("{line}"));
    for (i, [question, wanted]) in board.displayed.iter().enumerate() {
        println!("\n{question}  ({wanted})");
        for ModelResults { stage, completions: answers, .. } in &board.models {
            println!("  {stage:11}{}", one_line(&answers[i], 26));
        }
    }
}

/// Lines of at most 40 columns.
pub(crate) fn table_lines(board: &Scoreboard) -> Vec<String> {
    let percent = |share: f64| format!("{:.1}", 100. * share);
    let row = |name: &str, Proportion { value: share, low, high }: Proportion, last: &str| {
        let interval = format!("{} to {}", percent(low), percent(high));
        format!("{name:11}{:>6} {interval:>13}{last:>9}", percent(share))
    };
    let mut lines = vec![format!("{:11}{:>6} {:>13}{:>9}", "", "exact", "95 %", "forgiven")];
    lines.extend(
        board
            .models
            .iter()
            .map(|marks| row(&marks.stage, marks.exact_match, &percent(marks.relaxed_match))),
    );
    lines.push(row("the judge", board.reward_accuracy, "of pairs"));
    lines
}

/// A text on one line, of at most so many characters.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    let text = sft::one_line(text);
    match text.chars().count() > most {
        true => text.chars().take(most - 1).chain(['…']).collect(),
        false => text,
    }
}
