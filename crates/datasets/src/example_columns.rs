//! Columns of a file that hold examples, and the map that names them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use model_io::ChatMessage;
use serde_json::Value;

use crate::code_rows::parse_code_row;
use crate::columns::{self, parse_column_map};
use crate::dialogue::{ensure_user_is_last, split_last_completion};
use crate::example::{AssistantTurns, Example};
use crate::json_rows;
use crate::preference_columns::PreferenceColumns;

/// Fields of a column map.
const FIELDS: [&str; 7] =
    ["instruction", "input", "output", "prompt", "completion", "messages", "text"];

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
    /// List of messages; the last one by the assistant is the completion, and those after it, which
    /// nothing answers, are left out.
    Messages {
        /// Column of the list.
        messages: String,
    },
    /// Text for continued pretraining, as the completion of no prompt.
    Text {
        /// Column of the text.
        text: String,
    },
    /// Prompts alone, a text or list of messages, as reinforcement learning needs; completions stay
    /// empty.
    Prompt {
        /// Column of the prompt.
        prompt: String,
    },
    /// Prompt with unit tests of the code that answers it (`tests`, or the layouts of MBPP and
    /// HumanEval).
    Code,
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

/// Examples of files with these columns, or with those of their first row.
///
/// # Errors
/// When a file cannot be read, or a row is invalid; the message names the file and the line.
pub fn read_examples(paths: &[PathBuf], columns: Option<&ExampleColumns>) -> Result<Vec<Example>> {
    let mut columns = columns.cloned();
    json_rows::read_parsed(paths, |row| {
        let columns = match &mut columns {
            Some(columns) => columns,
            none => none.insert(ExampleColumns::detect(row)?),
        };
        columns.parse_row(row)
    })
}

impl ExampleColumns {
    /// Parses a map: `instruction=a,input=b,output=c`, `prompt=a,completion=b`, `messages=a`,
    /// `text=a`, or `prompt=a` for prompts alone.
    /// With an instruction and no input, the column `input` is read where it exists; `input=none`
    /// ignores it.
    ///
    /// # Errors
    /// When the text is not such a map.
    pub fn parse(text: &str) -> Result<Self> {
        let map = parse_column_map(text, &FIELDS, "prompt=question,completion=answer")?;
        for field in ["messages", "text"] {
            ensure!(
                map.len() == 1 || !map.contains_key(field),
                "--columns {text}: `{field}` holds all that is learned, so it must be the only \
                 field"
            );
        }
        if let Some(&messages) = map.get("messages") {
            return Ok(Self::Messages { messages: messages.into() });
        }
        if let Some(&text) = map.get("text") {
            return Ok(Self::Text { text: text.into() });
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

    /// True for the columns `prompt` and `answer`.
    fn is_prompt_and_answer(&self) -> bool {
        matches!(self, Self::Instruction { instruction, output, .. }
            if instruction == "prompt" && output == "answer")
    }

    /// Example of a row. Its prompt has the row's `tools` and `chat_template_kwargs`.
    ///
    /// # Errors
    /// When a column is missing or of another type, or the completion is blank.
    pub fn parse_row(&self, row: &Value) -> Result<Example> {
        let mut example = self.parse_columns(row)?;
        columns::set_template_arguments(row, &mut example.prompt)?;
        Ok(example)
    }

    fn parse_columns(&self, row: &Value) -> Result<Example> {
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
                let assistant_turns = match row[instruction.as_str()].is_array() {
                    true => AssistantTurns::Last,
                    false => AssistantTurns::All,
                };
                let completion = columns::completion(row, output)?;
                Example { assistant_turns, ..Example::of_messages(prompt, completion) }
            }
            Self::Messages { messages } => {
                let mut messages = columns::messages(row, messages)?;
                let last = messages.iter().rposition(|message| message.role == "assistant");
                messages.truncate(last.map_or(messages.len(), |last| last + 1));
                let (prompt, completion) = split_last_completion(messages)?;
                ensure_user_is_last(&prompt)?;
                Example::of_messages(prompt, completion)
            }
            Self::Text { text } => {
                let text = ChatMessage::assistant(columns::text(row, text)?);
                Example::of_messages(Vec::new(), text)
            }
            Self::Prompt { prompt } => {
                return Ok(Example::of_prompt(columns::prompt(row, prompt)?));
            }
            Self::Code => return parse_code_row(row),
            Self::AnyPrompt => {
                return match Self::detect(row) {
                    Ok(Self::Messages { messages }) if ends_with_question(row, &messages)? => {
                        Ok(Example::of_prompt(columns::prompt(row, &messages)?))
                    }
                    Ok(Self::Text { .. }) => bail!(
                        "there is no column `prompt`; rows of `text` are for continued pretraining"
                    ),
                    Ok(columns) if !columns.is_prompt_and_answer() => columns.parse_row(row),
                    _ => any_prompt(row),
                };
            }
        };
        ensure!(!columns::is_empty(&example.completion_message()), "the completion is empty");
        Ok(example)
    }
}

/// Prompt of a row, with its `answer` if that is a text or a number.
fn any_prompt(row: &Value) -> Result<Example> {
    let prompt = PreferenceColumns::default().read_prompt(row)?;
    let answer = match row.get("answer") {
        Some(Value::String(_) | Value::Number(_)) => columns::completion(row, "answer")?,
        _ => return Ok(Example::of_prompt(prompt)),
    };
    Ok(Example::of_messages(prompt, answer))
}

/// True if the last message of a list is not the assistant's.
fn ends_with_question(row: &Value, messages: &str) -> Result<bool> {
    let messages = columns::messages(row, messages)?;
    Ok(messages.last().is_some_and(|message| message.role != "assistant"))
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
