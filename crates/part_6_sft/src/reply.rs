//! 6.2 Reply: the assistant's message to learn, in the tokens that the chat template writes.
//!
//! ```text
//! {"reasoning_content": "three", "content": "6"}      by the template of Qwen3
//! prompt     <|im_start|>user⏎3+3?<|im_end|>⏎<|im_start|>assistant⏎
//! reply      <think>⏎three⏎</think>⏎⏎6<|im_end|>
//! ```
//!
//! Reasoning, calls of tools, and markers such as an empty `<think>` block are the template's to
//! write. The reply is therefore what follows the generation prompt in the rendered conversation,
//! through the end-of-turn token. Where that is the content alone, its tokens are those of the text
//! that a row has, with the white space that a template may trim.

use anyhow::{Context, Result, ensure};
use model_io::{ChatMessage, SkipSpecialTokens, TokenizedReply};

use crate::ChatTokenizer;
use crate::chat_tokenizer::{OTHER_TEMPLATE, ensure_prompt};

/// Token ids of a prompt and of the reply to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyTokens {
    /// Tokens before the reply: those of the generation prompt, if the rendered conversation begins
    /// with it, else those that both begin with.
    pub prompt: Vec<u32>,
    /// Tokens of the reply, its end-of-turn token included.
    pub tokens: Vec<u32>,
    /// Text that the tokens are those of.
    pub form: ReplyForm,
}

/// Text of a reply that is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyForm {
    /// Content of the message.
    Content,
    /// Message as the template writes it.
    Rendered,
}

impl ChatTokenizer {
    /// Token ids of a prompt and of the `reply` to it.
    ///
    /// # Errors
    /// Those of [`ChatTokenizer::encode_prompt`]; when the template does not write the reply's
    /// calls of tools, or where the reply begins cannot be found.
    pub fn encode_reply(&self, prompt: &[ChatMessage], reply: &ChatMessage) -> Result<ReplyTokens> {
        ensure_prompt(prompt)?;
        let encoded = self.template.encode_reply(&self.tokenizer, prompt, reply);
        let content = self.encode_completion_without_eos(&reply.content)?;
        let Some(encoded) = encoded.context(OTHER_TEMPLATE)? else {
            ensure!(
                reply.fields.is_empty(),
                "the chat template writes the messages before the reply in another way without \
                 it, so where the reply begins is not known: choose another one with --template"
            );
            return Ok(self.content_tokens(self.encode_prompt(prompt)?, content));
        };
        let TokenizedReply { prompt, reply: mut tokens, has_generation_prompt } = encoded;
        let text = |ids: &[u32]| self.tokenizer.decode(ids, SkipSpecialTokens::No);
        let end = tokens.iter().position(|&id| id == self.eos_token_id());
        let rendered = text(&tokens[..end.unwrap_or(tokens.len())])?;
        let is_content = rendered.trim() == text(&content)?.trim();
        ensure!(
            !is_content || !reply.calls_tool(),
            "the chat template does not write the `tool_calls` of the assistant's message, so they \
             would not be learned: choose another one with --template, or remove them"
        );
        if is_content && has_generation_prompt {
            return Ok(self.content_tokens(prompt, content));
        }
        match end {
            Some(end) => tokens.truncate(end + 1),
            None => self.end_with_stop_token(&mut tokens)?,
        }
        Ok(ReplyTokens { prompt, tokens, form: ReplyForm::Rendered })
    }

    /// Text of the `reply` to a prompt as a model's completion is decoded: its content, or what the
    /// template writes for it, without special tokens.
    ///
    /// # Errors
    /// Those of [`ChatTokenizer::encode_reply`].
    pub fn reply_text(&self, prompt: &[ChatMessage], reply: &ChatMessage) -> Result<String> {
        let ReplyTokens { tokens, form, .. } = self.encode_reply(prompt, reply)?;
        match form {
            ReplyForm::Content => Ok(reply.content.clone()),
            ReplyForm::Rendered => self.tokenizer.decode(&tokens, SkipSpecialTokens::Yes),
        }
    }

    /// Reply of the tokens of a `content`, which EOS ends.
    fn content_tokens(&self, prompt: Vec<u32>, content: Vec<u32>) -> ReplyTokens {
        let tokens = [content, vec![self.eos_token_id()]].concat();
        ReplyTokens { prompt, tokens, form: ReplyForm::Content }
    }

    /// Ends a reply without EOS: with EOS, unless another stop token is its last, as after a call
    /// of a tool. White space at the end, which is before the next message, is left out.
    fn end_with_stop_token(&self, tokens: &mut Vec<u32>) -> Result<()> {
        while let Some(&last) = tokens.last()
            && self.tokenizer.decode(&[last], SkipSpecialTokens::No)?.trim().is_empty()
        {
            tokens.pop();
        }
        if tokens.last().is_none_or(|last| !self.stop_token_ids().contains(last)) {
            tokens.push(self.eos_token_id());
        }
        Ok(())
    }
}
