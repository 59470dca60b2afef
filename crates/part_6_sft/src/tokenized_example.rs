//! 6.2 Tokenized example, and its loss mask.
//!
//! ```text
//! ids      = prompt ++ completion ++ eos
//! input_t  = ids_t          t = 0 .. n − 2
//! label_t  = ids_{t+1}  if  t + 1 ≥ |prompt|,  else −100
//! ```
//!
//! The completion is a reply as the chat template writes it, with its reasoning and its calls of
//! tools ([`crate::reply`]).
//!
//! In a conversation, the assistant's earlier turns are targets too. A turn is learned after the
//! tokens that a model sees when it generates the turn: the template's rendering of the messages
//! before it. Where the whole conversation begins with these tokens, the turn is a span of its
//! tokens. Where it does not, because the template leaves reasoning out of earlier turns, say, the
//! turn is an example of its own.
//!
//! The parts are joined as token ids. Were the joined text encoded, a token could span the
//! boundary, and no label could mark where the completion begins. The mask depends on positions,
//! never on token ids: a tokenizer may use its EOS token for padding, and EOS must be in the loss.
//! The first token of the completion is predicted at the last token of the prompt.

use std::ops::Range;

use anyhow::Result;
use datasets::{AssistantTurns, Example};
use experiment::terminal::printable;
use model_io::{ChatMessage, SkipSpecialTokens, Tokenizer};
use tensor_core::ops::IGNORE_INDEX;

use crate::{ChatTokenizer, ReplyForm, ReplyTokens};

/// Tokens of an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizedExample {
    /// Token ids of prompt, completion and EOS.
    pub ids: Vec<u32>,
    /// Spans of `ids` that are targets, in order, without overlap. The first token is in none, as
    /// nothing precedes it.
    pub target_spans: Vec<Range<usize>>,
}

impl TokenizedExample {
    /// Tokens after a prompt of `prompt_len` tokens are targets, except for the first of all.
    pub fn new(ids: Vec<u32>, prompt_len: usize) -> Self {
        let targets = prompt_len.max(1).min(ids.len())..ids.len();
        Self { ids, target_spans: vec![targets] }
    }

    /// Prompt, and the reply to it with its end-of-turn token, which alone is a target.
    ///
    /// # Errors
    /// Those of [`ChatTokenizer::encode_reply`].
    pub fn of_reply(
        prompt: &[ChatMessage],
        reply: &ChatMessage,
        chat_tokenizer: &ChatTokenizer,
    ) -> Result<Self> {
        chat_tokenizer.encode_reply(prompt, reply).map(Self::from)
    }

    /// Example of a prompt and the text of a reply, as by [`TokenizedExample::of_reply`].
    ///
    /// # Errors
    /// Those of [`ChatTokenizer::encode_reply`].
    pub fn of_completion(
        prompt: &[ChatMessage],
        completion: &str,
        chat_tokenizer: &ChatTokenizer,
    ) -> Result<Self> {
        Self::of_reply(prompt, &ChatMessage::assistant(completion), chat_tokenizer)
    }

    /// Tokens of an example, last, and before them the earlier turns that are examples of their
    /// own. Blank turns, and those before the first message of the user, are not learned.
    ///
    /// # Errors
    /// Those of [`ChatTokenizer::encode_reply`].
    pub fn from_example(example: &Example, chat_tokenizer: &ChatTokenizer) -> Result<Vec<Self>> {
        let Example { prompt, assistant_turns, .. } = example;
        let mut whole = Self::of_reply(prompt, &example.completion_message(), chat_tokenizer)?;
        let first_user = prompt.iter().position(|message| message.role == "user");
        let start = match assistant_turns {
            AssistantTurns::All => first_user.unwrap_or(prompt.len()),
            AssistantTurns::Last => prompt.len(),
        };
        let (mut examples, mut spans) = (Vec::new(), Vec::new());
        for (i, turn) in prompt.iter().enumerate().skip(start) {
            let is_blank = turn.content.trim().is_empty() && !turn.calls_tool();
            if turn.role != "assistant" || is_blank {
                continue;
            }
            let reply = chat_tokenizer.encode_reply(&prompt[..i], turn)?;
            match whole.span_of_turn(turn, &reply, chat_tokenizer)? {
                Some(span) => spans.push(span),
                None => examples.push(Self::from(reply)),
            }
        }
        whole.target_spans.splice(0..0, spans);
        examples.push(whole);
        Ok(examples)
    }

    /// Span of the assistant's `turn`, with its end-of-turn token, that is the `reply` to the
    /// messages before it; `None` if the tokens before it, or its own, are not those of the
    /// conversation.
    fn span_of_turn(
        &self,
        turn: &ChatMessage,
        reply: &ReplyTokens,
        chat_tokenizer: &ChatTokenizer,
    ) -> Result<Option<Range<usize>>> {
        let ReplyTokens { prompt: start, tokens, form } = reply;
        let prompt = &self.ids[..self.target_spans[0].start];
        let Some(rest) = prompt.strip_prefix(&start[..]) else { return Ok(None) };
        if *form == ReplyForm::Rendered {
            let span = start.len()..start.len() + tokens.len();
            return Ok(rest.starts_with(tokens).then_some(span));
        }
        let is_stop = |id: &u32| chat_tokenizer.stop_token_ids().contains(id);
        let Some(n_words) = rest.iter().position(is_stop) else { return Ok(None) };
        let words = chat_tokenizer.tokenizer.decode(&rest[..n_words], SkipSpecialTokens::No)?;
        let span = start.len()..start.len() + n_words + 1;
        // Templates may trim a message.
        Ok((words.trim() == turn.content.trim()).then_some(span))
    }

    /// Pretraining text: all tokens but the first are targets.
    pub fn for_pretraining(ids: Vec<u32>) -> Self {
        Self::new(ids, 1)
    }

    /// Input ids: all but the last.
    pub fn inputs(&self) -> &[u32] {
        &self.ids[..self.ids.len().saturating_sub(1)]
    }

    // ANCHOR: labels
    /// Labels: the next id at each input, or −100 if it is not a target.
    pub fn labels(&self) -> impl Iterator<Item = i64> {
        let next = self.ids.iter().enumerate().skip(1);
        next.map(|(t, &id)| if self.is_target(t) { i64::from(id) } else { IGNORE_INDEX })
    }
    // ANCHOR_END: labels

    /// Number of tokens in the loss.
    pub fn n_targets(&self) -> usize {
        self.target_spans.iter().map(ExactSizeIterator::len).sum()
    }

    /// True if the token at `position` is a target.
    pub fn is_target(&self, position: usize) -> bool {
        self.target_spans.iter().any(|span| span.contains(&position))
    }

    /// Loss mask as text: the tokens separated by `|`, with `^` under those in the loss. A token
    /// that is only a part of a character is shown as its id.
    ///
    /// # Errors
    /// When the tokenizer's decoder fails.
    pub fn render_loss_mask(&self, tokenizer: &Tokenizer) -> Result<String> {
        let (mut line, mut marks, mut text) = (String::new(), String::new(), String::new());
        for (position, &id) in self.ids.iter().enumerate() {
            let token = tokenizer.decode(&[id], SkipSpecialTokens::No)?;
            let is_partial = token.contains(char::REPLACEMENT_CHARACTER);
            let token = if is_partial { format!("<{id}>") } else { printable(&token) };
            let token = token.replace('\n', "⏎");
            let width = token.chars().count();
            if line.chars().count() + width > 100 {
                flush_line(&mut text, &mut line, &mut marks);
            }
            line.extend([token.as_str(), "|"]);
            let mark = if self.is_target(position) { "^" } else { " " };
            marks.extend([&mark.repeat(width), " "]);
        }
        flush_line(&mut text, &mut line, &mut marks);
        Ok(text.trim_end().to_string())
    }

    /// Example with at most `context_len` inputs. A truncated completion loses its EOS, so the
    /// model does not learn to stop there.
    pub fn truncated(mut self, context_len: usize) -> Self {
        self.ids.truncate(context_len + 1);
        let len = self.ids.len();
        self.target_spans.retain_mut(|span| {
            span.end = span.end.min(len);
            span.start < span.end
        });
        self
    }
}

impl From<ReplyTokens> for TokenizedExample {
    fn from(ReplyTokens { prompt, tokens, .. }: ReplyTokens) -> Self {
        let prompt_len = prompt.len();
        Self::new([prompt, tokens].concat(), prompt_len)
    }
}

/// Appends a line to the text, and the line of its marks if there are any.
fn flush_line(text: &mut String, line: &mut String, marks: &mut String) {
    text.extend(["  ", line.as_str(), "\n"]);
    if marks.contains('^') {
        text.extend(["  ", marks.trim_end(), "\n"]);
    }
    line.clear();
    marks.clear();
}
