//! 6.1 The template: how a conversation is written down, so that the model can tell who speaks.
//!
//! ```text
//! instruction   ### Instruction:⏎{user}⏎⏎### Response:⏎{assistant}</s>
//! dialogue      User: {user}⏎Assistant: {assistant}</s>
//! plain         {user}⏎{assistant}</s>
//! chatml        <|im_start|>user⏎{user}<|im_end|>⏎<|im_start|>assistant⏎{assistant}<|im_end|>
//! own           what the model's files say
//! ```
//!
//! The first three mark a turn with plain words, so any model can learn them; `</s>` stands for the token that ends a text of
//! the model at hand. Each is written in Jinja, the language of chat templates, so that a fine-tuned model's folder says how it is
//! spoken to, to transformers too. Special tokens come from the template alone: a user who spells `</s>` has typed four
//! characters. (Upstream wrote the characters itself, and then deleted every `</s>` from what users said.)

use anyhow::{Context, Result, ensure};
use modern::{AddSpecialTokens, ChatTemplate, ParseSpecial, Tokenizer};
use serde::Serialize;

/// A format by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ChatFormat {
    /// `### Instruction:` and `### Response:`
    Instruction,
    /// `User:` and `Assistant:`
    Dialogue,
    /// The question, a line break, the answer
    Plain,
    /// `<|im_start|>` and `<|im_end|>`, which must be tokens of the model
    Chatml,
    /// The chat template of the model's own files
    Own,
}

/// Turns that USER, ASSISTANT and BETWEEN mark.
const TURNS: &str = r"
{%- for message in messages -%}
    {%- if message['role'] == 'user' -%}
        {{ 'USER' + (message['content'] | trim) + 'BETWEEN' }}
    {%- elif message['role'] == 'assistant' -%}
        {{ 'ASSISTANT' }}
        {%- generation -%}{{ message['content'] + eos_token }}{%- endgeneration -%}
        {{ 'BETWEEN' }}
    {%- elif message['role'] == 'system' -%}
        {{ (message['content'] | trim) + 'BETWEEN' }}
    {%- else -%}
        {{ raise_exception('this template knows no role ' + message['role']) }}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ 'ASSISTANT' }}
{%- endif -%}
";

/// The template of this format for the model of `tokenizer`, whose own one is `own`.
///
/// # Errors
/// When the model lacks what the format needs.
pub fn chat_template(
    format: ChatFormat,
    tokenizer: &Tokenizer,
    own: Option<ChatTemplate>,
) -> Result<ChatTemplate> {
    let [user, assistant, between] = match format {
        ChatFormat::Instruction => [r"### Instruction:\n", r"### Response:\n", r"\n\n"],
        ChatFormat::Dialogue => ["User: ", "Assistant: ", r"\n"],
        ChatFormat::Plain => ["", "", r"\n"],
        ChatFormat::Own => {
            return own.context(
                "the model has no chat template of its own: choose another one with --template",
            );
        }
        ChatFormat::Chatml => {
            for token in ["<|im_start|>", "<|im_end|>"] {
                ensure!(
                    tokenizer.token_to_id(token).is_some(),
                    "--template chatml: {token} is no token of this model, so anybody could write it"
                );
            }
            return ChatTemplate::chatml();
        }
    };
    tokenizer
        .eos()
        .context("the model has no token that ends a text, so it could not learn where to stop")?;
    // A model whose texts begin with a token of their own was never without it.
    let begun = tokenizer.encode("", AddSpecialTokens::Yes, ParseSpecial::No)?.first()
        == tokenizer.bos().as_ref();
    let bos = if begun && tokenizer.bos().is_some() { "{{ bos_token }}" } else { "" };
    let turns = TURNS.replace("'USER'", &format!("'{user}'"));
    let turns = turns.replace("'ASSISTANT'", &format!("'{assistant}'"));
    ChatTemplate::new(&(bos.to_string() + &turns.replace("BETWEEN", between)), tokenizer)
}
