//! 6.2 Tokenized example, and its loss mask.
//!
//! ```text
//! ids      = prompt ++ completion ++ eos
//! input_t  = ids_t          t = 0 .. n − 2
//! label_t  = ids_{t+1}  if  t + 1 ≥ |prompt|,  else −100
//! ```
//!
//! The parts are joined as token ids. Were the joined text encoded, a token could span the
//! boundary, and no label could mark where the completion begins. The mask depends on positions,
//! never on token ids: a tokenizer may use its EOS token for padding, and EOS must be in the loss.
//! The first token of the completion is predicted at the last token of the prompt.

use anyhow::{Result, ensure};
use datasets::Example;
use experiment::terminal::printable;
use model_io::{SkipSpecialTokens, Tokenizer};
use tensor_core::ops::IGNORE_INDEX;

use crate::ChatTokenizer;

/// Tokens of an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizedExample {
    /// Token ids of prompt, completion and EOS.
    pub ids: Vec<u32>,
    /// Length of the prompt in tokens; all later tokens are targets. At least 1, as nothing
    /// precedes the first token.
    pub prompt_len: usize,
}

/// Tokenized examples, and the number of those that were too long.
#[derive(Debug, Clone, Default)]
pub struct TokenizedDataset {
    /// Examples with at least one target.
    pub examples: Vec<TokenizedExample>,
    /// Number of these examples with a truncated completion.
    pub n_truncated: usize,
    /// Number of skipped examples: their prompt is so long that no token of the completion fits.
    pub n_skipped: usize,
}

impl TokenizedExample {
    /// Prompt, completion and EOS of an example.
    ///
    /// # Errors
    /// Those of [`ChatTokenizer::encode_prompt`].
    pub fn from_example(example: &Example, chat_tokenizer: &ChatTokenizer) -> Result<Self> {
        let mut ids = chat_tokenizer.encode_prompt(&example.prompt)?;
        let prompt_len = ids.len().max(1);
        ids.extend(chat_tokenizer.encode_completion_without_eos(&example.completion)?);
        ids.push(chat_tokenizer.eos_token_id());
        Ok(Self { ids, prompt_len })
    }

    /// Pretraining text: all tokens but the first are targets.
    pub fn for_pretraining(ids: Vec<u32>) -> Self {
        Self { ids, prompt_len: 1 }
    }

    /// Input ids: all but the last.
    pub fn inputs(&self) -> &[u32] {
        &self.ids[..self.ids.len().saturating_sub(1)]
    }

    /// Labels: the next id at each input, or −100 within the prompt.
    pub fn labels(&self) -> impl Iterator<Item = i64> {
        let targets = self.ids.iter().enumerate().skip(1);
        targets.map(|(t, &id)| if t >= self.prompt_len { i64::from(id) } else { IGNORE_INDEX })
    }

    /// Number of tokens in the loss.
    pub fn n_targets(&self) -> usize {
        self.ids.len().saturating_sub(self.prompt_len)
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
            let mark = if position < self.prompt_len { " " } else { "^" };
            marks.extend([&mark.repeat(width), " "]);
        }
        flush_line(&mut text, &mut line, &mut marks);
        Ok(text.trim_end().to_string())
    }

    /// Example with at most `context_len` inputs. A truncated completion loses its EOS, so the
    /// model does not learn to stop there.
    pub fn truncated(mut self, context_len: usize) -> Self {
        self.ids.truncate(context_len + 1);
        self
    }
}

/// Tokenized `examples` of at most `context_len` inputs each.
///
/// # Errors
/// Those of [`TokenizedExample::from_example`], and when a completion is empty.
pub fn tokenize(
    examples: &[Example],
    chat_tokenizer: &ChatTokenizer,
    context_len: usize,
) -> Result<TokenizedDataset> {
    let mut dataset = TokenizedDataset::default();
    for example in examples {
        let prompt = example.prompt.last().map_or("", |message| &message.content);
        ensure!(!example.completion.is_empty(), "there is no completion to learn for {prompt:?}");
        let untruncated = TokenizedExample::from_example(example, chat_tokenizer)?;
        let len = untruncated.ids.len();
        let tokens = untruncated.truncated(context_len);
        if tokens.n_targets() == 0 {
            dataset.n_skipped += 1;
            continue;
        }
        dataset.n_truncated += usize::from(tokens.ids.len() < len);
        dataset.examples.push(tokens);
    }
    Ok(dataset)
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
