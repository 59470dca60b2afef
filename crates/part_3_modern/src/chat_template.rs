//! The chat template: how a conversation becomes the one text that a chat model was trained on.
//!
//! It is a small program in the Jinja language that travels with the tokenizer; we run it as `transformers` does, since
//! one newline more or less is a different prompt.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail};
use minijinja::Environment;
use minijinja::value::Value;
use serde::{Deserialize, Serialize};
use tiny_gpt::json_file;

use crate::{Tokenizer, jinja};

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who speaks: `system`, `user`, `assistant`, or what else the template knows.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl ChatMessage {
    /// What `role` says.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }

    /// How the assistant is to behave.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new("system", content)
    }

    /// What the user says.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new("user", content)
    }

    /// What the model says.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new("assistant", content)
    }
}

/// What follows the last message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddGenerationPrompt {
    /// The beginning of the assistant's turn, for it to go on.
    Yes,
    /// Nothing: the conversation is whole, as in training.
    No,
}

/// A model's chat template, compiled.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    name: String,
    source: String,
    /// The tokens that it may name: `bos_token` and the like, and how each is spelled.
    special_tokens: Vec<(&'static str, String)>,
}

/// `<|im_start|>role`, a newline, the text, `<|im_end|>`: OpenAI's markup, which most small models use.
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
    /// The template of a model folder, if there is one (else it is no chat model): `chat_template.jinja`, or
    /// `chat_template` in `tokenizer_config.json`.
    ///
    /// # Errors
    /// When it is no Jinja, or the file is damaged; the message names the file, and the line.
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

    /// The template with this source (a GGUF file's `tokenizer.chat_template`), which may name the special tokens of
    /// `tokenizer`: `bos_token`, `eos_token`, `unk_token` and `pad_token`, each undefined where the model lacks it.
    ///
    /// # Errors
    /// When it is no Jinja; the message names the line.
    pub fn new(source: &str, tokenizer: &Tokenizer) -> Result<Self> {
        Self::with_name("the chat template".into(), source.to_string(), tokenizer)
    }

    /// `ChatML`, for models that are yet to learn a template.
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
        let tokens = tokenizer.special_tokens().by_name().into_iter();
        let tokens =
            tokens.filter_map(|(name, id)| Some((name, tokenizer.id_to_token(id?)?))).collect();
        Ok(Self { environment, name, source, special_tokens: tokens })
    }

    /// The text of `messages`: to look at. A model reads the ids of [`ChatTemplate::encode`], in which a message
    /// that spells a special token is not mistaken for one.
    ///
    /// # Errors
    /// When the template refuses them, with its own words, or fails; the message names the line.
    pub fn render(&self, messages: &[ChatMessage], prompt: AddGenerationPrompt) -> Result<String> {
        Ok(self.render_with_spans(messages, prompt)?.0)
    }

    /// The text of `messages`, and which bytes of it the assistant says: what `{% generation %}` encloses in the
    /// template. Templates without that tag give no spans.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_with_spans(
        &self,
        messages: &[ChatMessage],
        prompt: AddGenerationPrompt,
    ) -> Result<(String, Vec<Range<usize>>)> {
        let clean = |message: &ChatMessage| {
            let [role, content] = [&message.role, &message.content].map(|s| jinja::strip_marks(s));
            ChatMessage { role, content }
        };
        self.render_sanitized(&messages.iter().map(clean).collect::<Vec<_>>(), prompt)
    }

    /// [`ChatTemplate::render_with_spans`] of messages in which there is nothing but what the template shall see.
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
        let tokens = self.special_tokens.iter().map(|(name, token)| (*name, Value::from(token)));
        let variables: BTreeMap<&str, Value> = variables.into_iter().chain(tokens).collect();
        let template = self.environment.get_template(&self.name).map_err(jinja::error_with_line)?;
        let marked = template.render(variables).map_err(jinja::error_with_line)?;
        Ok(jinja::extract_generation_spans(&marked))
    }

    /// The template's source.
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// A `chat_template` is a string, or a list of named ones of which `default` is for plain conversations.
fn default_template(json: &serde_json::Value) -> Result<Option<String>> {
    use serde_json::Value::{Array, Null, String};
    match json {
        Null => Ok(None),
        String(source) => Ok(Some(source.clone())),
        Array(list) => match list.iter().find(|one| one["name"] == "default") {
            Some(one) => default_template(&one["template"]),
            None => Ok(None),
        },
        _ => bail!("`chat_template` is neither a text nor a list of named ones"),
    }
}
