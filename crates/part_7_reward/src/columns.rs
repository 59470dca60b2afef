//! 7.1 Which columns of a data set hold what.
//!
//! A prompt (a text, an HH dialogue, a list of messages, or `instruction` and `input`) with two responses (texts, or lists of one
//! message); or two responses that tell the whole conversation (as HH dialogues, or as lists of messages), whatever the prompt.

use anyhow::{Context, Result, bail, ensure};
use modern::ChatMessage;
use serde_json::Value;

use crate::dialogue;
use crate::preference::{FilteredPreferences, Preference};

/// What the columns of a data set are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreferenceColumns {
    /// What was said; a row may lack it.
    prompt: String,
    chosen: String,
    rejected: String,
}

impl Default for PreferenceColumns {
    fn default() -> Self {
        let [prompt, chosen, rejected] = ["prompt", "chosen", "rejected"].map(String::from);
        Self { prompt, chosen, rejected }
    }
}

impl PreferenceColumns {
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
    pub fn read_row(&self, row: &Value, preferences: &mut FilteredPreferences) -> Result<()> {
        if row.get("skipped").is_some() && row.get(&self.chosen).is_none() {
            preferences.filter_counts.n_unlabeled += 1; // as `collect` writes it
            return Ok(());
        }
        let prompt = self.prompt(row)?;
        let [chosen, rejected] = [&self.chosen, &self.rejected].map(|name| column_value(row, name));
        let (prompt, chosen, rejected) = match (prompt, chosen?, rejected?) {
            (_, chosen, rejected) if chosen.is_conversation() && rejected.is_conversation() => {
                let ((prompt, chosen), (other, rejected)) =
                    (chosen.split_completion()?, rejected.split_completion()?);
                if prompt != other {
                    preferences.filter_counts.n_prompt_mismatch += 1;
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
            (Some(prompt), ColumnValue::Text(chosen), ColumnValue::Text(rejected)) => {
                (prompt, chosen, rejected)
            }
            (Some(prompt), ColumnValue::Messages(chosen), ColumnValue::Messages(rejected)) => {
                (prompt, single_completion(chosen)?, single_completion(rejected)?)
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
    pub fn read_prompt(&self, row: &Value) -> Result<Vec<ChatMessage>> {
        if let Some(prompt) = self.prompt(row)? {
            return Ok(prompt);
        }
        let asks = row.get(&self.chosen).is_some();
        ensure!(asks, "there is no column `{}` (or `instruction`)", self.prompt);
        Ok(column_value(row, &self.chosen)?.split_completion()?.0)
    }

    /// What was said, if a column holds it.
    fn prompt(&self, row: &Value) -> Result<Option<Vec<ChatMessage>>> {
        let missing = |name: &str| row.get(name).is_none_or(Value::is_null);
        if missing(&self.prompt) && !missing("instruction") {
            let mut question = text(row, "instruction")?;
            if !missing("input") {
                question = format!("{question}\n{}", text(row, "input")?).trim_end().to_string();
            }
            ensure!(!question.is_empty(), "`instruction` is empty");
            return Ok(Some(vec![ChatMessage::user(question)]));
        }
        if missing(&self.prompt) {
            return Ok(None);
        }
        let prompt = match column_value(row, &self.prompt)? {
            ColumnValue::Text(dialogue) if dialogue::is_dialogue(&dialogue) => {
                dialogue::parse_prompt(&dialogue)
            }
            ColumnValue::Text(prompt) => vec![ChatMessage::user(prompt)],
            ColumnValue::Messages(messages) => messages,
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
enum ColumnValue {
    Text(String),
    Messages(Vec<ChatMessage>),
}

impl ColumnValue {
    /// Whether it is more than a response.
    fn is_conversation(&self) -> bool {
        match self {
            Self::Text(text) => dialogue::is_dialogue(text),
            Self::Messages(messages) => messages.len() > 1,
        }
    }

    /// The conversation, and the response with which it ends.
    fn split_completion(self) -> Result<(Vec<ChatMessage>, String)> {
        match self {
            Self::Text(text) => dialogue::parse(&text),
            Self::Messages(messages) => dialogue::split_last_completion(messages),
        }
    }
}

fn column_value(row: &Value, name: &str) -> Result<ColumnValue> {
    match row.get(name) {
        Some(Value::Array(_)) => {
            let messages = serde_json::from_value(row[name].clone());
            let messages: Vec<ChatMessage> = messages
                .with_context(|| format!("`{name}` holds no list of {{\"role\", \"content\"}}"))?;
            let known = |role: &str| ["system", "user", "assistant"].contains(&role);
            if let Some(other) = messages.iter().find(|message| !known(&message.role)) {
                bail!("`{}` is no role: there are system, user and assistant", other.role);
            }
            Ok(ColumnValue::Messages(messages))
        }
        Some(Value::String(text)) if dialogue::is_dialogue(text) => {
            Ok(ColumnValue::Text(text.clone()))
        }
        _ => Ok(ColumnValue::Text(text(row, name)?)),
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
fn single_completion(messages: Vec<ChatMessage>) -> Result<String> {
    match &messages[..] {
        [ChatMessage { role, content }] if role == "assistant" => Ok(content.trim().to_string()),
        _ => bail!("beside a prompt, a response is a list of one message of the assistant"),
    }
}
