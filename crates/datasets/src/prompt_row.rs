//! Rows with a prompt, examples and preferences. Splits keep the rows of one prompt together, and
//! what a model has learned is compared by prompts.

use model_io::ChatMessage;
use serde_json::Value;

/// Prompt of a row, or, without one, its text.
pub type PromptKey = (Vec<ChatMessage>, Option<String>);

/// Kind of the rows of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// Examples or problems.
    Example,
    /// Preferences.
    Preference,
}

impl RowKind {
    /// Kind of the rows that the run with these `settings` was trained on: preferences if it is one
    /// of part 7, or of part 10 on rows.
    pub fn of_run(settings: &Value) -> Self {
        // A setting of no other run.
        match settings["pairs"].is_u64() && settings["online"].is_null() {
            true => Self::Preference,
            false => Self::Example,
        }
    }
}

/// Row with a prompt.
pub trait PromptRow {
    /// Kind of the rows.
    const KIND: RowKind;

    /// Messages of the prompt.
    fn prompt(&self) -> &[ChatMessage];

    /// Key that rows of one split share: the prompt.
    fn question(&self) -> PromptKey {
        (self.prompt().to_vec(), None)
    }

    /// Key without the system prompt, and without white space around each message: the same
    /// for two rows that ask the same.
    fn conversation(&self) -> PromptKey {
        let (prompt, text) = self.question();
        let messages = prompt.into_iter().filter(|message| message.role != "system");
        let trimmed = messages
            .map(|message| ChatMessage { content: message.content.trim().to_string(), ..message });
        (trimmed.collect(), text)
    }
}
