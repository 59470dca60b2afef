//! Tasks: their problems, right answers and rewards. A new task is a variant of [`Task`], its
//! problems and its reward.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use datasets::answers::{extract_answer_tag, extract_gsm8k_answer, final_answer};
use datasets::arithmetic::ProblemSet;
use datasets::arithmetic_questions::examples;
use datasets::countdown::Puzzle;
use datasets::numbers::last_integer;
use datasets::{Example, ExampleColumns, Split, Splits, json_rows, parse_question_row};
use model_io::ChatMessage;
use ppo::RewardInput;
use ppo::flags::RewardProgramFlags;
use serde::Serialize;
use serde_json::Value;

use crate::{WeightedRewards, rewards};

/// System prompt of GSM8K: the format in which the reward rules find the answer.
pub const SYSTEM_PROMPT: &str =
    "Respond in the following format:\n\n<reasoning>\n...\n</reasoning>\n<answer>\n...\n</answer>";

const PROMPTS_NEED_DATA: &str =
    "--task prompts needs --data: a file, or owner/name:file.jsonl on the Hub";
const CODE_NEEDS_DATA: &str =
    "--task code needs --data with prompts and tests: a file, or owner/name:file.jsonl on the Hub";
const GSM8K_NEEDS_DATA: &str =
    "--task gsm8k needs --data: a file, or owner/name:file.jsonl on the Hub";

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
    /// Programming problems of a file with unit tests, such as MBPP; completions are run
    Code,
    /// Prompts of a file, texts or conversations, for a reward model or a reward program
    Prompts,
}

impl Task {
    /// Default rewards: the program of `program`, else those of the task.
    pub fn default_rewards(self, program: &RewardProgramFlags) -> &'static str {
        match self {
            _ if program.reward_program.is_some() => WeightedRewards::PROGRAM,
            Self::Arithmetic => "exact",
            Self::Gsm8k => "correctness,format",
            Self::Countdown => "countdown",
            Self::Code => WeightedRewards::CODE,
            Self::Prompts => WeightedRewards::PROGRAM,
        }
    }

    /// Default of the largest number of tokens per completion.
    pub fn default_max_new_tokens(self) -> usize {
        match self {
            Self::Arithmetic => 8,
            Self::Gsm8k | Self::Code | Self::Prompts => 256,
            Self::Countdown => 32,
        }
    }

    /// True if problems have right answers, with which completions are compared. Code is run
    /// instead, so its reward is the share of solved problems.
    pub fn has_answers(self) -> bool {
        !matches!(self, Self::Code | Self::Prompts)
    }

    /// True if a completion is right and in the task's format.
    pub fn exact_match(self, input: &RewardInput<'_>) -> bool {
        let reward = match self {
            Self::Arithmetic => rewards::exact,
            Self::Gsm8k => rewards::correctness,
            Self::Countdown => rewards::countdown,
            Self::Code | Self::Prompts => return false,
        };
        reward(input) > 0.
    }

    /// Answer that a completion gives, for the printout of an evaluation: its last integer; the
    /// text in its answer tag, else its final number; or its expression. The rewards of the task
    /// may ask for a stricter form. `None` without one.
    pub fn extract_answer(self, completion: &str) -> Option<String> {
        match self {
            Self::Arithmetic => last_integer(completion).map(|number| number.to_string()),
            Self::Gsm8k => extract_answer_tag(completion)
                .map(str::to_string)
                .or_else(|| final_answer(completion).map(|number| number.to_string())),
            Self::Countdown => rewards::countdown_expression(completion).map(str::to_string),
            Self::Code | Self::Prompts => None,
        }
    }

    /// True if a completion is right in any format.
    pub fn relaxed_match(self, input: &RewardInput<'_>) -> bool {
        self.exact_match(input)
            || match self {
                Self::Arithmetic => rewards::integer(input) > 0.,
                Self::Gsm8k => rewards::gsm8k_flexible(input) > 0.,
                Self::Countdown | Self::Code | Self::Prompts => false,
            }
    }

    /// Checks that the task has built-in problems or `data` is given.
    ///
    /// # Errors
    /// When it has neither.
    pub fn ensure_has_data(self, data: Option<&str>) -> Result<()> {
        ensure!(self != Self::Gsm8k || data.is_some(), GSM8K_NEEDS_DATA);
        ensure!(self != Self::Prompts || data.is_some(), PROMPTS_NEED_DATA);
        ensure!(self != Self::Code || data.is_some(), CODE_NEEDS_DATA);
        Ok(())
    }

    /// Built-in test problems.
    ///
    /// # Errors
    /// When there are none.
    pub fn test_examples(self) -> Result<Vec<Example>> {
        Ok(self.built_in_splits()?.test)
    }

    pub(crate) fn built_in_splits(self) -> Result<Splits<Example>> {
        match self {
            Self::Arithmetic => Ok(Splits {
                train: examples(ProblemSet::Sums, Split::Train),
                validation: examples(ProblemSet::Sums, Split::Validation),
                test: examples(ProblemSet::Sums, Split::Test),
            }),
            Self::Gsm8k => bail!(GSM8K_NEEDS_DATA),
            Self::Code => bail!(CODE_NEEDS_DATA),
            Self::Prompts => bail!(PROMPTS_NEED_DATA),
            Self::Countdown => Ok(datasets::countdown::splits()),
        }
    }

    /// Problems of the rows of files.
    ///
    /// # Errors
    /// When a row has no answer that can be checked; the message names the file and the line.
    pub fn read_files(self, paths: &[PathBuf]) -> Result<Vec<Example>> {
        json_rows::read_parsed(paths, |row| self.parse_row(row))
    }

    /// Example from a row of a file with columns `question` or `prompt`, and `answer`; for
    /// [`Task::Prompts`], of any layout, for [`Task::Code`], with tests.
    ///
    /// # Errors
    /// When a column is missing, or the answer cannot be checked.
    fn parse_row(self, row: &Value) -> Result<Example> {
        match self {
            Self::Prompts => return ExampleColumns::AnyPrompt.parse_row(row),
            Self::Code => return ExampleColumns::Code.parse_row(row),
            _ => {}
        }
        let mut example = parse_question_row(row)?;
        let answer = &example.completion;
        let start_of_answer: String = answer.chars().take(40).collect();
        match self {
            Self::Arithmetic => ensure!(
                last_integer(answer).is_some(),
                "the answer `{start_of_answer}` does not contain an integer"
            ),
            Self::Gsm8k => {
                let final_text = extract_gsm8k_answer(answer).unwrap_or(answer);
                ensure!(
                    final_answer(final_text).is_some(),
                    "the answer `{start_of_answer}` does not contain a number after ####"
                );
                example.completion = final_text.to_string();
                example.prompt.insert(0, ChatMessage::system(SYSTEM_PROMPT));
            }
            Self::Countdown => ensure!(
                Puzzle::parse(answer).is_some(),
                "the answer `{start_of_answer}` does not have the form `3 5 7 = 22`"
            ),
            Self::Code | Self::Prompts => {}
        }
        Ok(example)
    }
}
