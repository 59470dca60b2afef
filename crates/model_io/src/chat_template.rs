//! The chat template, which renders a conversation as the text format that a chat model was trained
//! on.
//!
//! It is a Jinja program stored with the tokenizer. We run it exactly as `transformers` does,
//! because one newline more or less is a different prompt.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail};
use minijinja::Environment;
use minijinja::value::Value;
use serde::{Deserialize, Serialize};
use tensor_core::json_file;

use crate::{Tokenizer, jinja};

/// Message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Variables such as `bos_token` that the template may use, with the text of each token.
    special_tokens: Vec<(&'static str, String)>,
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
    /// Chat template of a model folder: `chat_template.jinja`, or `chat_template` in
    /// `tokenizer_config.json`. `None` if there is neither: the model is not a chat model.
    ///
    /// # Errors
    /// When the template is not valid Jinja, or the file is damaged; the message names file and
    /// line.
    pub fn from_folder(folder: &Path, tokenizer: &Tokenizer) -> Result<Option<Self>> {
        let jinja = folder.join("chat_template.jinja");
        if jinja.exists() {
            let source = std::fs::read_to_string(&jinja);
            let source = source.with_context(|| format!("reading {}", jinja.display()))?;
            return Self::with_name(jinja.display().to_string(), source, tokenizer).map(Some);
        }
        let config = folder.join("tokenizer_config.json");
        let source = default_template(&json_file::read_or_null(&config)?["chat_template"])
            .with_context(|| config.display().to_string())?;
        source
            .map(|source| Self::with_name(config.display().to_string(), source, tokenizer))
            .transpose()
    }

    /// Compiles a template (such as a GGUF file's `tokenizer.chat_template`). It may use the
    /// special tokens of `tokenizer` as `bos_token`, `eos_token`, `unk_token` and `pad_token`, each
    /// undefined if the model lacks it.
    ///
    /// # Errors
    /// When `source` is not valid Jinja; the message names the line.
    pub fn new(source: &str, tokenizer: &Tokenizer) -> Result<Self> {
        Self::with_name("the chat template".into(), source.to_string(), tokenizer)
    }

    /// The `ChatML` template, for base models before fine-tuning.
    ///
    /// # Errors
    /// Never in practice: the template is fixed.
    pub fn chatml() -> Result<Self> {
        let environment = jinja::environment("ChatML", CHATML)?;
        Ok(Self {
            environment,
            name: "ChatML".into(),
            source: CHATML.into(),
            special_tokens: Vec::new(),
        })
    }

    fn with_name(name: String, source: String, tokenizer: &Tokenizer) -> Result<Self> {
        let environment = jinja::environment(&name, &source)?;
        let by_name = tokenizer.special_tokens().by_name().into_iter();
        let special_tokens =
            by_name.filter_map(|(name, id)| Some((name, tokenizer.id_to_token(id?)?))).collect();
        Ok(Self { environment, name, source, special_tokens })
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
        let messages = messages.iter().map(|message| {
            Value::from_pairs([("role", &message.role), ("content", &message.content)])
        });
        let messages: Vec<Value> = messages.collect();
        let variables = [
            ("messages", Value::from(messages)),
            ("add_generation_prompt", Value::from(prompt == AddGenerationPrompt::Yes)),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
        ];
        let special = self.special_tokens.iter().map(|(name, token)| (*name, Value::from(token)));
        let variables: BTreeMap<&str, Value> = variables.into_iter().chain(special).collect();
        let template = self.environment.get_template(&self.name).map_err(jinja::error_with_line)?;
        let marked = template.render(variables).map_err(jinja::error_with_line)?;
        Ok(jinja::extract_generation_spans(&marked))
    }

    /// Jinja source of the template.
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// Source of the default template: `chat_template` is a string, or a list of named templates, of
/// which `default` is for chats without tools.
fn default_template(json: &serde_json::Value) -> Result<Option<String>> {
    use serde_json::Value::{Array, Null, String};
    match json {
        Null => Ok(None),
        String(source) => Ok(Some(source.clone())),
        Array(list) => match list.iter().find(|entry| entry["name"] == "default") {
            Some(entry) => default_template(&entry["template"]),
            None => Ok(None),
        },
        _ => bail!("`chat_template` must be a string or a list of named templates"),
    }
}
