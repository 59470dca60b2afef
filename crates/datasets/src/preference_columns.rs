//! 7.1 Columns of a preference dataset, in the layouts that TRL and the Hub use.
//!
//! A row has a prompt (text, an HH dialogue, a list of messages, or `instruction` and `input`) with
//! two completions (texts, or lists of one message). Alternatively both completions are whole
//! conversations (HH dialogues or lists of messages); a prompt column is then ignored.

use anyhow::{Context, Result, bail, ensure};
use model_io::ChatMessage;
use serde_json::Value;

use crate::dialogue;
use crate::preference::{FilteredPreferences, Preference};

/// Column names of a preference dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreferenceColumns {
    /// Column of the prompt; optional in a row whose completions are whole conversations.
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
    /// Parses `prompt=a,chosen=b,rejected=c`, or a subset of it.
    ///
    /// # Errors
    /// When an entry is not `FIELD=COLUMN` with one of these three fields.
    pub fn parse(text: &str) -> Result<Self> {
        let mut columns = Self::default();
        for pair in text.split(',') {
            let (field, name) = pair.split_once('=').with_context(|| {
                format!(
                    "--columns {text}: expected FIELD=COLUMN, for example \
                     chosen=better,rejected=worse"
                )
            })?;
            let column = match field.trim() {
                "prompt" => &mut columns.prompt,
                "chosen" => &mut columns.chosen,
                "rejected" => &mut columns.rejected,
                other => bail!(
                    "--columns: unknown field `{other}`; the fields are prompt, chosen and rejected"
                ),
            };
            *column = name.trim().to_string();
        }
        Ok(columns)
    }

    /// Appends the preference of a row to `preferences`, or counts why it was filtered out.
    ///
    /// # Errors
    /// When a column is missing, or holds neither text nor messages.
    pub fn read_row(&self, row: &Value, preferences: &mut FilteredPreferences) -> Result<()> {
        if row.get("skipped").is_some() && row.get(&self.chosen).is_none() {
            preferences.filter_counts.n_unlabeled += 1; // a skipped row of `collect`
            return Ok(());
        }
        let prompt = self.prompt(row)?;
        let [chosen, rejected] = [&self.chosen, &self.rejected].map(|name| column_value(row, name));
        let (prompt, chosen, rejected) = match (prompt, chosen?, rejected?) {
            (_, chosen, rejected) if chosen.is_conversation() && rejected.is_conversation() => {
                let ((prompt, chosen), (other_prompt, rejected)) =
                    (chosen.split_completion()?, rejected.split_completion()?);
                if prompt != other_prompt {
                    preferences.filter_counts.n_prompt_mismatch += 1;
                    return Ok(());
                }
                (prompt, chosen, rejected)
            }
            (None, ..) => bail!(
                "there is no column `{}` (or `instruction`), and `{}` and `{}` are not whole \
                 conversations",
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

    /// Prompt of a row, which need not hold any completion.
    ///
    /// # Errors
    /// When the row has neither a prompt nor a whole conversation in `chosen`.
    pub fn read_prompt(&self, row: &Value) -> Result<Vec<ChatMessage>> {
        if let Some(prompt) = self.prompt(row)? {
            return Ok(prompt);
        }
        let has_chosen = row.get(&self.chosen).is_some();
        ensure!(has_chosen, "there is no column `{}` (or `instruction`)", self.prompt);
        Ok(column_value(row, &self.chosen)?.split_completion()?.0)
    }

    /// Prompt of a row, or `None` if no column holds it.
    fn prompt(&self, row: &Value) -> Result<Option<Vec<ChatMessage>>> {
        let is_missing = |name: &str| row.get(name).is_none_or(Value::is_null);
        if is_missing(&self.prompt) && !is_missing("instruction") {
            let mut prompt = text(row, "instruction")?;
            if !is_missing("input") {
                prompt = format!("{prompt}\n{}", text(row, "input")?).trim_end().to_string();
            }
            ensure!(!prompt.is_empty(), "`instruction` is empty");
            return Ok(Some(vec![ChatMessage::user(prompt)]));
        }
        if is_missing(&self.prompt) {
            return Ok(None);
        }
        let prompt = match column_value(row, &self.prompt)? {
            ColumnValue::Text(dialogue) if dialogue::is_hh_dialogue(&dialogue) => {
                dialogue::parse_prompt(&dialogue)
            }
            ColumnValue::Text(prompt) => vec![ChatMessage::user(prompt)],
            ColumnValue::Messages(messages) => messages,
        };
        if let Some(last) = prompt.last() {
            ensure!(
                last.role == "user",
                "the last message of `{}` is the {}'s, not the user's",
                self.prompt,
                last.role
            );
        }
        let has_text = prompt.iter().any(|message| !message.content.is_empty());
        ensure!(has_text, "`{}` is empty", self.prompt);
        Ok(Some(prompt))
    }
}

/// Value of a column.
enum ColumnValue {
    Text(String),
    Messages(Vec<ChatMessage>),
}

impl ColumnValue {
    /// Returns true for a whole conversation, false for a completion alone.
    fn is_conversation(&self) -> bool {
        match self {
            Self::Text(text) => dialogue::is_hh_dialogue(text),
            Self::Messages(messages) => messages.len() > 1,
        }
    }

    /// Splits a conversation into the prompt and the completion at its end.
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
            let messages: Vec<ChatMessage> = messages.with_context(|| {
                format!("`{name}` is not a list of {{\"role\", \"content\"}} objects")
            })?;
            let is_known = |role: &str| ["system", "user", "assistant"].contains(&role);
            if let Some(other) = messages.iter().find(|message| !is_known(&message.role)) {
                bail!("unknown role `{}`: expected system, user or assistant", other.role);
            }
            Ok(ColumnValue::Messages(messages))
        }
        Some(Value::String(text)) if dialogue::is_hh_dialogue(text) => {
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
    let text = value.as_str().with_context(|| format!("`{name}` is {value}, expected a text"))?;
    Ok(text.trim().to_string())
}

/// Completion of a list that holds a single message of the assistant.
fn single_completion(messages: Vec<ChatMessage>) -> Result<String> {
    match &messages[..] {
        [ChatMessage { role, content }] if role == "assistant" => Ok(content.trim().to_string()),
        _ => bail!("in a row with a prompt, a completion is a list of one assistant message"),
    }
}
