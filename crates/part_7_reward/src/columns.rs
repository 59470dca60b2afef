//! 7.1 Which columns of a data set hold what.
//!
//! A prompt (a text, an HH dialogue, a list of messages, or `instruction` and `input`) with two responses (texts, or lists of one
//! message); or two responses that tell the whole conversation (as HH dialogues, or as lists of messages), whatever the prompt.

use anyhow::{Context, Result, bail, ensure};
use modern::Message;
use serde_json::Value;

use crate::dialogue;
use crate::preference::{Preference, Preferences};

/// What the columns of a data set are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// What was said; a row may lack it.
    prompt: String,
    chosen: String,
    rejected: String,
}

impl Default for Columns {
    fn default() -> Self {
        let [prompt, chosen, rejected] = ["prompt", "chosen", "rejected"].map(String::from);
        Self { prompt, chosen, rejected }
    }
}

impl Columns {
    /// The map `prompt=a,chosen=b,rejected=c`, or a part of it.
    ///
    /// # Errors
    /// When it maps something else.
    pub fn parse(text: &str) -> Result<Self> {
        let mut columns = Self::default();
        for pair in text.split(',') {
            let (what, name) = pair.split_once('=').with_context(|| {
                format!("--columns {text}: expected WHAT=COLUMN, for example chosen=better,rejected=worse")
            })?;
            let column = match what.trim() {
                "prompt" => &mut columns.prompt,
                "chosen" => &mut columns.chosen,
                "rejected" => &mut columns.rejected,
                other => {
                    bail!("--columns knows no `{other}`: it maps prompt, chosen and rejected")
                }
            };
            *column = name.trim().to_string();
        }
        Ok(columns)
    }

    /// Adds what a row says to `preferences`.
    ///
    /// # Errors
    /// When it lacks a column, or one holds neither text nor messages.
    pub fn read(&self, row: &Value, preferences: &mut Preferences) -> Result<()> {
        if row.get("skipped").is_some() && row.get(&self.chosen).is_none() {
            preferences.dropped.undecided += 1; // as `collect` writes it
            return Ok(());
        }
        let prompt = self.prompt(row)?;
        let [chosen, rejected] = [&self.chosen, &self.rejected].map(|name| side(row, name));
        let (prompt, chosen, rejected) = match (prompt, chosen?, rejected?) {
            (_, chosen, rejected) if chosen.is_whole() && rejected.is_whole() => {
                let ((prompt, chosen), (other, rejected)) = (chosen.split()?, rejected.split()?);
                if prompt != other {
                    preferences.dropped.unshared += 1;
                    return Ok(());
                }
                (prompt, chosen, rejected)
            }
            (None, ..) => bail!(
                "there is no column `{}` (or `instruction`), and `{}` and `{}` are no whole conversations",
                self.prompt,
                self.chosen,
                self.rejected
            ),
            (Some(prompt), Side::Text(chosen), Side::Text(rejected)) => (prompt, chosen, rejected),
            (Some(prompt), Side::Messages(chosen), Side::Messages(rejected)) => {
                (prompt, only_response(chosen)?, only_response(rejected)?)
            }
            _ => bail!(
                "one of `{}` and `{}` is a text, the other a list of messages",
                self.chosen,
                self.rejected
            ),
        };
        preferences.push(Preference { prompt, chosen, rejected });
        Ok(())
    }

    /// What a row asks, which need not hold any response.
    ///
    /// # Errors
    /// When it asks nothing.
    pub fn question(&self, row: &Value) -> Result<Vec<Message>> {
        if let Some(prompt) = self.prompt(row)? {
            return Ok(prompt);
        }
        let asks = row.get(&self.chosen).is_some();
        ensure!(asks, "there is no column `{}` (or `instruction`)", self.prompt);
        Ok(side(row, &self.chosen)?.split()?.0)
    }

    /// What was said, if a column holds it.
    fn prompt(&self, row: &Value) -> Result<Option<Vec<Message>>> {
        let missing = |name: &str| row.get(name).is_none_or(Value::is_null);
        if missing(&self.prompt) && !missing("instruction") {
            let mut question = text(row, "instruction")?;
            if !missing("input") {
                question = format!("{question}\n{}", text(row, "input")?).trim_end().to_string();
            }
            ensure!(!question.is_empty(), "`instruction` is empty");
            return Ok(Some(vec![Message::user(question)]));
        }
        if missing(&self.prompt) {
            return Ok(None);
        }
        let prompt = match side(row, &self.prompt)? {
            Side::Text(dialogue) if dialogue::is_one(&dialogue) => dialogue::asked(&dialogue),
            Side::Text(prompt) => vec![Message::user(prompt)],
            Side::Messages(messages) => messages,
        };
        if let Some(last) = prompt.last() {
            ensure!(
                last.role == "user",
                "the last to speak in `{}` is the {}",
                self.prompt,
                last.role
            );
        }
        let said = prompt.iter().any(|message| !message.content.is_empty());
        ensure!(said, "`{}` is empty", self.prompt);
        Ok(Some(prompt))
    }
}

/// What a column holds.
enum Side {
    Text(String),
    Messages(Vec<Message>),
}

impl Side {
    /// Whether it is more than a response.
    fn is_whole(&self) -> bool {
        match self {
            Self::Text(text) => dialogue::is_one(text),
            Self::Messages(messages) => messages.len() > 1,
        }
    }

    /// The conversation, and the response with which it ends.
    fn split(self) -> Result<(Vec<Message>, String)> {
        match self {
            Self::Text(text) => dialogue::parse(&text),
            Self::Messages(messages) => dialogue::split_last(messages),
        }
    }
}

fn side(row: &Value, name: &str) -> Result<Side> {
    match row.get(name) {
        Some(Value::Array(_)) => {
            let messages = serde_json::from_value(row[name].clone());
            let messages: Vec<Message> = messages
                .with_context(|| format!("`{name}` holds no list of {{\"role\", \"content\"}}"))?;
            let known = |role: &str| ["system", "user", "assistant"].contains(&role);
            if let Some(other) = messages.iter().find(|message| !known(&message.role)) {
                bail!("`{}` is no role: there are system, user and assistant", other.role);
            }
            Ok(Side::Messages(messages))
        }
        Some(Value::String(text)) if dialogue::is_one(text) => Ok(Side::Text(text.clone())),
        _ => Ok(Side::Text(text(row, name)?)),
    }
}

fn text(row: &Value, name: &str) -> Result<String> {
    ensure!(
        row.is_object(),
        "a row is an object, for example {{\"prompt\": .., \"chosen\": .., \"rejected\": ..}}"
    );
    let value = row.get(name).with_context(|| format!("there is no column `{name}`"))?;
    let text = value.as_str().with_context(|| format!("`{name}` holds {value} and no text"))?;
    Ok(text.trim().to_string())
}

/// The response of a list that holds nothing else.
fn only_response(messages: Vec<Message>) -> Result<String> {
    match &messages[..] {
        [Message { role, content }] if role == "assistant" => Ok(content.trim().to_string()),
        _ => bail!("beside a prompt, a response is a list of one message of the assistant"),
    }
}
