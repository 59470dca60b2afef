//! Tasks: their problems, right answers and rewards. A new task is a variant of [`Task`], its
//! problems and its reward.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use datasets::{Example, json_rows};
use model_io::{ChatMessage, fetch_dataset_file, is_dataset_id};
use ppo::RewardInput;
use ppo::final_answer::final_answer;
use ppo::numbers::last_integer;
use serde::Serialize;
use serde_json::Value;
use sft::arithmetic::{ProblemSet, Split};
use sft::arithmetic_questions::{ArithmeticQuestion, questions};
use tensor_core::Rng;

use crate::answers::extract_gsm8k_answer;
use crate::countdown::{Puzzle, puzzles};
use crate::{countdown, rewards};

/// System prompt of GSM8K: the format in which the reward rules find the answer.
pub const SYSTEM_PROMPT: &str =
    "Respond in the following format:\n\n<reasoning>\n...\n</reasoning>\n<answer>\n...\n</answer>";

/// Seed of the split into training, validation and test. It is not a run's seed, so that all runs
/// have the same split.
const SPLIT_SEED: u64 = 90;
/// Numbers of Countdown puzzles for training, validation and test.
const COUNTDOWN_SPLIT_SIZES: [usize; 3] = [10_000, 200, 300];
/// Largest number and largest share of a file's rows that are set aside for validation.
const VALIDATION_LIMITS: (usize, f64) = (200, 0.1);

/// Task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Sums and differences of 0 to 99 in a dozen phrasings, or the problems of a file
    Arithmetic,
    /// Word problems from a file, with the answer after ####
    Gsm8k,
    /// Expressions that use each of some numbers once and equal a target
    Countdown,
}

/// Problems of a task: prompts with the right answer as completion.
#[derive(Debug, Clone)]
pub struct TaskDataset {
    /// Training problems.
    pub train: Vec<Example>,
    /// Validation problems.
    pub validation: Vec<Example>,
}

impl Task {
    /// Default rewards.
    pub fn default_rewards(self) -> &'static str {
        match self {
            Self::Arithmetic => "exact",
            Self::Gsm8k => "correctness,format",
            Self::Countdown => "countdown",
        }
    }

    /// Default of the largest number of tokens per completion.
    pub fn default_max_new_tokens(self) -> usize {
        match self {
            Self::Arithmetic => 8,
            Self::Gsm8k => 256,
            Self::Countdown => 32,
        }
    }

    /// True if a completion is right and in the task's format.
    pub fn exact_match(self, input: &RewardInput<'_>) -> bool {
        let reward = match self {
            Self::Arithmetic => rewards::exact,
            Self::Gsm8k => rewards::correctness,
            Self::Countdown => countdown::reward,
        };
        reward(input) > 0.
    }

    /// True if a completion is right in any format.
    pub fn relaxed_match(self, input: &RewardInput<'_>) -> bool {
        self.exact_match(input)
            || match self {
                Self::Arithmetic => rewards::integer(input) > 0.,
                Self::Gsm8k => rewards::gsm8k_flexible(input) > 0.,
                Self::Countdown => false,
            }
    }

    /// Checks that the task has built-in problems or `data` is given.
    ///
    /// # Errors
    /// When it has neither.
    pub fn ensure_has_data(self, data: Option<&str>) -> Result<()> {
        let has_data = self != Self::Gsm8k || data.is_some();
        ensure!(has_data, "--task gsm8k needs --data: a file, or owner/name:file.jsonl on the Hub");
        Ok(())
    }

    /// Training and validation problems, which are disjoint: those of `data` (a file, or
    /// `owner/name:file.jsonl` on the Hub), else the built-in ones. Validation problems are those
    /// of `validation_data`, else up to a tenth of the rows of `data`, always the same ones.
    ///
    /// # Errors
    /// When a row has no answer that can be checked; the message names the file and the line.
    pub fn load_dataset(
        self,
        data: Option<&str>,
        validation_data: Option<&str>,
    ) -> Result<TaskDataset> {
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
        if validation_data.is_some() {
            all.validation = self.file_or_test_examples(validation_data)?;
        } else if all.validation.is_empty() {
            Rng::new(SPLIT_SEED).shuffle(&mut all.train);
            let n = ((all.train.len() as f64 * VALIDATION_LIMITS.1) as usize)
                .clamp(1, VALIDATION_LIMITS.0);
            all.validation = all.train.split_off(all.train.len().saturating_sub(n));
        }
        let question =
            |example: &Example| example.prompt.last().map(|message| message.content.clone());
        let validation: HashSet<_> = all.validation.iter().map(question).collect();
        let n = all.train.len() + all.validation.len();
        all.train.retain(|example| !validation.contains(&question(example)));
        ensure!(
            !all.train.is_empty(),
            "{n} problems are too few to split into training and validation"
        );
        Ok(all)
    }

    /// Problems of `data`, else the built-in test problems.
    ///
    /// # Errors
    /// Those of [`Task::load_dataset`].
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

    /// Example from a row of a file with columns `question` or `prompt`, and `answer`.
    ///
    /// # Errors
    /// When a column is missing, or the answer cannot be checked.
    pub fn parse_row(self, row: &Value) -> Result<Example> {
        let column = |names: &[&'static str]| {
            let first = names.iter().find_map(|&name| Some((name, row.get(name)?)));
            let value = first.filter(|(_, value)| !value.is_null());
            value.with_context(|| format!("there is no column `{}`", names.join("` or `")))
        };
        let text = |(name, value): (&str, &Value)| {
            let text = value.as_str().map(str::trim).filter(|text| !text.is_empty());
            text.map(String::from)
                .with_context(|| format!("column `{name}` is {value}, not a non-empty string"))
        };
        let question = text(column(&["question", "prompt"])?)?;
        let answer = match column(&["answer"])? {
            (_, Value::Number(number)) => number.to_string(),
            answer => text(answer)?,
        };
        let check = |is_valid: bool, problem: &str| -> Result<()> {
            let start = || answer.chars().take(40).collect::<String>();
            ensure!(is_valid, "the answer `{}` {problem}", start());
            Ok(())
        };
        match self {
            Self::Arithmetic => {
                check(last_integer(&answer).is_some(), "does not contain an integer")?;
                Ok(Example::new(question, answer))
            }
            Self::Gsm8k => {
                let final_text = extract_gsm8k_answer(&answer).unwrap_or(&answer);
                check(final_answer(final_text).is_some(), "does not contain a number after ####")?;
                let prompt = vec![ChatMessage::system(SYSTEM_PROMPT), ChatMessage::user(question)];
                Ok(Example { prompt, completion: final_text.to_string() })
            }
            Self::Countdown => {
                check(Puzzle::parse(&answer).is_some(), "does not have the form `3 5 7 = 22`")?;
                Ok(Example::new(question, answer))
            }
        }
    }
}

fn arithmetic_examples(split: Split) -> Vec<Example> {
    questions(ProblemSet::Sums, split).into_iter().map(ArithmeticQuestion::to_example).collect()
}
