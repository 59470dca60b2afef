//! 6.1 Chat template: the text format of a conversation, which marks the role of each message.
//!
//! ```text
//! instruction   ### Instruction:⏎{user}⏎⏎### Response:⏎{assistant}</s>
//! dialogue      User: {user}⏎Assistant: {assistant}</s>
//! plain         {user}⏎{assistant}</s>
//! joined        {user}{assistant}</s>, other messages on lines of their own
//! chatml        <|im_start|>user⏎{user}<|im_end|>⏎<|im_start|>assistant⏎{assistant}<|im_end|>
//! own           the chat template in the model's files
//! ```
//!
//! The first three mark a message with plain words, so any model can learn them; `</s>` stands for
//! the model's EOS token. Each is written in Jinja, the language of chat templates, so the folder
//! of a fine-tuned model carries its template, for transformers too. Special tokens come from the
//! template only: `</s>` typed by a user is four characters of text. (Upstream wrote the characters
//! itself, and then deleted every `</s>` from user messages.)

use anyhow::{Context, Result, ensure};
use model_io::{AddSpecialTokens, ChatTemplate, ParseSpecial, Tokenizer};
use serde::Serialize;

/// Chat template by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ChatFormat {
    /// `### Instruction:` and `### Response:`
    Instruction,
    /// `User:` and `Assistant:`
    Dialogue,
    /// Prompt, line break, completion
    Plain,
    /// Messages joined by line breaks, then the completion, without anything between
    Joined,
    /// `<|im_start|>` and `<|im_end|>`, which must be tokens of the model
    Chatml,
    /// Chat template in the model's own files
    Own,
}

/// Jinja template with the placeholders USER, ASSISTANT and BETWEEN.
const MESSAGES_TEMPLATE: &str = r"
{%- for message in messages -%}
    {%- if message['role'] == 'user' -%}
        {{ 'USER' + message['content'] + 'BETWEEN' }}
    {%- elif message['role'] == 'assistant' -%}
        {{ 'ASSISTANT' }}
        {%- generation -%}{{ message['content'] + eos_token }}{%- endgeneration -%}
        {{ 'BETWEEN' }}
    {%- elif message['role'] == 'system' -%}
        {{ message['content'] + 'BETWEEN' }}
    {%- else -%}
        {{ raise_exception('this template knows no role ' + message['role']) }}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ 'ASSISTANT' }}
{%- endif -%}
";

/// Jinja template of [`ChatFormat::Joined`].
const JOINED_TEMPLATE: &str = r"
{%- for message in messages -%}
    {%- if message['role'] == 'assistant' -%}
        {%- generation -%}{{ message['content'] + eos_token }}{%- endgeneration -%}
    {%- elif message['role'] == 'user' or message['role'] == 'system' -%}
        {{ ('' if loop.first else '\n') + message['content'] }}
    {%- else -%}
        {{ raise_exception('this template knows no role ' + message['role']) }}
    {%- endif -%}
{%- endfor -%}
";

/// Chat template of this format for the model of `tokenizer`, whose own template is `own`.
///
/// # Errors
/// When the model lacks a token that the format needs.
pub fn chat_template(
    format: ChatFormat,
    tokenizer: &Tokenizer,
    own: Option<ChatTemplate>,
) -> Result<ChatTemplate> {
    let [user, assistant, between] = match format {
        ChatFormat::Instruction => [r"### Instruction:\n", r"### Response:\n", r"\n\n"],
        ChatFormat::Dialogue => ["User: ", "Assistant: ", r"\n"],
        ChatFormat::Plain => ["", "", r"\n"],
        ChatFormat::Joined => ["", "", ""],
        ChatFormat::Own => {
            return own.context(
                "the model has no chat template of its own: choose another one with --template",
            );
        }
        ChatFormat::Chatml => {
            for token in ["<|im_start|>", "<|im_end|>"] {
                ensure!(
                    tokenizer.token_to_id(token).is_some(),
                    "--template chatml: {token} is not a token of this model, \
                     so any user could write it"
                );
            }
            return ChatTemplate::chatml();
        }
    };
    tokenizer.eos().context("the model has no EOS token, so it could not learn where to stop")?;
    // A model whose documents begin with BOS was never trained without it.
    let adds_bos = tokenizer.encode("", AddSpecialTokens::Yes, ParseSpecial::No)?.first()
        == tokenizer.bos().as_ref();
    let bos = if adds_bos && tokenizer.bos().is_some() { "{{ bos_token }}" } else { "" };
    let messages = match format {
        ChatFormat::Joined => JOINED_TEMPLATE,
        _ => MESSAGES_TEMPLATE,
    };
    let messages = messages.replace("'USER'", &format!("'{user}'"));
    let messages = messages.replace("'ASSISTANT'", &format!("'{assistant}'"));
    ChatTemplate::built_in(&(bos.to_string() + &messages.replace("BETWEEN", between)), tokenizer)
}
