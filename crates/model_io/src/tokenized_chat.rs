//! Tokenization of conversations in which only the template produces special tokens: message text
//! is always plain text.
//!
//! Encoding a rendered chat directly would let `<|im_end|>` typed by a user end the turn, and the
//! rest of the message could forge another role. Therefore, before rendering, the first character
//! of every special token spelled in a message is replaced by a placeholder that occurs in no
//! token; it is restored after the text has been split at its special tokens. A message without
//! such spellings is unchanged, so its IDs equal those of transformers' `apply_chat_template`.

use std::ops::Range;

use anyhow::{Context, Result};

use crate::{AddGenerationPrompt, ChatMessage, ChatTemplate, Tokenizer, jinja};

/// Token IDs of a conversation, with the spans of the assistant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizedChat {
    /// Token IDs of the whole conversation.
    pub tokens: Vec<u32>,
    /// Token ranges of the assistant's turns: the text inside `{% generation %}` in the template.
    /// Empty for templates without that tag.
    pub assistant_spans: Vec<Range<usize>>,
}

/// Token IDs of a prompt and of the reply that follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizedReply {
    /// Token IDs before the reply.
    pub prompt: Vec<u32>,
    /// Token IDs of all that the template writes after them.
    pub reply: Vec<u32>,
    /// True if `prompt` has the whole generation prompt.
    pub has_generation_prompt: bool,
}

impl ChatTemplate {
    /// Renders and tokenizes `messages`. Special tokens come only from the template; those spelled
    /// in a message stay text.
    ///
    /// # Errors
    /// Those of [`ChatTemplate::render`]; when the tokenizer cannot represent a character.
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
        prompt: AddGenerationPrompt,
    ) -> Result<TokenizedChat> {
        let mut escaper = SpecialTokenEscaper { tokenizer, characters: Vec::new() };
        let messages =
            messages.iter().map(|message| message.map_texts(|text| escaper.escape(text)));
        let (text, spans) =
            self.render_sanitized(&messages.collect::<Result<Vec<_>>>()?, prompt)?;
        let (tokens, offsets) = tokenizer.encode_with_offsets(&text, |c| escaper.unescape(c))?;
        Ok(TokenizedChat { assistant_spans: token_spans(&spans, &offsets), tokens })
    }

    /// Renders and tokenizes a prompt and the `reply` to it, as by [`ChatTemplate::encode`].
    ///
    /// The reply is what follows the generation prompt. Where the whole conversation does not begin
    /// with that (DeepSeek-R1's opens a `<think>`, which the template leaves out of a message), the
    /// reply begins with the first token that differs, as in TRL. The result is `None` if a token
    /// of the messages before the reply differs already.
    ///
    /// # Errors
    /// Those of [`ChatTemplate::encode`].
    pub fn encode_reply(
        &self,
        tokenizer: &Tokenizer,
        prompt: &[ChatMessage],
        reply: &ChatMessage,
    ) -> Result<Option<TokenizedReply>> {
        let mut escaper = SpecialTokenEscaper { tokenizer, characters: Vec::new() };
        let messages = prompt.iter().chain([reply]);
        let messages = messages.map(|message| message.map_texts(|text| escaper.escape(text)));
        let messages = messages.collect::<Result<Vec<_>>>()?;
        let before = &messages[..prompt.len()];
        let encode = |text: &str| -> Result<Vec<u32>> {
            Ok(tokenizer.encode_with_offsets(text, |c| escaper.unescape(c))?.0)
        };
        let start_text = self.render_sanitized(before, AddGenerationPrompt::Yes)?.0;
        let text = self.render_sanitized(&messages, AddGenerationPrompt::No)?.0;
        let (start, whole) = (encode(&start_text)?, encode(&text)?);
        if let Some(reply_text) = text.strip_prefix(start_text.as_str()) {
            let reply = match whole.strip_prefix(&start[..]) {
                Some(reply) => reply.to_vec(),
                None => encode(reply_text)?, // a token spans the boundary
            };
            let has_generation_prompt = true;
            return Ok(Some(TokenizedReply { prompt: start, reply, has_generation_prompt }));
        }
        let without = encode(&self.render_sanitized(before, AddGenerationPrompt::No)?.0)?;
        let n_shared = n_equal(&start, &whole);
        let is_split = n_shared > 0 && n_shared >= n_equal(&start, &without);
        Ok(is_split.then(|| TokenizedReply {
            prompt: whole[..n_shared].to_vec(),
            reply: whole[n_shared..].to_vec(),
            has_generation_prompt: false,
        }))
    }
}

/// Number of tokens that `a` and `b` begin with.
fn n_equal(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Token ranges of the byte ranges `spans`, from the byte ranges of the tokens: each from the first
/// token that ends after its start to the last that begins before its end.
fn token_spans(spans: &[Range<usize>], offsets: &[Range<usize>]) -> Vec<Range<usize>> {
    // In order, for a binary search: a template can write a million spans.
    let mut ends: Vec<usize> = offsets.iter().map(|token| token.end).collect();
    let mut starts: Vec<usize> = offsets.iter().map(|token| token.start).collect();
    for i in 1..offsets.len() {
        ends[i] = ends[i].max(ends[i - 1]);
    }
    for i in (1..offsets.len()).rev() {
        starts[i - 1] = starts[i - 1].min(starts[i]);
    }
    let token_span = |span: &Range<usize>| {
        let start = ends.partition_point(|&end| end <= span.start);
        let end = starts.partition_point(|&start| start < span.end);
        (start < end && !span.is_empty()).then_some(start..end)
    };
    spans.iter().filter_map(token_span).collect()
}

/// Escapes special tokens spelled in messages.
struct SpecialTokenEscaper<'a> {
    tokenizer: &'a Tokenizer,
    /// Original character of each of the [`jinja::PLACEHOLDERS`] in use.
    characters: Vec<char>,
}

impl SpecialTokenEscaper<'_> {
    /// `text` with every special token escaped.
    fn escape(&mut self, text: &str) -> Result<String> {
        let mut text = jinja::strip_marks(text);
        loop {
            // Escaping one token may expose another one that overlapped it.
            let spelled = self.tokenizer.special_token_spans(&text);
            if spelled.is_empty() {
                return Ok(text);
            }
            let (mut escaped, mut done) = (String::with_capacity(text.len()), 0);
            for Range { start, end } in spelled {
                // Some tokens include the spaces before them, which a template may trim; some
                // consist of spaces only.
                let token = text.get(start..end).filter(|token| !token.is_empty());
                let token = token.context("a special token of no characters")?;
                let at = start + (token.len() - token.trim_start().len()) % token.len();
                let c = text[at..].chars().next().context("a special token of no characters")?;
                escaped += text.get(done..at).context("special tokens overlap")?;
                escaped.push(self.placeholder(c)?);
                done = at + c.len_utf8();
            }
            escaped += &text[done..];
            text = escaped;
        }
    }

    fn placeholder(&mut self, c: char) -> Result<char> {
        let existing = self.characters.iter().position(|&existing| existing == c);
        let at = existing.unwrap_or(self.characters.len());
        let placeholder = jinja::PLACEHOLDERS.clone().nth(at).context(
            "the messages spell special tokens with too many different first characters",
        )?;
        if existing.is_none() {
            self.characters.push(c);
        }
        Ok(placeholder)
    }

    fn unescape(&self, c: char) -> char {
        let at = (c as usize).checked_sub(*jinja::PLACEHOLDERS.start() as usize);
        at.and_then(|at| self.characters.get(at)).copied().unwrap_or(c)
    }
}
