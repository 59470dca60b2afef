//! Tasks: what is asked, what is right, and how a program checks it. A new one is a variant, its problems and its reward.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use modern::{Message, fetch_data, is_data_id};
use ppo::final_answer::final_answer;
use ppo::numbers::last_integer;
use serde::Serialize;
use serde_json::Value;
use sft::arithmetic::{Set, Split};
use sft::questions::{Question, questions};
use sft::{Example, rows};
use tensor_core::Rng;

use crate::answers::of_solution;
use crate::countdown::{Puzzle, puzzles};
use crate::rewards;

/// What a model is asked to write with GSM8K, so that a program finds its answer.
pub const SYSTEM_PROMPT: &str =
    "Respond in the following format:\n\n<reasoning>\n...\n</reasoning>\n<answer>\n...\n</answer>";

/// Decides which puzzles are held out. It is no run's seed, so that all runs hold out the same.
const SPLIT_SEED: u64 = 90;
/// Countdown puzzles: to learn from, to decide by, and held out.
const COUNTDOWN: [usize; 3] = [10_000, 200, 300];
/// Most rows of a file that are kept to decide by, and the share that is kept at most.
const VALIDATION: (usize, f64) = (200, 0.1);

/// A task by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Sums and differences of 0 to 99, asked in a dozen ways; or the problems of a file
    Arithmetic,
    /// Word problems of a file, with the answer after ####
    Gsm8k,
    /// An expression that uses some numbers once and makes a target
    Countdown,
}

/// Problems: what is asked, and, as the response, what is right.
#[derive(Debug, Clone)]
pub struct Problems {
    /// To learn from.
    pub train: Vec<Example>,
    /// To decide by, or, where no run is to decide anything, to report.
    pub validation: Vec<Example>,
}

impl Task {
    /// The rewards that a run uses if it names none.
    pub fn usual_rewards(self) -> &'static str {
        match self {
            Self::Arithmetic => "exact",
            Self::Gsm8k => "correctness,format",
            Self::Countdown => "countdown",
        }
    }

    /// The longest completion, in tokens, if a run names none.
    pub fn usual_budget(self) -> usize {
        match self {
            Self::Arithmetic => 8,
            Self::Gsm8k => 256,
            Self::Countdown => 32,
        }
    }

    /// Whether `completion` is right, in the form that is wanted.
    pub fn is_right(self, completion: &str, answer: &str) -> bool {
        match self {
            Self::Arithmetic => rewards::exact("", completion, answer) > 0.,
            Self::Gsm8k => rewards::correctness("", completion, answer) > 0.,
            Self::Countdown => self.forgives(completion, answer),
        }
    }

    /// Whether it is right, whatever its form.
    pub fn forgives(self, completion: &str, answer: &str) -> bool {
        match self {
            Self::Arithmetic => rewards::integer("", completion, answer) > 0.,
            Self::Gsm8k => {
                self.is_right(completion, answer)
                    || rewards::gsm8k_flexible("", completion, answer) > 0.
            }
            Self::Countdown => crate::countdown::reward("", completion, answer) > 0.,
        }
    }

    /// Its problems, those of `data` where that is named: a file, or `owner/name:file.jsonl` on the Hub. A file gives up to a
    /// tenth of its rows to decide by, always the same ones.
    ///
    /// # Errors
    /// When a row has no answer that a program could check: the file and the line are named.
    pub fn problems(self, data: Option<&str>) -> Result<Problems> {
        match (self, data) {
            (Self::Arithmetic, None) => {
                Ok(Problems { train: asked(Split::Train), validation: asked(Split::Validation) })
            }
            (Self::Countdown, None) => {
                let mut train = puzzles(COUNTDOWN.iter().sum(), SPLIT_SEED);
                let validation = train.split_off(COUNTDOWN[0]);
                Ok(Problems { train, validation: validation[..COUNTDOWN[1]].to_vec() })
            }
            (_, data) => {
                let mut train = self.all(data)?;
                Rng::new(SPLIT_SEED).shuffle(&mut train);
                let aside = ((train.len() as f64 * VALIDATION.1) as usize).clamp(1, VALIDATION.0);
                ensure!(
                    train.len() > aside,
                    "{} problems are too few to learn from and to decide by",
                    train.len()
                );
                let validation = train.split_off(train.len() - aside);
                Ok(Problems { train, validation })
            }
        }
    }

    /// The problems to report of: those that are held out of the task, or all of a file.
    ///
    /// # Errors
    /// As [`Task::problems`].
    pub fn all(self, data: Option<&str>) -> Result<Vec<Example>> {
        let Some(data) = data else {
            return match self {
                Self::Arithmetic => Ok(asked(Split::HeldOut)),
                Self::Countdown => Ok(puzzles(COUNTDOWN.iter().sum(), SPLIT_SEED)
                    .split_off(COUNTDOWN[0] + COUNTDOWN[1])),
                Self::Gsm8k => anyhow::bail!(
                    "--task gsm8k needs --data: a file, or owner/name:file.jsonl on the Hub"
                ),
            };
        };
        let path = if is_data_id(data) { fetch_data(data)? } else { PathBuf::from(data) };
        rows::read_as(&path, |row| self.problem(row))
    }

    /// A row of a file: `question` or `prompt`, and `answer`.
    ///
    /// # Errors
    /// When it has none, or the answer cannot be checked.
    pub fn problem(self, row: &Value) -> Result<Example> {
        let text = |names: &[&str]| {
            let value =
                names.iter().find_map(|name| row.get(name)).filter(|value| !value.is_null());
            let value =
                value.with_context(|| format!("there is no column `{}`", names.join("` or `")))?;
            let text = value.as_str().map(str::trim);
            text.filter(|text| !text.is_empty())
                .with_context(|| format!("`{}` holds {value}, not a text", names[0]))
        };
        let (question, answer) = (text(&["question", "prompt"])?, text(&["answer"])?);
        match self {
            Self::Arithmetic => {
                let whole = last_integer(answer);
                whole.with_context(|| {
                    format!("the answer `{}` holds no whole number", short(answer))
                })?;
                Ok(Example::new(question, answer))
            }
            Self::Gsm8k => {
                let wanted = of_solution(answer).unwrap_or(answer);
                final_answer(wanted).with_context(|| {
                    format!("the answer `{}` holds no number after ####", short(answer))
                })?;
                let prompt = vec![Message::system(SYSTEM_PROMPT), Message::user(question)];
                Ok(Example { prompt, response: wanted.to_string() })
            }
            Self::Countdown => {
                let puzzle = Puzzle::parse(answer);
                puzzle.with_context(|| {
                    format!("the answer `{}` is no `3 5 7 = 22`", short(answer))
                })?;
                Ok(Example::new(question, answer))
            }
        }
    }
}

/// The first of a long answer.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

fn asked(split: Split) -> Vec<Example> {
    questions(Set::Sums, split).into_iter().map(Question::example).collect()
}
