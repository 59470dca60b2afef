//! Training example: a conversation, and the completion to learn.

use model_io::ChatMessage;

/// Prompt and completion; only the completion is in the loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Messages of the conversation, the last one by the user.
    pub prompt: Vec<ChatMessage>,
    /// Expected message of the assistant.
    pub completion: String,
}

impl Example {
    /// Example of a single user message and its completion.
    pub fn new(prompt: impl Into<String>, completion: impl Into<String>) -> Self {
        Self { prompt: vec![ChatMessage::user(prompt)], completion: completion.into() }
    }
}
