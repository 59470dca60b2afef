//! Training example: a conversation, and the completion to learn; and questions whose answer can be
//! checked.

use anyhow::{Context, Result};
use model_io::ChatMessage;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::columns;
use crate::prompt_row::{PromptKey, PromptRow, RowKind};

/// Prompt and completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Messages of the conversation, the last one by the user or a tool; none before a text for
    /// continued pretraining.
    pub prompt: Vec<ChatMessage>,
    /// Expected message of the assistant; empty if it is not known.
    pub completion: String,
    /// Other fields of that message for the chat template, such as `reasoning_content` and
    /// `tool_calls`.
    pub completion_fields: Map<String, Value>,
    /// Turns in the loss.
    pub assistant_turns: AssistantTurns,
    /// Unit tests in Python, each a few statements, of the code that the completion is to hold.
    pub tests: Vec<String>,
}

/// Turns of the assistant that are in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AssistantTurns {
    /// Every turn of a conversation (TRL's assistant_only_loss); of a row with a prompt, the
    /// completion
    #[default]
    All,
    /// The last turn, the completion
    Last,
}

impl Example {
    /// Example of a single user message and its completion.
    pub fn new(prompt: impl Into<String>, completion: impl Into<String>) -> Self {
        Self::of_messages(vec![ChatMessage::user(prompt)], ChatMessage::assistant(completion))
    }

    /// Conversation that ends with `completion`, with all turns of the assistant in the loss.
    pub(crate) fn of_messages(prompt: Vec<ChatMessage>, completion: ChatMessage) -> Self {
        Self {
            prompt,
            completion: completion.content,
            completion_fields: completion.fields,
            assistant_turns: AssistantTurns::All,
            tests: Vec::new(),
        }
    }

    /// Completion as a message of the assistant, with all its fields.
    pub fn completion_message(&self) -> ChatMessage {
        let fields = self.completion_fields.clone();
        ChatMessage { fields, ..ChatMessage::assistant(&self.completion) }
    }

    /// Prompt without a known completion.
    pub(crate) fn of_prompt(prompt: Vec<ChatMessage>) -> Self {
        Self::of_messages(prompt, ChatMessage::assistant(""))
    }
}

impl PromptRow for Example {
    const KIND: RowKind = RowKind::Example;

    fn prompt(&self) -> &[ChatMessage] {
        &self.prompt
    }

    fn question(&self) -> PromptKey {
        (self.prompt.clone(), self.prompt.is_empty().then(|| self.completion.clone()))
    }
}

/// Example of a row of questions: the `question` (or `prompt`), and the `answer`, a text or a
/// number, as its completion. An answer is compared, not learned, so its white space is trimmed.
///
/// # Errors
/// When a column is missing, empty, or of another type.
pub fn parse_question_row(row: &Value) -> Result<Example> {
    let question = ["question", "prompt"].into_iter().find(|name| columns::has_value(row, name));
    let question = question.context("there is no column `question` or `prompt`")?;
    let question = columns::non_empty_text(row, question)?;
    let mut example = match row.get("answer") {
        Some(Value::Number(number)) => Example::new(question, number.to_string()),
        _ => Example::new(question, columns::non_empty_text(row, "answer")?.trim()),
    };
    columns::set_template_arguments(row, &mut example.prompt)?;
    Ok(example)
}
