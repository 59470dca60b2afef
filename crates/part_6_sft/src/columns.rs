//! Which columns of a data set hold what: three layouts are usual, and a map of names for others.

use anyhow::{Context, Result, bail, ensure};
use modern::ChatMessage;
use serde_json::Value;

use crate::Example;

/// What the columns of a data set are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExampleColumns {
    /// A question, perhaps what it is about, and the answer.
    Instruction {
        /// The question.
        instruction: String,
        /// What it is about.
        input: InputColumn,
        /// The answer.
        output: String,
    },
    /// A list of `{"role", "content"}`, of which the assistant's last is learned.
    Messages {
        /// The list.
        messages: String,
    },
}

/// The column that says what a question is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputColumn {
    /// There is none.
    None,
    /// `input`, in rows that have it.
    IfPresent,
    /// This one, which every row has; it may be null.
    Named(String),
}

impl ExampleColumns {
    /// The layout of the rows that look like `row`: `instruction, input, output`, `prompt, completion` or `messages`.
    ///
    /// # Errors
    /// When it looks like none of them.
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
                    "a row is an object, for example {\"prompt\": .., \"completion\": ..}",
                )?;
                bail!(
                    "its columns are {}: say what they hold, for example --columns prompt={},completion=..",
                    keys.join(", "),
                    keys.first().map_or("..", |key| key)
                )
            }
        }
    }

    /// The map `instruction=a,input=b,output=c`, `prompt=a,completion=b` or `messages=a`. Where an instruction is named and no
    /// input, a column `input` is read if there is one; `input=none` says that there is none.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str) -> Result<Self> {
        let (mut asked, mut input, mut answered, mut messages) = (None, None, None, None);
        let mut usual = InputColumn::None;
        for pair in text.split(',') {
            let (what, name) = pair.split_once('=').with_context(|| {
                format!("--columns {text}: expected WHAT=COLUMN, for example prompt=question,completion=answer")
            })?;
            let what = what.trim();
            let place = match what {
                "messages" => &mut messages,
                "instruction" | "prompt" => &mut asked,
                "output" | "completion" => &mut answered,
                "input" => &mut input,
                other => bail!(
                    "--columns knows no `{other}`: it maps instruction, input and output, or prompt and completion, or messages"
                ),
            };
            ensure!(place.is_none(), "--columns {text}: `{what}` is said twice");
            *place = Some(name.trim().to_string());
            if what == "instruction" {
                usual = InputColumn::IfPresent;
            }
        }
        match (messages, asked, answered, input) {
            (Some(messages), None, None, None) => Ok(Self::Messages { messages }),
            (Some(_), ..) => bail!("--columns {text}: messages hold all, so nothing else is named"),
            (None, Some(instruction), Some(output), input) => {
                let input = match input {
                    None => usual,
                    Some(none) if none == "none" => InputColumn::None,
                    Some(name) => InputColumn::Named(name),
                };
                Ok(Self::Instruction { instruction, input, output })
            }
            _ => bail!("--columns {text}: both the prompt and the completion need a column"),
        }
    }

    /// What a row says.
    ///
    /// # Errors
    /// When it lacks a column, or a column holds no text, or the response is empty.
    pub fn parse_row(&self, row: &Value) -> Result<Example> {
        let text = |name: &str| {
            let value = row.get(name).with_context(|| format!("there is no column `{name}`"))?;
            value
                .as_str()
                .map(str::trim)
                .with_context(|| format!("`{name}` holds {value} and no text"))
        };
        let example = match self {
            Self::Instruction { instruction, input, output } => {
                let mut question = text(instruction)?.to_string();
                ensure!(!question.is_empty(), "`{instruction}` is empty");
                let about = match input {
                    InputColumn::None => None,
                    InputColumn::IfPresent => row.get("input").map(|_| "input"),
                    InputColumn::Named(name) => Some(name.as_str()),
                };
                let about = about.filter(|name| row.get(*name) != Some(&Value::Null));
                let about = about.map(text).transpose()?.unwrap_or_default();
                if !about.is_empty() {
                    question.extend(["\n", about]);
                }
                Example::new(question, text(output)?)
            }
            Self::Messages { messages } => {
                let list = row
                    .get(messages)
                    .with_context(|| format!("there is no column `{messages}`"))?;
                let mut list: Vec<ChatMessage> = serde_json::from_value(list.clone())
                    .with_context(|| {
                        format!("`{messages}` holds no list of {{\"role\", \"content\"}}")
                    })?;
                let last = list.pop().with_context(|| format!("`{messages}` is empty"))?;
                ensure!(
                    last.role == "assistant",
                    "the last message is the {}'s, not the assistant's",
                    last.role
                );
                let before = list.last().context("nothing is said before the assistant speaks")?;
                ensure!(
                    before.role == "user",
                    "before the last message speaks the {}, not the user",
                    before.role
                );
                let known = |role: &str| ["system", "user", "assistant"].contains(&role);
                if let Some(other) = list.iter().find(|message| !known(&message.role)) {
                    bail!("`{}` is no role: there are system, user and assistant", other.role);
                }
                Example { prompt: list, completion: last.content.trim().to_string() }
            }
        };
        ensure!(!example.completion.is_empty(), "the response is empty");
        Ok(example)
    }
}
