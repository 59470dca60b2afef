//! The scoreboard: what each stage was worth, on the same questions.

use std::path::Path;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tiny_gpt::json_file;

use crate::course::Course;
use crate::exam::{self, Marks, Share, Try};
use crate::stage::Note;

const FILE: &str = "scoreboard.json";
/// The stages that made a model which answers, and what it is called.
pub(crate) const MODELS: [(&str, &str); 4] =
    [("base", "base"), ("sft", "fine-tuned"), ("ppo", "PPO"), ("grpo", "GRPO")];

/// What all is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scoreboard {
    /// Questions.
    pub(crate) n: usize,
    pub(crate) marks: Vec<Marks>,
    /// How often the reward model is right.
    pub(crate) judge: Share,
    /// The questions that are shown, and the answers that are wanted.
    pub(crate) shown: Vec<[String; 2]>,
    /// What the fine-tuned model tries, of each of these.
    pub(crate) tries: Vec<Vec<Try>>,
}

pub(crate) fn work(course: &Course, folder: &Path) -> Result<Note> {
    let mut marks = Vec::new();
    for (stage, name) in MODELS {
        marks.push(exam::take(course, name, &course.folder(stage))?);
        if course.interrupted() {
            bail!("interrupted");
        }
    }
    let question = |example: sft::Example| [example.prompt[0].content.clone(), example.completion];
    let board = Scoreboard {
        n: exam::asked().len(),
        marks,
        judge: exam::judge(course, &course.folder("reward"))?,
        shown: exam::shown().into_iter().map(question).collect(),
        tries: exam::tries(course, &course.folder("sft"))?,
    };
    json_file::write(&folder.join(FILE), &board)?;
    tell(&board);
    Ok(Note { found: vec![format!("{} questions asked", board.n)], ..Note::default() })
}

/// The one that the stage in `folder` keeps, if it is done.
pub(crate) fn open(folder: &Path) -> Result<Option<Scoreboard>> {
    let board = json_file::read_or_null(&folder.join(FILE))?;
    Ok(if board.is_null() { None } else { Some(serde_json::from_value(board)?) })
}

/// The board, and what each model answers.
fn tell(board: &Scoreboard) {
    table(board).iter().for_each(|line| println!("{line}"));
    for (i, [question, wanted]) in board.shown.iter().enumerate() {
        println!("\n{question}  ({wanted})");
        for Marks { stage, answers, .. } in &board.marks {
            println!("  {stage:11}{}", one_line(&answers[i], 26));
        }
    }
}

/// Lines of at most 40 columns.
pub(crate) fn table(board: &Scoreboard) -> Vec<String> {
    let percent = |share: f64| format!("{:.1}", 100. * share);
    let row = |name: &str, Share { share, low, high }: Share, last: &str| {
        let interval = format!("{} to {}", percent(low), percent(high));
        format!("{name:11}{:>6} {interval:>13}{last:>9}", percent(share))
    };
    let mut lines = vec![format!("{:11}{:>6} {:>13}{:>9}", "", "exact", "95 %", "forgiven")];
    lines.extend(
        board.marks.iter().map(|marks| row(&marks.stage, marks.exact, &percent(marks.forgiven))),
    );
    lines.push(row("the judge", board.judge, "of pairs"));
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
