//! 3.8 Prompt lookup decoding (Saxena, <https://github.com/apoorvumang/prompt-lookup-decoding>): in
//! a text that repeats itself, the next tokens occurred before, and one forward pass checks several
//! of them.
//!
//! Decoding reads all weights for each token, and the arithmetic waits for memory: a pass over
//! 1 + K tokens takes hardly longer than one over a single token. So the n-gram at the end of the
//! text is looked up earlier in the text, the K tokens that followed it there are proposed, and one
//! pass gives the distribution p of the next token after each of them. Speculative decoding
//! (Leviathan et al., <https://arxiv.org/abs/2211.17192>) accepts a token x that was drawn from a
//! distribution q with probability min(1, p(x) / q(x)), and else replaces it by a token from the
//! remainder max(0, p − q), normalized. Tokens then have the distribution p, whatever q is, because
//! the probability of a rejection is Σ max(0, p − q):
//!
//! ```text
//! P(y) = q(y) · min(1, p(y) / q(y)) + P(rejected) · max(0, p(y) − q(y)) / Σ max(0, p − q)
//!      = min(q(y), p(y)) + max(0, p(y) − q(y)) = p(y)
//! ```
//!
//! A looked-up token is certain, q(x) = 1: it is accepted with probability p(x), and else replaced
//! by y ≠ x with probability p(y) / (1 − p(x)). One token y drawn from p decides both: it equals x
//! with probability p(x), and given that it does not, it has just that distribution. So the sampler
//! draws each token as always, from p after its penalty, temperature and filters, and with the same
//! random numbers it draws the same text. As long as it draws the proposed tokens, the logits of
//! the next token are already there. After another one, the keys and values of the rest are taken
//! back from the cache.
//!
//! All this is exact for given logits, but those of a pass over several tokens equal those of
//! single tokens only up to rounding: attention sums in another order, and linear layers do so in a
//! pass over more than 16 tokens. Where two tokens are almost equally likely, the text may differ.
//! With quantized weights it does so more often, above all for K > 15: they round the inputs of up
//! to 16 tokens to 8 bits, and leave those of more as they are.

use std::num::NonZeroUsize;

use anyhow::{Result, ensure};
use model_io::ModelConfig;

use crate::Cache;

/// Length of the longest n-gram that is looked up, as in Saxena's program; in transformers it is
/// `max_matching_ngram_size`, by default 2.
pub const MAX_MATCHING_NGRAM_SIZE: usize = 3;

/// Tokens proposed after `text`, at most `num_tokens`: those that followed the first occurrence of
/// the longest n-gram that ends the text and occurred before.
pub fn propose(text: &[u32], num_tokens: usize) -> &[u32] {
    let before_last = &text[..text.len().saturating_sub(1)];
    for n in (1..=MAX_MATCHING_NGRAM_SIZE.min(before_last.len())).rev() {
        let ngram = &text[text.len() - n..];
        if let Some(start) = before_last.windows(n).position(|window| window == ngram) {
            let following = &text[start + n..];
            return &following[..following.len().min(num_tokens)];
        }
    }
    &[]
}

/// Last forward pass over proposed tokens, and the number of them that were accepted.
#[derive(Debug)]
pub(crate) struct PromptLookup {
    /// Maximum number of proposed tokens per pass.
    num_tokens: usize,
    /// Proposed tokens of the last pass: K.
    proposed: Vec<u32>,
    /// Logits of the token after the text, and after each proposed token: (1 + K, V).
    logits: Vec<f32>,
    /// Proposed tokens of the last pass that were accepted so far.
    n_accepted_of_pass: usize,
    /// Proposed tokens of all passes that were accepted; each saved a pass.
    n_accepted: usize,
}

impl PromptLookup {
    /// Prompt lookup for one of `n_rows` texts, whose cache has to take rejected tokens back.
    ///
    /// # Errors
    /// When there are several texts, or the cache is rolling.
    pub(crate) fn new(num_tokens: NonZeroUsize, n_rows: usize, cache: &Cache) -> Result<Self> {
        ensure!(n_rows == 1, "prompt lookup generates one text at a time, not a batch of {n_rows}");
        ensure!(
            cache.rolling_layer().is_none(),
            "prompt lookup takes rejected tokens back from the KV cache, but in a rolling cache \
             they have overwritten older ones: use a full cache"
        );
        let num_tokens = num_tokens.get();
        let (proposed, logits) = (Vec::new(), Vec::new());
        Ok(Self { num_tokens, proposed, logits, n_accepted_of_pass: 0, n_accepted: 0 })
    }

    /// Number of accepted tokens, each of which saved a forward pass.
    pub(crate) fn n_accepted(&self) -> usize {
        self.n_accepted
    }

    /// Accepts the last token of `text`, which was just sampled, if it is the proposed one. Returns
    /// the logits (V) of the token after it, which the last pass has computed; else `None`.
    pub(crate) fn accept(&mut self, text: &[u32]) -> Option<Vec<f32>> {
        if self.proposed.get(self.n_accepted_of_pass) != text.last() {
            return None;
        }
        self.n_accepted_of_pass += 1;
        self.n_accepted += 1;
        Some(self.logits_after_accepted())
    }

    /// Tokens of the next pass, proposed after `text`: at most `max_tokens`.
    pub(crate) fn propose(&self, text: &[u32], max_tokens: usize) -> Vec<u32> {
        propose(text, self.num_tokens.min(max_tokens)).to_vec()
    }

    /// Starts a pass over the `proposed` tokens with its `logits` (1 + K, V) of the tokens after
    /// the text and after each proposed one. Returns those after the text: (V).
    pub(crate) fn start_pass(&mut self, proposed: Vec<u32>, logits: Vec<f32>) -> Vec<f32> {
        (self.proposed, self.logits, self.n_accepted_of_pass) = (proposed, logits, 0);
        self.logits_after_accepted()
    }

    /// Logits (V) after the text and the accepted tokens.
    fn logits_after_accepted(&self) -> Vec<f32> {
        let v = self.logits.len() / (1 + self.proposed.len());
        self.logits[self.n_accepted_of_pass * v..][..v].to_vec()
    }
}

/// Maximum number of tokens that can be proposed after `len` tokens: the text with them stays
/// within the context, and does not pass the length at which RoPE's frequencies change, since the
/// whole text would be read again with frequencies that are wrong if tokens are rejected.
pub(crate) fn max_proposed_tokens(config: &ModelConfig, len: usize) -> usize {
    let change = config.attention.position.frequency_change().filter(|&change| len <= change);
    let limit = change.map_or(config.context_len, |change| change.min(config.context_len));
    limit.saturating_sub(len)
}
