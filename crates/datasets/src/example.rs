//! Training example: a conversation, and the completion to learn; and the columns of a file that
//! hold them: three common layouts, a map for other column names, and questions whose answer can be
//! checked.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use model_io::ChatMessage;
use serde_json::Value;

use crate::columns::{self, parse_column_map};
use crate::dialogue::{ensure_user_is_last, split_last_completion};
use crate::json_rows;
use crate::preference_columns::PreferenceColumns;

/// Prompt and completion; only the completion is in the loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Messages of the conversation, the last one by the user or a tool.
    pub prompt: Vec<ChatMessage>,
    /// Expected message of the assistant; empty if it is not known.
    pub completion: String,
}

impl Example {
    /// Example of a single user message and its completion.
    pub fn new(prompt: impl Into<String>, completion: impl Into<String>) -> Self {
        Self { prompt: vec![ChatMessage::user(prompt)], completion: completion.into() }
    }

    /// Prompt without a known completion.
    fn of_prompt(prompt: Vec<ChatMessage>) -> Self {
        Self { prompt, completion: String::new() }
    }
}

/// Fields of a column map.
const FIELDS: [&str; 6] = ["instruction", "input", "output", "prompt", "completion", "messages"];

/// Column names of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExampleColumns {
    /// Instruction, optional input, and completion.
    Instruction {
        /// Column of the instruction or prompt.
        instruction: String,
        /// Column of the input that the instruction refers to.
        input: InputColumn,
        /// Column of the completion.
        output: String,
    },
    /// List of `{"role", "content"}` messages; the last one, by the assistant, is the completion.
    Messages {
        /// Column of the list.
        messages: String,
    },
    /// Prompts alone, a text or list of messages, as reinforcement learning needs; completions stay
    /// empty.
    Prompt {
        /// Column of the prompt.
        prompt: String,
    },
    /// Prompt of a row in any layout, of examples, preferences or prompts alone, with its
    /// completion if it is an example.
    AnyPrompt,
}

/// Column of the input that an instruction refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputColumn {
    /// Not read.
    None,
    /// Column `input`, in rows that have it.
    IfPresent,
    /// Column of this name, required in every row; its value may be null.
    Named(String),
}

/// Examples of a file with these columns, or with those of its first row.
///
/// # Errors
/// When the file cannot be read, or a row is invalid; the message names the file and the line.
pub fn read_examples(path: &Path, columns: Option<&ExampleColumns>) -> Result<Vec<Example>> {
    let mut columns = columns.cloned();
    json_rows::read_parsed(path, |row| {
        let columns = match &mut columns {
            Some(columns) => columns,
            none => none.insert(ExampleColumns::detect(row)?),
        };
        columns.parse_row(row)
    })
}

impl ExampleColumns {
    /// Layout of `row`: `instruction, input, output`, `prompt, completion` or `messages`.
    ///
    /// # Errors
    /// When the row has none of these layouts.
    pub fn detect(row: &Value) -> Result<Self> {
        let row = columns::object(row)?;
        let has = |names: &[&str]| names.iter().all(|name| row.contains_key(*name));
        if has(&["messages"]) {
            return Self::parse("messages=messages");
        } else if has(&["instruction", "output"]) {
            return Self::parse("instruction=instruction,output=output");
        } else if has(&["prompt", "completion"]) {
            return Self::parse("prompt=prompt,completion=completion");
        }
        ensure!(
            !has(&["prompt"]),
            "there is no column `completion`; prompts alone are for reinforcement learning with a \
             reward model or a reward program"
        );
        let names: Vec<&str> = row.keys().map(String::as_str).collect();
        bail!(
            "unknown columns {}: map them, for example --columns prompt={},completion=..",
            names.join(", "),
            names.first().unwrap_or(&"..")
        )
    }

    /// Parses a map: `instruction=a,input=b,output=c`, `prompt=a,completion=b`, `messages=a`, or
    /// `prompt=a` for prompts alone.
    /// With an instruction and no input, the column `input` is read where it exists; `input=none`
    /// ignores it.
    ///
    /// # Errors
    /// When the text is not such a map.
    pub fn parse(text: &str) -> Result<Self> {
        let map = parse_column_map(text, &FIELDS, "prompt=question,completion=answer")?;
        if let Some(&messages) = map.get("messages") {
            ensure!(
                map.len() == 1,
                "--columns {text}: `messages` holds prompt and completion, so it must be the only \
                 field"
            );
            return Ok(Self::Messages { messages: messages.into() });
        }
        let input = match map.get("input") {
            Some(&"none") => InputColumn::None,
            Some(&name) => InputColumn::Named(name.into()),
            None if map.contains_key("instruction") => InputColumn::IfPresent,
            None => InputColumn::None,
        };
        let instruction = column_of(&map, "prompt", "instruction")?;
        let output = column_of(&map, "completion", "output")?;
        if let (Some(prompt), None, 1) = (map.get("prompt"), &output, map.len()) {
            return Ok(Self::Prompt { prompt: prompt.to_string() });
        }
        let (Some(instruction), Some(output)) = (instruction, output) else {
            bail!("--columns {text}: both the prompt and the completion need a column");
        };
        Ok(Self::Instruction { instruction, input, output })
    }

    /// Example of a row.
    ///
    /// # Errors
    /// When a column is missing or of another type, or the completion is blank.
    pub fn parse_row(&self, row: &Value) -> Result<Example> {
        let example = match self {
            Self::Instruction { instruction, input, output } => {
                let input = match input {
                    InputColumn::None => None,
                    InputColumn::IfPresent => row.get("input").map(|_| "input"),
                    InputColumn::Named(name) => Some(name.as_str()),
                };
                let prompt = match input {
                    None => columns::prompt(row, instruction)?,
                    input => {
                        vec![ChatMessage::user(columns::instruction(row, instruction, input)?)]
                    }
                };
                Example { prompt, completion: columns::completion(row, output)? }
            }
            Self::Messages { messages } => {
                let (prompt, completion) =
                    split_last_completion(columns::messages(row, messages)?)?;
                ensure_user_is_last(&prompt)?;
                Example { prompt, completion }
            }
            Self::Prompt { prompt } => {
                return Ok(Example::of_prompt(columns::prompt(row, prompt)?));
            }
            Self::AnyPrompt => {
                return match Self::detect(row) {
                    Ok(columns) => columns.parse_row(row),
                    Err(_) => {
                        Ok(Example::of_prompt(PreferenceColumns::default().read_prompt(row)?))
                    }
                };
            }
        };
        ensure!(!columns::is_blank(&example.completion), "the completion is empty");
        Ok(example)
    }
}

/// Column of the field `name`, which may also be called `synonym`.
fn column_of(map: &BTreeMap<&str, &str>, name: &str, synonym: &str) -> Result<Option<String>> {
    let (column, other) = (map.get(name), map.get(synonym));
    ensure!(
        column.is_none() || other.is_none(),
        "--columns: `{name}` and `{synonym}` are two names of one field"
    );
    Ok(column.or(other).map(ToString::to_string))
}

/// Example of a row of questions: the `question` (or `prompt`), and the `answer`, a text or a
/// number, as its completion. An answer is compared, not learned, so its white space is trimmed.
///
/// # Errors
/// When a column is missing, empty, or of another type.
pub fn parse_question_row(row: &Value) -> Result<Example> {
    let question = ["question", "prompt"].into_iter().find(|name| columns::has_value(row, name));
    let question = question.context("there is no column `question` or `prompt`")?;
    let question = columns::non_empty_text(row, question)?;
    Ok(match row.get("answer") {
        Some(Value::Number(number)) => Example::new(question, number.to_string()),
        _ => Example::new(question, columns::non_empty_text(row, "answer")?.trim()),
    })
}
