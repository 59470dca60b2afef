//! The chat template, which renders a conversation as the text format that a chat model was trained
//! on.
//!
//! It is a Jinja program stored with the tokenizer. We run it exactly as `transformers` does,
//! because one newline more or less is a different prompt.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use minijinja::value::{Serde, Value};
use minijinja::{Environment, context};

use crate::untrusted_call::UntrustedCode;
use crate::{ChatArguments, ChatMessage, ChatVariables, Tokenizer, jinja};

/// Choice of what follows the last message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddGenerationPrompt {
    /// Header of an assistant turn, for the model to complete.
    Yes,
    /// Nothing: the conversation is complete, as in training.
    No,
}

/// Chat template of a model.
#[derive(Debug)]
pub struct ChatTemplate {
    /// Compiled template, or why it cannot be used: what needs no template still works.
    environment: Result<Arc<Environment<'static>>, String>,
    name: String,
    source: String,
    arguments: ChatArguments,
    origin: Origin,
}

/// Where a template comes from.
#[derive(Debug)]
enum Origin {
    /// A model's files, from anywhere.
    ModelFiles(UntrustedCode),
    /// This program.
    BuiltIn,
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
        let template = Self::from_model_files("the chat template".into(), source, tokenizer);
        template.environment.as_ref().map_err(|error| anyhow!("{error}"))?;
        Ok(template)
    }

    /// Like [`ChatTemplate::new`], for a template of this program: it is rendered without a thread
    /// and a time limit, which costs 30 µs less.
    ///
    /// # Errors
    /// When `source` is not valid Jinja; the message names the line.
    pub fn built_in(source: &str, tokenizer: &Tokenizer) -> Result<Self> {
        Ok(Self { origin: Origin::BuiltIn, ..Self::new(source, tokenizer)? })
    }

    /// Template of a model's files, which errors call `name`. One that is not valid Jinja fails
    /// when it is rendered.
    pub(crate) fn from_model_files(name: String, source: &str, tokenizer: &Tokenizer) -> Self {
        let named = tokenizer.special_tokens().by_name().into_iter();
        let special_tokens =
            named.filter_map(|(name, id)| Some((name, tokenizer.id_to_token(id?)?)));
        let special_tokens: Vec<(&str, String)> = special_tokens.collect();
        let (file, text) = (name.clone(), source.to_string());
        let code = UntrustedCode::default();
        let environment = code.run(&name, move || {
            let mut environment = jinja::environment(&file, &text)?;
            for (name, token) in special_tokens {
                environment.add_global(name, token);
            }
            Ok(environment)
        });
        Self {
            environment: environment.map(Arc::new).map_err(|error| format!("{error:#}")),
            name,
            source: source.to_string(),
            arguments: ChatArguments::default(),
            origin: Origin::ModelFiles(code),
        }
    }

    /// The `ChatML` template, for base models before fine-tuning.
    ///
    /// # Errors
    /// Never in practice: the template is fixed.
    pub fn chatml() -> Result<Self> {
        let name = "ChatML".to_string();
        Ok(Self {
            environment: Ok(Arc::new(jinja::environment(&name, CHATML)?)),
            name,
            source: CHATML.to_string(),
            arguments: ChatArguments::default(),
            origin: Origin::BuiltIn,
        })
    }

    /// Template that is rendered with these variables.
    pub fn with_variables(mut self, variables: &ChatVariables) -> Self {
        self.arguments = variables.arguments.clone();
        if let (Ok(environment), Some(date)) = (&self.environment, variables.date) {
            let mut environment = Environment::clone(environment);
            jinja::set_date(&mut environment, date);
            self.environment = Ok(Arc::new(environment));
        }
        self
    }

    /// Rendered text of `messages`, for display. Arguments that they have come before those of
    /// [`ChatTemplate::with_variables`]. A model gets the ids of [`ChatTemplate::encode`],
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
        let sanitized =
            messages.iter().map(|message| message.map_texts(|text| Ok(jinja::strip_marks(text))));
        self.render_sanitized(&sanitized.collect::<Result<Vec<_>>>()?, prompt)
    }

    /// [`ChatTemplate::render_with_spans`] for messages that are free of the internal span marks.
    pub(crate) fn render_sanitized(
        &self,
        messages: &[ChatMessage],
        prompt: AddGenerationPrompt,
    ) -> Result<(String, Vec<Range<usize>>)> {
        let environment = self.environment.as_ref().map_err(|error| anyhow!("{error}"))?.clone();
        let mut arguments = self.arguments.0.clone();
        arguments.extend(ChatMessage::template_arguments_of(messages));
        let variables = context! {
            messages => Serde(messages),
            add_generation_prompt => prompt == AddGenerationPrompt::Yes,
            ..context! { ..Value::from(Serde(&arguments)), ..context! {
                tools => (),
                documents => (),
            } }
        };
        let name = self.name.clone();
        let render = move || jinja::render(&environment, &name, variables);
        let marked = match &self.origin {
            Origin::BuiltIn => render()?,
            Origin::ModelFiles(code) => code.run(&self.name, render)?,
        };
        Ok(jinja::extract_generation_spans(&marked))
    }

    /// Jinja source of the template.
    pub fn source(&self) -> &str {
        &self.source
    }
}
