//! What fine-tuning learns from: what was said, and what is to be answered.

use modern::ChatMessage;

/// A conversation up to a reply, and the reply, which alone is learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// What was said, the last of it by the user.
    pub prompt: Vec<ChatMessage>,
    /// What the assistant is to answer.
    pub completion: String,
}

impl Example {
    /// A single question and its answer.
    pub fn new(question: impl Into<String>, response: impl Into<String>) -> Self {
        Self { prompt: vec![ChatMessage::user(question)], completion: response.into() }
    }
}
