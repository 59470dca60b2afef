//! Preference: two completions of the same conversation, one preferred over the other.

use std::fmt;
use std::ops::AddAssign;

use model_io::ChatMessage;
use serde_json::{Map, Value};

use crate::columns::is_empty;
use crate::prompt_row::{PromptRow, RowKind};

/// Conversation with a chosen and a rejected completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preference {
    /// Messages before the completion, the last one by the user.
    pub prompt: Vec<ChatMessage>,
    /// Preferred completion.
    pub chosen: String,
    /// Other completion.
    pub rejected: String,
    /// Other fields of the message of the preferred completion, such as `tool_calls`.
    pub chosen_fields: Map<String, Value>,
    /// Other fields of the message of the other completion.
    pub rejected_fields: Map<String, Value>,
}

/// Completion with a label of its own, as KTO learns from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabeledCompletion {
    /// Messages before the completion, the last one by the user.
    pub prompt: Vec<ChatMessage>,
    /// Completion, as a message of the assistant.
    pub completion: ChatMessage,
    /// Label: true if the completion is desirable.
    pub is_desirable: bool,
}

/// Usable preferences, and counts of those that were filtered out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilteredPreferences {
    /// Preferences that can be trained on.
    pub usable: Vec<Preference>,
    /// Number of pairs filtered out, by reason.
    pub filter_counts: FilterCounts,
}

/// Number of pairs that were filtered out, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FilterCounts {
    /// Pairs of completions that are identical apart from surrounding white space.
    pub n_identical: usize,
    /// Pairs with a blank completion.
    pub n_empty: usize,
    /// Pairs whose two conversations have different prompts.
    pub n_prompt_mismatch: usize,
    /// Pairs that were collected and skipped without a label.
    pub n_unlabeled: usize,
}

impl AddAssign for FilterCounts {
    fn add_assign(&mut self, other: Self) {
        self.n_identical += other.n_identical;
        self.n_empty += other.n_empty;
        self.n_prompt_mismatch += other.n_prompt_mismatch;
        self.n_unlabeled += other.n_unlabeled;
    }
}

impl Preference {
    /// Preference for a single user message.
    pub fn new(
        question: impl Into<String>,
        chosen: impl Into<String>,
        rejected: impl Into<String>,
    ) -> Self {
        let (chosen, rejected) = (ChatMessage::assistant(chosen), ChatMessage::assistant(rejected));
        Self::of_messages(vec![ChatMessage::user(question)], chosen, rejected)
    }

    /// Preference between two messages of the assistant.
    pub fn of_messages(
        prompt: Vec<ChatMessage>,
        chosen: ChatMessage,
        rejected: ChatMessage,
    ) -> Self {
        Self {
            prompt,
            chosen: chosen.content,
            rejected: rejected.content,
            chosen_fields: chosen.fields,
            rejected_fields: rejected.fields,
        }
    }

    /// Preferred completion as a message of the assistant, with all its fields.
    pub fn chosen_message(&self) -> ChatMessage {
        let fields = self.chosen_fields.clone();
        ChatMessage { fields, ..ChatMessage::assistant(&self.chosen) }
    }

    /// Other completion as a message of the assistant, with all its fields.
    pub fn rejected_message(&self) -> ChatMessage {
        let fields = self.rejected_fields.clone();
        ChatMessage { fields, ..ChatMessage::assistant(&self.rejected) }
    }
}

impl PromptRow for Preference {
    const KIND: RowKind = RowKind::Preference;

    fn prompt(&self) -> &[ChatMessage] {
        &self.prompt
    }
}

impl FilteredPreferences {
    /// Appends `preference` if it is usable, otherwise counts the reason.
    pub fn push(&mut self, preference: Preference) {
        let completions = [preference.chosen_message(), preference.rejected_message()];
        let [chosen, rejected] = &completions;
        let is_identical =
            chosen.content.trim() == rejected.content.trim() && chosen.fields == rejected.fields;
        match () {
            () if completions.iter().any(is_empty) => self.filter_counts.n_empty += 1,
            () if is_identical => self.filter_counts.n_identical += 1,
            () => self.usable.push(preference),
        }
    }
}

impl FilterCounts {
    /// Number of pairs filtered out.
    pub fn total(&self) -> usize {
        self.n_identical + self.n_empty + self.n_prompt_mismatch + self.n_unlabeled
    }
}

impl fmt::Display for FilterCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { n_identical, n_empty, n_prompt_mismatch, n_unlabeled } = self;
        write!(
            f,
            "{n_identical} with identical completions, {n_empty} with an empty completion, \
             {n_prompt_mismatch} with different prompts, {n_unlabeled} unlabeled"
        )
    }
}
