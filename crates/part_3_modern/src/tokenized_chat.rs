//! A conversation as ids, in which only the template commands: what a message says is text, whatever it spells.
//!
//! Were a rendered chat simply encoded, `<|im_end|>` typed by a user would end the turn, and the rest of the message could
//! be anybody's. So before the template sees a message, the first character of each special token spelled in it is
//! swapped for a stand-in that no token contains, and swapped back once the text is cut at its special tokens. A
//! message that spells none passes as it is, so its ids are those of transformers' `apply_chat_template`.

use std::ops::Range;

use anyhow::{Context, Result};

use crate::{AddGenerationPrompt, ChatMessage, ChatTemplate, Tokenizer, jinja};

/// The tokens of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizedChat {
    /// All of them.
    pub tokens: Vec<u32>,
    /// Which of them the assistant says, turn by turn: what `{% generation %}` encloses in the template. Templates
    /// without that tag give none.
    pub assistant_spans: Vec<Range<usize>>,
}

impl ChatTemplate {
    /// The tokens of `messages` as this template has them written, for the model of `tokenizer`. Special tokens come from
    /// the template alone; those spelled in a message stay text.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`], or when the tokenizer cannot represent a character.
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
        prompt: AddGenerationPrompt,
    ) -> Result<TokenizedChat> {
        let mut disguise = SpecialTokenEscaper { tokenizer, characters: Vec::new() };
        let messages = messages.iter().map(|ChatMessage { role, content }| {
            Ok(ChatMessage { role: disguise.escape(role)?, content: disguise.escape(content)? })
        });
        let (text, spoken) =
            self.render_sanitized(&messages.collect::<Result<Vec<_>>>()?, prompt)?;
        let (tokens, places) = tokenizer.encode_with_offsets(&text, |c| disguise.unescape(c))?;
        let assistant = spoken.iter().filter_map(|span| {
            let start = places.iter().position(|place| place.end > span.start)?;
            let last = places.iter().rposition(|place| place.start < span.end)?;
            (start <= last && !span.is_empty()).then_some(start..last + 1)
        });
        Ok(TokenizedChat { assistant_spans: assistant.collect(), tokens })
    }
}

/// Hides special tokens that messages spell.
struct SpecialTokenEscaper<'a> {
    tokenizer: &'a Tokenizer,
    /// What each of [`jinja::STAND_INS`] stands for.
    characters: Vec<char>,
}

impl SpecialTokenEscaper<'_> {
    /// `text` without a special token.
    fn escape(&mut self, text: &str) -> Result<String> {
        let mut text = jinja::strip_marks(text);
        loop {
            // Once one is hidden, another that overlapped it may show.
            let spelled = self.tokenizer.special_token_spans(&text);
            if spelled.is_empty() {
                return Ok(text);
            }
            for Range { start, end } in spelled.into_iter().rev() {
                // Some tokens take in the spaces before them, which a template may trim, and some are nothing else.
                let token = text.get(start..end).context("a special token of no characters")?;
                let at = start + (token.len() - token.trim_start().len()) % token.len();
                let c = text[at..].chars().next().context("a special token of no characters")?;
                let stand_in = self.placeholder(c)?;
                text.replace_range(at..at + c.len_utf8(), stand_in.encode_utf8(&mut [0; 4]));
            }
        }
    }

    fn placeholder(&mut self, c: char) -> Result<char> {
        let known = self.characters.iter().position(|&known| known == c);
        let at = known.unwrap_or(self.characters.len());
        let stand_in = jinja::PLACEHOLDERS.clone().nth(at);
        let stand_in =
            stand_in.context("the messages spell special tokens that begin in too many ways")?;
        if known.is_none() {
            self.characters.push(c);
        }
        Ok(stand_in)
    }

    fn unescape(&self, c: char) -> char {
        let at = (c as usize).checked_sub(*jinja::PLACEHOLDERS.start() as usize);
        at.and_then(|at| self.characters.get(at)).copied().unwrap_or(c)
    }
}
