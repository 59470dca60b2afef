//! 7.1 Which columns of a data set hold what.
//!
//! A prompt (a text, a list of messages, or `instruction` and `input`) with two responses (texts, or lists of one message); or
//! no prompt, where both responses tell the whole conversation (as HH dialogues, or as lists of messages).

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
        let prompt = self.prompt(row)?;
        let [chosen, rejected] = [&self.chosen, &self.rejected].map(|name| side(row, name));
        let preference = match (prompt, chosen?, rejected?) {
            (Some(prompt), Side::Text(chosen), Side::Text(rejected)) => {
                Preference { prompt, chosen, rejected }
            }
            (Some(prompt), Side::Messages(chosen), Side::Messages(rejected)) => {
                let [chosen, rejected] = [chosen, rejected].map(only_response);
                Preference { prompt, chosen: chosen?, rejected: rejected? }
            }
            (None, Side::Text(chosen), Side::Text(rejected)) => {
                let parse = |text: &str, name| {
                    dialogue::parse(text).with_context(|| {
                        format!("there is no column `{}` (or `instruction`), and `{name}` is no dialogue", self.prompt)
                    })
                };
                let chosen = parse(&chosen, &self.chosen)?;
                return shared(chosen, parse(&rejected, &self.rejected)?, preferences);
            }
            (None, Side::Messages(chosen), Side::Messages(rejected)) => {
                let [chosen, rejected] = [chosen, rejected].map(dialogue::split_last);
                return shared(chosen?, rejected?, preferences);
            }
            _ => bail!(
                "one of `{}` and `{}` is a text, the other a list of messages",
                self.chosen,
                self.rejected
            ),
        };
        preferences.push(preference);
        Ok(())
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
            Side::Text(prompt) => vec![Message::user(prompt.trim())],
            Side::Messages(messages) => messages,
        };
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

fn side(row: &Value, name: &str) -> Result<Side> {
    match row.get(name) {
        Some(Value::Array(_)) => {
            let messages = serde_json::from_value(row[name].clone());
            let messages = messages
                .with_context(|| format!("`{name}` holds no list of {{\"role\", \"content\"}}"))?;
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

/// Two conversations that differ in the last turn alone.
fn shared(
    (prompt, chosen): (Vec<Message>, String),
    (other, rejected): (Vec<Message>, String),
    preferences: &mut Preferences,
) -> Result<()> {
    match prompt == other {
        true => preferences.push(Preference { prompt, chosen, rejected }),
        false => preferences.dropped.unshared += 1,
    }
    Ok(())
}
