//! 3.4 The chat template: how a conversation becomes the one text that a chat model was trained on.
//!
//! It is a small program in the Jinja language that travels with the tokenizer; we run it as `transformers` does, since
//! one newline more or less is a different prompt.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail};
use minijinja::value::Value;
use minijinja::{Environment, context};
use serde::{Deserialize, Serialize};

use crate::jinja;
use crate::tokenizer_config::read_json;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, or what else the template knows.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
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
pub enum Prompt {
    /// The beginning of the assistant's turn, for it to go on.
    Generation,
    /// Nothing: the conversation is whole, as in training.
    None,
}

/// A model's chat template, compiled.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    name: String,
    source: String,
    bos: Option<String>,
    eos: Option<String>,
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
    /// The template of a model folder: `chat_template.jinja`, or `chat_template` in `tokenizer_config.json`, which also
    /// names the tokens that a template may use.
    ///
    /// # Errors
    /// When there is none (it is no chat model), or it is no Jinja; the message names the file and the line.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer_config.json");
        let config = read_json(&path)?;
        let token = |name: &str| {
            let token = &config[name];
            token.as_str().or_else(|| token["content"].as_str()).map(str::to_string)
        };
        let jinja = folder.join("chat_template.jinja");
        let (name, source) = if jinja.exists() {
            let text = std::fs::read_to_string(&jinja);
            (jinja.display(), text.with_context(|| format!("reading {}", jinja.display()))?)
        } else {
            match default_template(&config["chat_template"]) {
                Some(source) => (path.display(), source.to_string()),
                None => bail!(
                    "{} has no chat template, so it is no chat model; ChatTemplate::chatml() is a common one",
                    folder.display()
                ),
            }
        };
        Self::named(name.to_string(), source, token("bos_token"), token("eos_token"))
    }

    /// The template with this source (a GGUF file's `tokenizer.chat_template`), in which `bos_token` and `eos_token`
    /// are what they are.
    ///
    /// # Errors
    /// When it is no Jinja; the message names the line.
    pub fn new(source: &str, bos: Option<String>, eos: Option<String>) -> Result<Self> {
        Self::named("the chat template".into(), source.to_string(), bos, eos)
    }

    /// `ChatML`, for models that are yet to learn a template.
    ///
    /// # Errors
    /// Never in practice: the template is fixed.
    pub fn chatml() -> Result<Self> {
        Self::named("ChatML".into(), CHATML.into(), None, Some("<|im_end|>".into()))
    }

    fn named(
        name: String,
        source: String,
        bos: Option<String>,
        eos: Option<String>,
    ) -> Result<Self> {
        let environment = jinja::environment(&name, &source)?;
        Ok(Self { environment, name, source, bos, eos })
    }

    /// The text of `messages`.
    ///
    /// # Errors
    /// When the template refuses them, with its own words, or fails; the message names the line.
    pub fn render(&self, messages: &[Message], prompt: Prompt) -> Result<String> {
        Ok(self.render_with_spans(messages, prompt)?.0)
    }

    /// The text of `messages`, and which bytes of it the assistant says: what `{% generation %}` encloses in the
    /// template. Templates without that tag give no spans.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_with_spans(
        &self,
        messages: &[Message],
        prompt: Prompt,
    ) -> Result<(String, Vec<Range<usize>>)> {
        let messages = messages.iter().map(|message| {
            Value::from_pairs([
                ("role", jinja::without_marks(&message.role)),
                ("content", jinja::without_marks(&message.content)),
            ])
        });
        // A token that the model lacks stays undefined, which prints as nothing.
        let token = |token: &Option<String>| token.as_ref().map_or(Value::UNDEFINED, Value::from);
        let variables = context! {
            messages => messages.collect::<Vec<_>>(),
            add_generation_prompt => prompt == Prompt::Generation,
            bos_token => token(&self.bos),
            eos_token => token(&self.eos),
            tools => (),
            documents => (),
        };
        let template = self.environment.get_template(&self.name).map_err(jinja::explain)?;
        let marked = template.render(variables).map_err(jinja::explain)?;
        Ok(jinja::take_marks(&marked))
    }

    /// The template's source.
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// A `chat_template` is a string, or a list of named ones of which `default` is for plain conversations.
fn default_template(json: &serde_json::Value) -> Option<&str> {
    let named = json.as_array().and_then(|list| list.iter().find(|one| one["name"] == "default"));
    named.map_or(json, |one| &one["template"]).as_str()
}
