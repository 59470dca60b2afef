//! Which columns of a data set hold what: three layouts are usual, and a map of names for others.

use anyhow::{Context, Result, bail, ensure};
use modern::Message;
use serde_json::Value;

use crate::Example;

/// What the columns of a data set are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// A question, perhaps what it is about, and the answer.
    Instruction {
        /// The question.
        instruction: String,
        /// What it is about; a row may lack it.
        input: String,
        /// The answer.
        output: String,
    },
    /// A list of `{"role", "content"}`, of which the assistant's last is learned.
    Messages {
        /// The list.
        messages: String,
    },
}

impl Columns {
    /// The layout of the rows that look like `row`: `instruction, input, output`, `prompt, completion` or `messages`.
    ///
    /// # Errors
    /// When it looks like none of them.
    pub fn of(row: &Value) -> Result<Self> {
        let has = |names: &[&str]| names.iter().all(|name| row.get(name).is_some());
        match () {
            () if has(&["messages"]) => Ok(Self::Messages { messages: "messages".into() }),
            () if has(&["instruction", "output"]) => Ok(Self::instruction("instruction", "output")),
            () if has(&["prompt", "completion"]) => Ok(Self::instruction("prompt", "completion")),
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

    /// The map `instruction=a,input=b,output=c`, `prompt=a,completion=b` or `messages=a`.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str) -> Result<Self> {
        let mut columns = Self::instruction("", "");
        for pair in text.split(',') {
            let (what, name) = pair.split_once('=').with_context(|| {
                format!("--columns {text}: expected WHAT=COLUMN, for example prompt=question,completion=answer")
            })?;
            let name = name.trim().to_string();
            match (what.trim(), &mut columns) {
                ("messages", _) => return Ok(Self::Messages { messages: name }),
                ("instruction" | "prompt", Self::Instruction { instruction, .. }) => {
                    *instruction = name
                }
                ("output" | "completion", Self::Instruction { output, .. }) => *output = name,
                ("input", Self::Instruction { input, .. }) => *input = name,
                (other, _) => bail!(
                    "--columns knows no `{other}`: it maps instruction, input and output, or prompt and completion, or messages"
                ),
            }
        }
        if let Self::Instruction { instruction, output, .. } = &columns {
            ensure!(
                !instruction.is_empty() && !output.is_empty(),
                "--columns {text}: both the prompt and the completion need a column"
            );
        }
        Ok(columns)
    }

    fn instruction(instruction: &str, output: &str) -> Self {
        let [instruction, input, output] = [instruction, "input", output].map(String::from);
        Self::Instruction { instruction, input, output }
    }

    /// What a row says.
    ///
    /// # Errors
    /// When it lacks a column, or a column holds no text, or the response is empty.
    pub fn example(&self, row: &Value) -> Result<Example> {
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
                let about = match row.get(input) {
                    None | Some(Value::Null) => "",
                    Some(_) => text(input)?,
                };
                if !about.is_empty() {
                    question.extend(["\n", about]);
                }
                ensure!(!question.is_empty(), "`{instruction}` is empty");
                Example::new(question, text(output)?)
            }
            Self::Messages { messages } => {
                let list = row
                    .get(messages)
                    .with_context(|| format!("there is no column `{messages}`"))?;
                let mut list: Vec<Message> =
                    serde_json::from_value(list.clone()).with_context(|| {
                        format!("`{messages}` holds no list of {{\"role\", \"content\"}}")
                    })?;
                let last = list.pop().with_context(|| format!("`{messages}` is empty"))?;
                ensure!(
                    last.role == "assistant",
                    "the last message is the {}'s, not the assistant's",
                    last.role
                );
                ensure!(!list.is_empty(), "nothing is said before the assistant speaks");
                Example { prompt: list, response: last.content.trim().to_string() }
            }
        };
        ensure!(!example.response.is_empty(), "the response is empty");
        Ok(example)
    }
}
