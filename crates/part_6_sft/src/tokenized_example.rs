//! 6.2 An example as tokens, and which of them are learned.
//!
//! ```text
//! ids      = prompt ++ response ++ end
//! input_t  = ids_t          t = 0 .. n − 2
//! label_t  = ids_{t+1}  if  t + 1 ≥ |prompt|,  else −100
//! ```
//!
//! The parts are joined as tokens. Were the joined text encoded, a token might reach over the boundary, and no label could say
//! where the answer begins. What counts is decided by places, never by what a token is: a tokenizer may use its end token for
//! padding, and the end is to be learned. The first token of the answer is predicted at the last token of the prompt.

use anyhow::Result;
use tensor_core::ops::IGNORE_INDEX;

use crate::{ChatTokenizer, Example};

/// The tokens of an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizedExample {
    /// All of them.
    pub ids: Vec<u32>,
    /// How many of the first are given; all others are learned. At least 1, as nothing precedes the first token.
    pub prompt_len: usize,
}

/// Examples as tokens, and what became of those that are too long.
#[derive(Debug, Clone, Default)]
pub struct TokenizedDataset {
    /// Those with something to learn.
    pub examples: Vec<TokenizedExample>,
    /// Of these, how many lost the end of their response.
    pub n_truncated: usize,
    /// How many had a prompt so long that no token of the response was left.
    pub n_skipped: usize,
}

impl TokenizedExample {
    /// The prompt, the response and the end of an example.
    ///
    /// # Errors
    /// As [`ChatTokenizer::encode_prompt`].
    pub fn from_example(example: &Example, speech: &ChatTokenizer) -> Result<Self> {
        let mut ids = speech.encode_prompt(&example.prompt)?;
        let given = ids.len().max(1);
        ids.extend(speech.encode_completion(&example.completion)?);
        ids.push(speech.eos_token_id());
        Ok(Self { ids, prompt_len: given })
    }

    /// Text of which everything is learned, as in pretraining.
    pub fn for_pretraining(ids: Vec<u32>) -> Self {
        Self { ids, prompt_len: 1 }
    }

    /// What the model reads: all but the last.
    pub fn inputs(&self) -> &[u32] {
        &self.ids[..self.ids.len().saturating_sub(1)]
    }

    /// What is learned at each of the inputs.
    pub fn labels(&self) -> impl Iterator<Item = i64> {
        let next = self.ids.iter().enumerate().skip(1);
        next.map(|(at, &id)| if at >= self.prompt_len { i64::from(id) } else { IGNORE_INDEX })
    }

    /// How many tokens are learned.
    pub fn n_targets(&self) -> usize {
        self.ids.len().saturating_sub(self.prompt_len)
    }

    /// The same with at most `context` inputs: the response loses its end, and does not learn to stop there.
    pub fn truncated(mut self, context: usize) -> Self {
        self.ids.truncate(context + 1);
        self
    }
}

/// `examples` as tokens of at most `context` inputs each.
///
/// # Errors
/// As [`TokenizedExample::from_example`].
pub fn tokenize(
    examples: &[Example],
    speech: &ChatTokenizer,
    context: usize,
) -> Result<TokenizedDataset> {
    let mut all = TokenizedDataset::default();
    for example in examples {
        let whole = TokenizedExample::from_example(example, speech)?;
        let len = whole.ids.len();
        let tokens = whole.truncated(context);
        if tokens.n_targets() == 0 {
            all.n_skipped += 1;
            continue;
        }
        all.n_truncated += usize::from(tokens.ids.len() < len);
        all.examples.push(tokens);
    }
    Ok(all)
}
