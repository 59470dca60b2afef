//! Columns of a data set: three common layouts, and a map for other column names.

use anyhow::{Context, Result, bail, ensure};
use model_io::ChatMessage;
use serde_json::Value;

use crate::Example;

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

impl ExampleColumns {
    /// Layout of `row`: `instruction, input, output`, `prompt, completion` or `messages`.
    ///
    /// # Errors
    /// When the row has none of these layouts.
    pub fn detect(row: &Value) -> Result<Self> {
        let has = |names: &[&str]| names.iter().all(|name| row.get(name).is_some());
        match () {
            () if has(&["messages"]) => Ok(Self::Messages { messages: "messages".into() }),
            () if has(&["instruction", "output"]) => {
                Self::parse("instruction=instruction,output=output")
            }
            () if has(&["prompt", "completion"]) => {
                Self::parse("prompt=prompt,completion=completion")
            }
            () => {
                let keys = row.as_object().map(|row| row.keys().cloned().collect::<Vec<_>>());
                let keys = keys.context(
                    "a row must be an object, for example {\"prompt\": .., \"completion\": ..}",
                )?;
                bail!(
                    "unknown columns {}: map them, for example --columns prompt={},completion=..",
                    keys.join(", "),
                    keys.first().map_or("..", |key| key)
                )
            }
        }
    }

    /// Parses a map: `instruction=a,input=b,output=c`, `prompt=a,completion=b` or `messages=a`.
    /// With an instruction and no input, the column `input` is read where it exists; `input=none`
    /// ignores it.
    ///
    /// # Errors
    /// When the text is not such a map.
    pub fn parse(text: &str) -> Result<Self> {
        let (mut prompt, mut input, mut completion, mut messages) = (None, None, None, None);
        let mut default_input = InputColumn::None;
        for pair in text.split(',') {
            let (field, name) = pair.split_once('=').with_context(|| {
                format!(
                    "--columns {text}: expected WHAT=COLUMN, \
                     for example prompt=question,completion=answer"
                )
            })?;
            let field = field.trim();
            let slot = match field {
                "messages" => &mut messages,
                "instruction" | "prompt" => &mut prompt,
                "output" | "completion" => &mut completion,
                "input" => &mut input,
                other => bail!(
                    "--columns: unknown field `{other}`, expected instruction, input and output, \
                     or prompt and completion, or messages"
                ),
            };
            ensure!(slot.is_none(), "--columns {text}: `{field}` is given twice");
            *slot = Some(name.trim().to_string());
            if field == "instruction" {
                default_input = InputColumn::IfPresent;
            }
        }
        match (messages, prompt, completion, input) {
            (Some(messages), None, None, None) => Ok(Self::Messages { messages }),
            (Some(_), ..) => bail!(
                "--columns {text}: `messages` holds prompt and completion, \
                 so it must be the only field"
            ),
            (None, Some(instruction), Some(output), input) => {
                let input = match input {
                    None => default_input,
                    Some(name) if name == "none" => InputColumn::None,
                    Some(name) => InputColumn::Named(name),
                };
                Ok(Self::Instruction { instruction, input, output })
            }
            _ => bail!("--columns {text}: both the prompt and the completion need a column"),
        }
    }

    /// Example of a row.
    ///
    /// # Errors
    /// When a column is missing or not a string, or the completion is empty.
    pub fn parse_row(&self, row: &Value) -> Result<Example> {
        let text = |name: &str| {
            let value = row.get(name).with_context(|| format!("there is no column `{name}`"))?;
            value
                .as_str()
                .map(str::trim)
                .with_context(|| format!("`{name}` must be a string, but is {value}"))
        };
        let example = match self {
            Self::Instruction { instruction, input, output } => {
                let mut question = text(instruction)?.to_string();
                ensure!(!question.is_empty(), "`{instruction}` is empty");
                let input_text = match input {
                    InputColumn::None => None,
                    InputColumn::IfPresent => row.get("input").map(|_| "input"),
                    InputColumn::Named(name) => Some(name.as_str()),
                };
                let input_text = input_text.filter(|name| row.get(*name) != Some(&Value::Null));
                let input_text = input_text.map(text).transpose()?.unwrap_or_default();
                if !input_text.is_empty() {
                    question.extend(["\n", input_text]);
                }
                Example::new(question, text(output)?)
            }
            Self::Messages { messages } => {
                let list = row
                    .get(messages)
                    .with_context(|| format!("there is no column `{messages}`"))?;
                let mut prompt: Vec<ChatMessage> = serde_json::from_value(list.clone())
                    .with_context(|| {
                        format!("`{messages}` must be a list of {{\"role\", \"content\"}}")
                    })?;
                let last = prompt.pop().with_context(|| format!("`{messages}` is empty"))?;
                ensure!(
                    last.role == "assistant",
                    "the last message has the role {}, not assistant",
                    last.role
                );
                let before = prompt.last().context("there is no message before the assistant's")?;
                ensure!(
                    before.role == "user",
                    "the message before the last one has the role {}, not user",
                    before.role
                );
                let is_known = |role: &str| ["system", "user", "assistant"].contains(&role);
                if let Some(other) = prompt.iter().find(|message| !is_known(&message.role)) {
                    bail!("unknown role `{}`: expected system, user or assistant", other.role);
                }
                Example { prompt, completion: last.content.trim().to_string() }
            }
        };
        ensure!(!example.completion.is_empty(), "the completion is empty");
        Ok(example)
    }
}
