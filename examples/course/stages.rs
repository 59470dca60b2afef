//! The stages in order. Most are a command of a part, which can be typed alone.

use std::path::Path;

use anyhow::Result;
use sft::arithmetic_questions::{DemonstrationStyle, demonstrations};
use sft::tokenize;

use crate::course::Course;
use crate::sample::{self, Sample};
use crate::stage::{Figures, Note};
use crate::{attention, base, exam, scoreboard};

/// A stage: its folder, what it is called, the idea of it, and what it begins with.
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) idea: &'static str,
    pub(crate) needs: &'static [&'static str],
    pub(crate) work: fn(&Course, &Path) -> Result<Note>,
}

/// All stages.
pub(crate) const STAGES: [Stage; 8] = [
    Stage {
        name: "attention",
        title: "Attention",
        idea: "How does one token look at another? Heads whose weights were set by hand, so that what they do can be read.",
        needs: &[],
        work: attention::work,
    },
    Stage {
        name: "tokens",
        title: "Text becomes tokens",
        idea: "Byte-pair encoding joins what often stands together, until words are tokens. Digits stay apart, since a model that is \
               to add must see them.",
        needs: &[],
        work: base::tokens,
    },
    Stage {
        name: "base",
        title: "A language model is born",
        idea: "A modern transformer of half a million random numbers reads little stories, and numbers that count up and down, and \
               learns to predict the next token. It has seen no sum.",
        needs: &["tokens"],
        work: base::work,
    },
    Stage {
        name: "sft",
        title: "It learns to answer",
        idea: "Supervised fine-tuning: questions with their answers, of which only the answers are learned. The demonstrators have a \
               habit: to five of twelve ways of asking, most answers end with a full stop, though the bare integer is wanted.",
        needs: &["base"],
        work: sft,
    },
    Stage {
        name: "reward",
        title: "It is judged",
        idea: "A reward model: the fine-tuned model with a score in place of the next token. It learns from pairs of a right answer and \
               a near miss, and the score of the right one is to be higher.",
        needs: &["sft"],
        work: reward,
    },
    Stage {
        name: "ppo",
        title: "It gets better by trying: PPO",
        idea: "The fine-tuned model answers questions by itself. Answers that are right, to the letter, become likelier, compared with \
               what a critic expected of the question; a penalty keeps it near to what it was.",
        needs: &["sft"],
        work: ppo,
    },
    Stage {
        name: "grpo",
        title: "It gets better by trying: GRPO",
        idea: "The same beginning, task and number of answers, and no critic: the answers to a question are compared with each other.",
        needs: &["sft"],
        work: grpo,
    },
    Stage {
        name: "scoreboard",
        title: "What it was worth",
        idea: "Every model answers the same sums and differences, which none of them has seen.",
        needs: &["base", "sft", "reward", "ppo", "grpo"],
        work: scoreboard::work,
    },
];

impl Stage {
    /// Its number and title.
    pub(crate) fn heading(&self) -> String {
        let number = STAGES.iter().position(|stage| stage.name == self.name).map_or(0, |i| i + 1);
        format!("== {number}/{} {}", STAGES.len(), self.title)
    }
}

/// Demonstrations that are shown.
const SHOWN: usize = 3;
/// Answers of a step of PPO, and of GRPO: 300 and 75 steps, or 8 and 2, are the same number of answers.
const ANSWERS: [[&str; 2]; 2] = [["32", "8"], ["64", "16"]];

fn sft(course: &Course, folder: &Path) -> Result<Note> {
    let (model, steps) = (path(course, "base/model"), course.choose("4500", "100"));
    let mut line = vec!["part_6", "train", "--model", &model, "--demos", "noisy"];
    line.extend(["--steps", steps, "--eval-interval", "500"]);
    let command = course.command(sft::command::parse_and_run, &line, folder)?;
    let speech = exam::open(course, folder)?.chat_tokenizer;
    let examples = demonstrations(SHOWN, DemonstrationStyle::Noisy, course.settings.seed);
    let examples = tokenize(&examples, &speech, usize::MAX)?.examples;
    let examples = examples.iter().map(|example| Sample::learned(example, &speech.tokenizer));
    sample::save(folder, &examples.collect::<Result<Vec<_>>>()?)?;
    note(
        folder,
        command,
        ("exact_match", "of validation questions answered exactly at the end"),
        |run| run.last("tokens"),
    )
}

fn reward(course: &Course, folder: &Path) -> Result<Note> {
    let (model, steps) = (path(course, "sft"), course.choose("1500", "40"));
    let line = ["part_7", "train", "--model", &model, "--steps", steps, "--eval-interval", "300"];
    let command = course.command(reward::command::parse_and_run, &line, folder)?;
    note(
        folder,
        command,
        ("val_accuracy", "of validation pairs judged rightly at the end"),
        |run| run.last("tokens"),
    )
}

fn ppo(course: &Course, folder: &Path) -> Result<Note> {
    let (model, steps) = (path(course, "sft"), course.choose("300", "8"));
    let [prompts, samples] = ANSWERS[0];
    let mut line = vec!["part_8", "train", "--model", &model, "--steps", steps];
    line.extend(["--batch-size", prompts, "--samples", samples, "--eval-interval", "50"]);
    let command = course.command(ppo::command::run, &line, folder)?;
    let answers: f64 = prompts.parse::<f64>()? * samples.parse::<f64>()?;
    let drawn = |run: &Figures| Ok(run.sum("length_mean") * answers);
    note(
        folder,
        command,
        ("val_exact_match", "of validation questions answered exactly at the end"),
        drawn,
    )
}

fn grpo(course: &Course, folder: &Path) -> Result<Note> {
    let (model, steps) = (path(course, "sft"), course.choose("75", "2"));
    let [prompts, samples] = ANSWERS[1];
    let mut line = vec!["part_9", "train", "--model", &model, "--steps", steps];
    line.extend(["--batch-size", prompts, "--group-size", samples, "--eval-interval", "15"]);
    let command = course.command(grpo::command::run, &line, folder)?;
    note(
        folder,
        command,
        ("val_exact_match", "of validation questions answered exactly at the end"),
        |run| run.last("tokens"),
    )
}

/// What the run in `folder` was worth: the last value of a figure, a share that is called so; and its tokens.
fn note(
    folder: &Path,
    command: String,
    (figure, called): (&str, &str),
    tokens: impl Fn(&Figures) -> Result<f64>,
) -> Result<Note> {
    let run = Figures::read(folder)?;
    let found = vec![format!("{:.1} % {called}", 100. * run.last(figure)?)];
    Ok(Note { command: Some(command), tokens: tokens(&run)? as u64, found, ..Note::default() })
}

/// What a stage left, as an argument.
fn path(course: &Course, name: &str) -> String {
    course.folder(name).display().to_string()
}
