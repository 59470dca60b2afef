//! The chat template, which renders a conversation as the text format that a chat model was trained
//! on.
//!
//! It is a Jinja program stored with the tokenizer. We run it exactly as `transformers` does,
//! because one newline more or less is a different prompt.

use std::ops::Range;

use anyhow::Result;
use minijinja::value::Serde;
use minijinja::{Environment, context};
use serde::{Deserialize, Serialize};

use crate::{Tokenizer, jinja};

/// Message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Role of the sender: `system`, `user`, `assistant`, or another one that the template
    /// supports.
    pub role: String,
    /// Text of the message.
    pub content: String,
}

impl ChatMessage {
    /// Message with this role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }

    /// System message: instructions for the assistant.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new("system", content)
    }

    /// User message.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new("user", content)
    }

    /// Assistant message.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new("assistant", content)
    }
}

/// Choice of what follows the last message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddGenerationPrompt {
    /// Header of an assistant turn, for the model to complete.
    Yes,
    /// Nothing: the conversation is complete, as in training.
    No,
}

/// Compiled chat template of a model.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    name: String,
    source: String,
}

/// ChatML source: `<|im_start|>role`, a newline, the text, `<|im_end|>`. OpenAI's format, which
/// most small models use.
const CHATML: &str = r"
{%- for message in messages -%}
    {{ '<|im_start|>' + message['role'] + '\n' }}
    {%- if message['role'] == 'assistant' -%}
        {%- generation -%}{{ message['content'] + '<|im_end|>' }}{%- endgeneration -%}
    {%- else -%}
        {{ message['content'] + '<|im_end|>' }}
    {%- endif -%}
    {{ '\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<|im_start|>assistant\n' }}
{%- endif -%}
";

impl ChatTemplate {
    /// Compiles a template (such as a GGUF file's `tokenizer.chat_template`). It may use the
    /// special tokens of `tokenizer` as `bos_token`, `eos_token`, `unk_token` and `pad_token`, each
    /// undefined if the model lacks it.
    ///
    /// # Errors
    /// When `source` is not valid Jinja; the message names the line.
    pub fn new(source: &str, tokenizer: &Tokenizer) -> Result<Self> {
        Self::with_name("the chat template".into(), source, tokenizer)
    }

    /// Like [`ChatTemplate::new`]; errors call the template `name`.
    ///
    /// # Errors
    /// When `source` is not valid Jinja; the message names the line.
    pub(crate) fn with_name(name: String, source: &str, tokenizer: &Tokenizer) -> Result<Self> {
        let mut template = Self::compile(name, source)?;
        for (name, id) in tokenizer.special_tokens().by_name() {
            if let Some(token) = id.and_then(|id| tokenizer.id_to_token(id)) {
                template.environment.add_global(name, token);
            }
        }
        Ok(template)
    }

    /// The `ChatML` template, for base models before fine-tuning.
    ///
    /// # Errors
    /// Never in practice: the template is fixed.
    pub fn chatml() -> Result<Self> {
        Self::compile("ChatML".into(), CHATML)
    }

    fn compile(name: String, source: &str) -> Result<Self> {
        let environment = jinja::environment(&name, source)?;
        Ok(Self { environment, name, source: source.to_string() })
    }

    /// Rendered text of `messages`, for display. A model gets the ids of [`ChatTemplate::encode`],
    /// in which the text of a message never becomes a special token.
    ///
    /// # Errors
    /// When the template raises an exception (its own message is kept) or fails; names the line.
    pub fn render(&self, messages: &[ChatMessage], prompt: AddGenerationPrompt) -> Result<String> {
        Ok(self.render_with_spans(messages, prompt)?.0)
    }

    /// Rendered text of `messages`, and the byte ranges written by the assistant: those enclosed in
    /// `{% generation %}` in the template. Templates without that tag return an empty list.
    ///
    /// # Errors
    /// Those of [`ChatTemplate::render`].
    pub fn render_with_spans(
        &self,
        messages: &[ChatMessage],
        prompt: AddGenerationPrompt,
    ) -> Result<(String, Vec<Range<usize>>)> {
        let sanitize = |message: &ChatMessage| {
            let [role, content] = [&message.role, &message.content].map(|s| jinja::strip_marks(s));
            ChatMessage { role, content }
        };
        self.render_sanitized(&messages.iter().map(sanitize).collect::<Vec<_>>(), prompt)
    }

    /// [`ChatTemplate::render_with_spans`] for messages that are free of the internal span marks.
    pub(crate) fn render_sanitized(
        &self,
        messages: &[ChatMessage],
        prompt: AddGenerationPrompt,
    ) -> Result<(String, Vec<Range<usize>>)> {
        let variables = context! {
            messages => Serde(messages),
            add_generation_prompt => prompt == AddGenerationPrompt::Yes,
            tools => (),
            documents => (),
        };
        let template = self.environment.get_template(&self.name).map_err(jinja::error_with_line)?;
        let marked = template.render(variables).map_err(jinja::error_with_line)?;
        Ok(jinja::extract_generation_spans(&marked))
    }

    /// Jinja source of the template.
    pub fn source(&self) -> &str {
        &self.source
    }
}
