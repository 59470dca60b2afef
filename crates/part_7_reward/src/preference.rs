//! 7.1 A preference: of two responses to the same conversation, the one that somebody liked better.

use std::fmt;

use modern::Message;

/// A conversation and two responses to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preference {
    /// What was said, the last of it by the user.
    pub prompt: Vec<Message>,
    /// The better response.
    pub chosen: String,
    /// The worse one.
    pub rejected: String,
}

/// Preferences, and how many could not be used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preferences {
    /// Those that can.
    pub usable: Vec<Preference>,
    /// Why the others cannot.
    pub dropped: Dropped,
}

/// Pairs that teach nothing, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Both responses are the same.
    pub identical: usize,
    /// A response is empty.
    pub empty: usize,
    /// The two answer different conversations.
    pub unshared: usize,
    /// Whoever collected it did not decide.
    pub undecided: usize,
}

impl Preference {
    /// A single question and two answers.
    pub fn new(
        question: impl Into<String>,
        chosen: impl Into<String>,
        rejected: impl Into<String>,
    ) -> Self {
        let (chosen, rejected) = (chosen.into(), rejected.into());
        Self { prompt: vec![Message::user(question)], chosen, rejected }
    }
}

impl Preferences {
    /// Takes in a conversation with two responses, or counts why not.
    pub fn push(&mut self, preference: Preference) {
        let Preference { chosen, rejected, .. } = &preference;
        match () {
            () if chosen.is_empty() || rejected.is_empty() => self.dropped.empty += 1,
            () if chosen == rejected => self.dropped.identical += 1,
            () => self.usable.push(preference),
        }
    }
}

impl Dropped {
    /// How many.
    pub fn count(&self) -> usize {
        self.identical + self.empty + self.unshared + self.undecided
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { identical, empty, unshared, undecided } = self;
        write!(
            f,
            "{identical} of identical responses, {empty} with an empty one, {unshared} that answer different conversations, \
             {undecided} undecided"
        )
    }
}
