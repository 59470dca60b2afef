//! Columns of preferences, in the layouts that TRL and the Hub use.
//!
//! A row has a prompt (text, an HH dialogue, a list of messages, or `instruction` and `input`) with
//! two completions (texts, or lists of messages, which go on from the prompt: calls of tools, their
//! results, and the answer). Alternatively both completions are whole conversations (HH dialogues
//! or lists of messages, from the prompt or from a message of the system or the user on); a prompt
//! column is then ignored.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use model_io::ChatMessage;
use serde_json::Value;

use crate::columns::{self, parse_column_map};
use crate::dialogue::{self, ensure_user_is_last, split_last_completion};
use crate::json_rows;
use crate::preference::{FilteredPreferences, LabeledCompletion, Preference};

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
        let fields = ["prompt", "chosen", "rejected"];
        let map = parse_column_map(text, &fields, "chosen=better,rejected=worse")?;
        let [prompt, chosen, rejected] =
            fields.map(|field| map.get(field).map_or(field, |column| column).to_string());
        Ok(Self { prompt, chosen, rejected })
    }

    /// Preferences of files; those that cannot be trained on are counted.
    ///
    /// # Errors
    /// When a file cannot be read, a row is invalid (the message names the file and the line), or
    /// every pair is filtered out.
    pub fn read_files(&self, paths: &[PathBuf]) -> Result<FilteredPreferences> {
        let mut preferences = FilteredPreferences::default();
        json_rows::read_parsed(paths, |row| self.read_row(row, &mut preferences))?;
        ensure!(
            !preferences.usable.is_empty(),
            "{} has no usable pair: {}",
            paths.first().map_or(Path::new(""), PathBuf::as_path).display(),
            preferences.filter_counts
        );
        Ok(preferences)
    }

    /// Appends the preference of a row to `preferences`, or counts why it was filtered out.
    ///
    /// # Errors
    /// When a column is missing, or holds neither text nor messages.
    pub fn read_row(&self, row: &Value, preferences: &mut FilteredPreferences) -> Result<()> {
        let Self { chosen: chosen_name, rejected: rejected_name, .. } = self;
        if row.get("skipped").is_some() && row.get(chosen_name).is_none() {
            preferences.filter_counts.n_unlabeled += 1; // a skipped row of `collect`
            return Ok(());
        }
        for name in [chosen_name, rejected_name] {
            ensure!(
                columns::object(row)?.contains_key(name),
                "there is no column `{name}`; the known layouts are prompt + chosen + rejected, \
                 instruction + input + chosen + rejected, and chosen + rejected as whole \
                 conversations (HH, UltraFeedback); --columns chosen=better,rejected=worse maps \
                 other names"
            );
        }
        let chosen = conversation(row, chosen_name, "assistant")?;
        let rejected = conversation(row, rejected_name, "assistant")?;
        let are_completions = !begins_a_conversation(&chosen) && !begins_a_conversation(&rejected);
        let (chosen, rejected) =
            (self.after_prompt(row, chosen)?, self.after_prompt(row, rejected)?);
        let (mut prompt, chosen, rejected) = match (has_prompt(&chosen), has_prompt(&rejected)) {
            (true, true) => {
                let (prompt, chosen) = split_last_completion(chosen)?;
                let (other_prompt, rejected) = split_last_completion(rejected)?;
                if prompt != other_prompt {
                    preferences.filter_counts.n_prompt_mismatch += 1;
                    return Ok(());
                }
                (prompt, chosen, rejected)
            }
            (false, false) => {
                let prompt = self.prompt(row)?.with_context(|| {
                    format!(
                        "there is no column `{}` (or `instruction`), and `{chosen_name}` and \
                         `{rejected_name}` are not whole conversations",
                        self.prompt
                    )
                })?;
                let is_hh = row[&self.prompt].as_str().is_some_and(dialogue::is_hh_dialogue);
                let [chosen, rejected] = [chosen, rejected].map(|messages| {
                    let mut message = completion(messages);
                    // The space after `Assistant:`, which ends the prompt.
                    if is_hh && message.content.starts_with(' ') {
                        message.content.remove(0);
                    }
                    message
                });
                (prompt, chosen, rejected)
            }
            _ if are_completions => {
                // A call of a tool before the one answer, none before the other.
                preferences.filter_counts.n_prompt_mismatch += 1;
                return Ok(());
            }
            _ => bail!(
                "one of `{chosen_name}` and `{rejected_name}` is a whole conversation, the other a \
                 completion"
            ),
        };
        columns::set_template_arguments(row, &mut prompt)?;
        preferences.push(Preference::of_messages(prompt, chosen, rejected));
        Ok(())
    }

    /// Completion of a row that has a `completion` and a `label`. Of another row it is `None`, and
    /// the row is read as by [`read_row`](Self::read_row).
    ///
    /// # Errors
    /// When a column is missing, or has no valid value.
    pub fn read_labeled_row(
        &self,
        row: &Value,
        preferences: &mut FilteredPreferences,
    ) -> Result<Option<LabeledCompletion>> {
        let Some(label) = row.get("label").filter(|_| columns::has_value(row, "completion")) else {
            return self.read_row(row, preferences).map(|()| None);
        };
        let is_desirable =
            label.as_bool().context("`label` must be true (desirable) or false (undesirable)")?;
        let completion = columns::completion(row, "completion")?;
        ensure!(!columns::is_empty(&completion), "`completion` is empty");
        Ok(Some(LabeledCompletion { prompt: self.read_prompt(row)?, completion, is_desirable }))
    }

    /// Messages of a completion, after the prompt of the row where they are several that go on
    /// from it.
    fn after_prompt(&self, row: &Value, messages: Vec<ChatMessage>) -> Result<Vec<ChatMessage>> {
        if messages.len() == 1 || begins_a_conversation(&messages) {
            return Ok(messages);
        }
        Ok(match self.prompt(row)? {
            Some(prompt) if !messages.starts_with(&prompt) => [prompt, messages].concat(),
            _ => messages,
        })
    }

    /// Prompt of a row, which need not hold any completion, with the row's `tools` and
    /// `chat_template_kwargs`.
    ///
    /// # Errors
    /// When the row has neither a prompt nor a whole conversation in `chosen`.
    pub fn read_prompt(&self, row: &Value) -> Result<Vec<ChatMessage>> {
        let mut prompt = self.any_prompt(row)?;
        columns::set_template_arguments(row, &mut prompt)?;
        Ok(prompt)
    }

    /// Prompt of a row, without the arguments of the chat template.
    fn any_prompt(&self, row: &Value) -> Result<Vec<ChatMessage>> {
        if let Some(prompt) = self.prompt(row)? {
            return Ok(prompt);
        }
        let chosen = match row.get(&self.chosen) {
            Some(_) => conversation(row, &self.chosen, "assistant")?,
            None => Vec::new(),
        };
        ensure!(has_prompt(&chosen), "there is no column `{}` (or `instruction`)", self.prompt);
        Ok(split_last_completion(chosen)?.0)
    }

    /// Prompt of a row, or `None` if no column holds it.
    fn prompt(&self, row: &Value) -> Result<Option<Vec<ChatMessage>>> {
        let name = &self.prompt;
        if !columns::has_value(row, name) {
            if !columns::has_value(row, "instruction") {
                return Ok(None);
            }
            let input = row.get("input").map(|_| "input");
            let instruction = columns::instruction(row, "instruction", input)?;
            return Ok(Some(vec![ChatMessage::user(instruction)]));
        }
        let mut prompt = conversation(row, name, "user")?;
        // An HH dialogue may go on to where the completion begins.
        prompt.pop_if(|last| last.role == "assistant" && columns::is_blank(&last.content));
        ensure_user_is_last(&prompt)?;
        let has_text = prompt.iter().any(|message| !columns::is_blank(&message.content));
        ensure!(has_text, "`{name}` is empty");
        Ok(Some(prompt))
    }
}

/// Messages in a column: a list of them, the turns of an HH dialogue, or a text as the only message
/// of `role`.
fn conversation(row: &Value, name: &str, role: &str) -> Result<Vec<ChatMessage>> {
    match row.get(name) {
        Some(Value::Array(_)) => columns::messages(row, name),
        Some(Value::String(text)) if dialogue::is_hh_dialogue(text) => Ok(dialogue::turns(text)),
        _ => Ok(vec![ChatMessage::new(role, columns::text(row, name)?)]),
    }
}

/// True if the messages begin with one of the system or the user, as a conversation does.
fn begins_a_conversation(messages: &[ChatMessage]) -> bool {
    messages.first().is_some_and(|first| ["system", "user"].contains(&first.role.as_str()))
}

/// True for a whole conversation, false for the assistant's message alone.
fn has_prompt(messages: &[ChatMessage]) -> bool {
    messages.len() > 1 || messages.iter().any(|message| message.role != "assistant")
}

/// The assistant's message alone.
fn completion(messages: Vec<ChatMessage>) -> ChatMessage {
    messages.into_iter().next().unwrap_or_else(|| ChatMessage::assistant(""))
}
