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

use crate::{Example, Speech};

/// The tokens of an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// All of them.
    pub ids: Vec<u32>,
    /// How many of the first are given; all others are learned. At least 1, as nothing precedes the first token.
    pub given: usize,
}

/// Examples as tokens, and what became of those that are too long.
#[derive(Debug, Clone, Default)]
pub struct Tokenized {
    /// Those with something to learn.
    pub examples: Vec<Tokens>,
    /// Of these, how many lost the end of their response.
    pub cut: usize,
    /// How many had a prompt so long that no token of the response was left.
    pub skipped: usize,
}

impl Tokens {
    /// The prompt, the response and the end of an example.
    ///
    /// # Errors
    /// As [`Speech::prompt`].
    pub fn of(example: &Example, speech: &Speech) -> Result<Self> {
        let mut ids = speech.prompt(&example.prompt)?;
        let given = ids.len().max(1);
        ids.extend(speech.response(&example.response)?);
        ids.push(speech.end());
        Ok(Self { ids, given })
    }

    /// Text of which everything is learned, as in pretraining.
    pub fn all(ids: Vec<u32>) -> Self {
        Self { ids, given: 1 }
    }

    /// What the model reads: all but the last.
    pub fn inputs(&self) -> &[u32] {
        &self.ids[..self.ids.len().saturating_sub(1)]
    }

    /// What is learned at each of the inputs.
    pub fn labels(&self) -> impl Iterator<Item = i64> {
        let next = self.ids.iter().enumerate().skip(1);
        next.map(|(at, &id)| if at >= self.given { i64::from(id) } else { IGNORE_INDEX })
    }

    /// How many tokens are learned.
    pub fn targets(&self) -> usize {
        self.ids.len().saturating_sub(self.given)
    }

    /// The same with at most `context` inputs: the response loses its end, and does not learn to stop there.
    pub fn fitted(mut self, context: usize) -> Self {
        self.ids.truncate(context + 1);
        self
    }
}

/// `examples` as tokens of at most `context` inputs each.
///
/// # Errors
/// As [`Tokens::of`].
pub fn tokenize(examples: &[Example], speech: &Speech, context: usize) -> Result<Tokenized> {
    let mut all = Tokenized::default();
    for example in examples {
        let whole = Tokens::of(example, speech)?;
        let len = whole.ids.len();
        let tokens = whole.fitted(context);
        if tokens.targets() == 0 {
            all.skipped += 1;
            continue;
        }
        all.cut += usize::from(tokens.ids.len() < len);
        all.examples.push(tokens);
    }
    Ok(all)
}
