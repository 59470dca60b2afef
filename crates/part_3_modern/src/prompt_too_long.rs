//! Error about a prompt that is longer than the context, which callers tell from others: what helps
//! against it depends on the program.

use std::fmt;

/// Error about a prompt that is longer than the model's context.
#[derive(Debug)]
pub struct PromptTooLong {
    pub(crate) len: usize,
    pub(crate) context_len: usize,
    pub(crate) has_lookup: bool,
}

impl fmt::Display for PromptTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { len, context_len, .. } = self;
        let lookup = if self.has_lookup { " and no prompt lookup" } else { "" };
        write!(
            f,
            "the prompt has {len} tokens, the model's context is {context_len}: shorten it, or use \
             a sliding window{lookup}"
        )
    }
}

impl std::error::Error for PromptTooLong {}
