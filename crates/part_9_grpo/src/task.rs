//! Tasks: what is asked, what is right, and how a program checks it. A new one is a variant, its problems and its reward.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use modern::{ChatMessage, fetch_dataset_file, is_dataset_id};
use ppo::RewardInput;
use ppo::final_answer::final_answer;
use ppo::numbers::last_integer;
use serde::Serialize;
use serde_json::Value;
use sft::arithmetic::{ProblemSet, Split};
use sft::arithmetic_questions::{ArithmeticQuestion, questions};
use sft::{Example, json_rows};
use tensor_core::Rng;

use crate::answers::extract_gsm8k_answer;
use crate::countdown::{Puzzle, puzzles};
use crate::{countdown, rewards};

/// What a model is asked to write with GSM8K, so that a program finds its answer.
pub const SYSTEM_PROMPT: &str =
    "Respond in the following format:\n\n<reasoning>\n...\n</reasoning>\n<answer>\n...\n</answer>";

/// Decides which puzzles are held out. It is no run's seed, so that all runs hold out the same.
const SPLIT_SEED: u64 = 90;
/// Countdown puzzles: to learn from, to decide by, and held out.
const COUNTDOWN_SPLIT_SIZES: [usize; 3] = [10_000, 200, 300];
/// Most rows of a file that are kept to decide by, and the share that is kept at most.
const VALIDATION_LIMITS: (usize, f64) = (200, 0.1);

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
pub struct TaskDataset {
    /// To learn from.
    pub train: Vec<Example>,
    /// To decide by, or, where no run is to decide anything, to report.
    pub validation: Vec<Example>,
}

impl Task {
    /// The rewards that a run uses if it names none.
    pub fn default_rewards(self) -> &'static str {
        match self {
            Self::Arithmetic => "exact",
            Self::Gsm8k => "correctness,format",
            Self::Countdown => "countdown",
        }
    }

    /// The longest completion, in tokens, if a run names none.
    pub fn default_max_new_tokens(self) -> usize {
        match self {
            Self::Arithmetic => 8,
            Self::Gsm8k => 256,
            Self::Countdown => 32,
        }
    }

    /// Whether `reply` is right, in the form that is wanted.
    pub fn exact_match(self, reply: &RewardInput<'_>) -> bool {
        let reward = match self {
            Self::Arithmetic => rewards::exact,
            Self::Gsm8k => rewards::correctness,
            Self::Countdown => countdown::reward,
        };
        reward(reply) > 0.
    }

    /// Whether it is right, whatever its form.
    pub fn relaxed_match(self, reply: &RewardInput<'_>) -> bool {
        self.exact_match(reply)
            || match self {
                Self::Arithmetic => rewards::integer(reply) > 0.,
                Self::Gsm8k => rewards::gsm8k_flexible(reply) > 0.,
                Self::Countdown => false,
            }
    }

    /// # Errors
    /// When it has no problems of its own, and there are no `data`.
    pub fn ensure_has_data(self, data: Option<&str>) -> Result<()> {
        let has = self != Self::Gsm8k || data.is_some();
        ensure!(has, "--task gsm8k needs --data: a file, or owner/name:file.jsonl on the Hub");
        Ok(())
    }

    /// Its problems, those of `data` where that is named: a file, or `owner/name:file.jsonl` on the Hub; to decide by those of
    /// `aside`, or, where that is not named, up to a tenth of the file's rows, always the same ones. What is decided by is not learned
    /// from.
    ///
    /// # Errors
    /// When a row has no answer that a program could check: the file and the line are named.
    pub fn load_dataset(self, data: Option<&str>, aside: Option<&str>) -> Result<TaskDataset> {
        let mut all = match (self, data) {
            (Self::Arithmetic, None) => TaskDataset {
                train: arithmetic_examples(Split::Train),
                validation: arithmetic_examples(Split::Validation),
            },
            (Self::Countdown, None) => {
                let mut train = puzzles(COUNTDOWN_SPLIT_SIZES.iter().sum(), SPLIT_SEED);
                let mut validation = train.split_off(COUNTDOWN_SPLIT_SIZES[0]);
                validation.truncate(COUNTDOWN_SPLIT_SIZES[1]);
                TaskDataset { train, validation }
            }
            (_, data) => {
                TaskDataset { train: self.file_or_test_examples(data)?, validation: Vec::new() }
            }
        };
        if aside.is_some() {
            all.validation = self.file_or_test_examples(aside)?;
        } else if all.validation.is_empty() {
            Rng::new(SPLIT_SEED).shuffle(&mut all.train);
            let n = ((all.train.len() as f64 * VALIDATION_LIMITS.1) as usize)
                .clamp(1, VALIDATION_LIMITS.0);
            all.validation = all.train.split_off(all.train.len().saturating_sub(n));
        }
        let question = |example: &Example| example.prompt.last().map(|said| said.content.clone());
        let aside: HashSet<_> = all.validation.iter().map(question).collect();
        let n = all.train.len() + all.validation.len();
        all.train.retain(|example| !aside.contains(&question(example)));
        ensure!(
            !all.train.is_empty(),
            "{n} problems are too few: what is decided by is not learned from"
        );
        Ok(all)
    }

    /// The problems to report of: those that are held out of the task, or all of a file.
    ///
    /// # Errors
    /// As [`Task::problems`].
    pub fn file_or_test_examples(self, data: Option<&str>) -> Result<Vec<Example>> {
        let Some(data) = data else {
            return match self {
                Self::Arithmetic => Ok(arithmetic_examples(Split::Test)),
                Self::Countdown => Ok(puzzles(COUNTDOWN_SPLIT_SIZES.iter().sum(), SPLIT_SEED)
                    .split_off(COUNTDOWN_SPLIT_SIZES[0] + COUNTDOWN_SPLIT_SIZES[1])),
                Self::Gsm8k => self.ensure_has_data(None).map(|()| Vec::new()),
            };
        };
        let path =
            if is_dataset_id(data) { fetch_dataset_file(data)? } else { PathBuf::from(data) };
        json_rows::read_parsed(&path, |row| self.parse_row(row))
    }

    /// A row of a file: `question` or `prompt`, and `answer`.
    ///
    /// # Errors
    /// When it has none, or the answer cannot be checked.
    pub fn parse_row(self, row: &Value) -> Result<Example> {
        let held = |names: &[&str]| {
            let value = names.iter().find_map(|name| row.get(name)).filter(|held| !held.is_null());
            value.with_context(|| format!("there is no column `{}`", names.join("` or `")))
        };
        let text = |name: &str, held: &Value| {
            let text = held.as_str().map(str::trim).filter(|text| !text.is_empty());
            text.map(String::from).with_context(|| format!("`{name}` holds {held}, not a text"))
        };
        let question = text("question", held(&["question", "prompt"])?)?;
        let answer = match held(&["answer"])? {
            Value::Number(number) => number.to_string(),
            answer => text("answer", answer)?,
        };
        let holds = |found: bool, what: &str| -> Result<()> {
            ensure!(found, "the answer `{}` {what}", answer.chars().take(40).collect::<String>());
            Ok(())
        };
        match self {
            Self::Arithmetic => {
                holds(last_integer(&answer).is_some(), "holds no whole number")?;
                Ok(Example::new(question, answer))
            }
            Self::Gsm8k => {
                let wanted = extract_gsm8k_answer(&answer).unwrap_or(&answer);
                holds(final_answer(wanted).is_some(), "holds no number after ####")?;
                let prompt = vec![ChatMessage::system(SYSTEM_PROMPT), ChatMessage::user(question)];
                Ok(Example { prompt, completion: wanted.to_string() })
            }
            Self::Countdown => {
                holds(Puzzle::parse(&answer).is_some(), "is no `3 5 7 = 22`")?;
                Ok(Example::new(question, answer))
            }
        }
    }
}

fn arithmetic_examples(split: Split) -> Vec<Example> {
    questions(ProblemSet::Sums, split).into_iter().map(ArithmeticQuestion::to_example).collect()
}
