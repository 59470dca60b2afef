//! 7.1 A preference: of two responses to the same conversation, the one that somebody liked better.

use std::fmt;

use modern::ChatMessage;

/// A conversation and two responses to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preference {
    /// What was said, the last of it by the user.
    pub prompt: Vec<ChatMessage>,
    /// The better response.
    pub chosen: String,
    /// The worse one.
    pub rejected: String,
}

/// Preferences, and how many could not be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilteredPreferences {
    /// Those that can.
    pub usable: Vec<Preference>,
    /// Why the others cannot.
    pub filter_counts: FilterCounts,
}

/// Pairs that teach nothing, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FilterCounts {
    /// Both responses are the same.
    pub n_identical: usize,
    /// A response is empty.
    pub n_empty: usize,
    /// The two answer different conversations.
    pub n_prompt_mismatch: usize,
    /// Whoever collected it did not decide.
    pub n_unlabeled: usize,
}

impl Preference {
    /// A single question and two answers.
    pub fn new(
        question: impl Into<String>,
        chosen: impl Into<String>,
        rejected: impl Into<String>,
    ) -> Self {
        let (chosen, rejected) = (chosen.into(), rejected.into());
        Self { prompt: vec![ChatMessage::user(question)], chosen, rejected }
    }
}

impl FilteredPreferences {
    /// Takes in a conversation with two responses, or counts why not.
    pub fn push(&mut self, preference: Preference) {
        let Preference { chosen, rejected, .. } = &preference;
        match () {
            () if chosen.is_empty() || rejected.is_empty() => self.filter_counts.n_empty += 1,
            () if chosen == rejected => self.filter_counts.n_identical += 1,
            () => self.usable.push(preference),
        }
    }
}

impl FilterCounts {
    /// How many.
    pub fn total(&self) -> usize {
        self.n_identical + self.n_empty + self.n_prompt_mismatch + self.n_unlabeled
    }
}

impl fmt::Display for FilterCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            n_identical: identical,
            n_empty: empty,
            n_prompt_mismatch: unshared,
            n_unlabeled: undecided,
        } = self;
        write!(
            f,
            "{identical} of identical responses, {empty} with an empty one, {unshared} that answer different conversations, \
             {undecided} undecided"
        )
    }
}
